use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::message::MessageType;

use super::{Digest, Rng};

/// What an encoder produces: AVC-like video and AAC-like audio of seeded sizes. Each message has its origin and number
/// at its end.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// Time between video frames; `None` for no video.
    pub video: Option<Duration>,
    /// One in this many video frames is a key frame.
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
    /// True to repeat all headers, bit for bit, with every key frame.
    pub repeat_headers: bool,
    /// Jumps of the clock, in order: when after the start, and the timestamp it continues from.
    pub jumps: Vec<(Duration, u32)>,
    /// How its key frames are marked, if it has any.
    pub marks: Marks,
    /// How long after its capture each medium is sent: look-ahead, capture cards, uplinks.
    pub video_late: Duration,
    /// The same for audio.
    pub audio_late: Duration,
    /// What is held back from when until when, and is then sent at once.
    pub holds: Vec<(Track, Range<Duration>)>,
    /// When nothing is captured.
    pub silences: Vec<(Track, Range<Duration>)>,
    /// True if pictures carry their presentation time, with two pictures between each and the next that they refer to.
    pub reorder: bool,
    /// When the video sequence is said to end, although it continues.
    pub end_of_sequence: Option<Duration>,
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Track {
    Audio,
    Video,
}

/// How an encoder marks its key frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marks {
    /// By the frame type of the message.
    #[default]
    Marked,
    /// Not at all: only the content shows it.
    Inside,
    /// There are no key frames.
    None,
    /// As usual at first, then there are no more key frames.
    Until(Duration),
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
            repeat_headers: false,
            jumps: Vec::new(),
            marks: Marks::Marked,
            video_late: Duration::ZERO,
            audio_late: Duration::ZERO,
            holds: Vec::new(),
            silences: Vec::new(),
            reorder: false,
            end_of_sequence: None,
        }
    }
}

impl Encoder {
    /// When a medium's frame that was captured at `taken` is sent.
    fn sent_at(&self, track: Track, taken: Duration) -> Duration {
        let late = if track == Track::Video { self.video_late } else { self.audio_late };
        let holds = self.holds.iter().filter(|(held, time)| *held == track && time.contains(&taken));
        holds.map(|(_, time)| time.end).fold(taken + late, Duration::max)
    }

    /// True if frames of this medium are sent in each second of that time, from the encoder's start on.
    pub fn sends(&self, track: Track, time: Range<Duration>) -> bool {
        let interval = if track == Track::Video { self.video } else { self.audio };
        let Some(interval) = interval else {
            return false;
        };
        let frames = (0..).map(|n| interval * n).take_while(|taken| *taken < time.end);
        let sent: Vec<Duration> =
            frames.filter(|taken| !self.is_silent(track, *taken)).map(|taken| self.sent_at(track, taken)).collect();
        let seconds = (time.end - time.start).as_secs() as u32;
        (0..seconds)
            .map(|second| time.start + Duration::from_secs(1) * second)
            .all(|from| sent.iter().any(|at| (from..from + Duration::from_secs(1)).contains(at)))
    }

    fn is_silent(&self, track: Track, taken: Duration) -> bool {
        self.silences.iter().any(|(silent, time)| *silent == track && time.contains(&taken))
    }

    fn has_key_frames(&self, taken: Duration) -> bool {
        match self.marks {
            Marks::Marked | Marks::Inside => true,
            Marks::None => false,
            Marks::Until(end) => taken < end,
        }
    }

    /// From one key frame to the next.
    fn group(&self) -> Duration {
        self.video.unwrap_or_default() * self.gop
    }

    fn rarely_has_key_frames(&self) -> bool {
        let pauses = self.silences.iter().chain(&self.holds).any(|(track, _)| *track == Track::Video);
        !matches!(self.marks, Marks::Marked | Marks::Inside) || self.group() > RARE || pauses
    }

    /// Audio without pictures.
    pub fn audio_only() -> Self {
        Encoder { video: None, ..Encoder::default() }
    }

    /// Pictures without audio.
    pub fn video_only() -> Self {
        Encoder { audio: None, ..Encoder::default() }
    }

    /// Frames so small that hundreds of scenes can be run.
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
    /// The end of the video sequence.
    End,
}

impl Media {
    /// True for what describes later frames.
    pub fn is_header(self) -> bool {
        matches!(self, Media::Metadata | Media::VideoHeader | Media::AudioHeader)
    }

    /// True for coded video and audio.
    pub fn is_coded(self) -> bool {
        self.is_picture() || self == Media::Sound
    }

    /// True for coded video.
    pub fn is_picture(self) -> bool {
        matches!(self, Media::Key | Media::Inter)
    }

