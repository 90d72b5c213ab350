use std::time::{Duration, Instant};

/// How far behind the server's clock a stream may be before that counts as its time being set.
const STEP: Duration = Duration::from_secs(2);
/// A clock that runs slower than the server's is moved by so much at a key frame, once it is behind by twice that: players
/// learn of the moments of pictures and of sound one after the other, and must not see them apart.
const SLEW: Duration = Duration::from_millis(10);

/// The time of a stream: timestamps that never wrap, and the moments that they mean by the server's clock.
///
/// Pictures and sound share it, so that players keep both together.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<(u32, u64)>,
    /// A time, and its moment.
    base: Option<(u64, Instant)>,
    /// The least by which times were behind since the last key frame.
    behind: Option<Duration>,
}

/// Where times begin, so that none is negative.
const ZERO: u64 = 1 << 32;

impl Clock {
    /// Milliseconds of a timestamp.
    pub(super) fn time(&mut self, timestamp: u32) -> u64 {
        let time = match self.last {
            Some((last, time)) => time.saturating_add_signed(i64::from(timestamp.wrapping_sub(last) as i32)),
            None => ZERO + u64::from(timestamp),
        };
        self.last = Some((timestamp, time));
        time
    }

    /// The moment of a time. It is not after now.
    pub(super) fn moment(&mut self, now: Instant, time: u64) -> Instant {
        let moment = self.base.and_then(|base| at(base, time));
        let moment = match moment {
            Some(moment) if moment <= now => moment,
            // Times come early by what came before them was late.
            _ => {
                self.base = Some((time, now));
                now
            }
        };
        let behind = now.saturating_duration_since(moment);
        self.behind = Some(self.behind.map_or(behind, |least| least.min(behind)));
        moment
    }

    /// A key frame begins: a clock that has got behind is set.
    pub(super) fn settle(&mut self) {
        let (Some(behind), Some((_, moment))) = (self.behind.take(), &mut self.base) else { return };
        if behind > STEP {
            *moment += behind;
        } else if behind > 2 * SLEW {
            *moment += SLEW;
        }
    }
}

fn at((base, moment): (u64, Instant), time: u64) -> Option<Instant> {
    match time.checked_sub(base) {
        Some(later) => moment.checked_add(Duration::from_millis(later)),
        None => moment.checked_sub(Duration::from_millis(base - time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_that_wrap_go_on() {
        let mut clock = Clock::default();
        let first = clock.time(u32::MAX - 10);
        assert_eq!(clock.time(29), first + 40);
        assert_eq!(clock.time(u32::MAX), first + 10, "one that comes late");
    }

    #[test]
    fn a_clock_that_runs_slower_or_faster_is_followed_in_small_steps() {
        #[allow(clippy::disallowed_methods)] // any instant will do
        let start = Instant::now();
        for parts_in_a_million in [-300_i64, 0, 300] {
            let (mut clock, mut last) = (Clock::default(), None::<Instant>);
            // Two hours of 25 pictures a second, with a key frame every 2 s.
            for picture in 0..180_000_u64 {
                if picture.is_multiple_of(50) {
                    clock.settle();
                }
                let time = picture * 40;
                let real = (time * 1000).saturating_add_signed(time as i64 * parts_in_a_million / 1000);
                let now = start + Duration::from_micros(real);
                let moment = clock.moment(now, time);
                assert!(now.duration_since(moment) < Duration::from_millis(40), "{parts_in_a_million}: at {time}");
                let apart = last.map_or(40, |last| moment.duration_since(last).as_millis());
                assert!((39..=51).contains(&apart), "{parts_in_a_million}: {apart} ms at {time}");
                last = Some(moment);
            }
        }
    }

    #[test]
    fn moments_are_linear_and_never_ahead() {
        #[allow(clippy::disallowed_methods)] // any instant will do
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut clock = Clock::default();
        assert_eq!(clock.moment(start, 1000), start);
        assert_eq!(clock.moment(start + ms(70), 1040), start + ms(40), "it came late");
        assert_eq!(clock.moment(start + ms(70), 1080), start + ms(70), "it came early");
        assert_eq!(clock.moment(start + ms(110), 1120), start + ms(110));
        clock.settle();
        assert_eq!(clock.moment(start + ms(5000), 1160), start + ms(150));
        clock.settle();
        assert_eq!(clock.moment(start + ms(5040), 1200), start + ms(5040));
    }
}
