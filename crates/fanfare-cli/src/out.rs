//! What a command prints. Never panics when nobody reads it any more.

use std::io::{ErrorKind, Write, stderr, stdout};

use crate::failure::{Failure, Result};

/// Prints a line for a person. That nobody may be reading does not matter.
pub(crate) fn say(line: &str) {
    let _ = writeln!(stdout().lock(), "{line}");
}

/// Prints what a command is for, such as a token. Fails when it cannot be written, unless the
/// reader had enough.
pub(crate) fn answer(text: &str) -> Result {
    let mut out = stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints why a command failed.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(stderr().lock(), "fanfare: {message}");
}

/// Text from elsewhere as it may be shown on a terminal: control characters are escaped, lines and
/// tabs stay.
pub(crate) fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            tamed.extend(c.escape_default());
        } else {
            tamed.push(c);
        }
    }
    tamed
}
