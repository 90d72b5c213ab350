use std::fs::File;
use std::io::{self, SeekFrom};
use std::mem;
use std::time::Duration;

use anabranch_core::flv::{
    AccessUnit, AudioCodec, Codec, HeaderKind, HeaderSlots, Slices, VideoCodec, audio_header_slots, video_header_slots,
};
use anabranch_core::fmp4::{
    self, AudioConfig, Cadence, DecodeTimes, FileHead, FileIndex, FragmentOptions, Sample, Track, TrackConfig,
    VideoConfig, vp9_size,
};
use anabranch_core::source::{Frame, FrameKind};

use super::file::Clock;
use super::output::{Output, Target};

/// How long a fragment lasts at most, in milliseconds: that much is lost if the process is killed. A little more than a
/// second, so that key frames that come each second end it.
const FRAGMENT: u64 = 1200;
/// How long a fragment lasts at least that a key frame ends, in milliseconds.
const SHORTEST: u64 = 500;
/// The number of bytes at which a fragment ends.
const MOST_BYTES: usize = 1 << 20;
/// The number of samples at which a fragment ends: each takes memory and has an entry in the fragment's head, however short
/// it is. Ten times those of a second with 120 pictures and much sound.
const MOST_SAMPLES: usize = 8192;

/// A file of fragmented MP4 that grows. It can be played up to the last fragment that was written, even if the process
/// is killed.
///
/// The tracks are settled with the first fragment. What would add one or change one needs another file.
#[derive(Debug)]
pub(super) struct Mp4File<F = File> {
    out: Output<F>,
    tracks: Vec<Lane>,
    /// What the file begins with; `None` before the first fragment.
    head: Option<FileHead>,
    index: FileIndex,
    sequence: u32,
    clock: Clock,
    /// When the fragment begins that is collected.
    since: Option<u64>,
    /// Bytes of the samples of that fragment.
    collected: usize,
    /// True if frames come for which the file has no track.
    needs_other: bool,
    left_out: Option<Codec>,
    /// True once that is told.
    is_told: bool,
}

/// One track.
#[derive(Debug)]
struct Lane {
    /// Track id of Enhanced RTMP.
    number: u8,
    track: Track,
    times: DecodeTimes,
    cadence: Cadence,
    /// The newest frame: how long it lasts is known when the next one comes.
    waiting: Option<Waiting>,
    samples: Vec<Sample>,
    /// The payloads of the samples.
    bytes: Vec<u8>,
    /// True after its configuration has changed: the file cannot hold its frames.
    is_over: bool,
}

#[derive(Debug)]
struct Waiting {
    decode_time: u64,
    composition: i32,
    key: bool,
    payload: Slices,
}

impl Lane {
    fn new(number: u8, config: TrackConfig) -> Self {
        // Numbers of the file are given with the first fragment.
        let track = Track { id: 1, config };
        let scale = track.timescale();
        let (samples, initial) = match &track.config {
            TrackConfig::Audio(audio) => (audio.frame_samples(), scale / 50),
            TrackConfig::Video(_) => (None, scale / 30),
        };
        Lane {
            number,
            times: DecodeTimes::new(scale, samples),
            cadence: Cadence::new(scale, samples.unwrap_or(initial)),
            track,
            waiting: None,
            samples: Vec::new(),
            bytes: Vec::new(),
            is_over: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.waiting.is_none()
    }

    /// Adds the frame that comes at `milliseconds` of the file; returns the bytes of the one before, which is a sample
    /// now.
    fn push(&mut self, milliseconds: u64, unit: AccessUnit) -> usize {
        let scale = i64::from(self.track.timescale());
        let decode_time = self.times.next(milliseconds);
        let composition =
            i64::from(unit.composition_time) * scale / 1000 + i64::from(unit.nanoseconds) * scale / 1_000_000_000;
        let composition = i32::try_from(composition).unwrap_or(0);
        let bytes = self.end_waiting(Some(decode_time));
        self.cadence.note(decode_time);
        self.waiting = Some(Waiting { decode_time, composition, key: unit.key, payload: unit.payload });
        bytes
    }

    /// Makes a sample of the frame that waits; it lasts until `end`, or as long as the frames before.
    fn end_waiting(&mut self, end: Option<u64>) -> usize {
        let Some(Waiting { decode_time, composition, key, payload }) = self.waiting.take() else {
            return 0;
        };
        let duration = end.map_or(self.cadence.estimate(), |end| {
            u32::try_from(end.saturating_sub(decode_time)).unwrap_or_else(|_| self.cadence.estimate())
        });
        let Ok(size) = u32::try_from(payload.len()) else {
            return 0;
        };
        payload.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.samples.push(Sample { track: self.track.id, decode_time, composition, duration, size, key });
        payload.len()
    }
}

impl<F: Target> Mp4File<F> {
    /// Begins an empty file. It stays empty until its first fragment is complete.
    pub(super) fn begin(file: F) -> Self {
        Mp4File {
            out: Output::new(file, 0),
            tracks: Vec::new(),
            head: None,
            index: FileIndex::default(),
            sequence: 0,
            clock: Clock::steady(),
            since: None,
            collected: 0,
            needs_other: false,
            left_out: None,
            is_told: false,
        }
    }

