use std::collections::BTreeMap;

use bytes::Bytes;

use super::tables::crc_32;
use super::*;
use crate::flv::{AudioCodec, VideoCodec};
use crate::fmp4::{AudioConfig, VideoConfig};

const AVC: &str = "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
const HEVC: &str = concat!(
    "0102200000009000000000003ff000fcfdfafa00000f02",
    "a00001001840010c01ffff02200000030090000003000003003f959809",
    "a10001002b42010102200000030090000003000003003fa005020171d48d96566924caf0168080000003008000000c84",
);

fn avc() -> TrackConfig {
    VideoConfig::from_header(VideoCodec::Avc, &hex::decode(AVC).unwrap()).unwrap().into()
}

fn hevc() -> TrackConfig {
    VideoConfig::from_header(VideoCodec::Hevc, &hex::decode(HEVC).unwrap()).unwrap().into()
}

fn aac(config: &[u8]) -> TrackConfig {
    AudioConfig::from_header(AudioCodec::Aac, config).unwrap().into()
}

fn slices(bytes: &[u8]) -> Slices {
    Bytes::copy_from_slice(bytes).into()
}

fn unit(track: usize, decode_time: u64, composition: i32, key: bool) -> Unit {
    Unit { track, decode_time, composition, key }
}

/// NAL units, each behind four bytes of length.
fn nal_units(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect()
}

/// What a reader finds in a transport stream.
#[derive(Default, Debug)]
struct Read {
    /// The sections and packets of elementary streams of each stream, in order.
    units: BTreeMap<u16, Vec<Vec<u8>>>,
    /// Streams with clock references and their times, in order; and whether decoding can start there.
    clocks: Vec<(u16, u64, bool)>,
}

/// Reads a transport stream, and checks the packets and their counters.
fn read(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    let mut counters = BTreeMap::<u16, u8>::new();
    assert_eq!(bytes.len() % PACKET, 0);
    for packet in bytes.chunks(PACKET) {
        assert_eq!(packet[0], 0x47);
        let pid = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
        let counter = packet[3] & 0x0F;
        if let Some(last) = counters.insert(pid, counter) {
            assert_eq!(counter, (last + 1) & 0x0F, "the counter of {pid:#x} goes on");
        }
        let mut rest = &packet[4..];
        if packet[3] & 0x20 != 0 {
            let (&length, after) = rest.split_first().unwrap();
            let (field, after) = after.split_at(length.into());
            if field.first().is_some_and(|flags| flags & 0x10 != 0) {
                let value = u64::from_be_bytes([0, 0, field[1], field[2], field[3], field[4], field[5], field[6]]);
                assert_eq!(value & 0x7FFF, 0x7E00);
                read.clocks.push((pid, value >> 15, field[0] & 0x40 != 0));
            }
            rest = after;
        }
        assert!(packet[3] & 0x10 != 0 && !rest.is_empty(), "each packet has payload");
        let units = read.units.entry(pid).or_default();
        if packet[1] & 0x40 != 0 {
            units.push(rest.to_vec());
        } else {
            units.last_mut().expect("a stream begins with a start").extend_from_slice(rest);
        }
    }
    read
}

/// Presentation time, decoding time, and the payload of a packet of an elementary stream.
fn read_unit(packet: &[u8]) -> (u64, u64, &[u8]) {
    assert_eq!(packet[..3], [0, 0, 1]);
    let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    assert!(length == 0 && packet[3] == 0xE0 || length == packet.len() - 6, "the length is right, or open for video");
    let time = |at: usize| {
        let [a, b, c, d, e] = packet[at..at + 5].try_into().unwrap();
        assert!(a & 1 == 1 && c & 1 == 1 && e & 1 == 1);
        u64::from(a >> 1 & 7) << 30
            | u64::from(b) << 22
            | u64::from(c >> 1) << 15
            | u64::from(d) << 7
            | u64::from(e >> 1)
    };
    let present = time(9);
    let decode = if packet[7] == 0xC0 { time(14) } else { present };
    (present, decode, &packet[9 + usize::from(packet[8])..])
}

