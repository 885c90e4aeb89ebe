//! How a command ends when it does not succeed.

use std::process::ExitCode;

use fanfare::Error;
use fanfare::store::StoreError;

/// The result of a command.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command ended, in words for the person who started it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was tried and failed.
    Failed(String),
    /// It was asked for in a way that cannot work: wrong usage, or a wrong setting.
    Usage(String),
    /// The store can no longer be trusted: the disk lost a write.
    Untrusted(String),
}

impl Failure {
    /// The exit code (contract, section 1).
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Untrusted(_) => 70,
        })
    }

    /// What to tell.
    pub(crate) fn message(&self) -> &str {
        let (Failure::Failed(message) | Failure::Usage(message) | Failure::Untrusted(message)) =
            self;
        message
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // Its own words are for callers, who must not see what is inside; these are for the
            // one who runs it.
            Error::Internal(cause) | Error::Unavailable(cause) => cause.into(),
            wrong @ (Error::WrongKey { .. } | Error::KeyStillNeeded { .. }) => {
                Failure::Usage(wrong.to_string())
            }
            other => Failure::Failed(other.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Untrusted(_) => Failure::Untrusted(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        }
    }
}
