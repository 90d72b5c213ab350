//! AMF 0 values to bytes.

use super::super::{AmfString, MAX_DEPTH, Object, Value, amf3};
use super::{END, marker};

/// Appends `value` to `out`.
///
/// Cannot fail. Values beyond the limits of AMF 0 are cut: names of properties and classes at 65 535 bytes, strings at
/// 4 GiB; containers below [`MAX_DEPTH`] become undefined. References are never written, since few decoders support
/// them. An ECMA array gets its exact count, since some readers need it.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    self::value(value, out, 0);
}

/// Appends AMF 0 values to a message body, one call each.
///
/// Writes the same bytes as [`encode`]. Fixed replies need not build [`Value`]s.
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

crate::shown::debug_with_bytes!(Encoder<'_> { ; out });

impl<'a> Encoder<'a> {
    /// An encoder that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends a number.
    pub fn number(&mut self, number: f64) -> &mut Self {
        self::number(number, self.out);
        self
    }

    /// Appends a Boolean.
    pub fn boolean(&mut self, truth: bool) -> &mut Self {
        self::boolean(truth, self.out);
        self
    }

    /// Appends a string, in the short or long form that its length requires.
    pub fn string(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self::string(text.as_ref(), self.out);
        self
    }

    /// Appends null.
    pub fn null(&mut self) -> &mut Self {
        self.out.push(marker::NULL);
        self
    }

    /// Appends an anonymous object, the form of command objects and status objects.
    pub fn object(&mut self, object: &Object) -> &mut Self {
        self::object(object, self.out, 0);
        self
    }

    /// Appends an ECMA array, the form of the argument of `onMetaData`.
    pub fn ecma_array(&mut self, object: &Object) -> &mut Self {
        self::ecma_array(object, self.out, 0);
        self
    }

    /// Appends any value.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        encode(value, self.out);
        self
    }
}

/// Writes `value`, which is inside `depth` containers.
fn value(value: &Value, out: &mut Vec<u8>, depth: usize) {
    match value {
        Value::Number(value) => number(*value, out),
        Value::Boolean(truth) => boolean(*truth, out),
        Value::String(value) => string(value.as_bytes(), out),
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::Unsupported => out.push(marker::UNSUPPORTED),
        Value::Date { ms, time_zone } => {
            out.push(marker::DATE);
            out.extend_from_slice(&ms.to_be_bytes());
            out.extend_from_slice(&time_zone.to_be_bytes());
        }
        Value::XmlDocument(xml) => {
            out.push(marker::XML_DOCUMENT);
            long(xml.as_bytes(), out);
        }
        Value::Amf3(value) => {
            out.push(marker::AVM_PLUS);
            amf3::encode_at(value, out, depth);
        }
        Value::Object(_) | Value::EcmaArray(_) | Value::StrictArray(_) | Value::TypedObject { .. }
            if depth >= MAX_DEPTH =>
        {
            out.push(marker::UNDEFINED);
        }
        Value::Object(value) => object(value, out, depth),
        Value::EcmaArray(value) => ecma_array(value, out, depth),
        Value::StrictArray(values) => strict_array(values, out, depth),
        Value::TypedObject { class, object } => {
            out.push(marker::TYPED_OBJECT);
            name(class, out);
            properties(object, out, depth);
        }
    }
}

fn number(number: f64, out: &mut Vec<u8>) {
    out.push(marker::NUMBER);
    out.extend_from_slice(&number.to_be_bytes());
}

fn boolean(truth: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&[marker::BOOLEAN, truth.into()]);
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    if let Ok(length) = u16::try_from(bytes.len()) {
        out.push(marker::STRING);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
    } else {
        out.push(marker::LONG_STRING);
        long(bytes, out);
    }
}

fn object(object: &Object, out: &mut Vec<u8>, depth: usize) {
    out.push(marker::OBJECT);
    properties(object, out, depth);
}

fn ecma_array(object: &Object, out: &mut Vec<u8>, depth: usize) {
    out.push(marker::ECMA_ARRAY);
    let count = u32::try_from(object.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    properties(object, out, depth);
}

fn strict_array(values: &[Value], out: &mut Vec<u8>, depth: usize) {
    out.push(marker::STRICT_ARRAY);
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    // There is no end marker: the number of elements must match the count.
    for value in values.iter().take(super::super::input::size(count)) {
        self::value(value, out, depth + 1);
    }
}

fn properties(object: &Object, out: &mut Vec<u8>, depth: usize) {
    for (key, value) in object {
        name(key, out);
        self::value(value, out, depth + 1);
    }
    out.extend_from_slice(&END);
}

/// The name of a property or class: u16 length and bytes.
fn name(name: &AmfString, out: &mut Vec<u8>) {
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(name.as_bytes().iter().take(length.into()));
}

/// The payload of long strings and XML: u32 length and bytes.
fn long(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(bytes.iter().take(super::super::input::size(length)));
}
