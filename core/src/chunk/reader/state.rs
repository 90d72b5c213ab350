use std::fmt;

use super::{ChunkLimits, ChunkReader, ChunkStream, LONGEST_HEADER, Leniency, Payload, Stash};
use crate::shown::Shown;

/// Where a reader is in its chunk stream, for another reader that goes on from there. Of messages that are partly
/// received it has only the first bytes, which show what they are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ReaderState {
    pub(crate) chunk_size: u32,
    /// Index of the stream whose chunk payload comes next.
    pub(crate) current: Option<usize>,
    /// Payload bytes of the current chunk that are not received yet.
    pub(crate) chunk_left: usize,
    /// The bytes of an incomplete header.
    pub(crate) stash: Vec<u8>,
    pub(crate) streams: Vec<StreamState>,
}

crate::shown::debug_with_bytes!(ReaderState { chunk_size, current, chunk_left, streams; stash });

/// One chunk stream of a [`ReaderState`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StreamState {
    pub(crate) id: u32,
    pub(crate) message_stream_id: u32,
    pub(crate) timestamp: u32,
    pub(crate) delta: u32,
    pub(crate) length: u32,
    pub(crate) type_id: u8,
    pub(crate) extended: bool,
    /// Of a message that is partly received: the bytes that have come, and the first of them.
    pub(crate) partial: Option<(usize, Vec<u8>)>,
}

impl fmt::Debug for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partial = self.partial.as_ref().map(|(received, first)| (received, Shown(first)));
        let StreamState { id, message_stream_id, timestamp, delta, length, type_id, extended, partial: _ } = self;
        f.debug_struct("StreamState")
            .field("id", id)
            .field("message_stream_id", message_stream_id)
            .field("timestamp", timestamp)
            .field("delta", delta)
            .field("length", length)
            .field("type_id", type_id)
            .field("extended", extended)
            .field("partial", &partial)
            .finish()
    }
}

impl StreamState {
    /// How many of the first bytes of a message are kept: enough for the name of a command and the codec of a frame.
    pub(crate) const FIRST: usize = 64;
}

impl ChunkReader {
    /// Where this reader is.
    pub(crate) fn state(&self) -> ReaderState {
        let stream = |stream: &ChunkStream| StreamState {
            id: stream.id,
            message_stream_id: stream.message_stream_id,
            timestamp: stream.timestamp,
            delta: stream.delta,
            length: stream.length,
            type_id: stream.type_id,
            extended: stream.extended,
            partial: stream
                .partial
                .as_ref()
                .map(|partial| (partial.len(), partial[..partial.len().min(StreamState::FIRST)].to_vec())),
        };
        ReaderState {
            chunk_size: self.chunk_size,
            current: self.current,
            chunk_left: self.chunk_left,
            stash: self.stash.bytes().to_vec(),
            streams: self.streams.iter().map(stream).collect(),
        }
    }

    /// A reader that goes on from there. The bytes that the state lacks are zeros. `None` if no reader can be in this
    /// state within the limits.
    pub(crate) fn resume(limits: ChunkLimits, leniency: Leniency, state: &ReaderState) -> Option<Self> {
        let mut reader = ChunkReader::new(limits, leniency);
        reader.set_chunk_size(state.chunk_size).ok()?;
        if state.streams.len() > limits.streams || state.stash.len() >= LONGEST_HEADER {
            return None;
        }
        for stream in &state.streams {
            let length = stream.length as usize;
            let partial = match &stream.partial {
                None => None,
                Some((received, first)) => {
                    reader.partial_bytes = reader.partial_bytes.checked_add(*received)?;
                    let valid = *received <= length && stream.length <= limits.message && first.len() <= *received;
                    if !valid || reader.partial_bytes > limits.partial {
                        return None;
                    }
                    let mut payload = Payload::with_capacity(*received);
                    payload.append(first, length);
                    payload.append(&vec![0; *received - first.len()], length);
                    Some(payload)
                }
            };
            reader.streams.push(ChunkStream {
                id: stream.id,
                message_stream_id: stream.message_stream_id,
                timestamp: stream.timestamp,
                delta: stream.delta,
                length: stream.length,
                type_id: stream.type_id,
                extended: stream.extended,
                partial,
            });
        }
        if let Some(index) = state.current {
            let stream = reader.streams.get(index)?;
            let missing = (stream.length as usize).checked_sub(stream.partial.as_ref()?.len())?;
            if state.chunk_left > missing {
                return None;
            }
        }
        (reader.current, reader.chunk_left) = (state.current, state.chunk_left);
        let mut stash = state.stash.as_slice();
        reader.stash = Stash::default();
        reader.stash.fill(&mut stash);
        Some(reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::write_message;

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..6u8 {
            let body: Vec<u8> = (0..300).map(|at| number.wrapping_add(at as u8)).collect();
            write_message(&mut bytes, 128, 3 + number % 3, u32::from(number) * 0x00ff_fff0, 8, 1, &body);
        }
        bytes
    }

    fn read(reader: &mut ChunkReader, mut bytes: &[u8]) -> Vec<(u32, u8, u32, usize, Vec<u8>)> {
        let mut messages = Vec::new();
        while let Some(message) = reader.read(&mut bytes).unwrap() {
            let first = message.payload[..StreamState::FIRST].to_vec();
            messages.push((message.chunk_stream, message.type_id, message.timestamp, message.payload.len(), first));
        }
        messages
    }

    #[test]
    fn a_reader_goes_on_from_any_byte() {
        let bytes = stream();
        let new = || ChunkReader::new(ChunkLimits::default(), Leniency::Lenient);
        let all = read(&mut new(), &bytes);
        assert_eq!(all.len(), 6);
        for at in 0..=bytes.len() {
            let mut reader = new();
            let before = read(&mut reader, &bytes[..at]);
            let state = reader.state();
            let mut resumed = ChunkReader::resume(ChunkLimits::default(), Leniency::Lenient, &state).unwrap();
            assert_eq!(resumed.partial_bytes(), reader.partial_bytes());
            let after = read(&mut resumed, &bytes[at..]);
            let lengths = |messages: &[(u32, u8, u32, usize, Vec<u8>)]| {
                messages.iter().map(|(id, kind, time, length, _)| (*id, *kind, *time, *length)).collect::<Vec<_>>()
            };
            assert_eq!(lengths(&[before, after].concat()), lengths(&all), "at {at}");
        }
    }

    #[test]
    fn states_that_no_reader_has_are_refused() {
        let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Lenient);
        read(&mut reader, &stream()[..200]);
        let good = reader.state();
        let wrong: [fn(&mut ReaderState); 7] = [
            |state| state.chunk_size = 0,
            |state| state.current = Some(7),
            |state| state.chunk_left = 301,
            |state| state.stash = vec![0; LONGEST_HEADER],
            |state| state.streams[0].length = 10,
            |state| state.streams[0].partial = Some((3, vec![0; 64])),
            |state| state.streams = vec![state.streams[0].clone(); 65],
        ];
        let resumes = |state: &ReaderState| ChunkReader::resume(ChunkLimits::default(), Leniency::Lenient, state);
        assert!(resumes(&good).is_some());
        for (number, change) in wrong.into_iter().enumerate() {
            let mut state = good.clone();
            change(&mut state);
            assert!(resumes(&state).is_none(), "{number}");
        }
    }
}
