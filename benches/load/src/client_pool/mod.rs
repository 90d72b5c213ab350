//! Thousands of clients in one event loop, and a scenario that controls them.

mod hls;
mod link;
mod member;
mod tally;
mod web;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::client::{
    Client, ClientCloseReason, ClientConfig, ClientEvent, ClientOutput, NotSent, PlayOptions,
};
use anabranch_core::command::PublishType;
use anabranch_core::message::{Message, MessageType};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::Random;
use crate::frame_check::FrameCheck;
use crate::media::{Class, Feed, Kind, MediaOptions};
use hls::HlsClient;
use link::Link;
use member::{Member, Part, Speaker, Written};
pub use tally::{Count, Measuring, Numbers, Tally};
use web::{Failure, FlvClient, WebClient, WebEvent};

/// All connections of a loop read into one buffer: none of them holds memory while it waits.
const READ_BUFFER: usize = 256 << 10;

/// Names a connection of a pool, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    index: u32,
    generation: u32,
}

/// A connection to be opened.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The scenario's own name for it; comes back with all that happens.
    pub tag: u64,
    /// Where to.
    pub address: SocketAddr,
    /// How it encrypts, if it does.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The configuration of the client.
    pub config: Arc<ClientConfig>,
    /// The stream's name.
    pub name: String,
    /// The stream's number, which its frames carry.
    pub stream: u32,
    /// What for.
    pub role: Role,
    /// Bytes after which it falls silent, in the middle of whatever it is saying.
    pub send_at_most: Option<u64>,
    /// Bytes of its socket's receive buffer; `None` for the system's default. With a small buffer the server notices
    /// soon that the client does not read.
    pub receive_buffer: Option<usize>,
}

/// What a connection is for.
#[derive(Debug, Clone)]
pub enum Role {
    /// Sends this.
    Publish {
        /// Rates and sizes.
        media: MediaOptions,
        /// Time from the grant to the first frame, so that not all publishers send at once.
        delay: Duration,
    },
    /// Receives.
    Play {
        /// Whether it takes no message apart any more once it has seen a key frame.
        counts_only: bool,
    },
    /// Receives FLV by HTTP or WebSocket.
    Watch {
        /// The request, with its head's end.
        request: String,
        /// As of `Play`.
        counts_only: bool,
    },
    /// Receives a stream by HTTP Live Streaming.
    Follow {
        /// Host and port.
        authority: String,
        /// The path of the playlist.
        path: String,
        /// Whether it gets parts of segments as soon as they are there, if there are any.
        uses_parts: bool,
    },
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolEvent {
    /// `connect` was accepted.
    Connected,
    /// It may send.
    Publishing,
    /// It will receive.
    Playing,
    /// The first key frame has come, so long after the connection was opened.
    FirstFrame(Duration),
    /// What it asked for was refused, with this code. The connection is still there.
    Rejected(String),
    /// It has sent as much as it may.
    Silent,
    /// It is over, and not because [`ClientPool::end`] was called: by what name.
    Lost(String),
    /// It is over because [`ClientPool::end`] was called.
    Ended,
}

/// How to end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In good order: all streams are stopped first.
    Leave,
    /// The socket is closed.
    Close,
    /// The connection is reset, as if the program had died.
    Reset,
}

/// When the scenario wants to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At this time, or earlier.
    At(Instant),
    /// Never: the loop is over.
    Over,
}

/// Decides what the connections do.
pub trait Scenario {
    /// Something happened to the connection with this tag.
    fn on_event(&mut self, pool: &mut ClientPool, id: Id, tag: u64, event: PoolEvent);

    /// Called between any two waits.
    fn next_step(&mut self, pool: &mut ClientPool, now: Instant) -> Next;
}

