use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::segmenter::{AUDIO_TRACK, VIDEO_TRACK};
use crate::fmp4::{self, FragmentOptions, Sample, Track};

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

impl Media {
    /// Adds a fragment with these samples and their payloads, which are taken: bytes of parts, from and to a place.
    fn add_fragment(&mut self, number: u64, samples: &mut Vec<Sample>, payloads: &mut Vec<(&Part, usize, usize)>) {
        let mut head = Vec::new();
        let options = FragmentOptions { segment: self.pieces.is_empty(), reference_time: None };
        // Players of DASH read the times, and not this number.
        let is_written = fmp4::write_fragment_head(number as u32, samples, &options, &mut head).is_ok();
        samples.clear();
        let payloads = std::mem::take(payloads);
        if is_written {
            self.length += head.len() + payloads.iter().map(|(_, start, end)| end - start).sum::<usize>();
            self.pieces.push(head.into());
            payloads.iter().for_each(|(part, start, end)| part.slices(*start, *end, &mut self.pieces));
        }
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
    /// These bytes, if the client views the stream now: it has the name from a manifest that did not list the segment.
    /// FFmpeg makes the names of all segments from the first manifest that it got.
    ForViewers(Media),
    /// A part that the playlist hints at: it is not there yet. To be asked again when the playlist changes.
    Later,
    /// What comes behind the newest segment of the manifest. It is not there, and when it is, it is missing by this name:
    /// FFmpeg asks for it, and reads the manifest again after the answer.
    Next,
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
    /// Each track alone, for DASH. Empty for transport streams.
    pub(super) tracks: Vec<TrackInit>,
}

crate::shown::debug_with_bytes!(Init { number, publication, codecs, size, has_video, tracks; bytes });

impl Init {
    /// What there is of the pictures, or else of the sound.
    pub(super) fn track(&self, is_video: bool) -> Option<&TrackInit> {
        self.tracks.iter().find(|track| track.track.config.is_video() == is_video)
    }

    fn held(&self) -> usize {
        self.bytes.len() + self.tracks.iter().map(|track| track.bytes.len() + size_of::<TrackInit>()).sum::<usize>()
    }
}

/// The init segment of one track alone.
#[derive(PartialEq, Eq)]
pub(super) struct TrackInit {
    pub(super) track: Track,
    pub(super) bytes: Bytes,
}

crate::shown::debug_with_bytes!(TrackInit { track; bytes });

/// A part of a segment.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) name: Box<str>,
    pub(super) pieces: Vec<Bytes>,
    pub(super) bytes: usize,
    /// The samples whose payloads are behind its head, in their order. None for transport streams.
    pub(super) samples: Box<[Sample]>,
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
        shown.field("samples", &self.samples.len());
        shown.field("duration", &self.duration).field("independent", &self.independent);
        shown.field("pictures", &self.pictures).finish()
    }
}

impl Part {
    /// Its bytes from `start` to `end`, shared with it.
    fn slices(&self, start: usize, end: usize, out: &mut Vec<Bytes>) {
        let mut place = 0;
        for piece in &self.pieces {
            let (from, to) = (start.max(place), end.min(place + piece.len()));
            if from < to {
                out.push(piece.slice(from - place..to - place));
            }
            place += piece.len();
        }
    }

    /// Bytes of memory that it takes, with what is kept of each piece.
    pub(super) fn held(&self) -> usize {
        let samples = self.samples.len() * size_of::<Sample>();
        self.bytes + self.name.len() + self.pieces.len() * size_of::<Bytes>() + samples + size_of::<Part>()
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
    /// The same, as manifests of DASH have it: the first one is there from the beginning of time, since GStreamer begins
    /// some time before now and refuses a manifest that has no period there.
    pub(super) begins: u64,
}

impl Period {
    /// Milliseconds since 1970 at this time of the stream, in microseconds, or up to one more.
    pub(super) fn wall_at(&self, time: u64) -> u64 {
        self.wall.saturating_add(time.saturating_sub(self.start).div_ceil(1000))
    }

