//! The digests of the digest form of the handshake.
//!
//! The specification does not describe this form. Flash Player, FFmpeg and the servers for them use
//! the same layout. [`ServerHandshake`](super::ServerHandshake) and
//! [`ClientHandshake`](super::ClientHandshake) need no calls from outside: the functions here are
//! public for tools that read captures and for tests.
//!
//! After the first 8 bytes, C1 and S1 consist of two 764-byte blocks. One contains a 32-byte digest;
//! the four bytes at the start of the block give its offset. The other contains a 128-byte
//! Diffie-Hellman key; the four bytes at the end of the block give its offset. The order of the two
//! blocks is the [`Scheme`].
//! Only RTMPE uses the key; in plain RTMP that block is filler.
//!
//! ```text
//! digest(C1) = HMAC(player key[..30], C1 without its digest)
//! digest(S1) = HMAC(server key[..36], S1 without its digest)
//! S2         = filler[1504] | HMAC(HMAC(server key, digest(C1)), filler)
//! C2         = filler[1504] | HMAC(HMAC(player key, digest(S1)), filler)
//! ```
//!
//! Comparisons here are not constant-time: the keys are published constants, so timing can reveal no
//! secret.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{PACKET_LENGTH, Packet};

/// Length in bytes of a digest and of a signature.
pub const DIGEST_LENGTH: usize = 32;

/// An HMAC-SHA256 value.
pub type Digest = [u8; DIGEST_LENGTH];

/// Where the signature of a C2 or S2 starts: its last 32 bytes.
const SIGNATURE_POSITION: usize = PACKET_LENGTH - DIGEST_LENGTH;

/// The order of the digest block and the key block in a C1 or S1.
///
/// FFmpeg sends [`DigestFirst`](Self::DigestFirst), other clients either. A server answers in the
/// scheme of the client's C1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Key block at 8, digest block at 772. Often called scheme 0.
    KeyFirst,
    /// Digest block at 8, key block at 772. Often called scheme 1.
    DigestFirst,
}

impl Scheme {
    /// Both schemes, in the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::KeyFirst, Self::DigestFirst];

    /// Where the digest starts in a C1 or S1 of this scheme: 12 to 739, or 776 to 1503.
    #[must_use]
    pub fn digest_position(self, packet: &Packet) -> usize {
        let block = match self {
            Self::KeyFirst => 772,
            Self::DigestFirst => 8,
        };
        block + 4 + offset(packet, block) % 728
    }

    /// Where the 128-byte Diffie-Hellman key starts in a C1 or S1 of this scheme: 8 to 639, or 772
    /// to 1403.
    #[must_use]
    pub fn key_position(self, packet: &Packet) -> usize {
        let block = match self {
            Self::KeyFirst => 8,
            Self::DigestFirst => 772,
        };
        block + offset(packet, block + 760) % 632
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyFirst => "key first",
            Self::DigestFirst => "digest first",
        })
    }
}

/// The side whose key makes a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signer {
    /// The client, which signs C1 and C2.
    Client,
    /// The server, which signs S1 and S2.
    Server,
}

impl Signer {
    /// The published key of this side. Its text signs the first packet; the text and the 32 bytes
    /// after it sign the second.
    const fn key(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Client => (PLAYER_KEY.split_at(30).0, PLAYER_KEY),
            Self::Server => (SERVER_KEY.split_at(36).0, SERVER_KEY),
        }
    }
}

const PLAYER_KEY: &[u8; 62] = b"Genuine Adobe Flash Player 001\
    \xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\
    \x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae";

const SERVER_KEY: &[u8; 68] = b"Genuine Adobe Flash Media Server 001\
    \xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\
    \x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae";

/// The correct digest of `signer`'s C1 or S1 in this scheme: over the packet without the digest's own
/// 32 bytes.
#[must_use]
pub fn digest(signer: Signer, scheme: Scheme, packet: &Packet) -> Digest {
    let (before, _, after) = around_digest(scheme, packet);
    hmac(signer.key().0, &[before, after])
}

/// The scheme and the digest of `signer`'s C1 or S1, if it carries a correct one in either scheme.
#[must_use]
pub fn find(signer: Signer, packet: &Packet) -> Option<(Scheme, Digest)> {
    Scheme::ALL.into_iter().find_map(|scheme| {
        let (_, carried, _) = around_digest(scheme, packet);
        let digest = digest(signer, scheme, packet);
        (carried == digest).then_some((scheme, digest))
    })
}

/// Writes the digest into `signer`'s C1 or S1 and returns it. All other bytes must be final.
pub fn sign(signer: Signer, scheme: Scheme, packet: &mut Packet) -> Digest {
    let digest = digest(signer, scheme, packet);
    let position = scheme.digest_position(packet);
    for (byte, value) in packet.iter_mut().skip(position).zip(digest) {
        *byte = value;
    }
    digest
}

