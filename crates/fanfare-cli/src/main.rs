//! The command `fanfare`.

mod commands;
mod failure;
mod keys;
mod logs;
mod out;
mod receiver;
mod runtime;
mod samples;
mod server;
mod settings;
mod signals;
mod verify;

use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = commands::fanfare().get_matches();
    match commands::run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::complain(failure.message());
            failure.code()
        }
    }
}
