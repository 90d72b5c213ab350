use std::time::{Duration, Instant};

use super::slow_path::SlowPath;

/// Bytes that may lie unread with the system: its buffers hold twice as much before they stop the peer.
const UNREAD: u64 = 32 << 10;
/// How long they may lie there: the end of a publisher is seen that much later.
pub(super) const LONGEST: Duration = Duration::from_millis(200);
/// So long before frames leave their publisher is read, the longest first.
const EARLY: [Duration; 2] = [Duration::from_millis(2), Duration::from_micros(500)];
/// How long bytes are counted to know how many come in a second.
const SPAN: Duration = Duration::from_millis(500);

/// How much a publisher sends, as its reads have it.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    /// When the present span began, and how many had come by then.
    span: Option<(Instant, u64)>,
    /// How many had come at the last read.
    received: u64,
    /// Bytes a second over the span before.
    rate: Option<u64>,
    /// True if the last read brought nothing.
    is_dry: bool,
}

impl Inflow {
    /// Notes that so many bytes have come, all in all. How long what comes next may lie unread: half of what might, for
    /// pictures differ in size. `None` if nothing is known yet, if this was too much already, or if nothing comes any
    /// more.
    pub(super) fn note(&mut self, now: Instant, received: u64) -> Option<Duration> {
        let (began, before) = *self.span.get_or_insert((now, received));
        let taken = received - std::mem::replace(&mut self.received, received);
        let was_dry = std::mem::replace(&mut self.is_dry, taken == 0);
        let span = now.saturating_duration_since(began);
        if span >= SPAN {
            self.rate = Some(((received - before) as f64 / span.as_secs_f64()) as u64);
            self.span = Some((now, received));
        }
        if taken >= UNREAD || (was_dry && self.is_dry) {
            return None;
        }
        let time = Duration::from_secs_f64((UNREAD / 2) as f64 / self.rate?.max(1) as f64);
        Some(time.min(LONGEST))
    }
}

impl SlowPath {
    /// See [`Conn::next_read`](super::Conn::next_read).
    pub(super) fn next_read(&mut self, now: Instant) -> Option<Instant> {
        if self.pending.is_some() || !self.playing.is_empty() || self.session.is_closing() {
            return None;
        }
        let received = self.session.received();
        let mut next = self.publishing.first_mut()?.rests_until(now, received)?;
        for publishing in &mut self.publishing[1..] {
            next = next.min(publishing.rests_until(now, received)?);
        }
        // Silence is not to be found where nobody listened.
        let next = self.session.deadline().map_or(next, |deadline| next.min(deadline));
        let early = EARLY.iter().filter_map(|early| next.checked_sub(*early));
        early.chain([next]).find(|time| *time > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_as_the_systems_buffers_hold_may_lie_unread() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut inflow, mut received) = (Inflow::default(), 0);
        let mut read = |ms, bytes| {
            received += bytes;
            inflow.note(at(ms), received)
        };
        assert_eq!(read(0, 3000), None, "nothing is known yet");
        assert_eq!(read(499, 1000), None);
        // 10 kB in half a second: 16 KiB come in 800 ms.
        assert_eq!(read(500, 9000), Some(LONGEST));
        assert_eq!(read(700, UNREAD), None, "that was too much");
        assert_eq!(read(900, UNREAD - 1), Some(LONGEST), "by what is known");
        let fits = read(1000, 1).expect("a time");
        assert_eq!(fits.as_millis(), 125, "65,536 bytes in half a second");
    }

    #[test]
    fn where_nothing_comes_any_more_it_is_to_be_noticed_when_something_does() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut inflow = Inflow::default();
        inflow.note(start, 100);
        assert_eq!(inflow.note(at(500), 200), Some(LONGEST));
        assert_eq!(inflow.note(at(600), 200), Some(LONGEST), "it may have come too early");
        assert_eq!(inflow.note(at(700), 200), None);
        assert_eq!(inflow.note(at(710), 300), Some(LONGEST));
    }
}
