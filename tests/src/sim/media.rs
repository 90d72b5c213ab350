use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::message::MessageType;

use super::Rng;

/// What an encoder produces: AVC-like video and AAC-like audio of seeded sizes, each message with its origin and
/// number at its end.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// Time between video frames; `None` for no video.
    pub video: Option<Duration>,
    /// Every so many video frames one is a key frame.
    pub gop: u32,
    /// Bytes in a key frame.
    pub key: RangeInclusive<usize>,
    /// Bytes in any other video frame.
    pub inter: RangeInclusive<usize>,
    /// Time between audio frames; `None` for no audio.
    pub audio: Option<Duration>,
    /// Bytes in an audio frame.
    pub sound: RangeInclusive<usize>,
    /// True to begin with `onMetaData`.
    pub metadata: bool,
    /// Timestamp of the first frames.
    pub first_timestamp: u32,
}

impl Default for Encoder {
    /// 30 frames a second with a key frame each second, about 75 kB/s, and audio of 43 frames a second.
    fn default() -> Self {
        Encoder {
            video: Some(Duration::from_millis(33)),
            gop: 30,
            key: 6_000..=18_000,
            inter: 500..=3_500,
            audio: Some(Duration::from_millis(23)),
            sound: 100..=300,
            metadata: true,
            first_timestamp: 0,
        }
    }
}

impl Encoder {
    /// Sound without pictures.
    pub fn audio_only() -> Self {
        Encoder { video: None, ..Encoder::default() }
    }

    /// Pictures without sound.
    pub fn video_only() -> Self {
        Encoder { audio: None, ..Encoder::default() }
    }

    /// Frames so small that hundreds of scenes can be played through.
    pub fn small() -> Self {
        Encoder {
            video: Some(Duration::from_millis(66)),
            gop: 15,
            key: 1_000..=4_000,
            inter: 30..=600,
            audio: Some(Duration::from_millis(46)),
            sound: 20..=80,
            ..Encoder::default()
        }
    }
}

/// What one message of an encoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// `onMetaData`.
    Metadata,
    /// AVC sequence header.
    VideoHeader,
    /// AAC sequence header.
    AudioHeader,
    /// A video key frame.
    Key,
    /// Any other video frame.
    Inter,
    /// An audio frame.
    Sound,
}

impl Media {
    /// True for what describes frames to come.
    pub fn is_header(self) -> bool {
        matches!(self, Media::Metadata | Media::VideoHeader | Media::AudioHeader)
    }

    /// True for coded video.
    pub fn is_picture(self) -> bool {
        matches!(self, Media::Key | Media::Inter)
    }

    pub(super) fn type_id(self) -> u8 {
        match self {
            Media::Metadata => MessageType::DATA_AMF0,
            Media::VideoHeader | Media::Key | Media::Inter => MessageType::VIDEO,
            Media::AudioHeader | Media::Sound => MessageType::AUDIO,
        }
    }
}

/// One message that an encoder sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What it is.
    pub media: Media,
    /// On the encoder's clock, in milliseconds.
    pub timestamp: u32,
    /// As players must get it.
    pub body: Vec<u8>,
}

/// Marks the end of every body: the magic, who sent it, and as which message.
const MAGIC: [u8; 4] = *b"ANBR";
const TRAILER: usize = 12;

/// Who sent a body, and as which message.
pub(super) fn origin(body: &[u8]) -> Option<(usize, usize)> {
    let trailer: &[u8; TRAILER] = body.last_chunk()?;
    let word = |at: usize| u32::from_be_bytes([trailer[at], trailer[at + 1], trailer[at + 2], trailer[at + 3]]);
    (trailer[..4] == MAGIC).then(|| (word(4) as usize, word(8) as usize))
}

fn trailer(origin: usize, number: usize) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    trailer[..4].copy_from_slice(&MAGIC);
    trailer[4..8].copy_from_slice(&(origin as u32).to_be_bytes());
    trailer[8..].copy_from_slice(&(number as u32).to_be_bytes());
    trailer
}

/// All that all encoders sent, by client.
#[derive(Debug, Default)]
pub(super) struct Archive {
    sent: Vec<Vec<Sent>>,
    largest: usize,
}

impl Archive {
    pub(super) fn of(&self, client: usize) -> &[Sent] {
        self.sent.get(client).map_or(&[], Vec::as_slice)
    }

    pub(super) fn message(&self, (client, number): (usize, usize)) -> Option<&Sent> {
        self.of(client).get(number)
    }

