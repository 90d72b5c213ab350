use std::f64::consts::TAU;
use std::time::Duration;

use super::super::framer::{Framer, MOMENT, Moment};
use super::super::resample::Resampler;
use super::super::timeline::{Step, Timeline};
use super::signal::signal_to_noise;

const HOUR: f64 = 3600.0;

/// Sound of a publisher whose clock and timestamps are as a test wants.
struct Publisher {
    rate: u32,
    /// How much faster than its samples its clock is.
    fast: f64,
}

impl Publisher {
    /// The time of a frame in whole milliseconds, as RTMP has it.
    fn time(&self, frame: u64) -> Duration {
        let seconds = frame as f64 * 1024.0 / f64::from(self.rate) * (1.0 + self.fast);
        Duration::from_millis((seconds * 1000.0) as u64)
    }

    fn frames_of(&self, seconds: f64) -> u64 {
        (seconds * f64::from(self.rate) / 1024.0) as u64
    }
}

/// Places the frames of an hour. The greatest distance in seconds between the time of a frame and where its sound is, and
/// all steps that are not plain.
fn place_an_hour(publisher: &Publisher, jitter: impl Fn(u64) -> i64) -> (f64, Vec<Step>) {
    let mut timeline = Timeline::new(publisher.rate);
    let (mut samples, mut farthest, mut steps) = (0_i64, 0.0, Vec::new());
    for frame in 0..publisher.frames_of(HOUR) {
        let exact = publisher.time(frame);
        let time = exact.saturating_add_signed_milliseconds(jitter(frame));
        let at = samples as f64 / f64::from(publisher.rate);
        farthest = f64::max(farthest, (at - exact.as_secs_f64()).abs());
        let step = timeline.place(time, 1024, 896);
        samples += match step {
            Step::Follow => 1024,
            Step::Jump if frame == 0 => 1024,
            Step::Longer(by) => 1024 + by as i64,
            Step::Shorter(by) => 1024 - by as i64,
            Step::Drop | Step::Jump => panic!("{step:?} at frame {frame}"),
        };
        if step != Step::Follow && frame > 0 {
            steps.push(step);
        }
    }
    (farthest, steps)
}

trait Signed {
    fn saturating_add_signed_milliseconds(self, by: i64) -> Self;
}

impl Signed for Duration {
    fn saturating_add_signed_milliseconds(self, by: i64) -> Self {
        let by_abs = Duration::from_millis(by.unsigned_abs());
        if by < 0 { self.saturating_sub(by_abs) } else { self + by_abs }
    }
}

#[test]
fn an_hour_of_rounded_timestamps_changes_no_sample_and_drifts_by_nothing() {
    for rate in [44_100, 48_000, 32_000, 22_050, 11_025] {
        let (farthest, steps) = place_an_hour(&Publisher { rate, fast: 0.0 }, |_| 0);
        assert_eq!(steps, [], "{rate}");
        assert!(farthest < 0.0011, "{rate}: {farthest}");
    }
}

#[test]
fn an_hour_of_a_clock_that_is_faster_or_slower_than_the_samples_stays_within_20_ms() {
    // 300 millionths are a second in an hour, and ten times what quartzes differ by.
    for fast in [50e-6, -50e-6, 300e-6, -300e-6] {
        let (farthest, steps) = place_an_hour(&Publisher { rate: 44_100, fast }, |_| 0);
        assert!(farthest < 0.020, "{fast}: {farthest}");
        let wanted = (HOUR * fast.abs() / 0.010) as usize;
        assert!(steps.len().abs_diff(wanted) <= 2, "{fast}: {} steps", steps.len());
        assert!(steps.iter().all(|step| matches!(step, Step::Longer(_)) == (fast > 0.0)));
    }
}

