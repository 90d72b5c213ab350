use std::fmt;

use super::{ClientKind, Close};
use crate::command::{Command, ConnectInfo, PlayArguments, PublishType};
use crate::endpoint::{Error, Phase, Wait};
use crate::http::Request;
use crate::message::Message;
use crate::policy::Refusal;

/// What [`poll_output`](super::Session::poll_output) returns: events until there are none, then `Wait`, or `Closed` at
/// the very end.
#[derive(Debug)]
pub enum SessionOutput {
    /// The peer did something.
    Event(SessionEvent),
    /// There are no more events until one of these happens.
    Wait(Wait),
    /// The connection is over and everything is written: close the socket.
    Closed(Close),
}

/// What the peer did.
#[derive(Debug)]
pub enum SessionEvent {
    /// `connect`: answer with [`accept`](super::Session::accept) or [`reject`](super::Session::reject).
    Connect(ConnectRequest),
    /// `publish`: answer it.
    Publish(PublishRequest),
    /// `play`: answer it.
    Play(PlayRequest),
    /// A request by HTTP that is for no live stream: answer it with [`Conn::respond`](crate::conn::Conn::respond), once.
    Request(Box<WebRequest>),
    /// Audio, video or data of a stream being published. Data is type 18 whatever it came as, without `@setDataFrame`,
    /// and known to be readable by players.
    Media(Message),
    /// The publisher withdrew its metadata.
    ClearMetadata {
        /// Message stream id.
        message_stream_id: u32,
    },
    /// A message of a peer whose bandwidth is being measured, see [`measure`](super::Session::measure).
    Measured {
        /// The command, if it was one.
        command: Option<Command>,
        /// Length of the message body.
        bytes: usize,
    },
    /// The stream is no longer published on this connection. More may follow on the same connection.
    Unpublish {
        /// Message stream id.
        message_stream_id: u32,
    },
    /// The player stopped playing; more may follow on the same connection.
    Stop {
        /// Message stream id.
        message_stream_id: u32,
    },
    /// The player paused or resumed. The session has already answered it.
    Pause {
        /// Message stream id.
        message_stream_id: u32,
        /// True for pause.
        paused: bool,
    },
    /// The player turned audio or video on or off.
    Receive {
        /// Message stream id.
        message_stream_id: u32,
        /// Which.
        track: Track,
        /// True for on.
        on: bool,
    },
}

/// A request by HTTP that is for no live stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRequest {
    /// Its number on its connection, from 1 on.
    pub id: u64,
    /// The request.
    pub request: Request,
}

/// Audio or video as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// A `connect` waiting for its answer.
#[derive(Debug)]
pub struct ConnectRequest {
    pub(super) transaction: f64,
    pub(super) info: Box<ConnectInfo>,
}

impl ConnectRequest {
    /// What the client sent about itself.
    pub fn info(&self) -> &ConnectInfo {
        &self.info
    }
}

/// A `publish` waiting for its answer.
#[derive(Debug)]
pub struct PublishRequest {
    pub(super) message_stream_id: u32,
    pub(super) name: String,
    pub(super) publish_type: PublishType,
    pub(super) client: ClientKind,
}

impl PublishRequest {
    /// Message stream id.
    pub fn message_stream_id(&self) -> u32 {
        self.message_stream_id
    }

    /// Stream name as sent, with its query.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Live, or a recording mode.
    pub fn publish_type(&self) -> PublishType {
        self.publish_type
    }

    /// Which kind of client publishes.
    pub fn client(&self) -> ClientKind {
        self.client
    }
}

/// A `play` waiting for its answer.
#[derive(Debug)]
pub struct PlayRequest {
    pub(super) message_stream_id: u32,
    pub(super) arguments: PlayArguments,
}

impl PlayRequest {
    /// Message stream id.
    pub fn message_stream_id(&self) -> u32 {
        self.message_stream_id
    }

    /// Stream name as sent, start, duration and reset.
    pub fn arguments(&self) -> &PlayArguments {
        &self.arguments
    }
}

/// Why a request is refused: the code and text that the client gets, see [`reject`](super::Session::reject).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Status code, such as `NetStream.Publish.BadName`.
    pub code: &'static str,
    /// For a person to read.
    pub description: String,
    /// Where the client is sent instead: a full RTMP URL.
    pub redirect: Option<String>,
    /// The rule or decision behind it; `None` if the owner of the session gave only words. The client does not get it.
    pub refusal: Option<Refusal>,
}

