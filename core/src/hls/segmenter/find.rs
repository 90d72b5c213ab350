use std::sync::Arc;

use super::super::Container;
use super::super::names::{ByTime, Named, Names};
use super::super::segment::{Found, Init, Media, Segment};
use super::Segmenter;

/// Of segments with one track.
pub(in crate::hls) const TRACK_EXTENSION: &str = "m4s";

impl Segmenter {
    /// The bytes of a name of a playlist.
    pub fn find(&self, name: &str) -> Found {
        let all = || self.retired.iter().map(|(_, segment)| segment).chain(&self.listed);
        let is =
            |publication: u64, named: Named, extension: &str| self.names.name(publication, named, extension) == name;
        let segment_type = self.content_type();
        let segment = |segment: &Segment| {
            Found::Media(Media { pieces: segment.pieces(), length: segment.bytes(), content_type: segment_type })
        };
        match Names::parse(name) {
            Some(named @ Named::Init(number)) => {
                match self.inits().find(|init| init.number == number && is(init.publication, named, "mp4")) {
                    Some(init) if !init.bytes.is_empty() => Found::Media(Media {
                        pieces: vec![init.bytes.clone()],
                        length: init.bytes.len(),
                        content_type: if init.has_video { "video/mp4" } else { "audio/mp4" },
                    }),
                    _ => Found::Missing,
                }
            }
            Some(Named::Segment(number)) => {
                all().find(|segment| segment.number == number && *segment.name == *name).map_or(Found::Missing, segment)
            }
            Some(named @ Named::TrackInit(number, is_video)) => {
                let init = self.inits().find(|init| init.number == number && is(init.publication, named, "mp4"));
                init.and_then(|init| init.track(is_video)).map_or(Found::Missing, |track| {
                    Found::Media(Media {
                        pieces: vec![track.bytes.clone()],
                        length: track.bytes.len(),
                        content_type: if is_video { "video/mp4" } else { "audio/mp4" },
                    })
                })
            }
            Some(named @ Named::Track(track)) if is(0, named, TRACK_EXTENSION) => self.find_track(track),
            Some(Named::Track(_)) => Found::Missing,
            Some(Named::Part(number, index)) => {
                let open = self.open.iter().map(|open| (open.number, &open.parts));
                let complete = all().filter(|segment| segment.lists_parts);
                let complete = complete.map(|segment| (segment.number, &segment.parts));
                let mut found = complete.chain(open).filter(|(found, _)| *found == number);
                match found.find_map(|(_, parts)| parts.get(index).filter(|part| *part.name == *name)) {
                    Some(part) => Found::Media(Media {
                        pieces: part.pieces.clone(),
                        length: part.bytes,
                        content_type: segment_type,
                    }),
                    None if self.hint().is_some_and(|hint| hint == name) => Found::Later,
                    None => Found::Missing,
                }
            }
            None => Found::Missing,
        }
    }

    /// The init segments, one after another: most segments have that of the one before. The names of each are made for
    /// one that may be wrong.
    fn inits(&self) -> impl Iterator<Item = &Arc<Init>> {
        let of_all = self.retired.iter().map(|(_, segment)| segment).chain(&self.listed).map(|segment| &segment.init);
        let mut before: Option<&Arc<Init>> = None;
        of_all.chain(self.open.iter().filter_map(|open| open.init.as_ref())).filter(move |init| {
            let is_same = before.is_some_and(|before| Arc::ptr_eq(before, init));
            before = Some(*init);
            !is_same
        })
    }

    /// One track of a segment, whose name is right.
    fn find_track(&self, ByTime { is_video, time, newest }: ByTime) -> Found {
        let mut all = self.retired.iter().map(|(_, segment)| segment).chain(self.in_manifest());
        let begins = |segment: &&Segment| segment.span(is_video).is_some_and(|span| span.start == time);
        if let Some(segment) = all.find(begins) {
            return match segment.track_media(is_video) {
                Some(media) if segment.number <= newest => Found::Media(media),
                Some(media) => Found::ForViewers(media),
                None => Found::Missing,
            };
        }
        let end = self.in_manifest().filter_map(|segment| segment.span(is_video)).last().map(|span| span.end);
        if end == Some(time) { Found::Next } else { Found::Missing }
    }

    /// The name of the part that comes next, if it is known.
    pub(in crate::hls) fn hint(&self) -> Option<String> {
        let publication = self.publication.filter(|_| self.part_target.is_some() && !self.ended)?;
        let (number, part) = match &self.open {
            Some(open) => (open.number, open.parts.len()),
            None => (self.next_number, 0),
        };
        Some(self.names.name(publication.id, Named::Part(number, part), self.config.container.extension()))
    }

    /// True if a discontinuity comes before the segment that has no part yet.
    pub(in crate::hls) fn next_breaks(&self) -> bool {
        self.open.as_ref().map_or(self.breaks, |open| open.parts.is_empty() && open.discontinuity)
    }

    /// The type of segments.
    pub(in crate::hls) fn content_type(&self) -> &'static str {
        match self.config.container {
            Container::MpegTs => "video/mp2t",
            Container::Fmp4 if self.init.as_ref().is_some_and(|(_, init)| !init.has_video) => "audio/mp4",
            Container::Fmp4 => "video/mp4",
        }
    }
}
