use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::headers::changes_any;
use crate::chunk::{continuation_header, message_header, write_message};
use crate::flv::{self, FrameClass, Pictures};
use crate::message::{Message, MessageType, Payload};
use crate::shown::Shown;

/// How frames of a source are cut into chunks. It is the same for all players, so a frame is encoded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFormat {
    /// Chunk size in bytes; the connection of every player must have announced it.
    pub chunk_size: u32,
}

/// One audio, video or data message, encoded for the wire and shared by all players.
///
/// Each frame is a whole message with a full chunk header, so that any frame can be left out.
#[derive(Clone)]
pub struct Frame {
    /// The message as it was encoded, with the timestamp `encoded_for`.
    wire: Bytes,
    encoded_for: u32,
    timestamp: u32,
    /// For a frame with another timestamp than `encoded_for`: the message in one piece, made by the first call of
    /// [`wire`](Self::wire).
    moved: Option<Box<OnceLock<Bytes>>>,
    chunk_size: u32,
    kind: FrameKind,
    class: FrameClass,
    join_point: bool,
    /// For a multitrack message: its default track as a message without multitrack, if it has one.
    plain: Option<Arc<Option<Frame>>>,
    header: bool,
    /// True if only players that have announced its codec get it as it is.
    for_announced: bool,
}

/// One line, whatever the size: `Frame(Video KeyFrame at 40 ms, 6 bytes [17, 01, 00, 00, 00, 09])`.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:?} {:?} at {} ms, {:?})", self.kind, self.class, self.timestamp, Shown(&self.payload()))
    }
}

/// Bytes that a message takes in addition to its own: the reference count, the room in front of it, and what the
/// allocator adds.
const MESSAGE: usize = 64;

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

    pub(crate) fn type_id(self) -> u8 {
        match self {
            FrameKind::Audio => MessageType::AUDIO,
            FrameKind::Video => MessageType::VIDEO,
            FrameKind::Data => MessageType::DATA_AMF0,
        }
    }

    /// Each kind has its own chunk stream, all with one-byte ids.
    fn chunk_stream(self) -> u8 {
        match self {
            FrameKind::Audio => 4,
            FrameKind::Video => 6,
            FrameKind::Data => 5,
        }
    }
}

impl Frame {
    /// The message stream that frames are encoded for: the first one of a connection, which nearly every player uses.
    pub const MESSAGE_STREAM_ID: u32 = 1;

    /// Length of a message header without extended timestamp.
    const SHORT_HEADER: usize = 12;

    /// Encodes a message of type 8, 9 or 18 with its own timestamp. A body that fits into one chunk is not copied.
    pub fn encode(message: Message, format: WireFormat) -> Frame {
        let timestamp = message.timestamp;
        Frame::encode_at(message, format, &mut Pictures::default(), |_, _| timestamp)
    }

    /// Encodes a message with the timestamp that `timestamp` chooses by the kind and class of the message.
    pub(crate) fn encode_at(
        mut message: Message,
        format: WireFormat,
        pictures: &mut Pictures,
        timestamp: impl FnOnce(FrameKind, FrameClass) -> u32,
    ) -> Frame {
        let kind = FrameKind::of(message.type_id);
        let (class, join_point, multitrack) = match kind {
            FrameKind::Video => {
                let info = flv::classify_video(&message.payload);
                if info.class == FrameClass::SequenceHeader && info.default_track {
                    pictures.note_header(&message.payload);
                }
                let class = if info.default_track { pictures.class(info.class, &message.payload) } else { info.class };
                (class, class == FrameClass::KeyFrame && info.default_track, info.multitrack)
            }
            FrameKind::Audio => {
                let info = flv::classify_audio(&message.payload);
                (info.class, false, info.multitrack)
            }
            FrameKind::Data if is_metadata(&message.payload) => (FrameClass::Metadata, false, false),
            FrameKind::Data => (FrameClass::Other, false, false),
        };
        message.timestamp = timestamp(kind, class);
        let plain = multitrack.then(|| plain_track(&message, kind, format, pictures));
        let body = &message.payload;
        let header = (class.is_header() || class == FrameClass::SequenceEnd) && changes_any(kind, body);
        let timestamp = message.timestamp;
        let wire = if body.len() <= format.chunk_size as usize {
            let length = body.len() as u32;
            let head = message_header(kind.chunk_stream(), timestamp, length, kind.type_id(), Self::MESSAGE_STREAM_ID);
            message.payload.into_headed(&head)
        } else {
            wire(kind, timestamp, format.chunk_size, body)
        };
        Frame {
            wire,
            encoded_for: timestamp,
            timestamp,
            moved: None,
            chunk_size: format.chunk_size,
            kind,
            class,
            join_point,
            plain,
            header,
            for_announced: false,
        }
    }

