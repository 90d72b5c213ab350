use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{RelayError, RelayId, RelayKind};
use crate::source::Gap;
use crate::url::StreamKey;

/// Something about a relay that an operator wants to know. `Display` gives a line for the log, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Which relay.
    pub id: RelayId,
    /// What it does.
    pub kind: RelayKind,
    /// The stream here.
    pub key: StreamKey,
    /// The target or origin, without secrets.
    pub target: Arc<str>,
    /// What happened.
    pub event: RelayEvent,
}

/// What happened to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayEvent {
    /// The first attempt of a relay, or the first one after it was live, begins.
    Connecting,
    /// The peer has granted the stream: a push is published there, a pull sends frames.
    Live {
        /// The peer's address.
        peer: SocketAddr,
        /// How long it took since the first attempt began.
        after: Duration,
        /// What the peer does not take of the stream; empty if it takes all.
        left_out: String,
    },
    /// An attempt failed, or a connection ended.
    Failed {
        /// Why.
        error: RelayError,
        /// How many attempts in a row have failed.
        failures: u32,
        /// How long until the next attempt; `None` if there is none because the relay ends, or if the next server is tried
        /// at once.
        next: Option<Duration>,
        /// True if the stream was live there, and is live nowhere now.
        was_live: bool,
    },
    /// A push is slow from now on: it missed frames, or takes nothing.
    Lagging {
        /// What it missed; nothing if it takes nothing.
        missed: Gap,
        /// How many frames it is behind, if it takes nothing.
        behind: u64,
    },
    /// A push was slow, and has missed nothing for a while.
    KeepsUp {
        /// For how long it was slow.
        time: Duration,
        /// What it missed in that time.
        missed: Gap,
    },
    /// The origin has sent the client to another server, which is tried now.
    Redirected {
        /// The new target, without secrets.
        to: Arc<str>,
    },
    /// A server of the cluster has refused the signature of a pull. Said once until the pull is live.
    NotTrusted,
    /// The origin has no publisher of the stream any more; the pull waits for the next one.
    Silent,
    /// No origin has the stream: the players got `NetStream.Play.StreamNotFound`.
    Absent,
    /// The relay could not begin.
    NotBegun {
        /// Why.
        why: String,
    },
    /// The relay is over.
    Ended {
        /// Why.
        why: EndedBecause,
    },
}

/// Why a relay is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndedBecause {
    /// The stream is not published any more.
    Unpublished,
    /// No client plays the stream any more.
    Unwanted,
    /// A client publishes the stream here.
    Published,
    /// No origin has the stream, or all were tried for too long.
    NoOrigin,
    /// The origins refuse the stream to the clients that play it here: these were told.
    Refused,
    /// The target or the origins are not in the configuration any more, or the target was removed.
    Removed,
    /// The server ends.
    Shutdown,
}

impl EndedBecause {
    /// A name that does not change.
    pub fn name(self) -> &'static str {
        match self {
            EndedBecause::Unpublished => "unpublished",
            EndedBecause::Unwanted => "unwanted",
            EndedBecause::Published => "published",
            EndedBecause::NoOrigin => "no_origin",
            EndedBecause::Refused => "refused",
            EndedBecause::Removed => "removed",
            EndedBecause::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for EndedBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndedBecause::Unpublished => "the stream is not published any more",
            EndedBecause::Unwanted => "no client plays the stream any more",
            EndedBecause::Published => "a client publishes the stream here",
            EndedBecause::NoOrigin => "no origin has the stream",
            EndedBecause::Refused => "the origins refuse the stream to the clients that play it",
            EndedBecause::Removed => "it is not configured any more",
            EndedBecause::Shutdown => "the server ends",
        })
    }
}

impl Remark {
    /// A name that does not change, for logs.
    pub fn name(&self) -> &'static str {
        match self.event {
            RelayEvent::Connecting => "relay_connecting",
            RelayEvent::Live { .. } => "relay_live",
            RelayEvent::Failed { .. } => "relay_failed",
            RelayEvent::Lagging { .. } => "relay_lagging",
            RelayEvent::KeepsUp { .. } => "relay_keeps_up",
            RelayEvent::Redirected { .. } => "relay_redirected",
            RelayEvent::NotTrusted => "relay_not_trusted",
            RelayEvent::Silent => "relay_silent",
            RelayEvent::Absent => "relay_absent",
            RelayEvent::NotBegun { .. } => "relay_not_begun",
            RelayEvent::Ended { .. } => "relay_ended",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.kind == RelayKind::Pull { "from" } else { "to" };
        write!(f, "{} of {} ", self.kind, self.key.shown())?;
        // A pull within a cluster begins before it is known where the stream is.
        if !self.target.is_empty() {
            write!(f, "{direction} {} ", crate::url::quoted(&self.target))?;
        }
        match &self.event {
            RelayEvent::Connecting => write!(f, "begins"),
            RelayEvent::Live { peer, after, left_out } => {
                write!(f, "is live at {peer} after {:.3} s", after.as_secs_f64())?;
                if left_out.is_empty() { Ok(()) } else { write!(f, "; the peer does not take {left_out}") }
            }
            RelayEvent::Failed { error, failures, next, .. } => {
                write!(f, "failed: {error}; attempt {failures}")?;
                match next {
                    Some(next) => write!(f, ", next in {:.1} s", next.as_secs_f64()),
                    None => Ok(()),
                }
            }
            RelayEvent::Lagging { missed, behind } if missed.frames == 0 => {
                write!(f, "lags: the peer takes nothing, {behind} frames wait")
            }
            RelayEvent::Lagging { missed, .. } => {
                write!(f, "lags: it missed {} frames, {} ms", missed.frames, missed.milliseconds)
            }
            RelayEvent::KeepsUp { time, missed } => {
                let (time, Gap { frames, milliseconds, .. }) = (time.as_secs_f64(), missed);
                write!(f, "keeps up again after {time:.3} s, in which it missed {frames} frames, {milliseconds} ms")
            }
            RelayEvent::Redirected { to } => write!(f, "was sent to {}", crate::url::quoted(to)),
            RelayEvent::NotTrusted => {
                write!(
                    f,
                    "is refused: the server has another secret (cluster.secret) than this one, or the clocks differ"
                )
            }
            RelayEvent::Silent => write!(f, "waits: the origin has no publisher"),
            RelayEvent::Absent => write!(f, "found no origin that has the stream: its players are told"),
            RelayEvent::NotBegun { why } => write!(f, "cannot begin: {why}"),
            RelayEvent::Ended { why } => write!(f, "is over: {why}"),
        }
    }
}
