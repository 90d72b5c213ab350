//! One RTMP connection: bytes in, events and bytes out. No sockets, no clock, no locks, no other connections.
//!
//! A [`Session`] is the server's side of handshake, `connect`, `publish` or `play`, and close, with all timers on the
//! way. It knows no streams: its owner decides which client may publish and where media goes.
//! [`conn::Conn`](crate::conn::Conn) is such an owner: use it for a server. Use a session alone in a program that has
//! its own streams.
//!
//! It is driven by four calls in any order: [`handle_input`](Session::handle_input) with what the peer sent,
//! [`handle_timeout`](Session::handle_timeout) when the deadline it named has come,
//! [`poll_output`](Session::poll_output) for what the peer did, [`outbound`](Session::outbound) for the bytes to write.
//!
//! # Requests
//! A request of the peer is a [`SessionEvent`] with a value in it. The owner answers that value once, with
//! [`accept`](Session::accept) or [`reject`](Session::reject). Until then the session parses nothing further, keeps
//! the bytes that arrive (up to a limit), and its [`Wait`] says not to read.
//!
//! ```
//! # use std::sync::Arc;
//! # use std::time::Instant;
//! use anabranch_core::session::{SessionEvent, SessionOutput, Rejection, Session, SessionConfig, Wait};
//!
//! /// Accepts every `connect`, rejects every `publish` and `play`, and returns what to wait for.
//! fn react(session: &mut Session) -> Option<Wait> {
//!     loop {
//!         match session.poll_output() {
//!             SessionOutput::Event(SessionEvent::Connect(request)) => session.accept(request),
//!             SessionOutput::Event(SessionEvent::Publish(request)) => {
//!                 session.reject(request, &Rejection::publish_denied("closed"));
//!             }
//!             SessionOutput::Event(SessionEvent::Play(request)) => {
//!                 session.reject(request, &Rejection::play_denied("closed"));
//!             }
//!             SessionOutput::Event(_) => {}
//!             SessionOutput::Wait(wait) => return Some(wait),
//!             SessionOutput::Closed(_) => return None,
//!         }
//!     }
//! }
//! # let mut session = Session::new(Arc::new(SessionConfig::default()), [7; 32], Instant::now());
//! # assert!(react(&mut session).expect("it has just begun").read.is_some());
//! ```
//!
//! # Media
//! A publisher's messages are [`SessionEvent::Media`], whole and in order. A player is given [`Frame`]s with
//! [`send_frame`](Session::send_frame): they are encoded for the wire already and shared with all other players.
//!
//! # Close
//! A session ends because of an error of the peer, a timeout, or its owner. It always reports one [`Close`] with a
//! [`CloseReason`], which has a stable name for logs and metrics. While the peer is connected, what is queued is written
//! first, for a limited time: see [`SessionTimeouts::linger`].

mod as_play;
mod commands;
mod config;
mod delivery;
mod event;
mod forwarded;
mod identify;
mod messages;
mod request;
mod state;
mod streams;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::{SessionConfig, SessionLimits, SessionTimeouts};
pub use delivery::Delivery;
pub use event::{
    CloseReason, ConnectRequest, Outcome, PlayRequest, PublishRequest, Rejection, SessionEvent, SessionOutput,
    TimeoutKind, TlsFault, Track, WebRequest, WebRtcFault,
};
pub use identify::ClientKind;
pub use request::Answerable;
pub use web::{Accepts, Admission};

use crate::chunk::{ChunkReader, ReaderState};
use crate::command::reply::{self, Level};
use crate::command::{Capabilities, Command};
use crate::endpoint::{self, Bounds, COMMAND_CHUNK_STREAM, Cause, Endpoint, Polled, Role, Timer};
pub use crate::endpoint::{Due, DueKind, Error, Lent, Outbound, Phase, Read, Wait, WrongConnection};
pub(crate) use crate::endpoint::{MIN_REPLIES, SHARED_PIECE, SMALLEST_READ as READ_BEFORE_CONNECT, Tally};
use crate::handshake::{self, Status};
use crate::http;
use crate::message::{Control, Message, MessageType, UserControl};
use crate::policy::Network;
use crate::preface::Prefaced;
use crate::source::Frame;
use crate::time_limit::{TimeLimit, deadline_after};
use identify::Identification;
use state::{Change, State};
use streams::{Activity, MessageStreams};
use web::{Door, Web};

