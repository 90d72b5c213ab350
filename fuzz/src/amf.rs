//! Both formats of AMF.

use anabranch_core::amf::{AmfError, Limits, Properties, Value, amf0, amf3};

use crate::cuts::take_byte;

/// A byte for the limits, then values.
pub fn amf0(mut input: &[u8]) {
    let setup = take_byte(&mut input);
    let limits = limits(setup);
    let lenient = setup & 4 != 0;
    let mut decoder = amf0::Decoder::new(input, &limits).lenient_end(lenient);
    let (mut values, mut weight) = (Vec::new(), Weight::default());
    let end = loop {
        let left = decoder.remaining().len();
        match decoder.decode() {
            Ok(Some(value)) => {
                assert!(decoder.remaining().len() < left, "a value takes a byte");
                weight = weight.and(Weight::amf0(&value));
                values.push(value);
            }
            Ok(None) => break Ok(()),
            Err(error) => {
                assert_eq!(decoder.decode(), Err(error.clone()), "an error is final");
                break Err(error);
            }
        }
    };
    weight.check(&limits);
    if !lenient {
        let all = amf0::decode_all(input, &limits);
        assert_eq!(all.is_ok(), end.is_ok());
    }
    let body = encode_amf0(&values);
    // A value without its end marker gets one; beside that, what was read within the limits is so again.
    let again = amf0::decode_all(&body, &limits).expect("what we write can be read");
    assert_eq!(encode_amf0(&again), body, "reading and writing change nothing");
    for value in values {
        let plain = value.into_amf0();
        assert!(Weight::amf0(&plain).values <= weight.values);
        let body = encode_amf0(std::slice::from_ref(&plain));
        let read = amf0::decode_all(&body, &Limits { depth: 128, values: 1 << 20, bytes: 1 << 26 });
        assert_eq!(encode_amf0(&read.expect("the likeness can be read")), body);
        assert_eq!(encode_amf0(&[plain.into_amf0()]), body, "a likeness is its own likeness");
    }
}

/// A byte for the limits, then values.
pub fn amf3(mut input: &[u8]) {
    let limits = limits(take_byte(&mut input));
    let mut decoder = amf3::Decoder::new(input, &limits);
    let mut values = Vec::new();
    loop {
        let left = decoder.remaining().len();
        match decoder.decode() {
            Ok(Some(value)) => {
                assert!(decoder.remaining().len() < left, "a value takes a byte");
                values.push(value);
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(decoder.decode(), Err(error), "an error is final");
                break;
            }
        }
    }
    Weight::all(&values, Weight::amf3).check(&limits);
    let body = encode_amf3(&values);
    let again = decode_amf3(&body, &limits).expect("what we write can be read");
    assert_eq!(encode_amf3(&again), body, "reading and writing change nothing");
    for value in values {
        let likeness = Value::from_amf3(value);
        assert_eq!(encode_amf0(&[likeness.clone().into_amf0()]), encode_amf0(&[likeness]));
    }
}

fn limits(setup: u8) -> Limits {
    match setup % 4 {
        0 => Limits::default(),
        1 => Limits { depth: 4, values: 24, bytes: 30 },
        2 => Limits { depth: 1000, values: 300, bytes: 1 << 20 },
        _ => Limits { depth: 0, values: 3, bytes: 0 },
    }
}

fn encode_amf0(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        amf0::encode(value, &mut out);
    }
    out
}

fn encode_amf3(values: &[amf3::Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        amf3::encode(value, &mut out);
    }
    out
}

fn decode_amf3(bytes: &[u8], limits: &Limits) -> Result<Vec<amf3::Value>, AmfError> {
    let mut decoder = amf3::Decoder::new(bytes, limits);
    let mut values = Vec::new();
    while let Some(value) = decoder.decode()? {
        values.push(value);
    }
    Ok(values)
}

/// What decoded values hold, in the terms of [`Limits`].
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    depth: usize,
    values: usize,
    bytes: usize,
}

impl Weight {
    const VALUE: Self = Self { depth: 0, values: 1, bytes: 0 };

    fn text(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), ..Self::VALUE }
    }

    /// Two things beside one another.
    fn and(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), values: self.values + other.values, bytes: self.bytes + other.bytes }
    }

    fn named(mut self, name: &[u8]) -> Self {
        self.bytes += name.len();
        self
    }

    /// A container of this.
    fn contained(self) -> Self {
        Self { depth: self.depth + 1, values: self.values + 1, ..self }
    }

    fn all<T>(items: impl IntoIterator<Item = T>, weigh: impl Fn(T) -> Self) -> Self {
        items.into_iter().map(weigh).fold(Self::default(), Self::and)
    }

    fn properties<V>(properties: &Properties<V>, weigh: impl Fn(&V) -> Self) -> Self {
        Self::all(properties, |(name, value)| weigh(value).named(name.as_bytes()))
    }

    fn elements(count: usize) -> Self {
        Self { values: 1 + count, ..Self::VALUE }
    }

    fn amf0(value: &Value) -> Self {
        match value {
            Value::String(string) | Value::XmlDocument(string) => Self::text(string.as_bytes()),
            Value::Object(object) | Value::EcmaArray(object) => Self::properties(object, Self::amf0).contained(),
            Value::TypedObject { class, object } => {
                Self::properties(object, Self::amf0).contained().named(class.as_bytes())
            }
            Value::StrictArray(values) => Self::all(values, Self::amf0).contained(),
            Value::Amf3(value) => Self::amf3(value),
            _ => Self::VALUE,
        }
    }

    fn amf3(value: &amf3::Value) -> Self {
        use amf3::Value as V;
        match value {
            V::String(string) | V::XmlDocument(string) | V::Xml(string) => Self::text(string.as_bytes()),
            V::ByteArray(bytes) => Self::text(bytes),
            V::VectorInt { items, .. } => Self::elements(items.len()),
            V::VectorUint { items, .. } => Self::elements(items.len()),
            V::VectorDouble { items, .. } => Self::elements(items.len()),
            V::Array { assoc, dense } => {
                Self::properties(assoc, Self::amf3).and(Self::all(dense, Self::amf3)).contained()
            }
            V::Object(object) => {
                let dynamic = Self::all(&object.dynamic, |dynamic| Self::properties(dynamic, Self::amf3));
                let sealed = Self::properties(&object.sealed, Self::amf3);
                sealed.and(dynamic).contained().named(object.class.as_bytes())
            }
            V::Externalizable { class, content } => match content {
                amf3::Externalized::Value(value) => Self::amf3(value).contained().named(class.as_bytes()),
                amf3::Externalized::Opaque(bytes) => Self::text(bytes).named(class.as_bytes()),
            },
            V::VectorObject { class, items, .. } => Self::all(items, Self::amf3).contained().named(class.as_bytes()),
            V::Dictionary { entries, .. } => {
                Self::all(entries, |(key, value)| Self::amf3(key).and(Self::amf3(value))).contained()
            }
            _ => Self::VALUE,
        }
    }

    fn check(self, limits: &Limits) {
        assert!(self.depth <= limits.depth, "{self:?}");
        assert!(self.values <= limits.values, "{self:?}");
        assert!(self.bytes <= limits.bytes, "{self:?}");
    }
}
