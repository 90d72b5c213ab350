//! What the publishers send: bodies that look like H.264 and AAC to a server, and tell a player which frame they are,
//! when they were sent and what all their bytes must be.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anabranch_core::amf::Object;
use anabranch_core::amf::amf0::Encoder;
use anabranch_core::message::Message;

use crate::clock;

/// A key frame is this many times as long as the mean of the others, as x264 makes them of moving pictures.
const KEY_FACTOR: f64 = 6.0;
/// Samples in one AAC frame.
const AAC_SAMPLES: u64 = 1024;
/// Samples a second.
const AUDIO_RATE: u64 = 44_100;
/// Sizes of the frames between key frames go round these, as parts of their mean.
const SIZES: [f64; 4] = [0.8, 1.15, 0.9, 1.15];

/// FLV head, composition time, length of the NAL unit, its header.
const VIDEO_HEAD: usize = 10;
/// FLV head.
const AUDIO_HEAD: usize = 2;
/// Where what makes a frame recognizable begins.
const MAGIC: [u8; 4] = *b"anaL";
/// Magic, clock, stream, run, number, time.
const STAMP: usize = 4 + 4 + 4 + 4 + 4 + 8;

/// An AVC decoder configuration record with an SPS of 1280x720, baseline, and a PPS.
const VIDEO_HEADER: [u8; 29] = [
    0x17, 0, 0, 0, 0, // key frame, AVC, sequence header
    1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, // baseline, level 3.1, lengths of 4 bytes, one SPS
    0, 9, 0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe4, // one PPS
    1, 0, 4, 0x68, 0xce, 0x3c, 0x80,
];
/// AAC low complexity, 44100 Hz, stereo.
const AUDIO_HEADER: [u8; 4] = [0xaf, 0, 0x12, 0x10];

/// What one publisher sends.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaOptions {
    /// Bits a second of video.
    pub bitrate: u64,
    /// Frames a second.
    pub fps: f64,
    /// Time between key frames.
    pub gop: Duration,
    /// Bits a second of audio; 0 for none.
    pub audio: u64,
    /// Whether it begins with `onMetaData`.
    pub metadata: bool,
}

impl Default for MediaOptions {
    fn default() -> Self {
        let gop = Duration::from_secs(2);
        MediaOptions { bitrate: 1_000_000, fps: 30.0, gop, audio: 128_000, metadata: true }
    }
}

impl MediaOptions {
    /// Frames from one key frame to the next.
    pub fn gop_frames(&self) -> u32 {
        (self.gop.as_secs_f64() * self.fps).round().max(1.0) as u32
    }

    /// Length of a body in bytes.
    fn length(&self, kind: Kind, number: u32) -> usize {
        let (bytes, least) = match kind {
            Kind::Audio => (self.audio as f64 / 8.0 * AAC_SAMPLES as f64 / AUDIO_RATE as f64, AUDIO_HEAD + STAMP),
            Kind::Video => {
                let frames = f64::from(self.gop_frames());
                let mean = self.bitrate as f64 / 8.0 / self.fps * frames / (frames - 1.0 + KEY_FACTOR);
                let factor = match number % self.gop_frames() {
                    0 => KEY_FACTOR,
                    other => SIZES[other as usize % SIZES.len()],
                };
                (mean * factor, VIDEO_HEAD + STAMP)
            }
        };
        (bytes as usize).clamp(least, 0xff_ffff)
    }

    /// When a frame is due, from the stream's beginning on.
    fn time(&self, kind: Kind, number: u32) -> Duration {
        match kind {
            Kind::Audio => Duration::from_nanos(u64::from(number) * AAC_SAMPLES * 1_000_000_000 / AUDIO_RATE),
            Kind::Video => Duration::from_secs_f64(f64::from(number) / self.fps),
        }
    }

    fn metadata(&self) -> Vec<u8> {
        let mut object = Object::new().with("duration", 0.0).with("width", 1280.0).with("height", 720.0);
        object.insert("videodatarate", self.bitrate as f64 / 1000.0);
        object.insert("framerate", self.fps);
        object.insert("videocodecid", 7.0);
        if self.audio > 0 {
            object =
                object.with("audiodatarate", self.audio as f64 / 1000.0).with("audiosamplerate", AUDIO_RATE as f64);
            object = object.with("audiosamplesize", 16.0).with("stereo", true).with("audiocodecid", 10.0);
        }
        let mut body = Vec::new();
        Encoder::new(&mut body).string("@setDataFrame").string("onMetaData").ecma_array(&object);
        body
    }
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// The frames of one publisher, in the order of their time.
#[derive(Debug)]
pub struct Feed {
    options: MediaOptions,
    stream: u32,
    run: u32,
    /// The time of the stream's beginning.
    start: Instant,
    video: u32,
    audio: u32,
    opened: bool,
}

impl Feed {
    /// What the stream of this number sends. `run` tells one publisher of the stream from the one before.
    pub fn new(options: MediaOptions, stream: u32, run: u32, start: Instant) -> Self {
        Feed { options, stream, run, start, video: 0, audio: 0, opened: false }
    }

