use proptest::prelude::*;

use super::video::VideoBody;
use super::*;

fn video_class(body: &[u8]) -> FrameClass {
    classify_video(body).class
}

fn audio_class(body: &[u8]) -> FrameClass {
    classify_audio(body).class
}

#[test]
fn legacy_video_classes() {
    for id in [7, 12, 13, 14] {
        let body = |frame: u8, packet: u8| [frame << 4 | id, packet, 0, 0, 0, 1];
        assert_eq!(video_class(&body(1, 0)), FrameClass::SequenceHeader);
        assert_eq!(video_class(&body(1, 1)), FrameClass::KeyFrame);
        assert_eq!(video_class(&body(4, 1)), FrameClass::KeyFrame);
        assert_eq!(video_class(&body(2, 1)), FrameClass::Frame);
        assert_eq!(video_class(&body(1, 2)), FrameClass::SequenceEnd);
        assert_eq!(video_class(&body(1, 3)), FrameClass::Other);
        assert_eq!(video_class(&body(5, 0)), FrameClass::Command);
        for length in 1..=4 {
            assert_eq!(video_class(&body(1, 1)[..length]), FrameClass::Malformed);
            assert_eq!(video_class(&body(5, 0)[..length]), FrameClass::Command);
        }
    }
    assert_eq!(video_class(b"\x12x"), FrameClass::KeyFrame);
    assert_eq!(video_class(b"\x32x"), FrameClass::Frame);
    assert_eq!(video_class(b""), FrameClass::Empty);
}

#[test]
fn extended_video_classes() {
    assert_eq!(video_class(b"\x90hvc1x"), FrameClass::SequenceHeader);
    assert_eq!(video_class(b"\x95av01x"), FrameClass::SequenceHeader);
    assert_eq!(video_class(b"\x91av01x"), FrameClass::KeyFrame);
    assert_eq!(video_class(b"\xC3hvc1x"), FrameClass::KeyFrame);
    assert_eq!(video_class(b"\xA3hvc1x"), FrameClass::Frame);
    assert_eq!(video_class(b"\x92hvc1"), FrameClass::SequenceEnd);
    assert_eq!(video_class(b"\xD4hvc1\x05"), FrameClass::Metadata);
    assert_eq!(video_class(b"\xD6"), FrameClass::Command);
    assert_eq!(video_class(b"\x98"), FrameClass::Other);
    assert_eq!(video_class(b"\x96\x31abc"), FrameClass::Other);
    assert_eq!(video_class(b"\x91hvc1\0\0"), FrameClass::Malformed);
    assert_eq!(video_class(b"\x91hv"), FrameClass::Malformed);
    assert_eq!(video_class(b"\x96\x11av01"), FrameClass::Malformed);
}

#[test]
fn audio_classes() {
    assert_eq!(audio_class(b""), FrameClass::Empty);
    assert_eq!(audio_class(b"\xAF\x00\x12\x10"), FrameClass::SequenceHeader);
    assert_eq!(audio_class(b"\xAF\x01x"), FrameClass::Frame);
    assert_eq!(audio_class(b"\x2Fx"), FrameClass::Frame);
    assert_eq!(audio_class(b"\xAF"), FrameClass::Malformed);
    assert_eq!(audio_class(b"\xAF\x00"), FrameClass::Malformed);
    assert_eq!(audio_class(b"\x90mp4a"), FrameClass::Malformed);
    assert_eq!(audio_class(b"\x90Opus"), FrameClass::SequenceHeader);
    assert_eq!(audio_class(b"\x92Opus"), FrameClass::SequenceEnd);
    assert_eq!(audio_class(b"\x94Opus\0\x02"), FrameClass::MultichannelConfig);
    assert_eq!(audio_class(b"\x93Opus"), FrameClass::Other);
}

