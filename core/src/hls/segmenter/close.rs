use super::super::names::Named;
use super::super::open::Open;
use super::{AUTO, JITTER, SECOND, Segmenter};
use crate::fmp4::Track;

impl Segmenter {
    pub(super) fn close_part(&mut self) {
        self.settle_init();
        let tracks: Vec<&Track> = self.init.iter().flat_map(|(tracks, _)| tracks).collect();
        if let Some(open) = &mut self.open {
            let (publication, named) = (open.publication, Named::Part(open.number, open.parts.len()));
            let name = || self.names.name(publication, named, self.config.container.extension());
            open.close_part(&tracks, &mut self.writer, name);
            self.all_independent &= open.parts.first().is_none_or(|part| part.independent);
            self.version += 1;
        }
    }

    /// Ends the only part of the first segment, as several once it is settled how long they are: players that find no part
    /// in their first playlist wait for a whole segment. True if they can be listed.
    fn close_first_parts(&mut self) -> bool {
        self.settle_init();
        let tracks: Vec<&Track> = self.init.iter().flat_map(|(tracks, _)| tracks).collect();
        let (Some(open), Some(target)) = (&mut self.open, self.part_target) else {
            self.close_part();
            return false;
        };
        let (publication, number) = (open.publication, open.number);
        let name = |part| self.names.name(publication, Named::Part(number, part), self.config.container.extension());
        let is_cut = open.close_parts(target * 1000, &tracks, &mut self.writer, name);
        if is_cut {
            self.all_independent &= open.parts.first().is_none_or(|part| part.independent);
            self.version += 1;
        } else {
            self.close_part();
        }
        is_cut
    }

    pub(super) fn close_segment(&mut self) {
        if !self.open.as_ref().is_some_and(Open::has_samples) {
            // It was opened for a frame that does not come.
            if let Some(open) = self.open.take() {
                self.next_number = open.number;
                self.breaks |= open.discontinuity;
            }
            return;
        }
        let is_settled = self.part_target.is_some();
        let duration = self.open.as_ref().map_or(0, |open| open.end - open.start);
        self.settle(duration);
        let lists_parts = if is_settled {
            self.close_part();
            true
        } else {
            self.close_first_parts()
        };
        let before = self.period.zip(self.end);
        let name = |publication: u64, number: u64| {
            self.names.name(publication, Named::Segment(number), self.config.container.extension())
        };
        let Some(segment) = self.open.take().and_then(|open| open.into_segment(lists_parts, before, name)) else {
            return;
        };
        self.period = Some(segment.period);
        self.stats.segments += 1;
        self.end = Some(segment.start + segment.duration);
        self.produced += segment.duration;
        self.listed.push_back(segment);
        self.trim();
        self.version += 1;
    }

    /// Settles the target durations, at the first segment.
    fn settle(&mut self, duration: u64) {
        let target = *self.target.get_or_insert_with(|| {
            // The first group may be a short one, at a cut of scenes.
            let rounded = (duration.max(self.longest_group) + SECOND / 2) / SECOND;
            u32::try_from(rounded).unwrap_or(u32::MAX).clamp(*AUTO.start(), *AUTO.end())
        });
        if let (Some(wanted), None) = (self.config.part, self.part_target) {
            if self.agreed_part.is_some() {
                self.part_target = self.agreed_part;
                return;
            }
            let wanted = (wanted.as_micros() as u64).clamp(SECOND / 10, u64::from(target) * SECOND);
            let frame = if self.longest_frame == 0 { wanted } else { self.longest_frame };
            let frames = ((wanted + frame / 2) / frame).max(1);
            let part = (frames * frame).div_ceil(1000) + JITTER;
            self.part_target = Some(part.min(u64::from(target) * 1000));
        }
    }
}
