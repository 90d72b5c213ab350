//! One client: what it has said and still has to say, and what it was told.

use std::collections::{HashMap, HashSet};

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency, write_message};
use anabranch_core::command::Command;
use anabranch_core::flv::{aggregate, rebuild, tag};
use anabranch_core::message::data::{self, PublisherData};
use anabranch_core::message::{Control, Message, MessageType};

use super::operation::{self, Kind};

/// Bytes of a handshake in either direction.
const HANDSHAKE: usize = 1 + 2 * 1536;

/// What all publishers sent: the bodies that a player may get.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bodies: HashSet<(u8, Vec<u8>)>,
    /// The longest body.
    pub(super) longest: usize,
    /// The number of the last frame of ours.
    last: u32,
    /// True once a client said something that only looks like ours, maybe.
    pub(super) forged: bool,
}

impl Archive {
    fn note(&mut self, message: &Message) {
        let Message { type_id, ref payload, timestamp, .. } = *message;
        match type_id {
            MessageType::VIDEO | MessageType::AUDIO => self.note_media(type_id, payload),
            MessageType::DATA_AMF0 | MessageType::DATA_AMF3 => self.note_data(type_id, payload),
            MessageType::AGGREGATE => {
                for message in aggregate::parse(payload, timestamp).flatten() {
                    match message.type_id {
                        MessageType::VIDEO | MessageType::AUDIO => self.note_media(message.type_id, message.payload),
                        _ => self.note_data(message.type_id, message.payload),
                    }
                }
            }
            _ => {}
        }
    }

    fn note_media(&mut self, type_id: u8, body: &[u8]) {
        let plain = if type_id == MessageType::VIDEO { rebuild::plain_video(body) } else { rebuild::plain_audio(body) };
        if let Some(plain) = plain {
            self.keep(type_id, &plain);
        }
        self.keep(type_id, body);
    }

    fn note_data(&mut self, type_id: u8, body: &[u8]) {
        let limits = crate::session::config(true).limits.amf;
        match data::from_publisher(type_id, body, &limits) {
            PublisherData::Metadata(body) | PublisherData::Other(body) => self.keep(MessageType::DATA_AMF0, &body),
            PublisherData::ClearMetadata | PublisherData::Unreadable => {}
        }
    }

    fn keep(&mut self, type_id: u8, body: &[u8]) {
        self.longest = self.longest.max(body.len());
        self.bodies.insert((type_id, body.to_vec()));
    }
}

#[derive(Debug)]
pub(super) struct Client {
    id: u32,
    /// Bytes to send that the server does not want yet.
    pub(super) unsent: Vec<u8>,
    /// Of what is said next.
    chunk_size: u32,
    timestamp: u32,
    transaction: u32,
    /// Reads along what this client says.
    said: Listener,
    /// Reads what the server says.
    heard: Listener,
    /// The last frame of each publisher on each message stream, since the last `play` there.
    last: HashMap<(u32, u32), u32>,
}

impl Client {
    pub(super) fn new(id: u32) -> Self {
        Client {
            id,
            unsent: Vec::new(),
            chunk_size: 128,
            timestamp: 0,
            transaction: 0,
            said: Listener::default(),
            heard: Listener::default(),
            last: HashMap::new(),
        }
    }

    pub(super) fn hello(&mut self) {
        self.unsent.extend(crate::session::hello());
    }

    pub(super) fn call(&mut self, on: u8, transaction: u8, command: &operation::Command) {
        let command = self.command(transaction, command);
        self.say(3, MessageType::COMMAND_AMF0, u32::from(on), &command.encode());
    }

