//! Audio, video and aggregate bodies of the shared test vectors: every `expect` field against the parsed value.

use std::fmt::Display;

use anabranch_core::flv::audio::{self, AudioBody, AudioPacketType, ChannelLayout, MultichannelConfig};
use anabranch_core::flv::video::{self, VideoBody};
use anabranch_core::flv::{self, AudioCodec, Codec, FlvError, FrameClass, ModExList, VideoCodec, aggregate};
use serde_json::{Map, Value, json};

#[test]
fn every_flv_vector_reads_as_expected() {
    let file: Value = serde_json::from_str(include_str!("fixtures/vectors.json")).expect("the vectors are JSON");
    let (mut failures, mut count) = (Vec::new(), 0);
    for vector in file["vectors"].as_array().expect("a list of vectors") {
        if !["video", "audio", "aggregate"].iter().any(|kind| vector["kind"] == *kind) {
            continue;
        }
        let input = hex::decode(vector["input"].as_str().expect("an input in hex")).expect("hex");
        let found = match vector["kind"].as_str() {
            Some("video") => video_vector(&input, &vector["expect"]),
            Some("audio") => audio_vector(&input, &vector["expect"]),
            _ => aggregate_vector(&input, vector),
        };
        count += 1;
        if let Err(reason) = found {
            failures.push(format!("{}: {reason}", vector["id"]));
        }
    }
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 57, "only {count} vectors found");
}

fn video_vector(input: &[u8], expect: &Value) -> Result<(), String> {
    let info = flv::classify_video(input);
    let tag = match video::parse(input) {
        Ok(tag) => tag,
        Err(error) => return expect_error(&error, info.class, expect),
    };
    let tracks: Vec<_> = tag.tracks().collect();
    if expect.get("error").is_some() {
        let error = tracks.into_iter().find_map(Result::err).ok_or("no error")?;
        return expect_error(&error, info.class, expect);
    }
    let tracks: Vec<_> = tracks.into_iter().collect::<Result<_, _>>().map_err(text)?;
    let single = match tag.body {
        VideoBody::Track(track) => Some(track),
        _ => None,
    };
    let mut seen = Map::new();
    seen.insert("ex".into(), json!(tag.enhanced));
    seen.insert("frame".into(), json!(tag.frame_type.bits()));
    let packet = match tag.packet_type {
        video::VideoPacketType::Mpeg2TsSequenceStart => "MPEG2TSSequenceStart".to_owned(),
        other => format!("{other:?}"),
    };
    seen.insert("packet".into(), packet_value(&packet, tag.enhanced));
    seen.insert("keyframe".into(), json!(info.class == FrameClass::KeyFrame));
    if let VideoBody::Command(command) = tag.body {
        seen.insert("command".into(), json!(format!("{command:?}")));
        // A command frame has a codec only in the low bits of its legacy header.
        let codec = input.first().map(|first| first & 0x0F);
        seen.insert("codec".into(), json!(codec));
    }
    if let Some(track) = single {
        let codec = match track.codec {
            VideoCodec::Avc => "avc",
            VideoCodec::Hevc => "hevc (legacy id 12)",
            VideoCodec::H263 | VideoCodec::SorensonH263 => "h263",
            _ => "other",
        };
        seen.insert("codec".into(), json!(codec));
        seen.insert("cts".into(), json!(track.composition_time));
    }
    let list = tracks.iter().map(|track| {
        let mut value = track_value(track.id, track.codec.into(), track.payload);
        value["cts"] = json!(track.composition_time);
        value
    });
    seen.insert("tracks".into(), list.collect());
    single_fields(&mut seen, single.map(|track| (track.codec.into(), track.payload)));
    shared_fields(&mut seen, info.class, tag.mod_ex, tag.multitrack_kind());
    if expect.get("amf").is_some() && info.class != FrameClass::Metadata {
        return Err(format!("class {:?}", info.class));
    }
    compare(&seen, expect)
}

fn audio_vector(input: &[u8], expect: &Value) -> Result<(), String> {
    let info = flv::classify_audio(input);
    let tag = match audio::parse(input) {
        Ok(tag) => tag,
        Err(error) => return expect_error(&error, info.class, expect),
    };
    let tracks: Vec<_> = tag.tracks().collect::<Result<_, _>>().map_err(text)?;
    let single = match tag.body {
        AudioBody::Track(track) => Some(track),
        _ => None,
    };
    let mut seen = Map::new();
    seen.insert("ex".into(), json!(tag.is_enhanced()));
    seen.insert("packet".into(), packet_value(&format!("{:?}", tag.packet_type), tag.is_enhanced()));
    if let Some(sound) = tag.sound {
        seen.insert("rate".into(), json!(sound.sample_rate()));
        seen.insert("bits".into(), json!(sound.bits()));
        seen.insert("channels".into(), json!(sound.channels()));
        seen.insert("rate_bits".into(), json!(sound.rate_bits));
        seen.insert("size_bit".into(), json!(u8::from(sound.wide)));
        seen.insert("type_bit".into(), json!(u8::from(sound.stereo)));
    }
    if let Some(track) = single {
        let codec = match track.codec {
            AudioCodec::Aac => "aac",
            AudioCodec::Mp3 => "mp3",
            AudioCodec::G711ALaw => "g711a",
            AudioCodec::Speex => "speex",
            _ => "other",
        };
        seen.insert("codec".into(), json!(codec));
        if tag.packet_type == AudioPacketType::MultichannelConfig {
            let config = MultichannelConfig::parse(track.payload).map_err(text)?;
            seen.insert("channels".into(), json!(config.channels));
            let order = match config.layout {
                ChannelLayout::Native(mask) => {
                    seen.insert("flags".into(), json!(mask));
                    "Native"
                }
                ChannelLayout::Custom(map) => {
                    seen.insert("map".into(), json!(map));
                    "Custom"
                }
                ChannelLayout::Unspecified => "Unspecified",
                _ => "unknown",
            };
            seen.insert("order".into(), json!(order));
        }
    }
    let list = tracks.iter().map(|track| track_value(track.id, track.codec.into(), track.payload));
    seen.insert("tracks".into(), list.collect());
    single_fields(&mut seen, single.map(|track| (track.codec.into(), track.payload)));
    shared_fields(&mut seen, info.class, tag.mod_ex, tag.multitrack_kind());
    compare(&seen, expect)
}

