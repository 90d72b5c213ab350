use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs, io};

use anabranch_core::flv::FrameClass;
use anabranch_core::source::{Frame, FrameKind, Gap, Headers};
use anabranch_core::url::{StreamKey, shortened};
use tracing::{debug, field, info, warn};

use super::media::Media;
use super::name::{self, FileName};
use super::pace::{Pace, Wait};
use super::settings::RecordSettings;
use super::status::{EndReason, Failure, Progress, Publisher, RecordedFile};

/// The free space, in addition to `min_free`, that a new file needs, so that it is not full at once.
const ROOM: u64 = 16 << 20;
/// How often free space is checked.
const LOOK: Duration = Duration::from_secs(1);
/// How long audio waits for the video of its stream, and for its key frame if there is a header, in milliseconds of the
/// stream, and the most frames that wait.
const WAIT_FOR_VIDEO: u32 = 2000;
const WAIT_FOR_KEY_FRAME: u32 = 3000;
const MOST_WAITING: usize = 1000;
/// The most bytes of audio that wait, and of headers that wait, plus one frame. The stream may have dropped these
/// frames, so the recording holds them in memory.
const MOST_BYTES: usize = 4 << 20;
/// How long a full file waits for a key frame before it ends without one, in milliseconds of the stream.
const WAIT_TO_SPLIT: u32 = 30_000;
/// A publication that has lasted this long is recorded even if too many files begin. Short publications do not last so
/// long.
const LASTING: Duration = Duration::from_secs(10);
/// How long before the first key frame audio still belongs to the file, in milliseconds.
const JUST_BEFORE: u32 = 500;
/// Video headers without a frame behind them that may wait for a key frame.
const MOST_HELD: usize = 32;

/// Gets each file that has its last byte.
#[derive(Clone)]
pub(super) struct OnFile(pub(super) Arc<dyn Fn(&RecordedFile) + Send + Sync>);

impl fmt::Debug for OnFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFile(..)")
    }
}

/// Writes one stream into files, and decides where files begin and end.
#[derive(Debug)]
pub(super) struct StreamRecording {
    key: StreamKey,
    settings: Arc<RecordSettings>,
    headers: Headers,
    open: Option<Open>,
    /// Video headers that change those in force. If a key frame follows them, a new file begins.
    held: Vec<Frame>,
    /// Audio from before the first file.
    early: Vec<Frame>,
    /// Timestamp of the publication's last key frame. Without one, pictures are recorded from any point.
    last_key: Option<u32>,
    /// When the first frame of the publication arrived.
    since: Option<Instant>,
    /// Limits how often files of this name begin.
    pace: Arc<Pace>,
    /// Limits how often files of all names begin.
    all: Arc<Pace>,
    looked: Option<Instant>,
    progress: Arc<Progress>,
    on_file: Option<OnFile>,
}

#[derive(Debug)]
struct Open {
    file: Media,
    /// True once pictures are written to it.
    pictures: bool,
    path: PathBuf,
    since: Instant,
    begun: SystemTime,
    /// The client that published when it began.
    publisher: Publisher,
    /// Frames that the recording had missed by then.
    missed_before: u64,
    /// The file's length with only headers in it.
    headers_end: u64,
}

impl Open {
    /// The limit that the file reaches with a frame of that timestamp.
    fn full(&self, settings: &RecordSettings, timestamp: u32) -> Option<EndReason> {
        let longest = settings.max_duration.limit().and_then(|time| u64::try_from(time.as_millis()).ok());
        if longest.is_some_and(|longest| self.file.duration_with(timestamp) >= longest) {
            Some(EndReason::MaxDuration)
        } else {
            (self.file.length() >= settings.max_size.0).then_some(EndReason::MaxSize)
        }
    }
}

impl StreamRecording {
    /// The paces are those of the stream's name and of all names.
    pub(super) fn new(
        key: StreamKey,
        settings: Arc<RecordSettings>,
        (pace, all): (Arc<Pace>, Arc<Pace>),
        progress: Arc<Progress>,
        on_file: Option<OnFile>,
    ) -> Self {
        StreamRecording {
            key,
            settings,
            headers: Headers::default(),
            open: None,
            held: Vec::new(),
            early: Vec::new(),
            last_key: None,
            since: None,
            pace,
            all,
            looked: None,
            progress,
            on_file,
        }
    }

