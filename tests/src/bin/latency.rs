//! Measures how old the picture is that a browser shows: ffmpeg publishes a picture with the machine's clock in it to a server
//! on this machine, Chromium plays it, and the clock is read back from what it shows, ten seconds after the start and for ten
//! seconds. The group of pictures has two seconds. Prints the median and the 95th percentile for each form.
//!
//! ```text
//! cargo run --release --package anabranch-tests --bin latency
//! ```
//!
//! The players of others come from npm: `npm install --prefix target/npm hls.js@1.7.4 mpegts.js@1.8.2`.

use std::fs;

use anabranch_tests::browser::{Browser, Look, Pages, npm};
use anabranch_tests::media::{Mark, READ_MARK, test_picture};
use anabranch_tests::program::{Launch, Program, Runtime};
use serde_json::{Value, json};

/// Milliseconds of playing before and while it is measured.
const BEFORE: u32 = 10_000;
const WHILE: u32 = 10_000;

/// A page with a player from npm.
const PAGE: &str = "<!doctype html><video muted></video><script src=library.js></script>";

fn main() {
    let program = Launch::of(Runtime::Smol).with_rtc().start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Clock, &[]);
    program.wait_publishers("live/cam", 1);
    println!("{:<32} {:>10} {:>10} {:>8}", "player", "median, ms", "95 %, ms", "frames");
    for (name, form) in [("ours, WebRTC", "webrtc"), ("ours, WebSocket", "websocket"), ("ours, HTTP", "http")] {
        let mut browser = Browser::chromium(Look::DESK);
        browser.open(&format!("http://{}/watch/live/cam?form={form}", program.web()));
        measure(name, &mut browser);
    }
    webrtc_both_ways(&program);
    for scheme in ["http", "ws"] {
        let source =
            json!({ "type": "flv", "isLive": true, "url": format!("{scheme}://{}/live/cam.flv", program.web()) });
        let options = json!({
            "enableStashBuffer": false, "lazyLoad": false,
            "liveBufferLatencyChasing": true, "liveBufferLatencyMaxLatency": 0.5, "liveBufferLatencyMinRemain": 0.15,
        });
        stranger(
            &format!("mpegts.js, FLV by {scheme}"),
            "mpegts.js/dist/mpegts.js",
            &format!(
                "window.player = mpegts.createPlayer({source}, {options}); player.attachMediaElement(video); player.load();"
            ),
        );
    }
    let playlist = format!("http://{}/live/cam.m3u8", program.web());
    // The first viewer, and one of a stream that others watch already.
    for name in ["hls.js, LL-HLS, first viewer", "hls.js, LL-HLS"] {
        stranger(
            name,
            "hls.js/dist/hls.js",
            &format!(
                "window.player = new Hls({{ lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.5 }}); player.loadSource({}); player.attachMedia(video);",
                json!(playlist)
            ),
        );
    }
}

/// Chromium publishes a clock by WHIP, another Chromium plays it by WHEP.
fn webrtc_both_ways(program: &Program) {
    let mut publisher = Browser::chromium(Look::DESK);
    publisher.open(&format!("http://{}/watch/", program.web()));
    publisher.value(&format!(
        "(async () => {{ const {{ publish }} = await import('/assets/webrtc.js'); \
         const canvas = document.body.appendChild(document.createElement('canvas')); \
         [canvas.width, canvas.height] = [320, 180]; const context = canvas.getContext('2d'); \
         setInterval(() => {{ const now = Date.now() % 65536; context.fillStyle = '#456'; \
             context.fillRect(0, 20, 320, 160); \
             for (let bit = 0; bit < 16; bit += 1) {{ context.fillStyle = now & 2 ** bit ? '#fff' : '#000'; \
                 context.fillRect(bit * 20, 0, 20, 20); }} }}, 1000 / 30); \
         const media = canvas.captureStream(30); \
         await new Promise((connected, gone) => publish({}, media, {{ connected, gone }})); }})()",
        json!(format!("http://{}/live/canvas/whip", program.web()))
    ));
    program.wait_publishers("live/canvas", 1);
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&format!("http://{}/watch/live/canvas?form=webrtc", program.web()));
    measure("WHIP to WHEP, both in Chromium", &mut browser);
}

/// A player of others on a page of another origin; `script` starts it in `video`.
fn stranger(name: &str, library: &str, script: &str) {
    let library = match fs::read(npm(library)) {
        Ok(library) => library,
        Err(error) => return println!("{name:<32} {library}: {error}"),
    };
    let pages = Pages::start(vec![("/", "text/html", PAGE.into()), ("/library.js", "text/javascript", library)]);
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&pages.url("/"));
    browser.value(&format!("(() => {{ const video = document.querySelector('video'); {script} video.play(); }})()"));
    measure(name, &mut browser);
}

fn measure(name: &str, browser: &mut Browser) {
    browser.wait("moving picture", "document.querySelector('video')?.currentTime > 0");
    let ages = browser.value(&format!(
        "new Promise(done => {{ const video = document.querySelector('video'); const ages = []; \
         const begun = performance.now(); \
         const next = () => {{ const passed = performance.now() - begun; \
         const shown = Date.now(); \
         const mark = passed > {BEFORE} ? {READ_MARK} : null; \
         if (mark !== null) ages.push((shown % 65536 - mark + 65536) % 65536); \
         if (passed < {BEFORE} + {WHILE}) video.requestVideoFrameCallback(next); else done(ages); }}; \
         video.requestVideoFrameCallback(next); }})"
    ));
    let mut ages: Vec<f64> = ages.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    ages.sort_by(f64::total_cmp);
    let at = |part: usize| ages.get(ages.len() * part / 100).copied().unwrap_or(f64::NAN);
    println!("{name:<32} {:>10.0} {:>10.0} {:>8}", at(50), at(95), ages.len());
}
