use std::time::Duration;

use super::Opening;
use super::encoding::{Put, Take};
use super::record::nanoseconds;
use crate::chunk::{ReaderState, StreamState};
use crate::session::Phase;

/// The most chunk streams and bytes of text that a damaged file can make a reader allocate.
const MOST_STREAMS: usize = 1024;

/// Where a connection was when its capture began, for a capture that began in its middle. Such a capture has the bytes
/// of both directions from then on. It can be shown, and cannot be run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The connection; the seed is not known, and is zero.
    pub opening: Opening,
    /// How long the connection had been open.
    pub age: Duration,
    /// The phase that it had reached.
    pub phase: Phase,
    /// What it published and played, in words.
    pub streams: Vec<String>,
    /// Bytes received and sent until then.
    pub received: u64,
    /// See `received`.
    pub sent: u64,
    /// Bytes that waited to be sent. The capture does not have them.
    pub waiting: u64,
    /// Where the server was in the client's chunk stream.
    pub(crate) input: ReaderState,
    /// The chunk size of what the server sends.
    pub(crate) chunk_size: u32,
}

const PHASES: [Phase; 5] = [Phase::Handshake, Phase::Connect, Phase::Connected, Phase::Publishing, Phase::Playing];

impl Joined {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.opening.put(out);
        out.number(nanoseconds(self.age));
        out.push(PHASES.iter().position(|phase| *phase == self.phase).unwrap_or_default() as u8);
        out.number(self.streams.len() as u64);
        self.streams.iter().for_each(|stream| out.text(stream));
        for number in [self.received, self.sent, self.waiting, u64::from(self.chunk_size)] {
            out.number(number);
        }
        put_reader(&self.input, out);
    }

    pub(super) fn take(take: &mut Take) -> Option<Self> {
        let opening = Opening::take(take)?;
        let age = Duration::from_nanos(take.number()?);
        let phase = *PHASES.get(usize::from(take.byte()?))?;
        let count = take.size().filter(|count| *count <= MOST_STREAMS)?;
        let streams = (0..count).map(|_| take.text()).collect::<Option<_>>()?;
        let (received, sent, waiting) = (take.number()?, take.number()?, take.number()?);
        let chunk_size = take.word().filter(|size| *size > 0)?;
        Some(Joined { opening, age, phase, streams, received, sent, waiting, input: take_reader(take)?, chunk_size })
    }
}

fn put_reader(state: &ReaderState, out: &mut Vec<u8>) {
    out.number(u64::from(state.chunk_size));
    // One more than the index; 0 for none.
    out.number(state.current.map_or(0, |index| index as u64 + 1));
    out.number(state.chunk_left as u64);
    out.number(state.stash.len() as u64);
    out.extend_from_slice(&state.stash);
    out.number(state.streams.len() as u64);
    for stream in &state.streams {
        for number in [stream.id, stream.message_stream_id, stream.timestamp, stream.delta, stream.length] {
            out.number(u64::from(number));
        }
        out.push(stream.type_id);
        out.push(u8::from(stream.extended) | u8::from(stream.partial.is_some()) << 1);
        if let Some((received, first)) = &stream.partial {
            out.number(*received as u64);
            out.number(first.len() as u64);
            out.extend_from_slice(first);
        }
    }
}

fn take_reader(take: &mut Take) -> Option<ReaderState> {
    let chunk_size = take.word()?;
    let current = take.size()?.checked_sub(1);
    let chunk_left = take.size()?;
    let length = take.size()?;
    let stash = take.bytes(length)?.to_vec();
    let count = take.size().filter(|count| *count <= MOST_STREAMS)?;
    let mut streams = Vec::new();
    for _ in 0..count {
        let (id, message_stream_id, timestamp) = (take.word()?, take.word()?, take.word()?);
        let (delta, length, type_id) = (take.word()?, take.word()?, take.byte()?);
        let flags = take.byte().filter(|flags| *flags < 4)?;
        let partial = if flags & 2 == 0 {
            None
        } else {
            let (received, length) = (take.size()?, take.size()?);
            Some((received, take.bytes(length)?.to_vec()))
        };
        streams.push(StreamState {
            id,
            message_stream_id,
            timestamp,
            delta,
            length,
            type_id,
            extended: flags & 1 != 0,
            partial,
        });
    }
    Some(ReaderState { chunk_size, current, chunk_left, stash, streams })
}
