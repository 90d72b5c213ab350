use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Cursor, Frame, FrameKind, Gap, Reached, Source, Start, duration, milliseconds_from};

/// Where a new player of a running stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartRule {
    /// At the newest key frame in the log, at once, if it lies within these bounds; else at the next one. Without
    /// video, at the newest audio frame.
    NewestKeyFrame {
        /// Bytes from there to the present.
        bytes: u64,
        /// Milliseconds from there to the present.
        milliseconds: u32,
        /// Frames from there to the present.
        frames: u64,
    },
    /// At the next key frame: least delay, and up to a GOP of waiting.
    NextKeyFrame,
}

impl Default for StartRule {
    /// The newest key frame, wherever it is in the log.
    fn default() -> Self {
        StartRule::NewestKeyFrame { bytes: u64::MAX, milliseconds: u32::MAX, frames: u64::MAX }
    }
}

/// How long a place to start at is waited for, and how old it may be. Without these a publisher that marks no key frames, or
/// that stops sending pictures, would leave players with nothing, or with minutes of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimits {
    /// How long players wait for a key frame while media come. Then they begin with what there is: headers, sound and
    /// pictures, which some decoders make something of (intra refresh). Sound that goes on for so long without pictures is
    /// a place to start at, as in a stream without video; for longer if pictures are further apart. Default 3 s.
    pub wait: Duration,
    /// Milliseconds of the stream's time after which a key frame is too old to start at. Default 60 000.
    pub milliseconds: u32,
}

impl Default for StartLimits {
    fn default() -> Self {
        StartLimits { wait: Duration::from_secs(3), milliseconds: 60_000 }
    }
}

/// Frames with the headers in force before them, one a second, to begin at where nothing else is.
#[derive(Debug, Default)]
pub(super) struct Openings {
    pub(super) positions: VecDeque<u64>,
    /// Time and arrival of the last place to begin at, of whatever kind.
    pub(super) last: Option<(u32, Instant)>,
}

/// How far openings are apart, and how many are kept.
const OPENING: Duration = Duration::from_secs(1);

const MOST_OPENINGS: usize = 64;

impl Openings {
    pub(super) fn is_due(&self, now: Instant, time: u32) -> bool {
        self.last.is_none_or(|(last, at)| {
            now.saturating_duration_since(at) >= OPENING || duration(milliseconds_from(last, time)) >= OPENING
        })
    }
}

/// Pictures that come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pictures {
    /// How far the newest was from the one before.
    interval: u32,
    /// The time of the first sound after it.
    sound: Option<u32>,
}

/// Where players begin.
impl Source {
    /// True while pictures come that players get without a key frame, because none came for too long.
    pub fn is_keyless(&self) -> bool {
        self.keyless
    }

    /// True if starting again would bring the player at `cursor` nearer to the present: there is a frame to start at
    /// that it has not come to.
    pub fn has_newer_start(&self, cursor: &Cursor) -> bool {
        let openings = self.openings.positions.back().filter(|_| self.keyless);
        let newest = self.starts.back().into_iter().chain(openings).max();
        cursor.epoch != self.epoch || newest.is_some_and(|start| *start > cursor.position)
    }

    /// Where a player would begin now, whatever it waits for.
    pub(super) fn newest_beginning(&self) -> Option<u64> {
        let opening = self.openings.positions.back();
        match self.starts.back() {
            Some(start) if self.keyless => opening.into_iter().chain([start]).max(),
            start => start.or(opening),
        }
        .copied()
    }

    /// Frames at which a player can start: key frames, and as long as there is no video every coded audio frame. So who
    /// waited for the publisher also gets the audio before its first key frame.
    pub(super) fn is_start(&self, frame: &Frame) -> bool {
        match frame.kind() {
            FrameKind::Video => frame.is_join_point(),
            FrameKind::Audio => self.pictures.is_none() && frame.class().is_coded(),
            FrameKind::Data => false,
        }
    }

    /// Notes what a coded frame says of the pictures: whether they come, and whether anybody can start with them.
    pub(super) fn follow_pictures(&mut self, now: Instant, frame: &Frame) {
        let time = frame.timestamp();
        if frame.kind() == FrameKind::Video {
            let interval = self.last_picture.map_or(0, |last| milliseconds_from(last, time));
            self.last_picture = Some(time);
            self.pictures = Some(Pictures { interval, sound: None });
        } else if let Some(pictures) = &mut self.pictures {
            let silence = milliseconds_from(*pictures.sound.get_or_insert(time), time);
            let longest = self.start_limits.wait.max(duration(pictures.interval) * 2);
            if duration(silence) >= longest {
                self.pictures = None;
                self.unkeyed = None;
            }
        }
        let newest = self.starts.back().and_then(|start| self.entry(*start));
        if newest.is_some_and(|start| milliseconds_from(start.time, time) > self.start_limits.milliseconds) {
            self.starts.clear();
        }
        if frame.is_join_point() {
            self.unkeyed = None;
        } else if frame.kind() == FrameKind::Video && !self.has_key_frame() {
            self.unkeyed.get_or_insert(now);
        }
        let waited = self.unkeyed.map(|since| now.saturating_duration_since(since));
        self.keyless = waited.is_some_and(|waited| waited >= self.start_limits.wait);
    }

