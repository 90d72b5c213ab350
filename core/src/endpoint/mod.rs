//! What a connection needs in either role: a chunk reader, acknowledgements, queues in both directions, time limits,
//! and a close.
//!
//! An [`Endpoint`] holds all that; a [`Role`] drives it and adds its commands, events, streams and settings. The roles
//! are [`Session`](crate::session::Session), which serves clients, and [`Client`](crate::client::Client).
//!
//! What both roles do in the same way:
//!
//! * Nothing is parsed while a request of the peer waits for its answer, or while [`Bounds`] are reached; what comes
//!   meanwhile is kept, up to a bound.
//! * A write without progress ends the connection, and so does silence where a peer has to speak. Times in which
//!   nothing was read do not count as silence.
//! * The first reason to close stands. What is queued then is written, for no longer than a `linger` time, and no other
//!   time limit holds. What the peer sends meanwhile is read and dropped, up to [`MAX_IGNORED_BYTES`]; nothing that was
//!   half received is kept.
//! * Bytes that are given up are never written. That includes bytes that a writer has at that moment and puts back
//!   later.
//!
//! What differs:
//!
//! * A server that refuses something waits for the client to close before it closes, so that its message is not lost to
//!   a reset. A client that leaves does not wait, because nothing depends on its last commands; one that has published may
//!   wait, so that the server sees an end and no reset.
//! * A server tells clients which limit they exceeded. A client does not tell a server.
//! * A server pings. A client does not: what it publishes has a time limit as every write has, and one that plays may
//!   set a limit on silence.
//! * A server sends only answers and pings. A client also sends requests, which have their own bounds.

mod closing;
mod error;
mod events;
mod inbox;
mod outbound;
mod phase;
#[cfg(test)]
mod tests;
mod timers;
mod wait;
mod window;
mod write_watch;

use std::time::{Duration, Instant};

pub(crate) use closing::{Close, Closing};
pub use error::Error;
use events::EventQueue;
use inbox::Inbox;
pub use outbound::{Lent, Outbound, WrongConnection};
pub(crate) use outbound::{SHARED_PIECE, Tally, unique_number};
pub use phase::Phase;
pub(crate) use timers::Timer;
use timers::Timers;
pub use wait::{Due, DueKind, Read, Wait};
use window::AckWindow;
use write_watch::WriteWatch;

use crate::chunk::{ChunkReader, write_message};
use crate::command::Command;
use crate::message::{Control, Message, MessageType};
use crate::time_limit::{TimeLimit, deadline_after};

/// The chunk stream of commands for the connection as a whole, and of the answers to them.
pub(crate) const COMMAND_CHUNK_STREAM: u8 = 3;

/// Room for the longest single answer, S0 S1 S2, whatever the configured limit.
pub(crate) const MIN_REPLIES: usize = 4096;

/// How much a peer may still send while what was queued for it is being written, in bytes.
const MAX_IGNORED_BYTES: usize = 256 << 10;

/// Messages that one read is to bring at most; a read of ordinary media brings a handful.
pub(crate) const READ_MESSAGES: u32 = 512;

/// The smallest read that is requested, in bytes: more than C0 and C1.
pub(crate) const SMALLEST_READ: usize = 2048;

/// How far a connection has come, as far as both roles have it in common.
pub(crate) trait State {
    /// Why a connection of this role ends.
    type Reason: Clone;

    /// How it ends, once that is settled.
    fn closing(&self) -> Option<&Closing<Self::Reason>>;

    fn closing_mut(&mut self) -> Option<&mut Closing<Self::Reason>>;

    /// The end is settled. Called once.
    fn close(&mut self, closing: Closing<Self::Reason>);

    /// True while a request of the peer waits for its answer.
    fn is_asked(&self) -> bool;

    /// True between the handshake and the close.
    fn has_chunks(&self) -> bool;
}

