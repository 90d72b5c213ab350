use std::sync::Arc;

use bytes::Bytes;

use super::{MAX_PAYLOAD, Packets};

/// Puts pictures of VP9 into packets (RFC 9628): one layer, with a number for each picture.
#[derive(Debug, Clone, Default)]
pub struct Vp9Packetizer {
    /// The number of the next picture, of 15 bits.
    next: u16,
}

/// Bits of the first byte of a payload, §4.2.
const HAS_NUMBER: u8 = 0x80;
const IS_PREDICTED: u8 = 0x40;
const BEGINS: u8 = 0x08;
const ENDS: u8 = 0x04;
/// Bytes of the descriptor in front of each payload.
const DESCRIPTOR: usize = 3;

impl Vp9Packetizer {
    /// Puts a picture into packets. An empty one has none.
    pub fn packetize(&mut self, picture: &Bytes, is_key: bool) -> Packets {
        let number = self.next;
        self.next = (number + 1) & 0x7FFF;
        let pieces = picture.chunks(MAX_PAYLOAD - DESCRIPTOR);
        let last = pieces.len().saturating_sub(1);
        let payloads = pieces
            .enumerate()
            .map(|(index, piece)| {
                let mut first = HAS_NUMBER;
                first |= if is_key { 0 } else { IS_PREDICTED };
                first |= if index == 0 { BEGINS } else { 0 };
                first |= if index == last { ENDS } else { 0 };
                let mut payload = Vec::with_capacity(DESCRIPTOR + piece.len());
                payload.push(first);
                payload.extend_from_slice(&(number | 0x8000).to_be_bytes());
                payload.extend_from_slice(piece);
                Arc::from(payload)
            })
            .collect();
        // What a picture refreshes is deep in its header; pictures that nothing needs are rare in VP9.
        Packets { payloads, is_reference: true }
    }
}
