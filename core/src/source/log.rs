mod cursor;
mod room;
mod starts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use cursor::Mark;
pub use cursor::{Cursor, Gap, Next, Place, Start};
use starts::{Openings, Pictures};
pub use starts::{StartLimits, StartRule};

use super::headers::HeaderLimits;
use super::{Batch, Frame, FrameKind, Headers, Timeline, Timestamps};
use crate::flv::FrameClass;
use crate::stats::{StreamStats, StreamStatsView};

/// One live stream.
///
/// Publishers come and go, one at a time: [`begin`](Self::begin), any number of [`push`](Self::push),
/// [`end`](Self::end). Cursors stay valid throughout.
#[derive(Debug)]
pub struct Source {
    limits: SourceLimits,
    start_rule: StartRule,
    start_limits: StartLimits,
    timestamps: Timestamps,
    reduce_sequence_headers: bool,
    /// True if what lies before the newest place to start at is kept for a while.
    keeps_past: bool,
    log: VecDeque<Entry>,
    /// Position of the log's first entry. Positions count frames over the life of the source.
    first: u64,
    /// Bytes in the log.
    bytes: usize,
    /// What its frames take beside.
    extra: usize,
    /// Bytes of the sets of headers that its starts refer to, each once, without the messages.
    sets: usize,
    /// Bytes pushed over the life of the source.
    pushed: u64,
    headers: Arc<Headers>,
    /// Positions of the frames to start at that are still in the log, oldest first.
    starts: VecDeque<u64>,
    /// Positions of the frames that keep headers: starts, and openings.
    kept: VecDeque<u64>,
    /// Where the present publisher began, with the time of its predecessor's last frame.
    began: Mark,
    /// The present publisher's first frame to start at.
    first_start: Option<Mark>,
    /// Where those begin that have nothing to start at.
    openings: Openings,
    /// The pictures that the present publisher sends, as long as it does.
    pictures: Option<Pictures>,
    /// The time of its newest picture.
    last_picture: Option<u32>,
    /// When the present publisher's first coded frame came.
    begun: Option<Instant>,
    /// Since when pictures come and there is no key frame to start at.
    unkeyed: Option<Instant>,
    /// True once that lasted too long: who has seen no key frame gets pictures all the same.
    keyless: bool,
    /// Counts publishers.
    epoch: u64,
    live: bool,
    /// Timestamp and arrival of the coded frame that came last.
    last: Option<(u32, Instant)>,
    /// The furthest that coded frames have come: not where the last one is if media arrive apart or out of order.
    furthest: Option<u32>,
    ended: Option<Instant>,
    stats: SourceStats,
    /// From the first frame on.
    details: Option<StreamStats>,
}

/// Bounds of a source's log and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimits {
    /// Bytes the log may hold, the plain forms of multitrack messages included. A GOP larger than that cannot be joined: players wait for the next key frame. Default
    /// 32 MiB.
    pub bytes: usize,
    /// Frames the log may hold. Default 16384.
    pub frames: usize,
    /// Milliseconds of media kept for players that fall behind, before the newest key frame, as long as there are any. The
    /// GOP since that frame is kept whatever its length in time. Default 10 000.
    pub milliseconds: u32,
    /// Bytes that the headers in force (metadata, sequence headers and the like) may have together. A header beyond that
    /// is relayed like any frame, but players that join later do not get it, nor the one it replaces: see
    /// [`SourceStats::unkept_headers`]. Real ones take a few kilobytes. What it takes to remember which of them were in
    /// force at each start may come to as much again, and to 64 KiB; beyond that the oldest frames go. Default 1 MiB.
    pub header_bytes: usize,
    /// Tracks of each medium, beside the default one, whose headers may be in force; a header with one more is treated
    /// like one with too many bytes. OBS sends six of audio, and as many of video as a ladder has steps. Default 16.
    pub tracks: usize,
}

impl Default for SourceLimits {
    fn default() -> Self {
        SourceLimits { bytes: 32 << 20, frames: 16_384, milliseconds: 10_000, header_bytes: 1 << 20, tracks: 16 }
    }
}

/// What a source has seen.
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

/// Bytes that a frame takes beside its messages: its entry, its place among the starts, [what else](Frame::extra_bytes)
/// there may be.
pub(crate) const LOG_ENTRY: usize = 2 * (size_of::<Entry>() + size_of::<u64>()) + 2 * size_of::<Frame>() + 176;

/// Bytes that the sets of headers at all starts may have in any case.
pub(crate) const MIN_SETS: usize = 64 << 10;

