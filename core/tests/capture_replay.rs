//! The replay of a captured connection has the same actions, the same bytes and the same end. A damaged file gives an
//! error or a difference and never a panic.

#[path = "support/client.rs"]
mod client;
#[path = "capture_replay/decisions.rs"]
mod decisions;
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anabranch_core::amf::Value;
use anabranch_core::capture::{Capture, End, FormatError, Tap, file_header, stopped_record};
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, Asks, Config, Conn, Core, Output, Verdict, VhostConfig};
use anabranch_core::http::Answer;
use anabranch_core::hub::Conflict;
use anabranch_core::message::MessageType;
use anabranch_core::policy::{Limits, Vhost, Vhosts};
use anabranch_core::replay::{self, Outcome, Timeline};
use anabranch_core::session::{Accepts, CloseReason, TlsFault};
use bytes::Buf;
use client::Client;
use proptest::prelude::*;
use support::any_instant;
use support::mutation::{Random, mutate};
use support::recorded::{self, Recorded};

const KEY_FRAME: [u8; 6] = [0x17, 1, 0, 0, 0, 9];
const FRAME: [u8; 6] = [0x27, 1, 0, 0, 0, 8];
const SEQUENCE_HEADER: [u8; 6] = [0x17, 0, 0, 0, 0, 1];

/// A file in memory.
#[derive(Debug, Clone)]
struct CaptureBuffer(Arc<Mutex<Vec<u8>>>);

impl CaptureBuffer {
    fn new() -> Self {
        CaptureBuffer(Arc::new(Mutex::new(file_header("test"))))
    }