    /// The message as it goes to a player, chunk headers included, in one piece.
    ///
    /// This is a copy for a frame that has got another timestamp since it was encoded (see
    /// [`Start::frames`](super::Start::frames)); [`pieces`](Self::pieces) never copies.
    pub fn wire(&self) -> &Bytes {
        match &self.moved {
            None => &self.wire,
            Some(moved) => moved.get_or_init(|| wire(self.kind, self.timestamp, self.chunk_size, &self.payload())),
        }
    }

    /// Hands the message for the message stream `message_stream_id` to `sink` in pieces, chunk headers included.
    /// Headers that differ from the encoded ones are written again; the payload is shared.
    pub fn pieces(&self, message_stream_id: u32, mut sink: impl FnMut(Bytes)) {
        if message_stream_id == Self::MESSAGE_STREAM_ID && self.timestamp == self.encoded_for {
            sink(self.wire.clone());
            return;
        }
        let chunk_stream = self.kind.chunk_stream();
        let (header, continuation) = self.header_lengths();
        let chunk_size = self.chunk_size.max(1) as usize;
        let mut body = self.wire.slice(header..);
        let length = self.payload_length(body.len(), continuation);
        let head = message_header(chunk_stream, self.timestamp, length as u32, self.kind.type_id(), message_stream_id);
        sink(Bytes::copy_from_slice(&head));
        let new_continuation = continuation_header(chunk_stream, self.timestamp);
        let same = *new_continuation == *continuation_header(chunk_stream, self.encoded_for);
        if same || body.len() <= chunk_size {
            sink(body);
            return;
        }
        let new_continuation = Bytes::copy_from_slice(&new_continuation);
        sink(body.split_to(chunk_size));
        while !body.is_empty() {
            let mut chunk = body.split_to(body.len().min(continuation + chunk_size));
            sink(new_continuation.clone());
            sink(chunk.split_off(continuation.min(chunk.len())));
        }
    }

    /// The chunk size that it was cut for, in bytes.
    pub(crate) fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// True if a peer that expects this chunk size can read the message as it is cut.
    pub(crate) fn is_cut_for(&self, chunk_size: u32) -> bool {
        let (header, _) = self.header_lengths();
        let whole = self.wire.len() - header <= self.chunk_size.min(chunk_size) as usize;
        whole || self.chunk_size == chunk_size
    }

    /// Bytes of memory that the frame's messages take.
    pub(super) fn held_bytes(&self) -> usize {
        let plain = self.plain.as_ref().and_then(|plain| plain.as_ref().as_ref());
        self.wire.len() + plain.map_or(0, |plain| plain.wire.len())
    }

    /// Bytes that it takes in addition to its messages and itself: reference counts, the room in front of the messages,
    /// its plain form, and a second copy of itself if it is a header that is kept for later players.
    pub(super) fn extra_bytes(&self) -> usize {
        let plain = if self.plain.is_some() { MESSAGE + size_of::<Frame>() + 16 } else { 0 };
        let header = if self.header { size_of::<Frame>() + 32 } else { 0 };
        MESSAGE + plain + header
    }

    /// The timestamp in milliseconds, modulo 2^32.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Audio, video or data.
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// The frame's class, which decides how it is relayed. `onMetaData` has [`FrameClass::Metadata`] and the kind data.
    pub fn class(&self) -> FrameClass {
        self.class
    }

    /// True if a player can start here: a video key frame of the default track, whether its tag marks it as one or its
    /// payload shows it.
    pub fn is_join_point(&self) -> bool {
        self.join_point
    }

    /// True if players that join later need it: sequence headers, metadata and the like.
    pub fn is_header(&self) -> bool {
        self.header
    }

    /// The frame as a player gets it: only players that understand multitrack messages get them; other players get the
    /// default track, or nothing if the message does not contain it.
    pub(crate) fn for_player(&self, multitrack: bool) -> Option<&Frame> {
        match &self.plain {
            Some(plain) if !multitrack => plain.as_ref().as_ref(),
            _ => Some(self),
        }
    }

    /// True if players get different forms of it.
    pub(super) fn differs_by_player(&self) -> bool {
        self.plain.is_some()
    }

    /// True if decoders need a key frame before it.
    pub(super) fn needs_key_frame(&self) -> bool {
        self.kind == FrameKind::Video && self.class.is_coded()
    }

    /// True if only players that understand multitrack get it.
    pub(crate) fn is_for_multitrack_only(&self) -> bool {
        self.plain.as_ref().is_some_and(|plain| plain.is_none())
    }

    /// Keeps the frame from players that do not understand multitrack.
    pub(crate) fn for_multitrack_only(&mut self) {
        self.plain = Some(Arc::new(None));
    }

