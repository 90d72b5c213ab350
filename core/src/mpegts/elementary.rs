//! Elementary streams, and the packets that carry them (PES, ISO/IEC 13818-1 §2.4.3.6).

use std::fmt;

use bytes::Bytes;

use super::TsError;
use crate::flv::{AudioCodec, Slices, VideoCodec};
use crate::fmp4::{AudioConfig, TrackConfig, VideoConfig};
use crate::shown::Shown;

/// A payload that is not in the form of its codec.
#[derive(Debug)]
pub(super) struct PacketError;

/// How the payloads of a track are packed.
pub(super) enum Elementary {
    /// NAL units.
    Video {
        is_hevc: bool,
        /// Bytes of the length field before each NAL unit.
        nal_length: usize,
        /// The parameter sets, with start codes.
        parameter_sets: Vec<u8>,
    },
    /// AAC, with what each ADTS header says.
    Aac {
        profile: u8,
        rate_index: u8,
        channels: u8,
    },
    /// MPEG audio; its streams have a type by version.
    Mp3 {
        is_mpeg_2: bool,
    },
    Ac3,
    Eac3,
    Opus {
        channels: u8,
    },
}

impl fmt::Debug for Elementary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elementary::Video { is_hevc, nal_length, parameter_sets } => {
                let mut shown = f.debug_struct("Video");
                shown.field("is_hevc", is_hevc).field("nal_length", nal_length);
                shown.field("parameter_sets", &Shown(parameter_sets)).finish()
            }
            Elementary::Aac { profile, rate_index, channels } => {
                let mut shown = f.debug_struct("Aac");
                shown.field("profile", profile).field("rate_index", rate_index).field("channels", channels).finish()
            }
            Elementary::Mp3 { is_mpeg_2 } => f.debug_struct("Mp3").field("is_mpeg_2", is_mpeg_2).finish(),
            Elementary::Ac3 => f.write_str("Ac3"),
            Elementary::Eac3 => f.write_str("Eac3"),
            Elementary::Opus { channels } => f.debug_struct("Opus").field("channels", channels).finish(),
        }
    }
}

/// ISO/IEC 13818-1 Table 2-22.
const PRIVATE_STREAM_1: u8 = 0xBD;
const AUDIO_STREAM: u8 = 0xC0;
const VIDEO_STREAM: u8 = 0xE0;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

impl Elementary {
    pub(super) fn new(config: &TrackConfig) -> Result<Self, TsError> {
        match config {
            TrackConfig::Video(video) => Self::video(video),
            TrackConfig::Audio(audio) => Self::audio(audio),
        }
    }

    fn video(config: &VideoConfig) -> Result<Self, TsError> {
        let record = config.record();
        let (is_hevc, place) = match config.codec() {
            VideoCodec::Avc => (false, 4),
            VideoCodec::Hevc => (true, 21),
            other => return Err(TsError::UnsupportedCodec(other.into())),
        };
        let nal_length = usize::from(record.get(place).copied().unwrap_or(3) & 3) + 1;
        let mut parameter_sets = Vec::new();
        let collected =
            if is_hevc { hevc_sets(record, &mut parameter_sets) } else { avc_sets(record, &mut parameter_sets) };
        // A record that is cut off: what could be read of it is of use.
        let _: Option<()> = collected;
        Ok(Elementary::Video { is_hevc, nal_length, parameter_sets })
    }

    fn audio(config: &AudioConfig) -> Result<Self, TsError> {
        Ok(match config.codec() {
            AudioCodec::Aac => adts_fields(config.record()).ok_or(TsError::UnsupportedCodec(config.codec().into()))?,
            AudioCodec::Mp3 => Elementary::Mp3 { is_mpeg_2: config.sample_rate() < 32_000 },
            AudioCodec::Ac3 => Elementary::Ac3,
            AudioCodec::Eac3 => Elementary::Eac3,
            AudioCodec::Opus => Elementary::Opus { channels: config.channels() },
            other => return Err(TsError::UnsupportedCodec(other.into())),
        })
    }