#[test]
fn only_a_key_frame_of_the_default_track_is_a_join_point() {
    assert!(classify_video(b"\x17\x01\0\0\0x").is_join_point());
    assert!(!classify_video(b"\x17\0\0\0\0x").is_join_point());
    assert!(!classify_video(b"\x96\x01av01\x01x").is_join_point());
    let both = classify_video(b"\x96\x11av01\x01\0\0\x01x\0\0\0\x01y");
    assert!(both.is_join_point() && both.multitrack && both.enhanced);
    assert_eq!(both.codec, Some(VideoCodec::Av1));
}

#[test]
fn a_damaged_track_does_not_spoil_those_before_it() {
    let body = b"\x96\x10av01\x02\0\0\x01x\x03\0\0\x09y";
    let info = classify_video(body);
    assert_eq!((info.class, info.default_track), (FrameClass::SequenceHeader, false));
    let slots: Vec<_> = video_header_slots(body).collect();
    let slot = HeaderSlot { kind: HeaderKind::SequenceHeader, track: 2, codec: VideoCodec::Av1.into(), payload: b"x" };
    assert_eq!(slots, [slot]);
}

#[test]
fn header_slots_name_each_track() {
    let slots = |body| -> Vec<_> {
        audio_header_slots(body).map(|slot| (slot.kind, slot.track, slot.codec.to_string(), slot.payload)).collect()
    };
    let sequence = HeaderKind::SequenceHeader;
    assert_eq!(
        slots(b"\x95\x20mp4a\x00\0\0\x02\x12\x10Opus\x01\0\0\x00mp4a\x02\0\0\x00"),
        [(sequence, 0, "AAC".into(), b"\x12\x10".as_slice()), (sequence, 1, "Opus".into(), b""),]
    );
    assert_eq!(
        slots(b"\x95\x04Opus\x03\0\x02"),
        [(HeaderKind::MultichannelConfig, 3, "Opus".into(), b"\0\x02".as_slice())]
    );
    assert_eq!(slots(b"\x92Opus"), [(HeaderKind::SequenceEnd, 0, "Opus".into(), b"".as_slice())]);
    assert_eq!(slots(b"\xAF\x01x"), []);
    assert_eq!(slots(b"\xAF\x00"), []);
    let metadata = video_header_slots(b"\x84hvc1\x05").next().unwrap();
    assert_eq!((metadata.kind, metadata.payload), (HeaderKind::Metadata, b"\x05".as_slice()));
    assert_eq!(video_header_slots(b"\xD0\0").next(), None);
}

/// In a plain message, the packet type of the tracks would announce a ModEx prefix that is not there.
#[test]
fn tracks_of_a_packet_type_that_is_a_prefix_elsewhere_have_no_plain_form() {
    assert_eq!(rebuild::plain_audio(b"\x95\x17Opus\0\0\0\x01x"), None);
    let body = b"\x96\x17av01\0\0\0\x01x";
    assert_eq!(rebuild::plain_video(body), None);
    assert_eq!(rebuild::one_video_track(body, 0).as_deref(), Some(b"\x96\x07av01\0x".as_slice()));
}

#[test]
fn players_without_multitrack_get_the_plain_form_of_track_zero() {
    // A ModEx prefix with 500 ns stays.
    let body = b"\x97\x02\0\x01\xF4\x06\x21av01\x01\0\0\x01xhvc1\0\0\0\x05\0\0\x28ab";
    let plain = rebuild::plain_video(body).unwrap();
    assert_eq!(&plain[..], b"\x97\x02\0\x01\xF4\x01hvc1\0\0\x28ab");
    let one = rebuild::one_video_track(body, 1).unwrap();
    assert_eq!(&one[..], b"\x97\x02\0\x01\xF4\x06\x01av01\x01x");
    assert_eq!(rebuild::plain_video(&one), None);
    assert_eq!(rebuild::one_video_track(body, 2), None);

    let legacy = b"\xAF\x01x";
    assert_eq!(rebuild::plain_audio(legacy).as_deref(), Some(legacy.as_slice()));
    assert_eq!(rebuild::one_audio_track(legacy, 0).as_deref(), Some(legacy.as_slice()));
    assert_eq!(rebuild::one_audio_track(legacy, 1), None);
    let plain = rebuild::plain_audio(b"\x95\x01Opus\0x").unwrap();
    assert_eq!(&plain[..], b"\x91Opusx");
}

