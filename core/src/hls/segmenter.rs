use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::lane::{Lane, Waiting};
use super::names::{NameKey, Named, Names};
use super::open::{Open, Writer};
use super::segment::{Complete, Init, Media, Period, Segment, TrackInit};
use super::{Config, Container};
use crate::flv::{AccessUnit, Codec};
use crate::fmp4::{self, Track, TrackConfig};
use crate::mpegts::Muxer;

mod close;
mod find;
mod keep;
mod quality;

pub use keep::Shortage;
pub use quality::Moment;

pub(super) use find::TRACK_EXTENSION;

/// Number of the video track in fragments.
pub(super) const VIDEO_TRACK: u32 = 1;
/// Number of the audio track in fragments.
pub(super) const AUDIO_TRACK: u32 = 2;

/// A second, in microseconds.
const SECOND: u64 = 1_000_000;
/// What a segment may exceed its target by: its duration is rounded to whole seconds for the comparison.
const ROUNDING: u64 = 499_000;
/// The shortest target duration that `auto` settles on, and the longest, in seconds.
const AUTO: std::ops::RangeInclusive<u32> = 4..=10;
/// What a part may be longer than its frames say, in milliseconds: their times are whole milliseconds.
const JITTER: u64 = 3;
/// The first discontinuity sequence number is the time in seconds modulo this: another one after a restart, and small. Players
/// such as hls.js go through all numbers up to it at each playlist.
const DISCONTINUITIES: u64 = 1 << 14;
/// What a segment may begin before or after the end of the one before, in microseconds, without a discontinuity.
const TOLERANCE: u64 = 1000;
/// The longest time between frames that belong together; what comes later is behind a pause.
const LONGEST_FRAME: u64 = 2 * SECOND;

/// What the timestamps of a track may go back, in milliseconds, as if they stood.
const STEP_BACK: u64 = 1000;

/// Totals of a [`Segmenter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SegmenterStats {
    /// Segments that are complete.
    pub segments: u64,
    /// Segments cut at a picture that is no key frame, to keep the target duration or the limit of bytes.
    pub forced_cuts: u64,
    /// Parts shorter than 85 % of their target duration that are not the last ones of their segments: frames of
    /// different length did not fit.
    pub short_parts: u64,
    /// Times at which frames were missing, so that a discontinuity was needed.
    pub gaps: u64,
    /// Frames left out: before a key frame or a configuration, or in a codec that the container cannot carry.
    pub left_out: u64,
    /// Segments dropped before their time, because of the limit of bytes: clients that still wanted them got 404.
    pub dropped: u64,
}

/// A publication that is on.
#[derive(Debug, Clone, Copy)]
struct Publication {
    id: u64,
    /// Milliseconds since 1970 at its first frame.
    wall: u64,
    /// Milliseconds of the stream's time at its first frame.
    first: Option<u64>,
}

