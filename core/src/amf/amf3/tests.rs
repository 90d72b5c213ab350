use bytes::Bytes;

use super::super::{AmfError, Limits, MAX_DEPTH, Properties, amf0};
use super::{Decoder, Externalized, Object, Value, encode};

fn decode_with(bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, AmfError> {
    let mut decoder = Decoder::new(bytes, limits);
    let mut values = Vec::new();
    while let Some(value) = decoder.decode()? {
        values.push(value);
    }
    Ok(values)
}

fn decode(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    decode_with(bytes, &Limits::default())
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out);
    out
}

fn dense(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array { assoc: Properties::new(), dense: values.into_iter().collect() }
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

#[test]
fn integers_take_the_shortest_form_and_doubles_beyond_29_bits() {
    for (integer, bytes) in [
        (0, &b"\x04\x00"[..]),
        (0x7f, b"\x04\x7f"),
        (0x80, b"\x04\x81\x00"),
        (0x3fff, b"\x04\xff\x7f"),
        (0x4000, b"\x04\x81\x80\x00"),
        (0x1f_ffff, b"\x04\xff\xff\x7f"),
        (0x20_0000, b"\x04\x80\xc0\x80\x00"),
        (0x0fff_ffff, b"\x04\xbf\xff\xff\xff"),
        (-1, b"\x04\xff\xff\xff\xff"),
        (-0x1000_0000, b"\x04\xc0\x80\x80\x00"),
    ] {
        assert_eq!(encoded(&Value::Integer(integer)), bytes);
        assert_eq!(decode(bytes), Ok(vec![Value::Integer(integer)]));
    }
    for integer in [0x1000_0000, -0x1000_0001, i32::MAX, i32::MIN] {
        assert_eq!(encoded(&Value::Integer(integer)), encoded(&Value::Double(integer.into())));
    }
}

#[test]
fn an_object_is_written_with_its_traits_in_place() {
    let object = Object {
        class: "C".into(),
        sealed: Properties::new().with("x", Value::Integer(5)),
        dynamic: Some(Properties::new().with("y", Value::Null).with("", text("lost"))),
    };
    assert_eq!(encoded(&object.into()), b"\x0a\x1b\x03C\x03x\x04\x05\x03y\x01\x01");
}

#[test]
fn a_repeated_object_leaves_the_tables_alone() {
    // {a: "ab"}, the same, "cd", the strings 2 and 1.
    let body = b"\x09\x0b\x01\x0a\x0b\x01\x03a\x06\x05ab\x01\x0a\x02\x06\x05cd\x06\x04\x06\x02";
    let object = Value::from(Object { dynamic: Some(Properties::new().with("a", text("ab"))), ..Object::default() });
    let expected = dense([object.clone(), object, text("cd"), text("cd"), text("ab")]);
    assert_eq!(decode(body), Ok(vec![expected]));

    // A C, the same, a D, another D by its traits.
    let body = b"\x09\x09\x01\x0a\x13\x03C\x03x\x04\x05\x0a\x02\x0a\x13\x03D\x03y\x04\x06\x0a\x05\x04\x07";
    let object = |class: &str, name: &str, integer| {
        Value::from(Object {
            class: class.into(),
            sealed: Properties::new().with(name, Value::Integer(integer)),
            dynamic: None,
        })
    };
    let expected = dense([object("C", "x", 5), object("C", "x", 5), object("D", "y", 6), object("D", "y", 7)]);
    assert_eq!(decode(body), Ok(vec![expected]));
}

#[test]
fn every_kind_of_object_can_be_referred_to() {
    for value in [
        Value::Date { ms: 1.0 },
        Value::XmlDocument("<a/>".into()),
        Value::Xml("<a/>".into()),
        Value::ByteArray(Bytes::from_static(b"\x01")),
        Value::VectorInt { fixed: true, items: vec![-1] },
        Value::VectorUint { fixed: true, items: vec![u32::MAX] },
        Value::VectorDouble { fixed: true, items: vec![0.5] },
        Value::VectorObject { fixed: true, class: "*".into(), items: vec![Value::Null] },
        Value::Dictionary { weak: true, entries: vec![(Value::Null, Value::Undefined)] },
        Value::from(Object::default()),
        dense([]),
    ] {
        let mut body = b"\x09\x05\x01".to_vec();
        encode(&value, &mut body);
        let marker = body[3];
        body.extend_from_slice(&[marker, 0x02]);
        assert_eq!(decode(&body), Ok(vec![dense([value.clone(), value])]));
    }
}

#[test]
fn tables_last_for_the_message_and_no_longer() {
    let string = amf0::decode_all(b"\x11\x06\x05ab\x11\x06\x00", &Limits::default()).unwrap();
    assert_eq!(string[1].as_str(), Some("ab"));
    let error = AmfError::BadReference { table: "3 string", index: 0, len: 0 };
    assert_eq!(decode(b"\x06\x00"), Err(error));
}

#[test]
fn a_reference_to_what_surrounds_it_is_null() {
    let array = dense([Value::Null]);
    assert_eq!(decode(b"\x09\x03\x01\x09\x00"), Ok(vec![array.clone()]));
    // The same array once more, as the second value of a body.
    let body = b"\x09\x03\x01\x09\x00\x09\x00";
    assert_eq!(decode(body), Ok(vec![array.clone(), array]));
}

#[test]
fn references_cost_what_they_copy() {
    let mut body = b"\x09\x05\x01\x01\x01".to_vec();
    for index in 0..30_u8 {
        body.extend_from_slice(&[0x09, 0x05, 0x01, 0x09, index << 1, 0x09, index << 1]);
    }
    let error = AmfError::TooManyValues { limit: 4096 };
    assert_eq!(decode(&body), Err(error));

    let mut body = encoded(&Value::String("x".repeat(1000).into()));
    body.extend_from_slice(&b"\x06\x00".repeat(2000));
    let error = AmfError::TooManyBytes { limit: 1024 * 1024 };
    assert_eq!(decode(&body), Err(error));
}

#[test]
fn a_class_with_many_members_is_charged_for_each_object() {
    // A class of 100 members with empty names and short values, then objects of it by reference.
    let mut body = b"\x0a\x8c\x43\x03C".to_vec();
    body.extend_from_slice(&[0x01; 100]);
    body.extend_from_slice(&[0x01; 100]);
    assert_eq!(decode(&body).map(|values| values.len()), Ok(1));
    for _ in 0..41 {
        body.extend_from_slice(b"\x0a\x01");
        body.extend_from_slice(&[0x01; 100]);
    }
    let error = AmfError::TooManyValues { limit: 4096 };
    assert_eq!(decode(&body), Err(error));
    let error = AmfError::CountOverInput { what: "3 object", count: 100, left: 99 };
    assert_eq!(decode(&body[..205 + 2 + 99]), Err(error));
}

#[test]
fn counts_must_fit_what_is_left() {
    for body in [
        &b"\x09\x05\x01"[..],
        b"\x0a\x23\x01\x01\x01",
        b"\x0d\x03\x00\x00\x00\x00",
        b"\x0e\xff\xff\xff\xff\x00\x00\x00\x00\x00",
        b"\x0f\x03\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x10\x05\x00\x01\x01",
        b"\x11\x03\x00\x01",
    ] {
        let error = decode(body).expect_err("the count is too large");
        assert!(matches!(error, AmfError::CountOverInput { .. }), "{error}");
    }
    assert!(matches!(decode(b"\x0c\xff\xff\xff\xff\x00"), Err(AmfError::Truncated { .. })));
}

#[test]
fn a_vector_is_charged_for_its_elements() {
    let limits = Limits { values: 3, ..Limits::default() };
    let vector = |count| encoded(&Value::VectorInt { fixed: false, items: vec![0; count] });
    assert!(decode_with(&vector(2), &limits).is_ok());
    assert_eq!(decode_with(&vector(3), &limits), Err(AmfError::TooManyValues { limit: 3 }));
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| [b"\x09\x03\x01".repeat(depth), vec![0x01]].concat();
    assert!(decode(&nested(32)).is_ok());
    assert_eq!(decode(&nested(33)), Err(AmfError::TooDeep { limit: 32 }));
    // Wrappers nest without a count.
    let wrapper = encoded(&Value::Externalizable {
        class: "flex.messaging.io.ObjectProxy".into(),
        content: Externalized::Opaque(Bytes::new()),
    });
    let body = wrapper.repeat(100);
    assert_eq!(decode(&body), Err(AmfError::TooDeep { limit: 32 }));
}

#[test]
fn what_is_nested_too_deep_to_write_is_undefined() {
    let mut value = Value::Null;
    for _ in 0..2000 {
        value = dense([value]);
    }
    let expected = [b"\x09\x03\x01".repeat(MAX_DEPTH), vec![0x00]].concat();
    assert_eq!(encoded(&value), expected);
}

#[test]
fn a_class_with_a_format_of_its_own_is_kept_only_where_nothing_follows() {
    let opaque = Value::Externalizable {
        class: "DSK".into(),
        content: Externalized::Opaque(Bytes::from_static(b"\x01\x02\x03")),
    };
    let body = encoded(&opaque);
    assert_eq!(decode(&body), Ok(vec![opaque.clone()]));
    let in_amf0 = [&b"\x05\x11"[..], &body].concat();
    let values = amf0::decode_all(&in_amf0, &Limits::default());
    assert_eq!(values.map(|mut values| values.pop()), Ok(Some(opaque.clone().into())));
    assert_eq!(decode(&encoded(&dense([opaque]))), Err(AmfError::Externalizable { class: "DSK".into() }));
}
