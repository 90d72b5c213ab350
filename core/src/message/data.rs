//! Data messages: those that a publisher may send and those that players can read (RTMP 1.0 §7.1.2).
//!
//! FFmpeg as a player ends with "Invalid data" at a data message that does not start with a String, has a handler name
//! over 63 bytes, or contains `onMetaData` with an Undefined value, very long keys or no end marker. FFmpeg as a
//! publisher sends such bodies when its input has a timecode track. So the server reads data before it relays it.

use std::fmt;

use crate::amf::amf0::{self, Passed, Walker, marker};
use crate::amf::{AmfString, Limits, Object, Value, until_nul};
use crate::message::strip_amf3_selector;
use crate::shown::Shown;

/// Longest handler name that FFmpeg players can read, in bytes.
pub const MAX_HANDLER_NAME: usize = 63;

/// Longest property name in metadata that FFmpeg players can read, with some reserve, in bytes.
pub const MAX_KEY: usize = 120;

/// Limits on a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataLimits {
    /// Longest metadata, in bytes; the largest properties of longer metadata are left out.
    pub metadata: usize,
    /// Longest other message, in bytes; longer messages are dropped.
    pub other: usize,
    /// Limits for messages that must be decoded to be corrected. The depth limit applies to all messages.
    pub amf: Limits,
}

/// A data message of a publisher, and what to do with it.
#[derive(Clone, PartialEq)]
pub enum PublisherData {
    /// The stream's metadata. It is relayed and kept for later players.
    Metadata {
        /// The body of an AMF0 data message, `onMetaData` and its value.
        body: Vec<u8>,
        /// Whether properties were left out because the metadata is too long.
        shortened: bool,
    },
    /// `@clearDataFrame`: the kept metadata is no longer valid.
    ClearMetadata,
    /// Any other message that players can read: the unchanged body of an AMF0 data message. Relayed, not kept.
    Other(Vec<u8>),
    /// A message that players cannot read.
    Unreadable,
}

impl fmt::Debug for PublisherData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublisherData::Metadata { body, shortened } => {
                f.debug_struct("Metadata").field("body", &Shown(body)).field("shortened", shortened).finish()
            }
            PublisherData::ClearMetadata => f.write_str("ClearMetadata"),
            PublisherData::Other(body) => f.debug_tuple("Other").field(&Shown(body)).finish(),
            PublisherData::Unreadable => f.write_str("Unreadable"),
        }
    }
}

/// Reads a message of type 18 or 15 that a publisher sent.
///
/// Strips `@setDataFrame` and an AMF3 format byte. Bodies that players can read stay unchanged, with any number of
/// values: tools that push FLV files also send an index of all key frames. Metadata that would break a player is
/// encoded again without the values that would break it.
pub fn from_publisher(type_id: u8, body: &[u8], limits: &DataLimits) -> PublisherData {
    let mut body = strip_amf3_selector(type_id, body);
    let Some((mut name, mut rest)) = split_name(body, &limits.amf) else {
        return PublisherData::Unreadable;
    };
    if until_nul(name.as_bytes()) == b"@setDataFrame" {
        body = rest;
        match split_name(body, &limits.amf) {
            Some(inner) => (name, rest) = inner,
            None => return PublisherData::Unreadable,
        }
    }
    let bare = until_nul(name.as_bytes());
    let renamed;
    if bare.len() < name.as_bytes().len() {
        // Players compare the name byte by byte.
        renamed = [headed(bare), rest.to_vec()].concat();
        body = &renamed;
    }
    match bare {
        b"@clearDataFrame" => PublisherData::ClearMetadata,
        b"onMetaData" => metadata(body, rest, limits),
        name if name.len() > MAX_HANDLER_NAME || body.len() > limits.other => PublisherData::Unreadable,
        _ => match is_readable(rest, limits) {
            true => PublisherData::Other(body.to_vec()),
            false => PublisherData::Unreadable,
        },
    }
}

/// The handler name at the front of a data message, and the bytes after it.
fn split_name<'a>(body: &'a [u8], limits: &Limits) -> Option<(AmfString, &'a [u8])> {
    let mut decoder = amf0::Decoder::new(body, limits);
    match decoder.decode() {
        Ok(Some(Value::String(name))) => Some((name, decoder.remaining())),
        _ => None,
    }
}

/// A body with only the handler name.
fn headed(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    amf0::encode(&Value::String(name.into()), &mut out);
    out
}

fn is_readable(values: &[u8], limits: &DataLimits) -> bool {
    let mut walker = Walker::new(values, limits.amf.depth);
    while !walker.is_at_end() {
        if walker.pass(&mut |_| {}).is_err() {
            // The value may be a reference, or AMF 3.
            return amf0::decode_all(values, &limits.amf).is_ok();
        }
    }
    true
}

