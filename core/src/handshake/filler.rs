//! The filler of a handshake packet: bytes without meaning.

use sha2::{Digest as _, Sha256};

use super::{PACKET_LENGTH, Packet};
use crate::split_mix::split_mix;

/// A packet of filler. It depends only on the seed and on the packet's name ("C1", "S2"), so that
/// tests are repeatable and the client can compute its C1 again instead of keeping it.
///
/// Filler is sent unencrypted and no key depends on it, so it need not be cryptographic: SplitMix64
/// makes it at about the cost of a copy. One SHA-256 of the seed comes first, because the caller may
/// use the seed for other purposes: the seed cannot be computed from the bytes on the wire.
pub(super) fn packet(seed: &[u8; 32], name: &str) -> Packet {
    let hash = Sha256::new().chain_update(name).chain_update(seed).finalize();
    let mut state = hash.iter().take(8).fold(0, |state: u64, &byte| (state << 8) | u64::from(byte));
    let mut packet = [0; PACKET_LENGTH];
    for word in packet.as_chunks_mut::<8>().0 {
        *word = split_mix(&mut state).to_be_bytes();
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_for_a_seed_and_differs_between_seeds_and_packets() {
        assert_eq!(packet(&[7; 32], "S1"), packet(&[7; 32], "S1"));
        assert_ne!(packet(&[7; 32], "S1"), packet(&[8; 32], "S1"));
        assert_ne!(packet(&[7; 32], "S1"), packet(&[7; 32], "S2"));
    }

    #[test]
    fn every_byte_of_the_seed_counts() {
        let plain = packet(&[0; 32], "C1");
        for index in 0..32 {
            let mut seed = [0; 32];
            seed[index] = 1;
            assert_ne!(packet(&seed, "C1"), plain, "byte {index}");
        }
    }

    #[test]
    fn the_whole_packet_is_filled_even_from_a_zero_seed() {
        let packet = packet(&[0; 32], "S1");
        for (index, block) in packet.chunks(16).enumerate() {
            assert_ne!(block, [0; 16], "block {index}");
        }
    }

    #[test]
    fn split_mix_gives_the_published_sequence() {
        let mut state = 0;
        let words = [(); 3].map(|()| split_mix(&mut state));
        assert_eq!(words, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }
}
