use std::time::Duration;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Random numbers that repeat for a seed.
#[derive(Debug, Clone)]
pub struct Random(SplitMix64);

impl Random {
    /// A sequence of this seed's own.
    pub fn new(seed: u64) -> Self {
        Random(SplitMix64::seed_from_u64(seed))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A duration from `low` to below `high` milliseconds.
    pub fn milliseconds(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(low * 1000 + self.below((high - low).max(1) * 1000))
    }

    /// Thirty-two bytes for a connection's handshake.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for word in seed.as_chunks_mut::<8>().0 {
            *word = self.next_u64().to_le_bytes();
        }
        seed
    }
}
