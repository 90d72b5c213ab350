use std::fmt;

use super::FourCC;

/// A video codec. HEVC named by legacy id 12 and HEVC named by `hvc1` are the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VideoCodec {
    /// Legacy id 1, not used by any known encoder.
    Jpeg,
    /// Sorenson H.263, legacy id 2.
    SorensonH263,
    /// Screen video, legacy id 3.
    Screen,
    /// On2 VP6, legacy id 4.
    Vp6,
    /// On2 VP6 with an alpha channel, legacy id 5.
    Vp6Alpha,
    /// Screen video version 2, legacy id 6.
    Screen2,
    /// H.263, legacy id 8 (FFmpeg's addition).
    H263,
    /// MPEG-4 part 2, legacy id 9 (FFmpeg's addition).
    Mpeg4,
    /// H.264, legacy id 7 or `avc1`.
    Avc,
    /// H.265, legacy id 12 (in no Adobe document, but sent by many phone SDKs and CDNs) or `hvc1`.
    Hevc,
    /// H.266, legacy id 14 (by analogy with 12) or `vvc1`.
    Vvc,
    /// AV1, legacy id 13 (SRS and Tencent) or `av01`.
    Av1,
    /// VP8, `vp08`.
    Vp8,
    /// VP9, `vp09`.
    Vp9,
    /// A legacy id that names no known codec (0, 10, 11, 15).
    OtherId(u8),
    /// A FourCC that names no known codec.
    OtherFourCC(FourCC),
}

impl VideoCodec {
    /// The codec for the low four bits of a legacy video header (FLV 10.1 §E.4.3.1); higher bits are ignored.
    #[inline]
    pub const fn from_legacy_id(id: u8) -> Self {
        match id & 0x0F {
            1 => Self::Jpeg,
            2 => Self::SorensonH263,
            3 => Self::Screen,
            4 => Self::Vp6,
            5 => Self::Vp6Alpha,
            6 => Self::Screen2,
            7 => Self::Avc,
            8 => Self::H263,
            9 => Self::Mpeg4,
            12 => Self::Hevc,
            13 => Self::Av1,
            14 => Self::Vvc,
            id => Self::OtherId(id),
        }
    }

    /// The codec for a FourCC of Enhanced RTMP.
    #[inline]
    pub const fn from_fourcc(fourcc: FourCC) -> Self {
        match fourcc {
            FourCC::AVC1 => Self::Avc,
            FourCC::HVC1 => Self::Hevc,
            FourCC::VVC1 => Self::Vvc,
            FourCC::AV01 => Self::Av1,
            FourCC::VP08 => Self::Vp8,
            FourCC::VP09 => Self::Vp9,
            other => Self::OtherFourCC(other),
        }
    }

    /// The FourCC that names the codec, if it has one.
    pub const fn fourcc(self) -> Option<FourCC> {
        Some(match self {
            Self::Avc => FourCC::AVC1,
            Self::Hevc => FourCC::HVC1,
            Self::Vvc => FourCC::VVC1,
            Self::Av1 => FourCC::AV01,
            Self::Vp8 => FourCC::VP08,
            Self::Vp9 => FourCC::VP09,
            Self::OtherFourCC(other) => other,
            _ => return None,
        })
    }

    /// The four bit id that names the codec in a legacy header, if it has one.
    pub const fn legacy_id(self) -> Option<u8> {
        Some(match self {
            Self::Jpeg => 1,
            Self::SorensonH263 => 2,
            Self::Screen => 3,
            Self::Vp6 => 4,
            Self::Vp6Alpha => 5,
            Self::Screen2 => 6,
            Self::Avc => 7,
            Self::H263 => 8,
            Self::Mpeg4 => 9,
            Self::Hevc => 12,
            Self::Av1 => 13,
            Self::Vvc => 14,
            Self::OtherId(id) => id,
            Self::Vp8 | Self::Vp9 | Self::OtherFourCC(_) => return None,
        })
    }

