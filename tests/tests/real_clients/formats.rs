//! What the formats for browsers make of a stream, as FFmpeg reads it.

use std::fs;
use std::path::Path;

use anabranch_core::flv::{self, Codec, HeaderKind, Tags, audio_header_slots, video_header_slots};
use anabranch_core::fmp4::{self, AudioConfig, Cadence, FragmentOptions, Sample, Track, VideoConfig};
use anabranch_core::hls::{Config, Container, Found, NameKey, PlaylistRequest, Segmenter};
use anabranch_core::message::{Message, MessageType};
use anabranch_core::source::{Frame, FrameKind, WireFormat};
use anabranch_tests::Folder;
use anabranch_tests::media::{decoded_sizes, packets, read};
use anabranch_tests::program::Process;

use super::SHORT;

/// The frames of a file, cut into small chunks, so that payloads have many pieces.
fn frames(file: &[u8]) -> Vec<Frame> {
    let frame = |tag: flv::Tag<'_>| {
        let message = Message {
            chunk_stream: 6,
            timestamp: tag.timestamp,
            type_id: tag.type_id,
            message_stream_id: 1,
            payload: tag.body.into(),
        };
        Frame::encode(message, WireFormat { chunk_size: 1000 })
    };
    let media = |tag: &flv::Tag<'_>| matches!(tag.type_id, MessageType::AUDIO | MessageType::VIDEO);
    Tags::new(file).expect("an FLV file").map(|tag| tag.expect("it is whole")).filter(media).map(frame).collect()
}

/// The sequence headers that a frame holds.
fn headers(frame: &Frame) -> Vec<(Codec, Vec<u8>)> {
    let body = frame.payload();
    let slots = match frame.kind() {
        FrameKind::Video => video_header_slots(&body),
        FrameKind::Audio => audio_header_slots(&body),
        FrameKind::Data => return Vec::new(),
    };
    let configures = |slot: &flv::HeaderSlot<'_>| slot.kind == HeaderKind::SequenceHeader;
    slots.filter(configures).map(|slot| (slot.codec, slot.payload.to_vec())).collect()
}

/// An init segment, and a fragment for each frame.
fn fragments(frames: &[Frame]) -> Vec<u8> {
    let mut tracks = Vec::new();
    for (codec, payload) in frames.iter().flat_map(headers) {
        tracks.push(match codec {
            Codec::Video(codec) => Track { id: 1, config: VideoConfig::from_header(codec, &payload).unwrap().into() },
            Codec::Audio(codec) => Track { id: 2, config: AudioConfig::from_header(codec, &payload).unwrap().into() },
        });
    }
    let mut out = Vec::new();
    fmp4::write_init(&tracks.iter().collect::<Vec<_>>(), &mut out).unwrap();
    let mut cadences: Vec<_> = tracks.iter().map(|track| Cadence::new(track.timescale(), 1000)).collect();
    for (sequence, frame) in frames.iter().enumerate() {
        frame.access_units(|unit| {
            let is_video = matches!(unit.codec, Codec::Video(_));
            let index = tracks.iter().position(|track| track.config.is_video() == is_video).unwrap();
            let (track, cadence) = (&tracks[index], &mut cadences[index]);
            let decode_time = fmp4::ticks(unit.timestamp.into(), 0, track.timescale());
            cadence.note(decode_time);
            let sample = Sample {
                track: track.id,
                decode_time,
                composition: unit.composition_time * (track.timescale() / 1000) as i32,
                duration: cadence.estimate(),
                size: unit.payload.len() as u32,
                key: unit.key,
            };
            let options = FragmentOptions::default();
            fmp4::write_fragment_head(sequence as u32, &[sample], &options, &mut out).unwrap();
            unit.payload.iter().for_each(|piece| out.extend_from_slice(piece));
        });
    }
    out
}

/// All segments that a playlist lists, with the init segment in front.
fn segments(frames: &[Frame], container: Container) -> Vec<u8> {
    let config = Config { container, target: Some(2), window: 100, ..Config::default() };
    let mut segmenter = Segmenter::new(config, NameKey::new([1; 32]), b"live/cam", 1_790_000_000_000);
    segmenter.begin(1, 1_790_000_000_000);
    for frame in frames {
        headers(frame).into_iter().for_each(|(codec, payload)| segmenter.header(codec, 0, &payload));
        frame.access_units(|unit| segmenter.push(unit));
    }
    segmenter.end(1_790_000_010_000);
    let playlist = segmenter.media_playlist(&PlaylistRequest::default(), &[]).expect("there are segments");
    let map = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"'));
    let names = map.into_iter().chain(playlist.lines().filter(|line| !line.starts_with('#')));
    let bytes = |name: &str| match segmenter.find(name) {
        Found::Media(media) => media.pieces.concat(),
        other => panic!("{name}: {other:?}"),
    };
    names.flat_map(bytes).collect()
}

/// Kind, size, key and hash of each packet of a file, the pictures first.
fn payloads(file: &Path) -> Vec<String> {
    let fields = |line: String| {
        let fields: Vec<_> = line.split(',').collect();
        [fields[0], fields[3], &fields[4][..1], fields[5]].join(",")
    };
    let mut payloads: Vec<_> = packets(&read(file)).into_iter().map(fields).collect();
    payloads.sort_by_key(|line| line.starts_with("audio"));
    payloads
}

#[test]
fn ffmpeg_finds_each_payload_unchanged_in_fragmented_mp4() {
    let folder = Folder::new();
    let clip = SHORT.file();
    let frames = frames(&fs::read(&clip).expect("the clip is there"));
    let sent = payloads(&clip);
    assert!(sent.len() > 200);
    for (name, bytes) in [("fragments.mp4", fragments(&frames)), ("segments.mp4", segments(&frames, Container::Fmp4))] {
        let file = folder.file(name);
        fs::write(&file, bytes).expect("the folder can be written");
        assert_eq!(payloads(&file), sent, "{name}");
        assert_eq!(decoded_sizes(&file), ["320,180"], "{name}");
    }
}

#[test]
fn ffmpeg_decodes_transport_streams_to_the_last_picture() {
    let folder = Folder::new();
    let clip = SHORT.file();
    let frames = frames(&fs::read(&clip).expect("the clip is there"));
    let file = folder.file("segments.ts");
    fs::write(&file, segments(&frames, Container::MpegTs)).expect("the folder can be written");
    assert_eq!(decoded_sizes(&file), ["320,180"]);
    for kind in ["v", "a"] {
        let times = times(&file, kind);
        assert_eq!(times.len(), self::times(&clip, kind).len(), "{kind}");
        assert!(times.is_sorted_by(|one, next| one < next), "{kind}");
    }
}

/// Decoding times of the packets of a kind.
fn times(file: &Path, kind: &str) -> Vec<i64> {
    let arguments = ["-loglevel", "error", "-select_streams", kind, "-show_entries", "packet=dts", "-of"];
    let file = file.to_str().expect("paths of tests are UTF-8");
    let lines = Process::run("ffprobe", arguments.iter().chain(&["csv=print_section=0", file]));
    // Where a packet has side data, a comma follows.
    lines.iter().map(|line| line.trim_end_matches(',').parse().expect("a time")).collect()
}
