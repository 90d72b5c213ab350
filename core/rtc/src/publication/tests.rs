//! Units of publishers as messages, checked against streams and decoder configurations that FFmpeg made.

use std::time::{Duration, Instant};

use anabranch_core::amf::{Limits, Object, Value, amf0};
use anabranch_core::flv::audio::{self, AudioPacketType};
use anabranch_core::flv::video::{self, VideoPacketType};
use anabranch_core::flv::{AudioCodec, VideoCodec};
use anabranch_core::message::{Message, MessageType};
use proptest::collection::vec;
use proptest::prelude::*;

use super::Publication;
use crate::peer::{Medium, Unit};

const BOTH: [Medium; 2] = [Medium::Video, Medium::Audio];

#[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
fn start() -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A picture that comes `ms` after the beginning. The clock of the track began long before.
fn picture(codec: VideoCodec, data: &[u8], ms: u64) -> Unit {
    Unit {
        codec: codec.into(),
        data: data.into(),
        time: Duration::from_secs(70_000) + millis(ms),
        sender_time: None,
        arrived: start() + millis(ms),
        is_key: false,
        is_contiguous: true,
    }
}

fn sound(ms: u64) -> Unit {
    let time = Duration::from_secs(900) + millis(ms);
    let data = [0xFC, ms as u8, 1].as_slice().into();
    Unit { codec: AudioCodec::Opus.into(), data, time, is_key: true, ..picture(VideoCodec::Avc, &[], ms) }
}

/// The pictures of a stream with delimiters.
fn with_delimiters(stream: &[u8], delimiter: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> =
        (0..stream.len()).filter(|at| stream[*at..].starts_with(delimiter)).chain([stream.len()]).collect();
    starts.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec()).collect()
}

/// The pictures of an IVF file.
fn of_ivf(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[32..];
    let mut pictures = Vec::new();
    while let Some(length) = rest.first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        pictures.push(rest[12..12 + length].to_vec());
        rest = &rest[12 + length..];
    }
    pictures
}

struct Stream {
    codec: VideoCodec,
    pictures: Vec<Vec<u8>>,
    record: &'static [u8],
}

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("fixtures/", $name)).as_slice()
    };
}

const AVC_DELIMITER: &[u8] = &[0, 0, 0, 1, 9];
const HEVC_DELIMITER: &[u8] = &[0, 0, 0, 1, 35 << 1];

fn avc() -> Stream {
    let (stream, record) = (fixture!("avc-high.h264"), fixture!("avc-high.avcC"));
    Stream { codec: VideoCodec::Avc, pictures: with_delimiters(stream, AVC_DELIMITER), record }
}

fn streams() -> Vec<Stream> {
    let avc_of = |stream, record| {
        let pictures = with_delimiters(stream, AVC_DELIMITER);
        Stream { codec: VideoCodec::Avc, pictures, record }
    };
    let ivf = |codec, file, record: &'static [u8]| Stream { codec, pictures: of_ivf(file), record };
    // Boxes of VP9 begin with a version and flags.
    vec![
        avc(),
        avc_of(fixture!("avc-baseline.h264"), fixture!("avc-baseline.avcC")),
        avc_of(fixture!("avc-high422.h264"), fixture!("avc-high422.avcC")),
        Stream {
            codec: VideoCodec::Hevc,
            pictures: with_delimiters(fixture!("hevc-main.h265"), HEVC_DELIMITER),
            record: fixture!("hevc-main.hvcC"),
        },
        ivf(VideoCodec::Av1, fixture!("av1-main.ivf"), fixture!("av1-main.av1C")),
        ivf(VideoCodec::Av1, fixture!("av1-high10.ivf"), fixture!("av1-high10.av1C")),
        ivf(VideoCodec::Vp9, fixture!("vp9-profile0.ivf"), &fixture!("vp9-profile0.vpcC")[4..]),
        ivf(VideoCodec::Vp9, fixture!("vp9-profile3.ivf"), &fixture!("vp9-profile3.vpcC")[4..]),
    ]
}

/// A message in words.
fn line(message: &Message) -> String {
    let time = message.timestamp;
    match message.type_id {
        MessageType::VIDEO => {
            let tag = video::parse(&message.payload).expect("it is legal");
            let kind = if tag.packet_type.is_sequence_header() {
                "header"
            } else if tag.frame_type.is_key() {
                "key"
            } else {
                "inter"
            };
            format!("{kind} {time}")
        }
        MessageType::AUDIO => {
            let tag = audio::parse(&message.payload).expect("it is legal");
            let kind = if tag.packet_type == AudioPacketType::SequenceStart { "opus header" } else { "opus" };
            format!("{kind} {time}")
        }
        _ => {
            assert_eq!(time, 0);
            "metadata".to_owned()
        }
    }
}

