//! MPEG-DASH: dash.js and Shaka Player, from npm, on a page of another origin.

use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::media::{Mark, READ_MARK, test_picture};
use anabranch_tests::program::{Launch, Runtime};
use serde_json::json;

use crate::player::{assert_published, frames, wait_playing};
use crate::strangers::page_with;

/// Two players beside each other see a publication end and another one begin. `play` begins to play `url` in `video`.
fn play_over_a_republish(players: [(&str, &str); 2]) {
    let program = Launch::of(Runtime::Smol).with_web().settings("[defaults.hls]\ntarget = '2s'\n").start();
    let publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let url = json!(format!("http://{}/live/cam.mpd", program.web()));
    let mut browsers = Vec::new();
    for (library, play) in players {
        let pages = page_with(library);
        let mut browser = Browser::chromium(Look::DESK);
        browser.open(&pages.url("/"));
        browser.value(&format!("(() => {{ const url = {url}, video = document.querySelector('video'); {play} }})()"));
        browsers.push((browser, pages));
    }
    for (browser, _) in &mut browsers {
        wait_playing(browser);
        assert_published(&frames(browser, 30));
        browser.wait("sound", "document.querySelector('video').webkitAudioDecodedByteCount");
    }
    drop(publisher);
    program.wait_publishers("live/cam", 0);
    // Its numbers begin at zero again, and so does its clock.
    let last = browsers.iter_mut().map(|(browser, _)| browser.number(READ_MARK)).fold(f64::INFINITY, f64::min);
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    for (browser, _) in &mut browsers {
        let sound = browser.number("document.querySelector('video').webkitAudioDecodedByteCount");
        browser.wait("pictures of the second publication", &format!("{READ_MARK} < {last} - 30"));
        assert_published(&frames(browser, 30));
        browser.wait("its sound", &format!("document.querySelector('video').webkitAudioDecodedByteCount > {sound}"));
        assert_eq!(browser.faults(), [""; 0]);
    }
}

#[test]
fn dash_js_and_shaka_player_play_dash_over_a_republish() {
    let dash_js = "window.player = dashjs.MediaPlayer().create(); \
                   player.updateSettings({ debug: { logLevel: dashjs.Debug.LOG_LEVEL_NONE } }); \
                   player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => console.error('fatal', error?.message)); \
                   player.initialize(video, url, true);";
    let shaka = "window.player = new shaka.Player(); \
                 player.addEventListener('error', ({ detail }) => console.error('fatal', detail.code)); \
                 player.attach(video).then(() => player.load(url)).then(() => video.play()) \
                 .catch((error) => console.error('fatal', String(error)));";
    play_over_a_republish([
        ("dashjs/dist/modern/umd/dash.all.min.js", dash_js),
        ("shaka-player/dist/shaka-player.compiled.js", shaka),
    ]);
}
