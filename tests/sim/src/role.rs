use std::time::{Duration, Instant};

use anabranch_core::client::{
    self, ClientClose, ClientCloseReason, ClientEvent, Destination, PlayOptions, StreamHandle,
};
use anabranch_core::command::PublishType;
use anabranch_core::conn::{Action, Ask, Config, Conn, Core, Output, Report, Verdict};
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::message::{Message, MessageType};
use anabranch_core::session::{self, Outbound, Wait};
use anabranch_core::source::{Frame, WireFormat};
use bytes::Buf;

use super::link::{Delivery, Pipe};
use super::media::{Archive, EncoderState};
use super::{ClientId, Encoder, Link, Playback, Rng};

/// Steps without any time passing after which client and server are said to spin.
const STEPS_AT_ONCE: u32 = 10_000;

/// The chunk size that frames are cut to; clients begin with this one, a larger or a smaller one.
const FRAMES: WireFormat = WireFormat { chunk_size: 4096 };

type Script = dyn FnMut(&Ask) -> Verdict;

/// A server whose clients are core's own [`client::Client`]s, each with its own link, on a virtual clock.
///
/// As in a [`Sim`](super::Sim), every player checks that it gets what was sent, see [`Playback`], and equal seeds give
/// equal runs.
pub struct RoleSim {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    server: Core,
    ends: Vec<End>,
    archive: Archive,
    script: Box<Script>,
}

impl std::fmt::Debug for RoleSim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleSim").field("seed", &self.seed).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// A client, its connection in the server, and the link between them.
#[derive(Debug)]
pub struct End {
    /// The client.
    pub client: client::Client,
    /// The path between the two.
    pub link: Link,
    client_wait: Wait,
    conn: Option<Conn>,
    conn_wait: Wait,
    part: Part,
    /// Sends frames and messages alternately.
    turns: u64,
    received: Vec<ClientEvent>,
    close: Option<ClientClose>,
    report: Option<Report>,
}

#[derive(Debug)]
enum Part {
    Publisher { stream: StreamHandle, encoder_state: Box<EncoderState>, running: bool },
    Player { playback: Box<Playback> },
}

impl End {
    /// The client's events without media, in order.
    pub fn received(&self) -> &[ClientEvent] {
        &self.received
    }

    /// What the client got, if it plays.
    ///
    /// # Panics
    /// If the client does not play.
    pub fn playback(&self) -> &Playback {
        match &self.part {
            Part::Player { playback } => playback,
            Part::Publisher { .. } => panic!("the client plays"),
        }
    }

    /// How the client's side ended, once it has.
    pub fn close(&self) -> Option<&ClientClose> {
        self.close.as_ref()
    }

    /// How the server's side ended, once it has.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// True while the client publishes.
    pub fn is_publishing(&self) -> bool {
        matches!(self.part, Part::Publisher { running: true, .. }) && self.close.is_none()
    }

    fn next(&self, now: Instant) -> Option<Instant> {
        let reads = |wait: &Wait, open: bool, pipe: &Pipe| pipe.ready().filter(|_| open && wait.read.is_some());
        let writes = |wait: &Wait, open: bool, pipe: &Pipe| (open && wait.write && pipe.room() > 0).then_some(now);
        let (client, conn) = (self.close.is_none(), self.conn.is_some());
        let due = match &self.part {
            Part::Publisher { encoder_state, running: true, .. } if client => encoder_state.due(),
            _ => None,
        };
        let times = [
            self.client_wait.deadline().filter(|_| client),
            self.conn_wait.deadline().filter(|_| conn),
            reads(&self.client_wait, client, &self.link.down),
            reads(&self.conn_wait, conn, &self.link.up),
            writes(&self.client_wait, client, &self.link.up),
            writes(&self.conn_wait, conn, &self.link.down),
            due,
        ];
        times.into_iter().flatten().min().map(|time| time.max(now))
    }
}

impl RoleSim {
    /// A server with default settings and no clients.
    pub fn new(seed: u64) -> Self {
        RoleSim::with_config(seed, Config::default())
    }

    /// A server with these settings.
    pub fn with_config(seed: u64, config: Config) -> Self {
        let rng = Rng::new(seed);
        // The only clock reading.
        let now = Instant::now();
        RoleSim {
            seed,
            start: now,
            now,
            server: Core::new(config, rng.fork(u64::MAX).seed()),
            rng,
            ends: Vec::new(),
            archive: Archive::default(),
            script: Box::new(|ask| panic!("a question without a script: {ask:?}")),
        }
    }

    /// This script answers questions, at once.
    pub fn back_end(&mut self, script: impl FnMut(&Ask) -> Verdict + 'static) {
        self.script = Box::new(script);
    }