/// What may wait before nothing more is parsed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Events to be polled.
    pub(crate) events: usize,
    /// Bytes of the messages they came of; one message may go over it.
    pub(crate) event_bytes: usize,
    /// Bytes of answers to be written; at least [`MIN_REPLIES`].
    pub(crate) replies: usize,
    /// Bytes to be parsed: more end the connection.
    pub(crate) inbox: usize,
}

/// Why something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The peer asked for it: it counts among the replies, which have a bound.
    Peer,
    /// This side wants it.
    Own,
}

/// One end of a connection, whatever its role.
#[derive(Debug)]
pub(crate) struct Endpoint<S, E> {
    pub(crate) state: S,
    pub(crate) reader: ChunkReader,
    pub(crate) outbound: Outbound,
    pub(crate) timers: Timers,
    pub(crate) ack: AckWindow,
    /// The chunk size of what is sent.
    pub(crate) chunk_size: u32,
    pub(crate) now: Instant,
    events: EventQueue<E>,
    inbox: Inbox,
    write_watch: WriteWatch,
    /// When the peer last said what [`Timer::Silence`] is about, since that began.
    last_message: Option<Instant>,
    /// True if there was a time without reading since [`Timer::Silence`] was set.
    was_blocked: bool,
    /// Bytes received, handshake included.
    received: u64,
    /// Bytes that were queued and given up.
    given_up: u64,
    /// False if the peer speaks another protocol than RTMP.
    speaks_chunks: bool,
    /// Length of the last input, and the messages in it and in what was left of those before.
    last_input: usize,
    last_messages: u32,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Polled<E, R> {
    Event(E),
    Wait(Wait),
    Closed(Close<R>),
}

impl<S: State, E> Endpoint<S, E> {
    /// At the beginning of a connection: the peer has so long for handshake and `connect`.
    pub(crate) fn new(state: S, reader: ChunkReader, window: u32, connect: Duration, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.limit(Timer::Setup, TimeLimit::new(now, connect));
        Endpoint {
            state,
            reader,
            outbound: Outbound::new(),
            timers,
            ack: AckWindow::new(window),
            chunk_size: crate::chunk::DEFAULT_CHUNK_SIZE,
            now,
            events: EventQueue::default(),
            inbox: Inbox::default(),
            write_watch: WriteWatch::new(now),
            last_message: None,
            was_blocked: false,
            received: 0,
            given_up: 0,
            speaks_chunks: true,
            last_input: 0,
            last_messages: 0,
        }
    }

    /// The peer speaks another protocol than RTMP.
    pub(crate) fn speak_no_chunks(&mut self) {
        self.speaks_chunks = false;
    }

    /// True between the handshake of RTMP and the close.
    pub(crate) fn has_chunks(&self) -> bool {
        self.speaks_chunks && self.state.has_chunks()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.closing().is_some()
    }

    /// True if the connection ends, and the peer is to close first.
    pub(crate) fn is_lingering(&self) -> bool {
        self.state.closing().is_some_and(Closing::lingers)
    }

    /// Bytes received, handshake included.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that were queued for the peer and given up, those included that a writer has when nothing more is written.
    pub(crate) fn given_up(&self) -> u64 {
        let lent = if self.discards() { self.outbound.lent_len() } else { 0 };
        self.given_up + lent as u64
    }

    fn discards(&self) -> bool {
        self.state.closing().is_some_and(Closing::discards)
    }

    /// Bytes of messages that are not whole yet, and of those that are not parsed yet.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.reader.partial_bytes() + self.inbox.len()
    }

    /// Bytes that are received and not parsed yet.
    pub(crate) fn unread(&self) -> &[u8] {
        self.inbox.rest()
    }

    /// How many bytes to read at once, at most, where nothing else bounds it. All of it may have to be kept; and a read
    /// is worked through in one go: of a peer whose messages take a byte each less is read, so that others have their
    /// turn.
    pub(crate) fn read_size(&self, inbox: usize) -> usize {
        let most = match self.last_messages {
            0..=READ_MESSAGES => inbox,
            messages => self.last_input / messages as usize * READ_MESSAGES as usize,
        };
        most.max(SMALLEST_READ)
    }

