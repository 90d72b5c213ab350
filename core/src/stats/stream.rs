use std::sync::Arc;
use std::time::{Duration, Instant};

use super::number::{Number, OptionalNumber, ago, milliseconds_since};
use super::rate::{Rate, Throughput};
use super::track::{AudioDescription, Tracks, VideoDescription};
use crate::flv::{AudioCodec, FrameClass, VideoCodec};
use crate::source::{Frame, FrameKind};

/// A larger step in milliseconds, forward or back, between two frames of one kind is a jump. Timestamps that are
/// presentation times go back by less.
const LONGEST_STEP: u32 = 1000;

/// Counts the frames of one stream. Only the publisher's connection writes it; all other code reads a
/// [view](Self::view).
///
/// A frame costs a few plain stores. Only sequence headers, and the first coded frame of each medium, are parsed.
#[derive(Debug)]
pub struct StreamStats {
    shared: Arc<Shared>,
    audio: Clock,
    video: Clock,
    gop: Option<Gop>,
    intervals: Sum,
}

/// Reads the statistics of a stream.
#[derive(Debug, Clone)]
pub struct StreamStatsView {
    shared: Arc<Shared>,
}

/// The statistics of a stream at one time. Two of the numbers may differ by one frame.
///
/// Totals, rates and jumps continue from one publisher to the next; codecs, key frame intervals and timestamps are
/// those of the latest publisher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamSnapshot {
    /// Bytes of all messages in the form that players get, chunk headers included.
    pub bytes: u64,
    /// Audio, video and data messages, headers included.
    pub messages: u64,
    /// Coded audio frames.
    pub audio_frames: u64,
    /// Coded video frames of all tracks.
    pub video_frames: u64,
    /// Video frames a player can start at.
    pub key_frames: u64,
    /// The intervals between such frames.
    pub key_frame_intervals: KeyFrameIntervals,
    /// Bytes of the largest message.
    pub largest_message: u64,
    /// The video, if the stream has video.
    pub video: Option<VideoDescription>,
    /// The audio, if the stream has audio.
    pub audio: Option<AudioDescription>,
    /// Bytes of video messages, and coded video frames.
    pub video_rate: Throughput,
    /// Bytes of audio messages, and coded audio frames.
    pub audio_rate: Throughput,
    /// Bytes of all messages, and coded frames.
    pub rate: Throughput,
    /// Timestamp of the first coded frame, in milliseconds modulo 2^32.
    pub first_timestamp: Option<u32>,
    /// Timestamp of the newest coded frame, in milliseconds modulo 2^32.
    pub last_timestamp: Option<u32>,
    /// Coded frames whose timestamp differs by more than a second from that of the previous frame of their kind.
    pub jumps: u64,
    /// Time since the newest message.
    pub idle: Option<Duration>,
}

/// Intervals from one key frame to the next. An interval that contains a jump is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyFrameIntervals {
    /// Number of intervals counted.
    pub count: u64,
    /// The newest interval.
    pub last: Option<Interval>,
    /// The mean interval, rounded down.
    pub mean: Option<Interval>,
    /// The longest in milliseconds, and the longest in frames.
    pub max: Option<Interval>,
}

/// From one key frame to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Milliseconds in stream time.
    pub milliseconds: u32,
    /// Coded video messages, the first key frame included.
    pub frames: u32,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    bytes: Number,
    messages: Number,
    audio_frames: Number,
    video_frames: Number,
    key_frames: Number,
    largest_message: Number,
    intervals: Number,
    last_interval: IntervalNumber,
    mean_interval: IntervalNumber,
    max_interval: IntervalNumber,
    first_timestamp: OptionalNumber,
    last_timestamp: OptionalNumber,
    jumps: Number,
    /// Milliseconds from the origin to the newest message.
    newest: OptionalNumber,
    video_rate: Rate,
    audio_rate: Rate,
    data_rate: Rate,
    tracks: Tracks,
}

/// One medium's time.
#[derive(Debug, Default)]
struct Clock {
    last: Option<u32>,
    /// True after a coded frame was parsed.
    described: bool,
}

/// The frames since the newest key frame.
#[derive(Debug)]
struct Gop {
    timestamp: u32,
    frames: u32,
}

