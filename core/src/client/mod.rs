//! The client's side of a connection: publishes and plays on another server. Bytes in, events and bytes out; no
//! sockets, no clock, no other connections.
//!
//! A [`Client`] is driven by four calls in any order: [`handle_input`](Client::handle_input) with what the server sent,
//! [`handle_timeout`](Client::handle_timeout) when the deadline it named has come,
//! [`poll_output`](Client::poll_output) for what the server did, [`outbound`](Client::outbound) for the bytes to write.
//! Streams can be requested at any time: the client asks the server for them once it is connected.
//!
//! `examples/forward.rs` of the crate `anabranch-smol` is a client on a socket, whole: it publishes a stream on another
//! server, connects again when the connection is lost, and resumes at a key frame. A publisher and a player of the same
//! stream, on a server in memory:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use anabranch_core::client::{Client, ClientConfig, Destination, ClientEvent, ClientOutput, PlayOptions};
//! use anabranch_core::command::PublishType;
//! use anabranch_core::conn::{self, Config, Conn, Core};
//! use anabranch_core::message::Message;
//! use anabranch_core::session::Outbound;
//! use anabranch_core::bytes::{Buf, Bytes};
//!
//! fn take(outbound: &mut Outbound) -> Bytes {
//!     let count = outbound.remaining();
//!     outbound.copy_to_bytes(count)
//! }
//!
//! /// Passes bytes both ways until neither side has any; what the server did.
//! fn exchange(now: Instant, client: &mut Client, conn: &mut Conn) -> Vec<ClientEvent> {
//!     let mut events = Vec::new();
//!     loop {
//!         while let ClientOutput::Event(event) = client.poll_output() {
//!             events.push(event);
//!         }
//!         while let conn::Output::Action(_) = conn.poll(now) {}
//!         let sent = take(client.outbound());
//!         let answer = take(conn.outbound());
//!         if sent.is_empty() && answer.is_empty() {
//!             return events;
//!         }
//!         conn.handle_input(now, &sent);
//!         let _ = client.handle_input(now, &answer);
//!     }
//! }
//!
//! let now = Instant::now();
//! let server = Core::new(Config::default(), [7; 32]);
//! let destination = Destination::parse("rtmp://example.org/live/cam")?;
//! let config = Arc::new(ClientConfig::to(&destination));
//!
//! let (mut publisher, mut its_conn) = (Client::new(config.clone(), [1; 32], now), server.connect(now));
//! let published = publisher.publish(destination.stream(), PublishType::Live)?;
//! let events = exchange(now, &mut publisher, &mut its_conn);
//! assert!(matches!(events[..], [ClientEvent::Connected(_), ClientEvent::Publishing { stream }] if stream == published));
//!
//! let (mut player, mut other_conn) = (Client::new(config, [2; 32], now), server.connect(now));
//! let played = player.play(destination.stream(), PlayOptions::default())?;
//! exchange(now, &mut player, &mut other_conn);
//!
//! let message = Message::video(40, &[0x17, 1, 0, 0, 0, 0x65][..]);
//! publisher.send_message(published, message.clone())?;
//! exchange(now, &mut publisher, &mut its_conn);
//! let events = exchange(now, &mut player, &mut other_conn);
//! assert!(events.iter().any(|event| match event {
//!     ClientEvent::Media { stream, message: got } => *stream == played && got.payload == message.payload,
//!     _ => false,
//! }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answers;
mod calls;
mod config;
mod destination;
mod event;
mod messages;
mod state;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::{ClientConfig, ClientLimits, ClientTimeouts, EnhancedRtmp};
pub use destination::{Destination, DestinationError};
pub use event::{
    Answer, CallId, ClientCloseReason, ClientEvent, ClientOutput, ClientRejection, ClientTimeout, Connected, EndReason,
    NotAsked, NotSent, Redirect, Status, StreamHandle,
};
pub use streams::PlayOptions;

use crate::chunk::ChunkReader;
use crate::command::Command;
use crate::endpoint::{
    self, Bounds, COMMAND_CHUNK_STREAM, Cause, Due, DueKind, Endpoint, Error, MIN_REPLIES, Outbound, Phase, Polled,
    Role, Timer, Wait,
};
use crate::handshake::{self, Status as Handshake};
use crate::message::{Control, Message};
use calls::{Pending, Purpose};
use state::State;
use streams::ClientStreams;

/// How a client's connection ended.
pub type ClientClose = endpoint::Close<ClientCloseReason>;

/// The chunk stream of `publish`, `play` and `pause`: as of other clients, not that of the connection's own commands.
const STREAM_CHUNK_STREAM: u8 = 8;

/// One RTMP connection, the client's side of it. See the [module](self).
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    endpoint: Endpoint<State, ClientEvent>,
    streams: ClientStreams,
    /// Requests that wait for their answer, in the order in which they were made.
    pending: Vec<Pending>,
    last_transaction: u32,
    /// The window we last announced.
    announced_window: u32,
    counters: ClientCounters,
}