#[test]
fn pictures_get_start_codes_delimiters_and_parameter_sets() {
    let mut muxer = Muxer::new(&[avc(), aac(&[0x12, 0x10])]).unwrap();
    let mut out = Vec::new();
    muxer.write_tables(&mut out);
    let key = nal_units(&[&[9, 0x10], &[6, 5], &[&[0x65u8][..], &[7; 400]].concat()]);
    muxer.write(unit(0, 9000, 3000, true), &slices(&key), &mut out).unwrap();
    muxer.write(unit(1, 9100, 0, true), &slices(&[0xAB; 300]), &mut out).unwrap();
    muxer.write(unit(0, 12_000, -3000, false), &slices(&nal_units(&[&[0x41, 1]])), &mut out).unwrap();
    let read = read(&out);
    let pictures = &read.units[&0x100];
    let (present, decode, picture) = read_unit(&pictures[0]);
    assert_eq!((present, decode), (12_000 + DELAY, 9000 + DELAY));
    let (sps, pps) = (&hex::decode(AVC).unwrap()[8..34], &hex::decode(AVC).unwrap()[37..43]);
    let start: &[u8] = &[0, 0, 0, 1];
    let expected = [start, &[9, 0xF0], start, sps, start, pps, start, &[6, 5], start, &[0x65], &[7; 400]].concat();
    assert_eq!(picture, expected, "with the sets, and one delimiter");
    let (present, decode, picture) = read_unit(&pictures[1]);
    assert_eq!((present, decode), (9000 + DELAY, 12_000 + DELAY));
    assert_eq!(picture, [start, &[9, 0xF0], start, &[0x41, 1]].concat(), "no sets");
    let (present, decode, sound) = read_unit(&read.units[&0x101][0]);
    assert_eq!((present, decode), (9100 + DELAY, 9100 + DELAY));
    // ADTS: MPEG-4, LC, 44,100 Hz, two channels, 307 bytes.
    assert_eq!(sound[..7], [0xFF, 0xF1, 0x50, 0x80, 307u32.wrapping_shr(3) as u8, (307u32 << 5) as u8 | 0x1F, 0xFC]);
    assert_eq!(sound[7..], [0xAB; 300]);
    assert_eq!(read.clocks, [(0x100, 9000, true), (0x100, 12_000, false)], "the clock is that of the pictures");
}

#[test]
fn a_key_frame_that_brings_its_parameter_sets_gets_no_others() {
    let mut muxer = Muxer::new(&[avc(), hevc()]).unwrap();
    let mut out = Vec::new();
    let sizes = [nal_units(&[&[0x67, 1], &[0x68, 1], &[0x65, 1]]), nal_units(&[&[66, 1, 1], &[0x26, 1]])];
    for (track, picture) in sizes.iter().enumerate() {
        muxer.write(unit(track, 0, 0, true), &slices(picture), &mut out).unwrap();
    }
    muxer.write(unit(1, 3000, 0, true), &slices(&nal_units(&[&[0x26, 1]])), &mut out).unwrap();
    let read = read(&out);
    assert_eq!(read_unit(&read.units[&0x100][0]).2.len(), 6 + 3 * 6);
    assert_eq!(read_unit(&read.units[&0x101][0]).2.len(), 7 + 7 + 6);
    assert_eq!(read_unit(&read.units[&0x101][1]).2.len(), 7 + (4 + 24) + (4 + 43) + 6, "VPS and SPS of the record");
}

#[test]
fn tables_name_each_track_and_have_their_checksum() {
    assert_eq!(crc_32(b"123456789"), 0x0376_E6E7, "the check value of CRC-32/MPEG-2");
    let mp3 = AudioConfig::from_frame(AudioCodec::Mp3, &[0xFF, 0xFB, 0x90, 0xC4]).unwrap();
    let ac3 = AudioConfig::from_frame(AudioCodec::Ac3, &[0x0B, 0x77, 0, 0, 0x1E, 0x40, 0x40, 0]).unwrap();
    let eac3 = AudioConfig::from_frame(AudioCodec::Eac3, &[0x0B, 0x77, 0x01, 0xBF, 0x34, 0x87]).unwrap();
    let opus = AudioConfig::from_header(AudioCodec::Opus, b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0").unwrap();
    let configs = [avc(), hevc(), aac(&[0x12, 0x10]), mp3.into(), ac3.into(), eac3.into(), opus.into(), avc()];
    let mut muxer = Muxer::new(&configs).unwrap();
    let mut out = Vec::new();
    for _ in 0..20 {
        muxer.write_tables(&mut out);
    }
    let read = read(&out);
    assert_eq!((read.units[&0].len(), read.units[&0x1000].len()), (20, 20));
    let section = |table: &[u8]| {
        assert_eq!(table[0], 0);
        let whole = 3 + usize::from(table[3]);
        assert_eq!(crc_32(&table[1..=whole]), 0, "a section with its checksum has the checksum 0");
        table[1..=whole - 4].to_vec()
    };
    let pat = section(&read.units[&0][0]);
    assert_eq!(pat[8..], [0, 1, 0xF0, 0]);
    let pmt = section(&read.units[&0x1000][0]);
    assert_eq!(pmt[8..12], [0xE1, 0, 0xF0, 0], "clock references are in the first video stream");
    let mut rest = &pmt[12..];
    let mut types = Vec::new();
    while let [kind, p0, p1, l0, l1, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([l0 & 0x0F, *l1]));
        types.push((
            *kind,
            u16::from_be_bytes([p0 & 0x1F, *p1]),
            String::from_utf8_lossy(&after[..length]).into_owned(),
        ));
        rest = &after[length..];
    }
    let kinds: Vec<_> = types.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [0x1B, 0x24, 0x0F, 0x03, 0x81, 0x87, 0x06, 0x1B]);
    assert!(types.iter().map(|(_, pid, _)| *pid).eq(0x100..0x108));
    assert!(types[4].2.contains("AC-3") && types[5].2.contains("EAC3") && types[6].2.contains("Opus"));
}

