use std::fmt;
use std::ops::RangeInclusive;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng};

/// Seeded random numbers. Equal seeds give equal numbers on every machine, always.
#[derive(Debug, Clone)]
pub struct Rng(SplitMix64);

impl Rng {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(SplitMix64::seed_from_u64(seed))
    }

    /// Independent numbers for the part of a simulation called `label`: the numbers that one part draws do not change
    /// those of others.
    pub fn fork(&self, label: u64) -> Rng {
        let state = u64::from_le_bytes(self.0.state());
        let mut rng = Rng::new(state ^ label.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        Rng::new(rng.draw())
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `range`, ends included.
    pub fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        let span = (range.end() - range.start()) as u64 + 1;
        range.start() + (self.draw() % span) as usize
    }

    /// True once in `of` times.
    pub fn once_in(&mut self, of: u64) -> bool {
        self.draw().is_multiple_of(of)
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.within(0..=choices.len() - 1)]
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut();
        for word in words {
            *word = self.draw().to_le_bytes();
        }
        let word = self.draw().to_le_bytes();
        rest.copy_from_slice(&word[..rest.len()]);
    }

    /// A seed for something that takes 32 bytes.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        seed
    }
}

/// A fingerprint of all events: every byte in each direction, every action, every end, and their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Digest {
    pub(super) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        // Four at a time: each word waits for the one before it, and most of a long run is spent here.
        let (blocks, bytes) = bytes.as_chunks::<32>();
        if !blocks.is_empty() {
            let mut lanes: [Digest; 4] = std::array::from_fn(|lane| Digest(self.0 ^ lane as u64));
            for block in blocks {
                let (words, _) = block.as_chunks();
                for (lane, word) in lanes.iter_mut().zip(words) {
                    lane.word(u64::from_le_bytes(*word));
                }
            }
            for lane in lanes {
                self.word(lane.0);
            }
        }
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds in reports of failures, and in tests, must keep their meaning with another version of the library.
    #[test]
    fn numbers_are_those_that_they_have_always_been() {
        let mut rng = Rng::new(0);
        assert_eq!([(); 3].map(|()| rng.draw()), [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
        assert_eq!(rng.fork(1).draw(), 0xa81a_1118_0d8b_c978);
    }
}
