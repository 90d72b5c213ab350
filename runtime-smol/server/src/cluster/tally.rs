use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anabranch_core::location::{Reply, Request};

/// The upper bounds of the buckets of durations, in seconds.
pub(crate) const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];

const KINDS: [&str; 5] = ["claim", "renew", "release", "find", "announce"];
const OUTCOMES: [&str; 4] = ["done", "held", "hold", "failed"];

/// Counts of what the directory was asked, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: [[AtomicU64; OUTCOMES.len()]; KINDS.len()],
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    /// Connections that were lost, and attempts that failed.
    lost: AtomicU64,
    failed: AtomicU64,
    connected: AtomicU64,
    notices: AtomicU64,
    names_lost: AtomicU64,
}

/// How long the directory took to answer.
#[derive(Debug, Clone)]
pub(crate) struct Durations {
    /// Seconds, of all requests together.
    pub(crate) sum: f64,
    pub(crate) count: u64,
    pub(crate) buckets: Vec<u64>,
}

impl Tally {
    /// A request has its reply.
    pub(super) fn answered(&self, request: &Request, reply: &Reply, time: Duration) {
        let kind = match request {
            Request::Claim { .. } => 0,
            Request::Renew { .. } => 1,
            Request::Release { .. } => 2,
            Request::Find { .. } => 3,
            Request::Announce => 4,
        };
        let outcome = match reply {
            Reply::Granted { .. } | Reply::Found(_) | Reply::Done => 0,
            Reply::Held(_) => 1,
            Reply::Hold(_) => 2,
            Reply::Failed => 3,
        };
        self.requests[kind][outcome].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connect(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn notice(&self) {
        self.notices.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lose_name(&self) {
        self.names_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests with a reply: kind, outcome, how many.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        KINDS.into_iter().zip(&self.requests).flat_map(|(kind, counts)| {
            OUTCOMES.into_iter().zip(counts).map(move |(outcome, count)| (kind, outcome, count.load(Ordering::Relaxed)))
        })
    }

    pub(crate) fn durations(&self) -> Durations {
        let buckets: Vec<_> = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        Durations { sum, count: buckets.iter().sum(), buckets }
    }

    /// How often the directory was connected to.
    pub(crate) fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Connections that were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Attempts to connect that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notices of other servers that came.
    pub(crate) fn notices(&self) -> u64 {
        self.notices.load(Ordering::Relaxed)
    }

    /// Names that another server has taken, or that could not be renewed.
    pub(crate) fn names_lost(&self) -> u64 {
        self.names_lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_by_its_outcome_and_its_time() {
        let tally = Tally::default();
        tally.answered(&Request::Announce, &Reply::Done, Duration::from_micros(500));
        tally.answered(&Request::Find { name: "a".into() }, &Reply::Failed, Duration::from_secs(60));
        let counted: Vec<_> = tally.requests().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [("find", "failed", 1), ("announce", "done", 1)]);
        let times = tally.durations();
        assert_eq!((times.count, times.buckets[0], times.buckets[BUCKETS.len()]), (2, 1, 1));
        assert_eq!(tally.requests().count(), 20);
    }
}
