use std::time::{Duration, Instant};

use super::{Pacing, Publishers, Sockets, WakeTimer};
use crate::time_limit::deadline_after;

/// The shortest wait that saves reads. Audio frames are about 20 ms apart (AAC: 1024 samples at 44.1 or 48 kHz),
/// pictures seldom less: a shorter wait brings one message, like a read at once.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// How long bytes are counted to measure the byte rate: about ten frames of each kind.
const RATE_SPAN: Duration = Duration::from_millis(500);

impl Pacing {
    /// When to next read a publisher that was read at `last` and whose stream has no player; `None`: when something
    /// arrives.
    pub(crate) fn next_read_if_unplayed(&self, last: Instant, publishers: &Publishers) -> Option<Instant> {
        let waits = self.read_wait >= SHORTEST_WAIT && publishers.count() >= self.read_wait_publishers;
        waits.then(|| publishers.common_time(deadline_after(last, self.read_wait)))
    }

    /// When to next read a publisher that was read at `last` and whose stream has players, so that players are woken no
    /// later than without the wait; `None`: when something arrives. `window` is how long its frames wait now.
    pub(crate) fn next_read_if_played(
        &self,
        (now, last): (Instant, Instant),
        window: Duration,
        wakes: &WakeTimer,
        sockets: &Sockets,
    ) -> Option<Instant> {
        // In each window: the reads before its end, the read at its end, and one read for what follows.
        let reads = u32::try_from(sockets.early_reads.len()).unwrap_or(u32::MAX).saturating_add(2);
        if self.read_wait < SHORTEST_WAIT || window < SHORTEST_WAIT.saturating_mul(reads) {
            return None;
        }
        let wake = wakes.no_wake_before(window)?;
        let early = sockets.early_reads.iter().filter_map(|early| wake.checked_sub(*early));
        let next = early.chain([wake]).find(|time| *time > now)?;
        Some(next.min(deadline_after(last, self.read_wait)))
    }
}

/// When to read a connection next.
///
/// It is asked after each read, and may be asked any number of times between reads: it knows from the number of bytes
/// and from its last answer whether there was a read.
#[derive(Debug, Default)]
pub(crate) struct ReadTimer {
    /// How many bytes had arrived when it was last asked.
    received: u64,
    /// When the last read was, and how many bytes it brought.
    last: Option<(Instant, u64)>,
    /// How many reads in a row brought nothing.
    empty: u8,
    /// When the current measurement began, and how many bytes had arrived by then.
    span: Option<(Instant, u64)>,
    /// Bytes a second in the last measurement.
    rate: Option<u64>,
    /// The last answer.
    next: Option<Instant>,
}

