use std::f64::consts::PI;
use std::fmt;

/// Coefficients that each sample of the result has, where the rate goes up.
const TAPS: usize = 64;

/// What is kept of the band, as a part of it: a filter of this length needs the rest for its slope.
const BAND: f64 = 0.95;

/// The shape of the window (Kaiser): 80 dB between what is kept and what is not.
const BETA: f64 = 8.0;

/// How many products are summed side by side, so that the compiler uses vectors.
const LANES: usize = 8;

/// Changes the sample rate of one channel or two by a ratio of integers. A sample of the result is at exactly its time: the
/// filter delays nothing, and positions are counted, so that any number of samples gives the same number of the result.
pub(super) struct Resampler {
    filter: Filter,
    /// For each channel, what the next samples of the result need.
    recent: Vec<Vec<f32>>,
    /// The number of the next sample of the result, less a multiple of `filter.up`.
    next: usize,
}

/// The coefficients for each position between two samples.
struct Filter {
    up: usize,
    down: usize,
    taps: usize,
    /// `up` rows of `taps`.
    rows: Vec<f32>,
}

impl Resampler {
    pub(super) fn new(from: u32, to: u32, channels: usize) -> Self {
        let mut resampler = Self { filter: Filter::new(from, to), recent: vec![Vec::new(); channels], next: 0 };
        resampler.reset();
        resampler
    }

    /// Begins again: the next sample of the result is at the time of the next sample that comes.
    pub(super) fn reset(&mut self) {
        self.next = 0;
        for recent in &mut self.recent {
            recent.clear();
            recent.resize(self.filter.taps / 2 - 1, 0.0);
        }
    }

    /// Takes samples of each channel, and appends the result to `out`.
    pub(super) fn push(&mut self, channels: &[Vec<f32>], out: &mut [Vec<f32>]) {
        let Filter { up, down, taps, .. } = self.filter;
        let mut next = self.next;
        for ((recent, channel), out) in self.recent.iter_mut().zip(channels).zip(out) {
            recent.extend_from_slice(channel);
            next = self.next;
            while let Some(window) = recent.get(next / up * down + next % up * down / up..).and_then(|r| r.get(..taps))
            {
                let row = next % up * down % up;
                out.push(product(window, &self.filter.rows[row * taps..][..taps]));
                next += 1;
            }
            // Whole turns of the filter leave: positions within a turn stay exact.
            recent.drain(..next / up * down);
        }
        self.next = next % up;
    }
}

impl Filter {
    fn new(from: u32, to: u32) -> Self {
        let divisor = greatest_common_divisor(from, to);
        let (up, down) = ((to / divisor) as usize, (from / divisor) as usize);
        // Where the rate goes down, the band of the result is what is kept.
        let narrow = (f64::from(to) / f64::from(from)).min(1.0);
        let taps = ((TAPS as f64 / narrow) as usize).next_multiple_of(2 * LANES);
        let half = taps as f64 / 2.0;
        let mut rows = Vec::with_capacity(up * taps);
        for row in 0..up {
            let shift = row as f64 / up as f64;
            let mut values: Vec<f64> = (0..taps)
                .map(|tap| {
                    let at = tap as f64 - (half - 1.0) - shift;
                    sinc(at * narrow * BAND) * kaiser(at / half)
                })
                .collect();
            // Silence stays silence, and a constant the same constant, in every row.
            let sum: f64 = values.iter().sum();
            values.iter_mut().for_each(|value| *value /= sum);
            rows.extend(values.iter().map(|value| *value as f32));
        }
        Self { up, down, taps, rows }
    }
}

fn product(samples: &[f32], row: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (samples, row) in samples.chunks_exact(LANES).zip(row.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += samples[lane] * row[lane];
        }
    }
    sums.iter().sum()
}

fn sinc(at: f64) -> f64 {
    if at == 0.0 { 1.0 } else { (PI * at).sin() / (PI * at) }
}

fn kaiser(at: f64) -> f64 {
    bessel(BETA * (1.0 - at * at).max(0.0).sqrt()) / bessel(BETA)
}

/// The modified Bessel function of the first kind and order 0, by its series.
fn bessel(at: f64) -> f64 {
    let mut term = 1.0;
    (1..40).fold(1.0, |sum, k| {
        term *= (at / 2.0 / f64::from(k)).powi(2);
        sum + term
    })
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resampler({}:{})", self.filter.down, self.filter.up)
    }
}
