use std::time::{Duration, Instant};

use super::FrameKind;

/// How a publisher's timestamps are changed for players.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// Jumps, rollbacks and restarts of an encoder are corrected, and audio and video stay together. Timestamps without
    /// these pass unchanged, however far apart audio and video arrive. So do timestamps that go up and down a little:
    /// some encoders send the time of presentation.
    #[default]
    Monotonic,
    /// All timestamps pass as the publisher sent them: for absolute time.
    Pass,
}

/// How far, in milliseconds, time may step back within a medium before it counts as a rollback. It may step back
/// further, up to `MAX_REORDER`, if it stepped as far ahead just before: encoders send pictures in the order of
/// decoding with their times of presentation.
const MAX_STEP_BACK: i64 = 1_000;
const MAX_REORDER: i64 = 10_000;
/// How far, in milliseconds, a medium may get ahead of real time before it counts as a jump; further if its frames are
/// further apart. It is measured from the furthest that the stream was ahead, so any number of delayed frames that
/// arrive at once is no jump.
const MAX_STEP_AHEAD: i64 = 3_000;
/// How far, in milliseconds, a medium that begins may lie ahead of the other one, or get ahead of real time with its
/// first `FEW` frames, while their distance is not known yet.
const MAX_SKEW: i64 = 15_000;
const FEW: u8 = 3;
/// How far, in milliseconds, a medium that begins may lie behind the other one, because its first frames were delayed.
const MAX_DELAY: i64 = 600_000;
/// Two media that are at most this far apart, in milliseconds, count as interleaved.
const INTERLEAVED: i64 = 1_000;
/// How far, in milliseconds, a step may differ from the real time that passed and still count as usual.
const JITTER: i64 = 500;
/// How long after a jump frames from before the jump may still arrive.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// A medium that sent nothing for this long takes the offset of the other one, if that has jumped since.
const SILENT: Duration = Duration::from_secs(3);
/// The expected time of the stream runs slower than real time by one part in `DRIFT`, more than clocks differ.
const DRIFT: i64 = 1_000;

/// Maps a publisher's timestamps to those of the stream. All times are in milliseconds, modulo 2^32.
///
/// Each medium is judged by its own last frame, because audio and video of the same moment may arrive far apart:
/// encoders look ahead, and uplinks are delayed. The offset that is added to timestamps is the same for both media. A
/// medium that jumps gets another offset, and the other one keeps the old offset until it has jumped as well. If it
/// never jumps, the offsets stay different, and the media stay in step by their arrival.
#[derive(Debug, Clone)]
pub struct Timeline {
    mode: Timestamps,
    audio: Track,
    video: Track,
    jump: Option<Jump>,
    /// The time of the stream, and its arrival, when it was furthest ahead of real time.
    edge: Option<(u32, Instant)>,
    /// When the first coded frame came.
    begun: Option<Instant>,
    /// The newest time of the stream, at the beginning that of the publisher before, and when the last coded frame
    /// came.
    newest: Option<(u32, Instant)>,
    /// The time of the last coded frame.
    last: u32,
    /// The end of the publisher before, while frames may still lie before it.
    floor: Option<u32>,
}

/// One medium.
#[derive(Debug, Clone, Default)]
struct Track {
    /// The offset that is added to the publisher's time, and since when.
    offset: Option<(u32, Instant)>,
    last: Option<Last>,
    /// The latest step that was unusual and within the bounds: when it was, and by how much it was off.
    odd: Option<(Instant, i64)>,
}

/// The latest jump. Frames that were sent before it and arrive after it keep the old offset.
#[derive(Debug, Clone, Copy)]
struct Jump {
    at: Instant,
    /// The offset before the jump, and the last time with it.
    before: u32,
    last: u32,
    /// The offset after the jump.
    after: u32,
}

/// Where a medium is, in the stream's time.
#[derive(Debug, Clone, Copy)]
struct Last {
    time: u32,
    at: Instant,
    /// Its highest time, and the step that led there.
    newest: u32,
    leap: i64,
    /// Frames so far, up to `FEW`.
    frames: u8,
}

