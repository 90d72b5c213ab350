use super::{ChunkError, DEFAULT_CHUNK_SIZE, EXTENDED, MAX_CHUNK_SIZE};
use crate::message::{Message, Payload};

/// The longest chunk header on the wire: 3 bytes of basic header, 11 of message header, 4 of extended timestamp.
const LONGEST_HEADER: usize = 18;

/// Limits on the memory that a peer can make the chunk reader hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Longest message in bytes. The format allows 0xffffff (16 MiB); default 16 MiB less one byte.
    pub message: u32,
    /// Chunk streams used on the connection; an id is not released until the connection ends. Default 64: real clients
    /// use at most eight.
    pub streams: usize,
    /// Bytes of the partial messages of all chunk streams together. Default 24 MiB. The reader holds at most twice that
    /// memory for them, plus `eager` bytes per chunk stream.
    pub partial: usize,
    /// Bytes of an announced message length that are allocated before they are received. Beyond that, memory grows with
    /// the bytes received, so that a header alone cannot allocate 16 MiB. Default 1 KiB.
    pub eager: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        ChunkLimits { message: 0xff_ffff, streams: 64, partial: 24 << 20, eager: 1024 }
    }
}

/// How to treat chunk headers that inherit fields when there is no earlier message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leniency {
    /// Format 1 opens a chunk stream with timestamp base 0 and message stream 0, as librtmp does for its first ping
    /// response.
    #[default]
    Lenient,
    /// Only format 0 opens a chunk stream, as RTMP 1.0 §5.3.1.2 requires.
    Strict,
}

/// Assembles messages from a connection's chunks. Each chunk stream id has its own partial message.
///
/// Bytes may be split anywhere: the same bytes give the same messages. Work is linear in the bytes read, with any chunk
/// size.
#[derive(Debug)]
pub struct ChunkReader {
    limits: ChunkLimits,
    leniency: Leniency,
    chunk_size: u32,
    streams: Vec<ChunkStream>,
    /// Index of the stream whose chunk payload comes next; `None` between chunks.
    current: Option<usize>,
    /// Payload bytes of the current chunk that are not received yet.
    chunk_left: usize,
    /// Bytes taken from the input that are an incomplete header, or that turned out to be payload.
    stash: Stash,
    /// Received bytes of all partial messages.
    partial_bytes: usize,
}

/// Bytes of the state that is kept for each chunk stream.
pub(crate) const STREAM_STATE: usize = size_of::<ChunkStream>();

#[derive(Debug)]
struct ChunkStream {
    id: u32,
    message_stream_id: u32,
    timestamp: u32,
    /// The last timestamp or delta field: what format 3 adds when it starts a message.
    delta: u32,
    length: u32,
    type_id: u8,
    /// Set by the last format 0, 1 or 2 header: format 3 headers may repeat `delta` as extended timestamp.
    extended: bool,
    partial: Option<Payload>,
}

/// A parsed chunk header and its length in bytes.
struct Header {
    format: u8,
    id: u32,
    /// The 24-bit field, or the extended one instead; unused in format 3.
    time: u32,
    extended: bool,
    length: u32,
    type_id: u8,
    message_stream_id: u32,
    size: usize,
}

impl ChunkReader {
    /// A reader at the start of a connection's chunk stream.
    pub fn new(limits: ChunkLimits, leniency: Leniency) -> Self {
        ChunkReader {
            limits,
            leniency,
            chunk_size: DEFAULT_CHUNK_SIZE,
            streams: Vec::new(),
            current: None,
            chunk_left: 0,
            stash: Stash::default(),
            partial_bytes: 0,
        }
    }

