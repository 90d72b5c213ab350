//! Connections before connect that take all open files.

use anabranch_tests::conformance::Target;
use anabranch_tests::peer::{End, ScriptedClient, Wire};
use anabranch_tests::{TIMEOUT, wait_for};

use super::Attackers::Of;
use super::{Case, LONG, Memory, key_frame};
use crate::arena::Arena;

/// Files that the server may open.
const FILES: u32 = 300;
/// How attackers leave. Those that do not come in have no line.
const GONE: &[&str] = &["peer_closed", "peer_lost"];
const LIMIT: &str = "open files: an eighth is the server's own";

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "connections_before_connect_take_all_files",
        LIMIT,
        Of(400, 2000),
        Memory::MoreOnThreads(16, 16, 160),
        GONE,
        |arena| {
            drop(take_all(arena));
        },
    )
    .with_files(FILES),
    Case::new(
        "connections_before_connect_take_all_files_and_api_and_recordings_go_on",
        LIMIT,
        Of(400, 2000),
        Memory::Of(24, 16),
        GONE,
        |arena| {
            let target = Target::at(arena.target.address(), &arena.target.named("recorded"));
            let mut client = ScriptedClient::connected(&target);
            client.create_stream(2.0);
            let files = arena.files().0;
            let strangers = take_all(arena);
            let clients = arena.ask("/api/v1/clients?count=0");
            assert!(clients["total"].as_u64() > Some(u64::from(FILES) / 2), "{clients}");
            client.send_bytes(&super::call("publish", 3.0, 1, &[target.name.as_str().into(), "live".into()]));
            client.video(0, &[0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, 66, 0, 30, 1, 0, 2, 0x68, 1]);
            client.video(0, &key_frame(5000));
            wait_for("a recording", TIMEOUT, || (arena.files().0 > files).then_some(()));
            drop(strangers);
        },
    )
    .with_files(FILES)
    .with_settings("[defaults.record]\nstreams = ['*']\nfolder = FOLDER\nmin_free = 0\n", "API or recordings"),
];

/// Opens connections until the server turns some away; those that are in.
fn take_all(arena: &Arena) -> Vec<Wire> {
    let mut open: Vec<Wire> = (0..arena.attackers).map(|_| Wire::dial(&arena.target)).collect();
    let refused = arena.attackers - FILES as usize;
    // The connections that came last found no place.
    for wire in open.iter_mut().rev().take(refused) {
        assert_ne!(wire.receive_for(LONG), End::Open, "it is not turned away");
    }
    open.truncate(arena.attackers - refused);
    wait_for("a line about them", TIMEOUT, || (!arena.lines_with("turned away").is_empty()).then_some(()));
    open
}