    /// Handles the next frame of the stream.
    pub(super) fn frame(&mut self, frame: &Frame) {
        self.since.get_or_insert_with(Instant::now);
        if frame.is_header() {
            self.header(frame);
            return;
        }
        self.headers.note(frame);
        match frame.kind() {
            FrameKind::Video if frame.is_join_point() => self.key_frame(frame),
            FrameKind::Video => {
                if frame.class().is_coded() {
                    self.picture(frame);
                    // In a file that began with audio, pictures before a key frame cannot be decoded.
                    if !self.open.as_ref().is_some_and(|open| open.pictures) {
                        return;
                    }
                }
                // No key frame follows the headers, so they are written into the file.
                self.write_held();
                self.write(frame);
            }
            FrameKind::Audio if self.open.is_some() => {
                let splits = !self.headers.has_video() || self.is_keyless(frame);
                if splits && let Some(over) = self.over(frame, Instant::now()) {
                    self.end(over);
                    self.begin(frame.timestamp());
                }
                self.write(frame);
            }
            FrameKind::Audio => self.early(frame),
            FrameKind::Data => self.write(frame),
        }
    }

    /// Logs that the file misses frames before the next one, because the disk was too slow for the stream.
    pub(super) fn missed(&self, gap: &Gap) {
        let Gap { frames, bytes, milliseconds } = gap;
        let key = &self.key;
        self.progress.missed(*frames);
        warn!(
            event = "recording_missed",
            vhost = &*shortened(key.vhost()),
            app = &*shortened(key.app()),
            stream = &*shortened(key.stream()),
            missed_frames = *frames,
            missed_bytes = *bytes,
            missed_ms = *milliseconds,
            "recording of {}: missed {frames} frames, {bytes} bytes, {milliseconds} ms: the disk is too slow",
            key.shown()
        );
    }

    /// Writes all collected frames to the file. Called when the stream has no more frames for now.
    pub(super) fn flush(&mut self) {
        let flush = |open: &mut Open| open.file.flush().map_err(|error| at(&open.path, "cannot write", &error));
        let flushed = self.open.as_mut().map(flush);
        self.note_progress();
        if let Some(Err(error)) = flushed {
            self.failed(&error, false);
        }
    }

    fn note_progress(&mut self) {
        if let Some(open) = &mut self.open {
            let duration = Duration::from_millis(open.file.duration());
            self.progress.wrote(open.file.written(), duration, open.file.take_waited());
        }
    }

    /// Ends the file when the publication ends, or the server stops.
    pub(super) fn end_of_stream(&mut self, reason: EndReason) {
        if let Some(last) = self.early.last().cloned().filter(|_| self.open.is_none()) {
            self.begin_early(&last);
        }
        self.end(reason);
        self.headers = Headers::default();
        self.held.clear();
        self.early.clear();
        (self.last_key, self.since) = (None, None);
    }

    fn full(&self, frame: &Frame) -> Option<EndReason> {
        self.open.as_ref()?.full(&self.settings, frame.timestamp())
    }

    /// Why the file ends before this frame, if it does and where it can: it has reached a limit and another may begin,
    /// or it cannot hold what comes.
    fn over(&self, frame: &Frame, now: Instant) -> Option<EndReason> {
        let needs_other = self.open.as_ref().is_some_and(|open| open.file.needs_other(&self.held));
        let full = self.full(frame).filter(|_| self.may_begin(now));
        full.or(needs_other.then_some(EndReason::HeaderChanged))
    }

    fn header(&mut self, frame: &Frame) {
        let had_video = self.headers.has_video();
        if !self.headers.note(frame) || self.open.is_none() {
            return;
        }
        match frame.kind() {
            // Metadata is written only at the front of a file.
            FrameKind::Data => {}
            FrameKind::Video if had_video && frame.class() != FrameClass::SequenceEnd => {
                self.held.push(frame.clone());
                if self.held.len() > MOST_HELD || are_many_bytes(&self.held) {
                    self.write_held();
                }
            }
            _ => self.write(frame),
        }
    }

