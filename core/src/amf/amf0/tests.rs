use super::super::{AmfError, Limits, MAX_DEPTH, Object, Value, amf3};
use super::{Decoder, Encoder, decode_all, encode};

fn decode(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    decode_all(bytes, &Limits::default())
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out);
    out
}

/// A strict array's header for `count` elements.
fn strict_array(count: u32) -> Vec<u8> {
    [&[0x0a][..], &count.to_be_bytes()].concat()
}

#[test]
fn a_command_is_written_as_clients_expect_it() {
    let mut body = Vec::new();
    Encoder::new(&mut body).string("_result").number(4.0).null().value(&Value::Number(1.0));
    assert_eq!(body, b"\x02\x00\x07_result\x00\x40\x10\0\0\0\0\0\0\x05\x00\x3f\xf0\0\0\0\0\0\0");
}

#[test]
fn an_ecma_array_is_written_with_its_true_count() {
    let mut body = Vec::new();
    Encoder::new(&mut body).boolean(true).ecma_array(&Object::new().with("a", Value::Null)).object(&Object::new());
    assert_eq!(body, b"\x01\x01\x08\0\0\0\x01\0\x01a\x05\0\0\x09\x03\0\0\x09");
}

#[test]
fn the_length_of_a_string_decides_its_form() {
    let short = "x".repeat(0xffff);
    let long = "x".repeat(0x1_0000);
    assert_eq!(encoded(&short.clone().into())[..4], [2, 0xff, 0xff, b'x']);
    assert_eq!(encoded(&long.clone().into())[..6], [0x0c, 0, 1, 0, 0, b'x']);
    for text in [short, long] {
        let value = Value::from(text);
        assert_eq!(decode(&encoded(&value)), Ok(vec![value]));
    }
}

#[test]
fn a_name_longer_than_its_length_field_is_cut() {
    let object = Object::new().with("k".repeat(70_000), 1.0);
    let cut = Object::new().with("k".repeat(0xffff), 1.0);
    assert_eq!(decode(&encoded(&object.into())), Ok(vec![cut.into()]));
}

#[test]
fn numbers_that_are_not_pass_through_bit_by_bit() {
    let bits = 0x7ff8_0000_dead_beef_u64;
    let body = encoded(&Value::Number(f64::from_bits(bits)));
    let values = decode(&body).unwrap();
    assert_eq!(values[0].as_number().unwrap().to_bits(), bits);
}

#[test]
fn a_date_keeps_its_time_zone() {
    let date = Value::Date { ms: 1.0, time_zone: -60 };
    assert_eq!(decode(&encoded(&date)), Ok(vec![date]));
}

#[test]
fn of_a_name_given_twice_the_last_value_counts() {
    let body = b"\x03\0\x01a\x01\0\0\x01b\x05\0\x01a\x01\x01\0\0\x09";
    let object = Object::new().with("a", true).with("b", Value::Null);
    assert_eq!(decode(body), Ok(vec![object.into()]));
}

#[test]
fn a_missing_end_is_forgiven_only_between_properties_and_only_when_asked() {
    let lenient = |bytes| Decoder::new(bytes, &Limits::default()).lenient_end(true).decode();
    let object = Object::new().with("a", Object::new().with("b", Value::Null));
    let body = b"\x03\0\x01a\x03\0\x01b\x05";
    assert_eq!(lenient(body), Ok(Some(object.into())));
    assert!(decode(body).is_err());
    for cut in [2, 3, 4, 6, 7, 8] {
        assert!(lenient(&body[..cut]).is_err(), "cut at {cut}");
    }
    for part_of_end in [&b"\x03\0\x01a\x05\0"[..], b"\x03\0\x01a\x05\0\0"] {
        assert!(lenient(part_of_end).is_err());
    }
}

#[test]
fn what_follows_a_value_can_be_had_and_an_error_stays() {
    let body = b"\x05\x00\x3f";
    let mut decoder = Decoder::new(body, &Limits::default());
    assert_eq!(decoder.decode(), Ok(Some(Value::Null)));
    assert_eq!(decoder.remaining(), b"\x00\x3f");
    let error = AmfError::Truncated { what: "0 number", needed: 8, left: 1 };
    assert_eq!(decoder.decode(), Err(error.clone()));
    assert_eq!(decoder.remaining(), b"\x00\x3f");
    assert_eq!(decoder.decode(), Err(error));
    assert_eq!(Decoder::new(b"", &Limits::default()).decode(), Ok(None));
}

#[test]
fn reserved_and_misplaced_markers_are_errors() {
    for marker in [0x04, 0x0e, 0x12, 0xff] {
        let offset = 1;
        let error = AmfError::UnknownMarker { version: 0, marker, offset };
        assert_eq!(decode(&[0x05, marker]), Err(error));
    }
    let error = AmfError::UnexpectedObjectEnd { offset: 4 };
    assert_eq!(decode(b"\x03\0\x01a\x09"), Err(error));
}

#[test]
fn a_reference_becomes_a_copy_also_of_an_earlier_value_of_the_body() {
    let inner = Object::new().with("x", true);
    let body = b"\x03\0\x01a\x03\0\x01x\x01\x01\0\0\x09\0\x01b\x07\0\x01\0\0\x09\x07\0\x00";
    let outer = Object::new().with("a", inner.clone()).with("b", inner);
    assert_eq!(decode(body), Ok(vec![outer.clone().into(), outer.into()]));
}

