//! Captures that begin in the middle of a connection: they have what both sides send from then on, as messages.

#[path = "support/client.rs"]
mod client;
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anabranch_core::amf::Value;
use anabranch_core::capture::{Capture, End, Joined, Opening, Tap, file_header, joined_file_header};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::conn::{Batches, Config, Conn, Core, NotCaptured, Output};
use anabranch_core::message::MessageType;
use anabranch_core::replay::{self, Timeline};
use anabranch_core::session::{CloseReason, Phase};
use anabranch_core::url::StreamKey;
use client::Client;
use proptest::prelude::*;
use support::any_instant;
use support::mutation::{Random, mutate};

/// A capture in memory, and the calls that its tap got.
#[derive(Debug, Clone, Default)]
struct CaptureBuffer {
    file: Arc<Mutex<Vec<u8>>>,
    told: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl CaptureBuffer {
    fn capture(&self) -> Capture {
        Capture::parse(self.file.lock().unwrap().clone()).expect("a capture")
    }

    fn timeline(&self, all: bool) -> String {
        let capture = self.capture();
        let mut timeline = Timeline::joined(capture.joined().expect("it began in the middle"), all);
        let mut text = String::new();
        let mut line = |words: &str| text += &format!("{words}\n");
        let config = Config::default();
        let outcome = replay::run(&capture, &config, any_instant(), &mut |moment| timeline.take(moment, &mut line));
        assert_eq!(outcome.difference, None);
        timeline.finish(&mut line);
        text
    }
}

impl Tap for CaptureBuffer {
    fn opened(&mut self, opening: &Opening) {
        *self.file.lock().unwrap() = file_header("test");
        self.told.lock().unwrap().push(format!("opened {}", opening.connection));
    }

    fn joined(&mut self, joined: &Joined) {
        *self.file.lock().unwrap() = joined_file_header("test");
        self.told.lock().unwrap().push(format!("joined {}", joined.opening.connection));
    }

    fn client_address(&mut self, address: std::net::SocketAddr) {
        self.told.lock().unwrap().push(format!("address {address}"));
    }

    fn names(&mut self, key: &StreamKey, publishes: bool) {
        self.told.lock().unwrap().push(format!("names {key} {publishes}"));
    }

