//! Bytes to AMF 3 values.

use std::fmt;

use bytes::Bytes;

use super::super::input::{Input, Spans, capacity, size};
use super::super::{AmfError, AmfString, Limits, Properties};
use super::value::is_wrapper;
use super::{Externalized, Object, Value, marker};

/// Decodes AMF 3 values one by one from bytes that contain nothing else.
///
/// RTMP never sends such bytes alone: each AMF 3 value follows a marker in an AMF 0 body, which
/// [`amf0::Decoder`](super::super::amf0::Decoder) decodes. References become copies of their value, or null if the
/// value contains the reference. The reference tables live as long as the decoder.
///
/// An externalizable object of an unknown class that is directly in the body is kept as bytes: all remaining bytes are
/// assumed to belong to it. In a container it is an error.
///
/// An error is final: later calls return it again.
#[derive(Clone)]
pub struct Decoder<'a> {
    input: Input<'a>,
    /// The error that ended the decoding, and the remaining bytes.
    failed: Option<(AmfError, &'a [u8])>,
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed.as_ref().map(|(error, _)| error);
        f.debug_struct("Decoder").field("input", &self.input).field("failed", &failed).finish()
    }
}

impl<'a> Decoder<'a> {
    /// A decoder of `bytes`, from the marker of its first value.
    #[must_use]
    pub fn new(bytes: &'a [u8], limits: &Limits) -> Self {
        Self { input: Input::new(bytes, limits), failed: None }
    }

    /// The next value, or `None` at the end of the bytes.
    ///
    /// # Errors
    ///
    /// The remaining bytes cannot be decoded, or exceed the limits.
    pub fn decode(&mut self) -> Result<Option<Value>, AmfError> {
        if let Some((error, _)) = &self.failed {
            return Err(error.clone());
        }
        let rest = self.input.rest();
        if rest.is_empty() {
            return Ok(None);
        }
        match value(&mut self.input) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.failed = Some((error.clone(), rest));
                Err(error)
            }
        }
    }

    /// The bytes that are not decoded yet; after an error, from the start of the value that failed.
    #[must_use]
    pub fn remaining(&self) -> &'a [u8] {
        match &self.failed {
            Some((_, rest)) => rest,
            None => self.input.rest(),
        }
    }
}

/// The reference tables of AMF 3 §2.2, one set per message body. The specification does not say whether the tables
/// start empty at each switch from AMF 0.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Tables {
    strings: Vec<AmfString>,
    /// Arrays, objects, dates, XML, byte arrays, vectors and dictionaries.
    pub(in super::super) objects: Spans,
    traits: Vec<Traits>,
}

/// The traits of a class.
#[derive(Clone, Debug)]
struct Traits {
    class: AmfString,
    externalizable: bool,
    dynamic: bool,
    sealed: Vec<AmfString>,
}

/// Decodes one value, from its marker.
pub(in super::super) fn value(input: &mut Input<'_>) -> Result<Value, AmfError> {
    let start = input.position();
    let marker = input.u8("3 marker")?;
    let scalar = match marker {
        marker::UNDEFINED => Value::Undefined,
        marker::NULL => Value::Null,
        marker::FALSE => Value::Boolean(false),
        marker::TRUE => Value::Boolean(true),
        marker::INTEGER => Value::Integer(signed(u29(input, "3 integer")?)),
        marker::DOUBLE => Value::Double(input.f64("3 double")?),
        marker::STRING => Value::String(string(input)?),
        marker::XML_DOCUMENT..=marker::DICTIONARY => return referable(input, start, marker),
        _ => {
            return Err(AmfError::UnknownMarker { version: 3, marker, offset: start });
        }
    };
    input.charge_values(1)?;
    Ok(scalar)
}

