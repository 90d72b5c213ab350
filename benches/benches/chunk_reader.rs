//! Assembling messages from chunks: one second of 5 Mb/s video with audio, read in pieces of 16 KiB as a socket gives
//! them, at several chunk sizes.

use std::hint::black_box;

use anabranch_benches::{chunked, one_second};
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn read(criterion: &mut Criterion) {
    let messages = one_second(5_000_000);
    let mut group = criterion.benchmark_group("chunk_reader");
    for chunk_size in [1, 128, 4096, 60_000] {
        let bytes = chunked(&messages, chunk_size);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("chunk size {chunk_size}"), |bencher| {
            bencher.iter(|| {
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
                assert_eq!(count, messages.len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