/// Calls every reader of bodies; the results do not matter, only that each call returns.
fn read_everything(body: &[u8]) {
    _ = classify_video(body);
    _ = classify_audio(body);
    if let Ok(tag) = video::parse(body) {
        assert!(tag.tracks().count() <= MAX_TRACKS + 1);
        assert!(tag.mod_ex.iter().count() <= MAX_MOD_EX);
        _ = tag.mod_ex.timestamp_offset_nanos();
    }
    if let Ok(tag) = audio::parse(body) {
        assert!(tag.tracks().count() <= MAX_TRACKS + 1);
    }
    _ = video_header_slots(body).count();
    _ = audio_header_slots(body).count();
    _ = audio::MultichannelConfig::parse(body);
    for track in [0, 1, 255] {
        _ = rebuild::one_video_track(body, track);
        _ = rebuild::one_audio_track(body, track);
    }
    _ = rebuild::plain_video(body);
    _ = rebuild::plain_audio(body);
    assert!(aggregate::parse(body, 7).count() <= body.len());
    _ = tag::parse_file_header(body);
    _ = tag::parse_tag_header(body);
    summarize_everything(body);
}

fn summarize_everything(payload: &[u8]) {
    for codec in [VideoCodec::Avc, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9] {
        _ = config::summarize(codec, payload);
    }
    for codec in [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Flac] {
        _ = config::summarize(codec, payload);
    }
}

/// A multitrack body with its tracks, as written.
#[derive(Clone, Debug)]
struct Written {
    prefix: Vec<u8>,
    packet_type: u8,
    tracks: Vec<(u8, [u8; 4], Vec<u8>)>,
    body: Vec<u8>,
}

fn multitrack_type(is_video: bool) -> u8 {
    if is_video { 6 } else { 5 }
}

fn many_tracks(is_video: bool) -> impl Strategy<Value = Written> {
    let codes = [*b"av01", *b"vp09", *b"Opus", *b"fLaC", *b"zzzz"];
    let track = (any::<u8>(), prop::sample::select(codes.to_vec()), prop::collection::vec(any::<u8>(), 0..20));
    let mod_ex = prop::option::of((0..16u8, prop::collection::vec(any::<u8>(), 1..300)));
    let tracks = prop::collection::vec(track, 1..6);
    (1..3u8, 0..3u8, mod_ex, tracks).prop_map(move |(frame, packet_type, mod_ex, mut tracks)| {
        tracks.sort();
        tracks.dedup_by_key(|track| track.0);
        let top = if is_video { 0x80 | frame << 4 } else { 0x90 };
        let multitrack = multitrack_type(is_video);
        let mut prefix = vec![top | multitrack];
        if let Some((kind, data)) = mod_ex {
            prefix = vec![top | 7];
            let size = data.len() - 1;
            match u8::try_from(size) {
                Ok(size) if size < 255 => prefix.push(size),
                _ => {
                    prefix.push(255);
                    prefix.extend(u16::try_from(size).unwrap().to_be_bytes());
                }
            }
            prefix.extend(data);
            prefix.push(kind << 4 | multitrack);
        }
        let mut body = prefix.clone();
        body.push(0x20 | packet_type);
        for (id, code, payload) in &tracks {
            body.extend(code);
            body.push(*id);
            body.extend([0, 0, u8::try_from(payload.len()).unwrap()]);
            body.extend(payload);
        }
        Written { prefix, packet_type, tracks, body }
    })
}

