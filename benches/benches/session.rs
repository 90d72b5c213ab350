//! Whole sessions in memory, core's client at the one end and its server at the other: from the first byte of the
//! handshake to the first picture that a player gets, and to the first that a publisher's stream has.

use std::sync::Arc;
use std::time::Instant;

use anabranch_benches::media;
use anabranch_core::client::{Client, ClientConfig, ClientEvent, ClientOutput, Destination, PlayOptions};
use anabranch_core::command::PublishType;
use anabranch_core::conn::{self, Config, Conn, Core, VhostConfig};
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::message::{Message, MessageType};
use anabranch_core::policy::{Application, Applications};
use anabranch_core::session::{CloseReason, Outbound};
use bytes::{Buf, Bytes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A client and the server's end of its connection.
struct Pair {
    client: Client,
    conn: Conn,
}

impl Pair {
    fn new(server: &Core, config: &Arc<ClientConfig>, now: Instant) -> Self {
        Pair { client: Client::new(config.clone(), [1; 32], now), conn: server.connect(now) }
    }

    /// Passes bytes both ways until neither side has any; what the server did.
    fn exchange(&mut self, now: Instant) -> Vec<ClientEvent> {
        let mut events = Vec::new();
        loop {
            while let ClientOutput::Event(event) = self.client.poll_output() {
                events.push(event);
            }
            while let conn::Output::Action(_) = self.conn.poll(now) {}
            let (sent, answer) = (take(self.client.outbound()), take(self.conn.outbound()));
            if sent.is_empty() && answer.is_empty() {
                return events;
            }
            self.conn.handle_input(now, &sent);
            self.client.handle_input(now, &answer).expect("our own server is understood");
        }
    }

    /// The client's side is closed, and what the connection held is given back.
    fn end(mut self, now: Instant) {
        self.conn.handle_disconnect(now, CloseReason::PeerClosed);
        while let conn::Output::Action(_) = self.conn.poll(now) {}
    }
}

fn take(outbound: &mut Outbound) -> Bytes {
    let count = outbound.remaining();
    outbound.copy_to_bytes(count)
}

fn key_frame() -> Message {
    media(0, MessageType::VIDEO, &[0x17, 1, 0, 0, 0], 4000)
}

/// A session that publishes this stream and has sent its first picture.
fn publish(server: &Core, config: &Arc<ClientConfig>, name: &str, now: Instant) -> Pair {
    let mut pair = Pair::new(server, config, now);
    let stream = pair.client.publish(name, PublishType::Live).expect("it may ask");
    let events = pair.exchange(now);
    assert!(matches!(events[..], [ClientEvent::Connected(_), ClientEvent::Publishing { .. }]), "{events:?}");
    pair.client.send_message(stream, key_frame()).expect("it publishes");
    pair.exchange(now);
    pair
}

/// A session that plays this stream and has got its first picture.
fn play(server: &Core, config: &Arc<ClientConfig>, name: &str, now: Instant) -> Pair {
    let mut pair = Pair::new(server, config, now);
    pair.client.play(name, PlayOptions::default()).expect("it may ask");
    let events = pair.exchange(now);
    assert!(events.iter().any(|event| matches!(event, ClientEvent::Media { .. })), "{events:?}");
    pair
}

fn session(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("session");
    group.throughput(Throughput::Elements(1));
    for (name, handshake) in [("simple", ClientHandshakeKind::Simple), ("digest", ClientHandshakeKind::Digest)] {
        let destination = Destination::parse("rtmp://example.org/live/cam").expect("a URL");
        let config = Arc::new(ClientConfig { handshake, ..ClientConfig::to(&destination) });
        let server = Core::new(Config::default(), [7; 32]);
        let publisher = publish(&server, &config, "cam", now);
        group.bench_function(format!("connect to play, {name} handshake"), |bencher| {
            bencher.iter(|| play(&server, &config, "cam", now).end(now));
        });
        publisher.end(now);
        group.bench_function(format!("connect to publish, {name} handshake"), |bencher| {
            bencher.iter(|| publish(&server, &config, "other", now).end(now));
        });
    }
    // The application of a stream is looked up when it is granted. The last of a thousand, whose patterns begin with
    // the name of an app, or with a star and must all be compared.
    for (name, pattern) in [("1,000 applications by app", "customer-#/*"), ("1,000 applications by stream", "*/cam-#")]
    {
        let destination = Destination::parse("rtmp://example.org/customer-999/cam-999").expect("a URL");
        let config = Arc::new(ClientConfig::to(&destination));
        let application = |number: usize| Application {
            streams: vec![pattern.replace('#', &number.to_string()).parse().expect("a pattern")],
            settings: VhostConfig::default(),
        };
        let applications = Applications::new((0..1000).map(application));
        let settings = VhostConfig { applications, ..VhostConfig::default() };
        let server = Core::new(Config::from(settings), [7; 32]);
        group.bench_function(format!("connect to publish, {name}"), |bencher| {
            bencher.iter(|| publish(&server, &config, "cam-999", now).end(now));
        });
    }
    group.finish();
}

criterion_group!(benches, session);
criterion_main!(benches);
