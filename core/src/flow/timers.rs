use std::time::Instant;

use super::Patience;

/// All `N` timers of a connection in one small table; each has at most one deadline.
#[derive(Debug)]
pub(crate) struct Timers<const N: usize> {
    timers: [Option<Patience>; N],
}

impl<const N: usize> Default for Timers<N> {
    fn default() -> Self {
        Timers { timers: [None; N] }
    }
}

impl<const N: usize> Timers<N> {
    /// Something of our own is due then.
    pub(crate) fn set(&mut self, timer: impl Into<usize>, deadline: Instant) {
        self.limit(timer, Patience::none(deadline));
    }

    /// The peer has so long for something.
    pub(crate) fn limit(&mut self, timer: impl Into<usize>, patience: Patience) {
        self.timers[timer.into()] = Some(patience);
    }

    pub(crate) fn clear(&mut self, timer: impl Into<usize>) {
        self.timers[timer.into()] = None;
    }

    pub(crate) fn clear_all(&mut self) {
        self.timers = [None; N];
    }

    pub(crate) fn is_set(&self, timer: impl Into<usize>) -> bool {
        self.timers[timer.into()].is_some()
    }

    /// Whether it is to be looked at, and when its time is over as far as it is known.
    pub(crate) fn due(&self, timer: impl Into<usize>, now: Instant) -> Option<Instant> {
        self.timers[timer.into()].as_ref().filter(|patience| patience.next_look() <= now).map(Patience::end)
    }

    /// True once, when its time is over.
    pub(crate) fn take_expired(&mut self, timer: impl Into<usize>, now: Instant) -> bool {
        self.timers[timer.into()].take_if(|patience| patience.is_over(now)).is_some()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.timers.iter().flatten().map(Patience::next_look).min()
    }
}
