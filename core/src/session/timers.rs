use crate::flow;

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

impl From<Timer> for usize {
    fn from(timer: Timer) -> usize {
        timer as usize
    }
}

/// All timers of a session.
pub(super) type Timers = flow::Timers<5>;
