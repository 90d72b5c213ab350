use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::command::Command;
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::message::{Control, Message, MessageType, UserControl};

use super::text::line;
use super::{End, TIMEOUT, Wire};
use crate::sim::{Peer, Rng};

/// Pings are numbered from here on, so that they are not taken for a case's own.
const PINGS: u32 = 0x7000_0000;

/// A client past its handshake: messages out, messages in.
#[derive(Debug)]
pub struct ScriptedClient {
    wire: Wire,
    peer: Peer,
    received: VecDeque<Message>,
    pings: u32,
    is_open: bool,
}

impl ScriptedClient {
    /// A client that has shaken hands.
    pub fn open(server: impl Into<SocketAddr>) -> Self {
        ScriptedClient::open_as(server, ClientHandshakeKind::Simple)
    }

    /// A client that has shaken hands in one form or the other.
    pub fn open_as(server: impl Into<SocketAddr>, kind: ClientHandshakeKind) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let seed = Rng::new(CLIENTS.fetch_add(1, Ordering::Relaxed)).seed();
        let mut client = ScriptedClient {
            wire: Wire::dial(server),
            peer: Peer::new(seed, kind),
            received: VecDeque::new(),
            pings: PINGS,
            is_open: true,
        };
        while !client.peer.is_ready() {
            client.flush();
            let answer = client.read(Instant::now() + TIMEOUT);
            assert_eq!(answer, Ok(()), "S0 S1 S2");
        }
        client.flush();
        client
    }

    /// A client whose handshake was done by hand: `answer` is S0 S1 S2.
    pub fn resume(wire: Wire, answer: &[u8]) -> Self {
        let mut peer = Peer::new([0; 32], ClientHandshakeKind::Simple);
        let messages = peer.read(answer).expect("an answer of the server's");
        assert!(peer.is_ready() && messages.is_empty(), "S0 S1 S2 and no more");
        peer.out().clear();
        ScriptedClient { wire, peer, received: VecDeque::new(), pings: PINGS, is_open: true }
    }

    /// A client whose `connect` was accepted.
    pub fn connected(server: impl Into<SocketAddr>) -> Self {
        let mut client = ScriptedClient::open(server);
        client.peer.connect("live");
        client.flush();
        client.receive_until("NetConnection.Connect.Success");
        client
    }

    /// A client that has connected with these properties.
    pub fn connected_with(server: impl Into<SocketAddr>, object: Object) -> Self {
        let mut client = ScriptedClient::open(server);
        client.connect(object);
        client.receive_until("NetConnection.Connect.Success");
        client
    }

    /// A client that publishes on message stream 1.
    pub fn publisher(server: impl Into<SocketAddr>, name: &str) -> Self {
        let mut client = ScriptedClient::connected(server);
        client.create_stream(2.0);
        client.publish(1, name);
        client.receive_until("NetStream.Publish.Start");
        client
    }

    /// A client that plays on message stream 1, and has received all that comes before media.
    pub fn player(server: impl Into<SocketAddr>, name: &str) -> Self {
        let mut client = ScriptedClient::connected(server);
        client.create_stream(2.0);
        client.play(1, name);
        client.receive_until("|RtmpSampleAccess");
        client
    }

    /// The connection below.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// The connection below, without the client.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.peer.out().extend_from_slice(bytes);
        self.flush();
    }

    /// Sends a message.
    pub fn send(&mut self, chunk_stream: u8, timestamp: u32, type_id: u8, message_stream_id: u32, body: &[u8]) {
        self.peer.send(chunk_stream, timestamp, type_id, message_stream_id, body);
        self.flush();
    }

    /// The bytes of a message, unsent.
    pub fn encode(
        &mut self,
        chunk_stream: u8,
        timestamp: u32,
        type_id: u8,
        message_stream_id: u32,
        body: &[u8],
    ) -> Vec<u8> {
        self.peer.send(chunk_stream, timestamp, type_id, message_stream_id, body);
        std::mem::take(self.peer.out())
    }

    /// Sends a control message.
    pub fn control(&mut self, control: &Control) {
        self.peer.control(control);
        self.flush();
    }

    /// Announces another chunk size and uses it.
    pub fn set_chunk_size(&mut self, size: u32) {
        self.peer.set_chunk_size(size);
        self.flush();
    }

    /// Sends a command with a Null object.
    pub fn command(&mut self, name: &str, transaction: f64, message_stream_id: u32, arguments: &[Value]) {
        let mut command = Command::new(name, transaction, Value::Null);
        command.arguments = arguments.to_vec();
        self.send(3, 0, MessageType::COMMAND_AMF0, message_stream_id, &command.encode());
    }

    /// Sends `connect` with transaction 1.
    pub fn connect(&mut self, object: Object) {
        let command = Command::new("connect", 1.0, Value::Object(object));
        self.send(3, 0, MessageType::COMMAND_AMF0, 0, &command.encode());
    }

    /// Sends `createStream`.
    pub fn create_stream(&mut self, transaction: f64) {
        self.command("createStream", transaction, 0, &[]);
    }

    /// Sends `publish` with transaction 5.
    pub fn publish(&mut self, message_stream_id: u32, name: &str) {
        self.command("publish", 5.0, message_stream_id, &[name.into(), "live".into()]);
    }

    /// Sends `play` with transaction 4.
    pub fn play(&mut self, message_stream_id: u32, name: &str) {
        self.command("play", 4.0, message_stream_id, &[name.into(), (-2.0).into()]);
    }

    /// Sends a video message on message stream 1.
    pub fn video(&mut self, timestamp: u32, body: &[u8]) {
        self.send(6, timestamp, MessageType::VIDEO, 1, body);
    }

    /// Sends an audio message on message stream 1.
    pub fn audio(&mut self, timestamp: u32, body: &[u8]) {
        self.send(4, timestamp, MessageType::AUDIO, 1, body);
    }

    /// Sends a data message on message stream 1.
    pub fn data(&mut self, values: &[Value]) {
        let mut body = Vec::new();
        for value in values {
            amf0::encode(value, &mut body);
        }
        self.send(5, 0, MessageType::DATA_AMF0, 1, &body);
    }

    /// The next message.
    pub fn message(&mut self) -> Message {
        match self.message_before(Instant::now() + TIMEOUT) {
            Ok(message) => message,
            Err(end) => panic!("a message was to come, but: {end:?}"),
        }
    }

    /// The next messages, one line each.
    pub fn receive(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            match self.message_before(Instant::now() + TIMEOUT) {
                Ok(message) => lines.push(line(&message)),
                Err(end) => panic!("{count} messages were to come, but: {end:?} after {lines:?}"),
            }
        }
        lines
    }

    /// All messages up to the one whose line has `words` in it.
    pub fn receive_until(&mut self, words: &str) -> Vec<String> {
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = Vec::new();
        loop {
            match self.message_before(deadline) {
                Ok(message) => lines.push(line(&message)),
                Err(end) => panic!("{words:?} was to come, but: {end:?} after {lines:?}"),
            }
            if lines.last().is_some_and(|line| line.contains(words)) {
                return lines;
            }
        }
    }

    /// What had come, or was to come at once, when the server has answered two pings in a row. After the first all that
    /// was sent before has been acted on; before the second what that gave has been queued.
    pub fn receive_pending(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..2 {
            self.pings += 1;
            self.control(&Control::User(UserControl::PingRequest(self.pings)));
            lines.extend(self.receive_until(&format!("PingResponse({})", self.pings)));
            lines.pop();
        }
        lines
    }

    /// Nothing comes.
    pub fn assert_quiet(&mut self) {
        assert_eq!(self.receive_pending(), [""; 0]);
    }

    /// All messages to the end of the connection, and how it ended.
    pub fn receive_until_end(&mut self) -> (Vec<String>, End) {
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = Vec::new();
        loop {
            match self.message_before(deadline) {
                Ok(message) => lines.push(line(&message)),
                Err(end) => return (lines, end),
            }
        }
    }

    /// The connection is closed by the server; what it said before.
    pub fn assert_closed(&mut self) -> Vec<String> {
        let (lines, end) = self.receive_until_end();
        assert_ne!(end, End::Open, "{lines:?}");
        lines
    }

    /// False once the server was found to have hung up.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes what comes within this time, and lets it be.
    pub fn receive_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.message_before(deadline).is_ok() {}
    }

    fn flush(&mut self) {
        let bytes = std::mem::take(self.peer.out());
        self.wire.write(&bytes);
    }

    fn message_before(&mut self, deadline: Instant) -> Result<Message, End> {
        loop {
            if let Some(message) = self.received.pop_front() {
                return Ok(message);
            }
            self.read(deadline)?;
        }
    }

    /// Reads once, and answers what a client answers by itself.
    fn read(&mut self, deadline: Instant) -> Result<(), End> {
        let mut buffer = [0; 16 << 10];
        let count =
            self.wire.read_before(deadline, &mut buffer).inspect_err(|end| self.is_open &= *end == End::Open)?;
        match self.peer.read(&buffer[..count]) {
            Ok(messages) => self.received.extend(messages),
            Err(words) => panic!("the server sends no RTMP: {words}"),
        }
        self.flush();
        Ok(())
    }
}
