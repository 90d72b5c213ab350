//! Messages of a client after its handshake: valid and invalid ones in any order.

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::command::Command;
use proptest::prelude::*;

use crate::support::chunk_writer::{ChunkWriter, Outgoing, Style, control};

/// One message of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Command {
        /// Type 17 with its selector byte, or type 20.
        amf3: bool,
        message_stream_id: u32,
        name: &'static str,
        /// The client wants an answer.
        answered: bool,
        arguments: Vec<Value>,
    },
    /// Any other message but Set Chunk Size and Abort.
    Message(Outgoing),
    SetChunkSize(u32),
}

/// A chunk stream that no message here uses. With it there are as many as a client may use before `connect`.
pub(crate) const UNUSED_CHUNK_STREAM: u32 = 9;

/// The transaction id of the message at `index`, if it wants an answer.
pub(crate) fn transaction(index: usize) -> f64 {
    2.0 + index as f64
}

impl Said {
    /// This message at `index` of a conversation; `None` for a new chunk size, which the writer must write.
    pub(crate) fn message(&self, index: usize) -> Option<Outgoing> {
        match self {
            Said::Command { amf3, message_stream_id, name, answered, arguments } => {
                let transaction = if *answered { transaction(index) } else { 0.0 };
                // `connect` has its arguments in the command object.
                let (object, arguments) = match arguments.split_first() {
                    Some((object, rest)) if *name == "connect" => (object.clone(), rest.to_vec()),
                    _ => (Value::Null, arguments.clone()),
                };
                let command = Command { name: (*name).into(), transaction, object, arguments };
                let mut body = if *amf3 { vec![0] } else { Vec::new() };
                body.extend(command.encode());
                let type_id = if *amf3 { 17 } else { 20 };
                Some(Outgoing { chunk_stream: 3, timestamp: 0, type_id, message_stream_id: *message_stream_id, body })
            }
            Said::Message(message) => Some(message.clone()),
            Said::SetChunkSize(_) => None,
        }
    }
}

/// The bytes of a conversation: one piece for each message.
pub(crate) fn plainly(said: &[Said]) -> Vec<Vec<u8>> {
    let mut writer = ChunkWriter::new(128);
    let piece = |(index, said): (usize, &Said)| {
        let mut out = Vec::new();
        match (said, said.message(index)) {
            (Said::SetChunkSize(size), _) => writer.set_chunk_size(&mut out, *size),
            (_, message) => writer.write(&mut out, message.expect("all else is a message"), Style::PLAIN),
        }
        out
    };
    said.iter().enumerate().map(piece).collect()
}

/// A conversation that reaches publishing or playing in most cases.
pub(crate) fn conversations() -> impl Strategy<Value = Vec<Said>> {
    let call = |name, arguments| Said::Command { amf3: false, message_stream_id: 0, name, answered: true, arguments };
    let connect = call("connect", vec![application("live")]);
    let opening = prop_oneof![
        6 => Just(vec![connect.clone(), call("createStream", vec![])]),
        3 => Just(vec![connect.clone(), call("createStream", vec![]), publish(1, "cam")]),
        2 => Just(vec![connect.clone(), call("createStream", vec![]), play(1, "cam")]),
        2 => Just(vec![connect]),
        1 => Just(vec![]),
    ];
    (opening, prop::collection::vec(said(), 1..40)).prop_map(|(opening, rest)| [opening, rest].concat())
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        10 => commands(),
        8 => media().prop_map(Said::Message),
        3 => data().prop_map(Said::Message),
        4 => controls().prop_map(Said::Message),
        1 => aggregates().prop_map(Said::Message),
        1 => noise().prop_map(Said::Message),
        2 => prop::sample::select(vec![1u32, 7, 64, 128, 4096, 0x7fff_ffff]).prop_map(Said::SetChunkSize),
    ]
}

fn application(name: &str) -> Value {
    Value::Object(Object::default().with("app", name).with("tcUrl", "rtmp://host/live"))
}

fn publish(message_stream_id: u32, name: &str) -> Said {
    let arguments = vec![name.into(), "live".into()];
    Said::Command { amf3: false, message_stream_id, name: "publish", answered: true, arguments }
}

fn play(message_stream_id: u32, name: &str) -> Said {
    Said::Command { amf3: false, message_stream_id, name: "play", answered: true, arguments: vec![name.into()] }
}

fn stream_ids() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0u32, 1, 1, 1, 2, 7])
}

fn commands() -> impl Strategy<Value = Said> {
    let names = prop::sample::select(vec![
        ("connect", 1),
        ("createStream", 0),
        ("createStream", 0),
        ("releaseStream", 2),
        ("FCPublish", 2),
        ("FCUnpublish", 2),
        ("publish", 2),
        ("publish", 2),
        ("publish", 2),
        ("play", 2),
        ("play", 2),
        ("play2", 5),
        ("deleteStream", 3),
        ("closeStream", 0),
        ("receiveAudio", 4),
        ("receiveVideo", 4),
        ("pause", 4),
        ("pauseRaw", 4),
        ("seek", 3),
        ("FCSubscribe", 2),
        ("FCUnsubscribe", 2),
        ("getStreamLength", 2),
        ("_checkbw", 0),
        ("set_playlist", 0),
        ("_result", 5),
        ("onStatus", 5),
        ("somethingElse", 2),
    ]);
    (names, stream_ids(), prop::bool::weighted(0.8), prop::bool::weighted(0.1)).prop_flat_map(
        |((name, kind), message_stream_id, answered, amf3)| {
            let fitting = match kind {
                0 => Just(vec![]).boxed(),
                1 => Just(vec![application("live")]).boxed(),
                2 => texts().prop_map(|text| vec![text.into()]).boxed(),
                3 => prop::sample::select(vec![0.0, 1.0, 1.0, 2.0, 9.0]).prop_map(|id: f64| vec![id.into()]).boxed(),
                4 => any::<bool>().prop_map(|on| vec![Value::Boolean(on)]).boxed(),
                _ => values().prop_map(|value| vec![value]).boxed(),
            };
            prop_oneof![5 => fitting, 1 => prop::collection::vec(values(), 0..4)]
                .prop_map(move |arguments| Said::Command { amf3, message_stream_id, name, answered, arguments })
        },
    )
}