impl ReadTimer {
    /// When to read next, if this many bytes have arrived in total; `None`: when something arrives. `wait` gives the
    /// time until which a read may wait after the given time, if it may wait. The wait is shorter if more bytes might
    /// arrive than may stay unread: half the time in which that many arrive, because pictures differ in size. The read
    /// does not wait
    ///
    /// - before the byte rate is known,
    /// - after a read that brought too much already,
    /// - after two reads in a row that brought nothing: the next bytes may be a long time away.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        received: u64,
        sockets: &Sockets,
        wait: impl FnOnce(Instant) -> Option<Instant>,
    ) -> Option<Instant> {
        self.note(now, received);
        let next = self.plan(sockets, wait);
        self.next = next.filter(|next| *next > now);
        self.next
    }

    fn note(&mut self, now: Instant, received: u64) {
        let taken = received - std::mem::replace(&mut self.received, received);
        if taken > 0 {
            self.last = Some((now, taken));
            self.empty = 0;
        } else if self.next.is_some_and(|next| next <= now) {
            self.last = Some((now, 0));
            self.empty = self.empty.saturating_add(1);
        }
        let (began, before) = *self.span.get_or_insert((now, received));
        let span = now.saturating_duration_since(began);
        if span >= RATE_SPAN {
            self.rate = Some(((received - before) as f64 / span.as_secs_f64()) as u64);
            self.span = Some((now, received));
        }
    }

    fn plan(&self, sockets: &Sockets, wait: impl FnOnce(Instant) -> Option<Instant>) -> Option<Instant> {
        let (last, taken) = self.last?;
        if taken >= sockets.unread_bytes || self.empty >= 2 {
            return None;
        }
        let fits = Duration::from_secs_f64((sockets.unread_bytes / 2) as f64 / self.rate?.max(1) as f64);
        Some(wait(last)?.min(deadline_after(last, fits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKETS: Sockets = Sockets { unread_bytes: 32 << 10, early_reads: &[] };
    const WAIT: Duration = Duration::from_millis(200);

    /// Any instant, at which a test's clock starts.
    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn so_much_as_the_systems_buffers_hold_may_lie_unread() {
        let start = start();
        let (mut timer, mut received) = (ReadTimer::default(), 0);
        let mut read = |ms, bytes| {
            received += bytes;
            let now = start + Duration::from_millis(ms);
            timer.next(now, received, &SOCKETS, |last| Some(last + WAIT)).map(|next| next - now)
        };
        assert_eq!(read(0, 3000), None, "nothing is known yet");
        assert_eq!(read(499, 1000), None);
        // 10 kB in half a second: 16 KiB come in 800 ms.
        assert_eq!(read(500, 9000), Some(WAIT));
        assert_eq!(read(700, SOCKETS.unread_bytes), None, "that was too much");
        assert_eq!(read(710, 0), None, "it still was");
        assert_eq!(read(900, SOCKETS.unread_bytes - 1), Some(WAIT), "by what is known");
        let fits = read(1000, 1).expect("a time");
        assert_eq!(fits.as_millis(), 125, "65,536 bytes in half a second");
    }

    #[test]
    fn after_a_read_without_input_the_next_input_is_read_at_once() {
        let start = start();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timer = ReadTimer::default();
        let mut next = |ms, received| timer.next(at(ms), received, &SOCKETS, |last| Some(last + WAIT));
        assert_eq!(next(0, 100), None);
        assert_eq!(next(500, 200), Some(at(700)));
        assert_eq!(next(600, 200), Some(at(700)), "it was not read yet");
        assert_eq!(next(700, 200), Some(at(900)), "it may have come too early");
        assert_eq!(next(900, 200), None);
        assert_eq!(next(1100, 200), None);
        assert_eq!(next(1110, 300), Some(at(1310)));
    }

    #[test]
    fn what_changes_between_reads_counts_at_once() {
        let start = start();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timer = ReadTimer::default();
        timer.next(start, 100, &SOCKETS, |_| None);
        assert_eq!(timer.next(at(500), 200, &SOCKETS, |last| Some(last + WAIT)), Some(at(700)));
        assert_eq!(timer.next(at(550), 200, &SOCKETS, |_| None), None, "a player has joined");
        assert_eq!(timer.next(at(600), 200, &SOCKETS, |last| Some(last + WAIT)), Some(at(700)), "and left");
        assert_eq!(timer.next(at(610), 200, &SOCKETS, Some), None, "that time is over");
    }

    #[test]
    fn nothing_may_lie_unread_in_sockets_of_which_nothing_is_known() {
        let start = start();
        let mut timer = ReadTimer::default();
        timer.next(start, 100, &Sockets::default(), |last| Some(last + WAIT));
        let now = start + Duration::from_millis(500);
        assert_eq!(timer.next(now, 200, &Sockets::default(), |last| Some(last + WAIT)), None);
    }

    #[test]
    fn streams_without_players_are_read_at_common_times_if_many_publish() {
        let start = start();
        let at = |micros| start + Duration::from_micros(micros);
        let pacing = Pacing { read_wait: Duration::from_millis(100), read_wait_publishers: 3, ..Pacing::default() };
        let publishers = Publishers::default();
        (0..2).for_each(|_| publishers.add());
        assert_eq!(pacing.next_read_if_unplayed(start, &publishers), None, "few publish");
        publishers.add();
        assert_eq!(pacing.next_read_if_unplayed(start, &publishers), Some(at(100_000)));
        assert_eq!(pacing.next_read_if_unplayed(at(1), &publishers), Some(at(100_000)));
        assert_eq!(pacing.next_read_if_unplayed(at(4_999), &publishers), Some(at(100_000)));
        assert_eq!(pacing.next_read_if_unplayed(at(5_000), &publishers), Some(at(105_000)));
        let short = Pacing { read_wait: Duration::from_millis(19), ..pacing };
        assert_eq!(short.next_read_if_unplayed(start, &publishers), None, "it saves no read");
        let long = Pacing { read_wait: Duration::MAX, ..pacing };
        assert!(long.next_read_if_unplayed(start, &publishers).is_some());
        publishers.remove();
        assert_eq!(pacing.next_read_if_unplayed(start, &publishers), None, "one has left");
    }
}