    /// True if only players that have announced its codec get it as it is.
    pub(crate) fn is_for_announced(&self) -> bool {
        self.for_announced
    }

    /// Keeps the frame as it is from players that have not announced its codec.
    pub(crate) fn only_for_announced(&mut self) {
        self.for_announced = true;
        if let Some(plain) = self.plain.as_mut().and_then(|plain| Arc::make_mut(plain).as_mut()) {
            plain.for_announced = true;
        }
    }

    /// The message body. It is a copy if the body was cut into several chunks.
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

    /// The part of the body that is in the first chunk, and whether that is all of it.
    pub(super) fn first_chunk(&self) -> (&[u8], bool) {
        let (header, _) = self.header_lengths();
        let body = &self.wire[header..];
        let length = body.len().min(self.chunk_size.max(1) as usize);
        (&body[..length], length == body.len())
    }

    /// Hands the body to `sink`, chunk by chunk, without the headers of the chunks.
    pub(super) fn chunks(&self, mut sink: impl FnMut(Bytes)) {
        let (header, continuation) = self.header_lengths();
        let chunk_size = self.chunk_size.max(1) as usize;
        let mut body = self.wire.slice(header..);
        sink(body.split_to(body.len().min(chunk_size)));
        while !body.is_empty() {
            let mut chunk = body.split_to(body.len().min(continuation + chunk_size));
            sink(chunk.split_off(continuation.min(chunk.len())));
        }
    }

    /// Bytes of the message body.
    pub(super) fn body_length(&self) -> usize {
        let (header, continuation) = self.header_lengths();
        self.payload_length(self.wire.len() - header, continuation)
    }

    /// The message body in slices, one for each chunk.
    pub(super) fn body_slices(&self, mut sink: impl FnMut(&[u8])) {
        let (mut start, continuation) = self.header_lengths();
        let chunk_size = self.chunk_size.max(1) as usize;
        while start < self.wire.len() {
            let end = self.wire.len().min(start + chunk_size);
            sink(&self.wire[start..end]);
            start = end + continuation;
        }
    }

    /// The same message with another body.
    pub(crate) fn with_body(&self, body: &[u8]) -> Frame {
        let mut frame = self.clone();
        frame.wire = wire(self.kind, self.timestamp, self.chunk_size, body);
        (frame.encoded_for, frame.moved, frame.plain) = (self.timestamp, None, None);
        frame
    }

    /// The same message with another timestamp; the payload is shared.
    pub(crate) fn at(&self, timestamp: u32) -> Frame {
        let mut frame = self.clone();
        if timestamp != self.timestamp {
            frame.timestamp = timestamp;
            frame.moved = (timestamp != self.encoded_for).then(Box::default);
            if let Some(plain) = &self.plain {
                frame.plain = Some(Arc::new(plain.as_ref().as_ref().map(|plain| plain.at(timestamp))));
            }
        }
        frame
    }

    /// The same message encoded for another timestamp. The payload is copied, so that batches and other readers find the
    /// message in one piece.
    pub(crate) fn encoded_again(&self, timestamp: u32) -> Frame {
        let mut frame = self.clone();
        if timestamp != self.timestamp {
            frame.wire = wire(self.kind, timestamp, self.chunk_size, &self.payload());
            (frame.encoded_for, frame.timestamp, frame.moved) = (timestamp, timestamp, None);
            if let Some(plain) = &self.plain {
                frame.plain = Some(Arc::new(plain.as_ref().as_ref().map(|plain| plain.encoded_again(timestamp))));
            }
        }
        frame
    }

    /// Length of the body whose chunks take `chunked` bytes, including all chunk headers after the first.
    fn payload_length(&self, chunked: usize, continuation: usize) -> usize {
        let chunk_size = self.chunk_size.max(1) as usize;
        let later = chunked.saturating_sub(chunk_size).div_ceil(continuation + chunk_size);
        chunked - later * continuation
    }

    /// Lengths of the first chunk header and of the continuation headers, as encoded.
    fn header_lengths(&self) -> (usize, usize) {
        let continuation = continuation_header(self.kind.chunk_stream(), self.encoded_for).len();
        (Self::SHORT_HEADER + continuation - 1, continuation)
    }
}

fn wire(kind: FrameKind, timestamp: u32, chunk_size: u32, body: &[u8]) -> Bytes {
    let mut out = Vec::new();
    write_message(&mut out, chunk_size, kind.chunk_stream(), timestamp, kind.type_id(), Frame::MESSAGE_STREAM_ID, body);
    out.shrink_to_fit();
    Bytes::from(out)
}