    /// Handles a picture that is not a key frame. The stream sends such pictures only after a key frame, or when no key
    /// frame came for too long. In the second case files begin and end at any picture.
    fn picture(&mut self, frame: &Frame) {
        if !self.is_keyless(frame) {
            return;
        }
        if let Some(over) = self.over(frame, Instant::now()) {
            self.end(over);
        }
        if self.open.is_none() {
            self.begin_early(frame);
        }
        if let Some(open) = &mut self.open {
            open.pictures = true;
        }
    }

    /// True if no key frame came, or none for so long that a full file does not wait for the next.
    fn is_keyless(&self, frame: &Frame) -> bool {
        let since = self.last_key.map(|key| frame.timestamp().wrapping_sub(key));
        since.is_none_or(|since| (WAIT_TO_SPLIT..=i32::MAX as u32).contains(&since))
    }

    fn key_frame(&mut self, frame: &Frame) {
        self.last_key = Some(frame.timestamp());
        let now = Instant::now();
        let old = self.open.as_ref().is_some_and(|open| now - open.since >= self.settings.min_duration.0);
        let changed = (!self.held.is_empty() && old && self.may_begin(now)).then_some(EndReason::HeaderChanged);
        if let Some(reason) = self.over(frame, now).or(changed) {
            self.end(reason);
        }
        if self.open.is_some() {
            self.write_held();
        }
        // A new file begins with the headers in force.
        self.held.clear();
        let mut early = std::mem::take(&mut self.early);
        if self.open.is_none() {
            // Audio just before the key frame belongs to its picture.
            early.retain(|audio| frame.timestamp().wrapping_sub(audio.timestamp()) < JUST_BEFORE);
            self.begin(early.first().unwrap_or(frame).timestamp());
            early.iter().for_each(|audio| self.write(audio));
        }
        if let Some(open) = &mut self.open {
            open.pictures = true;
        }
        self.write(frame);
    }

    /// Handles audio before the first file: in a stream without video it begins a file, otherwise it waits for a key
    /// frame.
    fn early(&mut self, frame: &Frame) {
        if frame.class().is_coded() {
            let first = self.early.first().map_or(frame.timestamp(), Frame::timestamp);
            let many = self.early.len() >= MOST_WAITING || are_many_bytes(&self.early);
            self.early.push(frame.clone());
            let wait = if self.headers.has_video() { WAIT_FOR_KEY_FRAME } else { WAIT_FOR_VIDEO };
            if frame.timestamp().wrapping_sub(first) >= wait || many {
                self.begin_early(frame);
            }
        }
    }

    /// Begins a file with the audio that waits, or with this frame if no audio waits.
    fn begin_early(&mut self, frame: &Frame) {
        let frames = std::mem::take(&mut self.early);
        self.begin(frames.first().unwrap_or(frame).timestamp());
        frames.iter().for_each(|frame| self.write(frame));
    }

    /// Writes the held headers into the current file.
    fn write_held(&mut self) {
        for header in std::mem::take(&mut self.held) {
            self.write(&header);
        }
    }

    /// Begins a file with the headers in force.
    fn begin(&mut self, timestamp: u32) {
        if !self.is_turn(Instant::now()) {
            return;
        }
        match self.try_begin() {
            Ok(open) => {
                let again = if self.pace.began() { " goes on" } else { "" };
                let (key, file) = (&self.key, open.path.display());
                info!(
                    event = "recording_begun",
                    vhost = &*shortened(key.vhost()),
                    app = &*shortened(key.app()),
                    stream = &*shortened(key.stream()),
                    file = %file,
                    "recording of {}{again} into {file}",
                    key.shown()
                );
                self.progress.begin_file(&open.path);
                self.open = Some(open);
            }
            Err(error) => return self.failed(&error, true),
        }
        let headers: Vec<_> = self.headers.iter().filter(|frame| frame.kind() != FrameKind::Data).cloned().collect();
        for header in headers {
            self.write_at(&header, Some(timestamp));
        }
        if let Some(open) = &mut self.open {
            open.headers_end = open.file.length();
        }
    }

