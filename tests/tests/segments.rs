//! HLS and DASH over sockets, on both runtimes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use anabranch_tests::TIMEOUT;
use anabranch_tests::program::{Launch, Process, Program, Runtime};

fn web_address(program: &Program) -> SocketAddr {
    program.process.wait_for("address for HTTP", || {
        let printed = program.process.stdout();
        printed.iter().find_map(|line| {
            line.trim().strip_prefix("watch, HTTP")?.trim().strip_prefix("http://")?.split('/').next()?.parse().ok()
        })
    })
}

/// A live encoding of pictures with a key frame each second, and of sound.
fn publish(program: &Program, name: &str) -> Process {
    let url = program.url(name);
    let picture = ["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"];
    let sound = ["-f", "lavfi", "-i", "sine", "-c:a", "aac", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];
    let encoder = Process::start("ffmpeg", [&picture[..], &sound, &["-t", "120", "-f", "flv", &url]].concat());
    program.wait_publishers(name, 1);
    encoder
}

/// One request on a connection that stays open. Returns status, head and body.
fn get(socket: &mut TcpStream, target: &str) -> (u16, String, Vec<u8>) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nOrigin: https://page.example\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut received = Vec::new();
    loop {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&received[..end]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
            if received.len() >= end + length.unwrap_or(0) {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("it has a status");
                return (status, head, received[end..].to_vec());
            }
        }
        let mut buffer = [0; 65_536];
        let count = socket.read(&mut buffer).expect("something comes in time");
        assert!(count > 0, "it ends after {:?}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..count]);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(TIMEOUT)).expect("it can be set");
    socket
}

fn uris(playlist: &str) -> Vec<String> {
    let uri = |line: &str| match line.split_once("URI=\"") {
        Some((_, rest)) => rest.split_once('"').map(|(uri, _)| uri.to_owned()),
        None => (!line.starts_with('#') && !line.is_empty()).then(|| line.to_owned()),
    };
    playlist.lines().filter_map(uri).collect()
}

#[test]
fn a_playlist_and_all_that_it_lists_are_served_on_one_connection() {
    for runtime in [Runtime::Smol, Runtime::Std] {
        let program = Launch::of(runtime).with_web().start();
        let _encoder = publish(&program, "live/cam");
        let mut socket = connect(web_address(&program));
        let (status, head, body) = get(&mut socket, "/live/cam.m3u8");
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("Content-Type: application/vnd.apple.mpegurl\r\n"), "{head}");
        assert!(head.contains("Access-Control-Allow-Origin: *\r\n"), "{head}");
        let playlist = String::from_utf8(body).expect("it is text");
        let found = uris(&playlist);
        assert!(found.len() >= 3, "{playlist}");
        for uri in found {
            // The last one is a part that comes next: its answer waits for it.
            let (status, head, body) = get(&mut socket, &format!("/live/{uri}"));
            assert!(status == 200 && body.len() > 100, "{uri}: {head}");
            assert!(head.contains(", immutable\r\n"), "{head}");
        }
        let newest = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse::<u64>().ok());
        let next = newest.expect("it has a number") + playlist.matches("#EXTINF").count() as u64;
        let (status, _, body) = get(&mut socket, &format!("/live/cam.m3u8?_HLS_msn={next}"));
        let playlist = String::from_utf8(body).expect("it is text");
        assert!(status == 200 && playlist.contains(&format!("\ncam/{next}-")), "{playlist}");
        let (status, _, body) = get(&mut socket, "/live/cam.mpd");
        let manifest = String::from_utf8(body).expect("it is text");
        assert!(status == 200 && manifest.matches("<SegmentTemplate ").count() == 2, "{manifest}");
        let (status, ..) = get(&mut socket, "/live/cam/1-00000000000000000000000000000000.m4s");
        assert_eq!(status, 404);
        // It is a player like others.
        program.wait_players("live/cam", 1);
    }
}

