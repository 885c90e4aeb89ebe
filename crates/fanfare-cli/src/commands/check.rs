//! `fanfare check`: proves the store's invariants, writing nothing.

use clap::{ArgMatches, Command};
use fanfare::engine::PREVIOUS_KEY;
use fanfare::keys::EncryptionKeys;
use fanfare::seal::{KEPT_AS, UnknownKey};
use fanfare::{engine, store};

use crate::failure::{Failure, Result};
use crate::settings::{Settings, flags};
use crate::{keys, out, runtime};

/// The settings that say where the store and its keys are.
const SETTINGS: [&str; 4] =
    ["data_dir", "database_url", "encryption_key", "encryption_key_previous"];

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Verifies the store's invariants, read-only, also while it is served")
        .args(flags(|setting| SETTINGS.contains(&setting)))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    let mut keys = keys::encryption_keys(&settings)?;
    let mut broken = broken(&settings, keys.as_ref())?;
    if !broken.is_empty() {
        // The server may have replaced its key meanwhile.
        keys = keys::encryption_keys(&settings)?;
        broken = self::broken(&settings, keys.as_ref())?;
    }
    if !broken.is_empty() {
        out::answer(&out::tame(&broken.join("\n")))?;
        let count = broken.len();
        return Err(Failure::Failed(format!("the store is not sound: {count} found")));
    }
    out::answer(
        "ok: every delivery is concluded, failed, held with a reason, or has a next time; \
         counts agree",
    )?;
    out::answer(match keys {
        Some(_) => "ok: every sealed secret opens",
        None => "not checked: sealed secrets, because FANFARE_ENCRYPTION_KEY is not known here",
    })
}

/// A line for each invariant that is broken.
fn broken(settings: &Settings, keys: Option<&EncryptionKeys>) -> Result<Vec<String>> {
    let seal = keys.map(EncryptionKeys::seal);
    runtime::on_one_thread(async {
        let store = store::open_read_only(settings.database_url.reveal()).await?;
        let mut broken = engine::check(store.as_ref(), seal.as_ref()).await?;
        let kept = store.kept(KEPT_AS).await?;
        if let (Some(seal), Some(kept)) = (&seal, kept) {
            broken.extend(seal.agreed(&kept).err().map(|unknown| match unknown {
                UnknownKey::Present => {
                    format!("{KEPT_AS} is not the key that this store was made with")
                }
                UnknownKey::Previous => format!(
                    "{PREVIOUS_KEY} is still needed, and not known here: a part of the store is \
                     sealed with it"
                ),
            }));
        }
        Ok(broken)
    })
}