    /// A name for logs and statistics. [`Display`](fmt::Display) adds the code of unknown codecs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::SorensonH263 => "Sorenson H.263",
            Self::Screen => "Screen video",
            Self::Vp6 => "VP6",
            Self::Vp6Alpha => "VP6 with alpha",
            Self::Screen2 => "Screen video 2",
            Self::H263 => "H.263",
            Self::Mpeg4 => "MPEG-4",
            Self::Avc => "H.264",
            Self::Hevc => "HEVC",
            Self::Vvc => "VVC",
            Self::Av1 => "AV1",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::OtherId(_) | Self::OtherFourCC(_) => "unknown",
        }
    }

    /// Whether a legacy body has packet type and composition time after its first byte: AVC by the
    /// specification, the others by analogy.
    #[inline]
    pub(super) const fn has_legacy_packet_type(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Av1 | Self::Vvc)
    }

    /// Whether coded frames in an extended body begin with a composition time (Enhanced RTMP v2, `CodedFrames`).
    #[inline]
    pub(super) const fn has_composition_time(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Vvc)
    }
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherId(id) => write!(f, "unknown video codec {id}"),
            Self::OtherFourCC(fourcc) => write!(f, "unknown video codec {fourcc}"),
            known => f.write_str(known.name()),
        }
    }
}

/// An audio codec. AAC named by legacy id 10 and AAC named by `mp4a` are the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AudioCodec {
    /// Linear PCM in the byte order of the sender, legacy id 0.
    PcmPlatform,
    /// ADPCM, legacy id 1.
    Adpcm,
    /// MP3, legacy id 2 or `.mp3`.
    Mp3,
    /// Linear PCM, little-endian, legacy id 3.
    PcmLittleEndian,
    /// Nellymoser at 16 kHz mono, legacy id 4.
    Nellymoser16k,
    /// Nellymoser at 8 kHz mono, legacy id 5.
    Nellymoser8k,
    /// Nellymoser, legacy id 6.
    Nellymoser,
    /// G.711 A-law, legacy id 7.
    G711ALaw,
    /// G.711 mu-law, legacy id 8.
    G711MuLaw,
    /// AAC, legacy id 10 or `mp4a`.
    Aac,
    /// Speex, legacy id 11.
    Speex,
    /// MP3 at 8 kHz, legacy id 14.
    Mp3At8k,
    /// Device-specific sound, legacy id 15.
    DeviceSpecific,
    /// Opus, `Opus`.
    Opus,
    /// FLAC, `fLaC`.
    Flac,
    /// AC-3, `ac-3`.
    Ac3,
    /// E-AC-3, `ec-3`.
    Eac3,
    /// A legacy id that names no known codec (12, 13).
    OtherId(u8),
    /// A FourCC that names no known codec.
    OtherFourCC(FourCC),
}

impl AudioCodec {
    /// The codec for the SoundFormat of a legacy audio header (FLV 10.1 §E.4.2.1); bits above the low four are ignored.
    ///
    /// Format 9 marks an extended header and names no codec; here it is `OtherId(9)`.
    #[inline]
    pub const fn from_legacy_id(id: u8) -> Self {
        match id & 0x0F {
            0 => Self::PcmPlatform,
            1 => Self::Adpcm,
            2 => Self::Mp3,
            3 => Self::PcmLittleEndian,
            4 => Self::Nellymoser16k,
            5 => Self::Nellymoser8k,
            6 => Self::Nellymoser,
            7 => Self::G711ALaw,
            8 => Self::G711MuLaw,
            10 => Self::Aac,
            11 => Self::Speex,
            14 => Self::Mp3At8k,
            15 => Self::DeviceSpecific,
            id => Self::OtherId(id),
        }
    }

    /// The codec for a FourCC of Enhanced RTMP.
    #[inline]
    pub const fn from_fourcc(fourcc: FourCC) -> Self {
        match fourcc {
            FourCC::MP4A => Self::Aac,
            FourCC::OPUS => Self::Opus,
            FourCC::FLAC => Self::Flac,
            FourCC::AC3 => Self::Ac3,
            FourCC::EC3 => Self::Eac3,
            FourCC::MP3 => Self::Mp3,
            other => Self::OtherFourCC(other),
        }
    }