#[test]
fn a_reference_to_what_surrounds_it_is_null_wherever_it_is_copied_to() {
    let body = b"\x03\0\x01a\x07\0\0\0\0\x09\x07\0\0";
    let object = Value::Object(Object::new().with("a", Value::Null));
    assert_eq!(decode(body), Ok(vec![object.clone(), object]));
    // An array has no end marker, so this one ends where the reference to it does.
    let body = b"\x0a\0\0\0\x01\x07\0\0\x07\0\0";
    let array = Value::StrictArray(vec![Value::Null]);
    assert_eq!(decode(body), Ok(vec![array.clone(), array]));
}

#[test]
fn a_reference_past_the_table_is_an_error() {
    let error = AmfError::BadReference { table: "0 value", index: 1, len: 1 };
    assert_eq!(decode(b"\x03\0\0\x09\x07\0\x01"), Err(error));
}

#[test]
fn a_reference_to_a_value_with_amf3_in_it_leaves_the_amf3_tables_alone() {
    // An array of an AMF 3 string "ab", the array again, then the AMF 3 strings "cd", reference 1, reference 0.
    let mut body = strict_array(1);
    body.extend_from_slice(b"\x11\x06\x05ab\x07\0\0\x11\x06\x05cd\x11\x06\x02\x11\x06\x00");
    let string = |text: &str| Value::from(amf3::Value::String(text.into()));
    let array = Value::StrictArray(vec![string("ab")]);
    let expected = vec![array.clone(), array, string("cd"), string("cd"), string("ab")];
    assert_eq!(decode(&body), Ok(expected));
}

#[test]
fn references_cost_what_they_copy() {
    // Each array holds the one before it twice: the thirtieth would hold a thousand million values.
    let mut body = strict_array(2);
    body.extend_from_slice(b"\x05\x05");
    for index in 0..30_u16 {
        body.extend_from_slice(&strict_array(2));
        for _ in 0..2 {
            body.push(0x07);
            body.extend_from_slice(&index.to_be_bytes());
        }
    }
    let error = AmfError::TooManyValues { limit: 4096 };
    assert_eq!(decode(&body), Err(error));
    // The first eight arrays: 3 + 7 + ... + 511 values.
    let limits = Limits { values: 1012 - 1, ..Limits::default() };
    let body = &body[..7 + 7 * 11];
    assert!(decode_all(body, &limits).is_err());
    let limits = Limits { values: 1012, ..limits };
    assert_eq!(decode_all(body, &limits).map(|values| values.len()), Ok(8));
}

#[test]
fn nesting_has_a_limit_and_a_limit_above_the_limits() {
    let nested = |depth: usize| {
        let mut body = strict_array(1).repeat(depth);
        body.push(0x05);
        body
    };
    assert!(decode(&nested(32)).is_ok());
    assert_eq!(decode(&nested(33)), Err(AmfError::TooDeep { limit: 32 }));
    let limits = Limits { depth: usize::MAX, values: usize::MAX, ..Limits::default() };
    let error = AmfError::TooDeep { limit: MAX_DEPTH };
    assert_eq!(decode_all(&nested(10_000), &limits), Err(error));
    assert!(decode_all(&nested(MAX_DEPTH), &limits).is_ok());
}

#[test]
fn one_depth_covers_both_formats() {
    let nested = |depth: usize| {
        let mut body = strict_array(1).repeat(depth);
        body.push(0x11);
        body.extend_from_slice(&[0x09, 0x03, 0x01].repeat(10));
        body.push(0x01);
        body
    };
    assert!(decode(&nested(22)).is_ok());
    assert_eq!(decode(&nested(23)), Err(AmfError::TooDeep { limit: 32 }));
}

#[test]
fn a_count_must_fit_what_is_left() {
    let error = AmfError::CountOverInput { what: "0 strict array", count: 3, left: 2 };
    let mut body = strict_array(3);
    body.extend_from_slice(b"\x05\x05");
    assert_eq!(decode(&body), Err(error));
}

#[test]
fn values_and_bytes_have_limits() {
    let limits = Limits { values: 2, bytes: 3, ..Limits::default() };
    assert!(decode_all(b"\x05\x05", &limits).is_ok());
    assert_eq!(decode_all(b"\x05\x05\x05", &limits), Err(AmfError::TooManyValues { limit: 2 }));
    assert!(decode_all(b"\x03\0\x01a\x02\0\x02bc\0\0\x09", &limits).is_ok());
    assert_eq!(decode_all(b"\x03\0\x02aa\x02\0\x02bc\0\0\x09", &limits), Err(AmfError::TooManyBytes { limit: 3 }));
}

#[test]
fn what_is_nested_too_deep_to_write_is_undefined() {
    let mut value = Value::Null;
    for _ in 0..2000 {
        value = Value::StrictArray(vec![value]);
    }
    let mut expected = strict_array(1).repeat(MAX_DEPTH);
    expected.push(0x06);
    assert_eq!(encoded(&value), expected);
}
