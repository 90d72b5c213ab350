use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::cursor::{SeekReason, Seeking};
use super::{Frame, FrameKind, Gap, Mark, Place, Source, Start, duration, milliseconds_from};

/// Where a new player of a running stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartRule {
    /// At once at the newest key frame in the log, if it lies within these bounds; otherwise at the next one. Without
    /// video, at the newest audio frame.
    NewestKeyFrame {
        /// Bytes from there to the newest frame.
        bytes: u64,
        /// Milliseconds from there to the newest frame.
        milliseconds: u32,
        /// Frames from there to the newest frame.
        frames: u64,
    },
    /// At the next key frame: the least delay, after a wait of up to one GOP.
    NextKeyFrame,
}

impl Default for StartRule {
    /// The newest key frame, anywhere in the log.
    fn default() -> Self {
        StartRule::NewestKeyFrame { bytes: u64::MAX, milliseconds: u32::MAX, frames: u64::MAX }
    }
}

/// How long players wait for a place to start at, and how old it may be. Without these limits players of a publisher
/// that marks no key frames would get nothing, and those of one that stopped sending pictures would start minutes in
/// the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimits {
    /// How long players wait for a key frame while media come. Then they begin without one, with headers, sound and
    /// pictures, which some decoders can use (intra refresh). If sound goes on for this long without pictures, or for
    /// longer if the pictures before were further apart, players can start at sound, as in a stream without video.
    /// Default 3 s.
    pub wait: Duration,
    /// Milliseconds of the stream's time after which a key frame is too old to start at. Default 60 000.
    pub milliseconds: u32,
}

impl Default for StartLimits {
    fn default() -> Self {
        StartLimits { wait: Duration::from_secs(3), milliseconds: 60_000 }
    }
}

/// Frames, one a second, at which players begin if there is no start. Each keeps the headers in force before it.
#[derive(Debug, Default)]
pub(super) struct Openings {
    pub(super) positions: VecDeque<u64>,
    /// Time and arrival of the last start or opening.
    pub(super) last: Option<(u32, Instant)>,
}

/// How far openings are apart.
const OPENING: Duration = Duration::from_secs(1);

const MOST_OPENINGS: usize = 64;

impl Openings {
    pub(super) fn is_due(&self, now: Instant, time: u32) -> bool {
        self.last.is_none_or(|(last, at)| {
            now.saturating_duration_since(at) >= OPENING || duration(milliseconds_from(last, time)) >= OPENING
        })
    }
}

/// The pictures that a publisher sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pictures {
    /// Milliseconds between the newest two.
    interval: u32,
    /// The time of the first sound after the newest.
    sound: Option<u32>,
}

/// Where players begin.
impl Source {
    /// True while players get pictures without a key frame, because none came for too long.
    pub fn is_keyless(&self) -> bool {
        self.keyless
    }

    /// Where a player would begin now if it waited for no key frame.
    pub(super) fn newest_beginning(&self) -> Option<u64> {
        let opening = self.openings.positions.back();
        match self.starts.back() {
            Some(start) if self.keyless => opening.into_iter().chain([start]).max(),
            start => start.or(opening),
        }
        .copied()
    }

    /// True for frames at which a player can start: key frames, and while there is no video every coded audio frame. So
    /// a player that waited for the publisher also gets the audio before its first key frame.
    pub(super) fn is_start(&self, frame: &Frame) -> bool {
        match frame.kind() {
            FrameKind::Video => frame.is_join_point(),
            FrameKind::Audio => self.pictures.is_none() && frame.class().is_coded(),
            FrameKind::Data => false,
        }
    }

