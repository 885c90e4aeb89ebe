//! Running what waits.

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::failure::{Failure, Result};

/// Leaves no copy of this process's memory behind, in which keys may be, should it crash. Nor may
/// another process of the same user look into it.
pub(crate) fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Where it is refused, nothing is worse than before.
    let _ = setrlimit(Resource::Core, none);
    // The limit says nothing to those who get core dumps through a pipe.
    #[cfg(target_os = "linux")]
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Runs `work` on all cores, with as many open files as the system grants: every connection is one.
pub(crate) fn on_all_cores<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let files = getrlimit(Resource::Nofile);
    // Where even this is refused, the smaller number has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    run(Builder::new_multi_thread(), work)
}

/// Runs `work` on this thread.
pub(crate) fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    run(Builder::new_current_thread(), work)
}

fn run<T>(mut builder: Builder, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime: Runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no threads can be started: {error}")))?;
    let result = runtime.block_on(work);
    // A name that is still being resolved holds its thread; nobody waits for it any more.
    runtime.shutdown_background();
    result
}
