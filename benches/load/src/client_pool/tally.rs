use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Histogram;

/// Numbers of one event loop that other threads read while it runs. It alone writes.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bytes that players received, all of the connection.
    pub bytes: Count,
    /// Frames that players received and checked.
    pub frames: Count,
    /// Frames that players did not get, by their numbers.
    pub gaps: Count,
    /// Players that got the server's message that they play.
    pub players: Count,
    /// First key frames that came, of all players that ever were.
    pub begun: Count,
    /// Publishers that may send.
    pub publishers: Count,
    /// Connections opened so far.
    pub opened: Count,
    /// Errors of all kinds.
    pub errors: Count,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds without a read-modify-write: there is one writer.
    pub(crate) fn add(&self, value: u64) {
        self.0.store(self.read().wrapping_add(value), Ordering::Relaxed);
    }
}

/// Numbers of one event loop that are read when it has ended.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// From the sending of a frame to its receipt, while measuring.
    pub latency: Histogram,
    /// How often what went wrong.
    pub errors: BTreeMap<String, u64>,
}

impl Numbers {
    /// Counts all that `other` has.
    pub fn merge(&mut self, other: &Numbers) {
        self.latency.merge(&other.latency);
        for (error, count) in &other.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
    }
}

/// Whether latencies count at the moment; shared by all loops of a run.
#[derive(Debug, Default)]
pub struct Measuring(AtomicBool);

impl Measuring {
    /// Switches it.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    /// True while they count.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
