use std::time::{Duration, Instant};

use super::Refusal;

/// The default window of a [`Rate`]: long enough for a GOP that begins with a large key frame, short enough to end an
/// overload before it fills queues.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(10);

/// A permitted number of bytes a second, averaged over a window.
///
/// In any period of time at most `bytes_per_second` times (its length plus the window) passes. A client that sends at
/// the rate is never over it, and one that sent less may catch up by one window. A single message larger than rate
/// times window never passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bytes per second: a bitrate divided by eight.
    pub bytes_per_second: u64,
    /// The time over which the rate is averaged.
    pub window: Duration,
}

impl Rate {
    /// A rate averaged over [`DEFAULT_WINDOW`].
    pub fn new(bytes_per_second: u64) -> Self {
        Rate { bytes_per_second, window: DEFAULT_WINDOW }
    }

    /// Bytes that the rate permits in `time`, at most those of one window.
    pub(crate) fn earns(&self, time: Duration) -> u64 {
        let bytes = u128::from(self.bytes_per_second) * time.min(self.window).as_nanos() / NANOS_PER_SECOND;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// What may come at once, in the units of the meter.
    fn burst(&self) -> u128 {
        self.window.as_nanos().saturating_mul(self.bytes_per_second.into())
    }
}

/// Checks what is sent against a [`Rate`]: a leaky bucket, exact to the byte. The caller gives the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateMeter {
    rate: Rate,
    /// The level of the bucket: what was sent, less what the rate has let out since. In bytes times nanoseconds per
    /// second, so that nothing is rounded.
    debt: u128,
    last: Instant,
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

fn cost(bytes: usize) -> u128 {
    u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(NANOS_PER_SECOND)
}

impl RateMeter {
    /// A meter that has counted nothing: a whole window may come at once.
    pub fn new(rate: Rate, now: Instant) -> Self {
        RateMeter { rate, debt: 0, last: now }
    }

    /// Counts bytes that were sent at `now`. A time before the last one counts as the last one.
    ///
    /// # Errors
    /// [`Refusal::LimitBitrate`] if the rate does not permit them; the bytes are not counted then.
    pub fn add(&mut self, now: Instant, bytes: usize) -> Result<(), Refusal> {
        self.work_off(now);
        match self.debt.checked_add(cost(bytes)) {
            Some(debt) if debt <= self.rate.burst() => {
                self.debt = debt;
                Ok(())
            }
            _ => Err(Refusal::LimitBitrate),
        }
    }

    /// Counts as many of these bytes as the rate permits, to the byte, and returns how many.
    pub fn take(&mut self, now: Instant, bytes: usize) -> usize {
        self.work_off(now);
        let taken = bytes.min(usize::try_from(self.room() / NANOS_PER_SECOND).unwrap_or(usize::MAX));
        self.debt = self.debt.saturating_add(cost(taken));
        taken
    }

    /// Changes the rate from now on. As many bytes as before may come at once, and `more` on top, but no more than the
    /// new rate permits in its window. `more` is what a rate that is added brings with it.
    pub fn change(&mut self, now: Instant, rate: Rate, more: u64) {
        self.work_off(now);
        let more = u128::from(more).saturating_mul(NANOS_PER_SECOND);
        let room = self.room().saturating_add(more).min(rate.burst());
        (self.rate, self.debt) = (rate, rate.burst() - room);
    }

    fn work_off(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last).as_nanos();
        self.last = self.last.max(now);
        self.debt = self.debt.saturating_sub(elapsed.saturating_mul(self.rate.bytes_per_second.into()));
    }

