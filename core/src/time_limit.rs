use std::time::{Duration, Instant};

/// The time that stands for "no limit"; it is small enough to be added to an `Instant`.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 86_400);

/// `now` plus `time`. A timeout of [`Duration::MAX`] means no limit, and `Instant` cannot hold that sum.
pub(crate) fn deadline_after(now: Instant, time: Duration) -> Instant {
    now + time.min(NO_LIMIT)
}

/// Time between the two checks of a time limit; an eighth of the limit if that is less.
const GRACE: Duration = Duration::from_secs(1);
/// How often a late check is followed by another one. This bounds the delay: a server that is always late still has
/// limits.
pub(crate) const LATE_CHECKS: u8 = 3;

/// A time limit for a peer or a back end. The process may have been stopped (SIGSTOP, a paused container, a frozen
/// virtual machine). When it continues, all deadlines have passed at once, and what the peers sent in time still lies
/// unread in the sockets. So the limit is checked twice, first [`GRACE`] before the end. The time is over only at a
/// second check that comes when it was planned: between the two checks there was time to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit {
    /// When to check next.
    check: Instant,
    /// In microseconds.
    grace: u32,
    /// How often it was checked.
    checks: u8,
}

impl TimeLimit {
    /// Ends `time` after `now`.
    pub(crate) fn new(now: Instant, time: Duration) -> Self {
        TimeLimit::until(deadline_after(now, time), time)
    }

    /// Ends at `end`; the whole limit is `time`.
    pub(crate) fn until(end: Instant, time: Duration) -> Self {
        let grace = GRACE.min(time / 8);
        let micros = grace.as_micros() as u32;
        let check = end.checked_sub(Duration::from_micros(micros.into())).unwrap_or(end);
        TimeLimit { check, grace: micros, checks: 0 }
    }

    /// Ends at `end`, with the first check: for tasks of the server itself.
    pub(crate) fn none(end: Instant) -> Self {
        TimeLimit { check: end, grace: 0, checks: 0 }
    }

    /// When to check next, at the latest.
    pub(crate) fn next_check(&self) -> Instant {
        self.check
    }

    /// When the time is over, as far as it is known.
    pub(crate) fn end(&self) -> Instant {
        if self.checks == 0 { deadline_after(self.check, self.grace()) } else { self.check }
    }

    /// Checks the limit; true if the time is over.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if now < self.check {
            return false;
        }
        let grace = self.grace();
        let in_time = self.checks > 0 && now <= deadline_after(self.check, grace);
        if in_time || grace.is_zero() || self.checks > LATE_CHECKS {
            return true;
        }
        let end = self.end();
        self.checks += 1;
        self.check = end.max(deadline_after(now, grace));
        false
    }

    fn grace(&self) -> Duration {
        Duration::from_micros(self.grace.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        Instant::now()
    }

    #[test]
    fn a_limit_that_is_checked_in_time_ends_exactly_then() {
        for time in [SECOND * 10, SECOND, Duration::from_millis(1), Duration::from_nanos(1), Duration::ZERO] {
            let (start, mut checks) = (start(), 0);
            let mut limit = TimeLimit::new(start, time);
            assert_eq!(limit.end(), start + time);
            while !limit.is_over(limit.next_check()) {
                checks += 1;
            }
            assert_eq!((limit.next_check(), limit.end()), (start + time, start + time));
            assert!(checks <= 1, "{checks}");
        }
    }

    #[test]
    fn after_a_pause_at_any_time_there_is_time_to_read() {
        let time = SECOND * 10;
        for (from, to) in [(1, 95), (1, 100), (1, 101), (1, 109), (1, 1000), (91, 400), (99, 400)] {
            let start = start();
            let at = |tenths: u32| start + SECOND / 10 * tenths;
            let mut limit = TimeLimit::new(start, time);
            let is_over = (0..from).any(|tenths| limit.is_over(at(tenths)));
            assert!(!is_over && !limit.is_over(at(to)), "{from} to {to}");
            let again = limit.next_check().saturating_duration_since(at(to));
            assert!(limit.end() >= start + time && again >= SECOND / 2, "{from} to {to}: {again:?}");
            assert!(limit.is_over(limit.next_check()), "that was the time for it");
        }
    }

    #[test]
    fn a_limit_that_is_always_checked_late_ends_too() {
        let mut limit = TimeLimit::new(start(), SECOND * 10);
        let late = |limit: &mut TimeLimit| limit.is_over(limit.next_check() + SECOND * 5);
        assert_eq!((0..10).take_while(|_| !late(&mut limit)).count(), 1 + usize::from(LATE_CHECKS));
    }

    #[test]
    fn a_limit_of_the_longest_duration_never_ends() {
        let start = start();
        let mut limit = TimeLimit::new(start, Duration::MAX);
        assert!(!limit.is_over(start + SECOND * 86_400 * 365));
    }
}
