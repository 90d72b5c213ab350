use mp4_atom::{Any, Decode, Encode, Moov, Trun};

use super::*;
use crate::flv::{AudioCodec, FourCC, VideoCodec};

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

// Made with x264, x265 and libaom of FFmpeg 5.1.
const AVC: &str = "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
const HEVC: &str = concat!(
    "0102200000009000000000003ff000fcfdfafa00000f02",
    "a00001001840010c01ffff02200000030090000003000003003f959809",
    "a10001002b42010102200000030090000003000003003fa005020171d48d96566924caf0168080000003008000000c84",
);
const AV1: &str = "812000000a0d200000043d06d4daf92021a004";
const VP9: &str = "0029820202020000";
const OPUS: &[u8] = b"OpusHead\x01\x06\x38\x01\x44\xac\0\0\0\0\x01\x04\x02\0\x01\x02\x03\x04\x05";

#[test]
fn flac_headers_of_ffmpeg_are_without_a_mark() {
    // Sent by FFmpeg 9 for 48 kHz, mono.
    let mut header = vec![4, 0, 4, 0, 0, 0, 0, 0, 8, 0x15, 0x0B, 0xB8, 0, 0xF0];
    header.resize(34, 0);
    let config = AudioConfig::from_header(AudioCodec::Flac, &header).unwrap();
    assert_eq!((config.sample_rate(), config.channels()), (48_000, 1));
    assert_eq!(config.record()[..], [&[0x80, 0, 0, 34], &header[..]].concat());
    assert!(AudioConfig::from_header(AudioCodec::Flac, &header[1..]).is_err());
}

fn flac() -> Vec<u8> {
    let mut flac = b"fLaC\x80\0\0\x22".to_vec();
    flac.extend([0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x0B, 0xB8, 0x02, 0xF0]);
    flac.extend([0; 20]);
    flac
}

fn video(codec: VideoCodec, record: &str) -> VideoConfig {
    VideoConfig::from_header(codec, &hex(record)).unwrap()
}

fn audio(codec: AudioCodec, header: &[u8]) -> AudioConfig {
    if AudioConfig::is_in_frames(codec) {
        AudioConfig::from_frame(codec, header).unwrap()
    } else {
        AudioConfig::from_header(codec, header).unwrap()
    }
}

/// One of each codec, with the type of its sample entry and its name.
fn configs() -> Vec<(TrackConfig, &'static str, &'static str)> {
    vec![
        (video(VideoCodec::Avc, AVC).into(), "Avc1", "avc1.64001e"),
        (video(VideoCodec::Hevc, HEVC).into(), "Hvc1", "hvc1.2.4.L63.90"),
        (video(VideoCodec::Av1, AV1).into(), "Av01", "av01.1.00M.08"),
        (video(VideoCodec::Vp9, VP9).or_size(Some((640, 360))).into(), "Vp09", "vp09.00.41.08"),
        (audio(AudioCodec::Aac, &[0x12, 0x10]).into(), "Mp4a", "mp4a.40.2"),
        (audio(AudioCodec::Mp3, &[0xFF, 0xFB, 0x90, 0xC4]).into(), "Mp4a", "mp4a.6B"),
        (audio(AudioCodec::Opus, OPUS).into(), "Opus", "opus"),
        (audio(AudioCodec::Flac, &flac()).into(), "Flac", "flac"),
        (audio(AudioCodec::Ac3, &[0x0B, 0x77, 0x3F, 0x5E, 0x1E, 0x40, 0x4B, 0xF4]).into(), "Ac3", "ac-3"),
        (audio(AudioCodec::Eac3, &[0x0B, 0x77, 0x01, 0xBF, 0x34, 0x87]).into(), "Eac3", "ec-3"),
    ]
}

/// The boxes of some bytes, which must be nothing but boxes.
fn boxes(bytes: &[u8]) -> Vec<Any> {
    let mut rest = bytes;
    let mut boxes = Vec::new();
    while !rest.is_empty() {
        boxes.push(Any::decode(&mut rest).unwrap());
    }
    boxes
}

