use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value};
use anabranch_core::command::Command;
use anabranch_core::handshake;
use anabranch_core::message::{Control, Message, MessageType, UserControl};
use anabranch_core::session::ClientKind;

use super::channel::{Channel, Part, Stage};
use super::media::{Archive, Media};
use super::peer::{Peer, command_in, status_code};
use super::{Playback, Rng, Route};

/// Bytes queued by a publisher before its encoder drops frames.
const BACKLOG: usize = 1 << 20;

/// A scripted client.
#[derive(Debug)]
pub struct Client {
    peer: Peer,
    route: Route,
    progress: Progress,
    channels: Vec<Channel>,
    chunk_size: u32,
    statuses: Vec<Status>,
    decode_errors: Vec<String>,
    /// Tracks that the server was asked to turn on: message stream and track.
    turning_on: VecDeque<(u32, Media)>,
    /// Sends nothing more: a publisher that hangs.
    pub(super) mute: bool,
    /// How long what it sends is delayed at times.
    held_up: Duration,
    /// The client closed, or knows that the server did.
    pub(super) closed: bool,
}

/// How far the connection has got.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Progress {
    /// Opens the connection and sends nothing.
    Silent,
    Handshake,
    Connecting(f64),
    Connected,
}

/// A notice or refusal from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Such as `NetStream.Play.Start`; `StreamBegin` and `StreamEof` for the user control events.
    pub code: String,
    /// The text for people.
    pub description: String,
    /// Where it sends the client: `ex.redirect2`.
    pub redirect: Option<String>,
    /// When it arrived.
    pub at: Instant,
    /// Bytes received up to its end.
    pub(super) offset: u64,
}

impl Client {
    pub(super) fn new(route: Route, channels: Vec<Channel>, mut rng: Rng) -> Self {
        let kind = rng.pick(&[handshake::ClientHandshakeKind::Simple, handshake::ClientHandshakeKind::Digest]);
        Client {
            peer: Peer::new(rng.seed(), kind),
            route,
            progress: Progress::Handshake,
            channels,
            chunk_size: rng.pick(&[128, 1024, 4096, 60_000, 0x7fff_ffff]),
            statuses: Vec::new(),
            decode_errors: Vec::new(),
            turning_on: VecDeque::new(),
            mute: false,
            held_up: Duration::ZERO,
            closed: false,
        }
    }

    /// Keeps nothing of what it was.
    pub(super) fn forget(&mut self) {
        self.closed = true;
        self.peer = Peer::new([0; 32], handshake::ClientHandshakeKind::Simple);
        self.peer.out().clear();
        self.channels = Vec::new();
        self.statuses = Vec::new();
        self.turning_on = VecDeque::new();
    }

    pub(super) fn silent(mut self) -> Self {
        self.peer.out().clear();
        self.progress = Progress::Silent;
        self
    }

    /// Codes of all notices so far.
    pub fn statuses(&self) -> Vec<&str> {
        self.statuses.iter().map(|status| status.code.as_str()).collect()
    }

    /// When the notice first arrived.
    pub fn status_at(&self, code: &str) -> Option<Instant> {
        self.statuses.iter().find(|status| status.code == code).map(|status| status.at)
    }

    /// All notices so far.
    pub fn notices(&self) -> &[Status] {
        &self.statuses
    }

    /// How often the notice came.
    pub fn count(&self, code: &str) -> usize {
        self.statuses.iter().filter(|status| status.code == code).count()
    }

    /// What the server sent that is not RTMP. A simulation fails at the first such error.
    pub fn decode_errors(&self) -> usize {
        self.decode_errors.len()
    }

    /// True once the client closed, or learnt that the server did.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// True while it publishes or plays.
    pub fn is_running(&self) -> bool {
        self.channels.iter().any(Channel::is_running) && !self.closed
    }

    /// What the client got on the first stream it plays.
    pub fn playback(&self) -> Option<&Playback> {
        self.playbacks().next()
    }

    /// What the client got on each of the streams it plays.
    pub fn playbacks(&self) -> impl Iterator<Item = &Playback> {
        self.channels.iter().filter_map(Channel::playback)
    }

    /// How many streams the client has requested or will request.
    pub fn streams(&self) -> usize {
        self.channels.len()
    }

    /// True if this is one of them, with its query.
    pub fn asks_for(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// The streams that the client requests, with their queries.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|channel| channel.name.as_str())
    }

    pub(super) fn fault(&self) -> Option<&String> {
        self.decode_errors.first().or_else(|| self.playbacks().find_map(|playback| playback.faults().first()))
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        self.peer.out()
    }

    pub(super) fn has_output(&self) -> bool {
        self.peer.has_output() && !self.closed
    }

