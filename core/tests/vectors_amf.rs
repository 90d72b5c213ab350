//! Every published test vector of AMF: its decoded value, or its error.

use anabranch_core::amf::{AmfError, Limits, Object, Value, amf0, amf3};
use serde_json::{Map, Value as Json, json};

const VECTORS: &str = include_str!("fixtures/vectors.json");

/// Vectors whose `expect` describes the result in words, or does not specify it.
fn expected(id: &str, expect: &Json) -> Json {
    match id {
        // Not UTF-8: the bytes are kept, and read with a replacement character.
        "a0-strbad" => json!(["\u{fffd}("]),
        "a0-ref" => json!([{"a": {}, "b": {}}]),
        "a3-objref" => json!([[{}, {}]]),
        // A wrapper is shown as its class and the wrapped array.
        "a3-ext" => json!([{"class": "flex.messaging.io.ArrayCollection", "externalized": [1]}]),
        _ => expect.clone(),
    }
}

fn is_error(expect: &Json) -> bool {
    let starts = |text: &Json| text.as_str().is_some_and(|text| text.starts_with("error"));
    starts(expect) || expect.as_array().is_some_and(|entries| entries.iter().any(starts))
}

fn decode_amf3(bytes: &[u8]) -> Result<Vec<amf3::Value>, AmfError> {
    let mut decoder = amf3::Decoder::new(bytes, &Limits::default());
    let mut values = Vec::new();
    while let Some(value) = decoder.decode()? {
        values.push(value);
    }
    Ok(values)
}

/// A body of message type 17 without its format byte, which some senders leave out.
fn without_format_byte(body: &[u8]) -> &[u8] {
    body.strip_prefix(&[0]).unwrap_or(body)
}

fn number(number: f64) -> Json {
    if number.is_nan() { json!("NaN") } else { json!(number) }
}

fn object(object: &Object) -> Map<String, Json> {
    object.iter().map(|(key, value)| (key.to_string(), show_amf0(value))).collect()
}

fn show_amf0(value: &Value) -> Json {
    match value {
        Value::Number(value) => number(*value),
        Value::Boolean(truth) => json!(truth),
        Value::String(string) => json!(string.to_string()),
        Value::Object(value) | Value::EcmaArray(value) => Json::Object(object(value)),
        Value::Null => Json::Null,
        Value::Undefined => json!("undefined"),
        Value::StrictArray(values) => values.iter().map(show_amf0).collect(),
        Value::Date { ms, time_zone } => json!({"date_ms": ms, "tz": time_zone}),
        Value::Unsupported => json!("unsupported"),
        Value::XmlDocument(xml) => json!({"xml": xml.to_string()}),
        Value::TypedObject { class, object: value } => {
            let mut members = object(value);
            members.insert("class".into(), json!(class.to_string()));
            Json::Object(members)
        }
        Value::Amf3(value) => show_amf3(value),
    }
}

fn show_amf3(value: &amf3::Value) -> Json {
    use amf3::Value as V;
    match value {
        V::Undefined => json!("undefined"),
        V::Null => Json::Null,
        V::Boolean(truth) => json!(truth),
        V::Integer(integer) => json!(integer),
        V::Double(value) => number(*value),
        V::String(string) => json!(string.to_string()),
        V::XmlDocument(xml) => json!({"xmldoc": xml.to_string()}),
        V::Xml(xml) => json!({"xml": xml.to_string()}),
        V::Date { ms } => json!({"date_ms": ms}),
        V::Array { assoc, dense } if assoc.is_empty() => dense.iter().map(show_amf3).collect(),
        V::Array { assoc, dense } => {
            let named = assoc.iter().map(|(key, value)| (key.to_string(), show_amf3(value)));
            let numbered = dense.iter().enumerate().map(|(index, value)| (index.to_string(), show_amf3(value)));
            Json::Object(named.chain(numbered).collect())
        }
        V::Object(value) => {
            let mut members: Map<String, Json> = value
                .sealed
                .iter()
                .chain(value.dynamic.iter().flatten())
                .map(|(key, value)| (key.to_string(), show_amf3(value)))
                .collect();
            if !value.class.is_empty() {
                members.insert("class".into(), json!(value.class.to_string()));
            }
            Json::Object(members)
        }
        V::Externalizable { class, content } => match content {
            amf3::Externalized::Value(value) => {
                json!({"class": class.to_string(), "externalized": show_amf3(value)})
            }
            amf3::Externalized::Opaque(_) => json!({"class": class.to_string()}),
        },
        V::ByteArray(bytes) => {
            json!({"bytes": hex::encode(bytes)})
        }
        V::VectorInt { fixed, items } => json!({"vector<int>": items, "fixed": fixed}),
        V::VectorUint { fixed, items } => json!({"vector<uint>": items, "fixed": fixed}),
        V::VectorDouble { items, .. } => json!({"vector<Number>": items}),
        V::VectorObject { class, items, .. } => {
            let items: Json = items.iter().map(show_amf3).collect();
            json!({format!("vector<{class}>"): items})
        }
        V::Dictionary { weak, entries } => {
            let entries: Json = entries.iter().map(|(key, value)| json!([show_amf3(key), show_amf3(value)])).collect();
            json!({"dictionary": entries, "weak": weak})
        }
    }
}

