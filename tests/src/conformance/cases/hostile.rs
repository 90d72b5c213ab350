//! Clients that break rules, and clients that look as if they did. After each case the server must be well.

use std::time::Duration;

use anabranch_core::amf::Value;
use anabranch_core::chunk::message_header;
use anabranch_core::message::{Control, MessageType, PeerBandwidthLimit, UserControl};

use crate::conformance::Target;
use crate::conformance::media::{audio_frame, gop_lines, key_frame, long};
use crate::peer::{End, ScriptedClient, TIMEOUT, Wire, has_line};
use crate::sim::Rng;

cases![
    chunk_size_0_closes,
    a_chunk_size_with_its_top_bit_set_is_taken_without_it,
    the_largest_chunk_size_is_taken,
    a_control_message_that_is_too_short_closes,
    a_chunk_stream_that_begins_with_format_3_closes,
    a_chunk_stream_that_begins_with_format_2_closes,
    a_chunk_stream_may_begin_with_format_1,
    a_strict_server_refuses_format_1_at_the_beginning with STRICT,
    a_message_within_a_message_closes,
    a_longer_header_that_changes_nothing_continues_a_message,
    an_aborted_message_is_dropped_and_the_next_is_whole,
    abort_of_nothing_is_ignored,
    noise_after_the_handshake_ends,
    noise_after_connect_ends,
    noise_from_a_publisher_ends,
    unknown_message_types_are_ignored,
    shared_objects_are_ignored,
    unknown_and_short_user_control_events_are_ignored,
    windows_of_any_size_are_taken,
    peer_bandwidth_of_any_kind_is_taken,
    acknowledgements_of_any_number_are_taken,
    half_closing_ends_the_connection_in_every_phase,
    a_reset_in_every_phase_harms_no_other_client,
    a_message_announced_and_never_sent_harms_no_other_client,
    a_publisher_that_sends_byte_by_byte_is_relayed,
    a_hundred_thousand_empty_messages_are_taken,
    thousands_of_streams_are_asked_for_in_vain,
    thousands_of_publications_on_one_connection_leave_one,
    hundreds_of_silent_connections_harm_no_other_client,
    hundreds_of_connections_that_come_and_go_harm_no_other_client,
    a_refused_client_that_floods_is_cut_off with LONG_LINGER,
    arguments_of_the_wrong_type_do_no_harm,
    media_that_a_player_sends_is_not_heard,
];

setups! {
    STRICT = |config| config.defaults.session.leniency = anabranch_core::chunk::Leniency::Strict;
    LONG_LINGER = |config| config.defaults.session.timeouts.linger = 10 * TIMEOUT;
}

/// Something that is said to a server closes the connection without an answer.
fn closes(target: &Target, say: impl FnOnce(&mut ScriptedClient)) {
    let mut client = ScriptedClient::connected(target);
    say(&mut client);
    assert_eq!(client.assert_closed(), [""; 0]);
}

/// Nothing is answered, and the connection goes on.
fn assert_goes_on(client: &mut ScriptedClient) {
    client.assert_quiet();
    client.create_stream(9.0);
    assert!(client.receive(1)[0].starts_with("3/0 _result 9 "));
}

/// A control message with this body.
fn control(client: &mut ScriptedClient, type_id: u8, body: &[u8]) {
    client.send(2, 0, type_id, 0, body);
}

fn chunk_size_0_closes(target: &Target) {
    closes(target, |client| control(client, 1, &[0, 0, 0, 0]));
    closes(target, |client| control(client, 1, &[0x80, 0, 0, 0]));
}

fn a_chunk_size_with_its_top_bit_set_is_taken_without_it(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    publisher.set_chunk_size(1000);
    control(&mut publisher, 1, &[0x80, 0, 3, 0xe8]);
    let body = long(&[0x17, 1, 0, 0, 0], 2500);
    publisher.video(0, &body);
    assert!(player.message().payload[..] == body[..]);
}

