//! The client role against the server role: both handshakes, any split of the bytes, damage, and interleaved chunks.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::ChunkLimits;
use anabranch_core::client::{
    Client, ClientConfig, ClientEvent, ClientLimits, ClientOutput, Destination, PlayOptions, StreamHandle,
};
use anabranch_core::command::{Command, PublishType, reply};
use anabranch_core::conn::{self, Action, Config, Conn, Core};
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::message::{Message, MessageType};
use anabranch_core::session::Outbound;
use anabranch_core::source::{Frame, WireFormat};
use bytes::Buf;
use proptest::prelude::*;
use support::chunk_writer::{ChunkWriter, Extension, IdForm, Outgoing, Style};
use support::mutation::{Random, mutate};

fn config(handshake: ClientHandshakeKind) -> ClientConfig {
    let destination = Destination::parse("rtmp://origin.example/live/cam").expect("a URL");
    ClientConfig { handshake, ..ClientConfig::to(&destination) }
}

fn take(outbound: &mut Outbound) -> Vec<u8> {
    let count = outbound.remaining();
    outbound.copy_to_bytes(count).to_vec()
}

/// A client and its connection in a server, with no network between them.
struct Pair {
    client: Client,
    conn: Conn,
    /// The server's bytes.
    said: Vec<u8>,
    events: Vec<ClientEvent>,
}

impl Pair {
    fn new(server: &Core, config: ClientConfig, seed: u8, now: Instant) -> Self {
        let client = Client::new(Arc::new(config), [seed; 32], now);
        Pair { client, conn: server.connect(now), said: Vec::new(), events: Vec::new() }
    }

    /// Passes bytes both ways until neither side has any; true if the server has closed the connection.
    fn exchange(&mut self, now: Instant) -> bool {
        for _ in 0..1000 {
            while let ClientOutput::Event(event) = self.client.poll_output() {
                self.events.push(event);
            }
            let mut closed = false;
            loop {
                match self.conn.poll(now) {
                    conn::Output::Action(Action::Ask(_)) => panic!("the server has no back end to ask"),
                    conn::Output::Action(_) => {}
                    conn::Output::Wait(_) => break,
                    conn::Output::Closed(_) => {
                        closed = true;
                        break;
                    }
                }
            }
            let (sent, answer) = (take(self.client.outbound()), take(self.conn.outbound()));
            if sent.is_empty() && answer.is_empty() {
                return closed;
            }
            self.conn.handle_input(now, &sent);
            self.said.extend_from_slice(&answer);
            self.client.handle_input(now, &answer).expect("the client reads our own server's bytes");
        }
        panic!("client and server never stop sending");
    }

    fn media(&self, of: StreamHandle) -> Vec<Media> {
        let media = |event: &ClientEvent| match event {
            ClientEvent::Media { stream, message } if *stream == of => {
                Some((message.type_id, message.timestamp, message.payload.to_vec()))
            }
            _ => None,
        };
        self.events.iter().filter_map(media).collect()
    }
}

fn video(timestamp: u32, key: bool, length: usize) -> Message {
    let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.extend((0..length).map(|index| (index * 7 + timestamp as usize) as u8));
    Message { chunk_stream: 6, timestamp, type_id: MessageType::VIDEO, message_stream_id: 0, payload: body.into() }
}

fn metadata() -> Message {
    let mut encoded = Command::new("onMetaData", 0.0, Value::Null).encode();
    // The name, then the object: a data message has no transaction id.
    encoded.truncate(13);
    let object = reply::result(0.0).with(Object::default().with("width", 64.0)).encode();
    // After "_result", its transaction id and Null.
    encoded.extend_from_slice(&object[10 + 9 + 1..]);
    let payload = encoded.into();
    Message { chunk_stream: 5, timestamp: 0, type_id: MessageType::DATA_AMF0, message_stream_id: 0, payload }
}

/// Type, timestamp and body.
type Media = (u8, u32, Vec<u8>);

