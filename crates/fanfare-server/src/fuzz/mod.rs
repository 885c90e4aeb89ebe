//! What fuzzers call: each function takes any bytes and panics when a promise is broken.

#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a broken promise is what a fuzzer looks for"
)]

mod forms;
mod tokens;

pub use forms::bodies;
pub use tokens::{claims, jwt};

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare::clock::ManualClock;
use fanfare::model::{Answer, Outcome, Timestamp};
use fanfare::send::{Request, Sent, Transport};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// When everything happens.
const NOW: Timestamp = Timestamp(1_751_680_331_000);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

/// A key that nobody knows.
fn secret() -> Vec<u8> {
    [Uuid::new_v4(), Uuid::new_v4()].iter().flat_map(|half| half.into_bytes()).collect()
}

/// A network that answers everything with the same.
struct Echo(&'static str);

#[async_trait]
impl Transport for Echo {
    async fn send(&self, _: Request) -> Sent {
        let body = Bytes::from_static(self.0.as_bytes());
        let answer = Answer { status: 200, headers: Default::default(), body, flaw: None };
        Outcome::Answered(answer).into()
    }
}

#[cfg(test)]
mod tests {
    use fanfare_testkit::fuzz::play;

    #[test]
    fn no_text_is_taken_for_a_token() {
        play("jwt", 5_000, super::jwt);
    }

    #[test]
    fn no_claims_let_in_who_may_not() {
        play("claims", 5_000, super::claims);
    }

    #[test]
    fn no_body_breaks_the_server() {
        play("bodies", 3_000, super::bodies);
    }
}