    /// Its index among the headers.
    pub(super) fn slot(self) -> usize {
        match self {
            Media::Metadata => 0,
            Media::VideoHeader | Media::Key | Media::Inter | Media::End => 1,
            Media::AudioHeader | Media::Sound => 2,
        }
    }

    pub(super) fn type_id(self) -> u8 {
        match self {
            Media::Metadata => MessageType::DATA_AMF0,
            Media::VideoHeader | Media::Key | Media::Inter | Media::End => MessageType::VIDEO,
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
    /// Bytes of its body as players must get it.
    pub size: usize,
    /// The fingerprint of that body.
    pub(super) digest: Digest,
    /// The number in its body: its own, or that of an earlier header that it repeats.
    pub(super) named: usize,
    /// The headers in force before it, as their bodies name them, by [`Media::slot`].
    pub(super) headers: [Option<usize>; 3],
    /// The picture before it.
    pub(super) reference: Option<usize>,
    /// Counts the periods between jumps of the encoder's clock.
    pub(super) stretch: u32,
    /// On a clock that never jumps, in milliseconds.
    pub(super) taken: i64,
    /// By how many milliseconds its time is before the latest of its medium.
    pub(super) back: u32,
    /// True if key frames of this encoder are so rare that players may begin without one.
    pub(super) rarely_key: bool,
}

impl Sent {
    /// True if the same header was there before.
    pub(super) fn is_repeated(&self, number: usize) -> bool {
        self.named != number
    }
}

/// Marks the end of every body: the magic, which encoder sent it, and as which message.
const MAGIC: [u8; 4] = *b"ANBR";
const TRAILER: usize = 12;

/// Which encoder sent a body, and as which message.
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

/// All that all encoders sent, by publication.
#[derive(Debug, Default)]
pub(super) struct Archive {
    sent: BTreeMap<usize, SentMessages>,
    /// Messages of all publications.
    total: u64,
    /// How many of a publication are kept at least.
    keep: Option<usize>,
    /// Bodies made and not sent yet, with their numbers.
    fresh: Vec<(usize, Vec<u8>)>,
    largest: usize,
}

/// All that one encoder sent, or its end.
#[derive(Debug, Default)]
struct SentMessages {
    /// The number of the first that is kept.
    first: usize,
    kept: Vec<Sent>,
    /// Headers before it: they are repeated, however long ago they were sent.
    headers: HashMap<usize, Sent>,
}

impl SentMessages {
    fn end(&self) -> usize {
        self.first + self.kept.len()
    }

    fn message(&self, number: usize) -> Option<&Sent> {
        match number.checked_sub(self.first) {
            Some(index) => self.kept.get(index),
            None => self.headers.get(&number),
        }
    }

    fn cut(&mut self, count: usize) {
        for (number, sent) in (self.first..).zip(self.kept.drain(..count)) {
            if sent.media.is_header() && !sent.is_repeated(number) {
                self.headers.insert(number, sent);
            }
        }
        self.first += count;
    }
}

/// How many messages of a publication an archive of the newest only keeps: a quarter of an hour at full rate.
const KEPT: usize = 1 << 16;

impl Archive {
    /// From now on keeps only what a player may still get.
    pub(super) fn keep_newest_only(&mut self) {
        self.keep = Some(KEPT);
    }

    /// Drops all that a client has published.
    pub(super) fn forget(&mut self, client: usize) {
        self.sent.retain(|origin, _| origin & 0xf_ffff != client);
    }

    /// Messages of all publications.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn of(&self, origin: usize) -> &[Sent] {
        self.sent.get(&origin).map_or(&[], |messages| &messages.kept)
    }

    pub(super) fn message(&self, (origin, number): (usize, usize)) -> Option<&Sent> {
        self.sent.get(&origin)?.message(number)
    }

    /// These messages, but for those it has forgotten.
    pub(super) fn between(&self, origin: usize, numbers: Range<usize>) -> impl Iterator<Item = (usize, &Sent)> {
        let messages = self.sent.get(&origin);
        numbers.filter_map(move |number| Some((number, messages?.message(number)?)))
    }

    /// How many messages of a publication there were.
    fn count(&self, origin: usize) -> usize {
        self.sent.get(&origin).map_or(0, SentMessages::end)
    }

    /// Bytes in the largest body.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    /// The bodies made since the last call. Only their fingerprints stay.
    pub(super) fn take_fresh(&mut self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.fresh)
    }