/// How a session ended.
pub type Close = endpoint::Close<CloseReason>;

/// The chunk stream of notices on a message stream.
const STATUS_CHUNK_STREAM: u8 = 5;

/// S0, S1 and S2.
pub(crate) const LONGEST_HANDSHAKE_REPLY: usize = 1 + 2 * handshake::PACKET_LENGTH;

/// One RTMP connection, the server's side of it.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    endpoint: Endpoint<State, SessionEvent>,
    /// The client's address according to a trusted proxy.
    client_address: Option<SocketAddr>,
    identification: Identification,
    streams: MessageStreams,
    capabilities: Option<Box<Capabilities>>,
    /// Transaction id of an FCPublish whose `onFCPublish` is still to come.
    fc_publish: Option<f64>,
    /// When the session began: the zero of ping times.
    start: Instant,
    counters: SessionCounters,
    door: Door,
    /// Once it speaks HTTP.
    web: Option<Box<Web>>,
}

/// Where a session is in its chunk streams.
pub(crate) struct ChunkStreams<'a> {
    /// The client's chunk stream.
    pub(crate) input: ReaderState,
    /// The client's bytes that are received and not read yet.
    pub(crate) unread: &'a [u8],
    /// The chunk size of what the server sends. Each of its messages begins with a full header, so nothing else is
    /// needed.
    pub(crate) chunk_size: u32,
}

crate::shown::debug_with_bytes!(ChunkStreams<'_> { input, chunk_size; unread });

/// What a session ignored, so that nothing is lost silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCounters {
    /// Messages of unknown type, and shared objects.
    pub ignored_messages: u64,
    /// User control events that mean nothing here.
    pub ignored_events: u64,
    /// Data messages that no player could read or that are too long, and commands that are not AMF.
    pub unreadable_messages: u64,
    /// Metadata that lost its largest properties because it is too long.
    pub shortened_metadata: u64,
    /// Audio, video and data outside any published stream.
    pub stray_media: u64,
}

impl Session {
    /// A session for a connection just accepted. `seed` fills the handshake's random bytes: any 32 bytes, different
    /// for each connection.
    pub fn new(config: Arc<SessionConfig>, seed: [u8; 32], now: Instant) -> Self {
        Session::beginning(config, State::Handshake, seed, now)
    }

    /// A session for a connection from a trusted proxy, which may send the client's address before the handshake.
    pub fn behind_proxy(config: Arc<SessionConfig>, seed: [u8; 32], now: Instant) -> Self {
        let state = |handshake| State::ProxyHeader { preface: Box::default(), handshake };
        Session::beginning(config, state, seed, now)
    }

    fn beginning(
        config: Arc<SessionConfig>,
        state: impl FnOnce(Box<handshake::ServerHandshake>) -> State,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let state = state(Box::new(handshake::ServerHandshake::new(seed, 0)));
        let reader = ChunkReader::new(config.limits.chunks_before_connect, config.leniency);
        let mut endpoint = Endpoint::new(state, reader, config.window, config.timeouts.connect, now);
        endpoint.chunk_size = config.chunk_size;
        Session {
            config,
            endpoint,
            client_address: None,
            identification: Identification::default(),
            streams: MessageStreams::default(),
            capabilities: None,
            fc_publish: None,
            start: now,
            counters: SessionCounters::default(),
            door: Door::default(),
            web: None,
        }
    }

