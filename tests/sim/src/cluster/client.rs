use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value};
use anabranch_core::client::{self, ClientConfig, ClientEvent, Destination, PlayOptions, Redirect, StreamHandle};
use anabranch_core::command::PublishType;
use anabranch_core::message::Message;
use anabranch_core::session::CloseReason;
use anabranch_core::url::StreamKey;

use super::ClusterSim;
use super::line::{End, What};
use super::node::{NodeState, address_of, node_at};
use super::viewing::Viewing;
use crate::media::EncoderState;
use crate::{ClientId, Encoder, Rng};

/// How long a client waits for the connection to a machine that does not answer.
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes that wait to be written before an encoder drops frames.
const BACKLOG: usize = 256 << 10;

/// A client that comes back: it publishes or plays one name, at whatever server lets it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) stage: Stage,
    /// The server that it is at, or tries next.
    pub(super) node: usize,
    /// The servers that it tries after a failure; if there are none, the same again.
    pub(super) among: Vec<usize>,
    /// Since when the server has granted what it wants.
    pub(super) granted: Option<Instant>,
    stream: Option<StreamHandle>,
    rng: Rng,
    /// How often it connected.
    pub(super) connections: u64,
    /// What it was refused with last.
    pub(super) refused: Option<String>,
    /// It connects again at once, perhaps to a server that it was told: its server asked it to.
    hurries: Option<Option<usize>>,
    /// It is a player that goes where a refused `play` sends it.
    follows: bool,
    /// Since when it has been sent elsewhere and not been granted what it wants.
    pub(super) sent_on: Option<Instant>,
    /// Until when its encoder makes nothing, and since when it makes something again.
    frozen_until: Option<Instant>,
    pub(super) thawed: Option<Instant>,
    pub(super) scheduled: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum Part {
    Publisher { encoder: Box<Encoder>, state: Option<Box<EncoderState>> },
    Player(Box<Viewing>),
}

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It connects at this time.
    Waiting(Instant),
    /// It has this connection.
    On(usize),
    /// It does not come any more.
    Gone,
}

/// A publication: who publishes it, where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publication {
    pub(super) client: usize,
    pub(super) node: usize,
    pub(super) line: usize,
    start: Instant,
}

impl Client {
    /// Since when it has published, and sent what it should.
    pub(super) fn healthy_since(&self, now: Instant) -> Option<Instant> {
        self.origin()?;
        let thawed = self.frozen_until.is_none_or(|until| until <= now);
        self.granted.filter(|_| thawed).map(|granted| self.thawed.map_or(granted, |at| at.max(granted)))
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match (self.stage, &self.part) {
            (Stage::Waiting(at), _) => Some(at),
            (Stage::On(_), Part::Publisher { state: Some(state), .. }) => state.due(),
            _ => None,
        }
    }

    /// The number of its publication, if it publishes.
    pub(super) fn origin(&self) -> Option<usize> {
        match (self.stage, &self.part) {
            (Stage::On(_), Part::Publisher { state: Some(state), .. }) => Some(state.origin()),
            _ => None,
        }
    }

    pub(super) fn is_publisher(&self) -> bool {
        matches!(self.part, Part::Publisher { .. })
    }
}

impl ClusterSim {
    /// A client comes that publishes `name`, such as `live/cam`, at this server. When that fails or refuses it, it
    /// tries one of others, if there are any.
    pub fn publish(&mut self, node: usize, name: &str, encoder: Encoder, among: &[usize]) -> ClientId {
        self.come(node, name, Part::Publisher { encoder: Box::new(encoder), state: None }, among)
    }

    /// A client comes that plays `name` at this server.
    pub fn play(&mut self, node: usize, name: &str, among: &[usize]) -> ClientId {
        self.come(node, name, Part::Player(Box::default()), among)
    }

    /// An edge of SRS comes that plays `name`: it goes where a refused `play` sends it.
    pub fn play_as_edge(&mut self, node: usize, name: &str, among: &[usize]) -> ClientId {
        let id = self.play(node, name, among);
        self.clients[id.index()].follows = true;
        id
    }

    /// A client that does not come. It takes only its place in the numbering, so that later clients keep their numbers.
    pub fn leave_out(&mut self) {
        let id = self.come(0, "live/none", Part::Player(Box::default()), &[]);
        self.clients[id.index()].stage = Stage::Gone;
    }

    fn come(&mut self, node: usize, name: &str, part: Part, among: &[usize]) -> ClientId {
        let index = self.clients.len();
        self.clients.push(Client {
            name: name.into(),
            part,
            stage: Stage::Waiting(self.now),
            node,
            among: among.to_vec(),
            granted: None,
            stream: None,
            rng: self.rng.fork(0x636c_6965 << 32 | index as u64),
            connections: 0,
            refused: None,
            hurries: None,
            follows: false,
            sent_on: None,
            frozen_until: None,
            thawed: None,
            scheduled: None,
        });
        self.touch_client(index);
        ClientId(index)
    }