/// Makes the segments of one stream. See the [module](super).
#[derive(Debug)]
pub struct Segmenter {
    pub(super) config: Config,
    pub(super) names: Names,
    pub(super) target: Option<u32>,
    /// Target duration of parts, in milliseconds, once it is settled.
    pub(super) part_target: Option<u64>,
    /// What it will be, since the stream's other qualities have it.
    agreed_part: Option<u64>,
    /// What the discontinuity sequence number of the next playlist is at least.
    agreed_discontinuities: u64,
    video: Lane,
    audio: Lane,
    /// True until the next key frame: pictures before it cannot be decoded.
    needs_key: bool,
    /// True if pictures stopped, and the sound goes on without them.
    video_gone: bool,
    /// When sound began to wait for a first picture.
    audio_waits: Option<u64>,
    publication: Option<Publication>,
    /// The newest timestamp as it came, and without its wraps.
    newest: Option<(u32, u64)>,
    pub(super) listed: VecDeque<Segment>,
    /// Segments that the playlist has listed, each with the value of `produced` at which it may go: clients may ask for
    /// what the oldest playlist that they have lists.
    retired: VecDeque<(u64, Segment)>,
    /// Duration of all segments so far, in microseconds.
    produced: u64,
    pub(super) open: Option<Open>,
    writer: Writer,
    /// The tracks of the newest init segment, and it.
    init: Option<(Vec<Track>, Arc<Init>)>,
    pub(super) next_number: u64,
    pub(super) discontinuity_sequence: u64,
    /// True if the next segment does not go on from the one before.
    breaks: bool,
    /// The stretch without discontinuity that the newest segment is in.
    period: Option<Period>,
    /// False once a segment began at a picture that is no key frame.
    pub(super) all_independent: bool,
    /// Where the newest segment ends, in microseconds of the stream's time.
    end: Option<u64>,
    /// True if the tracks changed: to be cut at the next key frame.
    changes: bool,
    /// Start of the newest group of pictures.
    newest_key: u64,
    /// The longest time between two frames of the first segment.
    longest_frame: u64,
    /// The longest group of pictures that is known from before, in microseconds.
    longest_group: u64,
    /// Milliseconds since 1970 at which the playlist ends.
    pub(super) hold_until: Option<u64>,
    pub(super) ended: bool,
    version: u64,
    stats: SegmenterStats,
    /// What is to be told of a limit of bytes that is too low, and whether that is told for this publication.
    shortage: Option<Shortage>,
    is_short: bool,
    /// A timestamp, and its date in milliseconds since 1970.
    dates: Option<(u32, u64)>,
}

impl Segmenter {
    /// A segmenter for the stream that `stream` identifies; its name and virtual host, for example. `now` is the time in
    /// milliseconds since 1970: the first sequence number is that in seconds, so that numbers do not fall over a restart.
    pub fn new(config: Config, key: NameKey, stream: &[u8], now: u64) -> Self {
        Segmenter {
            config,
            names: Names::new(key, stream),
            target: config.target.map(|target| target.clamp(1, 30)),
            part_target: None,
            agreed_part: None,
            agreed_discontinuities: 0,
            video: Lane::new(VIDEO_TRACK),
            audio: Lane::new(AUDIO_TRACK),
            needs_key: true,
            video_gone: false,
            audio_waits: None,
            publication: None,
            newest: None,
            listed: VecDeque::new(),
            retired: VecDeque::new(),
            produced: 0,
            open: None,
            writer: match config.container {
                Container::Fmp4 => Writer::Fmp4(0),
                Container::MpegTs => Writer::MpegTs(None),
            },
            init: None,
            next_number: now / 1000,
            discontinuity_sequence: now / 1000 % DISCONTINUITIES,
            breaks: false,
            period: None,
            all_independent: true,
            end: None,
            changes: false,
            newest_key: 0,
            longest_frame: 0,
            longest_group: 0,
            hold_until: None,
            ended: false,
            version: 0,
            stats: SegmenterStats::default(),
            shortage: None,
            is_short: false,
            dates: None,
        }
    }

    /// The same segmenter, in whose playlists names are in this folder: it comes before each name as it is.
    #[must_use]
    pub fn in_folder(mut self, folder: &str) -> Self {
        self.names.set_folder(folder);
        self
    }

    /// A publication begins; `id` tells it from others of the stream. `now` is the time in milliseconds since 1970 of its
    /// first frame: program date-times follow from it and from media time. A publication that has not ended ends.
    pub fn begin(&mut self, id: u64, now: u64) {
        if self.publication.is_some() {
            self.end(now);
        }
        if self.ended {
            // Clients of the old playlist have stopped. What comes is a new one, with higher numbers.
            let discontinuities = self.listed.iter().filter(|segment| segment.discontinuity).count() as u64;
            let next = self.discontinuity_sequence + discontinuities + 1;
            self.discontinuity_sequence = next.max(self.agreed_discontinuities);
            self.next_number = self.next_number.max(now / 1000);
            self.listed.clear();
            self.retired.clear();
            self.ended = false;
            (self.breaks, self.end, self.period, self.all_independent) = (false, None, None, true);
            self.version += 1;
        }
        self.hold_until = None;
        // The hint has a name of the publication.
        self.version += 1;
        self.publication = Some(Publication { id, wall: now, first: None });
        (self.is_short, self.dates) = (false, None);
        self.video.restart();
        self.audio.restart();
        (self.needs_key, self.video_gone, self.audio_waits) = (true, false, None);
    }