    /// Takes bytes from the front of `input` up to the end of the next message.
    ///
    /// `Ok(None)` means that `input` is empty now and no message is complete. After a Set Chunk Size or Abort message,
    /// call [`set_chunk_size`](Self::set_chunk_size) or [`abort`](Self::abort) before the next `read`.
    ///
    /// # Errors
    /// Any error loses framing; do not use the reader after it.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            if let Some(index) = self.current {
                self.read_payload(index, input)?;
                if self.chunk_left > 0 {
                    return Ok(None);
                }
                self.current = None;
                if let Some(message) = self.complete(index) {
                    return Ok(Some(message));
                }
            }
            let Some(header) = self.read_header(input)? else {
                return Ok(None);
            };
            self.begin_chunk(&header, input.len())?;
        }
    }

    /// Applies a Set Chunk Size message, in bytes; valid from the next chunk on, also inside a message.
    ///
    /// # Errors
    /// Zero is refused. Anything above [`MAX_CHUNK_SIZE`] means "never split".
    pub fn set_chunk_size(&mut self, size: u32) -> Result<(), ChunkError> {
        if size == 0 {
            return Err(ChunkError::ZeroChunkSize);
        }
        self.chunk_size = size.min(MAX_CHUNK_SIZE);
        Ok(())
    }

    /// Applies an Abort message: drops the partial message on this chunk stream. An unknown or idle chunk stream is
    /// ignored.
    pub fn abort(&mut self, chunk_stream: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == chunk_stream)
            && let Some(partial) = stream.partial.take()
        {
            self.partial_bytes -= partial.len();
        }
    }

    /// Drops all partial messages. The reader cannot continue: for a connection that reads no more input.
    pub(crate) fn forget(&mut self) {
        *self = ChunkReader::new(self.limits, self.leniency);
    }

    /// Replaces the limits, for example when the peer becomes a publisher. Bytes already held stay.
    pub fn set_limits(&mut self, limits: ChunkLimits) {
        self.limits = limits;
    }

    /// Replaces the leniency. Chunk streams already open stay open.
    pub fn set_leniency(&mut self, leniency: Leniency) {
        self.leniency = leniency;
    }

    /// The chunk size in force, in bytes.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Bytes of partial messages. The reader holds at most twice that memory for them, plus `eager` bytes per chunk
    /// stream.
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// True between messages: no header and no message is incomplete.
    pub fn is_idle(&self) -> bool {
        self.stash.is_empty() && self.current.is_none() && self.streams.iter().all(|stream| stream.partial.is_none())
    }

    fn read_payload(&mut self, index: usize, input: &mut &[u8]) -> Result<(), ChunkError> {
        while self.chunk_left > 0 {
            let from_stash = !self.stash.is_empty();
            let source: &[u8] = if from_stash { self.stash.bytes() } else { input };
            if source.is_empty() {
                return Ok(());
            }
            let room = self.limits.partial.saturating_sub(self.partial_bytes);
            if room == 0 {
                return Err(ChunkError::PartialOverLimit { limit: self.limits.partial });
            }
            // Up to the limit and no further, so that the error occurs at the same byte however the input is split.
            let take = source.len().min(self.chunk_left).min(room);
            let stream = &mut self.streams[index];
            let length = stream.length as usize;
            let partial = stream.partial.as_mut().expect("a chunk in progress has a partial message");
            partial.append(&source[..take], length);
            self.partial_bytes += take;
            self.chunk_left -= take;
            if from_stash {
                self.stash.consume(take);
            } else {
                *input = &input[take..];
            }
        }
        Ok(())
    }

    /// Returns the message of `streams[index]` if it is complete.
    fn complete(&mut self, index: usize) -> Option<Message> {
        let stream = &mut self.streams[index];
        if stream.partial.as_ref()?.len() < stream.length as usize {
            return None;
        }
        let payload = stream.partial.take()?;
        self.partial_bytes -= payload.len();
        Some(Message {
            chunk_stream: stream.id,
            timestamp: stream.timestamp,
            type_id: stream.type_id,
            message_stream_id: stream.message_stream_id,
            payload,
        })
    }

    /// Parses the next header, directly from `input` if it is complete there, else through the stash.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, ChunkError> {
        if self.stash.is_empty() {
            if let Some(header) = self.parse_header(input)? {
                *input = &input[header.size..];
                return Ok(Some(header));
            }
            self.stash.fill(input);
            return Ok(None);
        }
        loop {
            if let Some(header) = self.parse_header(self.stash.bytes())? {
                self.stash.consume(header.size);
                return Ok(Some(header));
            }
            if input.is_empty() {
                return Ok(None);
            }
            // One byte at a time, so that no byte after the header is taken from the input.
            self.stash.push(input[0]);
            *input = &input[1..];
        }
    }

    /// `None` if `bytes` end inside the header. Consumes no byte until the header is complete.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, ChunkError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let format = first >> 6;
        let (id, rest) = match (first & 0x3f, rest) {
            (0, [low, rest @ ..]) => (64 + u32::from(*low), rest),
            (1, [low, high, rest @ ..]) => (64 + u32::from(*low) + 256 * u32::from(*high), rest),
            (0 | 1, _) => return Ok(None),
            (id, rest) => (u32::from(id), rest),
        };
        let mut header = Header {
            format,
            id,
            time: 0,
            extended: false,
            length: 0,
            type_id: 0,
            message_stream_id: 0,
            size: bytes.len() - rest.len(),
        };
        let field_bytes = match format {
            0 => 11,
            1 => 7,
            2 => 3,
            _ => return Ok(self.parse_continuation(header, rest)),
        };
        let Some((fields, rest)) = rest.split_at_checked(field_bytes) else {
            return Ok(None);
        };
        header.size += field_bytes;
        header.time = u24(fields);
        if let Some(fields) = fields.get(3..7) {
            header.length = u24(fields);
            header.type_id = fields[3];
        }
        if let Some(&[a, b, c, d]) = fields.get(7..11) {
            header.message_stream_id = u32::from_le_bytes([a, b, c, d]);
        }
        if header.time == EXTENDED {
            let Some(&time) = rest.first_chunk() else {
                return Ok(None);
            };
            header.time = u32::from_be_bytes(time);
            header.extended = true;
            header.size += 4;
        }
        Ok(Some(header))
    }

    /// Format 3: whether the extended timestamp is present depends on the age of the sender's library.
    ///
    /// RTMP 1.0 repeats it. The text of 2009 did not say so, and old librtmp, OBS before 2024 and several hardware
    /// encoders leave it out. The reader takes the four bytes as timestamp only if they are equal to the field of the
    /// last full header or to the message's absolute time (which some senders repeat after formats 1 and 2). The first
    /// byte that differs decides, so that a chunk without the timestamp does not wait for four bytes.
    fn parse_continuation(&self, mut header: Header, rest: &[u8]) -> Option<Header> {
        let stream = self.streams.iter().find(|stream| stream.id == header.id);
        let Some(stream) = stream.filter(|stream| stream.extended) else {
            return Some(header);
        };
        let seen = &rest[..rest.len().min(4)];
        let expected = [stream.delta.to_be_bytes(), stream.timestamp.to_be_bytes()];
        if expected.iter().any(|expected| expected.starts_with(seen)) {
            if seen.len() < 4 {
                return None;
            }
            header.size += 4;
        }
        Some(header)
    }

    fn begin_chunk(&mut self, header: &Header, available: usize) -> Result<(), ChunkError> {
        let index = self.stream_index(header)?;
        let limit = self.limits.message;
        let stream = &mut self.streams[index];
        if stream.partial.is_some() {
            stream.check_continuation(header)?;
        } else {
            stream.begin_message(header);
            if stream.length > limit {
                return Err(ChunkError::LengthOverLimit { chunk_stream: stream.id, length: stream.length, limit });
            }
            let length = stream.length as usize;
            let at_hand = available.min(self.chunk_size as usize);
            stream.partial = Some(Payload::with_capacity(length.min(self.limits.eager.max(at_hand))));
        }
        let received = stream.partial.as_ref().map_or(0, |payload| payload.len());
        self.chunk_left = (stream.length as usize - received).min(self.chunk_size as usize);
        self.current = Some(index);
        Ok(())
    }

    fn stream_index(&mut self, header: &Header) -> Result<usize, ChunkError> {
        if let Some(index) = self.streams.iter().position(|stream| stream.id == header.id) {
            return Ok(index);
        }
        let opens = match self.leniency {
            Leniency::Lenient => header.format <= 1,
            Leniency::Strict => header.format == 0,
        };
        if !opens {
            return Err(ChunkError::FreshStream { chunk_stream: header.id, format: header.format });
        }
        if self.streams.len() >= self.limits.streams {
            return Err(ChunkError::TooManyStreams { chunk_stream: header.id, limit: self.limits.streams });
        }
        self.streams.push(ChunkStream {
            id: header.id,
            message_stream_id: 0,
            timestamp: 0,
            delta: 0,
            length: 0,
            type_id: 0,
            extended: false,
            partial: None,
        });
        Ok(self.streams.len() - 1)
    }
}

