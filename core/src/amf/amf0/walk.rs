//! Skipping AMF 0 values without decoding them.

use super::super::{AmfError, MAX_DEPTH, size};
use super::{END, marker};

/// Walks over the values of a message body, for any number of values: allocates nothing and reads each byte once.
///
/// It accepts the same values as [`Decoder`](super::Decoder), except references and values of AMF 3: these cannot be
/// skipped without keeping other values.
#[derive(Clone)]
pub(crate) struct Walker<'a> {
    bytes: &'a [u8],
    position: usize,
    depth: usize,
}

crate::shown::debug_with_bytes!(Walker<'_> { position, depth; bytes });

/// One step of a walker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    /// The beginning of a container, or a value that is not a container.
    Value(u8),
    /// A property's name of this many bytes.
    Name(usize),
}

impl<'a> Walker<'a> {
    /// A walker over values nested up to `depth`.
    pub(crate) fn new(bytes: &'a [u8], depth: usize) -> Self {
        Walker { bytes, position: 0, depth: depth.min(MAX_DEPTH) }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Skips one value and reports each of its parts.
    ///
    /// # Errors
    /// There is no value, or it is cut off, nested too deep, or of a kind that only a decoder can read.
    pub(crate) fn pass(&mut self, see: &mut impl FnMut(Passed)) -> Result<(), AmfError> {
        self.value(self.depth, see)
    }

    /// Skips the beginning of an object or ECMA array. False, without skipping, if the value is neither.
    pub(crate) fn open(&mut self) -> bool {
        let length = match self.rest().first() {
            Some(&marker::OBJECT) => 1,
            Some(&marker::ECMA_ARRAY) => 5,
            _ => return false,
        };
        let there = self.rest().len() >= length;
        self.position += if there { length } else { 0 };
        there
    }

    /// Skips the end of an object.
    pub(crate) fn close(&mut self) -> bool {
        let closes = self.rest().starts_with(&END);
        self.position += if closes { END.len() } else { 0 };
        closes
    }

    /// The name of the next property.
    ///
    /// # Errors
    /// The name is cut off.
    pub(crate) fn name(&mut self) -> Result<&'a [u8], AmfError> {
        let length = self.u16("0 property name length")?;
        self.take(length, "0 property name")
    }

    fn value(&mut self, depth: usize, see: &mut impl FnMut(Passed)) -> Result<(), AmfError> {
        let start = self.position;
        let marker = self.take(1, "0 marker")?[0];
        see(Passed::Value(marker));
        match marker {
            marker::NUMBER => drop(self.take(8, "0 number")?),
            marker::BOOLEAN => drop(self.take(1, "0 Boolean")?),
            marker::STRING => {
                let length = self.u16("0 string length")?;
                self.take(length, "0 string")?;
            }
            marker::LONG_STRING | marker::XML_DOCUMENT => {
                let length = self.u32("0 long string length")?;
                self.take(length, "0 long string")?;
            }
            marker::NULL | marker::UNDEFINED | marker::UNSUPPORTED => {}
            marker::DATE => drop(self.take(10, "0 date")?),
            marker::OBJECT | marker::ECMA_ARRAY | marker::TYPED_OBJECT | marker::STRICT_ARRAY => {
                let inner = depth.checked_sub(1).ok_or(AmfError::TooDeep { limit: self.depth })?;
                match marker {
                    marker::STRICT_ARRAY => {
                        let count = self.u32("0 strict array's count")?;
                        if count > self.rest().len() {
                            let left = self.rest().len();
                            return Err(AmfError::CountOverInput { what: "0 strict array", count, left });
                        }
                        for _ in 0..count {
                            self.value(inner, see)?;
                        }
                        return Ok(());
                    }
                    marker::ECMA_ARRAY => drop(self.take(4, "0 ECMA array's count")?),
                    marker::TYPED_OBJECT => {
                        let length = self.u16("0 class name length")?;
                        self.take(length, "0 class name")?;
                    }
                    _ => {}
                }
                while !self.close() {
                    see(Passed::Name(self.name()?.len()));
                    self.value(inner, see)?;
                }
            }
            marker::OBJECT_END => return Err(AmfError::UnexpectedObjectEnd { offset: start }),
            _ => return Err(AmfError::UnknownMarker { version: 0, marker, offset: start }),
        }
        Ok(())
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], AmfError> {
        let rest = self.rest();
        let (taken, _) =
            rest.split_at_checked(length).ok_or(AmfError::Truncated { what, needed: length, left: rest.len() })?;
        self.position += length;
        Ok(taken)
    }

    fn u16(&mut self, what: &'static str) -> Result<usize, AmfError> {
        let bytes = self.take(2, what)?;
        Ok(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }

    fn u32(&mut self, what: &'static str) -> Result<usize, AmfError> {
        let bytes = self.take(4, what)?;
        Ok(size(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Decoder, decode_all, encode};
    use super::*;
    use crate::amf::{Limits, Object, Value};

    fn walk(bytes: &[u8]) -> Result<usize, AmfError> {
        let mut walker = Walker::new(bytes, 32);
        while !walker.is_at_end() {
            walker.pass(&mut |_| {})?;
        }
        Ok(walker.position())
    }

    #[test]
    fn it_ends_where_the_decoder_ends() {
        let values = [
            Value::Number(1.0),
            Value::Boolean(true),
            "text".into(),
            "x".repeat(70_000).as_str().into(),
            Value::Null,
            Value::Undefined,
            Value::Date { ms: 1.0, time_zone: 0 },
            Value::StrictArray(vec![1.0.into(), Value::Object(Object::default().with("a", "b"))]),
            Value::EcmaArray(Object::default().with("width", 1.0).with("", 2.0)),
            Value::TypedObject { class: "C".into(), object: Object::default().with("a", 1.0) },
        ];
        let mut bytes = Vec::new();
        for value in &values {
            encode(value, &mut bytes);
        }
        assert_eq!(walk(&bytes), Ok(bytes.len()));
        for cut in 1..bytes.len() {
            let whole = decode_all(&bytes[..cut], &Limits::default()).is_ok();
            assert_eq!(walk(&bytes[..cut]).is_ok(), whole, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_decoder_and_never_panics(bytes in prop::collection::vec(prop_oneof![0u8..18, any::<u8>()], 0..80)) {
            let mut decoder = Decoder::new(&bytes, &Limits::default());
            let mut decoded = Ok(());
            while decoded.is_ok() && !decoder.remaining().is_empty() {
                decoded = decoder.decode().map(drop);
            }
            // Only the decoder reads references and AMF 3.
            if let Ok(position) = walk(&bytes) {
                prop_assert_eq!(decoded, Ok(()));
                prop_assert_eq!(position, bytes.len());
            } else if !bytes.iter().any(|byte| [marker::REFERENCE, marker::AVM_PLUS].contains(byte)) {
                prop_assert!(decoded.is_err());
            }
        }
    }
}