    /// The publication ends. The playlist stays open for [`Config::hold`].
    pub fn end(&mut self, now: u64) {
        if self.publication.is_none() {
            return;
        }
        self.flush();
        self.close_segment();
        self.publication = None;
        self.version += 1;
        self.breaks = !self.listed.is_empty();
        self.hold_until = Some(now.saturating_add(self.config.hold.as_millis() as u64));
    }

    /// The date of a timestamp of the publication, in milliseconds since 1970. It holds from the next jump of timestamps on:
    /// until then dates follow from that of the first frame.
    pub fn date(&mut self, timestamp: u32, date: u64) {
        self.dates = Some((timestamp, date));
    }

    /// The stream has had groups of pictures of this length, before what comes. Without a target duration in the settings it
    /// settles on no less, up to 10 seconds.
    pub fn expect_group(&mut self, length: Duration) {
        self.longest_group = length.as_micros() as u64;
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, in milliseconds since 1970.
    pub fn deadline(&self) -> Option<u64> {
        self.hold_until.filter(|_| !self.ended)
    }

    /// Time has passed. Returns true if the playlist has ended now.
    pub fn handle_timeout(&mut self, now: u64) -> bool {
        let ends = self.deadline().is_some_and(|deadline| deadline <= now);
        if ends {
            self.ended = true;
            self.version += 1;
        }
        ends
    }

    /// True once the playlist has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// True if the playlist ended so long ago that its clients have read that: three target durations.
    pub fn is_over(&self, now: u64) -> bool {
        let targets = 3000 * u64::from(self.target.unwrap_or(*AUTO.end()));
        self.ended && self.hold_until.is_some_and(|end| now >= end.saturating_add(targets))
    }

    /// A number that rises whenever the playlist changes: requests that wait are then to be
    /// [decided](Self::decide) again.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The target duration of segments, in seconds, once it is settled.
    pub fn target(&self) -> Option<u32> {
        self.target
    }

    /// True once the playlist has a segment.
    pub fn has_segments(&self) -> bool {
        !self.listed.is_empty()
    }

    /// The segments of the playlist with this sequence number or a later one.
    pub fn complete_from(&self, number: u64) -> impl Iterator<Item = Complete> + '_ {
        let content_type = self.content_type();
        self.listed.iter().filter(move |segment| segment.number >= number).map(move |segment| {
            let init = &segment.init;
            let init_name = || self.names.name(init.publication, Named::Init(init.number), "mp4");
            Complete {
                number: segment.number,
                publication: segment.publication,
                name: segment.name.to_string(),
                media: Media { pieces: segment.pieces(), length: segment.bytes(), content_type },
                init: (!init.bytes.is_empty()).then(|| (init_name(), init.bytes.clone())),
                duration: Duration::from_micros(segment.duration),
                wall: segment.wall,
                discontinuity: segment.discontinuity,
                target: self.target.unwrap_or(*AUTO.end()),
            }
        })
    }

    /// Totals.
    pub fn stats(&self) -> SegmenterStats {
        self.stats
    }

