//! What the database says, as far as a caller can act on it. Only messages and codes are passed
//! on: a server's detail lines quote rows.

use std::error::Error as _;

use deadpool_postgres::PoolError;
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
        // A key that was free a moment ago, a row that was moved meanwhile, a ring of waiters.
        "23505" | "40001" | "40P01" => StoreError::Raced(format!("{text} ({code})")),
        _ if worth_repeating(code) => StoreError::Away(format!("{text} ({code})")),
        _ => StoreError::Broken(format!("{text} ({code})")),
    }
}

/// Lost connections, shutdowns, exhausted resources, timeouts, rivals, a primary that is none.
fn worth_repeating(code: &str) -> bool {
    let classes = ["08", "53", "57P", "40"];
    let codes = ["55P03", "57014", "25006", "25P02", "25P03"];
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

/// No connection to be had.
pub(super) fn of_pool(error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => of(error),
        PoolError::Closed => StoreError::Away("the store is closed".to_owned()),
        other => StoreError::Away(other.to_string()),
    }
}

/// Something stored that cannot be read back.
pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Broken(format!("a stored {what} cannot be read"))
}
