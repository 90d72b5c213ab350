//! One client: what it has sent and still has to send.

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::flv::tag;
use anabranch_core::message::MessageType;

use super::archive::{Archive, Facts, Number};
use super::listener::Listener;
use super::operation::{self, Kind};

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
    /// Bytes that were sent.
    pub(super) bytes: u64,
    /// True once it asked for another acknowledgement window.
    pub(super) other_window: bool,
    /// The present stretch of media between two commands, and its frames and sequence headers.
    stretch: u32,
    frames: u32,
    headers: u32,
    /// What is known of its next frame.
    facts: Facts,
    /// The message stream of the stretch's media.
    media_on: Option<u8>,
    /// True once it asked to publish.
    published: bool,
    /// Bytes of all headers it ever sent, and the count from which some may not be kept for players that join late.
    header_bytes: usize,
    header_limit: usize,
}

impl Client {
    pub(super) fn new(id: u32, header_limit: usize) -> Self {
        Client {
            unsent: Vec::new(),
            chunk_size: 128,
            timestamp: 0,
            transaction: 0,
            said: Listener::default(),
            bytes: 0,
            other_window: false,
            id,
            stretch: 0,
            frames: 0,
            headers: 0,
            facts: Facts::default(),
            media_on: None,
            published: false,
            header_bytes: 0,
            header_limit,
        }
    }

    pub(super) fn hello(&mut self) {
        self.unsent.extend(crate::session::hello());
    }

    pub(super) fn call(&mut self, on: u8, transaction: u8, command: &operation::Command) {
        let publishes = matches!(command, operation::Command::Publish(_));
        self.stretch += 1;
        (self.frames, self.headers, self.media_on) = (0, 0, None);
        self.facts = Facts { headers: [None; 2], fresh: publishes && !self.published };
        self.published |= publishes;
        let command = self.command(transaction, command);
        self.queue(3, MessageType::COMMAND_AMF0, u32::from(on), &command.encode());
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
            C::DeleteStream(Some(message_stream_id)) => call("deleteStream").with(f64::from(*message_stream_id)),
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
        archive.begin(Number::new(self.id, self.stretch, 0).stretch);
        // Which of the two is published is the server's to say.
        let mixed = self.media_on.replace(on).is_some_and(|before| before != on);
        if mixed {
            self.facts = Facts::default();
        }
        // Several headers are kept together.
        let most = if matches!(kind, Kind::VideoHeader | Kind::AudioHeader) { 200 } else { 5000 };
        let filler = vec![0x55; usize::from(filler % most)];
        let number = match kind {
            Kind::KeyFrame | Kind::Frame | Kind::Audio | Kind::Aggregate => self.next_frame(archive),
            _ => {
                self.headers += 1;
                Number::new(self.id, self.stretch, self.headers)
            }
        };
        let frame = |head: &[u8]| [head, &number.bytes(), &filler].concat();
        let (type_id, body) = match kind {
            Kind::KeyFrame => (MessageType::VIDEO, frame(b"\x17\x01\0\0\0")),
            Kind::Frame => (MessageType::VIDEO, frame(b"\x27\x01\0\0\0")),
            Kind::Audio => (MessageType::AUDIO, frame(b"\xaf\x01")),
            Kind::VideoHeader => (MessageType::VIDEO, frame(b"\x17\0\0\0\0")),
            Kind::AudioHeader => (MessageType::AUDIO, frame(b"\xaf\0")),
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
        match kind {
            Kind::VideoHeader => self.note_header(0, Some(number).filter(|_| !mixed), body.len()),
            Kind::AudioHeader => self.note_header(1, Some(number).filter(|_| !mixed), body.len()),
            Kind::Multitrack { .. } => {
                self.note_header(0, None, body.len());
                // It may be a key frame.
                self.facts.fresh = false;
            }
            Kind::MultitrackAudio { .. } => self.note_header(1, None, body.len()),
            Kind::Metadata | Kind::SetMetadata => self.header_bytes += body.len() + 200,
            _ => {}
        }
        self.queue(6, type_id, u32::from(on), &body);
    }

    pub(super) fn control(&mut self, type_id: u8, word: u32, second: u32) {
        let body = match type_id % 6 + 1 {
            // Events have two bytes in front.
            4 => [&[0, (word >> 24) as u8 % 8][..], &word.to_be_bytes(), &second.to_be_bytes()].concat(),
            // A size that most messages are longer than.
            1 => (word % 9000 + 1).to_be_bytes().to_vec(),
            _ => [word.to_be_bytes(), second.to_be_bytes()].concat(),
        };
        self.queue(2, type_id % 6 + 1, 0, &body);
        self.other_window |= type_id % 6 + 1 == 5;
        if type_id % 6 == 0 {
            self.chunk_size = word % 9000 + 1;
        }
    }

    fn queue(&mut self, chunk_stream: u8, type_id: u8, message_stream_id: u32, body: &[u8]) {
        write_message(
            &mut self.unsent,
            self.chunk_size,
            chunk_stream,
            self.timestamp,
            type_id,
            message_stream_id,
            body,
        );
    }

    /// Notes what was sent.
    pub(super) fn sent(&mut self, bytes: &[u8], archive: &mut Archive) {
        // What a server may take for legal.
        let _ = self.said.listen(bytes, |message, _| archive.note(message));
        self.bytes += bytes.len() as u64;
    }

    /// The index of the next frame in this stretch, whose facts are noted.
    fn next_frame(&mut self, archive: &mut Archive) -> Number {
        self.frames += 1;
        let number = Number::new(self.id, self.stretch, self.frames);
        archive.frames.insert(number, self.facts);
        number
    }

    /// A sequence header is in force from here on, of which something is known if it is ours.
    fn note_header(&mut self, medium: usize, header: Option<Number>, length: usize) {
        // With its chunk headers, and for multitrack messages a plain form.
        self.header_bytes += 2 * (length + length / 20 + 64);
        let kept = self.header_bytes <= self.header_limit;
        self.facts.headers[medium] = header.filter(|_| kept);
    }
}

fn metadata(filler: &[u8]) -> Vec<u8> {
    let value = Object::default().with("filler", std::str::from_utf8(filler).expect("letters"));
    let mut body = b"\x02\0\x0aonMetaData".to_vec();
    anabranch_core::amf::amf0::encode(&Value::EcmaArray(value), &mut body);
    body
}
