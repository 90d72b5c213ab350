//! The vectors of the chunk stream, of control and shared object messages, and the recordings of real clients, each by
//! its id.

mod support;

use anabranch_core::amf::Limits;
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::command::Command;
use anabranch_core::message::{Control, ControlError, Message, PeerBandwidthLimit, SharedObject, UserControl};
use serde_json::{Map, Value, json};
use support::fixtures::{self, captures, id, input, vectors};

/// Every kind of vector, how many there are, and the test file that reads them.
const KINDS: [(&str, usize, &str); 18] = [
    ("aggregate", 3, "vectors_flv.rs"),
    ("amf0", 39, "vectors_amf.rs"),
    ("amf3", 38, "vectors_amf.rs"),
    ("audio", 19, "vectors_flv.rs"),
    ("c0c1", 5, "vectors_handshake.rs"),
    ("c2", 1, "vectors_handshake.rs"),
    ("chunks", 29, "vectors_wire.rs"),
    ("cmd17", 3, "vectors_amf.rs"),
    ("ctl1", 4, "vectors_wire.rs"),
    ("ctl2", 1, "vectors_wire.rs"),
    ("ctl3", 1, "vectors_wire.rs"),
    ("ctl4", 12, "vectors_wire.rs"),
    ("ctl5", 1, "vectors_wire.rs"),
    ("ctl6", 3, "vectors_wire.rs"),
    ("s1s2", 1, "vectors_handshake.rs"),
    ("sharedobject", 1, "vectors_wire.rs"),
    ("tcurl", 18, "vectors_url.rs"),
    ("video", 35, "vectors_flv.rs"),
];

/// Reads a whole chunk stream like a session: control messages take effect immediately.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<Message>, String> {
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Lenient);
    let mut messages = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while let Some(message) = reader.read(&mut piece).map_err(|error| error.to_string())? {
            match Control::parse(message.type_id, &message.payload) {
                Ok(Some(Control::SetChunkSize(size))) => {
                    reader.set_chunk_size(size).map_err(|error| error.to_string())?;
                }
                Ok(Some(Control::Abort(chunk_stream))) => reader.abort(chunk_stream),
                _ => {}
            }
            messages.push(message);
        }
    }
    if reader.is_idle() { Ok(messages) } else { Err("the last message is not complete".into()) }
}

fn show(message: &Message) -> Map<String, Value> {
    let fields = json!({
        "csid": message.chunk_stream,
        "timestamp": message.timestamp,
        "type": message.type_id,
        "msid": message.message_stream_id,
        "length": message.payload.len(),
    });
    fields.as_object().expect("an object").clone()
}

#[test]
fn every_chunk_stream_reads_as_it_says() {
    for vector in vectors("chunks") {
        let (id, bytes, expect) = (id(&vector), input(&vector), &vector["expect"]);
        for piece in [bytes.len(), 1, 5] {
            let read = read(&bytes, piece);
            if expect == "error" {
                assert!(read.is_err(), "{id} in pieces of {piece}");
                continue;
            }
            let messages = read.unwrap_or_else(|error| panic!("{id} in pieces of {piece}: {error}"));
            let shown: Vec<Value> = messages.iter().map(|message| Value::Object(show(message))).collect();
            assert_eq!(&Value::Array(shown), expect, "{id} in pieces of {piece}");
        }
    }
}

/// The payloads of split and interleaved vectors count up from 0: no byte of a header may be among them.
#[test]
fn split_payloads_are_put_together_without_a_seam() {
    let counting: Vec<u8> = (0..200).collect();
    for id in ["ck-split128", "ck-interleave", "ck-interleave-ctl", "ck-ext-split"] {
        let vector = vectors("chunks").into_iter().find(|vector| fixtures::id(vector) == id).expect("the vector");
        let messages = read(&input(&vector), 1).expect("legal chunks");
        let long = messages.iter().find(|message| message.payload.len() == 200).expect("the long message");
        assert_eq!(&long.payload[..], &counting[..], "{id}");
    }
}

#[test]
fn every_control_message_reads_as_it_says() {
    for type_id in 1..=6u8 {
        for vector in vectors(&format!("ctl{type_id}")) {
            let (id, body) = (id(&vector), input(&vector));
            let parsed = Control::parse(type_id, &body);
            let expected = expected_control(id, &vector["expect"]);
            assert_eq!(parsed, expected.map(Some), "{id}");
        }
    }
}

