use std::time::Instant;

use crate::patience::Patience;

/// What a connection waits for; each has at most one deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Handshake and `connect`, then a first `publish` or `play` where it has to come.
    Setup,
    /// The next word of a peer that has to speak.
    Silence,
    /// Progress of a write.
    Write,
    /// The next ping to the peer, where it is sent any.
    Ping,
    /// The last bytes of a closing connection.
    Linger,
}

const ALL: [Timer; 5] = [Timer::Setup, Timer::Silence, Timer::Write, Timer::Ping, Timer::Linger];

/// All timers of a connection in one small table; each has at most one deadline.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    timers: [Option<Patience>; ALL.len()],
}

impl Timers {
    /// Something of our own is due then.
    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.limit(timer, Patience::none(deadline));
    }

    /// The peer has so long for something.
    pub(crate) fn limit(&mut self, timer: Timer, patience: Patience) {
        self.timers[timer as usize] = Some(patience);
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.timers[timer as usize] = None;
    }

    pub(crate) fn clear_all(&mut self) {
        *self = Timers::default();
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.timers[timer as usize].is_some()
    }

    /// Whether it is to be looked at, and when its time is over as far as it is known.
    pub(crate) fn due(&self, timer: Timer, now: Instant) -> Option<Instant> {
        self.timers[timer as usize].as_ref().filter(|patience| patience.next_look() <= now).map(Patience::end)
    }

    /// True once, when its time is over.
    pub(crate) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        self.timers[timer as usize].take_if(|patience| patience.is_over(now)).is_some()
    }

    /// The one that is to be looked at first, and when.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        let all = self.timers.iter().zip(ALL);
        let looks = all.filter_map(|(patience, timer)| Some((patience.as_ref()?.next_look(), timer)));
        looks.min_by_key(|(look, _)| *look)
    }
}