#[derive(Debug)]
struct Entry {
    frame: Frame,
    /// `Source::pushed` before this frame.
    offset: u64,
    /// Where the stream's time is here: the frame's timestamp, but for headers and data that of the coded frame before
    /// it. Their own is often void.
    time: u32,
    /// At a frame to start at, and at an opening: the headers in force right before it.
    headers: Option<Arc<Headers>>,
    /// True if those get it that have seen no key frame, whatever it is.
    keyless: bool,
}

impl Source {
    /// A source that nobody publishes yet.
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
            begun: None,
            unkeyed: None,
            keyless: false,
            epoch: 0,
            live: false,
            last: None,
            furthest: None,
            ended: None,
            stats: SourceStats::default(),
            details: None,
        }
    }

    /// The same with another rule for where players begin.
    #[must_use]
    pub fn with_start_rule(mut self, rule: StartRule) -> Self {
        self.start_rule = rule;
        self
    }

    /// The same with other limits for how long a start is waited for, and how old it may be.
    #[must_use]
    pub fn with_start_limits(mut self, limits: StartLimits) -> Self {
        self.start_limits = limits;
        self
    }

    /// The same with another way to treat publishers' timestamps.
    #[must_use]
    pub fn with_timestamps(mut self, timestamps: Timestamps) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// The same, leaving out sequence headers that are equal to the one in force, or not.
    #[must_use]
    pub fn with_reduced_sequence_headers(mut self, reduced: bool) -> Self {
        self.reduce_sequence_headers = reduced;
        self
    }

    /// Whether what lies before the newest place to start at is kept for players that fall behind, which it is at first.
    /// With no player there is nobody for whom: who joins begins there or later.
    pub fn keep_past(&mut self, keeps: bool) {
        self.keeps_past = keeps;
    }

    /// A publisher begins: headers and log of the one before are void. Its messages get their timestamps from the
    /// returned timeline.
    pub fn begin(&mut self) -> Timeline {
        self.epoch += 1;
        self.live = true;
        if let Some(details) = &mut self.details {
            details.begin();
        }
        self.ended = None;
        self.headers = Arc::default();
        self.openings = Openings::default();
        self.pictures = None;
        self.last_picture = None;
        self.begun = None;
        self.unkeyed = None;
        self.keyless = false;
        self.give_log();
        let timestamp = self.last.map_or(0, |(timestamp, _)| timestamp);
        self.began = Mark { position: self.first, offset: self.pushed, timestamp };
        self.first_start = None;
        match self.last {
            Some((timestamp, time)) => {
                // Behind all that was sent, and no sooner than in real time.
                let furthest = self.furthest.unwrap_or(timestamp);
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

    /// The publisher is gone at a time nobody knows: when its last frame came, if it sent any.
    pub fn abandon(&mut self) {
        self.live = false;
        self.ended = self.last.map(|(_, time)| time);
    }

    /// True while a publisher is there.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// When the last publisher went, if none is there now and one was.
    pub fn ended(&self) -> Option<Instant> {
        self.ended
    }

    /// Counts publishers: changes with each [`begin`](Self::begin).
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What was pushed so far.
    pub fn stats(&self) -> SourceStats {
        self.stats
    }

    /// Rates, codecs and the like, to be read at any time without this source. `None` before the first frame.
    pub fn details(&self) -> Option<StreamStatsView> {
        self.details.as_ref().map(StreamStats::view)
    }

    /// The headers in force now.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Appends a frame. Takes the same time for one player and for ten thousand.
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
            self.begun.get_or_insert(now);
            self.last = Some((time, now));
            let furthest = self.furthest.filter(|furthest| milliseconds_from(time, *furthest) > 0);
            self.furthest = furthest.or(self.last.map(|(time, _)| time));
        }
        self.bytes += frame.held_bytes();
        self.extra += frame.extra_bytes();
        self.log.push_back(Entry { frame, offset: self.pushed, time, headers, keyless: self.keyless });
        self.pushed += length as u64;
        self.stats.frames += 1;
        self.stats.bytes += length as u64;
        self.trim();
    }

    /// The publisher withdrew its metadata: players to come do not get it.
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

/// Milliseconds from `earlier` to `later`, both modulo 2^32; 0 if `later` is behind.
fn milliseconds_from(earlier: u32, later: u32) -> u32 {
    let difference = later.wrapping_sub(earlier);
    if difference < 1 << 31 { difference } else { 0 }
}

#[cfg(test)]
mod tests;
