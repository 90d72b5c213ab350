//! Decoder configurations for streams that have their parameters among the pictures, as those of RTP do.

use super::{av1, avc, hevc, vp9};

/// The AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) for these sequence and picture parameter sets, whose
/// pictures have lengths of four bytes. `None` if there is no set of one kind, or one cannot be read.
pub fn avc_record<'a>(
    sps: impl IntoIterator<Item = &'a [u8]>,
    pps: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Vec<u8>> {
    let (sps, pps): (Vec<_>, Vec<_>) = (sps.into_iter().collect(), pps.into_iter().collect());
    let first = *sps.first()?;
    let &[profile, constraints, level] = first.get(1..4)?.first_chunk()?;
    let format = avc::format(first)?;
    let mut record = vec![1, profile, constraints, level, 0xFF, 0xE0 | counted(&sps, 31)?];
    put_units(&mut record, &sps)?;
    record.push(counted(&pps, 255)?);
    put_units(&mut record, &pps)?;
    if !matches!(profile, 66 | 77 | 88) {
        let [chroma, luma_depth, chroma_depth] = format;
        record.extend_from_slice(&[0xFC | chroma, 0xF8 | luma_depth, 0xF8 | chroma_depth, 0]);
    }
    Some(record)
}

/// The HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1) for these parameter sets, whose pictures have lengths of
/// four bytes. `None` if there is no set of one kind, or one cannot be read.
pub fn hevc_record<'a>(
    vps: impl IntoIterator<Item = &'a [u8]>,
    sps: impl IntoIterator<Item = &'a [u8]>,
    pps: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Vec<u8>> {
    let sets: [Vec<_>; 3] = [vps.into_iter().collect(), sps.into_iter().collect(), pps.into_iter().collect()];
    let format = hevc::format(sets[1].first()?)?;
    let mut record = vec![1];
    record.extend_from_slice(&format.profile_tier_level);
    // The segmentation of pictures, how they may be decoded in parallel, and the frame rate are not told.
    record.extend_from_slice(&[0xF0, 0, 0xFC, 0xFC | format.chroma]);
    record.extend_from_slice(&[0xF8 | format.luma_depth, 0xF8 | format.chroma_depth, 0, 0]);
    let layers = format.temporal_layers << 3 | u8::from(format.is_nested) << 2;
    record.extend_from_slice(&[layers | 3, sets.len() as u8]);
    for (kind, units) in [hevc::NAL_TYPE_VPS, hevc::NAL_TYPE_SPS, hevc::NAL_TYPE_PPS].into_iter().zip(&sets) {
        // Pictures may have further sets among them.
        record.extend_from_slice(&[kind, 0, counted(units, 64)?]);
        put_units(&mut record, units)?;
    }
    Some(record)
}

/// The AV1CodecConfigurationRecord (AV1 ISOBMFF binding §2.3.3) for a sequence header OBU that has its size. `None` if it
/// cannot be read.
pub fn av1_record(sequence_header: &[u8]) -> Option<Vec<u8>> {
    let format = av1::format(sequence_header)?;
    let mut record = vec![0x81, format.profile << 5 | format.level, format.tier_and_colors, 0];
    record.extend_from_slice(sequence_header);
    Some(record)
}

/// The VPCodecConfigurationRecord of the VP codec ISO media file format binding for a key frame of VP9. `None` if its
/// header cannot be read.
pub fn vp9_record(key_frame: &[u8]) -> Option<Vec<u8>> {
    let format = vp9::format(key_frame)?;
    let colors = format.depth << 4 | format.chroma << 1 | u8::from(format.is_full_range);
    // The colors are not specified; VP9 has no data for decoders.
    Some(vec![format.profile, format.level(), colors, 2, 2, 2, 0, 0])
}

/// The size of the pictures from this key frame of VP9 on. `None` if its header cannot be read.
pub fn vp9_size(key_frame: &[u8]) -> Option<(u32, u32)> {
    vp9::format(key_frame).map(|format| format.size)
}

/// The header of a stream of Opus in two channels (RFC 7845 §5.1), of which nothing is to be skipped.
pub fn opus_head() -> Vec<u8> {
    let mut head = b"OpusHead".to_vec();
    let (version, channels, family) = (1, 2, 0);
    head.extend_from_slice(&[version, channels, 0, 0]);
    head.extend_from_slice(&48_000_u32.to_le_bytes());
    head.extend_from_slice(&[0, 0, family]);
    head
}

/// The number of these units. `None` if there are none or more than `most`.
fn counted(units: &[&[u8]], most: usize) -> Option<u8> {
    u8::try_from(units.len()).ok().filter(|count| *count > 0 && units.len() <= most)
}

/// Units, each with its length in two bytes.
fn put_units(out: &mut Vec<u8>, units: &[&[u8]]) -> Option<()> {
    for unit in units {
        out.extend_from_slice(&u16::try_from(unit.len()).ok()?.to_be_bytes());
        out.extend_from_slice(unit);
    }
    Some(())
}
