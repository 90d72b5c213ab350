//! C0 to S2: every form of it, and what is none.

use std::collections::BTreeSet;

use anabranch_core::amf::{Object, Value};
use anabranch_core::command::Command;
use anabranch_core::handshake::digest::{self, Scheme, Signer};
use anabranch_core::handshake::{ClientHandshakeKind, PACKET_LENGTH, Packet};
use anabranch_core::message::MessageType;

use crate::conformance::Target;
use crate::conformance::healthy::assert_healthy;
use crate::peer::{ScriptedClient, Wire, has_line};

cases![
    the_simple_form_is_answered_with_an_exact_echo,
    a_digest_in_the_first_block_is_answered_with_digest_and_signature,
    a_digest_in_the_second_block_is_answered_with_digest_and_signature,
    version_bytes_without_a_valid_digest_get_the_simple_answer,
    a_tampered_digest_gets_the_simple_answer,
    a_digest_client_goes_on_to_connect,
    the_time_in_c1_may_be_anything,
    byte_by_byte_gives_the_same,
    c0_c1_and_c2_may_come_in_one_write,
    c2_and_connect_may_come_in_one_write,
    everything_up_to_play_may_come_in_one_write,
    s0_s1_s2_do_not_wait_for_c2,
    s0_s1_s2_are_3073_bytes_and_nothing_follows,
    c2_may_be_anything,
    each_connection_gets_random_bytes_of_its_own,
    a_tls_hello_is_closed_at_once,
    an_http_request_is_closed_at_once,
    encrypted_and_unknown_versions_are_closed_at_once,
    hanging_up_within_c1_harms_no_other_client,
    hanging_up_before_c2_harms_no_other_client,
    a_proxy_header_from_an_untrusted_address_closes_at_once,
    a_trusted_proxy_names_the_clients_address with TRUSTED_PROXY,
    a_trusted_proxy_may_speak_version_2 with TRUSTED_PROXY,
    a_trusted_proxy_may_say_nothing with TRUSTED_PROXY,
];

setups! {
    /// Behind a proxy, and closed to players of one network.
    TRUSTED_PROXY = |config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.defaults.security = "deny play 203.0.113.0/24".parse().expect("a rule");
    };
}

/// A C1 with this time and version and bytes that are not all alike.
fn c1(time: u32, version: [u8; 4]) -> Packet {
    let mut packet = [0; PACKET_LENGTH];
    for (index, byte) in packet.iter_mut().enumerate() {
        *byte = (index * 7 + index / 256) as u8;
    }
    packet[..4].copy_from_slice(&time.to_be_bytes());
    packet[4..8].copy_from_slice(&version);
    packet
}

fn signed(scheme: Scheme) -> (Packet, digest::Digest) {
    let mut packet = c1(0, [128, 0, 7, 2]);
    let digest = digest::sign(Signer::Client, scheme, &mut packet);
    (packet, digest)
}

/// S1 and S2, after C0 and this C1.
fn answer(wire: &mut Wire, c1: &Packet) -> (Packet, Packet) {
    wire.write(&[&[3], &c1[..]].concat());
    split(&wire.read_exact(1 + 2 * PACKET_LENGTH))
}

fn split(answer: &[u8]) -> (Packet, Packet) {
    let (version, packets) = answer.split_first().expect("S0");
    assert_eq!(*version, 3);
    let (s1, s2) = packets.split_at(PACKET_LENGTH);
    (s1.try_into().expect("S1"), s2.try_into().expect("S2"))
}

fn connect_bytes() -> Vec<u8> {
    let object = Object::new().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live");
    message(0, &Command::new("connect", 1.0, Value::Object(object)))
}

fn message(message_stream_id: u32, command: &Command) -> Vec<u8> {
    let mut out = Vec::new();
    anabranch_core::chunk::write_message(
        &mut out,
        128,
        3,
        0,
        MessageType::COMMAND_AMF0,
        message_stream_id,
        &command.encode(),
    );
    out
}

fn simple_hello() -> Vec<u8> {
    [&[3], &c1(0, [0; 4])[..], &[0; PACKET_LENGTH]].concat()
}

fn the_simple_form_is_answered_with_an_exact_echo(target: &Target) {
    let mut wire = Wire::dial(target);
    let c1 = c1(77, [0; 4]);
    let (s1, s2) = answer(&mut wire, &c1);
    assert_eq!(s1[4..8], [0; 4], "FFmpeg players take a version for digests");
    assert!(s2 == c1, "librtmp compares all of it");
}

fn signed_in(target: &Target, scheme: Scheme) {
    let mut wire = Wire::dial(target);
    let (c1, c1_digest) = signed(scheme);
    let (s1, s2) = answer(&mut wire, &c1);
    assert!(s1[4] >= 3, "the version by which FFmpeg players know that there are digests");
    assert_eq!(digest::find(Signer::Server, &s1).map(|(found, _)| found), Some(scheme));
    assert!(digest::is_signed(Signer::Server, &c1_digest, &s2));
}

