use anabranch_tests::browser::{Browser, Look, Pages};
use anabranch_tests::media::{Mark, READ_MARK, test_picture};
use anabranch_tests::program::{Launch, Program, Runtime};
use anabranch_tests::{TIMEOUT, wait_for};
use serde_json::Value;

/// The program with HTTP and the API on free ports.
fn start_with_web(settings: &str) -> Program {
    let settings = format!("[api]\nlisten = '127.0.0.1:0'\n{settings}");
    Launch::of(Runtime::Smol).with_web().settings(&settings).start()
}

/// Waits until the video of the page moves.
pub(crate) fn wait_playing(browser: &mut Browser) {
    browser.wait(
        "moving picture",
        "document.querySelector('video')?.currentTime > 0 && !document.querySelector('video').paused",
    );
    let begun = browser.number("document.querySelector('video').currentTime");
    browser.wait("more of it", &format!("document.querySelector('video').currentTime > {begun} + 1"));
}

/// The numbers of the next frames that the browser shows, each with its time in the stream. A canvas has none before the
/// first picture.
pub(crate) fn frames(browser: &mut Browser, count: usize) -> Vec<(f64, f64)> {
    let read = format!(
        "new Promise(done => {{ const video = document.querySelector('video'); const frames = []; \
         const next = (_, {{ mediaTime }}) => {{ const mark = {READ_MARK}; \
         if (mark !== null) frames.push([mark, mediaTime]); \
         if (frames.length < {count}) video.requestVideoFrameCallback(next); else done(frames); }}; \
         video.requestVideoFrameCallback(next); }})"
    );
    let frames = browser.value(&read);
    let pair = |frame: &Value| (frame[0].as_f64().expect("a number"), frame[1].as_f64().expect("a time"));
    frames.as_array().expect("frames").iter().map(pair).collect()
}

/// The picture that is shown at a time is the one that was published for that time: 30 a second.
pub(crate) fn assert_published(frames: &[(f64, f64)]) {
    // A canvas on a busy machine is read later than the call that told of a picture, never earlier: half a second at most.
    let place = |&(number, time): &(f64, f64)| number - time * 30.0;
    let first = frames.iter().map(place).fold(f64::INFINITY, f64::min);
    for frame in frames {
        let late = place(frame) - first;
        assert!(late <= 15.0, "{frame:?} is {late} pictures late: {frames:?}");
    }
    let passed = frames[frames.len() - 1].0 - frames[0].0;
    assert!(passed >= frames.len() as f64 / 2.0, "{frames:?}");
}

#[test]
fn the_console_takes_a_picture_and_plays() {
    let program = start_with_web("token = 'open sesame'\n");
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    // On the port of the streams, and on the port of the API, which has no streams.
    for address in [program.web(), program.api()] {
        let mut browser = Browser::chromium(Look::DESK);
        browser.open(&format!("http://{address}/"));
        browser.fill("#token", "open sesame");
        browser.click("#sign-in button[type=submit]");
        browser.click("button[data-t=take_picture]");
        browser.wait("picture", "!document.querySelector('canvas.picture').hidden");
        let colour = "[...document.querySelector('canvas.picture').getContext('2d').getImageData(160, 90, 1, 1).data]";
        let colour = browser.value(colour);
        assert!(colour.as_array().expect("a colour")[..3].iter().any(|part| part.as_u64() > Some(60)), "{colour}");
        browser.click(".picture-tools a");
        wait_playing(&mut browser);
        browser.click_text("#view button", "Stop the player");
        browser.wait("no player", "document.querySelector('video') === null");
        // Before the token came there were answers of 401, which the browser reports.
        let others: Vec<_> =
            browser.faults().into_iter().filter(|fault| !fault.contains("401 (Unauthorized)")).collect();
        assert!(others.is_empty(), "{others:?}");
    }
    wait_for("end of the players", TIMEOUT, || {
        (program.get_with("/api/v1/streams", "open sesame")["streams"][0]["players"] == 0).then_some(())
    });
}

#[test]
fn the_page_and_a_plain_element_play_mp4() {
    let program = start_with_web("token = 'open sesame'\n");
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let web = program.web();
    let plain = format!("<!doctype html><video muted autoplay src='http://{web}/live/cam.mp4'></video>");
    let pages = Pages::start(vec![("/", "text/html", plain.into()), ("/favicon.ico", "image/x-icon", Vec::new())]);
    for form in ["websocket", "http", "plain"] {
        let mut browser = Browser::chromium(Look::DESK);
        if form == "plain" {
            browser.open(&pages.url("/"));
            wait_playing(&mut browser);
        } else {
            browser.open(&format!("http://{web}/watch/live/cam?form={form}"));
            wait_playing(&mut browser);
            assert_published(&frames(&mut browser, 30));
        }
        browser.wait("sound", "document.querySelector('video').webkitAudioDecodedByteCount");
        assert_eq!(browser.faults(), [""; 0], "{form}");
    }
}

#[test]
fn without_credentials_the_console_names_the_missing_line() {
    let program = start_with_web("");
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&format!("http://{}/", program.web()));
    browser.wait("words", "document.getElementById('no-api').checkVisibility()");
    assert!(browser.text("document.getElementById('no-api').innerText").contains("[api]\ntoken = "));
}
