//! The same four seconds as a publisher's media, taken by server sessions: one group for each chunk size.

use anabranch_side_by_side::publishers::{CHUNK_SIZES, Conversation, PUBLISHERS, publish};
use anabranch_side_by_side::{Tally, stream};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn publishers(criterion: &mut Criterion) {
    let messages = stream();
    for chunk_size in CHUNK_SIZES {
        let conversation = Conversation::new(&messages, chunk_size);
        let mut group = criterion.benchmark_group(format!("publisher in chunks of {chunk_size}"));
        group.throughput(Throughput::Bytes(conversation.media_len() as u64));
        for publisher in &PUBLISHERS {
            let tally = publish(&mut *publisher.open(&conversation), &conversation, 4096);
            assert_eq!(tally, Tally::of(&messages), "{}", publisher.name);
            group.bench_function(publisher.name, |bencher| {
                bencher.iter_batched(
                    || publisher.open(&conversation),
                    |mut session| publish(&mut *session, &conversation, 4096),
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, publishers);
criterion_main!(benches);
