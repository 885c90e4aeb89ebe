//! `fanfare move`: everything into another store, and the proof that it is there.

use std::io::{IsTerminal, Write, stdout};

use clap::{Arg, ArgMatches, Command};
use fanfare::store::transfer::{Progress, Proven, Stage, transfer};

use crate::failure::{Failure, Result};
use crate::keys::make_data_dir;
use crate::settings::{DatabaseUrl, Settings, database_url, flags};
use crate::{out, runtime};

/// How many characters the bar has.
const BAR: usize = 30;

pub(super) fn command() -> Command {
    Command::new("move")
        .about("Copies a whole store into a new one, from SQLite to PostgreSQL or back")
        .after_help(
            "Stop the server first. Afterwards start it with FANFARE_DATABASE_URL naming the \
             target, and with the same keys; the keys themselves are not moved.\n\
             Whatever interrupts it, start it again: it goes on where it was. Until it says that \
             it is done, no server starts on the target.\n\
             In the end both stores are read again, each by itself, and the counts and checksums \
             of every table compared. The source stays as it is. A NUL in a text (a reason, say), \
             which PostgreSQL cannot hold, becomes U+FFFD there; payloads and keys keep theirs.",
        )
        .arg(side("from", "Where everything is"))
        .arg(side("to", "Where it goes: a new file, or a new or empty schema"))
        .args(flags(|setting| setting == "data_dir"))
}

fn side(name: &'static str, help: &str) -> Arg {
    let help = format!(
        "{help}: `sqlite:PATH` or `postgres://…` [default: what FANFARE_DATABASE_URL says]"
    );
    Arg::new(name).long(name).value_name("URL").help(help)
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    let (from, to) = (given(matches, "from")?, given(matches, "to")?);
    if from.is_none() && to.is_none() {
        return Err(Failure::Usage(
            "say where to move with --to, or from where with --from".into(),
        ));
    }
    let from = from.as_ref().unwrap_or(&settings.database_url);
    let to = to.as_ref().unwrap_or(&settings.database_url);
    if to.path().is_some_and(|path| path.starts_with(&settings.data_dir)) {
        make_data_dir(&settings.data_dir)?;
    }
    out::say(&format!("moving from {from} to {to}"));
    let mut shown = Shown::default();
    let moved = runtime::on_all_cores(async {
        let mut show = |progress| shown.show(progress);
        Ok(transfer(from.reveal(), to.reveal(), &mut show).await)
    });
    shown.end();
    report(&moved??)
}

fn given(matches: &ArgMatches, name: &str) -> Result<Option<DatabaseUrl>> {
    let given = matches.get_one::<String>(name).map(|text| database_url(text));
    given.transpose().map_err(|wrong| Failure::Usage(format!("--{name} {wrong}")))
}

fn report(proven: &[Proven]) -> Result {
    for Proven { table, rows, checksum } in proven {
        out::answer(&format!("{table:<12} {rows:>12} rows in both, sha256 {checksum}"))?;
    }
    out::answer(
        "done: both stores have the same. Start the server with FANFARE_DATABASE_URL naming the \
         target, and the same keys; none on the source any more, which would send once again what \
         waits there",
    )
}

/// What was said last of a move.
#[derive(Default)]
struct Shown {
    last: Option<(Stage, &'static str, u64)>,
}

impl Shown {
    /// A bar on a terminal; otherwise a line whenever the percentage is another one.
    fn show(&mut self, progress: Progress) {
        let Progress { stage, table, rows, of } = progress;
        let percent = rows.saturating_mul(100).checked_div(of).unwrap_or(100).min(100);
        let what = match stage {
            Stage::Copying => "copying",
            Stage::Comparing => "comparing",
        };
        let text = format!("{what} {table}: {rows} of {of} rows, {percent} %");
        let last = self.last.replace((stage, table, percent));
        if stdout().is_terminal() {
            let full = "#".repeat(BAR * usize::try_from(percent).unwrap_or_default() / 100);
            // Back to the beginning of the line, which is emptied.
            let bar = format!("\r\x1b[2K[{full:-<BAR$}] {text}");
            let mut out = stdout().lock();
            let _ = out.write_all(bar.as_bytes()).and_then(|()| out.flush());
        } else if last != self.last {
            out::say(&text);
        }
    }

    /// Leaves the bar behind.
    fn end(&self) {
        if self.last.is_some() && stdout().is_terminal() {
            out::say("");
        }
    }
}
