/// A time of the stream in units of a track: `milliseconds`, and the nanoseconds (0 to 999,999) that Enhanced RTMP adds
/// to it.
///
/// Differences of such times add up: they leave no gap and no overlap, whatever the timescale.
pub fn ticks(milliseconds: u64, nanoseconds: u32, timescale: u32) -> u64 {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let scale = u64::from(timescale);
    let part = (rest * 1_000_000 + u64::from(nanoseconds)) * scale / 1_000_000_000;
    seconds.saturating_mul(scale).saturating_add(part)
}

/// The decoding times of one track's frames, in its units. They rise, whatever comes.
///
/// Milliseconds are too coarse for sound: as long as they agree, a frame begins where the one before ends by its number
/// of samples.
#[derive(Clone, Copy, Debug)]
pub struct DecodeTimes {
    timescale: u32,
    /// Samples of a frame of sound.
    samples: Option<u32>,
    last: Option<u64>,
}

impl DecodeTimes {
    /// What a frame of sound may differ from the end of the one before, in milliseconds.
    const TOLERANCE: u64 = 5;

    /// For a track with `timescale` units a second. `samples` is how many of them each frame lasts, for sound whose
    /// frames are all as long.
    pub fn new(timescale: u32, samples: Option<u32>) -> Self {
        DecodeTimes { timescale: timescale.max(1), samples, last: None }
    }

    /// The time of the next frame, which came at `milliseconds` of the stream.
    pub fn next(&mut self, milliseconds: u64) -> u64 {
        let mut time = ticks(milliseconds, 0, self.timescale);
        if let Some(last) = self.last {
            let expected = self.samples.map(|samples| last.saturating_add(samples.into()));
            let tolerance = u64::from(self.timescale) * Self::TOLERANCE / 1000;
            time = match expected {
                Some(expected) if expected.abs_diff(time) <= tolerance => expected,
                _ => time.max(last.saturating_add(1)),
            };
        }
        self.last = Some(time);
        time
    }

    /// The stream begins again: times may go back.
    pub fn restart(&mut self) {
        self.last = None;
    }
}

/// The times between the frames of one track, to say how long a frame lasts that is sent before the next is known.
///
/// The answer is the longest of the last eight times. A browser plays over a frame that ends after the next begins; at
/// one that ends before, it stops. The decoding times that are written stay those of the frames, so that an estimate
/// that is wrong moves nothing.
#[derive(Clone, Copy, Debug)]
pub struct Cadence {
    /// The last times between frames, newest last; 0 where there is none yet.
    deltas: [u32; 8],
    last: Option<u64>,
    initial: u32,
    most: u32,
}

impl Cadence {
    /// For a track with `timescale` units a second. `initial` is the answer until two frames are known: the samples of
    /// an audio frame; for video for example a thirtieth of the timescale.
    pub fn new(timescale: u32, initial: u32) -> Self {
        Cadence { deltas: [0; 8], last: None, initial: initial.max(1), most: timescale.max(1) }
    }

    /// Notes the decoding time of a frame, in order. Times that stand, go back or jump by more than a second tell
    /// nothing.
    pub fn note(&mut self, decode_time: u64) {
        let last = self.last.replace(decode_time);
        let delta = last.and_then(|last| u32::try_from(decode_time.checked_sub(last)?).ok());
        if let Some(delta) = delta.filter(|delta| (1..=self.most).contains(delta)) {
            self.deltas.rotate_left(1);
            self.deltas[7] = delta;
        }
    }

    /// How long the newest frame lasts, in units of the track; never 0.
    pub fn estimate(&self) -> u32 {
        match self.deltas.iter().max() {
            Some(0) | None => self.initial,
            Some(longest) => *longest,
        }
    }
}