    pub(crate) fn push_event(&mut self, event: E) {
        self.events.push(event);
    }

    pub(crate) fn send_control(&mut self, cause: Cause, control: &Control) {
        let mut out = Vec::with_capacity(20);
        control.write(self.chunk_size, &mut out);
        self.queue(cause, out);
    }

    pub(crate) fn send_command(&mut self, cause: Cause, chunk_stream: u8, message_stream_id: u32, command: &Command) {
        self.send_message(cause, chunk_stream, MessageType::COMMAND_AMF0, message_stream_id, &command.encode());
    }

    pub(crate) fn send_message(
        &mut self,
        cause: Cause,
        chunk_stream: u8,
        type_id: u8,
        message_stream_id: u32,
        body: &[u8],
    ) {
        let mut out = Vec::new();
        write_message(&mut out, self.chunk_size, chunk_stream, 0, type_id, message_stream_id, body);
        self.queue(cause, out);
    }

    pub(crate) fn queue(&mut self, cause: Cause, bytes: Vec<u8>) {
        match cause {
            Cause::Peer => self.outbound.push_reply(bytes),
            Cause::Own => self.outbound.push(bytes.into()),
        }
    }

    /// The peer may be silent for so long from now on. Times without reading before this one do not count.
    pub(crate) fn limit_silence(&mut self, time: Duration) {
        self.was_blocked = false;
        self.timers.limit(Timer::Silence, TimeLimit::new(self.now, time));
    }

    /// A message of the peer arrived; true for the first one since [`expect_first`](Self::expect_first).
    pub(crate) fn note_message(&mut self) -> bool {
        self.last_message.replace(self.now).is_none()
    }

    /// The next message is the first of its kind.
    pub(crate) fn expect_first(&mut self) {
        self.last_message = None;
    }

    /// True if a message arrived since [`expect_first`](Self::expect_first).
    pub(crate) fn has_message(&self) -> bool {
        self.last_message.is_some()
    }

    /// The connection ends: what is queued is still written. If the peer gets a message (`told`), it has time to close
    /// first, because closing a socket with unread bytes turns into a reset that can overtake the message.
    pub(crate) fn settle(&mut self, reason: S::Reason, phase: Phase, told: Option<String>, linger: Duration) {
        if self.is_closing() {
            return;
        }
        let offset = self.ack.parsed();
        self.state.close(Closing::new(reason, phase, offset, told));
        self.inbox.clear();
        self.reader.forget();
        self.timers.clear_all();
        self.timers.set(Timer::Linger, deadline_after(self.now, linger));
    }

    /// Gives up on everything still to be written, and on what a writer has of it. Only once the end is settled.
    pub(crate) fn discard(&mut self) {
        self.given_up += self.outbound.len() as u64;
        self.outbound.clear();
        if let Some(closing) = self.state.closing_mut() {
            closing.discard();
        }
    }

    /// What to wait for, now that there are no more events, or the end. `is_blocked` says whether input is to wait,
    /// `room` for how many events memory is kept, `most` how much is read at once.
    fn rest<R>(&mut self, is_blocked: bool, room: usize, write: Duration, most: usize) -> Polled<E, R>
    where
        S: State<Reason = R>,
        R: Clone,
    {
        self.events.shrink(room);
        if self.outbound.is_idle() {
            // With nothing to write, the timer would only cause one more call and one more write for every player.
            self.timers.clear(Timer::Write);
        } else if self.discards() {
            // A writer had these bytes when everything was given up.
            self.discard();
        } else if !self.timers.is_set(Timer::Write) && !self.is_closing() {
            self.write_watch.begin(self.now, self.outbound.written());
            self.timers.set(Timer::Write, WriteWatch::next_check(self.now, write));
        }
        let write = self.outbound.is_writable();
        let closing = self.state.closing();
        if let Some(closing) = closing
            && (self.outbound.is_idle() || closing.discards())
            && !closing.lingers()
        {
            return Polled::Closed(closing.close().clone());
        }
        // While closing all is read and dropped: what lies unread when a socket closes turns the close into a reset.
        let read = !is_blocked || closing.is_some();
        self.was_blocked |= !read;
        let read = read.then_some(Read { most, from: None });
        Polled::Wait(Wait { due: None, read, write, source: false })
    }
}