fn a_digest_in_the_first_block_is_answered_with_digest_and_signature(target: &Target) {
    signed_in(target, Scheme::DigestFirst);
}

fn a_digest_in_the_second_block_is_answered_with_digest_and_signature(target: &Target) {
    signed_in(target, Scheme::KeyFirst);
}

/// Flash Player, FMLE, librtmp of some builds, and what no client sends.
fn version_bytes_without_a_valid_digest_get_the_simple_answer(target: &Target) {
    for version in [[128, 0, 7, 2], [9, 0, 124, 2], [10, 0, 32, 18], [0, 0, 0, 1], [255; 4]] {
        let mut wire = Wire::dial(target);
        let c1 = c1(0, version);
        let (s1, s2) = answer(&mut wire, &c1);
        assert!(s1[4..8] == [0; 4] && s2 == c1, "{version:?}");
    }
}

fn a_tampered_digest_gets_the_simple_answer(target: &Target) {
    for scheme in Scheme::ALL {
        let (mut c1, _) = signed(scheme);
        let position = scheme.digest_position(&c1);
        c1[position] ^= 1;
        let (s1, s2) = answer(&mut Wire::dial(target), &c1);
        assert!(s1[4..8] == [0; 4] && s2 == c1, "{scheme}");
    }
}

fn a_digest_client_goes_on_to_connect(target: &Target) {
    let mut client = ScriptedClient::open_as(target, ClientHandshakeKind::Digest);
    client.send_bytes(&connect_bytes());
    client.receive_until("NetConnection.Connect.Success");
}

fn the_time_in_c1_may_be_anything(target: &Target) {
    for time in [0, 1, 0x7fff_ffff, u32::MAX] {
        let c1 = c1(time, [0; 4]);
        let (_, s2) = answer(&mut Wire::dial(target), &c1);
        assert!(s2 == c1, "{time}");
    }
}

fn byte_by_byte_gives_the_same(target: &Target) {
    let mut wire = Wire::dial(target);
    let hello = simple_hello();
    for byte in &hello[..1 + PACKET_LENGTH] {
        wire.write(&[*byte]);
    }
    let answer = wire.read_exact(1 + 2 * PACKET_LENGTH);
    assert!(split(&answer).1[..] == hello[1..1 + PACKET_LENGTH]);
    for byte in hello[1 + PACKET_LENGTH..].iter().chain(&connect_bytes()) {
        wire.write(&[*byte]);
    }
    ScriptedClient::resume(wire, &answer).receive_until("NetConnection.Connect.Success");
}

fn c0_c1_and_c2_may_come_in_one_write(target: &Target) {
    let mut wire = Wire::dial(target);
    wire.write(&simple_hello());
    let answer = wire.read_exact(1 + 2 * PACKET_LENGTH);
    let mut client = ScriptedClient::resume(wire, &answer);
    client.send_bytes(&connect_bytes());
    client.receive_until("NetConnection.Connect.Success");
}

fn c2_and_connect_may_come_in_one_write(target: &Target) {
    let mut wire = Wire::dial(target);
    let hello = simple_hello();
    wire.write(&hello[..1 + PACKET_LENGTH]);
    let answer = wire.read_exact(1 + 2 * PACKET_LENGTH);
    wire.write(&[&hello[1 + PACKET_LENGTH..], &connect_bytes()[..]].concat());
    ScriptedClient::resume(wire, &answer).receive_until("NetConnection.Connect.Success");
}

fn everything_up_to_play_may_come_in_one_write(target: &Target) {
    let mut wire = Wire::dial(target);
    let play = Command::new("play", 3.0, Value::Null).with(target.name.as_str());
    let create = Command::new("createStream", 2.0, Value::Null);
    wire.write(&[simple_hello(), connect_bytes(), message(0, &create), message(1, &play)].concat());
    let answer = wire.read_exact(1 + 2 * PACKET_LENGTH);
    let mut client = ScriptedClient::resume(wire, &answer);
    let received = client.receive_until("|RtmpSampleAccess");
    assert_eq!(
        received[3..],
        [
            "3/0 _result 1 NetConnection.Connect.Success",
            "3/0 _result 2 1",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Play.Reset",
            "5/1 onStatus 0 NetStream.Play.Start",
            "data |RtmpSampleAccess on 1 at 0",
        ]
    );
}

fn s0_s1_s2_do_not_wait_for_c2(target: &Target) {
    // Nothing but C0 and C1 was sent when all of it is here.
    answer(&mut Wire::dial(target), &c1(0, [0; 4]));
}

