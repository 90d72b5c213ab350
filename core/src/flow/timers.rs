use std::time::Instant;

/// All `N` timers of a connection in one small table; each has at most one deadline.
#[derive(Debug)]
pub(crate) struct Timers<const N: usize> {
    deadlines: [Option<Instant>; N],
}

impl<const N: usize> Default for Timers<N> {
    fn default() -> Self {
        Timers { deadlines: [None; N] }
    }
}

impl<const N: usize> Timers<N> {
    pub(crate) fn set(&mut self, timer: impl Into<usize>, deadline: Instant) {
        self.deadlines[timer.into()] = Some(deadline);
    }

    pub(crate) fn clear(&mut self, timer: impl Into<usize>) {
        self.deadlines[timer.into()] = None;
    }

    pub(crate) fn clear_all(&mut self) {
        self.deadlines = [None; N];
    }

    pub(crate) fn is_set(&self, timer: impl Into<usize>) -> bool {
        self.deadlines[timer.into()].is_some()
    }

    /// True once, when the deadline has come.
    pub(crate) fn take_expired(&mut self, timer: impl Into<usize>, now: Instant) -> bool {
        self.deadlines[timer.into()].take_if(|deadline| *deadline <= now).is_some()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }
}