    /// Appends what a frame holds. Without a timestamp a header does not move the file's time.
    ///
    /// # Errors
    /// Errors of the system. The file then ends after the last complete fragment.
    pub(super) fn push(&mut self, frame: &Frame, timestamp: Option<u32>) -> io::Result<()> {
        if !frame.class().is_coded() {
            // The headers in force when the file begins are of that time.
            timestamp.inspect(|timestamp| {
                self.clock.at(*timestamp);
            });
            self.header(frame);
            return Ok(());
        }
        let now = self.clock.at(timestamp.unwrap_or(frame.timestamp()));
        frame.access_units(|unit| self.unit(now, unit));
        let since = *self.since.get_or_insert(now);
        let lasted = now.saturating_sub(since);
        let samples: usize = self.tracks.iter().map(|lane| lane.samples.len()).sum();
        let is_large = self.collected >= MOST_BYTES || samples >= MOST_SAMPLES;
        if lasted >= FRAGMENT || frame.is_join_point() && lasted >= SHORTEST || is_large {
            self.end_fragment();
            self.since = Some(now);
        }
        let flushed = self.out.flush_much();
        self.noted(flushed)
    }

    fn header(&mut self, frame: &Frame) {
        for (codec, number, config) in configurations(frame) {
            match config {
                Some(config) => self.configure(number, config),
                // Others are in the frames.
                None if !is_in_frames(codec) => self.left_out = self.left_out.or(Some(codec)),
                None => {}
            }
        }
    }

    fn configure(&mut self, number: u8, config: TrackConfig) {
        let is_open = self.head.is_none();
        match self.lane(number, config.is_video()) {
            Some(lane) if is_same(&lane.track.config, &config) => lane.is_over = false,
            Some(lane) if lane.is_empty() && is_open => *lane = Lane::new(number, config),
            Some(lane) => {
                lane.is_over = true;
                self.needs_other = true;
            }
            None if is_open => self.tracks.push(Lane::new(number, config)),
            None => self.needs_other = true,
        }
    }

    fn lane(&mut self, number: u8, is_video: bool) -> Option<&mut Lane> {
        self.tracks.iter_mut().find(|lane| lane.number == number && lane.track.config.is_video() == is_video)
    }

    /// True if the file can hold the frames that follow this header, as far as MP4 can.
    pub(super) fn takes(&self, header: &Frame) -> bool {
        configurations(header).into_iter().all(|(_, number, config)| {
            let Some(config) = config else { return true };
            let is_own = |lane: &&Lane| lane.number == number && lane.track.config.is_video() == config.is_video();
            let found = self.tracks.iter().find(is_own);
            found.map_or(self.head.is_none(), |lane| {
                is_same(&lane.track.config, &config) || lane.is_empty() && self.head.is_none()
            })
        })
    }

    /// True if frames came that need another file.
    pub(super) fn needs_other(&self) -> bool {
        self.needs_other
    }

    /// A codec whose frames are not in the file, because MP4 cannot hold them; told once for each file.
    pub(super) fn take_left_out(&mut self) -> Option<Codec> {
        let is_new = !mem::replace(&mut self.is_told, self.left_out.is_some());
        self.left_out.filter(|_| is_new)
    }

    fn unit(&mut self, now: u64, unit: AccessUnit) {
        let is_video = matches!(unit.codec, Codec::Video(_));
        if let (Codec::Audio(codec), Some(first)) = (unit.codec, unit.payload.iter().next())
            && AudioConfig::is_in_frames(codec)
            && let Ok(config) = AudioConfig::from_frame(codec, first)
        {
            self.configure(unit.track, config.into());
        }
        let has_head = self.head.is_some();
        let Some(lane) = self.lane(unit.track, is_video).filter(|lane| fits(&lane.track.config, unit.codec)) else {
            if !can_hold(unit.codec) {
                self.left_out = self.left_out.or(Some(unit.codec));
            }
            return;
        };
        if lane.is_over {
            return;
        }
        if let TrackConfig::Video(video) = &mut lane.track.config
            && video.size().is_none()
            && unit.key
            && !has_head
        {
            *video = video.clone().or_size(unit.payload.iter().next().and_then(|first| vp9_size(first)));
        }
        self.collected += lane.push(now, unit);
    }

