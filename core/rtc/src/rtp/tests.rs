//! Pictures that are put together again are those that were put into packets.

use anabranch_core::flv::VideoCodec;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{MAX_PAYLOAD, Packets, RtpError, VideoPacketizer};

#[path = "../../tests/support/payloads.rs"]
mod payloads;

const SPS: &[u8] = &[0x67, 0x42, 0xC0, 0x1F, 0xDA];
const PPS: &[u8] = &[0x68, 0xCE, 0x3C, 0x80];

/// An AVCDecoderConfigurationRecord.
fn avc_record(length_size: u8) -> Vec<u8> {
    let mut record = vec![1, 0x42, 0xC0, 0x1F, 0xFC | (length_size - 1), 0xE1];
    for (index, unit) in [SPS, PPS].into_iter().enumerate() {
        if index == 1 {
            record.push(1);
        }
        record.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        record.extend_from_slice(unit);
    }
    record
}

const VPS: &[u8] = &[32 << 1, 1, 0x0C];
const HEVC_SPS: &[u8] = &[33 << 1, 1, 0x01, 0x02];
const HEVC_PPS: &[u8] = &[34 << 1, 1, 0xC1];

fn hevc_record() -> Vec<u8> {
    let mut record = vec![0; 23];
    (record[0], record[21], record[22]) = (1, 3, 3);
    for (kind, unit) in [(32, VPS), (33, HEVC_SPS), (34, HEVC_PPS)] {
        record.extend_from_slice(&[kind, 0, 1]);
        record.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        record.extend_from_slice(unit);
    }
    record
}

/// Units with lengths of four bytes.
fn picture(units: &[Vec<u8>]) -> Bytes {
    let mut picture = Vec::new();
    for unit in units {
        picture.extend_from_slice(&(unit.len() as u32).to_be_bytes());
        picture.extend_from_slice(unit);
    }
    picture.into()
}

/// The units in packets of H.264 or HEVC, by the length of their headers.
fn units(packets: &Packets, header: usize) -> Vec<Vec<u8>> {
    fit(packets);
    payloads::units(&packets.payloads, header)
}

/// The OBUs in packets of AV1, without lengths.
fn obus(packets: &Packets) -> Vec<Vec<u8>> {
    fit(packets);
    payloads::obus(&packets.payloads)
}

fn fit(packets: &Packets) {
    assert!(packets.payloads.iter().all(|payload| (1..=MAX_PAYLOAD).contains(&payload.len())), "{packets:?}");
}

/// A unit of H.264 with this header and so many more bytes.
fn unit(header: &[u8], length: usize) -> Vec<u8> {
    header.iter().copied().chain((0..length).map(|index| (index % 251) as u8)).collect()
}

fn h264() -> VideoPacketizer {
    VideoPacketizer::new(VideoCodec::Avc, &avc_record(4)).expect("a record")
}

#[test]
fn a_key_frame_has_its_parameters_in_front_once() {
    let key = unit(&[0x65], 3000);
    let packets = h264().packetize(&picture(std::slice::from_ref(&key)).into(), true).expect("a picture");
    assert_eq!(units(&packets, 1), [SPS.to_vec(), PPS.to_vec(), key.clone()]);
    assert_eq!(packets.payloads[0][0], 0x60 | 24, "both parameters are in one packet");
    assert!(packets.is_reference);
    // A picture that has them keeps its own.
    let own = [vec![0x67, 1, 2, 3], vec![0x68, 1], key];
    let packets = h264().packetize(&picture(&own).into(), true).expect("a picture");
    assert_eq!(units(&packets, 1), own);
    // And no other picture gets them.
    let later = unit(&[0x41], 10);
    let packets = h264().packetize(&picture(std::slice::from_ref(&later)).into(), false).expect("a picture");
    assert_eq!(units(&packets, 1), [later]);
}

