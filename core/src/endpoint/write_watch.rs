use std::time::{Duration, Instant};

use crate::time_limit::deadline_after;

/// How many checks the write timeout is divided into.
const CHECKS: u8 = 4;

/// Watches whether the peer takes what is written. It checks a few times during the write timeout, so that a write
/// itself does not touch this.
#[derive(Debug)]
pub(crate) struct WriteWatch {
    /// Bytes written at the last progress.
    mark: u64,
    /// When that was, and the number of checks since: a process that was stopped for long has made one check.
    progress: Instant,
    checks: u8,
}

impl WriteWatch {
    pub(crate) fn new(now: Instant) -> Self {
        WriteWatch { mark: 0, progress: now, checks: 0 }
    }

    /// Bytes begin to wait for the peer.
    pub(crate) fn begin(&mut self, now: Instant, written: u64) {
        *self = WriteWatch { mark: written, ..WriteWatch::new(now) };
    }

    /// Checks; true if the peer took nothing for as long as `timeout`.
    pub(crate) fn is_stalled(&mut self, now: Instant, written: u64, timeout: Duration) -> bool {
        if written != self.mark {
            self.begin(now, written);
            return false;
        }
        self.checks = self.checks.saturating_add(1);
        self.checks >= CHECKS && now >= deadline_after(self.progress, timeout)
    }

    /// When to check again.
    pub(crate) fn next_check(now: Instant, timeout: Duration) -> Instant {
        deadline_after(now, timeout / CHECKS.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn a_pause_of_the_process_counts_as_one_check() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let mut watch = WriteWatch::new(start);
        watch.begin(start, 7);
        let mut now = start + Duration::from_secs(1000);
        let mut checks = 0;
        while !watch.is_stalled(now, 7, TIMEOUT) {
            now = WriteWatch::next_check(now, TIMEOUT);
            checks += 1;
        }
        assert_eq!(checks, 3, "as it would be without the pause");
        assert!(!watch.is_stalled(now, 8, TIMEOUT), "it takes something");
    }

    #[test]
    fn without_a_pause_the_write_stalls_after_exactly_the_timeout() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let mut watch = WriteWatch::new(start);
        watch.begin(start, 7);
        let mut now = WriteWatch::next_check(start, TIMEOUT);
        while !watch.is_stalled(now, 7, TIMEOUT) {
            now = WriteWatch::next_check(now, TIMEOUT);
        }
        assert_eq!(now, start + TIMEOUT);
    }
}
