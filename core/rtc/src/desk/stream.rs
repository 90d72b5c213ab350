use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::flv::{
    AccessUnit, AudioCodec, Codec, HeaderKind, VideoCodec, audio_header_slots, video_header_slots,
};
use anabranch_core::hub::{Player, PullEnd, StreamId};
use anabranch_core::source::{Frame, FrameKind};
use anabranch_core::url::StreamKey;
use bytes::Bytes;

use super::clock::Clock;
use super::effect::{OpusPacket, SessionId, SoundJob};
use super::log::{Entry, Log};
use crate::peer::Medium;
use crate::rtp::{MAX_PAYLOAD, RtpError, VideoPacketizer};

/// Frames that are taken from a stream at once.
const BATCH: usize = 64;

/// What a stream has of one medium.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Header {
    None,
    Known(Codec, Bytes),
}

/// What has been told of a publication.
#[derive(Debug, Default)]
struct Told {
    leaves_out: bool,
    no_sound: bool,
    no_picture: bool,
}

/// What came of new frames.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) leaves_out: bool,
    pub(super) no_sound: Option<String>,
    pub(super) no_picture: Option<String>,
    pub(super) left_out: u64,
    pub(super) jobs: Vec<SoundJob>,
    /// True if the codec of the pictures is another one: viewers that cannot have it are at their end.
    pub(super) has_changed: bool,
}

/// A stream that is put into packets once for all its viewers.
pub(super) struct Stream {
    player: Player,
    /// The publication that is on.
    publication: Option<u64>,
    clock: Clock,
    video_header: Header,
    audio_header: Header,
    packetizer: Option<VideoPacketizer>,
    /// The codec of the pictures that came, if it has a form here.
    video: Option<VideoCodec>,
    /// True until the next key frame.
    needs_key: bool,
    /// The latest presentation time of a picture, and the last time of decoding.
    latest: Option<(u64, u64)>,
    /// True if pictures come out of order.
    is_reordered: bool,
    picture: u64,
    pub(super) log: Log,
    told: Told,
    /// Work on its sound.
    job: Option<u64>,
    next_job: u64,
    pub(super) viewers: BTreeSet<SessionId>,
    /// How many of them take sound.
    pub(super) listeners: usize,
    /// Viewers of another quality that get this one from its next key frame on.
    pub(super) entering: BTreeSet<SessionId>,
    /// The names of all its qualities, if it has several.
    pub(super) qualities: Arc<[StreamKey]>,
    /// Those that wait for it to be live.
    pub(super) waiting: BTreeSet<SessionId>,
    /// When its first frame came.
    live_since: Option<Instant>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stream { video, viewers, waiting, log, .. } = self;
        let viewers = viewers.len();
        f.debug_struct("Stream")
            .field("video", video)
            .field("viewers", &viewers)
            .field("waiting", &waiting.len())
            .field("log", log)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// `first_job` is the number of its first work on sound; each stream has its own numbers.
    pub(super) fn new(player: Player, first_job: u64) -> Self {
        Stream {
            player,
            publication: None,
            clock: Clock::default(),
            video_header: Header::None,
            audio_header: Header::None,
            packetizer: None,
            video: None,
            needs_key: true,
            latest: None,
            is_reordered: false,
            picture: 0,
            log: Log::default(),
            told: Told::default(),
            job: None,
            next_job: first_job,
            viewers: BTreeSet::new(),
            listeners: 0,
            entering: BTreeSet::new(),
            qualities: Arc::from([]),
            waiting: BTreeSet::new(),
            live_since: None,
        }
    }

    pub(super) fn id(&self) -> StreamId {
        self.player.stream_id()
    }

    pub(super) fn is_absent(&self) -> bool {
        !self.player.is_live() && self.player.is_absent()
    }

    pub(super) fn is_live(&self) -> bool {
        self.player.is_live()
    }

    /// Kilobits a second that it has had of late.
    pub(super) fn kbps(&self, now: Instant) -> Option<f64> {
        self.player.kbps(now)
    }

    /// The codecs of the stream, as far as they are known.
    pub(super) fn codecs(&self) -> (Option<VideoCodec>, Option<AudioCodec>) {
        self.player.codecs()
    }

    /// Since when frames have come.
    pub(super) fn live_since(&self) -> Option<Instant> {
        self.live_since.filter(|_| self.player.is_live())
    }

