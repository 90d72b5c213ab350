//! A chunk stream writer that can write every legal form of chunks (RTMP 1.0 §5.3), and the forms of old writers.
//!
//! The crate's writer has one form: a full header for each message, one chunk stream after the other. Real clients use
//! the other forms: headers that inherit, longer forms of the chunk stream id, interleaved messages of several chunk
//! streams, extended timestamps repeated or left out. [`ChunkWriter`] writes one chunk per call, in the requested
//! [`Style`] or in the nearest one that is legal at that place.
//!
//! It keeps the state that a writer needs for each chunk stream: its last message, the delta that format 3 repeats,
//! whether the last timestamp field was an extended one, and how much of the message in progress is written.

use std::collections::BTreeMap;

/// A 24-bit timestamp field with this value means that 32 bits follow.
const EXTENDED: u32 = 0xff_ffff;

/// One message to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) chunk_stream: u32,
    pub(crate) timestamp: u32,
    pub(crate) type_id: u8,
    pub(crate) message_stream_id: u32,
    pub(crate) body: Vec<u8>,
}

/// The form of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// The most compact header format to use for a message's first chunk, 0 to 3; a lower one is used if this format
    /// cannot express the message.
    pub(crate) format: u8,
    pub(crate) id: IdForm,
    pub(crate) extension: Extension,
}

impl Style {
    /// Full headers, shortest ids, extended timestamps repeated: the form of careful servers.
    pub(crate) const PLAIN: Style = Style { format: 0, id: IdForm::Shortest, extension: Extension::Repeat };
}

/// Which form of the basic header to use, where the id fits it: ids up to 63 have only the first, ids up to 319 the
/// second and third, larger ones only the third.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdForm {
    Shortest,
    /// Three bytes for ids that fit two.
    Longest,
}

/// How format 3 chunks repeat an extended timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extension {
    /// Repeat the field (RTMP 1.0 of 2012).
    Repeat,
    /// Repeat the message's absolute time, also where the field was a delta.
    Absolute,
    /// Leave it out, as writers that follow the text of 2009 do. It is repeated all the same if a reader could mistake
    /// the payload for it.
    Omit,
}

/// The writing side of a chunk stream.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    chunk_size: usize,
    streams: BTreeMap<u32, Stream>,
}

#[derive(Debug)]
struct Stream {
    /// The last message that was begun.
    message: Outgoing,
    /// The delta that a format 3 header adds when it begins a message: the last timestamp or delta field (after format
    /// 0 the timestamp itself).
    delta: u32,
    /// True if that field was an extended one.
    extended: bool,
    /// Bytes of the message written; `None` if it is complete or aborted.
    written: Option<usize>,
}

impl ChunkWriter {
    /// A writer at the start of a connection, or after a Set Chunk Size that it did not write itself.
    pub(crate) fn new(chunk_size: usize) -> Self {
        ChunkWriter { chunk_size, streams: BTreeMap::new() }
    }

    /// True if a message on this chunk stream is not complete.
    pub(crate) fn is_open(&self, chunk_stream: u32) -> bool {
        self.streams.get(&chunk_stream).is_some_and(|stream| stream.written.is_some())
    }

    /// The chunk streams with a message in progress, in order.
    pub(crate) fn open(&self) -> Vec<u32> {
        self.streams.iter().filter(|(_, stream)| stream.written.is_some()).map(|(id, _)| *id).collect()
    }

    /// True if the next chunk of this message, begun or not, would not be its last.
    pub(crate) fn takes_more_than_one_chunk(&self, message: &Outgoing) -> bool {
        let written = self.streams.get(&message.chunk_stream).and_then(|stream| stream.written).unwrap_or(0);
        message.body.len() - written > self.chunk_size
    }

