use std::time::{Duration, Instant};

use super::FrameKind;

/// What becomes of a publisher's timestamps on their way to players.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// Players see a steadily rising time: jumps, rollbacks and the restart of an encoder are bridged, audio and video
    /// kept together. A publisher whose time behaves passes through unchanged.
    #[default]
    Monotonic,
    /// As the publisher sent them, whatever they are: for absolute time.
    Pass,
}

/// How far, in milliseconds, time may step back between two frames before it counts as a rollback. Audio and video
/// interleave by less.
const MAX_STEP_BACK: i64 = 1_000;
/// How far, in milliseconds, time may step ahead of the clock between two frames before it counts as a jump.
const MAX_STEP_AHEAD: i64 = 3_000;
/// How long after a jump frames from before it may still come.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// Maps a publisher's timestamps to those of the stream. All times are in milliseconds, modulo 2^32.
#[derive(Debug, Clone)]
pub struct Timeline {
    mode: Timestamps,
    base: Base,
    /// The base before the last jump, and when that was: frames of the other kind that were under way count from it.
    previous: Option<(Base, Instant)>,
    /// When the last coded frame came.
    last_arrival: Option<Instant>,
    /// The newest time of the stream, and that of audio and of video; of a predecessor at the beginning.
    newest: Option<u32>,
    latest: [Option<u32>; 2],
}

/// A stretch of the publisher's time without a jump.
#[derive(Debug, Clone, Copy)]
struct Base {
    /// What is added to the publisher's time.
    offset: u32,
    /// The last coded frame's time as sent; `None` before the first.
    last: Option<u32>,
}

impl Timeline {
    /// A stream without a past.
    pub fn new(mode: Timestamps) -> Self {
        let base = Base { offset: 0, last: None };
        Timeline { mode, base, previous: None, last_arrival: None, newest: None, latest: [None; 2] }
    }

    /// A stream whose last frame had `timestamp` and came at `time`: the next publisher begins as far behind it as in
    /// real time.
    pub fn resuming(mode: Timestamps, timestamp: u32, time: Instant) -> Self {
        let latest = [Some(timestamp); 2];
        Timeline { last_arrival: Some(time), newest: Some(timestamp), latest, ..Timeline::new(mode) }
    }

    /// The stream's time for a frame of the publisher with `timestamp`. Headers and data are `coded == false`: their
    /// time is often void (0 before frames that start elsewhere) and moves nothing.
    pub fn map(&mut self, now: Instant, kind: FrameKind, coded: bool, timestamp: u32) -> u32 {
        if self.mode == Timestamps::Pass {
            return timestamp;
        }
        if !coded {
            let begun = self.base.last.is_some() || self.newest.is_none();
            let mapped = timestamp.wrapping_add(self.base.offset);
            // Not before the predecessor's end, nor where the coming jump leaves it behind.
            return if begun { mapped } else { self.continuation(now) };
        }
        self.follow(now, timestamp);
        self.base.last = Some(timestamp);
        self.last_arrival = Some(now);
        let mapped = self.rising(kind, timestamp.wrapping_add(self.base.offset));
        if self.newest.is_none_or(|newest| step(newest, mapped) > 0) {
            self.newest = Some(mapped);
        }
        mapped
    }

    /// Chooses the base for a frame: the present one, the previous one, or a new one behind a jump.
    fn follow(&mut self, now: Instant, timestamp: u32) {
        let elapsed = self.elapsed(now);
        let fits = |base: &Base, waited: i64| {
            base.last.is_some_and(|last| (-MAX_STEP_BACK..=waited + MAX_STEP_AHEAD).contains(&step(last, timestamp)))
        };
        if fits(&self.base, elapsed) {
            return;
        }
        if let Some((previous, jumped)) = self.previous
            && now.saturating_duration_since(jumped) < STRAGGLERS
            && fits(&previous, 0)
        {
            self.previous = Some((std::mem::replace(&mut self.base, previous), jumped));
            return;
        }
        // The first frame of all passes as it is.
        if self.newest.is_some() {
            let offset = self.continuation(now).wrapping_sub(timestamp);
            let jumped = std::mem::replace(&mut self.base, Base { offset, last: None });
            self.previous = jumped.last.is_some().then_some((jumped, now));
        }
    }

    /// The time of the stream that it is now.
    fn continuation(&self, now: Instant) -> u32 {
        self.newest.unwrap_or(0).wrapping_add(self.elapsed(now).max(1) as u32)
    }

    fn elapsed(&self, now: Instant) -> i64 {
        let elapsed = self.last_arrival.map_or(0, |last| now.saturating_duration_since(last).as_millis());
        elapsed.min(i32::MAX as u128) as i64
    }

    /// No frame lies before the one of its kind before it.
    fn rising(&mut self, kind: FrameKind, mapped: u32) -> u32 {
        let latest = match kind {
            FrameKind::Audio => &mut self.latest[0],
            FrameKind::Video => &mut self.latest[1],
            FrameKind::Data => return mapped,
        };
        let rising = latest.filter(|latest| step(*latest, mapped) < 0).unwrap_or(mapped);
        *latest = Some(rising);
        rising
    }
}

/// From `earlier` to `later`, read as signed.
fn step(earlier: u32, later: u32) -> i64 {
    i64::from(later.wrapping_sub(earlier) as i32)
}

#[cfg(test)]
mod tests {
    use FrameKind::{Audio, Video};

    use super::*;

    fn clock() -> Instant {
        #[allow(clippy::disallowed_methods)] // any instant does: core only compares
        Instant::now()
    }

    /// Maps frames given as (arrival in ms, kind, time as sent).
    fn mapped(timeline: &mut Timeline, start: Instant, frames: &[(u64, FrameKind, u32)]) -> Vec<u32> {
        let at = |ms| start + Duration::from_millis(ms);
        frames.iter().map(|(ms, kind, time)| timeline.map(at(*ms), *kind, true, *time)).collect()
    }

    #[test]
    fn a_time_that_behaves_passes_unchanged_across_the_wrap() {
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
    fn a_jump_and_a_rollback_are_bridged_and_both_kinds_stay_together() {
        let frames = [
            (0, Video, 0),
            (0, Audio, 5),
            (40, Video, 40),
            // The encoder's clock jumps; the audio before it is still under way.
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

    #[test]
    fn small_steps_back_within_a_kind_are_flattened() {
        let frames = [(0, Video, 100), (10, Video, 60), (20, Video, 140), (20, Audio, 90)];
        assert_eq!(mapped(&mut Timeline::new(Timestamps::Monotonic), clock(), &frames), [100, 100, 140, 90]);
    }

    #[test]
    fn what_the_next_publisher_sends_out_of_order_lies_behind_its_predecessor_too() {
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
    fn absolute_time_passes_whatever_it_is() {
        let mut timeline = Timeline::resuming(Timestamps::Pass, 5, clock());
        assert_eq!(mapped(&mut timeline, clock(), &[(0, Video, 9), (0, Video, 1), (0, Video, 70_000)]), [9, 1, 70_000]);
    }
}