impl Rejection {
    /// Every code there is.
    pub(crate) const CODES: [&'static str; 6] = [
        "NetStream.Publish.Denied",
        "NetStream.Play.Failed",
        "NetConnection.Connect.Rejected",
        "NetStream.Publish.BadName",
        "NetStream.Play.StreamNotFound",
        "NetConnection.Connect.InvalidApp",
    ];

    fn new(code: &'static str, description: impl Into<String>) -> Self {
        debug_assert!(Rejection::CODES.contains(&code), "a capture could not be read back");
        Rejection { code, description: description.into(), redirect: None, refusal: None }
    }

    /// The same, because of this rule or decision.
    #[must_use]
    pub fn because(self, refusal: Refusal) -> Self {
        Rejection { refusal: Some(refusal), ..self }
    }

    /// The client may not publish.
    pub fn publish_denied(description: impl Into<String>) -> Self {
        Rejection::new("NetStream.Publish.Denied", description)
    }

    /// The client may not play.
    pub fn play_denied(description: impl Into<String>) -> Self {
        Rejection::new("NetStream.Play.Failed", description)
    }

    /// The stream is on another server.
    pub fn redirect(url: String) -> Self {
        let rejection = Rejection::new("NetConnection.Connect.Rejected", "RTMP 302 Redirect");
        Rejection { redirect: Some(url), ..rejection }
    }

    /// Another client publishes this name.
    pub fn stream_in_use(name: &str) -> Self {
        Rejection::new("NetStream.Publish.BadName", format!("Stream {name} is already being published."))
    }

    /// The stream name cannot be used.
    pub fn bad_publish_name(description: impl Into<String>) -> Self {
        Rejection::new("NetStream.Publish.BadName", description)
    }

    /// The stream name cannot be used.
    pub fn bad_play_name(description: impl Into<String>) -> Self {
        Rejection::new("NetStream.Play.StreamNotFound", description)
    }

    /// The application or its URL cannot be used.
    pub fn invalid_app(description: impl Into<String>) -> Self {
        Rejection::new("NetConnection.Connect.InvalidApp", description)
    }

    /// `connect` is not allowed.
    pub fn connect_rejected(description: impl Into<String>) -> Self {
        Rejection::new("NetConnection.Connect.Rejected", description)
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed the connection in good order.
    PeerClosed,
    /// The connection broke: reset, unreachable, the system's own words.
    PeerLost(String),
    /// The TLS layer failed, with the error text of the TLS implementation.
    Tls(TlsFault, String),
    /// The connection of a client by WebRTC has ended otherwise than by its wish.
    WebRtc(WebRtcFault),
    /// The peer broke the protocol.
    Protocol(Error),
    /// The peer took too long.
    Timeout(TimeoutKind),
    /// A request was refused with this code.
    Rejected(&'static str),
    /// The client broke a rule of the server while the connection was open.
    Refused(Refusal),
    /// The bandwidth check this connection was for is over.
    BandwidthChecked,
    /// A publisher that had no players for too long.
    Idle,
    /// A client by HTTP has got all that it asked for, or asked for nothing more in time.
    Served,
    /// The stream that a player by HTTP got has been without publisher for too long.
    StreamOver,
    /// A player that missed too much.
    TooSlow,
    /// Memory was short, and the connection held more than its share: incomplete messages, or frames that the player
    /// had not taken and that its stream had dropped.
    MemoryShort,
    /// Another publisher with the same credentials took the stream over.
    TakenOver,
    /// The stream that it publishes at this edge is no longer published at the origin.
    OriginLost,
    /// Another server of the cluster has the name of the stream that it publishes, or the directory did not answer for as
    /// long as it holds names.
    LeaseLost,
    /// The server drains: what the client played has come to the end of its GOP, or the time to drain is over.
    Drained,
    /// The server shuts down.
    Shutdown,
    /// The server closed it, for the given reason.
    Closed(&'static str),
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutKind {
    /// The handshake or `connect`.
    Connect,
    /// `publish` or `play` after `connect`.
    Identify,
    /// The first message after `publish`.
    FirstMessage,
    /// The next message of a publisher.
    NextMessage,
    /// Taking what we write.
    Write,
    /// A publisher, for a player that waited for one.
    WaitForStream,
}

/// What is wrong with a connection in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// Its handshake failed, or a record is damaged.
    Broken,
    /// The client sent more at the beginning than a client needs to send.
    BeginningTooLong,
    /// The records carry too little content for the work they cause.
    WithoutContent,
    /// Too many other connections began TLS at the same time.
    TooManyBegin,
}

impl TlsFault {
    const ALL: [Self; 4] = [Self::Broken, Self::BeginningTooLong, Self::WithoutContent, Self::TooManyBegin];

    fn name(self) -> &'static str {
        match self {
            TlsFault::Broken => "tls_error",
            TlsFault::BeginningTooLong => "tls_beginning_too_long",
            TlsFault::WithoutContent => "tls_without_content",
            TlsFault::TooManyBegin => "tls_too_many_begin",
        }
    }

    /// The one whose [`CloseReason::name`] this is.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// How the connection of a client by WebRTC ended, if the client did not say that it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebRtcFault {
    /// No datagrams went between the client and the server in time, or they did not agree on keys.
    NotConnected,
    /// The client does not answer any more.
    Silent,
    /// The client breaks the protocol.
    Broken,
    /// The part of the server that serves the client has failed: a bug.
    Bug,
}

impl WebRtcFault {
    fn name(self) -> &'static str {
        match self {
            WebRtcFault::NotConnected => "webrtc_not_connected",
            WebRtcFault::Silent => "webrtc_silent",
            WebRtcFault::Broken => "webrtc_error",
            WebRtcFault::Bug => "webrtc_bug",
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            WebRtcFault::NotConnected | WebRtcFault::Broken => Outcome::Failed,
            WebRtcFault::Silent => Outcome::Lost,
            WebRtcFault::Bug => Outcome::Closed,
        }
    }
}

impl fmt::Display for WebRtcFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WebRtcFault::NotConnected => "the client did not connect by WebRTC in time",
            WebRtcFault::Silent => "the client does not answer by WebRTC any more",
            WebRtcFault::Broken => "the client breaks the protocol of WebRTC",
            WebRtcFault::Bug => "the server failed to serve the client by WebRTC, which is a bug",
        })
    }
}

