//! One RTMP connection: bytes in, events and bytes out. No sockets, no clock, no locks, no other connections.
//!
//! A [`Session`] is the server's side of handshake, `connect`, `publish` or `play`, and close, with all timers on the
//! way. It knows no streams: who may publish, and where media goes, is for its owner to say.
//! [`conn::Conn`](crate::conn::Conn) is one such owner, and the one to take for a server; a session alone is for a
//! program with an idea of its own of what a stream is.
//!
//! It is driven by four calls in any order: [`handle_input`](Session::handle_input) with what the peer sent,
//! [`handle_timeout`](Session::handle_timeout) when the deadline it named has come,
//! [`poll_output`](Session::poll_output) for what the peer did, [`outbound`](Session::outbound) for the bytes to write.
//!
//! # Requests
//! What the peer asks for comes as an [`Event`] with a value in it that is answered once, with
//! [`accept`](Session::accept) or [`reject`](Session::reject). Until then the session parses nothing further, keeps
//! what comes (bounded) and says in its [`Wait`] that it wants no more.
//!
//! ```
//! # use std::sync::Arc;
//! # use std::time::Instant;
//! use anabranch_core::session::{Event, SessionOutput, Rejection, Session, SessionConfig, Wait};
//!
//! /// Lets everybody connect and nobody do anything, until there is only something to wait for.
//! fn react(session: &mut Session) -> Option<Wait> {
//!     loop {
//!         match session.poll_output() {
//!             SessionOutput::Event(Event::Connect(request)) => session.accept(request),
//!             SessionOutput::Event(Event::Publish(request)) => session.reject(request, &Rejection::publish_denied("closed")),
//!             SessionOutput::Event(Event::Play(request)) => session.reject(request, &Rejection::play_denied("closed")),
//!             SessionOutput::Event(_) => {}
//!             SessionOutput::Wait(wait) => return Some(wait),
//!             SessionOutput::Closed(_) => return None,
//!         }
//!     }
//! }
//! # let mut session = Session::new(Arc::new(SessionConfig::default()), [7; 32], Instant::now());
//! # assert!(react(&mut session).expect("it has just begun").read);
//! ```
//!
//! # Media
//! A publisher's messages are [`Event::Media`], whole and in order. A player is given [`Frame`]s with
//! [`send_frame`](Session::send_frame): they are encoded for the wire already and shared with all other players.
//!
//! # Close
//! Whatever ends a session, the peer's error, a timeout or its owner, it comes to one [`Close`], with a [`CloseReason`]
//! that has a name for machines. Where the peer is told something, what is queued is written first, but not for ever:
//! see [`SessionTimeouts::linger`].

mod commands;
mod config;
mod event;
mod identify;
mod messages;
mod outbound;
mod request;
mod streams;
mod timers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::{SessionConfig, SessionLimits, SessionTimeouts};
pub use event::{
    Close, CloseReason, ConnectRequest, Error, Event, Phase, PlayRequest, PublishRequest, Rejection, SessionOutput,
    TimeoutKind, TlsFault, Track, Wait,
};
pub use identify::ClientKind;
pub use outbound::Outbound;
pub(crate) use outbound::{SHARED_PIECE, Tally};
pub use request::Request;

use crate::chunk::{ChunkReader, write_message};
use crate::command::reply::{self, Level};
use crate::command::{Capabilities, Command};
use crate::flow::{self, AckWindow, Inbox, Patience, WriteWatch};
use crate::handshake::{self, Status};
use crate::message::{Control, Message, MessageType, UserControl};
use crate::preface::{Preface, Prefaced};
use crate::source::Frame;
use identify::Identification;
use streams::{Activity, Streams};
use timers::{Timer, Timers};

/// The chunk stream of connection commands and their answers.
const COMMAND_CHUNK_STREAM: u8 = 3;
/// The chunk stream of notices on a message stream.
const STATUS_CHUNK_STREAM: u8 = 5;

