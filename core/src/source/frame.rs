use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use super::headers::HeaderChange;
use crate::chunk::{continuation_header, message_header, write_message};
use crate::flv::{self, FrameClass};
use crate::message::{Message, MessageType, Payload};

/// How frames of a source are cut for the wire. One for all players: that is why a frame is encoded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFormat {
    /// Chunk size in bytes; every player's connection must have announced the same.
    pub chunk_size: u32,
}

/// One audio, video or data message, encoded for the wire and shared by all players.
///
/// Each frame is a whole message with a full chunk header, so that any of them can be left out.
#[derive(Debug, Clone)]
pub struct Frame {
    wire: Bytes,
    timestamp: u32,
    chunk_size: u32,
    kind: FrameKind,
    class: FrameClass,
    join_point: bool,
    /// For a multitrack message: its default track as a message without multitrack, if it has one.
    plain: Option<Arc<Option<Frame>>>,
    /// What a header frame does to the headers in force; empty for all others.
    changes: Box<[HeaderChange]>,
}

/// Audio, video or data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// An FLV audio tag body.
    Audio,
    /// An FLV video tag body.
    Video,
    /// An AMF0 data message.
    Data,
}

impl FrameKind {
    fn of(type_id: u8) -> Self {
        match type_id {
            MessageType::AUDIO => FrameKind::Audio,
            MessageType::VIDEO => FrameKind::Video,
            _ => FrameKind::Data,
        }
    }

    fn type_id(self) -> u8 {
        match self {
            FrameKind::Audio => MessageType::AUDIO,
            FrameKind::Video => MessageType::VIDEO,
            FrameKind::Data => MessageType::DATA_AMF0,
        }
    }

    /// Each kind has a chunk stream of its own, all with one-byte ids.
    fn chunk_stream(self) -> u8 {
        match self {
            FrameKind::Audio => 4,
            FrameKind::Video => 6,
            FrameKind::Data => 5,
        }
    }
}

impl Frame {
    /// The message stream that frames are encoded for: the first one a connection is given, which nearly every player
    /// uses.
    pub const STREAM_ID: u32 = 1;

    /// Length of a message header without extended timestamp.
    const SHORT_HEADER: usize = 12;

    /// Encodes a message of type 8, 9 or 18 with its own timestamp. A body that fits one chunk is not copied.
    pub fn encode(message: Message, format: WireFormat) -> Frame {
        let timestamp = message.timestamp;
        Frame::encode_at(message, format, |_, _| timestamp)
    }

    /// The same with a timestamp chosen when it is known what the message is.
    pub(crate) fn encode_at(
        mut message: Message,
        format: WireFormat,
        timestamp: impl FnOnce(FrameKind, FrameClass) -> u32,
    ) -> Frame {
        let kind = FrameKind::of(message.type_id);
        let (class, join_point, multitrack) = match kind {
            FrameKind::Video => {
                let info = flv::classify_video(&message.payload);
                (info.class, info.is_join_point(), info.multitrack)
            }
            FrameKind::Audio => {
                let info = flv::classify_audio(&message.payload);
                (info.class, false, info.multitrack)
            }
            FrameKind::Data if is_metadata(&message.payload) => (FrameClass::Metadata, false, false),
            FrameKind::Data => (FrameClass::Other, false, false),
        };
        message.timestamp = timestamp(kind, class);
        let plain = multitrack.then(|| plain_track(&message, kind, format));
        let body = &message.payload;
        let changes = if class.is_header() || class == FrameClass::SequenceEnd {
            HeaderChange::of(kind, body)
        } else {
            Box::default()
        };
        let timestamp = message.timestamp;
        let wire = if body.len() <= format.chunk_size as usize {
            let length = body.len() as u32;
            let header = message_header(kind.chunk_stream(), timestamp, length, kind.type_id(), Self::STREAM_ID);
            message.payload.into_headed(&header)
        } else {
            wire(kind, timestamp, format.chunk_size, body)
        };
        Frame { wire, timestamp, chunk_size: format.chunk_size, kind, class, join_point, plain, changes }
    }

    /// The message as it goes to a player, chunk headers included.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// Milliseconds, modulo 2^32.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Audio, video or data.
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// What the frame is to a relay. Metadata (`onMetaData`) is [`FrameClass::Metadata`] of kind data.
    pub fn class(&self) -> FrameClass {
        self.class
    }

    /// True if a player can start here: a video key frame of the default track.
    pub fn is_join_point(&self) -> bool {
        self.join_point
    }

    /// True if late joiners need it: sequence headers, metadata and the like.
    pub fn is_header(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The frame as a player gets it: multitrack messages only go to players that understand them, others get the
    /// default track, or nothing if the message is not about it.
    pub(crate) fn for_player(&self, multitrack: bool) -> Option<&Frame> {
        match &self.plain {
            Some(plain) if !multitrack => plain.as_ref().as_ref(),
            _ => Some(self),
        }
    }

    pub(super) fn changes(&self) -> &[HeaderChange] {
        &self.changes
    }

    /// The message body, put together again where it was cut into chunks.
    pub fn payload(&self) -> Cow<'_, [u8]> {
        let (header, continuation) = self.header_lengths();
        let chunk_size = self.chunk_size as usize;
        let body = &self.wire[header..];
        if body.len() <= chunk_size {
            return Cow::Borrowed(body);
        }
        let (first, rest) = body.split_at(chunk_size);
        let mut whole = Vec::with_capacity(body.len());
        whole.extend_from_slice(first);
        for chunk in rest.chunks(continuation + chunk_size) {
            whole.extend_from_slice(&chunk[continuation..]);
        }
        Cow::Owned(whole)
    }