fn the_largest_chunk_size_is_taken(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    publisher.set_chunk_size(0x7fff_ffff);
    let body = long(&[0x17, 1, 0, 0, 0], 300_000);
    publisher.video(0, &body);
    assert!(player.message().payload[..] == body[..]);
}

fn a_control_message_that_is_too_short_closes(target: &Target) {
    for type_id in [1, 2, 3, 5, 6] {
        closes(target, |client| control(client, type_id, &[0, 0, 1]));
        closes(target, |client| control(client, type_id, &[]));
    }
}

fn a_chunk_stream_that_begins_with_format_3_closes(target: &Target) {
    closes(target, |client| client.send_bytes(&[0xc9, 1, 2, 3]));
}

fn a_chunk_stream_that_begins_with_format_2_closes(target: &Target) {
    closes(target, |client| client.send_bytes(&[0x89, 0, 0, 20, 1, 2, 3]));
}

/// librtmp opens chunk stream 2 like this with its first answer to a ping.
fn a_chunk_stream_may_begin_with_format_1(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.send_bytes(&[0x49, 0, 0, 0, 0, 0, 6, 4, 0, 6, 0, 0, 0, 77]);
    assert_eq!(client.receive(1), ["PingResponse(77)"]);
}

fn a_strict_server_refuses_format_1_at_the_beginning(target: &Target) {
    closes(target, |client| client.send_bytes(&[0x49, 0, 0, 0, 0, 0, 6, 4, 0, 6, 0, 0, 0, 77]));
}

fn a_message_within_a_message_closes(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let header = message_header(6, 0, 300, MessageType::VIDEO, 1).to_vec();
    publisher.send_bytes(&[&header[..], &[0x17; 128], &header[..]].concat());
    assert_eq!(publisher.assert_closed(), [""; 0]);
}

fn a_longer_header_that_changes_nothing_continues_a_message(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let body = long(&[0x17, 1, 0, 0, 0], 300);
    let header = message_header(6, 0, 300, MessageType::VIDEO, 1).to_vec();
    let second = [0x46, 0, 0, 5, 0, 1, 44, 9];
    let third = [0x86, 0, 0, 5];
    publisher.send_bytes(&[&header[..], &body[..128], &second, &body[128..256], &third, &body[256..]].concat());
    let message = player.message();
    assert!(message.timestamp == 0 && message.payload[..] == body[..]);
}

fn an_aborted_message_is_dropped_and_the_next_is_whole(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let header = message_header(6, 0, 300, MessageType::VIDEO, 1).to_vec();
    publisher.send_bytes(&[&header[..], &[0x17; 128]].concat());
    publisher.control(&Control::Abort(6));
    publisher.gop(40, 1);
    assert_eq!(player.receive(3), gop_lines(40, 1));
}

fn abort_of_nothing_is_ignored(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for chunk_stream in [0, 2, 3, 60, u32::MAX] {
        client.control(&Control::Abort(chunk_stream));
    }
    assert_goes_on(&mut client);
}

/// Random bytes, then nothing more: whatever they came to mean, the connection ends.
fn noise(target: &Target, seed: u64, begin: impl Fn() -> ScriptedClient) {
    for round in 0..12 {
        let mut wire = begin().into_wire();
        let mut bytes = vec![0; 200 << (round % 10)];
        Rng::new(seed).fork(round).fill(&mut bytes);
        wire.write_until_blocked(&bytes, Duration::from_secs(5));
        wire.shut_down_writing();
        let (_, end) = wire.read_to_end();
        assert_ne!(end, End::Open, "seed {seed}, round {round} of {target:?}");
    }
}

fn noise_after_the_handshake_ends(target: &Target) {
    noise(target, 1, || ScriptedClient::open(target));
}

fn noise_after_connect_ends(target: &Target) {
    noise(target, 2, || ScriptedClient::connected(target));
}

fn noise_from_a_publisher_ends(target: &Target) {
    let number = std::cell::Cell::new(0);
    noise(target, 3, || {
        number.set(number.get() + 1);
        ScriptedClient::publisher(target, &target.named(&number.get().to_string()))
    });
}

