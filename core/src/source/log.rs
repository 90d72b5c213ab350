mod cursor;
mod dates;
mod followers;
mod room;
mod standby;
mod starts;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use cursor::Mark;
pub use cursor::{Cursor, Gap, Next, Place, Start};
use followers::Follower;
use starts::{Openings, Pictures};
pub use starts::{StartLimits, StartRule};

use super::bridge::Floors;
use super::headers::HeaderLimits;
use super::{Batch, Form, Frame, FrameKind, Headers, Timeline, Timestamps};
use crate::flv::FrameClass;
use crate::stats::{StreamStats, StreamStatsView};

/// One live stream.
///
/// Publishers come and go, one at a time: [`begin`](Self::begin), any number of [`push`](Self::push),
/// [`end`](Self::end). Cursors stay valid throughout.
pub struct Source {
    limits: SourceLimits,
    start_rule: StartRule,
    start_limits: StartLimits,
    timestamps: Timestamps,
    reduce_sequence_headers: bool,
    /// True if frames before the newest place to start at are kept for players that fall behind.
    keeps_past: bool,
    log: VecDeque<Entry>,
    /// Position of the log's first entry. Positions count frames over the life of the source.
    first: u64,
    /// Bytes in the log.
    bytes: usize,
    /// Bytes that its frames take in addition: see [`Frame::extra_bytes`].
    extra: usize,
    /// Bytes of the sets of headers that its starts refer to, each set once, without the messages.
    sets: usize,
    /// Bytes pushed over the life of the source.
    pushed: u64,
    headers: Arc<Headers>,
    /// Positions of the frames in the log at which players can start, oldest first.
    starts: VecDeque<u64>,
    /// Positions of the frames that keep headers: starts and openings.
    kept: VecDeque<u64>,
    /// Where the present publisher began, with the time of the last frame of the publisher before.
    began: Mark,
    /// The present publisher's first frame to start at.
    first_start: Option<Mark>,
    /// Where players begin that have no start.
    openings: Openings,
    /// The pictures of the present publisher, while it sends any.
    pictures: Option<Pictures>,
    /// The time of its newest picture.
    last_picture: Option<u32>,
    /// When the present publisher's newest picture came.
    picture: Option<Instant>,
    /// The milliseconds between its newest three pictures; 0 if that is not known.
    intervals: [u32; 2],
    /// When the present publisher's first coded frame came.
    begun: Option<Instant>,
    /// See [`dated`](Self::dated).
    dated: Option<(u32, Instant)>,
    /// Since when there are pictures and no key frame to start at.
    unkeyed: Option<Instant>,
    /// True once that has lasted too long: then players get pictures without a key frame before.
    keyless: bool,
    /// Counts publishers.
    epoch: u64,
    live: bool,
    /// True while the present publisher is the stream's fallback.
    fallback: bool,
    /// Timestamp and arrival of the last coded frame.
    last: Option<(u32, Instant)>,
    /// The highest timestamp of coded frames, and its arrival. The last frame has a lower one if media arrive apart or out
    /// of order.
    furthest: Option<(u32, Instant)>,
    /// The highest timestamps of sound and of pictures.
    ends: Floors,
    ended: Option<Instant>,
    stats: SourceStats,
    /// Players that get each publication up to its end, and the bytes that are kept for them.
    followers: Vec<Follower>,
    rests: usize,
    /// `None` before the first frame.
    details: Option<StreamStats>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Source");
        shown.field("frames", &self.log.len()).field("bytes", &self.bytes).field("pushed", &self.pushed);
        shown.finish_non_exhaustive()
    }
}

/// Bounds of a source's log and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimits {
    /// Bytes the log may hold, the plain forms of multitrack messages included. Players cannot start in a GOP that is
    /// larger: they wait for the next key frame. Default 32 MiB.
    pub bytes: usize,
    /// Frames the log may hold. Default 16384.
    pub frames: usize,
    /// Milliseconds of media before the newest key frame that are kept for players that fall behind, while there are
    /// players. The GOP since that key frame is kept however long it is. Default 10 000.
    pub milliseconds: u32,
    /// Bytes that the headers in force (metadata, sequence headers and the like) may have together. A header beyond
    /// that is relayed like any frame, but players that join later get neither it nor the header that it replaces: see
    /// [`SourceStats::unkept_headers`]. Real headers take a few kilobytes. The lists of the headers in force at each
    /// start may take as many bytes again, and at least 64 KiB; beyond that the log drops its oldest frames. Default 1
    /// MiB.
    pub header_bytes: usize,
    /// Tracks of each medium, in addition to the default track, whose headers may be in force. A header with one track
    /// more is treated like one with too many bytes. OBS sends six audio tracks, and one video track for each quality
    /// level. Default 16.
    pub tracks: usize,
}