    /// The same session, which accepts these protocols, HTTP with these settings. Proxies of these networks may name the
    /// client of a request, if the session is [`behind_proxy`](Self::behind_proxy). Before the first input.
    #[must_use]
    pub fn accepting(mut self, accepts: Accepts, settings: Arc<http::Settings>, proxies: &Arc<[Network]>) -> Self {
        let is_trusted = accepts.web() && matches!(self.endpoint.state, State::ProxyHeader { .. });
        let proxies = is_trusted.then(|| proxies.clone());
        self.door = Door { accepts, settings: accepts.web().then_some(settings), proxies, unix: None };
        self
    }

    /// The same session, which came in so many seconds after 1970: answers by HTTP have the date. Before the first input.
    #[must_use]
    pub fn at_time(mut self, unix: Option<u64>) -> Self {
        self.door.unix = unix;
        self
    }

    /// Takes bytes from the peer, cut anywhere.
    ///
    /// # Errors
    /// The peer broke the protocol. The same error is in the [`Close`] that `poll_output` returns, so it may be
    /// ignored here.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Error> {
        self.receive(now, bytes)
    }

    /// Acts on what was due by `now`. Calling it too early or too often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.now = now;
        if self.is_web() {
            if self.endpoint.timers.take_expired(Timer::Setup, now) {
                self.web_overdue();
            }
            if self.endpoint.timers.take_expired(Timer::Ping, now) {
                self.web_ping();
            }
        }
        if self.endpoint.timers.take_expired(Timer::Setup, now) {
            let kind = if self.is_connected() { TimeoutKind::Identify } else { TimeoutKind::Connect };
            self.close(CloseReason::Timeout(kind));
        }
        if self.is_silent(self.config.timeouts.next_message) {
            let heard = self.endpoint.has_message();
            self.close(CloseReason::Timeout(if heard { TimeoutKind::NextMessage } else { TimeoutKind::FirstMessage }));
        }
        if self.is_write_stalled() {
            self.close(CloseReason::Timeout(TimeoutKind::Write));
        }
        if self.endpoint.timers.take_expired(Timer::Ping, now) {
            self.endpoint.timers.set(Timer::Ping, deadline_after(now, self.config.timeouts.ping));
            let time = now.saturating_duration_since(self.start).as_millis() as u32;
            self.endpoint.send_control(Cause::Own, &Control::User(UserControl::PingRequest(time)));
        }
        self.end_linger();
    }

    /// What is due next.
    pub(crate) fn due(&self) -> Option<Due> {
        Role::due(self)
    }

    /// The request that waits may be answered as late as in so long: that is no delay of the client's, whose own time
    /// begins again.
    pub(crate) fn answer_takes(&mut self, time: Duration) {
        if endpoint::State::is_asked(&self.endpoint.state) && self.endpoint.timers.is_set(Timer::Setup) {
            let timeouts = &self.config.timeouts;
            let own = if self.is_connected() { timeouts.identify } else { timeouts.connect };
            let limit = TimeLimit::new(self.endpoint.now, time.saturating_add(own));
            self.endpoint.timers.limit(Timer::Setup, limit);
        }
    }

    /// Sets the time when nothing else does: timers that are started next count from it.
    pub(crate) fn tell_time(&mut self, now: Instant) {
        self.endpoint.now = now;
    }

    /// The peer closed its side, or the connection broke. Nothing more is written: a client of this protocol that has
    /// shut down one direction is about to leave.
    pub fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.endpoint.now = now;
        self.close(reason);
        self.endpoint.discard();
    }

    /// What the peer did, one event a call; then what to wait for.
    pub fn poll_output(&mut self) -> SessionOutput {
        match self.poll_endpoint() {
            Polled::Event(event) => SessionOutput::Event(event),
            Polled::Wait(wait) => {
                // What a writer has may end in the midst of a frame.
                let source = !self.is_closing() && self.streams.any_playing() && !self.endpoint.outbound.is_out();
                SessionOutput::Wait(Wait { source, ..wait })
            }
            Polled::Closed(close) => SessionOutput::Closed(close),
        }
    }

    /// Bytes to write to the peer: write what it shows, then advance it by what was taken.
    pub fn outbound(&mut self) -> &mut Outbound {
        &mut self.endpoint.outbound
    }

    /// Grants a request and tells the peer so. Nothing happens if this session does not wait for such an answer.
    pub fn accept<R: Answerable>(&mut self, request: R) {
        request.accept(self);
    }

    /// Refuses a request: the peer gets a message, then the connection closes.
    pub fn reject<R: Answerable>(&mut self, request: R, rejection: &Rejection) {
        if self.is_closing() {
            return;
        }
        if self.is_web() {
            self.refuse_web(rejection);
        } else {
            request.reject(self, rejection);
        }
        self.close_with(CloseReason::Rejected(rejection.code), rejection.description.clone());
    }

    /// Queues a frame for the player on this message stream.
    ///
    /// Frames are encoded for message stream 1, the one nearly every player has; for another the head is written again
    /// and the payload is still shared.
    pub fn send_frame(&mut self, message_stream_id: u32, frame: &Frame) {
        if self.is_web() {
            return self.send_web_frame(frame);
        }
        frame.pieces(message_stream_id, |piece| self.endpoint.outbound.push(piece));
    }

    /// Sends `onStatus` on a message stream.
    pub fn send_status(&mut self, message_stream_id: u32, command: &Command) {
        self.send_command(STATUS_CHUNK_STREAM, message_stream_id, command);
    }

    /// Sends a user control event.
    pub fn send_user_control(&mut self, event: UserControl) {
        self.send_control(&Control::User(event));
    }

    /// From now on reports every message except control messages as [`SessionEvent::Measured`]: a bandwidth check has
    /// its own protocol. Does nothing before `connect` is accepted.
    pub fn measure(&mut self) {
        if self.endpoint.state.change(Change::MeasurementBegun) {
            self.endpoint.timers.clear(Timer::Setup);
        }
    }

    /// Sends a command on a chunk stream of the caller's choice, for the connection as a whole.
    pub(crate) fn send_measuring(&mut self, chunk_stream: u8, command: &Command) {
        self.send_command(chunk_stream, 0, command);
    }

    /// Closes from our side. What is queued is written first, except if the reason is a shortage of memory.
    pub fn close(&mut self, reason: CloseReason) {
        let short = reason == CloseReason::MemoryShort && !self.is_closing();
        self.settle(reason, None);
        if short {
            self.endpoint.discard();
        }
    }

    /// Closes from our side after telling the peer something: waits a moment for it to hang up first, because closing
    /// a socket with unread bytes turns into a reset that can overtake the message.
    pub fn close_with_words(&mut self, reason: CloseReason) {
        self.settle(reason, Some(String::new()));
    }

    /// The same, with the text that the peer got, for the log.
    fn close_with(&mut self, reason: CloseReason, told: String) {
        self.settle(reason, Some(told));
    }

    /// The stage the connection has reached.
    pub fn phase(&self) -> Phase {
        match &self.endpoint.state {
            State::ProxyHeader { .. } | State::Handshake(_) => Phase::Handshake,
            State::Web | State::AskedOnWeb | State::AwaitingConnect | State::AskedToConnect => Phase::Connect,
            State::Closing(closing) => closing.close().phase,
            _ if self.streams.any_publishing() => Phase::Publishing,
            _ if self.streams.any_playing() => Phase::Playing,
            _ => Phase::Connected,
        }
    }

    /// Enhanced RTMP capabilities the peer announced, once it is connected.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_deref()
    }

    /// Where the session is in the chunk streams of both directions, for a capture that begins now. `None` before the
    /// end of the handshake, and once the session closes.
    pub(crate) fn chunk_streams(&self) -> Option<ChunkStreams<'_>> {
        let endpoint = &self.endpoint;
        endpoint.has_chunks().then(|| ChunkStreams {
            input: endpoint.reader.state(),
            unread: endpoint.unread(),
            chunk_size: endpoint.chunk_size,
        })
    }

    /// Which kind of client publishes; one that speaks RTMP is judged by the commands it has sent so far.
    pub fn manner(&self) -> ClientKind {
        if self.delivery() == Delivery::WebRtc { ClientKind::WebRtc } else { self.identification.publisher() }
    }

    /// The client's address, if a trusted proxy sent one.
    pub fn client_address(&self) -> Option<SocketAddr> {
        self.client_address
    }

    /// Asks the peer to connect again, to `tc_url` or to the same URL (Enhanced RTMP v2, "Reconnect Request"). The
    /// server serves it until it leaves. Returns false and sends nothing if the peer did not announce that it
    /// understands this.
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        let understands = self.capabilities().is_some_and(|capabilities| capabilities.has(Capabilities::RECONNECT));
        if understands && !self.is_closing() {
            self.send_command(COMMAND_CHUNK_STREAM, 0, &reply::reconnect_request(tc_url, description));
        }
        understands
    }

    /// Ends playback on a message stream from our side, with the notices that say it is complete.
    pub fn complete_play(&mut self, message_stream_id: u32) {
        if self.streams.activity(message_stream_id) != Activity::Playing {
            return;
        }
        self.send_data(message_stream_id, &reply::play_complete());
        self.send_user_control(UserControl::StreamEof(message_stream_id));
        let stop = reply::on_status(Level::Status, "NetStream.Play.Stop", "Stopped playing.");
        self.send_status(message_stream_id, &stop);
        self.streams.end(message_stream_id);
        self.activity_changed();
    }

    /// Ends playback on a message stream from our side, and says why.
    pub fn stop_player(&mut self, message_stream_id: u32, rejection: &Rejection) {
        if self.is_web() {
            // What it is told depends on why it is closed, which follows.
            self.streams.end(message_stream_id);
            return;
        }
        if self.streams.activity(message_stream_id) == Activity::Playing {
            self.send_error_status(message_stream_id, rejection);
            self.streams.end(message_stream_id);
            self.activity_changed();
        }
    }

    /// Another publisher has taken the stream over: tells the peer, then closes.
    pub fn take_over(&mut self, message_stream_id: u32) {
        let rejection = Rejection::bad_publish_name("Another publisher has taken the stream over.");
        self.stop_publisher(message_stream_id, &rejection);
        self.close_with_words(CloseReason::TakenOver);
    }

    /// Tells a publisher why its media is no longer accepted.
    pub fn stop_publisher(&mut self, message_stream_id: u32, rejection: &Rejection) {
        self.send_error_status(message_stream_id, rejection);
    }

    /// Goes on by another configuration: that of the virtual host, once it is known. Only before `connect` is accepted,
    /// with which chunk size and windows are announced.
    pub(crate) fn set_config(&mut self, config: Arc<SessionConfig>) {
        debug_assert!(!self.is_connected());
        self.endpoint.chunk_size = config.chunk_size;
        self.config = config;
    }

    /// Goes by another configuration from now on, and says so: a stream of another virtual host was granted.
    pub(crate) fn change_config(&mut self, config: Arc<SessionConfig>) {
        if !self.is_connected() {
            return;
        }
        let before = std::mem::replace(&mut self.config, config);
        let limits = &self.config.limits;
        let publishing = self.streams.any_publishing();
        self.endpoint.reader.set_limits(if publishing { limits.chunks_publishing() } else { limits.chunks });
        self.endpoint.reader.set_leniency(self.config.leniency);
        if before.window != self.config.window {
            self.announce_window();
        }
        self.set_chunk_size(self.config.chunk_size);
        if self.config.bandwidth_done && !before.bandwidth_done {
            self.send_command(COMMAND_CHUNK_STREAM, 0, &reply::on_bandwidth_done());
        }
        self.endpoint.timers.set(Timer::Ping, deadline_after(self.endpoint.now, self.config.timeouts.ping));
    }

    /// Announces another chunk size for what follows, if it is another: a player's streams may be of a virtual host
    /// whose frames are cut differently.
    pub(crate) fn set_chunk_size(&mut self, size: u32) {
        if size != self.endpoint.chunk_size && !self.is_closing() && !self.is_web() {
            self.send_control(&Control::SetChunkSize(size));
            self.endpoint.chunk_size = size;
        }
    }

    /// The chunk size announced to the peer.
    pub(crate) fn chunk_size(&self) -> u32 {
        self.endpoint.chunk_size
    }

    fn is_connected(&self) -> bool {
        self.endpoint.state.is_connected()
    }

    pub(crate) fn now(&self) -> Instant {
        self.endpoint.now
    }

    /// Bytes received, handshake included.
    pub fn received(&self) -> u64 {
        self.endpoint.received()
    }

    /// Bytes that were queued for the peer and given up.
    pub fn given_up(&self) -> u64 {
        self.endpoint.given_up()
    }

    /// What was ignored.
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Bytes of messages that are not whole yet, and of those that wait for the answer to a request. The memory held
    /// for them is at most twice that.
    pub fn unfinished_bytes(&self) -> usize {
        self.endpoint.unfinished_bytes() + self.web.as_ref().map_or(0, |web| web.unfinished())
    }

    /// What waits to be written, read only.
    pub(crate) fn waiting(&self) -> &Outbound {
        &self.endpoint.outbound
    }

    /// True once it is decided that the connection ends.
    pub fn is_closing(&self) -> bool {
        self.endpoint.is_closing()
    }

    fn send_control(&mut self, control: &Control) {
        if self.is_web() {
            return;
        }
        self.endpoint.send_control(Cause::Peer, control);
    }

    fn send_command(&mut self, chunk_stream: u8, message_stream_id: u32, command: &Command) {
        if self.is_web() {
            return;
        }
        self.endpoint.send_command(Cause::Peer, chunk_stream, message_stream_id, command);
    }

    fn send_data(&mut self, message_stream_id: u32, body: &[u8]) {
        if self.is_web() {
            return;
        }
        self.endpoint.send_message(Cause::Peer, STATUS_CHUNK_STREAM, MessageType::DATA_AMF0, message_stream_id, body);
    }

    fn settle(&mut self, reason: CloseReason, told: Option<String>) {
        let (phase, linger) = (self.phase(), self.config.timeouts.linger);
        let told = if !self.is_closing() && self.end_web(&reason) { None } else { told };
        self.endpoint.settle(reason, phase, told, linger);
    }

    /// A stream began to publish or play, or stopped: keeps the timers in step.
    fn activity_changed(&mut self) {
        let (identify, first_message) = (self.config.timeouts.identify, self.config.timeouts.first_message);
        if self.streams.any_active() {
            self.endpoint.timers.clear(Timer::Setup);
        } else if !self.is_closing() {
            self.endpoint.timers.limit(Timer::Setup, TimeLimit::new(self.endpoint.now, identify));
        }
        if self.streams.any_publishing() {
            if !self.endpoint.timers.is_set(Timer::Silence) {
                self.endpoint.expect_first();
                self.endpoint.limit_silence(first_message);
            }
        } else {
            self.endpoint.timers.clear(Timer::Silence);
        }
    }

    fn push_event(&mut self, event: SessionEvent) {
        self.endpoint.push_event(event);
    }

    /// A request to be answered: nothing more is parsed until then.
    fn ask(&mut self, change: Change, event: SessionEvent) {
        self.endpoint.state.change(change);
        self.push_event(event);
    }

    /// Ends what a message stream does, and returns what that was; `None` if it did nothing.
    fn end_activity(&mut self, message_stream_id: u32) -> Option<Activity> {
        let ended = self.streams.end(message_stream_id)?;
        match ended {
            Activity::Publishing => self.push_event(SessionEvent::Unpublish { message_stream_id }),
            Activity::Playing => self.push_event(SessionEvent::Stop { message_stream_id }),
            Activity::Idle => return None,
        }
        self.activity_changed();
        Some(ended)
    }
}

