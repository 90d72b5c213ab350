//! Makes the pictures of the console and the player in the documents: the program with streams of ffmpeg, Chromium as a desk
//! and as a phone, in English and Chinese.
//!
//! ```text
//! cargo run --package anabranch-tests --bin pictures docs
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::program::{Launch, Process, Program, Runtime};

/// Streams: a name, the picture of ffmpeg, and whether it has sound.
const STREAMS: [(&str, &str, bool); 3] = [
    ("live/cam", "testsrc2=size=1280x720:rate=30", true),
    ("live/stage", "mandelbrot=size=640x360:rate=25", true),
    ("live/two", "smptehdbars=size=640x360:rate=25", false),
];
/// Milliseconds for charts of the bit rate.
const CHART: u32 = 30_000;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("the folder for the pictures"));
    let program = Launch::of(Runtime::Smol).with_web().settings("[api]\nlisten = '127.0.0.1:0'\n").start();
    let _publishers = STREAMS.map(|(name, picture, has_sound)| {
        let publisher = publish(&program.url(name), picture, has_sound);
        program.wait_publishers(name, 1);
        publisher
    });
    let url = program.url("live/cam");
    let _player = Process::start("ffmpeg", ["-nostdin", "-loglevel", "error", "-i", &url, "-f", "null", "-"]);
    program.wait_players("live/cam", 1);
    let chinese = Look { language: "zh-CN", is_dark: true, ..Look::PHONE };

    list(&program, Look { height: 860, ..Look::DESK }, &folder.join("console-desk.png"));
    list(&program, chinese, &folder.join("console-phone.png"));
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&format!("http://{}/", program.api()));
    browser.click(".picture-tools a");
    browser.wait("moving picture", "document.querySelector('video')?.currentTime > 1");
    pass(&mut browser, CHART);
    browser.picture(&folder.join("console-stream.png"), true);
    for (look, name) in [(Look { height: 720, ..Look::DESK }, "player-desk.png"), (chinese, "player-phone.png")] {
        let mut browser = Browser::chromium(look);
        browser.open(&format!("http://{}/watch/live/cam", program.web()));
        browser.wait("moving picture", "document.querySelector('.screen')?.dataset.state === 'playing'");
        pass(&mut browser, 2000);
        browser.picture(&folder.join(name), false);
    }
}

/// The list of streams, each with a picture.
fn list(program: &Program, look: Look, file: &Path) {
    let mut browser = Browser::chromium(look);
    browser.open(&format!("http://{}/", program.api()));
    let count = STREAMS.len();
    browser.wait("streams", &format!("document.querySelectorAll('button[data-t=take_picture]').length === {count}"));
    pass(&mut browser, CHART);
    browser.value("document.querySelectorAll('button[data-t=take_picture]').forEach(button => button.click())");
    browser.wait(
        "pictures",
        &format!("[...document.querySelectorAll('canvas.picture')].filter(one => !one.hidden).length === {count}"),
    );
    browser.picture(file, false);
}

/// Lets time pass in the page.
fn pass(browser: &mut Browser, milliseconds: u32) {
    assert!(Duration::from_millis(milliseconds.into()) < anabranch_tests::TIMEOUT);
    browser.value(&format!("new Promise(done => setTimeout(done, {milliseconds}))"));
}

fn publish(url: &str, picture: &str, has_sound: bool) -> Process {
    let mut line = vec!["-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", picture];
    if has_sound {
        line.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-c:a", "aac", "-ac", "2"]);
    }
    line.extend(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "60"]);
    line.extend(["-f", "flv", url]);
    Process::start("ffmpeg", line)
}
