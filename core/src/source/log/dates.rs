use std::time::{Duration, Instant};

use super::{Source, milliseconds_from};

/// How long frames may still show that those before came late.
const SETTLING: Duration = Duration::from_secs(10);
/// What timestamps may be ahead of the time in which they come, in milliseconds, or go back, before they count as set.
const STEP: u32 = 10_000;

impl Source {
    /// When a frame with some timestamp came: what says for all timestamps of the publication when they would have come
    /// if nothing had been late. Of the frames of the first seconds it is the one that was least late; so it is the same
    /// for all that ask later. It moves with timestamps that jump ahead, or back.
    pub(crate) fn dated(&self) -> Option<(u32, Instant)> {
        self.dated
    }

    /// A coded frame comes. `last` is the timestamp of the one before.
    pub(super) fn note_date(&mut self, now: Instant, time: u32, last: Option<u32>) {
        let settles = self.begun.is_none_or(|begun| now.saturating_duration_since(begun) < SETTLING);
        let is_new = self.dated.is_none_or(|(timestamp, came)| {
            let passed = now.saturating_duration_since(came).as_millis().min(u128::from(u32::MAX)) as u32;
            let ahead = milliseconds_from(timestamp, time).saturating_sub(passed);
            let back = last.map_or(0, |last| milliseconds_from(time, last));
            ahead > STEP || back > STEP || settles && ahead > 0
        });
        if is_new {
            self.dated = Some((time, now));
        }
    }
}
