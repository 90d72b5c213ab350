use std::time::Duration;

use super::resample::Resampler;
use super::timeline::{Step, Timeline};

/// The rate of Opus.
pub(super) const RATE: u32 = 48_000;

/// Samples of a moment of sound: 20 ms.
pub(super) const MOMENT: usize = 960;

const MOMENT_TIME: Duration = Duration::from_millis(20);

/// Over how many samples sound changes over where some is added or left out.
const CROSSFADE: usize = 128;

/// Samples for one packet, interleaved.
#[derive(Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) time: Duration,
    pub(super) samples: Vec<i16>,
}

/// Cuts sound of any rate, which comes in frames with their times, into moments of 20 ms at 48 kHz.
///
/// From one jump to the next, moments are exactly 20 ms apart. Between, sound follows the times of its frames: where the
/// mean difference exceeds 10 ms, a crossfade adds or leaves out so much.
#[derive(Debug)]
pub(super) struct Framer {
    timeline: Timeline,
    /// None if the rate is right already.
    resampler: Option<Resampler>,
    /// Samples of each channel at 48 kHz that are no whole moment yet.
    waiting: Vec<Vec<f32>>,
    /// Samples to leave out after a jump.
    delay: usize,
    /// Of these, still to come.
    skip: usize,
    next: Duration,
}

impl Framer {
    /// `delay` is that of the encoder, in samples of 48 kHz: so much is left out after each jump, so that what comes out of
    /// a decoder is at the times of the moments.
    pub(super) fn new(rate: u32, channels: usize, delay: usize) -> Self {
        Self {
            timeline: Timeline::new(rate),
            resampler: (rate != RATE).then(|| Resampler::new(rate, RATE, channels)),
            waiting: vec![Vec::new(); channels],
            delay,
            skip: 0,
            next: Duration::ZERO,
        }
    }

    /// Takes the samples of a frame, one vector a channel, all of the same length.
    pub(super) fn push(&mut self, time: Duration, frame: &mut [Vec<f32>]) -> Vec<Moment> {
        let count = frame.first().map_or(0, Vec::len);
        let mut moments = Vec::new();
        match self.timeline.place(time, count, count.saturating_sub(CROSSFADE)) {
            Step::Follow => {}
            Step::Longer(by) => frame.iter_mut().for_each(|channel| lengthen(channel, by)),
            Step::Shorter(by) => frame.iter_mut().for_each(|channel| shorten(channel, by)),
            Step::Drop => return moments,
            Step::Jump => self.jump(time, &mut moments),
        }
        match &mut self.resampler {
            Some(resampler) => resampler.push(frame, &mut self.waiting),
            None => {
                for (waiting, channel) in self.waiting.iter_mut().zip(frame) {
                    waiting.append(channel);
                }
            }
        }
        self.cut(&mut moments);
        moments
    }

    /// What waits is the last sound before the jump: it becomes a moment with silence at its end, if there is time for it.
    fn jump(&mut self, time: Duration, moments: &mut Vec<Moment>) {
        let waits = self.waiting.first().is_some_and(|channel| !channel.is_empty());
        if waits && self.next + MOMENT_TIME <= time {
            self.skip = 0;
            self.waiting.iter_mut().for_each(|channel| channel.resize(MOMENT, 0.0));
            self.cut(moments);
        }
        self.waiting.iter_mut().for_each(Vec::clear);
        self.resampler.iter_mut().for_each(Resampler::reset);
        self.skip = self.delay;
        self.next = time;
    }

    fn cut(&mut self, moments: &mut Vec<Moment>) {
        let count = self.waiting.first().map_or(0, Vec::len);
        let skipped = self.skip.min(count);
        self.skip -= skipped;
        let mut at = skipped;
        while at + MOMENT <= count {
            let mut samples = Vec::with_capacity(MOMENT * self.waiting.len());
            for n in at..at + MOMENT {
                samples.extend(self.waiting.iter().map(|channel| to_integer(channel[n])));
            }
            moments.push(Moment { time: self.next, samples });
            self.next += MOMENT_TIME;
            at += MOMENT;
        }
        self.waiting.iter_mut().for_each(|channel| drop(channel.drain(..at)));
    }
}

/// Not a number becomes silence: a decoder may make it of a broken frame.
fn to_integer(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}

/// Repeats `by` samples before the last ones. `by` is at most the length without a crossfade.
fn lengthen(channel: &mut Vec<f32>, by: usize) {
    let Some(change) = channel.len().checked_sub(CROSSFADE).filter(|change| by <= *change) else {
        return;
    };
    let repeated = channel.split_off(change - by);
    channel.extend_from_slice(&repeated[..by]);
    for (n, (old, new)) in repeated[by..].iter().zip(&repeated).enumerate() {
        channel.push(crossfade(n, *old, *new));
    }
    channel.extend_from_slice(&repeated[CROSSFADE..]);
}

/// Leaves out `by` samples after the first ones.
fn shorten(channel: &mut Vec<f32>, by: usize) {
    if by + CROSSFADE > channel.len() {
        return;
    }
    for n in 0..CROSSFADE {
        channel[n] = crossfade(n, channel[n], channel[n + by]);
    }
    channel.drain(CROSSFADE..CROSSFADE + by);
}

fn crossfade(n: usize, old: f32, new: f32) -> f32 {
    let part = (n as f32 + 0.5) / CROSSFADE as f32;
    old + (new - old) * part
}
