use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anabranch_tests::media::{Clip, Publication};
use anabranch_tests::program::{Launch, Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use serde_json::{Value, json};

use super::hashes::Hashes;

#[test]
fn what_mpv_plays_is_what_was_sent() {
    let folder = Folder::new();
    let mut server = Program::start(Runtime::Smol, &["--unpublish-grace", "1"]);
    let publisher = Publication::of_clip(&server, "live/cam", &super::LONG, &folder);
    server.wait_publishers("live/cam", 1);
    let recorded = folder.file("recorded.mkv");
    let (mpv, mut control) = start(&mut server, &folder, &[&format!("--stream-record={}", recorded.display())]);
    control.wait_picture(150);
    assert_eq!(control.property("video-params/w"), 320);
    assert_eq!(control.property("decoder-frame-drop-count"), 0);
    publisher.process.terminate();
    mpv.wait_success(TIMEOUT);
    let complaints: Vec<_> = mpv.lines_with("rror").into_iter().map(|line| line.text).collect();
    assert_eq!(complaints, [""; 0], "mpv complains");

    let [sent, received] = [&publisher.sent, &recorded].map(|file| Hashes::of_file("ffmpeg", file.display()));
    for (kind, least) in [("video", 150), ("audio", 200)] {
        let [sent, received] = [&sent, &received].map(|hashes| hashes.of_kind(kind).next().expect("it has the track"));
        sent.assert_overlaps(received, least);
    }
    server.wait_closed_without_loss(2);
    server.stop();
}

#[test]
fn mpv_goes_on_after_a_pause() {
    let folder = Folder::new();
    let mut server = Program::start(Runtime::Smol, &["--unpublish-grace", "1"]);
    let publisher = Publication::of_clip(&server, "live/cam", &super::LONG, &folder);
    server.wait_publishers("live/cam", 1);
    // It sends no RTMP pause, it only reads less; with the smallest cache, soon.
    let (mpv, mut control) = start(&mut server, &folder, &["--cache=no", "--demuxer-max-bytes=16KiB"]);
    control.wait_picture(30);
    control.command(&json!(["set_property", "pause", true]));
    let paused = control.picture().expect("it has shown some");
    let start = Instant::now();
    wait_for("end of the pause", TIMEOUT, || (start.elapsed() > Duration::from_secs(3)).then_some(()));
    control.command(&json!(["set_property", "pause", false]));
    control.wait_picture(paused + 90);
    assert!(mpv.is_running());
    mpv.terminate();
    mpv.wait_exit(TIMEOUT);
    server.process.wait_line(" closed: ");
    drop(publisher);
    server.stop();
}

#[test]
fn mpv_goes_on_after_it_was_asked_to_seek_in_a_live_stream() {
    let folder = Folder::new();
    let mut server = Program::start(Runtime::Smol, &["--unpublish-grace", "1"]);
    let publisher = Publication::of_clip(&server, "live/cam", &super::LONG, &folder);
    server.wait_publishers("live/cam", 1);
    let (mpv, mut control) = start(&mut server, &folder, &[]);
    control.wait_picture(60);
    // Beyond what mpv has in its cache, so that it asks the server. FFmpeg's RTMP client, which it uses, then throws
    // everything away until NetStream.Seek.Notify.
    let cached = control.property("demuxer-cache-duration");
    let before = control.picture().expect("it has shown some");
    control.command(&json!(["seek", 30]));
    let what = format!("five seconds more in mpv, which had {cached} seconds in its cache");
    wait_for(&what, Duration::from_secs(20), || (control.picture()? >= before + 150).then_some(()));
    assert!(mpv.is_running());
    drop(publisher);
    server.stop();
}

#[test]
fn mpv_goes_on_when_the_origin_of_an_edge_is_killed_and_another_one_has_other_headers() {
    let folder = Folder::new();
    let origins = [0; 2].map(|_| Program::start(Runtime::Smol, &[]));
    let urls = origins.each_ref().map(|origin| format!("rtmp://{}", origin.address()));
    let mut edge = Launch::of(Runtime::Smol).settings(&format!("[defaults.edge]\norigins = {urls:?}\n")).start();
    let _first = Publication::of_clip(&origins[0], "live/cam", &super::LONG, &folder);
    let larger = Clip { picture: "testsrc=size=640x360:rate=30", ..super::LONG }.file();
    let input = ["-re", "-i", larger.to_str().expect("paths of tests are UTF-8"), "-map", "0", "-c:v", "copy"];
    let stereo = ["-c:a", "aac", "-ar", "48000", "-ac", "2"];
    let _second = Publication::start(&origins[1], "live/cam", &[&input[..], &stereo].concat(), &folder);
    for origin in &origins {
        origin.wait_publishers("live/cam", 1);
    }
    let (mpv, mut control) = start(&mut edge, &folder, &[]);
    control.wait_picture(60);
    assert_eq!(
        (control.property("video-params/w"), control.property("audio-params/samplerate")),
        (320.into(), 44_100.into())
    );
    origins[0].kill();
    for (property, value) in [("video-params/w", 640), ("audio-params/samplerate", 48_000)] {
        wait_for(property, TIMEOUT, || (control.property(property) == value).then_some(()));
    }
    let time = |control: &mut Control| control.property("time-pos").as_f64();
    let before = time(&mut control).expect("it plays");
    wait_for("two seconds more in mpv", TIMEOUT, || (time(&mut control)? >= before + 2.0).then_some(()));
    assert_eq!(edge.lines(" is player of ").len(), 1, "it had to come again");
    mpv.terminate();
    mpv.wait_exit(TIMEOUT);
    edge.stop();
}

fn start(server: &mut Program, folder: &Folder, options: &[&str]) -> (Process, Control) {
    let url = server.url("live/cam");
    start_at(server, folder, &url, options)
}

/// mpv without a window, playing the stream at this address.
pub(super) fn start_at(server: &mut Program, folder: &Folder, url: &str, options: &[&str]) -> (Process, Control) {
    let socket = folder.file("mpv.socket");
    let ipc = format!("--input-ipc-server={}", socket.display());
    let line = ["--no-config", "--no-terminal", "--msg-level=all=warn", "--vo=null", "--ao=null", &ipc, url];
    let mpv = Process::start("mpv", line.iter().chain(options));
    server.wait_players("live/cam", 1);
    (mpv, Control::connect(&socket))
}

/// mpv's control socket.
#[derive(Debug)]
pub(super) struct Control {
    socket: BufReader<UnixStream>,
    requests: u64,
}

impl Control {
    fn connect(path: &Path) -> Self {
        let socket = wait_for("control socket of mpv", TIMEOUT, || UnixStream::connect(path).ok());
        socket.set_read_timeout(Some(TIMEOUT)).expect("a socket has timeouts");
        Control { socket: BufReader::new(socket), requests: 0 }
    }

    /// Sends a command; returns the answer's data, null if there is none.
    fn command(&mut self, command: &Value) -> Value {
        self.requests += 1;
        let request = json!({"command": command, "request_id": self.requests});
        writeln!(self.socket.get_mut(), "{request}").expect("mpv listens");
        loop {
            let mut line = self.read();
            if line["request_id"] == self.requests {
                return line["data"].take();
            }
        }
    }

    pub(super) fn property(&mut self, name: &str) -> Value {
        self.command(&json!(["get_property", name]))
    }

    pub(super) fn wait_picture(&mut self, number: i64) {
        wait_for(&format!("picture {number} in mpv"), TIMEOUT, || (self.picture()? >= number).then_some(()));
    }

    fn picture(&mut self) -> Option<i64> {
        self.property("estimated-frame-number").as_i64()
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.socket.read_line(&mut line).expect("mpv answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}
