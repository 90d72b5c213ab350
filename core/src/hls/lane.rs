use crate::flv::{AccessUnit, AudioCodec, Codec, Slices, VideoCodec};
use crate::fmp4::{AudioConfig, Cadence, DecodeTimes, Track, TrackConfig, VideoConfig, vp9_size};
use crate::mpegts::Muxer;

use super::Container;

/// One track of a stream on its way into segments. A frame waits until the next one tells how long it lasts.
#[derive(Debug)]
pub(super) struct Lane {
    /// Number of its track in fragments.
    pub(super) id: u32,
    /// The configuration of its decoder; `None` before it is known.
    pub(super) track: Option<Track>,
    /// The frame that waits.
    pub(super) pending: Option<Waiting>,
    /// Decoding time of the newest frame, in milliseconds of the stream; `None` while no frame has come.
    pub(super) newest: Option<u64>,
    times: DecodeTimes,
    cadence: Cadence,
}

/// A frame with its times in units of its track.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) decode_time: u64,
    pub(super) composition: i32,
    pub(super) key: bool,
    pub(super) payload: Slices,
}

impl Lane {
    pub(super) fn new(id: u32) -> Self {
        let (times, cadence) = (DecodeTimes::new(1, None), Cadence::new(1, 1));
        Lane { id, track: None, pending: None, newest: None, times, cadence }
    }

    /// A lane with the same configuration, to try what changes it.
    pub(super) fn probe(&self) -> Lane {
        Lane { track: self.track.clone(), ..Lane::new(self.id) }
    }

    /// True if the frame may tell something about the configuration.
    pub(super) fn is_to_look_at(&self, unit: &AccessUnit) -> bool {
        match unit.codec {
            Codec::Audio(codec) => AudioConfig::is_in_frames(codec),
            Codec::Video(VideoCodec::Vp9) => unit.key,
            Codec::Video(_) => false,
        }
    }

    /// Takes a sequence header. True if the configuration is another one than before.
    pub(super) fn header(&mut self, codec: Codec, payload: &[u8], container: Container) -> bool {
        let config = match codec {
            Codec::Video(codec) => VideoConfig::from_header(codec, payload).map(TrackConfig::from),
            Codec::Audio(codec) => AudioConfig::from_header(codec, payload).map(TrackConfig::from),
        };
        self.configure(config.ok(), container)
    }

    /// Takes the configuration from a frame, if the codec has its configuration there. True if it is another one.
    pub(super) fn look_at(&mut self, unit: &AccessUnit, container: Container) -> bool {
        match unit.codec {
            Codec::Audio(codec) if AudioConfig::is_in_frames(codec) => {
                let Some(first) = unit.payload.iter().next() else { return false };
                match AudioConfig::from_frame(codec, first) {
                    Ok(config) => self.configure(Some(config.into()), container),
                    Err(_) => false,
                }
            }
            Codec::Video(_) => self.complete_size(unit),
            Codec::Audio(_) => false,
        }
    }

    /// A VP9 key frame tells the size that its sequence header does not contain.
    fn complete_size(&mut self, unit: &AccessUnit) -> bool {
        let Some(Track { config: TrackConfig::Video(video), .. }) = &mut self.track else { return false };
        if video.size().is_some() {
            return false;
        }
        let size = unit.payload.iter().next().and_then(|first| vp9_size(first));
        *video = video.clone().or_size(size);
        size.is_some()
    }

    fn configure(&mut self, config: Option<TrackConfig>, container: Container) -> bool {
        let config = config.filter(|config| container == Container::Fmp4 || Muxer::can_carry(config));
        // A size that a key frame told stays, as long as the rest is the same.
        let config = match (config, self.track.as_ref().map(|track| &track.config)) {
            (Some(TrackConfig::Video(new)), Some(TrackConfig::Video(old))) if new.record() == old.record() => {
                Some(new.or_size(old.size()).into())
            }
            (config, _) => config,
        };
        if config.as_ref() == self.track.as_ref().map(|track| &track.config) {
            return false;
        }
        self.track = config.map(|config| Track { id: self.id, config });
        let scale = self.scale();
        let (samples, initial) = match self.track.as_ref().map(|track| &track.config) {
            Some(TrackConfig::Audio(audio)) => (audio.frame_samples(), scale / 50),
            _ => (None, scale / 30),
        };
        self.cadence = Cadence::new(scale, samples.unwrap_or(initial));
        self.times = DecodeTimes::new(scale, samples);
        true
    }

    /// True if frames of the codec have the configuration that is known.
    pub(super) fn fits(&self, codec: Codec) -> bool {
        let config = self.track.as_ref().map(|track| &track.config);
        match (config, codec) {
            (Some(TrackConfig::Video(video)), Codec::Video(codec)) => video.codec() == codec,
            // MP3 at 8 kHz has a separate codec in FLV.
            (Some(TrackConfig::Audio(audio)), Codec::Audio(AudioCodec::Mp3At8k)) => audio.codec() == AudioCodec::Mp3,
            (Some(TrackConfig::Audio(audio)), Codec::Audio(codec)) => audio.codec() == codec,
            _ => false,
        }
    }

    /// Units a second.
    pub(super) fn scale(&self) -> u32 {
        self.track.as_ref().map_or(1000, Track::timescale).max(1)
    }

    /// The times of a frame at `milliseconds` of the stream, in units of the track. They rise.
    pub(super) fn time(&mut self, milliseconds: u64, unit: &AccessUnit) -> (u64, i32) {
        let scale = self.scale();
        let time = self.times.next(milliseconds);
        self.newest = Some(milliseconds);
        self.cadence.note(time);
        let composition = i64::from(unit.composition_time) * i64::from(scale) / 1000
            + i64::from(unit.nanoseconds) * i64::from(scale) / 1_000_000_000;
        (time, composition.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
    }

    /// How long a frame lasts whose successor is not known, in units of the track.
    pub(super) fn estimate(&self) -> u32 {
        self.cadence.estimate()
    }

    /// Another publication begins: times may go back, and the configuration comes again.
    pub(super) fn restart(&mut self) {
        self.pending = None;
        self.newest = None;
        self.times.restart();
    }

    /// Microseconds of a time in units of the track.
    pub(super) fn micros(&self, time: u64) -> u64 {
        micros(time, self.scale())
    }
}

/// Microseconds of a time with `scale` units a second.
pub(super) fn micros(time: u64, scale: u32) -> u64 {
    let scale = u64::from(scale.max(1));
    (time / scale).saturating_mul(1_000_000).saturating_add(time % scale * 1_000_000 / scale)
}
