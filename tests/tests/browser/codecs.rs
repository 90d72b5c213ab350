//! Codecs of Enhanced RTMP in Chromium. FFmpeg of the distribution encodes them but cannot publish them: it writes IVF and Ogg,
//! and the test publishes the frames. `tests/run --all-clients` has more codecs, published by FFmpeg 9.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_tests::Folder;
use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::media::TestPicture;
use anabranch_tests::peer::ScriptedClient;
use anabranch_tests::program::{Launch, Program, Runtime};

use crate::hls::watch;
use crate::player::{assert_published, frames, wait_playing};
use crate::strangers::page_with;

const VP9: &[&str] = &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k"];
const OPUS: &[&str] = &["-c:a", "libopus", "-b:a", "64k", "-frame_duration", "20"];
/// More than the test plays.
const SECONDS: u32 = 40;

/// What is sent: when, in milliseconds, whether it is a picture, and the body of the message.
type Packet = (u32, bool, Vec<u8>);

/// The pictures of a file of IVF: VP9, 30 a second.
fn pictures(file: &Path) -> Vec<Packet> {
    let bytes = fs::read(file).expect("it was written");
    let mut rest = &bytes[32..];
    let mut packets = Vec::new();
    // Profile 0, level 2.0, 8 bits, 4:2:0, colours not told.
    packets.push((0, true, [b"\x90vp09".as_slice(), &[1, 0, 0, 0, 0, 20, 0x82, 2, 2, 2, 0, 0]].concat()));
    while rest.len() >= 12 {
        let size = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        let number = u32::from_le_bytes(rest[4..8].try_into().expect("four bytes"));
        let frame = &rest[12..12 + size];
        // Neither the picture of before again, nor one that needs another.
        let is_key = frame[0] & 0x0c == 0;
        let head = if is_key { b"\x91vp09" } else { b"\xa1vp09" };
        packets.push((number * 1000 / 30, true, [head.as_slice(), frame].concat()));
        rest = &rest[12 + size..];
    }
    packets
}

/// The sounds of a file of Ogg: Opus, 20 ms each.
fn sounds(file: &Path) -> Vec<Packet> {
    let bytes = fs::read(file).expect("it was written");
    let mut rest = bytes.as_slice();
    let (mut packets, mut packet) = (Vec::new(), Vec::new());
    while rest.starts_with(b"OggS") {
        let (lengths, mut body) = rest[27..].split_at(usize::from(rest[26]));
        for length in lengths {
            let (piece, after) = body.split_at(usize::from(*length));
            packet.extend_from_slice(piece);
            body = after;
            // A packet goes on after a piece of this length, also in the next page.
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = body;
    }
    assert!(packets[0].starts_with(b"OpusHead") && packets[1].starts_with(b"OpusTags"));
    let header = (0, false, [b"\x90Opus", packets[0].as_slice()].concat());
    let frames = packets[2..].iter().zip(0..);
    let frames = frames.map(|(frame, number)| (number * 20, false, [b"\x91Opus", frame.as_slice()].concat()));
    std::iter::once(header).chain(frames).collect()
}

/// Publishes packets, each at its time, until the value ends.
struct Publisher {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Publisher {
    fn start(program: &Program, packets: Vec<Packet>) -> Self {
        let mut client = ScriptedClient::publisher(program.address(), "cam");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            for (time, is_picture, body) in packets {
                let due = begun + Duration::from_millis(time.into());
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if over.load(Ordering::Acquire) {
                    return;
                }
                if is_picture { client.video(time, &body) } else { client.audio(time, &body) }
            }
        });
        Publisher { is_over, thread: Some(thread) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn chromium_plays_vp9_and_opus_in_the_page_and_in_hls_js() {
    let folder = Folder::new();
    let (ivf, ogg) = (folder.file("picture.ivf"), folder.file("sound.ogg"));
    TestPicture { video: VP9, sound: OPUS, ..TestPicture::default() }.encode(SECONDS, &ivf, &ogg);
    let mut packets = [pictures(&ivf), sounds(&ogg)].concat();
    packets.sort_by_key(|(time, ..)| *time);
    let program = Launch::of(Runtime::Smol).with_web().start();
    let mut browser = Browser::chromium(Look::DESK);
    let _publisher = Publisher::start(&program, packets);
    program.wait_publishers("live/cam", 1);
    browser.open(&format!("http://{}/watch/live/cam", program.web()));
    let sound = "document.querySelector('video').webkitAudioDecodedByteCount";
    wait_playing(&mut browser);
    assert_published(&frames(&mut browser, 30));
    browser.wait("sound", sound);
    assert_eq!(browser.faults(), [""; 0]);
    let pages = page_with("hls.js/dist/hls.js");
    watch(&mut browser, &pages.url("/"), &program, "{ lowLatencyMode: true }");
    assert_published(&frames(&mut browser, 30));
    browser.wait("sound", sound);
    assert_eq!(browser.faults(), [""; 0]);
}
