//! Waiting for events, with an end to patience.

use std::time::Duration;

use tokio::sync::watch;

/// How long anything that should happen at once may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `event`, at most `limit`.
///
/// # Panics
/// When it takes longer, saying `what` did not happen.
pub async fn within<T>(limit: Duration, what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// The pause of somebody who is to try again: a client that was refused, a server that starts.
pub async fn pause() {
    let never = std::future::pending::<()>();
    let _ = tokio::time::timeout(Duration::from_millis(20), never).await;
}

/// Waits until a number that only grows has reached `goal`.
pub(crate) async fn reached(number: &watch::Sender<u64>, goal: u64) {
    let mut number = number.subscribe();
    // The sender is borrowed, so it is there.
    let _ = number.wait_for(|number| *number >= goal).await;
}