    /// A client connects and publishes what `encoder` makes.
    pub fn publish(&mut self, url: &str, encoder: Encoder) -> ClientId {
        let index = self.ends.len();
        let encoder_state = Box::new(EncoderState::new(encoder, index, self.rng.fork((index as u64) << 8 | 1)));
        self.enter(url, |client, name| {
            let stream = client.publish(name, PublishType::Live).expect("a new connection has room");
            Part::Publisher { stream, encoder_state, running: false }
        })
    }

    /// A client connects and plays.
    pub fn play(&mut self, url: &str) -> ClientId {
        self.enter(url, |client, name| {
            let _ = client.play(name, PlayOptions::default()).expect("a new connection has room");
            Part::Player { playback: Box::new(Playback::new(false)) }
        })
    }

    /// A client with its side of things.
    pub fn end(&self, id: ClientId) -> &End {
        &self.ends[id.index()]
    }

    /// The same, to change.
    pub fn end_mut(&mut self, id: ClientId) -> &mut End {
        &mut self.ends[id.index()]
    }

    /// Delivers nothing on this client's link, in both directions, for this long.
    pub fn stall(&mut self, id: ClientId, duration: Duration) {
        let until = self.now + duration;
        let link = &mut self.end_mut(id).link;
        link.up.stall_until(until);
        link.down.stall_until(until);
    }

    /// The client disconnects in good order.
    pub fn leave(&mut self, id: ClientId) {
        self.end_mut(id).client.close();
        self.serve_client(id.index());
    }

    /// The server asks all clients to disconnect, and closes the remaining connections after `timeout`.
    pub fn drain(&mut self, timeout: Duration, tc_url: Option<&str>) {
        self.server.drain();
        for index in 0..self.ends.len() {
            if let Some(conn) = &mut self.ends[index].conn {
                conn.drain(self.now + timeout, tc_url);
            }
            self.serve_conn(index);
        }
    }