fn unknown_message_types_are_ignored(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for type_id in [0, 7, 10, 11, 12, 13, 14, 21, 23, 24, 99, 255] {
        client.send(3, 0, type_id, 0, &[1, 2, 3]);
        client.send(3, 0, type_id, 1, &[]);
    }
    assert_goes_on(&mut client);
}

fn shared_objects_are_ignored(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    let body = b"\0\x04chat\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0";
    client.send(3, 0, MessageType::SHARED_OBJECT_AMF0, 0, body);
    client.send(3, 0, MessageType::SHARED_OBJECT_AMF3, 0, &[&[0], &body[..]].concat());
    client.send(3, 0, MessageType::SHARED_OBJECT_AMF0, 0, &[0xff; 3]);
    assert_goes_on(&mut client);
}

fn unknown_and_short_user_control_events_are_ignored(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for body in [&[][..], &[0], &[0, 6], &[0, 6, 0, 0, 1], &[0, 3, 0, 0, 0, 1], &[0, 5], &[0x7f, 0xff, 1, 2, 3]] {
        control(&mut client, MessageType::USER_CONTROL, body);
    }
    for event in [
        UserControl::StreamBegin(1),
        UserControl::StreamEof(1),
        UserControl::StreamDry(9),
        UserControl::StreamIsRecorded(1),
        UserControl::SwfVerifyResponse(vec![1; 42]),
        UserControl::BufferEmpty(1),
    ] {
        client.control(&Control::User(event));
    }
    assert_goes_on(&mut client);
}

fn windows_of_any_size_are_taken(target: &Target) {
    for window in [0, 1, 4096, u32::MAX] {
        let mut publisher = ScriptedClient::publisher(target, &target.named(&window.to_string()));
        publisher.control(&Control::WindowAckSize(window));
        for time in 0..100 {
            publisher.audio(time, &[0xaf; 100]);
        }
        let acknowledgements = publisher.receive_pending();
        assert!(acknowledgements.iter().all(|line| line.starts_with("Acknowledgement(")), "{acknowledgements:?}");
        // Not one for each byte, nor for each message.
        assert!(acknowledgements.len() <= 5, "{} for a window of {window}", acknowledgements.len());
        assert_eq!(acknowledgements.is_empty(), window == u32::MAX);
    }
}

fn peer_bandwidth_of_any_kind_is_taken(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for window in [0, 1, u32::MAX] {
        for limit in [PeerBandwidthLimit::Hard, PeerBandwidthLimit::Soft, PeerBandwidthLimit::Dynamic] {
            client.control(&Control::SetPeerBandwidth { window, limit });
        }
    }
    control(&mut client, MessageType::SET_PEER_BANDWIDTH, &[0, 0, 0, 1, 77]);
    control(&mut client, MessageType::SET_PEER_BANDWIDTH, &[0, 0, 0, 1]);
    assert_goes_on(&mut client);
}

fn acknowledgements_of_any_number_are_taken(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for bytes in [u32::MAX, 0, 1 << 31, 1] {
        client.control(&Control::Acknowledgement(bytes));
    }
    assert_goes_on(&mut client);
}

/// A connection in each of its phases: just open, in C1, after the handshake, after `connect`, publishing, playing.
pub fn in_every_phase(target: &Target) -> [Wire; 6] {
    let mut begun = Wire::dial(target);
    begun.write(&[3; 700]);
    [
        Wire::dial(target),
        begun,
        ScriptedClient::open(target).into_wire(),
        ScriptedClient::connected(target).into_wire(),
        ScriptedClient::publisher(target, &target.name).into_wire(),
        ScriptedClient::player(target, &target.name).into_wire(),
    ]
}

fn half_closing_ends_the_connection_in_every_phase(target: &Target) {
    for mut wire in in_every_phase(target) {
        wire.shut_down_writing();
        wire.assert_closed();
    }
}

fn a_reset_in_every_phase_harms_no_other_client(target: &Target) {
    for round in 0..5 {
        let site_of_round = Target::again(target, round);
        for wire in in_every_phase(&site_of_round) {
            wire.reset();
        }
    }
}

