use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::amf::Value;
pub use crate::policy::AskId;
use crate::session::{CloseReason, Delivery};
use crate::url::StreamKey;

/// A question to the back end: may this client do what it asks for? The server grants nothing, and moves no media,
/// before [`Conn::answer`](super::Conn::answer) or the deadline.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Names the question in the answer.
    pub id: AskId,
    /// When the server decides without an answer.
    pub deadline: Instant,
    /// What is asked.
    pub subject: Subject,
    /// True if a client that wants to publish would stand by as backup, as far as this server knows now.
    pub backup: bool,
    /// The client that asks for it.
    pub client: ClientFacts,
}

/// What a question or a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `connect`.
    Connect,
    /// `publish` of a stream.
    Publish(StreamFacts),
    /// `play` of a stream.
    Play(StreamFacts),
    /// `publish` or `play` of a stream at the origin of this edge: would the origin grant a `connect` with the client's
    /// own `tcUrl`, `pageUrl`, `swfUrl` and arguments? No notice follows this question.
    Traverse(StreamFacts),
}

/// Something that the back end was asked about is over. Exactly one notice follows each [`Ask`] that was not refused,
/// however the connection ends.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What is over.
    pub subject: Subject,
    /// The client that asked for it.
    pub client: ClientFacts,
    /// At the end of a connection: why it ended, its bytes and its duration.
    pub closed: Option<Closed>,
}

/// The end of a connection, as the back end gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The reason.
    pub reason: CloseReason,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// How long it was open.
    pub duration: Duration,
    /// [`Refusal::code`](crate::policy::Refusal::code), if a rule refused what the client asked for or was granted.
    pub refused: Option<&'static str>,
}

/// What is known of a client.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClientFacts {
    /// The connection's number; one server never uses the same twice.
    pub connection: u64,
    /// The client's address: the one that a trusted proxy gave, otherwise that of the TCP connection.
    pub address: Option<SocketAddr>,
    /// The client's virtual host.
    pub vhost: String,
    /// The application in `connect`.
    pub app: String,
    /// The parameters of `connect`, those of `tcUrl` and those of `app`, with a leading `?`, or empty. They may contain
    /// secrets of the client.
    pub params: String,
    /// `tcUrl` as sent.
    pub tc_url: Option<String>,
    /// `pageUrl` as sent.
    pub page_url: Option<String>,
    /// `swfUrl` as sent.
    pub swf_url: Option<String>,
    /// The client's own name and version.
    pub agent: Option<String>,
    /// How it gets what it plays.
    pub delivery: Delivery,
    /// The arguments of `connect` after the command object.
    pub arguments: Vec<Value>,
}

/// What is known of a stream that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its name.
    pub key: StreamKey,
    /// The parameters of all URLs involved, with a leading `?`, or empty. They may contain secrets of the client.
    pub params: String,
}
