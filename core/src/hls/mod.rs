//! HTTP Live Streaming: segments, parts of segments, and playlists (draft-pantos-hls-rfc8216bis), and the manifest of
//! MPEG-DASH from the same segments.
//!
//! A [`Segmenter`] follows one stream: it is told when a publication [begins](Segmenter::begin) and
//! [ends](Segmenter::end), its [headers](Segmenter::header), and its [coded frames](Segmenter::push). It cuts them into
//! segments, and these into parts for low latency. Their bytes are the heads of fragments and the publisher's payloads,
//! stored once for all viewers. It has no clock: the time of the wall clock is an argument.
//!
//! - [`Segmenter::media_playlist`] writes the playlist, whole or with its old part skipped; [`multivariant`] writes the
//!   playlist over several qualities, [`Segmenter::manifest`] the one of DASH.
//! - [`PlaylistRequest`] reads `_HLS_msn`, `_HLS_part` and `_HLS_skip`, and [`Segmenter::decide`] says whether a playlist
//!   is answered now, later or not at all.
//! - [`Segmenter::find`] finds the bytes of a name of a playlist, or of one track for DASH. The names contain 128 bits that depend on a [`NameKey`],
//!   so that a cache may hand out the bytes to all that know the name.
//!
//! What a playlist promises never changes while it lives: the target durations of segments and parts are settled at the
//! first segment. A segment is cut at a picture that is no key frame, and a part is cut early, rather than to exceed them.
//! Sequence numbers never fall, not even over a restart of the server: the first one is the time in seconds.

mod dash;
mod lane;
mod names;
mod open;
mod playlist;
mod request;
mod segment;
mod segmenter;
mod variants;

use std::sync::Arc;
use std::time::Duration;

pub use dash::Manifest;
pub use names::NameKey;
pub use playlist::{PLAYLIST_TYPE, RenditionReport, rendition_reports};
pub use request::{BadDirectives, Decision, PlaylistRequest};
pub use segment::{Complete, Found, Media};
pub use segmenter::{Moment, Segmenter, SegmenterStats, Shortage};
pub use variants::{AudioRendition, Variant, VariantInfo, multivariant};

/// The settings of a [`Segmenter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Target duration of segments, in whole seconds, 1 to 30. `None`: it is settled at the first segment: 4 seconds, or
    /// the length of the longest group of pictures until then, up to 10 seconds. Default `None`.
    pub target: Option<u32>,
    /// Duration that parts should have. The parts of a stream have a whole number of its frames near that. `None`: no
    /// parts. Default half a second.
    pub part: Option<Duration>,
    /// Segments that a playlist lists, at least 3. It lists more as long as they are shorter than three target durations
    /// together. Default 8.
    pub window: usize,
    /// How long a playlist stays open after its publisher has gone. Default 60 seconds.
    pub hold: Duration,
    /// Bytes that all segments may take together: those that the playlist lists, those that it has listed and that clients
    /// may still ask for, which are about as many, and the one that is made. With less room the playlist is shorter, down
    /// to three target durations; then segments are dropped while clients may want them. Default 64 MiB.
    pub bytes: usize,
    /// The form of segments. Default fragmented MP4.
    pub container: Container,
    /// Track id of the video that goes into the segments; `None` for none. Default 0.
    pub video: Option<u8>,
    /// Track id of the audio that goes into the segments; `None` for none. Default 0.
    pub audio: Option<u8>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            target: None,
            part: Some(Duration::from_millis(500)),
            window: 8,
            hold: Duration::from_secs(60),
            bytes: 64 << 20,
            container: Container::Fmp4,
            video: Some(0),
            audio: Some(0),
        }
    }
}

/// Whether the segments of a stream are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Never: the answer to a request is 404.
    Off,
    /// From the first request on, until there was none for some time.
    #[default]
    OnDemand,
    /// While the stream is published.
    Always,
}

/// Most streams that can be listed with a stream as its other qualities.
pub const MOST_RENDITIONS: usize = 8;

/// How a server segments a stream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// When. Default: on demand.
    pub mode: Mode,
    /// How.
    pub config: Config,
    /// What comes behind its name in the names of streams that are the same in other qualities, such as `_720p`: these are
    /// listed with it in one multivariant playlist while they are published. At most [`MOST_RENDITIONS`] count. Default:
    /// none.
    pub renditions: Arc<[Box<str>]>,
}

/// The form of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Fragmented MP4, with an init segment.
    Fmp4,
    /// MPEG transport stream.
    MpegTs,
}

impl Container {
    /// What names of segments end with.
    fn extension(self) -> &'static str {
        match self {
            Container::Fmp4 => "m4s",
            Container::MpegTs => "ts",
        }
    }
}
