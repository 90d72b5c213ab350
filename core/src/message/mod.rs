//! Messages, which chunk streams carry (RTMP 1.0 §5.4, §6, §7).
//!
//! [`Message`] is one assembled message; [`Control`] and [`UserControl`] are the typed forms of the protocol control
//! messages; [`data`] reads and corrects data messages such as `onMetaData`.

mod control;
pub mod data;
mod payload;
mod shared_object;
mod user_control;

pub use control::{Control, ControlError, PeerBandwidthLimit};
pub use payload::Payload;
pub use shared_object::{SharedObject, SharedObjectError, SharedObjectEvent};
pub use user_control::UserControl;

use crate::flv::{FlvError, Tag, aggregate};

/// One message, assembled from its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of its chunk stream; has no further meaning.
    pub chunk_stream: u32,
    /// Milliseconds, modulo 2^32, on the sender's clock.
    pub timestamp: u32,
    /// The kind of payload, see [`MessageType`].
    pub type_id: u8,
    /// The message stream it belongs to; 0 is the connection itself.
    pub message_stream_id: u32,
    /// The body.
    pub payload: Payload,
}

impl Message {
    /// A video message: an FLV video tag body, at `timestamp` milliseconds.
    pub fn video(timestamp: u32, body: impl Into<Payload>) -> Self {
        Message::media(MessageType::VIDEO, timestamp, body)
    }

    /// An audio message: an FLV audio tag body.
    pub fn audio(timestamp: u32, body: impl Into<Payload>) -> Self {
        Message::media(MessageType::AUDIO, timestamp, body)
    }

    /// A data message in AMF0, such as `onMetaData` and its value, without `@setDataFrame`.
    pub fn data(timestamp: u32, body: impl Into<Payload>) -> Self {
        Message::media(MessageType::DATA_AMF0, timestamp, body)
    }

    fn media(type_id: u8, timestamp: u32, body: impl Into<Payload>) -> Self {
        // The chunk stream is chosen when the message is written.
        Message { chunk_stream: 0, timestamp, type_id, message_stream_id: 0, payload: body.into() }
    }

    /// The messages in an aggregate, each with its own timestamp, or the error of one that cannot be read.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Result<Message, FlvError>> {
        aggregate::parse(&self.payload, self.timestamp).map(|part| {
            part.map(|part| Message {
                chunk_stream: self.chunk_stream,
                timestamp: part.timestamp,
                type_id: part.type_id,
                message_stream_id: self.message_stream_id,
                payload: Payload::from(part.payload),
            })
        })
    }
}

/// The message with the body of an FLV tag. Script data is as in a player's stream: `onMetaData` without `@setDataFrame`.
impl From<Tag<'_>> for Message {
    fn from(tag: Tag<'_>) -> Self {
        Message::media(tag.type_id, tag.timestamp, tag.body)
    }
}

/// Message type ids (RTMP 1.0 §5.4, §6.2, §7.1).
#[derive(Debug, Clone, Copy)]
pub struct MessageType;

impl MessageType {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control Message.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio: an FLV audio tag body.
    pub const AUDIO: u8 = 8;
    /// Video: an FLV video tag body.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3 (in practice one zero byte, then AMF0).
    pub const DATA_AMF3: u8 = 15;
    /// Shared object in AMF3.
    pub const SHARED_OBJECT_AMF3: u8 = 16;
    /// Command in AMF3 (in practice one zero byte, then AMF0).
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA_AMF0: u8 = 18;
    /// Shared object in AMF0.
    pub const SHARED_OBJECT_AMF0: u8 = 19;
    /// Command in AMF0.
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate: several audio, video and data messages in one.
    pub const AGGREGATE: u8 = 22;
}

/// Strips the format byte of an AMF3-typed body (types 15, 16, 17).
///
/// The body of such a message is one zero byte, then AMF0; some senders leave that byte out. An AMF0 body starts with
/// the String marker 2, so the two cannot be confused.
pub(crate) fn strip_amf3_selector(type_id: u8, body: &[u8]) -> &[u8] {
    match (type_id, body) {
        (MessageType::DATA_AMF3 | MessageType::COMMAND_AMF3, [0, rest @ ..]) => rest,
        _ => body,
    }
}