#[test]
fn an_hour_of_timestamps_that_tremble_changes_no_sample() {
    // Up to 15 ms early and late, at random, and four frames at a time with the same timestamp.
    let (farthest, steps) = place_an_hour(&Publisher { rate: 48_000, fast: 0.0 }, |frame| {
        (frame.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as i64 % 31 - 15
    });
    assert_eq!(steps, []);
    assert!(farthest <= 0.016, "{farthest}");
}

#[test]
fn frames_that_come_in_fours_with_one_timestamp_are_moved_once_by_half_their_time() {
    let publisher = Publisher { rate: 48_000, fast: 0.0 };
    let (farthest, steps) = place_an_hour(&publisher, |frame| {
        -((publisher.time(frame) - publisher.time(frame / 4 * 4)).as_millis() as i64)
    });
    assert!(steps.len() < 6, "{steps:?}");
    assert!(farthest < 0.040, "{farthest}");
}

#[test]
fn a_lost_frame_is_made_up_for_within_two_seconds() {
    let publisher = Publisher { rate: 48_000, fast: 0.0 };
    let mut timeline = Timeline::new(publisher.rate);
    let mut added = 0;
    for frame in (0..200).filter(|frame| *frame != 100) {
        match timeline.place(publisher.time(frame), 1024, 896) {
            Step::Longer(by) if (100..180).contains(&frame) => added += by,
            Step::Follow => {}
            Step::Jump if frame == 0 => {}
            step => panic!("{step:?} at {frame}"),
        }
    }
    assert!((544..=1024).contains(&added), "{added}");
}

#[test]
fn a_gap_and_a_clock_that_was_set_back_begin_again_at_their_times() {
    let mut timeline = Timeline::new(48_000);
    let mut place = |ms: u64| timeline.place(Duration::from_millis(ms), 960, 832);
    assert_eq!(place(5000), Step::Jump);
    assert_eq!(place(5020), Step::Follow);
    assert_eq!(place(5141), Step::Jump);
    assert_eq!(place(5161), Step::Follow);
    // Too early for a rounding, and too little for a clock that was set.
    assert_eq!(place(4900), Step::Drop);
    assert_eq!(place(5181), Step::Follow);
    assert_eq!(place(100), Step::Jump);
    assert_eq!(place(120), Step::Follow);
}

/// The moments of a tone whose frames come at the times that `time` says.
fn moments_of_tone(rate: u32, frames: u64, time: impl Fn(u64) -> Duration) -> Vec<Moment> {
    let mut framer = Framer::new(rate, 2, 312);
    let at = |n: u64| (TAU * 500.0 * n as f64 / f64::from(rate)).sin() * 0.5;
    let frames = (0..frames).flat_map(|frame| {
        let channel: Vec<f32> = (0..1024).map(|n| at(frame * 1024 + n) as f32).collect();
        framer.push(time(frame), &mut [channel.clone(), channel.iter().map(|s| -s).collect()])
    });
    frames.collect()
}

#[test]
fn moments_of_every_rate_are_20_ms_apart_and_have_the_sound_of_their_time() {
    for rate in [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350] {
        let publisher = Publisher { rate, fast: 0.0 };
        let moments = moments_of_tone(rate, publisher.frames_of(3.0), |frame| publisher.time(frame));
        assert!(moments.len() >= 140, "{rate}: {}", moments.len());
        let mut pairs = Vec::new();
        for (n, moment) in moments.iter().enumerate() {
            assert_eq!(moment.time, Duration::from_millis(20) * n as u32, "{rate}");
            assert_eq!(moment.samples.len(), 2 * MOMENT);
            for (m, sample) in moment.samples.iter().enumerate() {
                // The encoder will delay it by as much as was left out.
                let at = (n * MOMENT + m / 2 + 312) as f64 / 48_000.0;
                let wanted = (TAU * 500.0 * at).sin() * if m % 2 == 0 { 0.5 } else { -0.5 };
                pairs.push((wanted, f64::from(*sample) / 32_768.0));
            }
        }
        let decibels = signal_to_noise(pairs[2 * MOMENT..].iter().copied());
        assert!(decibels > 60.0, "{rate}: {decibels}");
    }
}

#[test]
fn sound_before_a_gap_is_ended_with_silence_and_sound_after_it_begins_at_its_time() {
    let moments =
        moments_of_tone(48_000, 20, |frame| Duration::from_millis(frame * 64 / 3 + if frame < 10 { 0 } else { 900 }));
    let gap = moments.windows(2).position(|pair| pair[1].time - pair[0].time != Duration::from_millis(20)).unwrap();
    let (last, first) = (&moments[gap], &moments[gap + 1]);
    assert_eq!(first.time, Duration::from_millis(10 * 64 / 3 + 900));
    assert!(last.samples[0] != 0 && last.samples[2 * MOMENT - 2..] == [0, 0]);
}

#[test]
fn sound_that_is_made_longer_or_shorter_has_no_click() {
    for fast in [2000e-6, -2000e-6] {
        let publisher = Publisher { rate: 48_000, fast };
        let moments = moments_of_tone(48_000, 1000, |frame| publisher.time(frame));
        let left: Vec<f64> =
            moments.iter().flat_map(|m| m.samples.iter().step_by(2)).map(|s| f64::from(*s) / 32_768.0).collect();
        let wanted = 1000.0 * 1024.0 * (1.0 + fast);
        assert!((left.len() as f64 - wanted).abs() < 1500.0, "{} of {wanted}", left.len());
        // A tone of 500 Hz at half the scale changes by 0.033 from one sample to the next.
        let steepest = left.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
        assert!(steepest < 0.05, "{steepest}");
    }
}

#[test]
fn a_resampler_counts_exactly_however_its_input_is_cut() {
    let input: Vec<f32> = (0..44_100).map(|n| (n as f32 * 0.05).sin()).collect();
    let run = |piece: usize| {
        let mut resampler = Resampler::new(44_100, 48_000, 1);
        let mut out = vec![Vec::new()];
        input.chunks(piece).for_each(|piece| resampler.push(&[piece.to_vec()], &mut out));
        out.remove(0)
    };
    let whole = run(44_100);
    // All but what needs samples after the end: half a filter.
    assert_eq!(whole.len(), 48_000 - (32 * 160_usize).div_ceil(147) + 1);
    assert!(run(1) == whole && run(1024) == whole && run(147) == whole);
}