impl ChunkStream {
    /// Timestamps are added modulo 2^32. So both the wrap after 49 days and a delta that goes back are correct.
    fn begin_message(&mut self, header: &Header) {
        if header.format < 3 {
            self.delta = header.time;
            self.extended = header.extended;
        }
        if header.format < 2 {
            self.length = header.length;
            self.type_id = header.type_id;
        }
        if header.format == 0 {
            self.message_stream_id = header.message_stream_id;
            self.timestamp = header.time;
        } else {
            self.timestamp = self.timestamp.wrapping_add(self.delta);
        }
    }

    /// Inside a message only format 3 is legal. The reader also accepts formats 1 and 2 as continuations if they do not
    /// change length and type; it ignores their time field.
    fn check_continuation(&self, header: &Header) -> Result<(), ChunkError> {
        let continues = match header.format {
            0 => false,
            1 => header.length == self.length && header.type_id == self.type_id,
            _ => true,
        };
        if continues { Ok(()) } else { Err(ChunkError::Interrupted { chunk_stream: self.id, format: header.format }) }
    }
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// The bytes of an incomplete header, kept between two reads.
#[derive(Debug, Default)]
struct Stash {
    bytes: [u8; LONGEST_HEADER],
    len: u8,
}

impl Stash {
    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Takes all of `input`, which is shorter than a header.
    fn fill(&mut self, input: &mut &[u8]) {
        debug_assert!(self.is_empty() && input.len() < LONGEST_HEADER);
        self.bytes[..input.len()].copy_from_slice(input);
        self.len = input.len() as u8;
        *input = &[];
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    fn consume(&mut self, count: usize) {
        self.bytes.copy_within(count..usize::from(self.len), 0);
        self.len -= count as u8;
    }
}

mod state;
#[cfg(test)]
mod tests;

pub(crate) use state::{ReaderState, StreamState};
