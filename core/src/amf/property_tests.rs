//! Properties that hold for every value and every input, in both formats.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{AmfError, AmfString, Limits, Object, Properties, Value, amf0, amf3};

/// Strings of any bytes, as on the wire.
fn string() -> impl Strategy<Value = AmfString> {
    prop_oneof!["[a-z]{1,4}".prop_map(AmfString::from), vec(any::<u8>(), 0..6).prop_map(AmfString::from),]
}

fn name() -> impl Strategy<Value = AmfString> {
    string().prop_filter("the empty name ends AMF 3 properties", |name| !name.is_empty())
}

/// Doubles that are equal to themselves (not NaN).
fn number() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE
}

fn amf3_value() -> impl Strategy<Value = amf3::Value> {
    use amf3::Value as V;
    let leaf = prop_oneof![
        Just(V::Undefined),
        Just(V::Null),
        any::<bool>().prop_map(V::Boolean),
        (-0x1000_0000..0x1000_0000).prop_map(V::Integer),
        number().prop_map(V::Double),
        string().prop_map(V::String),
        string().prop_map(V::XmlDocument),
        string().prop_map(V::Xml),
        number().prop_map(|ms| V::Date { ms }),
        vec(any::<u8>(), 0..200).prop_map(|bytes| V::ByteArray(Bytes::from(bytes))),
        (any::<bool>(), vec(any::<i32>(), 0..9)).prop_map(|(fixed, items)| V::VectorInt { fixed, items }),
        (any::<bool>(), vec(any::<u32>(), 0..9)).prop_map(|(fixed, items)| V::VectorUint { fixed, items }),
        (any::<bool>(), vec(number(), 0..9)).prop_map(|(fixed, items)| V::VectorDouble { fixed, items }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let named = || vec((name(), inner.clone()), 0..5).prop_map(Properties::from_iter);
        let values = || vec(inner.clone(), 0..5);
        prop_oneof![
            (named(), values()).prop_map(|(assoc, dense)| V::Array { assoc, dense }),
            (string(), vec((string(), inner.clone()), 0..5), proptest::option::of(named())).prop_map(
                |(class, sealed, dynamic)| {
                    V::Object(amf3::Object { class, sealed: sealed.into_iter().collect(), dynamic })
                }
            ),
            inner.clone().prop_map(|value| V::Externalizable {
                class: "flex.messaging.io.ArrayList".into(),
                content: amf3::Externalized::Value(Box::new(value)),
            }),
            (any::<bool>(), string(), values())
                .prop_map(|(fixed, class, items)| { V::VectorObject { fixed, class, items } }),
            (any::<bool>(), vec((inner.clone(), inner.clone()), 0..4))
                .prop_map(|(weak, entries)| V::Dictionary { weak, entries }),
        ]
    })
}

fn amf0_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        number().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        string().prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
        (number(), any::<i16>()).prop_map(|(ms, time_zone)| Value::Date { ms, time_zone }),
        string().prop_map(Value::XmlDocument),
        amf3_value().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let object = || vec((string(), inner.clone()), 0..8).prop_map(Object::from_iter);
        prop_oneof![
            object().prop_map(Value::Object),
            object().prop_map(Value::EcmaArray),
            (string(), object()).prop_map(|(class, object)| Value::TypedObject { class, object }),
            vec(inner.clone(), 0..8).prop_map(Value::StrictArray),
        ]
    })
}

/// Bytes of which many look like AMF: markers, small lengths, references.
fn amf_like() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![
            8 => 0_u8..0x12,
            3 => Just(0_u8),
            2 => prop::sample::select(vec![0x0a_u8, 0x09, 0x11, 0x03, 0x08, 0x07]),
            1 => any::<u8>(),
        ],
        0..200,
    )
}

