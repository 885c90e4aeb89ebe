//! The errors a caller can act on. Anything else is `Internal`.

use std::borrow::Cow;

use crate::model::Flaw;
use crate::store::StoreError;

/// The result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an engine call failed. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller sent something that can never work.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field of the input, by its path.
        field: Cow<'static, str>,
        /// What is wrong with it and what would be right, for people.
        reason: String,
    },
    /// The payload is larger than the limit.
    #[error("data: {size} bytes are more than the {max} allowed (FANFARE_MAX_PAYLOAD)")]
    TooLarge {
        /// Bytes as sent.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The payloads of one call are together larger than the limit.
    #[error("events: {size} bytes of payload are more than the {max} allowed in one call")]
    TooMuch {
        /// Bytes as sent.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// One of several events was refused, and with it the others.
    #[error("events[{at}].{error}")]
    OfSeveral {
        /// Which, from 0.
        at: usize,
        /// Why.
        error: Box<Error>,
    },
    /// The delivery has ended, so that nothing can be done about it.
    #[error("the delivery {id} has ended already: it {how}")]
    Final {
        /// The delivery.
        id: String,
        /// `was concluded` or `has failed`.
        how: &'static str,
    },
    /// The thing named does not exist, or belongs to another company.
    #[error("no {kind} with id {id}")]
    NotFound {
        /// `endpoint`, `event`, `delivery`, `replay`, `company`.
        kind: &'static str,
        /// The id as given.
        id: String,
    },
    /// Another event was accepted, or another replay asked for, under the same id or idempotency
    /// key before.
    #[error("{what} was used before for something else")]
    Conflict {
        /// `id` or `Idempotency-Key`.
        what: &'static str,
    },
    /// An endpoint's secret was replaced a short while ago, and the one before it still signs.
    #[error(
        "the secret before this one signs until {until}; rotate after that, or with gracePeriod 0 \
         to have only the new secret sign from here on"
    )]
    RotationUnderWay {
        /// Until when.
        until: String,
    },
    /// The payload of an old event is not kept any more, so that it cannot be sent again.
    #[error("the event's payload has expired, so it cannot be sent again")]
    PayloadExpired,
    /// The engine is stopping and takes nothing new.
    #[error("the server is shutting down; try again in a moment")]
    Draining,
    /// The store could not serve the call; the same call may work later.
    #[error("{0}")]
    Unavailable(#[source] StoreError),
    /// A bug or damaged data. Not the caller's fault, not worth a retry.
    #[error("internal error")]
    Internal(#[source] StoreError),
    /// The store was made with another key than the one this setting has now.
    #[error(
        "{setting} is not the key that this store was made with; set it to that key again, or put \
         its key file back"
    )]
    WrongKey {
        /// The setting, by the name of its environment variable.
        setting: String,
    },
    /// Something in the store is still sealed with the key before the present one.
    #[error(
        "{setting} is still needed: a part of the store is sealed with the key before \
         FANFARE_ENCRYPTION_KEY. Give that key too, or put its file back (`….previous`), until \
         `fanfare rotate-key` says that it is done"
    )]
    KeyStillNeeded {
        /// The setting, by the name of its environment variable.
        setting: &'static str,
    },
    /// Everything is sealed with the present key, and it is not ours to make another one.
    #[error(
        "everything is sealed with FANFARE_ENCRYPTION_KEY; to seal it with another key, restart \
         the server with that key there and the present one in FANFARE_ENCRYPTION_KEY_PREVIOUS, \
         and rotate then"
    )]
    NothingToRotate,
    /// The engine cannot start as it is set up.
    #[error("{0}")]
    Setup(String),
}

impl Error {
    /// The thing named does not exist, or belongs to another company.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Error {
        Error::NotFound { kind, id: id.to_string() }
    }

    /// The caller sent something that can never work.
    pub fn invalid(field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Error {
        Error::Invalid { field: field.into(), reason: reason.into() }
    }
}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        Error::invalid(flaw.field, flaw.reason)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) | StoreError::Away(_) | StoreError::Raced(_) => {
                Error::Unavailable(error)
            }
            StoreError::Taken(reason) => Error::Setup(reason),
            StoreError::Broken(_) | StoreError::Untrusted(_) => Error::Internal(error),
        }
    }
}
