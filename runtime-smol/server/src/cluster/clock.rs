//! The clock of this machine beside that of the directory. Servers of a cluster write the time into what they sign, so
//! their clocks must agree; each of them compares its own with the directory's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anabranch_core::cluster::CLOCK_TOLERANCE;
use anabranch_program::Fault;

/// Two servers that are each nearer to the directory than this are near enough to each other.
const NEAR: Duration = Duration::from_secs(CLOCK_TOLERANCE.as_secs() / 2);

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What is wrong, if the clocks are too far from each other: the directory said its time (`theirs`) at some moment of
/// the last `took`, and now it is `ours` here.
pub(super) fn fault(theirs: Duration, ours: Duration, took: Duration) -> Option<Fault> {
    let (ahead, behind) = (theirs.saturating_sub(ours), ours.saturating_sub(took).saturating_sub(theirs));
    let apart = ahead.max(behind);
    if apart <= NEAR {
        return None;
    }
    let side = if ahead > behind { "behind" } else { "ahead of" };
    let (apart, most) = (apart.as_secs(), CLOCK_TOLERANCE.as_secs());
    Some(Fault::new(
        format!(
            "the clock of this machine is {apart} s {side} the one of the Redis; servers whose clocks are more than {most} s \
             apart refuse each other's pulls"
        ),
        "set the clocks of all servers and of the Redis, and let them be kept right (systemd-timesyncd, chrony)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_apart_by_half_of_what_signatures_bear() {
        let second = |number| Duration::from_secs(number);
        let words = |theirs, took| fault(second(theirs), second(1000), second(took)).map(|fault| fault.words);
        for theirs in [985, 1000, 1015] {
            assert_eq!(words(theirs, 0), None);
        }
        assert!(words(1016, 0).is_some_and(|words| words.contains("is 16 s behind the one of the Redis")));
        assert!(words(900, 0).is_some_and(|words| words.contains("is 100 s ahead of the one of the Redis")));
        // The answer was long on its way.
        assert_eq!(words(900, 90), None);
        assert!(words(900, 80).is_some_and(|words| words.contains("is 20 s ahead of")));
        assert_eq!(fault(Duration::ZERO, second(10), second(20)), None);
    }
}