    /// The same message for another message stream: a new head, and the shared rest.
    pub(crate) fn for_stream(&self, stream_id: u32) -> (Bytes, Bytes) {
        let mut head = self.wire[..Self::SHORT_HEADER].to_vec();
        head[8..].copy_from_slice(&stream_id.to_le_bytes());
        (Bytes::from(head), self.wire.slice(Self::SHORT_HEADER..))
    }

    /// The same message at another time. Copies the body: for the few headers a player starts with.
    pub(crate) fn at(&self, timestamp: u32) -> Frame {
        let mut frame = self.clone();
        if timestamp != self.timestamp {
            frame.timestamp = timestamp;
            frame.wire = wire(self.kind, timestamp, self.chunk_size, &self.payload());
            if let Some(plain) = &self.plain {
                frame.plain = Some(Arc::new(plain.as_ref().as_ref().map(|plain| plain.at(timestamp))));
            }
        }
        frame
    }

    /// Lengths of the first chunk's header and of the later ones'.
    fn header_lengths(&self) -> (usize, usize) {
        let continuation = continuation_header(self.kind.chunk_stream(), self.timestamp).len();
        (Self::SHORT_HEADER + continuation - 1, continuation)
    }
}

fn wire(kind: FrameKind, timestamp: u32, chunk_size: u32, body: &[u8]) -> Bytes {
    let mut out = Vec::new();
    write_message(&mut out, chunk_size, kind.chunk_stream(), timestamp, kind.type_id(), Frame::STREAM_ID, body);
    out.shrink_to_fit();
    Bytes::from(out)
}

fn plain_track(message: &Message, kind: FrameKind, format: WireFormat) -> Arc<Option<Frame>> {
    let body = match kind {
        FrameKind::Video => flv::rebuild::plain_video(&message.payload),
        _ => flv::rebuild::plain_audio(&message.payload),
    };
    let plain = body.map(|body| Message {
        chunk_stream: message.chunk_stream,
        timestamp: message.timestamp,
        type_id: message.type_id,
        stream_id: message.stream_id,
        payload: Payload::from(body.as_ref()),
    });
    Arc::new(plain.map(|plain| Frame::encode(plain, format)))
}

/// True for the AMF0 String "onMetaData" in front.
fn is_metadata(body: &[u8]) -> bool {
    body.starts_with(b"\x02\x00\x0aonMetaData")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(timestamp: u32, body: &[u8], chunk_size: u32) -> Frame {
        let message = Message {
            chunk_stream: 6,
            timestamp,
            type_id: MessageType::VIDEO,
            stream_id: 7,
            payload: Payload::from(body),
        };
        Frame::encode(message, WireFormat { chunk_size })
    }

    #[test]
    fn one_chunk_or_many_the_body_reads_back() {
        let body: Vec<u8> = [0x17, 1, 0, 0, 0].into_iter().chain((0..=255).cycle().take(1000)).collect();
        for timestamp in [0, 0xff_fffe, 0xff_ffff, 0x0100_0000, u32::MAX] {
            for chunk_size in [1, 2, 128, 1004, 1005, 60_000] {
                let frame = video(timestamp, &body, chunk_size);
                assert_eq!(frame.payload(), &body[..], "at {timestamp} with {chunk_size}");
                let moved = frame.at(timestamp.wrapping_add(0x00ff_0000));
                assert_eq!(moved.payload(), &body[..]);
                assert_eq!(moved.timestamp(), timestamp.wrapping_add(0x00ff_0000));
            }
        }
    }

    #[test]
    fn another_message_stream_changes_four_bytes() {
        let frame = video(5, &[0x17, 1, 0, 0, 0, 9], 128);
        let (head, tail) = frame.for_stream(0x0102_0304);
        assert_eq!(&head[..8], &frame.wire()[..8]);
        assert_eq!(&head[8..], [4, 3, 2, 1]);
        assert_eq!(tail, frame.wire().slice(12..));
    }

    #[test]
    fn a_body_that_fits_one_chunk_is_not_copied() {
        let payload = Payload::from(&[0x27, 1, 0, 0, 0, 1, 2, 3][..]);
        let before = payload.as_ptr();
        let message = Message { chunk_stream: 6, timestamp: 1, type_id: MessageType::VIDEO, stream_id: 1, payload };
        let frame = Frame::encode(message, WireFormat { chunk_size: 128 });
        assert_eq!(frame.wire()[12..].as_ptr(), before);
    }

    #[test]
    fn key_frames_headers_and_metadata_are_told_apart() {
        assert!(video(0, &[0x17, 1, 0, 0, 0, 9], 128).is_join_point());
        let header = video(0, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff], 128);
        assert!(header.is_header() && !header.is_join_point());
        let other = video(0, &[0x27, 1, 0, 0, 0, 9], 128);
        assert!(!other.is_header() && !other.is_join_point());
    }
}
