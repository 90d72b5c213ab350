use std::collections::VecDeque;
use std::sync::Arc;

use super::{Entry, Headers, MIN_SETS, Source, is_same, milliseconds_from};

/// The capacity, in frames, that a log keeps when it gives memory back.
const ROOM: usize = 128;

/// The memory of a log, and what it gives up.
impl Source {
    /// Bytes in the log: at most [`SourceLimits::bytes`](super::SourceLimits::bytes), except that a single larger frame
    /// is kept.
    pub fn log_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that the source takes: the log with the overhead of its frames, the headers in force at each
    /// start and now, spare capacity, and frames of earlier publications that are kept for the program's own players.
    pub fn held_bytes(&self) -> usize {
        let positions = self.starts.capacity() + self.kept.capacity() + self.openings.positions.capacity();
        let room = self.log.capacity() * size_of::<Entry>() + positions * size_of::<u64>();
        let (oldest, newest) = (self.set_at(self.kept.front()), self.set_at(self.kept.back()));
        // A header in force at a later start and not at the oldest one came after the oldest, so it is in the log.
        let before_log = oldest.unwrap_or(&self.headers).bytes();
        let now = if is_same(newest, &self.headers) { 0 } else { self.headers.structure_bytes() };
        self.bytes + self.extra + self.sets + room + before_log + now + self.rests
    }

    /// Frames in the log.
    pub fn log_frames(&self) -> usize {
        self.log.len()
    }

    /// Gives up the frames before the newest start, or before the newest opening if players wait for no key frame, and
    /// those of earlier publications. Players that fell behind miss these frames.
    pub fn give_past(&mut self) {
        self.give_rests();
        if let Some(start) = self.newest_beginning() {
            while self.first < start {
                self.drop_front();
            }
            self.shrink();
        }
    }

    /// Gives up the whole log: players miss the frames that they have not got yet, and new players wait for the next
    /// start.
    pub fn give_log(&mut self) {
        self.first += self.log.len() as u64;
        self.log = VecDeque::new();
        self.starts = VecDeque::new();
        self.kept = VecDeque::new();
        self.openings.positions = VecDeque::new();
        (self.bytes, self.extra, self.sets) = (0, 0, 0);
    }

    /// Gives up the headers in force: players that join later do not get them, as if they had been
    /// [too large](super::SourceStats::unkept_headers).
    pub fn give_headers(&mut self) {
        if !self.headers.is_empty() {
            self.headers = Arc::default();
            self.stats.unkept_headers += 1;
        }
    }

    /// Drops the oldest frames while the log is over a bound: bytes and frames always, time only before the newest key
    /// frame.
    pub(super) fn trim(&mut self) {
        let head = self.log.back().map_or(0, |entry| entry.time);
        while let Some(front) = self.log.front() {
            let over = self.bytes > self.limits.bytes
                || self.log.len() > self.limits.frames
                || self.sets > self.limits.header_bytes.max(MIN_SETS);
            let old = milliseconds_from(front.time, head) > self.limits.milliseconds
                && self.starts.back().is_none_or(|start| self.first < *start);
            let unwanted = !self.keeps_past && self.newest_beginning().is_none_or(|start| self.first < start);
            // The newest frame stays even if it is too large: there may be no other one.
            if self.log.len() == 1 || !(over || old || unwanted) {
                break;
            }
            self.drop_front();
        }
        self.shrink();
    }

    pub(super) fn drop_front(&mut self) {
        let Some(Entry { frame, headers, .. }) = self.log.pop_front() else {
            return;
        };
        self.bytes -= frame.held_bytes();
        self.extra -= frame.extra_bytes();
        self.first += 1;
        if let Some(headers) = headers {
            let gone = self.first - 1;
            self.kept.pop_front();
            if self.starts.front() == Some(&gone) {
                self.starts.pop_front();
            }
            if self.openings.positions.front() == Some(&gone) {
                self.openings.positions.pop_front();
            }
            if !is_same(self.set_at(self.kept.front()), &headers) {
                self.sets -= headers.structure_bytes();
            }
        }
    }

    /// The headers kept at a position.
    pub(super) fn set_at(&self, position: Option<&u64>) -> Option<&Arc<Headers>> {
        self.entry(*position?)?.headers.as_ref()
    }

    /// Gives memory back if the log has become small. This happens rarely for the number of frames that are dropped.
    pub(super) fn shrink(&mut self) {
        if self.log.capacity() > ROOM && self.log.len() < self.log.capacity() / 4 {
            self.log.shrink_to(self.log.len() * 2);
            self.starts.shrink_to(self.starts.len() * 2);
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}
