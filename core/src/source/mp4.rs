use bytes::{Bytes, BytesMut};

use super::{Frame, FrameKind, Tracks};
use crate::flv::{AccessUnit, AudioCodec, Codec, Slices, VideoCodec, audio, video};
use crate::fmp4::{
    AudioConfig, Cadence, Fmp4Error, FragmentOptions, Sample, Track, VIDEO_TIMESCALE, VideoConfig, mime_type, ticks,
    vp9_size, write_fragment_head, write_init,
};
use crate::http::Framing;

/// The number of the video track.
const VIDEO: u32 = 1;
/// The number of the audio track.
const AUDIO: u32 = 2;
/// How long a picture lasts, as long as no second one is known. Browsers leave out pictures after one that is too short.
const FIRST_PICTURE: u32 = VIDEO_TIMESCALE / 2;
/// How many earlier entries of the log tell how long a frame lasts.
pub(super) const HISTORY: usize = 24;
/// Timestamps that are so near to a time, in milliseconds, are taken as before or after it; they begin again at 2^32.
const NEAR: u64 = 1 << 30;
/// A picture that comes more than so many seconds late does not follow what came before.
const LATE: u64 = 10;
/// A beginning of so many bytes waits for no second picture.
const LARGE: usize = 32 << 10;

/// What players by MP4 of one form have in common: the framing, the tracks of their init segment, and what the
/// timestamps count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mp4 {
    /// How the body is framed.
    pub framing: Framing,
    /// The codec of the video track, if there is one.
    pub video: Option<VideoCodec>,
    /// The audio track, if there is one.
    pub audio: Option<Sound>,
    /// A time of the stream, in milliseconds that do not begin again.
    base: u64,
}

/// An audio track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sound {
    /// Its codec.
    pub codec: AudioCodec,
    /// Its units a second.
    pub rate: u32,
    /// How long a frame lasts in these units, if all frames last as long.
    pub frame: Option<u32>,
}

/// The times of the frames before a fragment. How long its last frames last follows from them, and no frame comes before
/// them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacing {
    video: Pace,
    audio: Pace,
}

/// The times of one track, in its units.
#[derive(Debug, Clone, Copy)]
struct Pace {
    cadence: Cadence,
    last: Option<u64>,
}

impl Pace {
    fn new(rate: u32, first: u32) -> Self {
        Pace { cadence: Cadence::new(rate, first), last: None }
    }

    /// Takes the time of a frame. Times rise: some encoders send the time of presentation, which goes back and forth.
    fn take(&mut self, time: u64) -> u64 {
        let time = self.last.map_or(time, |last| time.max(last + 1));
        self.last = Some(time);
        self.cadence.note(time);
        time
    }
}

/// Some frames as a fragment. The payloads are those of the frames.
struct Fragment {
    head: Vec<u8>,
    payloads: Vec<Slices>,
    length: usize,
}

impl Fragment {
    fn slices(&self) -> impl Iterator<Item = &Bytes> {
        self.payloads.iter().flat_map(Slices::iter)
    }
}

impl Mp4 {
    /// The times before the first frame.
    pub(super) fn pacing(&self) -> Pacing {
        let (rate, frame) = self.audio.map_or((1000, None), |audio| (audio.rate, audio.frame));
        Pacing { video: Pace::new(VIDEO_TIMESCALE, FIRST_PICTURE), audio: Pace::new(rate, frame.unwrap_or(rate / 20)) }
    }

    /// True if the timestamp can only mean one time.
    pub(super) fn is_near(&self, timestamp: u32) -> bool {
        u64::from(self.step(timestamp).unsigned_abs()) <= NEAR
    }

    fn step(&self, timestamp: u32) -> i32 {
        timestamp.wrapping_sub(self.base as u32).cast_signed()
    }

    /// The time, in milliseconds that do not begin again.
    fn time(&self, timestamp: u32) -> u64 {
        self.base.saturating_add_signed(self.step(timestamp).into())
    }

    /// The frame as a sample with its payload. Its duration is how much earlier it is decoded than its time.
    fn sample(&self, frame: &Frame, pacing: &mut Pacing) -> Option<(Sample, Slices)> {
        let mut found = None;
        frame.access_units(|unit| {
            if found.is_none() {
                found = self.sample_of(unit, pacing);
            }
        });
        found
    }

