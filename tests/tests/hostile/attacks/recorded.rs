//! Publishers whose streams are recorded: what they leave behind in the server and on the disk.

use anabranch_tests::conformance::Target;
use anabranch_tests::peer::ScriptedClient;
use std::time::Instant;

use super::Attackers::Of;
use super::{Case, Memory, call, key_frame};
use crate::arena::Arena;

/// How attackers leave.
const GONE: &[&str] = &["peer_closed", "peer_lost"];
/// Rounds of each attacker.
const ROUNDS: u32 = 300;
/// Files of one name that may begin at once, and then one a second.
const FILES: usize = 60;

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "publishers_that_leave_without_a_frame",
        "their end is logged",
        Of(4, 16),
        Memory::Of(16, 1024),
        GONE,
        |arena| {
            arena.each(|target, _| {
                rounds(target, |_| Vec::new());
            });
        },
    )
    .with_settings(RECORDED, "recordings"),
    Case::new(
        "headers_that_change_with_each_key_frame",
        "record.min_duration 10 s",
        Of(4, 16),
        Memory::Of(16, 1024),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut client = ScriptedClient::publisher(target, &target.name);
                for round in 0..ROUNDS {
                    frames(round).into_iter().for_each(|body| client.video(round * 20, &body));
                }
                client.receive_pending();
            });
            // One of each, and that of the neighbours.
            assert_files(arena, arena.attackers + 1);
        },
    )
    .with_settings(RECORDED, "recordings"),
    Case::new(
        "publishers_that_come_back_with_each_key_frame",
        "60 files of a name at once, then one a second",
        Of(4, 16),
        Memory::Of(16, 1024),
        GONE,
        |arena| {
            let start = Instant::now();
            arena.each(|target, _| rounds(target, |round| frames(round).to_vec()));
            let seconds = start.elapsed().as_secs() as usize + 1;
            assert_files(arena, arena.attackers * (FILES + seconds) + 1);
        },
    )
    .with_settings(RECORDED, "recordings"),
];

const RECORDED: &str = "[defaults.record]\nstreams = ['*']\nfolder = FOLDER\nmin_free = 0\n";

/// Publishes and closes one stream of a connection time and again.
fn rounds(target: &Target, bodies: impl Fn(u32) -> Vec<Vec<u8>>) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    for round in 0..ROUNDS {
        // Without anything in it, each has its own name.
        let bodies = bodies(round);
        let name = if bodies.is_empty() { target.named(&round.to_string()) } else { target.name.clone() };
        client.send_bytes(&call("publish", 3.0, 1, &[name.as_str().into(), "live".into()]));
        bodies.iter().for_each(|body| client.video(round * 20, body));
        client.send_bytes(&call("closeStream", 0.0, 1, &[]));
        if round % 20 == 19 {
            client.receive_pending();
        }
    }
}

/// Another sequence header than the one before, and a key frame.
fn frames(round: u32) -> [Vec<u8>; 2] {
    let profile = [66, 77][round as usize % 2];
    let header = vec![0x17, 0, 0, 0, 0, 1, profile, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, profile, 0, 30, 1, 0, 2, 0x68, 1];
    [header, key_frame(50)]
}

fn assert_files(arena: &Arena, most: usize) {
    let (files, bytes) = arena.files();
    assert!(files <= most, "{files} files, {bytes} bytes");
}
