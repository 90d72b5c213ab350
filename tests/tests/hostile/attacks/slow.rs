//! Peers that take their time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anabranch_core::chunk::message_header;
use anabranch_core::message::{Control, MessageType, UserControl};
use anabranch_tests::conformance::Target;
use anabranch_tests::peer::{End, ScriptedClient, Wire};

use super::Attackers::{FewerThreads, Of};
use super::{Case, LONG, Memory, assert_hangs_up, call, connect, hello, key_frame, player, publisher, trickle};
use crate::arena::Arena;

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "connections_that_say_nothing",
        "SessionTimeouts::connect 10 s",
        FewerThreads(300, 5000, 2000),
        Memory::MoreOnThreads(4, 16, 64),
        &["connect_timeout"],
        connections_that_say_nothing,
    )
    .lasting(10.0),
    Case::new(
        "a_handshake_byte_by_byte",
        "SessionTimeouts::connect 10 s",
        Of(20, 100),
        Memory::MoreOnThreads(4, 16, 64),
        &["connect_timeout"],
        |arena| {
            arena.each(|target, _| {
                let mut wire = Wire::dial(target);
                trickle(&mut wire, [3].into_iter().chain([0; 1536]), Duration::from_millis(100));
            });
        },
    )
    .lasting(10.0),
    Case::new(
        "a_connect_byte_by_byte",
        "SessionTimeouts::connect 10 s",
        Of(20, 100),
        Memory::MoreOnThreads(4, 16, 64),
        &["connect_timeout"],
        |arena| {
            arena.each(|target, _| {
                let mut wire = ScriptedClient::open(target).into_wire();
                trickle(&mut wire, connect(&"slow".repeat(100)), Duration::from_millis(100));
            });
        },
    )
    .lasting(10.0),
    Case::new(
        "commands_without_end_before_connect",
        "SessionTimeouts::connect 10 s",
        Of(2, 4),
        Memory::MoreOnThreads(4, 16, 64),
        &["connect_timeout"],
        |arena| {
            let flood = call("createStream", 2.0, 0, &[]).repeat(500);
            arena.each(|target, _| {
                let mut wire = ScriptedClient::open(target).into_wire();
                while wire.receive_for(Duration::from_millis(20)) == End::Open {
                    wire.write_until_blocked(&flood, Duration::from_secs(5));
                }
            });
        },
    )
    .lasting(10.0),
    Case::new(
        "connected_and_silent",
        "SessionTimeouts::identify 30 s",
        Of(100, 500),
        Memory::MoreOnThreads(4, 24, 80),
        &["identify_timeout"],
        |arena| {
            let mut wires = arena.crowd(|target, _| dial_and_say(target, &[hello(), connect("silent")].concat()));
            wires.iter_mut().for_each(assert_hangs_up);
        },
    )
    .lasting(30.0),
    Case::new(
        "commands_byte_by_byte_and_streams_made_and_deleted",
        "SessionTimeouts::identify 30 s",
        Of(10, 50),
        Memory::MoreOnThreads(4, 24, 80),
        &["identify_timeout"],
        |arena| {
            arena.each(|target, _| {
                let round = [call("createStream", 2.0, 0, &[]), call("deleteStream", 0.0, 0, &[1.0.into()])].concat();
                let mut wire = ScriptedClient::connected(target).into_wire();
                trickle(&mut wire, round.into_iter().cycle().take(10_000), Duration::from_millis(50));
            });
        },
    )
    .lasting(30.0),
    Case::new(
        "a_publisher_whose_first_message_never_ends",
        "SessionTimeouts::first_message 20 s",
        Of(10, 50),
        Memory::MoreOnThreads(4, 32, 96),
        &["first_message_timeout"],
        |arena| arena.each(|target, _| trickle_frame(&mut publisher(target), Duration::from_millis(100))),
    )
    .lasting(20.0),
    Case::new(
        "a_publisher_whose_next_message_never_ends",
        "SessionTimeouts::next_message 10 s",
        Of(10, 50),
        Memory::MoreOnThreads(4, 32, 96),
        &["next_message_timeout"],
        |arena| {
            arena.each(|target, _| {
                let mut publisher = publisher(target);
                publisher.video(0, &key_frame(1000));
                trickle_frame(&mut publisher, Duration::from_millis(100));
            });
        },
    )
    .lasting(10.0),
    Case::new(
        "long_messages_announced_on_every_chunk_stream_and_not_sent",
        "eager allocation 64 KiB a publisher's message, untouched",
        Of(20, 100),
        // A chunk of 128 bytes of each message has come: one page of each buffer is touched.
        Memory::MoreOnThreads(4, 320, 384),
        &["first_message_timeout"],
        |arena| {
            arena.each(|target, _| {
                let mut publisher = publisher(target);
                let mut bytes = Vec::new();
                for chunk_stream in 4..60 {
                    bytes.extend_from_slice(&message_header(chunk_stream, 0, 0x00ff_fffe, MessageType::VIDEO, 1));
                    bytes.extend_from_slice(&[0x17; 128]);
                }
                publisher.send_bytes(&bytes);
                assert_hangs_up(publisher.wire());
            });
        },
    )
    .lasting(20.0),
    Case::new(
        "requests_whose_answers_nobody_reads",
        "SessionLimits::replies 64 KiB, then SessionTimeouts::write 30 s",
        Of(10, 50),
        // What the server read at once and does not parse any more lies there too.
        Memory::MoreOnThreads(4, 320, 384),
        &["write_timeout"],
        |arena| {
            let mut pings = Vec::new();
            for number in 0..50_000 {
                Control::User(UserControl::PingRequest(number)).write(128, &mut pings);
            }
            let calls = call("getStreamLength", 7.0, 0, &["x".into()]).repeat(20_000);
            arena.each(|target, number| {
                let mut wire = Wire::dial_narrow(target, 4096);
                wire.write(&player(&target.name));
                wire.write_until_closed(if number % 2 == 0 { &pings } else { &calls }, 3 * LONG);
            });
        },
    )
    .lasting(30.0),
    Case::new(
        "players_that_never_read_a_fat_stream",
        "VhostConfig::high_water 64 KiB, then SessionTimeouts::write 30 s",
        Of(30, 200),
        Memory::MoreOnThreads(40, 160, 224),
        &["write_timeout", "peer_closed", "peer_lost"],
        |arena| {
            let name = arena.target.named("fat");
            let wires = arena.crowd(|target, _| {
                let mut wire = Wire::dial_narrow(target, 4096);
                wire.write(&player(&name));
                wire
            });
            publish_while(arena, &name, || arena.lines_with(" closed: ").len() < arena.attackers);
            drop(wires);
        },
    )
    .lasting(30.0),
    Case::new(
        "players_that_read_one_byte_a_second",
        "VhostConfig::high_water 64 KiB",
        Of(20, 100),
        Memory::MoreOnThreads(40, 160, 224),
        &["write_timeout", "peer_closed", "peer_lost"],
        read_one_byte_a_second,
    )
    .waiting(),
];