fn texts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["cam", "cam", "door", "door?token=1", ""])
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        texts().prop_map(Value::from),
        prop::sample::select(vec![0.0, 1.0, -1.0, 1e10, f64::NAN]).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        Just(Value::Null),
        texts().prop_map(|text| Value::Object(Object::default().with("streamName", text))),
    ]
}

fn message(chunk_stream: u32, type_id: u8, timestamp: u32, message_stream_id: u32, body: Vec<u8>) -> Outgoing {
    Outgoing { chunk_stream, timestamp, type_id, message_stream_id, body }
}

/// Audio and video, some on an unexpected message stream, some too large for one chunk.
fn media() -> impl Strategy<Value = Outgoing> {
    let body = prop::sample::select(vec![
        (9, vec![0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff]),
        (9, [&[0x17, 1, 0, 0, 0][..], &[0xc3; 700]].concat()),
        (9, [&[0x27, 1, 0, 0, 0][..], &[7; 300]].concat()),
        (8, vec![0xaf, 0, 0x12, 0x10]),
        (8, [&[0xaf, 1][..], &[1; 140]].concat()),
        (8, vec![0xaf, 1, 0]),
        (9, vec![0x17]),
        (8, vec![]),
    ]);
    let time = prop_oneof![4 => 0u32..2_000, 1 => Just(0xff_ffff), 1 => any::<u32>()];
    (body, time, stream_ids(), prop::sample::select(vec![0u32, 64])).prop_map(
        |((type_id, body), time, message_stream_id, further)| {
            let chunk_stream = if type_id == 8 { 4 } else { 6 };
            message(chunk_stream + further, type_id, time, message_stream_id, body)
        },
    )
}

fn data() -> impl Strategy<Value = Outgoing> {
    let encode = |values: &[Value]| {
        let mut body = Vec::new();
        values.iter().for_each(|value| amf0::encode(value, &mut body));
        body
    };
    let metadata = Value::EcmaArray(Object::default().with("width", 64.0));
    let set = encode(&["@setDataFrame".into(), "onMetaData".into(), metadata.clone()]);
    let bodies = vec![
        (18, encode(&["onMetaData".into(), metadata.clone()])),
        (15, [&[0][..], &set].concat()),
        (18, set),
        (18, encode(&["@clearDataFrame".into(), "onMetaData".into()])),
        (18, encode(&["onTextData".into(), metadata])),
        (18, vec![2, 0, 9, 1]),
        (18, vec![]),
    ];
    (prop::sample::select(bodies), stream_ids())
        .prop_map(|((type_id, body), message_stream_id)| message(5, type_id, 0, message_stream_id, body))
}

fn controls() -> impl Strategy<Value = Outgoing> {
    let word = prop::sample::select(vec![0u32, 1, 5_000, 100_000, u32::MAX]);
    let event = |kind: u16, words: usize| [&kind.to_be_bytes()[..], &vec![0; 4 * words]].concat();
    prop_oneof![
        4 => (prop::sample::select(vec![3u8, 5, 5]), word.clone()).prop_map(|(type_id, word)| control(type_id, word)),
        2 => word.prop_map(|word| Outgoing { body: [&word.to_be_bytes()[..], &[2]].concat(), ..control(6, 0) }),
        6 => prop::sample::select(vec![event(6, 1), event(7, 1), event(3, 2), event(0, 1), event(99, 0), event(6, 0)])
            .prop_map(|body| Outgoing { body, ..control(4, 0) }),
        // An Abort without a message in progress has no effect; the others end the connection.
        2 => Just(control(2, 40)),
        1 => prop::sample::select(vec![control(1, 0), Outgoing { body: vec![0; 3], ..control(5, 0) }]),
    ]
}

/// Type 22: a video frame, metadata and a command in one aggregate, and a damaged one.
fn aggregates() -> impl Strategy<Value = Outgoing> {
    let part = |type_id: u8, time: u8, body: &[u8]| {
        let head = [type_id, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0];
        [&head[..], body, &[0, 0, 0, 11 + body.len() as u8]].concat()
    };
    let whole = [part(9, 10, &[0x17, 1, 0, 0, 0, 5]), part(8, 12, &[0xaf, 1, 6]), part(20, 12, &[1])].concat();
    let cut = whole[..whole.len() - 20].to_vec();
    let nested = [part(22, 0, &[1]), part(18, 0, b"\x02\x00\x01a"), part(9, 9, &[0x27, 1, 0, 0, 0, 5])].concat();
    (prop::sample::select(vec![whole, cut, nested]), stream_ids())
        .prop_map(|(body, message_stream_id)| message(6, 22, 1_000, message_stream_id, body))
}

fn noise() -> impl Strategy<Value = Outgoing> {
    let type_id = prop::sample::select(vec![0u8, 7, 16, 17, 18, 19, 20, 21, 255]);
    let body = prop_oneof![6 => prop::collection::vec(any::<u8>(), 0..60), 1 => Just(vec![0; 1_500])];
    (type_id, stream_ids(), body)
        .prop_map(|(type_id, message_stream_id, body)| message(5, type_id, 0, message_stream_id, body))
}
