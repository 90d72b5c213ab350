//! The peer of a connection, for tests: what clients send, as bytes, and what they receive, as lines of text.

use crate::amf::{Limits, Object, Value, amf0};
use crate::chunk::{ChunkLimits, ChunkReader, Leniency, write_message};
use crate::command::Command;
use crate::message::{Control, Message, MessageType};

/// C0, C1 and C2 of the simple form.
pub(crate) fn handshake() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.resize(1 + 2 * 1536, 0);
    bytes
}

/// A message on the chunk stream that is usual for its type, in chunks of 128 bytes.
pub(crate) fn message(type_id: u8, timestamp: u32, message_stream_id: u32, body: &[u8]) -> Vec<u8> {
    let chunk_stream = match type_id {
        1..=6 => 2,
        MessageType::AUDIO => 4,
        MessageType::VIDEO => 6,
        MessageType::DATA_AMF0 => 5,
        _ => 3,
    };
    let mut out = Vec::new();
    write_message(&mut out, 128, chunk_stream, timestamp, type_id, message_stream_id, body);
    out
}

pub(crate) fn control(control: &Control) -> Vec<u8> {
    let mut out = Vec::new();
    control.write(128, &mut out);
    out
}

/// A command with a Null object.
pub(crate) fn command(name: &str, transaction: f64, message_stream_id: u32, arguments: &[Value]) -> Vec<u8> {
    let mut command = Command::new(name, transaction, Value::Null);
    command.arguments = arguments.to_vec();
    message(MessageType::COMMAND_AMF0, 0, message_stream_id, &command.encode())
}

pub(crate) fn connect() -> Vec<u8> {
    connect_with(Object::default().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live"))
}

pub(crate) fn connect_with(object: Object) -> Vec<u8> {
    let command = Command::new("connect", 1.0, Value::Object(object));
    message(MessageType::COMMAND_AMF0, 0, 0, &command.encode())
}

pub(crate) fn create_stream(transaction: f64) -> Vec<u8> {
    command("createStream", transaction, 0, &[])
}

pub(crate) fn publish(message_stream_id: u32, name: &str) -> Vec<u8> {
    command("publish", 5.0, message_stream_id, &[name.into(), "live".into()])
}

pub(crate) fn play(message_stream_id: u32, name: &str) -> Vec<u8> {
    command("play", 4.0, message_stream_id, &[name.into(), (-2.0).into()])
}

/// A data message of AMF0 values.
pub(crate) fn data(timestamp: u32, message_stream_id: u32, values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in values {
        amf0::encode(value, &mut body);
    }
    message(MessageType::DATA_AMF0, timestamp, message_stream_id, &body)
}

pub(crate) fn metadata(timestamp: u32, message_stream_id: u32) -> Vec<u8> {
    let object = Value::EcmaArray(Object::default().with("width", 64.0));
    data(timestamp, message_stream_id, &["@setDataFrame".into(), "onMetaData".into(), object])
}

/// The bodies of FLV tags that a publisher of H.264 and AAC sends.
pub(crate) const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff];
pub(crate) const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];

pub(crate) fn key_frame(number: u8) -> Vec<u8> {
    vec![0x17, 1, 0, 0, 0, number]
}

pub(crate) fn inter_frame(number: u8) -> Vec<u8> {
    vec![0x27, 1, 0, 0, 0, number]
}

pub(crate) fn audio_frame(number: u8) -> Vec<u8> {
    vec![0xaf, 1, number]
}

pub(crate) fn video(timestamp: u32, body: &[u8]) -> Vec<u8> {
    message(MessageType::VIDEO, timestamp, 1, body)
}

pub(crate) fn audio(timestamp: u32, body: &[u8]) -> Vec<u8> {
    message(MessageType::AUDIO, timestamp, 1, body)
}

/// Reads what a server sends: first S0 S1 S2, then messages.
#[derive(Debug)]
pub(crate) struct ServerOutput {
    handshake_left: usize,
    reader: ChunkReader,
}

impl ServerOutput {
    pub(crate) fn new() -> Self {
        let limits = ChunkLimits::default();
        ServerOutput { handshake_left: 1 + 2 * 1536, reader: ChunkReader::new(limits, Leniency::Strict) }
    }

    /// A reader that is past the handshake.
    pub(crate) fn after_handshake() -> Self {
        ServerOutput { handshake_left: 0, ..ServerOutput::new() }
    }

    pub(crate) fn messages(&mut self, bytes: &[u8]) -> Vec<Message> {
        let skipped = self.handshake_left.min(bytes.len());
        self.handshake_left -= skipped;
        let mut rest = &bytes[skipped..];
        let mut messages = Vec::new();
        while let Some(message) = self.reader.read(&mut rest).expect("the server writes legal chunks") {
            if let Ok(Some(Control::SetChunkSize(size))) = Control::parse(message.type_id, &message.payload) {
                self.reader.set_chunk_size(size).expect("not zero");
            }
            messages.push(message);
        }
        messages
    }

    /// One line for each message.
    pub(crate) fn lines(&mut self, bytes: &[u8]) -> Vec<String> {
        self.messages(bytes).iter().map(line).collect()
    }
}

/// A message in one line: control messages as they are in Rust; commands and data with chunk stream and message
/// stream, `csid/msid name transaction code-or-value`; media with message stream, time, and the last byte.
pub(crate) fn line(message: &Message) -> String {
    let Message { chunk_stream, timestamp, type_id, message_stream_id, payload } = message;
    if let Ok(Some(control)) = Control::parse(*type_id, payload) {
        assert_eq!((*chunk_stream, *message_stream_id), (2, 0), "control messages have their place");
        return match control {
            Control::User(event) => format!("{event:?}"),
            other => format!("{other:?}"),
        };
    }
    match *type_id {
        MessageType::COMMAND_AMF0 => {
            let command = Command::parse(*type_id, payload, &Limits::default()).expect("the server sends AMF");
            let value = match command.arguments.as_slice() {
                [Value::Object(object)] => match object.get("code") {
                    Some(Value::String(code)) => format!(" {}", code.to_string_lossy()),
                    other => format!(" {other:?}"),
                },
                [Value::Number(number)] => format!(" {number}"),
                [] => String::new(),
                other => format!(" {other:?}"),
            };
            let (name, transaction) = (command.name.to_string_lossy(), command.transaction);
            format!("{chunk_stream}/{message_stream_id} {name} {transaction}{value}")
        }
        MessageType::DATA_AMF0 => {
            let values = amf0::decode_all(payload, &Limits::default()).expect("the server sends AMF");
            let name = values.first().and_then(Value::as_str).unwrap_or("?");
            format!("data {name} on {message_stream_id} at {timestamp}")
        }
        _ => {
            let medium = if *type_id == MessageType::AUDIO { "audio" } else { "video" };
            let kind = match payload[..2] {
                [0x17, 0] | [0xaf, 0] => "header",
                [0x17, 1] => "key",
                _ => "frame",
            };
            let number = payload.last().expect("no empty media in these tests");
            format!("{medium} {kind} {number} on {message_stream_id} at {timestamp}")
        }
    }
}