impl Last {
    fn waited(&self, now: Instant) -> i64 {
        milliseconds(now.saturating_duration_since(self.at))
    }

    /// By how much a step to `time` differs from what real time allows: negative if it goes back, positive if it is
    /// longer than the time that passed.
    fn deviation(&self, now: Instant, time: u32) -> i64 {
        let step = step(self.time, time);
        if step < 0 { step } else { (step - self.waited(now)).max(0) }
    }

    /// How far it may get ahead of real time: several pictures that are far apart may come at once.
    fn furthest_ahead(&self) -> i64 {
        if self.frames < FEW { MAX_SKEW } else { (self.leap + self.leap / 4).clamp(MAX_STEP_AHEAD, MAX_SKEW) }
    }

    fn goes_back(&self, time: u32) -> bool {
        step(self.newest, time) < -self.leap.clamp(MAX_STEP_BACK, MAX_REORDER)
    }
}

impl Timeline {
    /// The furthest that time may step back within a medium, in milliseconds: after an equal step ahead, or around a
    /// jump.
    pub const FURTHEST_BACK: u32 = MAX_REORDER as u32;

    /// The timeline of a stream's first publisher.
    pub fn new(mode: Timestamps) -> Self {
        Timeline {
            mode,
            audio: Track::default(),
            video: Track::default(),
            jump: None,
            edge: None,
            begun: None,
            newest: None,
            last: 0,
            floor: None,
        }
    }

    /// The timeline of a next publisher. The stream's last frame had `timestamp` and came at `time`; the publisher
    /// begins after it by the real time that passes between.
    pub fn resuming(mode: Timestamps, timestamp: u32, time: Instant) -> Self {
        Timeline { newest: Some((timestamp, time)), floor: Some(timestamp), ..Timeline::new(mode) }
    }

    /// Returns the stream's time for a frame that the publisher sent with `timestamp`. `coded` is false for headers,
    /// data and ends of sequence: their time is often meaningless, such as 0 among frames with other times, and does
    /// not change the timeline. If it is not near the last coded frame, they get the time of that frame.
    pub fn map(&mut self, now: Instant, kind: FrameKind, coded: bool, timestamp: u32) -> u32 {
        match self.mode {
            Timestamps::Pass => timestamp,
            Timestamps::Monotonic if coded && kind != FrameKind::Data => self.map_coded(now, kind, timestamp),
            Timestamps::Monotonic => self.map_uncoded(now, kind, timestamp),
        }
    }

    fn map_uncoded(&self, now: Instant, kind: FrameKind, timestamp: u32) -> u32 {
        let offset = self.track(kind).offset.or(self.audio.offset).or(self.video.offset);
        match (offset, self.newest) {
            (Some((offset, _)), _) => {
                let time = timestamp.wrapping_add(offset);
                let last = self.track(kind).last.map_or(self.last, |last| last.time);
                if step(last, time).abs() <= INTERLEAVED { time } else { self.last }
            }
            // Not before the end of the publisher before.
            (None, Some(_)) => self.present(now),
            (None, None) => timestamp,
        }
    }

    fn map_coded(&mut self, now: Instant, kind: FrameKind, timestamp: u32) -> u32 {
        let known = self.offset_for(now, kind, timestamp);
        let offset = known.unwrap_or_else(|| self.jump(now, kind, timestamp));
        let time = self.not_before_predecessor(timestamp.wrapping_add(offset));
        self.begun.get_or_insert(now);
        if self.ahead(now, time).is_none_or(|ahead| ahead > 0) {
            self.edge = Some((time, now));
        }
        let newest = self.newest.filter(|(newest, _)| step(*newest, time) <= 0).map_or(time, |(newest, _)| newest);
        self.newest = Some((newest, now));
        self.last = time;
        let track = self.track_mut(kind);
        track.offset = track.offset.filter(|(own, _)| *own == offset).or(Some((offset, now)));
        track.last = Some(match track.last {
            Some(last) if known.is_some() => {
                let deviation = last.deviation(now, time);
                if deviation.abs() > JITTER {
                    track.odd = Some((now, deviation));
                }
                let leap = step(last.newest, time);
                let (newest, leap) = if leap > 0 { (time, leap) } else { (last.newest, last.leap) };
                Last { time, at: now, newest, leap, frames: FEW.min(last.frames + 1) }
            }
            last => Last { time, at: now, newest: time, leap: 0, frames: last.map_or(1, |last| last.frames) },
        });
        time
    }

