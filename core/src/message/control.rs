use thiserror::Error;

use super::{MessageType, UserControl};
use crate::chunk::write_message;

/// A protocol control message: message stream 0, chunk stream 2 (RTMP 1.0 §5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// From now on the sender's chunks have this size in bytes, at least 1.
    SetChunkSize(u32),
    /// The sender will not complete its partial message on this chunk stream.
    Abort(u32),
    /// Bytes that the sender of this message has received since the connection began, modulo 2^32.
    Acknowledgement(u32),
    /// A user control event.
    User(UserControl),
    /// The sender wants an acknowledgement each time this many bytes were received.
    WindowAckSize(u32),
    /// The receiver should have at most `window` bytes sent and not acknowledged.
    SetPeerBandwidth {
        /// Window in bytes.
        window: u32,
        /// How the window combines with earlier ones.
        limit: PeerBandwidthLimit,
    },
}

/// The limit type of Set Peer Bandwidth (RTMP 1.0 §5.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerBandwidthLimit {
    /// Limit to the window.
    Hard,
    /// Limit to the smaller of this window and the one in force.
    Soft,
    /// Same as hard if the previous one was hard, else ignored. Every server sends this type.
    Dynamic,
}

/// A control message that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The body ends too early.
    #[error("control message of type {type_id} has only {length} bytes")]
    Short {
        /// Message type id.
        type_id: u8,
        /// Body length in bytes.
        length: usize,
    },
    /// Set Chunk Size of zero.
    #[error("chunk size 0")]
    ZeroChunkSize,
}

impl Control {
    /// Reads the body of a message of type 1 to 6; `None` for other types.
    ///
    /// # Errors
    /// A body that is too short, or a chunk size of zero. User control events never fail: an unknown or short event is
    /// [`UserControl::Unknown`].
    pub fn parse(type_id: u8, body: &[u8]) -> Result<Option<Control>, ControlError> {
        let short = ControlError::Short { type_id, length: body.len() };
        let word = body.first_chunk().copied().map(u32::from_be_bytes).ok_or(short);
        Ok(Some(match type_id {
            MessageType::SET_CHUNK_SIZE => match word? & 0x7fff_ffff {
                // The top bit must be zero (§5.4.1). Like other tolerant peers, ignore it.
                0 => return Err(ControlError::ZeroChunkSize),
                size => Control::SetChunkSize(size),
            },
            MessageType::ABORT => Control::Abort(word?),
            MessageType::ACKNOWLEDGEMENT => Control::Acknowledgement(word?),
            MessageType::USER_CONTROL => Control::User(UserControl::parse(body)),
            MessageType::WINDOW_ACK_SIZE => Control::WindowAckSize(word?),
            MessageType::SET_PEER_BANDWIDTH => Control::SetPeerBandwidth {
                window: word?,
                limit: match body.get(4) {
                    Some(0) => PeerBandwidthLimit::Hard,
                    Some(1) => PeerBandwidthLimit::Soft,
                    // Dynamic, also for a missing or unknown type: it is never stricter than the previous limit.
                    _ => PeerBandwidthLimit::Dynamic,
                },
            },
            _ => return Ok(None),
        }))
    }

    /// Appends the message to `out`, chunk header included. Always on chunk stream 2: Larix accepts it only there.
    pub fn write(&self, chunk_size: u32, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(12);
        let type_id = match self {
            Control::SetChunkSize(size) => {
                body.extend_from_slice(&size.to_be_bytes());
                MessageType::SET_CHUNK_SIZE
            }
            Control::Abort(chunk_stream) => {
                body.extend_from_slice(&chunk_stream.to_be_bytes());
                MessageType::ABORT
            }
            Control::Acknowledgement(bytes) => {
                body.extend_from_slice(&bytes.to_be_bytes());
                MessageType::ACKNOWLEDGEMENT
            }
            Control::User(event) => {
                event.encode(&mut body);
                MessageType::USER_CONTROL
            }
            Control::WindowAckSize(window) => {
                body.extend_from_slice(&window.to_be_bytes());
                MessageType::WINDOW_ACK_SIZE
            }
            Control::SetPeerBandwidth { window, limit } => {
                body.extend_from_slice(&window.to_be_bytes());
                body.push(match limit {
                    PeerBandwidthLimit::Hard => 0,
                    PeerBandwidthLimit::Soft => 1,
                    PeerBandwidthLimit::Dynamic => 2,
                });
                MessageType::SET_PEER_BANDWIDTH
            }
        };
        write_message(out, chunk_size, 2, 0, type_id, 0, &body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(control: &Control) -> String {
        let mut out = Vec::new();
        control.write(128, &mut out);
        hex::encode(out)
    }

    #[test]
    fn the_opening_of_every_connection_is_as_servers_send_it() {
        assert_eq!(wire(&Control::WindowAckSize(2_500_000)), "02000000000004050000000000 2625a0".replace(' ', ""));
        assert_eq!(
            wire(&Control::SetPeerBandwidth { window: 2_500_000, limit: PeerBandwidthLimit::Dynamic }),
            "02000000000005060000000000 2625a002".replace(' ', "")
        );
        assert_eq!(wire(&Control::SetChunkSize(60_000)), "0200000000000401000000000000ea60");
        assert_eq!(wire(&Control::User(UserControl::StreamBegin(1))), "020000000000060400000000000000000001");
    }

    #[test]
    fn what_is_written_reads_back() {
        let all = [
            Control::SetChunkSize(1),
            Control::Abort(70_000),
            Control::Acknowledgement(u32::MAX),
            Control::User(UserControl::PingRequest(77)),
            Control::WindowAckSize(0),
            Control::SetPeerBandwidth { window: 9, limit: PeerBandwidthLimit::Hard },
            Control::SetPeerBandwidth { window: 9, limit: PeerBandwidthLimit::Soft },
        ];
        for control in all {
            let mut out = Vec::new();
            control.write(128, &mut out);
            assert_eq!(Control::parse(out[7], &out[12..]), Ok(Some(control)));
        }
    }

    #[test]
    fn short_and_senseless_bodies_are_told_apart() {
        assert_eq!(Control::parse(5, &[0, 1]), Err(ControlError::Short { type_id: 5, length: 2 }));
        assert_eq!(Control::parse(1, &[0; 4]), Err(ControlError::ZeroChunkSize));
        assert_eq!(Control::parse(8, &[]), Ok(None));
        assert_eq!(
            Control::parse(6, &[0, 0, 0, 5]),
            Ok(Some(Control::SetPeerBandwidth { window: 5, limit: PeerBandwidthLimit::Dynamic }))
        );
    }
}