    /// The codec of the pictures that are in the log.
    pub(super) fn video(&self) -> Option<VideoCodec> {
        self.video
    }

    pub(super) fn job(&self) -> Option<u64> {
        self.job
    }

    /// Takes what is new from the log of the stream.
    pub(super) fn pump(&mut self, now: Instant, most: usize, news: &mut News) {
        let wants_sound = self.listeners > 0;
        if !wants_sound {
            self.end_job(news);
        }
        let mut before = None;
        loop {
            let mut frames = Vec::new();
            let end = self.player.pull(|frame| {
                frames.push(frame.clone());
                frames.len() < BATCH
            });
            let begun = self.player.begun();
            if !frames.is_empty() && self.publication != Some(begun) {
                self.publication = Some(begun);
                self.begin();
            }
            if end.missed.frames > 0 {
                self.needs_key = true;
            }
            for frame in &frames {
                self.live_since.get_or_insert(now);
                self.take(now, frame, wants_sound, most, news);
            }
            match end.end {
                PullEnd::Pending => return,
                PullEnd::Full => {}
                PullEnd::Ended(_) => {
                    if !self.player.is_live() {
                        self.live_since = None;
                    }
                    if frames.is_empty() && before == Some(begun) {
                        return;
                    }
                }
            }
            before = Some(begun);
        }
    }

    /// Another publication begins. Its times go on where those of the last one were.
    fn begin(&mut self) {
        self.told = Told::default();
        (self.needs_key, self.latest, self.is_reordered) = (true, None, false);
    }

    fn take(&mut self, now: Instant, frame: &Frame, wants_sound: bool, most: usize, news: &mut News) {
        if frame.is_header() && frame.kind() != FrameKind::Data {
            let body = frame.payload();
            let slots = match frame.kind() {
                FrameKind::Video => video_header_slots(&body),
                FrameKind::Audio | FrameKind::Data => audio_header_slots(&body),
            };
            for slot in slots.filter(|slot| slot.kind == HeaderKind::SequenceHeader && slot.track == 0) {
                self.header(slot.codec, slot.payload, news);
            }
        }
        frame.access_units(|unit| match unit.codec {
            // Further tracks are other qualities and languages of the same.
            _ if unit.track != 0 => {}
            Codec::Video(codec) => self.video_unit(now, codec, &unit, most, news),
            Codec::Audio(codec) => self.audio_unit(now, codec, &unit, wants_sound, most, news),
        });
    }

    fn header(&mut self, codec: Codec, payload: &[u8], news: &mut News) {
        let header = match codec {
            Codec::Video(_) => &mut self.video_header,
            Codec::Audio(_) => &mut self.audio_header,
        };
        if matches!(header, Header::Known(known, bytes) if *known == codec && *bytes == payload) {
            return;
        }
        *header = Header::Known(codec, Bytes::copy_from_slice(payload));
        match codec {
            Codec::Video(codec) => self.packetizer(codec, payload, news),
            Codec::Audio(_) => self.end_job(news),
        }
    }

    fn packetizer(&mut self, codec: VideoCodec, header: &[u8], news: &mut News) {
        let made = VideoPacketizer::new(codec, header);
        self.needs_key = true;
        match made {
            Ok(packetizer) => {
                self.packetizer = Some(packetizer);
                if self.video.replace(codec) != Some(codec) {
                    news.has_changed = true;
                    self.log.forget_start();
                }
            }
            Err(error) => {
                self.packetizer = None;
                self.no_picture(&error, news);
            }
        }
    }

    fn no_picture(&mut self, error: &RtpError, news: &mut News) {
        if !std::mem::replace(&mut self.told.no_picture, true) {
            news.no_picture = Some(error.to_string());
        }
    }

