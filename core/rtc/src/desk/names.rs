use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::engine::Credentials;

/// What a session is known by.
pub(super) struct Named {
    /// Towards its peer.
    pub(super) credentials: Credentials,
    /// The secret in its URL.
    pub(super) secret: [u8; 16],
    /// The numbers of its first packets.
    pub(super) first_numbers: [u16; 2],
}

/// Makes names, passwords and numbers.
pub(super) struct Names {
    key: [u8; 32],
    made: u64,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Names {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Names { key: seed, made: 0 }
    }

    /// For a session.
    pub(super) fn next(&mut self) -> Named {
        let (open, secret) = (self.bytes(), self.bytes());
        let [a, b, c, d, ..] = open;
        let mut of_url = [0; 16];
        of_url.copy_from_slice(&secret[..16]);
        Named {
            credentials: Credentials { name: hex(&open[8..16]), password: hex(&secret[16..]) },
            secret: of_url,
            // Far from the end of the 16 bits, so that a packet that comes out of order cannot be taken for one after it.
            first_numbers: [u16::from_be_bytes([a, b]) & 0x3FFF, u16::from_be_bytes([c, d]) & 0x3FFF],
        }
    }

    /// For what is said once.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        self.made += 1;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC key may have any length");
        mac.update(&self.made.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}
