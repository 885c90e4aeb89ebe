//! `fanfare outbox-sql`: what makes an outbox in a database of the platform's own.

use clap::{Arg, ArgMatches, Command};
use fanfare::store::{POSTGRES_OUTBOX, SQLITE_OUTBOX};

use crate::failure::Result;
use crate::out;

/// The schema where the server looks when its URL names none.
const SCHEMA: &str = "fanfare";

pub(super) fn command() -> Command {
    let kind = Arg::new("kind").required(true).value_parser(["sqlite", "postgres"]);
    let schema = Arg::new("schema").long("schema").value_name("NAME").default_value(SCHEMA);
    Command::new("outbox-sql")
        .about("Prints the SQL that lets a database's own transactions emit events")
        .long_about(
            "Prints the SQL that lets a database's own transactions emit events, to be run in the \
             platform's database; FANFARE_OUTBOX_URL then names that database to the server.\n\
             docs/emit-in-a-transaction.md tells the rest.",
        )
        .args([
            kind.help("Which database"),
            schema.help(
                "PostgreSQL: the schema; the server's URL then ends in \
                         ?options=-csearch_path%3DNAME",
            ),
        ])
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let text = |name| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    out::answer(&match text("kind") {
        "sqlite" => SQLITE_OUTBOX.trim_end().to_owned(),
        _ => in_schema(text("schema")),
    })
}

fn in_schema(name: &str) -> String {
    let name = format!("\"{}\"", name.replace('"', "\"\""));
    let outbox = POSTGRES_OUTBOX.trim_end();
    format!(
        "begin;
create schema if not exists {name};
set local search_path = {name};

{outbox}

commit;

-- For the role with which the server takes the events, unless it is the owner:
--   grant usage on schema {name} to the_server;
--   grant select, update, delete on {name}.outbox to the_server;
-- For a role that may emit and do nothing else here:
--   grant usage on schema {name} to the_shop;
--   grant execute on function {name}.emit to the_shop;"
    )
}
