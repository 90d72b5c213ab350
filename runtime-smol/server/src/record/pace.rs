use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For files of one name: enough for an encoder that reconnects often.
const OF_NAME: Rate = Rate { at_once: 60, each: Duration::from_secs(1) };
/// For files of all names: enough for all streams of a large server to begin at once.
const OF_ALL: Rate = Rate { at_once: 4000, each: Duration::from_millis(100) };

/// The number of files that may begin at once, and the time after which each further one may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) at_once: u32,
    pub(super) each: Duration,
}

/// A file of so many bytes does not count, because its index is small in comparison.
const WORTHWHILE: u64 = 1 << 20;
/// The pause in recording after the disk has failed or was full; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause. When there is room on the disk again, recording goes on after at most this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Limits how often files of one name, or of all names, begin. Each file takes room on the disk and work, even if it is
/// nearly empty, so publishers must not be able to make thousands of them.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the files so far are used up: each file adds `Rate::each`.
    due: Instant,
    /// True after the log said that files wait.
    said: bool,
    /// Failures in a row.
    failures: u32,
    /// When the disk may be tried again.
    pause: Option<Instant>,
}

/// Why no file may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The disk has failed or was full.
    Pause,
    /// Too many files began recently. If `new`, it must be logged.
    TooMany { new: bool },
}

impl Pace {
    /// For files of one name.
    pub(super) fn new(now: Instant) -> Self {
        Pace::with(OF_NAME, now)
    }

    /// For files of all names.
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

    /// Counts a file that is about to begin.
    ///
    /// # Errors
    /// The file may not begin now.
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

    /// Notes that a file has begun. Returns true if it is the first after failures.
    pub(super) fn began(&self) -> bool {
        let mut state = self.state();
        state.pause = None;
        std::mem::take(&mut state.failures) > 0
    }

    /// Notes that a file has ended with so many bytes.
    pub(super) fn ended(&self, length: u64) {
        if length >= WORTHWHILE {
            let mut state = self.state();
            state.due = state.due.checked_sub(self.rate.each).unwrap_or(state.due);
        }
    }

    /// Notes that the disk has failed. Returns the pause, and whether it is the first failure in a row, the only one to
    /// be logged.
    pub(super) fn failed(&self, now: Instant) -> (Duration, bool) {
        let mut state = self.state();
        let doubled = FIRST_PAUSE.saturating_mul(1 << state.failures.min(8));
        let pause = doubled.min(LONGEST_PAUSE);
        state.pause = Some(now + pause);
        state.failures = state.failures.saturating_add(1);
        (pause, state.failures == 1)
    }

    /// True if it can be replaced by a new one.
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
        // Large files do not count.
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
                said += u32::from(pace.failed(now).1);
            }
            now += Duration::from_millis(500);
        }
        assert!((10..=14).contains(&attempts) && said == 1, "{attempts} {said}");
        assert!(!pace.is_past(now) && pace.is_past(now + 2 * LONGEST_PAUSE));
        let again = now + LONGEST_PAUSE;
        assert!(pace.begin(again).is_ok() && pace.began() && !pace.began(), "it goes on");
        assert!(pace.failed(again).1);
    }
}