fn connections_that_say_nothing(arena: &Arena) {
    let mut wires = arena.crowd(|target, _| Wire::dial(target));
    wires.iter_mut().for_each(assert_hangs_up);
}

fn dial_and_say(target: &Target, words: &[u8]) -> Wire {
    let mut wire = Wire::dial(target);
    wire.write(words);
    wire
}

/// They take a byte a second for longer than they may take nothing at all: they go on, and cost no more than others
/// that are slow.
fn read_one_byte_a_second(arena: &Arena) {
    let name = arena.target.named("fat");
    let readers = AtomicUsize::new(arena.attackers);
    thread::scope(|scope| {
        scope.spawn(|| {
            arena.each(|target, _| {
                let mut wire = Wire::dial_narrow(target, 4096);
                wire.write(&player(&name));
                for _ in 0..35 {
                    wire.read_one_after(Duration::from_secs(1));
                }
                readers.fetch_sub(1, Ordering::Relaxed);
            });
        });
        publish_while(arena, &name, || readers.load(Ordering::Relaxed) > 0);
    });
}

/// Sends a message that would take hours.
fn trickle_frame(publisher: &mut ScriptedClient, pause: Duration) {
    publisher.send_bytes(&message_header(6, 0, 100_000, MessageType::VIDEO, 1));
    trickle(publisher.wire(), [0x17; 100_000], pause);
}

/// Publishes half a megabyte a second.
pub(super) fn publish_while(arena: &Arena, name: &str, goes_on: impl Fn() -> bool) {
    let mut publisher = ScriptedClient::publisher(&arena.target, name);
    publisher.set_chunk_size(1 << 20);
    let body = key_frame(50_000);
    for number in 0..1200 {
        publisher.video(number * 100, &body);
        publisher.receive_for(Duration::from_millis(100));
        if number % 20 == 0 && !goes_on() {
            return;
        }
    }
    panic!("the attackers are still there after two minutes");
}