fn lines(messages: &[Message]) -> Vec<String> {
    messages.iter().map(line).collect()
}

fn metadata(message: &Message) -> Object {
    let values = amf0::decode_all(&message.payload, &Limits::default()).expect("AMF");
    assert_eq!(values[0].as_str(), Some("onMetaData"));
    let Value::EcmaArray(about) = &values[1] else { panic!("{:?}", values[1]) };
    about.clone()
}

fn track(message: &Message) -> (VideoPacketType, VideoCodec, i32, Vec<u8>) {
    let tag = video::parse(&message.payload).expect("it is legal");
    let track = tag.tracks().next().expect("a track").expect("it is legal");
    (tag.packet_type, track.codec, track.composition_time, track.payload.to_vec())
}

/// Of HEVC, without the promise that pictures have no further sets.
fn without_hints(codec: VideoCodec, record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    if codec == VideoCodec::Hevc {
        for kind in [32, 33, 34] {
            let at = record.windows(3).rposition(|bytes| bytes == [0x80 | kind, 0, 1]);
            at.iter().for_each(|at| record[*at] = kind);
        }
    }
    record
}

#[test]
fn decoder_configurations_are_those_that_ffmpeg_makes() {
    for Stream { codec, pictures, record } in streams() {
        let mut publication = Publication::new(&[Medium::Video]);
        let messages = publication.unit(&picture(codec, &pictures[0], 0));
        assert_eq!(lines(&messages), ["metadata", "header 0", "key 0"], "{codec:?}");
        let about = metadata(&messages[0]);
        let number = |name: &str| about.get(name).and_then(Value::as_number);
        assert_eq!((number("width"), number("height")), (Some(98.0), Some(66.0)), "{codec:?}");
        assert_eq!(number("audiocodecid"), None);
        let (packet_type, announced, _, configuration) = track(&messages[1]);
        assert_eq!((packet_type, announced), (VideoPacketType::SequenceStart, codec));
        let expected = without_hints(codec, record);
        let configuration = without_hints(codec, &configuration);
        if codec == VideoCodec::Hevc {
            // FFmpeg knows more of how pictures may be decoded, and the frame rate.
            assert_eq!(configuration[..13], expected[..13]);
            assert_eq!(configuration[16..19], expected[16..19]);
            assert_eq!(configuration[21..], expected[21..]);
        } else {
            assert_eq!(configuration, expected, "{codec:?}");
        }
    }
}

#[test]
fn all_pictures_come_through_with_lengths_and_without_what_is_not_theirs() {
    for Stream { codec, pictures, .. } in streams() {
        let mut publication = Publication::new(&[Medium::Video]);
        let mut sent = Vec::new();
        for (index, data) in pictures.iter().enumerate() {
            sent.extend(publication.unit(&picture(codec, data, 40 * index as u64)));
        }
        let coded: Vec<_> = sent.iter().filter(|message| !matches!(&*line(message), "metadata" | "header 0")).collect();
        assert_eq!(coded.len(), pictures.len(), "one header is enough: {:?}", lines(&sent));
        for (index, (message, data)) in coded.iter().zip(&pictures).enumerate() {
            let kind = if index % 6 == 0 { "key" } else { "inter" };
            assert_eq!(line(message), format!("{kind} {}", index * 40), "{codec:?}");
            let (_, _, shift, payload) = track(message);
            assert_eq!(shift, 0);
            match codec {
                VideoCodec::Avc | VideoCodec::Hevc => {
                    let mut rest = &payload[..];
                    while let Some(length) = rest.first_chunk() {
                        let length = u32::from_be_bytes(*length) as usize;
                        let unit = &rest[4..4 + length];
                        assert!(data.windows(length).any(|part| part == unit));
                        let is_slice = match codec {
                            VideoCodec::Avc => matches!(unit[0] & 0x1F, 1 | 5),
                            _ => unit[0] >> 1 < 32 || unit[0] >> 1 == 39,
                        };
                        assert!(is_slice, "{:x}", unit[0]);
                        rest = &rest[4 + length..];
                    }
                    assert!(rest.is_empty() && payload.len() > 4);
                }
                VideoCodec::Vp9 => assert_eq!(payload, *data),
                _ => assert!(data.ends_with(&payload) && data.len() - payload.len() <= 2, "all but the delimiter"),
            }
        }
        assert!(!publication.wants_key());
        assert_eq!(publication.left_out(), 0);
    }
}

