//! The log of a stream: what a publisher's `push` costs, which must not depend on how many read, and what each of the
//! readers costs, frame by frame with `next` and all at once with `batch`.

use std::hint::black_box;
use std::time::Instant;

use anabranch_benches::media;
use anabranch_core::message::MessageType;
use anabranch_core::source::{Cursor, Frame, Next, Source, SourceLimits, WireFormat};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Bytes of a picture of 1 Mb/s.
const LENGTH: usize = 4000;

fn frame(timestamp: u32) -> Frame {
    let head = if timestamp.is_multiple_of(990) { 0x17 } else { 0x27 };
    let message = media(timestamp, MessageType::VIDEO, &[head, 1, 0, 0, 0], LENGTH);
    Frame::encode(message, WireFormat { chunk_size: 60_000 })
}

/// Takes all there is; bytes.
fn drain(source: &Source, cursor: &mut Cursor) -> usize {
    let mut bytes = 0;
    loop {
        match source.next(cursor) {
            Next::Frame(frame) => bytes += black_box(frame.wire().clone()).len(),
            Next::Start(_) => {}
            _ => return bytes,
        }
    }
}

fn source(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("source");
    for count in [1, 1_000, 10_000] {
        let mut source = Source::new(SourceLimits::default());
        let _timeline = source.begin();
        source.push(now, frame(0));
        let mut cursors: Vec<_> = (0..count).map(|_| source.join()).collect();
        cursors.iter_mut().for_each(|cursor| assert!(drain(&source, cursor) > LENGTH));
        let mut timestamp = 0;
        let mut next = || {
            timestamp += 33;
            frame(timestamp)
        };

        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("push, {count} cursors"), |bencher| {
            bencher.iter_batched(&mut next, |frame| source.push(now, frame), BatchSize::SmallInput);
        });

        group.throughput(Throughput::Elements(count));
        cursors.iter_mut().for_each(|cursor| _ = drain(&source, cursor));
        group.bench_function(format!("push and next, {count} cursors"), |bencher| {
            bencher.iter_batched(
                &mut next,
                |frame| {
                    source.push(now, frame);
                    cursors.iter_mut().map(|cursor| drain(&source, cursor)).sum::<usize>()
                },
                BatchSize::SmallInput,
            );
        });

        group.bench_function(format!("push and batch, {count} cursors"), |bencher| {
            bencher.iter_batched(
                &mut next,
                |frame| {
                    source.push(now, frame);
                    // One is asked what follows; for all that stand at the same place that is it.
                    let place = cursors[0].place().expect("it has begun");
                    let batch = source.batch(&place, 1 << 20).expect("there is something new");
                    let mut leader = cursors[0].clone();
                    drain(&source, &mut leader);
                    let next = leader.place().expect("it has begun");
                    for cursor in &mut cursors {
                        assert!(cursor.place().is_some_and(|place| batch.follows(&place)));
                        black_box(batch.wire().clone());
                        cursor.pass_to(next);
                    }
                },
                // One after the other: a second frame would be in the first one's batch.
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, source);
criterion_main!(benches);
