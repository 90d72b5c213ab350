//! Data messages: what a publisher may send and what players can be given (RTMP 1.0 §7.1.2).
//!
//! FFmpeg as a player ends with "Invalid data" at a data message that does not start with a String, has a handler name
//! over 63 bytes, or carries `onMetaData` with Undefined in it, very long keys or no end marker. FFmpeg as a publisher
//! sends such bodies when its input has a timecode track. So data is read before it is relayed.

use crate::amf::{AmfString, Limits, Object, Value, amf0};
use crate::message::strip_amf3_selector;

/// Longest handler name that FFmpeg players survive, in bytes.
pub const MAX_HANDLER_NAME: usize = 63;

/// Longest property name in metadata that FFmpeg players survive, with some reserve, in bytes.
pub const MAX_KEY: usize = 120;

/// What to do with a data message of a publisher.
#[derive(Debug, Clone, PartialEq)]
pub enum PublisherData {
    /// The stream's metadata: the body of an AMF0 data message, `onMetaData` and its value. Kept for players to come.
    Metadata(Vec<u8>),
    /// `@clearDataFrame`: metadata kept so far is void.
    ClearMetadata,
    /// Anything else that players can read: the body of an AMF0 data message, as it came. Relayed, not kept.
    Other(Vec<u8>),
    /// Nothing that a player can be given.
    Unreadable,
}

/// Reads a message of type 18 or 15 that a publisher sent.
///
/// `@setDataFrame` is stripped and an AMF3 format byte too; bodies that are fit for players stay as they are to the
/// byte. Metadata that would break a player is encoded anew without what breaks it.
pub fn from_publisher(type_id: u8, body: &[u8], limits: &Limits) -> PublisherData {
    let mut body = strip_amf3_selector(type_id, body);
    let Some((mut name, mut rest)) = split_name(body, limits) else {
        return PublisherData::Unreadable;
    };
    if name.as_bytes() == b"@setDataFrame" {
        body = rest;
        match split_name(body, limits) {
            Some(inner) => (name, rest) = inner,
            None => return PublisherData::Unreadable,
        }
    }
    match name.as_bytes() {
        b"@clearDataFrame" => PublisherData::ClearMetadata,
        b"onMetaData" => metadata(body, rest, limits),
        name if name.len() > MAX_HANDLER_NAME => PublisherData::Unreadable,
        _ => match amf0::decode_all(rest, limits) {
            Ok(_) => PublisherData::Other(body.to_vec()),
            Err(_) => PublisherData::Unreadable,
        },
    }
}

/// The handler name at the front of a data message, and what follows it.
fn split_name<'a>(body: &'a [u8], limits: &Limits) -> Option<(AmfString, &'a [u8])> {
    let mut decoder = amf0::Decoder::new(body, limits);
    match decoder.decode() {
        Ok(Some(Value::String(name))) => Some((name, decoder.remaining())),
        _ => None,
    }
}

fn metadata(body: &[u8], rest: &[u8], limits: &Limits) -> PublisherData {
    if let Ok(values) = amf0::decode_all(rest, limits)
        && values.iter().all(is_fit)
    {
        return PublisherData::Metadata(body.to_vec());
    }
    let mut decoder = amf0::Decoder::new(rest, limits).lenient_end(true);
    let object = match decoder.decode() {
        Ok(Some(value)) => value.as_object().map(mended),
        _ => None,
    };
    let Some(object) = object else {
        return PublisherData::Unreadable;
    };
    let mut out = Vec::with_capacity(rest.len() + 16);
    amf0::encode(&Value::from("onMetaData"), &mut out);
    amf0::encode(&Value::EcmaArray(object), &mut out);
    PublisherData::Metadata(out)
}

fn is_fit(value: &Value) -> bool {
    match value {
        Value::Number(_) | Value::Boolean(_) | Value::String(_) | Value::Null | Value::Date { .. } => true,
        Value::Object(object) | Value::EcmaArray(object) => {
            object.iter().all(|(key, value)| key.as_bytes().len() <= MAX_KEY && is_fit(value))
        }
        Value::StrictArray(values) => values.iter().all(is_fit),
        _ => false,
    }
}

fn mended(object: &Object) -> Object {
    let mut mended_object = Object::default();
    for (key, value) in object {
        if key.as_bytes().len() > MAX_KEY {
            continue;
        }
        if let Some(value) = mended_value(value) {
            mended_object.insert(key.clone(), value);
        }
    }
    mended_object
}

fn mended_value(value: &Value) -> Option<Value> {
    match value {
        Value::Object(object) | Value::TypedObject { object, .. } => Some(Value::Object(mended(object))),
        Value::EcmaArray(object) => Some(Value::EcmaArray(mended(object))),
        Value::StrictArray(values) => Some(Value::StrictArray(values.iter().filter_map(mended_value).collect())),
        fit if is_fit(fit) => Some(fit.clone()),
        _ => None,
    }
}
