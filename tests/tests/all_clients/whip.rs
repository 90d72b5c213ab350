//! FFmpeg 9 publishes by WHIP.

use std::path::Path;
use std::process::Command;

use anabranch_tests::media::{Mark, TagKind, TestPicture, tags};
use anabranch_tests::program::{Launch, Process, Runtime};
use anabranch_tests::{Folder, TIMEOUT};

use super::ffmpeg_9::ffmpeg_9;
use super::mpv;

/// The numbers of the pictures in a file, see [`Mark::Frame`].
pub(crate) fn numbers_in(file: &Path) -> Vec<u64> {
    let (width, height, block) = (320, 180, 20);
    let file = file.to_str().expect("paths of tests are UTF-8");
    let arguments = ["-nostdin", "-v", "error", "-i", file, "-map", "0:v", "-fps_mode", "passthrough"];
    let output = Command::new("ffmpeg").args(arguments).args(["-f", "rawvideo", "-pix_fmt", "gray", "-"]).output();
    let pictures = output.expect("ffmpeg is there").stdout;
    let number = |picture: &[u8]| {
        let row = &picture[width * block / 2..];
        (0..16).filter(|&bit| row[bit * block + block / 2] > 127).map(|bit| 1 << bit).sum()
    };
    pictures.chunks_exact(width * height).map(number).collect()
}

/// Pictures with their numbers, and sound, as WebRTC has them.
fn numbered(ffmpeg: &str) -> TestPicture<'_> {
    TestPicture {
        ffmpeg,
        mark: Mark::Frame,
        video: &["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"],
        sound: &["-c:a", "libopus", "-ac", "2", "-ar", "48000"],
    }
}

#[test]
fn mpv_plays_by_rtmp_what_ffmpeg_9_publishes_by_whip() {
    let folder = Folder::new();
    let mut program = Launch::of(Runtime::Smol).with_rtc().start();
    let ffmpeg = ffmpeg_9();
    let picture = numbered(&ffmpeg);
    let publisher = picture.publish_as("whip", &format!("http://{}/live/cam/whip", program.web()), &["-t", "15"]);
    program.wait_publishers("live/cam", 1);
    let url = program.url("live/cam");
    let (mpv, mut control) = mpv::start_at(&mut program, &folder, &url, &[]);
    control.wait_picture(150);
    assert_eq!(control.property("video-params/w"), 320);
    assert_eq!(control.property("decoder-frame-drop-count"), 0);
    let complaints: Vec<_> = mpv.lines_with("rror").into_iter().map(|line| line.text).collect();
    assert_eq!(complaints, [""; 0], "mpv complains");
    publisher.wait_success(TIMEOUT);
}

#[test]
fn what_ffmpeg_9_publishes_by_whip_is_played_by_rtmp_and_hls_and_is_recorded() {
    let folder = Folder::new();
    let recordings = folder.file("recordings").display().to_string();
    let settings = format!("[defaults.record]\nstreams = ['*']\nformat = 'mp4'\nfolder = '{recordings}'\n");
    let program = Launch::of(Runtime::Smol).with_rtc().settings(&settings).start();
    let url = format!("http://{}/live/cam/whip", program.web());
    let ffmpeg = ffmpeg_9();
    let picture = numbered(&ffmpeg);
    let publisher = picture.publish_as("whip", &url, &["-t", "12"]);
    program.wait_publishers("live/cam", 1);
    let (dumped, played) = (folder.file("rtmpdump.flv"), folder.file("ffmpeg.flv"));
    let players = [program.rtmpdump("live/cam", &dumped), program.ffmpeg("live/cam", &played)];
    // HLS and its viewer: H.264 and Opus.
    let playlist = format!("http://{}/live/cam.m3u8", program.web());
    let probe = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", &playlist];
    let codecs = Process::run("ffprobe", probe).join(" ");
    assert!(codecs.contains("h264") && codecs.contains("opus"), "{codecs}");
    publisher.wait_success(TIMEOUT);
    for player in &players {
        player.wait_exit(TIMEOUT);
    }
    for file in [dumped, played] {
        let numbers = numbers_in(&file);
        let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "{}", file.display());
        assert!(numbers.len() >= 30 * 5, "{} pictures in {}", numbers.len(), file.display());
        // They do not say that they play Opus.
        assert!(tags(&file).iter().all(|tag| tag.kind != TagKind::Audio), "sound in {}", file.display());
    }
    program.finish();
    let files = Process::run("find", [&*recordings, "-name", "*.mp4"]);
    let probe = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", &files[0]];
    let codecs = Process::run("ffprobe", probe).join(" ");
    assert!(codecs.contains("h264") && codecs.contains("opus"), "{codecs}");
}
