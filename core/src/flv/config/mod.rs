//! Summaries of decoder configurations for statistics: profile, level, picture size, sample rate, channels. And decoder
//! configurations for streams that come without them.
//!
//! Summaries have no effect on relaying. A configuration that cannot be read has no summary and is relayed all the
//! same.

mod audio;
mod av1;
mod avc;
mod bits;
mod hevc;
mod record;
mod vp9;

use std::fmt;

pub(crate) use audio::flac_stream_info;
pub use record::{av1_record, avc_record, hevc_record, opus_head, vp9_record, vp9_size};

use super::{AudioCodec, Codec, VideoCodec};

/// The summary of a decoder configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecSummary {
    /// For a video codec.
    Video(VideoSummary),
    /// For an audio codec.
    Audio(AudioSummary),
}

/// The summary of a video decoder configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoSummary {
    /// The profile, as a number defined by the codec.
    pub profile: u8,
    /// Its name, where it is a known one.
    pub profile_name: Option<&'static str>,
    /// Level; `None` if the configuration gives none.
    pub level: Option<Level>,
    /// Width and height in pixels after cropping; `None` if the configuration does not contain them.
    pub size: Option<(u32, u32)>,
}

/// A codec level such as 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    /// The number before the point.
    pub major: u8,
    /// The number after the point.
    pub minor: u8,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Level {
    /// The level for a number that counts tenths, as in H.264 and VP9.
    const fn from_tenths(tenths: u8) -> Self {
        Self { major: tenths / 10, minor: tenths % 10 }
    }
}

/// The summary of an audio decoder configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSummary {
    /// AAC: the audio object type of the stream as a whole (2 LC, 5 HE-AAC, 29 HE-AAC v2). `None` for other codecs.
    pub object_type: Option<u8>,
    /// Its name, where it is a known one.
    pub profile_name: Option<&'static str>,
    /// Samples per second after decoding: with an explicit SBR extension, the rate of the extension.
    pub sample_rate: u32,
    /// Channels after decoding; `None` if a program config element describes them.
    pub channels: Option<u8>,
}

/// Summarizes the payload of a sequence header of `codec`: AVC, HEVC, AV1, VP8, VP9, AAC, Opus and FLAC.
///
/// `None` for other codecs and for payloads that cannot be read. The work is bounded for any payload.
pub fn summarize(codec: impl Into<Codec>, payload: &[u8]) -> Option<CodecSummary> {
    match codec.into() {
        Codec::Video(codec) => video(codec, payload).map(CodecSummary::Video),
        Codec::Audio(codec) => audio(codec, payload).map(CodecSummary::Audio),
    }
}

fn video(codec: VideoCodec, payload: &[u8]) -> Option<VideoSummary> {
    match codec {
        VideoCodec::Avc => avc::summarize(payload),
        VideoCodec::Hevc => hevc::summarize(payload),
        VideoCodec::Av1 => av1::summarize(payload),
        VideoCodec::Vp8 | VideoCodec::Vp9 => vp(payload),
        _ => None,
    }
}

fn audio(codec: AudioCodec, payload: &[u8]) -> Option<AudioSummary> {
    match codec {
        AudioCodec::Aac => audio::aac(payload),
        AudioCodec::Opus => audio::opus(payload),
        AudioCodec::Flac => audio::flac(payload),
        _ => None,
    }
}

/// VPCodecConfigurationRecord of the VP codec ISO media file format binding.
///
/// Some writers put the version and flags of the surrounding `vpcC` box before it. As a record those four
/// bytes would be profile 1 with level 0, which does not exist.
fn vp(payload: &[u8]) -> Option<VideoSummary> {
    let record = payload.strip_prefix(&[1, 0, 0, 0]).unwrap_or(payload);
    let &[profile, level, ..] = record.first_chunk::<8>()?;
    let profile_name = match profile {
        0 => Some("Profile 0"),
        1 => Some("Profile 1"),
        2 => Some("Profile 2"),
        3 => Some("Profile 3"),
        _ => return None,
    };
    Some(VideoSummary { profile, profile_name, level: (level != 0).then(|| Level::from_tenths(level)), size: None })
}

/// A coded size minus the cropped pixels; `None` if no pixels are left.
fn cropped(coded: (u32, u32), crop_x: u32, crop_y: u32) -> Option<(u32, u32)> {
    let width = coded.0.checked_sub(crop_x)?;
    let height = coded.1.checked_sub(crop_y)?;
    (width > 0 && height > 0).then_some((width, height))
}

#[cfg(test)]
mod tests;