    fn sample_of(&self, unit: AccessUnit, pacing: &mut Pacing) -> Option<(Sample, Slices)> {
        let (track, rate, pace) = match unit.codec {
            Codec::Video(codec) if self.video == Some(codec) => (VIDEO, VIDEO_TIMESCALE, &mut pacing.video),
            Codec::Audio(codec) => {
                let audio = self.audio.filter(|audio| audio.codec == of_frames(codec))?;
                (AUDIO, audio.rate, &mut pacing.audio)
            }
            Codec::Video(_) => return None,
        };
        let size = u32::try_from(unit.payload.len()).ok().filter(|size| *size > 0)?;
        let time = ticks(self.time(unit.timestamp), 0, rate);
        let lasts = u64::from(pace.cadence.estimate());
        let end = pace.last.map(|last| last + lasts);
        let mut decode_time = pace.take(time);
        // A browser takes a frame that is decoded twice as long after the one before as that was said to last for one
        // behind a gap, and leaves out all pictures up to a key frame. So a late picture is decoded where the one before
        // ends, and shown at its time.
        let late = end.map_or(0, |end| decode_time.saturating_sub(end));
        let is_late = track == VIDEO && !unit.key && late > lasts / 2 && late <= LATE * u64::from(rate);
        let duration = if is_late { u32::try_from(late).unwrap_or(0) } else { 0 };
        decode_time -= u64::from(duration);
        let rate = i64::from(rate);
        let composition = i64::from(unit.composition_time) * rate / 1000
            + i64::from(unit.nanoseconds) * rate / 1_000_000_000
            + time.cast_signed().saturating_sub(decode_time.cast_signed());
        let composition = composition.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        Some((Sample { track, decode_time, composition, duration, size, key: unit.key }, unit.payload))
    }

    /// These frames as a fragment. `None` if there is nothing of these tracks.
    fn fragment<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>, pacing: &mut Pacing) -> Option<Fragment> {
        let mut coded: Vec<_> = frames.into_iter().filter_map(|frame| self.sample(frame, pacing)).collect();
        // A fragment is shorter with its tracks one after the other.
        coded.sort_by_key(|(sample, _)| sample.track);
        let (mut samples, payloads): (Vec<Sample>, Vec<Slices>) = coded.into_iter().unzip();
        for index in 0..samples.len() {
            let Sample { track, decode_time, duration, .. } = samples[index];
            let next = samples.get(index + 1).filter(|next| next.track == track);
            samples[index].duration = match next {
                Some(next) => u32::try_from(next.decode_time - decode_time).unwrap_or(u32::MAX),
                // One that is decoded early lasts until the next one is.
                None if track == VIDEO => {
                    let lasts = pacing.video.cadence.estimate();
                    if duration > 0 { lasts.max(duration.saturating_add(lasts.min(FIRST_PICTURE))) } else { lasts }
                }
                None => {
                    let frame = self.audio.and_then(|audio| audio.frame);
                    frame.unwrap_or_else(|| pacing.audio.cadence.estimate())
                }
            };
        }
        // Rises, and follows from the frames alone, so that it is the same for all players.
        let sequence = samples.first()?.decode_time as u32;
        let mut head = Vec::with_capacity(128 + 16 * samples.len());
        write_fragment_head(sequence.wrapping_add(1), &samples, &FragmentOptions::default(), &mut head).ok()?;
        let length = head.len() + samples.iter().map(|sample| sample.size as usize).sum::<usize>();
        Some(Fragment { head, payloads, length })
    }

    /// These frames as one piece of the body of a live stream: one copy for all players. Empty if there is nothing of
    /// these tracks.
    pub(super) fn piece(&self, frames: &[Frame], mut pacing: Pacing) -> Bytes {
        let Some(fragment) = self.fragment(frames, &mut pacing) else {
            return Bytes::new();
        };
        let (before, after) = (self.framing.before(fragment.length), self.framing.after());
        let mut out = BytesMut::with_capacity(before.bytes().len() + fragment.length + after.len());
        out.extend_from_slice(before.bytes());
        out.extend_from_slice(&fragment.head);
        fragment.slices().for_each(|slice| out.extend_from_slice(slice));
        out.extend_from_slice(after);
        out.freeze()
    }

    /// Notes a frame that comes before a fragment.
    pub(super) fn pass(&self, frame: &Frame, pacing: &mut Pacing) {
        if !frame.class().is_coded() || !self.is_near(frame.timestamp()) {
            return;
        }
        let time = self.time(frame.timestamp());
        match (frame.kind(), self.audio) {
            (FrameKind::Video, _) => _ = pacing.video.take(ticks(time, 0, VIDEO_TIMESCALE)),
            (FrameKind::Audio, Some(audio)) => _ = pacing.audio.take(ticks(time, 0, audio.rate)),
            _ => {}
        }
    }
}

/// What one player by MP4 gets: the configurations of the stream's decoders, and the times of the frames that it got one
/// by one.
#[derive(Debug, Default)]
pub(crate) struct Mp4Tracks {
    video: Option<VideoConfig>,
    audio: Option<AudioConfig>,
    /// Coded pictures so far, up to 2.
    pictures: u8,
    pacing: Option<Pacing>,
}

impl Mp4Tracks {
    /// Notes a frame; true if the decoders need another configuration from here on.
    pub(crate) fn note(&mut self, frame: &Frame) -> bool {
        let (body, _) = frame.first_chunk();
        match frame.kind() {
            FrameKind::Video => self.note_video(body).unwrap_or(false),
            FrameKind::Audio => self.note_audio(body).unwrap_or(false),
            FrameKind::Data => false,
        }
    }

