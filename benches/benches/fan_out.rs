//! One frame to N players, in memory: what the server's own work costs when writing is free.
//!
//! `push` is the publisher's share, which must not depend on N; `serve` is the sweep over the players.

use std::time::Instant;

use anabranch_core::hub::{Hub, HubConfig, Player};
use anabranch_core::message::{Message, MessageType, Payload};
use anabranch_core::url::StreamKey;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const FRAME: usize = 4000;

fn frame(timestamp: u32, key: bool) -> Message {
    let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.resize(FRAME, 0x5a);
    Message { chunk_stream: 6, timestamp, type_id: MessageType::VIDEO, stream_id: 1, payload: Payload::from(body) }
}

fn fan_out(criterion: &mut Criterion) {
    let now = Instant::now();
    let key = StreamKey::new("host", "live", "cam").expect("the name is legal");
    let mut group = criterion.benchmark_group("fan_out");
    for players in [1, 1_000, 10_000] {
        let hub = Hub::new(HubConfig::default());
        let mut publisher = hub.publish(&key).expect("nobody publishes");
        publisher.push(now, frame(0, true)).expect("nobody took over");
        let mut audience: Vec<Player> = (0..players).map(|_| hub.play(&key)).collect();
        let mut timestamp = 0;
        let mut next = move || {
            timestamp += 33;
            frame(timestamp, timestamp % 990 == 0)
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("push, {players} players"), |bencher| {
            bencher.iter_batched(
                &mut next,
                |frame| publisher.push(now, frame).expect("nobody took over"),
                BatchSize::SmallInput,
            );
        });
        group.throughput(Throughput::Elements(players));
        group.bench_function(format!("push and serve, {players} players"), |bencher| {
            bencher.iter_batched(
                &mut next,
                |frame| {
                    publisher.push(now, frame).expect("nobody took over");
                    let mut bytes = 0;
                    for player in &mut audience {
                        player.pull(|frame| {
                            bytes += frame.wire().clone().len();
                            true
                        });
                    }
                    bytes
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
