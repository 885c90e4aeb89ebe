//! The command `fanfare`.

#![forbid(unsafe_code)]

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

/// Small blocks that one thread takes and another gives back are what a delivery is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::leave_no_core();
    let matches = commands::fanfare().get_matches();
    match commands::run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::complain(failure.message());
            failure.code()
        }
    }
}
