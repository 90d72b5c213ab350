//! AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) and the sequence parameter set in it (H.264 §7.3.2.1.1).

use super::bits::BitReader;
use super::{Level, VideoSummary, cropped};

pub(super) fn summarize(payload: &[u8]) -> Option<VideoSummary> {
    let (&[version, profile, constraints, level, _, set_count], rest) = payload.split_first_chunk()?;
    if version != 1 {
        return None;
    }
    let size = (set_count & 0x1F > 0).then(|| size_of_first(rest)).flatten();
    Some(VideoSummary {
        profile,
        profile_name: profile_name(profile, constraints),
        level: Some(Level::from_tenths(level)),
        size,
    })
}

fn profile_name(profile: u8, constraints: u8) -> Option<&'static str> {
    Some(match profile {
        66 if constraints & 0x40 != 0 => "Constrained Baseline",
        66 => "Baseline",
        77 => "Main",
        88 => "Extended",
        100 => "High",
        110 => "High 10",
        122 => "High 4:2:2",
        244 => "High 4:4:4 Predictive",
        44 => "CAVLC 4:4:4 Intra",
        _ => return None,
    })
}

fn size_of_first(sets: &[u8]) -> Option<(u32, u32)> {
    let (length, rest) = sets.split_first_chunk()?;
    let nal_unit = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    let (&header, sps) = nal_unit.split_first()?;
    if header & 0x1F != 7 {
        return None;
    }
    picture_size(&mut BitReader::nal_unit(sps))
}

/// The format of the chroma of a sequence parameter set, and the bits of luma and chroma above eight.
pub(super) fn format(sps: &[u8]) -> Option<[u8; 3]> {
    let (&header, sps) = sps.split_first()?;
    let [chroma, luma_depth, chroma_depth] = color_format(&mut BitReader::nal_unit(sps))?;
    let is_legal = header & 0x1F == 7 && chroma <= 3 && luma_depth <= 6 && chroma_depth <= 6;
    is_legal.then_some([chroma as u8, luma_depth as u8, chroma_depth as u8])
}

/// Reads up to the depths of luma and chroma.
fn color_format(bits: &mut BitReader<'_>) -> Option<[u32; 3]> {
    let profile = bits.small(8)?;
    bits.skip(16)?; // constraint flags, level
    bits.exp_golomb()?; // seq_parameter_set_id
    if !has_color_format(profile) {
        return Some([1, 0, 0]);
    }
    let chroma_format = bits.exp_golomb()?;
    if chroma_format == 3 {
        bits.skip(1)?; // separate_colour_plane_flag
    }
    Some([chroma_format, bits.exp_golomb()?, bits.exp_golomb()?])
}

fn has_color_format(profile: u8) -> bool {
    matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244)
}

fn picture_size(bits: &mut BitReader<'_>) -> Option<(u32, u32)> {
    let profile = bits.clone().small(8)?;
    let [chroma_format, ..] = color_format(bits)?;
    if has_color_format(profile) {
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.bit()? {
            skip_scaling_matrix(bits, if chroma_format == 3 { 12 } else { 8 })?;
        }
    }
    bits.exp_golomb()?; // log2_max_frame_num_minus4
    match bits.exp_golomb()? {
        0 => _ = bits.exp_golomb()?, // log2_max_pic_order_cnt_lsb_minus4
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.exp_golomb()?; // offset_for_non_ref_pic
            bits.exp_golomb()?; // offset_for_top_to_bottom_field
            let count = bits.exp_golomb()?;
            // The standard allows 255; a larger number is damage.
            for _ in 0..(count <= 255).then_some(count)? {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    bits.exp_golomb()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_in_blocks = bits.exp_golomb()?.checked_add(1)?;
    let height_in_units = bits.exp_golomb()?.checked_add(1)?;
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag

    // A map unit of field coding covers two rows of macroblocks.
    let field_factor = if frames_only { 1 } else { 2 };
    let coded = (width_in_blocks.checked_mul(16)?, height_in_units.checked_mul(16 * field_factor)?);
    if !bits.bit()? {
        return Some(coded);
    }
    let [left, right, top, bottom] = [bits.exp_golomb()?, bits.exp_golomb()?, bits.exp_golomb()?, bits.exp_golomb()?];
    let (unit_x, unit_y) = match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        // Without subsampling, and with no chroma or planes coded apart, the unit is one sample.
        _ => (1, 1),
    };
    let crop_x = left.checked_add(right)?.checked_mul(unit_x)?;
    let crop_y = top.checked_add(bottom)?.checked_mul(unit_y * field_factor)?;
    cropped(coded, crop_x, crop_y)
}

/// Scaling lists (H.264 §7.3.2.1.1.1): their length depends on their values.
fn skip_scaling_matrix(bits: &mut BitReader<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.signed_exp_golomb()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}