/// True if these values are complete and break no player, as far as a walk without decoding can tell.
fn are_fit(values: &[u8], depth: usize) -> bool {
    let mut walker = Walker::new(values, depth);
    let mut fit = true;
    while !walker.is_at_end() {
        let passed = walker.pass(&mut |passed| {
            fit &= match passed {
                Passed::Name(length) => length <= MAX_KEY,
                Passed::Value(marker::UNDEFINED | marker::UNSUPPORTED) => false,
                Passed::Value(marker::XML_DOCUMENT | marker::TYPED_OBJECT) => false,
                Passed::Value(_) => true,
            };
        });
        if passed.is_err() || !fit {
            return false;
        }
    }
    true
}

fn metadata(body: &[u8], rest: &[u8], limits: &DataLimits) -> PublisherData {
    if body.len() <= limits.metadata {
        let fit = are_fit(rest, limits.amf.depth)
            || amf0::decode_all(rest, &limits.amf).is_ok_and(|values| values.iter().all(is_fit));
        if fit {
            return PublisherData::Metadata { body: body.to_vec(), shortened: false };
        }
        let mut decoder = amf0::Decoder::new(rest, &limits.amf).lenient_end(true);
        if let Ok(Some(value)) = decoder.decode()
            && let Some(object) = value.as_object().map(mended)
        {
            let mut body = headed(b"onMetaData");
            amf0::encode(&Value::EcmaArray(object), &mut body);
            // Names and numbers never become longer, but references become copies.
            if body.len() <= limits.metadata {
                return PublisherData::Metadata { body, shortened: false };
            }
        }
    }
    piecewise(rest, limits).map_or(PublisherData::Unreadable, |body| PublisherData::Metadata { body, shortened: true })
}

/// Metadata that is too large to decode as a whole. Reads its properties one by one, keeps those that players can read
/// unchanged, and of these the smallest that fit together.
fn piecewise(rest: &[u8], limits: &DataLimits) -> Option<Vec<u8>> {
    let mut walker = Walker::new(rest, limits.amf.depth);
    if !walker.open() {
        return None;
    }
    let frame = headed(b"onMetaData").len() + 1 + 4 + amf0::END.len();
    let mut properties = Kept { held: 0, properties: Vec::new() };
    let mut place = 0;
    while place < limits.amf.values && !walker.is_at_end() && !walker.close() {
        let Some(property) = one_property(&mut walker, rest, limits) else {
            // The next property cannot be found; the earlier ones are complete.
            break;
        };
        properties.add(place, property);
        place += 1;
        if properties.held > 2 * limits.metadata {
            properties.shrink(limits.metadata);
        }
    }
    properties.shrink(limits.metadata.checked_sub(frame)?);
    let mut properties = properties.properties;
    properties.sort_by_key(|(place, _)| *place);
    let count = u32::try_from(properties.len()).ok().filter(|count| *count > 0)?;
    let mut body = headed(b"onMetaData");
    body.push(marker::ECMA_ARRAY);
    body.extend_from_slice(&count.to_be_bytes());
    for (_, property) in properties {
        body.extend_from_slice(&property);
    }
    body.extend_from_slice(&amf0::END);
    Some(body)
}

/// Properties with their positions in the metadata.
struct Kept {
    /// Their length in bytes.
    held: usize,
    properties: Vec<(usize, Vec<u8>)>,
}

impl Kept {
    fn add(&mut self, place: usize, property: Vec<u8>) {
        if !property.is_empty() {
            self.held += property.len();
            self.properties.push((place, property));
        }
    }

    /// Drops the largest property.
    fn shrink(&mut self, bytes: usize) {
        self.properties.sort_by_key(|(_, property)| property.len());
        while self.held > bytes
            && let Some((_, property)) = self.properties.pop()
        {
            self.held -= property.len();
        }
    }
}

