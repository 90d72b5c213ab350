//! The chunk reader and the chunk writer.

use anabranch_core::chunk::{ChunkError, ChunkLimits, ChunkReader, Leniency, write_message};
use anabranch_core::message::{Control, Message};

use crate::cuts::{Cuts, take_byte};

#[derive(Debug, PartialEq)]
struct Trace {
    messages: Vec<Message>,
    error: Option<ChunkError>,
    partial: usize,
    chunk_size: u32,
}

fn read(pieces: &[&[u8]], limits: ChunkLimits, leniency: Leniency) -> Trace {
    let mut reader = ChunkReader::new(limits, leniency);
    let mut messages = Vec::new();
    let mut error = None;
    for mut rest in pieces.iter().copied() {
        while error.is_none() {
            let before = rest.len();
            match reader.read(&mut rest) {
                Ok(Some(message)) => {
                    assert!(message.payload.len() <= limits.message as usize);
                    assert!(rest.len() < before || message.payload.is_empty(), "a message takes a byte");
                    match Control::parse(message.type_id, &message.payload) {
                        Ok(Some(Control::SetChunkSize(size))) => {
                            reader.set_chunk_size(size).expect("a size of zero is refused when it is parsed");
                        }
                        Ok(Some(Control::Abort(chunk_stream))) => reader.abort(chunk_stream),
                        _ => {}
                    }
                    messages.push(message);
                }
                Ok(None) => {
                    assert!(rest.is_empty());
                    break;
                }
                Err(found) => error = Some(found),
            }
            assert!(reader.partial_bytes() <= limits.partial, "{} bytes", reader.partial_bytes());
        }
    }
    let (partial, chunk_size) = (reader.partial_bytes(), reader.chunk_size());
    Trace { messages, error, partial, chunk_size }
}

/// A byte for limits and leniency, cuts, then chunks.
pub fn run(mut input: &[u8]) {
    let setup = take_byte(&mut input);
    let limits = match setup % 4 {
        0 => ChunkLimits::default(),
        1 => ChunkLimits { message: 12 << 10, streams: 8, partial: 12 << 10, eager: 512 },
        2 => ChunkLimits { message: 300, streams: 3, partial: 400, eager: 16 },
        _ => ChunkLimits { message: 0x00ff_ffff, streams: 4, partial: 64, eager: 0 },
    };
    let leniency = if setup & 4 == 0 { Leniency::Lenient } else { Leniency::Strict };
    let cuts = Cuts::take(&mut input);
    let whole = read(&[input], limits, leniency);
    assert_eq!(read(&cuts.pieces(input), limits, leniency), whole, "cuts change nothing");
    let streams: std::collections::BTreeSet<u32> = whole.messages.iter().map(|message| message.chunk_stream).collect();
    assert!(streams.len() <= limits.streams);

    // What is written is read back.
    let chunk_size = [128, 129, 4096, 60_000][usize::from(setup >> 3 & 3)];
    let mut out = Vec::new();
    for message in &whole.messages {
        let Message { timestamp, type_id, message_stream_id, ref payload, .. } = *message;
        write_message(&mut out, chunk_size, 3, timestamp, type_id, message_stream_id, payload);
    }
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
    reader.set_chunk_size(chunk_size).expect("not zero");
    let mut rest = &out[..];
    for message in whole.messages {
        let read = reader.read(&mut rest).expect("our own chunks are legal");
        assert_eq!(read, Some(Message { chunk_stream: 3, ..message }));
    }
    assert_eq!(reader.read(&mut rest), Ok(None));
    assert!(reader.is_idle());
}
