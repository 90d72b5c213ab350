use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anabranch_core::message::Message;
use anabranch_rtc::peer::Medium;

use super::wire::FromPeer;
use crate::{Digest, Rng};

const SPS: &[u8] = &[0x67, 0x42, 0xC0, 0x1F, 0xDA];

/// Parameters that differ from one publication to the next.
fn pps(publication: usize) -> Vec<u8> {
    [&[0x68, 0xCE, 0x3C][..], &label(publication, 0, 0)].concat()
}

/// The first bytes behind the header of each unit: which publication it is of, which picture, and which part of it.
pub(super) const LABEL: usize = 9;

/// What a publisher sends: H.264 in real units, and sound whose frames have only a number.
#[derive(Debug, Clone)]
pub struct Camera {
    /// Time between pictures.
    pub picture: Duration,
    /// Pictures from one key frame to the next; with B-frames one more than a multiple of three.
    pub group: usize,
    /// Bytes in a key frame, and in any other picture.
    pub key: RangeInclusive<usize>,
    /// See there.
    pub inter: RangeInclusive<usize>,
    /// True if there are two pictures between each and the next that they refer to, to which no other refers.
    pub b_frames: bool,
    /// The sound.
    pub sound: Option<Sound>,
}

/// How the sound is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// Opus, a frame every 60 ms.
    Opus,
    /// AAC, 1,024 samples of 48 kHz in each frame.
    Aac,
}

impl Sound {
    /// When a frame is taken.
    fn taken(self, number: usize) -> Duration {
        match self {
            Sound::Opus => Duration::from_millis(60) * number as u32,
            Sound::Aac => Duration::from_nanos(1_024_000_000_000 / 48_000) * number as u32,
        }
    }
}

impl Default for Camera {
    /// Ten pictures a second, a key frame a second, and Opus.
    fn default() -> Self {
        Camera {
            picture: Duration::from_millis(100),
            group: 10,
            key: 1_500..=4_000,
            inter: 100..=1_400,
            b_frames: false,
            sound: Some(Sound::Opus),
        }
    }
}

/// A picture that was sent.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// The fingerprint of its units.
    pub(super) digest: Digest,
    pub(super) is_key: bool,
    pub(super) is_reference: bool,
    /// When it is shown, by the clock of the publisher in milliseconds.
    pub(super) shown: i64,
    pub(super) at: Instant,
}

/// What one publisher has sent, from its beginning to its end.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) stream: String,
    pub(super) b_frames: bool,
    /// By how many milliseconds times may differ: those of a publisher by WHIP are put on one clock.
    pub(super) tolerance: i64,
    pub(super) pictures: Vec<Picture>,
    pub(super) sounds: usize,
    /// The times at which it began and ended.
    pub(super) since: Instant,
    pub(super) until: Option<Instant>,
}

/// A publisher's camera at work.
#[derive(Debug)]
pub(super) struct Recording {
    camera: Camera,
    pub(super) publication: usize,
    start: Instant,
    /// The places of the next picture and the next sound in time, their numbers, and that of the picture in its group.
    ticks: [usize; 2],
    pictures: usize,
    sounds: usize,
    place: usize,
    has_begun: bool,
    rng: Rng,
}

/// What it has made.
#[derive(Debug)]
pub(super) enum Made {
    /// The units of a picture.
    Picture { milliseconds: u64, composition: u32, is_key: bool, units: Vec<Vec<u8>> },
    /// A frame of sound.
    Sound { milliseconds: u64, sound: Sound, data: Vec<u8> },
}

impl Made {
    /// As a message of FLV.
    pub(super) fn message(self) -> Message {
        match self {
            Made::Picture { milliseconds, composition, is_key, units } => {
                let mut body = vec![if is_key { 0x17 } else { 0x27 }, 1];
                body.extend_from_slice(&composition.to_be_bytes()[1..]);
                for unit in units {
                    body.extend_from_slice(&(unit.len() as u32).to_be_bytes());
                    body.extend_from_slice(&unit);
                }
                Message::video(milliseconds as u32, body)
            }
            Made::Sound { milliseconds, sound, data } => {
                let head: &[u8] = if sound == Sound::Aac { &[0xAF, 1] } else { b"\x91Opus" };
                Message::audio(milliseconds as u32, [head, &data].concat())
            }
        }
    }

