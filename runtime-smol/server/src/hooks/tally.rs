use std::sync::atomic::{AtomicU64, Ordering};

use super::body::Event;

/// Why a notice is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The memory for notices was used up.
    Memory,
    /// The back end failed each time.
    Failed,
}

/// Counts of failures, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Lost notices by event and reason.
    lost: [[AtomicU64; 2]; 3],
    unanswered: AtomicU64,
}

impl Tally {
    const NOTICES: [Event; 3] = [Event::Close, Event::Unpublish, Event::Stop];
    const REASONS: [(Lost, &str); 2] = [(Lost::Memory, "memory"), (Lost::Failed, "failed")];

    pub(super) fn lose(&self, event: Event, lost: Lost) {
        let event = Tally::NOTICES.iter().position(|notice| *notice == event);
        let reason = Tally::REASONS.iter().position(|(reason, _)| *reason == lost);
        let count = event.zip(reason).and_then(|(event, reason)| self.lost.get(event)?.get(reason));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn leave_unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Questions that no back end answered.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Notices that were lost: the name of the call, the reason, how many.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let of_event = |(event, counts): (&Event, &[AtomicU64; 2])| {
            let name = event.name();
            let counts = [0, 1].map(|index| counts[index].load(Ordering::Relaxed));
            Tally::REASONS.into_iter().zip(counts).map(move |((_, reason), count)| (name, reason, count))
        };
        let lost: Vec<_> = Tally::NOTICES.iter().zip(&self.lost).flat_map(of_event).collect();
        lost.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_counted_with_its_call_and_reason() {
        let tally = Tally::default();
        tally.lose(Event::Unpublish, Lost::Failed);
        tally.lose(Event::Stop, Lost::Memory);
        tally.lose(Event::Stop, Lost::Memory);
        let lost: Vec<_> = tally.lost().filter(|(.., count)| *count > 0).collect();
        assert_eq!(lost, [("on_unpublish", "failed", 1), ("on_stop", "memory", 2)]);
        assert_eq!(tally.lost().count(), 6);
    }
}