    /// Whether a file may begin now. If so, it is counted; if not, this is logged once.
    fn is_turn(&self, now: Instant) -> bool {
        let key = &self.key;
        if let Err(wait) = self.pace.begin(now) {
            if let Wait::TooMany { new: true } = wait {
                let most = self.pace.rate().at_once;
                warn!(
                    event = "recording_waits",
                    vhost = &*shortened(key.vhost()),
                    app = &*shortened(key.app()),
                    stream = &*shortened(key.stream()),
                    files = most,
                    "recording of {} waits: {most} files of that name began at once; the next begin one a second",
                    key.shown()
                );
            }
            return false;
        }
        let Err(wait) = self.all.begin(now) else {
            return true;
        };
        if let Wait::TooMany { new: true } = wait {
            let most = self.all.rate().at_once;
            warn!(
                event = "recording_waits",
                vhost = &*shortened(key.vhost()),
                app = &*shortened(key.app()),
                stream = &*shortened(key.stream()),
                files = most,
                "recording of {} waits until it has lasted {LASTING:?}: {most} files of all names began at once",
                key.shown()
            );
        }
        self.has_lasted(now)
    }

    /// Whether a file could begin now.
    fn may_begin(&self, now: Instant) -> bool {
        self.pace.allows(now) && (self.all.allows(now) || self.has_lasted(now))
    }

