use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Try;
use super::relay::Relay;
use crate::source::Gap;
use crate::url::{StreamKey, quoted};

/// Names a relay of the server while it exists; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub(super) u64);

impl RelayId {
    /// The number, for APIs.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The relay of this number, which an API was given.
    pub fn of_number(number: u64) -> Self {
        RelayId(number)
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a relay does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RelayKind {
    /// It publishes a stream of this server at a target.
    Push,
    /// It plays a stream at an origin and publishes it here.
    Pull,
    /// It publishes at an origin what a client publishes at this edge.
    Upward,
    /// It asks an origin whether it would grant a client's `connect`.
    Traverse,
}

impl RelayKind {
    /// A name that does not change: `push`, `pull`, `upward`, `traverse`.
    pub fn name(self) -> &'static str {
        match self {
            RelayKind::Push => "push",
            RelayKind::Pull => "pull",
            RelayKind::Upward => "upward",
            RelayKind::Traverse => "traverse",
        }
    }
}

impl fmt::Display for RelayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the target of a push comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetSource {
    /// The configuration.
    Configuration,
    /// The hook `on_forward`. The target is one of this publication only.
    Hook,
    /// The API. The target stays until it is removed.
    Api,
}

impl TargetSource {
    /// A name that does not change: `configuration`, `hook`, `api`.
    pub fn name(self) -> &'static str {
        match self {
            TargetSource::Configuration => "configuration",
            TargetSource::Hook => "hook",
            TargetSource::Api => "api",
        }
    }
}

/// How far a relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RelayState {
    /// A target of the API whose stream is not published.
    Idle,
    /// An attempt is being made, up to the peer's answer.
    Connecting,
    /// A pull is connected, and the origin sends nothing: it has no publisher of the stream.
    Silent,
    /// The peer has granted it: a push after `NetStream.Publish.Start`, a pull from its first frame on.
    Live,
    /// A push is live, and the target takes less than the stream has: it missed frames, or takes nothing.
    Lagging,
    /// The last attempt failed, and the next one comes at a known time.
    Waiting,
    /// The same, because the peer refused the stream.
    Refused,
    /// It says goodbye.
    Ending,
}

impl RelayState {
    /// All states, for metrics that have one series for each.
    pub const ALL: [RelayState; 8] = [
        RelayState::Idle,
        RelayState::Connecting,
        RelayState::Silent,
        RelayState::Live,
        RelayState::Lagging,
        RelayState::Waiting,
        RelayState::Refused,
        RelayState::Ending,
    ];

    /// A name that does not change, such as `live`.
    pub fn name(self) -> &'static str {
        match self {
            RelayState::Idle => "idle",
            RelayState::Connecting => "connecting",
            RelayState::Silent => "silent",
            RelayState::Live => "live",
            RelayState::Lagging => "lagging",
            RelayState::Waiting => "waiting",
            RelayState::Refused => "refused",
            RelayState::Ending => "ending",
        }
    }
}

impl fmt::Display for RelayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an attempt failed, or a connection ended. `Display` has no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayError {
    /// What happened, as a name that does not change: `resolve`, `connect`, `tls`, `rejected`, `loop`, `codec`, or that of
    /// a [`ClientCloseReason`](crate::client::ClientCloseReason).
    pub name: &'static str,
    /// The peer's status code, such as `NetStream.Publish.BadName`; empty if it gave none. At most 256 characters, without
    /// control characters.
    pub code: String,
    /// In words: the peer's own, or ours. Without secrets, at most 256 characters, without control characters.
    pub words: String,
    /// True if the next attempt will fail in the same way unless the operator changes something.
    pub is_lasting: bool,
}

impl RelayError {
    /// True if the server has answered: it can be reached.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.name, "rejected" | "redirect" | "reconnect" | "codec")
    }
}

