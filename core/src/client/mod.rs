//! The client's side of a connection: publishes and plays on another server. Bytes in, events and bytes out; no sockets,
//! no clock, no other connections.
//!
//! A [`Client`] is driven by four calls in any order: [`handle_input`](Client::handle_input) with what the server sent,
//! [`handle_timeout`](Client::handle_timeout) when the deadline it named has come,
//! [`poll_output`](Client::poll_output) for what the server did, [`outbound`](Client::outbound) for the bytes to write.
//! What it is to do is said at any time: streams asked for before the connection is there are asked of the server then.
//!
//! A publisher and a player of the same stream, on a server in memory:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use anabranch_core::client::{Client, ClientConfig, Destination, Event, ClientOutput, PlayOptions};
//! use anabranch_core::command::PublishType;
//! use anabranch_core::conn::{self, Config, Conn, Core};
//! use anabranch_core::message::{Message, MessageType, Payload};
//! use anabranch_core::session::Outbound;
//! use bytes::{Buf, Bytes};
//!
//! fn take(outbound: &mut Outbound) -> Bytes {
//!     let count = outbound.remaining();
//!     outbound.copy_to_bytes(count)
//! }
//!
//! /// Passes bytes both ways until neither side has any; what the server did.
//! fn exchange(now: Instant, client: &mut Client, conn: &mut Conn) -> Vec<Event> {
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
//! assert!(matches!(events[..], [Event::Connected(_), Event::Publishing { stream }] if stream == published));
//!
//! let (mut player, mut other_conn) = (Client::new(config, [2; 32], now), server.connect(now));
//! let played = player.play(destination.stream(), PlayOptions::default())?;
//! exchange(now, &mut player, &mut other_conn);
//!
//! let key_frame = Payload::from(&[0x17, 1, 0, 0, 0, 0x65][..]);
//! let message = Message { chunk_stream: 6, timestamp: 40, type_id: MessageType::VIDEO, stream_id: 0, payload: key_frame };
//! publisher.send_message(published, message.clone())?;
//! exchange(now, &mut publisher, &mut its_conn);
//! let events = exchange(now, &mut player, &mut other_conn);
//! assert!(events.iter().any(|event| match event {
//!     Event::Media { stream, message: got } => *stream == played && got.payload == message.payload,
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
mod streams;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub use config::{ClientConfig, ClientLimits, ClientTimeouts, EnhancedRtmp};
pub use destination::{Destination, DestinationError};
pub use event::{
    Answer, CallId, ClientOutput, Close, CloseReason, Connected, EndReason, Event, NotAsked, NotSent, Redirect,
    Rejection, Status, StreamHandle, TimeoutKind,
};
pub use streams::PlayOptions;

use crate::chunk::{ChunkReader, DEFAULT_CHUNK_SIZE, write_message};
use crate::command::Command;
use crate::flow::{self, AckWindow, Inbox, Patience, WriteWatch};
use crate::handshake::{self, Status as Handshake};
use crate::message::{Control, Message, MessageType};
use crate::session::{Error, Outbound, Phase, Wait};
use calls::{Pending, Purpose};
use streams::{Part, Streams};

/// The chunk stream of commands.
const COMMAND_CHUNK_STREAM: u8 = 3;
/// The chunk stream of `publish`, `play` and `pause`: as of other clients, not that of the connection's own commands.
const STREAM_CHUNK_STREAM: u8 = 8;

/// Room for the longest answer to the server, whatever the configured limit.
const MIN_REPLIES: usize = 4096;

/// One RTMP connection, the client's side of it. See the [module](self).
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    stage: Stage,
    reader: ChunkReader,
    outbound: Outbound,
    /// Events with the bytes of what they were made of.
    events: VecDeque<(usize, Event)>,
    /// All those bytes.
    event_bytes: usize,
    /// Bytes of the message being handled that no event accounts for yet.
    message_bytes: usize,
    inbox: Inbox,
    streams: Streams,
    /// Requests that wait for their answer, in the order in which they were made.
    pending: Vec<Pending>,
    last_transaction: u32,
    /// The chunk size of what we send.
    chunk_size: u32,
    /// The window we last announced.
    announced_window: u32,
    timers: flow::Timers<4>,
    now: Instant,
    last_input: Instant,
    /// True if there was a time without reading since the timer for that was set.
    deaf: bool,
    received: u64,
    ack: AckWindow,
    write_watch: WriteWatch,
    counters: ClientCounters,
    given_up: u64,
}