impl Role for Session {
    type State = State;
    type Event = SessionEvent;

    fn endpoint(&self) -> &Endpoint<State, SessionEvent> {
        &self.endpoint
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint<State, SessionEvent> {
        &mut self.endpoint
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.config.limits;
        let replies = if self.is_connected() { limits.replies.max(MIN_REPLIES) } else { MIN_REPLIES };
        Bounds { events: limits.events, event_bytes: limits.event_bytes, replies, inbox: limits.inbox }
    }

    fn write_limit(&self) -> Duration {
        self.config.timeouts.write
    }

    /// Before `connect`, at most [`READ_BEFORE_CONNECT`].
    fn read_size(&self) -> usize {
        // Clients that are not connected yet may make us keep little.
        let takes_much = self.is_connected() && !self.is_web();
        if takes_much { self.endpoint.read_size(self.config.limits.inbox) } else { READ_BEFORE_CONNECT }
    }

    fn due_kind(&self, timer: Timer) -> DueKind {
        match timer {
            Timer::Setup if self.is_web() => self.web_due(),
            Timer::Setup if self.is_connected() => DueKind::Identify,
            Timer::Setup => DueKind::Connect,
            Timer::Silence if self.endpoint.has_message() => DueKind::NextMessage,
            Timer::Silence => DueKind::FirstMessage,
            Timer::Write => DueKind::Write,
            Timer::Ping => DueKind::Ping,
            Timer::Linger => DueKind::Linger,
        }
    }

    /// Keeps memory for the events of publishers, which come with every read. Players have hardly any events, and there
    /// are thousands of them.
    fn event_room(&self) -> usize {
        if self.streams.any_publishing() { 64 } else { 0 }
    }

    fn read_handshake(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        if self.web.is_none() && self.begins_web(input) {
            self.begin_web()?;
        }
        if self.is_web() {
            self.read_web(input)?;
            return Ok(true);
        }
        match &mut self.endpoint.state {
            State::ProxyHeader { preface, .. } => {
                let held = preface.held();
                match preface.read(input) {
                    Err(error) => {
                        *input = &input[preface.held() - held..];
                        return Err(error.into());
                    }
                    Ok(Prefaced::NeedMore) => *input = &[],
                    Ok(Prefaced::Done { consumed, client }) => {
                        *input = &input[consumed..];
                        self.client_address = client.map(SocketAddr::from);
                        self.endpoint.state.change(Change::HeaderOver);
                    }
                }
            }
            State::Handshake(handshake) => {
                let mut reply = Vec::new();
                let progress = handshake.read(input, &mut reply)?;
                *input = &input[progress.consumed..];
                self.endpoint.queue(Cause::Peer, reply);
                if progress.status == Status::Done {
                    self.endpoint.state.change(Change::HandshakeOver);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn handle_message(&mut self, message: Message) -> Result<(), Error> {
        self.take_message(message)
    }

    /// A client that exceeded a limit may do so by accident: the server tells it which limit.
    fn fail(&mut self, error: Error) {
        if self.is_web() {
            self.fail_web(&error);
            return self.close_with(CloseReason::Protocol(error), String::new());
        }
        let connected = self.is_connected();
        // Before the handshake is over no message can be sent.
        let told = match &self.endpoint.state {
            // Only `connect` is answered there, and it is no longer than what may be received.
            State::AwaitingConnect | State::AskedToConnect => !matches!(error, Error::MessageOverLimit { .. }),
            _ => connected,
        };
        let limit = error.limit(connected).filter(|_| told);
        let Some(limit) = limit else {
            return self.close(CloseReason::Protocol(error));
        };
        let words = format!("{error} ({limit})");
        match (self.streams.active(), connected) {
            (Some((id, Activity::Publishing)), _) => self.send_error_status(id, &Rejection::publish_denied(&words)),
            (Some((id, _)), _) => self.send_error_status(id, &Rejection::play_denied(&words)),
            (None, true) => self.send_command(COMMAND_CHUNK_STREAM, 0, &reply::call_failed(0.0, &words)),
            // What cannot be read has no transaction id, but that of `connect` is always 1 (RTMP 1.0 §7.2.1.1).
            (None, false) => ConnectRequest::refuse(self, 1.0, &Rejection::connect_rejected(&words)),
        }
        self.close_with(CloseReason::Protocol(error), words);
    }
}

#[cfg(test)]
pub(crate) mod tests;
