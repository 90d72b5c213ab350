use std::sync::{Mutex, PoisonError};

use crate::flv::audio::{self, AudioBody, SoundHeader};
use crate::flv::config::{AudioSummary, CodecSummary, VideoSummary, summarize};
use crate::flv::video::{self, VideoBody};
use crate::flv::{AudioCodec, Codec, HeaderKind, HeaderSlot, VideoCodec, audio_header_slots, video_header_slots};
use crate::source::FrameKind;

/// A stream's video: its default track, or the track with the lowest number until the default track is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoDescription {
    /// Number of the track; 0 without multitrack.
    pub track: u8,
    /// Codec; for its name, [`VideoCodec::name`].
    pub codec: VideoCodec,
    /// Profile, level and picture size; `None` if there was no readable sequence header.
    pub summary: Option<VideoSummary>,
}

/// A stream's audio: its default track, or the track with the lowest number until the default track is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioDescription {
    /// Number of the track; 0 without multitrack.
    pub track: u8,
    /// Codec; for its name, [`AudioCodec::name`].
    pub codec: AudioCodec,
    /// Profile, sample rate and channels; `None` if there was no readable sequence header. For codecs without sequence
    /// header, the values in their frames.
    pub summary: Option<AudioSummary>,
}

/// The tracks, as described by the headers so far.
#[derive(Debug, Default)]
pub(super) struct Tracks(Mutex<Descriptions>);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Descriptions {
    pub(super) video: Option<VideoDescription>,
    pub(super) audio: Option<AudioDescription>,
}

impl Tracks {
    /// A copy. The lock is held while copying.
    pub(super) fn read(&self) -> Descriptions {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all tracks.
    pub(super) fn clear(&self) {
        self.write(Descriptions::default());
    }

    /// Applies a message that sets or ends headers. A message that cannot be read changes nothing.
    pub(super) fn apply_header(&self, kind: FrameKind, body: &[u8]) {
        let mut tracks = self.read();
        match kind {
            FrameKind::Video => video_header_slots(body).for_each(|slot| tracks.apply(&slot)),
            FrameKind::Audio => audio_header_slots(body).for_each(|slot| tracks.apply(&slot)),
            FrameKind::Data => {}
        }
        self.write(tracks);
    }

    /// Stores the codec of a coded frame, for streams without sequence headers, if the medium is not described yet.
    pub(super) fn apply_frame(&self, kind: FrameKind, body: &[u8]) {
        let mut tracks = self.read();
        match kind {
            FrameKind::Video if tracks.video.is_none() => tracks.video = video_of_frame(body),
            FrameKind::Audio if tracks.audio.is_none() => tracks.audio = audio_of_frame(body),
            _ => return,
        }
        self.write(tracks);
    }

    fn write(&self, tracks: Descriptions) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tracks;
    }
}

impl Descriptions {
    fn apply(&mut self, slot: &HeaderSlot<'_>) {
        let sets = match slot.kind {
            HeaderKind::SequenceHeader => true,
            HeaderKind::SequenceEnd => false,
            _ => return,
        };
        let summary = sets.then(|| summarize(slot.codec, slot.payload)).flatten();
        match slot.codec {
            Codec::Video(codec) => {
                let known = self.video.map(|video| (video.track, video.codec, video.summary));
                let summary = summary.and_then(|summary| match summary {
                    CodecSummary::Video(video) => Some(video),
                    CodecSummary::Audio(_) => None,
                });
                let next = successor(known, sets, (slot.track, codec, summary));
                self.video = next.map(|(track, codec, summary)| VideoDescription { track, codec, summary });
            }
            Codec::Audio(codec) => {
                let known = self.audio.map(|audio| (audio.track, audio.codec, audio.summary));
                let summary = summary.and_then(|summary| match summary {
                    CodecSummary::Audio(audio) => Some(audio),
                    CodecSummary::Video(_) => None,
                });
                let next = successor(known, sets, (slot.track, codec, summary));
                self.audio = next.map(|(track, codec, summary)| AudioDescription { track, codec, summary });
            }
        }
    }
}

/// Track, codec, and summary of its header.
type Description<C, S> = (u8, C, Option<S>);

/// The description of a medium after a header of one of its tracks, or, if `sets` is false, after the end of that
/// track.
fn successor<C: PartialEq, S>(
    known: Option<Description<C, S>>,
    sets: bool,
    (track, codec, summary): Description<C, S>,
) -> Option<Description<C, S>> {
    match known {
        None => sets.then_some((track, codec, summary)),
        Some(known) if known.0 < track => Some(known),
        Some(known) if known.0 > track => Some(if sets { (track, codec, summary) } else { known }),
        Some(_) if !sets => None,
        // The header is a damaged repetition: keep the earlier one.
        Some(known) if known.1 == codec && summary.is_none() => Some(known),
        Some(_) => Some((track, codec, summary)),
    }
}

fn video_of_frame(body: &[u8]) -> Option<VideoDescription> {
    let tag = video::parse(body).ok()?;
    match tag.body {
        VideoBody::Track(track) => Some(VideoDescription { track: track.id, codec: track.codec, summary: None }),
        VideoBody::Multitrack(_) => {
            let track = tag.tracks().next()?.ok()?;
            Some(VideoDescription { track: track.id, codec: track.codec, summary: None })
        }
        VideoBody::Command(_) | VideoBody::Opaque(_) => None,
    }
}

fn audio_of_frame(body: &[u8]) -> Option<AudioDescription> {
    let tag = audio::parse(body).ok()?;
    match tag.body {
        AudioBody::Track(track) => {
            let summary = tag.sound.and_then(|sound| sound_summary(track.codec, sound));
            Some(AudioDescription { track: track.id, codec: track.codec, summary })
        }
        AudioBody::Multitrack(_) => {
            let track = tag.tracks().next()?.ok()?;
            Some(AudioDescription { track: track.id, codec: track.codec, summary: None })
        }
        AudioBody::Opaque(_) => None,
    }
}

/// The values in a legacy header, for codecs without sequence header (FLV 10.1 §E.4.2.1). Some codecs have a fixed
/// rate; the header's rate is ignored then.
fn sound_summary(codec: AudioCodec, sound: SoundHeader) -> Option<AudioSummary> {
    let (sample_rate, channels) = match codec {
        AudioCodec::Aac | AudioCodec::OtherId(_) | AudioCodec::DeviceSpecific => return None,
        AudioCodec::Nellymoser16k | AudioCodec::Speex => (16_000, 1),
        AudioCodec::Nellymoser8k => (8_000, 1),
        AudioCodec::Mp3At8k | AudioCodec::G711ALaw | AudioCodec::G711MuLaw => (8_000, sound.channels()),
        _ => (sound.sample_rate(), sound.channels()),
    };
    Some(AudioSummary { object_type: None, profile_name: None, sample_rate, channels: Some(channels) })
}