    fn command(&mut self, transaction: u8, command: &operation::Command) -> Command {
        use operation::Command as C;
        self.transaction += 1;
        let transaction = if transaction % 8 == 7 { 0.0 } else { f64::from(self.transaction) };
        let call = |name: &str| Command::new(name, transaction, Value::Null);
        match command {
            C::Connect { host, multitrack } => {
                let host = ["127.0.0.1", "other", "check", "unknown"][usize::from(host % 4)];
                let url = format!("rtmp://{host}/live?key=1");
                let app = Object::default().with("app", "live").with("tcUrl", url.as_str());
                let app = if *multitrack { app.with("capsEx", 3.0) } else { app };
                Command::new("connect", transaction, Value::Object(app))
            }
            C::CreateStream => call("createStream"),
            C::ReleaseStream(stream) => call("releaseStream").with(stream.name().as_str()),
            C::FcPublish(stream) => call("FCPublish").with(stream.name().as_str()),
            C::FcUnpublish(stream) => call("FCUnpublish").with(stream.name().as_str()),
            C::Publish(stream) => call("publish").with(stream.name().as_str()).with("live"),
            C::Play { stream, duration } => {
                let play = call("play").with(stream.name().as_str());
                match duration {
                    Some(duration) => play.with(-1.0).with(f64::from(*duration)),
                    None => play,
                }
            }
            C::DeleteStream(Some(stream_id)) => call("deleteStream").with(f64::from(*stream_id)),
            C::DeleteStream(None) => call("deleteStream"),
            C::CloseStream => call("closeStream"),
            C::Pause(on) => call("pause").with(*on).with(0.0),
            C::ReceiveAudio(on) => call("receiveAudio").with(*on),
            C::ReceiveVideo(on) => call("receiveVideo").with(*on),
            C::Seek => call("seek").with(1000.0),
            C::Other(name) => call(name),
        }
    }

    pub(super) fn media(&mut self, on: u8, kind: Kind, later: i16, filler: u16, archive: &mut Archive) {
        self.timestamp = self.timestamp.wrapping_add_signed(i32::from(later));
        archive.last += 1;
        let number = [self.id.to_be_bytes(), archive.last.to_be_bytes()].concat();
        let filler = vec![0x55; usize::from(filler % 5000)];
        let frame = |head: &[u8]| [head, &number, &filler].concat();
        let (type_id, body) = match kind {
            Kind::KeyFrame => (MessageType::VIDEO, frame(b"\x17\x01\0\0\0")),
            Kind::Frame => (MessageType::VIDEO, frame(b"\x27\x01\0\0\0")),
            Kind::Audio => (MessageType::AUDIO, frame(b"\xaf\x01")),
            Kind::VideoHeader => (MessageType::VIDEO, [b"\x17\0\0\0\0", &filler[..]].concat()),
            Kind::AudioHeader => (MessageType::AUDIO, [b"\xaf\0", &filler[..]].concat()),
            Kind::Metadata => (MessageType::DATA_AMF0, metadata(&filler)),
            Kind::SetMetadata => {
                (MessageType::DATA_AMF0, [b"\x02\0\x0d@setDataFrame", &metadata(&filler)[..]].concat())
            }
            Kind::ClearMetadata => (MessageType::DATA_AMF0, b"\x02\0\x0f@clearDataFrame".to_vec()),
            Kind::Multitrack { packet_type, track } => {
                (MessageType::VIDEO, [b"\x96", &[packet_type % 8][..], b"hvc1", &[track % 4], &filler].concat())
            }
            Kind::MultitrackAudio { packet_type, track } => {
                (MessageType::AUDIO, [b"\x95", &[packet_type % 8][..], b"Opus", &[track % 4], &filler].concat())
            }
            Kind::Aggregate => {
                let mut body = Vec::new();
                for (type_id, frame) in [(9, frame(b"\x17\x01\0\0\0")), (8, filler.clone())] {
                    tag::write_tag(type_id, self.timestamp, &frame, &mut body).expect("it is short");
                }
                (MessageType::AGGREGATE, body)
            }
            Kind::Malformed => (MessageType::VIDEO, vec![0x17]),
        };
        self.say(6, type_id, u32::from(on), &body);
    }

    pub(super) fn control(&mut self, type_id: u8, word: u32, second: u32) {
        let body = match type_id % 6 + 1 {
            // Events have two bytes in front.
            4 => [&[0, (word >> 24) as u8 % 8][..], &word.to_be_bytes(), &second.to_be_bytes()].concat(),
            // A size that most messages are longer than.
            1 => (word % 9000 + 1).to_be_bytes().to_vec(),
            _ => [word.to_be_bytes(), second.to_be_bytes()].concat(),
        };
        self.say(2, type_id % 6 + 1, 0, &body);
        if type_id % 6 == 0 {
            self.chunk_size = word % 9000 + 1;
        }
    }

    fn say(&mut self, chunk_stream: u8, type_id: u8, stream_id: u32, body: &[u8]) {
        write_message(&mut self.unsent, self.chunk_size, chunk_stream, self.timestamp, type_id, stream_id, body);
    }

