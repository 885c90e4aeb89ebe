//! How long a step takes.

use std::time::Duration;

use crate::metrics::Stopwatch;

/// Does a step and notes how long it took; also when it is cut short, so that what used up the time
/// until the deadline is seen.
pub(super) async fn timed<T>(took: &mut Option<Duration>, step: impl Future<Output = T>) -> T {
    let _step = Step { took, since: Stopwatch::start() };
    step.await
}

struct Step<'a> {
    took: &'a mut Option<Duration>,
    since: Stopwatch,
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        *self.took = Some(self.since.elapsed());
    }
}