    /// Writes the first chunk of a message; true if the message is complete.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>, message: Outgoing, style: Style) -> bool {
        assert!(!self.is_open(message.chunk_stream), "a message is in progress there");
        let id = message.chunk_stream;
        let earlier = self.streams.get(&id);
        let delta = earlier.map_or(0, |stream| message.timestamp.wrapping_sub(stream.message.timestamp));
        let format = match earlier {
            Some(stream) if stream.message.message_stream_id == message.message_stream_id => {
                let same = stream.message.type_id == message.type_id && stream.message.body.len() == message.body.len();
                let most = match (same, stream.delta == delta) {
                    (false, _) => 1,
                    (true, false) => 2,
                    (true, true) => 3,
                };
                style.format.min(most)
            }
            _ => 0,
        };
        write_basic_header(out, format, id, style.id);
        if format == 3 {
            let stream = self.streams.get_mut(&id).expect("format 3 was found legal");
            // The reader has not begun this message yet: "absolute" would be the time of the one before.
            let fields = [stream.delta, stream.message.timestamp];
            if stream.extended
                && (style.extension != Extension::Omit || confusable(&message.body, self.chunk_size, fields))
            {
                out.extend_from_slice(&stream.delta.to_be_bytes());
            }
            stream.message = message;
            stream.written = Some(0);
        } else {
            let time = if format == 0 { message.timestamp } else { delta };
            out.extend_from_slice(&time.min(EXTENDED).to_be_bytes()[1..]);
            if format <= 1 {
                let length = u32::try_from(message.body.len()).expect("a message has less than 16 MiB");
                out.extend_from_slice(&length.to_be_bytes()[1..]);
                out.push(message.type_id);
            }
            if format == 0 {
                out.extend_from_slice(&message.message_stream_id.to_le_bytes());
            }
            if time >= EXTENDED {
                out.extend_from_slice(&time.to_be_bytes());
            }
            self.streams.insert(id, Stream { message, delta: time, extended: time >= EXTENDED, written: Some(0) });
        }
        self.write_payload(out, id)
    }

    /// Writes the next chunk of the message in progress; true if it is complete now.
    pub(crate) fn proceed(&mut self, out: &mut Vec<u8>, chunk_stream: u32, style: Style) -> bool {
        let stream = self.streams.get(&chunk_stream).expect("a message was begun there");
        let written = stream.written.expect("a message is in progress there");
        write_basic_header(out, 3, chunk_stream, style.id);
        if stream.extended {
            let fields = [stream.delta, stream.message.timestamp];
            let rest = &stream.message.body[written..];
            match style.extension {
                Extension::Omit if !confusable(rest, self.chunk_size, fields) => {}
                Extension::Absolute => out.extend_from_slice(&fields[1].to_be_bytes()),
                Extension::Repeat | Extension::Omit => out.extend_from_slice(&fields[0].to_be_bytes()),
            }
        }
        self.write_payload(out, chunk_stream)
    }

    /// Writes a whole message.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, message: Outgoing, style: Style) {
        let id = message.chunk_stream;
        let mut complete = self.begin(out, message, style);
        while !complete {
            complete = self.proceed(out, id, style);
        }
    }

    /// Writes a Set Chunk Size message; chunks after it have that size, also those of messages in progress.
    pub(crate) fn set_chunk_size(&mut self, out: &mut Vec<u8>, size: u32) {
        self.write(out, control(1, size), Style::PLAIN);
        self.chunk_size = size.min(EXTENDED) as usize;
    }

    /// Writes an Abort message for a chunk stream, which ends its message in progress.
    pub(crate) fn abort(&mut self, out: &mut Vec<u8>, chunk_stream: u32) {
        self.write(out, control(2, chunk_stream), Style::PLAIN);
        if let Some(stream) = self.streams.get_mut(&chunk_stream) {
            stream.written = None;
        }
    }

    fn write_payload(&mut self, out: &mut Vec<u8>, chunk_stream: u32) -> bool {
        let stream = self.streams.get_mut(&chunk_stream).expect("a message was begun there");
        let written = stream.written.expect("a message is in progress there");
        let rest = &stream.message.body[written..];
        let chunk = &rest[..rest.len().min(self.chunk_size)];
        out.extend_from_slice(chunk);
        let complete = chunk.len() == rest.len();
        stream.written = (!complete).then_some(written + chunk.len());
        complete
    }
}

/// A protocol control message with one 32-bit number as its body.
pub(crate) fn control(type_id: u8, word: u32) -> Outgoing {
    Outgoing { chunk_stream: 2, timestamp: 0, type_id, message_stream_id: 0, body: word.to_be_bytes().to_vec() }
}

/// True if a chunk with this payload could begin with one of `fields`, as far as the payload goes.
fn confusable(rest: &[u8], chunk_size: usize, fields: [u32; 2]) -> bool {
    let seen = &rest[..rest.len().min(chunk_size).min(4)];
    fields.iter().any(|field| field.to_be_bytes().starts_with(seen))
}

fn write_basic_header(out: &mut Vec<u8>, format: u8, id: u32, form: IdForm) {
    let format = format << 6;
    let far = id.saturating_sub(64).to_le_bytes();
    match (id, form) {
        (2..=63, _) => out.push(format | one_byte(id)),
        (64..=319, IdForm::Shortest) => out.extend_from_slice(&[format, far[0]]),
        _ => out.extend_from_slice(&[format | 1, far[0], far[1]]),
    }
}

fn one_byte(id: u32) -> u8 {
    u8::try_from(id).expect("at most 63")
}
