//! Bodies of messages that are no media.

use anabranch_core::amf::Limits;
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::command::{Command, ConnectInfo, FourCcSupport, Request};
use anabranch_core::message::data::{self, DataLimits, PublisherData};
use anabranch_core::message::{Control, MessageType, SharedObject};

use crate::cuts::take_byte;

/// A byte for the type, then the body.
pub fn command(mut input: &[u8]) {
    let type_id = if take_byte(&mut input) % 4 == 3 { MessageType::COMMAND_AMF3 } else { MessageType::COMMAND_AMF0 };
    let limits = Limits::default();
    let Ok(command) = Command::parse(type_id, input, &limits) else {
        return;
    };
    let body = command.encode();
    // A likeness of AMF 3 may be larger than what it is of.
    let limits = Limits { depth: 128, values: 1 << 20, bytes: 1 << 24 };
    let again = Command::parse(MessageType::COMMAND_AMF0, &body, &limits).expect("what we write can be read");
    assert_eq!(again.encode(), body, "reading and writing change nothing");

    let request = Request::from_command(&command);
    // Not comparable where a number is none.
    assert_eq!(format!("{:?}", Request::from_command(&again)), format!("{request:?}"));
    let names = match &request {
        Request::Connect(info) => {
            check_connect(info);
            [&info.app, &info.tc_url, &info.swf_url].into_iter().flatten().cloned().collect()
        }
        Request::ReleaseStream(name) | Request::FcPublish(name) | Request::Publish { name, .. } => vec![name.clone()],
        Request::Play(arguments) => vec![arguments.name.clone()],
        _ => Vec::new(),
    };
    for name in names {
        assert!(name.len() <= 3 * input.len(), "a byte becomes three at most");
    }
}

fn check_connect(info: &ConnectInfo) {
    for support in [&info.capabilities.video, &info.capabilities.audio] {
        if let FourCcSupport::List(list) = support {
            assert!(list.len() <= 32);
        }
    }
}

/// A byte for the type, then the body.
pub fn any(mut input: &[u8]) {
    let type_id = take_byte(&mut input) % 23;
    check_control(type_id, input);
    check_data(type_id, input);
    if let Ok(object) = SharedObject::parse(input) {
        let data: usize = object.events.iter().map(|event| 5 + event.data.len()).sum();
        assert!(object.name.len() + data + 14 <= input.len(), "nothing is read twice");
        assert!(object.events.len() <= SharedObject::MAX_EVENTS);
    }
}

fn check_control(type_id: u8, body: &[u8]) {
    let Ok(Some(control)) = Control::parse(type_id, body) else {
        return;
    };
    for chunk_size in [1, 128, 60_000] {
        let mut out = Vec::new();
        control.write(chunk_size, &mut out);
        let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
        reader.set_chunk_size(chunk_size).expect("not zero");
        let mut rest = &out[..];
        let message = reader.read(&mut rest).expect("our own chunks are legal").expect("a whole message");
        assert!(rest.is_empty());
        assert_eq!((message.type_id, message.message_stream_id, message.chunk_stream), (type_id, 0, 2));
        assert_eq!(Control::parse(type_id, &message.payload), Ok(Some(control.clone())));
    }
}

fn check_data(type_id: u8, body: &[u8]) {
    for metadata in [64, 1 << 20] {
        check_data_within(type_id, body, &DataLimits { metadata, other: 1 << 20, amf: Limits::default() });
    }
}

fn check_data_within(type_id: u8, body: &[u8], limits: &DataLimits) {
    match data::from_publisher(type_id, body, limits) {
        PublisherData::Metadata { body: fit, .. } => {
            assert!(fit.len() <= limits.metadata, "{} bytes of {}", fit.len(), limits.metadata);
            let again = data::from_publisher(MessageType::DATA_AMF0, &fit, limits);
            let whole = PublisherData::Metadata { body: fit, shortened: false };
            assert_eq!(again, whole, "what is fit stays as it is");
        }
        PublisherData::Other(other) => {
            let again = data::from_publisher(MessageType::DATA_AMF0, &other, limits);
            // What followed @setDataFrame may be called like it once more.
            assert_ne!(again, PublisherData::Unreadable);
        }
        PublisherData::ClearMetadata | PublisherData::Unreadable => {}
    }
}