    /// Time passed since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If a player gets what was not sent, or time does not pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        let (mut at_once, mut last) = (0, self.now);
        while let Some(next) = self.next().filter(|next| *next < end) {
            self.now = next;
            at_once = if next > last { 0 } else { at_once + 1 };
            last = next;
            assert!(at_once < STEPS_AT_ONCE, "seed {} at {:?}: time does not pass", self.seed, self.elapsed());
            for index in 0..self.ends.len() {
                if self.ends[index].next(next).is_some_and(|time| time <= next) {
                    self.turn(index);
                }
            }
        }
        self.now = end;
    }

    /// Lets time pass until `condition` holds.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut condition: impl FnMut(&RoleSim) -> bool) {
        let end = self.now + limit;
        while !condition(self) {
            assert!(self.now < end, "seed {}: what was waited for did not happen within {limit:?}", self.seed);
            self.run_for(Duration::from_millis(5));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.ends.iter().filter_map(|end| end.next(self.now)).min()
    }

    fn enter(&mut self, url: &str, ask: impl FnOnce(&mut client::Client, &str) -> Part) -> ClientId {
        let index = self.ends.len();
        let mut rng = self.rng.fork((index as u64) << 8 | 2);
        let destination = Destination::parse(url).expect("a URL");
        let handshake = rng.pick(&[ClientHandshakeKind::Simple, ClientHandshakeKind::Digest]);
        let chunk_size = rng.pick(&[128, 4096, 60_000]);
        let config = client::ClientConfig { handshake, chunk_size, ..client::ClientConfig::to(&destination) };
        let mut client = client::Client::new(config.into(), rng.seed(), self.now);
        let part = ask(&mut client, destination.stream());
        let wait = Wait::default();
        self.ends.push(End {
            client,
            link: Link::new(&mut rng),
            client_wait: wait,
            conn: Some(self.server.connect(self.now)),
            conn_wait: wait,
            part,
            turns: 0,
            received: Vec::new(),
            close: None,
            report: None,
        });
        self.serve_conn(index);
        self.serve_client(index);
        ClientId(index)
    }

    /// Gives one client and its connection all that is due.
    fn turn(&mut self, index: usize) {
        let now = self.now;
        while let End { conn: Some(conn), conn_wait: Wait { read: Some(_), .. }, link, .. } = &mut self.ends[index] {
            match link.up.read(now) {
                Some(Delivery::Bytes(bytes)) => conn.handle_input(now, &bytes),
                Some(Delivery::End) => conn.handle_disconnect(now, session::CloseReason::PeerClosed),
                None => break,
            }
            self.serve_conn(index);
        }
        if let End { conn: Some(conn), conn_wait, .. } = &mut self.ends[index]
            && conn_wait.deadline().is_some_and(|deadline| deadline <= now)
        {
            conn.handle_timeout(now);
        }
        self.serve_conn(index);
        while let End { client, close: None, client_wait: Wait { read: Some(_), .. }, link, .. } = &mut self.ends[index]
        {
            match link.down.read(now) {
                Some(Delivery::Bytes(bytes)) => {
                    client.handle_input(now, &bytes).expect("our own server is understood");
                }
                Some(Delivery::End) => client.handle_disconnect(now, ClientCloseReason::PeerClosed),
                None => break,
            }
            self.serve_client(index);
        }
        let End { client, client_wait, close, .. } = &mut self.ends[index];
        if close.is_none() && client_wait.deadline().is_some_and(|deadline| deadline <= now) {
            client.handle_timeout(now);
        }
        self.produce(index);
        self.serve_client(index);
    }

    /// Polls a connection until it waits or is over, and writes what it has.
    fn serve_conn(&mut self, index: usize) {
        loop {
            let now = self.now;
            let End { conn: Some(conn), conn_wait, link, .. } = &mut self.ends[index] else {
                return;
            };
            match conn.poll(now) {
                Output::Action(Action::Ask(ask)) => {
                    let verdict = (self.script)(&ask);
                    conn.answer(now, ask.id, verdict);
                }
                Output::Action(Action::Wake(_)) => {
                    // To all connections: those without that stream have nothing to do.
                    for other in (0..self.ends.len()).filter(|other| *other != index) {
                        self.serve_conn(other);
                    }
                }
                Output::Action(_) => {}
                Output::Wait(wait) => {
                    *conn_wait = wait;
                    if !write(now, conn.outbound(), &mut link.down) {
                        return;
                    }
                }
                Output::Closed(report) => {
                    let end = &mut self.ends[index];
                    end.report = Some(report);
                    end.conn = None;
                    end.link.up.clear();
                    end.link.down.close(now);
                    return;
                }
            }
        }
    }

    /// The same for a client.
    fn serve_client(&mut self, index: usize) {
        while self.ends[index].close.is_none() {
            let now = self.now;
            let End { client, client_wait, link, .. } = &mut self.ends[index];
            match client.poll_output() {
                client::ClientOutput::Event(event) => self.react(index, event),
                client::ClientOutput::Wait(wait) => {
                    *client_wait = wait;
                    if !write(now, client.outbound(), &mut link.up) {
                        return;
                    }
                }
                client::ClientOutput::Closed(close) => {
                    let end = &mut self.ends[index];
                    end.close = Some(close);
                    end.link.up.close(now);
                    end.link.down.clear();
                }
            }
        }
    }

    fn react(&mut self, index: usize, event: ClientEvent) {
        let (now, end) = (self.now, &mut self.ends[index]);
        match (&mut end.part, &event) {
            (Part::Player { playback }, ClientEvent::Media { message, .. }) => {
                playback.media(now, message, &self.archive);
                let (fault, seed, elapsed) = (playback.faults().first(), self.seed, now - self.start);
                assert!(fault.is_none(), "seed {seed} at {elapsed:?}: {fault:?}");
                return;
            }
            (Part::Publisher { encoder_state, running, .. }, ClientEvent::Publishing { .. }) => {
                *running = true;
                encoder_state.begin(now, &mut self.archive);
                self.send(index);
            }
            (Part::Publisher { running, .. }, ClientEvent::Rejected { .. } | ClientEvent::Ended { .. }) => {
                *running = false;
            }
            _ => {}
        }
        self.ends[index].received.push(event);
    }

    fn produce(&mut self, index: usize) {
        let now = self.now;
        let End { part, client, close: None, .. } = &mut self.ends[index] else {
            return;
        };
        if let Part::Publisher { encoder_state, running: true, .. } = part
            && encoder_state.due().is_some_and(|due| due <= now)
        {
            // What the link does not take is dropped whole, as encoders do.
            let drop = client.outbound().len() > 1 << 20;
            encoder_state.produce(now, drop, &mut self.archive);
            self.send(index);
        }
    }

    /// Sends what the encoder has made, as frames and as messages by turns.
    fn send(&mut self, index: usize) {
        let End { part: Part::Publisher { stream, encoder_state, .. }, client, turns, .. } = &mut self.ends[index]
        else {
            return;
        };
        for (number, body) in self.archive.take_fresh() {
            let Some(sent) = self.archive.message((encoder_state.origin(), number)) else {
                continue;
            };
            let (type_id, timestamp) = (sent.media.type_id(), sent.timestamp);
            let message = Message { chunk_stream: 0, timestamp, type_id, message_stream_id: 0, payload: body.into() };
            *turns += 1;
            let taken = if turns.is_multiple_of(3) && type_id != MessageType::DATA_AMF0 {
                client.send_message(*stream, message)
            } else {
                client.send_frame(*stream, &Frame::encode(message, FRAMES))
            };
            taken.expect("the stream is being published");
        }
    }
}

/// Writes until the link is full; true if it took anything, so that the writer is to be polled again.
fn write(now: Instant, outbound: &mut Outbound, pipe: &mut Pipe) -> bool {
    let mut any = false;
    while outbound.has_remaining() {
        let written = pipe.write(now, outbound.chunk());
        if written == 0 {
            break;
        }
        outbound.advance(written);
        any = true;
    }
    any
}
