//! One picture to N players, in memory: what the server's own work costs when writing is free.
//!
//! `hub`: `push` is the publisher's share, which must not depend on N; `push and serve` has the sweep over the players
//! in it. `conn`: the players are connections, and get what they get as an adapter gives it to them: by polling each,
//! or as one batch for all that are at the same place.

use std::hint::black_box;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use anabranch_benches::media;
use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::conn::{Batches, Config, Conn, Core, Output};
use anabranch_core::handshake;
use anabranch_core::hub::{Hub, HubConfig, Player};
use anabranch_core::message::{Message, MessageType};
use anabranch_core::url::StreamKey;
use bytes::Buf;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Bytes of a picture of 1 Mb/s.
const LENGTH: usize = 4000;
/// Milliseconds from picture to picture.
const INTERVAL: u32 = 33;

/// Every thirtieth is a key frame.
fn frame(timestamp: u32) -> Message {
    let head = if timestamp.is_multiple_of(30 * INTERVAL) { 0x17 } else { 0x27 };
    media(timestamp, MessageType::VIDEO, &[head, 1, 0, 0, 0], LENGTH)
}

fn hub(criterion: &mut Criterion) {
    let now = Instant::now();
    let key = StreamKey::new("host", "live", "cam").expect("the name is legal");
    let mut group = criterion.benchmark_group("fan_out/hub");
    for players in [1, 1_000, 10_000] {
        let hub = Hub::new(HubConfig::default());
        let mut publisher = hub.publish(&key).expect("the name is free");
        publisher.push(now, frame(0)).expect("it publishes");
        let mut audience: Vec<Player> = (0..players).map(|_| hub.play(&key)).collect();
        let mut timestamp = 0;
        let mut next = move || {
            timestamp += INTERVAL;
            frame(timestamp)
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("push, {players} players"), |bencher| {
            bencher.iter_batched(
                &mut next,
                |frame| publisher.push(now, frame).expect("it publishes"),
                BatchSize::SmallInput,
            );
        });
        group.throughput(Throughput::Elements(players));
        group.bench_function(format!("push and serve, {players} players"), |bencher| {
            bencher.iter_batched(
                &mut next,
                |frame| {
                    publisher.push(now, frame).expect("it publishes");
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

/// A publisher and its players, as connections whose clients say what they must and listen to nothing.
struct Audience {
    now: Instant,
    timestamp: u32,
    publisher: Conn,
    players: Vec<Conn>,
}

impl Audience {
    fn new(players: usize) -> Self {
        let (server, now) = (Core::new(Config::default(), [7; 32]), Instant::now());
        let publisher = asked(&server, now, &Command::new("publish", 3.0, Value::Null).with("cam").with("live"));
        let play = Command::new("play", 3.0, Value::Null).with("cam");
        let players = (0..players).map(|_| asked(&server, now, &play)).collect();
        let mut audience = Audience { now, timestamp: 0, publisher, players };
        for _ in 0..2 {
            audience.publish();
            let bytes = audience.serve_by_poll();
            assert!(bytes >= LENGTH * audience.players.len(), "each is sent the picture");
        }
        audience
    }

    /// The next picture comes, and its time.
    fn publish(&mut self) {
        let message = frame(self.timestamp);
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 6, message.timestamp, message.type_id, 1, &message.payload);
        self.publisher.handle_input(self.now, &bytes);
        serve(&mut self.publisher, self.now);
        self.timestamp += INTERVAL;
        self.now += Duration::from_millis(INTERVAL.into());
    }

    fn serve_by_poll(&mut self) -> usize {
        self.players.iter_mut().map(|player| serve(player, self.now)).sum()
    }

    fn serve_by_batch(&mut self) -> usize {
        let (mut batches, mut bytes) = (Batches::default(), 0);
        for player in &mut self.players {
            let share = batches.share(player).expect("it takes what the others take");
            let written = black_box(share.bytes()).len();
            assert!(player.wrote(self.now, share, written).expect("it is of this player"));
            bytes += written;
        }
        bytes
    }
}

/// The server's end of a client that has asked for this on its first message stream, and has read the answers.
fn asked(server: &Core, now: Instant, request: &Command) -> Conn {
    let mut bytes = Vec::new();
    handshake::ClientHandshake::new([1; 32], 0, handshake::ClientHandshakeKind::Simple).start(&mut bytes);
    bytes.resize(bytes.len() + handshake::PACKET_LENGTH, 0);
    let app = Object::default().with("app", "live").with("tcUrl", "rtmp://memory/live");
    let connect = Command::new("connect", 1.0, Value::Object(app));
    let create_stream = Command::new("createStream", 2.0, Value::Null);
    for (stream, command) in [(0, &connect), (0, &create_stream), (1, request)] {
        write_message(&mut bytes, 128, 3, 0, MessageType::COMMAND_AMF0, stream, &command.encode());
    }
    let mut conn = server.connect(now);
    conn.handle_input(now, &bytes);
    serve(&mut conn, now);
    conn
}

/// The loop of every adapter; a socket takes all it is given. Bytes.
fn serve(conn: &mut Conn, now: Instant) -> usize {
    let mut bytes = 0;
    loop {
        match conn.poll(now) {
            Output::Action(_) => {}
            Output::Wait(wait) if wait.write => {
                let mut pieces = [IoSlice::new(&[]); 64];
                let outbound = conn.outbound();
                let count = outbound.chunks_vectored(&mut pieces);
                let written = black_box(&pieces[..count]).iter().map(|piece| piece.len()).sum();
                outbound.advance(written);
                bytes += written;
            }
            Output::Wait(_) => return bytes,
            Output::Closed(report) => panic!("it was closed: {report:?}"),
        }
    }
}

fn conn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out/conn");
    let players = 1_000;
    group.throughput(Throughput::Elements(players));
    for (name, serve) in
        [("poll", Audience::serve_by_poll as fn(&mut Audience) -> usize), ("batch", Audience::serve_by_batch)]
    {
        let mut audience = Audience::new(players as usize);
        group.bench_function(format!("{name}, {players} players"), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    audience.publish();
                    let begin = Instant::now();
                    let bytes = serve(&mut audience);
                    spent += begin.elapsed();
                    assert!(bytes >= LENGTH * audience.players.len(), "each is sent the picture");
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hub, conn);
criterion_main!(benches);
