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
fn mpegts_js_plays_what_is_there_before_and_after_publish() {
    let program = Launch::of(Runtime::Smol).with_web().settings("[web]\nwait = '60s'\n").start();
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"];
    let sound = ["-f", "lavfi", "-i", "sine", "-c:a", "aac"];
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];
    let cases = [
        ("both", [&picture[..], &sound, &encoder].concat()),
        ("silent", [&picture[..], &encoder].concat()),
        ("audio", sound.to_vec()),
    ];
    let flags = ["no_duration_filesize", "no_duration_filesize+no_metadata"];
    let all: Vec<_> = cases.iter().flat_map(|(media, input)| flags.map(|flags| (*media, input, flags))).collect();
    let names: Vec<_> = (0..).zip(&all).map(|(number, (media, ..))| format!("{media}{number}")).collect();
    let pages = page_with("mpegts.js/dist/mpegts.js");
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&pages.url("/"));
    browser.value("(() => { mpegts.LoggingControl.enableAll = false; window.videos = {}; })()");
    let play = |browser: &mut Browser, scheme: &str| {
        browser.value(&format!(
            "{names}.forEach((name) => {{ const video = document.createElement('video'); video.muted = true; \
             document.body.append(video); const url = `{scheme}://{web}/live/${{name}}.flv`; \
             const player = mpegts.createPlayer({{ type: 'flv', isLive: true, url }}, \
             {{ enableStashBuffer: false, lazyLoad: false }}); \
             player.on(mpegts.Events.ERROR, (...words) => console.error(url, ...words)); \
             player.attachMediaElement(video); player.load(); player.play(); videos[url] = video; }})",
            names = json!(names),
            web = program.web(),
        ));
    };
    // Chromium has six connections to a host, and as many players by HTTP. By WebSocket there may be more.
    play(&mut browser, "http");
    for name in &names {
        program.wait_players(&format!("live/{name}"), 1);
    }
    let publish = |((_, input, flags), name): (&(&str, &Vec<&str>, &str), &String)| {
        let url = program.url(&format!("live/{name}"));
        let end = ["-t", "60", "-flvflags", flags, "-f", "flv", &url];
        Process::start("ffmpeg", [&["-nostdin", "-v", "error", "-re"][..], input, &end].concat())
    };
    let _publishers: Vec<_> = all.iter().zip(&names).map(publish).collect();
    for name in &names {
        program.wait_publishers(&format!("live/{name}"), 1);
    }
    play(&mut browser, "ws");
    let count = 2 * names.len();
    let late = "Object.keys(videos).filter((url) => !(videos[url].currentTime > 1))";
    browser.wait("players", &format!("Object.keys(videos).length === {count}"));
    browser.wait("picture or sound of all", &format!("{late}.length === 0"));
    // Pictures where there are some, and sound where there is some.
    let wrong = "Object.keys(videos).filter((url) => (videos[url].videoWidth > 0) === url.includes('audio') || \
                 (videos[url].webkitAudioDecodedByteCount > 0) === url.includes('silent'))";
    assert_eq!(browser.value(wrong), json!([]));
    assert_eq!(browser.faults(), [""; 0]);
}
