//! Codecs of FFmpeg 9 in Chromium: the page to watch plays what the browser can decode, and says what it cannot; so does hls.js.

use anabranch_tests::browser::{Browser, Look, Pages, npm};
use anabranch_tests::media::{READ_MARK, TestPicture};
use anabranch_tests::program::{Launch, Runtime};

use super::ffmpeg_9::ffmpeg_9;

const OPUS: &[&str] = &["-c:a", "libopus", "-b:a", "64k"];
const FLAC: &[&str] = &["-c:a", "flac"];
const AV1: &[&str] = &["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "pred-struct=1"];
const VP9: &[&str] = &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "500k"];
const HEVC: &[&str] =
    &["-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-x265-params", "log-level=none"];

/// The numbers in the picture rise, and sound is decoded.
fn wait_pictures_and_sound(browser: &mut Browser) {
    browser.wait("picture", &format!("{READ_MARK} > 0"));
    let first = browser.number(READ_MARK);
    browser.wait("later picture", &format!("{READ_MARK} >= {first} + 60"));
    browser.wait("sound", "document.querySelector('video').webkitAudioDecodedByteCount");
    assert_eq!(browser.faults(), [""; 0]);
}

/// The page and hls.js play these codecs, or the page says that the browser cannot.
fn plays(video: &[&str], sound: &[&str], is_decoded: bool) {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let ffmpeg = ffmpeg_9();
    let picture = TestPicture { ffmpeg: &ffmpeg, video, sound, ..TestPicture::default() };
    let _publisher = picture.publish(&program.url("live/cam"), &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&format!("http://{}/watch/live/cam", program.web()));
    if !is_decoded {
        browser.wait("words", "document.querySelector('.screen')?.dataset.state === 'unsupported'");
        let words = browser.text("document.querySelector('.screen-status').innerText");
        assert_eq!(words, "This browser cannot play the codecs of this stream.");
        return;
    }
    wait_pictures_and_sound(&mut browser);
    let page = "<!doctype html><video muted></video><script src=library.js></script>";
    let library = std::fs::read(npm("hls.js/dist/hls.js")).expect("a library that tests/run installs");
    let pages = Pages::start(vec![
        ("/", "text/html", page.into()),
        ("/library.js", "text/javascript", library),
        ("/favicon.ico", "image/x-icon", Vec::new()),
    ]);
    browser.open(&pages.url("/"));
    browser.value(&format!(
        "(() => {{ window.hls = new Hls({{ lowLatencyMode: true }}); const video = document.querySelector('video'); \
         hls.on(Hls.Events.ERROR, (_, {{ fatal, details }}) => fatal && console.error('fatal', details)); \
         hls.loadSource('http://{}/live/cam.m3u8'); hls.attachMedia(video); video.play(); }})()",
        program.web()
    ));
    wait_pictures_and_sound(&mut browser);
}

#[test]
fn chromium_plays_av1_and_opus() {
    plays(AV1, OPUS, true);
}

#[test]
fn chromium_plays_vp9_and_opus() {
    plays(VP9, OPUS, true);
}

#[test]
fn chromium_plays_h264_and_flac() {
    plays(TestPicture::default().video, FLAC, true);
}

/// Chromium of Debian decodes HEVC only with a processor for it.
#[test]
fn the_page_says_that_chromium_cannot_play_hevc() {
    plays(HEVC, TestPicture::default().sound, false);
}
