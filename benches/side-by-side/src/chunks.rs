//! Readers of chunk streams: bytes in, whole messages out.

use std::hint::black_box;

use anabranch_core::chunk::{ChunkLimits, Leniency};
use bytes::BytesMut;

use crate::{Order, Tally};

/// Takes time, type and payload of a message.
pub type Each<'a> = &'a mut dyn FnMut(u32, u8, &[u8]);

/// One library's reader.
pub struct Reader {
    pub name: &'static str,
    /// Reads all of these bytes, so many at a time; `each` is given every message.
    pub read: fn(bytes: &[u8], chunk_size: u32, at_once: usize, each: Each<'_>),
    /// The chunk sizes it takes.
    pub chunk_sizes: std::ops::RangeInclusive<u32>,
    /// True if it can read chunks of several messages in turn.
    pub interleaved: bool,
}

pub const READERS: [Reader; 4] = [
    Reader { name: "anabranch", read: anabranch, chunk_sizes: 1..=0x7fff_ffff, interleaved: true },
    Reader { name: "rml_rtmp", read: rml_rtmp, chunk_sizes: 1..=0x7fff_ffff, interleaved: false },
    Reader { name: "rtmp-runtime", read: rtmp_runtime, chunk_sizes: 1..=16 << 20, interleaved: true },
    Reader { name: "scuffle-rtmp", read: scuffle_rtmp, chunk_sizes: 128..=64 << 10, interleaved: true },
];

impl Reader {
    /// Whether it is made for that.
    pub fn takes(&self, chunk_size: u32, order: Order) -> bool {
        self.chunk_sizes.contains(&chunk_size) && (self.interleaved || order == Order::Sequential)
    }

    pub fn tally(&self, bytes: &[u8], chunk_size: u32, at_once: usize) -> Tally {
        let mut tally = Tally::default();
        (self.read)(bytes, chunk_size, at_once, &mut |_, _, payload| tally.count(payload));
        tally
    }
}

/// Reads as if from a socket into one reused buffer; the cost of a read is that copy.
fn read(bytes: &[u8], at_once: usize, mut take: impl FnMut(&[u8])) {
    let mut buffer = vec![0; at_once];
    for piece in bytes.chunks(at_once) {
        let read = &mut buffer[..piece.len()];
        read.copy_from_slice(piece);
        take(black_box(read));
    }
}

fn anabranch(bytes: &[u8], chunk_size: u32, at_once: usize, each: Each<'_>) {
    // As its server has them for a publisher.
    let limits = ChunkLimits { eager: 64 << 10, ..ChunkLimits::default() };
    let mut reader = anabranch_core::chunk::ChunkReader::new(limits, Leniency::Lenient);
    reader.set_chunk_size(chunk_size).expect("anabranch takes this size");
    read(bytes, at_once, |mut input| {
        while let Some(message) = reader.read(&mut input).expect("anabranch reads on") {
            each(message.timestamp, message.type_id, &message.payload);
        }
    });
}

fn rml_rtmp(bytes: &[u8], chunk_size: u32, at_once: usize, each: Each<'_>) {
    let mut reader = rml_rtmp::chunk_io::ChunkDeserializer::new();
    reader.set_max_chunk_size(chunk_size as usize).expect("rml_rtmp takes this size");
    read(bytes, at_once, |mut input| {
        // It keeps what it is given: the bytes once, then nothing until it has no more messages.
        while let Some(message) = reader.get_next_message(input).expect("rml_rtmp reads on") {
            each(message.timestamp.value, message.type_id, &message.data);
            input = &[];
        }
    });
}

fn rtmp_runtime(bytes: &[u8], chunk_size: u32, at_once: usize, each: Each<'_>) {
    let mut reader = rtmp_runtime::chunk::ChunkAssembler::new().with_chunk_size(chunk_size);
    read(bytes, at_once, |input| {
        for message in reader.push(input).expect("rtmp-runtime reads on") {
            each(message.timestamp, message.message_type_id, &message.payload);
        }
    });
}

fn scuffle_rtmp(bytes: &[u8], chunk_size: u32, at_once: usize, each: Each<'_>) {
    let mut reader = scuffle_rtmp::chunk::reader::ChunkReader::default();
    assert!(reader.update_max_chunk_size(chunk_size as usize), "scuffle-rtmp takes this size");
    // It takes messages out of the buffer that was read into, so that there is no other.
    let mut buffer = BytesMut::new();
    for input in bytes.chunks(at_once) {
        buffer.extend_from_slice(black_box(input));
        while let Some(chunk) = reader.read_chunk(&mut buffer).expect("scuffle-rtmp reads on") {
            each(chunk.message_header.timestamp, chunk.message_header.msg_type_id.0, &chunk.payload);
        }
    }
}
