use std::fmt;

/// A four-character codec code of Enhanced RTMP, as the four bytes on the wire.
///
/// Case and punctuation matter: the exact codes are `Opus`, `fLaC` and `.mp3`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCC(pub [u8; 4]);

impl FourCC {
    /// H.264 / AVC.
    pub const AVC1: Self = Self(*b"avc1");
    /// H.265 / HEVC.
    pub const HVC1: Self = Self(*b"hvc1");
    /// H.266 / VVC.
    pub const VVC1: Self = Self(*b"vvc1");
    /// AV1.
    pub const AV01: Self = Self(*b"av01");
    /// VP9.
    pub const VP09: Self = Self(*b"vp09");
    /// VP8.
    pub const VP08: Self = Self(*b"vp08");
    /// AAC.
    pub const MP4A: Self = Self(*b"mp4a");
    /// Opus.
    pub const OPUS: Self = Self(*b"Opus");
    /// FLAC.
    pub const FLAC: Self = Self(*b"fLaC");
    /// AC-3.
    pub const AC3: Self = Self(*b"ac-3");
    /// E-AC-3.
    pub const EC3: Self = Self(*b"ec-3");
    /// MP3.
    pub const MP3: Self = Self(*b".mp3");

    /// The code as a big-endian number, its form in AMF, for example in `videocodecid` of `onMetaData`.
    pub const fn as_u32(self) -> u32 {
        u32::from_be_bytes(self.0)
    }

    /// The code for a number made by [`as_u32`](Self::as_u32).
    pub const fn from_u32(value: u32) -> Self {
        Self(value.to_be_bytes())
    }
}

/// The four characters. Bytes that are not printable ASCII appear as `\x..`, so that a log line stays one line.
impl fmt::Display for FourCC {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCC {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FourCC({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_enhanced_rtmp() {
        for (code, number) in [
            (FourCC::AVC1, 1_635_148_593),
            (FourCC::HVC1, 1_752_589_105),
            (FourCC::VVC1, 1_987_470_129),
            (FourCC::AV01, 1_635_135_537),
            (FourCC::VP09, 1_987_063_865),
            (FourCC::VP08, 1_987_063_864),
            (FourCC::MP4A, 1_836_069_985),
            (FourCC::OPUS, 1_332_770_163),
            (FourCC::FLAC, 1_716_281_667),
            (FourCC::AC3, 1_633_889_587),
            (FourCC::EC3, 1_700_998_451),
            (FourCC::MP3, 778_924_083),
        ] {
            assert_eq!(code.as_u32(), number, "{code}");
            assert_eq!(FourCC::from_u32(number), code);
        }
    }

    #[test]
    fn a_hostile_code_stays_on_one_line() {
        assert_eq!(FourCC(*b"a\nb\xff").to_string(), r"a\nb\xff");
        assert_eq!(FourCC::MP3.to_string(), ".mp3");
    }
}