/// A peer's words are in quotes, with escapes, so that they do not look like a part of the line.
impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RelayError { name, code, words, .. } = self;
        if *name != "rejected" {
            return f.write_str(words);
        }
        match (code.as_str(), words.as_str()) {
            ("", words) => write!(f, "{words:?}"),
            (code, "") => f.write_str(&quoted(code)),
            (code, words) => write!(f, "{}: {words:?}", quoted(code)),
        }
    }
}

/// A relay, for listings. It has no secrets.
#[derive(Debug, Clone)]
pub struct RelaySnapshot {
    /// Which.
    pub id: RelayId,
    /// What it does.
    pub kind: RelayKind,
    /// The stream here.
    pub key: StreamKey,
    /// The target, or the origin of the present attempt, without secrets.
    pub target: Arc<str>,
    /// Where the target comes from.
    pub source: TargetSource,
    /// How far it is.
    pub state: RelayState,
    /// Since when.
    pub since: Instant,
    /// How many attempts in a row have failed; 0 once it is live.
    pub failures: u32,
    /// When the next attempt begins, if it waits for that.
    pub next_try: Option<Instant>,
    /// Why the last attempt failed or the last connection ended; `None` if there was no failure yet.
    pub last_error: Option<RelayError>,
    /// What the peer does not take of the stream, such as a codec; empty if it takes all.
    pub left_out: String,
    /// The number of its connection, if it has one.
    pub connection: Option<u64>,
    /// The peer's address, if it is connected.
    pub peer: Option<SocketAddr>,
    /// Attempts that were made.
    pub attempts: u64,
    /// Attempts that became live.
    pub connects: u64,
    /// Bytes received on all its connections.
    pub bytes_in: u64,
    /// Bytes sent on all its connections.
    pub bytes_out: u64,
    /// Audio, video and data messages received.
    pub frames_in: u64,
    /// Audio, video and data messages sent.
    pub frames_out: u64,
    /// What a push did not send because the target was slow or gone.
    pub dropped: Gap,
    /// How many frames a push is behind the newest one.
    pub lag: u64,
    /// Time since the relay began.
    pub age: Duration,
    /// Of a pull within a cluster: over how many connections between servers the stream comes.
    pub hop: Option<u8>,
    /// Of a pull within a cluster: the id of the server that sends the stream.
    pub parent: Option<Arc<str>>,
}

impl Relay {
    pub(super) fn snapshot(&self, now: Instant) -> RelaySnapshot {
        let mut sums = self.past;
        let ups = || self.tries.iter().filter_map(Try::up);
        let mut lag = 0;
        for up in ups() {
            let one = up.stats.snapshot(now);
            sums.add(&one);
            lag = one.lag.max(lag);
        }
        let up = self.live().or_else(|| ups().next());
        let waits = self.tries.is_empty() && self.ending.is_none();
        let next_try = waits.then(|| self.goals.next_retry()).flatten();
        RelaySnapshot {
            id: self.id,
            kind: self.kind(),
            key: self.key.clone(),
            target: self.target.clone(),
            source: self.source,
            state: if self.ending.is_some() { RelayState::Ending } else { self.state },
            since: self.since,
            failures: if self.live().is_some() { 0 } else { self.goals.failures() },
            next_try: next_try.filter(|_| matches!(self.state, RelayState::Waiting | RelayState::Refused)),
            last_error: self.last_error.clone(),
            left_out: self.left_out.clone(),
            connection: up.map(|up| up.connection),
            peer: up.map(|up| up.peer),
            attempts: self.attempts,
            connects: self.connects,
            bytes_in: sums.bytes_in,
            bytes_out: sums.bytes_out,
            frames_in: sums.frames_in,
            frames_out: sums.frames_out,
            dropped: sums.dropped,
            lag,
            age: now.saturating_duration_since(self.began),
            hop: self.comes_by().map(|asked| asked.hop),
            parent: self.comes_by().map(|asked| asked.node.clone()),
        }
    }
}
