use std::fmt;

use thiserror::Error;

use super::{ClientClose, Destination, DestinationError};
use crate::amf::{Object, Value};
use crate::command::{Capabilities, Command};
use crate::endpoint::{Error, Wait};
use crate::message::Message;
use crate::url::TcUrl;

/// What [`poll_output`](super::Client::poll_output) returns: events until there are none, then `Wait`, or `Closed` at
/// the very end.
#[derive(Debug)]
pub enum ClientOutput {
    /// The server did something.
    Event(ClientEvent),
    /// There are no more events until one of these happens.
    Wait(Wait),
    /// The connection is over and everything is written: close the socket.
    Closed(ClientClose),
}

/// Names a stream that was asked for with [`publish`](super::Client::publish) or [`play`](super::Client::play); never
/// used twice on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamHandle(pub(super) u32);

/// Names a call that was made with [`call`](super::Client::call): its transaction id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(super) u32);

impl CallId {
    /// The transaction id on the wire.
    pub fn transaction(self) -> u32 {
        self.0
    }
}

/// What the server did.
#[derive(Debug)]
pub enum ClientEvent {
    /// It accepted `connect`.
    Connected(Box<Connected>),
    /// The stream is being published: media can be sent.
    Publishing {
        /// Which.
        stream: StreamHandle,
    },
    /// The stream is being played: media will come once there is a publisher.
    Playing {
        /// Which.
        stream: StreamHandle,
    },
    /// Audio, video or data of a stream being played, as it came. Data is type 18 whatever it came as; aggregates are
    /// taken apart. Data messages of the server itself (`onPlayStatus`, `|RtmpSampleAccess`) are not included.
    Media {
        /// Which.
        stream: StreamHandle,
        /// The message, on the message stream it came on.
        message: Message,
    },
    /// The stream is over for now: what is played has no publisher or has come to its end, what is published is not
    /// published any more. A player may get it again, see [`PublishNotify`](Self::PublishNotify).
    Ended {
        /// Which.
        stream: StreamHandle,
        /// What the server said.
        reason: EndReason,
    },
    /// The stream being played has a publisher (again).
    PublishNotify {
        /// Which.
        stream: StreamHandle,
    },
    /// The duration of a stream to be played, for which [`PlayOptions`](super::PlayOptions) asked.
    Length {
        /// Which.
        stream: StreamHandle,
        /// Seconds; 0 for a live stream.
        seconds: f64,
    },
    /// The server refused a request, or ended a stream that it had granted. The stream is gone. Without a stream the
    /// request was `connect`, and the connection closes.
    Rejected {
        /// Which stream, if it can be told.
        stream: Option<StreamHandle>,
        /// Why, and where to go instead.
        rejection: Box<ClientRejection>,
    },
    /// `createStream`, `publish` or `play` was not answered in time. The stream is gone.
    Unanswered {
        /// Which.
        stream: StreamHandle,
    },
    /// Any other notice.
    Status {
        /// The stream it came on, if there is one.
        stream: Option<StreamHandle>,
        /// What it says.
        status: Box<Status>,
    },
    /// The server asks the client to connect again (Enhanced RTMP v2, "Reconnect Request"). It serves the client until
    /// the client leaves.
    ReconnectRequest {
        /// Where to; `None` for the same address.
        tc_url: Option<Box<TcUrl>>,
        /// In words for people.
        description: String,
    },
    /// The answer to a [`call`](super::Client::call).
    Answer {
        /// Which.
        call: CallId,
        /// `None` if none came in time.
        answer: Option<Box<Answer>>,
    },
    /// The server called a command that this client does not know. If it wanted an answer, it got an error.
    Call(Box<Command>),
}

/// What the server sent about itself when it accepted `connect`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connected {
    /// Its properties, such as `fmsVer`.
    pub properties: Object,
    /// The information object, with its code and `objectEncoding`.
    pub information: Object,
    /// Which parts of Enhanced RTMP it supports.
    pub capabilities: Capabilities,
}

/// The information object of a notice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// `status`, `warning` or `error`.
    pub level: String,
    /// Such as `NetStream.Play.Reset`.
    pub code: String,
    /// In words for people.
    pub description: String,
    /// All of it.
    pub information: Object,
}

impl Status {
    pub(super) fn read(information: Option<&Value>) -> Status {
        let information = information.and_then(Value::as_object).cloned().unwrap_or_default();
        let text = |key| {
            let text = information.get(key).and_then(Value::as_string);
            text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
        };
        Status { level: text("level"), code: text("code"), description: text("description"), information }
    }

    /// True for a refusal. The level says so; a few servers leave it out.
    pub(super) fn is_error(&self) -> bool {
        let refusals = ["BadName", "Denied", "Failed", "StreamNotFound", "Rejected", "InvalidApp"];
        let refuses = || self.code.rsplit('.').next().is_some_and(|word| refusals.contains(&word));
        self.level == "error" || (self.level.is_empty() && refuses())
    }

