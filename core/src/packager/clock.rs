use std::time::{Duration, Instant};

use super::Time;

/// By how much the wall clock may drift from the other one before it counts as set.
const DRIFT: Duration = Duration::from_secs(1);

/// What the wall clock says at any moment, by a clock that rises. A wall clock may be set: limits of time must not see
/// that, and dates of what is over stay what they were.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    /// A moment, and its time since 1970.
    dates: Option<(Instant, Duration)>,
    /// The same at the beginning: it stays.
    steady: Option<(Instant, Duration)>,
}

impl Clock {
    /// Takes what both clocks say. Returns it with the date by this clock.
    pub(super) fn read(&mut self, time: Time) -> Time {
        let wall = Duration::from_millis(time.wall);
        let here = (time.now, wall);
        self.steady.get_or_insert(here);
        let is_set = self.dates.is_none_or(|dates| at(dates, time.now).abs_diff(wall) > DRIFT);
        if is_set {
            self.dates = Some(here);
        }
        Time { now: time.now, wall: self.date(time.now) }
    }

    /// The date of a moment, in milliseconds since 1970.
    pub(super) fn date(&self, moment: Instant) -> u64 {
        self.dates.map_or(0, |dates| at(dates, moment).as_millis() as u64)
    }

    /// Milliseconds that rise like the time; since 1970, if the wall clock was right when the server started.
    pub(super) fn steady(&self, moment: Instant) -> u64 {
        self.steady.map_or(0, |steady| at(steady, moment).as_millis() as u64)
    }
}

fn at((moment, date): (Instant, Duration), other: Instant) -> Duration {
    match other.checked_duration_since(moment) {
        Some(later) => date.saturating_add(later),
        None => date.saturating_sub(moment.saturating_duration_since(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_changes_dates_and_no_limit_of_time() {
        #[allow(clippy::disallowed_methods)] // any instant will do; nothing else reads the clock
        let start = Instant::now();
        let moment = |milliseconds: u64| start + Duration::from_millis(milliseconds);
        let mut clock = Clock::default();
        clock.read(Time { now: moment(0), wall: 1_000_000 });
        // It drifts, which is no step, and is set back by a minute.
        let drifted = clock.read(Time { now: moment(10_000), wall: 1_010_700 });
        assert_eq!(
            (drifted.wall, clock.date(moment(4000)), clock.steady(moment(4000))),
            (1_010_000, 1_004_000, 1_004_000)
        );
        let set = clock.read(Time { now: moment(20_000), wall: 960_000 });
        assert_eq!((set.wall, clock.date(moment(19_000))), (960_000, 959_000));
        assert_eq!(clock.steady(moment(20_000)), 1_020_000);
    }
}
