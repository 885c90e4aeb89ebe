//! `fanfare rotate-key`: another key for everything that is sealed, also while the server runs.

use bytes::Bytes;
use clap::{ArgMatches, Command};
use fanfare::clock::{Clock, SystemClock};
use fanfare::engine::PREVIOUS_KEY;
use fanfare::model::CompanyId;
use fanfare::{Engine, Error, Options};
use hyper::Method;
use serde::Deserialize;

use super::ask::{self, Asker, Question};
use super::token;
use crate::failure::{Failure, Result};
use crate::settings::{Settings, flags};
use crate::{keys, out, runtime};

/// Who may rotate.
const ROLE: &str = "superAdmin";
/// The settings that say where the store, the server and the keys are, beside those of tokens.
const SETTINGS: [&str; 4] = ["listen", "database_url", "encryption_key", "encryption_key_previous"];

pub(super) fn command() -> Command {
    Command::new("rotate-key")
        .about("Seals every secret with another key, also while the server runs and delivers")
        .after_help(
            "Where the server keeps its key in a file: makes a new one, and keeps the one before \
             beside it, in `encryption-key.previous`.\n\
             Where the key is given as a setting: first restart the server with the new key in \
             FANFARE_ENCRYPTION_KEY and the one before in FANFARE_ENCRYPTION_KEY_PREVIOUS.\n\
             Whatever interrupts it, start it again: it goes on where it was.",
        )
        .arg(ask::server())
        .args(flags(|setting| SETTINGS.contains(&setting) || token::SETTINGS.contains(&setting)))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    let server = ask::server_of(matches);
    let told = match unserved(&settings, server)? {
        Unserved::Rotated(told) => told,
        Unserved::No(why) => ask_server(&settings, server).map_err(|failure| match why {
            None => failure,
            Some(why) => {
                Failure::Failed(format!("{why}; and as for a server: {}", failure.message()))
            }
        })?,
    };
    report(&told)
}

/// What was done, in the form of the server's answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotated {
    done: bool,
    new_key: bool,
    resealed: u64,
    unreadable: u64,
    previous_file: Option<String>,
}

/// What came of trying without a server.
enum Unserved {
    Rotated(Rotated),
    /// Why it was not possible, unless a server was asked for.
    No(Option<String>),
}

/// Rotates in the store itself, where no server has it.
fn unserved(settings: &Settings, server: &str) -> Result<Unserved> {
    if !server.is_empty() {
        return Ok(Unserved::No(None));
    }
    let Some(encryption_keys) = keys::encryption_keys(settings)? else {
        let dir = settings.data_dir.display();
        return Ok(Unserved::No(Some(format!("no key is known here, nor is one in {dir}"))));
    };
    if let Some(path) = settings.database_url.path().filter(|path| !path.exists()) {
        return Ok(Unserved::No(Some(format!("there is no store at {}", path.display()))));
    }
    runtime::on_one_thread(async {
        let options = Options::new(settings.database_url.reveal(), encryption_keys);
        let engine = match Engine::open(options).await {
            Ok(engine) => engine,
            Err(Error::Setup(taken)) => return Ok(Unserved::No(Some(taken))),
            Err(error) => return Err(error.into()),
        };
        let rotated = rotate(&engine).await;
        engine.stop(std::future::ready(())).await;
        Ok(Unserved::Rotated(rotated?))
    })
}

async fn rotate(engine: &Engine) -> Result<Rotated> {
    let mut all = Rotated::default();
    while !all.done {
        let step = engine.rotate_key().await?;
        all.add(Rotated {
            done: step.done,
            new_key: step.new_key,
            resealed: step.resealed,
            unreadable: step.unreadable,
            previous_file: step.previous_file.map(|file| file.display().to_string()),
        });
    }
    Ok(all)
}

/// Lets the server do it, a part with each request.
fn ask_server(settings: &Settings, server: &str) -> Result<Rotated> {
    let company = CompanyId::new(SystemClock.now());
    let asker = Asker { settings, server, role: ROLE, company };
    let mut all = Rotated::default();
    while !all.done {
        let (method, body) = (Method::POST, Bytes::new());
        let question = Question { method, path: &["rotate-key"], query: &[], key: None, body };
        let (url, answer) = asker.ask(&[], question)?;
        let answer = ask::granted(&url, answer)?;
        all.add(serde_json::from_slice(&answer).map_err(|error| {
            Failure::Failed(format!("the server's answer cannot be read: {error}"))
        })?);
    }
    Ok(all)
}

impl Rotated {
    fn add(&mut self, step: Rotated) {
        if step.new_key {
            out::say("a new key was made, and everything new is sealed with it");
        }
        self.resealed += step.resealed;
        if !step.done {
            out::say(&format!("{} secrets sealed anew so far", self.resealed));
        }
        *self = Rotated { resealed: self.resealed, ..step };
    }
}

fn report(told: &Rotated) -> Result {
    out::answer(&format!("{} secrets were sealed anew", told.resealed))?;
    if told.unreadable > 0 {
        return Err(Failure::Failed(format!(
            "{} secrets open with no key and stay as they are; `fanfare check` names their endpoints",
            told.unreadable
        )));
    }
    let key = told.previous_file.as_deref().map_or(PREVIOUS_KEY.to_owned(), out::tame);
    out::answer(&format!(
        "done: nothing is sealed with the key before any more, and {key} may be removed; keep that \
         key elsewhere as long as you may go back to an older copy of the store"
    ))
}
