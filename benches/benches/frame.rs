//! `Frame::encode`, which is done once for all players: a body that fits one chunk, which is not copied, and bodies cut
//! into several.

use anabranch_benches::media;
use anabranch_core::message::MessageType;
use anabranch_core::source::{Frame, WireFormat};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (length, chunk_size) in [(400, 60_000), (50_000, 60_000), (100_000, 60_000), (50_000, 4096), (50_000, 128)] {
        let message = media(40, MessageType::VIDEO, &[0x27, 1, 0, 0, 0], length);
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("encode {length} bytes, chunk size {chunk_size}"), |bencher| {
            bencher.iter_batched(
                || message.clone(),
                |message| Frame::encode(message, WireFormat { chunk_size }),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