/// A value that references can name, or a reference to one. The entry in the table decides the kind of a referenced
/// value, not the marker before the reference.
fn referable(input: &mut Input<'_>, start: usize, marker: u8) -> Result<Value, AmfError> {
    let header = u29(input, "3 length or reference")?;
    if header & 1 == 0 {
        return match input.resolve_amf3(size(header >> 1), start)? {
            Some(start) => input.replay(start, value),
            None => {
                input.charge_values(1)?;
                Ok(Value::Null)
            }
        };
    }
    input.charge_values(1)?;
    let entry = input.open_amf3(start);
    let count = size(header >> 1);
    let value = match marker {
        marker::XML_DOCUMENT => Value::XmlDocument(input.string(count, "3 XML document")?),
        marker::XML => Value::Xml(input.string(count, "3 XML")?),
        marker::DATE => Value::Date { ms: input.f64("3 date")? },
        marker::BYTE_ARRAY => {
            let bytes = input.take(count, "3 byte array")?;
            input.charge_bytes(count)?;
            Value::ByteArray(Bytes::copy_from_slice(bytes))
        }
        marker::VECTOR_INT | marker::VECTOR_UINT | marker::VECTOR_DOUBLE => numeric_vector(input, marker, count)?,
        _ => {
            let is_at_top = input.is_at_top();
            input.enter()?;
            let value = match marker {
                marker::ARRAY => array(input, count)?,
                marker::VECTOR_OBJECT => vector(input, count)?,
                marker::DICTIONARY => dictionary(input, count)?,
                _ => object(input, header, is_at_top)?,
            };
            input.leave();
            value
        }
    };
    input.close_amf3(entry);
    Ok(value)
}

fn array(input: &mut Input<'_>, count: usize) -> Result<Value, AmfError> {
    input.check_count(count, 1, "3 array")?;
    let assoc = properties(input)?;
    let dense = values(input, count)?;
    Ok(Value::Array { assoc, dense })
}

fn numeric_vector(input: &mut Input<'_>, marker: u8, count: usize) -> Result<Value, AmfError> {
    let fixed = input.u8("3 vector's fixed flag")? != 0;
    let element = if marker == marker::VECTOR_DOUBLE { 8 } else { 4 };
    input.check_count(count, element, "3 vector")?;
    input.charge_values(count)?;
    let bytes = input.take(count.saturating_mul(element), "3 vector")?;
    // All chunks have the requested size: the length is a multiple of it.
    let words = bytes.as_chunks().0.iter().copied();
    Ok(match marker {
        marker::VECTOR_INT => Value::VectorInt { fixed, items: words.map(i32::from_be_bytes).collect() },
        marker::VECTOR_UINT => Value::VectorUint { fixed, items: words.map(u32::from_be_bytes).collect() },
        _ => {
            Value::VectorDouble { fixed, items: bytes.as_chunks().0.iter().copied().map(f64::from_be_bytes).collect() }
        }
    })
}

fn vector(input: &mut Input<'_>, count: usize) -> Result<Value, AmfError> {
    let fixed = input.u8("3 vector's fixed flag")? != 0;
    let class = string(input)?;
    input.check_count(count, 1, "3 vector")?;
    Ok(Value::VectorObject { fixed, class, items: values(input, count)? })
}

fn dictionary(input: &mut Input<'_>, count: usize) -> Result<Value, AmfError> {
    let weak = input.u8("3 dictionary's weak flag")? != 0;
    input.check_count(count, 2, "3 dictionary")?;
    let mut entries = Vec::with_capacity(capacity(count));
    for _ in 0..count {
        let key = value(input)?;
        entries.push((key, value(input)?));
    }
    Ok(Value::Dictionary { weak, entries })
}

fn object(input: &mut Input<'_>, header: u32, is_at_top: bool) -> Result<Value, AmfError> {
    let traits = traits(input, header)?;
    if traits.externalizable {
        return externalizable(input, traits.class, is_at_top);
    }
    let mut sealed = Vec::with_capacity(capacity(traits.sealed.len()));
    for name in traits.sealed {
        sealed.push((name, value(input)?));
    }
    let dynamic = if traits.dynamic { Some(properties(input)?) } else { None };
    Ok(Value::Object(Object { class: traits.class, sealed: Properties::from_entries(sealed), dynamic }))
}

