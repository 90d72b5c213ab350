//! What clients send first, as bytes in one piece: for many of them at once, and for clients that do not read.

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::{DEFAULT_CHUNK_SIZE, write_message};
use anabranch_core::command::Command;
use anabranch_core::handshake::PACKET_LENGTH;
use anabranch_core::message::MessageType;

/// Length of S0, S1 and S2.
pub const ANSWER_LENGTH: usize = 1 + 2 * PACKET_LENGTH;

/// C0, C1 and something in place of C2, which servers do not look at.
pub fn hello() -> Vec<u8> {
    [&[3][..], &[0; 2 * PACKET_LENGTH]].concat()
}

/// C0 and a C1 that asks for no digest.
pub fn c0_c1() -> Vec<u8> {
    [&[3][..], &[0; PACKET_LENGTH]].concat()
}

/// A command in chunks of 128 bytes on chunk stream 3.
pub fn command(message_stream_id: u32, command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    let chunk_size = DEFAULT_CHUNK_SIZE;
    write_message(&mut bytes, chunk_size, 3, 0, MessageType::COMMAND_AMF0, message_stream_id, &command.encode());
    bytes
}

/// A command with a Null object.
pub fn call(name: &str, transaction: f64, message_stream_id: u32, arguments: &[Value]) -> Vec<u8> {
    command(message_stream_id, &null_command(name, transaction, arguments))
}

/// The body of a command with a Null object.
pub fn body(name: &str, transaction: f64, arguments: &[Value]) -> Vec<u8> {
    null_command(name, transaction, arguments).encode()
}

fn null_command(name: &str, transaction: f64, arguments: &[Value]) -> Command {
    let mut command = Command::new(name, transaction, Value::Null);
    command.arguments = arguments.to_vec();
    command
}

/// `connect` to the application `live`, by this agent.
pub fn connect(agent: &str) -> Vec<u8> {
    let object = Object::new().with("app", "live").with("tcUrl", "rtmp://localhost/live").with("flashVer", agent);
    command(0, &Command::new("connect", 1.0, Value::Object(object)))
}

/// All that a player of `live/NAME` says, handshake included.
pub fn player(name: &str) -> Vec<u8> {
    let create = call("createStream", 2.0, 0, &[]);
    [hello(), connect("anabranch-tests"), create, call("play", 3.0, 1, &[name.into()])].concat()
}
