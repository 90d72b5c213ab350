use anabranch_tests::media::Publication;
use anabranch_tests::program::{Program, Runtime, replay, start_replay};
use anabranch_tests::{Folder, TIMEOUT};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::SHORT;

anabranch_tests::on_both_programs!(what_real_clients_said_is_replayed_to_the_same_events_and_bytes);

fn what_real_clients_said_is_replayed_to_the_same_events_and_bytes(runtime: Runtime) {
    let folder = Folder::new();
    let captures = folder.file("captures");
    let capture = captures.to_str().expect("paths of tests are UTF-8");
    let arguments = ["--unpublish-grace", "1", "--chunk-size", "4096", "--capture", capture];
    let server = Program::start(runtime, &arguments);
    let rtmpdump = server.rtmpdump("live/cam", &folder.file("rtmpdump.flv"));
    let ffmpeg = server.ffmpeg_decoding("live/cam");
    server.wait_players("live/cam", 2);
    let publisher = Publication::of_clip(&server, "live/cam", &SHORT, &folder);
    server.wait_publishers("live/cam", 1);
    // Refused: the name is taken there, and free in the replay.
    let refused = Publication::at_once(&server, "live/cam", &SHORT, &folder);
    server.process.wait_line("(rejected)");
    refused.process.wait_exit(TIMEOUT);
    publisher.process.wait_success(TIMEOUT);
    ffmpeg.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    server.wait_closed_without_loss(4);
    // Says nothing and is still there when the server goes down.
    let silent = TcpStream::connect(server.address()).expect("it listens");
    server.process.wait_lines(" opened from ", 5);
    server.stop();
    drop(silent);

    let mut replays = Vec::new();
    for file in fs::read_dir(&captures).expect("the server has made it") {
        let path = file.expect("it can be listed").path();
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        replays.push(replay(runtime, &path));
    }
    assert_eq!(replays.len(), 5);
    // Another server would not have done the same.
    let mut file = fs::read(captured(&captures, "conn-3-")).expect("it is there");
    // The program has settings in it, the other server options.
    let option: &[u8] = match runtime {
        Runtime::Smol => b"chunk_size = 4096",
        Runtime::Std => b"--chunk-size=4096",
    };
    let at = file.windows(option.len()).position(|bytes| bytes == option).expect("the header names it");
    file[at + option.len() - 1] = b'7';
    let other = folder.file("other.anacap");
    fs::write(&other, file).expect("the folder can be written");
    let process = start_replay(runtime, &other);
    assert_eq!(process.wait_exit(TIMEOUT).0.code(), Some(1));
    assert!(process.stdout().last().is_some_and(|line| line.starts_with("differs at ")), "{:?}", process.stdout());

    let expected: [&[&str]; 5] = [
        &[
            "--> handshake: digest",
            "--> connect(1) {app: \"live\", ",
            "<-- chunk size 4096",
            "phase: connected",
            "action: attach publisher of live/cam",
            "phase: publishing",
            "--> data on stream 1 at 0 ms: \"@setDataFrame\" \"onMetaData\" {",
            "--> video on stream 1: H.264 sequence header, ",
            "--> video on stream 1: H.264 key frame, ",
            "--> audio on stream 1: AAC ",
            " audio, ",
            "NetStream.Unpublish.Success",
            "closed: the client closed the connection (peer_closed)",
        ],
        &["refused: NetStream.Publish.BadName: Stream cam is already being published.", "(rejected)"],
        &[
            "LNX 9,0,124,2",
            "--> play(",
            "action: attach player of live/cam",
            "<-- video on stream 1: H.264 sequence header, ",
            "NetStream.Play.UnpublishNotify",
            "phase: playing",
        ],
        &["--> handshake: simple", "action: attach player of live/cam", "NetStream.Play.UnpublishNotify"],
        &["closed: the server stopped (shutdown) in phase handshake"],
    ];
    for words in expected {
        let has_all = |lines: &&Vec<String>| words.iter().all(|word| lines.iter().any(|line| line.contains(word)));
        assert!(replays.iter().any(|lines| has_all(&lines)), "no replay has all of {words:?}: {replays:#?}");
    }
}

fn captured(folder: &Path, name: &str) -> PathBuf {
    let files = fs::read_dir(folder).expect("the server has made it");
    let mut paths = files.map(|file| file.expect("it can be listed").path());
    let named = |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
    paths.find(named).unwrap_or_else(|| panic!("no capture {name}"))
}
