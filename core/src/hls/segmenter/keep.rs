use std::collections::VecDeque;

use super::super::segment::Segment;
use super::{AUTO, SECOND, Segmenter};

/// A playlist that is shorter than it is to be, because the segments of a stream have no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Segments that the playlist has.
    pub segments: usize,
    /// Segments that it is to have.
    pub window: usize,
    /// Bytes that all segments may take together.
    pub bytes: usize,
    /// About as many as they would need.
    pub needed: usize,
}

impl Segmenter {
    /// Takes the oldest segments off the playlist, and drops those that have been off it long enough, or that go beyond
    /// the limit of bytes.
    pub(super) fn trim(&mut self) {
        let target = u64::from(self.target.unwrap_or(*AUTO.end())) * SECOND;
        // No client can begin three target durations before the end of a playlist that is shorter.
        let least = 3 * target;
        let total = listed_duration(&self.listed);
        for segment in &mut self.listed {
            segment.longest = segment.longest.max(total);
        }
        while self.listed.len() > 3 && listed_duration(&self.listed) - self.listed[0].duration >= least {
            let is_short = self.needed() > self.config.bytes;
            if self.listed.len() <= self.config.window {
                if !is_short {
                    break;
                }
                self.note_shortage();
            }
            self.unlist();
        }
        while self.retired.front().is_some_and(|(until, _)| *until <= self.produced) {
            self.retired.pop_front();
        }
        while self.bytes() > self.config.bytes && (self.listed.len() > 1 || !self.retired.is_empty()) {
            self.note_shortage();
            if self.retired.is_empty() {
                self.unlist();
            }
            self.retired.pop_front();
            self.stats.dropped += 1;
        }
    }

    /// What is to be told of a playlist that is too short, once for each publication.
    pub fn take_shortage(&mut self) -> Option<Shortage> {
        self.shortage.take()
    }

    fn note_shortage(&mut self) {
        if std::mem::replace(&mut self.is_short, true) {
            return;
        }
        let (segments, window) = (self.listed.len(), self.config.window.max(self.listed.len()));
        self.shortage = Some(Shortage { segments, window, bytes: self.config.bytes, needed: self.needed_for_window() });
    }

    /// About how many bytes a full window takes: as much for each segment as for those that are there.
    pub fn needed_for_window(&self) -> usize {
        let (segments, window) = (self.listed.len(), self.config.window.max(self.listed.len()));
        self.needed() / (2 * segments + 3) * (2 * window + 3)
    }

    /// It has to give up segments because others share its memory, which need so many bytes with it.
    pub fn note_shared_shortage(&mut self, needed: usize) {
        self.note_shortage();
        if let Some(shortage) = &mut self.shortage {
            shortage.needed = shortage.needed.max(needed);
        }
    }

    /// Gives up its oldest segment, because others need the memory. False if it has only its newest one.
    pub fn give_up_oldest(&mut self) -> bool {
        if self.retired.is_empty() {
            if self.listed.len() <= 1 {
                return false;
            }
            self.unlist();
            self.version += 1;
        }
        self.retired.pop_front();
        self.stats.dropped += 1;
        true
    }

    /// Bytes that a playlist of this length takes in the long run: what it lists, as much that it has listed, and what is
    /// being made.
    fn needed(&self) -> usize {
        let largest = self.listed.iter().map(Segment::held).max().unwrap_or_default();
        let listed: usize = self.listed.iter().map(Segment::held).sum();
        (2 * listed).saturating_add(3 * largest)
    }

    /// Takes the oldest segment off the playlist. It stays for as long as it takes to play the longest playlist that had
    /// it, and it.
    fn unlist(&mut self) {
        if let Some(segment) = self.listed.pop_front() {
            let target = u64::from(self.target.unwrap_or(*AUTO.end())) * SECOND;
            let stays = segment.longest + segment.duration.max(target);
            self.discontinuity_sequence += u64::from(segment.discontinuity);
            self.retired.push_back((self.produced + stays, segment));
        }
    }
}

fn listed_duration(listed: &VecDeque<Segment>) -> u64 {
    listed.iter().map(|segment| segment.duration).sum()
}