    fn room(&self) -> u128 {
        self.rate.burst().saturating_sub(self.debt)
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)] // any instant will do; the test's clock starts there
        Instant::now()
    }

    /// Sends the bytes at the given milliseconds and returns which were refused.
    fn refused(bytes_per_second: u64, window: Duration, sent: &[(u64, usize)]) -> Vec<bool> {
        let start = start();
        let mut meter = RateMeter::new(Rate { bytes_per_second, window }, start);
        sent.iter().map(|&(ms, bytes)| meter.add(start + Duration::from_millis(ms), bytes).is_err()).collect()
    }

    #[test]
    fn bursts_of_one_window_pass_and_no_more() {
        let window = Duration::from_secs(2);
        for (sent, expected) in [
            (&[(0, 2000), (0, 1)][..], &[false, true][..]),
            (&[(0, 2001)], &[true]),
            (&[(0, 2001), (0, 2000)], &[true, false]),
            (&[(0, 2000), (1000, 1000), (1000, 1)], &[false, false, true]),
            (&[(0, 2000), (1, 1), (1, 1)], &[false, false, true]),
            (&[(0, 2000), (9000, 2000), (9000, 1)], &[false, false, true]),
            (&[(9000, 2000), (0, 1), (9000, 1), (9001, 1)], &[false, true, true, false]),
        ] {
            assert_eq!(refused(1000, window, sent), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_rate_or_window_of_zero_lets_nothing_through() {
        assert_eq!(refused(0, DEFAULT_WINDOW, &[(0, 0), (60_000, 1)]), [false, true]);
        assert_eq!(refused(1000, Duration::ZERO, &[(0, 0), (60_000, 1)]), [false, true]);
        assert_eq!(refused(u64::MAX, Duration::MAX, &[(0, usize::MAX), (1, usize::MAX)]), [false, false]);
    }

    #[test]
    fn a_steady_stream_at_the_rate_is_never_refused() {
        let frames: Vec<(u64, usize)> = (0..10_000).map(|frame| (frame * 40, 5000)).collect();
        assert!(refused(125_000, Duration::from_secs(1), &frames).iter().all(|refused| !refused));
        let refused = refused(124_000, Duration::from_secs(1), &frames);
        assert!(refused.iter().any(|refused| *refused), "0.8 % too much is refused");
    }

    proptest! {
        #[test]
        fn taking_is_adding_as_much_as_fits(
            rate in 0u64..5000,
            window in 0u64..4000,
            sent in prop::collection::vec((0u64..1500, 0usize..4000), 1..40),
        ) {
            let start = start();
            let rate = Rate { bytes_per_second: rate, window: Duration::from_millis(window) };
            let (mut whole, mut single) = (RateMeter::new(rate, start), RateMeter::new(rate, start));
            let mut now = start;
            for (pause, bytes) in sent {
                now += Duration::from_millis(pause);
                prop_assert_eq!(single.add(now, 0), Ok(()));
                let one_by_one = (0..bytes).take_while(|_| single.add(now, 1).is_ok()).count();
                prop_assert_eq!(whole.take(now, bytes), one_by_one);
                prop_assert_eq!(&whole, &single);
            }
        }

        #[test]
        fn a_change_of_rate_gives_no_more_than_it_says(
            (before, after) in (0u64..5000, 0u64..5000), window in 0u64..4000, used in 0usize..20_000, more in 0u64..9000,
        ) {
            let start = start();
            let rate = |bytes_per_second| Rate { bytes_per_second, window: Duration::from_millis(window) };
            let mut meter = RateMeter::new(rate(before), start);
            let room = |rate: u64| usize::try_from(rate * window / 1000).unwrap();
            let left = room(before) - meter.take(start, used);
            meter.change(start, rate(after), more);
            let most = room(after).min(left + usize::try_from(more).unwrap());
            // The change may leave a fraction of a byte.
            prop_assert!(most.abs_diff(meter.take(start, usize::MAX)) <= 1);
            prop_assert_eq!(meter.rate(), rate(after));
        }

        #[test]
        fn no_period_has_more_than_its_length_and_one_window(
            rate in 0u64..5000,
            window in 0u64..4000,
            sent in prop::collection::vec((0u64..1500, 0usize..4000), 1..40),
        ) {
            let mut now = 0;
            let sent: Vec<(u64, usize)> = sent.into_iter().map(|(pause, bytes)| { now += pause; (now, bytes) }).collect();
            let refused = refused(rate, Duration::from_millis(window), &sent);
            let passed: Vec<(u64, u64)> = sent
                .iter()
                .zip(&refused)
                .map(|(&(at, bytes), &refused)| (at, if refused { 0 } else { u64::try_from(bytes).unwrap() }))
                .collect();
            // Over all periods that end here: sum <= rate * (length + window), in thousandths of a byte.
            let over = |end: usize, extra: u64| {
                (0..=end).any(|from| {
                    let sum: u64 = passed[from..=end].iter().map(|(_, bytes)| bytes).sum();
                    (sum + extra) * 1000 > rate * (passed[end].0 - passed[from].0 + window)
                })
            };
            for end in 0..passed.len() {
                prop_assert!(!over(end, 0));
                let bytes = u64::try_from(sent[end].1).unwrap();
                prop_assert!(!refused[end] || over(end, bytes), "refused though the rate permits it");
            }
        }

        #[test]
        fn any_times_and_sizes_are_safe(
            rate in any::<u64>(), window in any::<u64>(), sent in prop::collection::vec((0u64..1 << 40, any::<usize>()), 0..20),
        ) {
            refused(rate, Duration::from_secs(window), &sent);
        }
    }
}