    /// The FourCC that names the codec, if it has one.
    pub const fn fourcc(self) -> Option<FourCC> {
        Some(match self {
            Self::Aac => FourCC::MP4A,
            Self::Opus => FourCC::OPUS,
            Self::Flac => FourCC::FLAC,
            Self::Ac3 => FourCC::AC3,
            Self::Eac3 => FourCC::EC3,
            Self::Mp3 => FourCC::MP3,
            Self::OtherFourCC(other) => other,
            _ => return None,
        })
    }

    /// The four bit SoundFormat that names the codec in a legacy header, if it has one.
    pub const fn legacy_id(self) -> Option<u8> {
        Some(match self {
            Self::PcmPlatform => 0,
            Self::Adpcm => 1,
            Self::Mp3 => 2,
            Self::PcmLittleEndian => 3,
            Self::Nellymoser16k => 4,
            Self::Nellymoser8k => 5,
            Self::Nellymoser => 6,
            Self::G711ALaw => 7,
            Self::G711MuLaw => 8,
            Self::Aac => 10,
            Self::Speex => 11,
            Self::Mp3At8k => 14,
            Self::DeviceSpecific => 15,
            Self::OtherId(id) => id,
            Self::Opus | Self::Flac | Self::Ac3 | Self::Eac3 | Self::OtherFourCC(_) => return None,
        })
    }

    /// A name for logs and statistics. [`Display`](fmt::Display) adds the code of unknown codecs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PcmPlatform | Self::PcmLittleEndian => "PCM",
            Self::Adpcm => "ADPCM",
            Self::Mp3 | Self::Mp3At8k => "MP3",
            Self::Nellymoser16k | Self::Nellymoser8k | Self::Nellymoser => "Nellymoser",
            Self::G711ALaw => "G.711 A-law",
            Self::G711MuLaw => "G.711 mu-law",
            Self::Aac => "AAC",
            Self::Speex => "Speex",
            Self::DeviceSpecific => "device-specific",
            Self::Opus => "Opus",
            Self::Flac => "FLAC",
            Self::Ac3 => "AC-3",
            Self::Eac3 => "E-AC-3",
            Self::OtherId(_) | Self::OtherFourCC(_) => "unknown",
        }
    }
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherId(id) => write!(f, "unknown audio codec {id}"),
            Self::OtherFourCC(fourcc) => write!(f, "unknown audio codec {fourcc}"),
            known => f.write_str(known.name()),
        }
    }
}

/// A codec of either medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Of an audio message.
    Audio(AudioCodec),
    /// Of a video message.
    Video(VideoCodec),
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audio(codec) => codec.fmt(f),
            Self::Video(codec) => codec.fmt(f),
        }
    }
}

impl From<AudioCodec> for Codec {
    fn from(codec: AudioCodec) -> Self {
        Self::Audio(codec)
    }
}

impl From<VideoCodec> for Codec {
    fn from(codec: VideoCodec) -> Self {
        Self::Video(codec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legacy_id_survives_the_way_through_the_codec() {
        for id in 0..16 {
            assert_eq!(VideoCodec::from_legacy_id(id).legacy_id(), Some(id));
            assert_eq!(AudioCodec::from_legacy_id(id).legacy_id(), Some(id));
        }
    }

    #[test]
    fn both_names_of_a_codec_are_one_codec() {
        for (id, fourcc) in [(7, FourCC::AVC1), (12, FourCC::HVC1), (13, FourCC::AV01), (14, FourCC::VVC1)] {
            assert_eq!(VideoCodec::from_legacy_id(id), VideoCodec::from_fourcc(fourcc));
        }
        assert_eq!(AudioCodec::from_legacy_id(10), AudioCodec::from_fourcc(FourCC::MP4A));
        assert_eq!(AudioCodec::from_legacy_id(2), AudioCodec::from_fourcc(FourCC::MP3));
    }

    #[test]
    fn unknown_codes_are_kept_and_shown() {
        let hev1 = FourCC(*b"hev1");
        assert_eq!(VideoCodec::from_fourcc(hev1).fourcc(), Some(hev1));
        assert_eq!(Codec::from(VideoCodec::from_fourcc(hev1)).to_string(), "unknown video codec hev1");
        assert_eq!(Codec::from(AudioCodec::from_legacy_id(13)).to_string(), "unknown audio codec 13");
        assert_eq!(VideoCodec::Avc.to_string(), "H.264");
    }
}