#[test]
fn payloads_of_any_size_arrive_whole() {
    let mut muxer = Muxer::new(&[aac(&[0x12, 0x10])]).unwrap();
    let mut out = Vec::new();
    let sizes: Vec<usize> = (0..400).chain([8184]).collect();
    for (index, size) in sizes.iter().enumerate() {
        muxer.write(unit(0, index as u64 * 1920, 0, true), &slices(&vec![index as u8; *size]), &mut out).unwrap();
    }
    let read = read(&out);
    for ((index, size), packet) in sizes.iter().enumerate().zip(&read.units[&0x100]) {
        let (present, _, sound) = read_unit(packet);
        assert_eq!(present, index as u64 * 1920 + DELAY);
        assert_eq!(sound[7..], vec![index as u8; *size]);
    }
    assert_eq!(read.units[&0x100].len(), sizes.len());
    let too_long = slices(&[0; 8185]);
    assert_eq!(muxer.write(unit(0, 0, 0, true), &too_long, &mut out), Err(TsError::Damaged));
}

#[test]
fn a_large_picture_has_no_length_and_opus_has_its_own() {
    let opus = AudioConfig::from_header(AudioCodec::Opus, b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0").unwrap();
    let mut muxer = Muxer::new(&[avc(), opus.into()]).unwrap();
    let mut out = Vec::new();
    let large = nal_units(&[&vec![0x41; 70_000]]);
    muxer.write(unit(0, 0, 0, false), &slices(&large), &mut out).unwrap();
    muxer.write(unit(1, 0, 0, true), &slices(&[5; 600]), &mut out).unwrap();
    let read = read(&out);
    assert_eq!(read.units[&0x100][0][4..6], [0, 0]);
    assert_eq!(read_unit(&read.units[&0x100][0]).2.len(), 6 + 4 + 70_000);
    let opus = read_unit(&read.units[&0x101][0]).2;
    assert_eq!(opus[..5], [0x7F, 0xE0, 255, 255, 90]);
    assert_eq!(opus[5..], [5; 600]);
}

#[test]
fn damaged_pictures_and_unknown_tracks_write_nothing() {
    let mut muxer = Muxer::new(&[avc()]).unwrap();
    let mut out = Vec::new();
    for damaged in [&[0, 0, 0, 9, 0x65][..], &[0, 0, 1], &[0, 0, 0, 1, 0x65, 0]] {
        assert_eq!(muxer.write(unit(0, 0, 0, true), &slices(damaged), &mut out), Err(TsError::Damaged));
    }
    assert_eq!(muxer.write(unit(1, 0, 0, true), &slices(&[]), &mut out), Err(TsError::NoTrack(1)));
    assert!(out.is_empty());
    muxer.write(unit(0, u64::MAX, i32::MIN, true), &slices(&[]), &mut out).unwrap();
    assert_eq!(out.len(), PACKET, "a delimiter and the sets, with a time that wraps");
}

#[test]
fn what_transport_streams_cannot_carry_is_refused() {
    let vp9 = VideoConfig::from_header(VideoCodec::Vp9, &hex::decode("0029820202020000").unwrap()).unwrap();
    assert!(!Muxer::can_carry(&vp9.clone().into()) && Muxer::can_carry(&avc()));
    assert_eq!(Muxer::new(&[vp9.into()]).err(), Some(TsError::UnsupportedCodec(VideoCodec::Vp9.into())));
    assert_eq!(Muxer::new(&[]).err(), Some(TsError::TrackCount(0)));
    assert_eq!(Muxer::new(&vec![avc(); 9]).err(), Some(TsError::TrackCount(9)));
    // A sample rate in 24 bits: ADTS has no room for it.
    assert!(!Muxer::can_carry(&aac(&[0x17, 0x80, 0x18, 0x1C, 0x88])));
}
