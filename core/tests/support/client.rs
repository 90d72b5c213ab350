//! A scripted client: sends the messages of a test to a [`Conn`], and decodes the server's output.

use std::time::Instant;

use anabranch_core::amf::{Limits, Object, Value};
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency, write_message};
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, Conn, Core, Output, Report};
use anabranch_core::message::{Control, Message, MessageType};
use bytes::Buf;

/// One end of a connection.
pub(crate) struct Client {
    pub(crate) conn: Conn,
    pub(crate) actions: Vec<Action>,
    pub(crate) report: Option<Report>,
    /// Messages of the server that the test has not taken yet, except those that only concern chunks.
    pub(crate) messages: Vec<Message>,
    /// Bytes in either direction.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    reader: ChunkReader,
    /// Bytes of S0 S1 S2 that are not received yet.
    handshake: usize,
}

#[allow(dead_code)] // each test uses a part of it
impl Client {
    /// A client after its handshake.
    pub(crate) fn new(server: &Core, now: Instant) -> Self {
        Client::on(server.connect(now), now)
    }

    /// The same on this connection.
    pub(crate) fn on(conn: Conn, now: Instant) -> Self {
        let limits = ChunkLimits { eager: 64 << 10, ..ChunkLimits::default() };
        let mut client = Client {
            conn,
            actions: Vec::new(),
            report: None,
            messages: Vec::new(),
            sent: 0,
            received: 0,
            reader: ChunkReader::new(limits, Leniency::Lenient),
            handshake: 3073,
        };
        let mut hello = vec![3];
        hello.resize(1537 + 1536, 0);
        client.send(now, &hello);
        client
    }

    /// A client whose `connect` is accepted.
    pub(crate) fn connected(server: &Core, now: Instant) -> Self {
        let mut client = Client::new(server, now);
        client.connect(now);
        assert_eq!(client.take_commands()[0].name, "_result");
        client
    }

    /// Sends `connect`.
    pub(crate) fn connect(&mut self, now: Instant) {
        let app = Object::default().with("app", "live").with("tcUrl", "rtmp://host/live");
        self.call(now, 0, &Command::new("connect", 1.0, Value::Object(app)));
    }

    pub(crate) fn send(&mut self, now: Instant, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        self.conn.handle_input(now, bytes);
        self.serve(now);
    }

    /// Sends one message in chunks of 128 bytes.
    pub(crate) fn message(&mut self, now: Instant, type_id: u8, message_stream_id: u32, timestamp: u32, body: &[u8]) {
        let mut out = Vec::new();
        let chunk_stream = if type_id == MessageType::VIDEO { 6 } else { 4 };
        write_message(&mut out, 128, chunk_stream, timestamp, type_id, message_stream_id, body);
        self.send(now, &out);
    }

    /// Sends a command of type 20.
    pub(crate) fn call(&mut self, now: Instant, message_stream_id: u32, command: &Command) {
        self.message(now, MessageType::COMMAND_AMF0, message_stream_id, 0, &command.encode());
    }

    /// Polls the connection and decodes its output.
    pub(crate) fn serve(&mut self, now: Instant) {
        while self.report.is_none() {
            match self.conn.poll(now) {
                Output::Action(action) => self.actions.push(action),
                Output::Wait(wait) if !wait.write => return,
                Output::Wait(_) => self.receive(),
                Output::Closed(report) => self.report = Some(report),
            }
        }
    }

    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        let commands = std::mem::take(&mut self.messages).into_iter();
        commands
            .filter(|message| message.type_id == MessageType::COMMAND_AMF0)
            .map(|message| {
                Command::parse(message.type_id, &message.payload, &Limits::default())
                    .expect("the server's AMF is whole")
            })
            .collect()
    }

    /// The server's commands since the last call, one word each: the name, or the code in its information object.
    pub(crate) fn take_words(&mut self) -> Vec<String> {
        let word = |command: Command| {
            let information = command.arguments.first().and_then(Value::as_object);
            let code = information.and_then(|information| information.get("code")).and_then(Value::as_str);
            match code {
                Some(code) if command.name == *"onStatus" => code.to_owned(),
                _ => command.name.to_string_lossy().into_owned(),
            }
        };
        self.take_commands().into_iter().map(word).collect()
    }

    fn receive(&mut self) {
        let outbound = self.conn.outbound();
        while outbound.has_remaining() {
            let length = outbound.chunk().len();
            self.received += length as u64;
            let skip = self.handshake.min(length);
            self.handshake -= skip;
            let mut bytes = &outbound.chunk()[skip..];
            while let Some(message) = self.reader.read(&mut bytes).expect("the server's chunks are legal") {
                match Control::parse(message.type_id, &message.payload).expect("control messages are whole") {
                    Some(Control::SetChunkSize(size)) => self.reader.set_chunk_size(size).expect("a legal size"),
                    _ => self.messages.push(message),
                }
            }
            outbound.advance(length);
        }
    }
}
