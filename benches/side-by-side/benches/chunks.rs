//! Four seconds of 1 Mb/s video with audio, read from chunks: one group for each order of the chunks and each chunk
//! size.

use std::hint::black_box;

use anabranch_side_by_side::chunks::READERS;
use anabranch_side_by_side::{Order, Tally, stream};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn chunks(criterion: &mut Criterion) {
    let messages = stream();
    for order in [Order::Sequential, Order::Interleaved] {
        for chunk_size in [128, 4096, 60_000, 1] {
            let bytes = order.write(&messages, chunk_size);
            let mut group = criterion.benchmark_group(format!("{order:?} chunks of {chunk_size}"));
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            for at_once in [4096, 65_536] {
                for reader in READERS.iter().filter(|reader| reader.takes(chunk_size, order)) {
                    let tally = reader.tally(&bytes, chunk_size, at_once);
                    assert_eq!(tally, Tally::of(&messages), "{}", reader.name);
                    group.bench_function(format!("{at_once} at once/{}", reader.name), |bencher| {
                        bencher.iter(|| reader.tally(black_box(&bytes), chunk_size, at_once));
                    });
                }
            }
            group.finish();
        }
    }
}

criterion_group!(benches, chunks);
criterion_main!(benches);