    fn push(&mut self, origin: usize, sent: Sent, body: Vec<u8>) {
        self.largest = self.largest.max(body.len());
        self.total += 1;
        let messages = self.sent.entry(origin).or_default();
        self.fresh.push((messages.end(), body));
        messages.kept.push(sent);
        if let Some(keep) = self.keep
            && messages.kept.len() >= keep * 2
        {
            messages.cut(keep);
        }
    }
}

/// An encoder at work.
#[derive(Debug)]
pub(super) struct EncoderState {
    encoder: Encoder,
    origin: usize,
    rng: Rng,
    start: Option<Instant>,
    pictures: u32,
    sounds: u32,
    /// The newest headers with their numbers, by [`Media::slot`].
    headers: [Option<(usize, Vec<u8>)>; 3],
    reference: Option<usize>,
    /// The latest timestamps of video and audio, with their periods between jumps.
    furthest: [Option<(u32, u32)>; 2],
    ended: bool,
    /// True once what it sent was delayed so long that players may begin without a key frame.
    held_up: bool,
}

/// If key frames are further apart than this, players may begin without one: the time they wait for one, without the
/// second between possible starts.
const RARE: Duration = Duration::from_secs(2);

impl EncoderState {
    /// Delays what it sends for this long, at times.
    pub(super) fn hold_up(&mut self, duration: Duration) {
        self.held_up |= !duration.is_zero() && self.encoder.group() + duration > RARE;
    }

    pub(super) fn new(encoder: Encoder, origin: usize, rng: Rng) -> Self {
        EncoderState {
            encoder,
            origin,
            rng,
            start: None,
            pictures: 0,
            sounds: 0,
            headers: [None, None, None],
            reference: None,
            furthest: [None, None],
            ended: false,
            held_up: false,
        }
    }

    /// What identifies it in the archive.
    pub(super) fn origin(&self) -> usize {
        self.origin
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
        for media in self.kinds_of_headers() {
            let size = [0, 8, 2][media.slot()];
            self.push(now, media, size, archive);
        }
        // Decoders need what follows a header to start with a key frame.
        self.pictures = self.pictures.next_multiple_of(self.encoder.gop);
    }

    /// All frames that are due. None if the encoder must `drop` them, and then none until the next key frame.
    pub(super) fn produce(&mut self, now: Instant, drop: bool, archive: &mut Archive) {
        while let Some(due) = self.due().filter(|due| *due <= now) {
            if self.picture_due() == Some(due) {
                let taken = self.encoder.video.unwrap_or_default() * self.pictures;
                let due = self.start.map_or(due, |start| start + taken);
                self.end_sequence(taken, drop, archive);
                let key = self.pictures.is_multiple_of(self.encoder.gop) && self.encoder.has_key_frames(taken);
                let due = due + self.ahead();
                self.pictures += 1;
                if self.encoder.is_silent(Track::Video, taken) {
                    continue;
                }
                if drop {
                    // A reference frame is lost.
                    self.pictures = self.pictures.next_multiple_of(self.encoder.gop);
                } else if key {
                    if self.encoder.repeat_headers && self.reference.is_some() {
                        self.repeat_headers(due, archive);
                    }
                    let size = self.rng.within(self.encoder.key.clone());
                    self.push(due, Media::Key, size, archive);
                } else {
                    let size = self.rng.within(self.encoder.inter.clone());
                    self.push(due, Media::Inter, size, archive);
                }
            } else {
                let taken = self.encoder.audio.unwrap_or_default() * self.sounds;
                let due = self.start.map_or(due, |start| start + taken);
                self.sounds += 1;
                let size = self.rng.within(self.encoder.sound.clone());
                if !drop && !self.encoder.is_silent(Track::Audio, taken) {
                    self.push(due, Media::Sound, size, archive);
                }
            }
        }
    }

    /// When the next picture is sent.
    fn picture_due(&self) -> Option<Instant> {
        Some(self.start? + self.encoder.sent_at(Track::Video, self.encoder.video? * self.pictures))
    }

    fn sound_due(&self) -> Option<Instant> {
        Some(self.start? + self.encoder.sent_at(Track::Audio, self.encoder.audio? * self.sounds))
    }

    /// By how much the next picture is shown later than in the order in which pictures are sent.
    fn ahead(&self) -> Duration {
        let interval = self.encoder.video.unwrap_or_default();
        match self.pictures % 3 {
            1 if self.encoder.reorder => interval * 3,
            0 if self.encoder.reorder => interval * u32::from(self.pictures > 0),
            _ if self.encoder.reorder => interval,
            _ => Duration::ZERO,
        }
    }