    fn video_unit(&mut self, now: Instant, codec: VideoCodec, unit: &AccessUnit, most: usize, news: &mut News) {
        let is_known = matches!(&self.video_header, Header::Known(known, _) if *known == Codec::from(codec));
        if !is_known {
            // Of some codecs encoders send no header, as decoders need none.
            self.header(codec.into(), &[], news);
        }
        let time = self.clock.time(unit.timestamp);
        if self.needs_key && !unit.key {
            news.left_out += u64::from(self.is_reordered);
            return;
        }
        let Some(packetizer) = &mut self.packetizer else { return };
        let Ok(packets) = packetizer.packetize(&unit.payload, unit.key) else {
            // Pictures that need it cannot be decoded either.
            self.needs_key = true;
            return;
        };
        self.needs_key = false;
        self.picture += 1;
        let shown = time.saturating_add_signed(unit.composition_time.into());
        let mut is_early = false;
        match self.latest {
            Some((latest, decoded)) if time >= decoded => {
                is_early = shown < latest;
                self.is_reordered |= is_early;
                self.latest = Some((latest.max(shown), time));
            }
            _ => self.latest = Some((shown, time)),
        }
        if self.is_reordered && (is_early || !packets.is_reference) {
            news.left_out += 1;
            news.leaves_out |= !std::mem::replace(&mut self.told.leaves_out, true);
            // Decoders of browsers take a picture for a fault that is to be shown before one that they have shown, and
            // without it those that need it would not be whole.
            self.needs_key |= packets.is_reference;
            return;
        }
        if unit.key {
            self.clock.settle();
        }
        let wall = self.clock.moment(now, shown);
        let time = in_units(shown, unit.nanoseconds, 90);
        let last = packets.payloads.len().saturating_sub(1);
        for (index, payload) in packets.payloads.into_iter().enumerate() {
            let entry = Entry {
                medium: Medium::Video,
                payload,
                time,
                wall,
                marker: index == last,
                picture: self.picture,
                is_start: unit.key && index == 0,
            };
            self.log.push(entry, most);
        }
    }

    fn audio_unit(
        &mut self,
        now: Instant,
        codec: AudioCodec,
        unit: &AccessUnit,
        wants_sound: bool,
        most: usize,
        news: &mut News,
    ) {
        let time = self.clock.time(unit.timestamp);
        match codec {
            AudioCodec::Opus => {
                self.end_job(news);
                let data = unit.payload.joined();
                if (1..=MAX_PAYLOAD).contains(&data.len()) {
                    self.sound_entry(now, time, in_units(time, unit.nanoseconds, 48), &data, most);
                }
            }
            AudioCodec::Aac => {
                let Header::Known(Codec::Audio(AudioCodec::Aac), config) = &self.audio_header else { return };
                if !wants_sound {
                    return;
                }
                let job = *self.job.get_or_insert_with(|| {
                    self.next_job += 1;
                    news.jobs.push(SoundJob::Begin { job: self.next_job, config: config.clone() });
                    self.next_job
                });
                // Where nothing comes of it, the work is done with.
                if !self.told.no_sound {
                    let time = Duration::from_millis(time);
                    news.jobs.push(SoundJob::Frame { job, time, data: unit.payload.joined() });
                }
            }
            other => {
                self.end_job(news);
                if !std::mem::replace(&mut self.told.no_sound, true) {
                    news.no_sound = Some(format!("{} is not sent by WebRTC", Codec::from(other)));
                }
            }
        }
    }

    fn sound_entry(&mut self, now: Instant, milliseconds: u64, time: u32, data: &[u8], most: usize) {
        let wall = self.clock.moment(now, milliseconds);
        let entry = Entry {
            medium: Medium::Audio,
            payload: Arc::from(data),
            time,
            wall,
            marker: false,
            picture: self.picture,
            is_start: false,
        };
        self.log.push(entry, most);
    }

    /// Work on its sound is done.
    pub(super) fn made(&mut self, now: Instant, packets: &[OpusPacket], most: usize) {
        for OpusPacket { time, data } in packets {
            let milliseconds = time.as_millis() as u64;
            let units = time.as_nanos() * 48 / 1_000_000;
            if (1..=MAX_PAYLOAD).contains(&data.len()) {
                self.sound_entry(now, milliseconds, units as u32, data, most);
            }
        }
    }

    /// Its sound cannot be put into another codec. True if that is new.
    pub(super) fn not_made(&mut self) -> bool {
        !std::mem::replace(&mut self.told.no_sound, true)
    }

    fn end_job(&mut self, news: &mut News) {
        if let Some(job) = self.job.take() {
            news.jobs.push(SoundJob::End { job });
        }
    }

    /// It is followed no more.
    pub(super) fn end(mut self) -> News {
        let mut news = News::default();
        self.end_job(&mut news);
        news
    }
}

/// A time in so many units a millisecond, modulo 2^32.
fn in_units(milliseconds: u64, nanoseconds: u32, units: u32) -> u32 {
    let more = u64::from(nanoseconds) * u64::from(units) / 1_000_000;
    milliseconds.wrapping_mul(units.into()).wrapping_add(more) as u32
}
