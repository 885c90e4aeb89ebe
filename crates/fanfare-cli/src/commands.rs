//! The commands, one file each.

mod ask;
mod check;
mod demo;
mod emit;
mod explain;
mod listen;
mod move_store;
mod nodes;
mod openapi;
mod outbox_sql;
mod replay;
mod rotate_key;
mod serve;
mod token;

use clap::{ArgMatches, Command};

use crate::failure::Result;
use crate::out;
use crate::settings::markdown;

/// How a command is called, and what it does.
type Entry = (fn() -> Command, fn(&ArgMatches) -> Result);

/// Every command.
const COMMANDS: [Entry; 14] = [
    (serve::command, serve::run),
    (demo::command, demo::run),
    (token::command, token::run),
    (emit::command, emit::run),
    (explain::command, explain::run),
    (replay::command, replay::run),
    (listen::command, listen::run),
    (check::command, check::run),
    (nodes::command, nodes::run),
    (rotate_key::command, rotate_key::run),
    (outbox_sql::command, outbox_sql::run),
    (move_store::command, move_store::run),
    (openapi::command, openapi::run),
    (settings_table, |_| out::answer(markdown().trim_end())),
];

/// The whole command line.
pub(crate) fn fanfare() -> Command {
    Command::new("fanfare")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Delivers webhooks: durable, signed, retried, visible")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(COMMANDS.iter().map(|(command, _)| command()))
}

/// Does what the command line asks for.
pub(crate) fn run(matches: &ArgMatches) -> Result {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let asked = COMMANDS.iter().find(|(command, _)| command().get_name() == name);
    asked.map_or(Ok(()), |(_, run)| run(matches))
}

/// Prints what the README shows between its markers.
fn settings_table() -> Command {
    Command::new("settings-table").about("Prints the table of settings").hide(true)
}