    /// The offset with which a frame continues its medium; `None` if time has jumped.
    fn offset_for(&mut self, now: Instant, kind: FrameKind, timestamp: u32) -> Option<u32> {
        let (track, other) = match kind {
            FrameKind::Audio => (&self.audio, &self.video),
            _ => (&self.video, &self.audio),
        };
        let rated = |(offset, since): (u32, Instant)| {
            let time = timestamp.wrapping_add(offset);
            Some((offset, since, self.deviation(now, track, time)?))
        };
        let own = track.offset.and_then(rated);
        let others = other.offset.filter(|(offset, _)| track.offset.is_none_or(|(own, _)| own != *offset));
        let others = others.and_then(rated);
        let chosen = match (own, others) {
            (Some((own, _, deviation)), Some((others, since, other_deviation))) => {
                // The other medium has jumped while this one was silent.
                let silent =
                    track.last.is_some_and(|last| since > last.at && now.saturating_duration_since(last.at) >= SILENT);
                let nearer = deviation.abs() > JITTER && other_deviation.abs() < deviation.abs();
                Some(if silent || nearer { others } else { own })
            }
            (own, others) => own.or(others).map(|(offset, ..)| offset),
        };
        chosen.or_else(|| self.straggles(now, track, timestamp)).or_else(|| self.follows_odd_step(now, kind, timestamp))
    }

    /// By how much a frame of a medium at `time` differs from what is usual; `None` if it is beyond the bounds.
    fn deviation(&self, now: Instant, track: &Track, time: u32) -> Option<i64> {
        let ahead = self.ahead(now, time)?;
        match &track.last {
            Some(last) => (!last.goes_back(time) && ahead <= last.furthest_ahead()).then(|| last.deviation(now, time)),
            None => {
                let age = self.begun.map_or(0, |begun| milliseconds(now.saturating_duration_since(begun)));
                let delay = (age + MAX_SKEW).min(MAX_DELAY);
                (-delay..=MAX_SKEW).contains(&ahead).then_some(0)
            }
        }
    }

    /// The offset before the last jump if the frame was sent before it, or the offset after the jump if it fits that.
    fn straggles(&self, now: Instant, track: &Track, timestamp: u32) -> Option<u32> {
        let jump = self.jump.filter(|jump| now.saturating_duration_since(jump.at) < STRAGGLERS)?;
        let time = timestamp.wrapping_add(jump.before);
        let near = track.last.is_none_or(|last| step(last.newest, time) >= -MAX_REORDER);
        if near && (-MAX_STEP_BACK..=MAX_STEP_AHEAD).contains(&step(jump.last, time)) {
            return Some(jump.before);
        }
        self.deviation(now, track, timestamp.wrapping_add(jump.after)).map(|_| jump.after)
    }

    /// The present offset, if the other medium has just made about the same step and that step was within its bounds.
    fn follows_odd_step(&mut self, now: Instant, kind: FrameKind, timestamp: u32) -> Option<u32> {
        let (offset, _) = self.track(kind).offset?;
        let (time, last) = (timestamp.wrapping_add(offset), self.track(kind).last?);
        let deviation = last.deviation(now, time);
        let other = match kind {
            FrameKind::Audio => &mut self.video,
            _ => &mut self.audio,
        };
        let (_, odd) = other.odd.filter(|(at, _)| now.saturating_duration_since(*at) < STRAGGLERS)?;
        let near = (deviation - odd).abs() <= JITTER && step(last.newest, time) >= -MAX_REORDER;
        let follows = near && other.offset.is_some_and(|(others, _)| others == offset);
        // Only once, so that the two media cannot make each other drift.
        if follows {
            other.odd = None;
        }
        follows.then_some(offset)
    }