#[test]
fn nothing_goes_out_before_a_key_frame_and_after_a_loss_before_the_next() {
    let Stream { codec, pictures, .. } = avc();
    let mut publication = Publication::new(&BOTH);
    assert!(publication.wants_key());
    let unit = |index: usize| picture(codec, &pictures[index], 40 * index as u64);
    assert!(publication.unit(&sound(60)).is_empty());
    assert!(publication.unit(&unit(3)).is_empty() && publication.unit(&unit(5)).is_empty());
    assert_eq!((publication.wants_key(), publication.left_out()), (true, 2));
    assert_eq!(publication.unit(&unit(6)).len(), 3);
    assert!(!publication.wants_key());
    assert_eq!(lines(&publication.unit(&sound(240))), ["opus header 180", "opus 180"]);
    assert_eq!(lines(&publication.unit(&unit(7))), ["inter 220"]);
    let lost = Unit { is_contiguous: false, ..unit(9) };
    assert!(publication.unit(&lost).is_empty() && publication.wants_key());
    assert!(publication.unit(&unit(10)).is_empty());
    assert_eq!(lines(&publication.unit(&sound(400))), ["opus 340"], "sound goes on");
    // A key frame needs nothing of what was lost before it.
    let key = Unit { is_contiguous: false, ..picture(codec, &pictures[6], 480) };
    assert_eq!(lines(&publication.unit(&key)), ["key 420"]);
    assert_eq!((publication.wants_key(), publication.left_out()), (false, 4));
}

#[test]
fn sound_waits_only_a_moment_for_pictures_that_do_not_come() {
    let Stream { codec, pictures, .. } = avc();
    let mut publication = Publication::new(&BOTH);
    assert!(publication.unit(&sound(0)).is_empty());
    assert!(publication.unit(&sound(1980)).is_empty());
    let begun = publication.unit(&sound(2000));
    assert_eq!(lines(&begun), ["metadata", "opus header 2000", "opus 2000"]);
    let about = metadata(&begun[0]);
    assert_eq!((about.get("width"), about.get("videocodecid")), (None, None));
    assert_eq!(about.get("audiocodecid").and_then(Value::as_number), Some(f64::from(u32::from_be_bytes(*b"Opus"))));
    let later = publication.unit(&picture(codec, &pictures[0], 3000));
    assert_eq!(lines(&later), ["metadata", "header 3000", "key 3000"]);
    assert_eq!(metadata(&later[0]).get("videocodecid").and_then(Value::as_number), Some(7.0));
    // Without pictures there is nothing to wait for.
    let mut publication = Publication::new(&[Medium::Audio]);
    assert_eq!(lines(&publication.unit(&sound(0))), ["metadata", "opus header 0", "opus 0"]);
    assert!(!publication.wants_key());
}

#[test]
fn other_parameters_and_other_codecs_have_headers_of_their_own() {
    let [Stream { pictures: high, .. }, Stream { pictures: baseline, .. }, _, hevc, ..] = &streams()[..] else {
        panic!("they are there")
    };
    let mut publication = Publication::new(&BOTH);
    let mut said = Vec::new();
    let keys = [(VideoCodec::Avc, &high[0]), (VideoCodec::Avc, &baseline[0]), (VideoCodec::Avc, &baseline[6])];
    for (number, (codec, data)) in keys.into_iter().chain([(VideoCodec::Hevc, &hevc.pictures[0])]).enumerate() {
        said.extend(lines(&publication.unit(&picture(codec, data, 100 * number as u64))));
    }
    let expected = [
        "metadata",
        "header 0",
        "key 0",
        "metadata",
        "header 100",
        "key 100",
        "key 200",
        "metadata",
        "header 300",
        "key 300",
    ];
    assert_eq!(said, expected);
}

#[test]
fn parameters_may_come_apart_from_the_picture() {
    let Stream { codec, pictures, record } = avc();
    let units: Vec<Vec<u8>> = super::nal::units(&pictures[0]).map(|unit| [&[0, 0, 0, 1], unit].concat()).collect();
    let of = |kind: u8| units.iter().filter(move |unit| unit[4] & 0x1F == kind).flatten().copied().collect::<Vec<_>>();
    let mut publication = Publication::new(&[Medium::Video]);
    assert!(publication.unit(&picture(codec, &of(5), 0)).is_empty(), "no decoder could begin with it");
    assert!(publication.unit(&picture(codec, &of(7), 10)).is_empty());
    assert!(publication.unit(&picture(codec, &of(8), 20)).is_empty());
    let begun = publication.unit(&picture(codec, &of(5), 30));
    assert_eq!(lines(&begun), ["metadata", "header 30", "key 30"]);
    assert_eq!(track(&begun[1]).3, record);
    assert_eq!(publication.left_out(), 1);
}

#[test]
fn pictures_out_of_order_are_decoded_in_the_order_in_which_they_came() {
    let Stream { codec, pictures, .. } = avc();
    let mut publication = Publication::new(&[Medium::Video]);
    let mut sent = Vec::new();
    for (index, shown) in [(0, 0), (1, 120), (2, 40), (3, 80), (4, 160)] {
        sent.extend(publication.unit(&picture(codec, &pictures[index], shown)));
    }
    let times: Vec<_> = sent[2..].iter().map(|message| (message.timestamp, track(message).2)).collect();
    assert_eq!(times, [(0, 0), (120, 0), (120, -80), (120, -40), (160, 0)]);
}