fn externalizable(input: &mut Input<'_>, class: AmfString, is_at_top: bool) -> Result<Value, AmfError> {
    let content = if is_wrapper(&class) {
        Externalized::Value(Box::new(value(input)?))
    } else if is_at_top {
        let bytes = input.take(input.left(), "3 externalizable object")?;
        input.charge_bytes(bytes.len())?;
        Externalized::Opaque(Bytes::copy_from_slice(bytes))
    } else {
        return Err(AmfError::Externalizable { class: class.to_string() });
    };
    Ok(Value::Externalizable { class, content })
}

/// The traits of an object with this `header`, which is not a reference to an object.
fn traits(input: &mut Input<'_>, header: u32) -> Result<Traits, AmfError> {
    if header & 0b10 == 0 {
        let index = size(header >> 2);
        let traits = input.amf3.traits.get(index).ok_or(AmfError::BadReference {
            table: "3 traits",
            index,
            len: input.amf3.traits.len(),
        })?;
        // A value follows for each name. Checked first, so that copying the names does not cost more than those values.
        input.check_count(traits.sealed.len(), 1, "3 object")?;
        let traits = traits.clone();
        let names = traits.sealed.iter().map(AmfString::len).sum::<usize>();
        input.charge_bytes(names.saturating_add(traits.class.len()))?;
        return Ok(traits);
    }
    let class = string(input)?;
    let externalizable = header & 0b100 != 0;
    let mut sealed = Vec::new();
    if !externalizable {
        let count = size(header >> 4);
        // Each name takes at least one byte, and so does each of the values that must follow.
        input.check_count(count, 2, "3 traits")?;
        sealed.reserve_exact(capacity(count));
        for _ in 0..count {
            sealed.push(string(input)?);
        }
    }
    let traits = Traits { class, externalizable, dynamic: header & 0b1000 != 0, sealed };
    if !input.is_replaying() {
        input.amf3.traits.push(traits.clone());
    }
    Ok(traits)
}

/// Names and values up to the empty name.
fn properties(input: &mut Input<'_>) -> Result<Properties<Value>, AmfError> {
    let mut entries = Vec::new();
    loop {
        let name = string(input)?;
        if name.is_empty() {
            return Ok(Properties::from_entries(entries));
        }
        entries.push((name, value(input)?));
    }
}

fn values(input: &mut Input<'_>, count: usize) -> Result<Vec<Value>, AmfError> {
    let mut values = Vec::with_capacity(capacity(count));
    for _ in 0..count {
        values.push(value(input)?);
    }
    Ok(values)
}

/// A string without marker, inline or by reference.
fn string(input: &mut Input<'_>) -> Result<AmfString, AmfError> {
    let header = u29(input, "3 string length")?;
    let operand = size(header >> 1);
    if header & 1 == 0 {
        let known = input.amf3.strings.get(operand).cloned();
        let string =
            known.ok_or(AmfError::BadReference { table: "3 string", index: operand, len: input.amf3.strings.len() })?;
        input.charge_bytes(string.len())?;
        return Ok(string);
    }
    let string = input.string(operand, "3 string")?;
    if !string.is_empty() && !input.is_replaying() {
        input.amf3.strings.push(string.clone());
    }
    Ok(string)
}

/// An unsigned integer of 29 bits (AMF 3 §1.3.1): up to three bytes of 7 bits with the high bit set when more follow,
/// then a fourth of 8 bits.
fn u29(input: &mut Input<'_>, what: &'static str) -> Result<u32, AmfError> {
    let mut number = 0_u32;
    for _ in 0..3 {
        let byte = input.u8(what)?;
        number = (number << 7) | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Ok((number << 8) | u32::from(input.u8(what)?))
}

/// The lowest 29 bits of `number` as a signed integer.
fn signed(number: u32) -> i32 {
    (number << 3).cast_signed() >> 3
}