fn encoded(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        amf0::encode(value, &mut out);
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

/// The content of decoded values, counted as in [`Limits`].
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

    /// The sum of two values next to each other.
    fn and(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), values: self.values + other.values, bytes: self.bytes + other.bytes }
    }

    /// A container with this content.
    fn contained(self) -> Self {
        let inside = Self { depth: self.depth + 1, ..self };
        inside.and(Self::VALUE)
    }

    fn all<T>(items: impl IntoIterator<Item = T>, weigh: impl Fn(T) -> Self) -> Self {
        items.into_iter().map(weigh).fold(Self::default(), Self::and)
    }

    fn properties<V>(properties: &Properties<V>, weigh: impl Fn(&V) -> Self) -> Self {
        Self::all(properties, |(name, value)| {
            let mut weight = weigh(value);
            weight.bytes += name.len();
            weight
        })
    }

    fn elements(count: usize) -> Self {
        Self { values: 1 + count, ..Self::VALUE }
    }

    fn amf0(value: &Value) -> Self {
        match value {
            Value::String(string) | Value::XmlDocument(string) => Self::text(string.as_bytes()),
            Value::Object(object) | Value::EcmaArray(object) => Self::properties(object, Self::amf0).contained(),
            Value::TypedObject { class, object } => {
                let mut weight = Self::properties(object, Self::amf0).contained();
                weight.bytes += class.len();
                weight
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
                let dynamic = object.dynamic.as_ref();
                let mut weight = Self::properties(&object.sealed, Self::amf3)
                    .and(Self::all(dynamic, |dynamic| Self::properties(dynamic, Self::amf3)))
                    .contained();
                weight.bytes += object.class.len();
                weight
            }
            V::Externalizable { class, content } => {
                let mut weight = match content {
                    amf3::Externalized::Value(value) => Self::amf3(value).contained(),
                    amf3::Externalized::Opaque(bytes) => Self::text(bytes),
                };
                weight.bytes += class.len();
                weight
            }
            V::VectorObject { class, items, .. } => {
                let mut weight = Self::all(items, Self::amf3).contained();
                weight.bytes += class.len();
                weight
            }
            V::Dictionary { entries, .. } => {
                Self::all(entries, |(key, value)| Self::amf3(key).and(Self::amf3(value))).contained()
            }
            _ => Self::VALUE,
        }
    }

    fn check(self, limits: &Limits) -> Result<(), TestCaseError> {
        prop_assert!(self.depth <= limits.depth, "{self:?}");
        prop_assert!(self.values <= limits.values, "{self:?}");
        prop_assert!(self.bytes <= limits.bytes, "{self:?}");
        Ok(())
    }
}

/// Decodes `bytes` in every way; the results must keep to the limits.
fn check_any_input(bytes: &[u8]) -> Result<(), TestCaseError> {
    let tight = Limits { depth: 4, values: 24, bytes: 30 };
    for limits in [Limits::default(), tight] {
        for lenient in [false, true] {
            let mut decoder = amf0::Decoder::new(bytes, &limits).lenient_end(lenient);
            let mut weight = Weight::default();
            let mut left = bytes.len();
            while let Ok(Some(value)) = decoder.decode() {
                prop_assert!(decoder.remaining().len() < left, "a value takes at least a byte");
                left = decoder.remaining().len();
                weight = weight.and(Weight::amf0(&value));
            }
            weight.check(&limits)?;
        }
        if let Ok(values) = decode_amf3(bytes, &limits) {
            Weight::all(&values, Weight::amf3).check(&limits)?;
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_in_amf0_is_read_back(values in vec(amf0_value(), 0..4)) {
        let decoded = amf0::decode_all(&encoded(&values), &Limits::default());
        prop_assert_eq!(decoded, Ok(values));
    }

    #[test]
    fn what_is_written_in_amf3_is_read_back(value in amf3_value()) {
        let mut out = Vec::new();
        amf3::encode(&value, &mut out);
        prop_assert_eq!(decode_amf3(&out, &Limits::default()), Ok(vec![value]));
    }

    #[test]
    fn what_is_cut_off_is_an_error(amf0 in amf0_value(), amf3 in amf3_value()) {
        let body = encoded(&[amf0]);
        for cut in 1..body.len() {
            prop_assert!(amf0::decode_all(&body[..cut], &Limits::default()).is_err());
        }
        let mut body = Vec::new();
        amf3::encode(&amf3, &mut body);
        for cut in 1..body.len() {
            prop_assert!(decode_amf3(&body[..cut], &Limits::default()).is_err());
        }
    }

    #[test]
    fn a_lenient_end_never_changes_what_was_read(value in amf0_value()) {
        let body = encoded(std::slice::from_ref(&value));
        for cut in 0..=body.len() {
            let mut decoder = amf0::Decoder::new(&body[..cut], &Limits::default()).lenient_end(true);
            if let Ok(Some(read)) = decoder.decode() {
                let again = encoded(&[read]);
                let fixed = amf0::decode_all(&again, &Limits::default());
                prop_assert!(fixed.is_ok());
                prop_assert!(Weight::amf0(&fixed.unwrap()[0]).values <= Weight::amf0(&value).values);
            }
        }
    }

    #[test]
    fn a_likeness_in_amf0_holds_no_more_and_no_amf3(value in amf0_value()) {
        let before = Weight::amf0(&value);
        let converted = value.into_amf0();
        prop_assert!(Weight::amf0(&converted).values <= before.values);
        prop_assert_eq!(converted.clone().into_amf0(), converted);
    }

    #[test]
    fn random_bytes_keep_to_the_limits(bytes in vec(any::<u8>(), 0..300)) {
        check_any_input(&bytes)?;
    }

    #[test]
    fn bytes_that_resemble_amf_keep_to_the_limits(bytes in amf_like()) {
        check_any_input(&bytes)?;
    }

    #[test]
    fn damaged_values_keep_to_the_limits(
        values in vec(amf0_value(), 1..4),
        damage in vec((any::<prop::sample::Index>(), 0_u8..0x14), 1..6),
    ) {
        let mut body = encoded(&values);
        for (index, byte) in damage {
            let index = index.index(body.len());
            body[index] = byte;
        }
        check_any_input(&body)?;
    }
}