    /// The newest message before `number` that `wanted` says so of.
    pub(super) fn before(&self, client: usize, number: usize, wanted: impl Fn(Media) -> bool) -> Option<usize> {
        self.of(client)[..number].iter().rposition(|sent| wanted(sent.media))
    }

    /// Bytes in the largest body.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    fn push(&mut self, client: usize, sent: Sent) {
        self.largest = self.largest.max(sent.body.len());
        if self.sent.len() <= client {
            self.sent.resize_with(client + 1, Vec::new);
        }
        self.sent[client].push(sent);
    }
}

/// An encoder at work.
#[derive(Debug)]
pub(super) struct Studio {
    encoder: Encoder,
    client: usize,
    rng: Rng,
    start: Option<Instant>,
    pictures: u32,
    sounds: u32,
}

impl Studio {
    pub(super) fn new(encoder: Encoder, client: usize, rng: Rng) -> Self {
        Studio { encoder, client, rng, start: None, pictures: 0, sounds: 0 }
    }

    /// When the next frame is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.picture_due().into_iter().chain(self.sound_due()).min()
    }

    /// Starts the encoder's clock; sends headers.
    pub(super) fn begin(&mut self, now: Instant, archive: &mut Archive) {
        self.start = Some(now);
        self.headers(now, archive);
    }

    /// Sends headers: at the start, and whenever the configuration changes.
    pub(super) fn headers(&mut self, now: Instant, archive: &mut Archive) {
        if self.encoder.metadata {
            self.push(now, Media::Metadata, 0, archive);
        }
        if self.encoder.video.is_some() {
            self.push(now, Media::VideoHeader, 8, archive);
        }
        if self.encoder.audio.is_some() {
            self.push(now, Media::AudioHeader, 2, archive);
        }
        // What follows a header is decoded with it: from a key frame on.
        self.pictures = self.pictures.next_multiple_of(self.encoder.gop);
    }

    /// All frames that are due, or none at all if the encoder must `drop` them: until the next key frame then.
    pub(super) fn produce(&mut self, now: Instant, drop: bool, archive: &mut Archive) {
        while let Some(due) = self.due().filter(|due| *due <= now) {
            if self.picture_due() == Some(due) {
                let key = self.pictures.is_multiple_of(self.encoder.gop);
                self.pictures += 1;
                if drop {
                    // A reference is lost.
                    self.pictures = self.pictures.next_multiple_of(self.encoder.gop);
                } else if key {
                    let size = self.rng.within(self.encoder.key.clone());
                    self.push(due, Media::Key, size, archive);
                } else {
                    let size = self.rng.within(self.encoder.inter.clone());
                    self.push(due, Media::Inter, size, archive);
                }
            } else {
                self.sounds += 1;
                let size = self.rng.within(self.encoder.sound.clone());
                if !drop {
                    self.push(due, Media::Sound, size, archive);
                }
            }
        }
    }

    fn picture_due(&self) -> Option<Instant> {
        Some(self.start? + self.encoder.video? * self.pictures)
    }

    fn sound_due(&self) -> Option<Instant> {
        Some(self.start? + self.encoder.audio? * self.sounds)
    }

    fn push(&mut self, time: Instant, media: Media, size: usize, archive: &mut Archive) {
        let elapsed = self.start.map_or(Duration::ZERO, |start| time.saturating_duration_since(start));
        let mut timestamp = self.encoder.first_timestamp.wrapping_add(elapsed.as_millis() as u32);
        let number = archive.of(self.client).len();
        let mut body = match media {
            Media::Metadata => {
                timestamp = 0;
                metadata()
            }
            Media::VideoHeader => vec![0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff],
            Media::Key => vec![0x17, 1, 0, 0, 0],
            Media::Inter => vec![0x27, 1, 0, 0, 0],
            Media::AudioHeader => vec![0xaf, 0, 0x12, 0x10],
            Media::Sound => vec![0xaf, 1],
        };
        let head = body.len();
        body.resize(head + size, 0);
        self.rng.fill(&mut body[head..]);
        if media == Media::Metadata {
            // As one more argument, so that the body stays AMF.
            body.extend_from_slice(&[2, 0, TRAILER as u8]);
        }
        body.extend_from_slice(&trailer(self.client, number));
        archive.push(self.client, Sent { media, timestamp, body });
    }
}

fn metadata() -> Vec<u8> {
    let values = Object::new().with("width", 1280.0).with("height", 720.0).with("encoder", "simulated");
    let mut body = Vec::new();
    amf0::encode(&Value::from("onMetaData"), &mut body);
    amf0::encode(&Value::EcmaArray(values), &mut body);
    body
}