/// A publisher and a player, and the media sent from the publisher to the player.
fn scene(now: Instant, handshake: ClientHandshakeKind) -> (Pair, Pair, StreamHandle, Vec<Media>) {
    let server = Core::new(Config::default(), [9; 32]);
    let mut publisher = Pair::new(&server, config(handshake), 1, now);
    let published = publisher.client.publish("cam?token=x", PublishType::Live).expect("a stream");
    publisher.exchange(now);
    assert!(
        matches!(publisher.events[..], [ClientEvent::Connected(_), ClientEvent::Publishing { .. }]),
        "{:?}",
        publisher.events
    );
    let mut player = Pair::new(&server, config(handshake), 2, now);
    let played = player.client.play("cam", PlayOptions::default()).expect("a stream");
    player.exchange(now);

    let mut sent = Vec::new();
    let mut messages = vec![metadata()];
    messages.extend((0..40).map(|number| video(number * 40, number % 10 == 0, 300 + 4000 * (number as usize % 3))));
    messages.push(video(1600, true, 150_000));
    for (number, message) in messages.into_iter().enumerate() {
        sent.push((message.type_id, message.timestamp, message.payload.to_vec()));
        if number % 2 == 0 {
            let frame = Frame::encode(message, WireFormat { chunk_size: 60_000 });
            publisher.client.send_frame(published, &frame).expect("sent");
        } else {
            publisher.client.send_message(published, message).expect("sent");
        }
        publisher.exchange(now);
        player.exchange(now + Duration::from_secs(1));
    }
    (publisher, player, played, sent)
}

#[test]
fn frames_pass_bit_exact_with_either_handshake() {
    let now = support::any_instant();
    for handshake in [ClientHandshakeKind::Simple, ClientHandshakeKind::Digest] {
        let (_, player, played, sent) = scene(now, handshake);
        assert_eq!(player.media(played), sent);
        let ClientEvent::Connected(connected) = &player.events[0] else { panic!("connected") };
        assert!(connected.capabilities.has(7), "{connected:?}");
        assert_eq!(player.client.counters(), Default::default());
    }
}

#[test]
fn a_second_publisher_of_a_name_is_refused_and_the_first_goes_on() {
    let now = support::any_instant();
    let server = Core::new(Config::default(), [9; 32]);
    let mut pairs = [1, 2].map(|seed| Pair::new(&server, config(ClientHandshakeKind::Simple), seed, now));
    for pair in &mut pairs {
        let _ = pair.client.publish("cam", PublishType::Live).expect("a stream");
        pair.exchange(now);
    }
    let [first, second] = &pairs;
    assert!(matches!(first.events.last(), Some(ClientEvent::Publishing { .. })));
    let Some(ClientEvent::Rejected { stream: Some(_), rejection }) = second.events.last() else { panic!("a refusal") };
    assert_eq!(rejection.code, "NetStream.Publish.BadName");
}

#[test]
fn a_connection_publishes_and_plays_several_streams() {
    let now = support::any_instant();
    let server = Core::new(Config::default(), [9; 32]);
    let mut pair = Pair::new(&server, config(ClientHandshakeKind::Digest), 1, now);
    let published = ["a", "b"].map(|name| pair.client.publish(name, PublishType::Live).expect("a stream"));
    let played = ["b", "a"].map(|name| pair.client.play(name, PlayOptions::default()).expect("a stream"));
    pair.exchange(now);
    for (time, stream) in published.into_iter().enumerate() {
        let message = video(10 + time as u32, true, 500);
        pair.client.send_message(stream, message).expect("sent");
        let frame = Frame::encode(video(20 + time as u32, true, 70_000), WireFormat { chunk_size: 60_000 });
        pair.client.send_frame(stream, &frame).expect("sent");
    }
    pair.exchange(now);
    pair.exchange(now + Duration::from_secs(1));
    let times = played.map(|stream| pair.media(stream).iter().map(|(_, time, _)| *time).collect::<Vec<_>>());
    assert_eq!(times, [vec![11, 21], vec![10, 20]]);
    let stopped = published[0];
    pair.client.stop(stopped);
    pair.exchange(now + Duration::from_secs(1));
    let again = pair.client.publish("a", PublishType::Live).expect("a stream");
    pair.exchange(now + Duration::from_secs(1));
    assert!(pair.events.iter().any(|event| matches!(event, ClientEvent::Publishing { stream } if *stream == again)));
    assert_ne!(again, stopped);
}