    /// Updates, at a coded frame, whether pictures come and whether players can start at them.
    pub(super) fn follow_pictures(&mut self, now: Instant, frame: &Frame) {
        let time = frame.timestamp();
        if frame.kind() == FrameKind::Video {
            let interval = self.last_picture.map_or(0, |last| milliseconds_from(last, time));
            if self.last_picture.replace(time).is_some() {
                self.intervals = [interval, self.intervals[0]];
            }
            self.picture = Some(now);
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

    /// True if the newest start is a key frame, and not a later sound frame.
    pub(super) fn has_key_frame(&self) -> bool {
        let newest = self.starts.back().and_then(|start| self.entry(*start));
        newest.is_some_and(|start| start.frame.is_join_point())
    }

    /// Makes an opening of the frame at this position, which is pushed next.
    pub(super) fn open_at(&mut self, position: u64) {
        self.openings.positions.push_back(position);
        if self.openings.positions.len() > MOST_OPENINGS {
            self.openings.positions.pop_front();
        }
    }

    /// Where a player that seeks a start can start now, and the place that it then has.
    pub(super) fn start(&self, seeking: &Seeking) -> Option<(Start, Place)> {
        let position = self.start_position(seeking)?;
        let entry = self.entry(position)?;
        let keyless = self.openings.positions.binary_search(&position).is_ok();
        let timestamp = entry.frame.timestamp();
        let mark = Mark { position, offset: entry.offset, timestamp };
        let gap = seeking.left.map_or_else(Gap::default, |left| self.missed(left, mark));
        let headers = entry.headers.clone().unwrap_or_default();
        // The next gap is counted from here, should the player fall behind before its first frame.
        let place = Place { epoch: self.epoch, key_seen: keyless, mark };
        Some((Start { headers, timestamp, gap, keyless }, place))
    }

    /// What a player missed between the place that it left and its start in the present publication.
    fn missed(&self, left: Place, start: Mark) -> Gap {
        if left.epoch == self.epoch {
            return left.mark.gap_to(start);
        }
        // The rest of the publication before is missed. The time between the two publications is not, and the headers
        // at the beginning are not either, because they are sent.
        let mut gap = left.mark.gap_to(self.began);
        gap.add(self.first_start.unwrap_or(start).gap_to(start));
        gap
    }

    /// The frame at which a player that seeks can start.
    fn start_position(&self, seeking: &Seeking) -> Option<u64> {
        // A player that was there before this publisher waited for its first start, too.
        let waits_from = match seeking.reason {
            SeekReason::Joined { from } => Some(from),
            SeekReason::NewPublisher => Some(0),
            SeekReason::FellBehind => None,
        };
        let fell_behind = seeking.reason == SeekReason::FellBehind;
        let waited_for = |positions: &VecDeque<u64>| {
            let from = waits_from?;
            positions.get(positions.partition_point(|position| *position < from)).copied()
        };
        // In a publication that is over, a player only starts at frames that came while it waited, or if it fell
        // behind.
        let may = self.live || fell_behind;
        let newest = self.starts.back().copied();
        // A player that fell behind has started before: it starts again at the newest place that it can.
        let is_near_enough = |newest: &u64| fell_behind || self.is_near_enough(*newest);
        let start = waited_for(&self.starts).or_else(|| newest.filter(is_near_enough).filter(|_| may));
        let openings = &self.openings.positions;
        let opening = waited_for(openings);
        // Sound has just become a place to start at because pictures ended: the player also gets what came while it
        // waited.
        if let (Some(start), Some(opening)) = (start, opening)
            && opening < start
            && self.entry(start).is_some_and(|entry| !entry.frame.is_join_point())
        {
            return Some(opening);
        }
        if !self.keyless && self.waited(seeking) < self.start_limits.wait {
            return start;
        }
        // It has waited long enough: it may start at an opening.
        let opening = opening.or(openings.back().copied().filter(|_| may));
        match (start, opening) {
            (Some(start), Some(opening)) if self.is_long_before(opening, start) => Some(opening),
            // The start is sound from before the pictures.
            (Some(start), Some(opening)) if self.keyless && opening > start => Some(opening),
            (Some(start), _) => Some(start),
            (None, opening) => newest.filter(|_| may && !self.keyless).or(opening),
        }
    }

    /// How long a player has waited for a start while media came.
    fn waited(&self, seeking: &Seeking) -> Duration {
        let (Some(begun), Some((_, newest))) = (self.begun, self.last) else {
            return Duration::ZERO;
        };
        newest.saturating_duration_since(seeking.since.map_or(begun, |since| since.max(begun)))
    }

    /// True if `start` lies so long after `opening` that a player that waited since `opening` begins there instead.
    fn is_long_before(&self, opening: u64, start: u64) -> bool {
        let (Some(opening), Some(start)) = (self.entry(opening), self.entry(start)) else {
            return false;
        };
        duration(milliseconds_from(opening.time, start.time)) >= self.start_limits.wait
    }

    /// True if the start rule lets a new player begin at the newest start.
    fn is_near_enough(&self, newest: u64) -> bool {
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
