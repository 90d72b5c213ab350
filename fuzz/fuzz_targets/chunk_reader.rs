//! Any bytes into the chunk reader, control messages applied as they come.
#![no_main]

use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::message::Control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Lenient);
    let mut rest = bytes;
    while let Ok(Some(message)) = reader.read(&mut rest) {
        match Control::parse(message.type_id, &message.payload) {
            Ok(Some(Control::SetChunkSize(size))) if reader.set_chunk_size(size).is_err() => return,
            Ok(Some(Control::Abort(chunk_stream))) => reader.abort(chunk_stream),
            _ => {}
        }
        assert!(reader.partial_bytes() <= ChunkLimits::default().partial);
    }
});
