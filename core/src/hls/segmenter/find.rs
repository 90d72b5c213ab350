use super::super::Container;
use super::super::names::{NANOSECONDS, Named, Names};
use super::super::segment::{Found, Media, Segment};
use super::Segmenter;

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
                let newest = self.open.iter().filter_map(|open| open.init.as_ref());
                let mut inits = all().map(|segment| &segment.init).chain(newest);
                match inits.find(|init| init.number == number && is(init.publication, named, "mp4")) {
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
            Some(named @ Named::Template(time)) => {
                // The keyed part is less than a millisecond.
                let is_near = |segment: &&Segment| {
                    time / NANOSECONDS >= segment.start && time / NANOSECONDS < segment.start + 1000
                };
                all()
                    .filter(is_near)
                    .find(|segment| {
                        self.template_time(segment) == time
                            && is(segment.publication, named, self.config.container.extension())
                    })
                    .map_or(Found::Missing, segment)
            }
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

    /// The time of a segment in the manifest of DASH.
    pub(in crate::hls) fn template_time(&self, segment: &Segment) -> u64 {
        self.names.template_time(segment.publication, segment.number, segment.start, segment.duration)
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
