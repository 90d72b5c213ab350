use std::time::{Duration, Instant};

/// Stands for "no limit", and is small enough to be added to an `Instant`.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// `now` plus `time`. A timeout of [`Duration::MAX`] means no limit, and `Instant` cannot hold that sum.
pub(crate) fn after(now: Instant, time: Duration) -> Instant {
    now + time.min(FOR_EVER)
}

/// Time between the two checks of a time limit; an eighth of the limit if that is less.
const GRACE: Duration = Duration::from_secs(1);
/// How often a late check is followed by another one. This bounds the delay: a server that is always late still has
/// limits.
pub(crate) const LATE_LOOKS: u8 = 3;

/// A time limit for a peer or a back end. The process may have been stopped (SIGSTOP, a paused container, a frozen
/// virtual machine). When it continues, all deadlines have passed at once, and what the peers sent in time still lies
/// unread in the sockets. So the limit is checked twice, first [`GRACE`] before the end. The time is over only at a
/// second check that comes when it was planned: between the two checks there was time to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When to check next.
    look: Instant,
    /// In microseconds.
    grace: u32,
    /// How often it was checked.
    looks: u8,
}

impl Patience {
    /// Ends `time` after `now`.
    pub(crate) fn new(now: Instant, time: Duration) -> Self {
        Patience::until(after(now, time), time)
    }

    /// Ends at `end`; the whole limit is `time`.
    pub(crate) fn until(end: Instant, time: Duration) -> Self {
        let grace = GRACE.min(time / 8);
        let micros = grace.as_micros() as u32;
        let look = end.checked_sub(Duration::from_micros(micros.into())).unwrap_or(end);
        Patience { look, grace: micros, looks: 0 }
    }

    /// Ends at `end`, with the first check: for tasks of the server itself.
    pub(crate) fn none(end: Instant) -> Self {
        Patience { look: end, grace: 0, looks: 0 }
    }

    /// When to check next, at the latest.
    pub(crate) fn next_look(&self) -> Instant {
        self.look
    }

    /// When the time is over, as far as it is known.
    pub(crate) fn end(&self) -> Instant {
        if self.looks == 0 { after(self.look, self.grace()) } else { self.look }
    }

    /// Checks the limit; true if the time is over.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if now < self.look {
            return false;
        }
        let grace = self.grace();
        let in_time = self.looks > 0 && now <= after(self.look, grace);
        if in_time || grace.is_zero() || self.looks > LATE_LOOKS {
            return true;
        }
        let end = self.end();
        self.looks += 1;
        self.look = end.max(after(now, grace));
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
    fn a_peer_that_is_looked_at_in_time_has_just_its_time() {
        for time in [SECOND * 10, SECOND, Duration::from_millis(1), Duration::from_nanos(1), Duration::ZERO] {
            let (start, mut looks) = (start(), 0);
            let mut patience = Patience::new(start, time);
            assert_eq!(patience.end(), start + time);
            while !patience.is_over(patience.next_look()) {
                looks += 1;
            }
            assert_eq!((patience.next_look(), patience.end()), (start + time, start + time));
            assert!(looks <= 1, "{looks}");
        }
    }

    #[test]
    fn there_is_time_to_read_after_a_pause_wherever_it_lies() {
        let time = SECOND * 10;
        for (from, to) in [(1, 95), (1, 100), (1, 101), (1, 109), (1, 1000), (91, 400), (99, 400)] {
            let start = start();
            let at = |tenths: u32| start + SECOND / 10 * tenths;
            let mut patience = Patience::new(start, time);
            let is_over = (0..from).any(|tenths| patience.is_over(at(tenths)));
            assert!(!is_over && !patience.is_over(at(to)), "{from} to {to}");
            let again = patience.next_look().saturating_duration_since(at(to));
            assert!(patience.end() >= start + time && again >= SECOND / 2, "{from} to {to}: {again:?}");
            assert!(patience.is_over(patience.next_look()), "that was the time for it");
        }
    }

    #[test]
    fn a_server_that_is_always_late_has_limits_all_the_same() {
        let mut patience = Patience::new(start(), SECOND * 10);
        let late = |patience: &mut Patience| patience.is_over(patience.next_look() + SECOND * 5);
        assert_eq!((0..10).take_while(|_| !late(&mut patience)).count(), 1 + usize::from(LATE_LOOKS));
    }

    #[test]
    fn never_is_never() {
        let start = start();
        let mut patience = Patience::new(start, Duration::MAX);
        assert!(!patience.is_over(start + SECOND * 86_400 * 365));
    }
}