/// What drives an [`Endpoint`]: what is the same in both roles comes of what each of them says here.
pub(crate) trait Role: Sized {
    type State: State;
    type Event;

    fn endpoint(&self) -> &Endpoint<Self::State, Self::Event>;

    fn endpoint_mut(&mut self) -> &mut Endpoint<Self::State, Self::Event>;

    fn bounds(&self) -> Bounds;

    /// How long a write may make no progress while bytes wait.
    fn write_limit(&self) -> Duration;

    /// How many bytes to read at once, at most.
    fn read_size(&self) -> usize;

    /// What a timer is for at present.
    fn due_kind(&self, timer: Timer) -> DueKind;

    /// For how many events memory is kept when there are none: most connections hardly ever have one.
    fn event_room(&self) -> usize;

    /// Takes bytes of what comes before the chunk stream from the front of `input`; false, and nothing is taken, once
    /// that is over.
    fn read_handshake(&mut self, input: &mut &[u8]) -> Result<bool, Error>;

    fn handle_message(&mut self, message: Message) -> Result<(), Error>;

    /// Ends the connection because of what the peer sent.
    fn fail(&mut self, error: Error);

    /// Takes bytes from the peer, cut anywhere.
    fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Error> {
        let endpoint = self.endpoint_mut();
        endpoint.now = now;
        endpoint.received += bytes.len() as u64;
        (endpoint.last_input, endpoint.last_messages) = (bytes.len(), 0);
        if let Some(closing) = endpoint.state.closing_mut() {
            // A peer that knows of the end sends little after that. If it floods, the rest is given up.
            if closing.ignore(bytes.len()) > MAX_IGNORED_BYTES {
                endpoint.discard();
            }
            return Ok(());
        }
        let mut rest = bytes;
        let parsed = if endpoint.inbox.is_empty() { self.parse(&mut rest) } else { Ok(()) };
        let kept = parsed.and_then(|()| self.keep(rest));
        if let Err(error) = kept.clone() {
            self.fail(error);
        }
        kept
    }

    /// Keeps bytes that could not be parsed yet.
    fn keep(&mut self, rest: &[u8]) -> Result<(), Error> {
        let limit = self.bounds().inbox;
        let endpoint = self.endpoint_mut();
        if endpoint.is_closing() || endpoint.inbox.keep(rest, limit) {
            Ok(())
        } else {
            Err(Error::InboxOverLimit { limit })
        }
    }

    /// The next event, else what to wait for, else the end.
    fn poll_endpoint(&mut self) -> Polled<Self::Event, <Self::State as State>::Reason> {
        loop {
            let endpoint = self.endpoint_mut();
            if let Some(event) = endpoint.events.pop() {
                return Polled::Event(event);
            }
            if endpoint.inbox.is_empty() || endpoint.is_closing() || self.is_blocked() {
                break;
            }
            let taken = self.endpoint_mut().inbox.take();
            let mut rest = taken.rest();
            let parsed = self.parse(&mut rest);
            let endpoint = self.endpoint_mut();
            if !endpoint.is_closing() {
                let left = rest.len();
                endpoint.inbox.put_back(taken, left);
            }
            if let Err(error) = parsed {
                self.fail(error);
            }
        }
        let (is_blocked, room, write) = (self.is_blocked(), self.event_room(), self.write_limit());
        let most = self.read_size();
        match self.endpoint_mut().rest(is_blocked, room, write, most) {
            Polled::Wait(wait) => Polled::Wait(Wait { due: self.due(), ..wait }),
            other => other,
        }
    }

