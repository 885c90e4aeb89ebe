//! What a connection brings, counted and bounded. Shared by whoever reads from the network and
//! whoever waits for what is read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::Context;

/// How much is taken from the network at one go (and at most one read more), so that what it
/// unfolds to is looked at before there is more of it.
const GULP_BYTES: usize = 4 * 1024;

/// What may come while nothing is asked for yet: a TLS handshake, with a long chain of certificates.
const OPENING_BYTES_MAX: usize = 128 * 1024;

/// The allowance of a connection. One task at a time uses it; the atomics only let it be shared.
pub(super) struct Meter {
    /// Bytes that may still be read; the read that uses up the last of them may bring more.
    left: AtomicUsize,
    /// Bytes that were read, altogether.
    read: AtomicUsize,
    /// Bytes that may still be read at this go.
    gulp: AtomicUsize,
    /// More was wanted than may be read.
    starved: AtomicBool,
    /// Something was written since the request began.
    asked: AtomicBool,
    /// Something was read after that.
    heard: AtomicBool,
    /// Interim answers to this request.
    interims: AtomicUsize,
    /// Whether the socket itself is to be asked if it brought something.
    looking: AtomicBool,
    /// It did, or it was closed.
    disturbed: AtomicBool,
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter {
            left: AtomicUsize::new(OPENING_BYTES_MAX),
            read: AtomicUsize::default(),
            gulp: AtomicUsize::new(OPENING_BYTES_MAX),
            starved: AtomicBool::default(),
            asked: AtomicBool::default(),
            heard: AtomicBool::default(),
            interims: AtomicUsize::default(),
            looking: AtomicBool::default(),
            disturbed: AtomicBool::default(),
        }
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        self.asked.store(false, Relaxed);
        self.heard.store(false, Relaxed);
        self.interims.store(0, Relaxed);
        self.looking.store(false, Relaxed);
    }

    /// So much may come from now on.
    pub(super) fn allow(&self, bytes: usize) {
        self.left.store(bytes, Relaxed);
        self.starved.store(false, Relaxed);
    }

    /// How much was read so far.
    pub(super) fn read(&self) -> usize {
        self.read.load(Relaxed)
    }

    /// The next reads belong to one go.
    pub(super) fn take_breath(&self) {
        self.gulp.store(GULP_BYTES, Relaxed);
    }

    /// Has all been read that may be, and more is wanted?
    pub(super) fn starved(&self) -> bool {
        self.starved.load(Relaxed)
    }

    /// Did anything come after the request was begun to be written?
    pub(super) fn heard(&self) -> bool {
        self.heard.load(Relaxed)
    }

    /// An interim answer came.
    pub(super) fn interim(&self) {
        self.interims.fetch_add(1, Relaxed);
    }

    /// How many did.
    pub(super) fn interims(&self) -> usize {
        self.interims.load(Relaxed)
    }

    /// Asks the socket itself from now on, until the next request. The runtime learns of what
    /// arrives only when it gets round to it.
    pub(super) fn look_closely(&self) {
        self.looking.store(true, Relaxed);
    }

    /// Was there anything to see?
    pub(super) fn disturbed(&self) -> bool {
        self.disturbed.load(Relaxed)
    }

    /// For who reads: may it? If only this go is over, its task is woken for the next one.
    pub(super) fn admits(&self, cx: &Context<'_>) -> bool {
        if self.left.load(Relaxed) == 0 {
            self.starved.store(true, Relaxed);
            return false;
        }
        let admits = self.gulp.load(Relaxed) > 0;
        if !admits {
            cx.waker().wake_by_ref();
        }
        admits
    }

    /// For who reads: so much came.
    pub(super) fn took(&self, bytes: usize) {
        self.left.store(self.left.load(Relaxed).saturating_sub(bytes), Relaxed);
        self.read.fetch_add(bytes, Relaxed);
        self.gulp.store(self.gulp.load(Relaxed).saturating_sub(bytes), Relaxed);
    }

    /// For who listens: something was said.
    pub(super) fn said(&self) {
        if self.asked.load(Relaxed) {
            self.heard.store(true, Relaxed);
        }
    }

    /// For who listens: nothing was said. Should it look closely, and what did it see?
    pub(super) fn silent(&self, waiting: impl FnOnce() -> bool) {
        if self.looking.load(Relaxed) && waiting() {
            self.disturbed.store(true, Relaxed);
        }
    }

    /// For who asks.
    pub(super) fn wrote(&self) {
        self.asked.store(true, Relaxed);
    }
}