    /// When the client next acts without input.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = |channel: &Channel| match &channel.part {
            Part::Publisher(_, encoder_state) if channel.is_running() => encoder_state.due(),
            _ => None,
        };
        self.channels.iter().filter_map(due).min().filter(|_| !self.closed)
    }

    pub(super) fn tick(&mut self, now: Instant, archive: &mut Archive) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let drop = self.mute || self.peer.out().len() > BACKLOG;
        for channel in &mut self.channels {
            if let Part::Publisher(_, encoder_state) = &mut channel.part
                && channel.stage == Stage::Running
            {
                encoder_state.hold_up(self.held_up);
                encoder_state.produce(now, drop, archive);
                send_media(&mut self.peer, channel.message_stream_id, encoder_state.origin(), archive);
            }
        }
    }

    /// Delays what the client sends for this long, at times.
    pub(super) fn hold_up(&mut self, duration: Duration) {
        self.held_up = self.held_up.max(duration);
    }

    /// Sends headers again, as an encoder does after a change of its configuration.
    pub(super) fn reconfigure(&mut self, now: Instant, archive: &mut Archive) {
        for channel in &mut self.channels {
            if let Part::Publisher(_, encoder_state) = &mut channel.part
                && channel.stage == Stage::Running
            {
                encoder_state.headers(now, archive);
                send_media(&mut self.peer, channel.message_stream_id, encoder_state.origin(), archive);
            }
        }
    }

    pub(super) fn pause(&mut self, paused: bool) {
        for channel in self.channels.iter().filter(|channel| channel.is_running() && !channel.is_publisher()) {
            self.peer.call("pause", channel.message_stream_id, Value::Null, &[paused.into(), 0.0.into()]);
        }
    }

    /// Turns a track on or off on all streams it plays.
    pub(super) fn receive(&mut self, track: Media, on: bool) {
        let name = if track == Media::Sound { "receiveAudio" } else { "receiveVideo" };
        for channel in &mut self.channels {
            if let Part::Player(playback) = &mut channel.part
                && channel.stage == Stage::Running
            {
                self.peer.call(name, channel.message_stream_id, Value::Null, &[on.into()]);
                playback.receive(track, on);
                if on {
                    self.turning_on.push_back((channel.message_stream_id, track));
                }
            }
        }
    }

    /// Adds one more stream on the same connection.
    pub(super) fn add(&mut self, channel: Channel) {
        self.channels.push(channel);
        self.go_on();
    }

    /// Ends its streams in good order; the connection stays open.
    pub(super) fn stop(&mut self) {
        for channel in &mut self.channels {
            match channel.stage {
                Stage::Running if !self.closed => channel.stage = Stage::Stopped,
                Stage::Waiting => {
                    channel.stage = Stage::Stopped;
                    continue;
                }
                _ => continue,
            }
            if matches!(channel.part, Part::Publisher(ClientKind::Fmle | ClientKind::Haivision, _)) {
                self.peer.call("FCUnpublish", 0, Value::Null, &[channel.name.as_str().into()]);
            }
            let message_stream_id = f64::from(channel.message_stream_id);
            self.peer.call("deleteStream", 0, Value::Null, &[message_stream_id.into()]);
        }
    }

    pub(super) fn read(&mut self, now: Instant, bytes: &[u8], archive: &mut Archive) {
        let messages = match self.peer.read(bytes) {
            Ok(messages) => messages,
            Err(error) => return self.decode_errors.push(error),
        };
        if self.progress == Progress::Handshake && self.peer.is_ready() {
            let Route { host, app, page_url, .. } = &self.route;
            let transaction = self.peer.connect_to(host, app, page_url.as_deref());
            self.progress = Progress::Connecting(transaction);
        }
        let ends = self.peer.take_ends();
        for (message, end) in messages.iter().zip(ends) {
            self.message(now, message, end, archive);
        }
    }

    fn message(&mut self, now: Instant, message: &Message, end: u64, archive: &mut Archive) {
        match message.type_id {
            MessageType::COMMAND_AMF0 | MessageType::COMMAND_AMF3 => match command_in(message) {
                Some(command) => self.command(now, message.message_stream_id, end, &command, archive),
                None => self.decode_errors.push(format!("{message:?} is no command")),
            },
            MessageType::USER_CONTROL => match UserControl::parse(&message.payload) {
                UserControl::StreamBegin(_) => self.status(now, end, "StreamBegin", &Object::default()),
                UserControl::StreamEof(_) => self.status(now, end, "StreamEof", &Object::default()),
                _ => {}
            },
            MessageType::AUDIO | MessageType::VIDEO | MessageType::DATA_AMF0 => {
                // The newest: numbers of ended streams are used again.
                let channel =
                    self.channels.iter_mut().rfind(|channel| channel.message_stream_id == message.message_stream_id);
                match channel.map(|channel| (channel.stage, &mut channel.part)) {
                    Some((Stage::Running | Stage::Stopped, Part::Player(playback))) => {
                        playback.media(now, message, archive);
                    }
                    _ => self.decode_errors.push(format!("{message:?} came to a stream that does not play")),
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, now: Instant, on_stream: u32, end: u64, command: &Command, archive: &mut Archive) {
        let result = command.name.as_bytes() == b"_result";
        let creating = Stage::Creating(command.transaction);
        if result && let Some(channel) = self.channels.iter_mut().find(|channel| channel.stage == creating) {
            let id = command.arguments.first().and_then(Value::as_number).unwrap_or_default();
            channel.message_stream_id = id as u32;
            return self.ask();
        }
        let Some(code) = status_code(command) else {
            return;
        };
        if let Some(information) = command.arguments.first().and_then(Value::as_object) {
            self.status(now, end, code, information);
        }
        if result && self.progress == Progress::Connecting(command.transaction) {
            return self.connected();
        }
        let Some(channel) = self.channels.iter_mut().rfind(|channel| channel.message_stream_id == on_stream) else {
            return;
        };
        match (&mut channel.part, channel.stage, code) {
            (Part::Publisher(_, encoder_state), Stage::Asking, "NetStream.Publish.Start") => {
                channel.stage = Stage::Running;
                encoder_state.begin(now, archive);
                send_media(&mut self.peer, channel.message_stream_id, encoder_state.origin(), archive);
                self.go_on();
            }
            (Part::Player(_), Stage::Asking, "NetStream.Play.Start") => {
                channel.stage = Stage::Running;
                self.go_on();
            }
            (Part::Player(playback), _, "NetStream.Seek.Notify") => {
                // No client here seeks: this answers the oldest request to turn a track on.
                if let Some(at) = self.turning_on.iter().position(|(id, _)| *id == on_stream)
                    && let Some((_, track)) = self.turning_on.remove(at)
                {
                    playback.turned_on(track);
                }
            }
            _ => {}
        }
    }

    fn connected(&mut self) {
        self.progress = Progress::Connected;
        match self.channels.first() {
            Some(channel) if channel.is_publisher() => self.peer.set_chunk_size(self.chunk_size),
            Some(_) => self.peer.control(&Control::WindowAckSize(2_500_000)),
            None => {}
        }
        self.go_on();
    }

    /// Requests the next stream, once those before it are created.
    fn go_on(&mut self) {
        let busy = |channel: &Channel| matches!(channel.stage, Stage::Creating(_) | Stage::Asking);
        if self.progress != Progress::Connected || self.channels.iter().any(busy) {
            return;
        }
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.stage == Stage::Waiting) else {
            return;
        };
        let name = || Value::from(channel.name.as_str());
        if matches!(channel.part, Part::Publisher(ClientKind::Fmle, _)) {
            self.peer.call("releaseStream", 0, Value::Null, &[name()]);
            self.peer.call("FCPublish", 0, Value::Null, &[name()]);
        }
        let transaction = self.peer.call("createStream", 0, Value::Null, &[]);
        if matches!(channel.part, Part::Publisher(ClientKind::Haivision, _)) {
            self.peer.call("FCPublish", 0, Value::Null, &[name()]);
        }
        channel.stage = Stage::Creating(transaction);
    }

    fn ask(&mut self) {
        let creating = |channel: &&mut Channel| matches!(channel.stage, Stage::Creating(_));
        let Some(channel) = self.channels.iter_mut().find(creating) else {
            return;
        };
        channel.stage = Stage::Asking;
        let (name, id) = (Value::from(channel.name.as_str()), channel.message_stream_id);
        if channel.is_publisher() {
            self.peer.call("publish", id, Value::Null, &[name, "live".into()]);
        } else {
            let buffer = UserControl::SetBufferLength { message_stream_id: id, milliseconds: 3000 };
            self.peer.control(&Control::User(buffer));
            self.peer.call("play", id, Value::Null, &[name, (-2000.0).into()]);
        }
    }

    fn status(&mut self, at: Instant, offset: u64, code: &str, information: &Object) {
        let text = |key| information.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let ex = information.get("ex").and_then(Value::as_object);
        let redirect = ex.and_then(|ex| ex.get("redirect2")).and_then(Value::as_str).map(str::to_owned);
        self.statuses.push(Status { code: code.into(), description: text("description"), redirect, at, offset });
    }
}

/// Sends what the encoder has made.
fn send_media(peer: &mut Peer, message_stream_id: u32, origin: usize, archive: &mut Archive) {
    for (number, body) in archive.take_fresh() {
        let Some(sent) = archive.message((origin, number)) else {
            continue;
        };
        let type_id = sent.media.type_id();
        if type_id == MessageType::DATA_AMF0 {
            let body = [b"\x02\x00\x0d@setDataFrame", body.as_slice()].concat();
            peer.send(4, sent.timestamp, type_id, message_stream_id, &body);
        } else {
            let chunk_stream = if type_id == MessageType::AUDIO { 4 } else { 6 };
            peer.send(chunk_stream, sent.timestamp, type_id, message_stream_id, &body);
        }
    }
}

/// One of the ways to publish.
pub(super) fn manner(rng: &mut Rng) -> ClientKind {
    rng.pick(&[ClientKind::Fmle, ClientKind::Haivision, ClientKind::Flash])
}
