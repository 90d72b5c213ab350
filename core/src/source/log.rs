use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    began: Reached,
    /// The present publisher's first frame to start at.
    first_start: Option<Reached>,
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
    /// Timestamp and arrival of the newest coded frame.
    last: Option<(u32, Instant)>,
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
struct Openings {
    positions: VecDeque<u64>,
    /// Time and arrival of the last place to begin at, of whatever kind.
    last: Option<(u32, Instant)>,
}

/// How far openings are apart, and how many are kept.
const OPENING: Duration = Duration::from_secs(1);
const MOST_OPENINGS: usize = 64;

impl Openings {
    fn is_due(&self, now: Instant, time: u32) -> bool {
        self.last.is_none_or(|(last, at)| {
            now.saturating_duration_since(at) >= OPENING || duration(milliseconds_from(last, time)) >= OPENING
        })
    }
}

/// Pictures that come.
#[derive(Debug, Clone, Copy)]
struct Pictures {
    /// How far the newest was from the one before.
    interval: u32,
    /// The time of the first sound after it.
    sound: Option<u32>,
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

/// Frames for which a log keeps room without having them.
const ROOM: usize = 128;

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

/// A player's place in a [`Source`].
#[derive(Debug, Clone)]
pub struct Cursor {
    /// Next frame to hand out; void while `starting`.
    position: u64,
    epoch: u64,
    /// True until a place to start at is found.
    starting: bool,
    /// Where the wait for a start began. A player gets all from the first start on that came while it waited; if there
    /// was one already, it begins as near to the present as it can.
    waits_from: u64,
    /// When the newest coded frame had come then.
    waits_since: Option<Instant>,
    /// False until the first key frame: coded video before it would not decode.
    key_seen: bool,
    /// Where the player is in the stream's bytes and frames and time, for counting gaps; `None` before its first start.
    reached: Option<Reached>,
    /// Video frames passed over because they came before the first key frame.
    undecodable: u64,
}

/// Where a player is that has begun: what it gets next depends on this alone.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    epoch: u64,
    key_seen: bool,
    reached: Reached,
}

impl Place {
    /// True if the same follows.
    pub(super) fn is_same(&self, other: &Place) -> bool {
        (self.epoch, self.reached.position) == (other.epoch, other.reached.position)
    }

    pub(super) fn is_behind_key_frame(&self) -> bool {
        self.key_seen
    }

    pub(super) fn reach(&mut self, reached: Reached) {
        self.reached = reached;
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    position: u64,
    offset: u64,
    timestamp: u32,
}

impl Reached {
    /// What lies between here and `later`.
    fn gap_to(self, later: Reached) -> Gap {
        Gap {
            frames: later.position.saturating_sub(self.position),
            bytes: later.offset.saturating_sub(self.offset),
            milliseconds: u64::from(milliseconds_from(self.timestamp, later.timestamp)),
        }
    }
}

/// What [`Source::next`] found.
#[derive(Debug)]
pub enum Next<'a> {
    /// The player begins, or begins anew after a gap: send these headers first.
    Start(Start),
    /// The next frame.
    Frame(&'a Frame),
    /// Nothing now; a publisher is there.
    Pending,
    /// Nothing now; no publisher is there.
    Ended,
}

/// Where a player begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// The headers in force at the first frame.
    pub headers: Arc<Headers>,
    /// Timestamp of the first frame.
    pub timestamp: u32,
    /// What the player missed since it was last served; zero at its first start.
    pub gap: Gap,
    /// True if there was no key frame to start at, and the player begins with what there is.
    pub keyless: bool,
}

impl Start {
    /// The headers as the player is to get them: at the time of the first frame, metadata at 0. (FFmpeg takes metadata
    /// with another timestamp for a subtitle.) They share their payload with the headers.
    pub fn frames(&self) -> impl Iterator<Item = Frame> {
        self.headers.iter().map(|header| match header.kind() {
            FrameKind::Data => header.at(0),
            FrameKind::Audio | FrameKind::Video => header.at(self.timestamp),
        })
    }
}

/// What a player did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// Frames.
    pub frames: u64,
    /// Bytes, chunk headers included.
    pub bytes: u64,
    /// Milliseconds of the stream's time.
    pub milliseconds: u64,
}

impl Gap {
    /// What came to it since it was `earlier`.
    #[must_use]
    pub fn since(self, earlier: Gap) -> Gap {
        Gap {
            frames: self.frames - earlier.frames,
            bytes: self.bytes - earlier.bytes,
            milliseconds: self.milliseconds - earlier.milliseconds,
        }
    }

