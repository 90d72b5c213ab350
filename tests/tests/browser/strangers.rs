//! Players of others, from npm, on a page of another origin.

use std::fs;

use anabranch_tests::browser::{Browser, Look, Pages, npm};
use anabranch_tests::media::{Mark, test_picture};
use anabranch_tests::program::{Launch, Runtime};
use serde_json::json;

use crate::player::{assert_published, frames, wait_playing};

/// A page that another project could have.
const PAGE: &str = "<!doctype html><video muted></video><script src=library.js></script>";

fn page_with(library: &str) -> Pages {
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
