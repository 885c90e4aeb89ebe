//! Calls that go on when their caller goes away.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;

use crate::engine::World;

/// Runs `call` to its end, in the background once whoever waits for it is dropped: what it has
/// changed in the store must reach the lanes. A claim made at birth whose caller has hung up would
/// otherwise wait for the end of its lease.
pub(super) fn finish<F>(world: &Arc<World>, call: F) -> Finish<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    Finish { world: Arc::clone(world), call: Some(Box::pin(call)) }
}

/// A call under way.
pub(super) struct Finish<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    world: Arc<World>,
    call: Option<Pin<Box<F>>>,
}

impl<F> Future for Finish<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let output = ready!(call.as_mut().poll(context));
        self.call = None;
        Poll::Ready(output)
    }
}

impl<F> Drop for Finish<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        // Outside a runtime the process is ending, and after a panic there is nothing to go on with.
        let (Some(call), Ok(runtime)) = (self.call.take(), Handle::try_current()) else { return };
        if !std::thread::panicking() {
            self.world.tasks.spawn_on(async move { drop(call.await) }, &runtime);
        }
    }
}