    /// It may begin: then, as this run.
    pub(crate) fn begin(&mut self, start: Instant, run: u32) {
        self.start = start;
        self.run = run;
    }

    /// When the next frame is due.
    pub fn due(&self) -> Instant {
        self.start + self.next().1
    }

    /// Appends what is due by `now`, in front of the first frame with what a stream begins with.
    pub fn take_due(&mut self, now: Instant, out: &mut Vec<Message>) {
        if self.start > now {
            return;
        }
        if !std::mem::replace(&mut self.opened, true) {
            if self.options.metadata {
                out.push(Message::data(0, self.options.metadata()));
            }
            out.push(Message::video(0, VIDEO_HEADER.as_slice()));
            if self.options.audio > 0 {
                out.push(Message::audio(0, AUDIO_HEADER.as_slice()));
            }
        }
        while self.due() <= now {
            let (kind, time) = self.next();
            let number = match kind {
                Kind::Audio => &mut self.audio,
                Kind::Video => &mut self.video,
            };
            let stamp = Stamp {
                clock: clock::id(),
                stream: self.stream,
                run: self.run,
                number: *number,
                sent: clock::nanoseconds(now),
            };
            *number += 1;
            let key = stamp.number.is_multiple_of(self.options.gop_frames());
            let body = body(kind, key, &stamp, self.options.length(kind, stamp.number));
            let timestamp = time.as_millis() as u32;
            out.push(match kind {
                Kind::Audio => Message::audio(timestamp, body),
                Kind::Video => Message::video(timestamp, body),
            });
        }
    }

    /// Video first where both are due at once.
    fn next(&self) -> (Kind, Duration) {
        let video = self.options.time(Kind::Video, self.video);
        let audio = self.options.time(Kind::Audio, self.audio);
        if self.options.audio > 0 && audio < video { (Kind::Audio, audio) } else { (Kind::Video, video) }
    }
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Whose time it is: it means something only where that is the clock.
    pub clock: u32,
    /// The stream's number.
    pub stream: u32,
    /// Tells one publisher of the stream from the one before.
    pub run: u32,
    /// Counts the frames of its kind.
    pub number: u32,
    /// Nanoseconds on that clock.
    pub sent: u64,
}

impl Stamp {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        for number in [self.clock, self.stream, self.run, self.number] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.sent.to_be_bytes());
    }

    /// What a body says; `None` if it comes from another program.
    pub fn read(kind: Kind, body: &[u8]) -> Option<Stamp> {
        let head = match kind {
            Kind::Audio => AUDIO_HEAD,
            Kind::Video => VIDEO_HEAD,
        };
        let rest = body.get(head..)?.strip_prefix(&MAGIC)?;
        let (words, rest) = rest.split_first_chunk::<16>()?;
        let (sent, _) = rest.split_first_chunk::<8>()?;
        let [clock, stream, run, number] =
            [0, 4, 8, 12].map(|at| u32::from_be_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]));
        Some(Stamp { clock, stream, run, number, sent: u64::from_be_bytes(*sent) })
    }

    /// Whether a body that says this of itself has exactly the bytes it was sent with.
    pub fn fits(&self, kind: Kind, body: &[u8]) -> bool {
        let key = body[0] == 0x17;
        let mut expected = Vec::with_capacity(VIDEO_HEAD + STAMP);
        head(kind, key, self, body.len(), &mut expected);
        let Some(mut rest) = body.strip_prefix(&expected[..]) else {
            return false;
        };
        for piece in filler(self, rest.len()) {
            let Some(after) = rest.strip_prefix(piece) else {
                return false;
            };
            rest = after;
        }
        true
    }
}

/// What a player has to know of a body before it looks further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A sequence header.
    Header,
    /// A key frame, or a frame of audio.
    Key,
    /// A frame between key frames.
    Inter,
}

impl Class {
    /// The class of a body by its first bytes, as those of H.264 and AAC have it.
    pub fn of(kind: Kind, body: &[u8]) -> Class {
        match (kind, body) {
            (_, [_, 0, ..]) => Class::Header,
            (Kind::Audio, _) => Class::Key,
            (Kind::Video, [first, ..]) if first >> 4 == 1 => Class::Key,
            _ => Class::Inter,
        }
    }
}

fn body(kind: Kind, key: bool, stamp: &Stamp, length: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(length);
    head(kind, key, stamp, length, &mut body);
    let rest = length - body.len();
    for piece in filler(stamp, rest) {
        body.extend_from_slice(piece);
    }
    body
}