/// The next property in the form to send: empty if players cannot read it, or if it is too long. `None` if its end is
/// unknown.
fn one_property(walker: &mut Walker<'_>, rest: &[u8], limits: &DataLimits) -> Option<Vec<u8>> {
    let start = walker.position();
    let name = walker.name().ok()?;
    let value_at = walker.position();
    walker.pass(&mut |_| {}).ok()?;
    let (whole, value) = (rest.get(start..walker.position())?, rest.get(value_at..walker.position())?);
    if name.len() > MAX_KEY || whole.len() > limits.metadata {
        return Some(Vec::new());
    }
    // One level less: the property is in an object.
    if are_fit(value, limits.amf.depth.saturating_sub(1)) {
        return Some(whole.to_vec());
    }
    let decoded = amf0::decode_all(value, &limits.amf).ok().and_then(|values| mended_value(values.first()?));
    Some(decoded.map_or_else(Vec::new, |value| {
        let mut property = rest.get(start..value_at).unwrap_or_default().to_vec();
        amf0::encode(&value, &mut property);
        property
    }))
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
    // Collected in one step: inserting one by one would compare each of thousands of names with all earlier ones.
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

    const LIMITS: DataLimits =
        DataLimits { metadata: 960 << 10, other: 1 << 20, amf: Limits { depth: 32, values: 4096, bytes: 1 << 20 } };

    fn whole(body: Vec<u8>) -> PublisherData {
        PublisherData::Metadata { body, shortened: false }
    }

    fn body(values: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        for value in values {
            amf0::encode(value, &mut out);
        }
        out
    }

    fn read(type_id: u8, body: &[u8]) -> PublisherData {
        from_publisher(type_id, body, &LIMITS)
    }

    fn metadata_of(object: Object) -> Vec<u8> {
        body(&["onMetaData".into(), Value::EcmaArray(object)])
    }

    /// The metadata that a player reads from the relayed message.
    fn mended_value_of(body: &[u8]) -> Value {
        let PublisherData::Metadata { body: mended, .. } = read(18, body) else { panic!("metadata") };
        let limits = Limits { values: 10_000, ..Limits::default() };
        let values = amf0::decode_all(&mended, &limits).expect("players can read it");
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
            assert_eq!(read(type_id, body), whole(plain.clone()), "type {type_id}");
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
    #[allow(clippy::disallowed_methods)] // this test measures time
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
        assert_eq!(read(18, &body(&["onMetaData".into()])), whole(body(&["onMetaData".into()])));
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
        // A timecode sample of FFmpeg, an empty body, a number first, a value that is cut off, an empty data frame.
        let cut = [body(&["onCuePoint".into()]), vec![0, 1, 2]].concat();
        for body in [&[0, 0, 3, 0xe8][..], &[], &body(&[1.0.into()]), &cut, &body(&["@setDataFrame".into()])] {
            assert_eq!(read(18, body), PublisherData::Unreadable, "{body:02x?}");
        }
    }

    fn index(entries: usize) -> Value {
        let numbers = |step: f64| Value::StrictArray((0..entries).map(|n| Value::Number(n as f64 * step)).collect());
        Value::Object(Object::default().with("filepositions", numbers(50_000.0)).with("times", numbers(2.0)))
    }

    #[test]
    fn the_index_of_a_whole_day_passes_to_the_byte_and_a_longer_one_costs_nothing_else() {
        let with =
            |entries| Object::default().with("width", 64.0).with("keyframes", index(entries)).with("height", 36.0);
        let day = metadata_of(with(43_200));
        assert_eq!(read(18, &day), whole(day));
        let expected = metadata_of(Object::default().with("width", 64.0).with("height", 36.0));
        for entries in [60_000, 500_000] {
            let body = metadata_of(with(entries));
            assert_eq!(read(18, &body), PublisherData::Metadata { body: expected.clone(), shortened: true });
        }
    }

    #[test]
    fn what_is_too_long_is_mended_property_by_property() {
        let many = Value::StrictArray(vec![1.0.into(); 5000]);
        let object = Object::default()
            .with("undefined", Value::Undefined)
            .with("many", many.clone())
            .with("k".repeat(MAX_KEY + 1).as_str(), 1.0)
            .with("inner", Value::Object(Object::default().with("bad", Value::Undefined).with("good", true)))
            .with("width", 64.0);
        let expected = Object::default()
            .with("many", many)
            .with("inner", Value::Object(Object::default().with("good", true)))
            .with("width", 64.0);
        assert_eq!(mended_value_of(&metadata_of(object.clone())), Value::EcmaArray(expected));
        // Cut off within the last property: the others are complete.
        let cut = metadata_of(object);
        let found = read(18, &cut[..cut.len() - 5]);
        let PublisherData::Metadata { body, shortened: true } = found else { panic!("{found:?}") };
        let mut walker = Walker::new(&body[13..], 32);
        assert!(walker.pass(&mut |_| {}).is_ok() && walker.is_at_end());
        assert!(!body.windows(5).any(|window| window == b"width") && body.windows(4).any(|window| window == b"good"));
    }

    #[test]
    fn nothing_is_longer_than_its_limit() {
        for metadata in [0, 20, 40, 100, 5000] {
            let limits = DataLimits { metadata, ..LIMITS };
            let object = Object::default().with("a", 1.0).with("text", "t".repeat(200).as_str()).with("i", index(100));
            match from_publisher(18, &metadata_of(object), &limits) {
                PublisherData::Metadata { body, .. } => assert!(body.len() <= metadata, "{} of {metadata}", body.len()),
                other => assert_eq!(other, PublisherData::Unreadable),
            }
        }
        let long = body(&["onTextData".into(), "x".repeat(2000).as_str().into()]);
        assert_eq!(from_publisher(18, &long, &DataLimits { other: 1000, ..LIMITS }), PublisherData::Unreadable);
        assert_eq!(from_publisher(18, &long, &LIMITS), PublisherData::Other(long.clone()));
    }

    #[test]
    fn names_with_their_nul_are_what_they_were_meant_to_be() {
        let object = Value::EcmaArray(Object::default().with("width", 64.0));
        let sent = body(&["@setDataFrame\0".into(), "onMetaData\0x".into(), object.clone()]);
        assert_eq!(read(18, &sent), whole(body(&["onMetaData".into(), object])));
        let sent = body(&["onCuePoint\0".into(), Value::Null]);
        assert_eq!(read(18, &sent), PublisherData::Other(body(&["onCuePoint".into(), Value::Null])));
    }
}