    /// The offset of a medium that has jumped.
    fn jump(&mut self, now: Instant, kind: FrameKind, timestamp: u32) -> u32 {
        let after = self.continuation(now, kind).map_or(0, |time| time.wrapping_sub(timestamp));
        // If the media have different offsets, the old offset is the one from before the newer jump.
        let place = |track: &Track| Some((track.offset?, track.last?.time));
        let (own, other) = match kind {
            FrameKind::Audio => (place(&self.audio), place(&self.video)),
            _ => (place(&self.video), place(&self.audio)),
        };
        let newest = self.jump.map(|jump| jump.after);
        let newer = other.filter(|((offset, _), _)| own.is_none() || newest == Some(*offset));
        if let Some(((before, _), last)) = newer.or(own) {
            let same = [own, other].into_iter().flatten().filter(|((offset, _), _)| *offset == before);
            let last = same.fold(last, |last, (_, time)| if step(last, time) > 0 { time } else { last });
            self.jump = Some(Jump { at: now, before, last, after });
        }
        after
    }

    /// The time at which a medium continues after a jump. `None` for the very first frame, which passes as it is.
    fn continuation(&self, now: Instant, kind: FrameKind) -> Option<u32> {
        self.newest?;
        let present = self.present(now);
        let Some(last) = self.track(kind).last else {
            return Some(present);
        };
        // Each medium continues from its own last time. If the media are interleaved, it continues no earlier than the
        // newest time that was sent.
        let own = last.newest.wrapping_add(last.waited(now).max(1) as u32);
        // Either medium may be a little later than the other one.
        let interleaved = step(own, present).abs() <= INTERLEAVED;
        Some(if interleaved && step(own, present) > 0 { present } else { own })
    }

    /// The time of the stream now, by its newest time and the real time since.
    fn present(&self, now: Instant) -> u32 {
        self.newest.map_or(0, |(newest, at)| {
            newest.wrapping_add(milliseconds(now.saturating_duration_since(at)).max(1) as u32)
        })
    }

    /// How far a time of the stream lies ahead of the expected time of the stream.
    fn ahead(&self, now: Instant, time: u32) -> Option<i64> {
        let (edge, at) = self.edge?;
        let elapsed = milliseconds(now.saturating_duration_since(at));
        Some(step(edge.wrapping_add((elapsed - elapsed / DRIFT) as u32), time))
    }

    /// Frames that a next publisher sends out of order get no time before the end of the publisher before.
    fn not_before_predecessor(&mut self, time: u32) -> u32 {
        let floor = self.floor.filter(|floor| step(*floor, time) <= MAX_DELAY);
        self.floor = floor;
        floor.filter(|floor| step(*floor, time) < 0).unwrap_or(time)
    }

    fn track(&self, kind: FrameKind) -> &Track {
        if kind == FrameKind::Audio { &self.audio } else { &self.video }
    }

    fn track_mut(&mut self, kind: FrameKind) -> &mut Track {
        if kind == FrameKind::Audio { &mut self.audio } else { &mut self.video }
    }
}

fn milliseconds(time: Duration) -> i64 {
    time.as_millis().min(i32::MAX as u128) as i64
}

/// Milliseconds from `earlier` to `later`, as a signed number.
fn step(earlier: u32, later: u32) -> i64 {
    i64::from(later.wrapping_sub(earlier) as i32)
}

#[cfg(test)]
mod tests {
    use FrameKind::{Audio, Video};

    use super::*;

    fn clock() -> Instant {
        #[allow(clippy::disallowed_methods)] // any instant will do: core only compares
        Instant::now()
    }

    /// Maps frames given as (arrival in ms, kind, time as sent).
    fn mapped(timeline: &mut Timeline, start: Instant, frames: &[(u64, FrameKind, u32)]) -> Vec<u32> {
        let at = |ms| start + Duration::from_millis(ms);
        frames.iter().map(|(ms, kind, time)| timeline.map(at(*ms), *kind, true, *time)).collect()
    }

