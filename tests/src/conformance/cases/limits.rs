//! Bounds on what one client can make the server hold. After each case the server must be well.

use std::time::Duration;

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::chunk::message_header;
use anabranch_core::flv::tag::write_tag;
use anabranch_core::message::{Control, MessageType, UserControl};

use crate::conformance::Target;
use crate::conformance::media::{audio_frame, gop_lines, key_frame, long};
use crate::peer::{ScriptedClient, has_line};

cases![
    a_message_of_the_longest_length_passes with SHORT_MESSAGES,
    a_message_over_the_limit_closes_at_its_header with SHORT_MESSAGES,
    before_connect_messages_are_shorter,
    before_connect_there_are_few_chunk_streams,
    chunk_streams_are_limited,
    half_received_messages_are_limited_together with LITTLE_PARTIAL,
    a_command_over_the_limit_closes with SHORT_COMMANDS,
    a_data_message_over_the_limit_is_left_out with SHORT_COMMANDS,
    media_is_not_under_the_limit_of_commands with SHORT_COMMANDS,
    deep_amf_in_a_command_is_ignored,
    deep_amf_in_connect_closes,
    deep_amf_in_metadata_is_dropped,
    an_array_of_billions_is_ignored,
    an_array_of_billions_in_connect_closes,
    too_many_values_are_ignored,
    a_command_cut_off_is_ignored,
    a_connect_cut_off_closes,
    a_connect_that_does_not_begin_with_a_name_closes,
    an_aggregate_of_thousands_of_parts_is_taken_up_to_a_bound,
    thousands_of_pings_at_once_are_answered_in_order,
    replies_that_are_not_read_stop_the_reading,
    a_player_that_does_not_read_delays_no_other_client,
    a_player_that_reads_again_resumes_at_a_key_frame with LITTLE_MEMORY,
    a_player_that_missed_too_much_is_closed_where_that_is_wanted with SMALL_GAPS,
];

setups! {
    SHORT_MESSAGES = |config| config.defaults.session.limits.chunks.message = 100_000;
    LITTLE_PARTIAL = |config| config.defaults.session.limits.chunks.partial = 100_000;
    SHORT_COMMANDS = |config| config.defaults.session.limits.command = 2000;
    LITTLE_MEMORY = |config| config.defaults.source.bytes = 500_000;
    SMALL_GAPS = |config| {
        config.defaults.source.bytes = 500_000;
        config.defaults.max_gap = Some(Duration::from_secs(1));
    };
}

fn encoded(values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in values {
        amf0::encode(value, &mut body);
    }
    body
}

/// A command whose object is nested this deep: an object in an object under the name `a`.
fn nested(name: &str, depth: usize) -> Vec<u8> {
    let mut body = encoded(&[name.into(), 1.0.into()]);
    body.push(3);
    for _ in 0..depth {
        body.extend_from_slice(&[0, 1, b'a', 3]);
    }
    for _ in 0..=depth {
        body.extend_from_slice(&[0, 0, 9]);
    }
    body
}

/// A command with a strict array that says it has 4 294 967 295 values.
fn endless(name: &str) -> Vec<u8> {
    let mut body = encoded(&[name.into(), 1.0.into()]);
    body.extend_from_slice(&[10, 0xff, 0xff, 0xff, 0xff, 5, 5, 5]);
    body
}

/// The connection goes on, and nothing was answered.
fn is_ignored(target: &Target, body: &[u8]) {
    let mut client = ScriptedClient::connected(target);
    client.send(3, 0, MessageType::COMMAND_AMF0, 0, body);
    client.assert_quiet();
    client.create_stream(2.0);
    assert_eq!(client.receive(1), ["3/0 _result 2 1"]);
}

fn closes_before_connect(target: &Target, body: &[u8]) {
    let mut client = ScriptedClient::open(target);
    client.send(3, 0, MessageType::COMMAND_AMF0, 0, body);
    assert_eq!(client.assert_closed(), [""; 0]);
}

const NOT_CONNECTED: &str = "3/0 _error 1 NetConnection.Connect.Rejected";
const PUBLISH_DENIED: &str = "5/1 onStatus 0 NetStream.Publish.Denied";
const FAILED: &str = "3/0 _error 0 NetConnection.Call.Failed";

