//! AMF 3 values to bytes.

use super::super::{AmfString, MAX_DEPTH, Properties};
use super::{Externalized, Object, Value, marker};

/// The largest U29. A length or count shares its U29 with a flag bit, so it can be at most half of this.
const MAX_U29: u32 = 0x1fff_ffff;

/// Appends `value` to `out`, without the AMF 0 marker that introduces it in RTMP.
///
/// Cannot fail, and never writes references: the specification does not say whether they may refer to another value of
/// the message. Values beyond the limits of AMF 3 are cut: strings and byte arrays at 2^28 - 1 bytes, arrays at as many
/// elements; containers below [`MAX_DEPTH`] become undefined. A property with an empty name is left out of associative
/// and dynamic parts, where that name means the end. Integers beyond 29 bits are written as doubles.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    encode_at(value, out, 0);
}

/// Appends `value`, which is inside `depth` containers.
pub(in super::super) fn encode_at(value: &Value, out: &mut Vec<u8>, depth: usize) {
    match value {
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::Null => out.push(marker::NULL),
        Value::Boolean(false) => out.push(marker::FALSE),
        Value::Boolean(true) => out.push(marker::TRUE),
        Value::Integer(integer) => number(*integer, out),
        Value::Double(number) => double(*number, out),
        Value::String(string) => {
            out.push(marker::STRING);
            bytes(string.as_bytes(), out);
        }
        Value::XmlDocument(xml) => {
            out.push(marker::XML_DOCUMENT);
            bytes(xml.as_bytes(), out);
        }
        Value::Xml(xml) => {
            out.push(marker::XML);
            bytes(xml.as_bytes(), out);
        }
        Value::Date { ms } => {
            // Not a reference; the remaining bits have no meaning.
            out.extend_from_slice(&[marker::DATE, 0x01]);
            out.extend_from_slice(&ms.to_be_bytes());
        }
        Value::ByteArray(array) => {
            out.push(marker::BYTE_ARRAY);
            bytes(array, out);
        }
        Value::VectorInt { fixed, items } => {
            out.push(marker::VECTOR_INT);
            elements(items, *fixed, out, |item, out| {
                out.extend_from_slice(&item.to_be_bytes());
            });
        }
        Value::VectorUint { fixed, items } => {
            out.push(marker::VECTOR_UINT);
            elements(items, *fixed, out, |item, out| {
                out.extend_from_slice(&item.to_be_bytes());
            });
        }
        Value::VectorDouble { fixed, items } => {
            out.push(marker::VECTOR_DOUBLE);
            elements(items, *fixed, out, |item, out| {
                out.extend_from_slice(&item.to_be_bytes());
            });
        }
        Value::Array { .. }
        | Value::Object(_)
        | Value::Externalizable { .. }
        | Value::VectorObject { .. }
        | Value::Dictionary { .. }
            if depth >= MAX_DEPTH =>
        {
            out.push(marker::UNDEFINED);
        }
        Value::Array { assoc, dense } => {
            out.push(marker::ARRAY);
            let count = length(dense.len(), out);
            properties(assoc, out, depth);
            for value in dense.iter().take(count) {
                encode_at(value, out, depth + 1);
            }
        }
        Value::VectorObject { fixed, class, items } => {
            out.push(marker::VECTOR_OBJECT);
            let count = length(items.len(), out);
            out.push((*fixed).into());
            bytes(class.as_bytes(), out);
            for value in items.iter().take(count) {
                encode_at(value, out, depth + 1);
            }
        }
        Value::Dictionary { weak, entries } => {
            out.push(marker::DICTIONARY);
            elements(entries, *weak, out, |(key, value), out| {
                encode_at(key, out, depth + 1);
                encode_at(value, out, depth + 1);
            });
        }
        Value::Object(value) => object(value, out, depth),
        Value::Externalizable { class, content } => externalizable(class, content, out, depth),
    }
}

fn number(integer: i32, out: &mut Vec<u8>) {
    if (-0x1000_0000..0x1000_0000).contains(&integer) {
        out.push(marker::INTEGER);
        u29(integer.cast_unsigned() & MAX_U29, out);
    } else {
        double(integer.into(), out);
    }
}

fn double(number: f64, out: &mut Vec<u8>) {
    out.push(marker::DOUBLE);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Writes a length or count with the low bit that means "not a reference". Returns the length written: less than
/// `length` if that is too large.
fn length(length: usize, out: &mut Vec<u8>) -> usize {
    let max = MAX_U29 >> 1;
    let length = u32::try_from(length).unwrap_or(max).min(max);
    u29((length << 1) | 1, out);
    super::super::input::size(length)
}

/// The payload of strings, XML and byte arrays.
fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let count = length(bytes.len(), out);
    out.extend(bytes.iter().take(count));
}

/// The payload of vectors and dictionaries: count, a flag, and the elements.
fn elements<T>(items: &[T], flag: bool, out: &mut Vec<u8>, mut element: impl FnMut(&T, &mut Vec<u8>)) {
    let count = length(items.len(), out);
    out.push(flag.into());
    for item in items.iter().take(count) {
        element(item, out);
    }
}

fn object(object: &Object, out: &mut Vec<u8>, depth: usize) {
    let max = MAX_U29 >> 4;
    let count = u32::try_from(object.sealed.len()).unwrap_or(max).min(max);
    let dynamic = u32::from(object.dynamic.is_some());
    out.push(marker::OBJECT);
    u29((count << 4) | (dynamic << 3) | 0b011, out);
    bytes(object.class.as_bytes(), out);
    let sealed = || object.sealed.iter().take(super::super::input::size(count));
    for (name, _) in sealed() {
        bytes(name.as_bytes(), out);
    }
    for (_, value) in sealed() {
        encode_at(value, out, depth + 1);
    }
    if let Some(dynamic) = &object.dynamic {
        properties(dynamic, out, depth);
    }
}

fn externalizable(class: &AmfString, content: &Externalized, out: &mut Vec<u8>, depth: usize) {
    out.extend_from_slice(&[marker::OBJECT, 0b111]);
    bytes(class.as_bytes(), out);
    match content {
        Externalized::Value(value) => encode_at(value, out, depth + 1),
        Externalized::Opaque(written) => out.extend_from_slice(written),
    }
}

/// Names and values, closed by the empty name.
fn properties(properties: &Properties<Value>, out: &mut Vec<u8>, depth: usize) {
    for (name, value) in properties {
        if !name.is_empty() {
            bytes(name.as_bytes(), out);
            encode_at(value, out, depth + 1);
        }
    }
    bytes(&[], out);
}

/// The shortest form of an unsigned integer of 29 bits (AMF 3 §1.3.1).
fn u29(number: u32, out: &mut Vec<u8>) {
    let [a, b, c, d] = number.to_be_bytes();
    match number {
        0..0x80 => out.push(d),
        0x80..0x4000 => out.extend_from_slice(&[0x80 | (c << 1) | (d >> 7), d & 0x7f]),
        0x4000..0x20_0000 => out.extend_from_slice(&[0x80 | (b << 2) | (c >> 6), 0x80 | (c << 1) | (d >> 7), d & 0x7f]),
        _ => out.extend_from_slice(&[0x80 | (a << 2) | (b >> 6), 0x80 | (b << 1) | (c >> 7), 0x80 | c, d]),
    }
}
