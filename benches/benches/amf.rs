//! AMF 0 and AMF 3: the `connect` and the `onMetaData` of a real encoder, whole message bodies, decoded and encoded.
//! In AMF 3 they have the same names and values, as Flash would write them.

use std::hint::black_box;

use anabranch_benches::recorded;
use anabranch_core::amf::{AmfString, Limits, Properties, Value, amf0, amf3};
use anabranch_core::message::MessageType;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// The body of the first message of this type.
fn body(type_id: u8) -> Vec<u8> {
    let messages = recorded();
    let message = messages.iter().find(|message| message.type_id == type_id).expect("the encoder sent one");
    message.payload.to_vec()
}

fn amf3_likeness(value: &Value) -> amf3::Value {
    let member = |(name, value): (&AmfString, &Value)| (name.clone(), amf3_likeness(value));
    match value {
        Value::Number(number) if number.fract() == 0.0 && number.abs() < f64::from(1 << 28) => {
            amf3::Value::Integer(*number as i32)
        }
        Value::Number(number) => amf3::Value::Double(*number),
        Value::Boolean(truth) => amf3::Value::Boolean(*truth),
        Value::String(text) => amf3::Value::String(text.clone()),
        Value::Object(object) | Value::EcmaArray(object) => amf3::Value::Object(amf3::Object {
            class: AmfString::from(""),
            sealed: Properties::new(),
            dynamic: Some(object.iter().map(member).collect()),
        }),
        other => panic!("{other:?} is not in what the encoder sent"),
    }
}

fn decode_amf3(body: &[u8]) -> Vec<amf3::Value> {
    let mut decoder = amf3::Decoder::new(body, &Limits::default());
    let mut values = Vec::new();
    while let Some(value) = decoder.decode().expect("the body is legal") {
        values.push(value);
    }
    values
}

fn amf(criterion: &mut Criterion) {
    for (name, type_id) in [("connect", MessageType::COMMAND_AMF0), ("onMetaData", MessageType::DATA_AMF0)] {
        let body = body(type_id);
        let decode = |body: &[u8]| amf0::decode_all(body, &Limits::default()).expect("the body is legal");
        let values = decode(&body);
        let mut group = criterion.benchmark_group("amf0");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("decode {name}"), |bencher| bencher.iter(|| decode(black_box(&body))));
        let mut out = Vec::with_capacity(body.len());
        group.bench_function(format!("encode {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&values).iter().for_each(|value| amf0::encode(value, &mut out));
            });
        });
        assert_eq!(out, body, "it is written as it was read");
        group.finish();

        let values: Vec<_> = values.iter().map(amf3_likeness).collect();
        let mut body = Vec::new();
        values.iter().for_each(|value| amf3::encode(value, &mut body));
        assert_eq!(decode_amf3(&body).len(), values.len());
        let mut group = criterion.benchmark_group("amf3");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("decode {name}"), |bencher| bencher.iter(|| decode_amf3(black_box(&body))));
        let mut out = Vec::with_capacity(body.len());
        group.bench_function(format!("encode {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&values).iter().for_each(|value| amf3::encode(value, &mut out));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, amf);
criterion_main!(benches);