/// A client that passes a limit gets an error, and is closed when it hangs up.
fn is_told(mut client: ScriptedClient, told: &str) {
    client.receive_until(told);
    client.wire().shut_down_writing();
    assert_eq!(client.assert_closed(), [""; 0]);
}

fn a_message_of_the_longest_length_passes(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let body = long(&[0x17, 1, 0, 0, 0], 100_000);
    publisher.video(0, &body);
    assert!(player.message().payload[..] == body[..]);
}

fn a_message_over_the_limit_closes_at_its_header(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.send_bytes(&message_header(6, 0, 100_001, MessageType::VIDEO, 1));
    is_told(publisher, PUBLISH_DENIED);
}

fn before_connect_messages_are_shorter(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.send_bytes(&message_header(3, 0, 50_000, MessageType::COMMAND_AMF0, 0));
    is_told(client, NOT_CONNECTED);
}

fn before_connect_there_are_few_chunk_streams(target: &Target) {
    let mut client = ScriptedClient::open(target);
    for chunk_stream in 2..50 {
        client.send(chunk_stream, 0, 99, 0, &[0]);
    }
    is_told(client, NOT_CONNECTED);
}

fn chunk_streams_are_limited(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    // With the three that commands and controls have been on, more than 64.
    for chunk_stream in 6..60 {
        client.send(chunk_stream, 0, 99, 0, &[0]);
    }
    client.assert_quiet();
    for number in 0..20 {
        client.send_bytes(&[0, number, 0, 0, 0, 0, 0, 1, 99, 0, 0, 0, 0, 0]);
    }
    is_told(client, FAILED);
}

fn half_received_messages_are_limited_together(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.set_chunk_size(30_000);
    for chunk_stream in 10..14 {
        let bytes = publisher.encode(chunk_stream, 0, MessageType::VIDEO, 1, &[0x27; 60_000]);
        publisher.send_bytes(&bytes[..12 + 30_000]);
    }
    is_told(publisher, PUBLISH_DENIED);
}

fn a_command_over_the_limit_closes(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.command("call", 2.0, 0, &["x".repeat(2100).as_str().into()]);
    is_told(client, FAILED);
}

fn a_data_message_over_the_limit_is_left_out(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    publisher.data(&["onTextData".into(), "x".repeat(2100).as_str().into()]);
    publisher.gop(0, 1);
    assert_eq!(player.receive(3), gop_lines(0, 1));
}

fn media_is_not_under_the_limit_of_commands(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let body = long(&[0x17, 1, 0, 0, 0], 50_000);
    publisher.video(0, &body);
    assert!(player.message().payload[..] == body[..]);
}

fn deep_amf_in_a_command_is_ignored(target: &Target) {
    is_ignored(target, &nested("call", 10_000));
}

fn deep_amf_in_connect_closes(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.send(3, 0, MessageType::COMMAND_AMF0, 0, &nested("connect", 1000));
    is_told(client, NOT_CONNECTED);
}

fn deep_amf_in_metadata_is_dropped(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    publisher.gop(0, 1);
    player.receive(3);
    publisher.send(5, 0, MessageType::DATA_AMF0, 1, &nested("onMetaData", 100_000));
    publisher.gop(80, 2);
    assert_eq!(player.receive(3), gop_lines(80, 2));
}

fn an_array_of_billions_is_ignored(target: &Target) {
    is_ignored(target, &endless("call"));
}

fn an_array_of_billions_in_connect_closes(target: &Target) {
    closes_before_connect(target, &endless("connect"));
}

fn too_many_values_are_ignored(target: &Target) {
    let values = Value::StrictArray(vec![Value::Null; 5000]);
    is_ignored(target, &encoded(&["call".into(), 3.0.into(), Value::Null, values]));
}

fn a_command_cut_off_is_ignored(target: &Target) {
    let body = encoded(&["call".into(), 3.0.into(), Value::Object(Object::new().with("key", "value"))]);
    for length in 1..body.len() {
        // Up to the transaction it is a call, with something missing: answered or not, it goes on.
        let mut client = ScriptedClient::connected(target);
        client.send(3, 0, MessageType::COMMAND_AMF0, 0, &body[..length]);
        client.receive_pending();
        client.create_stream(2.0);
        assert_eq!(client.receive(1), ["3/0 _result 2 1"], "{length} of {} bytes", body.len());
    }
}

