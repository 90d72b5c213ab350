use anabranch_core::bytes::Bytes;
use anabranch_core::flv::VideoCodec;
use anabranch_rtc::rtp::{MAX_PAYLOAD, RtpError, VideoPacketizer};

use super::VIDEO;
use crate::cuts::take_byte;
use crate::payloads;

/// Decoder configurations with lengths of four bytes, for inputs whose own cannot be read.
const AVC: &[u8] = b"\x01\x42\xC0\x1F\xFF\xE1\x00\x04\x67\x42\xC0\x1F\x01\x00\x04\x68\xCE\x3C\x80";
const HEVC: &[u8] =
    b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\x02\x21\0\x01\0\x03\x42\x01\x01\x22\0\x01\0\x03\x44\x01\xC1";
const AV1: &[u8] = b"\x81\0\0\0\x0A\x03\x01\x02\x03";

/// A byte for the codec and whether it is a key frame, one for the length of a configuration, that, and a picture. What is
/// read from the packets again is what was put in.
pub fn run(mut input: &[u8]) {
    let choice = take_byte(&mut input);
    let (codec, is_key) = (VIDEO[usize::from(choice & 3)], choice & 4 != 0);
    let (record, picture) = input.split_at(usize::from(take_byte(&mut input)).min(input.len().saturating_sub(1)));
    let spare = match codec {
        VideoCodec::Avc => AVC,
        VideoCodec::Hevc => HEVC,
        VideoCodec::Av1 => AV1,
        _ => &[],
    };
    let (record, mut packetizer) = match VideoPacketizer::new(codec, record) {
        Ok(packetizer) => (record, packetizer),
        Err(_) => (spare, VideoPacketizer::new(codec, spare).expect("this one can be read")),
    };
    let picture = Bytes::copy_from_slice(picture);
    let packets = match packetizer.packetize(&picture.clone().into(), is_key) {
        Ok(packets) => packets,
        Err(error) => return assert_eq!(error, RtpError::BadPicture),
    };
    for payload in &packets.payloads {
        assert!((1..=MAX_PAYLOAD).contains(&payload.len()), "{} bytes", payload.len());
    }
    assert!(packets.is_reference || !is_key, "a key frame is never left out");
    let (arrived, sent) = match codec {
        VideoCodec::Avc => {
            let is_sent = |kind| matches!(kind, 1..=8 | 13..=23);
            let units = units(&picture, usize::from(record[4] & 3) + 1, 1, |unit| is_sent(unit[0] & 0x1F));
            (payloads::units(&packets.payloads, 1), units)
        }
        VideoCodec::Hevc => {
            let is_sent = |kind| matches!(kind, 0..=34 | 39..=47);
            let units = units(&picture, usize::from(record[21] & 3) + 1, 2, |unit| is_sent(unit[0] >> 1 & 0x3F));
            (payloads::units(&packets.payloads, 2), units)
        }
        VideoCodec::Av1 => (payloads::obus(&packets.payloads), obus(&picture)),
        _ => {
            let arrived: Vec<u8> = packets.payloads.iter().flat_map(|payload| payload[3..].to_vec()).collect();
            return assert_eq!(arrived, picture);
        }
    };
    assert!(arrived.ends_with(&sent), "{sent:?} became {arrived:?}");
    assert!(is_key || arrived.len() == sent.len(), "only a key frame has parameters in front");
}

/// The units of a picture that are sent.
fn units(mut picture: &[u8], length: usize, header: usize, is_sent: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    while !picture.is_empty() {
        let (size, rest) = picture.split_at(length);
        let size = size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at(size);
        picture = rest;
        if unit.len() > header && is_sent(unit) {
            units.push(unit.to_vec());
        }
    }
    units
}

/// The OBUs of a picture that are sent, without their lengths.
fn obus(mut picture: &[u8]) -> Vec<Vec<u8>> {
    let mut obus = Vec::new();
    while !picture.is_empty() {
        let header = picture[0];
        let head = if header & 4 == 0 { 1 } else { 2 };
        let (start, mut rest) = picture.split_at(head);
        let mut size = rest.len();
        if header & 2 != 0 {
            size = 0;
            for place in 0.. {
                let byte = take_byte(&mut rest);
                size |= usize::from(byte & 0x7F) << (7 * place);
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        let (content, after) = rest.split_at(size);
        picture = after;
        if !matches!(header >> 3 & 0x0F, 2 | 8 | 15) {
            obus.push([&[header & !2], &start[1..], content].concat());
        }
    }
    obus
}
