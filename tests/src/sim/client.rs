use std::time::Instant;

use anabranch_core::amf::Value;
use anabranch_core::command::Command;
use anabranch_core::handshake;
use anabranch_core::message::{Control, Message, MessageType, UserControl};
use anabranch_core::session::ClientKind;

use super::media::{Archive, Studio};
use super::peer::{Peer, command_in, status_code};
use super::{Rng, Screen};

/// Bytes that a publisher lets pile up before its encoder drops frames.
const BACKLOG: usize = 1 << 20;

/// A scripted client.
#[derive(Debug)]
pub struct Client {
    index: usize,
    peer: Peer,
    app: String,
    name: String,
    stage: Stage,
    part: Part,
    chunk_size: u32,
    stream_id: u32,
    statuses: Vec<Status>,
    decode_errors: Vec<String>,
    /// Sending nothing more: a publisher that hangs.
    pub(super) mute: bool,
    /// It closed, or knows that the server did.
    pub(super) closed: bool,
}

/// What a client is there for.
#[derive(Debug)]
pub(super) enum Part {
    /// Opens the connection and says nothing.
    Silent,
    /// Connects and asks for nothing.
    Idle,
    Publisher(ClientKind, Box<Studio>),
    Player(Box<Screen>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Handshake,
    Connecting(f64),
    Creating(f64),
    Asking,
    Running,
    Stopped,
}

/// A notice or refusal of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Such as `NetStream.Play.Start`; `StreamBegin` and `StreamEof` for the user control events.
    pub code: String,
    /// When it came.
    pub at: Instant,
}

impl Client {
    pub(super) fn new(index: usize, app: &str, name: &str, part: Part, mut rng: Rng) -> Self {
        let kind = rng.pick(&[handshake::ClientKind::Simple, handshake::ClientKind::Digest]);
        let mut peer = Peer::new(rng.seed(), kind);
        if matches!(part, Part::Silent) {
            peer.out().clear();
        }
        Client {
            index,
            peer,
            app: app.into(),
            name: name.into(),
            stage: Stage::Handshake,
            part,
            chunk_size: rng.pick(&[128, 1024, 4096, 60_000, 0x7fff_ffff]),
            stream_id: 0,
            statuses: Vec::new(),
            decode_errors: Vec::new(),
            mute: false,
            closed: false,
        }
    }

    /// Codes of all notices so far.
    pub fn statuses(&self) -> Vec<&str> {
        self.statuses.iter().map(|status| status.code.as_str()).collect()
    }

    /// When the notice first came.
    pub fn status_at(&self, code: &str) -> Option<Instant> {
        self.statuses.iter().find(|status| status.code == code).map(|status| status.at)
    }

    /// How often the notice came.
    pub fn count(&self, code: &str) -> usize {
        self.statuses.iter().filter(|status| status.code == code).count()
    }

    /// What the server sent that is no RTMP. A simulation fails at the first.
    pub fn decode_errors(&self) -> usize {
        self.decode_errors.len()
    }

    /// True once it closed, or learnt that the server did.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// True while it publishes or plays.
    pub fn is_running(&self) -> bool {
        self.stage == Stage::Running && !self.closed
    }

    /// What it got, if it is a player.
    pub fn screen(&self) -> Option<&Screen> {
        match &self.part {
            Part::Player(screen) => Some(screen),
            _ => None,
        }
    }

    pub(super) fn fault(&self) -> Option<&String> {
        self.decode_errors.first().or_else(|| self.screen()?.faults().first())
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        self.peer.out()
    }

    pub(super) fn has_output(&self) -> bool {
        self.peer.has_output() && !self.closed
    }