    /// ISO/IEC 13818-1 Table 2-34, and ATSC A/53 for those of Dolby.
    pub(super) fn stream_type(&self) -> u8 {
        match self {
            Elementary::Video { is_hevc: false, .. } => 0x1B,
            Elementary::Video { is_hevc: true, .. } => 0x24,
            Elementary::Aac { .. } => 0x0F,
            Elementary::Mp3 { is_mpeg_2: false } => 0x03,
            Elementary::Mp3 { is_mpeg_2: true } => 0x04,
            Elementary::Ac3 => 0x81,
            Elementary::Eac3 => 0x87,
            Elementary::Opus { .. } => 0x06,
        }
    }

    /// Registration descriptors; for Opus the one of its channels, too.
    pub(super) fn descriptors(&self) -> Vec<u8> {
        match self {
            Elementary::Video { is_hevc: true, .. } => b"\x05\x04HEVC".to_vec(),
            Elementary::Ac3 => b"\x05\x04AC-3".to_vec(),
            Elementary::Eac3 => b"\x05\x04EAC3".to_vec(),
            Elementary::Opus { channels } => [b"\x05\x04Opus\x7F\x02\x80", &[*channels][..]].concat(),
            _ => Vec::new(),
        }
    }

    fn stream_id(&self) -> u8 {
        match self {
            Elementary::Video { .. } => VIDEO_STREAM,
            Elementary::Aac { .. } | Elementary::Mp3 { .. } => AUDIO_STREAM,
            Elementary::Ac3 | Elementary::Eac3 | Elementary::Opus { .. } => PRIVATE_STREAM_1,
        }
    }

    /// Writes one packet of the elementary stream with a payload, times in 90,000ths of a second.
    pub(super) fn write_packet(
        &self,
        decode: u64,
        present: u64,
        key: bool,
        payload: &Slices,
        out: &mut Vec<u8>,
    ) -> Result<(), PacketError> {
        let has_decode = decode != present;
        // Length 0: to be found by the next packet. Aligned data; then which times follow, and how many bytes of them.
        let (flags, length) = if has_decode { (0xC0, 10) } else { (0x80, 5) };
        out.extend_from_slice(&[0, 0, 1, self.stream_id(), 0, 0, 0x84, flags, length]);
        put_time(out, if has_decode { 3 } else { 2 }, present);
        if has_decode {
            put_time(out, 1, decode);
        }
        self.write_unit(key, payload, out)?;
        // Only video may leave the length open.
        let length = u16::try_from(out.len() - 6).ok();
        match (self, length) {
            (Elementary::Video { .. }, None) => {}
            (_, Some(length)) => out[4..6].copy_from_slice(&length.to_be_bytes()),
            (_, None) => return Err(PacketError),
        }
        Ok(())
    }

    fn write_unit(&self, key: bool, payload: &Slices, out: &mut Vec<u8>) -> Result<(), PacketError> {
        let length = payload.len();
        match self {
            Elementary::Video { is_hevc, nal_length, parameter_sets } => {
                return write_picture(*is_hevc, *nal_length, parameter_sets, key, &payload.joined(), out);
            }
            Elementary::Aac { profile, rate_index, channels } => {
                // ISO/IEC 13818-7 §6.2: 13 bits of length, the header of 7 bytes included.
                let whole = length + 7;
                if whole > 0x1FFF {
                    return Err(PacketError);
                }
                let whole = whole as u32;
                out.extend_from_slice(&[
                    0xFF,
                    0xF1,
                    profile << 6 | rate_index << 2 | channels >> 2,
                    (channels & 3) << 6 | (whole >> 11) as u8,
                    (whole >> 3) as u8,
                    (whole as u8) << 5 | 0x1F,
                    0xFC,
                ]);
            }
            Elementary::Opus { .. } => {
                // ETSI TS 103 491 §4.2.3.3: a control header with the length of the packet.
                out.extend_from_slice(&[0x7F, 0xE0]);
                out.resize(out.len() + length / 255, 0xFF);
                out.push((length % 255) as u8);
            }
            Elementary::Mp3 { .. } | Elementary::Ac3 | Elementary::Eac3 => {}
        }
        payload.iter().for_each(|piece| out.extend_from_slice(piece));
        Ok(())
    }
}

