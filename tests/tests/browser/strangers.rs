//! Players of others, from npm, on a page of another origin.

use std::fs;

use anabranch_tests::browser::{Browser, Look, Pages, npm};
use anabranch_tests::media::{Mark, test_picture};
use anabranch_tests::program::{Launch, Process, Runtime};
use serde_json::json;

use crate::player::{assert_published, frames, wait_playing};

/// A page that another project could have.
const PAGE: &str = "<!doctype html><video muted></video><script src=library.js></script>";

pub(crate) fn page_with(library: &str) -> Pages {
    let library = fs::read(npm(library)).expect("a library that tests/run installs");
    Pages::start(vec![
        ("/", "text/html", PAGE.into()),
        ("/library.js", "text/javascript", library),
        ("/favicon.ico", "image/x-icon", Vec::new()),
    ])
}

#[test]
fn mpegts_js_plays_flv_by_http_and_by_web_socket() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let pages = page_with("mpegts.js/dist/mpegts.js");
    for scheme in ["http", "ws"] {
        let mut browser = Browser::chromium(Look::DESK);
        browser.open(&pages.url("/"));
        let source =
            json!({ "type": "flv", "isLive": true, "url": format!("{scheme}://{}/live/cam.flv", program.web()) });
        browser.value(&format!(
            "(() => {{ window.player = mpegts.createPlayer({source}, {{ enableStashBuffer: false, lazyLoad: false }}); \
             player.on(mpegts.Events.ERROR, (...words) => console.error(...words)); \
             player.attachMediaElement(document.querySelector('video')); player.load(); player.play(); }})()"
        ));
        wait_playing(&mut browser);
        assert_published(&frames(&mut browser, 30));
        browser.wait("sound", "document.querySelector('video').webkitAudioDecodedByteCount");
        assert_eq!(browser.faults(), [""; 0]);
    }
}

#[test]
fn mpegts_js_plays_streams_without_sound_and_without_pictures() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"];
    let sound = ["-f", "lavfi", "-i", "sine", "-c:a", "aac"];
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];
    let cases = [
        ("both", [&picture[..], &sound, &encoder].concat()),
        ("silent", [&picture[..], &encoder].concat()),
        ("audio", sound.to_vec()),
    ];
    let mut publishers = Vec::new();
    let mut names = Vec::new();
    for (media, input) in &cases {
        for flags in ["no_duration_filesize", "no_duration_filesize+no_metadata"] {
            let name = format!("{media}{}", names.len());
            let url = program.url(&format!("live/{name}"));
            let end = ["-t", "60", "-flvflags", flags, "-f", "flv", &url];
            publishers.push(Process::start("ffmpeg", [&["-v", "error", "-re"][..], input, &end].concat()));
            names.push(name);
        }
    }
    let pages = page_with("mpegts.js/dist/mpegts.js");
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&pages.url("/"));
    browser.value(&format!(
        "(() => {{ mpegts.LoggingControl.enableAll = false; \
         window.players = {names}.map((name) => {{ const video = document.createElement('video'); video.muted = true; \
         document.body.append(video); const url = `http://{web}/live/${{name}}.flv`; \
         const player = mpegts.createPlayer({{ type: 'flv', isLive: true, url }}, \
         {{ enableStashBuffer: false, lazyLoad: false }}); \
         player.on(mpegts.Events.ERROR, (...words) => console.error(name, ...words)); \
         player.attachMediaElement(video); player.load(); player.play(); return video; }}); }})()",
        names = json!(names),
        web = program.web(),
    ));
    browser.wait("all of them", "players.every((video) => video.currentTime > 1)");
    assert_eq!(browser.faults(), [""; 0]);
}
