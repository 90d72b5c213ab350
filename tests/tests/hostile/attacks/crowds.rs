//! Many clients, and clients that come and go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anabranch_core::amf::Value;
use anabranch_core::message::MessageType;
use anabranch_tests::conformance::{Target, in_every_phase};
use anabranch_tests::peer::{ScriptedClient, Wire};

use super::Attackers::{FewerThreads, Of};
use super::{Case, LONG, Memory, body, call, key_frame, player, publisher};
use crate::arena::Arena;

/// How attackers leave.
const GONE: &[&str] = &["peer_closed", "peer_lost"];

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "idle_players_of_streams_that_do_not_exist",
        "none by default; policy::Limits::players, streams, connections",
        FewerThreads(300, 5000, 2000),
        Memory::MoreOnThreads(8, 40, 112),
        GONE,
        |arena| {
            let wires = arena.crowd(|target, number| {
                let mut wire = Wire::dial(target);
                wire.write(&player(&target.named(&number.to_string())));
                wire
            });
            arena.wait_open(arena.attackers);
            arena.wait_frames(200);
            drop(wires);
        },
    ),
    Case::new(
        "neighbours_players_that_take_nothing",
        "VhostConfig::high_water 64 KiB",
        FewerThreads(50, 400, 200),
        Memory::MoreOnThreads(16, 96, 160),
        GONE,
        |arena| {
            let name = arena.target.named("neighbours");
            let wires = arena.crowd(|target, _| {
                let mut wire = Wire::dial_narrow(target, 4096);
                wire.write(&player(&name));
                wire
            });
            arena.wait_open(arena.attackers);
            arena.wait_frames(400);
            drop(wires);
        },
    ),
    Case::new("resets_in_every_phase", "none needed", Of(4, 8), Memory::MoreOnThreads(8, 512, 768), GONE, |arena| {
        arena.each(|target, _| {
            for round in 0..15 {
                let target = Target::at(target.address(), &target.named(&round.to_string()));
                in_every_phase(&target).into_iter().for_each(Wire::reset);
            }
        });
    }),
    Case::new(
        "half_closed_in_every_phase",
        "an end of input ends the connection",
        Of(4, 8),
        Memory::MoreOnThreads(8, 512, 768),
        GONE,
        |arena| {
            arena.each(|target, _| {
                for round in 0..10 {
                    let target = Target::at(target.address(), &target.named(&round.to_string()));
                    for mut wire in in_every_phase(&target) {
                        wire.shut_down_writing();
                        wire.assert_closed();
                    }
                }
            });
        },
    ),
    Case::new(
        "a_storm_of_connections",
        "32 accepts in a row, then others go first (smol)",
        FewerThreads(2000, 10_000, 10_000),
        Memory::MoreOnThreads(16, 8, 16),
        GONE,
        |arena| {
            arena.several(8, |target, attacker| {
                for number in (attacker..arena.attackers).step_by(8) {
                    let mut wire = Wire::dial(target);
                    match number % 3 {
                        0 => drop(wire),
                        1 => wire.reset(),
                        _ => wire.write(&[3; 1537]),
                    }
                }
            });
        },
    ),
    Case::new(
        "memory_after_thousands_of_connections_is_that_after_hundreds",
        "nothing of a connection outlives it",
        Of(4, 4),
        Memory::MoreOnThreads(24, 1024, 1024),
        GONE,
        memory_is_given_back,
    ),
    Case::new(
        "all_at_once",
        "all of these",
        Of(12, 48),
        Memory::Of(64, 4 << 10),
        &["peer_closed", "peer_lost", "chunk_error", "command_error", "connect_timeout"],
        all_at_once,
    ),
];

/// Three rounds of connections that publish and play: the last two leave no more memory than the first.
fn memory_is_given_back(arena: &Arena) {
    let round = |number: usize, each: usize| {
        arena.each(|target, _| {
            for connection in 0..each {
                let target = Target::at(target.address(), &target.named(&format!("{number}-{connection}")));
                let mut publisher = publisher(&target);
                publisher.video(0, &key_frame(5000));
                let _player = ScriptedClient::player(&target, &target.name);
            }
        });
        arena.resident_when_gone()
    };
    round(0, 50);
    let first = round(1, 50);
    let second = round(2, 150);
    assert!(second <= first + (4 << 20), "{first} bytes after 400 connections, {second} after 1200 more");
}

/// Attackers of many kinds on one server.
fn all_at_once(arena: &Arena) {
    let refused = AtomicUsize::new(0);
    arena.each(|target, number| match number % 6 {
        0 => {
            let _silent: Vec<Wire> = (0..30).map(|_| Wire::dial(target)).collect();
            let mut wire = Wire::dial(target);
            wire.write(&[3]);
            wire.receive_for(LONG);
        }
        1 => {
            for round in 0..8 {
                let target = Target::at(target.address(), &target.named(&round.to_string()));
                in_every_phase(&target).into_iter().for_each(Wire::reset);
            }
        }
        2 => {
            let mut client = publisher(target);
            client.set_chunk_size(1);
            client.video(0, &key_frame(50_000));
            client.set_chunk_size(1 << 20);
            for _ in 0..5 {
                client.video(0, &key_frame(1 << 20));
            }
            client.receive_pending();
        }
        3 => {
            let mut client = ScriptedClient::player(target, &arena.target.named("neighbours"));
            for _ in 0..30 {
                client.send_bytes(&call("pause", 0.0, 1, &[true.into(), 0.0.into()]).repeat(50));
                client.send_bytes(&call("pause", 0.0, 1, &[false.into(), 0.0.into()]).repeat(50));
                client.receive_pending();
            }
        }
        4 => {
            for _ in 0..20 {
                let mut client = ScriptedClient::connected(target);
                client.send(
                    3,
                    0,
                    MessageType::COMMAND_AMF0,
                    0,
                    &body("call", 1.0, &[Value::StrictArray(vec![Value::Null; 9000])]),
                );
                client.send_bytes(&[0xc9, 1, 2, 3]);
                client.wire().receive_for(LONG);
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        _ => {
            let mut wire = Wire::dial_narrow(target, 4096);
            wire.write(&player(&arena.target.named("neighbours")));
            wire.write_until_blocked(&call("createStream", 2.0, 0, &[]).repeat(10_000), Duration::from_millis(500));
            arena.wait_frames(200);
        }
    });
    assert_eq!(refused.into_inner(), 20 * (arena.attackers / 6));
}