/// 33 bits of a time in five bytes, behind four bits that say which one it is.
fn put_time(out: &mut Vec<u8>, which: u8, time: u64) {
    let part = |shift: u32| (time >> shift) as u8;
    out.extend_from_slice(&[
        which << 4 | (part(30) & 7) << 1 | 1,
        part(22),
        part(15) << 1 | 1,
        part(7),
        part(0) << 1 | 1,
    ]);
}

/// A picture with start codes before its NAL units: a delimiter, before a key frame the parameter sets unless it brings
/// its own, and the units without delimiters.
fn write_picture(
    is_hevc: bool,
    nal_length: usize,
    parameter_sets: &[u8],
    key: bool,
    payload: &Bytes,
    out: &mut Vec<u8>,
) -> Result<(), PacketError> {
    let (delimiter, delimiter_type, set_type): (&[u8], u8, u8) =
        if is_hevc { (&[70, 1, 0x50], 35, 33) } else { (&[9, 0xF0], 9, 7) };
    let unit_type = |unit: &[u8]| {
        let first = unit.first().copied().unwrap_or(0);
        if is_hevc { first >> 1 & 0x3F } else { first & 0x1F }
    };
    let units = || NalUnits { rest: payload, nal_length };
    if !units().all(|unit| unit.is_ok()) {
        return Err(PacketError);
    }
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(delimiter);
    if key && !units().flatten().any(|unit| unit_type(unit) == set_type) {
        out.extend_from_slice(parameter_sets);
    }
    for unit in units().flatten().filter(|unit| !unit.is_empty() && unit_type(unit) != delimiter_type) {
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(unit);
    }
    Ok(())
}

/// The NAL units of a picture, each behind its length.
struct NalUnits<'a> {
    rest: &'a [u8],
    nal_length: usize,
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = Result<&'a [u8], PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = self.rest.split_at_checked(self.nal_length).and_then(|(length, rest)| {
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest.split_at_checked(length)
        });
        let Some((unit, rest)) = split else {
            self.rest = &[];
            return Some(Err(PacketError));
        };
        self.rest = rest;
        Some(Ok(unit))
    }
}

/// The sets of an AVC configuration (ISO/IEC 14496-15 §5.3.3.1), each with a start code.
fn avc_sets(record: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = record.get(5..)?;
    for mask in [0x1F, 0xFF] {
        let (&count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            rest = put_set(rest, out)?;
        }
    }
    Some(())
}

/// The sets of an HEVC configuration (ISO/IEC 14496-15 §8.3.3.1), each with a start code.
fn hevc_sets(record: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (&arrays, mut rest) = record.get(22..)?.split_first()?;
    for _ in 0..arrays {
        let (&[_, high, low], after) = rest.split_first_chunk()?;
        rest = after;
        for _ in 0..u16::from_be_bytes([high, low]) {
            rest = put_set(rest, out)?;
        }
    }
    Some(())
}

fn put_set<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (set, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(set);
    Some(rest)
}

/// What ADTS headers say, from an AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1). With SBR they describe the core.
fn adts_fields(config: &[u8]) -> Option<Elementary> {
    let &[first, second, ..] = config else {
        return None;
    };
    let object_type = first >> 3;
    let rate_index = (first & 7) << 1 | second >> 7;
    let profile = match object_type {
        1..=4 => object_type - 1,
        5 | 29 => 1,
        _ => return None,
    };
    let channels = second >> 3 & 0x0F;
    (rate_index < 13 && channels < 8).then_some(Elementary::Aac { profile, rate_index, channels })
}
