use std::time::Instant;

/// What a session waits for; each has at most one deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Timer {
    /// The handshake and `connect`, then a first `publish` or `play`.
    Setup,
    /// The next message of a publisher.
    Publish,
    /// Progress of a write.
    Write,
    /// The next ping to the peer.
    Ping,
    /// The last bytes of a closing connection.
    Linger,
}

const COUNT: usize = 5;

/// All timers of a session in one small table.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; COUNT],
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = Some(deadline);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(super) fn clear_all(&mut self) {
        self.deadlines = [None; COUNT];
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.deadlines[timer as usize].is_some()
    }

    /// True once, when the deadline has come.
    pub(super) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let expired = self.deadlines[timer as usize].is_some_and(|deadline| deadline <= now);
        if expired {
            self.clear(timer);
        }
        expired
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }
}
