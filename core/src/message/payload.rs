use std::{fmt, ops::Deref};

use bytes::{Buf, Bytes};

use crate::chunk::MAX_HEADER;
use crate::shown::Shown;

/// The body of one message, with room in front for a chunk header.
///
/// A frame that fits one chunk is relayed without a second copy, because its header is written into this room.
/// Dereferences to the body's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// `MAX_HEADER` bytes of room, then the body.
    buffer: Vec<u8>,
}

impl Payload {
    /// Below this size the buffer grows in small steps, because connections before `connect` send such messages and
    /// their memory matters more than the copies. A publisher's message below this size gets its room at once.
    pub(crate) const SMALL: usize = 64 << 10;

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(MAX_HEADER + capacity);
        buffer.resize(MAX_HEADER, 0);
        Payload { buffer }
    }

    /// Appends `bytes`. The buffer grows by a quarter while it is small and doubles later, but never beyond `length`,
    /// the announced size of the body. So memory follows the received bytes and ends exactly at the announced size.
    pub(crate) fn append(&mut self, bytes: &[u8], length: usize) {
        let needed = self.buffer.len() + bytes.len();
        let capacity = self.buffer.capacity();
        if needed > capacity {
            let more = if capacity < Self::SMALL { capacity / 4 } else { capacity };
            let target = (capacity + more).clamp(needed, (MAX_HEADER + length).max(needed));
            self.buffer.reserve_exact(target - self.buffer.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes allocated.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The body as shared bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        from(self.buffer, MAX_HEADER)
    }

    /// Writes `header`, at most [`MAX_HEADER`] bytes, directly before the body and returns both together, without a
    /// copy of the body.
    pub(crate) fn into_headed(mut self, header: &[u8]) -> Bytes {
        let start = MAX_HEADER - header.len();
        self.buffer[start..MAX_HEADER].copy_from_slice(header);
        from(self.buffer, start)
    }
}

/// The buffer from `start` on. `Bytes::slice` would briefly create a second owner, and so allocate a reference count,
/// which messages without players do not need.
fn from(buffer: Vec<u8>, start: usize) -> Bytes {
    let mut bytes = Bytes::from(buffer);
    bytes.advance(start);
    bytes
}

impl From<&[u8]> for Payload {
    fn from(body: &[u8]) -> Self {
        let mut payload = Payload::with_capacity(body.len());
        payload.buffer.extend_from_slice(body);
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(body: Vec<u8>) -> Self {
        Payload::from(body.as_slice())
    }
}

impl Default for Payload {
    fn default() -> Self {
        Payload::with_capacity(0)
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[MAX_HEADER..]
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Shown(self), f)
    }
}
