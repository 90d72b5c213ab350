use std::fs;
use std::sync::{Mutex, PoisonError};

use anabranch_core::conn::VhostConfig;
use anabranch_tests::media::{Clip, Publication, assert_same_media, assert_same_packets, tags};
use anabranch_tests::peer::{ScriptedClient, Wire};
use anabranch_tests::program::{Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};

anabranch_tests::on_both_programs!(two_hundred_players_that_take_nothing_harm_no_other_client);

const CLIP: Clip = Clip { picture: "testsrc2=size=640x360:rate=30", seconds: 28, gop: 30, megabits: Some(4) };

/// Players that never read.
const STALLED: usize = 200;
/// Seconds of the stream for which they do not read.
const FOR: u64 = 16;
/// Megabytes (2^20) for the frames of the stream, more than it has in the seconds that are kept.
const STREAM_MEMORY: usize = 8;
/// What the stalled players may take besides frames: 64 KiB each for what belongs to a connection. That is much with
/// tasks; with threads it is two stacks and a read buffer.
const ALLOWANCE: usize = STALLED * (64 << 10);
/// More than the chunk headers of one frame.
const CHUNK_HEADERS: usize = 100;
/// By how much resident memory may differ while only the stream continues.
const FLUCTUATION: usize = 1 << 20;

fn two_hundred_players_that_take_nothing_harm_no_other_client(runtime: Runtime) {
    // The sockets of the stalled players hold a few megabytes each in the kernel: one server at a time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new();
    let memory = STREAM_MEMORY.to_string();
    let server = Program::start(runtime, &["--unpublish-grace", "1", "--stream-memory", &memory]);
    let resident = || server.held().resident;
    let dumped = folder.file("rtmpdump.flv");
    let ffprobe = server.ffprobe("live/cam");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);

    let publisher = Publication::of_clip(&server, "live/cam", &CLIP, &folder);
    // The clip has a constant rate: its size is its clock.
    let sent = publisher.sent.clone();
    let whole = fs::metadata(CLIP.file()).unwrap().len();
    let milliseconds = || fs::metadata(&sent).unwrap().len() * u64::from(CLIP.seconds) * 1000 / whole;
    publisher.process.wait_for("second of the stream", || (milliseconds() >= 2000).then_some(()));

    let before = resident();
    let began = milliseconds();
    let stalled: Vec<_> = (0..STALLED).map(|_| join(&server)).collect();
    server.wait_players("live/cam", STALLED + 2);
    let joined = milliseconds();
    publisher.process.wait_for("end of the stall", || (milliseconds() >= joined + FOR * 1000).then_some(()));
    let full = resident();
    let passed = fs::metadata(&publisher.sent).unwrap().len() as usize;

    assert!(server.process.lines_with(" closed: ").is_empty(), "a client was closed");
    drop(stalled);
    let closed = server.process.wait_lines(" closed: ", STALLED);
    let after = resident();
    publisher.process.wait_success(TIMEOUT);
    ffprobe.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    server.process.wait_lines(" closed: ", STALLED + 3);
    let end = resident();

    let largest = tags(&publisher.sent).iter().map(|tag| tag.body.len()).max().expect("it is not empty");
    let each = VhostConfig::default().high_water + largest;
    let bound = (STREAM_MEMORY << 20) + STALLED * each + ALLOWANCE;
    let [most, queued] =
        [bytes_sent, bytes_queued].map(|bytes| closed.iter().map(|line| bytes(&line.text)).max().unwrap_or_default());
    let kib = |bytes: usize| format!("{} KiB", bytes >> 10);
    eprintln!(
        "{runtime}: {STALLED} players came from {began} to {joined} ms; largest frame {}; resident {} before, {} after \
         {FOR} s, {} when they had gone, {} at the end; grew by {} of at most {}; took at most {} of {}, had at most {} queued",
        kib(largest),
        kib(before),
        kib(full),
        kib(after),
        kib(end),
        kib(full.saturating_sub(before)),
        kib(bound),
        kib(most),
        kib(passed),
        kib(queued)
    );
    for line in &closed {
        assert!(line.text.contains(" in phase playing "), "{}", line.text);
    }
    assert!(most < passed / 2, "{most} bytes of {passed} were taken by players that should have stalled");
    assert!(0 < queued && queued <= each + CHUNK_HEADERS, "{queued} bytes were queued for one player");
    assert!(full.saturating_sub(before) <= bound, "resident memory grew from {before} to {full}");
    assert!(after <= full + FLUCTUATION, "resident memory grew from {full} to {after} while players left");
    assert!(end <= after + FLUCTUATION, "resident memory grew from {after} to {end} when they had gone");
    assert_same_packets(&publisher.sent, &ffprobe);
    assert_same_media(&publisher.sent, &dumped);
    server.stop();
}

/// A player that reads until the stream begins, and then no more.
fn join(server: &Program) -> Wire {
    let mut client = ScriptedClient::connected(server.address());
    client.create_stream(2.0);
    client.play(1, "cam");
    client.receive_until("NetStream.Play.Start");
    client.into_wire()
}

/// The bytes that were sent to a peer, from the line about its close.
fn bytes_sent(line: &str) -> usize {
    let number = line.split_once(", sent ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no count in {line:?}"))
}

/// The bytes that were still queued for the peer, from the same line.
fn bytes_queued(line: &str) -> usize {
    let number = line.split("; ").find_map(|part| part.strip_suffix(" bytes queued and not sent"));
    number.map_or(0, |number| number.parse().expect("a count"))
}
