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

/// What a configuration has of a sequence header.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) profile: u8,
    pub(super) level: u8,
    /// `seq_tier_0`, `high_bitdepth`, `twelve_bit`, `monochrome`, the subsampling and `chroma_sample_position`, as in the
    /// record.
    pub(super) tier_and_colors: u8,
}

pub(super) fn format(obu: &[u8]) -> Option<Format> {
    let mut bits = BitReader::new(sequence_header(obu)?);
    let bits = &mut bits;
    let profile = bits.clone().small(3)?;
    let reduced = bits.clone().bits(5)? & 1 == 1;
    let (level, tier) = before_frame_size(bits)?;
    skip_frame_size(bits)?;
    if !reduced && bits.bit()? {
        bits.skip(4 + 3)?; // lengths of frame ids
    }
    bits.skip(3)?; // 128x128 superblocks, filter intra, intra edge filter
    if !reduced {
        bits.skip(4)?; // interintra and masked compounds, warped motion, dual filter
        if bits.bit()? {
            bits.skip(2)?; // joint compounds, reference motion vectors
            skip_order_hint(bits, true)?;
        } else {
            skip_order_hint(bits, false)?;
        }
    }
    bits.skip(3)?; // super resolution, CDEF, restoration
    let colors = colors(bits, profile)?;
    Some(Format { profile, level, tier_and_colors: tier << 7 | colors })
}

/// From the choice of screen content tools to the bits of the order hint.
fn skip_order_hint(bits: &mut BitReader<'_>, has_hint: bool) -> Option<()> {
    let chooses_tools = bits.bit()?;
    let has_tools = chooses_tools || bits.bit()?;
    if has_tools && !bits.bit()? {
        bits.skip(1)?; // integer motion vectors
    }
    bits.skip(if has_hint { 3 } else { 0 })
}

/// `color_config` (AV1 §5.5.2), from `high_bitdepth` on.
fn colors(bits: &mut BitReader<'_>, profile: u8) -> Option<u8> {
    const IDENTITY_SRGB: [u32; 3] = [1, 13, 0];
    let high = bits.bit()?;
    let twelve = profile == 2 && high && bits.bit()?;
    let monochrome = profile != 1 && bits.bit()?;
    let mut described = [2, 2, 2];
    if bits.bit()? {
        for value in &mut described {
            *value = bits.bits(8)?;
        }
    }
    let (x, y, position) = if monochrome {
        (true, true, 0)
    } else if described == IDENTITY_SRGB {
        (false, false, 0)
    } else {
        bits.skip(1)?; // color_range
        let (x, y) = match (profile, twelve) {
            (0, _) => (true, true),
            (1, _) => (false, false),
            (_, false) => (true, false),
            (_, true) => {
                let x = bits.bit()?;
                (x, x && bits.bit()?)
            }
        };
        (x, y, if x && y { bits.small(2)? } else { 0 })
    };
    let flags = [high, twelve, monochrome, x, y];
    Some(flags.into_iter().fold(0, |all, flag| all << 1 | u8::from(flag)) << 2 | position)
}

/// The largest frame size. Nearly every stream uses it for all frames.
fn frame_size(bits: &mut BitReader<'_>) -> Option<(u32, u32)> {
    before_frame_size(bits)?;
    skip_frame_size(bits)
}

/// Reads up to the frame size. Returns level and tier of the first operating point.
fn before_frame_size(bits: &mut BitReader<'_>) -> Option<(u8, u8)> {
    bits.skip(3 + 1)?; // seq_profile, still_picture
    if bits.bit()? { Some((bits.small(5)?, 0)) } else { skip_operating_points(bits) }
}

fn skip_frame_size(bits: &mut BitReader<'_>) -> Option<(u32, u32)> {
    let width_bits = bits.bits(4)? + 1;
    let height_bits = bits.bits(4)? + 1;
    Some((bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1))
}

/// Returns level and tier of the first one.
fn skip_operating_points(bits: &mut BitReader<'_>) -> Option<(u8, u8)> {
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
    let mut first = None;
    for _ in 0..points {
        bits.skip(12)?; // operating_point_idc
        let level = bits.small(5)?;
        let tier = if level > 7 { bits.small(1)? } else { 0 };
        first.get_or_insert((level, tier));
        if let Some(length) = buffer_delay_bits
            && bits.bit()?
        {
            bits.skip(2 * length + 1)?;
        }
        if initial_display_delay && bits.bit()? {
            bits.skip(4)?;
        }
    }
    first
}