    fn file(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Tap for CaptureBuffer {
    fn record(&mut self, record: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(record);
    }
}

fn captured(server: &Core, now: Instant) -> (Conn, CaptureBuffer) {
    let capture = CaptureBuffer::new();
    let peer = "203.0.113.9:4000".parse().unwrap();
    (server.connect_captured(now, Some(peer), Box::new(capture.clone())), capture)
}

fn captured_client(server: &Core, now: Instant) -> (Client, CaptureBuffer) {
    let (conn, capture) = captured(server, now);
    (Client::on(conn, now), capture)
}

fn run(file: Vec<u8>, config: &Config) -> Outcome {
    let capture = Capture::parse(file).expect("a capture");
    // Another instant than in the capture: only differences of times may matter.
    replay::run(&capture, config, any_instant() + Duration::from_secs(1000), &mut |_| {})
}

/// Replays a capture and checks that there is no difference.
fn same(capture: &CaptureBuffer, config: &Config) -> Outcome {
    let outcome = run(capture.file(), config);
    assert_eq!(outcome.difference, None);
    outcome
}

fn timeline(capture: &CaptureBuffer, config: &Config, all: bool) -> String {
    let capture = Capture::parse(capture.file()).expect("a capture");
    let mut timeline = Timeline::new(capture.opening(), config, all);
    let mut text = String::new();
    let mut line = |words: &str| text += &format!("{words}\n");
    replay::run(&capture, config, any_instant(), &mut |moment| timeline.take(moment, &mut line));
    timeline.finish(&mut line);
    text
}

fn command(name: &str, transaction: f64) -> Command {
    Command::new(name, transaction, Value::Null)
}

fn publish(client: &mut Client, now: Instant, name: &str) {
    client.call(now, 0, &command("createStream", 2.0));
    client.call(now, 1, &command("publish", 3.0).with(name).with("live"));
}

fn play(client: &mut Client, now: Instant, name: &str) {
    client.call(now, 0, &command("createStream", 2.0));
    client.call(now, 1, &command("play", 3.0).with(name));
}

fn video(client: &mut Client, now: Instant, timestamp: u32, body: &[u8]) {
    client.message(now, MessageType::VIDEO, 1, timestamp, body);
}

/// How a writer handles the queue.
fn write(conn: &mut Conn, random: &mut Random) {
    match random.below(4) {
        0 => {}
        1 => {
            let count = random.below(conn.outbound().remaining() + 1);
            conn.outbound().advance(count);
        }
        _ => {
            if let Some(mut lent) = conn.outbound().lend() {
                let count = random.below(lent.remaining() + 1);
                lent.advance(count);
                conn.outbound().restore(lent).expect("it is its own");
            }
        }
    }
}

/// Feeds a recorded client's bytes, split anywhere, to a captured connection, with a slow writer that runs at other
/// times than the reader, and with a writer that holds the queue while more input arrives.
fn capture_recorded(recorded: &Recorded, seed: u64) -> CaptureBuffer {
    let mut random = Random::new(seed);
    let server = Core::new(Config::default(), [9; 32]);
    let mut now = any_instant();
    let (mut conn, capture) = captured(&server, now);
    let mut bytes = &recorded.bytes[..];
    while !bytes.is_empty() {
        let piece;
        (piece, bytes) = bytes.split_at(bytes.len().min(1 + random.below(4000)));
        now += Duration::from_millis(random.next() % 40);
        if random.below(3) == 0 {
            let lent = conn.outbound().lend();
            conn.handle_input(now, piece);
            if random.below(2) == 0 {
                conn.handle_timeout(now);
            }
            if let Some(mut lent) = lent {
                let count = random.below(lent.remaining() + 1);
                lent.advance(count);
                conn.outbound().restore(lent).expect("it is its own");
            }
        } else {
            conn.handle_input(now, piece);
        }
        for _ in 0..200 {
            match conn.poll(now) {
                Output::Action(_) => {}
                Output::Wait(_) => {
                    write(&mut conn, &mut random);
                    break;
                }
                Output::Closed(_) => return capture,
            }
        }
    }
    conn.handle_disconnect(now, CloseReason::PeerClosed);
    while !matches!(conn.poll(now), Output::Closed(_)) {
        let waiting = conn.outbound().remaining();
        conn.outbound().advance(waiting);
    }
    capture
}

#[test]
fn every_recorded_client_goes_the_same_way_again() {
    for recorded in recorded::connections() {
        for seed in 0..6 {
            let capture = capture_recorded(&recorded, seed);
            let outcome = same(&capture, &Config::default());
            assert!(outcome.queued > 3000, "{}: {outcome:?}", recorded.name);
            assert_eq!(*Capture::parse(capture.file()).unwrap().end(), End::Closed);
        }
    }
}

#[test]
fn publisher_and_player_go_the_same_way_again() {
    let config = Config::default();
    let server = Core::new(config.clone(), [3; 32]);
    let mut now = any_instant();
    server.set_clock(now, 1_700_000_000);
    let (mut encoder, encoder_tape) = captured_client(&server, now);
    encoder.connect(now);
    publish(&mut encoder, now, "cam");
    video(&mut encoder, now, 0, &SEQUENCE_HEADER);
    let (mut player, player_tape) = captured_client(&server, now);
    player.connect(now);
    play(&mut player, now, "cam");
    for frame in 0..50u32 {
        now += Duration::from_millis(40);
        let body: Vec<u8> = [if frame % 10 == 0 { KEY_FRAME } else { FRAME }.as_slice(), &[7; 3000]].concat();
        encoder.message(now, MessageType::VIDEO, 1, frame * 40, &body);
        match frame {
            20 => player.call(now, 1, &command("pause", 0.0).with(true).with(0.0)),
            35 => player.call(now, 1, &command("pause", 0.0).with(false).with(0.0)),
            _ => player.serve(now),
        }
    }
    encoder.conn.handle_disconnect(now, CloseReason::PeerClosed);
    encoder.serve(now);
    player.serve(now);
    for seconds in [10, 1] {
        now += Duration::from_secs(seconds);
        player.conn.handle_timeout(now);
        player.serve(now);
    }
    assert!(player.messages.iter().filter(|message| message.type_id == MessageType::VIDEO).count() > 30);
    // The publisher returns: the player gets a message.
    let mut again = Client::connected(&server, now);
    publish(&mut again, now, "cam");
    video(&mut again, now, 0, &KEY_FRAME);
    now += Duration::from_secs(1);
    player.serve(now);
    player.conn.handle_disconnect(now, CloseReason::PeerLost("reset".into()));
    player.serve(now);
    same(&encoder_tape, &config);
    let outcome = same(&player_tape, &config);
    assert!(outcome.queued > 100_000, "{outcome:?}");
    let text = timeline(&player_tape, &config, false);
    for words in [
        "--> handshake: simple",
        "--> connect(1) {app: \"live\", tcUrl: \"rtmp://host/live\"}",
        "granted",
        "phase: connected",
        "--> play(3) on stream 1 null \"cam\"",
        "<-- video on stream 1: H.264 sequence header",
        "<-- ... and 0 audio, ",
        "NetStream.Play.UnpublishNotify",
        "NetStream.Play.PublishNotify",
        "disconnected: reset",
        "closed: connection lost: reset (peer_lost) in phase playing",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}

#[test]
fn replay_shows_the_error_of_tls_again() {
    let config = Config::default();
    let faults = [TlsFault::Broken, TlsFault::BeginningTooLong, TlsFault::WithoutContent, TlsFault::TooManyBegin];
    for reason in faults.map(|fault| CloseReason::Tls(fault, "these words".into())) {
        let (server, now) = (Core::new(config.clone(), [3; 32]), any_instant());
        let (mut client, capture) = captured_client(&server, now);
        client.conn.handle_disconnect(now, reason.clone());
        client.serve(now);
        same(&capture, &config);
        let text = timeline(&capture, &config, false);
        let line = format!("closed: {reason} ({}) in phase connect", reason.name());
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_player_too_slow_for_its_stream_goes_the_same_way_again() {
    let mut settings = VhostConfig::default();
    settings.source.bytes = 100_000;
    settings.high_water = 20_000;
    settings.max_gap = Some(Duration::from_secs(1));
    let config = Config::from(settings);
    let server = Core::new(config.clone(), [3; 32]);
    let mut now = any_instant();
    let mut encoder = Client::connected(&server, now);
    publish(&mut encoder, now, "cam");
    let (mut player, capture) = captured_client(&server, now);
    player.connect(now);
    play(&mut player, now, "cam");
    for frame in 0..200u32 {
        now += Duration::from_millis(40);
        let body: Vec<u8> = [if frame % 10 == 0 { KEY_FRAME } else { FRAME }.as_slice(), &[7; 3000]].concat();
        encoder.message(now, MessageType::VIDEO, 1, frame * 40, &body);
        // The player takes no bytes for some time, then all of them.
        if frame % 60 < 5 || frame > 190 {
            player.serve(now);
        } else {
            while matches!(player.conn.poll(now), Output::Action(_)) {}
        }
    }
    let report = player.report.expect("it missed too much");
    assert_eq!(report.close.reason, CloseReason::TooSlow);
    same(&capture, &config);
}

#[test]
fn draining_and_going_down_go_the_same_way_again() {
    let config = Config::default();
    let server = Core::new(config.clone(), [4; 32]);
    let mut now = any_instant();
    let mut encoder = Client::connected(&server, now);
    publish(&mut encoder, now, "cam");
    video(&mut encoder, now, 0, &KEY_FRAME);
    let (mut player, player_tape) = captured_client(&server, now);
    player.connect(now);
    play(&mut player, now, "cam");
    let (mut idle, idle_tape) = captured_client(&server, now);
    idle.connect(now);
    server.drain();
    for client in [&mut player, &mut idle] {
        client.conn.drain(now + Duration::from_secs(5), Some("rtmp://other/live"));
        client.serve(now);
    }
    play(&mut idle, now, "cam");
    now += Duration::from_secs(1);
    video(&mut encoder, now, 1000, &KEY_FRAME);
    now += Duration::from_secs(1);
    player.serve(now);
    now += Duration::from_secs(5);
    for client in [&mut player, &mut idle] {
        client.conn.handle_timeout(now);
        client.serve(now);
        client.conn.shutdown();
        client.conn.handle_disconnect(now, CloseReason::PeerClosed);
        client.serve(now);
        assert!(client.report.is_some());
    }
    same(&player_tape, &config);
    same(&idle_tape, &config);
}

#[test]
fn every_deadline_comes_again() {
    let config = Config::default();
    let server = Core::new(config.clone(), [4; 32]);
    let mut now = any_instant();
    let (mut client, capture) = captured_client(&server, now);
    client.connect(now);
    while client.report.is_none() {
        match client.conn.poll(now) {
            Output::Action(_) => {}
            Output::Wait(wait) => {
                // The peer takes no bytes: the ping, identification and write timers all expire.
                now = wait.deadline().expect("a connection that does nothing has a deadline");
                client.conn.handle_timeout(now);
            }
            Output::Closed(report) => client.report = Some(report),
        }
    }
    same(&capture, &config);
}

#[test]
fn another_configuration_makes_a_difference_that_is_found() {
    let recorded = &recorded::connections()[0];
    let capture = capture_recorded(recorded, 1);
    let mut settings = VhostConfig::default();
    settings.session.window = 1_000_000;
    let difference = run(capture.file(), &Config::from(settings)).difference.expect("another window is announced");
    assert!(difference.to_string().contains("bytes queued"), "{difference}");
}

#[test]
fn a_file_cut_short_is_replayed_up_to_the_cut() {
    let capture = capture_recorded(&recorded::connections()[0], 2);
    let file = capture.file();
    let whole = run(file.clone(), &Config::default());
    let (mut parsed, mut cut) = (0, 0);
    for end in (0..file.len()).step_by(1 + file.len() / 700) {
        match Capture::parse(file[..end].to_vec()) {
            Ok(capture) => {
                cut += usize::from(*capture.end() == End::Cut);
                assert_ne!(*capture.end(), End::Closed);
                let outcome = replay::run(&capture, &Config::default(), any_instant(), &mut |_| {});
                assert_eq!(outcome.difference, None, "cut at {end}");
                assert!(outcome.calls < whole.calls + 1);
                parsed += 1;
            }
            Err(error) => assert!(end < 200, "cut at {end}: {error}"),
        }
    }
    assert!(parsed > 600 && cut > 500, "{parsed} {cut}");
}

#[test]
fn a_capture_that_was_stopped_says_why() {
    let capture = capture_recorded(&recorded::connections()[0], 3);
    let file = capture.file();
    // Complete records up to some point, then the reason.
    let records = (200..file.len())
        .find(|end| Capture::parse(file[..*end].to_vec()).is_ok_and(|capture| *capture.end() == End::Open));
    let mut file = file[..records.expect("the end of some record")].to_vec();
    file.extend_from_slice(&stopped_record("enough"));
    let capture = Capture::parse(file.clone()).unwrap();
    assert_eq!(*capture.end(), End::Stopped("enough".into()));
    assert_eq!(capture.header(), "test");
    assert_eq!(run(file, &Config::default()).difference, None);
}

#[test]
fn what_is_no_capture_is_an_error() {
    assert_eq!(Capture::parse(b"FLV\x01".to_vec()).unwrap_err(), FormatError::NotACapture);
    assert_eq!(Capture::parse(Vec::new()).unwrap_err(), FormatError::NotACapture);
    assert_eq!(Capture::parse(file_header("x")).unwrap_err(), FormatError::NoOpening);
    let mut other = file_header("x");
    other[7] = 9;
    assert_eq!(Capture::parse(other).unwrap_err(), FormatError::UnknownVersion(9));
    let mut file = file_header("");
    let start = file.len() as u64;
    file.extend_from_slice(&[200, 0, 0]);
    assert_eq!(Capture::parse(file).unwrap_err(), FormatError::Damaged { offset: start });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damage_is_an_error_or_a_difference_and_never_a_panic(seed: u64, which in 0usize..4, all: bool) {
        let recorded = recorded::connections();
        let capture = capture_recorded(&recorded[which % recorded.len()], seed % 3);
        let mut file = capture.file();
        let other = file.clone();
        mutate(&mut Random::new(seed), &mut file, 8, &other);
        if let Ok(capture) = Capture::parse(file) {
            let config = Config::default();
            let mut timeline = Timeline::new(capture.opening(), &config, all);
            let mut lines = 0;
            let mut line = |_: &str| lines += 1;
            replay::run(&capture, &config, any_instant(), &mut |moment| timeline.take(moment, &mut line));
            timeline.finish(&mut line);
        }
    }
}

/// Every kind of message for a player: the frames are in the capture, so that the replay needs no publisher.
#[test]
fn a_player_of_every_kind_of_frame_goes_the_same_way_again() {
    let config = Config::default();
    let server = Core::new(config.clone(), [3; 32]);
    let now = any_instant();
    let mut encoder = Client::connected(&server, now);
    publish(&mut encoder, now, "cam");
    let (mut player, capture) = captured_client(&server, now);
    player.connect(now);
    play(&mut player, now, "cam");
    let metadata = Command::new("onMetaData", 1.0, Value::Null).encode();
    encoder.message(now, MessageType::DATA_AMF0, 1, 0, &metadata);
    // Of a stream by WebRTC, whose Opus this player has not announced.
    let mark = b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x06webrtc\x01\x01\0\0\x09";
    encoder.message(now, MessageType::DATA_AMF0, 1, 0, mark);
    encoder.message(now, MessageType::AUDIO, 1, 0, b"\x91Opus\x07");
    encoder.message(now, MessageType::AUDIO, 1, 0, &[0xaf, 0, 0x12, 0x10]);
    encoder.message(now, MessageType::AUDIO, 1, 0, &[0xaf, 1, 7]);
    video(&mut encoder, now, 0, &KEY_FRAME);
    encoder.message(now, MessageType::AUDIO, 1, 20, b"\x91Opus\x08");
    // A message of track 1 alone, and the colours of a codec that only track 1 has.
    video(&mut encoder, now, 0, b"\x96\x00av01\x01\x81\x00\x0c\x00");
    video(&mut encoder, now, 40, b"\x94av01\x02\x00\x00\x05");
    player.serve(now);
    assert!(!player.conn.request_reconnect(Some("rtmp://other/live"), "maintenance"));
    player.conn.handle_disconnect(now, CloseReason::PeerClosed);
    player.serve(now);
    let kinds: Vec<u8> = player.messages.iter().map(|message| message.type_id).collect();
    for kind in [MessageType::AUDIO, MessageType::VIDEO, MessageType::DATA_AMF0] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(player.messages.iter().all(|message| !message.payload.starts_with(b"\x91Opus")));
    assert_eq!(player.report.as_ref().map(|report| report.left_out.unannounced), Some(2));
    same(&capture, &config);
}

/// A file has names in the form of the first version, so that older files can be replayed. A timeline is for people and
/// has the form of the log.
#[test]
fn a_name_is_shown_as_in_the_log_and_kept_as_in_older_captures() {
    let vhosts = ["tv.example", "__defaultVhost__"].map(|name| Vhost::new(name, VhostConfig::default()));
    let config = Config { vhosts: Vhosts::new(vhosts).expect("two names"), ..Config::default() };
    for (name, kept, shown) in [
        ("cam", "attach publisher of /live/cam", "attach publisher of live/cam"),
        ("cam?vhost=tv.example", "attach publisher of tv.example/live/cam", "of live/cam?vhost=tv.example"),
    ] {
        let (server, now) = (Core::new(config.clone(), [3; 32]), any_instant());
        let (mut client, capture) = captured_client(&server, now);
        client.connect(now);
        publish(&mut client, now, name);
        client.conn.handle_disconnect(now, CloseReason::PeerClosed);
        client.serve(now);
        same(&capture, &config);
        assert!(capture.file().windows(kept.len()).any(|bytes| bytes == kept.as_bytes()), "{kept} is not in the file");
        let text = timeline(&capture, &config, false);
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
}

/// The timeline describes every kind of client message.
#[test]
fn a_timeline_has_words_for_every_message() {
    let mut config = Config::default();
    config.trusted_proxies.push("203.0.113.0/24".parse().expect("a network"));
    let server = Core::new(config.clone(), [3; 32]);
    let now = any_instant();
    let (mut conn, capture) = captured(&server, now);
    conn.handle_input(now, b"PROXY TCP4 198.51.100.7 203.0.113.9 4001 1935\r\n");
    let mut client = Client::on(conn, now);
    client.connect(now);
    publish(&mut client, now, "cam");
    let values: [(&[u8], &str); 5] = [
        (&[2, 0, 1, b'x', 6], "undefined"),
        (&[2, 0, 1, b'x', 13], "unsupported"),
        (&[2, 0, 1, b'x', 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "date 0"),
        (&[2, 0, 1, b'x', 17, 1], "AMF3 value"),
        (&[2, 0, 1, b'x', 10, 0, 0, 0, 2, 5, 5], "[null, null]"),
    ];
    for (body, _) in values {
        client.message(now, MessageType::DATA_AMF0, 1, 0, body);
    }
    let media: [(u8, &[u8], &str); 8] = [
        (MessageType::VIDEO, &[], "no codec empty"),
        (MessageType::VIDEO, &[0x17], "malformed"),
        (MessageType::VIDEO, &[0x17, 2, 0, 0, 0], "end of sequence"),
        (MessageType::VIDEO, &[0x17, 3, 0, 0, 0], "unknown packet"),
        (MessageType::VIDEO, &[0x57, 0], "command"),
        (MessageType::VIDEO, b"\x94av01\x02\x00\x00\x05", "metadata"),
        (MessageType::AUDIO, b"\x94Opus\x01\x02\x01\x02", "channel layout"),
        (MessageType::AUDIO, &[0xaf, 1, 2], "audio on stream 1: AAC frame"),
    ];
    for (type_id, body, _) in media {
        client.message(now, type_id, 1, 0, body);
    }
    let control: [(u8, &[u8], &str); 6] = [
        (2, &[0, 0, 0, 9], "abort chunk stream 9"),
        (3, &[0, 0, 1, 0], "acknowledgement of 256 bytes"),
        (4, &[0, 27, 1, 2], "SWF verification, 2 bytes"),
        (4, &[0, 99, 1], "user control of type 99, 1 bytes"),
        (22, &[], "aggregate, 0 bytes at 0 ms"),
        (99, &[1, 2], "message of type 99, 2 bytes"),
    ];
    for (type_id, body, _) in control {
        client.message(now, type_id, 0, 0, body);
    }
    client.message(now, 1, 0, 0, &[0]);
    client.serve(now);
    assert!(client.report.is_some(), "that was no chunk size");
    same(&capture, &config);
    let text = timeline(&capture, &config, true);
    let words = values.iter().map(|(_, words)| *words);
    let words = words.chain(media.iter().chain(&control).map(|(_, _, words)| *words));
    for words in words.chain(["proxy header: client 198.51.100.7:4001", "control message that cannot be read"]) {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}
