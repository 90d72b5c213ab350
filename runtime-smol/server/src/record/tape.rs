use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use anabranch_core::flv::FrameClass;
use anabranch_core::message::MessageType;
use anabranch_core::source::{Frame, FrameKind, Gap, Headers};
use anabranch_core::url::StreamKey;
use tracing::{info, warn};

use super::file::FlvFile;
use super::name::{self, FileName};
use super::settings::RecordSettings;

/// How long nothing is recorded after the disk has failed or was full.
const PAUSE: Duration = Duration::from_secs(10);
/// How often free space is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long audio waits for the video of its stream, in milliseconds of the stream, and the most frames that wait.
const WAIT_FOR_VIDEO: u32 = 2000;
const MOST_WAITING: usize = 1000;
/// How long before the first key frame audio still belongs to the file, in milliseconds.
const JUST_BEFORE: u32 = 500;

/// One stream's way into files: where they begin and end.
#[derive(Debug)]
pub(super) struct Tape {
    key: StreamKey,
    settings: Arc<RecordSettings>,
    headers: Headers,
    open: Option<Open>,
    /// Video headers that change those in force: with a key frame behind them they begin a new file.
    held: Vec<Frame>,
    /// Audio from before the first file.
    early: Vec<Frame>,
    /// When the disk may be tried again.
    pause: Option<Instant>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    file: FlvFile,
    path: PathBuf,
}

impl Open {
    /// Whether it has come to its length or size with a frame of that time.
    fn is_full(&self, settings: &RecordSettings, timestamp: u32) -> bool {
        let reached = |limit: Option<u64>, value: u64| limit.is_some_and(|limit| value >= limit);
        let longest = settings.max_duration.limit().and_then(|time| u64::try_from(time.as_millis()).ok());
        let largest = Some(settings.max_size.0);
        reached(longest, self.file.duration_with(timestamp)) || reached(largest, self.file.length())
    }
}

impl Tape {
    pub(super) fn new(key: StreamKey, settings: Arc<RecordSettings>) -> Self {
        Tape {
            key,
            settings,
            headers: Headers::default(),
            open: None,
            held: Vec::new(),
            early: Vec::new(),
            pause: None,
            looked: None,
        }
    }

    /// The next frame of the stream.
    pub(super) fn frame(&mut self, frame: &Frame) {
        if frame.is_header() {
            self.header(frame);
            return;
        }
        match frame.kind() {
            FrameKind::Video if frame.is_join_point() => self.key_frame(frame),
            FrameKind::Video => {
                // Not behind a key frame: the file has to take them.
                for header in std::mem::take(&mut self.held) {
                    self.write(&header);
                }
                self.write(frame);
            }
            FrameKind::Audio if self.open.is_some() => {
                if !self.headers.has_video() && self.is_full(frame) {
                    self.end();
                    self.begin(frame.timestamp());
                }
                self.write(frame);
            }
            FrameKind::Audio => self.early(frame),
            FrameKind::Data => self.write(frame),
        }
    }

    /// Frames before the next one are lost to the file: the disk was too slow for the stream.
    pub(super) fn missed(&self, gap: &Gap) {
        let Gap { frames, bytes, milliseconds } = gap;
        warn!("recording of {}: missed {frames} frames, {bytes} bytes, {milliseconds} ms: too slow a disk", self.key);
    }

    /// Nothing more for now: all there is goes to the file.
    pub(super) fn flush(&mut self) {
        if let Some(Err(error)) = self.open.as_mut().map(|open| open.file.flush()) {
            self.failed(&error);
        }
    }

    /// The publisher has gone: what comes after it is another recording.
    pub(super) fn end_of_stream(&mut self) {
        if self.open.is_none() && !self.early.is_empty() {
            self.begin_early();
        }
        self.end();
        self.headers = Headers::default();
        self.held.clear();
        self.early.clear();
    }

