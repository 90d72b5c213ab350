//! Damage to recorded bytes, determined by one seed.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Random numbers that are the same everywhere for a seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(SplitMix64::seed_from_u64(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).expect("below a usize")
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Changes `bytes` from `from` on in one to four places; splices are taken from `other`.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>, from: usize, other: &[u8]) {
    for _ in 0..=random.below(4) {
        let length = bytes.len().saturating_sub(from);
        let at = from + random.below(length);
        let end = (at + 1 + random.below(64)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let start = random.below(other.len());
                let stop = (start + random.below(400)).min(other.len());
                bytes.splice(at..at, other[start..stop].iter().copied());
            }
            5 => edit_length(random, bytes, from),
            _ => {
                let noise = 1 + random.below(24);
                let noise = random.bytes(noise);
                bytes.splice(at..at, noise);
            }
        }
    }
}

/// Finds bytes that may be a full chunk header and changes the length field, because it makes a reader allocate.
fn edit_length(random: &mut Random, bytes: &mut [u8], from: usize) {
    let candidates: Vec<usize> = (from..bytes.len().saturating_sub(12))
        .filter(|&at| bytes[at] < 0x40 && bytes[at + 1..at + 4] == [0; 3])
        .collect();
    if candidates.is_empty() {
        return;
    }
    let at = candidates[random.below(candidates.len())];
    let length = match random.below(4) {
        0 => 0,
        1 => 0xff_ffff,
        2 => u32::from_be_bytes([0, bytes[at + 4], bytes[at + 5], bytes[at + 6]]).wrapping_add(1),
        _ => random.next() as u32,
    };
    bytes[at + 4..at + 7].copy_from_slice(&length.to_be_bytes()[1..]);
}
