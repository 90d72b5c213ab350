use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of one name: an encoder that comes back time and again loses nothing.
const OF_NAME: Rate = Rate { at_once: 60, each: Duration::from_secs(1) };
/// Of all names together: all that a large server records may begin at once.
const OF_ALL: Rate = Rate { at_once: 4000, each: Duration::from_millis(100) };

/// How many files may begin at once, and then one each time that long has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) at_once: u32,
    pub(super) each: Duration,
}

/// A file of that many bytes does not count: the room that each file has for its index is little beside that.
const WORTHWHILE: u64 = 1 << 20;
/// How long nothing is recorded after the disk has failed or was full; twice as long after each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest such pause: so long after there is room again, recording goes on.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often files begin, of one name or of all, whichever client publishes and however often. Each file takes room, a
/// name and work, whatever is in it: no publisher may have them by the thousand.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When all files so far have had their time.
    due: Instant,
    /// True once it was said that files wait.
    said: bool,
    /// Failures in a row.
    failures: u32,
    /// When the disk may be tried again.
    pause: Option<Instant>,
}

/// Why no file begins now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The disk has failed or was full.
    Pause,
    /// There were too many lately. To be said if that is new.
    TooMany { new: bool },
}

impl Pace {
    /// Of one name.
    pub(super) fn new(now: Instant) -> Self {
        Pace::with(OF_NAME, now)
    }

    /// Of all names together.
    pub(super) fn of_all(now: Instant) -> Self {
        Pace::with(OF_ALL, now)
    }

    pub(super) fn with(rate: Rate, now: Instant) -> Self {
        Pace { rate, state: Mutex::new(State { due: now, said: false, failures: 0, pause: None }) }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// True if a file may begin at that time.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let state = self.state();
        state.pause.is_none_or(|until| until <= now) && self.rate.has_room(&state, now)
    }

    /// A file is to begin: counts it.
    ///
    /// # Errors
    /// It may not begin now.
    pub(super) fn begin(&self, now: Instant) -> Result<(), Wait> {
        let mut state = self.state();
        if state.pause.is_some_and(|until| until > now) {
            return Err(Wait::Pause);
        }
        if !self.rate.has_room(&state, now) {
            return Err(Wait::TooMany { new: !std::mem::replace(&mut state.said, true) });
        }
        state.due = state.due.max(now) + self.rate.each;
        if state.due <= now + self.rate.each {
            state.said = false;
        }
        Ok(())
    }

    /// A file has begun. True if it is the first after failures.
    pub(super) fn began(&self) -> bool {
        let mut state = self.state();
        state.pause = None;
        std::mem::take(&mut state.failures) > 0
    }

    /// A file has come to its end with so many bytes.
    pub(super) fn ended(&self, length: u64) {
        if length >= WORTHWHILE {
            let mut state = self.state();
            state.due = state.due.checked_sub(self.rate.each).unwrap_or(state.due);
        }
    }

    /// The disk has failed. The pause, if it is the first time: others are not worth a line.
    pub(super) fn failed(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let doubled = FIRST_PAUSE.saturating_mul(1 << state.failures.min(8));
        let pause = doubled.min(LONGEST_PAUSE);
        state.pause = Some(now + pause);
        state.failures = state.failures.saturating_add(1);
        (state.failures == 1).then_some(pause)
    }

    /// True if it makes no difference to a new one.
    pub(super) fn is_past(&self, now: Instant) -> bool {
        let state = self.state();
        state.due <= now && state.pause.is_none_or(|until| until + LONGEST_PAUSE <= now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rate {
    fn has_room(self, state: &State, now: Instant) -> bool {
        state.due.saturating_duration_since(now) <= self.each * (self.at_once - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_begin_at_once_and_then_one_a_second() {
        let start = Instant::now();
        let pace = Pace::new(start);
        let begun = |now: Instant| (0..100).filter(|_| pace.begin(now).is_ok()).count();
        assert_eq!(begun(start), OF_NAME.at_once as usize);
        assert!(!pace.allows(start) && pace.begin(start) == Err(Wait::TooMany { new: false }), "said once");
        assert_eq!((1..=30).map(|second| begun(start + OF_NAME.each * second)).sum::<usize>(), 30);
        assert!(!pace.is_past(start + OF_NAME.each * 30));
        let later = start + OF_NAME.each * 120;
        assert!(pace.is_past(later));
        // Files that have something in them do not count.
        for _ in 0..100 {
            assert!(pace.begin(later).is_ok());
            pace.ended(WORTHWHILE);
        }
        assert_eq!((begun(later), pace.begin(later)), (OF_NAME.at_once as usize, Err(Wait::TooMany { new: false })));
    }

    #[test]
    fn a_disk_that_fails_is_tried_now_and_then_and_told_of_once() {
        let start = Instant::now();
        let pace = Pace::new(start);
        let (mut now, mut attempts, mut said) = (start, 0, 0);
        while now < start + Duration::from_secs(600) {
            if pace.begin(now).is_ok() {
                attempts += 1;
                said += u32::from(pace.failed(now).is_some());
            }
            now += Duration::from_millis(500);
        }
        assert!((10..=14).contains(&attempts) && said == 1, "{attempts} {said}");
        assert!(!pace.is_past(now) && pace.is_past(now + 2 * LONGEST_PAUSE));
        let again = now + LONGEST_PAUSE;
        assert!(pace.begin(again).is_ok() && pace.began() && !pace.began(), "it goes on");
        assert!(pace.failed(again).is_some());
    }
}
