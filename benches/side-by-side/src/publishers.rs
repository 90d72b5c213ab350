//! Server sessions that a publisher talks to: from the handshake to its media, by way of the commands.

use std::sync::Arc;
use std::time::Instant;

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::message::{Control, Message, MessageType};
use anabranch_core::session;
use bytes::Buf;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{ServerSessionConfig, ServerSessionEvent, ServerSessionResult};
use rtmp_runtime::server::ServerEvent;
use shiguredo_rtmp::RtmpConnectionEvent;

use crate::{Order, Tally};

/// What all of them take.
pub const CHUNK_SIZES: [u32; 4] = [128, 4096, 60_000, 1];

/// What a publisher says.
pub struct Conversation {
    /// Up to where the server has granted it everything: what it says between answers.
    opening: Vec<Vec<u8>>,
    /// The messages, each written to its end.
    media: Vec<u8>,
}

impl Conversation {
    pub fn new(messages: &[Message], chunk_size: u32) -> Self {
        // C2 is zeros like the S1 of shiguredo_rtmp, the only one that looks at it.
        let mut hello = vec![3];
        hello.resize(1 + 2 * 1536, 0);
        let say = |stream: u32, command: Command| {
            let mut bytes = Vec::new();
            write_message(&mut bytes, chunk_size, 3, 0, MessageType::COMMAND_AMF0, stream, &command.encode());
            bytes
        };
        let mut first = Vec::new();
        Control::SetChunkSize(chunk_size).write(128, &mut first);
        let app = Object::default().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live");
        // shiguredo_rtmp takes no connect without it.
        let app = app.with("flashVer", "FMLE/3.0");
        first.extend(say(0, Command::new("connect", 1.0, Value::Object(app))));
        let create_stream = say(0, Command::new("createStream", 2.0, Value::Null));
        let publish = say(1, Command::new("publish", 3.0, Value::Null).with("cam").with("live"));
        let media = Order::Sequential.write(messages, chunk_size);
        Conversation { opening: vec![hello, first, create_stream, publish], media }
    }

    /// Bytes of its media.
    pub fn media_len(&self) -> usize {
        self.media.len()
    }
}

/// One library's session.
pub trait Session {
    /// Takes bytes, grants what is asked, throws its answers away and counts the media that comes out.
    fn read(&mut self, bytes: &[u8], tally: &mut Tally);
}

pub struct Publisher {
    pub name: &'static str,
    new: fn() -> Box<dyn Session>,
}

pub const PUBLISHERS: [Publisher; 4] = [
    Publisher { name: "anabranch", new: || Box::new(Anabranch::new()) },
    Publisher { name: "rml_rtmp", new: || Box::new(Rml::new()) },
    Publisher { name: "rtmp-runtime", new: || Box::new(rtmp_runtime::server::ServerSession::with_defaults()) },
    Publisher { name: "shiguredo_rtmp", new: || Box::new(shiguredo_rtmp::RtmpServerConnection::new()) },
];

impl Publisher {
    /// A session that has granted all that comes before the media.
    pub fn open(&self, conversation: &Conversation) -> Box<dyn Session> {
        let (mut session, mut tally) = ((self.new)(), Tally::default());
        conversation.opening.iter().for_each(|bytes| session.read(bytes, &mut tally));
        assert_eq!(tally, Tally::default(), "{}: there was no media yet", self.name);
        session
    }
}

/// Lets a session read the media, so many bytes at a time.
pub fn publish(session: &mut dyn Session, conversation: &Conversation, at_once: usize) -> Tally {
    let mut tally = Tally::default();
    conversation.media.chunks(at_once).for_each(|bytes| session.read(bytes, &mut tally));
    tally
}

struct Anabranch {
    session: session::Session,
    now: Instant,
}

impl Anabranch {
    fn new() -> Self {
        let now = Instant::now();
        Anabranch { session: session::Session::new(Arc::default(), [7; 32], now), now }
    }
}