/// What the two tracks are apart after so many seconds, if the sender's pictures take `late` ms more than its sound, and
/// its clock of pictures is `drift` parts in a million too fast.
fn apart(late: u64, drift: u64, seconds: u64) -> i64 {
    let Stream { codec, pictures, .. } = avc();
    let mut publication = Publication::new(&BOTH);
    let mut difference = 0;
    let (mut last_picture, mut last_sound) = (0, 0);
    for number in 0..seconds * 25 {
        let captured = number * 40;
        let sender_time = (captured >= 1000).then(|| Duration::from_secs(1_700_000_000) + millis(captured));
        let data = &pictures[number as usize % 6];
        let drifted = millis(captured) + Duration::from_micros(captured * drift / 1000);
        let unit = picture(codec, data, 0);
        let picture =
            Unit { time: unit.time + drifted, arrived: start() + millis(captured + late), sender_time, ..unit };
        let sound = Unit { sender_time, ..sound(captured) };
        for message in publication.unit(&sound).into_iter().chain(publication.unit(&picture)) {
            match &*line(&message) {
                line if line.starts_with("opus ") => last_sound = i64::from(message.timestamp),
                line if line.starts_with("meta") || line.starts_with("header") => {}
                _ => {
                    assert!(i64::from(message.timestamp) >= last_picture, "time goes on");
                    last_picture = i64::from(message.timestamp);
                }
            }
        }
        difference = last_picture - last_sound;
    }
    difference
}

#[test]
fn pictures_and_sound_are_on_one_clock_whatever_their_ways_take() {
    assert_eq!(apart(0, 0, 2), 0);
    let before = apart(300, 0, 1);
    assert!((before - 300).abs() <= 1, "no report has come: {before}");
    let after = apart(300, 0, 10);
    assert!(after.abs() <= 1, "{after}");
}

#[test]
fn clocks_that_drift_stay_together() {
    // A quarter of a second in twenty minutes.
    let apart = apart(100, 208, 20 * 60);
    assert!(apart.abs() < 5, "{apart}");
}

#[test]
fn a_track_that_begins_anew_goes_on_where_it_was() {
    let Stream { codec, pictures, .. } = avc();
    let mut publication = Publication::new(&[Medium::Video]);
    publication.unit(&picture(codec, &pictures[0], 0));
    publication.unit(&picture(codec, &pictures[1], 40));
    for jump in [Duration::from_secs(7), Duration::from_secs(80_000)] {
        let unit = picture(codec, &pictures[6], 80);
        let messages = publication.unit(&Unit { time: jump, ..unit });
        assert_eq!(lines(&messages), ["key 80"]);
    }
}

#[test]
fn it_says_nothing_of_what_publishers_sent() {
    let Stream { codec, pictures, .. } = avc();
    let mut publication = Publication::new(&BOTH);
    publication.unit(&picture(codec, &pictures[0], 0));
    let shown = format!("{publication:?}");
    assert!(shown.contains("(98, 66)") && shown.len() < 700, "{shown}");
}

fn codec() -> impl Strategy<Value = VideoCodec> {
    prop_oneof![Just(VideoCodec::Avc), Just(VideoCodec::Hevc), Just(VideoCodec::Av1), Just(VideoCodec::Vp9)]
}

proptest! {
    #[test]
    fn no_units_make_it_panic(
        units in vec((codec(), vec(any::<u8>(), 0..60), any::<u64>(), any::<(bool, bool)>()), 1..20),
    ) {
        let mut publication = Publication::new(&BOTH);
        for (codec, data, time, (is_contiguous, begins)) in units {
            let prefix: &[u8] = if begins { &[0, 0, 1] } else { &[] };
            let unit = picture(codec, &[prefix, &data].concat(), time % 10_000);
            let sender_time = Some(Duration::from_micros(time));
            publication.unit(&Unit { is_contiguous, time: Duration::from_micros(time), sender_time, ..unit });
            publication.unit(&Unit { time: Duration::from_nanos(time), sender_time, ..sound(time % 10_000) });
        }
    }

    #[test]
    fn damaged_pictures_make_no_wrong_messages(stream in 0..8_usize, at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        let Stream { codec, pictures, .. } = streams().swap_remove(stream);
        let mut publication = Publication::new(&[Medium::Video]);
        for (index, data) in pictures.iter().enumerate() {
            let mut data = data.clone();
            if index < 2 {
                let at = at.index(data.len());
                data[at] ^= bits;
            }
            for message in publication.unit(&picture(codec, &data, 40 * index as u64)) {
                line(&message);
                prop_assert!(message.payload.len() <= data.len() + 200);
            }
        }
    }
}
