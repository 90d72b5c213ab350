use std::time::{Duration, Instant};

use crate::endpoint::{Due, DueKind};
use crate::source::Gap;

/// A player whose queue is full and that takes nothing of it for so long is slow.
const STUCK: Duration = Duration::from_secs(5);
/// A slow player that misses nothing for so long keeps up again. Twice as long each time that it was slow before: a
/// player that is slow again and again is not reported each time.
const CALM: Duration = Duration::from_secs(10);
const LONGEST_CALM: Duration = Duration::from_secs(600);

/// When a player counts as slow: from when it misses frames, or takes nothing, until it has missed nothing for a while.
/// This decides nothing except what is reported.
#[derive(Debug, Default)]
pub(crate) struct Slowness {
    /// The present time of being slow.
    episode: Option<Box<Episode>>,
    /// How often it was slow before.
    before: u32,
    /// Since when its queue is full, and how much was written then.
    full: Option<(Instant, u64)>,
}

#[derive(Debug)]
struct Episode {
    start: Instant,
    /// When it last missed something, or was found to take nothing.
    last: Instant,
    missed: Gap,
}

impl Slowness {
    /// It missed frames. True if it is slow from now on.
    pub(crate) fn missed(&mut self, now: Instant, gap: Gap) -> bool {
        let begins = self.episode.is_none();
        let fresh = || Box::new(Episode { start: now, last: now, missed: Gap::default() });
        let episode = self.episode.get_or_insert_with(fresh);
        episode.last = now;
        episode.missed.add(gap);
        begins
    }

    /// Its queue is full, after so many written bytes. True if it is slow from now on, and otherwise when to look again.
    pub(crate) fn is_full(&mut self, now: Instant, written: u64) -> (bool, Option<Due>) {
        if let Some(episode) = &mut self.episode {
            episode.last = now;
            return (false, None);
        }
        let (since, _) = match self.full {
            Some(full) if full.1 == written => full,
            _ => *self.full.insert((now, written)),
        };
        if now.saturating_duration_since(since) < STUCK {
            return (false, Some(Due::new(since + STUCK, DueKind::SlowPlayer)));
        }
        (self.missed(now, Gap::default()), None)
    }

    /// It has got all that there is. Returns how long it was slow and what it missed, if that is over, and otherwise
    /// when to look again.
    pub(crate) fn has_all(&mut self, now: Instant) -> (Option<(Duration, Gap)>, Option<Due>) {
        self.full = None;
        let calm = CALM.saturating_mul(1 << self.before.min(16)).min(LONGEST_CALM);
        match self.episode.take_if(|episode| now.saturating_duration_since(episode.last) >= calm) {
            Some(episode) => {
                self.before = self.before.saturating_add(1);
                (Some((now.saturating_duration_since(episode.start), episode.missed)), None)
            }
            None => {
                let due = self.episode.as_ref().map(|episode| Due::new(episode.last + calm, DueKind::SlowPlayer));
                (None, due)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Gap = Gap { frames: 3, bytes: 300, milliseconds: 100 };

    #[allow(clippy::disallowed_methods)] // any instant is fine as the start of the test's clock
    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |seconds| start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_player_is_slow_from_its_first_gap_until_it_missed_nothing_for_a_while() {
        let (at, mut slowness) = (clock(), Slowness::default());
        assert_eq!(slowness.has_all(at(0)), (None, None), "a player that keeps up is not looked at");
        assert!(slowness.missed(at(1), GAP));
        assert!(!slowness.missed(at(5), GAP), "it is slow already");
        assert_eq!(slowness.has_all(at(14)), (None, Some(Due::new(at(15), DueKind::SlowPlayer))));
        let missed = Gap { frames: 6, bytes: 600, milliseconds: 200 };
        assert_eq!(slowness.has_all(at(15)), (Some((Duration::from_secs(14), missed)), None));
        assert_eq!(slowness.has_all(at(16)), (None, None));
    }

    #[test]
    fn a_player_that_is_slow_again_and_again_is_reported_less_and_less_often() {
        let (at, mut slowness) = (clock(), Slowness::default());
        let mut reports = Vec::new();
        for second in (0..36_000).step_by(11) {
            if slowness.missed(at(second), GAP) {
                reports.push(second);
            }
            slowness.has_all(at(second + 10));
        }
        assert_eq!(reports, [0, 11], "from then on it is slow for 11 s and 20 s would end that");
    }

    #[test]
    fn a_player_that_takes_nothing_of_a_full_queue_is_slow() {
        let (at, mut slowness) = (clock(), Slowness::default());
        let look = |second| Some(Due::new(at(second), DueKind::SlowPlayer));
        assert_eq!(slowness.is_full(at(0), 1000), (false, look(5)));
        assert_eq!(slowness.is_full(at(4), 1001), (false, look(9)), "it took a byte");
        assert_eq!(slowness.is_full(at(8), 1001), (false, look(9)));
        assert_eq!(slowness.is_full(at(9), 1001), (true, None));
        assert_eq!(slowness.is_full(at(30), 1001), (false, None), "it is slow already");
        assert!(!slowness.missed(at(31), GAP));
        assert_eq!(slowness.has_all(at(41)).0, Some((Duration::from_secs(32), GAP)));
    }
}