#[derive(Debug, Default)]
struct Sum {
    count: u64,
    milliseconds: u64,
    frames: u64,
    max: Option<Interval>,
}

impl StreamStats {
    /// The statistics of a new stream.
    pub fn new(now: Instant) -> Self {
        let shared = Shared {
            origin: now,
            bytes: Number::default(),
            messages: Number::default(),
            audio_frames: Number::default(),
            video_frames: Number::default(),
            key_frames: Number::default(),
            largest_message: Number::default(),
            intervals: Number::default(),
            last_interval: IntervalNumber::default(),
            mean_interval: IntervalNumber::default(),
            max_interval: IntervalNumber::default(),
            first_timestamp: OptionalNumber::default(),
            last_timestamp: OptionalNumber::default(),
            jumps: Number::default(),
            newest: OptionalNumber::default(),
            video_rate: Rate::new(now),
            audio_rate: Rate::new(now),
            data_rate: Rate::new(now),
            tracks: Tracks::default(),
        };
        StreamStats {
            shared: Arc::new(shared),
            audio: Clock::default(),
            video: Clock::default(),
            gop: None,
            intervals: Sum::default(),
        }
    }

    /// A view for readers.
    pub fn view(&self) -> StreamStatsView {
        StreamStatsView { shared: self.shared.clone() }
    }

    /// A publisher begins: codecs, key frame intervals and timestamps of the previous publisher are void. The time
    /// between the two publishers is not a jump.
    pub fn begin(&mut self) {
        self.audio = Clock::default();
        self.video = Clock::default();
        self.gop = None;
        self.intervals = Sum::default();
        let shared = &*self.shared;
        shared.tracks.clear();
        shared.intervals.set(0);
        shared.last_interval.set(None);
        shared.mean_interval.set(None);
        shared.max_interval.set(None);
        shared.first_timestamp.set(None);
        shared.last_timestamp.set(None);
    }

    /// Counts a frame that is pushed to the stream.
    pub fn record(&mut self, now: Instant, frame: &Frame) {
        let (kind, class) = (frame.kind(), frame.class());
        let coded = class.is_coded() && kind != FrameKind::Data;
        let bytes = frame.wire().len() as u64;
        let shared = &*self.shared;
        shared.bytes.add(bytes);
        shared.messages.add(1);
        shared.largest_message.raise(bytes);
        shared.newest.set(Some(milliseconds_since(shared.origin, now)));
        let rate = match kind {
            FrameKind::Video => &shared.video_rate,
            FrameKind::Audio => &shared.audio_rate,
            FrameKind::Data => &shared.data_rate,
        };
        rate.record(now, bytes, u32::from(coded));
        if coded {
            self.record_coded(frame);
        } else if matches!(class, FrameClass::SequenceHeader | FrameClass::SequenceEnd) {
            shared.tracks.apply_header(kind, &frame.payload());
        }
    }

    fn record_coded(&mut self, frame: &Frame) {
        let (kind, timestamp) = (frame.kind(), frame.timestamp());
        let shared = &*self.shared;
        let (clock, count) = match kind {
            FrameKind::Video => (&mut self.video, &shared.video_frames),
            _ => (&mut self.audio, &shared.audio_frames),
        };
        count.add(1);
        let jumped = clock.step(timestamp);
        shared.jumps.add(u64::from(jumped));
        if !clock.described {
            clock.described = true;
            shared.tracks.apply_frame(kind, &frame.payload());
        }
        if shared.first_timestamp.read().is_none() {
            shared.first_timestamp.set(Some(u64::from(timestamp)));
        }
        shared.last_timestamp.set(Some(u64::from(timestamp)));
        if kind == FrameKind::Video {
            if jumped {
                self.gop = None;
            }
            self.record_video(frame);
        }
    }

    fn record_video(&mut self, frame: &Frame) {
        if frame.is_join_point() {
            let timestamp = frame.timestamp();
            self.shared.key_frames.add(1);
            if let Some(gop) = self.gop.replace(Gop { timestamp, frames: 0 }) {
                let milliseconds = timestamp.wrapping_sub(gop.timestamp);
                if milliseconds <= i32::MAX as u32 {
                    self.record_interval(Interval { milliseconds, frames: gop.frames });
                }
            }
        }
        if let Some(gop) = &mut self.gop {
            gop.frames = gop.frames.saturating_add(1);
        }
    }