    fn record(&mut self, record: &[u8]) {
        self.file.lock().unwrap().extend_from_slice(record);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn command(name: &str, transaction: f64) -> Command {
    Command::new(name, transaction, Value::Null)
}

fn publisher(server: &Core, now: Instant) -> Client {
    let mut client = Client::connected(server, now);
    client.call(now, 0, &command("createStream", 2.0));
    client.call(now, 1, &command("publish", 3.0).with("cam").with("live"));
    client
}

fn player(server: &Core, now: Instant) -> Client {
    let mut client = Client::connected(server, now);
    client.call(now, 0, &command("createStream", 2.0));
    client.call(now, 1, &command("play", 3.0).with("cam"));
    client
}

/// A picture as a client sends it, in chunks of 128 bytes.
fn picture(key: bool, timestamp: u32, length: usize) -> Vec<u8> {
    let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.resize(length, 9);
    let mut out = Vec::new();
    write_message(&mut out, 128, 6, timestamp, MessageType::VIDEO, 1, &body);
    out
}

fn leave(client: &mut Client, now: Instant) {
    client.conn.handle_disconnect(now, CloseReason::PeerClosed);
    client.serve(now);
}

#[test]
fn publisher_and_player_are_shown_from_the_middle_on() {
    let server = Core::new(Config::default(), [3; 32]);
    let mut now = any_instant();
    server.set_clock(now, 1_700_000_000);
    let mut encoder = publisher(&server, now);
    let mut viewer = player(&server, now);
    encoder.send(now, &picture(true, 0, 1000));
    now += Duration::from_secs(9);
    // In the middle of a chunk of a message.
    let next = picture(false, 40, 3000);
    let (before, after) = next.split_at(700);
    encoder.send(now, before);
    let (of_encoder, of_viewer) = (CaptureBuffer::default(), CaptureBuffer::default());
    encoder.conn.capture(now, Box::new(of_encoder.clone())).expect("it may begin");
    viewer.conn.capture(now, Box::new(of_viewer.clone())).expect("it may begin");
    let again = encoder.conn.capture(now, Box::new(CaptureBuffer::default()));
    assert_eq!(again, Err(NotCaptured::Already));
    encoder.send(now, after);
    for number in 2..6u32 {
        now += Duration::from_millis(40);
        encoder.send(now, &picture(number == 4, number * 40, 500));
        viewer.serve(now);
    }
    viewer.call(now, 1, &command("pause", 0.0).with(true).with(0.0));
    leave(&mut viewer, now);
    leave(&mut encoder, now);

    let capture = of_encoder.capture();
    let joined = capture.joined().expect("it began in the middle");
    assert_eq!((joined.phase, joined.age), (Phase::Publishing, Duration::from_secs(9)));
    assert_eq!(joined.streams, ["publisher of live/cam"]);
    assert_eq!((joined.opening.unix_time, capture.end()), (Some(1_700_000_009), &End::Closed));
    let text = of_encoder.timeline(false);
    assert!(text.contains("H.264 frame, 3000 bytes at 40 ms (it began before the capture)"), "{text}");
    assert!(text.contains("--> video on stream 1: H.264 frame, 500 bytes at 80 ms"), "{text}");
    assert!(text.contains("closed: the client closed the connection (peer_closed) in phase publishing"), "{text}");
    assert!(!text.contains("unreadable"), "{text}");
    let text = of_viewer.timeline(true);
    for words in [
        "<-- video on stream 1: H.264 frame, 3000 bytes at 40 ms",
        "<-- video on stream 1: H.264 key frame, 500 bytes at 160 ms",
        "--> pause(0) on stream 1",
        "<-- onStatus(0)",
        "closed: ",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains("unreadable"), "{text}");
}

#[test]
fn a_capture_may_begin_at_any_byte_of_the_clients_input() {
    let bytes: Vec<u8> = (0..4u32).flat_map(|number| picture(number == 0, number * 40, 400)).collect();
    let now = any_instant();
    for at in 0..=bytes.len() {
        let server = Core::new(Config::default(), [3; 32]);
        let mut encoder = publisher(&server, now);
        encoder.send(now, &bytes[..at]);
        let capture = CaptureBuffer::default();
        encoder.conn.capture(now, Box::new(capture.clone())).expect("it may begin");
        encoder.send(now, &bytes[at..]);
        leave(&mut encoder, now);
        let text = capture.timeline(true);
        let whole = bytes.len() / 4;
        let expected = 4 - at / whole;
        assert_eq!(text.matches("--> video on stream 1").count(), expected, "at {at}:\n{text}");
        assert!(!text.contains("unreadable"), "at {at}:\n{text}");
    }
}

#[test]
fn a_connection_is_captured_when_there_are_messages_and_not_before_or_after() {
    let server = Core::new(Config::default(), [3; 32]);
    let now = any_instant();
    let mut conn = server.connect(now);
    let capture = |conn: &mut Conn| conn.capture(now, Box::new(CaptureBuffer::default()));
    assert_eq!(capture(&mut conn), Err(NotCaptured::Handshake));
    let mut client = Client::new(&server, now);
    assert_eq!(capture(&mut client.conn), Ok(()), "before connect");
    let mut other = Client::connected(&server, now);
    other.conn.close(CloseReason::Closed("test"));
    assert_eq!(capture(&mut other.conn), Err(NotCaptured::Closing));
}

/// A captured connection gets no batches, and gets them again when the capture is over.
#[test]
fn a_tap_that_is_over_is_dropped() {
    let server = Core::new(Config::default(), [3; 32]);
    let mut now = any_instant();
    let mut encoder = publisher(&server, now);
    let mut viewer = player(&server, now);
    encoder.send(now, &picture(true, 0, 100));
    viewer.serve(now);
    let shares = |viewer: &mut Client, now: Instant| match Batches::default().share(&mut viewer.conn) {
        Some(share) => {
            let length = share.bytes().len();
            viewer.conn.wrote(now, share, length).expect("it is its own");
            true
        }
        None => false,
    };
    let mut pass = |encoder: &mut Client| {
        now += Duration::from_millis(40);
        encoder.send(now, &picture(false, 40, 100));
        now
    };
    let at = pass(&mut encoder);
    assert!(shares(&mut viewer, at));
    let capture = CaptureBuffer::default();
    viewer.conn.capture(at, Box::new(capture.clone())).expect("it may begin");
    let at = pass(&mut encoder);
    viewer.serve(at);
    let at = pass(&mut encoder);
    assert!(!shares(&mut viewer, at));
    viewer.serve(at);
    capture.over.store(true, Ordering::Relaxed);
    let length = capture.file.lock().unwrap().len();
    viewer.serve(at);
    let at = pass(&mut encoder);
    assert!(shares(&mut viewer, at), "as if it had never been captured");
    assert_eq!(capture.file.lock().unwrap().len(), length);
    assert_eq!(Arc::strong_count(&capture.file), 1, "the tap is gone");
    // Another may begin.
    assert_eq!(viewer.conn.capture(at, Box::new(CaptureBuffer::default())), Ok(()));
}

#[test]
fn a_tap_is_told_of_streams_before_they_are_granted_and_of_addresses() {
    let mut config = Config::default();
    config.trusted_proxies.push("203.0.113.0/24".parse().expect("a network"));
    let server = Core::new(config, [3; 32]);
    let now = any_instant();
    let _taken = publisher(&server, now);
    let capture = CaptureBuffer::default();
    let peer = "203.0.113.9:4000".parse().unwrap();
    let mut conn = server.connect_captured(now, Some(peer), Box::new(capture.clone()));
    conn.handle_input(now, b"PROXY TCP4 198.51.100.7 203.0.113.9 4001 1935\r\n");
    while !matches!(conn.poll(now), Output::Wait(_)) {}
    let mut client = Client::on(conn, now);
    client.connect(now);
    client.call(now, 0, &command("createStream", 2.0));
    client.call(now, 1, &command("publish", 3.0).with("cam").with("live"));
    let told = capture.told.lock().unwrap().clone();
    assert_eq!(told, ["opened 2", "address 198.51.100.7:4001", "names live/cam true"]);
}

#[test]
fn a_request_that_waits_with_bytes_behind_it_is_read_when_it_goes_on() {
    let server = Core::new(Config::default(), [3; 32]);
    let now = any_instant();
    let mut encoder = publisher(&server, now);
    // Bytes that the server has not parsed yet are in the capture.
    let mut bytes = picture(true, 0, 300);
    bytes.extend(picture(false, 40, 300));
    encoder.conn.handle_input(now, &bytes);
    let capture = CaptureBuffer::default();
    encoder.conn.capture(now, Box::new(capture.clone())).expect("it may begin");
    encoder.serve(now);
    encoder.send(now, &picture(false, 80, 300));
    leave(&mut encoder, now);
    let text = capture.timeline(true);
    assert!(text.contains("300 bytes at 80 ms") && !text.contains("unreadable"), "{text}");
}

fn damaged() -> Vec<u8> {
    let server = Core::new(Config::default(), [3; 32]);
    let now = any_instant();
    let mut encoder = publisher(&server, now);
    encoder.send(now, &picture(true, 0, 3000)[..2000]);
    let capture = CaptureBuffer::default();
    encoder.conn.capture(now, Box::new(capture.clone())).expect("it may begin");
    encoder.send(now, &picture(true, 0, 3000)[2000..]);
    leave(&mut encoder, now);
    capture.file.lock().unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damage_is_an_error_or_other_words_and_never_a_panic(seed: u64, all: bool) {
        let mut file = damaged();
        let other = file.clone();
        mutate(&mut Random::new(seed), &mut file, 8, &other);
        if let Ok(capture) = Capture::parse(file)
            && let Some(joined) = capture.joined()
        {
            let mut timeline = Timeline::joined(joined, all);
            let mut lines = 0;
            let mut line = |_: &str| lines += 1;
            let config = Config::default();
            replay::run(&capture, &config, any_instant(), &mut |moment| timeline.take(moment, &mut line));
            timeline.finish(&mut line);
        }
    }
}
