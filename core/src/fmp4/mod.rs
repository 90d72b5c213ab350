//! Fragmented MP4 (ISO/IEC 14496-12, -14 and -15): the form in which browsers take live media.
//!
//! A stream is one *init segment*, which names its tracks and the configurations of their decoders, and then any number
//! of *fragments*. A fragment is a head, made by [`write_fragment_head`], and the payloads of its samples as they came:
//! AVC and HEVC with length fields before their NAL units, AAC without ADTS. Nothing of a payload is copied or changed.
//!
//! - [`VideoConfig`] and [`AudioConfig`] hold a decoder's configuration, from a sequence header of FLV or, for codecs
//!   without one, from a frame. They name the codec for MIME types and playlists.
//! - [`write_init`] writes the init segment of some [`Track`]s.
//! - [`write_fragment_head`] writes what comes before the payloads of some [`Sample`]s.
//! - [`write_file_head`] begins a file that can be played while it grows; a [`FileIndex`] gives it a length and an index at
//!   its end.
//! - [`ticks`] turns a stream's milliseconds into a track's units, and [`Cadence`] estimates how long a sample lasts
//!   that is sent before the next one is known. [`DecodeTimes`] keeps the times of a track in order.
//!
//! ```
//! use anabranch_core::flv::AudioCodec;
//! use anabranch_core::fmp4::{self, AudioConfig, FragmentOptions, Sample, Track};
//!
//! let audio = AudioConfig::from_header(AudioCodec::Aac, &[0x12, 0x10])?;
//! assert_eq!(audio.codec_string(), "mp4a.40.2");
//! let track = Track { id: 1, config: audio.into() };
//! let mut bytes = Vec::new();
//! fmp4::write_init(&[&track], &mut bytes)?;
//!
//! let payload = [0; 6];
//! let start = fmp4::ticks(40, 0, track.timescale());
//! let sample = Sample { track: 1, decode_time: start, composition: 0, duration: 1024, size: 6, key: true };
//! fmp4::write_fragment_head(1, &[sample], &FragmentOptions::default(), &mut bytes)?;
//! bytes.extend_from_slice(&payload);
//! # Ok::<(), fmp4::Fmp4Error>(())
//! ```

mod audio;
mod boxes;
mod file;
mod fragment;
mod init;
mod timing;
mod video;

pub use audio::AudioConfig;
pub use file::{FileHead, FileIndex, Fragment, Overwrite, read_fragment, write_file_head};
pub use fragment::{FragmentOptions, ReferenceTime, Sample, write_empty_fragment, write_fragment_head};
pub use init::{Track, TrackConfig, mime_type, write_init};
pub use timing::{Cadence, DecodeTimes, ticks};
pub use video::{VideoConfig, vp9_size};

use crate::flv::Codec;

/// Units a second of video tracks: all common frame rates and the milliseconds of RTMP are whole numbers of them.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Why something cannot be put into fragmented MP4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fmp4Error {
    /// MP4 has no form for the codec that players know.
    #[error("{0} cannot be put into fragmented MP4")]
    UnsupportedCodec(Codec),
    /// The decoder's configuration, or the frame that shows it, cannot be read.
    #[error("the configuration of {0} cannot be read")]
    BadConfiguration(Codec),
    /// An init segment without tracks, or a fragment without samples.
    #[error("there is nothing to write")]
    Empty,
    /// Two tracks of an init segment have one number, or one has the number 0.
    #[error("track {0} is there twice, or has a number that is not allowed")]
    BadTrack(u32),
    /// A fragment or configuration of 4 GiB or more.
    #[error("a box cannot have so many bytes")]
    TooLarge,
}

#[cfg(test)]
mod tests;
