use std::time::{Duration, Instant};

/// As long as for ever, and yet no more than a clock can tell.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The time so long after `now`. Without a timeout it is [`Duration::MAX`], of which no clock knows the end.
pub(crate) fn after(now: Instant, time: Duration) -> Instant {
    now + time.min(FOR_EVER)
}

/// How long lies between the two looks at a time limit; an eighth of it if that is less.
const GRACE: Duration = Duration::from_secs(1);
/// How often a look that comes late is followed by another one: a server that is always late has limits all the same.
pub(crate) const LATE_LOOKS: u8 = 3;

/// A limit on the time of a peer or a back end. What they did in time may lie in a socket: the process may have been stopped
/// (SIGSTOP, a container that is paused, a virtual machine that was frozen), and then finds at once that everybody's time
/// is over and that they have all sent something. So there are two looks, the first one [`GRACE`] before the end. Their
/// time is over only at a second one that comes about when it was meant to: in between there was time to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When to look next.
    look: Instant,
    /// In microseconds.
    grace: u32,
    /// How often it was looked at.
    looks: u8,
}

impl Patience {
    /// From now on for so long.
    pub(crate) fn new(now: Instant, time: Duration) -> Self {
        Patience::until(after(now, time), time)
    }

    /// Until then, of so long in all.
    pub(crate) fn until(end: Instant, time: Duration) -> Self {
        let grace = GRACE.min(time / 8);
        let micros = grace.as_micros() as u32;
        let look = end.checked_sub(Duration::from_micros(micros.into())).unwrap_or(end);
        Patience { look, grace: micros, looks: 0 }
    }

    /// Until then, and over with the first look: for what the server itself does.
    pub(crate) fn none(end: Instant) -> Self {
        Patience { look: end, grace: 0, looks: 0 }
    }

    /// When to look, at the latest.
    pub(crate) fn next_look(&self) -> Instant {
        self.look
    }

    /// When the time is over, as far as it is known.
    pub(crate) fn end(&self) -> Instant {
        if self.looks == 0 { after(self.look, self.grace()) } else { self.look }
    }

    /// Looks; true if the time is over.
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
