use anabranch_core::amf::{Limits, Value, amf0};
use anabranch_core::message::{Control, Message, MessageType};

use crate::sim::command_in;

/// A message in one line: control messages as Rust shows them; commands as `chunk stream/message stream name
/// transaction` and their status code or value; media with message stream, time, and last byte.
pub(super) fn line(message: &Message) -> String {
    let Message { chunk_stream, timestamp, type_id, message_stream_id, payload } = message;
    if let Ok(Some(control)) = Control::parse(*type_id, payload) {
        assert_eq!((*chunk_stream, *message_stream_id), (2, 0), "the place of control messages");
        return match control {
            Control::User(event) => format!("{event:?}"),
            other => format!("{other:?}"),
        };
    }
    if let Some(command) = command_in(message) {
        let value = match command.arguments.as_slice() {
            [Value::Object(object), ..] => match object.get("code").and_then(Value::as_str) {
                Some(code) => format!(" {code}"),
                None => " {}".to_owned(),
            },
            [Value::Number(number), ..] => format!(" {number}"),
            [other, ..] => format!(" {other:?}"),
            [] => String::new(),
        };
        let name = command.name.to_string_lossy();
        return format!("{chunk_stream}/{message_stream_id} {name} {}{value}", command.transaction);
    }
    if *type_id == MessageType::DATA_AMF0 {
        let values = amf0::decode_all(payload, &Limits::default()).unwrap_or_default();
        let name = values.first().and_then(Value::as_str).unwrap_or("?");
        return format!("data {name} on {message_stream_id} at {timestamp}");
    }
    let medium = match *type_id {
        MessageType::AUDIO => "audio",
        MessageType::VIDEO => "video",
        other => return format!("type {other} on {message_stream_id} at {timestamp}"),
    };
    let kind = match payload.get(..2) {
        Some([0x17 | 0xaf, 0]) => "header",
        Some([0x17, 1]) => "key",
        _ => "frame",
    };
    let last = payload.last().map_or("none".to_owned(), u8::to_string);
    format!("{medium} {kind} {last} on {message_stream_id} at {timestamp}")
}

/// The status codes in lines of text.
pub(crate) fn codes(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split(' ').find(|word| word.starts_with("Net"))).collect()
}

/// Whether a line has these words in it.
pub(crate) fn has_line(lines: &[String], words: &str) -> bool {
    lines.iter().any(|line| line.contains(words))
}