    pub(super) fn redirect(&self) -> Option<Redirect> {
        let ex = self.information.get("ex").and_then(Value::as_object)?;
        let text = |key| ex.get(key).and_then(Value::as_str).map(str::to_owned);
        let redirect = Redirect { tc_url: text("redirect"), url: text("redirect2") };
        let is_redirect = ex.get("code").and_then(Value::as_number) == Some(302.0);
        (is_redirect && redirect != Redirect::default()).then_some(redirect)
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientRejection {
    /// Such as `NetStream.Publish.BadName`; empty if the server gave none.
    pub code: String,
    /// In words for people.
    pub description: String,
    /// Where the stream is instead.
    pub redirect: Option<Redirect>,
}

impl From<Status> for ClientRejection {
    fn from(status: Status) -> Self {
        ClientRejection { redirect: status.redirect(), code: status.code, description: status.description }
    }
}

/// Where a server sends a client instead (`ex.code` 302).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redirect {
    /// `ex.redirect`: URL of the application.
    pub tc_url: Option<String>,
    /// `ex.redirect2`: URL of the stream (SRS).
    pub url: Option<String>,
}

impl Redirect {
    /// Where a client that wanted `stream` (with its query) goes instead.
    ///
    /// # Errors
    /// The server's URL is not valid.
    pub fn destination(&self, stream: &str) -> Result<Destination, DestinationError> {
        match &self.url {
            Some(url) => Destination::parse(url),
            None => Destination::within(&TcUrl::parse(self.tc_url.as_deref().unwrap_or_default())?, stream),
        }
    }
}

/// What the server said when a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Stream EOF.
    Eof,
    /// `NetStream.Play.UnpublishNotify` to a player, `NetStream.Unpublish.Success` to a publisher.
    Unpublished,
    /// `NetStream.Play.Stop`.
    Stopped,
    /// `NetStream.Play.Complete`: it has been played to its end.
    Complete,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// False for `_error`.
    pub success: bool,
    /// The command object.
    pub object: Value,
    /// The values.
    pub values: Vec<Value>,
}

/// Why media was not sent. No part of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotSent {
    /// The stream is not being published.
    #[error("the stream is not being published")]
    NotPublishing,
    /// Too much waits to be written.
    #[error("{waiting} bytes wait to be written already")]
    Full {
        /// Bytes in `outbound`; the limit is [`ClientLimits::outbound`](super::ClientLimits::outbound).
        waiting: usize,
    },
    /// A message has a body of less than 16 MiB.
    #[error("a message of {length} bytes is too long for RTMP")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// Why a request was not sent to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAsked {
    /// The connection is over, or not open yet and the request needs it.
    #[error("there is no connection")]
    NotConnected,
    /// As many streams as allowed are in use.
    #[error("{limit} streams are in use already")]
    TooManyStreams {
        /// [`ClientLimits::streams`](super::ClientLimits::streams).
        limit: usize,
    },
    /// As many calls as allowed wait for their answer.
    #[error("{limit} calls wait for their answer already")]
    TooManyCalls {
        /// [`ClientLimits::calls`](super::ClientLimits::calls).
        limit: usize,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCloseReason {
    /// The server closed the connection in good order.
    PeerClosed,
    /// The connection broke: reset, unreachable; with the system's error text.
    PeerLost(String),
    /// The server broke the protocol.
    Protocol(Error),
    /// The server took too long.
    Timeout(ClientTimeout),
    /// The server refused `connect` with this code.
    Rejected(String),
    /// The server called `close`.
    ToldToClose,
    /// We closed it.
    Closed,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTimeout {
    /// The handshake.
    Handshake,
    /// The answer to `connect`.
    Connect,
    /// Any byte from the server.
    Read,
    /// Taking what we write.
    Write,
}

impl ClientCloseReason {
    /// A name that does not change, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            ClientCloseReason::PeerClosed => "peer_closed",
            ClientCloseReason::PeerLost(_) => "peer_lost",
            ClientCloseReason::Protocol(error) => error.name(),
            ClientCloseReason::Timeout(ClientTimeout::Handshake) => "handshake_timeout",
            ClientCloseReason::Timeout(ClientTimeout::Connect) => "connect_timeout",
            ClientCloseReason::Timeout(ClientTimeout::Read) => "read_timeout",
            ClientCloseReason::Timeout(ClientTimeout::Write) => "write_timeout",
            ClientCloseReason::Rejected(_) => "rejected",
            ClientCloseReason::ToldToClose => "told_to_close",
            ClientCloseReason::Closed => "closed",
        }
    }
}

impl fmt::Display for ClientCloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientCloseReason::PeerClosed => f.write_str("the server closed the connection"),
            ClientCloseReason::PeerLost(words) => write!(f, "connection lost: {words}"),
            ClientCloseReason::Protocol(error) => write!(f, "protocol error: {error}"),
            ClientCloseReason::Timeout(kind) => f.write_str(match kind {
                ClientTimeout::Handshake => "the server did not complete the handshake in time",
                ClientTimeout::Connect => "the server did not answer connect in time",
                ClientTimeout::Read => "the server stopped sending",
                ClientTimeout::Write => "the server stopped reading",
            }),
            ClientCloseReason::Rejected(code) => write!(f, "refused: {code}"),
            ClientCloseReason::ToldToClose => f.write_str("the server asked the client to close the connection"),
            ClientCloseReason::Closed => f.write_str("closed"),
        }
    }
}