fn a_message_announced_and_never_sent_harms_no_other_client(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.send_bytes(&[&message_header(6, 0, 0x00ff_fffe, MessageType::VIDEO, 1)[..], &[0x17; 100]].concat());
    publisher.wire().shut_down_writing();
    publisher.assert_closed();
}

fn a_publisher_that_sends_byte_by_byte_is_relayed(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let body = long(&[0x17, 1, 0, 0, 0], 600);
    let bytes = publisher.encode(6, 0x0100_0000, MessageType::VIDEO, 1, &body);
    for byte in bytes {
        publisher.send_bytes(&[byte]);
    }
    let message = player.message();
    assert!(message.timestamp == 0x0100_0000 && message.payload[..] == body[..]);
}

/// One byte each: a format 3 chunk that begins and ends a message without a body.
fn a_hundred_thousand_empty_messages_are_taken(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    publisher.video(0, &key_frame(1));
    publisher.send_bytes(&message_header(7, 0, 0, MessageType::VIDEO, 1));
    publisher.send_bytes(&[0xc7; 100_000]);
    publisher.receive_pending();
    publisher.video(40, &key_frame(2));
    player.receive_until("video key 2");
}

fn thousands_of_streams_are_asked_for_in_vain(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    for number in 0..5000 {
        client.create_stream(f64::from(number));
    }
    let received = client.receive(5000);
    assert!(received[16..].iter().all(|line| line.contains("_error")), "sixteen streams and no more");
}

fn thousands_of_publications_on_one_connection_leave_one(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.named("0"));
    for number in 1..1000 {
        client.publish(1, &target.named(&number.to_string()));
        if number % 100 == 99 {
            client.receive_pending();
        }
    }
    let last = target.named("999");
    let mut player = ScriptedClient::player(target, &last);
    client.audio(0, &audio_frame(1));
    assert_eq!(player.receive(1), ["audio frame 1 on 1 at 0"]);
    // All others are free.
    let _other = ScriptedClient::publisher(target, &target.named("998"));
}

fn hundreds_of_silent_connections_harm_no_other_client(target: &Target) {
    let silent: Vec<Wire> = (0..200).map(|_| Wire::dial(target)).collect();
    crate::conformance::healthy::assert_healthy(target);
    drop(silent);
}

fn hundreds_of_connections_that_come_and_go_harm_no_other_client(target: &Target) {
    for number in 0..300 {
        let mut wire = Wire::dial(target);
        match number % 3 {
            0 => drop(wire),
            1 => wire.reset(),
            _ => wire.write(&[3; 1537]),
        }
    }
}

fn a_refused_client_that_floods_is_cut_off(target: &Target) {
    let _first = ScriptedClient::publisher(target, &target.name);
    let mut second = ScriptedClient::connected(target);
    second.publish(0, &target.name);
    second.receive_until("NetStream.Publish.BadName");
    let mut wire = second.into_wire();
    // It is given long to hang up, but not for this.
    for _ in 0..40 {
        wire.write_until_blocked(&[0; 64 << 10], Duration::from_secs(5));
    }
    let (_, end) = wire.read_to_end();
    assert_ne!(end, End::Open);
}

fn arguments_of_the_wrong_type_do_no_harm(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    client.receive(1);
    let wrong = [Value::Null, Value::Undefined, f64::NAN.into(), f64::INFINITY.into(), (-1.0).into(), true.into()];
    for name in ["deleteStream", "closeStream", "pause", "seek", "receiveAudio", "FCUnpublish", "_checkbw"] {
        for value in &wrong {
            client.command(name, 0.0, 1, std::slice::from_ref(value));
        }
        client.command(name, f64::NAN, 1, &[]);
    }
    client.receive_pending();
    client.play(0, &target.name);
    assert!(has_line(&client.receive_until("NetStream"), "NetStream.Play.Reset"));
}

fn media_that_a_player_sends_is_not_heard(target: &Target) {
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    player.headers();
    player.gop(0, 9);
    player.assert_quiet();
    publisher.gop(0, 1);
    assert_eq!(player.receive(3), gop_lines(0, 1));
}
