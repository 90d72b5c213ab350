use std::fmt;
use std::time::Duration;

/// Steps within one power of two: a value is off by less than 2 %.
const STEPS: u64 = 64;
/// Values are 64 bits of nanoseconds; the lowest powers share the first, exact, steps.
const BUCKETS: usize = (STEPS as usize) * 59;

/// A distribution of durations in constant memory, 30 KiB: exact up to 64 ns, then within 2 %.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into_boxed_slice(), count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        let nanoseconds = nanoseconds(value);
        self.counts[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// Counts all that `other` has.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value that this part of all values (0 to 1) does not exceed; `None` if there are none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * part).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_nanos(upper_bound(index).min(self.max)))
    }

    /// The largest value, exactly.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantiles = [0.5, 0.99, 1.0].map(|part| self.quantile(part));
        write!(f, "{} values, p50 p99 max {quantiles:?}", self.count)
    }
}

fn nanoseconds(value: Duration) -> u64 {
    u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)
}

/// The top six bits after the leading one choose the step, the position of the leading one the power.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = value.ilog2() - STEPS.ilog2();
    (u64::from(power) * STEPS + (value >> power)) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    let step = bucket % STEPS + STEPS;
    // In this order for the topmost bucket, whose end is that of the numbers.
    (step << power) + ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_that_is_at_most_two_percent_too_high() {
        let mut values: Vec<u64> = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) | 12345]).collect();
        values.extend([u64::MAX, u64::MAX - 1]);
        for value in values {
            let bound = upper_bound(bucket(value));
            assert!(bound >= value && bound - value <= value / 50, "{value} is counted as {bound}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut one = Histogram::default();
        let mut other = Histogram::default();
        assert_eq!((one.quantile(0.5), one.max()), (None, None));
        for value in 1..=100u64 {
            let half = if value % 2 == 0 { &mut one } else { &mut other };
            half.record(Duration::from_micros(value));
        }
        one.merge(&other);
        assert_eq!(one.count(), 100);
        let within = |part, expected: u64| {
            let value = one.quantile(part).expect("there are values").as_nanos() as f64 / 1000.0;
            assert!((value / expected as f64 - 1.0).abs() < 0.02, "{value} for {expected}");
        };
        within(0.5, 50);
        within(0.99, 99);
        within(0.0, 1);
        assert_eq!(one.quantile(1.0), Some(Duration::from_micros(100)));
        assert_eq!(one.max(), Some(Duration::from_micros(100)));
    }
}