/// The server's bytes to a player, and a new client in the state to read them.
fn recorded(now: Instant) -> (Vec<u8>, impl Fn() -> Client) {
    let (_, player, ..) = scene(now, ClientHandshakeKind::Digest);
    let fresh = move || {
        let mut client = Client::new(Arc::new(small(config(ClientHandshakeKind::Digest))), [2; 32], now);
        let _ = client.play("cam", PlayOptions::default()).expect("a stream");
        client
    };
    (player.said, fresh)
}

/// Small windows and limits, so that the test reaches them.
fn small(mut config: ClientConfig) -> ClientConfig {
    config.limits = ClientLimits {
        chunks: ChunkLimits { message: 200_000, streams: 12, partial: 170_000, eager: 64 },
        command: 2000,
        events: 16,
        event_bytes: 100_000,
        replies: 4000,
        inbox: 20_000,
        ..config.limits
    };
    config.window = 5000;
    config
}

/// The observable behaviour of a client.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    events: Vec<String>,
    outbound: Vec<u8>,
}

fn run<'a>(client: &mut Client, now: Instant, pieces: impl Iterator<Item = &'a [u8]>) -> Trace {
    let mut trace = Trace { events: Vec::new(), outbound: Vec::new() };
    let mut settle = |client: &mut Client| loop {
        let output = client.poll_output();
        let wrote = take(client.outbound());
        trace.outbound.extend_from_slice(&wrote);
        match output {
            ClientOutput::Event(event) => trace.events.push(format!("{event:?}")),
            ClientOutput::Wait(_) if wrote.is_empty() => return false,
            ClientOutput::Wait(_) => {}
            ClientOutput::Closed(close) => {
                trace.events.push(format!("{close:?}"));
                return true;
            }
        }
    };
    for piece in pieces {
        let _ = client.handle_input(now, piece);
        if settle(client) {
            return trace;
        }
    }
    client.handle_disconnect(now, anabranch_core::client::ClientCloseReason::PeerClosed);
    assert!(settle(client), "a disconnect ends a client");
    trace
}

