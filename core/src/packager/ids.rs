use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The number of a session for its client: that of the process that made it, and 128 bits that cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionId {
    process: u32,
    bits: u128,
}

/// Without the bits, which are a secret of the client.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionId").field("process", &self.process).finish_non_exhaustive()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:032x}", self.process, self.bits)
    }
}

impl SessionId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 40 || !text.bytes().all(is_hex) {
            return None;
        }
        let (process, bits) = text.split_at(8);
        Some(SessionId { process: u32::from_str_radix(process, 16).ok()?, bits: u128::from_str_radix(bits, 16).ok()? })
    }
}

/// Makes the ids of one process.
#[derive(Clone)]
pub(super) struct Ids {
    key: [u8; 32],
    process: u32,
    made: u64,
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("process", &self.process).field("made", &self.made).finish_non_exhaustive()
    }
}

impl Ids {
    pub(super) fn new(key: [u8; 32]) -> Self {
        let [a, b, c, d, ..] = derived(&key, b"process");
        Ids { key, process: u32::from_be_bytes([a, b, c, d]), made: 0 }
    }

    pub(super) fn next(&mut self) -> SessionId {
        self.made += 1;
        let bits = derived(&self.key, &self.made.to_be_bytes());
        let bits = bits.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        SessionId { process: self.process, bits }
    }
}

/// Bytes for one purpose.
pub(super) fn derived(key: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key may have any length");
    mac.update(purpose);
    mac.finalize().into_bytes().into()
}
