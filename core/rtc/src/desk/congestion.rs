use std::time::{Duration, Instant};

/// Two falls of the estimate within this time are no accident.
const TOGETHER: Duration = Duration::from_secs(5);

/// Whether a viewer gets more than its network carries, by what it believes it could receive (REMB).
///
/// Browsers lower their estimate when packets come later and later: before any are lost. On a good network it is up to one and a
/// half times of what they get, and it follows slowly when a stream has more: so not a low estimate tells, but one that falls
/// below what the stream has.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    estimate: Option<u64>,
    fell: Option<Instant>,
    /// True if the last fall is the first of two.
    is_first: bool,
}

impl Congestion {
    /// The viewer estimates so many bits a second, and the stream has `rate`. True if the viewer gets too much.
    pub(super) fn gets_too_much(&mut self, now: Instant, estimate: u64, rate: u64) -> bool {
        let before = self.estimate.replace(estimate);
        let falls = before.is_some_and(|before| estimate < before - before / 50) && estimate < rate - rate / 20;
        if !falls {
            return false;
        }
        let is_second = !self.is_calm(now) && self.is_first;
        (self.fell, self.is_first) = (Some(now), !is_second);
        is_second
    }

    /// True if the estimate has not fallen of late.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.fell.is_none_or(|fell| now.saturating_duration_since(fell) > TOGETHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 2_000_000;

    /// The seconds in which a viewer gets too much, by its estimate of each second in kilobits.
    fn told(estimates: &[u64]) -> Vec<usize> {
        #[allow(clippy::disallowed_methods)] // any instant does
        let start = Instant::now();
        let mut congestion = Congestion::default();
        let mut is_too_much = |second: usize| {
            congestion.gets_too_much(start + Duration::from_secs(second as u64), estimates[second] * 1000, RATE)
        };
        (0..estimates.len()).filter(|second| is_too_much(*second)).collect()
    }

    #[test]
    fn an_estimate_that_falls_twice_below_the_stream_tells() {
        assert_eq!(told(&[3000, 1700, 1500, 1400, 1300]), [2, 4], "then two more are needed");
        assert_eq!(told(&[3000, 1700, 1700, 1500]), [3]);
    }

    #[test]
    fn a_low_estimate_that_grows_tells_nothing() {
        // As after pictures that stood still.
        assert!(told(&[300, 330, 360, 400, 440, 480]).is_empty());
        assert!(told(&[1000; 10]).is_empty());
    }

    #[test]
    fn one_fall_and_falls_above_the_stream_tell_nothing() {
        assert!(told(&[3000, 1700, 1800, 1900, 2000, 2100, 2200, 1700]).is_empty(), "the second comes much later");
        assert!(told(&[9000, 7000, 5000, 3000, 2500]).is_empty());
        assert!(told(&[1700, 1690, 1680, 1670]).is_empty(), "it varies by little");
    }
}