    #[test]
    fn a_steady_time_passes_unchanged_across_the_wrap() {
        let near = u32::MAX - 50;
        let frames: Vec<_> = (1..10u32)
            .flat_map(|n| {
                let video = near.wrapping_add(n * 40);
                [(u64::from(n) * 40, Video, video), (u64::from(n) * 40, Audio, video.wrapping_sub(20))]
            })
            .collect();
        let sent: Vec<u32> = frames.iter().map(|(.., time)| *time).collect();
        assert_eq!(mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &frames), sent);
    }

    #[test]
    fn a_jump_and_a_rollback_are_corrected_and_both_kinds_stay_together() {
        let frames = [
            (0, Video, 0),
            (0, Audio, 5),
            (40, Video, 40),
            // The encoder's clock jumps; audio from before the jump still arrives.
            (80, Video, 9_000_000),
            (80, Audio, 45),
            (120, Video, 9_000_040),
            (120, Audio, 9_000_005),
            // Much later it starts again.
            (5_000, Audio, 0),
            (5_000, Video, 10),
        ];
        let times = mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &frames);
        assert_eq!(times, [0, 5, 40, 80, 45, 120, 85, 5_000, 5_010]);
    }

    #[test]
    fn a_pause_of_the_encoder_is_no_jump() {
        let times =
            mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &[(0, Video, 0), (60_000, Video, 60_000)]);
        assert_eq!(times, [0, 60_000]);
    }

    fn sent(frames: &[(u64, FrameKind, u32)]) -> Vec<u32> {
        frames.iter().map(|(.., time)| *time).collect()
    }

    /// Asserts that the timestamps of frames pass unchanged.
    #[track_caller]
    fn passes(frames: &[(u64, FrameKind, u32)]) {
        assert_eq!(mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), frames), sent(frames));
    }

    #[test]
    fn times_that_go_up_and_down_by_a_picture_or_two_pass() {
        // Times of presentation in the order of decoding: with 25 pictures a second, and with one every two seconds.
        for interval in [40u32, 2_000] {
            let order = [0u32, 3, 1, 2, 6, 4, 5, 9, 7, 8];
            let frames: Vec<_> =
                (0u64..).zip(order).map(|(n, at)| (n * u64::from(interval), Video, 10_000 + at * interval)).collect();
            passes(&frames);
        }
    }

    #[test]
    fn audio_and_video_that_arrive_apart_pass_unchanged() {
        for (audio_late, video_late) in [(0u64, 1_500), (0, 4_000), (0, 10_000), (4_000, 0), (10_000, 0)] {
            let audio = (0..1_000u32).map(|n| (u64::from(n) * 23 + audio_late, Audio, n * 23));
            let video = (0..600u32).map(|n| (u64::from(n) * 40 + video_late, Video, n * 40));
            let mut frames: Vec<_> = audio.chain(video).collect();
            frames.sort_by_key(|(arrival, ..)| *arrival);
            passes(&frames);
        }
    }

    #[test]
    fn delayed_frames_that_come_at_once_pass_unchanged() {
        // All pictures after 2 s come at 9 s; then pictures that are far apart come, six at a time.
        let audio = (0..5_000u32).map(|n| (u64::from(n) * 23, Audio, n * 23));
        let held = |at: u64| if (2_000..9_000).contains(&at) { 9_000 } else { at };
        let video = (0..500u32).map(|n| (held(u64::from(n) * 40), Video, n * 40));
        let alone: Vec<_> = (0..12u32).map(|n| (u64::from(n / 6) * 60_000, Video, n * 10_000)).collect();
        passes(&alone);
        let sparse = (2..12u32).map(|n| (u64::from(n / 6) * 60_000 + 50_000, Video, n * 10_000));
        let mut frames: Vec<_> = audio.chain(video).chain(sparse.filter(|(at, ..)| *at > 50_000)).collect();
        frames.sort_by_key(|(arrival, ..)| *arrival);
        passes(&frames);
    }

    #[test]
    fn a_medium_that_jumps_alone_goes_on_beside_the_other_and_comes_back() {
        let mut frames = Vec::new();
        for n in 0..100u32 {
            let strange = (30..60).contains(&n);
            frames.push((u64::from(n) * 40, Audio, n * 40));
            frames.push((u64::from(n) * 40, Video, n * 40 + if strange { 7_000_000 } else { 0 }));
        }
        let times = mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &frames);
        for ((arrival, kind, _), time) in frames.iter().zip(times) {
            assert!(u64::from(time).abs_diff(*arrival) <= 1, "{kind:?} that came at {arrival} is at {time}");
        }
    }

    #[test]
    fn a_rollback_of_about_the_bound_leaves_both_media_together() {
        for back in 900..1_200u32 {
            let frames = [
                (5_000, Video, 5_000),
                (5_005, Audio, 5_005),
                (5_040, Video, 5_040 - back),
                (5_028, Audio, 5_028 - back),
                (5_080, Video, 5_080 - back),
                (5_051, Audio, 5_051 - back),
            ];
            let times = mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &frames);
            assert_eq!(times[4].wrapping_sub(times[5]), 29, "{times:?} back by {back}");
        }
    }

    #[test]
    fn a_jump_goes_on_in_real_time_though_the_other_medium_is_late() {
        let audio = (0..8u32).map(|n| (u64::from(n) * 100 + 900, Audio, n * 100));
        let video = (0..10u32).map(|n| (u64::from(n) * 100, Video, n * 100));
        let behind = [(1_500, Video, 7_000_500), (1_600, Video, 7_000_600), (1_901, Audio, 7_000_001)];
        let mut frames: Vec<_> = audio.chain(video).chain(behind).collect();
        frames.sort_by_key(|(arrival, ..)| *arrival);
        let times = mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &frames);
        let behind: Vec<u32> =
            times.iter().zip(&frames).filter(|(_, (.., sent))| *sent > 7_000_000).map(|(time, _)| *time).collect();
        assert_eq!(behind, [1_500, 1_600, 1_001]);
    }

    #[test]
    fn sound_that_was_silent_while_pictures_jumped_comes_back_with_them() {
        let frames = [
            (0, Video, 100_000),
            (0, Audio, 100_000),
            (40, Video, 70_000),
            (80, Video, 70_040),
            (20_000, Video, 89_960),
            (20_000, Audio, 89_960),
        ];
        let times = mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &frames);
        assert_eq!(times, [100_000, 100_000, 100_040, 100_080, 120_000, 120_000]);
    }

    #[test]
    fn headers_with_a_meaningless_time_get_that_of_the_last_coded_frame() {
        let mut timeline = Timeline::new(Timestamps::Monotonic);
        let now = clock();
        timeline.map(now, Video, true, 3_000_000_000);
        assert_eq!(timeline.map(now, Audio, false, 0), 3_000_000_000);
        assert_eq!(timeline.map(now, FrameKind::Data, false, 2_147_483_630), 3_000_000_000);
        assert_eq!(timeline.map(now, Video, false, 3_000_000_040), 3_000_000_040, "a time near the last frame passes");
    }

    #[test]
    fn frames_out_of_order_get_no_time_before_the_end_of_the_publisher_before() {
        let start = clock();
        let mut timeline = Timeline::resuming(Timestamps::Monotonic, 1_000, start);
        let frames = [(5, Audio, 700), (5, Video, 640), (30, Audio, 720), (30, Video, 680), (60, Video, 720)];
        assert_eq!(mapped(&mut timeline, start, &frames), [1_005, 1_000, 1_025, 1_000, 1_025]);
    }

    #[test]
    fn the_next_publisher_goes_on_in_real_time_whatever_its_headers_say() {
        let start = clock();
        let later = start + Duration::from_secs(3);
        let mut timeline = Timeline::resuming(Timestamps::Monotonic, 1_000_000, start);
        assert_eq!(timeline.map(later, Video, false, 0), 1_003_000);
        assert_eq!(timeline.map(later, Video, true, 777), 1_003_000);
        assert_eq!(timeline.map(later, Audio, true, 780), 1_003_003);
        assert_eq!(timeline.map(later, Audio, false, 780), 1_003_003);
    }

    #[test]
    fn absolute_time_passes_unchanged() {
        let mut timeline = Timeline::resuming(Timestamps::Pass, 5, clock());
        assert_eq!(mapped(&mut timeline, clock(), &[(0, Video, 9), (0, Video, 1), (0, Video, 70_000)]), [9, 1, 70_000]);
    }
}