    /// What is due next.
    fn due(&self) -> Option<Due> {
        let (at, timer) = self.endpoint().timers.next()?;
        Some(Due::new(at, self.due_kind(timer)))
    }

    /// True while nothing more may be parsed: a request waits, enough waits to be polled, or the peer made us queue
    /// enough.
    fn is_blocked(&self) -> bool {
        let (bounds, endpoint) = (self.bounds(), self.endpoint());
        endpoint.state.is_asked()
            || endpoint.events.len() >= bounds.events.max(1)
            || endpoint.events.bytes() >= bounds.event_bytes.max(1)
            || endpoint.outbound.replies() >= bounds.replies
    }

    /// Parses from the front of `input` until it is empty, or parsing is blocked or over.
    fn parse(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        while !input.is_empty() && !self.is_blocked() && !self.endpoint().is_closing() {
            // Never past the byte at which an acknowledgement is due.
            let mut piece = self.endpoint().ack.piece(input);
            let length = piece.len();
            let message = self.parse_piece(&mut piece);
            let taken = length - piece.len();
            *input = &input[taken..];
            let endpoint = self.endpoint_mut();
            endpoint.ack.advance(taken);
            if let Some(message) = message? {
                endpoint.last_messages = endpoint.last_messages.saturating_add(1);
                endpoint.events.begin_message(message.payload.len());
                self.handle_message(message)?;
                self.endpoint_mut().events.end_message();
            }
            let endpoint = self.endpoint_mut();
            if let Some(bytes) = endpoint.ack.take_due()
                && endpoint.has_chunks()
            {
                endpoint.send_control(Cause::Peer, &Control::Acknowledgement(bytes));
            }
        }
        Ok(())
    }

    /// Takes bytes from `input` up to the end of a message, or of something before the chunk stream.
    fn parse_piece(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        if self.read_handshake(input)? {
            return Ok(None);
        }
        Ok(self.endpoint_mut().reader.read(input)?)
    }

    /// True if the peer was silent for too long. A message does not touch the timer: when the timer is checked, it is
    /// set again from the time of the last message. Time without reading does not count as silence: what the peer sent
    /// then lies unread, here or in the socket.
    fn is_silent(&mut self, limit: Duration) -> bool {
        let is_blocked = self.is_blocked();
        let endpoint = self.endpoint_mut();
        let now = endpoint.now;
        let Some(end) = endpoint.timers.due(Timer::Silence, now) else {
            return false;
        };
        let unread = std::mem::take(&mut endpoint.was_blocked) || is_blocked || !endpoint.inbox.is_empty();
        let last = if unread { Some(now) } else { endpoint.last_message };
        match last.map(|last| deadline_after(last, limit)) {
            Some(next) if next > end => {
                endpoint.timers.limit(Timer::Silence, TimeLimit::until(next, limit));
                false
            }
            _ => endpoint.timers.take_expired(Timer::Silence, now),
        }
    }

    /// True if the peer took nothing of what waits for too long.
    fn is_write_stalled(&mut self) -> bool {
        let limit = self.write_limit();
        let endpoint = self.endpoint_mut();
        let now = endpoint.now;
        if !endpoint.timers.take_expired(Timer::Write, now) || endpoint.outbound.is_idle() {
            return false;
        }
        let is_stalled = endpoint.write_watch.is_stalled(now, endpoint.outbound.written(), limit);
        if !is_stalled {
            endpoint.timers.set(Timer::Write, WriteWatch::next_check(now, limit));
        }
        is_stalled
    }

    /// Gives up on what is not written when the time for that is over.
    fn end_linger(&mut self) {
        let endpoint = self.endpoint_mut();
        if endpoint.timers.take_expired(Timer::Linger, endpoint.now) {
            endpoint.discard();
        }
    }
}

#[cfg(test)]
impl<S: State, E> Endpoint<S, E> {
    pub(crate) fn events_waiting(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn unparsed(&self) -> usize {
        self.inbox.len()
    }
}