/// How a connection ended, in one word: whether the client wanted the end, the network failed, or the server decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client ended what it did and closed the connection, or what the connection was for is done.
    Orderly,
    /// The client closed the connection while it still published: it may have crashed.
    Abrupt,
    /// The connection broke, or the client fell silent or took nothing more.
    Lost,
    /// A rule or the back end refused what the client asked for.
    Refused,
    /// The client sent what the protocol does not allow, or asked for nothing in time.
    Failed,
    /// The server closed it.
    Closed,
}

impl Outcome {
    /// A name that does not change, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Orderly => "orderly",
            Outcome::Abrupt => "abrupt",
            Outcome::Lost => "lost",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Closed => "closed",
        }
    }
}

impl Close {
    /// The end in one word.
    pub fn outcome(&self) -> Outcome {
        match &self.reason {
            CloseReason::PeerClosed if self.phase == Phase::Publishing => Outcome::Abrupt,
            CloseReason::PeerClosed | CloseReason::BandwidthChecked | CloseReason::Served | CloseReason::StreamOver => {
                Outcome::Orderly
            }
            CloseReason::PeerLost(_) => Outcome::Lost,
            CloseReason::WebRtc(fault) => fault.outcome(),
            CloseReason::Timeout(TimeoutKind::FirstMessage | TimeoutKind::NextMessage | TimeoutKind::Write) => {
                Outcome::Lost
            }
            CloseReason::Timeout(TimeoutKind::Connect | TimeoutKind::Identify)
            | CloseReason::Tls(..)
            | CloseReason::Protocol(_) => Outcome::Failed,
            CloseReason::Rejected(_) | CloseReason::Refused(_) => Outcome::Refused,
            CloseReason::Timeout(TimeoutKind::WaitForStream)
            | CloseReason::Idle
            | CloseReason::TooSlow
            | CloseReason::MemoryShort
            | CloseReason::TakenOver
            | CloseReason::OriginLost
            | CloseReason::LeaseLost
            | CloseReason::Drained
            | CloseReason::Shutdown
            | CloseReason::Closed(_) => Outcome::Closed,
        }
    }
}

