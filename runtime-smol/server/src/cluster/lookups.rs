use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most look-ups that wait for the directory at one time.
const OPEN: usize = 100;
/// The most look-ups that begin within a second.
const A_SECOND: usize = 1000;

/// Look-ups that anyone can have the server make, as servers of SRS do without credentials. They take a small part of what the
/// directory can do, however many come.
#[derive(Debug, Default)]
pub(super) struct LookUps(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// The present second, and how many have begun in it.
    second: Option<(Instant, usize)>,
}

impl LookUps {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if one more may begin; [`end`](Self::end) it then.
    pub(super) fn begin(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let is_now = |since: &Instant| now.saturating_duration_since(*since) < Duration::from_secs(1);
        let (since, begun) = state.second.filter(|(since, _)| is_now(since)).unwrap_or((now, 0));
        let may = state.open < OPEN && begun < A_SECOND;
        if may {
            state.open += 1;
            state.second = Some((since, begun + 1));
        }
        may
    }

    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_open_and_begin_within_a_second() {
        let (lookups, now) = (LookUps::default(), Instant::now());
        assert_eq!((0..200).filter(|_| lookups.begin(now)).count(), OPEN);
        lookups.end();
        assert!(lookups.begin(now) && !lookups.begin(now));
        let begun = (0..5000)
            .filter(|_| {
                lookups.end();
                lookups.begin(now)
            })
            .count();
        assert_eq!(begun, A_SECOND - OPEN - 1);
        lookups.end();
        assert!(lookups.begin(now + Duration::from_secs(1)));
    }
}
