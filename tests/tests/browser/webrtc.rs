//! WebRTC in Chromium: the page's player by WHEP, and two people in a room.

use std::process::Command;

use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::media::{Mark, TestPicture, test_picture};
use anabranch_tests::program::{Launch, Program, Runtime};
use anabranch_tests::{TIMEOUT, wait_for};
use serde_json::Value;

use crate::player::{assert_published, frames, wait_playing};

/// A camera and a microphone that are none, without a question to the person.
pub(crate) const FAKE_DEVICES: [&str; 2] = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

fn start(settings: &str) -> Program {
    let settings = format!("[api]\nlisten = '127.0.0.1:0'\n{settings}");
    Launch::of(Runtime::Smol).with_rtc().settings(&settings).start()
}

/// The numbers of the next pictures as the decoder gives them, each once. See [`Mark::Frame`].
fn decoded(browser: &mut Browser, count: usize) -> Vec<u64> {
    let read = format!(
        "(async () => {{ const [track] = document.querySelector('video').srcObject.getVideoTracks(); \
         const reader = new MediaStreamTrackProcessor({{ track, maxBufferSize: 90 }}).readable.getReader(); \
         const context = new OffscreenCanvas(320, 180).getContext('2d', {{ willReadFrequently: true }}); \
         const numbers = []; \
         while (numbers.length < {count}) {{ \
             const {{ value: picture }} = await reader.read(); \
             context.drawImage(picture, 0, 0, 320, 180); picture.close(); \
             const row = context.getImageData(0, 10, 320, 1).data; \
             let number = 0; \
             for (let bit = 0; bit < 16; bit += 1) if (row[(bit * 20 + 10) * 4 + 1] > 127) number += 2 ** bit; \
             numbers.push(number); \
         }} \
         reader.cancel(); return numbers; }})()"
    );
    let numbers = browser.value(&read);
    numbers.as_array().expect("numbers").iter().map(|number| number.as_u64().expect("a number")).collect()
}

/// A picture as the decoder gives it: its number, and the mean red, green and blue of each square of 20 by 20 pixels below the bar.
fn squares(browser: &mut Browser) -> (u64, Vec<f64>) {
    const READ: &str = "(async () => { const [track] = document.querySelector('video').srcObject.getVideoTracks(); \
        const reader = new MediaStreamTrackProcessor({ track }).readable.getReader(); \
        const { value: picture } = await reader.read(); reader.cancel(); \
        const context = new OffscreenCanvas(320, 180).getContext('2d'); \
        context.drawImage(picture, 0, 0, 320, 180); picture.close(); \
        const { data } = context.getImageData(0, 0, 320, 180); \
        let number = 0; \
        for (let bit = 0; bit < 16; bit += 1) if (data[(320 * 10 + bit * 20 + 10) * 4 + 1] > 127) number += 2 ** bit; \
        return [number, [...data].filter((_, at) => at % 4 !== 3)]; })()";
    let value = browser.value(READ);
    let bytes = value[1].as_array().expect("bytes").iter().map(|byte| byte.as_u64().expect("a byte") as u8);
    (value[0].as_u64().expect("a number"), means(&bytes.collect::<Vec<_>>()))
}

/// The same of a picture that was published.
fn published_squares(number: u64) -> Vec<f64> {
    // Browsers take colours that are not described for those of high definition (ITU-R BT.709).
    let select = format!("select=eq(n\\,{number}),format=yuv420p,scale=in_color_matrix=bt709");
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-vf", &select])
        .args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output();
    means(&output.expect("ffmpeg is there").stdout)
}

fn means(picture: &[u8]) -> Vec<f64> {
    assert_eq!(picture.len(), 320 * 180 * 3, "a picture of this size");
    let mut sums = vec![0.0; 16 * 8 * 3];
    for (at, byte) in picture.iter().enumerate().skip(320 * 20 * 3) {
        let (pixel, colour) = (at / 3, at % 3);
        let (column, row) = (pixel % 320 / 20, (pixel / 320 - 20) / 20);
        sums[(row * 16 + column) * 3 + colour] += f64::from(*byte) / 400.0;
    }
    sums
}

/// The strongest frequency in the sound of the page's video, in Hz.
const TONE: &str = "(async () => { \
    const context = new AudioContext(); await context.resume(); \
    const analyser = context.createAnalyser(); analyser.fftSize = 8192; \
    context.createMediaStreamSource(document.querySelector('video').srcObject).connect(analyser); \
    await new Promise(done => setTimeout(done, 500)); \
    const levels = new Float32Array(analyser.frequencyBinCount); analyser.getFloatFrequencyData(levels); \
    const strongest = levels.indexOf(Math.max(...levels)); \
    const result = levels[strongest] > -60 ? strongest * context.sampleRate / 8192 : null; \
    await context.close(); return result; })()";

fn open(browser: &mut Browser, program: &Program) {
    browser.open(&format!("http://{}/watch/live/cam?form=webrtc", program.web()));
    browser.click("[data-t=statistics]");
    wait_playing(browser);
}

fn fact(browser: &mut Browser, name: &str) -> String {
    browser.text(&format!("document.querySelector('[data-fact={name}]')?.textContent"))
}