    /// Makes a fragment of the samples that are complete.
    fn end_fragment(&mut self) {
        self.collected = 0;
        if self.tracks.iter().all(|lane| lane.samples.is_empty()) {
            return;
        }
        if self.head.is_none() {
            // The index is that of the first track: of pictures, if there are any.
            self.tracks.sort_by_key(|lane| (!lane.track.config.is_video(), lane.number));
            for (lane, id) in self.tracks.iter_mut().zip(1..) {
                lane.track.id = id;
                lane.samples.iter_mut().for_each(|sample| sample.track = id);
            }
            let tracks: Vec<_> = self.tracks.iter().map(|lane| &lane.track).collect();
            // There is a track, and each has another number.
            self.head = fmp4::write_file_head(&tracks, &mut self.out.pending).ok();
        }
        let Some(head) = &self.head else {
            return;
        };
        self.sequence = self.sequence.wrapping_add(1);
        let samples: Vec<_> = self.tracks.iter_mut().flat_map(|lane| mem::take(&mut lane.samples)).collect();
        let start = self.out.pending.len();
        let options = FragmentOptions::default();
        if fmp4::write_fragment_head(self.sequence, &samples, &options, &mut self.out.pending).is_err() {
            // 4 GiB in one fragment, whose bytes are bounded: this cannot be.
            self.out.pending.truncate(start);
            self.tracks.iter_mut().for_each(|lane| lane.bytes.clear());
            return;
        }
        // What comes before the payloads are two heads of boxes of eight bytes, and the content of the first.
        let moof = self.out.pending.get(start + 8..self.out.pending.len() - 8);
        if let Some(fragment) = moof.and_then(|moof| fmp4::read_fragment(moof, head)) {
            self.index.note(self.out.written() + start as u64, &fragment);
        }
        for lane in &mut self.tracks {
            self.out.pending.append(&mut lane.bytes);
        }
    }

    /// Completes the last fragment and writes it.
    ///
    /// # Errors
    /// Errors of the system. The file then ends after the last complete fragment.
    pub(super) fn close(&mut self) -> io::Result<()> {
        for lane in &mut self.tracks {
            lane.end_waiting(None);
        }
        self.end_fragment();
        self.flush()
    }

    /// Writes the fragments that are complete.
    ///
    /// # Errors
    /// Errors of the system. The file then ends after the last complete fragment.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.noted(flushed)
    }

    /// After a write that failed, fragments are missing that were counted.
    fn noted(&mut self, flushed: io::Result<()>) -> io::Result<()> {
        if flushed.is_err() {
            self.index.cut(self.out.written());
            if self.out.written() == 0 {
                self.head = None;
            }
        }
        flushed
    }

    /// Writes length and index. Call [`close`](Self::close) before.
    ///
    /// # Errors
    /// Errors of the system. The file can be played all the same.
    pub(super) fn finish(self) -> io::Result<F> {
        let Mp4File { out, head, index, .. } = self;
        let (written, mut file) = (out.written(), out.into_file());
        if let Some(head) = head {
            write_index(&mut file, &index, &head, written)?;
        }
        file.flush()?;
        Ok(file)
    }
}

impl<F> Mp4File<F> {
    /// The file's duration in milliseconds if it had a frame with that timestamp.
    pub(super) fn duration_with(&self, timestamp: u32) -> u64 {
        self.clock.duration_with(timestamp)
    }

    /// The duration in milliseconds.
    pub(super) fn duration(&self) -> u64 {
        self.clock.latest()
    }

    /// Bytes that are written.
    pub(super) fn written(&self) -> u64 {
        self.out.written()
    }

    /// Bytes, including those that are not written yet.
    pub(super) fn length(&self) -> u64 {
        self.out.length() + self.collected as u64
    }

    /// How long writes took since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        self.out.take_waited()
    }
}

/// Writes length and index over the room for them.
///
/// # Errors
/// Errors of the system. The file can be played all the same.
pub(super) fn write_index<F: Target>(file: &mut F, index: &FileIndex, head: &FileHead, length: u64) -> io::Result<()> {
    for step in index.finish(head, length) {
        file.seek(SeekFrom::Start(step.at))?;
        file.write_all(&step.bytes)?;
    }
    Ok(())
}

