use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram as Counts;

/// Two digits: a value is off by less than 1 %.
const DIGITS: u8 = 2;

/// A distribution of durations in constant memory, about 60 KiB, counted in nanoseconds within 1 %.
#[derive(Clone)]
pub struct Histogram {
    counts: Counts<u64>,
    /// The library knows it within 1 % only.
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: Counts::new_with_bounds(1, u64::MAX, DIGITS).expect("these bounds are legal"), max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.counts.saturating_record(nanoseconds);
        self.max = self.max.max(nanoseconds);
    }

    /// Counts all that `other` has.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.add(&other.counts).expect("all have the same bounds");
        self.max = self.max.max(other.max);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// The value that this part of all values (0 to 1) does not exceed; `None` if there are none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let value = self.counts.value_at_quantile(part);
        // Among the largest: no more than it.
        let value = if self.counts.equivalent(value, self.max) { self.max } else { value };
        (self.count() > 0).then(|| Duration::from_nanos(value))
    }

    /// The largest value, exactly.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.max))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantiles = [0.5, 0.99, 1.0].map(|part| self.quantile(part));
        write!(f, "{} values, p50 p99 max {quantiles:?}", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_told_within_one_percent() {
        let mut values: Vec<u64> = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) | 12345]).collect();
        values.extend([u64::MAX, u64::MAX - 1]);
        for value in values {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_nanos(value));
            // One that is larger, so that the largest value, which is exact, is not the one that is looked at.
            histogram.record(Duration::from_nanos(u64::MAX));
            let told = u64::try_from(histogram.quantile(0.5).expect("there are values").as_nanos()).expect("64 bits");
            assert!(told >= value && told - value <= value / 100, "{value} is told as {told}");
        }
    }

    #[test]
    fn what_is_too_long_to_be_counted_is_the_longest_there_is() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!((histogram.count(), histogram.max()), (1, Some(Duration::from_nanos(u64::MAX))));
        assert_eq!(histogram.quantile(0.5), histogram.max());
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