fn head(kind: Kind, key: bool, stamp: &Stamp, length: usize, out: &mut Vec<u8>) {
    match kind {
        Kind::Audio => out.extend_from_slice(&[0xaf, 1]),
        Kind::Video => {
            out.extend_from_slice(&[if key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
            out.extend_from_slice(&(length.saturating_sub(9) as u32).to_be_bytes());
            out.push(if key { 0x65 } else { 0x41 });
        }
    }
    stamp.write(out);
}

/// The bytes behind the stamp: a window of one fixed ring of random bytes, small enough for the processor's cache.
fn filler(stamp: &Stamp, mut length: usize) -> impl Iterator<Item = &'static [u8]> {
    const RING: usize = 64 << 10;
    static BYTES: OnceLock<Box<[u8]>> = OnceLock::new();
    let ring = BYTES.get_or_init(|| {
        let mut random = crate::Random::new(0x616e_6162_7261_6e63);
        (0..RING / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect()
    });
    let mix = (stamp.number ^ stamp.run.rotate_left(11) ^ stamp.stream.rotate_left(22)).wrapping_mul(0x9e37_79b1);
    let mut at = mix as usize % RING;
    std::iter::from_fn(move || {
        let piece = &ring[at..RING.min(at + length)];
        length -= piece.len();
        at = 0;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use anabranch_core::flv::config::{CodecSummary, summarize};
    use anabranch_core::flv::{AudioCodec, FrameClass, VideoCodec};
    use anabranch_core::flv::{classify_audio, classify_video};
    use anabranch_core::message::MessageType;

    use super::*;

    fn seconds(options: &MediaOptions, count: u64) -> Vec<Message> {
        let start = Instant::now();
        let mut feed = Feed::new(options.clone(), 3, 5, start);
        let mut messages = Vec::new();
        feed.take_due(start + Duration::from_secs(count), &mut messages);
        messages
    }

    #[test]
    fn the_stream_has_the_rates_it_was_asked_for() {
        let options = MediaOptions { bitrate: 2_500_000, ..MediaOptions::default() };
        let messages = seconds(&options, 10);
        let bytes = |type_id| -> usize {
            messages.iter().filter(|message| message.type_id == type_id).map(|message| message.payload.len()).sum()
        };
        let off = |type_id, expected: f64| (bytes(type_id) as f64 * 0.8 / expected - 1.0).abs();
        assert!(off(MessageType::VIDEO, 2_500_000.0) < 0.05, "{}", bytes(MessageType::VIDEO));
        assert!(off(MessageType::AUDIO, 128_000.0) < 0.05, "{}", bytes(MessageType::AUDIO));
        assert!(messages.is_sorted_by_key(|message| message.timestamp));
    }

    #[test]
    fn it_begins_with_metadata_headers_and_a_key_frame_and_servers_recognize_them() {
        let messages = seconds(&MediaOptions::default(), 4);
        assert!(messages[0].payload.starts_with(b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData"));
        assert_eq!(classify_video(&messages[1].payload).class, FrameClass::SequenceHeader);
        assert_eq!(classify_audio(&messages[2].payload).class, FrameClass::SequenceHeader);
        match summarize(VideoCodec::Avc, &messages[1].payload[5..]) {
            Some(CodecSummary::Video(video)) => assert_eq!(video.size, Some((1280, 720))),
            other => panic!("{other:?}"),
        }
        match summarize(AudioCodec::Aac, &messages[2].payload[2..]) {
            Some(CodecSummary::Audio(audio)) => assert_eq!((audio.sample_rate, audio.channels), (44_100, Some(2))),
            other => panic!("{other:?}"),
        }
        let video = messages[3..].iter().filter(|message| message.type_id == MessageType::VIDEO);
        let keys: Vec<_> = video.map(|message| classify_video(&message.payload).is_join_point()).collect();
        let at: Vec<_> = keys.iter().enumerate().filter_map(|(index, key)| key.then_some(index)).collect();
        assert_eq!(at, [0, 60, 120]);
    }

    #[test]
    fn a_frame_is_recognized_and_any_changed_byte_is_seen() {
        for (kind, message) in [
            (Kind::Video, &seconds(&MediaOptions::default(), 1)[3]),
            (Kind::Audio, &seconds(&MediaOptions::default(), 1)[4]),
        ] {
            let mut body = message.payload.to_vec();
            let stamp = Stamp::read(kind, &body).expect("a stamp");
            assert_eq!((stamp.clock, stamp.stream, stamp.run, stamp.number), (clock::id(), 3, 5, 0));
            assert!(stamp.fits(kind, &body));
            for at in 0..body.len() {
                body[at] ^= 1;
                let changed = Stamp::read(kind, &body).is_none_or(|read| read != stamp || !read.fits(kind, &body));
                assert!(changed, "{kind:?}, byte {at}");
                body[at] ^= 1;
            }
            body.pop();
            assert!(kind == Kind::Audio || !stamp.fits(kind, &body), "a frame of video knows its length");
            assert_eq!(Stamp::read(kind, &body[..20]), None);
        }
    }
}