fn a_connect_cut_off_closes(target: &Target) {
    let object = Object::new().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live");
    let body = encoded(&["connect".into(), 1.0.into(), Value::Object(object)]);
    for length in [3, 12, 25, body.len() - 4] {
        closes_before_connect(target, &body[..length]);
    }
}

fn a_connect_that_does_not_begin_with_a_name_closes(target: &Target) {
    closes_before_connect(target, &encoded(&[1.0.into(), "connect".into()]));
    closes_before_connect(target, &[0xff; 20]);
}

fn an_aggregate_of_thousands_of_parts_is_taken_up_to_a_bound(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let mut body = Vec::new();
    write_tag(9, 0, &key_frame(1), &mut body).expect("short");
    for time in 1..5000 {
        write_tag(8, time, &audio_frame(2), &mut body).expect("short");
    }
    publisher.send(6, 0, MessageType::AGGREGATE, 1, &body);
    publisher.receive_pending();
    publisher.video(5000, &key_frame(3));
    let received = player.receive_until("video key 3");
    assert!((100..=1000).contains(&received.len()), "{} messages", received.len());
}

fn thousands_of_pings_at_once_are_answered_in_order(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    let mut flood = Vec::new();
    for number in 0..10_000 {
        Control::User(UserControl::PingRequest(number)).write(128, &mut flood);
    }
    client.send_bytes(&flood);
    for number in 0..10_000 {
        assert_eq!(client.receive(1), [format!("PingResponse({number})")]);
    }
}

/// More than both sockets hold: the server stops reading, and others do not notice.
fn replies_that_are_not_read_stop_the_reading(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    let mut ping = Vec::new();
    Control::User(UserControl::PingRequest(1)).write(128, &mut ping);
    let piece = ping.repeat(50_000);
    for _ in 0..64 {
        let taken = client.wire().write_until_blocked(&piece, Duration::from_millis(500));
        if taken < piece.len() {
            crate::conformance::healthy::assert_healthy(target);
            return;
        }
    }
    panic!("the server took {} bytes of requests and no answer was read", piece.len() * 64);
}

/// Far more than sockets hold, while one player reads nothing and another everything.
fn a_player_that_does_not_read_delays_no_other_client(target: &Target) {
    let _stuck = ScriptedClient::player(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.set_chunk_size(1 << 20);
    let body = long(&[0x17, 1, 0, 0, 0], 200_000);
    for number in 0..60 {
        publisher.video(number * 40, &body);
        let message = player.message();
        assert!(message.timestamp == number * 40 && message.payload[..] == body[..], "frame {number}");
    }
}

/// Forty seconds of video, more than the server keeps and sockets hold, for a player that does not read meanwhile.
fn floods(target: &Target) -> (ScriptedClient, ScriptedClient) {
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.set_chunk_size(1 << 20);
    for number in 0..1000_u32 {
        let head = if number % 10 == 0 { [0x17, 1, 0, 0, 0] } else { [0x27, 1, 0, 0, 0] };
        publisher.video(number * 40, &[long(&head, 20_000), vec![9]].concat());
        if number == 0 {
            // It has begun: what it does not get from now on, it misses.
            assert_eq!(player.receive(1), ["video key 9 on 1 at 0"]);
        }
    }
    publisher.receive_pending();
    (player, publisher)
}

fn a_player_that_reads_again_resumes_at_a_key_frame(target: &Target) {
    let (mut player, mut publisher) = floods(target);
    publisher.gop(40_000, 77);
    let received = player.receive_until("video frame 77");
    let frames: Vec<&String> = received.iter().filter(|line| line.contains(" 9 on 1 at ")).collect();
    assert!((10..1000).contains(&frames.len()), "{} of 1000 frames", frames.len());
    // After each gap comes a key frame.
    let mut expected = 40;
    for line in frames {
        let time: u32 = line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a time");
        assert!(time >= expected, "{time} after {expected}");
        assert!(time == expected || line.starts_with("video key"), "{line:?} after a gap");
        expected = time + 40;
    }
}

fn a_player_that_missed_too_much_is_closed_where_that_is_wanted(target: &Target) {
    let (mut player, mut publisher) = floods(target);
    // How much of it passed before depends on how busy the machine is.
    let received = player.assert_closed();
    assert!(!has_line(&received, "video frame 9 on 1 at 39960"), "it came to the end");
    publisher.gop(40_000, 1);
    publisher.receive_pending();
}