    /// The client leaves for good: in good order, or without a word.
    pub fn leave(&mut self, id: ClientId, politely: bool) {
        let index = id.index();
        let stage = std::mem::replace(&mut self.clients[index].stage, Stage::Gone);
        self.touch_client(index);
        if let Stage::On(line) = stage {
            self.hang_up(line, politely);
        }
        self.settle();
    }

    /// The client's connection breaks; it connects again.
    pub fn break_connection(&mut self, id: ClientId) {
        if let Stage::On(line) = self.clients[id.index()].stage {
            self.hang_up(line, false);
            self.retry(id.index(), line);
        }
        self.settle();
    }

    /// An encoder makes nothing for this time. If its network is gone, too, nothing passes its connection until then: what
    /// was under way comes late.
    pub fn freeze(&mut self, id: ClientId, time: Duration, is_dark: bool) {
        let until = self.now + time;
        let client = &mut self.clients[id.index()];
        if !client.is_publisher() {
            return;
        }
        let until = client.frozen_until.map_or(until, |before| before.max(until));
        (client.frozen_until, client.thawed) = (Some(until), Some(until));
        if let Stage::On(line) = client.stage
            && is_dark
            && !self.lines[line].is_dark
        {
            self.lines[line].link.up.stall_until(until);
            self.lines[line].link.down.stall_until(until);
            self.touch_line(line);
        }
    }

    /// An operator has the publishers of a name disconnected.
    pub fn kick(&mut self, name: &str) {
        let key: StreamKey = name.parse().expect("a name");
        for node in 0..self.nodes.len() {
            let attached = self.nodes[node].attached.iter();
            let lines: Vec<_> = attached.filter(|(_, of)| **of == key).map(|((line, _), _)| *line).collect();
            for line in lines {
                self.with_conn((line, 1), |conn| conn.close(CloseReason::Closed("kicked")));
            }
        }
        self.settle();
    }

    fn hang_up(&mut self, line: usize, politely: bool) {
        let now = self.now;
        if politely {
            if let Some(End { what: What::Client(client), .. }) = &mut self.lines[line].ends[0] {
                client.close();
            }
            return self.serve(line, 0);
        }
        let line_of = &mut self.lines[line];
        line_of.ends[0] = None;
        line_of.is_broken = true;
        line_of.link.down.clear();
        line_of.link.up.clear();
        line_of.link.up.close(now);
        self.touch_line(line);
    }

    pub(super) fn turn_client(&mut self, index: usize) {
        self.touch_client(index);
        match self.clients[index].stage {
            Stage::Waiting(at) if at <= self.now => self.connect(index),
            Stage::On(line) => self.produce(index, line),
            _ => {}
        }
    }

    fn connect(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let node = client.node;
        match self.nodes[node].state {
            NodeState::Up => {}
            NodeState::Down => return self.try_later(index, Duration::from_millis(10)),
            NodeState::Dark => return self.try_later(index, CONNECT),
        }
        client.connections += 1;
        (client.granted, client.refused) = (None, None);
        let url = format!("rtmp://{}/{}", address_of(node), client.name);
        let destination = Destination::parse(&url).expect("a URL");
        let edge = Value::Object(Object::default().with("srs_server", "SRS/6"));
        let arguments = if client.follows { vec![edge] } else { Vec::new() };
        let chunk_size = client.rng.pick(&[128, 4096]);
        let config = ClientConfig { chunk_size, arguments, ..ClientConfig::to(&destination) };
        let mut connection = client::Client::new(Arc::new(config), client.rng.seed(), self.now);
        let stream = match &mut client.part {
            Part::Publisher { state, .. } => {
                *state = None;
                connection.publish(destination.stream(), PublishType::Live)
            }
            Part::Player(viewing) => {
                viewing.begin();
                connection.play(destination.stream(), PlayOptions::default())
            }
        };
        client.stream = Some(stream.expect("a new connection has room"));
        client.stage = Stage::On(self.lines.len());
        let from = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
        self.open(node, from, [None, Some(node)], Some(index), End::client(connection));
    }

    /// The client connects again in a while, mostly to another server.
    fn try_later(&mut self, index: usize, after: Duration) {
        let client = &mut self.clients[index];
        let hurries = client.hurries.take();
        if client.sent_on.is_some()
            && let Some(Some(node)) = hurries
        {
            client.node = node;
        } else if !client.among.is_empty() && (hurries.is_some() || client.rng.once_in(2)) {
            client.node = hurries.flatten().unwrap_or_else(|| client.rng.pick(&client.among));
        }
        // Servers that do not agree may send a client to and fro.
        let pause = match hurries {
            Some(_) if client.sent_on.is_some() => 100,
            Some(_) => 1,
            None => client.rng.within(500..=1_500),
        };
        client.stage = Stage::Waiting(self.now + after + Duration::from_millis(pause as u64));
        client.granted = None;
        if let Part::Publisher { state, .. } = &mut client.part {
            *state = None;
        }
        self.touch_client(index);
    }

