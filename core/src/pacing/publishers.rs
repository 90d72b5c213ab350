use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The publishers of a server, on all virtual hosts.
#[derive(Debug, Default)]
pub(crate) struct Publishers {
    count: AtomicUsize,
    /// The start of the common times at which publishers are read.
    origin: OnceLock<Instant>,
}

/// Reads that wait are due at multiples of this, so that a thread wakes once for many publishers. Short, so that the
/// publishers of a large server are not all read in one turn while players wait.
const COMMON_TIME: Duration = Duration::from_millis(5);

impl Publishers {
    /// Counts one more publisher.
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one publisher less.
    pub(crate) fn remove(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The last common time before this one.
    pub(crate) fn common_time(&self, time: Instant) -> Instant {
        let origin = *self.origin.get_or_init(|| time);
        let over = time.saturating_duration_since(origin).as_nanos() % COMMON_TIME.as_nanos();
        time - Duration::from_nanos(u64::try_from(over).unwrap_or_default())
    }
}
