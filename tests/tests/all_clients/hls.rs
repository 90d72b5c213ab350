//! HLS over a real publisher, in players that are no browsers: each shows picture after picture, with sound.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anabranch_tests::media::Publication;
use anabranch_tests::program::{Launch, Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::{mpv, vlc};

fn begin(folder: &Folder) -> (Program, Publication, String) {
    let server = Launch::of(Runtime::Smol).with_web().start();
    let publisher = Publication::of_clip(&server, "live/cam", &super::LONG, folder);
    server.wait_publishers("live/cam", 1);
    let web: SocketAddr = server.web();
    (server, publisher, format!("http://{web}/live/cam.m3u8"))
}

/// Pictures that VLC has written.
fn pictures(folder: &Path) -> usize {
    fs::read_dir(folder).expect("the folder is there").count()
}

#[test]
fn vlc_plays_hls() {
    let folder = Folder::new();
    let (server, publisher, url) = begin(&folder);
    let shown = folder.file("shown");
    fs::create_dir(&shown).expect("the folder can be written");
    fs::set_permissions(&shown, fs::Permissions::from_mode(0o777)).expect("permissions can be changed");
    // Each thirtieth picture that it shows becomes a file.
    let scene = ["--video-filter", "scene", "--scene-format", "png", "--scene-ratio", "30", "--scene-path"];
    let outputs = ["--vout", "dummy", "--aout", "dummy", "-vv"];
    let line = [&outputs[..], &scene, &[shown.to_str().expect("UTF-8"), &url, "vlc://quit"]].concat();
    let player = vlc::start(&folder, &line);
    server.wait_players("live/cam", 1);
    // Twelve seconds are more than the segments that are there when it begins.
    wait_for("twelve seconds in VLC", TIMEOUT, || (pictures(&shown) >= 12).then_some(()));
    assert!(!player.lines_with("mp4a").is_empty(), "it decodes the sound");
    player.terminate();
    player.wait_exit(TIMEOUT);
    drop(publisher);
    server.stop();
}

#[test]
fn mpv_plays_hls() {
    let folder = Folder::new();
    let (mut server, publisher, url) = begin(&folder);
    let (player, mut control) = mpv::start_at(&mut server, &folder, &url, &[]);
    control.wait_picture(360);
    assert_eq!(control.property("video-params/w"), 320);
    assert_eq!(control.property("audio-params/samplerate"), 44_100);
    let complaints: Vec<_> = player.lines_with("rror").into_iter().map(|line| line.text).collect();
    assert_eq!(complaints, [""; 0], "mpv complains");
    player.terminate();
    player.wait_exit(TIMEOUT);
    drop(publisher);
    server.stop();
}

#[test]
fn gstreamer_plays_hls_for_a_while() {
    let folder = Folder::new();
    let (server, publisher, url) = begin(&folder);
    // hlsdemux2 of GStreamer 1.22 does not get beyond the first playlist if that has one segment only.
    let mut segments = 0;
    while segments < 2 {
        let playlist = Process::run("curl", ["-s", &url]);
        segments = playlist.iter().filter(|line| line.starts_with("#EXTINF")).count();
    }
    let sinks = ["video-sink=fakesink num-buffers=360", "audio-sink=fakesink num-buffers=500"];
    let line = ["GST_PLUGIN_FEATURE_RANK=hlsdemux2:MAX", "gst-launch-1.0", "-q", "playbin3", &format!("uri={url}")];
    let player = Process::start("env", line.iter().chain(&sinks));
    player.wait_success(TIMEOUT);
    drop(publisher);
    server.stop();
}
