//! Assembling messages from chunks.
//!
//! `chunk_reader`: one second of 5 Mb/s video and audio, their chunks interleaved, read in pieces of 16 KiB as a socket
//! gives them, at several chunk sizes. `chunk_of_one_byte`: one message of three lengths in the smallest chunks there
//! are, which must take ten times as long when it is ten times as long.

use std::hint::black_box;

use anabranch_benches::{chunked, interleaved, media, one_second};
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::message::MessageType;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// How many messages there are in it.
fn read(bytes: &[u8], chunk_size: u32) -> usize {
    // As a publisher's connection has them.
    let limits = ChunkLimits { eager: 64 << 10, ..ChunkLimits::default() };
    let mut reader = ChunkReader::new(limits, Leniency::Lenient);
    reader.set_chunk_size(chunk_size).expect("the size is legal");
    let mut count = 0;
    for mut piece in bytes.chunks(16 << 10) {
        while let Some(message) = reader.read(&mut piece).expect("the bytes are legal") {
            black_box(&message.payload);
            count += 1;
        }
    }
    count
}

fn chunk_sizes(criterion: &mut Criterion) {
    let messages = one_second(5_000_000);
    let mut group = criterion.benchmark_group("chunk_reader");
    for chunk_size in [1, 128, 4096, 60_000] {
        let bytes = interleaved(&messages, chunk_size);
        assert_eq!(read(&bytes, chunk_size), messages.len());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("chunk size {chunk_size}"), |bencher| {
            bencher.iter(|| read(black_box(&bytes), chunk_size));
        });
    }
    group.finish();
}

fn lengths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk_of_one_byte");
    for length in [10_000, 100_000, 1_000_000] {
        let bytes = chunked(&[media(0, MessageType::VIDEO, &[0x17, 1, 0, 0, 0], length)], 1);
        assert_eq!(read(&bytes, 1), 1);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| read(black_box(&bytes), 1));
        });
    }
    group.finish();
}

criterion_group!(benches, chunk_sizes, lengths);
criterion_main!(benches);