impl CloseReason {
    /// All names except those of [`Refused`](Self::Refused), which are [`Refusal::CODES`].
    pub const NAMES: [&'static str; 37] = [
        "peer_closed",
        "peer_lost",
        "tls_error",
        "tls_beginning_too_long",
        "tls_without_content",
        "tls_too_many_begin",
        "webrtc_not_connected",
        "webrtc_silent",
        "webrtc_error",
        "webrtc_bug",
        "proxy_header_error",
        "handshake_error",
        "chunk_error",
        "control_error",
        "command_error",
        "message_over_limit",
        "http_error",
        "inbox_over_limit",
        "connect_timeout",
        "identify_timeout",
        "first_message_timeout",
        "next_message_timeout",
        "write_timeout",
        "wait_for_stream_timeout",
        "rejected",
        "bandwidth_checked",
        "idle_publisher",
        "served",
        "stream_over",
        "player_too_slow",
        "memory_short",
        "taken_over",
        "origin_lost",
        "lease_lost",
        "drained",
        "shutdown",
        "closed",
    ];

    /// A name that does not change, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "peer_closed",
            CloseReason::PeerLost(_) => "peer_lost",
            CloseReason::Tls(fault, _) => fault.name(),
            CloseReason::WebRtc(fault) => fault.name(),
            CloseReason::Protocol(error) => error.name(),
            CloseReason::Timeout(TimeoutKind::Connect) => "connect_timeout",
            CloseReason::Timeout(TimeoutKind::Identify) => "identify_timeout",
            CloseReason::Timeout(TimeoutKind::FirstMessage) => "first_message_timeout",
            CloseReason::Timeout(TimeoutKind::NextMessage) => "next_message_timeout",
            CloseReason::Timeout(TimeoutKind::Write) => "write_timeout",
            CloseReason::Timeout(TimeoutKind::WaitForStream) => "wait_for_stream_timeout",
            CloseReason::Rejected(_) => "rejected",
            CloseReason::Refused(refusal) => refusal.code(),
            CloseReason::BandwidthChecked => "bandwidth_checked",
            CloseReason::Idle => "idle_publisher",
            CloseReason::Served => "served",
            CloseReason::StreamOver => "stream_over",
            CloseReason::TooSlow => "player_too_slow",
            CloseReason::MemoryShort => "memory_short",
            CloseReason::TakenOver => "taken_over",
            CloseReason::OriginLost => "origin_lost",
            CloseReason::LeaseLost => "lease_lost",
            CloseReason::Drained => "drained",
            CloseReason::Shutdown => "shutdown",
            CloseReason::Closed(_) => "closed",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::PeerClosed => f.write_str("the client closed the connection"),
            CloseReason::PeerLost(words) => write!(f, "connection lost: {words}"),
            CloseReason::Tls(_, words) => write!(f, "TLS: {words}"),
            CloseReason::WebRtc(fault) => fault.fmt(f),
            CloseReason::Protocol(error) => write!(f, "protocol error: {error}"),
            CloseReason::Timeout(kind) => f.write_str(match kind {
                TimeoutKind::Connect => "the client sent no connect, or no request, in time",
                TimeoutKind::Identify => "the client neither published nor played in time",
                TimeoutKind::FirstMessage => "the publisher sent no media after publish",
                TimeoutKind::NextMessage => "the publisher stopped sending media",
                TimeoutKind::Write => "the client stopped reading",
                TimeoutKind::WaitForStream => "the player waited too long for a publisher",
            }),
            CloseReason::Rejected(code) => write!(f, "refused: {code}"),
            CloseReason::Refused(refusal) => refusal.fmt(f),
            CloseReason::BandwidthChecked => f.write_str("the bandwidth check is over"),
            CloseReason::Idle => f.write_str("no player watched the publisher's stream"),
            CloseReason::Served => f.write_str("the web client has got what it asked for"),
            CloseReason::StreamOver => f.write_str("the stream is over"),
            CloseReason::TooSlow => f.write_str("the player was too slow and missed too much"),
            CloseReason::MemoryShort => f.write_str("memory was short, and the client took too much of it"),
            CloseReason::TakenOver => f.write_str("another publisher took the stream over"),
            CloseReason::OriginLost => f.write_str("no origin takes the stream any more"),
            CloseReason::LeaseLost => f.write_str("another server of the cluster has the name of the stream"),
            CloseReason::Drained => f.write_str("the server drains: the GOP has ended, or the time is over"),
            CloseReason::Shutdown => f.write_str("the server stopped"),
            CloseReason::Closed(words) => f.write_str(words),
        }
    }
}