fn moov(bytes: &[u8]) -> Moov {
    let boxes = boxes(bytes);
    assert!(matches!(boxes[0], Any::Ftyp(_)) && boxes.len() == 2);
    match boxes.into_iter().nth(1) {
        Some(Any::Moov(moov)) => moov,
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_reader_finds_each_codec_in_its_sample_entry() {
    for (config, entry, name) in configs() {
        assert_eq!(config.codec_string(), name);
        let track = Track { id: 3, config };
        let mut bytes = Vec::new();
        write_init(&[&track], &mut bytes).unwrap();
        let moov = moov(&bytes);
        assert_eq!(moov.trak.len(), 1);
        let trak = &moov.trak[0];
        assert_eq!((trak.tkhd.track_id, trak.mdia.mdhd.timescale), (3, track.timescale()));
        assert_eq!(moov.mvex.as_ref().unwrap().trex[0].track_id, 3);
        let codecs = &trak.mdia.minf.stbl.stsd.codecs;
        assert_eq!(codecs.len(), 1);
        assert!(format!("{:?}", codecs[0]).starts_with(entry), "{:?}", codecs[0]);
    }
}

#[test]
fn the_sample_entries_have_the_values_of_the_headers() {
    let written = |config: TrackConfig| {
        let mut bytes = Vec::new();
        write_init(&[&Track { id: 1, config }], &mut bytes).unwrap();
        format!("{:?}", moov(&bytes).trak[0].mdia.minf.stbl.stsd.codecs[0])
    };
    let all = configs().into_iter().map(|(config, ..)| written(config)).collect::<Vec<_>>();
    let expected: [&[&str]; 10] = [
        &["width: 638", "height: 362"],
        &["width: 638", "height: 362"],
        &["width: 322", "height: 182"],
        &["width: 640", "height: 360"],
        &["object_type_indication: 64", "freq_index: 4"],
        &["object_type_indication: 107"],
        &["output_channel_count: 6", "pre_skip: 312", "input_sample_rate: 44100", "stream_count: 4"],
        &["sample_rate: 48000"],
        &["bsid: 8", "acmod: 2", "lfeon: false", "bit_rate_code: 15"],
        &["data_rate: 224", "bsid: 16", "acmod: 2", "lfeon: false"],
    ];
    for (text, expected) in all.iter().zip(expected) {
        for part in expected {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn frames_without_a_sequence_header_tell_their_configuration() {
    let mp3 = |bytes: [u8; 4]| audio(AudioCodec::Mp3, &bytes);
    let config = mp3([0xFF, 0xFB, 0x90, 0xC4]);
    assert_eq!((config.sample_rate(), config.channels(), config.frame_samples()), (44_100, 1, Some(1152)));
    let config = mp3([0xFF, 0xF3, 0x84, 0x40]);
    assert_eq!((config.sample_rate(), config.channels(), config.frame_samples()), (24_000, 2, Some(576)));
    assert_eq!(config.codec_string(), "mp4a.69");
    // 5.1 channels: three bits of acmod 7, two for the centre and two for the surround, then lfeon.
    let config = audio(AudioCodec::Ac3, &[0x0B, 0x77, 0, 0, 0x1C, 0x40, 0xE1, 0]);
    assert_eq!((config.sample_rate(), config.channels()), (48_000, 6));
    let config = audio(AudioCodec::Eac3, &[0x0B, 0x77, 0x01, 0xBF, 0x3F, 0x87]);
    assert_eq!((config.sample_rate(), config.channels(), config.frame_samples()), (48_000, 6, Some(1536)));
    for codec in [AudioCodec::Mp3, AudioCodec::Ac3, AudioCodec::Eac3] {
        for length in 0..6 {
            let frame = [0x0B, 0x77, 0x01, 0xBF, 0x3F, 0x00];
            assert_eq!(
                AudioConfig::from_frame(codec, &frame[..length]),
                Err(Fmp4Error::BadConfiguration(codec.into()))
            );
        }
    }
}

#[test]
fn what_mp4_cannot_carry_is_refused_by_name() {
    let error = VideoConfig::from_header(VideoCodec::SorensonH263, &[0; 64]).unwrap_err();
    assert_eq!(error.to_string(), "Sorenson H.263 cannot be put into fragmented MP4");
    let unknown = VideoCodec::from_fourcc(FourCC(*b"xxxx"));
    assert_eq!(VideoConfig::from_header(unknown, &[]), Err(Fmp4Error::UnsupportedCodec(unknown.into())));
    assert_eq!(
        AudioConfig::from_header(AudioCodec::Speex, &[0; 8]),
        Err(Fmp4Error::UnsupportedCodec(AudioCodec::Speex.into()))
    );
    assert_eq!(
        VideoConfig::from_header(VideoCodec::Avc, &[1, 100]),
        Err(Fmp4Error::BadConfiguration(VideoCodec::Avc.into()))
    );
    let track = Track { id: 1, config: video(VideoCodec::Avc, AVC).into() };
    assert_eq!(write_init(&[], &mut Vec::new()), Err(Fmp4Error::Empty));
    assert_eq!(write_init(&[&track, &track], &mut Vec::new()), Err(Fmp4Error::BadTrack(1)));
}

#[test]
fn a_vp9_key_frame_tells_its_size() {
    // Profile 0: sync code, colour space 1, no full range, then 640 x 360.
    let bits = format!("10{}{}{:024b}{}{:016b}{:016b}0000", "00", "0000", 0x0049_8342, "0010", 639, 359);
    let bytes: Vec<u8> = bits.as_bytes().chunks(8).filter(|chunk| chunk.len() == 8).map(byte).collect();
    assert_eq!(vp9_size(&bytes), Some((640, 360)));
    assert_eq!(vp9_size(&[0x86, 0, 0x49, 0x83, 0x42]), None, "no key frame");
    for length in 0..bytes.len().min(9) {
        assert_eq!(vp9_size(&bytes[..length]), None);
    }
}

fn byte(bits: &[u8]) -> u8 {
    bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'))
}

#[test]
fn the_mime_type_names_all_codecs() {
    let tracks = [
        Track { id: 1, config: video(VideoCodec::Avc, AVC).into() },
        Track { id: 2, config: audio(AudioCodec::Aac, &[0x12, 0x10]).into() },
    ];
    assert_eq!(mime_type(&[&tracks[0], &tracks[1]]), "video/mp4; codecs=\"avc1.64001e,mp4a.40.2\"");
    assert_eq!(mime_type(&[&tracks[1]]), "audio/mp4; codecs=\"mp4a.40.2\"");
}

fn sample(track: u32, decode_time: u64, duration: u32, size: u32) -> Sample {
    Sample { track, decode_time, composition: 0, duration, size, key: track == 2 }
}

/// A fragment as another reader sees it: for each sample its track, decoding time, composition offset, duration, key,
/// and payload.
fn read_fragment(bytes: &[u8]) -> Vec<(u32, u64, i64, u32, bool, Vec<u8>)> {
    let mut rest = bytes;
    let mut before = 0;
    let moof = loop {
        let length = rest.len();
        match Any::decode(&mut rest).unwrap() {
            Any::Moof(moof) => break moof,
            _ => before += length - rest.len(),
        }
    };
    let bytes = &bytes[before..];
    let mut samples = Vec::new();
    for traf in &moof.traf {
        assert!(traf.tfhd.default_base_is_moof);
        let mut time = traf.tfdt.as_ref().unwrap().base_media_decode_time;
        for Trun { data_offset, samples: run } in &traf.trun {
            let mut place = data_offset.unwrap() as usize;
            for entry in run {
                let size = entry.size.or(traf.tfhd.default_sample_size).unwrap() as usize;
                let duration = entry.duration.or(traf.tfhd.default_sample_duration).unwrap();
                let flags = entry.flags.or(traf.tfhd.default_sample_flags).unwrap();
                let key = flags & 0x1_0000 == 0;
                let cts = entry.cts.unwrap_or(0);
                samples.push((traf.tfhd.track_id, time, cts, duration, key, bytes[place..place + size].to_vec()));
                time += u64::from(duration);
                place += size;
            }
        }
    }
    samples
}

#[test]
fn another_reader_finds_each_sample_with_its_payload() {
    // Two tracks that alternate; the key frame is not the first picture; presentation before decoding.
    let mut samples = [
        sample(1, 90_000, 3000, 3),
        sample(1, 93_000, 2970, 2),
        sample(2, 44_100, 1024, 1),
        sample(1, 95_970, 3030, 4),
        sample(2, 45_124, 1024, 2),
    ];
    samples[1].key = true;
    samples[1].composition = -2970;
    let payloads: [&[u8]; 5] = [b"aaa", b"bb", b"C", b"dddd", b"EE"];
    for options in [
        FragmentOptions::default(),
        FragmentOptions {
            segment: true,
            reference_time: Some(ReferenceTime { track: 1, ntp: 7 << 32, decode_time: 90_000 }),
        },
    ] {
        let mut bytes = Vec::new();
        write_fragment_head(9, &samples, &options, &mut bytes).unwrap();
        payloads.iter().for_each(|payload| bytes.extend_from_slice(payload));
        let mut expected: Vec<_> = samples.iter().zip(payloads).collect();
        expected.sort_by_key(|(sample, _)| sample.track);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(s, payload)| (s.track, s.decode_time, s.composition.into(), s.duration, s.key, payload.to_vec()))
            .collect();
        assert_eq!(read_fragment(&bytes), expected);
        let kinds: Vec<_> = boxes(&bytes).iter().map(|any| any.kind().to_string()).collect();
        let first: &[&str] = if options.segment { &["styp", "prft"] } else { &[] };
        assert_eq!(kinds, [first, &["moof", "mdat"]].concat());
    }
}

#[test]
fn flags_are_right_however_they_are_written() {
    for keys in [[true, true, true], [true, false, false], [false, true, false], [false, false, false]] {
        let samples: Vec<_> =
            (0..3u64).map(|index| Sample { key: keys[index as usize], ..sample(1, index * 3000, 3000, 1) }).collect();
        let mut bytes = Vec::new();
        write_fragment_head(1, &samples, &FragmentOptions::default(), &mut bytes).unwrap();
        bytes.extend_from_slice(b"abc");
        let read: Vec<_> = read_fragment(&bytes).iter().map(|sample| sample.4).collect();
        assert_eq!(read, keys);
    }
}

#[test]
fn one_picture_costs_few_bytes() {
    let mut bytes = Vec::new();
    write_fragment_head(1, &[sample(1, 0, 3000, 10)], &FragmentOptions::default(), &mut bytes).unwrap();
    assert!(bytes.len() <= 120, "{}", bytes.len());
}

#[test]
fn a_fragment_is_not_empty_and_not_over_its_limit() {
    let write = |samples: &[Sample]| write_fragment_head(1, samples, &FragmentOptions::default(), &mut Vec::new());
    assert_eq!(write(&[]), Err(Fmp4Error::Empty));
    assert_eq!(write(&[sample(1, 0, 1, u32::MAX), sample(1, 1, 1, 8)]), Err(Fmp4Error::TooLarge));
}

#[test]
fn ticks_of_milliseconds_leave_no_gap() {
    for scale in [90_000, 48_000, 44_100, 22_050] {
        let starts: Vec<_> = (0..200u64).map(|frame| ticks(frame * 100 / 3, 0, scale)).collect();
        let durations: u64 = starts.windows(2).map(|pair| pair[1] - pair[0]).sum();
        assert_eq!(starts[0] + durations, starts[199]);
        let exact = 199 * 100 / 3 * u64::from(scale) / 1000;
        assert_eq!(starts[199], exact);
    }
    assert_eq!(ticks(1, 500_000, 90_000), 135);
    assert_eq!(ticks(u64::MAX, 0, u32::MAX), u64::MAX, "no overflow");
}

#[test]
fn a_frame_lasts_the_longest_of_the_last_times_between_frames() {
    let mut cadence = Cadence::new(1000, 33);
    assert_eq!(cadence.estimate(), 33);
    for time in [0, 33, 67, 100] {
        cadence.note(time);
    }
    assert_eq!(cadence.estimate(), 34);
    for time in [100, 90, 60_000] {
        cadence.note(time);
        assert_eq!(cadence.estimate(), 34, "equal times, steps back and jumps tell nothing");
    }
    for time in 1..10 {
        cadence.note(60_000 + time * 16);
    }
    assert_eq!(cadence.estimate(), 16);
}

#[test]
fn encoded_again_the_init_segment_is_the_same() {
    let tracks: Vec<_> = configs().into_iter().zip(1..).map(|((config, ..), id)| Track { id, config }).collect();
    for track in tracks.iter().filter(|track| track.config.is_video()) {
        let mut bytes = Vec::new();
        write_init(&[track], &mut bytes).unwrap();
        let mut again = Vec::new();
        boxes(&bytes).iter().for_each(|any| any.encode(&mut again).unwrap());
        let stbl = |bytes: &[u8]| moov(bytes).trak[0].mdia.minf.stbl.clone();
        assert_eq!(stbl(&bytes), stbl(&again));
    }
}