    /// Says once, at its time, that the sequence ends.
    fn end_sequence(&mut self, taken: Duration, drop: bool, archive: &mut Archive) {
        let due = self.encoder.end_of_sequence.is_some_and(|end| end <= taken);
        if let Some(start) = self.start.filter(|_| due && !drop && !self.ended) {
            self.ended = true;
            self.push(start + taken, Media::End, 0, archive);
        }
    }

    fn kinds_of_headers(&self) -> Vec<Media> {
        let Encoder { metadata, video, audio, .. } = &self.encoder;
        let kinds = [
            (Media::Metadata, *metadata),
            (Media::VideoHeader, video.is_some()),
            (Media::AudioHeader, audio.is_some()),
        ];
        kinds.into_iter().filter(|(_, wanted)| *wanted).map(|(media, _)| media).collect()
    }

    fn repeat_headers(&mut self, time: Instant, archive: &mut Archive) {
        for media in self.kinds_of_headers() {
            if let Some((number, body)) = self.headers[media.slot()].clone() {
                self.enter(time, media, number, body, archive);
            }
        }
    }

    fn push(&mut self, time: Instant, media: Media, size: usize, archive: &mut Archive) {
        let number = archive.count(self.origin);
        // One NAL unit, for encoders whose content counts.
        let unit = ((1 + size + TRAILER) as u32).to_be_bytes();
        let inside = self.encoder.marks != Marks::Marked;
        let head = match media {
            Media::Metadata => metadata(),
            Media::Key | Media::Inter if inside => {
                let mark = if media == Media::Key && self.encoder.marks != Marks::Inside { 0x17 } else { 0x27 };
                let kind = if media == Media::Key { 0x65 } else { 0x41 };
                [&[mark, 1, 0, 0, 0][..], &unit, &[kind]].concat()
            }
            Media::End => vec![0x17, 2, 0, 0, 0],
            Media::VideoHeader => vec![0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff],
            Media::Key => vec![0x17, 1, 0, 0, 0],
            Media::Inter => vec![0x27, 1, 0, 0, 0],
            Media::AudioHeader => vec![0xaf, 0, 0x12, 0x10],
            Media::Sound => vec![0xaf, 1],
        };
        let mut body = vec![0; head.len() + size];
        body[..head.len()].copy_from_slice(&head);
        self.rng.fill(&mut body[head.len()..]);
        if media == Media::Metadata {
            // As an additional argument, so that the body stays AMF.
            body.extend_from_slice(&[2, 0, TRAILER as u8]);
        }
        body.extend_from_slice(&trailer(self.origin, number));
        self.enter(time, media, number, body, archive);
    }

    fn enter(&mut self, time: Instant, media: Media, named: usize, body: Vec<u8>, archive: &mut Archive) {
        let elapsed = self.start.map_or(Duration::ZERO, |start| time.saturating_duration_since(start));
        let jumps = self.encoder.jumps.iter().take_while(|(at, _)| *at <= elapsed);
        let (since, base) = jumps.clone().last().copied().unwrap_or((Duration::ZERO, self.encoder.first_timestamp));
        let timestamp = base.wrapping_add((elapsed - since).as_millis() as u32);
        let stretch = jumps.count() as u32;
        let furthest = &mut self.furthest[usize::from(media == Media::Sound)];
        let mut back = 0;
        if media.is_coded() {
            let ahead = furthest.filter(|(_, before)| *before == stretch).map(|(last, _)| last.wrapping_sub(timestamp));
            back = ahead.filter(|ahead| *ahead <= u32::MAX / 2).unwrap_or(0);
            if back == 0 {
                *furthest = Some((timestamp, stretch));
            }
        }
        let mut digest = Digest::default();
        digest.bytes(&body);
        let sent = Sent {
            media,
            timestamp: if media == Media::Metadata { 0 } else { timestamp },
            size: body.len(),
            digest,
            named,
            headers: std::array::from_fn(|slot| self.headers[slot].as_ref().map(|(number, _)| *number)),
            reference: self.reference,
            stretch,
            taken: elapsed.as_millis() as i64,
            back,
            rarely_key: self.held_up || self.encoder.rarely_has_key_frames(),
        };
        if media.is_header() {
            self.headers[media.slot()] = Some((named, body.clone()));
        }
        if media.is_picture() {
            self.reference = Some(named);
        }
        archive.push(self.origin, sent, body);
    }
}

fn metadata() -> Vec<u8> {
    let values = Object::new().with("width", 1280.0).with("height", 720.0).with("encoder", "simulated");
    let mut body = Vec::new();
    amf0::encode(&Value::from("onMetaData"), &mut body);
    amf0::encode(&Value::EcmaArray(values), &mut body);
    body
}