    fn has_lasted(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= LASTING)
    }

    fn try_begin(&mut self) -> io::Result<Open> {
        let folder = &self.settings.folder;
        fs::create_dir_all(folder).map_err(|error| at(folder, "cannot make the folder", &error))?;
        self.check_space(ROOM)?;
        let (file, path) = name::create(&self.settings, &FileName { key: &self.key, begin: SystemTime::now() })?;
        let metadata = self.headers.iter().find(|frame| frame.kind() == FrameKind::Data);
        let metadata = metadata.map(Frame::payload);
        match Media::begin(self.settings.format, file, metadata.as_deref()) {
            Ok(file) => {
                let headers_end = file.length();
                Ok(Open {
                    headers_end,
                    file,
                    pictures: false,
                    path,
                    since: Instant::now(),
                    begun: SystemTime::now(),
                    publisher: self.progress.publisher(),
                    missed_before: self.progress.missed_so_far(),
                })
            }
            Err(error) => {
                remove(&path);
                Err(at(&path, "cannot write", &error))
            }
        }
    }

    /// # Errors
    /// Less than `min_free` plus `more` is free.
    fn check_space(&mut self, more: u64) -> io::Result<()> {
        self.looked = Some(Instant::now());
        let folder = &self.settings.folder;
        let free = free_bytes(folder).map_err(|error| at(folder, "cannot see how much is free in", &error))?;
        let least = self.settings.min_free.0;
        if free < least.saturating_add(more) {
            let begins = if more > 0 { format!(", and a new file needs {} more", more >> 20) } else { String::new() };
            let (folder, free, least) = (folder.display(), free >> 20, least >> 20);
            let words = format!("{free} MiB are free in {folder}, {least} are to stay free{begins}");
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        Ok(())
    }

    /// Only coded frames move the file's time: timestamps of headers, data and ends of sequence are often 0.
    fn write(&mut self, frame: &Frame) {
        self.write_at(frame, frame.class().is_coded().then(|| frame.timestamp()));
    }

    fn write_at(&mut self, frame: &Frame, timestamp: Option<u32>) {
        let Some(open) = &mut self.open else {
            return;
        };
        let written = open.file.push(frame, timestamp);
        let written = written.map_err(|error| at(&open.path, "cannot write", &error));
        if let Some(codec) = open.file.take_left_out() {
            let (key, file) = (&self.key, open.path.display());
            warn!(
                event = "recording_left_out",
                vhost = &*shortened(key.vhost()),
                app = &*shortened(key.app()),
                stream = &*shortened(key.stream()),
                file = %file,
                codec = %codec,
                "recording of {}: {file} is without {codec}, which MP4 cannot hold",
                key.shown()
            );
        }
        let written = written.and_then(|()| {
            if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) { Ok(()) } else { self.check_space(0) }
        });
        if let Err(error) = written {
            self.failed(&error, false);
        }
    }

    /// Ends the file and pauses recording after an error.
    fn failed(&mut self, error: &io::Error, begins: bool) {
        let failure = Failure::of(error, begins);
        let (pause, is_first) = self.pace.failed(Instant::now());
        let (key, reason, seconds) = (&self.key, failure.name(), pause.as_secs_f64());
        let (folder, file) = (self.settings.folder.display(), self.open.as_ref().map(|open| open.path.display()));
        let file = file.as_ref().map(field::display);
        macro_rules! log_line {
            ($level:ident, $then:expr) => {
                $level!(
                    event = "recording_failed",
                    vhost = &*shortened(key.vhost()),
                    app = &*shortened(key.app()),
                    stream = &*shortened(key.stream()),
                    folder = %folder,
                    file,
                    reason,
                    error = %error,
                    seconds,
                    "recording of {}: {error}{}",
                    key.shown(),
                    $then
                )
            };
        }
        if is_first {
            log_line!(warn, format_args!("; trying again in {pause:?}, then after longer pauses"));
        } else {
            log_line!(debug, "");
        }
        self.progress.fail(failure, &error.to_string(), SystemTime::now() + pause);
        self.early.clear();
        self.end_with(EndReason::Failed(failure), Some(error.to_string()));
    }

    fn end(&mut self, reason: EndReason) {
        self.end_with(reason, None);
    }

    fn end_with(&mut self, reason: EndReason, error: Option<String>) {
        let flushed = self.open.as_mut().map_or(Ok(()), |open| open.file.close());
        self.note_progress();
        let Some(Open { file, path, begun, publisher, missed_before, headers_end, .. }) = self.open.take() else {
            return;
        };
        let (length, duration) = (file.length(), Duration::from_millis(file.duration()));
        self.pace.ended(length);
        self.all.ended(length);
        if file.written() <= headers_end {
            remove(&path);
            self.progress.drop_file();
            return;
        }
        let key = &self.key;
        let (vhost, app, stream) = (shortened(key.vhost()), shortened(key.app()), shortened(key.stream()));
        let (vhost, app, stream, file_name) = (&*vhost, &*app, &*stream, path.display());
        let finished = file.finish().and(flushed);
        match &finished {
            Ok(()) => info!(
                event = "recorded",
                vhost,
                app,
                stream,
                file = %file_name,
                bytes = length,
                seconds = duration.as_secs_f64(),
                reason = reason.name(),
                "recorded {file_name}: {length} bytes, {duration:?}"
            ),
            Err(error) => warn!(
                event = "recorded",
                vhost,
                app,
                stream,
                file = %file_name,
                bytes = length,
                seconds = duration.as_secs_f64(),
                reason = reason.name(),
                error = %error,
                "recorded {file_name}, but could not write its index: {error}"
            ),
        }
        let file = RecordedFile {
            key: self.key.clone(),
            publisher,
            path,
            begun,
            ended: SystemTime::now(),
            bytes: length,
            duration,
            missed: self.progress.missed_so_far().saturating_sub(missed_before),
            reason,
            error: error.or_else(|| finished.err().map(|error| error.to_string())),
        };
        self.progress.end_file(file.clone());
        if let Some(OnFile(tell)) = &self.on_file {
            tell(&file);
        }
    }
}

