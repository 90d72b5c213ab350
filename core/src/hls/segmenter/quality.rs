//! What the segmenters of one stream's qualities have in common: players go from one playlist to the other, so their times,
//! target durations and discontinuities are to match (draft-pantos-hls-rfc8216bis §6.2.4).

use super::super::open::Open;
use super::{SECOND, Segmenter};

/// A moment of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The timestamp that frames of it have, in milliseconds modulo 2^32.
    pub timestamp: u32,
    /// Its media time in segments, in milliseconds.
    pub media: u64,
    /// Milliseconds since 1970.
    pub wall: u64,
}

impl Moment {
    /// Milliseconds since 1970 at a timestamp near this one.
    pub fn wall_at(&self, timestamp: u32) -> u64 {
        self.wall.saturating_add_signed(i64::from(timestamp.wrapping_sub(self.timestamp) as i32))
    }
}

impl Segmenter {
    /// A publication [begins](Self::begin), whose times follow from one of its moments.
    pub fn begin_at(&mut self, id: u64, moment: Moment) {
        self.begin(id, moment.wall);
        self.newest = Some((moment.timestamp, moment.media));
        if let Some(publication) = &mut self.publication {
            publication.first = Some(moment.media);
        }
    }

    /// The newest moment of the publication that is on.
    pub fn moment(&self) -> Option<Moment> {
        let (timestamp, media) = self.newest?;
        let publication = self.publication?;
        let wall = publication.wall.saturating_add(media).saturating_sub(publication.first?);
        Some(Moment { timestamp, media, wall })
    }

    /// The target durations of segments, in seconds, and of parts, in milliseconds, once they are settled.
    pub fn targets(&self) -> Option<(u32, Option<u64>)> {
        Some((self.target?, self.part_target)).filter(|_| self.has_segments())
    }

    /// Takes the target durations of another segmenter, if it has none. Parts may be shorter here.
    pub fn take_targets(&mut self, (target, part): (u32, Option<u64>)) {
        let is_known = self.target == Some(target) && self.agreed_part == part;
        if self.has_segments() || self.part_target.is_some() || is_known {
            return;
        }
        (self.target, self.agreed_part) = (Some(target), part);
        let is_too_long = |open: &Open| open.end - open.start > u64::from(target) * SECOND;
        if let Some(open) = self.open.take_if(|open| is_too_long(open)) {
            // No playlist has listed it.
            self.next_number = open.number;
            self.breaks |= open.discontinuity;
            self.video.restart();
            self.audio.restart();
            (self.needs_key, self.audio_waits) = (true, None);
        }
    }

    /// The discontinuity sequence number of the newest segment.
    pub fn discontinuities(&self) -> u64 {
        let listed = self.listed.iter().filter(|segment| segment.discontinuity).count() as u64;
        let open = self.open.as_ref().is_some_and(|open| open.discontinuity);
        self.discontinuity_sequence + listed + u64::from(open)
    }

    /// Begins with this discontinuity sequence number, if it has no segment. If the playlist has ended, the next one begins
    /// with this number or a higher one.
    pub fn begin_discontinuities(&mut self, number: u64) {
        if self.ended {
            self.agreed_discontinuities = number;
        } else if self.next_number_is_first() {
            self.discontinuity_sequence = number;
        }
    }

    /// Ends the playlist now, since the next publication does not go on from it.
    pub fn end_playlist(&mut self) {
        self.ended = true;
        self.version += 1;
    }

    /// Has the next segment begin behind a discontinuity, because another quality has one there.
    pub fn break_next(&mut self) {
        self.breaks = self.has_segments();
    }

    /// True if its playlist has parts.
    pub fn is_low_latency(&self) -> bool {
        self.part_target.is_some()
    }

    fn next_number_is_first(&self) -> bool {
        self.listed.is_empty() && self.retired.is_empty() && self.open.is_none()
    }
}