    fn is_full(&self, frame: &Frame) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_full(&self.settings, frame.timestamp()))
    }

    fn header(&mut self, frame: &Frame) {
        let had_video = self.headers.has_video();
        if !self.headers.note(frame) || self.open.is_none() {
            return;
        }
        match frame.kind() {
            // It stands at the front of files only.
            FrameKind::Data => {}
            FrameKind::Video if had_video && frame.class() != FrameClass::SequenceEnd => self.held.push(frame.clone()),
            _ => self.write(frame),
        }
    }

    fn key_frame(&mut self, frame: &Frame) {
        let changed = !std::mem::take(&mut self.held).is_empty();
        if changed || self.is_full(frame) {
            self.end();
        }
        let mut early = std::mem::take(&mut self.early);
        if self.open.is_none() {
            // Audio that came just before its picture belongs to it.
            early.retain(|audio| frame.timestamp().wrapping_sub(audio.timestamp()) < JUST_BEFORE);
            self.begin(early.first().unwrap_or(frame).timestamp());
            early.iter().for_each(|audio| self.write(audio));
        }
        self.write(frame);
    }

    /// Audio without a file: a stream without video begins one with it, others wait for a key frame.
    fn early(&mut self, frame: &Frame) {
        let first = self.early.first().map_or(frame.timestamp(), Frame::timestamp);
        if self.headers.has_video() && self.early.len() >= MOST_WAITING {
            self.early.clear();
        }
        self.early.push(frame.clone());
        if self.headers.has_video() {
            return;
        }
        if frame.timestamp().wrapping_sub(first) >= WAIT_FOR_VIDEO || self.early.len() >= MOST_WAITING {
            self.begin_early();
        }
    }

    fn begin_early(&mut self) {
        let frames = std::mem::take(&mut self.early);
        if let Some(first) = frames.first() {
            self.begin(first.timestamp());
            frames.iter().for_each(|frame| self.write(frame));
        }
    }

    /// Begins a file with the headers in force.
    fn begin(&mut self, timestamp: u32) {
        let now = Instant::now();
        if self.pause.is_some_and(|until| now < until) {
            return;
        }
        self.pause = None;
        match self.try_begin() {
            Ok(open) => {
                info!("recording of {} into {}", self.key, open.path.display());
                self.open = Some(open);
            }
            Err(error) => return self.failed(&error),
        }
        let headers: Vec<_> = self.headers.iter().filter(|frame| frame.kind() != FrameKind::Data).cloned().collect();
        for header in headers {
            self.write_at(&header, timestamp);
        }
    }

    fn try_begin(&mut self) -> io::Result<Open> {
        fs::create_dir_all(&self.settings.folder)?;
        self.check_space()?;
        let (file, path) = name::create(&self.settings, &FileName { key: &self.key, begin: SystemTime::now() })?;
        let metadata = self.headers.iter().find(|frame| frame.kind() == FrameKind::Data);
        let metadata = metadata.map(Frame::payload);
        Ok(Open { file: FlvFile::begin(file, metadata.as_deref())?, path })
    }

    /// # Errors
    /// There is less space than is to be left free.
    fn check_space(&mut self) -> io::Result<()> {
        self.looked = Some(Instant::now());
        let free = rustix::fs::statvfs(&self.settings.folder)?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        let least = self.settings.min_free.0;
        if free < least {
            let words = format!("{} MiB are free, {} are to stay free", free >> 20, least >> 20);
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        Ok(())
    }

    fn write(&mut self, frame: &Frame) {
        self.write_at(frame, frame.timestamp());
    }

    fn write_at(&mut self, frame: &Frame, timestamp: u32) {
        let Some(open) = &mut self.open else {
            return;
        };
        let type_id = match frame.kind() {
            FrameKind::Audio => MessageType::AUDIO,
            FrameKind::Video => MessageType::VIDEO,
            FrameKind::Data => MessageType::DATA_AMF0,
        };
        let written = open.file.push(type_id, timestamp, frame.is_join_point(), &frame.payload());
        let written = written.and_then(|()| {
            if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) { Ok(()) } else { self.check_space() }
        });
        if let Err(error) = written {
            self.failed(&error);
        }
    }

    /// Nothing is recorded for a while. What there is of the file is brought to an end.
    fn failed(&mut self, error: &io::Error) {
        warn!("recording of {}: {error}; trying again in {PAUSE:?}", self.key);
        self.pause = Some(Instant::now() + PAUSE);
        self.early.clear();
        self.end();
    }

    fn end(&mut self) {
        let Some(Open { file, path, .. }) = self.open.take() else {
            return;
        };
        let (length, duration) = (file.length(), Duration::from_millis(file.duration()));
        match file.finish() {
            Ok(_) => info!("recorded {}: {length} bytes, {duration:?}", path.display()),
            Err(error) => warn!("recorded {}, without its index: {error}", path.display()),
        }
    }
}
