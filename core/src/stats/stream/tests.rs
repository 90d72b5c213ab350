use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::flv::config::Level;
use crate::flv::{AudioCodec, VideoCodec};
use crate::message::{Message, MessageType, Payload};
use crate::source::WireFormat;
use crate::stats::Window;

// Made with x264, x265 and libaom of FFmpeg 5.1.
const AVC_638X362: &str =
    "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
const HEVC_638X362: &str = concat!(
    "0102200000009000000000003ff000fcfdfafa00000f02",
    "a00001001840010c01ffff02200000030090000003000003003f959809",
    "a10001002b42010102200000030090000003000003003fa005020171d48d96566924caf0168080000003008000000c84a2",
);
const AV1_322X182: &str = "812000000a0d200000043d06d4daf92021a004";

const KEY: &[u8] = &[0x17, 1, 0, 0, 0, 9];
const INTER: &[u8] = &[0x27, 1, 0, 0, 0, 9];
const AAC: &[u8] = &[0xaf, 1, 9];

struct Bench {
    start: Instant,
    stats: StreamStats,
}

impl Bench {
    #[allow(clippy::disallowed_methods)] // any instant is fine as the start of the test's clock
    fn new() -> Self {
        let start = Instant::now();
        Bench { start, stats: StreamStats::new(start) }
    }

    /// A message that arrives at the time of its timestamp, unless the timestamp has wrapped.
    fn push(&mut self, type_id: u8, timestamp: u32, body: &[u8]) {
        let payload = Payload::from(body);
        let message = Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload };
        // Sequence headers are longer than a chunk, so they must be assembled first.
        let frame = Frame::encode(message, WireFormat { chunk_size: 32 });
        let now = self.start + Duration::from_millis(u64::from(timestamp % 1_000_000));
        self.stats.record(now, &frame);
    }

    fn video(&mut self, timestamp: u32, body: &[u8]) {
        self.push(MessageType::VIDEO, timestamp, body);
    }

    fn audio(&mut self, timestamp: u32, body: &[u8]) {
        self.push(MessageType::AUDIO, timestamp, body);
    }

    fn at(&self, milliseconds: u64) -> StreamSnapshot {
        self.stats.view().snapshot(self.start + Duration::from_millis(milliseconds))
    }
}

fn joined(head: &[u8], hex: &str) -> Vec<u8> {
    [head, &hex::decode(hex).unwrap()].concat()
}

fn size_of_video(snapshot: &StreamSnapshot) -> Option<(u32, u32)> {
    snapshot.video?.summary?.size
}

#[test]
fn frames_of_each_kind_are_counted() {
    let mut bench = Bench::new();
    assert_eq!((bench.at(0).idle, bench.at(0).first_timestamp), (None, None));
    bench.push(MessageType::DATA_AMF0, 0, b"\x02\x00\x0aonMetaData");
    bench.video(0, &joined(&[0x17, 0, 0, 0, 0], AVC_638X362));
    bench.audio(0, &[0xaf, 0, 0x12, 0x10]);
    for n in 0..100 {
        bench.video(7 + n * 40, if n % 50 == 0 { KEY } else { INTER });
        bench.audio(8 + n * 40, AAC);
    }
    let snapshot = bench.at(4000);
    assert_eq!((snapshot.messages, snapshot.audio_frames, snapshot.video_frames), (203, 100, 100));
    assert_eq!(snapshot.key_frames, 2);
    assert_eq!(snapshot.bytes, (12 + 13) + (12 + 52 + 1) + (12 + 4) + 100 * (12 + 6) + 100 * (12 + 3));
    assert_eq!(snapshot.largest_message, 12 + 52 + 1, "with the header of the second chunk");
    assert_eq!((snapshot.first_timestamp, snapshot.last_timestamp), (Some(7), Some(7 + 99 * 40 + 1)));
    assert_eq!(snapshot.idle, Some(Duration::from_millis(32)));
    assert_eq!(snapshot.jumps, 0);
    assert_eq!(snapshot.video_rate.fps(Window::Seconds10), 25.0);
    assert_eq!(snapshot.rate.fps(Window::Seconds10), 50.0);
    assert!((snapshot.rate.kbps(Window::Seconds60) - snapshot.bytes as f64 * 8.0 / 4000.0).abs() < 1e-9);
    assert!(snapshot.audio_rate.kbps(Window::Seconds1) < snapshot.video_rate.kbps(Window::Seconds1));
    assert_eq!(bench.at(600_000).rate, Throughput::default());
}