#[test]
fn byte_by_byte_is_as_good_as_whole() {
    let now = support::any_instant();
    let (said, fresh) = recorded(now);
    // Pieces larger than the inbox would not be kept while events wait; this test polls after each piece.
    let whole = run(&mut fresh(), now, said.chunks(15_000));
    let cut = run(&mut fresh(), now, said.chunks(1));
    assert!(whole.events.len() > 40 && whole.events.last().is_some_and(|end| end.contains("PeerClosed")));
    assert!(cut == whole, "{} and {} events", cut.events.len(), whole.events.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_cuts_are_as_good_as_none(
        sizes in prop::collection::vec(prop_oneof![1usize..20, 1usize..15_000], 1..30),
        tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let now = support::any_instant();
        let (mut said, fresh) = recorded(now);
        said.extend(tail);
        let mut rest = &said[..];
        let pieces = sizes.iter().cycle().map_while(|size| {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        let cut = run(&mut fresh(), now, pieces);
        let whole = run(&mut fresh(), now, said.chunks(15_000));
        prop_assert!(cut == whole, "{} and {} events", cut.events.len(), whole.events.len());
    }
}

/// For any bytes of a server: no panic, no hang, no growth beyond the limits, and every request ends.
#[test]
fn a_damaged_server_does_no_harm() {
    let now = support::any_instant();
    let (said, fresh) = recorded(now);
    let mut broken = 0;
    for number in 0..1500 {
        let random = &mut Random::new(number);
        let mut bytes = said.clone();
        bytes.truncate(3073 + random.below(60_000));
        let from = if random.below(16) == 0 { 0 } else { 3073 };
        mutate(random, &mut bytes, from, &said[3073..]);
        let mut client = fresh();
        let most = 1 + random.below(9000);
        let (mut rest, mut time, mut parts) = (&bytes[..], now, 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
            rest = after;
            time += Duration::from_millis(random.next() % 50);
            let _ = client.handle_input(time, piece);
            if random.below(4) == 0 {
                client.handle_timeout(time);
            }
            // Calls that a program can make at any time.
            match random.below(40) {
                0 => drop(client.publish("other", PublishType::Live)),
                1 => drop(client.call("x", Value::Null, &[])),
                2 => client.close(),
                _ => {}
            }
            if random.below(3) == 0 {
                continue;
            }
            loop {
                match client.poll_output() {
                    ClientOutput::Event(ClientEvent::Media { stream, .. }) if random.below(50) == 0 => {
                        client.stop(stream);
                    }
                    ClientOutput::Event(_) => parts += 1,
                    ClientOutput::Wait(_) | ClientOutput::Closed(_) => break,
                }
            }
            // The client's requests, one answer beyond the limit, and C0 C1 C2.
            assert!(client.outbound().len() < 4096 + 2000 + 3073 + 20_000, "case {number}");
            if random.below(2) == 0 {
                take(client.outbound());
            }
        }
        assert!(parts <= bytes.len(), "case {number}");
        // Timeouts end the client from any state.
        client.handle_disconnect(time, anabranch_core::client::ClientCloseReason::PeerLost("reset".into()));
        let mut left = 0;
        let close = loop {
            match client.poll_output() {
                ClientOutput::Event(_) => left += 1,
                ClientOutput::Wait(_) => panic!("case {number}: it waits after its end"),
                ClientOutput::Closed(close) => break close,
            }
        };
        assert!(left <= 16 * 2 + 64, "case {number}: {left} events");
        broken += u32::from(close.reason.name().ends_with("error"));
    }
    assert!(broken > 300, "{broken} of 1500 were noticed");
}

#[test]
fn interleaved_chunks_make_whole_messages() {
    let now = support::any_instant();
    let (said, fresh) = recorded(now);
    let mut client = fresh();
    // The handshake of our own server, then bytes that it never sends.
    let _ = client.handle_input(now, &said[..3073]);
    let (mut out, mut writer) = (Vec::new(), ChunkWriter::new(128));
    let mut write_command = |out: &mut Vec<u8>, chunk_stream, message_stream_id, command: &Command| {
        let body = command.encode();
        let message = Outgoing { chunk_stream, timestamp: 0, type_id: 20, message_stream_id, body };
        writer.write(out, message, Style::PLAIN);
    };
    write_command(&mut out, 3, 0, &reply::connect_result(1.0, 0.0));
    write_command(&mut out, 3, 0, &reply::create_stream_result(2.0, 1));
    write_command(&mut out, 5, 1, &reply::on_status(reply::Level::Status, "NetStream.Play.Start", ""));
    let body = |seed: usize, length: usize| (0..length).map(|index| (index * seed) as u8).collect::<Vec<_>>();
    let style = Style { format: 3, id: IdForm::Longest, extension: Extension::Repeat };
    let message = |chunk_stream, type_id, body| Outgoing {
        chunk_stream,
        timestamp: 0x0100_0000,
        type_id,
        message_stream_id: 1,
        body,
    };
    let (video, audio) = (body(3, 1000), body(5, 400));
    writer.begin(&mut out, message(6, 9, video.clone()), style);
    writer.begin(&mut out, message(70, 8, audio.clone()), style);
    while !(writer.open().is_empty()) {
        for chunk_stream in writer.open() {
            writer.proceed(&mut out, chunk_stream, style);
        }
    }
    client.handle_input(now, &out).expect("legal chunks");
    let mut media = Vec::new();
    while let ClientOutput::Event(event) = client.poll_output() {
        if let ClientEvent::Media { message, .. } = event {
            assert_eq!(message.timestamp, 0x0100_0000);
            media.push((message.type_id, message.payload.to_vec()));
        }
    }
    assert_eq!(media, [(8, audio), (9, video)]);
}