/// How much a peer may still send while the last words to it are on their way, in bytes.
const MAX_IGNORED_BYTES: usize = 256 << 10;

/// S0, S1 and S2.
pub(crate) const LONGEST_HANDSHAKE_REPLY: usize = 1 + 2 * handshake::PACKET_LENGTH;

/// Room for the longest reply, S0 S1 S2, whatever the configured limit.
pub(crate) const MIN_REPLIES: usize = 4096;

/// Messages that one read is to bring at most; a read of ordinary media brings a handful.
const READ_MESSAGES: u32 = 512;

/// Bytes read at once before `connect` is accepted: C0 and C1 and then some.
pub(crate) const READ_BEFORE_CONNECT: usize = 2048;

/// One RTMP connection, the server's side of it.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    /// The chunk size of what we send.
    chunk_size: u32,
    stage: Stage,
    /// What a trusted proxy may have put in front of the handshake, until it is read.
    preface: Option<Box<Preface>>,
    /// The client's address according to such a proxy.
    client_address: Option<SocketAddr>,
    reader: ChunkReader,
    outbound: Outbound,
    events: VecDeque<Event>,
    inbox: Inbox,
    /// True while a request waits for its answer.
    asking: bool,
    identification: Identification,
    streams: Streams,
    capabilities: Option<Box<Capabilities>>,
    /// Transaction id of an FCPublish whose `onFCPublish` is still to come.
    fc_publish: Option<f64>,
    timers: Timers,
    now: Instant,
    /// When the session began: the zero of ping times.
    start: Instant,
    /// Bytes received, handshake included.
    received: u64,
    /// Length of the last input, and the messages in it and what was left of those before.
    last_input: usize,
    last_messages: u32,
    ack: AckWindow,
    write_watch: WriteWatch,
    /// When the publisher's last message came.
    last_message: Option<Instant>,
    counters: SessionCounters,
    /// True while everything that comes is handed on for a bandwidth check.
    measuring: bool,
    /// True if there was a time without reading since the publisher's timer was set.
    deaf: bool,
    /// Bytes that were queued and given up.
    given_up: u64,
    /// Bytes that came after the session was over.
    ignored_bytes: usize,
}

#[derive(Debug)]
enum Stage {
    Handshake(Box<handshake::ServerHandshake>),
    /// Waiting for `connect` or its answer.
    Connect,
    Connected,
    /// The reason is settled; what is queued is still written.
    Closing(Box<Closing>),
}