#[derive(Debug)]
enum Stage {
    Handshake(Box<handshake::ClientHandshake>),
    /// `connect` waits for its answer.
    Connect,
    Connected,
    /// The reason is settled; what is queued is still written.
    Closing(Box<Close>),
}

/// What a client waits for; each has at most one deadline.
#[derive(Debug, Clone, Copy)]
enum Timer {
    /// The handshake and the answer to `connect`.
    Setup,
    /// A sign of life.
    Read,
    /// Progress of a write.
    Write,
    /// The last bytes of a closing connection.
    Linger,
}

impl From<Timer> for usize {
    fn from(timer: Timer) -> usize {
        timer as usize
    }
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
        let (mut hello, mut outbound) = (Vec::with_capacity(1 + handshake::PACKET_LENGTH), Outbound::default());
        handshake.start(&mut hello);
        outbound.push(hello.into());
        let mut timers = flow::Timers::default();
        timers.limit(Timer::Setup, Patience::new(now, config.timeouts.connect));
        Client {
            stage: Stage::Handshake(Box::new(handshake)),
            reader: ChunkReader::new(config.limits.chunks, config.leniency),
            outbound,
            events: VecDeque::new(),
            event_bytes: 0,
            message_bytes: 0,
            inbox: Inbox::default(),
            streams: Streams::default(),
            pending: Vec::new(),
            last_transaction: 0,
            chunk_size: DEFAULT_CHUNK_SIZE,
            announced_window: 0,
            timers,
            now,
            last_input: now,
            deaf: false,
            received: 0,
            ack: AckWindow::new(config.window),
            write_watch: WriteWatch::new(now),
            counters: ClientCounters::default(),
            given_up: 0,
            config,
        }
    }

    /// Takes bytes from the server, cut anywhere.
    ///
    /// # Errors
    /// The server broke the protocol. The same error is in the [`Close`] that `poll_output` comes to, so that ignoring
    /// it here is fine.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Error> {
        self.now = now;
        self.received += bytes.len() as u64;
        if self.is_closing() {
            return Ok(());
        }
        if !bytes.is_empty() {
            self.last_input = now;
        }
        let mut rest = bytes;
        let parsed = if self.inbox.is_empty() { self.parse(&mut rest) } else { Ok(()) };
        let kept = parsed.and_then(|()| self.keep(rest));
        if let Err(error) = kept.clone() {
            self.settle(CloseReason::Protocol(error));
        }
        kept
    }

    /// Acts on what was due by `now`. Calling it too early or too often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.timers.take_expired(Timer::Setup, now) {
            let is_handshake = matches!(self.stage, Stage::Handshake(_));
            let kind = if is_handshake { TimeoutKind::Handshake } else { TimeoutKind::Connect };
            self.settle(CloseReason::Timeout(kind));
        }
        if let Some(patience) = self.config.timeouts.read
            && let Some(end) = self.timers.due(Timer::Read, now)
        {
            // Input does not touch the timer: it is set again from the last one's time when it is looked at. Nor is it
            // silence when nobody listened: what the server said meanwhile lies unread, here or in the socket.
            let unheard = std::mem::take(&mut self.deaf) || self.is_blocked() || !self.inbox.is_empty();
            let next = flow::after(if unheard { now } else { self.last_input }, patience);
            if next > end {
                self.timers.limit(Timer::Read, Patience::until(next, patience));
            } else if self.timers.take_expired(Timer::Read, now) {
                self.settle(CloseReason::Timeout(TimeoutKind::Read));
            }
        }
        if self.timers.take_expired(Timer::Write, now) && !self.outbound.is_empty() {
            let patience = self.config.timeouts.write;
            if self.write_watch.is_stalled(now, self.outbound.written(), patience) {
                self.settle(CloseReason::Timeout(TimeoutKind::Write));
            } else {
                self.timers.set(Timer::Write, WriteWatch::next_look(now, patience));
            }
        }
        if self.timers.take_expired(Timer::Linger, now) {
            self.discard();
        }
        self.expire_requests();
    }

    /// The server closed its side, or the connection broke. Nothing more is written.
    pub fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.now = now;
        self.settle(reason);
        self.discard();
    }

    /// What the server did, one event a call; then what to wait for.
    pub fn poll_output(&mut self) -> ClientOutput {
        loop {
            if let Some((bytes, event)) = self.events.pop_front() {
                self.event_bytes -= bytes;
                return ClientOutput::Event(event);
            }
            if self.inbox.is_empty() || self.is_blocked() || self.is_closing() {
                break;
            }
            let taken = self.inbox.take();
            let mut rest = taken.rest();
            let parsed = self.parse(&mut rest);
            if !self.is_closing() {
                let left = rest.len();
                self.inbox.put_back(taken, left);
            }
            if let Err(error) = parsed {
                self.settle(CloseReason::Protocol(error));
            }
        }
        // Room for a burst of events is given back: most connections never see one.
        if self.events.capacity() > 64 {
            self.events = VecDeque::new();
        }
        if self.outbound.is_empty() {
            self.timers.clear(Timer::Write);
        } else if !self.timers.is_set(Timer::Write) && !self.is_closing() {
            self.write_watch.begin(self.now, self.outbound.written());
            self.timers.set(Timer::Write, WriteWatch::next_look(self.now, self.config.timeouts.write));
        }
        if let Stage::Closing(close) = &self.stage
            && self.outbound.is_empty()
        {
            return ClientOutput::Closed(Close::clone(close));
        }
        self.deaf |= self.is_blocked();
        let answers = self.pending.iter().map(|pending| pending.patience.next_look()).min();
        ClientOutput::Wait(Wait {
            deadline: self.timers.next().into_iter().chain(answers).min(),
            // While closing: read and thrown away, for what lies unread when a socket closes turns it into a reset.
            read: !self.is_blocked(),
            write: !self.outbound.is_empty(),
            source: false,
        })
    }

    /// Bytes to write to the server: write what it shows, then advance it by what was taken.
    pub fn outbound(&mut self) -> &mut Outbound {
        &mut self.outbound
    }

    /// Takes leave in good order: ends all streams, and closes when that is written.
    pub fn close(&mut self) {
        let phase = self.phase();
        let handles: Vec<_> = self.streams.iter().map(|stream| stream.handle).collect();
        for handle in handles {
            self.stop(handle);
        }
        self.settle_in(phase, CloseReason::Closed);
    }

    /// The stage the connection has reached.
    pub fn phase(&self) -> Phase {
        let active =
            |publisher| self.streams.iter().any(|stream| stream.is_active() && stream.is_publisher() == publisher);
        match &self.stage {
            Stage::Handshake(_) => Phase::Handshake,
            Stage::Connect => Phase::Connect,
            Stage::Connected if active(true) => Phase::Publishing,
            Stage::Connected if active(false) => Phase::Playing,
            Stage::Connected => Phase::Connected,
            Stage::Closing(close) => close.phase,
        }
    }

    /// The message stream id that the server has given a stream; `None` before, and once the stream is gone.
    pub fn message_stream_id(&self, stream: StreamHandle) -> Option<u32> {
        self.streams.peek(stream).map(|stream| stream.id).filter(|id| *id != 0)
    }

    /// The name a stream was asked for by, as long as it is there.
    pub fn name(&self, stream: StreamHandle) -> Option<&str> {
        self.streams.peek(stream).map(|stream| &*stream.name)
    }

    /// The settings it was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Bytes received, handshake included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that were queued for the server and given up.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// What was ignored.
    pub fn counters(&self) -> ClientCounters {
        self.counters
    }

    fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing(_))
    }

    /// True while nothing more may be parsed: enough waits to be polled, or the server made us queue enough.
    fn is_blocked(&self) -> bool {
        let limits = &self.config.limits;
        let blocked = self.events.len() >= limits.events.max(1)
            || self.event_bytes >= limits.event_bytes.max(1)
            || self.outbound.replies() >= limits.replies.max(MIN_REPLIES);
        blocked && !self.is_closing()
    }

    /// Parses from the front of `input` until it is empty or the client is blocked.
    fn parse(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        while !input.is_empty() && !self.is_blocked() && !self.is_closing() {
            // Never past the byte at which an acknowledgement is due.
            let mut piece = self.ack.piece(input);
            let length = piece.len();
            let message = self.parse_piece(&mut piece);
            let taken = length - piece.len();
            self.ack.advance(taken);
            *input = &input[taken..];
            if let Some(message) = message? {
                self.message_bytes = message.payload.len();
                self.handle_message(message)?;
                self.message_bytes = 0;
            }
            if let Some(bytes) = self.ack.take_due()
                && matches!(self.stage, Stage::Connect | Stage::Connected)
            {
                self.reply_control(&Control::Acknowledgement(bytes));
            }
        }
        Ok(())
    }

    /// Takes bytes from `input` up to the end of the handshake or of a message.
    fn parse_piece(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        let Stage::Handshake(handshake) = &mut self.stage else {
            return Ok(self.reader.read(input)?);
        };
        let mut c2 = Vec::new();
        let progress = handshake.read(input, &mut c2)?;
        *input = &input[progress.consumed..];
        self.outbound.push(c2.into());
        if progress.status == Handshake::Done {
            self.stage = Stage::Connect;
            let transaction = self.request(Purpose::Connect);
            let connect = self.config.connect(transaction);
            self.send_command(COMMAND_CHUNK_STREAM, 0, &connect);
        }
        Ok(None)
    }

    /// Keeps bytes that could not be parsed yet.
    fn keep(&mut self, rest: &[u8]) -> Result<(), Error> {
        let limit = self.config.limits.inbox;
        if self.is_closing() || self.inbox.keep(rest, limit) { Ok(()) } else { Err(Error::InboxOverLimit { limit }) }
    }

    /// An answer to something the server sent: counts among the replies.
    fn reply_control(&mut self, control: &Control) {
        let mut out = Vec::with_capacity(20);
        control.write(self.chunk_size, &mut out);
        self.outbound.push_reply(out);
    }

    fn reply(&mut self, command: &Command) {
        let mut out = Vec::new();
        let (type_id, body) = (MessageType::COMMAND_AMF0, command.encode());
        write_message(&mut out, self.chunk_size, COMMAND_CHUNK_STREAM, 0, type_id, 0, &body);
        self.outbound.push_reply(out);
    }

    fn send_control(&mut self, control: &Control) {
        let mut out = Vec::with_capacity(20);
        control.write(self.chunk_size, &mut out);
        self.outbound.push(out.into());
    }

    fn send_command(&mut self, chunk_stream: u8, stream_id: u32, command: &Command) {
        let mut out = Vec::new();
        let (type_id, body) = (MessageType::COMMAND_AMF0, command.encode());
        write_message(&mut out, self.chunk_size, chunk_stream, 0, type_id, stream_id, &body);
        self.outbound.push(out.into());
    }

    fn push_event(&mut self, event: Event) {
        // An aggregate becomes many events: the first one accounts for all of it.
        let bytes = std::mem::take(&mut self.message_bytes);
        self.event_bytes += bytes;
        self.events.push_back((bytes, event));
    }

    fn settle(&mut self, reason: CloseReason) {
        self.settle_in(self.phase(), reason);
    }

    fn settle_in(&mut self, phase: Phase, reason: CloseReason) {
        if self.is_closing() {
            return;
        }
        let close = Close { reason, phase, offset: self.ack.parsed() };
        self.stage = Stage::Closing(Box::new(close));
        self.inbox.clear();
        self.streams = Streams::default();
        self.pending = Vec::new();
        self.timers.clear_all();
        self.timers.set(Timer::Linger, flow::after(self.now, self.config.timeouts.linger));
    }

    /// Gives up on everything still to be written.
    fn discard(&mut self) {
        self.given_up += self.outbound.len() as u64;
        self.outbound.clear();
    }
}
