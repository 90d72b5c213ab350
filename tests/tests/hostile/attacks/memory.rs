//! Streams that make the server hold as much as they can, on a server that may hold little.

use std::time::Duration;

use anabranch_core::chunk::write_message;
use anabranch_core::message::MessageType;
use anabranch_tests::peer::ScriptedClient;
use anabranch_tests::{TIMEOUT, wait_for};

use super::Attackers::Of;
use super::{Case, Memory, key_frame, publisher};
use crate::arena::Arena;

/// How attackers leave.
const GONE: &[&str] = &["peer_closed", "peer_lost"];
/// MiB that the streams of the server may take together; a neighbour's stream takes a hundredth of it.
const SMALL: &[&str] = &["--memory=16"];

pub(crate) static CASES: &[Case] = &[
    Case {
        arguments: SMALL,
        ..Case::new(
            "headers_that_change_before_each_key_frame",
            "Config::memory, here 16 MiB; SourceLimits::header_bytes, as much again for what is remembered",
            Of(6, 12),
            Memory::MoreOnThreads(32, 1024, 1100),
            GONE,
            headers_that_change,
        )
    },
    Case {
        arguments: SMALL,
        ..Case::new(
            "streams_that_each_fill_their_cache",
            "Config::memory, here 16 MiB",
            Of(6, 12),
            // What streams may hold, and as much again that they gave up and that is not back with the system yet.
            Memory::MoreOnThreads(44, 1536, 1600),
            GONE,
            full_caches,
        )
    },
    Case {
        arguments: SMALL,
        ..Case::new(
            "messages_that_are_never_whole_on_many_connections",
            "a quarter of Config::memory, here 4 MiB, beyond 256 KiB of each connection",
            Of(12, 40),
            Memory::MoreOnThreads(32, 768, 900),
            &["peer_closed", "peer_lost", "memory_short"],
            halves,
        )
    },
    Case {
        arguments: &["--memory=64", "--stream-memory=1"],
        ..Case::new(
            "stalled_players_of_huge_frames",
            "a quarter of Config::memory, here 16 MiB, beyond 256 KiB of each; SourceLimits::bytes, here 1 MiB",
            Of(6, 12),
            // Sixteen of frames that only players have; for each attacker its stream, and 256 KiB for each of its
            // players. On threads a write that waits is looked at each half second, by when all of its frames may have
            // come.
            Memory::MoreOnThreads(24, 6 << 10, 15 << 10),
            &["peer_closed", "peer_lost", "memory_short"],
            huge_frames,
        )
    },
];

/// A sequence header of one of many tracks.
fn header(track: u8, number: u32) -> Vec<u8> {
    [b"\x96\x00avc1".as_slice(), &[track, 1, 66], &number.to_be_bytes()].concat()
}

/// Each key frame keeps the headers in force before it, of all tracks, and one of them is another each time.
fn headers_that_change(arena: &Arena) {
    arena.each(|target, _| {
        let mut client = publisher(target);
        // It has a player, so that what lies before the newest key frame is kept; it does not read.
        let _player = ScriptedClient::player(target, &target.name);
        for round in 0..40_u32 {
            let mut bytes = Vec::new();
            for number in round * 200..(round + 1) * 200 {
                let track = (number % 16) as u8;
                for body in [header(track, number), key_frame(6)] {
                    write_message(&mut bytes, 128, 6, number, MessageType::VIDEO, 1, &body);
                }
            }
            client.send_bytes(&bytes);
        }
        client.receive_pending();
    });
    arena.assert_neighbours_can_be_joined();
}

/// Pictures of one GOP without an end.
fn full_caches(arena: &Arena) {
    arena.each(|target, _| {
        let mut client = publisher(target);
        let _player = ScriptedClient::player(target, &target.name);
        client.set_chunk_size(1 << 20);
        client.video(0, &key_frame(20_000));
        let mut picture = key_frame(20_000);
        picture[0] = 0x27;
        for number in 1..600 {
            client.video(number * 40, &picture);
        }
        client.receive_pending();
    });
    arena.assert_neighbours_can_be_joined();
    let told = wait_for("a line for what was dropped", TIMEOUT, || {
        Some(arena.lines_with(" KiB and dropped ")).filter(|told| !told.is_empty())
    });
    // At most one line for each kind of a stream, all within a minute.
    assert!(told.len() <= 3 * arena.attackers, "{told:?}");
    assert!(!told.iter().any(|line| line.contains("neighbours held")), "{told:?}");
}

/// All attackers send all but the last byte of a message of two megabytes.
fn halves(arena: &Arena) {
    arena.each(|target, _| {
        let mut client = publisher(target);
        client.set_chunk_size(4 << 20);
        let mut bytes = Vec::new();
        write_message(&mut bytes, 4 << 20, 6, 0, MessageType::VIDEO, 1, &key_frame(2 << 20));
        bytes.pop();
        // Some of them are closed on the way.
        client.wire().write_until_blocked(&bytes, Duration::from_millis(500));
        client.wire().receive_for(Duration::from_millis(500));
    });
}

/// Each player is given another frame of a megabyte, reads none of it, and the stream goes on to the next.
fn huge_frames(arena: &Arena) {
    arena.each(|target, _| {
        let mut client = publisher(target);
        client.set_chunk_size(4 << 20);
        let mut players = Vec::new();
        for number in 0..12 {
            client.video(number * 40, &key_frame(1 << 20));
            client.receive_pending();
            players.push(ScriptedClient::player(target, &target.name));
        }
        // Some 800 KB wait for each, half a megabyte of which is beyond what each may have: 16 MiB are for 32 of them.
        let most = players.len() * arena.attackers;
        wait_for("players that are closed", TIMEOUT, || {
            client.video(480, &key_frame(6));
            client.receive_pending();
            (arena.lines_with("(memory_short)").len() + 32 >= most).then_some(())
        });
    });
    arena.assert_neighbours_can_be_joined();
}
