//! Forms of media for browsers: fragmented MP4, transport streams, segments and playlists.

use anabranch_core::bytes::Bytes;
use anabranch_core::flv::{AccessUnit, AudioCodec, Codec, FourCC, Slices, VideoCodec};
use anabranch_core::fmp4::{self, AudioConfig, FragmentOptions, Sample, Track, TrackConfig, VideoConfig};
use anabranch_core::hls::{Config, Container, Decision, Found, NameKey, PlaylistRequest, Segmenter};
use anabranch_core::mpegts::{Muxer, PACKET, Unit};

use crate::cuts::take_byte;
use crate::playlist::{Checker, Playlist};

const VIDEO: [&[u8; 4]; 5] = [b"avc1", b"hvc1", b"av01", b"vp09", b"vp08"];
const AUDIO: [&[u8; 4]; 6] = [b"mp4a", b".mp3", b"Opus", b"fLaC", b"ac-3", b"ec-3"];

/// A configuration from the front of the input: a byte for the codec, one for the length, and so many bytes.
fn config(input: &mut &[u8]) -> Option<TrackConfig> {
    let codec = usize::from(take_byte(input));
    let (record, rest) = input.split_at(usize::from(take_byte(input)).min(input.len()));
    *input = rest;
    if let Some(fourcc) = VIDEO.get(codec % 11) {
        let codec = VideoCodec::from_fourcc(FourCC(**fourcc));
        return VideoConfig::from_header(codec, record).ok().map(TrackConfig::from);
    }
    let codec = AudioCodec::from_fourcc(FourCC(*AUDIO[codec % 11 - 5]));
    let config = AudioConfig::from_header(codec, record).or_else(|_| AudioConfig::from_frame(codec, record));
    config.ok().map(TrackConfig::from)
}

/// The boxes of some bytes, each with its type and content. Panics unless they are nothing but boxes.
fn boxes(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
        found.push((&bytes[4..8], &bytes[8..size]));
        bytes = &bytes[size..];
    }
    found
}

/// Two configurations, and samples of eight bytes each.
pub fn fmp4(mut input: &[u8]) {
    let tracks: Vec<_> = (1..=2).filter_map(|id| Some(Track { id, config: config(&mut input)? })).collect();
    let tracks: Vec<_> = tracks.iter().collect();
    let mut init = Vec::new();
    match fmp4::write_init(&tracks, &mut init) {
        Ok(()) => {
            let top = boxes(&init);
            assert_eq!((top.len(), top[0].0, top[1].0), (2, &b"ftyp"[..], &b"moov"[..]));
            assert_eq!(boxes(top[1].1).len(), 2 + tracks.len());
            let mime = fmp4::mime_type(&tracks);
            assert!(mime.is_ascii() && mime.matches('"').count() == 2, "{mime}");
        }
        Err(error) => assert!(tracks.is_empty(), "{error}"),
    }
    let sample = |bytes: &[u8]| Sample {
        track: u32::from(bytes[0] & 3),
        decode_time: u64::from(bytes[1]) << (bytes[2] & 63),
        composition: i32::from(bytes[3] as i8) << (bytes[2] & 15),
        duration: u32::from(bytes[4]),
        size: u32::from(bytes[5]),
        key: bytes[6] & 1 != 0,
    };
    let samples: Vec<_> = input.chunks_exact(8).map(sample).collect();
    let mut out = Vec::new();
    let options = FragmentOptions { segment: input.len() % 2 == 0, reference_time: None };
    if fmp4::write_fragment_head(1, &samples, &options, &mut out).is_ok() {
        let payload: usize = samples.iter().map(|sample| sample.size as usize).sum();
        out.resize(out.len() + payload, 0);
        let top = boxes(&out);
        let moof = top[top.len() - 2];
        assert_eq!((moof.0, top[top.len() - 1].1.len()), (&b"moof"[..], payload));
        let mut ids: Vec<_> = samples.iter().map(|sample| sample.track).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(boxes(moof.1).len(), 1 + ids.len(), "a head, and a box for each track");
    } else {
        assert!(samples.is_empty());
    }
}

/// Two configurations, and payloads: a byte for track and key, two for the time, one for the length.
pub fn mpegts(mut input: &[u8]) {
    let configs: Vec<_> = (0..2).filter_map(|_| config(&mut input)).collect();
    let Ok(mut muxer) = Muxer::new(&configs) else {
        assert!(configs.is_empty() || !configs.iter().all(Muxer::can_carry));
        return;
    };
    let mut out = Vec::new();
    muxer.write_tables(&mut out);
    while !input.is_empty() {
        let kind = take_byte(&mut input);
        let time = u64::from(take_byte(&mut input)) << (take_byte(&mut input) & 63);
        let (payload, rest) = input.split_at(usize::from(take_byte(&mut input)).min(input.len()));
        input = rest;
        let unit = Unit {
            track: usize::from(kind & 3),
            decode_time: time,
            composition: i32::from(kind as i8) << 12,
            key: kind & 4 != 0,
        };
        let before = out.len();
        let payload = Slices::from(Bytes::copy_from_slice(payload));
        if muxer.write(unit, &payload, &mut out).is_err() {
            assert_eq!(out.len(), before, "an error writes nothing");
        }
    }
    assert!(out.len() % PACKET == 0 && out.chunks(PACKET).all(|packet| packet[0] == 0x47));
}

