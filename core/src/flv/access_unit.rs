use std::fmt;

use bytes::Bytes;

use super::Codec;

/// What one message holds of one track, without the headers of FLV: a picture, or the sound of a moment. The formats for
/// browsers are made of it.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    /// Its codec, and with it the medium.
    pub codec: Codec,
    /// Track id of Enhanced RTMP; 0 in a message without multitrack.
    pub track: u8,
    /// True if decoding can start at it: key frames, and all audio.
    pub key: bool,
    /// When it is decoded, in milliseconds modulo 2^32: the message's timestamp.
    pub timestamp: u32,
    /// Nanoseconds (0 to 999,999) that Enhanced RTMP adds to its presentation time.
    pub nanoseconds: u32,
    /// Milliseconds from decoding to presentation; some encoders send negative ones.
    pub composition_time: i32,
    /// The coded data, in memory that it shares with the message.
    pub payload: Slices,
}

/// Bytes in pieces that follow one another.
#[derive(Clone, Default)]
pub struct Slices {
    first: Bytes,
    /// Empty unless a message has several chunks; then there is no memory to be taken for it.
    rest: Vec<Bytes>,
}

impl Slices {
    /// The pieces, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.iter().map(Bytes::len).sum()
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.iter().all(Bytes::is_empty)
    }

    /// All bytes in one piece: shared if there is only one, else a copy.
    pub fn joined(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        let mut whole = Vec::with_capacity(self.len());
        self.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.into()
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.rest.push(piece);
        }
    }
}

impl From<Bytes> for Slices {
    fn from(first: Bytes) -> Self {
        Slices { first, rest: Vec::new() }
    }
}

impl fmt::Debug for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = crate::shown::Shown(&self.first);
        write!(f, "{} bytes in {} pieces, first {shown:?}", self.len(), 1 + self.rest.len())
    }
}
