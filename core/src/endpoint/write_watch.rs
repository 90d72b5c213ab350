use std::time::{Duration, Instant};

use crate::patience::after;

/// How many checks the write timeout is divided into.
const LOOKS: u8 = 4;

/// Watches whether the peer takes what is written. It checks a few times during the write timeout, so that a write
/// itself does not touch this.
#[derive(Debug)]
pub(crate) struct WriteWatch {
    /// Bytes written at the last progress.
    mark: u64,
    /// When that was, and the number of checks since: a process that was stopped for long has made one check.
    progress: Instant,
    looks: u8,
}

impl WriteWatch {
    pub(crate) fn new(now: Instant) -> Self {
        WriteWatch { mark: 0, progress: now, looks: 0 }
    }

    /// Bytes begin to wait for the peer.
    pub(crate) fn begin(&mut self, now: Instant, written: u64) {
        *self = WriteWatch { mark: written, ..WriteWatch::new(now) };
    }

    /// Checks; true if the peer took nothing for as long as `patience`.
    pub(crate) fn is_stalled(&mut self, now: Instant, written: u64, patience: Duration) -> bool {
        if written != self.mark {
            self.begin(now, written);
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        self.looks >= LOOKS && now >= after(self.progress, patience)
    }

    /// When to check again.
    pub(crate) fn next_look(now: Instant, patience: Duration) -> Instant {
        after(now, patience / LOOKS.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_pause_of_the_process_is_one_look() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let mut watch = WriteWatch::new(start);
        watch.begin(start, 7);
        let mut now = start + Duration::from_secs(1000);
        let mut looks = 0;
        while !watch.is_stalled(now, 7, PATIENCE) {
            now = WriteWatch::next_look(now, PATIENCE);
            looks += 1;
        }
        assert_eq!(looks, 3, "as it would be without the pause");
        assert!(!watch.is_stalled(now, 8, PATIENCE), "it takes something");
    }

    #[test]
    fn without_a_pause_it_is_the_time_itself() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let mut watch = WriteWatch::new(start);
        watch.begin(start, 7);
        let mut now = WriteWatch::next_look(start, PATIENCE);
        while !watch.is_stalled(now, 7, PATIENCE) {
            now = WriteWatch::next_look(now, PATIENCE);
        }
        assert_eq!(now, start + PATIENCE);
    }
}
