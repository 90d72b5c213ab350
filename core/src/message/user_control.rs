use std::fmt;

use crate::shown::Shown;

/// A user control event: the body of message type 4 (RTMP 1.0 §6.2, §7.1.7).
#[derive(Clone, PartialEq, Eq)]
pub enum UserControl {
    /// The message stream is ready for use.
    StreamBegin(u32),
    /// Playback of the message stream has ended.
    StreamEof(u32),
    /// The message stream has had no data for some time.
    StreamDry(u32),
    /// The client's buffer for a message stream.
    SetBufferLength {
        /// Message stream id; librtmp sends 0 before it has one.
        message_stream_id: u32,
        /// Buffer length in milliseconds.
        milliseconds: u32,
    },
    /// The message stream is a recording.
    StreamIsRecorded(u32),
    /// Answer with [`PingResponse`](Self::PingResponse) and the same number.
    PingRequest(u32),
    /// The answer to a ping.
    PingResponse(u32),
    /// The server asks for a hash of the player's SWF file.
    SwfVerifyRequest,
    /// The hash of the player's SWF file, opaque here.
    SwfVerifyResponse(Vec<u8>),
    /// The server's buffer for the message stream ran empty (Flash Media Server).
    BufferEmpty(u32),
    /// The server's buffer for the message stream is filled again (Flash Media Server).
    BufferReady(u32),
    /// An event that is unknown, or too short for its kind. It is ignored and never an error.
    Unknown {
        /// Event type; 0xffff if the body has less than two bytes.
        event: u16,
        /// The bytes after the event type.
        data: Vec<u8>,
    },
}

impl fmt::Debug for UserControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = match self {
            UserControl::StreamBegin(stream) => ("StreamBegin", stream),
            UserControl::StreamEof(stream) => ("StreamEof", stream),
            UserControl::StreamDry(stream) => ("StreamDry", stream),
            UserControl::StreamIsRecorded(stream) => ("StreamIsRecorded", stream),
            UserControl::PingRequest(time) => ("PingRequest", time),
            UserControl::PingResponse(time) => ("PingResponse", time),
            UserControl::BufferEmpty(stream) => ("BufferEmpty", stream),
            UserControl::BufferReady(stream) => ("BufferReady", stream),
            UserControl::SwfVerifyRequest => return f.write_str("SwfVerifyRequest"),
            UserControl::SwfVerifyResponse(hash) => {
                return f.debug_tuple("SwfVerifyResponse").field(&Shown(hash)).finish();
            }
            UserControl::SetBufferLength { message_stream_id, milliseconds } => {
                let mut shown = f.debug_struct("SetBufferLength");
                return shown
                    .field("message_stream_id", message_stream_id)
                    .field("milliseconds", milliseconds)
                    .finish();
            }
            UserControl::Unknown { event, data } => {
                return f.debug_struct("Unknown").field("event", event).field("data", &Shown(data)).finish();
            }
        };
        f.debug_tuple(name).field(number).finish()
    }
}

impl UserControl {
    /// Reads the body of a message of type 4. Bytes beyond the event's own are ignored.
    pub fn parse(body: &[u8]) -> UserControl {
        let Some((&event, data)) = body.split_first_chunk() else {
            return UserControl::Unknown { event: u16::MAX, data: body.to_vec() };
        };
        let event = u16::from_be_bytes(event);
        let word = data.first_chunk().copied().map(u32::from_be_bytes);
        let second = data.get(4..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_be_bytes);
        match (event, word, second) {
            (0, Some(id), _) => UserControl::StreamBegin(id),
            (1, Some(id), _) => UserControl::StreamEof(id),
            (2, Some(id), _) => UserControl::StreamDry(id),
            (3, Some(message_stream_id), Some(milliseconds)) => {
                UserControl::SetBufferLength { message_stream_id, milliseconds }
            }
            (4, Some(id), _) => UserControl::StreamIsRecorded(id),
            (6, Some(time), _) => UserControl::PingRequest(time),
            (7, Some(time), _) => UserControl::PingResponse(time),
            // librtmp sends one byte of data with it, others none.
            (26, _, _) => UserControl::SwfVerifyRequest,
            (27, _, _) => UserControl::SwfVerifyResponse(data.to_vec()),
            (31, Some(id), _) => UserControl::BufferEmpty(id),
            (32, Some(id), _) => UserControl::BufferReady(id),
            _ => UserControl::Unknown { event, data: data.to_vec() },
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (event, word) = match self {
            UserControl::StreamBegin(id) => (0u16, Some(*id)),
            UserControl::StreamEof(id) => (1, Some(*id)),
            UserControl::StreamDry(id) => (2, Some(*id)),
            UserControl::SetBufferLength { message_stream_id, .. } => (3, Some(*message_stream_id)),
            UserControl::StreamIsRecorded(id) => (4, Some(*id)),
            UserControl::PingRequest(time) => (6, Some(*time)),
            UserControl::PingResponse(time) => (7, Some(*time)),
            UserControl::SwfVerifyRequest => (26, None),
            UserControl::SwfVerifyResponse(_) => (27, None),
            UserControl::BufferEmpty(id) => (31, Some(*id)),
            UserControl::BufferReady(id) => (32, Some(*id)),
            UserControl::Unknown { event, .. } => (*event, None),
        };
        out.extend_from_slice(&event.to_be_bytes());
        if let Some(word) = word {
            out.extend_from_slice(&word.to_be_bytes());
        }
        match self {
            UserControl::SetBufferLength { milliseconds, .. } => out.extend_from_slice(&milliseconds.to_be_bytes()),
            UserControl::SwfVerifyResponse(data) | UserControl::Unknown { data, .. } => out.extend_from_slice(data),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_short_events_are_values() {
        assert_eq!(UserControl::parse(&[0, 0xff, 1, 2]), UserControl::Unknown { event: 255, data: vec![1, 2] });
        assert_eq!(UserControl::parse(&[0, 6, 1]), UserControl::Unknown { event: 6, data: vec![1] });
        assert_eq!(UserControl::parse(&[9]), UserControl::Unknown { event: u16::MAX, data: vec![9] });
        assert_eq!(UserControl::parse(&[0, 3, 0, 0, 0, 1]), UserControl::Unknown { event: 3, data: vec![0, 0, 0, 1] });
    }

    #[test]
    fn every_event_reads_back_as_written() {
        let all = [
            UserControl::StreamBegin(1),
            UserControl::StreamEof(2),
            UserControl::StreamDry(3),
            UserControl::SetBufferLength { message_stream_id: 1, milliseconds: 36_000_000 },
            UserControl::StreamIsRecorded(4),
            UserControl::PingRequest(5),
            UserControl::PingResponse(6),
            UserControl::SwfVerifyRequest,
            UserControl::SwfVerifyResponse(vec![1; 42]),
            UserControl::BufferEmpty(7),
            UserControl::BufferReady(8),
            UserControl::Unknown { event: 99, data: vec![1, 2, 3] },
        ];
        for event in all {
            let mut out = Vec::new();
            event.encode(&mut out);
            assert_eq!(UserControl::parse(&out), event);
        }
    }
}