    fn note_video(&mut self, body: &[u8]) -> Option<bool> {
        let tag = video::parse(body).ok()?;
        let track = tag.tracks().next()?.ok()?;
        if tag.packet_type.is_coded() {
            self.pictures = 2.min(self.pictures + 1);
            let video = self.video.take_if(|video| video.codec() == VideoCodec::Vp9 && video.size().is_none())?;
            self.video = Some(video.or_size(vp9_size(track.payload)));
            return None;
        }
        if !tag.packet_type.is_sequence_header() {
            return None;
        }
        let config = VideoConfig::from_header(track.codec, track.payload).ok()?;
        let known = self.video.as_ref();
        let is_new = known.is_none_or(|known| (known.codec(), known.record()) != (config.codec(), config.record()));
        if is_new {
            let size = known.and_then(VideoConfig::size);
            self.video = Some(config.or_size(size));
        }
        Some(is_new)
    }

    fn note_audio(&mut self, body: &[u8]) -> Option<bool> {
        let tag = audio::parse(body).ok()?;
        let track = tag.tracks().next()?.ok()?;
        let config = match tag.packet_type {
            audio::AudioPacketType::SequenceStart => AudioConfig::from_header(track.codec, track.payload).ok()?,
            audio::AudioPacketType::CodedFrames if AudioConfig::is_in_frames(track.codec) => {
                let is_known = |known: &AudioConfig| known.codec() == of_frames(track.codec);
                if self.audio.as_ref().is_some_and(is_known) {
                    return None;
                }
                AudioConfig::from_frame(track.codec, track.payload).ok()?
            }
            _ => return None,
        };
        let is_new = self.audio.as_ref() != Some(&config);
        self.audio = Some(config);
        Some(is_new)
    }

    /// True if the init segment can be written, of a stream that has these media, and it is clear how long the first
    /// picture lasts. `held` bytes of it wait.
    pub(crate) fn is_ready(&self, tracks: Tracks, held: usize) -> bool {
        let has_size = |video: &VideoConfig| video.codec() != VideoCodec::Vp9 || video.size().is_some();
        let has_pictures = self.pictures == 2 || self.pictures == 1 && held >= LARGE;
        let video = !tracks.video || has_pictures && self.video.as_ref().is_some_and(has_size);
        video && (!tracks.audio || self.audio.is_some())
    }

    /// The form of a player that begins with a frame of this timestamp.
    pub(crate) fn form(&self, framing: Framing, timestamp: u32) -> Mp4 {
        let audio = self.audio.as_ref().map(|audio| Sound {
            codec: audio.codec(),
            rate: audio.sample_rate().max(1),
            frame: audio.frame_samples(),
        });
        let base = u64::from(timestamp) & !(NEAR - 1);
        Mp4 { framing, video: self.video.as_ref().map(VideoConfig::codec), audio, base }
    }

    /// The form after another configuration. `None` if it has other tracks: an init segment cannot add one.
    pub(crate) fn changed(&mut self, form: &Mp4) -> Option<Mp4> {
        let changed = Mp4 { base: form.base, ..self.form(form.framing, 0) };
        // The times go on in other units.
        self.pacing = None;
        let is_same =
            changed.video.is_some() == form.video.is_some() && changed.audio.is_some() == form.audio.is_some();
        is_same.then_some(changed)
    }

    /// The init segment, and its media type.
    ///
    /// # Errors
    /// There is no track that MP4 has a form for.
    pub(crate) fn init(&self) -> Result<(Vec<u8>, String), Fmp4Error> {
        let video = self.video.clone().map(|config| Track { id: VIDEO, config: config.into() });
        let audio = self.audio.clone().map(|config| Track { id: AUDIO, config: config.into() });
        let tracks: Vec<&Track> = video.iter().chain(&audio).collect();
        let mut out = Vec::new();
        write_init(&tracks, &mut out)?;
        Ok((out, mime_type(&tracks)))
    }

    /// Hands these frames to `sink` as one piece of the body, with `init` before them. The payloads are shared.
    pub(crate) fn send(&mut self, form: &mut Mp4, init: &[u8], frames: &[Frame], mut sink: impl FnMut(Bytes)) {
        if let Some(frame) = frames.iter().find(|frame| frame.class().is_coded() && !form.is_near(frame.timestamp())) {
            form.base = form.time(frame.timestamp()) & !(NEAR - 1);
        }
        let pacing = self.pacing.get_or_insert_with(|| form.pacing());
        let fragment = form.fragment(frames, pacing);
        let length = init.len() + fragment.as_ref().map_or(0, |fragment| fragment.length);
        if length == 0 {
            return;
        }
        let head = fragment.as_ref().map_or(&[][..], |fragment| &fragment.head);
        sink([form.framing.before(length).bytes(), init, head].concat().into());
        if let Some(fragment) = &fragment {
            fragment.slices().cloned().for_each(&mut sink);
        }
        let after = form.framing.after();
        if !after.is_empty() {
            sink(Bytes::from_static(after));
        }
    }
}

/// The codec that the configuration names: MP3 at 8 kHz has its own number in FLV.
fn of_frames(codec: AudioCodec) -> AudioCodec {
    if codec == AudioCodec::Mp3At8k { AudioCodec::Mp3 } else { codec }
}
