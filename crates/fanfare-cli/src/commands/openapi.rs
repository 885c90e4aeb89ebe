//! `fanfare openapi`: the description of every route, as JSON.

use clap::{ArgMatches, Command};

use crate::failure::Result;
use crate::out;

pub(super) fn command() -> Command {
    Command::new("openapi").about("Prints the OpenAPI document")
}

pub(super) fn run(_: &ArgMatches) -> Result {
    out::answer(&fanfare_server::openapi())
}
