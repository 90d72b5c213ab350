//! FLV: the parts of audio, video and aggregate messages that a relay needs to know.
//!
//! The body of an RTMP audio or video message is the body of an FLV tag (Adobe FLV 10.1, Annex E), in the
//! legacy form or in the extended one of Enhanced RTMP v1 and v2 ([`FourCC`] codecs, [multitrack](MultitrackKind),
//! [`ModEx`] prefixes). This module never decodes or changes payloads: a relay passes them on unchanged.
//!
//! - [`classify_video`] and [`classify_audio`] classify each message for the data path, without allocating: a
//!   key frame to start at, a header to keep, or a message to drop.
//! - [`Pictures`] finds key frames whose messages are not marked as such, by parsing the pictures.
//! - [`video::parse`] and [`audio::parse`] give every field, for headers, statistics and tests.
//! - [`video_header_slots`] and [`audio_header_slots`] name the cache entries that a message sets or clears.
//! - [`rebuild`] writes the plain form of a multitrack message for a player that cannot read multitrack.
//! - [`config`] reads decoder configurations (codec profile, picture size, sample rate) for statistics.
//! - [`AccessUnit`] is what a message holds of one track, for other formats.
//! - [`aggregate`] splits aggregate messages. [`Tags`] and [`TagReader`] read FLV files; [`tag`] writes them.
//!
//! Unknown codecs, packet types and multitrack layouts are values, not errors: they are relayed unchanged.

mod access_unit;
pub mod aggregate;
pub mod audio;
mod classify;
mod codec;
pub mod config;
mod error;
mod fourcc;
mod modex;
mod multitrack;
mod picture;
pub mod rebuild;
mod repeat;
mod slots;
pub mod tag;
pub mod tags;
mod take;
pub mod video;

pub use access_unit::{AccessUnit, Slices};
pub use classify::{AudioInfo, FrameClass, FrameInfo, VideoInfo, classify_audio, classify_video};
pub use codec::{AudioCodec, Codec, VideoCodec};
pub use error::FlvError;
pub use fourcc::FourCC;
pub use modex::{MAX_MOD_EX, ModEx, ModExIter, ModExList};
pub use multitrack::{MAX_TRACKS, Multitrack, MultitrackKind, RawTrack, RawTracks};
pub use picture::Pictures;
pub use repeat::Repeat;
pub use slots::{HeaderKind, HeaderSlot, HeaderSlots, audio_header_slots, video_header_slots};
pub use tags::{Tag, TagReader, Tags};

#[cfg(test)]
mod tests;
