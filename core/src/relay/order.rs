use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::Remark;
use crate::hub::StreamId;
use crate::policy::{AskId, Verdict};
use crate::session::CloseReason;
use crate::url::StreamKey;

/// What [`Relays::poll`](super::Relays::poll) wants done. Only one driver polls the relays of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Look up the addresses of a host, then call [`resolved`](super::Relays::resolved), or
    /// [`failed`](super::Relays::failed), however long that takes: only so many look-ups go on at one time.
    Resolve {
        /// Names the look-up in the answer.
        attempt: AttemptId,
        /// A host name; never an address.
        host: String,
        /// The port, for the addresses in the answer.
        port: u16,
    },
    /// Connect to an address, with TLS if `tls` has a name: the certificate must be valid for that name, which goes into
    /// SNI. Then call [`connected`](super::Relays::connected), or [`failed`](super::Relays::failed). There is no need for
    /// a timeout: if the time is over, an [`Abort`](Order::Abort) comes.
    Connect {
        /// Names the attempt in the answer.
        attempt: AttemptId,
        /// Where to.
        address: SocketAddr,
        /// The name that the server must prove, for `rtmps`. It may be an address.
        tls: Option<String>,
    },
    /// The connection is not needed any more. An answer that is on its way does no harm: `connected`
    /// returns `None` then.
    Abort(AttemptId),
    /// Hand the verdict to the connection of this number, by [`Conn::answer`](crate::conn::Conn::answer): the origin has
    /// answered what the client asked for. If there is no such connection any more, do nothing.
    Answer {
        /// The client's connection.
        connection: u64,
        /// The question.
        ask: AskId,
        /// The verdict.
        verdict: Verdict,
    },
    /// Close the client's connection of this number, by [`Conn::close`](crate::conn::Conn::close): the stream that it
    /// publishes cannot be published at the origin any more. If there is no such connection any more, do nothing.
    Close {
        /// The client's connection.
        connection: u64,
        /// Why.
        reason: CloseReason,
    },
    /// Tell the client's connection of this number, by [`Conn::lose_name`](crate::conn::Conn::lose_name), that it may not
    /// publish the stream any more: another server has its name. If there is no such connection any more, do nothing.
    LoseName {
        /// The client's connection.
        connection: u64,
        /// The stream.
        key: StreamKey,
    },
    /// Poll the connection of this number: it has something to do. If there is no such connection any more, do nothing.
    Poll {
        /// The number of an uplink, [`Uplink::id`](super::Uplink::id), or of a client.
        connection: u64,
    },
    /// Poll all connections that are subscribed to the stream, as for [`Action::Wake`](crate::conn::Action::Wake).
    Wake(StreamId),
    /// Something that the operator should know. For logs and hooks; nothing depends on it.
    Remark(Remark),
    /// Nothing to do until this time, until the waker is called, or until an answer is there.
    Wait(Option<Instant>),
}

/// Names a look-up or an attempt to connect; one server never uses the same twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub(super) u64);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an adapter has no addresses or no connection, with the system's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The name has no addresses, or no server knows it.
    Resolve(String),
    /// The connection could not be made.
    Connect(String),
    /// TLS could not be agreed on, or the certificate is not valid for the name. The next attempt will not change a
    /// certificate.
    Tls(String),
}

impl Failure {
    /// A name that does not change, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Failure::Resolve(_) => "resolve",
            Failure::Connect(_) => "connect",
            Failure::Tls(_) => "tls",
        }
    }

    /// The system's words.
    pub fn words(&self) -> &str {
        match self {
            Failure::Resolve(words) | Failure::Connect(words) | Failure::Tls(words) => words,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Resolve(words) => write!(f, "the name cannot be looked up: {words}"),
            Failure::Connect(words) => write!(f, "no connection: {words}"),
            Failure::Tls(words) => write!(f, "no TLS: {words}"),
        }
    }
}
