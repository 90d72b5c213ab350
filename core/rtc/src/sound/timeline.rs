use std::time::Duration;

/// Frames whose time differs more than this from the end of the sound before them are not its continuation: frames were
/// lost, or the publisher's clock was set.
const JUMP: Duration = Duration::from_millis(100);

/// Sound that begins up to this much before the end of the sound before it is left out until it has caught up. If it begins
/// earlier, the publisher's clock was set back.
const LATE: Duration = Duration::from_secs(1);

/// A mean difference above this is taken back. Below it are the rounding of timestamps to milliseconds, and encoders whose
/// timestamps tremble.
const SLACK: Duration = Duration::from_millis(10);

/// Over how many frames the difference is averaged: a third of a second.
const FRAMES_OF_MEAN: i64 = 16;

/// What becomes of a frame's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// They follow those before them.
    Follow,
    /// They follow those before them, and become so many more, as the publisher's clock is ahead of its samples.
    Longer(usize),
    /// They follow those before them, and become so many fewer.
    Shorter(usize),
    /// They are left out.
    Drop,
    /// They begin at their own time: what comes before them ends.
    Jump,
}

/// Compares the samples of a stream with the times of its frames.
///
/// Samples are counted, not timed, because timestamps are rounded. But the two clocks may differ: of two quartzes one is
/// often 50 millionths faster, which is 180 ms in an hour, and frames are lost. So the count follows the times: small
/// differences are taken back by a few milliseconds of sound, and great ones by a jump.
#[derive(Debug)]
pub(super) struct Timeline {
    rate: u32,
    begin: Option<Duration>,
    /// Samples since then.
    samples: u64,
    /// By how much times are ahead of the samples in the mean, in nanoseconds.
    ahead: i64,
}

impl Timeline {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, begin: None, samples: 0, ahead: 0 }
    }

    /// Places a frame of so many samples, of which at most `most` may be added or left out.
    pub(super) fn place(&mut self, time: Duration, count: usize, most: usize) -> Step {
        let Some(begin) = self.begin else {
            return self.jump(time, count);
        };
        let ahead = signed(time) - signed(begin) - self.nanoseconds(self.samples);
        if ahead > signed(JUMP) || ahead < -signed(LATE) {
            return self.jump(time, count);
        }
        if ahead < -signed(JUMP) {
            return Step::Drop;
        }
        self.samples += count as u64;
        self.ahead += (ahead - self.ahead) / FRAMES_OF_MEAN;
        if self.ahead.abs() <= signed(SLACK) {
            return Step::Follow;
        }
        let by = self.samples_in(self.ahead.unsigned_abs()).min(most);
        if self.ahead > 0 {
            self.samples += by as u64;
            self.ahead -= self.nanoseconds(by as u64);
            Step::Longer(by)
        } else {
            self.samples -= by as u64;
            self.ahead += self.nanoseconds(by as u64);
            Step::Shorter(by)
        }
    }

    fn jump(&mut self, time: Duration, count: usize) -> Step {
        self.begin = Some(time);
        self.samples = count as u64;
        self.ahead = 0;
        Step::Jump
    }

    fn nanoseconds(&self, samples: u64) -> i64 {
        i64::try_from(u128::from(samples) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(i64::MAX / 4)
    }

    fn samples_in(&self, nanoseconds: u64) -> usize {
        usize::try_from(u128::from(nanoseconds) * u128::from(self.rate) / 1_000_000_000).unwrap_or(usize::MAX)
    }
}

/// In nanoseconds. Times of 70 years and more are one.
fn signed(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).map_or(i64::MAX / 4, |nanoseconds| nanoseconds.min(i64::MAX / 4))
}
