use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A number with one writer and any number of readers. A write costs as much as to a plain number: it is not an atomic
/// read-modify-write.
#[derive(Debug, Default)]
pub(super) struct Number(AtomicU64);

impl Number {
    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn add(&self, value: u64) {
        self.set(self.read().wrapping_add(value));
    }

    /// Stores `value` if it is larger.
    pub(super) fn raise(&self, value: u64) {
        if value > self.read() {
            self.set(value);
        }
    }
}

/// A number that may be absent; holds up to `u64::MAX - 1`.
#[derive(Debug, Default)]
pub(super) struct OptionalNumber(Number);

impl OptionalNumber {
    pub(super) fn read(&self) -> Option<u64> {
        self.0.read().checked_sub(1)
    }

    pub(super) fn set(&self, value: Option<u64>) {
        self.0.set(value.map_or(0, |value| value.saturating_add(1)));
    }
}

/// Whole milliseconds from `origin` to `now`; 0 if `now` is earlier.
pub(super) fn milliseconds_since(origin: Instant, now: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(origin);
    elapsed.as_secs().saturating_mul(1000).saturating_add(u64::from(elapsed.subsec_millis()))
}

/// The time from an event, `at` milliseconds after `origin`, to `now`.
pub(super) fn ago(origin: Instant, at: u64, now: Instant) -> Duration {
    Duration::from_millis(milliseconds_since(origin, now).saturating_sub(at))
}