    /// What comes to a time of the stream for the time since 1970, both in units of a track.
    fn offset(&self, scale: u32) -> u64 {
        let units = |time: u64, of_second: u64| u128::from(time) * u128::from(scale) / u128::from(of_second);
        let offset = units(self.wall, 1000).saturating_sub(units(self.start, 1_000_000));
        u64::try_from(offset).unwrap_or(u64::MAX)
    }
}

/// One track of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// When it begins and ends, in units of the track: first of the stream's time, in a manifest since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Bytes of its samples.
    pub(super) bytes: usize,
}

impl Span {
    /// All samples of a track in the parts.
    pub(super) fn of(parts: &[Part], track: u32) -> Option<Self> {
        let mut samples = parts.iter().flat_map(|part| &part.samples).filter(|sample| sample.track == track);
        let end = |sample: &Sample| sample.decode_time.saturating_add(sample.duration.into());
        let first = samples.next()?;
        let span = Span { start: first.decode_time, end: end(first), bytes: first.size as usize };
        Some(samples.fold(span, |span, sample| Span {
            end: span.end.max(end(sample)),
            bytes: span.bytes + sample.size as usize,
            ..span
        }))
    }
}

/// A segment that is complete.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) name: Box<str>,
    pub(super) number: u64,
    pub(super) publication: u64,
    pub(super) init: Arc<Init>,
    pub(super) parts: Vec<Part>,
    /// What it has of pictures and of sound, in the stream's time.
    pub(super) spans: [Option<Span>; 2],
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
        parts + self.name.len() + self.init.held() + size_of::<Segment>()
    }

    /// What it has of the pictures, or else of the sound, in units of the track since 1970.
    pub(super) fn span(&self, is_video: bool) -> Option<Span> {
        let [video, audio] = self.spans;
        let span = if is_video { video? } else { audio? };
        let offset = self.period.offset(self.init.track(is_video)?.track.timescale());
        Some(Span { start: span.start.saturating_add(offset), end: span.end.saturating_add(offset), ..span })
    }

    /// One track alone, with times since 1970: heads of fragments that are made now, and the payloads that it has.
    pub(super) fn track_media(&self, is_video: bool) -> Option<Media> {
        let track = &self.init.track(is_video)?.track;
        let offset = self.period.offset(track.timescale());
        let id = if is_video { VIDEO_TRACK } else { AUDIO_TRACK };
        let mut media =
            Media { pieces: Vec::new(), length: 0, content_type: if is_video { "video/mp4" } else { "audio/mp4" } };
        let (mut run, mut payloads) = (Vec::<Sample>::new(), Vec::new());
        for part in &self.parts {
            let payload: usize = part.samples.iter().map(|sample| sample.size as usize).sum();
            // Behind the head.
            let mut place = part.bytes.saturating_sub(payload);
            for sample in &part.samples {
                let start = place;
                place += sample.size as usize;
                if sample.track != id {
                    continue;
                }
                let sample = Sample { decode_time: sample.decode_time.saturating_add(offset), ..*sample };
                let goes_on = |last: &Sample| last.decode_time + u64::from(last.duration) == sample.decode_time;
                if !run.last().is_none_or(goes_on) {
                    // The times of a fragment follow from each other.
                    media.add_fragment(self.number, &mut run, &mut payloads);
                }
                match payloads.last_mut() {
                    Some((of, _, end)) if std::ptr::eq::<Part>(*of, part) && *end == start => *end = place,
                    _ => payloads.push((part, start, place)),
                }
                run.push(sample);
            }
        }
        media.add_fragment(self.number, &mut run, &mut payloads);
        (media.length > 0).then_some(media)
    }

    pub(super) fn pieces(&self) -> Vec<Bytes> {
        self.parts.iter().flat_map(|part| &part.pieces).cloned().collect()
    }
}
