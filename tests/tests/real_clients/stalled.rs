use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process;
use std::sync::{Mutex, PoisonError};

use anabranch_core::amf::Value;
use anabranch_core::conn::VhostConfig;
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_tests::clients::{
    Clip, Folder, PATIENCE, Publication, Runtime, Server, assert_same_media, assert_same_packets, tags,
};
use anabranch_tests::sim::{Peer, command_in, status_code};

on_both_runtimes!(two_hundred_players_that_take_nothing_harm_nobody);

const CLIP: Clip = Clip { picture: "testsrc2=size=640x360:rate=30", seconds: 28, gop: 30, megabits: Some(4) };

/// Players that never read.
const STALLED: usize = 200;
/// Seconds of the stream for which they do not.
const FOR: u64 = 16;
/// Megabytes (2^20) for the frames of the stream, more than it has in the seconds that are kept.
const STREAM_MEMORY: usize = 8;
/// What the stalled players may take besides frames: 64 KiB each for what belongs to a connection. That is much with
/// tasks; with threads it is two stacks and a read buffer.
const ALLOWANCE: usize = STALLED * (64 << 10);
/// More than the chunk headers of one frame.
const CHUNK_HEADERS: usize = 100;
/// By how much resident memory may differ while nothing happens but that the stream goes on.
const FLUCTUATION: usize = 1 << 20;

fn two_hundred_players_that_take_nothing_harm_nobody(runtime: Runtime) {
    // The sockets of the stalled players hold a few megabytes each in the kernel: one server at a time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new();
    let memory = STREAM_MEMORY.to_string();
    let mut server = Server::start(runtime, &["--unpublish-grace", "1", "--stream-memory", &memory]);
    let id = server_id(runtime, &memory);
    let dumped = folder.file("rtmpdump.flv");
    let mut ffprobe = server.ffprobe("live/cam");
    let mut rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);

    let mut publisher = Publication::of_clip(&server, "live/cam", &CLIP, &folder);
    // The clip has a constant rate: its size is its clock.
    let sent = publisher.sent.clone();
    let whole = fs::metadata(CLIP.file()).unwrap().len();
    let milliseconds = || fs::metadata(&sent).unwrap().len() * u64::from(CLIP.seconds) * 1000 / whole;
    publisher.process.wait_for("second of the stream", || (milliseconds() >= 2000).then_some(()));

    let before = resident(id);
    let began = milliseconds();
    let stalled: Vec<_> = (0..STALLED).map(|number| join(&server, number as u8)).collect();
    server.wait_players("live/cam", STALLED + 2);
    let joined = milliseconds();
    publisher.process.wait_for("end of the stall", || (milliseconds() >= joined + FOR * 1000).then_some(()));
    let full = resident(id);
    let passed = fs::metadata(&publisher.sent).unwrap().len() as usize;

    assert!(server.process.lines_with(" closed: ").is_empty(), "somebody has gone");
    drop(stalled);
    let closed = server.process.wait_lines(" closed: ", STALLED);
    let after = resident(id);
    publisher.process.wait_success(PATIENCE);
    ffprobe.wait_success(PATIENCE);
    rtmpdump.wait_success(PATIENCE);
    server.process.wait_lines(" closed: ", STALLED + 3);
    let end = resident(id);

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
fn join(server: &Server, number: u8) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut peer = Peer::new([number; 32], ClientHandshakeKind::Simple);
    let mut buffer = [0; 4096];
    loop {
        socket.write_all(peer.out()).unwrap();
        peer.out().clear();
        let count = socket.read(&mut buffer).unwrap();
        assert!(count > 0, "player {number} is closed before its stream begins");
        let shook_hands = peer.is_ready();
        let messages = peer.read(&buffer[..count]).unwrap();
        if peer.is_ready() && !shook_hands {
            peer.connect("live");
        }
        for command in messages.iter().filter_map(command_in) {
            let id = command.arguments.first().and_then(Value::as_number);
            match (status_code(&command), id) {
                (Some("NetConnection.Connect.Success"), _) => {
                    peer.call("createStream", 0, Value::Null, &[]);
                }
                (Some("NetStream.Play.Start"), _) => return socket,
                (None, Some(id)) if command.name.as_bytes() == b"_result" => {
                    peer.call("play", id as u32, Value::Null, &["cam".into(), (-2000.0).into()]);
                }
                _ => {}
            }
        }
    }
}

/// The process id of the server. No other test gives it so much memory for a stream.
fn server_id(runtime: Runtime, memory: &str) -> u32 {
    let parent = format!("PPid:\t{}", process::id());
    let is_it = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let (program, arguments) = command.split_once('\0').unwrap_or_default();
        status.lines().any(|line| line == parent)
            && program.ends_with(&format!("/{runtime}"))
            && arguments.contains(&format!("--stream-memory\0{memory}\0"))
    };
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it);
    let id = ids.next().expect("the server runs");
    assert_eq!(ids.next(), None, "there is another such server");
    id
}

/// Bytes of memory that a process has.
fn resident(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
    line.and_then(|number| number.trim().parse::<usize>().ok()).expect("a running process has memory") << 10
}

/// What went to a peer, by the line that says that it is closed.
fn bytes_sent(line: &str) -> usize {
    let number = line.split_once(", sent ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no count in {line:?}"))
}

/// What still waited for the peer, by the same line.
fn bytes_queued(line: &str) -> usize {
    let number = line.split("; ").find_map(|part| part.strip_suffix(" bytes given up"));
    number.map_or(0, |number| number.parse().expect("a count"))
}
