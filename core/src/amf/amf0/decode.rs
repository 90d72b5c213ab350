//! Bytes to AMF 0 values.

use std::fmt;

use super::super::input::{Input, capacity};
use super::super::{AmfError, Limits, Object, Value, amf3};
use super::{END, marker};

/// Decodes the AMF 0 values of a message body one by one.
///
/// Accepts more than the specification allows, because encoders send it: any non-zero byte is a true Boolean; the count
/// of an ECMA array is ignored and its end marker ends it; an empty name without an end marker after it is a property
/// with an empty name, as in Flash; a name that occurs twice has its last value. References become copies of their
/// value, or null if the value contains the reference.
///
/// An error is final: later calls return it again.
#[derive(Clone)]
pub struct Decoder<'a> {
    input: Input<'a>,
    lenient_end: bool,
    /// The error that ended the decoding, and the remaining bytes.
    failed: Option<(AmfError, &'a [u8])>,
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed.as_ref().map(|(error, _)| error);
        f.debug_struct("Decoder")
            .field("input", &self.input)
            .field("lenient_end", &self.lenient_end)
            .field("failed", &failed)
            .finish()
    }
}

impl<'a> Decoder<'a> {
    /// A decoder of the message body `bytes`, from its first value. Messages of type 17 and 15 have a format byte
    /// before it; leave that out.
    #[must_use]
    pub fn new(bytes: &'a [u8], limits: &Limits) -> Self {
        Self { input: Input::new(bytes, limits), lenient_end: false, failed: None }
    }

    /// Whether an object or ECMA array may end with the body instead of with its end marker, if the body ends where
    /// a property would begin. Off by default.
    ///
    /// For data messages: some encoders leave out the end marker of `onMetaData`.
    #[must_use]
    pub fn lenient_end(mut self, lenient: bool) -> Self {
        self.lenient_end = lenient;
        self
    }

    /// The next value, or `None` at the end of the body.
    ///
    /// # Errors
    ///
    /// The rest of the body cannot be decoded, or exceeds the limits.
    pub fn decode(&mut self) -> Result<Option<Value>, AmfError> {
        if let Some((error, _)) = &self.failed {
            return Err(error.clone());
        }
        let rest = self.input.rest();
        if rest.is_empty() {
            return Ok(None);
        }
        match value(&mut self.input, self.lenient_end) {
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

/// All AMF 0 values of a message body. End markers are required.
///
/// # Errors
///
/// The body cannot be decoded, or exceeds the limits.
pub fn decode_all(bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, AmfError> {
    let mut decoder = Decoder::new(bytes, limits);
    let mut values = Vec::new();
    while let Some(value) = decoder.decode()? {
        values.push(value);
    }
    Ok(values)
}

fn value(input: &mut Input<'_>, lenient_end: bool) -> Result<Value, AmfError> {
    let start = input.position();
    let marker = input.u8("0 marker")?;
    // These markers introduce another value, which is charged instead.
    match marker {
        marker::REFERENCE => return reference(input, start, lenient_end),
        marker::AVM_PLUS => return amf3::value(input).map(Value::from),
        _ => input.charge_values(1)?,
    }
    Ok(match marker {
        marker::NUMBER => Value::Number(input.f64("0 number")?),
        marker::BOOLEAN => Value::Boolean(input.u8("0 Boolean")? != 0),
        marker::STRING => {
            let length = input.u16("0 string length")?;
            Value::String(input.string(length.into(), "0 string")?)
        }
        marker::LONG_STRING => {
            let length = input.count("0 long string length")?;
            Value::String(input.string(length, "0 long string")?)
        }
        marker::XML_DOCUMENT => {
            let length = input.count("0 XML document length")?;
            Value::XmlDocument(input.string(length, "0 XML document")?)
        }
        marker::NULL => Value::Null,
        marker::UNDEFINED => Value::Undefined,
        marker::UNSUPPORTED => Value::Unsupported,
        marker::DATE => Value::Date { ms: input.f64("0 date")?, time_zone: input.i16("0 date's time zone")? },
        marker::OBJECT | marker::ECMA_ARRAY | marker::TYPED_OBJECT | marker::STRICT_ARRAY => {
            let entry = input.open_amf0(start);
            input.enter()?;
            let value = container(input, marker, lenient_end)?;
            input.leave();
            input.close_amf0(entry);
            value
        }
        marker::OBJECT_END => return Err(AmfError::UnexpectedObjectEnd { offset: start }),
        _ => {
            return Err(AmfError::UnknownMarker { version: 0, marker, offset: start });
        }
    })
}

fn container(input: &mut Input<'_>, marker: u8, lenient_end: bool) -> Result<Value, AmfError> {
    Ok(match marker {
        marker::STRICT_ARRAY => {
            let count = input.count("0 strict array's count")?;
            input.check_count(count, 1, "0 strict array")?;
            let mut values = Vec::with_capacity(capacity(count));
            for _ in 0..count {
                values.push(value(input, lenient_end)?);
            }
            Value::StrictArray(values)
        }
        marker::ECMA_ARRAY => {
            // Encoders and relays write 0, too little or too much here.
            input.count("0 ECMA array's count")?;
            Value::EcmaArray(properties(input, lenient_end)?)
        }
        marker::TYPED_OBJECT => {
            let length = input.u16("0 class name length")?;
            Value::TypedObject {
                class: input.string(length.into(), "0 class name")?,
                object: properties(input, lenient_end)?,
            }
        }
        _ => Value::Object(properties(input, lenient_end)?),
    })
}

fn properties(input: &mut Input<'_>, lenient_end: bool) -> Result<Object, AmfError> {
    let mut entries = Vec::new();
    while !input.skip_if(&END) {
        if lenient_end && input.is_at_end() {
            break;
        }
        let length = input.u16("0 property name length")?;
        let name = input.string(length.into(), "0 property name")?;
        entries.push((name, value(input, lenient_end)?));
    }
    Ok(Object::from_entries(entries))
}

fn reference(input: &mut Input<'_>, from: usize, lenient_end: bool) -> Result<Value, AmfError> {
    let index = input.u16("0 reference")?;
    match input.resolve_amf0(index.into(), from)? {
        Some(start) => input.replay(start, |input| value(input, lenient_end)),
        None => {
            input.charge_values(1)?;
            Ok(Value::Null)
        }
    }
}