    fn record_interval(&mut self, interval: Interval) {
        self.intervals.add(interval);
        let shared = &*self.shared;
        shared.last_interval.set(Some(interval));
        // The mean, not the sums: a reader could divide a sum by a count of another time.
        shared.mean_interval.set(self.intervals.mean());
        shared.max_interval.set(self.intervals.max);
        shared.intervals.set(self.intervals.count);
    }
}

impl StreamStatsView {
    /// The codecs of the default tracks, as far as they are known.
    pub(crate) fn codecs(&self) -> (Option<VideoCodec>, Option<AudioCodec>) {
        let tracks = self.shared.tracks.read();
        (tracks.video.map(|video| video.codec), tracks.audio.map(|audio| audio.codec))
    }

    /// Milliseconds of the longest interval between key frames.
    pub(crate) fn longest_group(&self) -> Option<u32> {
        self.shared.max_interval.read().map(|interval| interval.milliseconds)
    }

    /// The statistics now. Cheap; the publisher's frames never wait for it.
    pub fn snapshot(&self, now: Instant) -> StreamSnapshot {
        let shared = &*self.shared;
        let tracks = shared.tracks.read();
        let timestamp = |number: &OptionalNumber| number.read().and_then(|value| u32::try_from(value).ok());
        let video_rate = shared.video_rate.throughput(now);
        let audio_rate = shared.audio_rate.throughput(now);
        let mut rate = shared.data_rate.throughput(now);
        rate += video_rate;
        rate += audio_rate;
        StreamSnapshot {
            bytes: shared.bytes.read(),
            messages: shared.messages.read(),
            audio_frames: shared.audio_frames.read(),
            video_frames: shared.video_frames.read(),
            key_frames: shared.key_frames.read(),
            largest_message: shared.largest_message.read(),
            key_frame_intervals: KeyFrameIntervals {
                count: shared.intervals.read(),
                last: shared.last_interval.read(),
                mean: shared.mean_interval.read(),
                max: shared.max_interval.read(),
            },
            video: tracks.video,
            audio: tracks.audio,
            video_rate,
            audio_rate,
            rate,
            first_timestamp: timestamp(&shared.first_timestamp),
            last_timestamp: timestamp(&shared.last_timestamp),
            jumps: shared.jumps.read(),
            idle: shared.newest.read().map(|newest| ago(shared.origin, newest, now)),
        }
    }
}

impl Clock {
    /// True if the time jumped.
    fn step(&mut self, timestamp: u32) -> bool {
        let last = self.last.replace(timestamp);
        last.is_some_and(|last| timestamp.wrapping_sub(last).min(last.wrapping_sub(timestamp)) > LONGEST_STEP)
    }
}

impl Sum {
    fn add(&mut self, interval: Interval) {
        self.count += 1;
        self.milliseconds += u64::from(interval.milliseconds);
        self.frames += u64::from(interval.frames);
        let max = self.max.get_or_insert(interval);
        max.milliseconds = max.milliseconds.max(interval.milliseconds);
        max.frames = max.frames.max(interval.frames);
    }

    fn mean(&self) -> Option<Interval> {
        let mean = |sum: u64| u32::try_from(sum.checked_div(self.count)?).ok();
        Some(Interval { milliseconds: mean(self.milliseconds)?, frames: mean(self.frames)? })
    }
}

/// An interval in one number, so that a reader gets all of it. 0 frames mean no interval: every interval has at least
/// its key frame.
#[derive(Debug, Default)]
struct IntervalNumber(Number);

impl IntervalNumber {
    fn set(&self, interval: Option<Interval>) {
        let packed = |interval: Interval| u64::from(interval.frames) << 32 | u64::from(interval.milliseconds);
        self.0.set(interval.map_or(0, packed));
    }

    fn read(&self) -> Option<Interval> {
        let packed = self.0.read();
        let frames = (packed >> 32) as u32;
        (frames > 0).then_some(Interval { milliseconds: (packed & 0xffff_ffff) as u32, frames })
    }
}

#[cfg(test)]
mod tests;