    /// Bytes that all segments take.
    pub fn bytes(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.bytes);
        self.listed.iter().chain(self.retired.iter().map(|(_, segment)| segment)).map(Segment::held).sum::<usize>()
            + open
    }

    /// A sequence header of one track, as [`flv::video_header_slots`](crate::flv::video_header_slots) and
    /// [`flv::audio_header_slots`](crate::flv::audio_header_slots) return it.
    pub fn header(&mut self, codec: Codec, track: u8, payload: &[u8]) {
        if !self.wants(codec, track) {
            return;
        }
        let container = self.config.container;
        if !self.lane(codec).probe().header(codec, payload, container) {
            return;
        }
        self.before_change(codec);
        self.lane(codec).header(codec, payload, container);
    }

    /// The next coded frame of one track; frames of tracks that do not go into the segments are ignored.
    pub fn push(&mut self, unit: AccessUnit) {
        if self.publication.is_none() || !self.wants(unit.codec, unit.track) {
            return;
        }
        let container = self.config.container;
        let lane = self.lane(unit.codec);
        if lane.is_to_look_at(&unit) {
            let mut probe = lane.probe();
            if probe.look_at(&unit, container) {
                self.before_change(unit.codec);
                self.lane(unit.codec).look_at(&unit, container);
            }
        }
        if !self.lane(unit.codec).fits(unit.codec) {
            self.stats.left_out += 1;
            return;
        }
        let before = self.newest;
        let milliseconds = self.unwrap(unit.timestamp);
        let is_back = |newest: u64| milliseconds.saturating_add(STEP_BACK) < newest;
        if before.is_some_and(|(_, before)| milliseconds > before + LONGEST_FRAME / 1000) {
            if self.video.newest.is_some() {
                self.skip_gap();
            }
            self.date_again(unit.timestamp, milliseconds, None);
        } else if self.lane(unit.codec).newest.is_some_and(is_back) {
            // The clock of the publisher was set back. The wall clock goes on.
            self.skip_gap();
            self.date_again(unit.timestamp, milliseconds, before);
        }
        if let Some(publication) = &mut self.publication {
            publication.first.get_or_insert(milliseconds);
        }
        match unit.codec {
            Codec::Video(_) => self.push_video(milliseconds, unit),
            Codec::Audio(_) => self.push_audio(milliseconds, unit),
        }
    }

    /// Timestamps have jumped, after the time `before` if they go on from there. What was known of their dates may not hold
    /// for them.
    fn date_again(&mut self, timestamp: u32, milliseconds: u64, before: Option<(u32, u64)>) {
        let Some(publication) = &mut self.publication else {
            return;
        };
        if let Some((of, date)) = self.dates {
            publication.wall = date.saturating_add_signed((timestamp.wrapping_sub(of) as i32).into());
        } else if let Some((_, before)) = before {
            publication.wall += before.saturating_sub(publication.first.unwrap_or(before));
        } else {
            return;
        }
        publication.first = Some(milliseconds);
    }

    fn push_video(&mut self, milliseconds: u64, unit: AccessUnit) {
        if self.needs_key && !unit.key {
            self.stats.left_out += 1;
            return;
        }
        if self.needs_key {
            (self.needs_key, self.video_gone, self.audio_waits) = (false, false, None);
            // Sound alone was here until now.
            if self.open.as_ref().is_some_and(|open| !open.clock_is_video) {
                self.flush();
                self.close_segment();
            }
        }
        let (decode_time, composition) = self.video.time(milliseconds, &unit);
        let next = Waiting { decode_time, composition, key: unit.key, payload: unit.payload };
        if let Some(waiting) = self.video.pending.take() {
            self.commit_clock(true, waiting, Some((next.decode_time, next.key)));
        }
        self.open_segment(true, self.video.micros(next.decode_time));
        self.video.pending = Some(next);
    }

    fn push_audio(&mut self, milliseconds: u64, unit: AccessUnit) {
        let clock_is_video = match &self.open {
            Some(open) => open.clock_is_video,
            None => self.video.track.is_some() && !self.video_gone,
        };
        let patience = u64::from(self.target.unwrap_or(*AUTO.start())) * 1000;
        if clock_is_video {
            let since = match self.video.newest {
                Some(newest) => newest,
                None => *self.audio_waits.get_or_insert(milliseconds),
            };
            if milliseconds > since.saturating_add(patience) {
                // No picture for long: the sound goes on alone.
                self.end_pictures();
                self.close_segment();
                (self.video_gone, self.needs_key, self.video.newest) = (true, true, None);
            } else if self.video.newest.is_none() {
                self.stats.left_out += 1;
                return;
            }
        }
        let clock_is_video = clock_is_video && !self.video_gone;
        let (decode_time, composition) = self.audio.time(milliseconds, &unit);
        let next = Waiting { decode_time, composition, key: true, payload: unit.payload };
        if let Some(waiting) = self.audio.pending.take() {
            if clock_is_video {
                self.commit_audio(waiting, next.decode_time);
            } else {
                self.commit_clock(false, waiting, Some((next.decode_time, true)));
            }
        }
        if !clock_is_video {
            self.open_segment(false, self.audio.micros(next.decode_time));
        }
        self.audio.pending = Some(next);
    }

    /// The last picture stands until the frame of sound that goes on without pictures.
    fn end_pictures(&mut self) {
        let Some(waiting) = self.video.pending.take() else {
            return;
        };
        let sound = self.audio.pending.as_ref().map(|sound| self.audio.micros(sound.decode_time));
        let estimate = waiting.decode_time + u64::from(self.video.estimate());
        let end = sound.map_or(0, |micros| micros / 1000 * u64::from(self.video.scale()) / 1000);
        self.commit_clock(true, waiting, Some((end.max(estimate), true)));
    }

    /// A frame of sound beside pictures, which ends at `end`.
    fn commit_audio(&mut self, waiting: Waiting, end: u64) {
        let longest = u64::from(self.audio.scale()) * LONGEST_FRAME / SECOND;
        let duration = end.saturating_sub(waiting.decode_time);
        let start = self.audio.micros(waiting.decode_time);
        // In the part that is open the frame lasts until the sound goes on, so that what follows keeps its time. Another
        // part would begin in the past with it.
        let is_late = duration > longest && self.open.as_ref().is_none_or(|open| start < open.part_start);
        let duration = u32::try_from(duration).unwrap_or(u32::MAX);
        let most = self.config.bytes / 2;
        match &mut self.open {
            Some(open) if open.takes_audio && open.bytes < most && !is_late => open.add(AUDIO_TRACK, waiting, duration),
            _ => self.stats.left_out += 1,
        }
    }

    /// A frame of the track that decides about cuts, with the time and kind of the next one, if it is known.
    fn commit_clock(&mut self, is_video: bool, waiting: Waiting, next: Option<(u64, bool)>) {
        let lane = if is_video { &self.video } else { &self.audio };
        let (id, estimate) = (lane.id, u64::from(lane.estimate()));
        let start = lane.micros(waiting.decode_time);
        let frame = lane.micros(estimate);
        // The longest frame that a segment can have.
        let longest = u64::from(self.target.unwrap_or(*AUTO.start())) * SECOND + ROUNDING;
        let end_time = next.map_or(waiting.decode_time + estimate, |(time, _)| time);
        let is_gap = lane.micros(end_time).saturating_sub(start) > longest;
        let end_time = if is_gap { waiting.decode_time + estimate } else { end_time };
        let end = lane.micros(end_time);
        let duration = u32::try_from(end_time - waiting.decode_time).unwrap_or(u32::MAX);
        if waiting.key {
            self.newest_key = start;
        }

        let limit = u64::from(self.target.unwrap_or(*AUTO.end())) * SECOND + ROUNDING;
        let too_large = self.config.bytes / 2;
        // The sound that came while a picture stood belongs beside it, and not into what ends before it.
        let mut sound = Vec::new();
        if let Some(open) = self.open.as_mut().filter(|open| open.has_samples()) {
            let is_over = end - open.start > limit || open.bytes.saturating_add(waiting.payload.len()) > too_large;
            if is_over {
                sound = open.take_sound_from(start, self.audio.scale());
                self.stats.forced_cuts += u64::from(!waiting.key);
                self.close_segment();
            } else if let Some(target) = self.part_target
                && open.part_has_samples()
                && end - open.part_start > target * 1000
                && end - start <= target * 1000
            {
                self.stats.short_parts += u64::from((open.end - open.part_start) * 100 < target * 1000 * 85);
                self.close_part();
            }
        }
        if !is_gap && next.is_some() && end - start <= LONGEST_FRAME {
            self.longest_frame = self.longest_frame.max(end - start);
        }
        self.open_segment(is_video, start);
        let Some(open) = &mut self.open else {
            return;
        };
        open.put_sound(sound);
        open.add_clock(id, waiting, duration, end);
        self.cut_long_frame();
        let Some(open) = &self.open else {
            return;
        };
        let (so_far, part) = (open.end - open.start, open.end - open.part_start);
        if is_gap {
            self.stats.gaps += 1;
            self.close_segment();
            self.breaks = true;
        } else if let Some((_, next_is_key)) = next {
            let group = end - self.newest_key;
            if next_is_key && self.is_long_enough(so_far, group) {
                self.close_segment();
            } else if so_far + frame > limit {
                self.stats.forced_cuts += u64::from(!next_is_key);
                self.close_segment();
            } else if let Some(target) = self.part_target
                && part + frame > target * 1000
                && part * 100 >= target * 1000 * 85
            {
                self.close_part();
            }
        }
    }

    /// Cuts parts within a frame that is longer than a part may be. The later ones have the sound of their time.
    fn cut_long_frame(&mut self) {
        let Some(target) = self.part_target.map(|target| target * 1000) else {
            return;
        };
        while let Some(open) = self.open.as_mut().filter(|open| open.end - open.part_start > target) {
            let (end, cut) = (open.end, open.part_start + target);
            let sound = open.take_sound_from(cut, self.audio.scale());
            open.end = cut;
            self.close_part();
            if let Some(open) = &mut self.open {
                open.go_on_until(end);
                open.put_sound(sound);
            }
        }
    }

    /// True if a segment of `so_far` is to be cut at a key frame, behind a group of pictures of the length `group`.
    fn is_long_enough(&mut self, so_far: u64, group: u64) -> bool {
        if self.listed.is_empty() || self.changes {
            // The sooner the first segment is there, the sooner players can begin.
            return so_far >= SECOND || self.changes;
        }
        let target = u64::from(self.target.unwrap_or(*AUTO.start())) * SECOND;
        so_far + group > target + (group / 2).min(ROUNDING)
    }

    fn open_segment(&mut self, clock_is_video: bool, start: u64) {
        let Some(publication) = self.publication.filter(|_| self.open.is_none()) else {
            return;
        };
        let first = publication.first.unwrap_or(0);
        // Times may go back behind the first one.
        let wall = publication.wall.saturating_add(start / 1000).saturating_sub(first);
        let mut open = Open::new(self.next_number, publication.id, start, wall, clock_is_video);
        // A frame whose successor was not known ended at an estimate.
        let goes_on = self.end.is_none_or(|end| start.abs_diff(end) <= TOLERANCE);
        open.discontinuity = std::mem::take(&mut self.breaks) || !goes_on;
        self.changes = false;
        self.next_number += 1;
        self.open = Some(open);
    }

    /// Decides which tracks the segment has: those of which there are frames now.
    fn settle_init(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| open.init.is_none()) else {
            return;
        };
        let has_paused = |waiting: &Waiting| self.audio.micros(waiting.decode_time) + LONGEST_FRAME < open.start;
        if open.clock_is_video && self.audio.pending.as_ref().is_some_and(has_paused) {
            // A track without samples would stop players.
            self.audio.pending = None;
            self.stats.left_out += 1;
        }
        let has = |lane: &Lane| open.has_track(lane.id) || lane.pending.is_some();
        let with_video = open.clock_is_video;
        let tracks: Vec<Track> = [(&self.video, with_video), (&self.audio, open.takes_audio)]
            .into_iter()
            .filter(|(lane, wanted)| *wanted && has(lane))
            .filter_map(|(lane, _)| lane.track.clone())
            .collect();
        if let Some((known, init)) = &self.init
            && *known == tracks
        {
            open.init = Some(init.clone());
            return;
        }
        open.discontinuity |= !self.listed.is_empty();
        let refs: Vec<_> = tracks.iter().collect();
        let mut bytes = Vec::new();
        let mut alone = Vec::new();
        match &mut self.writer {
            Writer::Fmp4(_) => {
                // Tracks that were chosen here have separate numbers; without a track there is no sample.
                let _: Result<(), fmp4::Fmp4Error> = fmp4::write_init(&refs, &mut bytes);
                for track in &tracks {
                    let mut bytes = Vec::new();
                    let _: Result<(), fmp4::Fmp4Error> = fmp4::write_init(&[track], &mut bytes);
                    alone.push(TrackInit { track: track.clone(), bytes: bytes.into() });
                }
            }
            Writer::MpegTs(muxer) => {
                let configs: Vec<_> = tracks.iter().map(|track| track.config.clone()).collect();
                *muxer = Muxer::new(&configs).ok();
            }
        }
        let codecs: Vec<_> = tracks.iter().map(|track| track.config.codec_string()).collect();
        let size = tracks.iter().find_map(|track| match &track.config {
            TrackConfig::Video(video) => video.size(),
            TrackConfig::Audio(_) => None,
        });
        let number = self.init.as_ref().map_or(0, |(_, init)| init.number + 1);
        let has_video = tracks.iter().any(|track| track.config.is_video());
        let bytes = Bytes::from(bytes);
        let (publication, codecs) = (open.publication, codecs.join(","));
        let init = Arc::new(Init { number, publication, bytes, codecs, size, has_video, tracks: alone });
        open.init = Some(init.clone());
        self.init = Some((tracks, init));
    }

    /// Nothing came of any track for long: what comes does not go on from what was.
    fn skip_gap(&mut self) {
        self.flush();
        self.close_segment();
        self.breaks = !self.listed.is_empty();
        self.stats.gaps += 1;
        self.video.restart();
        self.audio.restart();
        (self.needs_key, self.audio_waits) = (true, None);
    }

    /// Ends the frames that wait for a successor.
    fn flush(&mut self) {
        let alive = self.video.track.is_some() && !self.video_gone;
        let clock_is_video = self.open.as_ref().map_or(alive, |open| open.clock_is_video);
        if clock_is_video && let Some(waiting) = self.video.pending.take() {
            self.commit_clock(true, waiting, None);
        }
        if let Some(waiting) = self.audio.pending.take() {
            if clock_is_video {
                let end = waiting.decode_time + u64::from(self.audio.estimate());
                self.commit_audio(waiting, end);
            } else {
                self.commit_clock(false, waiting, None);
            }
        }
    }

    /// The configuration of a track changes: what came before ends.
    fn before_change(&mut self, codec: Codec) {
        let is_video = matches!(codec, Codec::Video(_));
        let is_clock = self.open.as_ref().is_some_and(|open| open.clock_is_video == is_video);
        if is_clock || self.open.is_none() {
            self.flush();
            self.close_segment();
        } else if !is_video {
            if let Some(waiting) = self.audio.pending.take() {
                let end = waiting.decode_time + u64::from(self.audio.estimate());
                self.commit_audio(waiting, end);
            }
            if let Some(open) = self.open.as_mut().filter(|_| self.audio.track.is_some()) {
                open.takes_audio = false;
                self.changes = true;
            }
        }
        if is_video {
            self.needs_key = true;
            // Sound alone goes on until the first picture.
            self.video_gone |= self.open.is_some();
        }
    }

    fn wants(&self, codec: Codec, track: u8) -> bool {
        match codec {
            Codec::Video(_) => self.config.video == Some(track),
            Codec::Audio(_) => self.config.audio == Some(track),
        }
    }

    fn lane(&mut self, codec: Codec) -> &mut Lane {
        match codec {
            Codec::Video(_) => &mut self.video,
            Codec::Audio(_) => &mut self.audio,
        }
    }

    /// The stream's time without the wraps of 32 bits.
    fn unwrap(&mut self, timestamp: u32) -> u64 {
        let time = match self.newest {
            None => timestamp.into(),
            Some((newest, time)) => time.saturating_add_signed((timestamp.wrapping_sub(newest) as i32).into()),
        };
        self.newest = Some((timestamp, time));
        time
    }

    pub(super) fn newest_init(&self) -> Option<&Arc<Init>> {
        self.listed.back().map(|segment| &segment.init)
    }
}
