//! Several qualities of a stream in hls.js: it sees all of them, and goes on with the next picture in another one.

use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::media::{Mark, test_picture};
use anabranch_tests::program::{Launch, Runtime};

use crate::hls::watch;
use crate::player::{assert_published, frames};
use crate::strangers::page_with;

/// A program of the server makes the other quality: pictures of a quarter of the size.
const SETTINGS: &str = "[defaults.hls]\nrenditions = ['_small']\n\
    [[defaults.run]]\nstreams = ['live/cam']\n\
    command = ['ffmpeg', '-nostdin', '-v', 'error', '-copyts', '-i', '{input}', '-c:v', 'libx264', '-preset', 'ultrafast', \
    '-tune', 'zerolatency', '-s', '160x90', '-force_key_frames', 'source', '-c:a', 'copy', '-f', 'flv', \
    '{output:{stream}_small}']\n";

#[test]
fn hls_js_changes_the_quality_and_goes_on_with_the_next_picture() {
    let program = Launch::of(Runtime::Smol).with_web().settings(SETTINGS).start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    program.wait_publishers("live/cam_small", 1);
    let mut browser = Browser::chromium(Look::DESK);
    let pages = page_with("hls.js/dist/hls.js");
    watch(&mut browser, &pages.url("/"), &program, "{ lowLatencyMode: true }");
    let names = "hls.levels.map(level => `${level.width}x${level.height}`).sort().join()";
    assert_eq!(browser.text(names), "160x90,320x180");
    let mut shown = Vec::new();
    for width in [160, 320, 160] {
        browser.value(&format!("hls.currentLevel = hls.levels.findIndex(level => level.width === {width}), null"));
        browser.wait("the other quality", &format!("document.querySelector('video').videoWidth === {width}"));
        shown.extend(frames(&mut browser, 20));
    }
    // The picture of a time is the same in all qualities.
    assert_published(&shown);
    assert_eq!(browser.faults(), [""; 0]);
    program.wait_players("live/cam", 2);
}
