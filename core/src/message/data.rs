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
    // Collected at once: inserting one after the other would compare each of thousands of names with all before it.
    let entries = object.iter().filter(|(key, _)| key.as_bytes().len() <= MAX_KEY);
    entries.filter_map(|(key, value)| Some((key, mended_value(value)?))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn body(values: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        for value in values {
            amf0::encode(value, &mut out);
        }
        out
    }

    fn read(type_id: u8, body: &[u8]) -> PublisherData {
        from_publisher(type_id, body, &Limits::default())
    }

    fn metadata_of(object: Object) -> Vec<u8> {
        body(&["onMetaData".into(), Value::EcmaArray(object)])
    }

    /// What a player would make of the metadata that is passed on.
    fn mended_value_of(body: &[u8]) -> Value {
        let PublisherData::Metadata(mended) = read(18, body) else { panic!("metadata") };
        let values = amf0::decode_all(&mended, &Limits::default()).expect("fit for players");
        assert_eq!(values[0], "onMetaData".into());
        values[1].clone()
    }

    #[test]
    fn fit_metadata_stays_as_it_is_to_the_byte() {
        let object = Object::default()
            .with("width", 64.0)
            .with("nested", Value::Object(Object::default().with("list", Value::StrictArray(vec![1.0.into()]))))
            .with("when", Value::Date { ms: 5.0, time_zone: 60 });
        let plain = metadata_of(object);
        let set = [body(&["@setDataFrame".into()]), plain.clone()].concat();
        let with_selector = [&[0], &plain[..]].concat();
        for (type_id, body) in [(18, &plain), (18, &set), (15, &plain), (15, &with_selector)] {
            assert_eq!(read(type_id, body), PublisherData::Metadata(plain.clone()), "type {type_id}");
        }
    }

    #[test]
    fn what_breaks_players_is_left_out_and_the_rest_stays() {
        let long_key = "k".repeat(MAX_KEY + 1);
        let inner = Object::default().with("bad", Value::Undefined).with("good", true);
        let object = Object::default()
            .with("undefined", Value::Undefined)
            .with(long_key.as_str(), 1.0)
            .with("k".repeat(MAX_KEY).as_str(), 2.0)
            .with("inner", Value::Object(inner))
            .with("list", Value::StrictArray(vec![Value::Undefined, 3.0.into()]));
        let expected = Object::default()
            .with("k".repeat(MAX_KEY).as_str(), 2.0)
            .with("inner", Value::Object(Object::default().with("good", true)))
            .with("list", Value::StrictArray(vec![3.0.into()]));
        assert_eq!(mended_value_of(&metadata_of(object)), Value::EcmaArray(expected));
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // the time it takes is what is tested
    fn many_names_take_no_longer_than_their_bytes() {
        const NAMES: usize = 60_000;
        let entries = (0..NAMES).map(|index| (index.to_string(), Value::Null));
        let object: Object = entries.chain([("bad".to_owned(), Value::Undefined)]).collect();
        let before = std::time::Instant::now();
        let mended = mended(&object);
        let took = before.elapsed();
        assert_eq!(mended.len(), NAMES);
        assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn a_missing_end_marker_is_put_back() {
        let whole = metadata_of(Object::default().with("width", 64.0));
        let expected = Value::EcmaArray(Object::default().with("width", 64.0));
        assert_eq!(mended_value_of(&whole[..whole.len() - 3]), expected);
    }

    #[test]
    fn metadata_that_is_no_object_is_unreadable_only_if_it_breaks_players() {
        assert_eq!(read(18, &body(&["onMetaData".into()])), PublisherData::Metadata(body(&["onMetaData".into()])));
        assert_eq!(read(18, &body(&["onMetaData".into(), Value::Undefined])), PublisherData::Unreadable);
    }

    #[test]
    fn other_handlers_pass_and_long_names_do_not() {
        let longest = body(&["h".repeat(MAX_HANDLER_NAME).as_str().into(), Value::Null]);
        assert_eq!(read(18, &longest), PublisherData::Other(longest.clone()));
        let longer = body(&["h".repeat(MAX_HANDLER_NAME + 1).as_str().into(), Value::Null]);
        assert_eq!(read(18, &longer), PublisherData::Unreadable);
        let wrapped = [body(&["@setDataFrame".into()]), longest.clone()].concat();
        assert_eq!(read(18, &wrapped), PublisherData::Other(longest));
    }

    #[test]
    fn withdrawal_is_told_apart() {
        assert_eq!(read(18, &body(&["@clearDataFrame".into(), "onMetaData".into()])), PublisherData::ClearMetadata);
    }

    #[test]
    fn bodies_that_are_not_amf_are_unreadable() {
        // A timecode sample of FFmpeg, an empty body, a number in front, a value that is cut off, nothing in a frame.
        let cut = [body(&["onCuePoint".into()]), vec![0, 1, 2]].concat();
        for body in [&[0, 0, 3, 0xe8][..], &[], &body(&[1.0.into()]), &cut, &body(&["@setDataFrame".into()])] {
            assert_eq!(read(18, body), PublisherData::Unreadable, "{body:02x?}");
        }
    }
}