/// What a client ignored, so that nothing is lost silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCounters {
    /// Messages of unknown type, shared objects, answers to nothing.
    pub ignored_messages: u64,
    /// User control events that mean nothing here.
    pub ignored_events: u64,
    /// Commands that are not AMF, and parts of aggregates that cannot be read.
    pub unreadable_messages: u64,
    /// Audio, video and data outside any played stream.
    pub stray_media: u64,
}

impl Client {
    /// A client for a connection just opened, with C0 and C1 to send. `seed` fills the handshake's random bytes: any 32
    /// bytes, different for each connection.
    pub fn new(config: Arc<ClientConfig>, seed: [u8; 32], now: Instant) -> Self {
        let mut handshake = handshake::ClientHandshake::new(seed, 0, config.handshake);
        let mut hello = Vec::with_capacity(1 + handshake::PACKET_LENGTH);
        handshake.start(&mut hello);
        let reader = ChunkReader::new(config.limits.chunks, config.leniency);
        let state = State::Handshake(Box::new(handshake));
        let mut endpoint = Endpoint::new(state, reader, config.window, config.timeouts.connect, now);
        endpoint.queue(Cause::Own, hello);
        Client {
            endpoint,
            streams: ClientStreams::default(),
            pending: Vec::new(),
            last_transaction: 0,
            announced_window: 0,
            counters: ClientCounters::default(),
            config,
        }
    }

    /// Takes bytes from the server, cut anywhere.
    ///
    /// # Errors
    /// The server broke the protocol. The same error is in the [`ClientClose`] that `poll_output` returns, so it may be
    /// ignored here.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Error> {
        if !bytes.is_empty() && !self.is_closing() {
            self.endpoint.now = now;
            self.endpoint.note_message();
        }
        self.receive(now, bytes)
    }

    /// Acts on what was due by `now`. Calling it too early or too often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.now = now;
        if self.endpoint.timers.take_expired(Timer::Setup, now) {
            let is_handshake = matches!(self.endpoint.state, State::Handshake(_));
            let kind = if is_handshake { ClientTimeout::Handshake } else { ClientTimeout::Connect };
            self.settle(ClientCloseReason::Timeout(kind));
        }
        if let Some(limit) = self.config.timeouts.read
            && self.is_silent(limit)
        {
            self.settle(ClientCloseReason::Timeout(ClientTimeout::Read));
        }
        if self.is_write_stalled() {
            self.settle(ClientCloseReason::Timeout(ClientTimeout::Write));
        }
        self.end_linger();
        self.expire_requests();
    }

    /// The server closed its side, or the connection broke. Nothing more is written.
    pub fn handle_disconnect(&mut self, now: Instant, reason: ClientCloseReason) {
        self.endpoint.now = now;
        self.settle(reason);
        self.endpoint.discard();
    }

    /// What the server did, one event a call; then what to wait for.
    pub fn poll_output(&mut self) -> ClientOutput {
        match self.poll_endpoint() {
            Polled::Event(event) => ClientOutput::Event(event),
            Polled::Wait(wait) => {
                let answers = self.pending.iter().map(|pending| Due::new(pending.limit.next_check(), DueKind::Answer));
                ClientOutput::Wait(Wait { due: Due::first(wait.due.into_iter().chain(answers)), ..wait })
            }
            Polled::Closed(close) => ClientOutput::Closed(close),
        }
    }

    /// Bytes to write to the server: write what it shows, then advance it by what was taken.
    pub fn outbound(&mut self) -> &mut Outbound {
        &mut self.endpoint.outbound
    }

    /// Closes the connection in good order: ends all streams, and closes when that is written.
    pub fn close(&mut self) {
        let phase = self.stop_all();
        self.settle_in(phase, ClientCloseReason::Closed, false);
    }

    /// The same, but waits until the server has closed, too, up to the time for the last bytes: a server that gets a reset
    /// instead of the end logs an error. Once [all is written](Self::is_parting) shut down the sending side: most servers
    /// close only then.
    pub(crate) fn part(&mut self) {
        let phase = self.stop_all();
        self.settle_in(phase, ClientCloseReason::Closed, true);
    }

    /// True if all is written, and the server is to close.
    pub(crate) fn is_parting(&self) -> bool {
        self.endpoint.is_lingering() && self.endpoint.outbound.is_idle()
    }

    /// Ends all streams. Returns the stage before that.
    fn stop_all(&mut self) -> Phase {
        let phase = self.phase();
        let handles: Vec<_> = self.streams.iter().map(|stream| stream.handle).collect();
        for handle in handles {
            self.stop(handle);
        }
        phase
    }

    /// The stage the connection has reached.
    pub fn phase(&self) -> Phase {
        let active =
            |publisher| self.streams.iter().any(|stream| stream.is_active() && stream.is_publisher() == publisher);
        match &self.endpoint.state {
            State::Handshake(_) => Phase::Handshake,
            State::Connecting => Phase::Connect,
            State::Connected if active(true) => Phase::Publishing,
            State::Connected if active(false) => Phase::Playing,
            State::Connected => Phase::Connected,
            State::Closing(closing) => closing.close().phase,
        }
    }

    /// The message stream id that the server has given a stream; `None` before, and once the stream is gone.
    pub fn message_stream_id(&self, stream: StreamHandle) -> Option<u32> {
        self.streams.peek(stream).map(|stream| stream.id).filter(|id| *id != 0)
    }

    /// The name with which a stream was requested, until the stream is gone.
    pub fn name(&self, stream: StreamHandle) -> Option<&str> {
        self.streams.peek(stream).map(|stream| &*stream.name)
    }

    /// The settings it was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Bytes received, handshake included.
    pub fn received(&self) -> u64 {
        self.endpoint.received()
    }

    /// Bytes that were queued for the server and given up.
    pub fn given_up(&self) -> u64 {
        self.endpoint.given_up()
    }

    /// What was ignored.
    pub fn counters(&self) -> ClientCounters {
        self.counters
    }

    /// Bytes of messages that are not whole yet, and of those that are not parsed yet. The memory held for them is at
    /// most twice that.
    pub fn unfinished_bytes(&self) -> usize {
        self.endpoint.unfinished_bytes()
    }

    /// The time now, for what is queued next.
    pub(crate) fn tell_time(&mut self, now: Instant) {
        self.endpoint.now = now;
    }

    /// The time of the latest call.
    pub(crate) fn time(&self) -> Instant {
        self.endpoint.now
    }

    /// True once the end of the connection is settled.
    pub(crate) fn is_over(&self) -> bool {
        self.is_closing()
    }

    fn is_closing(&self) -> bool {
        self.endpoint.is_closing()
    }

    fn send_control(&mut self, cause: Cause, control: &Control) {
        self.endpoint.send_control(cause, control);
    }

    fn send_command(&mut self, chunk_stream: u8, message_stream_id: u32, command: &Command) {
        self.endpoint.send_command(Cause::Own, chunk_stream, message_stream_id, command);
    }

    fn push_event(&mut self, event: ClientEvent) {
        self.endpoint.push_event(event);
    }

    fn settle(&mut self, reason: ClientCloseReason) {
        self.settle_in(self.phase(), reason, false);
    }

    fn settle_in(&mut self, phase: Phase, reason: ClientCloseReason, waits: bool) {
        if self.is_closing() {
            return;
        }
        let told = waits.then(String::new);
        self.endpoint.settle(reason, phase, told, self.config.timeouts.linger);
        self.streams = ClientStreams::default();
        self.pending = Vec::new();
    }
}

