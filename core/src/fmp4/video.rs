use bytes::Bytes;

use super::Fmp4Error;
use super::boxes::{put_u16, put_u32, put_zeros, write_box, write_full_box};
use crate::flv::VideoCodec;
use crate::flv::config::{self, CodecSummary};
use crate::shown::Shown;

/// The configuration of a video decoder: AVC, HEVC, AV1 or VP9.
#[derive(Clone, PartialEq, Eq)]
pub struct VideoConfig {
    codec: VideoCodec,
    /// The content of the configuration box: `avcC`, `hvcC`, `av1C`, or `vpcC` without version and flags.
    record: Bytes,
    size: Option<(u16, u16)>,
}

impl std::fmt::Debug for VideoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("VideoConfig");
        shown.field("codec", &self.codec).field("size", &self.size).field("record", &Shown(&self.record)).finish()
    }
}

impl VideoConfig {
    /// Reads the payload of a video sequence header, as [`flv::video`](crate::flv::video) returns it.
    ///
    /// # Errors
    ///
    /// A codec that MP4 players do not know, or a payload that is not its configuration record.
    pub fn from_header(codec: VideoCodec, payload: &[u8]) -> Result<Self, Fmp4Error> {
        let bad = Fmp4Error::BadConfiguration(codec.into());
        let record = match codec {
            VideoCodec::Avc => payload.get(..7).and(Some(payload)),
            VideoCodec::Hevc => payload.get(..23).and(Some(payload)),
            // In `MPEG2TSSequenceStart` the record is the content of a descriptor.
            VideoCodec::Av1 => Some(payload.strip_prefix(&[0x80, 4]).unwrap_or(payload)),
            // Some encoders send version and flags of the box in front.
            VideoCodec::Vp9 => payload.strip_prefix(&[1, 0, 0, 0]).unwrap_or(payload).get(..8),
            _ => return Err(Fmp4Error::UnsupportedCodec(codec.into())),
        };
        let record = record.ok_or(bad)?;
        let Some(CodecSummary::Video(summary)) = config::summarize(codec, payload) else {
            return Err(bad);
        };
        let size = summary.size.and_then(|(width, height)| Some((width.try_into().ok()?, height.try_into().ok()?)));
        Ok(VideoConfig { codec, record: Bytes::copy_from_slice(record), size })
    }

    /// The same with a size for the case that the record does not contain one: from the metadata of the stream, or
    /// from the first key frame ([`vp9_size`]).
    #[must_use]
    pub fn or_size(mut self, size: Option<(u16, u16)>) -> Self {
        self.size = self.size.or(size);
        self
    }

    /// The codec.
    pub fn codec(&self) -> VideoCodec {
        self.codec
    }

    /// The configuration record, as it is in the box `avcC`, `hvcC`, `av1C` or, after version and flags, `vpcC`.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// Width and height in pixels; `None` if nothing has told it.
    pub fn size(&self) -> Option<(u16, u16)> {
        self.size
    }

    /// The codec for `codecs=` of MIME types (RFC 6381) and `CODECS` of playlists, such as `avc1.64001f`.
    pub fn codec_string(&self) -> String {
        let byte = |index: usize| self.record.get(index).copied().unwrap_or(0);
        match self.codec {
            VideoCodec::Avc => format!("avc1.{:02x}{:02x}{:02x}", byte(1), byte(2), byte(3)),
            VideoCodec::Hevc => hevc_string(&self.record),
            VideoCodec::Av1 => {
                let (tier, high, twelve) = (byte(2) & 0x80 != 0, byte(2) & 0x40 != 0, byte(2) & 0x20 != 0);
                let depth = if !high {
                    8
                } else if twelve {
                    12
                } else {
                    10
                };
                let tier = if tier { 'H' } else { 'M' };
                format!("av01.{}.{:02}{tier}.{depth:02}", byte(1) >> 5, byte(1) & 0x1F)
            }
            _ => {
                // Level 0 means that it is not known; strings have no value for that.
                let level = if byte(1) == 0 { 10 } else { byte(1) };
                format!("vp09.{:02}.{level:02}.{:02}", byte(0), byte(2) >> 4)
            }
        }
    }

    /// A VisualSampleEntry (ISO/IEC 14496-12 §12.1.3) with the box of the configuration.
    pub(super) fn write_entry(&self, out: &mut Vec<u8>) {
        let (entry, configuration) = match self.codec {
            VideoCodec::Avc => (b"avc1", b"avcC"),
            VideoCodec::Hevc => (b"hvc1", b"hvcC"),
            VideoCodec::Av1 => (b"av01", b"av1C"),
            _ => (b"vp09", b"vpcC"),
        };
        let (width, height) = self.size.unwrap_or_default();
        write_box(out, entry, |out| {
            put_zeros(out, 6);
            put_u16(out, 1); // data_reference_index
            put_zeros(out, 16);
            put_u16(out, width);
            put_u16(out, height);
            put_u32(out, 0x0048_0000); // 72 dots per inch, both ways
            put_u32(out, 0x0048_0000);
            put_u32(out, 0);
            put_u16(out, 1); // frame_count
            put_zeros(out, 32); // compressorname
            put_u16(out, 0x0018); // depth
            put_u16(out, 0xFFFF);
            if self.codec == VideoCodec::Vp9 {
                write_full_box(out, configuration, 1, 0, |out| out.extend_from_slice(&self.record));
            } else {
                write_box(out, configuration, |out| out.extend_from_slice(&self.record));
            }
        });
    }
}

/// ISO/IEC 14496-15 Annex E.3: the profile space and number, the compatibility flags in reverse order, tier and level,
/// and the constraint bytes without the zeros at their end.
fn hevc_string(record: &[u8]) -> String {
    let Some(&[_, profile, c0, c1, c2, c3, ref constraints @ .., level]) = record.first_chunk::<13>() else {
        return "hvc1".to_owned();
    };
    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let tier = if profile & 0x20 != 0 { 'H' } else { 'L' };
    let flags = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
    let mut text = format!("hvc1.{space}{}.{flags:X}.{tier}{level}", profile & 0x1F);
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in constraints.iter().take(used) {
        text += &format!(".{byte:X}");
    }
    text
}

/// Width and height of a VP9 key frame (VP9 §6.2): VP9's configuration record does not contain them. `None` for other
/// frames.
pub fn vp9_size(payload: &[u8]) -> Option<(u16, u16)> {
    let mut bits = payload.iter().take(16).flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut read = |count: u32| (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(bits.next()?)));
    let marker = read(2)?;
    let profile = read(1)? | read(1)? << 1;
    if profile == 3 {
        read(1)?;
    }
    let (shows_existing, is_inter) = (read(1)?, read(1)?);
    read(2)?; // show_frame, error_resilient_mode
    if marker != 2 || shows_existing != 0 || is_inter != 0 || read(24)? != 0x0049_8342 {
        return None;
    }
    if profile >= 2 {
        read(1)?; // ten_or_twelve_bit
    }
    const RGB: u32 = 7;
    let colour_space = read(3)?;
    // Without subsampling flags where the profile says it all.
    let after = match (colour_space, profile & 1) {
        (RGB, 0) => 0,
        (RGB, _) => 1,
        (_, 0) => 1,
        _ => 4,
    };
    read(after)?;
    let (width, height) = (read(16)?, read(16)?);
    Some((u16::try_from(width + 1).ok()?, u16::try_from(height + 1).ok()?))
}