    /// Notes what was sent.
    pub(super) fn sent(&mut self, bytes: &[u8], archive: &mut Archive) {
        // What a server may take for legal.
        let _ = self.said.listen(bytes, |message| archive.note(message));
    }

    /// Reads what the server wrote.
    pub(super) fn receive(&mut self, bytes: &[u8], archive: &Archive) {
        let last = &mut self.last;
        let read = self.heard.listen(bytes, |message| match message.type_id {
            MessageType::VIDEO | MessageType::AUDIO => check_media(message, archive, last),
            MessageType::DATA_AMF0 => check_data(message, archive),
            MessageType::COMMAND_AMF0 => {
                let limits = crate::session::config(false).limits.amf;
                let command = Command::parse(message.type_id, &message.payload, &limits);
                let command = command.expect("the server's commands can be read");
                // Each play begins anew.
                if command.name.as_bytes() == b"onStatus" {
                    last.retain(|(stream_id, _), _| *stream_id != message.stream_id || !is_start(&command));
                }
            }
            _ => {}
        });
        read.expect("the server's chunks are legal");
    }
}

fn is_start(status: &Command) -> bool {
    let information = status.arguments.first().and_then(Value::as_object);
    let code = information.and_then(|information| information.get("code")).and_then(Value::as_str);
    code == Some("NetStream.Play.Reset")
}

fn metadata(filler: &[u8]) -> Vec<u8> {
    let value = Object::default().with("filler", std::str::from_utf8(filler).expect("letters"));
    let mut body = b"\x02\0\x0aonMetaData".to_vec();
    anabranch_core::amf::amf0::encode(&Value::EcmaArray(value), &mut body);
    body
}

/// Whatever a player gets was published, and nothing of ours comes twice or out of order.
fn check_media(message: &Message, archive: &Archive, last: &mut HashMap<(u32, u32), u32>) {
    let body = &message.payload[..];
    assert!(archive.bodies.contains(&(message.type_id, body.to_vec())), "a frame that nobody published: {message:?}");
    let at = if message.type_id == MessageType::VIDEO { 5 } else { 2 };
    let word = |at: usize| body.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_be_bytes);
    if let (Some(publisher), Some(number)) = (word(at), word(at + 4))
        && matches!(body[..2], [0x17 | 0x27 | 0xaf, 1])
        && !archive.forged
    {
        let before = last.insert((message.stream_id, publisher), number);
        assert!(before.is_none_or(|before| before < number), "frame {number} after {before:?}");
    }
}

fn check_data(message: &Message, archive: &Archive) {
    let body = &message.payload[..];
    let ours = [&b"\x02\0\x08onStatus"[..], b"\x02\0\x0conPlayStatus", b"\x02\0\x11|RtmpSampleAccess"];
    let published = archive.bodies.contains(&(message.type_id, body.to_vec()));
    assert!(published || ours.iter().any(|ours| body.starts_with(ours)), "data that nobody published: {message:?}");
}

/// Reads one direction of a connection, handshake first.
#[derive(Debug)]
struct Listener {
    handshake: usize,
    reader: ChunkReader,
    lost: bool,
}

impl Default for Listener {
    fn default() -> Self {
        let limits = ChunkLimits { message: 0x00ff_ffff, streams: 100, partial: 1 << 26, eager: 64 };
        Listener { handshake: HANDSHAKE, reader: ChunkReader::new(limits, Leniency::Lenient), lost: false }
    }
}

impl Listener {
    fn listen(&mut self, bytes: &[u8], mut hear: impl FnMut(&Message)) -> Result<(), String> {
        let (_, mut rest) = bytes.split_at(bytes.len().min(self.handshake));
        self.handshake -= bytes.len() - rest.len();
        while !self.lost {
            match self.reader.read(&mut rest) {
                Ok(Some(message)) => {
                    match Control::parse(message.type_id, &message.payload) {
                        Ok(Some(Control::SetChunkSize(size))) => _ = self.reader.set_chunk_size(size),
                        Ok(Some(Control::Abort(chunk_stream))) => self.reader.abort(chunk_stream),
                        _ => {}
                    }
                    hear(&message);
                }
                Ok(None) => break,
                Err(error) => {
                    self.lost = true;
                    return Err(error.to_string());
                }
            }
        }
        Ok(())
    }
}
