use std::fmt;
use std::time::Instant;

use super::SMALLEST_READ;

/// What a connection waits for, whatever comes first: bytes from the peer, its deadline, a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The next deadline: call `handle_timeout` then. `None`: nothing is due.
    pub due: Option<Due>,
    /// How to read from the peer. `None`: leave its bytes in the socket.
    pub read: Option<Read>,
    /// Bytes are to be written from `outbound`.
    pub write: bool,
    /// A player is ready for more of its source.
    pub source: bool,
}

/// How to read from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// How many bytes to read at once, at most. What comes behind a request that waits is kept, and clients that are not
    /// connected yet may make us keep little; and a read that brings very many messages is followed by smaller ones, so
    /// that other connections have their turn. The memory that a connection may take is reckoned with reads of this
    /// size; nothing breaks with larger ones.
    pub most: usize,
    /// Until when reading may wait, if the last read brought less than it could hold. `None`: read when there is
    /// something.
    ///
    /// All that comes until then is read at once, which costs one call instead of one for each message. It is said for
    /// publishers whose media is not waited for: because the stream has no players and many publish, or because frames
    /// are kept together for longer anyway. Reading earlier is right, and dearer. Where something else is due at the same
    /// time, read first.
    pub from: Option<Instant>,
}

/// A deadline and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: Instant,
    /// What for.
    pub what: DueKind,
}

/// What a connection has to do at a deadline. `Display` gives [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DueKind {
    /// The peer must be done with the handshake and `connect`.
    Connect,
    /// The peer must publish or play.
    Identify,
    /// The publisher must send a first message.
    FirstMessage,
    /// The publisher must send its next message.
    NextMessage,
    /// A client in our role must receive messages from its server.
    Silence,
    /// The server must answer a call of a client in our role.
    Answer,
    /// The peer must take what is written to it.
    Write,
    /// The peer is sent a ping.
    Ping,
    /// The final messages must be written and the peer must close.
    Linger,
    /// The players of a stream are to be woken: its frames have waited long enough, or it has become quiet and the
    /// statistics are to be complete.
    Wake,
    /// A publisher must have had a player.
    IdlePublisher,
    /// The verdict about a request must be there.
    Verdict,
    /// A connection of a draining server must be over.
    Drain,
    /// The bandwidth check goes on.
    BandwidthCheck,
    /// A player that waits for a publisher must have one.
    WaitForStream,
    /// A player gets a message that its publisher is gone.
    UnpublishNotice,
    /// Whether a player is slow, or keeps up again, is to be checked.
    SlowPlayer,
}

impl Wait {
    /// When to call `handle_timeout`.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.map(|due| due.at)
    }

    /// What is due by `now`.
    pub fn due_by(&self, now: Instant) -> Option<DueKind> {
        self.due.filter(|due| due.at <= now).map(|due| due.what)
    }
}

/// Before the first poll: bytes from the peer are welcome.
impl Default for Wait {
    fn default() -> Self {
        let read = Read { most: SMALLEST_READ, from: None };
        Wait { due: None, read: Some(read), write: false, source: false }
    }
}

impl Due {
    pub(crate) fn new(at: Instant, what: DueKind) -> Self {
        Due { at, what }
    }

    /// The first of several.
    pub(crate) fn first(all: impl Iterator<Item = Due>) -> Option<Due> {
        all.min_by_key(|due| due.at)
    }
}

impl DueKind {
    /// A name that does not change, for logs.
    pub fn name(self) -> &'static str {
        match self {
            DueKind::Connect => "connect",
            DueKind::Identify => "identify",
            DueKind::FirstMessage => "first_message",
            DueKind::NextMessage => "next_message",
            DueKind::Silence => "silence",
            DueKind::Answer => "answer",
            DueKind::Write => "write",
            DueKind::Ping => "ping",
            DueKind::Linger => "linger",
            DueKind::Wake => "wake",
            DueKind::IdlePublisher => "idle_publisher",
            DueKind::Verdict => "verdict",
            DueKind::Drain => "drain",
            DueKind::BandwidthCheck => "bandwidth_check",
            DueKind::WaitForStream => "wait_for_stream",
            DueKind::UnpublishNotice => "unpublish_notice",
            DueKind::SlowPlayer => "slow_player",
        }
    }
}

impl fmt::Display for DueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
