//! A publisher of several tracks by Enhanced RTMP: each track of pictures is a quality in HLS, without transcoding.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anabranch_tests::program::{Launch, Process, Runtime};

use super::ffmpeg_9::ffmpeg_9;

/// Publishes pictures of two sizes, and sounds, for a minute.
fn publish(url: &str, sounds: usize) -> Process {
    let inputs = "-nostdin -v warning -re -f lavfi -i testsrc2=size=320x180:rate=25 -re -f lavfi -i testsrc2=size=160x90:rate=25";
    let sound = "-re -f lavfi -i sine=frequency=440 -re -f lavfi -i sine=frequency=880";
    let codecs = "-t 60 -pix_fmt yuv420p -c:v libx264 -preset ultrafast -g 25 -c:a aac -map 0 -map 1 -map 2";
    let more = if sounds > 1 { "-map 3" } else { "" };
    let words = [inputs, sound, codecs, more, "-f flv", url];
    Process::start(ffmpeg_9(), words.iter().flat_map(|words| words.split_whitespace()))
}

/// Sizes of the pictures and number of the tracks of sound that ffprobe finds, each in order.
fn found(web: SocketAddr) -> (Vec<String>, usize) {
    let entries = ["-show_entries", "stream=codec_type,width,height", "-of", "csv=p=0"];
    let mut ffprobe = Command::new("timeout");
    ffprobe.args(["60", "ffprobe", "-v", "error"]).args(entries).arg(format!("http://{web}/live/cam.m3u8"));
    let output = ffprobe.stdin(Stdio::null()).output().expect("ffprobe");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut sizes: Vec<_> = lines.lines().filter_map(|line| line.strip_prefix("video,")).map(str::to_owned).collect();
    sizes.sort();
    sizes.dedup();
    (sizes, lines.lines().filter(|line| line.starts_with("audio")).count())
}

#[test]
fn the_tracks_of_a_publisher_are_qualities() {
    for sounds in [1, 2] {
        let program = Launch::of(Runtime::Smol).with_web().start();
        let _publisher = publish(&program.url("live/cam"), sounds);
        program.wait_publishers("live/cam", 1);
        let (sizes, found) = found(program.web());
        assert_eq!(sizes, ["160,90", "320,180"]);
        assert!(found >= sounds, "{found} tracks of sound");
        // Each quality decodes.
        for picture in 0..2 {
            let url = format!("http://{}/live/cam.m3u8", program.web());
            let map = format!("0:v:{picture}");
            let mut ffmpeg = Command::new("timeout");
            ffmpeg.args(["60", "ffmpeg", "-v", "error", "-i", &url, "-map", &map, "-map", "0:a:0"]);
            ffmpeg.args(["-t", "4", "-f", "framecrc", "-"]);
            let played = ffmpeg.stdin(Stdio::null()).output().expect("ffmpeg");
            let lines = String::from_utf8_lossy(&played.stdout).into_owned();
            let frames = |of: &str| lines.lines().filter(|line| line.starts_with(of)).count();
            let complaints = String::from_utf8_lossy(&played.stderr).into_owned();
            assert!(frames("0,") >= 90 && frames("1,") >= 150, "{complaints}\n{lines}");
        }
        program.stop();
    }
}
