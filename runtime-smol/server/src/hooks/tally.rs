use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::body::Event;
use super::reply::Reply;

/// Why a notice is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The memory for notices was used up.
    Memory,
    /// The back end failed each time.
    Failed,
}

/// The upper bounds of the buckets of call durations, in seconds.
pub(crate) const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Counts of calls and failures, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Lost notices by event and reason.
    lost: [[AtomicU64; 2]; 4],
    failed_questions: AtomicU64,
    calls: [Calls; Event::ALL.len()],
}

/// The calls for one event.
#[derive(Debug, Default)]
struct Calls {
    outcomes: [AtomicU64; Tally::OUTCOMES.len()],
    /// How long they took, in nanoseconds together, and by the bucket; the last one has those above all bounds.
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len() + 1],
}

/// How long the calls for one event took.
#[derive(Debug, Clone)]
pub(crate) struct Durations {
    pub(crate) call: &'static str,
    /// Seconds, of all together.
    pub(crate) sum: f64,
    pub(crate) count: u64,
    /// Calls in each bucket of [`BUCKETS`], and above them.
    pub(crate) buckets: [u64; BUCKETS.len() + 1],
}

impl Tally {
    const NOTICES: [Event; 7] =
        [Event::Close, Event::Unpublish, Event::Stop, Event::Dvr, Event::Hls, Event::Forward, Event::Switch];
    const OUTCOMES: [&'static str; 3] = ["granted", "refused", "failed"];
    const REASONS: [(Lost, &str); 2] = [(Lost::Memory, "memory"), (Lost::Failed, "failed")];

    pub(super) fn lose(&self, event: Event, lost: Lost) {
        let event = Tally::NOTICES.iter().position(|notice| *notice == event);
        let reason = Tally::REASONS.iter().position(|(reason, _)| *reason == lost);
        let count = event.zip(reason).and_then(|(event, reason)| self.lost.get(event)?.get(reason));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call to one URL has ended.
    pub(super) fn called(&self, event: Event, reply: &Reply, time: Duration) {
        let index = Event::ALL.iter().position(|known| *known == event);
        let Some(calls) = index.and_then(|index| self.calls.get(index)) else {
            return;
        };
        let outcome = match reply {
            Reply::Granted | Reply::Renamed(_) | Reply::Targets(_) => 0,
            Reply::Refused { .. } => 1,
            Reply::Failed(_) => 2,
        };
        calls.outcomes[outcome].fetch_add(1, Ordering::Relaxed);
        calls.nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        calls.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were made: the name of the call, the outcome, how many.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        Event::ALL.iter().zip(&self.calls).flat_map(|(event, calls)| {
            let outcomes = Tally::OUTCOMES.into_iter().zip(&calls.outcomes);
            outcomes.map(|(outcome, count)| (event.name(), outcome, count.load(Ordering::Relaxed)))
        })
    }

    /// How long the calls took, for each kind of call.
    pub(crate) fn durations(&self) -> impl Iterator<Item = Durations> + '_ {
        Event::ALL.iter().zip(&self.calls).map(|(event, calls)| {
            let buckets = std::array::from_fn(|bucket| calls.buckets[bucket].load(Ordering::Relaxed));
            let sum = Duration::from_nanos(calls.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
            Durations { call: event.name(), sum, count: buckets.iter().sum(), buckets }
        })
    }

    pub(super) fn fail_question(&self) {
        self.failed_questions.fetch_add(1, Ordering::Relaxed);
    }

    /// Questions that no back end answered.
    pub(crate) fn failed_questions(&self) -> u64 {
        self.failed_questions.load(Ordering::Relaxed)
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
        assert_eq!(tally.lost().count(), 8);
    }

    #[test]
    fn each_call_is_counted_by_its_outcome_and_its_time() {
        let tally = Tally::default();
        tally.called(Event::Publish, &Reply::Granted, Duration::from_millis(5));
        tally.called(Event::Publish, &Reply::Failed("no".to_owned()), Duration::from_secs(60));
        let made: Vec<_> = tally.calls().filter(|(.., count)| *count > 0).collect();
        assert_eq!(made, [("on_publish", "granted", 1), ("on_publish", "failed", 1)]);
        let times = tally.durations().find(|times| times.call == "on_publish").unwrap();
        assert_eq!((times.count, times.buckets[0], times.buckets[BUCKETS.len()]), (2, 1, 1));
        assert!((times.sum - 60.005).abs() < 1e-6, "{}", times.sum);
    }
}