#[test]
fn hevc_has_its_parameters_and_fragments() {
    let mut packetizer = VideoPacketizer::new(VideoCodec::Hevc, &hevc_record()).expect("a record");
    let key = unit(&[19 << 1, 1], 5000);
    let packets = packetizer.packetize(&picture(std::slice::from_ref(&key)).into(), true).expect("a picture");
    assert_eq!(units(&packets, 2), [VPS.to_vec(), HEVC_SPS.to_vec(), HEVC_PPS.to_vec(), key]);
    let disposable = unit(&[0, 1], 40);
    let packets = packetizer.packetize(&picture(&[disposable]).into(), false).expect("a picture");
    assert!(!packets.is_reference, "TRAIL_N is needed by no other picture");
}

#[test]
fn a_picture_that_no_other_needs_is_told() {
    for (units, is_reference) in [
        (vec![unit(&[0x01], 20), unit(&[0x01], 20)], false),
        (vec![unit(&[0x06], 9), unit(&[0x01], 20)], false),
        (vec![unit(&[0x01], 20), unit(&[0x21], 20)], true),
    ] {
        let packets = h264().packetize(&picture(&units).into(), false).expect("a picture");
        assert_eq!(packets.is_reference, is_reference, "{units:?}");
    }
}

#[test]
fn delimiters_fillers_and_types_of_packets_are_left_out() {
    let kept = unit(&[0x41], 5);
    let all = [vec![0x09, 0xF0], kept.clone(), vec![0x0C, 0xFF], vec![0x18, 0, 1, 2], vec![0x0B], vec![]];
    let packets = h264().packetize(&picture(&all).into(), false).expect("a picture");
    assert_eq!(units(&packets, 1), [kept]);
}

#[test]
fn packets_of_a_large_unit_are_equal_but_for_the_last() {
    let packets = h264().packetize(&picture(&[unit(&[0x41], 10_000)]).into(), false).expect("a picture");
    let (last, others) = packets.payloads.split_last().expect("packets");
    assert!(others.iter().all(|payload| payload.len() == MAX_PAYLOAD), "{packets:?}");
    assert!(last.len() <= MAX_PAYLOAD);
}

#[test]
fn what_is_no_picture_is_refused() {
    for bytes in [&[][..], &[0, 0], &[0, 0, 0, 9, 0x41], &[0, 0, 0, 2, 0x09, 0xF0], &[0xFF, 0xFF, 0xFF, 0xFF, 1]] {
        let refused = h264().packetize(&Bytes::copy_from_slice(bytes).into(), false);
        assert_eq!(refused.map(|packets| packets.payloads.len()), Err(RtpError::BadPicture), "{bytes:?}");
    }
    for length in 0..avc_record(4).len() {
        let cut = VideoPacketizer::new(VideoCodec::Avc, &avc_record(4)[..length]);
        assert!(matches!(cut, Err(RtpError::BadConfiguration)), "{length} bytes of the record");
    }
    assert!(matches!(VideoPacketizer::new(VideoCodec::Avc, &avc_record(3)), Err(RtpError::BadConfiguration)));
    let vp8 = VideoPacketizer::new(VideoCodec::Vp8, &[]);
    assert!(matches!(vp8, Err(RtpError::UnsupportedCodec(_))));
}

/// An OBU with its length.
fn obu(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut obu = vec![kind << 3 | 2];
    let mut length = content.len();
    while length > 0x7F {
        obu.push(length as u8 | 0x80);
        length >>= 7;
    }
    obu.push(length as u8);
    obu.extend_from_slice(content);
    obu
}

#[test]
fn av1_has_no_delimiters_and_its_sequence_header_at_key_frames() {
    let record = [&[0x81, 0, 0, 0][..], &obu(1, &[7, 7, 7])].concat();
    let mut packetizer = VideoPacketizer::new(VideoCodec::Av1, &record).expect("a record");
    let frame: Vec<u8> = (0..4000).map(|index| index as u8).collect();
    let unit = Bytes::from([obu(2, &[]), obu(6, &frame)].concat());
    let packets = packetizer.packetize(&unit.clone().into(), true).expect("a picture");
    let whole = [&[6 << 3][..], &frame].concat();
    assert_eq!(obus(&packets), [vec![1 << 3, 7, 7, 7], whole.clone()]);
    assert_eq!(packets.payloads[0][0] & 0x08, 0x08, "a sequence begins");
    assert!(packets.payloads[1..].iter().all(|payload| payload[0] & 0x08 == 0));
    let packets = packetizer.packetize(&unit.into(), false).expect("a picture");
    assert_eq!(obus(&packets), [whole]);
    assert_eq!(packets.payloads[0][0] & 0x08, 0);
    let refused = packetizer.packetize(&Bytes::from(obu(2, &[])).into(), false);
    assert_eq!(refused.map(|_| ()), Err(RtpError::BadPicture));
}

