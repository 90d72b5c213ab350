use anabranch_core::amf::{Limits, Object, Value};
use anabranch_core::chunk::{ChunkLimits, ChunkReader, DEFAULT_CHUNK_SIZE, Leniency, write_message};
use anabranch_core::command::Command;
use anabranch_core::handshake::{self, ClientHandshakeKind, Status};
use anabranch_core::message::{Control, Message, MessageType, UserControl};

/// The protocol side of a client, without decisions: does the handshake, answers pings, acknowledges, cuts messages
/// into chunks and reassembles them.
#[derive(Debug)]
pub struct Peer {
    /// `None` once it is over.
    handshake: Option<handshake::ClientHandshake>,
    reader: ChunkReader,
    out: Vec<u8>,
    chunk_size: u32,
    transaction: f64,
    received: u64,
    /// Bytes received up to the end of each message of the last read.
    ends: Vec<u64>,
    acknowledged: u64,
    window: u64,
}

impl Peer {
    /// A client that has C0 and C1 ready to send.
    pub fn new(seed: [u8; 32], kind: ClientHandshakeKind) -> Self {
        let mut handshake = handshake::ClientHandshake::new(seed, 0, kind);
        let mut out = Vec::new();
        handshake.start(&mut out);
        Peer {
            handshake: Some(handshake),
            reader: ChunkReader::new(ChunkLimits::default(), Leniency::Strict),
            out,
            chunk_size: DEFAULT_CHUNK_SIZE,
            transaction: 0.0,
            received: 0,
            ends: Vec::new(),
            acknowledged: 0,
            window: u64::MAX,
        }
    }

    /// True once messages can be sent.
    pub fn is_ready(&self) -> bool {
        self.handshake.is_none()
    }

    /// Bytes to send.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// True if there are bytes to send.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Takes bytes from the server, cut anywhere; the messages in them.
    ///
    /// # Errors
    /// What the server sent that is not RTMP, as text.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<Vec<Message>, String> {
        self.received += bytes.len() as u64;
        if let Some(handshake) = &mut self.handshake {
            let progress = handshake.read(bytes, &mut self.out).map_err(|error| error.to_string())?;
            bytes = &bytes[progress.consumed..];
            if progress.status == Status::Done {
                self.handshake = None;
            }
        }
        let mut messages = Vec::new();
        self.ends.clear();
        while !bytes.is_empty() {
            let Some(message) = self.reader.read(&mut bytes).map_err(|error| error.to_string())? else {
                break;
            };
            let control = Control::parse(message.type_id, &message.payload).map_err(|error| error.to_string())?;
            match control {
                Some(Control::SetChunkSize(size)) => {
                    self.reader.set_chunk_size(size).map_err(|error| error.to_string())?;
                }
                Some(Control::WindowAckSize(window)) => self.window = u64::from(window),
                Some(Control::User(UserControl::PingRequest(time))) => {
                    self.control(&Control::User(UserControl::PingResponse(time)));
                }
                _ => {}
            }
            self.ends.push(self.received - bytes.len() as u64);
            messages.push(message);
        }
        if self.received - self.acknowledged >= self.window {
            self.acknowledged = self.received;
            self.control(&Control::Acknowledgement(self.received as u32));
        }
        Ok(messages)
    }

    /// How many bytes had arrived at the end of each message of the last read.
    pub(super) fn take_ends(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ends)
    }

    /// Sends a command with the next transaction id, and returns that id.
    pub fn call(&mut self, name: &str, message_stream_id: u32, object: Value, arguments: &[Value]) -> f64 {
        self.transaction += 1.0;
        let command =
            Command { name: name.into(), transaction: self.transaction, object, arguments: arguments.to_vec() };
        self.send(3, 0, MessageType::COMMAND_AMF0, message_stream_id, &command.encode());
        self.transaction
    }

    /// Sends `connect`.
    pub fn connect(&mut self, app: &str) -> f64 {
        self.connect_to("sim.example", app, None)
    }

    /// Sends `connect` with this host in `tcUrl`, and with the page it comes from, if there is one.
    pub fn connect_to(&mut self, host: &str, app: &str, page_url: Option<&str>) -> f64 {
        let mut object = Object::new()
            .with("app", app)
            .with("flashVer", "LNX 9,0,124,2")
            .with("tcUrl", format!("rtmp://{host}/{app}"))
            .with("fpad", false);
        if let Some(page_url) = page_url {
            object = object.with("pageUrl", page_url);
        }
        self.call("connect", 0, Value::Object(object), &[])
    }

    /// Sends a control message.
    pub fn control(&mut self, control: &Control) {
        control.write(self.chunk_size, &mut self.out);
    }

    /// Announces another chunk size and uses it.
    pub fn set_chunk_size(&mut self, size: u32) {
        self.control(&Control::SetChunkSize(size));
        self.chunk_size = size;
    }

    /// Sends any message.
    pub fn send(&mut self, chunk_stream: u8, timestamp: u32, type_id: u8, message_stream_id: u32, body: &[u8]) {
        write_message(&mut self.out, self.chunk_size, chunk_stream, timestamp, type_id, message_stream_id, body);
    }
}

/// The command in a message, if it is one.
pub fn command_in(message: &Message) -> Option<Command> {
    let is_command = matches!(message.type_id, MessageType::COMMAND_AMF0 | MessageType::COMMAND_AMF3);
    is_command.then(|| Command::parse(message.type_id, &message.payload, &Limits::default()).ok()).flatten()
}

/// The status code that a command carries: that of `onStatus`, and of a refusal.
pub fn status_code(command: &Command) -> Option<&str> {
    let information = command.arguments.first()?.as_object()?;
    information.get("code")?.as_str()
}
