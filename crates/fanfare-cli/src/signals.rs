//! SIGTERM and SIGINT.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, Result};

/// The signals that ask a program to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they no longer end the program by themselves.
    pub(crate) fn catch() -> Result<Signals> {
        let catch = |kind| {
            signal(kind).map_err(|error| Failure::Failed(format!("no signal is heard: {error}")))
        };
        let terminate = catch(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
