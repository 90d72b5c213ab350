//! HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1) and the sequence parameter set in it (H.265 §7.3.2.2).

use super::bits::BitReader;
use super::{Level, VideoSummary, cropped};

pub(super) const NAL_TYPE_VPS: u8 = 32;
pub(super) const NAL_TYPE_SPS: u8 = 33;
pub(super) const NAL_TYPE_PPS: u8 = 34;

pub(super) fn summarize(payload: &[u8]) -> Option<VideoSummary> {
    let (fixed, arrays) = payload.split_first_chunk::<23>()?;
    let &[version, space_tier_profile, ..] = fixed;
    if version != 1 {
        return None;
    }
    let level = fixed[12];
    let array_count = fixed[22];
    let profile = space_tier_profile & 0x1F;
    Some(VideoSummary {
        profile,
        profile_name: match profile {
            1 => Some("Main"),
            2 => Some("Main 10"),
            3 => Some("Main Still Picture"),
            4 => Some("Range Extensions"),
            9 => Some("Screen Content Coding"),
            _ => None,
        },
        // general_level_idc counts thirtieths.
        level: Some(Level { major: level / 30, minor: level % 30 / 3 }),
        size: first_sps(arrays, array_count).and_then(|sps| picture_size(&mut BitReader::nal_unit(sps))),
    })
}

/// The first sequence parameter set, without its NAL unit header.
fn first_sps(mut bytes: &[u8], array_count: u8) -> Option<&[u8]> {
    for _ in 0..array_count {
        let (&[kind, c0, c1], rest) = bytes.split_first_chunk()?;
        bytes = rest;
        for _ in 0..u16::from_be_bytes([c0, c1]) {
            let (length, rest) = bytes.split_first_chunk()?;
            let (nal_unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            if kind & 0x3F == NAL_TYPE_SPS {
                return nal_unit.get(2..);
            }
            bytes = rest;
        }
    }
    None
}

/// What a configuration has of a sequence parameter set.
#[derive(Debug)]
pub(super) struct Format {
    /// Profile, tier, constraints and level.
    pub(super) profile_tier_level: [u8; 12],
    pub(super) temporal_layers: u8,
    /// Whether the layers are nested.
    pub(super) is_nested: bool,
    pub(super) chroma: u8,
    /// The bits above eight.
    pub(super) luma_depth: u8,
    pub(super) chroma_depth: u8,
}

pub(super) fn format(sps: &[u8]) -> Option<Format> {
    let (header, rest) = sps.split_at_checked(2)?;
    if header[0] >> 1 & 0x3F != NAL_TYPE_SPS {
        return None;
    }
    let mut bits = BitReader::nal_unit(rest);
    bits.skip(4)?;
    let sub_layers = bits.small(3)?;
    let is_nested = bits.bit()?;
    let mut profile_tier_level = [0; 12];
    let mut head = bits.clone();
    for byte in &mut profile_tier_level {
        *byte = head.small(8)?;
    }
    let mut bits = BitReader::nal_unit(rest);
    let (chroma, _, _) = coded_size(&mut bits)?;
    let [luma_depth, chroma_depth] = [bits.exp_golomb()?, bits.exp_golomb()?];
    (chroma <= 3 && luma_depth <= 7 && chroma_depth <= 7).then_some(Format {
        profile_tier_level,
        temporal_layers: sub_layers + 1,
        is_nested,
        chroma: chroma as u8,
        luma_depth: luma_depth as u8,
        chroma_depth: chroma_depth as u8,
    })
}

fn picture_size(bits: &mut BitReader<'_>) -> Option<(u32, u32)> {
    let (_, coded, [crop_x, crop_y]) = coded_size(bits)?;
    cropped(coded, crop_x, crop_y)
}

/// Reads up to the size: the format of the chroma, the coded size, and how much of it is not shown.
fn coded_size(bits: &mut BitReader<'_>) -> Option<(u32, (u32, u32), [u32; 2])> {
    bits.skip(4)?; // sps_video_parameter_set_id
    let sub_layers = bits.bits(3)?; // sps_max_sub_layers_minus1
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    skip_profile_tier_level(bits, sub_layers)?;
    bits.exp_golomb()?; // sps_seq_parameter_set_id
    let chroma_format = bits.exp_golomb()?;
    if chroma_format == 3 {
        bits.skip(1)?; // separate_colour_plane_flag
    }
    let coded = (bits.exp_golomb()?, bits.exp_golomb()?);
    if !bits.bit()? {
        return Some((chroma_format, coded, [0, 0]));
    }
    let [left, right, top, bottom] = [bits.exp_golomb()?, bits.exp_golomb()?, bits.exp_golomb()?, bits.exp_golomb()?];
    let (unit_x, unit_y) = match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let crop_x = left.checked_add(right)?.checked_mul(unit_x)?;
    let crop_y = top.checked_add(bottom)?.checked_mul(unit_y)?;
    Some((chroma_format, coded, [crop_x, crop_y]))
}

/// `profile_tier_level` (H.265 §7.3.3).
fn skip_profile_tier_level(bits: &mut BitReader<'_>, sub_layers: u32) -> Option<()> {
    bits.skip(96)?; // general profile, tier, constraints and level
    let mut present = [(false, false); 8];
    let present = present.get_mut(..usize::try_from(sub_layers).ok()?)?;
    for layer in present.iter_mut() {
        *layer = (bits.bit()?, bits.bit()?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for &mut (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 })?;
        bits.skip(if level { 8 } else { 0 })?;
    }
    Some(())
}