fn expected_control(id: &str, expect: &Value) -> Result<Control, ControlError> {
    let word = |field: &str| {
        let number = expect[field].as_u64().unwrap_or_else(|| panic!("{id} has no {field}"));
        u32::try_from(number).expect("32 bits")
    };
    let user = |event| Ok(Control::User(event));
    // Values that the fixture gives in words.
    match id {
        "pc-setchunk-msb" => return Ok(Control::SetChunkSize(4096)),
        "pc-setchunk-0" => return Err(ControlError::ZeroChunkSize),
        "uc-swfreq" => return user(UserControl::SwfVerifyRequest),
        "uc-unknown" => return user(UserControl::Unknown { event: 255, data: vec![1, 2] }),
        "uc-short" => return user(UserControl::Unknown { event: u16::MAX, data: vec![0] }),
        _ => {}
    }
    let fields = expect.as_object().unwrap_or_else(|| panic!("{id} has no expected fields"));
    if fields.contains_key("chunk_size") {
        return Ok(Control::SetChunkSize(word("chunk_size")));
    }
    if fields.contains_key("abort_csid") {
        return Ok(Control::Abort(word("abort_csid")));
    }
    if fields.contains_key("sequence") {
        return Ok(Control::Acknowledgement(word("sequence")));
    }
    if let Some(limit) = fields.get("limit") {
        let limit = match limit.as_str() {
            Some("hard") => PeerBandwidthLimit::Hard,
            Some("soft") => PeerBandwidthLimit::Soft,
            Some("dynamic") => PeerBandwidthLimit::Dynamic,
            other => panic!("{id} expects an unknown limit: {other:?}"),
        };
        return Ok(Control::SetPeerBandwidth { window: word("window"), limit });
    }
    if fields.contains_key("window") {
        return Ok(Control::WindowAckSize(word("window")));
    }
    user(match expect["event"].as_str() {
        Some("StreamBegin") => UserControl::StreamBegin(word("stream")),
        Some("StreamEOF") => UserControl::StreamEof(word("stream")),
        Some("StreamDry") => UserControl::StreamDry(word("stream")),
        Some("SetBufferLength") => {
            UserControl::SetBufferLength { message_stream_id: word("stream"), milliseconds: word("ms") }
        }
        Some("StreamIsRecorded") => UserControl::StreamIsRecorded(word("stream")),
        Some("PingRequest") => UserControl::PingRequest(word("time")),
        Some("PingResponse") => UserControl::PingResponse(word("time")),
        Some("BufferEmpty") => UserControl::BufferEmpty(word("stream")),
        Some("BufferReady") => UserControl::BufferReady(word("stream")),
        other => panic!("{id} expects an unknown event: {other:?}"),
    })
}

#[test]
fn the_largest_chunk_size_means_never_split() {
    let vector = vectors("ctl1").into_iter().find(|vector| id(vector) == "pc-setchunk-max").expect("the vector");
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Lenient);
    let Ok(Some(Control::SetChunkSize(size))) = Control::parse(1, &input(&vector)) else {
        panic!("a chunk size");
    };
    reader.set_chunk_size(size).expect("not zero");
    assert_eq!(vector["expect"]["effective"], reader.chunk_size());
}

#[test]
fn every_shared_object_reads_as_it_says() {
    for vector in vectors("sharedobject") {
        let body = input(&vector);
        let object = SharedObject::parse(&body).unwrap_or_else(|error| panic!("{}: {error}", id(&vector)));
        let events: Vec<Value> = object
            .events
            .iter()
            .map(|event| {
                let name = match event.kind {
                    1 => "Use",
                    other => panic!("no vector has event {other} yet"),
                };
                json!({ "type": event.kind, "name": name, "data": String::from_utf8_lossy(event.data) })
            })
            .collect();
        let shown = json!({
            "name": String::from_utf8_lossy(object.name),
            "version": object.version,
            "persistent": object.persistent,
            "events": events,
        });
        assert_eq!(shown, vector["expect"], "{}", id(&vector));
    }
}

#[test]
fn every_capture_reads_as_it_says() {
    for capture in captures() {
        let (id, bytes) = (id(&capture), input(&capture));
        let expected = capture["expect"].as_array().expect("a list of messages");
        for piece in [bytes.len(), 1, 1460] {
            let messages = read(&bytes, piece).unwrap_or_else(|error| panic!("{id} in pieces of {piece}: {error}"));
            assert_eq!(messages.len(), expected.len(), "{id} in pieces of {piece}");
            for (index, (message, expected)) in messages.iter().zip(expected).enumerate() {
                let mut shown = show(message);
                // The header format belongs to the chunk, not to the message.
                let mut expected = expected.as_object().expect("an object").clone();
                expected.remove("fmt").expect("the format that was seen");
                if matches!(message.type_id, 18 | 20) {
                    let command = Command::parse(message.type_id, &message.payload, &Limits::default())
                        .unwrap_or_else(|error| panic!("{id}, message {index}: {error}"));
                    shown.insert("name".into(), json!(command.name.to_string_lossy()));
                    if message.type_id == 20 {
                        shown.insert("transaction".into(), json!(command.transaction));
                    }
                }
                assert_eq!(shown, expected, "{id}, message {index}, in pieces of {piece}");
            }
        }
    }
}

/// A kind or a vector that is added to the fixture must get a test.
#[test]
fn every_kind_is_read_by_a_test() {
    let root = fixtures::fixtures();
    let all = root["vectors"].as_array().expect("a list of vectors");
    let mut kinds: Vec<&str> = all.iter().map(|vector| vector["kind"].as_str().expect("a kind")).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, KINDS.map(|(kind, ..)| kind));
    for (kind, count, file) in KINDS {
        assert_eq!(vectors(kind).len(), count, "{kind}");
        let source = match file {
            "vectors_amf.rs" => include_str!("vectors_amf.rs"),
            "vectors_flv.rs" => include_str!("vectors_flv.rs"),
            "vectors_handshake.rs" => include_str!("vectors_handshake.rs"),
            "vectors_url.rs" => include_str!("vectors_url.rs"),
            "vectors_wire.rs" => include_str!("vectors_wire.rs"),
            other => panic!("no such test file: {other}"),
        };
        let named = source.contains(&format!("{kind:?}")) || kind.starts_with("ctl");
        assert!(named, "{file} does not name the kind {kind}");
    }
    assert_eq!((all.len(), captures().len()), (214, 9));
}