/// The query of a request for a playlist, and a name, separated by a line end.
pub fn playlist(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (query, name) = text.split_once('\n').unwrap_or((&text, ""));
    let mut segmenter = Segmenter::new(Config::default(), NameKey::new([1; 32]), b"live/cam", 1000);
    segmenter.begin(1, 1000);
    segmenter.header(AudioCodec::Aac.into(), 0, &[0x12, 0x10]);
    for frame in 0..600 {
        segmenter.push(unit(AudioCodec::Aac.into(), frame * 23, true, 4));
    }
    assert_eq!(segmenter.find(name), Found::Missing, "a name has 128 bits that cannot be guessed");
    let Ok(request) = PlaylistRequest::parse(query) else { return };
    assert!(request.part.is_none() || request.segment.is_some());
    let text = segmenter.media_playlist(&request, &[]).expect("there are segments");
    let playlist = Playlist::parse(&text);
    let last = playlist.media_sequence + playlist.skipped + playlist.segments.len() as u64 - 1;
    match segmenter.decide(&request) {
        Decision::Now => assert!(request.segment.is_none_or(|segment| segment <= last + 1)),
        Decision::Wait(_) => assert!(request.segment.is_some_and(|segment| (last..=last + 2).contains(&segment))),
        Decision::BadRequest => assert!(request.segment.is_some_and(|segment| segment >= last)),
    }
}

fn unit(codec: Codec, timestamp: u32, key: bool, length: usize) -> AccessUnit {
    AccessUnit {
        codec,
        track: 0,
        key,
        timestamp,
        nanoseconds: 0,
        composition_time: 0,
        payload: Bytes::from(vec![0; length]).into(),
    }
}

const AVC: [&[u8]; 2] = [
    b"\x01\x64\x00\x1e\xff\xe1\x00\x04\x67\x64\x00\x1e\x01\x00\x01\x68",
    b"\x01\x42\x00\x1f\xff\xe1\x00\x04\x67\x42\x00\x1f\x01\x00\x01\x68",
];

/// Three bytes of settings, then operations of two bytes: what comes, and how much later.
pub fn segmenter(mut input: &[u8]) {
    let settings = take_byte(&mut input);
    let part = u64::from(take_byte(&mut input)) * 10;
    let room = usize::from(take_byte(&mut input));
    let config = Config {
        target: (settings & 1 != 0).then_some(u32::from(settings >> 5)),
        part: (part > 0).then(|| std::time::Duration::from_millis(part)),
        window: usize::from(settings >> 3 & 7),
        bytes: 20_000 + (room << 12),
        container: if settings & 2 != 0 { Container::MpegTs } else { Container::Fmp4 },
        ..Config::default()
    };
    let mut now = 1_790_000_000_000;
    let mut segmenter = Segmenter::new(config, NameKey::new([1; 32]), b"live/cam", now);
    let mut checker = Checker::lenient();
    let (mut timestamp, mut version, mut publication) = (0u32, 0, 0);
    while input.len() >= 2 {
        let (operation, later) = (take_byte(&mut input), u32::from(take_byte(&mut input)));
        let had_ended = segmenter.has_ended();
        match operation & 15 {
            0 => {
                publication += 1;
                segmenter.begin(publication, now);
            }
            1 => segmenter.end(now),
            2 => segmenter.header(VideoCodec::Avc.into(), 0, AVC[usize::from(operation >> 7)]),
            3 => segmenter.header(AudioCodec::Aac.into(), 0, &[0x12, operation & 0xF0]),
            4 => segmenter.header(VideoCodec::Avc.into(), 0, &[later as u8]),
            5 => timestamp = timestamp.wrapping_sub(later << 4),
            6 => timestamp = timestamp.wrapping_add(later << 6),
            7 => now += u64::from(later) << 10,
            8..=10 => segmenter.push(unit(AudioCodec::Aac.into(), timestamp, true, usize::from(operation))),
            kind => {
                timestamp = timestamp.wrapping_add(later);
                now += u64::from(later);
                let length = usize::from(operation >> 4) << 8;
                segmenter.push(unit(VideoCodec::Avc.into(), timestamp, kind == 11, length));
            }
        }
        segmenter.handle_timeout(now);
        assert!(segmenter.bytes() <= config.bytes * 2 + 10_000, "{} of {}", segmenter.bytes(), config.bytes);
        if had_ended && !segmenter.has_ended() {
            // Another publication after the end: a new playlist.
            checker = Checker::lenient();
        }
        if segmenter.version() == version {
            continue;
        }
        version = segmenter.version();
        let Some(text) = segmenter.media_playlist(&PlaylistRequest::default(), &[]) else { continue };
        checker.check(&text);
        for (_, segment) in checker.last_checked().numbered() {
            let names = segment.parts.iter().map(|part| &part.uri).chain(&segment.map);
            let names = names.chain(std::iter::once(&segment.uri).filter(|uri| !uri.is_empty()));
            for name in names {
                assert!(matches!(segmenter.find(name), Found::Media(_)), "{name} is there");
            }
        }
        let skip = PlaylistRequest { skip: true, ..PlaylistRequest::default() };
        checker.check_skipped(&segmenter.media_playlist(&skip, &[]).expect("there is one"));
        let _ = segmenter.manifest().map(|manifest| manifest.pieces(None, now));
    }
}
