//! FLV: what audio, video and aggregate messages carry, as far as a relay needs to know it.
//!
//! The body of an RTMP audio or video message is the body of an FLV tag (Adobe FLV 10.1, Annex E), in the
//! legacy form or in the extended one of Enhanced RTMP v1 and v2 ([`FourCC`] codecs, [multitrack](MultitrackKind),
//! [`ModEx`] prefixes). Payloads are never decoded or changed here: a relay passes on what it received.
//!
//! - [`classify_video`] and [`classify_audio`] answer, once per message and without allocating, what the data
//!   path asks: is this a key frame to join at, a header to remember, or something to drop?
//! - [`Pictures`] looks inside pictures whose message does not say that decoding can start at them.
//! - [`video::parse`] and [`audio::parse`] give every field, for headers, statistics and tests.
//! - [`video_header_slots`] and [`audio_header_slots`] name the cache entries which a message sets or clears.
//! - [`rebuild`] writes the plain form of a multitrack message for a player that cannot read multitrack.
//! - [`config`] sums up decoder configurations (codec profile, picture size, sample rate) for statistics.
//! - [`aggregate`] takes aggregate messages apart; [`tag`] reads and writes the framing of FLV files.
//!
//! Unknown codecs, packet types and multitrack layouts are values, not errors: they are relayed as they came.

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
mod slots;
pub mod tag;
mod take;
pub mod video;

pub use classify::{AudioInfo, FrameClass, FrameInfo, VideoInfo, classify_audio, classify_video};
pub use codec::{AudioCodec, Codec, VideoCodec};
pub use error::FlvError;
pub use fourcc::FourCC;
pub use modex::{MAX_MOD_EX, ModEx, ModExIter, ModExList};
pub use multitrack::{MAX_TRACKS, Multitrack, MultitrackKind, RawTrack, RawTracks};
pub use picture::Pictures;
pub use slots::{HeaderKind, HeaderSlot, HeaderSlots, audio_header_slots, video_header_slots};

#[cfg(test)]
mod tests;