    /// As a peer sends it.
    pub(super) fn datagram(self, publication: usize) -> Vec<u8> {
        let (medium, is_key, milliseconds, data) = match self {
            Made::Picture { milliseconds, is_key, units, .. } => {
                let mut parameters = if is_key { vec![SPS.to_vec(), pps(publication)] } else { Vec::new() };
                parameters.extend(units);
                let data = parameters.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit]).collect::<Vec<_>>().concat();
                (Medium::Video, is_key, milliseconds, data)
            }
            Made::Sound { milliseconds, data, .. } => (Medium::Audio, true, milliseconds, data),
        };
        FromPeer::Unit { medium, is_key, milliseconds, is_contiguous: true, data: &data }.encode()
    }
}

impl Recording {
    pub(super) fn begin(now: Instant, stream: &str, camera: Camera, rng: Rng, archive: &mut Vec<Publication>) -> Self {
        let b_frames = camera.b_frames;
        let (pictures, stream) = (Vec::new(), stream.to_owned());
        archive.push(Publication { stream, b_frames, tolerance: 0, pictures, sounds: 0, since: now, until: None });
        let publication = archive.len() - 1;
        Recording {
            camera,
            publication,
            start: now,
            ticks: [0; 2],
            pictures: 0,
            sounds: 0,
            place: 0,
            has_begun: false,
            rng,
        }
    }

    pub(super) fn due(&self) -> Instant {
        let (picture, sound) = self.times();
        self.start + sound.map_or(picture, |sound| sound.min(picture))
    }

    /// When the next picture is taken, and the next sound if there is any.
    fn times(&self) -> (Duration, Option<Duration>) {
        let [picture, sound] = self.ticks;
        (self.camera.picture * picture as u32, self.camera.sound.map(|of| of.taken(sound)))
    }

    /// Nothing is taken until then. Pictures begin with a key frame.
    pub(super) fn skip_to(&mut self, until: Instant) {
        while self.start + self.times().0 < until {
            (self.ticks[0], self.place) = (self.ticks[0] + 1, 0);
        }
        while self.times().1.is_some_and(|sound| self.start + sound < until) {
            self.ticks[1] += 1;
        }
    }

    /// The next picture is a key frame.
    pub(super) fn make_key(&mut self) {
        self.place = 0;
    }

    /// All that is due, as it is.
    pub(super) fn produce(&mut self, now: Instant, archive: &mut [Publication]) -> Vec<Made> {
        let mut made = Vec::new();
        while self.due() <= now {
            let (picture, sound) = self.times();
            match sound.filter(|sound| *sound < picture) {
                Some(taken) => made.push(self.sound(taken, archive)),
                None => made.push(self.picture(now, picture, archive)),
            }
        }
        made
    }