impl Role for Client {
    type State = State;
    type Event = ClientEvent;

    fn endpoint(&self) -> &Endpoint<State, ClientEvent> {
        &self.endpoint
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint<State, ClientEvent> {
        &mut self.endpoint
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.config.limits;
        let replies = limits.replies.max(MIN_REPLIES);
        Bounds { events: limits.events, event_bytes: limits.event_bytes, replies, inbox: limits.inbox }
    }

    fn write_limit(&self) -> Duration {
        self.config.timeouts.write
    }

    fn read_size(&self) -> usize {
        self.endpoint.read_size(self.config.limits.inbox)
    }

    fn due_kind(&self, timer: Timer) -> DueKind {
        match timer {
            Timer::Setup => DueKind::Connect,
            Timer::Silence => DueKind::Silence,
            Timer::Write => DueKind::Write,
            Timer::Ping => DueKind::Ping,
            Timer::Linger => DueKind::Linger,
        }
    }

    /// Keeps memory for the events of players, which come with every read.
    fn event_room(&self) -> usize {
        if self.streams.iter().any(|stream| stream.is_active() && !stream.is_publisher()) { 64 } else { 0 }
    }

    fn read_handshake(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        let State::Handshake(handshake) = &mut self.endpoint.state else {
            return Ok(false);
        };
        let mut c2 = Vec::new();
        let progress = handshake.read(input, &mut c2)?;
        *input = &input[progress.consumed..];
        self.endpoint.queue(Cause::Own, c2);
        if progress.status == Handshake::Done {
            self.endpoint.state = State::Connecting;
            let transaction = self.request(Purpose::Connect);
            let connect = self.config.connect(transaction);
            self.send_command(COMMAND_CHUNK_STREAM, 0, &connect);
        }
        Ok(true)
    }

    fn handle_message(&mut self, message: Message) -> Result<(), Error> {
        self.take_message(message)
    }

    fn fail(&mut self, error: Error) {
        self.settle(ClientCloseReason::Protocol(error));
    }
}