#[test]
fn key_frame_intervals_in_time_and_frames() {
    let mut bench = Bench::new();
    bench.video(0, INTER);
    // Key frames at 40, 1040 and, after a slower GOP, 3040.
    for n in 0..25 {
        bench.video(40 + n * 40, if n == 0 { KEY } else { INTER });
    }
    assert_eq!(bench.at(0).key_frame_intervals, KeyFrameIntervals::default(), "one key frame makes no interval");
    for n in 0..4 {
        bench.video(1040 + n * 500, if n == 0 { KEY } else { INTER });
    }
    bench.video(3040, KEY);
    let (first, second) = (Interval { milliseconds: 1000, frames: 25 }, Interval { milliseconds: 2000, frames: 4 });
    let found = bench.at(0).key_frame_intervals;
    assert_eq!((found.count, found.last), (2, Some(second)));
    assert_eq!(found.mean, Some(Interval { milliseconds: 1500, frames: 14 }));
    assert_eq!(found.max, Some(Interval { milliseconds: second.milliseconds, frames: first.frames }));
}

#[test]
fn time_that_wraps_is_no_jump() {
    let mut bench = Bench::new();
    for n in 0..10_u32 {
        bench.video((n * 500).wrapping_sub(2250), if n % 4 == 0 { KEY } else { INTER });
        bench.audio((n * 500).wrapping_sub(2249), AAC);
    }
    let snapshot = bench.at(0);
    assert_eq!(snapshot.jumps, 0);
    assert_eq!(snapshot.key_frame_intervals.max, Some(Interval { milliseconds: 2000, frames: 4 }));
    assert_eq!((snapshot.first_timestamp, snapshot.last_timestamp), (Some(u32::MAX - 2249), Some(2251)));
}

#[test]
fn jumps_are_counted_for_each_kind_and_spoil_no_interval() {
    let mut bench = Bench::new();
    bench.video(5000, KEY);
    bench.audio(4900, AAC);
    bench.video(6000, INTER);
    assert_eq!(bench.at(0).jumps, 0, "audio may lie behind video, and a second is no jump");
    bench.video(7001, INTER);
    assert_eq!(bench.at(0).jumps, 1);
    // Timestamps that are presentation times go back by less.
    bench.audio(4899, AAC);
    assert_eq!(bench.at(0).jumps, 1);
    bench.audio(3898, AAC);
    assert_eq!(bench.at(0).jumps, 2);
    bench.video(7500, KEY);
    assert_eq!(bench.at(0).key_frame_intervals.count, 0, "the time between is not known");
    bench.video(100, KEY);
    bench.video(200, KEY);
    let snapshot = bench.at(0);
    assert_eq!(snapshot.jumps, 3);
    assert_eq!(snapshot.key_frame_intervals.max, Some(Interval { milliseconds: 100, frames: 1 }));
    bench.video(0, &joined(&[0x17, 0, 0, 0, 0], AVC_638X362));
    bench.video(300, INTER);
    assert_eq!(bench.at(0).jumps, 3, "headers have no place in time");
}

#[test]
fn codecs_of_real_encoders_are_described() {
    let mut bench = Bench::new();
    bench.video(0, &joined(&[0x17, 0, 0, 0, 0], AVC_638X362));
    let video = bench.at(0).video.unwrap();
    assert_eq!((video.track, video.codec), (0, VideoCodec::Avc));
    let summary = video.summary.unwrap();
    assert_eq!((summary.profile_name, summary.size), (Some("High"), Some((638, 362))));
    assert_eq!(summary.level, Some(Level { major: 3, minor: 0 }));

    bench.video(0, &joined(b"\x90hvc1", HEVC_638X362));
    assert_eq!(bench.at(0).video.unwrap().codec, VideoCodec::Hevc);
    assert_eq!(size_of_video(&bench.at(0)), Some((638, 362)));

    bench.video(0, &joined(b"\x90av01", AV1_322X182));
    assert_eq!(bench.at(0).video.unwrap().codec, VideoCodec::Av1);
    assert_eq!(size_of_video(&bench.at(0)), Some((322, 182)));

    bench.audio(0, &[0xaf, 0, 0x12, 0x10]);
    let audio = bench.at(0).audio.unwrap();
    let summary = audio.summary.unwrap();
    assert_eq!((audio.codec, summary.profile_name), (AudioCodec::Aac, Some("LC")));
    assert_eq!((summary.sample_rate, summary.channels), (44_100, Some(2)));

    bench.audio(0, b"\x90OpusOpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01");
    let audio = bench.at(0).audio.unwrap();
    assert_eq!((audio.codec, audio.summary.unwrap().channels), (AudioCodec::Opus, Some(6)));
}

#[test]
fn headers_that_cannot_be_read_are_ignored() {
    let mut bench = Bench::new();
    bench.video(0, &joined(&[0x17, 0, 0, 0, 0], AVC_638X362));
    let before = bench.at(0).video;
    bench.video(0, &[0x17, 0, 0, 0, 0, 2, 100]);
    bench.audio(0, &[0xaf, 0]);
    assert_eq!((bench.at(0).video, bench.at(0).audio), (before, None));
    // Another codec replaces the description.
    bench.video(0, b"\x90hvc1\x05");
    let video = VideoDescription { track: 0, codec: VideoCodec::Hevc, summary: None };
    assert_eq!(bench.at(0).video, Some(video));
    bench.video(0, b"\x92hvc1");
    assert_eq!(bench.at(0).video, None, "the sequence ended");
}