    /// Adds another gap.
    pub fn add(&mut self, other: Gap) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.milliseconds += other.milliseconds;
    }
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
            began: Reached::default(),
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
        self.began = Reached { position: self.first, offset: self.pushed, timestamp };
        self.first_start = None;
        match self.last {
            Some((timestamp, time)) => Timeline::resuming(self.timestamps, timestamp, time),
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

    /// Bytes in the log, never above [`SourceLimits::bytes`] but for a single frame that is larger.
    pub fn log_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that all of it takes: the log with what its frames cost beside their messages, the headers in
    /// force at each start and now, and room for more.
    pub fn held_bytes(&self) -> usize {
        let positions = self.starts.capacity() + self.kept.capacity() + self.openings.positions.capacity();
        let room = self.log.capacity() * size_of::<Entry>() + positions * size_of::<u64>();
        let (oldest, newest) = (self.set_at(self.kept.front()), self.set_at(self.kept.back()));
        // What is in force at a later start and not at the oldest came after that, and so is in the log.
        let before_log = oldest.unwrap_or(&self.headers).bytes();
        let now = if is_same(newest, &self.headers) { 0 } else { self.headers.structure_bytes() };
        self.bytes + self.extra + self.sets + room + before_log + now
    }

    /// Gives up what lies before the newest place to start at: players that fell behind miss it.
    pub fn give_past(&mut self) {
        if let Some(start) = self.starts.back().copied() {
            while self.first < start {
                self.drop_front();
            }
            self.shrink();
        }
    }

    /// Gives up the whole log: players that have not got it miss it, and those that come wait for the next start.
    pub fn give_log(&mut self) {
        self.first += self.log.len() as u64;
        self.log = VecDeque::new();
        self.starts = VecDeque::new();
        self.kept = VecDeque::new();
        self.openings.positions = VecDeque::new();
        (self.bytes, self.extra, self.sets) = (0, 0, 0);
    }

    /// Gives up the headers in force: players that come later do not get them, as if they had been
    /// [too large](SourceStats::unkept_headers).
    pub fn give_headers(&mut self) {
        if !self.headers.is_empty() {
            self.headers = Arc::default();
            self.stats.unkept_headers += 1;
        }
    }

    /// Frames in the log.
    pub fn log_frames(&self) -> usize {
        self.log.len()
    }

    /// True while pictures come that players get without a key frame, because none came for too long.
    pub fn is_keyless(&self) -> bool {
        self.keyless
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
            let start = Reached { position, offset: self.pushed, timestamp: frame.timestamp() };
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

    /// A cursor for a new player. It begins at the newest key frame, or waits for the next.
    pub fn join(&self) -> Cursor {
        let waits_from = self.first + self.log.len() as u64;
        Cursor {
            position: 0,
            epoch: self.epoch,
            starting: true,
            waits_from,
            waits_since: self.last.map(|(_, time)| time),
            key_seen: false,
            reached: None,
            undecodable: 0,
        }
    }

    /// The next thing for the player at `cursor`, which moves on.
    pub fn next(&self, cursor: &mut Cursor) -> Next<'_> {
        if !cursor.starting && (cursor.position < self.first || cursor.epoch != self.epoch) {
            cursor.restart();
        }
        if cursor.starting {
            cursor.waits_since = cursor.waits_since.or(self.last.map(|(_, time)| time));
            return match self.start(cursor) {
                Some(start) => Next::Start(start),
                None => self.nothing(),
            };
        }
        loop {
            let Some(entry) = self.entry(cursor.position) else {
                return self.nothing();
            };
            cursor.position += 1;
            let frame = &entry.frame;
            cursor.reached = Some(Reached {
                position: cursor.position,
                offset: entry.offset + frame.wire().len() as u64,
                timestamp: entry.time,
            });
            cursor.key_seen |= frame.is_join_point() || entry.keyless;
            if cursor.key_seen || !frame.needs_key_frame() {
                return Next::Frame(frame);
            }
            cursor.undecodable += 1;
        }
    }

    /// All that follows a place, if that is something, no more than `most` bytes, the same for every player, and its
    /// publisher is still there: what is out of the ordinary is for [`next`](Self::next).
    pub fn batch(&self, place: &Place, most: usize) -> Option<Batch> {
        self.batch_in_pieces(place, most).map(Batch::joined)
    }

    /// The same without the copy, which need not be made while others wait for the source.
    pub(crate) fn batch_in_pieces(&self, place: &Place, most: usize) -> Option<Batch> {
        if !self.live || place.epoch != self.epoch {
            return None;
        }
        let from = usize::try_from(place.reached.position.checked_sub(self.first)?).ok()?;
        let mut frames = Vec::with_capacity(self.log.len().saturating_sub(from));
        for entry in self.log.range(from.min(self.log.len())..) {
            let position = self.first + (from + frames.len()) as u64 + 1;
            let end = entry.offset + entry.frame.wire().len() as u64;
            if end - place.reached.offset > most as u64 || entry.frame.differs_by_player() {
                return None;
            }
            frames.push((&entry.frame, Reached { position, offset: end, timestamp: entry.time }));
        }
        Batch::new(*place, frames)
    }

    /// What lies between the cursor and the present; nothing if it has not begun.
    pub fn unsent(&self, cursor: &Cursor) -> Gap {
        let timestamp = self.log.back().map(|entry| entry.time);
        let head = Reached {
            position: self.first + self.log.len() as u64,
            offset: self.pushed,
            timestamp: timestamp.or(self.last.map(|(timestamp, _)| timestamp)).unwrap_or(0),
        };
        cursor.reached.map_or_else(Gap::default, |reached| reached.gap_to(head))
    }

    /// True if starting anew would bring the player at `cursor` nearer to the present: there is a frame to start at
    /// that it has not come to.
    pub fn has_newer_start(&self, cursor: &Cursor) -> bool {
        let openings = self.openings.positions.back().filter(|_| self.keyless);
        let newest = self.starts.back().into_iter().chain(openings).max();
        cursor.epoch != self.epoch || newest.is_some_and(|start| *start > cursor.position)
    }

    /// Frames between the cursor and the head of the log; 0 while it waits for a start.
    pub fn behind(&self, cursor: &Cursor) -> u64 {
        let head = self.first + self.log.len() as u64;
        if cursor.starting { 0 } else { head.saturating_sub(cursor.position) }
    }

    /// Frames at which a player can start: key frames, and as long as there is no video every coded audio frame. So who
    /// waited for the publisher also gets the audio before its first key frame.
    fn is_start(&self, frame: &Frame) -> bool {
        match frame.kind() {
            FrameKind::Video => frame.is_join_point(),
            FrameKind::Audio => self.pictures.is_none() && frame.class().is_coded(),
            FrameKind::Data => false,
        }
    }

    /// Notes what a coded frame says of the pictures: whether they come, and whether anybody can start with them.
    fn follow_pictures(&mut self, now: Instant, frame: &Frame) {
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
    fn open_at(&mut self, position: u64) {
        self.openings.positions.push_back(position);
        if self.openings.positions.len() > MOST_OPENINGS {
            self.openings.positions.pop_front();
        }
    }

    fn entry(&self, position: u64) -> Option<&Entry> {
        self.log.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    fn nothing(&self) -> Next<'static> {
        if self.live { Next::Pending } else { Next::Ended }
    }

    fn start(&self, cursor: &mut Cursor) -> Option<Start> {
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

    /// True if what came before `start` is too much to be left out for whoever waited since `opening`.
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

    /// Drops from the log's tail what is over a bound: bytes and frames always, time only before the newest key frame.
    fn trim(&mut self) {
        let head = self.log.back().map_or(0, |entry| entry.time);
        while let Some(front) = self.log.front() {
            let over = self.bytes > self.limits.bytes
                || self.log.len() > self.limits.frames
                || self.sets > self.limits.header_bytes.max(MIN_SETS);
            let old = !self.keeps_past || milliseconds_from(front.time, head) > self.limits.milliseconds;
            let before_start = self.starts.back().is_none_or(|start| self.first < *start);
            // The newest frame stays whatever its size: it may be the only one there ever is.
            if self.log.len() == 1 || !(over || (old && before_start)) {
                break;
            }
            self.drop_front();
        }
        self.shrink();
    }

    fn drop_front(&mut self) {
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
    fn set_at(&self, position: Option<&u64>) -> Option<&Arc<Headers>> {
        self.entry(*position?)?.headers.as_ref()
    }

    /// A log that has become small gives its room back, in steps that are few for the frames that went.
    fn shrink(&mut self) {
        if self.log.capacity() > ROOM && self.log.len() < self.log.capacity() / 4 {
            self.log.shrink_to(self.log.len() * 2);
            self.starts.shrink_to(self.starts.len() * 2);
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}

impl Cursor {
    /// Where it is, once it has begun.
    pub fn place(&self) -> Option<Place> {
        let reached = self.reached.filter(|reached| !self.starting && reached.position == self.position)?;
        Some(Place { epoch: self.epoch, key_seen: self.key_seen, reached })
    }

    /// Goes on from another place of the same publication: what lies between was sent as [batches](Source::batch).
    pub fn pass_to(&mut self, place: Place) {
        debug_assert!(!self.starting && place.epoch == self.epoch && place.reached.position >= self.position);
        self.position = place.reached.position;
        self.reached = Some(place.reached);
    }

    /// Video frames passed over because they came before the first key frame.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Gives up the place: the next start is the newest key frame, and what lies between counts as a gap.
    pub fn restart(&mut self) {
        self.starting = true;
        self.waits_from = u64::MAX;
        self.waits_since = None;
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
