use std::time::{Duration, Instant};

/// Watches whether the peer takes what is written. Looked at a few times in the time it may take, so that a write itself
/// touches nothing.
#[derive(Debug)]
pub(crate) struct WriteWatch {
    /// Bytes written when progress was last seen.
    mark: u64,
    /// When that was.
    progress: Instant,
}

impl WriteWatch {
    pub(crate) fn new(now: Instant) -> Self {
        WriteWatch { mark: 0, progress: now }
    }

    /// Bytes begin to wait.
    pub(crate) fn begin(&mut self, now: Instant, written: u64) {
        *self = WriteWatch { mark: written, progress: now };
    }

    /// True if nothing was taken for as long as `patience`.
    pub(crate) fn is_stalled(&mut self, now: Instant, written: u64, patience: Duration) -> bool {
        if written != self.mark {
            self.begin(now, written);
            return false;
        }
        now >= self.progress + patience
    }

    /// When to look again.
    pub(crate) fn next_look(now: Instant, patience: Duration) -> Instant {
        now + patience / 4
    }
}