    /// True if there is a key frame to start at, and sound alone did not come since.
    fn has_key_frame(&self) -> bool {
        let newest = self.starts.back().and_then(|start| self.entry(*start));
        newest.is_some_and(|start| start.frame.is_join_point())
    }

    /// The frame at this position, which is pushed next, becomes an opening.
    pub(super) fn open_at(&mut self, position: u64) {
        self.openings.positions.push_back(position);
        if self.openings.positions.len() > MOST_OPENINGS {
            self.openings.positions.pop_front();
        }
    }

    pub(super) fn start(&self, cursor: &mut Cursor) -> Option<Start> {
        let position = self.start_position(cursor)?;
        let entry = self.entry(position)?;
        let keyless = self.openings.positions.binary_search(&position).is_ok();
        let start = Reached { position, offset: entry.offset, timestamp: entry.frame.timestamp() };
        let gap = match cursor.reached {
            None => Gap::default(),
            Some(reached) if cursor.epoch == self.epoch => reached.gap_to(start),
            // Another publisher has come: what was left of the one before is missed, not the time between the two nor
            // the headers at the beginning, which are sent.
            Some(reached) => {
                let mut gap = reached.gap_to(self.began);
                gap.add(self.first_start.unwrap_or(start).gap_to(start));
                gap
            }
        };
        cursor.starting = false;
        cursor.epoch = self.epoch;
        cursor.position = position;
        cursor.key_seen = keyless;
        // What is counted now is not counted again, should the player fall off before its first frame.
        cursor.reached = Some(start);
        let headers = entry.headers.clone().unwrap_or_default();
        Some(Start { headers, timestamp: entry.frame.timestamp(), gap, keyless })
    }

    /// Where the player at `cursor` can start.
    fn start_position(&self, cursor: &Cursor) -> Option<u64> {
        // Who was there before this publisher waited for its first start, too.
        let waits_from = if cursor.epoch == self.epoch { cursor.waits_from } else { 0 };
        let newest = self.starts.back().copied();
        // Of a publication that is over, only what came while the player waited, or what it fell behind of.
        let may = self.live || cursor.waits_from == u64::MAX;
        let start = newest.and_then(|newest| {
            if newest < waits_from {
                return (may && self.is_near_enough(newest, cursor)).then_some(newest);
            }
            self.starts.get(self.starts.partition_point(|start| *start < waits_from)).copied()
        });
        let openings = &self.openings.positions;
        let waited_for = openings.get(openings.partition_point(|opening| *opening < waits_from)).copied();
        // Sound that has just become a place to start at, because pictures ended: what came meanwhile is not left out.
        if let (Some(start), Some(opening)) = (start, waited_for)
            && opening < start
            && self.entry(start).is_some_and(|entry| !entry.frame.is_join_point())
        {
            return Some(opening);
        }
        if !self.keyless && self.waited(cursor) < self.start_limits.wait {
            return start;
        }
        // It has waited long enough: the next best thing.
        let opening = waited_for.or(openings.back().copied().filter(|_| may));
        match (start, opening) {
            (Some(start), Some(opening)) if self.is_long_before(opening, start) => Some(opening),
            // Sound from before the pictures.
            (Some(start), Some(opening)) if self.keyless && opening > start => Some(opening),
            (Some(start), _) => Some(start),
            (None, opening) => newest.filter(|_| may && !self.keyless).or(opening),
        }
    }

    /// How long the player at `cursor` has waited for a start while media came.
    fn waited(&self, cursor: &Cursor) -> Duration {
        let (Some(begun), Some((_, newest))) = (self.begun, self.last) else {
            return Duration::ZERO;
        };
        let since = cursor.waits_since.filter(|_| cursor.epoch == self.epoch).map_or(begun, |since| since.max(begun));
        newest.saturating_duration_since(since)
    }

    /// True if what came before `start` is too much to be left out for a player that waited since `opening`.
    fn is_long_before(&self, opening: u64, start: u64) -> bool {
        let (Some(opening), Some(start)) = (self.entry(opening), self.entry(start)) else {
            return false;
        };
        duration(milliseconds_from(opening.time, start.time)) >= self.start_limits.wait
    }

    /// True if the newest start lies near enough to the present for a player to begin there.
    fn is_near_enough(&self, newest: u64, cursor: &Cursor) -> bool {
        // A player that fell behind has had its start: it resumes as near to the present as it can.
        if cursor.waits_from == u64::MAX {
            return true;
        }
        let (Some(entry), Some(head)) = (self.entry(newest), self.log.back()) else {
            return false;
        };
        match self.start_rule {
            StartRule::NextKeyFrame => false,
            StartRule::NewestKeyFrame { bytes, milliseconds, frames } => {
                self.pushed - entry.offset <= bytes
                    && milliseconds_from(entry.time, head.time) <= milliseconds
                    && self.first + self.log.len() as u64 - newest <= frames
            }
        }
    }
}