#[derive(Debug)]
struct Closing {
    close: Close,
    /// The peer is told something: wait for it to hang up, so that the words are not lost to a reset.
    linger: bool,
    /// Nothing more is written, nor what somebody was writing when that was decided and now puts back.
    discards: bool,
}

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
        let mut timers = Timers::default();
        timers.limit(Timer::Setup, Patience::new(now, config.timeouts.connect));
        Session {
            chunk_size: config.chunk_size,
            stage: Stage::Handshake(Box::new(handshake::ServerHandshake::new(seed, 0))),
            preface: None,
            client_address: None,
            reader: ChunkReader::new(config.limits.chunks_before_connect, config.leniency),
            outbound: Outbound::default(),
            events: VecDeque::new(),
            inbox: Inbox::default(),
            asking: false,
            identification: Identification::default(),
            streams: Streams::default(),
            capabilities: None,
            fc_publish: None,
            timers,
            now,
            start: now,
            received: 0,
            last_input: 0,
            last_messages: 0,
            ack: AckWindow::new(config.window),
            write_watch: WriteWatch::new(now),
            last_message: None,
            counters: SessionCounters::default(),
            measuring: false,
            deaf: false,
            given_up: 0,
            ignored_bytes: 0,
            config,
        }
    }

    /// A session for a connection from a trusted proxy, which may say in front of the handshake who is behind it.
    pub fn behind_proxy(config: Arc<SessionConfig>, seed: [u8; 32], now: Instant) -> Self {
        Session { preface: Some(Box::default()), ..Session::new(config, seed, now) }
    }

    /// Takes bytes from the peer, cut anywhere.
    ///
    /// # Errors
    /// The peer broke the protocol. The same error is in the [`Close`] that `poll_output` comes to, so that ignoring
    /// it here is fine.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Error> {
        self.now = now;
        self.received += bytes.len() as u64;
        (self.last_input, self.last_messages) = (bytes.len(), 0);
        if self.is_closing() {
            // A peer that is told why and hangs up sends little after that; one that floods is not listened to.
            self.ignored_bytes += bytes.len();
            if self.ignored_bytes > MAX_IGNORED_BYTES {
                self.discard();
            }
            return Ok(());
        }
        let mut rest = bytes;
        let parsed = if self.inbox.is_empty() { self.parse(&mut rest) } else { Ok(()) };
        let kept = parsed.and_then(|()| self.keep(rest));
        if let Err(error) = kept.clone() {
            self.fail(error);
        }
        kept
    }

    /// Ends the connection because of what the peer sent. One that passed a limit may mean well: it is told which.
    fn fail(&mut self, error: Error) {
        let connected = self.is_connected();
        // Before the handshake is over there are no messages to say it with.
        let told = match &self.stage {
            // Only `connect` is answered there, and it is no longer than what may be received.
            Stage::Connect => !matches!(error, Error::MessageOverLimit { .. }),
            stage => matches!(stage, Stage::Connected),
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
        // What was half received is of no use any more.
        self.reader = ChunkReader::new(self.config.limits.chunks_before_connect, self.config.leniency);
    }

    /// Acts on what was due by `now`. Calling it too early or too often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let next_message = self.config.timeouts.next_message;
        if self.timers.take_expired(Timer::Setup, now) {
            let kind =
                if matches!(self.stage, Stage::Connected) { TimeoutKind::Identify } else { TimeoutKind::Connect };
            self.close(CloseReason::Timeout(kind));
        }
        if let Some(end) = self.timers.due(Timer::Publish, now) {
            // Messages do not touch the timer: it is set again from the last one's time when it is looked at. Nor is it
            // silence when nobody listened: what the publisher said meanwhile lies unread, here or in the socket.
            let unheard = std::mem::take(&mut self.deaf) || self.is_blocked() || !self.inbox.is_empty();
            let last = if unheard { Some(now) } else { self.last_message };
            match last.map(|last| flow::after(last, next_message)) {
                Some(next) if next > end => self.timers.limit(Timer::Publish, Patience::until(next, next_message)),
                _ if !self.timers.take_expired(Timer::Publish, now) => {}
                Some(_) => self.close(CloseReason::Timeout(TimeoutKind::NextMessage)),
                None => self.close(CloseReason::Timeout(TimeoutKind::FirstMessage)),
            }
        }
        if self.timers.take_expired(Timer::Write, now) && !self.outbound.is_empty() {
            let patience = self.config.timeouts.write;
            if self.write_watch.is_stalled(now, self.outbound.written(), patience) {
                self.close(CloseReason::Timeout(TimeoutKind::Write));
            } else {
                self.timers.set(Timer::Write, WriteWatch::next_look(now, patience));
            }
        }
        if self.timers.take_expired(Timer::Ping, now) {
            self.timers.set(Timer::Ping, flow::after(now, self.config.timeouts.ping));
            let time = now.saturating_duration_since(self.start).as_millis() as u32;
            // Our own idea, so it does not count among the replies.
            let mut ping = Vec::with_capacity(20);
            Control::User(UserControl::PingRequest(time)).write(self.chunk_size, &mut ping);
            self.outbound.push(ping.into());
        }
        if self.timers.take_expired(Timer::Linger, now) {
            self.discard();
        }
    }

    /// The next time at which something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The request that waits may be answered as late as in so long: that is no delay of the client's, whose own time begins
    /// again.
    pub(crate) fn answer_takes(&mut self, time: Duration) {
        if self.asking && self.timers.is_set(Timer::Setup) {
            let timeouts = &self.config.timeouts;
            let own = if self.is_connected() { timeouts.identify } else { timeouts.connect };
            self.timers.limit(Timer::Setup, Patience::new(self.now, time.saturating_add(own)));
        }
    }

    /// Tells the time where nothing else happens: timers started by what follows count from there.
    pub(crate) fn tell_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// The peer closed its side, or the connection broke. Nothing more is written: a client of this protocol that has
    /// shut down one direction is on its way out.
    pub fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.now = now;
        self.close(reason);
        self.discard();
    }

    /// What the peer did, one event a call; then what to wait for.
    pub fn poll_output(&mut self) -> SessionOutput {
        loop {
            if let Some(event) = self.events.pop_front() {
                return SessionOutput::Event(event);
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
                self.fail(error);
            }
        }
        // Room for events is given back, but to a publisher, for whom they come with every read: there are thousands of
        // players, and they hardly ever say anything.
        if self.events.capacity() > if self.streams.any_publishing() { 64 } else { 0 } {
            self.events = VecDeque::new();
        }
        if matches!(&self.stage, Stage::Closing(closing) if closing.discards) && !self.outbound.is_empty() {
            self.discard();
        }
        if self.outbound.is_empty() {
            // A look at nothing would be a call more for every player, and what it was given by then a write more.
            self.timers.clear(Timer::Write);
        } else if !self.timers.is_set(Timer::Write) {
            self.write_watch.begin(self.now, self.outbound.written());
            self.timers.set(Timer::Write, WriteWatch::next_look(self.now, self.config.timeouts.write));
        }
        let read = !self.is_blocked();
        self.deaf |= !read;
        if let Stage::Closing(closing) = &self.stage {
            if self.outbound.is_empty() && !closing.linger {
                return SessionOutput::Closed(closing.close.clone());
            }
            return SessionOutput::Wait(Wait {
                deadline: self.timers.next(),
                // Read and thrown away: what lies unread when a socket closes turns the close into a reset.
                read: true,
                write: !self.outbound.is_empty(),
                source: false,
            });
        }
        SessionOutput::Wait(Wait {
            deadline: self.timers.next(),
            read,
            write: !self.outbound.is_empty(),
            source: self.streams.any_playing(),
        })
    }

    /// Bytes to write to the peer: write what it shows, then advance it by what was taken.
    pub fn outbound(&mut self) -> &mut Outbound {
        &mut self.outbound
    }

    /// Grants a request and tells the peer so.
    pub fn accept<R: Request>(&mut self, request: R) {
        self.asking = false;
        if !self.is_closing() {
            request.accept(self);
        }
    }

    /// Refuses a request: the peer is told, then the connection closes.
    pub fn reject<R: Request>(&mut self, request: R, rejection: &Rejection) {
        self.asking = false;
        if self.is_closing() {
            return;
        }
        request.reject(self, rejection);
        self.close_with(CloseReason::Rejected(rejection.code), rejection.description.clone());
    }

    /// Queues a frame for the player on this message stream.
    ///
    /// Frames are encoded for message stream 1, the one nearly every player has; for another the head is written anew
    /// and the payload shared all the same.
    pub fn send_frame(&mut self, stream_id: u32, frame: &Frame) {
        frame.pieces(stream_id, |piece| self.outbound.push(piece));
    }

    /// Sends `onStatus` on a message stream.
    pub fn send_status(&mut self, stream_id: u32, command: &Command) {
        self.send_command(STATUS_CHUNK_STREAM, stream_id, command);
    }

    /// Sends a user control event.
    pub fn send_user_control(&mut self, event: UserControl) {
        self.send_control(&Control::User(event));
    }

    /// From now on hands on whatever comes, but control messages, as [`Event::Measured`]: a bandwidth check speaks for
    /// itself.
    pub fn measure(&mut self) {
        self.measuring = true;
        self.timers.clear(Timer::Setup);
    }

    /// Sends a command on a chunk stream of the caller's choice, for the connection as a whole.
    pub(crate) fn send_measuring(&mut self, chunk_stream: u8, command: &Command) {
        self.send_command(chunk_stream, 0, command);
    }

    /// Closes from our side; what is queued is written first, but for want of memory.
    pub fn close(&mut self, reason: CloseReason) {
        let short = reason == CloseReason::MemoryShort && !self.is_closing();
        self.settle(reason, None);
        if short {
            self.discard();
        }
    }

    /// Closes from our side after telling the peer something: waits a moment for it to hang up first, because closing
    /// a socket with unread bytes turns into a reset that can overtake the words.
    pub fn close_with_words(&mut self, reason: CloseReason) {
        self.settle(reason, Some(String::new()));
    }

    /// The same with the words, for the log.
    fn close_with(&mut self, reason: CloseReason, told: String) {
        self.settle(reason, Some(told));
    }

    /// The stage the connection has reached.
    pub fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Handshake(_) => Phase::Handshake,
            Stage::Connect => Phase::Connect,
            Stage::Connected if self.streams.any_publishing() => Phase::Publishing,
            Stage::Connected if self.streams.any_playing() => Phase::Playing,
            Stage::Connected => Phase::Connected,
            Stage::Closing(closing) => closing.close.phase,
        }
    }

    /// Enhanced RTMP capabilities the peer announced, once it is connected.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_deref()
    }

    /// In whose manner the client publishes, or would.
    pub fn manner(&self) -> ClientKind {
        self.identification.publisher()
    }

    /// The client's address, if a trusted proxy said one.
    pub fn client_address(&self) -> Option<SocketAddr> {
        self.client_address
    }

    /// Asks the peer to connect anew, to `tc_url` or to the same URL (Enhanced RTMP v2, "Reconnect Request"). It goes on
    /// being served until it leaves. False, and nothing is sent, if it did not announce that it understands this.
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        let understands = self.capabilities().is_some_and(|capabilities| capabilities.has(Capabilities::RECONNECT));
        if understands && !self.is_closing() {
            self.send_command(COMMAND_CHUNK_STREAM, 0, &reply::reconnect_request(tc_url, description));
        }
        understands
    }

    /// Ends playback on a message stream from our side, with the notices that say it is complete.
    pub fn complete_play(&mut self, stream_id: u32) {
        if self.streams.activity(stream_id) != Activity::Playing {
            return;
        }
        self.send_message(STATUS_CHUNK_STREAM, MessageType::DATA_AMF0, stream_id, &reply::play_complete());
        self.send_user_control(UserControl::StreamEof(stream_id));
        let stop = reply::on_status(Level::Status, "NetStream.Play.Stop", "Stopped playing.");
        self.send_status(stream_id, &stop);
        self.streams.end(stream_id);
        self.activity_changed();
    }

    /// Ends playback on a message stream from our side, and says why.
    pub fn stop_player(&mut self, stream_id: u32, rejection: &Rejection) {
        if self.streams.activity(stream_id) == Activity::Playing {
            self.send_error_status(stream_id, rejection);
            self.streams.end(stream_id);
            self.activity_changed();
        }
    }

    /// Another publisher has the stream now: tells the peer, then closes.
    pub fn take_over(&mut self, stream_id: u32) {
        let rejection = Rejection::bad_publish_name("Another publisher has taken the stream over.");
        self.stop_publisher(stream_id, &rejection);
        self.close_with_words(CloseReason::TakenOver);
    }

    /// Tells a publisher why it is not heard any more.
    pub fn stop_publisher(&mut self, stream_id: u32, rejection: &Rejection) {
        self.send_error_status(stream_id, rejection);
    }

    /// Goes on by another configuration: that of the virtual host, once it is known. Only before `connect` is accepted,
    /// with which chunk size and windows are announced.
    pub(crate) fn set_config(&mut self, config: Arc<SessionConfig>) {
        debug_assert!(matches!(self.stage, Stage::Connect | Stage::Closing(_)));
        self.chunk_size = config.chunk_size;
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
        self.reader.set_limits(if publishing { limits.chunks_publishing() } else { limits.chunks });
        self.reader.set_leniency(self.config.leniency);
        if before.window != self.config.window {
            self.announce_window();
        }
        self.set_chunk_size(self.config.chunk_size);
        if self.config.bandwidth_done && !before.bandwidth_done {
            self.send_command(COMMAND_CHUNK_STREAM, 0, &reply::on_bandwidth_done());
        }
        self.timers.set(Timer::Ping, flow::after(self.now, self.config.timeouts.ping));
    }

    /// Announces another chunk size for what follows, if it is another: a player's streams may be of a virtual host
    /// whose frames are cut differently.
    pub(crate) fn set_chunk_size(&mut self, size: u32) {
        if size != self.chunk_size && !self.is_closing() {
            self.send_control(&Control::SetChunkSize(size));
            self.chunk_size = size;
        }
    }

    /// The chunk size announced to the peer.
    pub(crate) fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// How many bytes to read from the peer at once, at most. What comes behind a request that waits is kept, and a
    /// stranger is to make us keep little. And a read is worked through in one go: messages take a byte each if a peer
    /// wants it so, and then less is read, that others have their turn. Advice: nothing breaks with more.
    pub fn read_size(&self) -> usize {
        match self.last_messages {
            _ if !self.is_connected() => READ_BEFORE_CONNECT,
            // All of it may have to be kept, behind a request.
            0..=READ_MESSAGES => self.config.limits.inbox.max(READ_BEFORE_CONNECT),
            messages => (self.last_input / messages as usize * READ_MESSAGES as usize).max(READ_BEFORE_CONNECT),
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected)
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Bytes received, handshake included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that were queued for the peer and given up.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// What was ignored.
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Bytes of messages that are not whole yet, and of those that wait for the answer to a request. The memory held for
    /// them is at most twice that.
    pub fn unfinished_bytes(&self) -> usize {
        self.reader.partial_bytes() + self.inbox.len()
    }

    /// What waits for the peer, to be looked at.
    pub(crate) fn waiting(&self) -> &Outbound {
        &self.outbound
    }

    /// True once the connection is to end, whatever comes.
    pub fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing(_))
    }

    /// True while nothing more may be parsed: a request waits, or the peer made us queue enough.
    fn is_blocked(&self) -> bool {
        let limits = &self.config.limits;
        let replies = if self.is_connected() { limits.replies.max(MIN_REPLIES) } else { MIN_REPLIES };
        self.asking || self.events.len() >= limits.events || self.outbound.replies() >= replies
    }

    /// Parses from the front of `input` until it is empty or the session is blocked.
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
                self.last_messages = self.last_messages.saturating_add(1);
                self.handle_message(message)?;
            }
            if let Some(bytes) = self.ack.take_due()
                && matches!(self.stage, Stage::Connect | Stage::Connected)
            {
                self.send_control(&Control::Acknowledgement(bytes));
            }
        }
        Ok(())
    }

    /// Takes bytes from `input` up to the end of the proxy header, of the handshake or of a message.
    fn parse_piece(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        if let Some(preface) = &mut self.preface {
            let held = preface.held();
            match preface.read(input) {
                Err(error) => {
                    *input = &input[preface.held() - held..];
                    return Err(error.into());
                }
                Ok(Prefaced::NeedMore) => *input = &[],
                Ok(Prefaced::Done { consumed, client }) => {
                    *input = &input[consumed..];
                    self.preface = None;
                    self.client_address = client.map(SocketAddr::from);
                }
            }
            return Ok(None);
        }
        if let Stage::Handshake(server) = &mut self.stage {
            let mut reply = Vec::new();
            let progress = server.read(input, &mut reply)?;
            *input = &input[progress.consumed..];
            self.outbound.push_reply(reply);
            if progress.status == Status::Done {
                self.stage = Stage::Connect;
            }
            return Ok(None);
        }
        Ok(self.reader.read(input)?)
    }

    /// Keeps bytes that could not be parsed yet.
    fn keep(&mut self, rest: &[u8]) -> Result<(), Error> {
        let limit = self.config.limits.inbox;
        if self.is_closing() || self.inbox.keep(rest, limit) { Ok(()) } else { Err(Error::InboxOverLimit { limit }) }
    }

    fn send_control(&mut self, control: &Control) {
        let mut out = Vec::with_capacity(20);
        control.write(self.chunk_size, &mut out);
        self.outbound.push_reply(out);
    }

    fn send_command(&mut self, chunk_stream: u8, stream_id: u32, command: &Command) {
        let body = command.encode();
        self.send_message(chunk_stream, MessageType::COMMAND_AMF0, stream_id, &body);
    }

    fn send_message(&mut self, chunk_stream: u8, type_id: u8, stream_id: u32, body: &[u8]) {
        let mut out = Vec::new();
        // Set Chunk Size is among the very first messages we send and short commands before it fit 128 bytes, so one
        // size holds from the start.
        write_message(&mut out, self.chunk_size, chunk_stream, 0, type_id, stream_id, body);
        self.outbound.push_reply(out);
    }

    fn settle(&mut self, reason: CloseReason, told: Option<String>) {
        if self.is_closing() {
            return;
        }
        let linger = told.is_some();
        let told = told.unwrap_or_default();
        let close = Close { reason, phase: self.phase(), offset: self.ack.parsed(), told };
        self.stage = Stage::Closing(Box::new(Closing { close, linger, discards: false }));
        self.asking = false;
        self.inbox.clear();
        self.timers.clear_all();
        self.timers.set(Timer::Linger, flow::after(self.now, self.config.timeouts.linger));
    }

    /// Gives up on everything still to be written.
    fn discard(&mut self) {
        self.given_up += self.outbound.len() as u64;
        self.outbound.clear();
        if let Stage::Closing(closing) = &mut self.stage {
            closing.linger = false;
            closing.discards = true;
        }
    }

    /// A stream began to publish or play, or stopped: keeps the timers in step.
    fn activity_changed(&mut self) {
        let (identify, first_message) = (self.config.timeouts.identify, self.config.timeouts.first_message);
        if self.streams.any_active() {
            self.timers.clear(Timer::Setup);
        } else if !self.is_closing() {
            self.timers.limit(Timer::Setup, Patience::new(self.now, identify));
        }
        if self.streams.any_publishing() {
            if !self.timers.is_set(Timer::Publish) {
                self.last_message = None;
                self.limit_silence(first_message);
            }
        } else {
            self.timers.clear(Timer::Publish);
        }
    }

    /// The publisher may be silent for so long from now on. Times without reading before this one do not count.
    fn limit_silence(&mut self, time: Duration) {
        self.deaf = false;
        self.timers.limit(Timer::Publish, Patience::new(self.now, time));
    }

    fn push_event(&mut self, event: Event) {
        self.asking |= matches!(event, Event::Connect(_) | Event::Publish(_) | Event::Play(_));
        self.events.push_back(event);
    }

    /// Ends what a message stream does; true if it did anything.
    fn end_activity(&mut self, stream_id: u32) -> Option<Activity> {
        let ended = self.streams.end(stream_id)?;
        match ended {
            Activity::Publishing => self.push_event(Event::Unpublish { stream_id }),
            Activity::Playing => self.push_event(Event::Stop { stream_id }),
            Activity::Idle => return None,
        }
        self.activity_changed();
        Some(ended)
    }
}

#[cfg(test)]
pub(crate) mod tests;