impl Session for Anabranch {
    fn read(&mut self, bytes: &[u8], tally: &mut Tally) {
        let session = &mut self.session;
        session.handle_input(self.now, bytes).expect("anabranch reads on");
        loop {
            match session.poll_output() {
                session::SessionOutput::Event(session::SessionEvent::Connect(request)) => session.accept(request),
                session::SessionOutput::Event(session::SessionEvent::Publish(request)) => session.accept(request),
                session::SessionOutput::Event(session::SessionEvent::Media(message)) => tally.count(&message.payload),
                session::SessionOutput::Event(_) => {}
                session::SessionOutput::Wait(_) => break,
                session::SessionOutput::Closed(close) => panic!("anabranch closed: {close:?}"),
            }
        }
        let answers = session.outbound();
        answers.advance(answers.remaining());
    }
}

struct Rml {
    handshake: Option<Handshake>,
    session: rml_rtmp::sessions::ServerSession,
}

impl Rml {
    fn new() -> Self {
        let (session, _) = rml_rtmp::sessions::ServerSession::new(ServerSessionConfig::new()).expect("rml_rtmp begins");
        Rml { handshake: Some(Handshake::new(PeerType::Server)), session }
    }

    fn handle_input(&mut self, bytes: &[u8], tally: &mut Tally) {
        for result in self.session.handle_input(bytes).expect("rml_rtmp reads on") {
            let ServerSessionResult::RaisedEvent(event) = result else {
                continue;
            };
            match event {
                ServerSessionEvent::ConnectionRequested { request_id, .. }
                | ServerSessionEvent::PublishStreamRequested { request_id, .. } => {
                    self.session.accept_request(request_id).expect("rml_rtmp grants it");
                }
                ServerSessionEvent::AudioDataReceived { data, .. }
                | ServerSessionEvent::VideoDataReceived { data, .. } => tally.count(&data),
                _ => {}
            }
        }
    }
}

impl Session for Rml {
    fn read(&mut self, bytes: &[u8], tally: &mut Tally) {
        let Some(handshake) = &mut self.handshake else {
            return self.handle_input(bytes, tally);
        };
        let result = handshake.process_bytes(bytes).expect("rml_rtmp shakes hands");
        if let HandshakeProcessResult::Completed { remaining_bytes, .. } = result {
            self.handshake = None;
            self.handle_input(&remaining_bytes, tally);
        }
    }
}

impl Session for rtmp_runtime::server::ServerSession {
    fn read(&mut self, bytes: &[u8], tally: &mut Tally) {
        let (_answers, events) = self.handle_data(bytes).expect("rtmp-runtime reads on");
        for event in events {
            // Media comes as a tag of an FLV file: the tag's header, the body, the tag's size; before the first the
            // file's header.
            if let ServerEvent::Media { flv } = event {
                let tag = flv.strip_prefix(b"FLV").map_or(&flv[..], |file| &file[10..]);
                tally.count(&tag[11..tag.len() - 4]);
            }
        }
    }
}

impl Session for shiguredo_rtmp::RtmpServerConnection {
    fn read(&mut self, bytes: &[u8], tally: &mut Tally) {
        self.feed_recv_buf(bytes).expect("shiguredo_rtmp reads on");
        while let Some(event) = self.next_event() {
            match event {
                RtmpConnectionEvent::PublishRequested { .. } => self.accept().expect("shiguredo_rtmp grants it"),
                // What it has parsed of a body is not in the data: five bytes of AVC, two of AAC.
                RtmpConnectionEvent::VideoReceived(frame) => {
                    tally.count(&frame.data);
                    tally.bytes += 5;
                }
                RtmpConnectionEvent::AudioReceived(frame) => {
                    tally.count(&frame.data);
                    tally.bytes += 2;
                }
                _ => {}
            }
        }
        self.advance_send_buf(self.send_buf().len());
    }
}