    fn retry(&mut self, index: usize, line: usize) {
        if self.clients[index].stage == Stage::On(line) {
            self.try_later(index, Duration::ZERO);
        }
    }

    /// The client's connection is over.
    pub(super) fn closed(&mut self, index: usize, line: usize) {
        self.retry(index, line);
    }

    pub(super) fn react(&mut self, index: usize, connection: &mut client::Client, event: &ClientEvent) {
        let (now, origin) = (self.now, self.publications.len());
        let client = &mut self.clients[index];
        match event {
            ClientEvent::Publishing { .. } => {
                client.granted = Some(now);
                let (node, Stage::On(line)) = (client.node, client.stage) else {
                    return;
                };
                if let Part::Publisher { encoder, state } = &mut client.part {
                    let mut made = EncoderState::new((**encoder).clone(), origin, client.rng.fork(origin as u64));
                    made.begin(now, &mut self.archive);
                    *state = Some(Box::new(made));
                    self.publications.push(Publication { client: index, node, line, start: now });
                    self.send(index, connection);
                }
                self.touch_client(index);
            }
            ClientEvent::Playing { .. } => (client.granted, client.sent_on) = (Some(now), None),
            ClientEvent::Rejected { rejection, .. } => {
                client.refused = Some(rejection.code.clone());
                *self.refusals.entry(rejection.code.clone()).or_default() += 1;
                let redirect = rejection.redirect.as_ref().filter(|_| client.follows);
                if let Some(node) = redirect.and_then(|redirect| node_of(redirect, &client.name)) {
                    client.hurries = Some(Some(node));
                    client.sent_on.get_or_insert(now);
                    self.redirects += 1;
                }
                connection.close();
            }
            ClientEvent::Ended { .. } if client.is_publisher() => connection.close(),
            ClientEvent::Unanswered { .. } => connection.close(),
            ClientEvent::ReconnectRequest { tc_url, .. } => {
                let address = tc_url.as_ref().and_then(|url| format!("{}:{}", url.host(), url.port()).parse().ok());
                client.hurries = Some(address.and_then(node_at));
                connection.close();
            }
            _ => {}
        }
    }

    fn produce(&mut self, index: usize, line: usize) {
        let now = self.now;
        let is_frozen = self.clients[index].frozen_until.is_some_and(|until| until > now);
        let Some(mut end) = self.lines[line].ends[0].take() else {
            return;
        };
        if let (What::Client(connection), Part::Publisher { state: Some(state), .. }) =
            (&mut end.what, &mut self.clients[index].part)
            && state.due().is_some_and(|due| due <= now)
        {
            // What the link does not take is dropped whole, as encoders do.
            let drop = is_frozen || connection.outbound().len() > BACKLOG;
            connection.handle_timeout(now);
            state.produce(now, drop, &mut self.archive);
            self.send(index, connection);
        }
        self.lines[line].ends[0] = Some(end);
        self.serve(line, 0);
    }

    /// Sends what the encoder has made.
    fn send(&mut self, index: usize, connection: &mut client::Client) {
        let client = &self.clients[index];
        let (Part::Publisher { state: Some(state), .. }, Some(stream)) = (&client.part, client.stream) else {
            return;
        };
        for (number, body) in self.archive.take_fresh() {
            let Some(sent) = self.archive.message((state.origin(), number)) else {
                continue;
            };
            let (type_id, timestamp) = (sent.media.type_id(), sent.timestamp);
            let message = Message { chunk_stream: 0, timestamp, type_id, message_stream_id: 0, payload: body.into() };
            // A stream that the server has ended takes nothing.
            let _ = connection.send_message(stream, message);
        }
    }

    /// A player gets a message.
    pub(super) fn watch(&mut self, index: usize, message: &Message) {
        let now = self.now;
        let Part::Player(viewing) = &mut self.clients[index].part else {
            self.fail("a publisher gets media");
        };
        let seen = viewing.order.len();
        match viewing.media(now, message, &self.archive) {
            Err(fault) => self.fail(&format!("client {index}: {fault}")),
            Ok(None) => {}
            Ok(Some(skipped)) => self.check_skip(index, skipped),
        }
        self.note_lost_touch(index, seen);
        self.received += 1;
        self.note_latency(index);
    }

    fn note_latency(&mut self, index: usize) {
        if !self.measures {
            return;
        }
        if let Part::Player(viewing) = &mut self.clients[index].part
            && let Some(place) = viewing.place
            && let Some(sent) = self.archive.message(place)
        {
            let taken = self.publications[place.0].start + Duration::from_millis(sent.taken as u64);
            viewing.latencies.push(self.now.saturating_duration_since(taken));
        }
    }
}

/// The server that a redirect of this stream leads to.
fn node_of(redirect: &Redirect, name: &str) -> Option<usize> {
    let stream = name.rsplit('/').next().unwrap_or(name);
    let destination = redirect.destination(stream).ok()?;
    node_at(format!("{}:{}", destination.host(), destination.port()).parse().ok()?)
}
