//! `fanfare check`: proves the store's invariants, writing nothing.

use clap::{ArgMatches, Command};
use fanfare::seal::{Seal, fingerprint};
use fanfare::{engine, store};

use crate::failure::{Failure, Result};
use crate::settings::{Settings, flags};
use crate::{keys, out, runtime};

/// The setting under whose name the store keeps the key's check value.
const ENCRYPTION_KEY: &str = "FANFARE_ENCRYPTION_KEY";
/// The settings that say where the store and its key are.
const SETTINGS: [&str; 3] = ["data_dir", "database_url", "encryption_key"];

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Verifies the store's invariants, read-only, also while it is served")
        .args(flags(|setting| SETTINGS.contains(&setting)))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    let key = keys::encryption_key(&settings)?;
    let seal = key.map(|key| Seal::new(&key));
    let broken = runtime::on_one_thread(async {
        let store = store::open_read_only(&settings.database_url).await?;
        let mut broken = engine::check(store.as_ref(), seal.as_ref()).await?;
        if let Some(key) = key
            && !store.agrees(ENCRYPTION_KEY, &fingerprint(&key, ENCRYPTION_KEY)).await?
        {
            broken.push(format!("{ENCRYPTION_KEY} is not the key that this store was made with"));
        }
        Ok(broken)
    })?;
    if !broken.is_empty() {
        out::answer(&out::tame(&broken.join("\n")))?;
        let count = broken.len();
        return Err(Failure::Failed(format!("the store is not sound: {count} found")));
    }
    out::answer(
        "ok: every delivery is concluded, failed, held with a reason, or has a next time; \
         counts agree",
    )?;
    out::answer(match seal {
        Some(_) => "ok: every sealed secret opens",
        None => "not checked: sealed secrets, because FANFARE_ENCRYPTION_KEY is not known here",
    })
}