#[test]
fn chromium_plays_each_picture_and_the_sound_and_goes_on_after_a_republish() {
    let program = start("");
    let publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    open(&mut browser, &program);
    let numbers = decoded(&mut browser, 90);
    let expected: Vec<u64> = (numbers[0]..).take(90).collect();
    assert_eq!(numbers, expected, "a picture is missing, or is not intact");
    let (number, shown) = squares(&mut browser);
    let apart: Vec<f64> =
        published_squares(number).iter().zip(&shown).map(|(one, other)| (one - other).abs()).collect();
    let mean = apart.iter().sum::<f64>() / apart.len() as f64;
    assert!(mean < 4.0 && apart.iter().all(|apart| *apart < 24.0), "picture {number} has other colours: {apart:.1?}");
    let tone = browser.number(TONE);
    assert!((tone - 440.0).abs() < 10.0, "{tone} Hz");
    assert_eq!(fact(&mut browser, "form"), "WebRTC");

    drop(publisher);
    let last = decoded_last(&mut browser);
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 2);
    wait_for("picture of the new publisher", TIMEOUT, || {
        let numbers = decoded(&mut browser, 10);
        (numbers[0] < last && numbers.windows(2).all(|two| two[1] == two[0] + 1)).then_some(())
    });
    assert_eq!(fact(&mut browser, "connections_made"), "1");
    assert_eq!(browser.faults(), [""; 0]);

    browser.open("about:blank");
    wait_for("end of the player", TIMEOUT, || {
        (program.get("/api/v1/streams")["streams"][0]["players"] == 0).then_some(())
    });
}

/// The number of the newest picture that is shown.
fn decoded_last(browser: &mut Browser) -> u64 {
    let number = browser.value(anabranch_tests::media::READ_MARK);
    number.as_u64().expect("a number")
}

#[test]
fn chromium_shows_whole_pictures_of_an_encoder_with_b_frames() {
    let program = start("");
    let video = ["-c:v", "libx264", "-preset", "veryfast", "-x264-params", "b-pyramid=none"];
    let picture = TestPicture { video: &video, ..TestPicture::default() };
    let _publisher = picture.publish(&program.url("live/cam"), &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    open(&mut browser, &program);
    let numbers = decoded(&mut browser, 30);
    // Pictures that no other needs are left out: three at most. What is shown is in order and whole. A browser on a busy
    // machine may leave out some more, up to a key frame.
    let steps: Vec<i64> = numbers.windows(2).map(|two| two[1] as i64 - two[0] as i64).collect();
    assert!(steps.iter().all(|step| (1..=60).contains(step)), "{numbers:?}");
    assert!(steps.iter().filter(|step| **step > 4).count() <= 3, "{numbers:?}");
    assert_eq!(fact(&mut browser, "form"), "WebRTC");
    program.wait_line("has B-frames");
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn chromium_shows_whole_pictures_of_an_encoder_with_a_pyramid_of_b_frames_and_goes_on_by_web_socket() {
    let program = start("");
    // As x264 is by default: three B-frames, of which others need one.
    let video = ["-c:v", "libx264", "-preset", "veryfast"];
    let picture = TestPicture { video: &video, ..TestPicture::default() };
    let _publisher = picture.publish(&program.url("live/cam"), &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    open(&mut browser, &program);
    let numbers = decoded(&mut browser, 3);
    // A group of 60 pictures has its key frame and the next one that is in order.
    let is_whole = |number: &u64| matches!(number % 60, 0..=4);
    assert!(numbers.iter().all(is_whole) && numbers.is_sorted(), "{numbers:?}");
    browser.wait("other form", "document.querySelector('[data-fact=form]')?.textContent === 'fMP4 WebSocket'");
    assert_published(&frames(&mut browser, 30));
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn where_webrtc_is_off_the_page_goes_on_by_web_socket() {
    let program = Launch::of(Runtime::Smol).with_web().start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    open(&mut browser, &program);
    browser.wait("form", "document.querySelector('[data-fact=form]')?.textContent === 'fMP4 WebSocket'");
}

fn join(browser: &mut Browser, program: &Program, name: &str) {
    browser.open(&format!("http://{}/call/team", program.web()));
    browser.fill("#name", name);
    browser.click("button[type=submit]");
}

/// Waits until the page shows a person whose picture moves.
fn wait_person(browser: &mut Browser, name: &str) {
    let found = format!(
        "[...document.querySelectorAll('.call-others .call-tile')].find(tile => tile.innerText === '{name}')?\
         .querySelector('video').currentTime"
    );
    browser.wait(name, &format!("{found} > 1"));
}

#[test]
fn two_people_meet_in_a_room() {
    let program = start("[rtc]\nrooms = 2\n");
    let mut ann = Browser::chromium_with(Look::DESK, &FAKE_DEVICES);
    let mut bob = Browser::chromium_with(Look::PHONE, &FAKE_DEVICES);
    join(&mut ann, &program, "Ann");
    ann.wait("words", "document.querySelector('.call-status')?.innerText === 'No other person is here yet.'");
    join(&mut bob, &program, "Böb");
    wait_person(&mut ann, "Böb");
    wait_person(&mut bob, "Ann");
    // What people publish are streams as all others.
    let streams = program.get("/api/v1/streams");
    let keys: Vec<&str> =
        streams["streams"].as_array().into_iter().flatten().filter_map(|one| one["key"].as_str()).collect();
    assert!(keys.len() == 2 && keys.iter().all(|key| key.starts_with("call/team/")), "{keys:?}");
    bob.click("#camera");
    bob.wait("button", "document.querySelector('#camera').innerText === 'Camera on'");
    bob.click("button.danger");
    ann.wait("words", "document.querySelector('.call-status').innerText === 'No other person is here yet.'");
    assert_eq!(ann.value("document.querySelectorAll('.call-tile').length"), Value::from(1));
    let faults: Vec<_> = [ann.faults(), bob.faults()].concat();
    assert_eq!(faults, [""; 0]);
}
