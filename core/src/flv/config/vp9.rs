//! The uncompressed header of a key frame of VP9 (VP9 §6.2).

use super::bits::BitReader;

/// What a configuration has of a key frame.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) profile: u8,
    /// Bits of a sample.
    pub(super) depth: u8,
    /// The subsampling as the configuration has it: 1 for 4:2:0 with chroma beside the first of two samples.
    pub(super) chroma: u8,
    pub(super) is_full_range: bool,
    pub(super) size: (u32, u32),
}

/// The largest number of luma samples of each level, and the level in tenths.
const LEVELS: [(u64, u8); 10] = [
    (36_864, 10),
    (73_728, 11),
    (122_880, 20),
    (245_760, 21),
    (552_960, 30),
    (983_040, 31),
    (2_228_224, 40),
    (8_912_896, 50),
    (35_651_584, 60),
    (u64::MAX, 62),
];

impl Format {
    /// The lowest level that has pictures of this size. VP9 itself does not tell levels.
    pub(super) fn level(&self) -> u8 {
        let samples = u64::from(self.size.0) * u64::from(self.size.1);
        LEVELS.iter().find(|(most, _)| samples <= *most).map_or(62, |(_, level)| *level)
    }
}

const COLOR_SPACE_RGB: u32 = 7;

pub(super) fn format(key_frame: &[u8]) -> Option<Format> {
    let mut bits = BitReader::new(key_frame);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = bits.small(1)? | bits.small(1)? << 1;
    if profile == 3 && bits.bit()? {
        return None;
    }
    let (shows_existing, is_inter) = (bits.bit()?, bits.bit()?);
    bits.skip(2)?; // show_frame, error_resilient_mode
    if shows_existing || is_inter || bits.bits(24)? != 0x49_83_42 {
        return None;
    }
    let depth = match profile {
        0 | 1 => 8,
        _ => 10 + 2 * bits.small(1)?,
    };
    let (chroma, is_full_range) = if bits.bits(3)? == COLOR_SPACE_RGB {
        if profile & 1 == 0 {
            return None;
        }
        bits.skip(1)?;
        (3, true)
    } else {
        let is_full_range = bits.bit()?;
        let (x, y) = if profile & 1 == 1 {
            let both = (bits.bit()?, bits.bit()?);
            bits.skip(1)?;
            both
        } else {
            (true, true)
        };
        let chroma = match (x, y) {
            (true, true) => 1,
            (true, false) => 2,
            (false, false) => 3,
            // 4:4:0 has no number.
            (false, true) => return None,
        };
        (chroma, is_full_range)
    };
    let size = (bits.bits(16)? + 1, bits.bits(16)? + 1);
    Some(Format { profile, depth, chroma, is_full_range, size })
}
