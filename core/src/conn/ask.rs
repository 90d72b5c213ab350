use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::amf::Value;
use crate::session::CloseReason;
use crate::url::StreamKey;

/// A question to the outside: may this client do what it asks for? Nothing is granted, and no media moves, before
/// [`Conn::answer`](super::Conn::answer) or the deadline.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Names the question in the answer.
    pub id: AskId,
    /// When silence becomes the verdict.
    pub deadline: Instant,
    /// What is asked.
    pub subject: Subject,
    /// Who asks for it.
    pub client: ClientFacts,
}

/// Names a question; never used twice by one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub(super) u64);

/// What a question or a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `connect`.
    Connect,
    /// `publish` of a stream.
    Publish(StreamFacts),
    /// `play` of a stream.
    Play(StreamFacts),
    /// `publish` or `play` of a stream at the server that this one is an edge of: whether that grants a `connect` with
    /// the client's own `tcUrl`, `pageUrl`, `swfUrl` and arguments. A question only: no notice follows it.
    Traverse(StreamFacts),
}

/// Something the outside was asked about is over. Each [`Ask`] that was not refused is followed by exactly one, however
/// the connection ends.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What is over.
    pub subject: Subject,
    /// Who asked for it.
    pub client: ClientFacts,
    /// At the end of a connection: what it amounted to.
    pub closed: Option<Closed>,
}

/// The end of a connection, as the outside is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub reason: CloseReason,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// How long it was open.
    pub duration: Duration,
}

/// What is known of a client.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClientFacts {
    /// The connection's number; never used twice by one server.
    pub connection: u64,
    /// The client's address: what a trusted proxy said, else where the connection comes from.
    pub address: Option<SocketAddr>,
    /// The virtual host it was given.
    pub vhost: String,
    /// The application in `connect`.
    pub app: String,
    /// The parameters in `connect`, those of `tcUrl` and those of `app`, with a leading `?`, or empty. Secrets of the
    /// client may be among them.
    pub params: String,
    /// `tcUrl` as sent.
    pub tc_url: Option<String>,
    /// `pageUrl` as sent.
    pub page_url: Option<String>,
    /// `swfUrl` as sent.
    pub swf_url: Option<String>,
    /// The client's own name and version.
    pub agent: Option<String>,
    /// What followed the command object of `connect`.
    pub arguments: Vec<Value>,
}

/// What is known of a stream somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its name.
    pub key: StreamKey,
    /// The parameters of all URLs involved, with a leading `?`, or empty. Secrets of the client may be among them.
    pub params: String,
}