    /// The headers, once.
    pub(super) fn headers(&mut self) -> Vec<Message> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Vec::new();
        }
        let video = Message::video(0, [&[0x17, 0, 0, 0, 0][..], &record(self.publication)].concat());
        let audio = self.camera.sound.map(|sound| match sound {
            Sound::Opus => [&[0x90][..], b"OpusOpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0"].concat(),
            Sound::Aac => vec![0xAF, 0, 0x11, 0x90],
        });
        std::iter::once(video).chain(audio.map(|body| Message::audio(0, body))).collect()
    }

    fn label(&self, number: usize, part: u8) -> [u8; LABEL] {
        label(self.publication, number, part)
    }

    fn sound(&mut self, taken: Duration, archive: &mut [Publication]) -> Made {
        let mut data = self.label(self.sounds, 0).to_vec();
        data.resize(self.rng.within(20..=80), 0x55);
        (self.sounds, self.ticks[1]) = (self.sounds + 1, self.ticks[1] + 1);
        archive[self.publication].sounds = self.sounds;
        let sound = self.camera.sound.unwrap_or(Sound::Opus);
        Made::Sound { milliseconds: taken.as_millis() as u64, sound, data }
    }

    fn picture(&mut self, now: Instant, taken: Duration, archive: &mut [Publication]) -> Made {
        let (number, place) = (self.pictures, self.place);
        let is_key = place == 0;
        let is_reference = !self.camera.b_frames || place % 3 == 1 || is_key;
        let size = self.rng.within(if is_key { self.camera.key.clone() } else { self.camera.inter.clone() });
        let header = match (is_key, is_reference) {
            (true, _) => 0x65,
            (_, true) => 0x41,
            (_, false) => 0x01,
        };
        // Every third picture has two slices.
        let parts = if number % 3 == 1 { 2 } else { 1 };
        let label = |part| self.label(number, part);
        let unit = |part: u8, rng: &mut Rng| {
            let mut unit = vec![header; 1 + LABEL + size / usize::from(parts)];
            unit[1..=LABEL].copy_from_slice(&label(part));
            rng.fill(&mut unit[1 + LABEL..]);
            // As in real units, nothing in them looks like the beginning of another one.
            unit[1 + LABEL..].iter_mut().for_each(|byte| *byte |= 1);
            unit
        };
        let mut rng = self.rng.fork(number as u64);
        let units: Vec<_> = (0..parts).map(|part| unit(part, &mut rng)).collect();
        let composition = self.camera.picture * self.ahead(place);
        archive[self.publication].pictures.push(Picture {
            digest: digest(units.iter().map(Vec::as_slice)),
            is_key,
            is_reference,
            shown: (taken + composition).as_millis() as i64,
            at: now,
        });
        (self.pictures, self.ticks[0]) = (self.pictures + 1, self.ticks[0] + 1);
        self.place = (place + 1) % self.camera.group;
        let (milliseconds, composition) = (taken.as_millis() as u64, composition.as_millis() as u32);
        Made::Picture { milliseconds, composition, is_key, units }
    }

    /// How many pictures later than it comes a picture is shown. The order is I P b b P b b.
    fn ahead(&self, place: usize) -> u32 {
        match place % 3 {
            _ if !self.camera.b_frames => 0,
            0 if place == 0 => 1,
            1 => 3,
            _ => 0,
        }
    }
}

/// Says of which publication something is, which picture or sound, and which part: seven bits in each byte, as no byte may be
/// zero.
pub(super) fn label(publication: usize, number: usize, part: u8) -> [u8; LABEL] {
    let word = |word: usize, at: usize| 0x80 | (word >> (7 * at) & 0x7F) as u8;
    let mut label = [0x80 | part; LABEL];
    for at in 0..4 {
        (label[at], label[4 + at]) = (word(publication, at), word(number, at));
    }
    label
}

/// Of which publication it is, which picture or sound, and which part.
pub(super) fn label_of(bytes: &[u8]) -> Option<(usize, usize, u8)> {
    let label: &[u8; LABEL] = bytes.first_chunk()?;
    let word = |from: usize| (0..4).map(|at| usize::from(label[from + at] & 0x7F) << (7 * at)).sum();
    Some((word(0), word(4), label[8] & 0x7F))
}

/// The fingerprint of the units of a picture.
pub(super) fn digest<'a>(units: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut digest = Digest::default();
    units.for_each(|unit| digest.bytes(unit));
    digest
}

/// An AVCDecoderConfigurationRecord.
fn record(publication: usize) -> Vec<u8> {
    let mut record = vec![1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1];
    for (index, unit) in [SPS, &pps(publication)].into_iter().enumerate() {
        record.extend((index == 1).then_some(1));
        record.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        record.extend_from_slice(unit);
    }
    record
}
