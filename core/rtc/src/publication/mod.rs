//! What a publisher by WebRTC sends, as the messages that a publisher by RTMP sends.
//!
//! Units that a peer has received become messages of FLV: pictures with lengths instead of start codes, decoder
//! configurations apart from the pictures, times in milliseconds on one clock for both tracks.
//!
//! A picture goes out only if its decoder has all that it needs: nothing before the first key frame, and nothing after a
//! loss before the next one.

mod clock;
mod nal;
mod obu;
mod picture;

use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::flv::{AudioCodec, Codec, FourCC, VideoCodec, config};
use anabranch_core::message::Message;
use anabranch_core::source::BY_WEBRTC;

use crate::peer::{Medium, Unit};
use clock::Clock;
use picture::{Picture, Pictures};

/// How long sound waits for the first picture. A publisher whose camera is off may send none.
const PICTURE_WAIT: Duration = Duration::from_secs(2);
/// The first byte of sound in an extended header, and its packet types.
const EXTENDED_SOUND: u8 = 9 << 4;
const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;

/// One publication by WebRTC.
#[derive(Debug)]
pub struct Publication {
    clock: Clock,
    pictures: Pictures,
    /// True if no picture may go out before a key frame.
    waits_for_key: bool,
    left_out: u64,
    has_pictures: bool,
    has_sound: bool,
    /// When the first sound came, while it waits for a picture.
    waits_since: Option<Instant>,
    has_begun: bool,
    sound_has_begun: bool,
}

impl Publication {
    /// Of a peer that sends these tracks.
    pub fn new(media: &[Medium]) -> Self {
        let (has_pictures, has_sound) = (media.contains(&Medium::Video), media.contains(&Medium::Audio));
        Publication {
            clock: Clock::default(),
            pictures: Pictures::default(),
            waits_for_key: has_pictures,
            left_out: 0,
            has_pictures,
            has_sound,
            waits_since: None,
            has_begun: false,
            sound_has_begun: false,
        }
    }

    /// True while it waits for a key frame: the peer is to be asked for one.
    pub fn wants_key(&self) -> bool {
        self.waits_for_key
    }

    /// Pictures that were left out so far, because what they need was lost, or because they cannot be read.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The messages for what the peer has sent. There may be none.
    pub fn unit(&mut self, unit: &Unit) -> Vec<Message> {
        let mut messages = Vec::new();
        match unit.codec {
            Codec::Video(codec) => self.picture(codec, unit, &mut messages),
            Codec::Audio(AudioCodec::Opus) if !unit.data.is_empty() => self.sound(unit, &mut messages),
            Codec::Audio(_) => {}
        }
        messages
    }

    fn picture(&mut self, codec: VideoCodec, unit: &Unit, messages: &mut Vec<Message>) {
        let time = self.clock.time(Medium::Video, unit);
        self.waits_for_key |= !unit.is_contiguous;
        let read = match self.pictures.read(codec, &unit.data) {
            // Parameters without a picture.
            Ok(None) => return,
            Ok(Some(read)) => Some(read),
            Err(picture::Unreadable) => None,
        };
        let usable = read.filter(|read| self.pictures.has_configuration() && (read.is_key || !self.waits_for_key));
        let Some(Picture { is_key, payload }) = usable else {
            self.waits_for_key = true;
            self.left_out += 1;
            return;
        };
        self.waits_for_key &= !is_key;
        let (decoded, shown_later) = self.pictures.decoding_time(time);
        if let Some(header) = self.pictures.take_header() {
            self.has_begun = true;
            messages.push(self.metadata());
            messages.push(Message::video(decoded, header));
        }
        messages.push(Message::video(decoded, self.pictures.body(is_key, shown_later, &payload)));
    }

    fn sound(&mut self, unit: &Unit, messages: &mut Vec<Message>) {
        let time = self.clock.time(Medium::Audio, unit) as u32;
        if !self.has_begun {
            let since = *self.waits_since.get_or_insert(unit.arrived);
            if self.has_pictures && unit.arrived.saturating_duration_since(since) < PICTURE_WAIT {
                return;
            }
            self.has_begun = true;
            messages.push(self.metadata());
        }
        if !std::mem::replace(&mut self.sound_has_begun, true) {
            messages.push(Message::audio(time, sound(SEQUENCE_START, &config::opus_head())));
        }
        messages.push(Message::audio(time, sound(CODED_FRAMES, &unit.data)));
    }

    /// What encoders tell of a stream at its beginning.
    fn metadata(&self) -> Message {
        // Players that have not announced Opus get no sound then.
        let mut about = Object::default().with(BY_WEBRTC, true);
        if let Some((codec, size)) = self.pictures.described() {
            if let Some((width, height)) = size {
                about = about.with("width", f64::from(width)).with("height", f64::from(height));
            }
            about = about.with("videocodecid", codec);
        }
        if self.has_sound {
            about = about
                .with("audiocodecid", f64::from(FourCC::OPUS.as_u32()))
                .with("audiosamplerate", 48_000.0)
                .with("audiosamplesize", 16.0)
                .with("stereo", true);
        }
        let mut body = Vec::new();
        amf0::encode(&Value::from("onMetaData"), &mut body);
        amf0::encode(&Value::EcmaArray(about), &mut body);
        // It belongs to no time.
        Message::data(0, body)
    }
}

/// The body of a message with sound.
fn sound(packet_type: u8, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(5 + data.len());
    body.push(EXTENDED_SOUND | packet_type);
    body.extend_from_slice(&FourCC::OPUS.0);
    body.extend_from_slice(data);
    body
}

#[cfg(test)]
mod tests;