#[test]
fn codecs_without_headers_are_described_by_their_first_frame() {
    let mut bench = Bench::new();
    bench.audio(0, &[0x2f, 1, 2, 3]);
    bench.video(0, &[0x14, 1, 2, 3]);
    let snapshot = bench.at(0);
    let audio = snapshot.audio.unwrap();
    assert_eq!((audio.codec, audio.summary.unwrap().sample_rate), (AudioCodec::Mp3, 44_100));
    assert_eq!(snapshot.video.unwrap().codec, VideoCodec::Vp6);

    // A frame before its header: the header replaces it.
    bench.stats.begin();
    bench.video(0, INTER);
    assert_eq!(bench.at(0).video, Some(VideoDescription { track: 0, codec: VideoCodec::Avc, summary: None }));
    bench.video(0, &joined(&[0x17, 0, 0, 0, 0], AVC_638X362));
    assert_eq!(size_of_video(&bench.at(0)), Some((638, 362)));
}

/// Some codecs have a fixed rate, and the header's rate is ignored.
#[test]
fn a_legacy_header_tells_rate_and_channels_of_codecs_without_one_of_their_own() {
    let sound = |head: u8| {
        let mut bench = Bench::new();
        bench.audio(0, &[head, 1, 2, 3]);
        bench.at(0).audio.and_then(|audio| audio.summary).map(|summary| (summary.sample_rate, summary.channels))
    };
    // The codec, then a rate of 0 to 3, then 16 bits, and one channel or two.
    for (head, expected) in [
        (0x22, (5_512, 1)),
        (0x27, (11_025, 2)),
        (0x2a, (22_050, 1)),
        (0x2f, (44_100, 2)),
        (0x4f, (16_000, 1)),
        (0x5f, (8_000, 1)),
        (0xbf, (16_000, 1)),
        (0x7e, (8_000, 1)),
        (0x8f, (8_000, 2)),
        (0xef, (8_000, 2)),
    ] {
        assert_eq!(sound(head), Some((expected.0, Some(expected.1))), "{head:#x}");
    }
    assert_eq!(sound(0xff), None, "a device-specific codec");
}

#[test]
fn of_many_tracks_the_default_one_is_described() {
    let mut bench = Bench::new();
    let track = |id: u8, codec: &[u8; 4], config: &str| joined(&[&[0x96, 0x00], &codec[..], &[id]].concat(), config);
    bench.video(0, &track(1, b"av01", AV1_322X182));
    assert_eq!(bench.at(0).video.unwrap().track, 1, "the default track is not known yet");
    bench.video(0, &track(0, b"avc1", AVC_638X362));
    bench.video(0, &track(1, b"av01", AV1_322X182));
    let video = bench.at(0).video.unwrap();
    assert_eq!((video.track, video.codec), (0, VideoCodec::Avc));
}

#[test]
fn the_next_publisher_begins_with_new_values_and_keeps_the_totals() {
    let mut bench = Bench::new();
    bench.video(0, &joined(&[0x17, 0, 0, 0, 0], AVC_638X362));
    bench.video(0, KEY);
    bench.video(100, KEY);
    let before = bench.at(100);
    bench.stats.begin();
    let after = bench.at(100);
    assert_eq!((after.video, after.first_timestamp, after.last_timestamp), (None, None, None));
    assert_eq!(after.key_frame_intervals, KeyFrameIntervals::default());
    assert_eq!((after.bytes, after.key_frames, after.rate), (before.bytes, before.key_frames, before.rate));
    bench.video(60_000, KEY);
    bench.video(60_100, KEY);
    let after = bench.at(100);
    assert_eq!((after.jumps, after.key_frame_intervals.count, after.first_timestamp), (0, 1, Some(60_000)));
}

#[test]
fn readers_meanwhile_see_numbers_that_were_true() {
    let mut bench = Bench::new();
    let (view, start, done) = (bench.stats.view(), bench.start, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut frames, mut newest, mut reads) = (0, 0, 0_u64);
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let snapshot = view.snapshot(start + Duration::from_millis(newest));
                assert!(snapshot.video_frames >= frames && snapshot.bytes >= frames * 18);
                frames = snapshot.video_frames;
                newest = snapshot.last_timestamp.map_or(0, u64::from);
                if let Some(max) = snapshot.key_frame_intervals.max {
                    assert_eq!(max, Interval { milliseconds: 100, frames: 10 });
                }
                for window in Window::ALL {
                    // A total older than its bucket's value would give millions. This writer is a thousand times too
                    // fast for a closer bound.
                    let fps = snapshot.video_rate.fps(window);
                    assert!((0.0..=100_000.0).contains(&fps), "{window:?}: {fps}");
                }
                reads += 1;
            }
        });
        for n in 0..100_000_u32 {
            bench.video(n * 10, if n % 10 == 0 { KEY } else { INTER });
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(view.snapshot(start).video_frames, 100_000);
}
