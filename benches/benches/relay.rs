//! One picture on its way through a server, in memory: from a publisher to a player, from a publisher to a push, and from a
//! pull to a player. A push is to cost as much as a player, and a pull as much as a publisher.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_benches::media;
use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::conn::{AnyConn, AnyOutput, Batches, Config, Core, VhostConfig};
use anabranch_core::handshake;
use anabranch_core::message::{Control, Message, MessageType};
use anabranch_core::relay::{Edge, Forward, Order};
use bytes::{Buf, Bytes};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Bytes of a picture of 1 Mb/s.
const LENGTH: usize = 4000;
/// Milliseconds from picture to picture.
const INTERVAL: u32 = 33;
/// As of a server like this one.
const CHUNK_SIZE: u32 = 60_000;

/// Every thirtieth is a key frame.
fn frame(timestamp: u32) -> Message {
    let head = if timestamp.is_multiple_of(30 * INTERVAL) { 0x17 } else { 0x27 };
    media(timestamp, MessageType::VIDEO, &[head, 1, 0, 0, 0], LENGTH)
}

/// Where a picture comes in, and where it goes out.
struct Way {
    now: Instant,
    timestamp: u32,
    from: AnyConn,
    to: AnyConn,
}

impl Way {
    /// The next picture, as its sender writes it.
    fn next(&mut self) -> Vec<u8> {
        let message = frame(self.timestamp);
        self.timestamp += INTERVAL;
        let mut bytes = Vec::new();
        write_message(&mut bytes, CHUNK_SIZE, 6, message.timestamp, message.type_id, 1, &message.payload);
        bytes
    }

    fn pass(&mut self, bytes: &[u8]) -> usize {
        self.now += Duration::from_millis(INTERVAL.into());
        self.from.handle_input(self.now, bytes);
        serve(&mut self.from, self.now);
        match self.to.share(&mut Batches::default()) {
            None => serve(&mut self.to, self.now).len(),
            Some(share) => {
                let length = share.bytes().len();
                self.to.wrote(self.now, share, length).expect("it is its own");
                length
            }
        }
    }
}

/// The loop of every adapter; a socket takes all it is given.
fn serve(conn: &mut AnyConn, now: Instant) -> Bytes {
    let mut bytes = Bytes::new();
    loop {
        match conn.poll(now) {
            AnyOutput::Action(_) => {}
            AnyOutput::Wait(_) => {
                let outbound = conn.outbound();
                let count = outbound.remaining();
                if count == 0 {
                    return bytes;
                }
                bytes = outbound.copy_to_bytes(count);
            }
            AnyOutput::Closed(ended) => panic!("it is over: {ended:?}"),
        }
    }
}

/// The server's end of a client that has asked for this on its first message stream, and has read the answers.
fn asked(server: &Core, now: Instant, request: &Command) -> AnyConn {
    let mut bytes = Vec::new();
    handshake::ClientHandshake::new([1; 32], 0, handshake::ClientHandshakeKind::Simple).start(&mut bytes);
    bytes.resize(bytes.len() + handshake::PACKET_LENGTH, 0);
    let app = Object::default().with("app", "live").with("tcUrl", "rtmp://memory/live");
    let connect = Command::new("connect", 1.0, Value::Object(app));
    let create_stream = Command::new("createStream", 2.0, Value::Null);
    for (stream, command) in [(0, &connect), (0, &create_stream), (1, request)] {
        write_message(&mut bytes, 128, 3, 0, MessageType::COMMAND_AMF0, stream, &command.encode());
    }
    Control::SetChunkSize(CHUNK_SIZE).write(128, &mut bytes);
    let mut conn = AnyConn::from(server.connect(now));
    conn.handle_input(now, &bytes);
    serve(&mut conn, now);
    conn
}

fn publisher(server: &Core, now: Instant) -> AnyConn {
    asked(server, now, &Command::new("publish", 3.0, Value::Null).with("cam").with("live"))
}

fn player(server: &Core, now: Instant) -> AnyConn {
    asked(server, now, &Command::new("play", 3.0, Value::Null).with("cam"))
}

/// The connection that the relays of the server want, once it has what it asks the other server for.
fn uplink(server: &Core, other: &Core, now: Instant) -> AnyConn {
    let relays = server.relays();
    let attempt = loop {
        match relays.poll(now) {
            Order::Connect { attempt, .. } => break attempt,
            Order::Wait(_) => panic!("no relay wants a connection"),
            _ => {}
        }
    };
    let address = SocketAddr::from(([192, 0, 2, 1], 1935));
    let mut uplink = AnyConn::from(relays.connected(now, attempt, address).expect("it is wanted"));
    let mut its_other = AnyConn::from(other.connect(now));
    loop {
        let asked = serve(&mut uplink, now);
        its_other.handle_input(now, &asked);
        let answered = serve(&mut its_other, now);
        uplink.handle_input(now, &answered);
        if asked.is_empty() && answered.is_empty() {
            return uplink;
        }
    }
}

fn plain(now: Instant) -> Way {
    let server = Core::new(Config::default(), [7; 32]);
    Way { now, timestamp: 0, from: publisher(&server, now), to: player(&server, now) }
}

fn pushed(now: Instant) -> Way {
    let forward = vec![Forward::new("rtmp://192.0.2.1/live/{stream}".parse().expect("a template"))];
    let server = Core::new(VhostConfig { forward, ..VhostConfig::default() }.into(), [7; 32]);
    let other = Core::new(Config::default(), [8; 32]);
    let from = publisher(&server, now);
    Way { now, timestamp: 0, from, to: uplink(&server, &other, now) }
}

fn pulled(now: Instant) -> Way {
    let edge = Some(Edge::of(vec!["192.0.2.1".parse().expect("an origin")]));
    let server = Core::new(VhostConfig { edge, ..VhostConfig::default() }.into(), [7; 32]);
    let other = Core::new(Config::default(), [8; 32]);
    let mut its_publisher = publisher(&other, now);
    let mut first = Vec::new();
    write_message(&mut first, CHUNK_SIZE, 6, 0, MessageType::VIDEO, 1, &frame(0).payload);
    its_publisher.handle_input(now, &first);
    serve(&mut its_publisher, now);
    let to = player(&server, now);
    Way { now, timestamp: 0, from: uplink(&server, &other, now), to }
}

fn relay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(1));
    for (name, way) in [
        ("publisher to player", plain as fn(Instant) -> Way),
        ("publisher to push", pushed),
        ("pull to player", pulled),
    ] {
        let mut way = way(Instant::now());
        for _ in 0..40 {
            let next = way.next();
            let bytes = way.pass(&next);
            assert!(way.timestamp < 10 * INTERVAL || bytes >= LENGTH, "{name}: {bytes} bytes come out");
        }
        let way = std::cell::RefCell::new(way);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || way.borrow_mut().next(),
                |bytes| way.borrow_mut().pass(&bytes),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