impl Default for SourceLimits {
    fn default() -> Self {
        SourceLimits { bytes: 32 << 20, frames: 16_384, milliseconds: 10_000, header_bytes: 1 << 20, tracks: 16 }
    }
}

/// Totals of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceStats {
    /// Frames pushed.
    pub frames: u64,
    /// Bytes pushed, chunk headers included.
    pub bytes: u64,
    /// Join points pushed.
    pub key_frames: u64,
    /// Sequence headers left out because they were equal to the one in force.
    pub repeated_headers: u64,
    /// Headers relayed but not kept for players that join later, because they went beyond
    /// [`SourceLimits::header_bytes`] or [`SourceLimits::tracks`].
    pub unkept_headers: u64,
}

/// Bytes that a frame takes in addition to its messages: its entry, its place among the starts, and its
/// [extra bytes](Frame::extra_bytes).
pub(crate) const LOG_ENTRY: usize = 2 * (size_of::<Entry>() + size_of::<u64>()) + 2 * size_of::<Frame>() + 176;

/// Bytes that the sets of headers at all starts may take even if the limit of headers is lower.
pub(crate) const MIN_SETS: usize = 64 << 10;

#[derive(Debug)]
struct Entry {
    frame: Frame,
    /// `Source::pushed` before this frame.
    offset: u64,
    /// The stream's time here: the frame's timestamp; for headers and data that of the coded frame before, because
    /// their own is often meaningless.
    time: u32,
    /// At a frame to start at, and at an opening: the headers in force right before it.
    headers: Option<Arc<Headers>>,
    /// True if players get it even if they have seen no key frame.
    keyless: bool,
}

impl Source {
    /// A source without a publisher.
    pub fn new(limits: SourceLimits) -> Self {
        Source {
            limits,
            start_rule: StartRule::default(),
            start_limits: StartLimits::default(),
            timestamps: Timestamps::default(),
            reduce_sequence_headers: false,
            keeps_past: true,
            log: VecDeque::new(),
            first: 0,
            bytes: 0,
            extra: 0,
            sets: 0,
            pushed: 0,
            headers: Arc::default(),
            starts: VecDeque::new(),
            kept: VecDeque::new(),
            began: Mark::default(),
            first_start: None,
            openings: Openings::default(),
            pictures: None,
            last_picture: None,
            picture: None,
            intervals: [0; 2],
            begun: None,
            dated: None,
            unkeyed: None,
            keyless: false,
            epoch: 0,
            live: false,
            fallback: false,
            last: None,
            furthest: None,
            ends: Floors::default(),
            ended: None,
            stats: SourceStats::default(),
            followers: Vec::new(),
            rests: 0,
            details: None,
        }
    }

    /// The same with another rule for where players begin.
    #[must_use]
    pub fn with_start_rule(mut self, rule: StartRule) -> Self {
        self.start_rule = rule;
        self
    }

    /// The same with other limits for how long players wait for a start, and how old it may be.
    #[must_use]
    pub fn with_start_limits(mut self, limits: StartLimits) -> Self {
        self.start_limits = limits;
        self
    }

    /// The same with another treatment of publishers' timestamps.
    #[must_use]
    pub fn with_timestamps(mut self, timestamps: Timestamps) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// The same, and with `reduced` sequence headers are left out that are equal to the one in force.
    #[must_use]
    pub fn with_reduced_sequence_headers(mut self, reduced: bool) -> Self {
        self.reduce_sequence_headers = reduced;
        self
    }

    /// Sets whether frames before the newest place to start at are kept for players that fall behind. Default true.
    /// A stream without players does not need them: a player that joins begins at that place or later.
    pub fn keep_past(&mut self, keeps: bool) {
        self.keeps_past = keeps;
    }

    /// A publisher begins: headers and log of the publisher before are dropped. The returned timeline gives the
    /// timestamps of its messages.
    pub fn begin(&mut self) -> Timeline {
        self.keep_rests();
        self.epoch += 1;
        self.live = true;
        self.fallback = false;
        if let Some(details) = &mut self.details {
            details.begin();
        }
        self.ended = None;
        self.headers = Arc::default();
        self.openings = Openings::default();
        self.pictures = None;
        self.last_picture = None;
        self.picture = None;
        self.intervals = [0; 2];
        self.begun = None;
        self.dated = None;
        self.unkeyed = None;
        self.keyless = false;
        self.give_log();
        let timestamp = self.last.map_or(0, |(timestamp, _)| timestamp);
        self.began = Mark { position: self.first, offset: self.pushed, timestamp };
        self.first_start = None;
        match self.last {
            Some((timestamp, time)) => {
                // After everything that was sent, and not earlier than real time.
                let furthest = self.furthest.map_or(timestamp, |(furthest, _)| furthest);
                let ahead = duration(milliseconds_from(timestamp, furthest));
                Timeline::resuming(self.timestamps, furthest, time + ahead)
            }
            None => Timeline::new(self.timestamps),
        }
    }