/// The key that signs `signer`'s C2 or S2, made from the digest in the other side's first packet.
#[must_use]
pub fn signature_key(signer: Signer, peer_digest: &Digest) -> Digest {
    hmac(signer.key().1, &[peer_digest])
}

/// The correct signature of `signer`'s C2 or S2, its last 32 bytes: over the 1504 bytes before them.
#[must_use]
pub fn signature(signer: Signer, peer_digest: &Digest, packet: &Packet) -> Digest {
    hmac(&signature_key(signer, peer_digest), &[&packet[..SIGNATURE_POSITION]])
}

/// Whether `signer`'s C2 or S2 answers the digest of the other side's first packet.
#[must_use]
pub fn is_signed(signer: Signer, peer_digest: &Digest, packet: &Packet) -> bool {
    packet[SIGNATURE_POSITION..] == signature(signer, peer_digest, packet)
}

/// `signer`'s C2 or S2: the filler with its last 32 bytes replaced by the signature.
#[must_use]
pub fn signed_answer(signer: Signer, peer_digest: &Digest, filler: Packet) -> Packet {
    let mut packet = filler;
    let signature = signature(signer, peer_digest, &packet);
    packet[SIGNATURE_POSITION..].copy_from_slice(&signature);
    packet
}

/// The sum of the four offset bytes at `position`.
fn offset(packet: &Packet, position: usize) -> usize {
    packet.iter().skip(position).take(4).map(|&byte| usize::from(byte)).sum()
}

/// The packet's bytes before its digest, the digest, and the bytes after it.
fn around_digest(scheme: Scheme, packet: &Packet) -> (&[u8], Digest, &[u8]) {
    packet
        .split_at_checked(scheme.digest_position(packet))
        .and_then(|(before, rest)| rest.split_first_chunk().map(|(digest, after)| (before, *digest, after)))
        .expect("a digest starts at 1503 at the latest and so ends inside the 1536 bytes")
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet whose four offset bytes at `position` add up to `sum`.
    fn with_offset(position: usize, sum: usize) -> Packet {
        let mut packet = [0x5a; PACKET_LENGTH];
        let mut left = sum;
        for byte in &mut packet[position..position + 4] {
            let part = left.min(255);
            *byte = u8::try_from(part).expect("at most 255");
            left -= part;
        }
        packet
    }

    #[test]
    fn every_offset_leaves_the_digest_and_the_key_inside_their_block() {
        for sum in 0..=4 * 255 {
            let first = Scheme::DigestFirst.digest_position(&with_offset(8, sum));
            assert!((12..=772 - 32).contains(&first), "{sum}: {first}");
            let second = Scheme::KeyFirst.digest_position(&with_offset(772, sum));
            assert!((776..=PACKET_LENGTH - 32).contains(&second), "{sum}: {second}");
            let first = Scheme::KeyFirst.key_position(&with_offset(768, sum));
            assert!((8..=768 - 128).contains(&first), "{sum}: {first}");
            let second = Scheme::DigestFirst.key_position(&with_offset(1532, sum));
            assert!((772..=1532 - 128).contains(&second), "{sum}: {second}");
        }
    }

    #[test]
    fn a_signed_packet_is_found_in_its_scheme_at_every_offset() {
        // 0 and 727 are the ends of the range, 728 wraps to its start, 1020 is the largest sum.
        for sum in [0, 1, 727, 728, 1020] {
            for (scheme, block) in [(Scheme::KeyFirst, 772), (Scheme::DigestFirst, 8)] {
                let mut packet = with_offset(block, sum);
                let digest = sign(Signer::Client, scheme, &mut packet);
                assert_eq!(find(Signer::Client, &packet), Some((scheme, digest)));
                assert_eq!(find(Signer::Server, &packet), None, "the other side's key must not match");
            }
        }
    }

    #[test]
    fn any_changed_bit_breaks_the_digest() {
        let mut packet = [0x5a; PACKET_LENGTH];
        sign(Signer::Server, Scheme::DigestFirst, &mut packet);
        for index in (0..PACKET_LENGTH).step_by(97).chain([PACKET_LENGTH - 1]) {
            let mut changed = packet;
            changed[index] ^= 1;
            assert_eq!(find(Signer::Server, &changed), None, "byte {index}");
        }
    }

    #[test]
    fn a_signature_answers_one_digest_only() {
        let answer = signed_answer(Signer::Server, &[1; 32], [9; PACKET_LENGTH]);
        assert!(is_signed(Signer::Server, &[1; 32], &answer));
        assert!(!is_signed(Signer::Server, &[2; 32], &answer));
        assert!(!is_signed(Signer::Client, &[1; 32], &answer));
    }
}