proptest! {
    #[test]
    fn random_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        read_everything(&body);
    }

    #[test]
    fn random_bytes_after_likely_headers_are_read_without_panic(
        first in prop::sample::select(vec![0x17u8, 0x1C, 0x90, 0x91, 0x94, 0x95, 0x96, 0x97, 0xD6, 0xAF, 0x16]),
        second in prop::sample::select(vec![0u8, 1, 0x10, 0x11, 0x20, 0x21, 0xFF]),
        rest in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200),
    ) {
        let mut body = vec![first, second];
        body.extend(rest);
        read_everything(&body);
    }

    #[test]
    fn random_configurations_are_read_without_panic(
        start in prop::sample::select(vec![
            b"\x01\x64\0\x1e\xff\xe1\0\x40\x67\x64".as_slice(), b"\x81\0\0\0\x0a\x10", b"OpusHead", b"fLaC\0\0\0\x22",
            b"\x01\x02\x20\0\0\0\x90\0\0\0\0\0\x3f\xf0\0\xfc\xfd\xfa\xfa\0\0\x0f\x01\xa1\0\x01\0\x40\x42\x01", b"\x12",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        summarize_everything(&[start, &rest].concat());
    }

    #[test]
    fn truncations_are_read_without_panic(written in many_tracks(true), other in many_tracks(false)) {
        for body in [&written.body, &other.body] {
            for length in 0..=body.len() {
                read_everything(&body[..length]);
            }
        }
    }

    /// Compares the classification with a second, independent reading of the first bytes.
    #[test]
    fn classification_of_plain_video_agrees_with_its_bytes(
        first in any::<u8>(),
        rest in prop::collection::vec(0..4u8, 8..12),
    ) {
        let mut body = vec![first];
        body.extend(&rest);
        let info = classify_video(&body);
        let (frame, low) = (first >> 4 & 7, first & 15);
        let key = matches!(frame, 1 | 4);
        let coded = if key { FrameClass::KeyFrame } else { FrameClass::Frame };
        let expected = if first & 0x80 == 0 {
            match (frame, low, rest[0]) {
                (5, ..) => FrameClass::Command,
                (_, 7 | 12 | 13 | 14, 0) => FrameClass::SequenceHeader,
                (_, 7 | 12 | 13 | 14, 1) => coded,
                (_, 7 | 12 | 13 | 14, 2) => FrameClass::SequenceEnd,
                (_, 7 | 12 | 13 | 14, _) => FrameClass::Other,
                _ => coded,
            }
        } else {
            match (frame, low) {
                (_, 7 | 6) => return Ok(()),
                (_, 4) => FrameClass::Metadata,
                (5, _) => FrameClass::Command,
                (_, 0 | 5) => FrameClass::SequenceHeader,
                (_, 1 | 3) => coded,
                (_, 2) => FrameClass::SequenceEnd,
                _ => FrameClass::Other,
            }
        };
        prop_assert_eq!(info.class, expected);
        prop_assert_eq!(info.enhanced, first & 0x80 != 0);
    }

    #[test]
    fn tracks_are_those_written_and_each_survives_on_its_own(
        (is_video, written) in any::<bool>().prop_flat_map(|is_video| (Just(is_video), many_tracks(is_video))),
    ) {
        let raw_tracks = |body: &[u8]| -> Vec<_> {
            if is_video {
                let tag = video::parse(body).unwrap();
                let tracks = tag.tracks().map(Result::unwrap);
                tracks.map(|t| (t.id, t.codec.fourcc().unwrap().0, t.payload.to_vec())).collect()
            } else {
                let tag = audio::parse(body).unwrap();
                let tracks = tag.tracks().map(Result::unwrap);
                tracks.map(|t| (t.id, t.codec.fourcc().unwrap().0, t.payload.to_vec())).collect()
            }
        };
        prop_assert_eq!(&raw_tracks(&written.body), &written.tracks);
        for track in &written.tracks {
            let one = if is_video {
                rebuild::one_video_track(&written.body, track.0)
            } else {
                rebuild::one_audio_track(&written.body, track.0)
            };
            let one = one.unwrap();
            prop_assert!(one.starts_with(&written.prefix));
            prop_assert_eq!(one[written.prefix.len()], written.packet_type);
            prop_assert_eq!(raw_tracks(&one), vec![track.clone()]);
        }
        let plain = if is_video {
            rebuild::plain_video(&written.body)
        } else {
            rebuild::plain_audio(&written.body)
        };
        let zero = written.tracks.iter().find(|track| track.0 == 0);
        prop_assert_eq!(plain.is_some(), zero.is_some());
        if let (Some(plain), Some(zero)) = (plain, zero) {
            prop_assert_eq!(raw_tracks(&plain), vec![zero.clone()]);
            if is_video {
                let (before, after) = (video::parse(&written.body).unwrap(), video::parse(&plain).unwrap());
                prop_assert_eq!(after.multitrack_kind(), None);
                prop_assert_eq!((after.frame_type, after.packet_type), (before.frame_type, before.packet_type));
                prop_assert!(after.mod_ex.iter().eq(before.mod_ex.iter()));
                prop_assert!(matches!(after.body, VideoBody::Track(_)));
                            }
        }
    }
}

/// Logs and statistics show the names; rebuilt bodies contain the codes.
#[test]
fn every_codec_has_its_codes_and_its_name() {
    let video = [
        (b"avc1", Some(7), "H.264"),
        (b"hvc1", Some(12), "HEVC"),
        (b"av01", Some(13), "AV1"),
        (b"vvc1", Some(14), "VVC"),
        (b"vp08", None, "VP8"),
        (b"vp09", None, "VP9"),
        (b"abcd", None, "unknown"),
    ];
    for (code, id, name) in video {
        let codec = VideoCodec::from_fourcc(FourCC(*code));
        assert_eq!((codec.fourcc(), codec.legacy_id(), codec.name()), (Some(FourCC(*code)), id, name));
    }
    let audio = [
        (b"mp4a", Some(10), "AAC"),
        (b"Opus", None, "Opus"),
        (b"fLaC", None, "FLAC"),
        (b"ac-3", None, "AC-3"),
        (b"ec-3", None, "E-AC-3"),
        (b".mp3", Some(2), "MP3"),
        (b"abcd", None, "unknown"),
    ];
    for (code, id, name) in audio {
        let codec = AudioCodec::from_fourcc(FourCC(*code));
        assert_eq!((codec.fourcc(), codec.legacy_id(), codec.name()), (Some(FourCC(*code)), id, name));
    }
    let of_video = |id| VideoCodec::from_legacy_id(id);
    let of_audio = |id| AudioCodec::from_legacy_id(id);
    for id in 0..16 {
        assert_eq!((of_video(id).legacy_id(), of_audio(id).legacy_id()), (Some(id), Some(id)));
    }
    let names: Vec<&str> = (0..10).map(|id| of_video(id).name()).collect();
    let expected = [
        "unknown",
        "JPEG",
        "Sorenson H.263",
        "Screen video",
        "VP6",
        "VP6 with alpha",
        "Screen video 2",
        "H.264",
        "H.263",
    ];
    assert_eq!((&names[..9], names[9]), (&expected[..], "MPEG-4"));
    let names: Vec<&str> = (0..16).map(|id| of_audio(id).name()).collect();
    let expected = ["PCM", "ADPCM", "MP3", "PCM", "Nellymoser", "Nellymoser", "Nellymoser", "G.711 A-law"];
    assert_eq!(names[..8], expected);
    let expected = ["G.711 mu-law", "unknown", "AAC", "Speex", "unknown", "unknown", "MP3", "device-specific"];
    assert_eq!(names[8..], expected);
    assert_eq!(of_video(0).to_string(), "unknown video codec 0");
    assert_eq!(AudioCodec::from_fourcc(FourCC(*b"abcd")).to_string(), "unknown audio codec abcd");
}