/// The configurations that a header sets: codec, track of Enhanced RTMP, and `None` for what MP4 cannot hold.
fn configurations(header: &Frame) -> Vec<(Codec, u8, Option<TrackConfig>)> {
    let body = header.payload();
    let slots = match header.kind() {
        FrameKind::Video => video_header_slots(&body),
        FrameKind::Audio => audio_header_slots(&body),
        FrameKind::Data => HeaderSlots::default(),
    };
    let slots = slots.filter(|slot| slot.kind == HeaderKind::SequenceHeader);
    slots
        .map(|slot| {
            let config = match slot.codec {
                Codec::Video(codec) => VideoConfig::from_header(codec, slot.payload).map(TrackConfig::from),
                Codec::Audio(codec) => AudioConfig::from_header(codec, slot.payload).map(TrackConfig::from),
            };
            (slot.codec, slot.track, config.ok())
        })
        .collect()
}

/// True if a decoder of the one can go on with the other.
fn is_same(one: &TrackConfig, other: &TrackConfig) -> bool {
    match (one, other) {
        (TrackConfig::Video(one), TrackConfig::Video(other)) => {
            one.codec() == other.codec() && one.record() == other.record()
        }
        (TrackConfig::Audio(one), TrackConfig::Audio(other)) => {
            // Without a header the record has values of the single frame, such as its bit rate.
            let values = |audio: &AudioConfig| (audio.codec(), audio.sample_rate(), audio.channels());
            values(one) == values(other) && (AudioConfig::is_in_frames(one.codec()) || one.record() == other.record())
        }
        _ => false,
    }
}

/// True if frames of the codec belong to the track.
fn fits(config: &TrackConfig, codec: Codec) -> bool {
    match (config, codec) {
        (TrackConfig::Video(video), Codec::Video(codec)) => video.codec() == codec,
        // MP3 at 8 kHz has a separate codec in FLV.
        (TrackConfig::Audio(audio), Codec::Audio(AudioCodec::Mp3At8k)) => audio.codec() == AudioCodec::Mp3,
        (TrackConfig::Audio(audio), Codec::Audio(codec)) => audio.codec() == codec,
        _ => false,
    }
}

/// True if the codec's frames have its configuration, whatever its headers are.
fn is_in_frames(codec: Codec) -> bool {
    matches!(codec, Codec::Audio(codec) if AudioConfig::is_in_frames(codec))
}

/// True if MP4 can hold the codec.
fn can_hold(codec: Codec) -> bool {
    match codec {
        Codec::Video(codec) => {
            matches!(codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Av1 | VideoCodec::Vp9)
        }
        Codec::Audio(codec) => {
            matches!(codec, AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Flac) || AudioConfig::is_in_frames(codec)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use anabranch_core::message::{Message, MessageType, Payload};
    use anabranch_core::source::WireFormat;

    use super::*;

    impl Target for Cursor<Vec<u8>> {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.get_mut().truncate(length as usize);
            Ok(())
        }
    }

    fn frame(type_id: u8, timestamp: u32, body: &[u8]) -> Frame {
        let message =
            Message { chunk_stream: 4, timestamp, type_id, message_stream_id: 1, payload: Payload::from(body) };
        Frame::encode(message, WireFormat { chunk_size: 60_000 })
    }

    fn sound(timestamp: u32, payload: &[u8]) -> Frame {
        frame(MessageType::AUDIO, timestamp, &[&[0xAF, 1], payload].concat())
    }

    fn begin() -> Mp4File<Cursor<Vec<u8>>> {
        let mut file = Mp4File::begin(Cursor::default());
        file.push(&frame(MessageType::AUDIO, 0, &[0xAF, 0, 0x12, 0x10]), Some(0)).unwrap();
        file
    }

    #[test]
    fn frames_that_are_nothing_do_not_pile_up() {
        for payload in [&[][..], &[7]] {
            let mut file = begin();
            for _ in 0..50_000 {
                file.push(&sound(1000, payload), None).unwrap();
                let samples: usize = file.tracks.iter().map(|lane| lane.samples.len()).sum();
                assert!(samples < MOST_SAMPLES && file.out.pending.len() < 1 << 20, "{samples}");
            }
            file.close().unwrap();
            assert!(file.written() > 0, "they are in the file");
        }
    }

    #[test]
    fn time_goes_on_when_timestamps_are_set_and_pauses_stay() {
        for (set, most) in [(-3_600_000, 41_000), (3_600_000, 41_000), (30_000, 71_000)] {
            let mut file = begin();
            for number in 0..1000i64 {
                let timestamp = 4_000_000 + number * 40 + if number < 500 { 0 } else { set };
                file.push(&sound(timestamp as u32, b"sound"), None).unwrap();
            }
            file.close().unwrap();
            let duration = file.duration();
            assert!((most - 2000..=most).contains(&duration), "{set}: {duration}");
            let fragments = file.sequence;
            assert!((25..60).contains(&fragments), "one about each second: {fragments}");
        }
    }
}
