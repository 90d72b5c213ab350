//! The first steps of a new user, as in the README: start, publish, be refused, sign, watch, look at the numbers.

use anabranch_tests::media::{Publication, assert_same_packets};
use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::SHORT;

/// The part of the README between these lines is the configuration.
fn of_readme(begin: &str, end: &str) -> String {
    let page = include_str!("../../../README.md");
    let (_, rest) = page.split_once(begin).expect("the README shows a configuration");
    rest.split_once(end).expect("it ends").0.to_owned()
}

fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("the API listens");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Prometheus's own check of metrics. It rejects those of SRS's names that break its rules.
fn promtool(folder: &Folder, metrics: &str) {
    let file = folder.file("metrics");
    fs::write(&file, metrics).expect("the folder can be written");
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(fs::File::open(&file).expect("it was written"));
    let promtool = Process::start_command(command);
    let (status, _) = promtool.wait_exit(TIMEOUT);
    let said = [promtool.stdout(), promtool.stderr()].concat();
    let ours: Vec<_> = said.iter().filter(|line| !line.starts_with("srs_")).collect();
    assert!(ours.is_empty() && (status.success() || !said.is_empty()), "{status}: {said:?}");
}

#[test]
fn the_documentation_works_block_by_block() {
    let folder = Folder::new();
    let file = folder.file("anabranch.toml");
    let config = of_readme("cat > anabranch.toml <<'END'\n", "END\n");
    // Another server may use port 1985.
    fs::write(&file, format!("{config}[api]\nlisten = \"127.0.0.1:0\"\n")).expect("the folder can be written");
    let file = file.display().to_string();

    let server = Program::start(Runtime::Smol, &["-c", &file]);
    let api = server.process.wait_line("API            http://").text;
    let api = api.split('/').nth(2).expect("an address").to_owned();

    let player = server.ffprobe("live/cam");
    server.wait_players("live/cam", 1);
    let refused = Publication::at_once(&server, "live/cam", &SHORT, &folder);
    let (status, _) = refused.process.wait_exit(TIMEOUT);
    assert!(!status.success(), "it has no token");

    let signed = Process::run(Runtime::Smol.binary(), ["sign", "publish", "live/cam", "--valid", "5m", "-c", &file]);
    let publisher = Publication::of_clip(&server, &signed.concat(), &SHORT, &folder);
    server.wait_publishers("live/cam", 1);
    let streams = wait_for("what the stream is", TIMEOUT, || {
        let streams = get(&api, "/api/v1/streams");
        (streams.contains("\"name\":\"cam\"") && streams.contains("H264")).then_some(streams)
    });
    assert!(!streams.contains("token="), "{streams}");
    let metrics = get(&api, "/metrics");
    assert!(metrics.contains("stream=\"cam\""), "{metrics}");
    promtool(&folder, metrics.split_once("\r\n\r\n").expect("a head and a body").1);
    publisher.process.wait_success(TIMEOUT);
    player.wait_success(TIMEOUT);
    assert_same_packets(&publisher.sent, &player);
    let log = server.process.stderr().join("\n");
    assert!(!log.contains("token="), "{log}");
    server.stop();
}
