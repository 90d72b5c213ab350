//! AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1), OpusHead (RFC 7845 §5.1) and FLAC STREAMINFO (RFC 9639 §8.2).

use super::AudioSummary;
use super::bits::BitReader;

const OBJECT_TYPE_SBR: u8 = 5;
const OBJECT_TYPE_PS: u8 = 29;

const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

pub(super) fn aac(payload: &[u8]) -> Option<AudioSummary> {
    let mut bits = BitReader::new(payload);
    let object_type = aac_object_type(&mut bits)?;
    let mut sample_rate = aac_sample_rate(&mut bits)?;
    let channel_config = bits.small(4)?;
    let mut whole = object_type;
    if matches!(object_type, OBJECT_TYPE_SBR | OBJECT_TYPE_PS) {
        sample_rate = aac_sample_rate(&mut bits)?;
    } else if let Some((extended, rate)) = aac_sync_extension(&mut bits, object_type, channel_config) {
        whole = extended;
        sample_rate = rate;
    }
    let channels = match channel_config {
        // Parametric stereo turns one channel into two.
        1 if whole == OBJECT_TYPE_PS => Some(2),
        config @ 1..=6 => Some(config),
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        _ => None,
    };
    Some(AudioSummary {
        object_type: Some(whole),
        profile_name: match whole {
            1 => Some("Main"),
            2 => Some("LC"),
            3 => Some("SSR"),
            4 => Some("LTP"),
            OBJECT_TYPE_SBR => Some("HE-AAC"),
            23 => Some("LD"),
            OBJECT_TYPE_PS => Some("HE-AAC v2"),
            39 => Some("ELD"),
            42 => Some("xHE-AAC"),
            _ => None,
        },
        sample_rate,
        channels,
    })
}

fn aac_object_type(bits: &mut BitReader<'_>) -> Option<u8> {
    match bits.small(5)? {
        0 => None,
        31 => Some(32 + bits.small(6)?),
        object_type => Some(object_type),
    }
}

fn aac_sample_rate(bits: &mut BitReader<'_>) -> Option<u32> {
    let rate = match bits.small(4)? {
        15 => bits.bits(24)?,
        index => *SAMPLE_RATES.get(usize::from(index))?,
    };
    (rate > 0).then_some(rate)
}

/// The backward compatible signalling of SBR and PS, after the GASpecificConfig of the plain object types:
/// the object type of the whole and its sample rate.
fn aac_sync_extension(bits: &mut BitReader<'_>, object_type: u8, channel_config: u8) -> Option<(u8, u32)> {
    // With channel configuration 0 a program config element comes before it; that is not read here.
    if !matches!(object_type, 1..=4) || channel_config == 0 {
        return None;
    }
    bits.skip(1)?; // frameLengthFlag
    if bits.bit()? {
        bits.skip(14)?; // coreCoderDelay
    }
    bits.skip(1)?; // extensionFlag
    if bits.bits(11)? != 0x2B7 || bits.small(5)? != OBJECT_TYPE_SBR || !bits.bit()? {
        return None;
    }
    let rate = aac_sample_rate(bits)?;
    let parametric_stereo = bits.remaining_bits() >= 12 && bits.bits(11) == Some(0x548) && bits.bit() == Some(true);
    let whole = if parametric_stereo { OBJECT_TYPE_PS } else { OBJECT_TYPE_SBR };
    Some((whole, rate))
}

pub(super) fn opus(payload: &[u8]) -> Option<AudioSummary> {
    let head = payload.strip_prefix(b"OpusHead")?;
    let &[version, channels, _, _, r0, r1, r2, r3] = head.first_chunk()?;
    // The upper four bits of the version change with an incompatible layout.
    if version >> 4 != 0 || channels == 0 {
        return None;
    }
    Some(AudioSummary {
        object_type: None,
        profile_name: None,
        sample_rate: match u32::from_le_bytes([r0, r1, r2, r3]) {
            // An unknown input rate; Opus always decodes at 48 kHz.
            0 => 48_000,
            rate => rate,
        },
        channels: Some(channels),
    })
}

/// The STREAMINFO block, and what follows it, of a FLAC sequence header (RFC 9639 §8.2): `fLaC`, the block's header and the block, as Enhanced
/// RTMP says, or the block alone, as FFmpeg sends it.
pub(crate) fn flac_stream_info(payload: &[u8]) -> Option<&[u8]> {
    const LENGTH: usize = 34;
    let Some(blocks) = payload.strip_prefix(b"fLaC") else {
        return (payload.len() == LENGTH).then_some(payload);
    };
    let (&[kind, _, _, _], stream_info) = blocks.split_first_chunk()?;
    (kind & 0x7F == 0).then_some(stream_info)
}

pub(super) fn flac(payload: &[u8]) -> Option<AudioSummary> {
    let mut bits = BitReader::new(flac_stream_info(payload)?);
    bits.skip(16 + 16 + 24 + 24)?; // block and frame sizes
    let sample_rate = bits.bits(20)?;
    let channels = bits.small(3)? + 1;
    (sample_rate > 0).then_some(AudioSummary {
        object_type: None,
        profile_name: None,
        sample_rate,
        channels: Some(channels),
    })
}
