//! What the database says, as far as a caller can act on it. Only messages and codes are passed
//! on: a server's detail lines quote rows.

use std::error::Error as _;

use tokio_postgres::Error;

use crate::store::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        of(&error)
    }
}

/// An error of a connection or a statement.
pub(super) fn of(error: &Error) -> StoreError {
    let Some(said) = error.as_db_error() else {
        return of_connection(error);
    };
    let (code, text) = (said.code().code(), said.message());
    match code {
        "53100" => StoreError::Full(text.to_owned()),
        "08P01" if text.contains("startup parameter") => StoreError::Taken(format!(
            "{text}: PgBouncer must have `ignore_startup_parameters = options` and, in transaction \
             mode, `max_prepared_statements` above 0 (1.21 or newer)"
        )),
        // A key that was free a moment ago, a row that was moved meanwhile, a ring of waiters.
        "23505" | "40001" | "40P01" => StoreError::Raced(format!("{text} ({code})")),
        // A row that was on its way to the rest when its day got a partition.
        "23514" if text.contains("partition") => StoreError::Raced(format!("{text} ({code})")),
        STALE if !text.contains("cached plan") => StoreError::Broken(format!("{text} ({code})")),
        _ if worth_repeating(code) => StoreError::Away(format!("{text} ({code})")),
        _ => StoreError::Broken(format!("{text} ({code})")),
    }
}

/// A plan from before a table was changed, or anything else that the server cannot do.
const STALE: &str = "0A000";

/// Lost connections, shutdowns, exhausted resources, timeouts, rivals, a primary that is none.
fn worth_repeating(code: &str) -> bool {
    let classes = ["08", "53", "57P", "40"];
    let codes = ["55P03", "57014", "25006", "25P02", "25P03", "58030", "26000", STALE];
    classes.iter().any(|class| code.starts_with(class)) || codes.contains(&code)
}

fn of_connection(error: &Error) -> StoreError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let text = format!("{error}{cause}");
    // The kinds are not public, but these are mistakes of ours or in the settings.
    let ours =
        ["error serializing", "error deserializing", "invalid", "expected", "query returned"];
    if ours.iter().any(|beginning| text.starts_with(beginning)) {
        return StoreError::Broken(text);
    }
    StoreError::Away(text)
}

/// Is the connection of no use any more? A primary that takes no writes, a server that goes down, a
/// statement that is not what it was when it was prepared.
pub(super) fn spoils(error: &Error) -> bool {
    let Some(said) = error.as_db_error() else { return error.is_closed() };
    let code = said.code().code();
    ["57P", "08"].iter().any(|class| code.starts_with(class))
        || ["25006", STALE, "26000"].contains(&code)
}

/// What is wrong, without what it means.
pub(super) fn reason(error: &StoreError) -> String {
    match error {
        StoreError::Full(reason) | StoreError::Away(reason) | StoreError::Broken(reason) => {
            reason.clone()
        }
        other => other.to_string(),
    }
}

/// Something stored that cannot be read back.
pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Broken(format!("a stored {what} cannot be read"))
}
