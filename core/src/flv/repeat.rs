/// The times of a file that is played again and again: they rise without an end, from 0.
///
/// ```
/// use anabranch_core::flv::Repeat;
///
/// let mut times = Repeat::default();
/// assert_eq!([1_000, 1_040, 1_080].map(|tag| times.next(tag)), [0, 40, 80]);
/// times.again();
/// assert_eq!([1_000, 1_040].map(|tag| times.next(tag)), [120, 160]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Repeat {
    /// The time at which the present round began.
    base: u64,
    /// The timestamp of the first tag with media of the round.
    first: Option<u32>,
    /// The highest time so far, and the last step to it.
    furthest: u64,
    step: u64,
}

/// The longest step that counts as the time between two frames, in milliseconds.
const LONGEST_STEP: u64 = 1_000;
/// The step of a file that has only one frame.
const STEP: u64 = 40;

impl Repeat {
    /// The time of the next tag, in milliseconds.
    pub fn next(&mut self, timestamp: u32) -> u64 {
        let first = *self.first.get_or_insert(timestamp);
        // A tag may lie a little before the first one.
        let time = self.base + u64::from(timestamp.saturating_sub(first));
        if time > self.furthest {
            self.step = (time - self.furthest).min(LONGEST_STEP);
            self.furthest = time;
        }
        time
    }

    /// The file begins again: the next tag follows the last one as the last one followed the one before.
    pub fn again(&mut self) {
        let step = if self.step == 0 { STEP } else { self.step };
        (self.base, self.first) = (self.furthest + step, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rise_from_round_to_round_whatever_the_file_has() {
        for file in [&[0][..], &[5, 5, 5], &[0, 23, 40, 46, 80], &[100, 90, 140], &[0, 60_000]] {
            let mut times = Repeat::default();
            let mut before = 0;
            for _ in 0..100 {
                let round: Vec<u64> = file.iter().map(|tag| times.next(*tag)).collect();
                assert!(round.iter().all(|time| *time >= before), "{round:?} after {before}");
                before = round.into_iter().max().expect("a tag") + 1;
                times.again();
            }
        }
    }

    #[test]
    fn a_file_can_be_played_for_months() {
        let mut times = Repeat::default();
        for _ in 0..3_000 {
            times.next(0);
            times.next(3_600_000);
            times.again();
        }
        assert!(times.next(0) >= 3_000 * 3_600_000);
    }
}