/// The connections of one event loop.
pub struct ClientPool {
    poll: Poll,
    slots: Vec<Slot>,
    free: Vec<u32>,
    timers: BinaryHeap<Reverse<(Instant, Id)>>,
    happenings: VecDeque<(Id, u64, PoolEvent)>,
    buffer: Box<[u8]>,
    due: Vec<Message>,
    random: Random,
    /// Publishers that were granted their streams so far: a later publisher has a higher number.
    runs: u32,
    tally: Arc<Tally>,
    measuring: Arc<Measuring>,
    numbers: Numbers,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    member: Option<Box<Member>>,
}

/// The connection is over; by its name.
struct Over(String);

impl ClientPool {
    /// An empty one.
    ///
    /// # Errors
    /// The system gives no event queue.
    pub fn new(seed: u64, tally: Arc<Tally>, measuring: Arc<Measuring>) -> io::Result<Self> {
        Ok(ClientPool {
            poll: Poll::new()?,
            slots: Vec::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            happenings: VecDeque::new(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            due: Vec::new(),
            random: Random::new(seed),
            runs: 0,
            tally,
            measuring,
            numbers: Numbers::default(),
        })
    }

    /// Runs until the scenario says that it is over; closes what is still open.
    ///
    /// # Errors
    /// The system's event queue fails.
    pub fn run(mut self, scenario: &mut impl Scenario) -> io::Result<Numbers> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.deliver_events(scenario);
            let Next::At(next) = scenario.next_step(&mut self, Instant::now()) else {
                return Ok(self.numbers);
            };
            self.deliver_events(scenario);
            let timer = self.timers.peek().map(|Reverse((at, _))| *at);
            let until = timer.map_or(next, |timer| timer.min(next));
            match self.poll.poll(&mut events, Some(until.saturating_duration_since(Instant::now()))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.ready(event);
            }
            self.fire_timers();
        }
    }

    /// Opens a connection. If that fails at once, it is reported like any other loss.
    pub fn open(&mut self, spec: Spec) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.generation += 1;
        let id = Id { index, generation: slot.generation };
        self.tally.opened.add(1);
        let tag = spec.tag;
        match self.connect(id, spec) {
            Ok(member) => {
                self.slots[index as usize].member = Some(Box::new(member));
                self.look(id, |_, _| Ok(()));
            }
            Err(error) => {
                self.free.push(index);
                self.happenings.push_back((id, tag, PoolEvent::Lost(format!("not connected: {error}"))));
            }
        }
        id
    }

    /// Ends a connection. What is over already stays so.
    pub fn end(&mut self, id: Id, end: End) {
        let Some(member) = self.member(id) else {
            return;
        };
        match end {
            End::Leave => {
                if let Part::Publisher { granted, .. } = &mut member.part {
                    *granted = false;
                }
                let Some(client) = member.speaker.rtmp() else {
                    // By HTTP there is nothing to say.
                    return self.end(id, End::Close);
                };
                client.close();
                member.reads = true;
                return self.look(id, |_, _| Ok(()));
            }
            End::Close => {}
            End::Reset => member.reset_at_close(),
        }
        if let Some(member) = self.slots[id.index as usize].member.take() {
            self.remove(id, &member, PoolEvent::Ended);
        }
    }

    /// Makes a connection stop reading, or read again.
    pub fn set_reading(&mut self, id: Id, reads: bool) {
        let Some(member) = self.member(id) else {
            return;
        };
        member.reads = reads;
        if reads {
            self.look(id, |pool, member| pool.read(id, member));
        }
    }

    /// Counts an error of the scenario's own.
    pub fn count_error(&mut self, error: &str) {
        self.tally.errors.add(1);
        match self.numbers.errors.get_mut(error) {
            Some(count) => *count += 1,
            None => _ = self.numbers.errors.insert(error.to_owned(), 1),
        }
    }

    /// Random numbers of the loop's own.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Connections that are open.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn connect(&mut self, id: Id, spec: Spec) -> io::Result<Member> {
        let mut link = Link::connect(spec.address, spec.tls)?;
        let socket = &mut link.socket;
        if let Some(bytes) = spec.receive_buffer {
            SockRef::from(&*socket).set_recv_buffer_size(bytes)?;
        }
        let token = Token(id.index as usize);
        self.poll.registry().register(socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let now = Instant::now();
        let mut client = || Client::new(spec.config.clone(), self.random.seed(), now);
        let (speaker, part) = match spec.role {
            Role::Publish { media, delay } => {
                let feed = Box::new(Feed::new(media, spec.stream, 0, now));
                let mut client = client();
                let stream = client.publish(&spec.name, PublishType::Live).map_err(io::Error::other)?;
                let part = Part::Publisher { feed, granted: false, behind: false, delay };
                (Speaker::Rtmp { client, stream }, part)
            }
            Role::Play { counts_only } => {
                let mut client = client();
                let stream = client.play(&spec.name, PlayOptions::default()).map_err(io::Error::other)?;
                let check = FrameCheck::new(spec.stream);
                (Speaker::Rtmp { client, stream }, Part::Player { check, counts_only })
            }
            Role::Watch { request, counts_only } => {
                let check = FrameCheck::new(spec.stream);
                (Speaker::Web(WebClient::Flv(FlvClient::new(request))), Part::Player { check, counts_only })
            }
            Role::Follow { authority, path, uses_parts } => {
                let check = FrameCheck::new(spec.stream);
                let client = HlsClient::new(&authority, &path, uses_parts);
                (Speaker::Web(WebClient::Hls(client)), Part::Player { check, counts_only: false })
            }
        };
        Ok(Member {
            tag: spec.tag,
            link,
            speaker,
            part,
            opened: now,
            connecting: true,
            silent: false,
            reads: true,
            allowance: spec.send_at_most,
            timer: None,
            is_up: false,
        })
    }

    fn member(&mut self, id: Id) -> Option<&mut Member> {
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.member.as_deref_mut().filter(|_| slot.generation == id.generation)
    }

    fn deliver_events(&mut self, scenario: &mut impl Scenario) {
        while let Some((id, tag, event)) = self.happenings.pop_front() {
            scenario.on_event(self, id, tag, event);
        }
    }

    fn ready(&mut self, event: &mio::event::Event) {
        let index = event.token().0;
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let id = Id { index: index as u32, generation: slot.generation };
        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
        self.look(id, |pool, member| {
            if std::mem::take(&mut member.connecting)
                && let Some(error) = member.link.socket.take_error().unwrap_or_else(Some)
            {
                return Err(Over(format!("not connected: {}", error.kind())));
            }
            if readable { pool.read(id, member) } else { Ok(()) }
        });
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, id))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            if self.member(id).is_some_and(|member| member.timer == Some(at)) {
                self.look(id, |_, member| {
                    member.timer = None;
                    match &mut member.speaker {
                        Speaker::Rtmp { client, .. } => client.handle_timeout(now),
                        Speaker::Web(client) => client.handle_timeout(now),
                    }
                    Ok(())
                });
            }
        }
    }

    /// Does something with a connection, and then all there is to do.
    fn look(&mut self, id: Id, act: impl FnOnce(&mut Self, &mut Member) -> Result<(), Over>) {
        let Some(slot) = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation) else {
            return;
        };
        let Some(mut member) = slot.member.take() else {
            return;
        };
        match act(self, &mut member).and_then(|()| self.serve(id, &mut member)) {
            Ok(()) => self.slots[id.index as usize].member = Some(member),
            Err(Over(name)) => {
                let ended = name == ClientCloseReason::Closed.name();
                self.remove(id, &member, if ended { PoolEvent::Ended } else { PoolEvent::Lost(name) });
            }
        }
    }

    fn remove(&mut self, id: Id, member: &Member, event: PoolEvent) {
        if member.is_up {
            // One writer, and the sum never falls below zero.
            self.up(&member.part).add(u64::MAX);
        }
        self.free.push(id.index);
        self.happenings.push_back((id, member.tag, event));
    }

    fn up(&self, part: &Part) -> &Count {
        match part {
            Part::Publisher { .. } => &self.tally.publishers,
            Part::Player { .. } => &self.tally.players,
        }
    }

    /// Reads until there is nothing more: the event comes once.
    fn read(&mut self, id: Id, member: &mut Member) -> Result<(), Over> {
        while member.reads {
            let discards = matches!(&member.part, Part::Player { check, counts_only: true } if check.has_begun());
            let read =
                if discards { member.link.discard(&mut self.buffer) } else { member.link.read(&mut self.buffer) };
            let count = match read {
                Ok(0) => return Err(self.over_by_peer(id, member, ClientCloseReason::PeerClosed)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(self.over_by_peer(id, member, ClientCloseReason::PeerLost(error.kind().to_string())));
                }
            };
            let now = Instant::now();
            if let Part::Player { .. } = &member.part {
                self.tally.bytes.add(count as u64);
            }
            if discards {
                continue;
            }
            match member.speaker.rtmp() {
                Some(client) => {
                    // An error is reported with the end.
                    let _ = client.handle_input(now, &self.buffer[..count]);
                    self.take_events(now, id, member)?;
                }
                None => self.watch(now, id, member, count)?,
            }
        }
        Ok(())
    }

    fn over_by_peer(&mut self, id: Id, member: &mut Member, reason: ClientCloseReason) -> Over {
        let now = Instant::now();
        let fallback = reason.name();
        if let Some(client) = member.speaker.rtmp() {
            client.handle_disconnect(now, reason);
        }
        // Why it was closed may have been said before.
        self.take_events(now, id, member).err().unwrap_or_else(|| Over(fallback.to_owned()))
    }

    fn serve(&mut self, id: Id, member: &mut Member) -> Result<(), Over> {
        let now = Instant::now();
        self.send_due(now, member);
        loop {
            let deadline = self.take_events(now, id, member)?;
            let mut written = 0;
            match member.write(&mut written) {
                Ok(Written::Allowance) => {
                    member.silent = true;
                    self.happenings.push_back((id, member.tag, PoolEvent::Silent));
                }
                Ok(Written::Enough) => {}
                Err(error) => return Err(Over(format!("write failed: {}", error.kind()))),
            }
            if written > 0 {
                continue;
            }
            let time = member.next_time(deadline);
            if let Some(at) = time
                && member.timer.is_none_or(|timer| at < timer)
            {
                member.timer = Some(at);
                self.timers.push(Reverse((at, id)));
            }
            return Ok(());
        }
    }

    fn send_due(&mut self, now: Instant, member: &mut Member) {
        let (Part::Publisher { feed, granted: true, behind, .. }, Speaker::Rtmp { client, stream }) =
            (&mut member.part, &mut member.speaker)
        else {
            return;
        };
        let mut due = std::mem::take(&mut self.due);
        feed.take_due(now, &mut due);
        for message in due.drain(..) {
            let is_video = message.type_id == MessageType::VIDEO;
            if is_video {
                *behind &= Class::of(Kind::Video, &message.payload) == Class::Inter;
            }
            if is_video && *behind {
                continue;
            }
            match client.send_message(*stream, message) {
                Ok(()) => {}
                Err(NotSent::Full { .. }) => {
                    *behind |= is_video;
                    self.count_error("not sent: the server takes no more");
                }
                Err(error) => self.count_error(&format!("not sent: {error}")),
            }
        }
        self.due = due;
    }

    /// What the server did. The time at which the client wants to be looked at.
    fn take_events(&mut self, now: Instant, id: Id, member: &mut Member) -> Result<Option<Instant>, Over> {
        loop {
            let Some(client) = member.speaker.rtmp() else {
                return Ok(None);
            };
            let event = match client.poll_output() {
                ClientOutput::Wait(wait) => return Ok(wait.deadline()),
                ClientOutput::Closed(close) => return Err(Over(close.reason.name().to_owned())),
                ClientOutput::Event(ClientEvent::Media { message, .. }) => {
                    if !self.take_media(now, member, &message) {
                        continue;
                    }
                    PoolEvent::FirstFrame(now.saturating_duration_since(member.opened))
                }
                ClientOutput::Event(ClientEvent::Connected(_)) => PoolEvent::Connected,
                ClientOutput::Event(ClientEvent::Publishing { .. }) => {
                    if let Part::Publisher { feed, granted, delay, .. } = &mut member.part {
                        self.runs += 1;
                        feed.begin(now + *delay, self.runs);
                        *granted = true;
                    }
                    PoolEvent::Publishing
                }
                ClientOutput::Event(ClientEvent::Playing { .. }) => PoolEvent::Playing,
                ClientOutput::Event(ClientEvent::Rejected { rejection, .. }) => PoolEvent::Rejected(rejection.code),
                ClientOutput::Event(ClientEvent::Unanswered { .. }) => {
                    PoolEvent::Rejected("no answer in time".to_owned())
                }
                ClientOutput::Event(_) => continue,
            };
            if matches!(event, PoolEvent::Publishing | PoolEvent::Playing)
                && !std::mem::replace(&mut member.is_up, true)
            {
                self.up(&member.part).add(1);
            }
            self.happenings.push_back((id, member.tag, event));
        }
    }

    /// Takes so many bytes of an answer by HTTP from the buffer.
    fn watch(&mut self, now: Instant, id: Id, member: &mut Member, count: usize) -> Result<(), Over> {
        let mut events = Vec::new();
        let Speaker::Web(client) = &mut member.speaker else {
            return Ok(());
        };
        let outcome = client.handle_input(now, &self.buffer[..count], &mut |event| events.push(event));
        for event in events {
            let event = match event {
                WebEvent::Begun => {
                    self.begin(id, member);
                    continue;
                }
                WebEvent::Segment => {
                    self.tally.frames.add(1);
                    if member.is_up {
                        continue;
                    }
                    self.begin(id, member);
                    self.tally.begun.add(1);
                    PoolEvent::FirstFrame(now.saturating_duration_since(member.opened))
                }
                WebEvent::Media(message) => {
                    if !self.take_media(now, member, &message) {
                        continue;
                    }
                    PoolEvent::FirstFrame(now.saturating_duration_since(member.opened))
                }
            };
            self.happenings.push_back((id, member.tag, event));
        }
        outcome.map_err(|failure| {
            Over(match failure {
                Failure::Refused(status) => format!("refused: {status}"),
                Failure::Over => "the answer ended".to_owned(),
                Failure::Malformed => "no answer of HTTP with FLV".to_owned(),
            })
        })
    }

    /// A client by HTTP gets what it asked for.
    fn begin(&mut self, id: Id, member: &mut Member) {
        member.is_up = true;
        self.up(&member.part).add(1);
        self.happenings.push_back((id, member.tag, PoolEvent::Playing));
    }

    /// True for the first key frame.
    fn take_media(&mut self, now: Instant, member: &mut Member, message: &Message) -> bool {
        let Part::Player { check, .. } = &mut member.part else {
            return false;
        };
        let seen = check.look(message, now);
        self.tally.frames.add(1);
        self.tally.gaps.add(seen.gap);
        if let Some(error) = seen.error {
            self.count_error(error);
        }
        // What was sent before the player came was kept for it by the server: it was not on the way.
        if let Some(latency) = seen.latency
            && latency < now.saturating_duration_since(member.opened)
            && self.measuring.is_on()
        {
            self.numbers.latency.record(latency);
        }
        if seen.first {
            self.tally.begun.add(1);
        }
        seen.first
    }
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPool").field("connections", &self.len()).finish_non_exhaustive()
    }
}