/// Plays with FFmpeg, for a minute at most. Returns the lines for each frame.
fn ffmpeg_plays(address: &str, options: &[&str]) -> (String, String) {
    let mut ffmpeg = Command::new("timeout");
    ffmpeg.args(["60", "ffmpeg", "-v", "error", "-i", address]).args(options).args(["-f", "framecrc", "-"]);
    let played = ffmpeg.stdin(Stdio::null()).output().expect("ffmpeg");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&played.stdout), text(&played.stderr))
}

fn frames(lines: &str, of: &str) -> usize {
    lines.lines().filter(|line| line.starts_with(of)).count()
}

#[test]
fn ffmpeg_plays_hls_and_dash() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let web = web_address(&program);
    let _encoder = publish(&program, "live/cam");
    let (lines, complaints) = ffmpeg_plays(&format!("http://{web}/live/cam.m3u8"), &["-t", "4"]);
    assert!(frames(&lines, "0,") >= 90 && frames(&lines, "1,") >= 150, "{complaints}\n{lines}");
    let (lines, complaints) = ffmpeg_plays(&format!("http://{web}/live/cam.mpd"), &["-t", "6"]);
    assert!(frames(&lines, "0,") >= 140 && frames(&lines, "1,") >= 240, "{complaints}\n{lines}");
}

#[test]
fn ffmpeg_plays_dash_over_a_republish() {
    for runtime in [Runtime::Smol, Runtime::Std] {
        let program = Launch::of(runtime).with_web().start();
        let web = web_address(&program);
        let encoder = publish(&program, "live/cam");
        let mut socket = connect(web);
        let (status, ..) = get(&mut socket, "/live/cam.mpd");
        assert_eq!(status, 200);
        let address = format!("http://{web}/live/cam.mpd");
        let player = std::thread::spawn(move || ffmpeg_plays(&address, &["-c", "copy", "-t", "16"]));
        program.wait_players("live/cam", 2);
        // One that plays has read what there is, and asks for what comes next.
        program.process.wait_for("more of it", || {
            let (_, _, body) = get(&mut socket, "/live/cam.mpd");
            (String::from_utf8_lossy(&body).matches("<S ").count() >= 6).then_some(())
        });
        drop(encoder);
        program.wait_publishers("live/cam", 0);
        let _encoder = publish(&program, "live/cam");
        let (lines, complaints) = player.join().expect("it ends");
        let times = |of: &str| -> Vec<i64> {
            let lines = lines.lines().filter(|line| line.starts_with(of));
            lines.filter_map(|line| line.split(',').nth(1)?.trim().parse().ok()).collect()
        };
        for (of, least) in [("0,", 250), ("1,", 400)] {
            let times = times(of);
            let back = times.windows(2).filter(|pair| pair[0] >= pair[1]).count();
            assert!(times.len() >= least && back == 0, "{back} of {} back: {complaints}", times.len());
        }
    }
}

#[test]
fn gstreamer_plays_hls() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let web = web_address(&program);
    let _encoder = publish(&program, "live/cam");
    // hlsdemux2 of GStreamer 1.22 does not get beyond the first playlist if that has one segment only: it does not look
    // for the first segment of one playlist in the next.
    let mut socket = connect(web);
    let (_, _, body) = get(&mut socket, "/live/cam.m3u8");
    let playlist = String::from_utf8(body).expect("it is text");
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse::<u64>().ok());
    let second = first.expect("it has a number") + 1;
    let (status, ..) = get(&mut socket, &format!("/live/cam.m3u8?_HLS_msn={second}"));
    assert_eq!(status, 200);
    let uri = format!("uri=http://{web}/live/cam.m3u8");
    let sinks = ["video-sink=fakesink num-buffers=50", "audio-sink=fakesink num-buffers=50"];
    let mut player = Command::new("timeout");
    player.args(["60", "gst-launch-1.0", "-q", "playbin3", &uri]).args(sinks);
    let player =
        player.env("GST_PLUGIN_FEATURE_RANK", "hlsdemux2:MAX").stdin(Stdio::null()).output().expect("gstreamer");
    let complaints = String::from_utf8_lossy(&player.stderr).into_owned();
    assert!(player.status.success(), "{}: {complaints}", player.status);
}