    /// When it will do something of its own accord.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.part {
            Part::Publisher(_, studio) if self.is_running() => studio.due(),
            _ => None,
        }
    }

    pub(super) fn tick(&mut self, now: Instant, archive: &mut Archive) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let drop = self.mute || self.peer.out().len() > BACKLOG;
        let first = archive.of(self.index).len();
        if let Part::Publisher(_, studio) = &mut self.part {
            studio.produce(now, drop, archive);
        }
        self.send_media(first, archive);
    }

    /// Sends headers anew, as an encoder does whose configuration changed.
    pub(super) fn reconfigure(&mut self, now: Instant, archive: &mut Archive) {
        let first = archive.of(self.index).len();
        if self.is_running()
            && let Part::Publisher(_, studio) = &mut self.part
        {
            studio.headers(now, archive);
        }
        self.send_media(first, archive);
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.peer.call("pause", self.stream_id, Value::Null, &[paused.into(), 0.0.into()]);
    }

    /// Ends in good order what it does; the connection stays.
    pub(super) fn stop(&mut self) {
        if !self.is_running() {
            return;
        }
        self.stage = Stage::Stopped;
        if matches!(self.part, Part::Publisher(ClientKind::Fmle | ClientKind::Haivision, _)) {
            self.peer.call("FCUnpublish", 0, Value::Null, &[self.name.as_str().into()]);
        }
        let stream_id = f64::from(self.stream_id);
        self.peer.call("deleteStream", 0, Value::Null, &[stream_id.into()]);
    }

    pub(super) fn read(&mut self, now: Instant, bytes: &[u8], archive: &mut Archive) {
        let messages = match self.peer.read(bytes) {
            Ok(messages) => messages,
            Err(error) => return self.decode_errors.push(error),
        };
        if self.stage == Stage::Handshake && self.peer.is_ready() && !matches!(self.part, Part::Silent) {
            let transaction = self.peer.connect(&self.app);
            self.stage = Stage::Connecting(transaction);
        }
        for message in messages {
            self.message(now, &message, archive);
        }
    }

    fn message(&mut self, now: Instant, message: &Message, archive: &mut Archive) {
        match message.type_id {
            MessageType::COMMAND_AMF0 | MessageType::COMMAND_AMF3 => match command_in(message) {
                Some(command) => self.command(now, &command, archive),
                None => self.decode_errors.push(format!("{message:?} is no command")),
            },
            MessageType::USER_CONTROL => match UserControl::parse(&message.payload) {
                UserControl::StreamBegin(_) => self.status(now, "StreamBegin"),
                UserControl::StreamEof(_) => self.status(now, "StreamEof"),
                _ => {}
            },
            MessageType::AUDIO | MessageType::VIDEO | MessageType::DATA_AMF0 => match &mut self.part {
                Part::Player(screen) => screen.media(now, message, archive),
                _ => self.decode_errors.push(format!("{message:?} came to a client that does not play")),
            },
            _ => {}
        }
    }

    fn command(&mut self, now: Instant, command: &Command, archive: &mut Archive) {
        let answers = |transaction: f64| command.name.as_bytes() == b"_result" && command.transaction == transaction;
        match self.stage {
            Stage::Connecting(transaction) if answers(transaction) => return self.connected(),
            Stage::Creating(transaction) if answers(transaction) => {
                let id = command.arguments.first().and_then(Value::as_number).unwrap_or_default();
                self.stream_id = id as u32;
                return self.ask();
            }
            _ => {}
        }
        let Some(code) = status_code(command) else {
            return;
        };
        self.status(now, code);
        if self.stage == Stage::Asking
            && command.name.as_bytes() == b"onStatus"
            && matches!(code, "NetStream.Publish.Start" | "NetStream.Play.Start")
        {
            self.stage = Stage::Running;
            if let Part::Publisher(_, studio) = &mut self.part {
                studio.begin(now, archive);
                self.send_media(0, archive);
            }
        }
    }

    fn connected(&mut self) {
        let name = || Value::from(self.name.as_str());
        match self.part {
            Part::Publisher(kind, _) => {
                self.peer.set_chunk_size(self.chunk_size);
                if kind == ClientKind::Fmle {
                    self.peer.call("releaseStream", 0, Value::Null, &[name()]);
                    self.peer.call("FCPublish", 0, Value::Null, &[name()]);
                }
                let transaction = self.peer.call("createStream", 0, Value::Null, &[]);
                if kind == ClientKind::Haivision {
                    self.peer.call("FCPublish", 0, Value::Null, &[name()]);
                }
                self.stage = Stage::Creating(transaction);
            }
            Part::Player(_) => {
                self.peer.control(&Control::WindowAckSize(2_500_000));
                let transaction = self.peer.call("createStream", 0, Value::Null, &[]);
                self.stage = Stage::Creating(transaction);
            }
            Part::Silent | Part::Idle => self.stage = Stage::Stopped,
        }
    }

    fn ask(&mut self) {
        let (name, id) = (Value::from(self.name.as_str()), self.stream_id);
        self.stage = Stage::Asking;
        if matches!(self.part, Part::Publisher(..)) {
            self.peer.call("publish", id, Value::Null, &[name, "live".into()]);
        } else {
            let buffer = UserControl::SetBufferLength { stream_id: id, milliseconds: 3000 };
            self.peer.control(&Control::User(buffer));
            self.peer.call("play", id, Value::Null, &[name, (-2000.0).into()]);
        }
    }

    fn send_media(&mut self, first: usize, archive: &Archive) {
        for sent in &archive.of(self.index)[first..] {
            let type_id = sent.media.type_id();
            if type_id == MessageType::DATA_AMF0 {
                let body = [b"\x02\x00\x0d@setDataFrame", sent.body.as_slice()].concat();
                self.peer.send(4, sent.timestamp, type_id, self.stream_id, &body);
            } else {
                let chunk_stream = if type_id == MessageType::AUDIO { 4 } else { 6 };
                self.peer.send(chunk_stream, sent.timestamp, type_id, self.stream_id, &sent.body);
            }
        }
    }

    fn status(&mut self, at: Instant, code: &str) {
        self.statuses.push(Status { code: code.into(), at });
    }
}

/// One of the ways to publish.
pub(super) fn manner(rng: &mut Rng) -> ClientKind {
    rng.pick(&[ClientKind::Fmle, ClientKind::Haivision, ClientKind::Flash])
}