fn plain_track(message: &Message, kind: FrameKind, format: WireFormat, pictures: &Pictures) -> Arc<Option<Frame>> {
    let body = match kind {
        FrameKind::Video => flv::rebuild::plain_video(&message.payload),
        _ => flv::rebuild::plain_audio(&message.payload),
    };
    let plain = body.map(|body| Message {
        chunk_stream: message.chunk_stream,
        timestamp: message.timestamp,
        type_id: message.type_id,
        message_stream_id: message.message_stream_id,
        payload: Payload::from(body.as_ref()),
    });
    let timestamp = message.timestamp;
    Arc::new(plain.map(|plain| Frame::encode_at(plain, format, &mut pictures.clone(), |_, _| timestamp)))
}

/// True if the body begins with the AMF0 String "onMetaData".
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
            message_stream_id: 7,
            payload: Payload::from(body),
        };
        Frame::encode(message, WireFormat { chunk_size })
    }

    #[test]
    fn the_body_is_the_same_in_one_chunk_and_in_many() {
        let body: Vec<u8> = [0x17, 1, 0, 0, 0].into_iter().chain((0..=255).cycle().take(1000)).collect();
        for timestamp in [0, 0xff_fffe, 0xff_ffff, 0x0100_0000, u32::MAX] {
            for chunk_size in [1, 2, 128, 1004, 1005, 60_000] {
                let frame = video(timestamp, &body, chunk_size);
                assert_eq!(frame.payload(), &body[..], "at {timestamp} with {chunk_size}");
                let moved = frame.at(timestamp.wrapping_add(0x00ff_0000));
                assert_eq!(moved.payload(), &body[..]);
                assert_eq!(moved.timestamp(), timestamp.wrapping_add(0x00ff_0000));
                assert_eq!(*moved.wire(), *video(moved.timestamp(), &body, chunk_size).wire());
            }
        }
    }

    #[test]
    fn at_another_time_or_on_another_stream_only_the_chunk_headers_are_new() {
        let body: Vec<u8> = [0x17, 1, 0, 0, 0].into_iter().chain((0..=255).cycle().take(1000)).collect();
        for (before, after) in [(0, 5), (5, 0x0100_0000), (u32::MAX, 5), (0x0100_0000, 0x0200_0000), (7, 7)] {
            for chunk_size in [128, 201, 335, 1005, 60_000] {
                let frame = video(before, &body, chunk_size);
                let shared = frame.wire().as_ptr_range();
                for message_stream_id in [1, 0x0102_0304] {
                    let mut wire = Vec::new();
                    let mut copied = 0;
                    frame.at(after).pieces(message_stream_id, |piece| {
                        copied += if shared.contains(&piece.as_ptr()) { 0 } else { piece.len() };
                        wire.extend_from_slice(&piece);
                    });
                    let mut expected = video(after, &body, chunk_size).wire().to_vec();
                    expected[8..12].copy_from_slice(&message_stream_id.to_le_bytes());
                    assert_eq!(wire, expected, "{before} to {after} in chunks of {chunk_size} on {message_stream_id}");
                    assert!(copied <= 16 + 5 * (body.len() / chunk_size as usize), "{copied} bytes are not shared");
                }
            }
        }
    }

    #[test]
    fn a_body_that_fits_one_chunk_is_not_copied() {
        let payload = Payload::from(&[0x27, 1, 0, 0, 0, 1, 2, 3][..]);
        let before = payload.as_ptr();
        let message =
            Message { chunk_stream: 6, timestamp: 1, type_id: MessageType::VIDEO, message_stream_id: 1, payload };
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

    #[test]
    fn a_frame_goes_out_as_the_message_it_came_as() {
        let bodies: [(u8, &[u8]); 4] = [
            (MessageType::VIDEO, &[0x17, 1, 0, 0, 0, 9]),
            (MessageType::AUDIO, &[0xaf, 1, 5]),
            (MessageType::DATA_AMF0, b"\x02\x00\x0aonMetaData\x05"),
            (MessageType::DATA_AMF0, b"\x02\x00\x06onText\x05"),
        ];
        for (type_id, body) in bodies {
            let payload = Payload::from(body);
            let message = Message { chunk_stream: 9, timestamp: 40, type_id, message_stream_id: 7, payload };
            let frame = Frame::encode(message, WireFormat { chunk_size: 128 });
            let mut reader = crate::chunk::ChunkReader::new(Default::default(), crate::chunk::Leniency::Strict);
            let read = reader.read(&mut &frame.wire()[..]).expect("legal").expect("whole");
            assert_eq!((read.type_id, read.timestamp, read.message_stream_id), (type_id, 40, Frame::MESSAGE_STREAM_ID));
            assert_eq!(*read.payload, *body);
            // Only onMetaData, of all data, is kept for players that join later.
            let metadata = body.ends_with(b"onMetaData\x05");
            assert_eq!(frame.is_header(), metadata);
            assert_eq!(frame.class() == FrameClass::Metadata, metadata);
        }
    }
}