/// The bytes that the user of this process may still write on the disk of an existing folder.
///
/// # Errors
/// Errors of the system.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// An error with the file or folder that it is about.
fn at(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// Whether the frames have so many bytes that no more may wait.
fn are_many_bytes(frames: &[Frame]) -> bool {
    frames.iter().map(|frame| frame.wire().len()).sum::<usize>() >= MOST_BYTES
}

/// Removes an empty file.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        let file = path.display();
        warn!(event = "recording_file_left", file = %file, error = %error, "{file} is empty but cannot be removed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use anabranch_core::message::Message;
    use anabranch_core::source::WireFormat;

    use super::super::pace::Rate;
    use super::super::status::Recordings;
    use super::*;
    use crate::settings::values::Size;

    const FORMAT: WireFormat = WireFormat { chunk_size: 60_000 };

    fn recording(name: &str) -> StreamRecording {
        recording_with(name, Arc::new(Pace::of_all(Instant::now())))
    }

    fn recording_with(name: &str, all: Arc<Pace>) -> StreamRecording {
        let folder = std::env::temp_dir().join(format!("anabranch-recording-{}-{name}", std::process::id()));
        let settings = RecordSettings { folder, min_free: Size(0), ..RecordSettings::default() };
        let key = StreamKey::new("v", "live", "cam").unwrap();
        let progress = Arc::new(Recordings::default()).begin(key.clone());
        StreamRecording::new(key, Arc::new(settings), (Arc::new(Pace::new(Instant::now())), all), progress, None)
    }

    fn header(number: usize) -> Frame {
        let mut body = vec![0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xFF];
        body.resize(300_000, number as u8);
        Frame::encode(Message::video(0, body), FORMAT)
    }

    fn bytes(frames: &[Frame]) -> usize {
        frames.iter().map(|frame| frame.wire().len()).sum()
    }

    #[test]
    fn what_waits_for_a_key_frame_is_bounded_in_bytes() {
        let mut recording = recording("early");
        recording.frame(&header(0));
        for number in 0..20 {
            let mut body = vec![0xAF, 1];
            body.resize(1 << 20, 0);
            recording.frame(&Frame::encode(Message::audio(number, body), FORMAT));
            assert!(bytes(&recording.early) < MOST_BYTES + (2 << 20), "{}", bytes(&recording.early));
        }
        // Audio that is too much to wait begins a file.
        assert!(recording.open.is_some() && recording.early.is_empty());
        fs::remove_dir_all(&recording.settings.folder).unwrap();
    }

    #[test]
    fn headers_without_a_frame_behind_them_are_bounded_in_bytes() {
        let mut recording = recording("held");
        recording.frame(&header(0));
        recording.frame(&Frame::encode(Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice()), FORMAT));
        assert!(recording.open.is_some());
        for number in 1..100 {
            recording.frame(&header(number));
            assert!(bytes(&recording.held) < MOST_BYTES, "{}", bytes(&recording.held));
        }
        recording.end_of_stream(EndReason::Unpublished);
        let _ = fs::remove_dir_all(&recording.settings.folder);
    }

    #[test]
    fn a_crowd_of_names_that_come_and_go_has_few_files_and_those_that_last_have_theirs() {
        // One more every hour.
        let rate = Rate { at_once: 3, each: Duration::from_secs(3600) };
        let all = Arc::new(Pace::with(rate, Instant::now()));
        let key_frame = Frame::encode(Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice()), FORMAT);
        let begins = |recording: &mut StreamRecording| {
            recording.frame(&header(0));
            recording.frame(&key_frame);
            let begun = recording.open.is_some();
            recording.end_of_stream(EndReason::Unpublished);
            begun
        };
        let mut recordings: Vec<_> =
            (0..10).map(|number| recording_with(&format!("crowd-{number}"), all.clone())).collect();
        let begun: Vec<_> = recordings.iter_mut().map(begins).collect();
        assert_eq!(begun.iter().filter(|begun| **begun).count(), 3, "{begun:?}");
        let mut lasting = recording_with("lasting", all);
        lasting.frame(&header(0));
        lasting.since = Instant::now().checked_sub(LASTING);
        assert!(lasting.since.is_some() && begins(&mut lasting));
        assert!(!begins(&mut lasting), "another publication has its own time");
        recordings.iter().chain([&lasting]).for_each(|recording| drop(fs::remove_dir_all(&recording.settings.folder)));
    }
}
