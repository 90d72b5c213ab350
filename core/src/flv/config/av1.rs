//! AV1CodecConfigurationRecord (AV1 ISOBMFF binding §2.3.3) and the sequence header OBU in it (AV1 §5.5.1).

use super::bits::BitReader;
use super::{Level, VideoSummary};

const OBU_SEQUENCE_HEADER: u8 = 1;
/// Tag and length of the AV1 video descriptor, which Enhanced RTMP puts into `MPEG2TSSequenceStart`.
const MPEG2_TS_DESCRIPTOR: [u8; 2] = [0x80, 0x04];

pub(super) fn summarize(payload: &[u8]) -> Option<VideoSummary> {
    // The descriptor's content is the fixed part of the record.
    let record = payload.strip_prefix(&MPEG2_TS_DESCRIPTOR).unwrap_or(payload);
    let (&[marker_version, profile_level, _, _], obus) = record.split_first_chunk()?;
    if marker_version != 0x81 {
        return None;
    }
    let profile = profile_level >> 5;
    let level = profile_level & 0x1F;
    Some(VideoSummary {
        profile,
        profile_name: match profile {
            0 => Some("Main"),
            1 => Some("High"),
            2 => Some("Professional"),
            _ => None,
        },
        // seq_level_idx counts quarters from 2.0; 31 means that no level bounds the stream.
        level: (level < 24).then_some(Level { major: 2 + (level >> 2), minor: level & 3 }),
        size: sequence_header(obus).and_then(|obu| frame_size(&mut BitReader::new(obu))),
    })
}

/// The payload of the first sequence header OBU.
fn sequence_header(mut obus: &[u8]) -> Option<&[u8]> {
    loop {
        let (&header, rest) = obus.split_first()?;
        let has_extension = header & 0x04 != 0;
        let has_size = header & 0x02 != 0;
        let rest = if has_extension { rest.get(1..)? } else { rest };
        let (payload, next) = if has_size {
            let (size, rest) = leb128(rest)?;
            rest.split_at_checked(usize::try_from(size).ok()?)?
        } else {
            (rest, [].as_slice())
        };
        if header >> 3 & 0x0F == OBU_SEQUENCE_HEADER {
            return Some(payload);
        }
        obus = next;
    }
}

fn leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// The largest frame size. Nearly every stream uses it for all frames.
fn frame_size(bits: &mut BitReader<'_>) -> Option<(u32, u32)> {
    bits.skip(3 + 1)?; // seq_profile, still_picture
    let reduced = bits.bit()?;
    if reduced {
        bits.skip(5)?; // seq_level_idx
    } else {
        skip_operating_points(bits)?;
    }
    let width_bits = bits.bits(4)? + 1;
    let height_bits = bits.bits(4)? + 1;
    Some((bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1))
}

fn skip_operating_points(bits: &mut BitReader<'_>) -> Option<()> {
    let mut buffer_delay_bits = None;
    if bits.bit()? {
        bits.skip(32 + 32)?; // num_units_in_display_tick, time_scale
        if bits.bit()? {
            // equal_picture_interval; AV1's uvlc() reads like Exp-Golomb.
            bits.exp_golomb()?;
        }
        if bits.bit()? {
            buffer_delay_bits = Some(bits.bits(5)? + 1);
            bits.skip(32 + 5 + 5)?;
        }
    }
    let initial_display_delay = bits.bit()?;
    let points = bits.bits(5)? + 1;
    for _ in 0..points {
        bits.skip(12)?; // operating_point_idc
        if bits.bits(5)? > 7 {
            bits.skip(1)?; // seq_tier
        }
        if let Some(length) = buffer_delay_bits
            && bits.bit()?
        {
            bits.skip(2 * length + 1)?;
        }
        if initial_display_delay && bits.bit()? {
            bits.skip(4)?;
        }
    }
    Some(())
}