    /// The publisher is gone. What is in the log can still be read.
    pub fn end(&mut self, now: Instant) {
        self.live = false;
        self.ended = Some(now);
    }

    /// The publisher is gone at an unknown time. The time when its last frame came counts, if it sent any.
    pub fn abandon(&mut self) {
        self.live = false;
        self.ended = self.last.map(|(_, time)| time);
    }

    /// The publisher that has just begun is the stream's fallback.
    pub(crate) fn falls_back(&mut self) {
        self.fallback = true;
    }

    /// True while the stream's fallback plays.
    pub(crate) fn is_fallback(&self) -> bool {
        self.live && self.fallback
    }

    /// True while there is a publisher.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// When the last publication ended; `None` while there is a publisher, and before the first one.
    pub fn ended(&self) -> Option<Instant> {
        self.ended
    }

    /// Counts publishers: changes with each [`begin`](Self::begin).
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Totals of what was pushed so far.
    pub fn stats(&self) -> SourceStats {
        self.stats
    }

    /// Rates, codecs and the like, which can be read at any time without this source. `None` before the first frame.
    pub fn details(&self) -> Option<StreamStatsView> {
        self.details.as_ref().map(StreamStats::view)
    }

    /// The headers in force now.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Appends a frame. The time it takes does not depend on the number of players.
    pub fn push(&mut self, now: Instant, mut frame: Frame) {
        if self.reduce_sequence_headers && frame.class() == FrameClass::SequenceHeader && self.headers.have(&frame) {
            self.stats.repeated_headers += 1;
            return;
        }
        if frame.class() == FrameClass::Metadata && self.headers.is_of_another_track(&frame) {
            frame.for_multitrack_only();
        }
        let position = self.first + self.log.len() as u64;
        let length = frame.wire().len();
        let coded = frame.class().is_coded();
        if coded {
            if self.headers.has_ended(frame.kind()) {
                Arc::make_mut(&mut self.headers).resume(frame.kind());
            }
            self.follow_pictures(now, &frame);
        }
        let is_start = self.is_start(&frame);
        let opens = !is_start && coded && self.openings.is_due(now, frame.timestamp());
        let headers = (is_start || opens).then(|| self.headers.clone());
        if let Some(headers) = &headers {
            if !is_same(self.set_at(self.kept.back()), headers) {
                self.sets += headers.structure_bytes();
            }
            self.kept.push_back(position);
        }
        if is_start {
            self.starts.push_back(position);
            let start = Mark { position, offset: self.pushed, timestamp: frame.timestamp() };
            self.first_start.get_or_insert(start);
            self.stats.key_frames += u64::from(frame.is_join_point());
        }
        if opens {
            self.open_at(position);
        }
        if is_start || opens {
            self.openings.last = Some((frame.timestamp(), now));
        }
        if frame.is_header() {
            let limits = HeaderLimits { bytes: self.limits.header_bytes, tracks: self.limits.tracks };
            let kept = Arc::make_mut(&mut self.headers).apply(&frame, limits);
            self.stats.unkept_headers += u64::from(!kept);
        }
        self.details.get_or_insert_with(|| StreamStats::new(now)).record(now, &frame);
        let time = match self.last {
            Some((last, _)) if !coded => last,
            _ => frame.timestamp(),
        };
        if coded {
            let last = self.begun.and(self.last).map(|(last, _)| last);
            self.begun.get_or_insert(now);
            self.note_date(now, time, last);
            self.last = Some((time, now));
            let furthest = self.furthest.filter(|(furthest, _)| milliseconds_from(time, *furthest) > 0);
            self.furthest = furthest.or(self.last);
            self.ends.raise(frame.kind(), time);
        }
        self.bytes += frame.held_bytes();
        self.extra += frame.extra_bytes();
        self.log.push_back(Entry { frame, offset: self.pushed, time, headers, keyless: self.keyless });
        self.pushed += length as u64;
        self.stats.frames += 1;
        self.stats.bytes += length as u64;
        self.trim();
    }

    /// The publisher withdrew its metadata: players that join later do not get it.
    pub fn clear_metadata(&mut self) {
        Arc::make_mut(&mut self.headers).clear_metadata();
    }

    fn entry(&self, position: u64) -> Option<&Entry> {
        self.log.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }
}

/// True if it is one and the same set.
fn is_same(set: Option<&Arc<Headers>>, other: &Arc<Headers>) -> bool {
    set.is_some_and(|set| Arc::ptr_eq(set, other))
}

fn duration(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into())
}

/// Milliseconds from `earlier` to `later`, both modulo 2^32; 0 if `later` lies before `earlier`.
fn milliseconds_from(earlier: u32, later: u32) -> u32 {
    let difference = later.wrapping_sub(earlier);
    if difference < 1 << 31 { difference } else { 0 }
}

#[cfg(test)]
mod tests;