fn aggregate_vector(input: &[u8], vector: &Value) -> Result<(), String> {
    let timestamp = vector["message_timestamp"].as_u64().and_then(|t| u32::try_from(t).ok());
    let read = aggregate::parse(input, timestamp.ok_or("no timestamp")?);
    let read: Result<Vec<_>, _> = read
        .map(|message| {
            message.map(|m| json!({"type": m.type_id, "timestamp": m.timestamp, "payload": hex::encode(m.payload)}))
        })
        .collect();
    match (read, &vector["expect"]) {
        (Err(_), Value::String(text)) if text.starts_with("error") => Ok(()),
        (Ok(read), expect) if json!(read) == *expect => Ok(()),
        (read, expect) => Err(format!("{read:?} instead of {expect}")),
    }
}

/// An input that cannot be read: the vector must say so, and the class must agree.
fn expect_error(error: &FlvError, class: FrameClass, expect: &Value) -> Result<(), String> {
    let empty = ["empty", "silence"].iter().any(|key| expect.get(*key) == Some(&json!(true)));
    match error {
        FlvError::Empty if empty && class == FrameClass::Empty => Ok(()),
        FlvError::Empty => Err(text(error)),
        _ if expect.get("error").is_some() && class == FrameClass::Malformed => Ok(()),
        _ => Err(format!("{error}, class {class:?}")),
    }
}

/// Legacy vectors give packet types as numbers, extended ones as names.
fn packet_value(name: &str, enhanced: bool) -> Value {
    match name {
        _ if enhanced => json!(name),
        "SequenceStart" => json!(0),
        "CodedFrames" => json!(1),
        "SequenceEnd" => json!(2),
        other => json!(other),
    }
}

fn single_fields(seen: &mut Map<String, Value>, single: Option<(Codec, &[u8])>) {
    if let Some((codec, payload)) = single {
        seen.insert("payload".into(), json!(hex::encode(payload)));
        seen.insert("fourcc".into(), fourcc(codec));
    }
}

fn shared_fields(
    seen: &mut Map<String, Value>,
    class: FrameClass,
    mod_ex: ModExList<'_>,
    multitrack: Option<flv::MultitrackKind>,
) {
    seen.insert("sequence_header".into(), json!(class == FrameClass::SequenceHeader));
    seen.insert("sequence_end".into(), json!(class == FrameClass::SequenceEnd));
    if let Some(kind) = multitrack {
        seen.insert("multitrack".into(), json!(format!("{kind:?}")));
    }
    let list = mod_ex.iter().map(|mod_ex| match mod_ex.timestamp_offset_nanos() {
        Some(nano) => json!({"type": mod_ex.kind, "nano": nano}),
        None => json!({"type": mod_ex.kind, "data": hex::encode(mod_ex.data)}),
    });
    seen.insert("modex".into(), list.collect());
    if let Some(first) = mod_ex.iter().next() {
        seen.insert("modex_size".into(), json!(first.data.len()));
    }
}

fn track_value(id: u8, codec: Codec, payload: &[u8]) -> Value {
    json!({"id": id, "fourcc": fourcc(codec), "payload": hex::encode(payload)})
}

fn fourcc(codec: Codec) -> Value {
    let fourcc = match codec {
        Codec::Audio(codec) => codec.fourcc(),
        Codec::Video(codec) => codec.fourcc(),
    };
    json!(fourcc.map(|fourcc| fourcc.to_string()))
}

/// Compares every field of the vector, except `amf`, which another test checks.
fn compare(seen: &Map<String, Value>, expect: &Value) -> Result<(), String> {
    for (key, value) in expect.as_object().ok_or("expect is no object")? {
        if key != "amf" && !seen.get(key).is_some_and(|seen| agrees(seen, value)) {
            return Err(format!("{key} is {:?} instead of {value}", seen.get(key)));
        }
    }
    Ok(())
}

/// Equality in which an expected object may omit fields.
fn agrees(seen: &Value, expect: &Value) -> bool {
    match (seen, expect) {
        (Value::Object(seen), Value::Object(expect)) => {
            expect.iter().all(|(key, value)| seen.get(key).is_some_and(|seen| agrees(seen, value)))
        }
        (Value::Array(seen), Value::Array(expect)) => {
            seen.len() == expect.len() && seen.iter().zip(expect).all(|(seen, expect)| agrees(seen, expect))
        }
        _ => seen == expect,
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
