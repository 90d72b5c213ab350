//! HTTP Live Streaming: hls.js, from npm, on a page of another origin, and the player of the browser itself.

use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::media::{Mark, READ_MARK, test_picture};
use anabranch_tests::program::{Launch, Program, Runtime};
use serde_json::json;

use crate::player::{assert_published, frames, wait_playing};
use crate::strangers::page_with;

/// Opens a page whose hls.js plays the stream; errors that end the playback are faults of the page.
pub(crate) fn watch(browser: &mut Browser, page: &str, program: &Program, options: &str) {
    browser.open(page);
    let playlist = json!(format!("http://{}/live/cam.m3u8", program.web()));
    browser.value(&format!(
        "(() => {{ window.hls = new Hls({options}); \
         hls.on(Hls.Events.ERROR, (_, {{ fatal, details }}) => fatal && console.error('fatal', details)); \
         const video = document.querySelector('video'); \
         hls.loadSource({playlist}); hls.attachMedia(video); video.play(); }})()"
    ));
    wait_playing(browser);
}

fn plays(mut browser: Browser, options: &str) {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let pages = page_with("hls.js/dist/hls.js");
    watch(&mut browser, &pages.url("/"), &program, options);
    assert_published(&frames(&mut browser, 30));
    // Chromium and Firefox say it in different ways.
    let video = "document.querySelector('video')";
    browser.wait("sound", &format!("{video}.webkitAudioDecodedByteCount || {video}.mozHasAudio"));
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn hls_js_plays_hls() {
    plays(Browser::chromium(Look::DESK), "{ lowLatencyMode: false }");
}

#[test]
fn hls_js_plays_ll_hls() {
    plays(Browser::chromium(Look::DESK), "{ lowLatencyMode: true }");
}

#[test]
fn hls_js_plays_ll_hls_in_firefox() {
    plays(Browser::firefox(), "{ lowLatencyMode: true }");
}

#[test]
fn hls_js_and_the_page_go_on_each_time_the_publisher_comes_again() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let sizes = ["320x180", "640x360"];
    let publish = |size| test_picture(&program.url("live/cam"), Mark::Frame, &["-g", "30", "-s", size]);
    let mut publisher = publish(sizes[0]);
    program.wait_publishers("live/cam", 1);
    let pages = page_with("hls.js/dist/hls.js");
    let mut browsers = [Browser::chromium(Look::DESK), Browser::chromium(Look::DESK)];
    watch(&mut browsers[0], &pages.url("/"), &program, "{ lowLatencyMode: true }");
    browsers[1].open(&format!("http://{}/watch/live/cam", program.web()));
    wait_playing(&mut browsers[1]);
    for round in 1..4 {
        drop(publisher);
        program.process.wait_lines(", publisher of live/cam", round);
        // hls.js has read the playlist without a publisher.
        browsers[0]
            .wait("announcement of the next publisher", "hls.levels[0].details?.m3u8.endsWith('DISCONTINUITY\\n')");
        publisher = publish(sizes[round % 2]);
        program.wait_publishers("live/cam", round + 1);
        let width = [320, 640][round % 2];
        for browser in &mut browsers {
            let is_new = format!("document.querySelector('video').videoWidth === {width}");
            browser.wait("picture of the new publisher", &is_new);
            wait_playing(browser);
        }
    }
    for mut browser in browsers {
        assert_eq!(browser.faults(), [""; 0]);
    }
}

#[test]
fn the_page_to_watch_plays_hls_where_the_browser_does() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&format!("http://{}/watch/live/cam?form=hls", program.web()));
    wait_playing(&mut browser);
    let source = browser.text("document.querySelector('video').src");
    assert!(source.ends_with("/live/cam.m3u8"), "{source}");
    let first = browser.number(READ_MARK);
    browser.wait("later picture", &format!("{READ_MARK} >= {first} + 30"));
    assert_eq!(browser.faults(), [""; 0]);
}