/// Whether both are equal, with integers equal to doubles.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

/// The error in the result of one vector, if there is one.
fn fault(id: &str, kind: &str, input: &[u8], expect: &Json) -> Option<String> {
    let shown = match kind {
        "amf3" => decode_amf3(input).map(|values| values.iter().map(show_amf3).collect::<Json>()),
        _ => {
            let body = if kind == "cmd17" { without_format_byte(input) } else { input };
            amf0::decode_all(body, &Limits::default()).map(|values| values.iter().map(show_amf0).collect::<Json>())
        }
    };
    match (shown, is_error(expect)) {
        (Err(_), true) => None,
        (Err(error), false) => Some(format!("{id}: {error}")),
        (Ok(shown), true) => Some(format!("{id}: decoded to {shown}")),
        (Ok(shown), false) => {
            let expected = expected(id, expect);
            (!same(&shown, &expected)).then(|| format!("{id}: {shown}, not {expected}"))
        }
    }
}

/// The vectors of the kinds tested here: id, kind, input, expectation.
fn vectors() -> Vec<(String, String, Vec<u8>, Json)> {
    let document: Json = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    let text = |vector: &Json, key: &str| vector[key].as_str().unwrap_or_default().to_owned();
    document["vectors"]
        .as_array()
        .expect("there is a list of vectors")
        .iter()
        .map(|vector| (text(vector, "id"), text(vector, "kind"), vector))
        .filter(|(_, kind, _)| matches!(kind.as_str(), "amf0" | "amf3" | "cmd17"))
        .map(|(id, kind, vector)| {
            let input = hex::decode(text(vector, "input")).expect("vectors are in hexadecimal");
            (id, kind, input, vector["expect"].clone())
        })
        .collect()
}

#[test]
fn every_vector_decodes_as_it_says_or_fails_as_it_says() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 39 + 38 + 3, "a kind of vector went missing");
    let faults: Vec<String> =
        vectors.iter().filter_map(|(id, kind, input, expect)| fault(id, kind, input, expect)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_object_without_its_end_is_accepted_where_a_message_may_be_cut() {
    let (.., input, _) = vectors().into_iter().find(|(id, ..)| id == "a0-obj-noend").expect("the vector exists");
    let mut decoder = amf0::Decoder::new(&input, &Limits::default()).lenient_end(true);
    let object = Object::new().with("a", Value::Null);
    assert_eq!(decoder.decode(), Ok(Some(Value::Object(object))));
}

#[test]
fn what_a_vector_decodes_to_is_written_so_that_it_reads_the_same() {
    for (id, kind, input, expect) in vectors() {
        if is_error(&expect) || id == "a0-nan" {
            continue;
        }
        if kind == "amf3" {
            let values = decode_amf3(&input).expect("checked by the other test");
            let mut again = Vec::new();
            values.iter().for_each(|value| amf3::encode(value, &mut again));
            assert_eq!(decode_amf3(&again), Ok(values), "{id}");
        } else {
            let body = without_format_byte(&input);
            let body = if kind == "cmd17" { body } else { &input };
            let values = amf0::decode_all(body, &Limits::default()).expect("checked by the other test");
            let mut again = Vec::new();
            values.iter().for_each(|value| amf0::encode(value, &mut again));
            assert_eq!(amf0::decode_all(&again, &Limits::default()), Ok(values), "{id}");
        }
    }
}