fn s0_s1_s2_are_3073_bytes_and_nothing_follows(target: &Target) {
    let mut wire = Wire::dial(target);
    wire.write(&simple_hello());
    let answer = wire.read_exact(3073);
    // What comes next is the answer to a ping.
    ScriptedClient::resume(wire, &answer).assert_quiet();
}

fn c2_may_be_anything(target: &Target) {
    for fill in [0, 0x5a, 0xff] {
        let mut wire = Wire::dial(target);
        wire.write(&[&[3], &c1(0, [0; 4])[..]].concat());
        let answer = wire.read_exact(1 + 2 * PACKET_LENGTH);
        wire.write(&[fill; PACKET_LENGTH]);
        let mut client = ScriptedClient::resume(wire, &answer);
        client.send_bytes(&connect_bytes());
        client.receive_until("NetConnection.Connect.Success");
    }
}

fn each_connection_gets_random_bytes_of_its_own(target: &Target) {
    let packets: Vec<Packet> = (0..4).map(|_| answer(&mut Wire::dial(target), &c1(0, [0; 4])).0).collect();
    let different: BTreeSet<&[u8]> = packets.iter().map(|packet| &packet[8..]).collect();
    assert_eq!(different.len(), 4);
    for packet in &packets {
        let values: BTreeSet<u8> = packet[8..].iter().copied().collect();
        assert!(values.len() > 200, "only {} different bytes", values.len());
    }
}

fn refused(target: &Target, bytes: &[u8]) {
    let mut wire = Wire::dial(target);
    wire.write(bytes);
    wire.assert_closed();
}

fn a_tls_hello_is_closed_at_once(target: &Target) {
    refused(target, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
}

fn an_http_request_is_closed_at_once(target: &Target) {
    refused(target, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
    refused(target, b"POST /open/1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n\0");
}

fn encrypted_and_unknown_versions_are_closed_at_once(target: &Target) {
    for version in [0, 1, 2, 4, 6, 8, 9, 31, 32, 127, 255] {
        refused(target, &[version]);
    }
}

fn hanging_up_within_c1_harms_no_other_client(target: &Target) {
    for count in [0, 1, 2, 800, 1536] {
        let mut wire = Wire::dial(target);
        wire.write(&simple_hello()[..count]);
        drop(wire);
    }
    assert_healthy(target);
}

fn hanging_up_before_c2_harms_no_other_client(target: &Target) {
    for count in [1537, 1538, 3072] {
        let mut wire = Wire::dial(target);
        wire.write(&simple_hello()[..count]);
        wire.read_exact(1 + 2 * PACKET_LENGTH);
        wire.shut_down_writing();
        wire.assert_closed();
    }
    assert_healthy(target);
}

fn a_proxy_header_from_an_untrusted_address_closes_at_once(target: &Target) {
    refused(target, b"PROXY TCP4 203.0.113.5 192.0.2.1 4000 1935\r\n");
    refused(target, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
}

/// The answer to `play` of a client that comes with this header.
fn plays_behind(target: &Target, header: &[u8]) -> Vec<String> {
    let mut wire = Wire::dial(target);
    wire.write(header);
    wire.write(&simple_hello());
    let answer = wire.read_exact(1 + 2 * PACKET_LENGTH);
    let mut client = ScriptedClient::resume(wire, &answer);
    client.send_bytes(&connect_bytes());
    client.play(0, &target.name);
    client.receive_until("NetStream.Play")
}

fn a_trusted_proxy_names_the_clients_address(target: &Target) {
    let denied = plays_behind(target, b"PROXY TCP4 203.0.113.5 192.0.2.1 4000 1935\r\n");
    assert!(has_line(&denied, "NetStream.Play.Failed"), "{denied:?}");
    let granted = plays_behind(target, b"PROXY TCP4 198.51.100.5 192.0.2.1 4000 1935\r\n");
    assert!(!has_line(&granted, "NetStream.Play.Failed"), "{granted:?}");
}

fn a_trusted_proxy_may_speak_version_2(target: &Target) {
    let header = |client: [u8; 4]| {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        bytes.extend_from_slice(&client);
        bytes.extend_from_slice(&[192, 0, 2, 1, 15, 160, 7, 143]);
        bytes
    };
    let denied = plays_behind(target, &header([203, 0, 113, 5]));
    assert!(has_line(&denied, "NetStream.Play.Failed"), "{denied:?}");
    let granted = plays_behind(target, &header([198, 51, 100, 5]));
    assert!(!has_line(&granted, "NetStream.Play.Failed"), "{granted:?}");
}

fn a_trusted_proxy_may_say_nothing(target: &Target) {
    let granted = plays_behind(target, b"");
    assert!(!has_line(&granted, "NetStream.Play.Failed"), "{granted:?}");
}
