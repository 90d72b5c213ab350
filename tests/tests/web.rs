//! Streams by HTTP over sockets, on both runtimes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use anabranch_core::flv::Tags;
use anabranch_tests::TIMEOUT;
use anabranch_tests::peer::ScriptedClient;
use anabranch_tests::program::{Launch, Process, Program, Runtime};

const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff];
const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];

fn web_address(program: &Program) -> SocketAddr {
    program.process.wait_for("address for HTTP", || {
        let printed = program.process.stdout();
        printed.iter().find_map(|line| {
            line.trim().strip_prefix("watch, HTTP")?.trim().strip_prefix("http://")?.split('/').next()?.parse().ok()
        })
    })
}

fn ask(address: SocketAddr, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(TIMEOUT)).expect("it can be set");
    socket.write_all(request.as_bytes()).expect("it reads");
    socket
}

/// What follows the head, of which there are `length` bytes at least, and the head.
fn read(socket: &mut TcpStream, length: usize) -> (String, Vec<u8>) {
    let mut received = Vec::new();
    loop {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
        if let Some(end) = end.filter(|end| received.len() >= end + length) {
            return (String::from_utf8_lossy(&received[..end]).into_owned(), received[end..].to_vec());
        }
        let mut buffer = [0; 4096];
        let count = socket.read(&mut buffer).expect("something comes in time");
        assert!(count > 0, "it ends after {:?}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..count]);
    }
}

fn publisher(program: &Program) -> ScriptedClient {
    let mut publisher = ScriptedClient::publisher(program.address(), "cam");
    publisher.video(0, VIDEO_HEADER);
    publisher.audio(0, AUDIO_HEADER);
    publisher.video(0, &[0x17, 1, 0, 0, 0, 1]);
    publisher
}

#[test]
fn players_by_http_and_by_web_socket_get_what_is_published() {
    for runtime in [Runtime::Smol, Runtime::Std] {
        let program = Launch::of(runtime).with_web().start();
        let web = web_address(&program);
        let mut publisher = publisher(&program);
        let mut old = ask(web, "GET /live/cam.flv HTTP/1.0\r\n\r\n");
        let (head, _) = read(&mut old, 13);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut socket = ask(web, &format!("GET /live/cam.flv HTTP/1.1\r\nHost: h\r\n{key}\r\n"));
        let (head, message) = read(&mut socket, 20);
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert_eq!((message[0], &message[2..5]), (0x82, &b"FLV"[..]));
        program.wait_players("live/cam", 2);
        for number in 1..50_u8 {
            publisher.video(u32::from(number) * 40, &[0x27, 1, 0, 0, 0, number]);
        }
        drop((publisher, socket));
        // The publisher does not come back: the answer ends after a while.
        drop(old);
        program.process.wait_lines(" closed: ", 3);
    }
}

#[test]
fn an_answer_ends_with_the_stream_and_other_paths_are_not_there() {
    for runtime in [Runtime::Smol, Runtime::Std] {
        let program = Launch::of(runtime).with_web().args(["--unpublish-grace", "0"]).start();
        let web = web_address(&program);
        let mut publisher = publisher(&program);
        let mut player = ask(web, "GET /live/cam.flv HTTP/1.0\r\n\r\n");
        let (_, mut body) = read(&mut player, 13);
        for number in 1..50_u8 {
            publisher.video(u32::from(number) * 40, &[0x27, 1, 0, 0, 0, number]);
        }
        let end = publisher.receive_pending();
        assert!(end.is_empty(), "{end:?}");
        drop(publisher);
        player.read_to_end(&mut body).expect("it ends");
        let tags: Vec<_> = Tags::new(&body).expect("a file").map(|tag| tag.expect("it is whole").timestamp).collect();
        assert_eq!(tags.len(), 3 + 49, "{tags:?}");
        program.wait_line("stream_over");

        let mut missing = ask(web, "GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let (head, _) = read(&mut missing, 1);
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
        let mut rest = Vec::new();
        missing.read_to_end(&mut rest).expect("the server closes");
        let mut wrong = ask(web, "GET / HTTP/1.1\nHost: h\n\n");
        assert!(read(&mut wrong, 1).0.starts_with("HTTP/1.1 400 "));
    }
}

#[test]
fn idle_connections_by_http_give_way_to_new_ones_and_to_publishers() {
    for runtime in [Runtime::Smol, Runtime::Std] {
        // 175 of them are for connections, 129 of these for idle ones by HTTP.
        let program = Launch::of(runtime).with_web().with_files(200).start();
        let web = web_address(&program);
        let request = "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut idle: Vec<TcpStream> = Vec::new();
        for _ in 0..220 {
            let mut socket = ask(web, request);
            assert!(read(&mut socket, 1).0.starts_with("HTTP/1.1 404 "));
            idle.push(socket);
        }
        let mut rest = Vec::new();
        idle[0].read_to_end(&mut rest).expect("the server closes it");
        let newest = idle.last_mut().expect("it is there");
        newest.write_all(request.as_bytes()).expect("it is open");
        assert!(read(newest, 1).0.starts_with("HTTP/1.1 404 "));
        let _publisher = publisher(&program);
        program.wait_publishers("live/cam", 1);
    }
}

#[test]
fn ffmpeg_plays_by_http_with_sound_and_without() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let web = web_address(&program);
    let sound = ["-f", "lavfi", "-i", "sine", "-c:a", "aac"];
    let _both = publish_with_ffmpeg(&program, "both", &sound);
    let _silent = publish_with_ffmpeg(&program, "silent", &[]);
    let probes = ["both", "silent"].map(|name| probe(&format!("http://{web}/live/{name}.flv")));
    for (probe, codecs) in probes.into_iter().zip(["aac,h264", "h264"]) {
        assert_eq!(found(probe), codecs);
    }
}

/// A publisher of 25 frames a second, with these options for the sound.
fn publish_with_ffmpeg(program: &Program, name: &str, more: &[&str]) -> Process {
    let url = program.url(&format!("live/{name}"));
    let mut arguments = vec!["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"];
    arguments.extend(more);
    arguments.extend(["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-t", "30", "-f", "flv", &url]);
    let ffmpeg = Process::start("ffmpeg", arguments);
    program.wait_publishers(&format!("live/{name}"), 1);
    ffmpeg
}

#[test]
fn ffmpeg_decodes_mp4_on_both_runtimes() {
    for runtime in [Runtime::Smol, Runtime::Std] {
        let program = Launch::of(runtime).with_web().start();
        let web = web_address(&program);
        let sound = ["-f", "lavfi", "-i", "sine", "-c:a", "aac"];
        let _both = publish_with_ffmpeg(&program, "both", &sound);
        let _silent = publish_with_ffmpeg(&program, "silent", &[]);
        let probes = ["both", "silent"].map(|name| {
            let mut probe = Command::new("ffprobe");
            probe.args(["-v", "error", "-count_frames", "-read_intervals", "%+#40"]);
            probe.args(["-show_entries", "stream=codec_name,width:frame=pkt_dts", "-of", "csv=p=0", "-i"]);
            probe.arg(format!("http://{web}/live/{name}.mp4")).stdin(Stdio::null());
            probe.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ffprobe")
        });
        for (probe, streams) in probes.into_iter().zip([&["h264,320", "aac"][..], &["h264,320"]]) {
            let probe = probe.wait_with_output().expect("ffprobe");
            let (found, words) = (String::from_utf8_lossy(&probe.stdout), String::from_utf8_lossy(&probe.stderr));
            let lines: Vec<&str> = found.lines().collect();
            for stream in streams {
                assert!(lines.iter().any(|line| line.starts_with(stream)), "{stream}: {found} {words}");
            }
            assert!(lines.len() >= 40 && words.is_empty(), "{runtime}: {found} {words}");
        }
    }
}

/// ffprobe, which looks at a second of a stream.
fn probe(address: &str) -> Child {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-analyzeduration", "1000000"]);
    probe.args(["-show_entries", "stream=codec_name", "-of", "csv=p=0", "-i", address]);
    probe.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("ffprobe")
}

/// What it has found, in the order of the names of codecs.
fn found(probe: Child) -> String {
    let found = probe.wait_with_output().expect("ffprobe").stdout;
    let found = String::from_utf8_lossy(&found).into_owned();
    let mut found: Vec<&str> = found.split_whitespace().map(|line| line.trim_end_matches(',')).collect();
    found.sort_unstable();
    found.join(",")
}

#[test]
fn flags_tell_ffmpeg_what_is_there_before_and_after_publish() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let web = web_address(&program);
    let sound = &["-f", "lavfi", "-i", "sine", "-c:a", "aac"][..];
    let mut cases = Vec::new();
    for (media, flags, codecs) in [("both", 5, "aac,h264"), ("silent", 1, "h264"), ("audio", 4, "aac")] {
        for metadata in [true, false] {
            cases.push((format!("{media}-{metadata}"), media, flags, codecs, metadata));
        }
    }
    let look = |name: &str| {
        let raw = ask(web, &format!("GET /live/{name}.flv HTTP/1.0\r\n\r\n"));
        let probes = ["flv", "mp4"].map(|form| probe(&format!("http://{web}/live/{name}.{form}")));
        (raw, probes)
    };
    let early: Vec<_> = cases.iter().map(|(name, ..)| look(name)).collect();
    for (name, ..) in &cases {
        program.wait_players(&format!("live/{name}"), 3);
    }
    let mut publishers = Vec::new();
    for (name, media, _, _, metadata) in &cases {
        let url = program.url(&format!("live/{name}"));
        let mut arguments = vec!["-v", "error", "-re"];
        if *media != "audio" {
            arguments.extend(["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"]);
        }
        if *media != "silent" {
            arguments.extend(sound);
        }
        if *media != "audio" {
            arguments.extend(["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"]);
        }
        let flags = if *metadata { "no_duration_filesize" } else { "no_duration_filesize+no_metadata" };
        arguments.extend(["-t", "30", "-flvflags", flags, "-f", "flv", &url]);
        publishers.push(Process::start("ffmpeg", arguments));
    }
    for (name, ..) in &cases {
        program.wait_publishers(&format!("live/{name}"), 1);
    }
    let late = cases.iter().map(|(name, ..)| look(name)).collect();
    for (when, looks) in [("before", early), ("after", late)] {
        for ((name, _, flags, codecs, _), (mut raw, probes)) in cases.iter().zip(looks) {
            let (_, body) = read(&mut raw, 13);
            assert_eq!((&body[..4], body[4]), (&b"FLV\x01"[..], *flags), "{name} {when}");
            for (form, probe) in ["flv", "mp4"].iter().zip(probes) {
                assert_eq!(found(probe), *codecs, "{name}.{form} {when}");
            }
        }
    }
}