#[test]
fn vp9_numbers_its_pictures() {
    let mut packetizer = VideoPacketizer::new(VideoCodec::Vp9, &[]).expect("no header is needed");
    let picture: Bytes = (0..3000).map(|index| index as u8).collect::<Vec<_>>().into();
    for (number, is_key) in [(0, true), (1, false)] {
        let packets = packetizer.packetize(&picture.clone().into(), is_key).expect("a picture");
        let mut whole = Vec::new();
        for (index, payload) in packets.payloads.iter().enumerate() {
            assert_eq!(payload[0] & 0x40 == 0, is_key);
            assert_eq!(payload[0] & 0x08 != 0, index == 0);
            assert_eq!(payload[0] & 0x04 != 0, index + 1 == packets.payloads.len());
            assert_eq!(u16::from_be_bytes([payload[1], payload[2]]), 0x8000 | number);
            whole.extend_from_slice(&payload[3..]);
        }
        assert_eq!(whole, picture);
    }
}

proptest! {
    #[test]
    fn units_arrive_as_they_were(sizes in vec(1_usize..4000, 1..12), key: bool) {
        let pictures: Vec<_> = sizes.iter().map(|size| unit(&[0x41], *size)).collect();
        let packets = h264().packetize(&picture(&pictures).into(), key).expect("a picture");
        let arrived = units(&packets, 1);
        prop_assert_eq!(&arrived[if key { 2 } else { 0 }..], &pictures[..]);
        let mut hevc = VideoPacketizer::new(VideoCodec::Hevc, &hevc_record()).expect("a record");
        let pictures: Vec<_> = sizes.iter().map(|size| unit(&[2, 1], *size)).collect();
        let packets = hevc.packetize(&picture(&pictures).into(), false).expect("a picture");
        prop_assert_eq!(units(&packets, 2), pictures);
    }

    #[test]
    fn obus_arrive_as_they_were(sizes in vec(0_usize..4000, 1..12)) {
        let record = [0x81, 0, 0, 0];
        let mut packetizer = VideoPacketizer::new(VideoCodec::Av1, &record).expect("a record");
        let contents: Vec<Vec<u8>> = sizes.iter().map(|size| (0..*size).map(|index| index as u8).collect()).collect();
        let unit: Vec<u8> = contents.iter().flat_map(|content| obu(6, content)).collect();
        let packets = packetizer.packetize(&Bytes::from(unit).into(), false).expect("a picture");
        let expected: Vec<_> = contents.iter().map(|content| [&[6 << 3][..], content].concat()).collect();
        prop_assert_eq!(obus(&packets), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(header in vec(any::<u8>(), 0..60), picture in vec(any::<u8>(), 0..200), key: bool) {
        for codec in [VideoCodec::Avc, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9] {
            let _ = VideoPacketizer::new(codec, &header);
        }
        let mut all = [
            h264(),
            VideoPacketizer::new(VideoCodec::Hevc, &hevc_record()).expect("a record"),
            VideoPacketizer::new(VideoCodec::Av1, &[0x81, 0, 0, 0]).expect("a record"),
            VideoPacketizer::new(VideoCodec::Vp9, &[]).expect("no header is needed"),
        ];
        for packetizer in &mut all {
            if let Ok(packets) = packetizer.packetize(&Bytes::copy_from_slice(&picture).into(), key) {
                prop_assert!(packets.payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
            }
        }
    }
}
