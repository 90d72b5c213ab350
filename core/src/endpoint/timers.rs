use std::time::Instant;

use crate::time_limit::TimeLimit;

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
    timers: [Option<TimeLimit>; ALL.len()],
}

impl Timers {
    /// A task of the server itself is due at `deadline`.
    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.limit(timer, TimeLimit::none(deadline));
    }

    /// The peer has this time limit for something.
    pub(crate) fn limit(&mut self, timer: Timer, limit: TimeLimit) {
        self.timers[timer as usize] = Some(limit);
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

    /// Whether a check of the timer is due, and when its time is over as far as it is known.
    pub(crate) fn due(&self, timer: Timer, now: Instant) -> Option<Instant> {
        self.timers[timer as usize].as_ref().filter(|limit| limit.next_check() <= now).map(TimeLimit::end)
    }

    /// True once, when its time is over.
    pub(crate) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        self.timers[timer as usize].take_if(|limit| limit.is_over(now)).is_some()
    }

    /// The timer with the next check, and when that is.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        let all = self.timers.iter().zip(ALL);
        let checks = all.filter_map(|(limit, timer)| Some((limit.as_ref()?.next_check(), timer)));
        checks.min_by_key(|(check, _)| *check)
    }
}
