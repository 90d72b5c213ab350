use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// Bytes to send for a name.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// The bytes, in pieces. They are shared with the stream and with other viewers.
    pub pieces: Vec<Bytes>,
    /// Their number.
    pub length: usize,
    /// Their type, for `Content-Type`.
    pub content_type: &'static str,
}

/// The number of pieces, not what is in them.
impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Media");
        shown.field("pieces", &self.pieces.len()).field("length", &self.length);
        shown.field("content_type", &self.content_type).finish()
    }
}

/// A segment that is complete, for what keeps segments elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Complete {
    /// Its sequence number.
    pub number: u64,
    /// The number that tells its publication from others of the stream.
    pub publication: u64,
    /// Its name in playlists, without a folder.
    pub name: String,
    /// Its bytes.
    pub media: Media,
    /// Name and bytes of its init segment; `None` for transport streams.
    pub init: Option<(String, Bytes)>,
    /// How long it is.
    pub duration: Duration,
    /// Milliseconds since 1970 at its start.
    pub wall: u64,
    /// True if it does not go on from the segment before.
    pub discontinuity: bool,
    /// The target duration of the playlist's segments, in seconds.
    pub target: u32,
}

/// Without the bytes of the init segment.
impl fmt::Debug for Complete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complete { number, publication, name, media, init, duration, wall, discontinuity, target } = self;
        let mut shown = f.debug_struct("Complete");
        shown.field("number", number).field("publication", publication).field("name", name).field("media", media);
        shown.field("init", &init.as_ref().map(|(name, _)| name)).field("duration", duration);
        shown.field("wall", wall).field("discontinuity", discontinuity).field("target", target).finish()
    }
}

/// What a name of a playlist stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// These bytes.
    Media(Media),
    /// A part that the playlist hints at: it is not there yet. To be asked again when the playlist changes.
    Later,
    /// Nothing, or nothing any more: 404.
    Missing,
}

/// An init segment and what it is for.
#[derive(PartialEq, Eq)]
pub(super) struct Init {
    /// Its number, for its name.
    pub(super) number: u64,
    pub(super) publication: u64,
    /// Empty for transport streams.
    pub(super) bytes: Bytes,
    /// Codecs for playlists.
    pub(super) codecs: String,
    pub(super) size: Option<(u16, u16)>,
    pub(super) has_video: bool,
}

crate::shown::debug_with_bytes!(Init { number, publication, codecs, size, has_video; bytes });

/// A part of a segment.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) name: Box<str>,
    pub(super) pieces: Vec<Bytes>,
    pub(super) bytes: usize,
    /// In microseconds.
    pub(super) duration: u64,
    /// True if decoding can start at its first picture.
    pub(super) independent: bool,
    /// How many pictures begin in it.
    pub(super) pictures: u64,
}

/// The number of pieces, not what is in them.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Part");
        shown.field("name", &self.name).field("pieces", &self.pieces.len()).field("bytes", &self.bytes);
        shown.field("duration", &self.duration).field("independent", &self.independent);
        shown.field("pictures", &self.pictures).finish()
    }
}

impl Part {
    /// Bytes of memory that it takes, with what is kept of each piece.
    pub(super) fn held(&self) -> usize {
        self.bytes + self.name.len() + self.pieces.len() * size_of::<Bytes>() + size_of::<Part>()
    }
}

/// A stretch of segments without discontinuity: what its first segment was, also when that is not listed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) number: u64,
    /// In microseconds of the stream's time.
    pub(super) start: u64,
    /// Milliseconds since 1970.
    pub(super) wall: u64,
}

/// A segment that is complete.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) name: Box<str>,
    pub(super) number: u64,
    pub(super) publication: u64,
    pub(super) init: Arc<Init>,
    pub(super) parts: Vec<Part>,
    pub(super) period: Period,
    /// False for a first segment with a frame that is longer than a part may be, as settled at its end.
    pub(super) lists_parts: bool,
    /// True if it does not go on from the segment before.
    pub(super) discontinuity: bool,
    /// Where it begins, in microseconds of the stream's time.
    pub(super) start: u64,
    /// In microseconds.
    pub(super) duration: u64,
    /// Milliseconds since 1970 at its start.
    pub(super) wall: u64,
    /// Duration of the longest playlist that has listed it, in microseconds.
    pub(super) longest: u64,
}

impl Segment {
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// How many pictures it has.
    pub(super) fn pictures(&self) -> u64 {
        self.parts.iter().map(|part| part.pictures).sum()
    }

    /// Bytes of memory that it takes; its init segment, which others may have, too, is counted each time.
    pub(super) fn held(&self) -> usize {
        let parts: usize = self.parts.iter().map(Part::held).sum();
        parts + self.name.len() + self.init.bytes.len() + size_of::<Segment>()
    }

    pub(super) fn pieces(&self) -> Vec<Bytes> {
        self.parts.iter().flat_map(|part| &part.pieces).cloned().collect()
    }
}
