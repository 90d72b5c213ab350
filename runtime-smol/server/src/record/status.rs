//! What is known of recordings: those that run, the files that ended last, and counts for metrics.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anabranch_core::url::StreamKey;
use anabranch_host::PublishingClient;

/// Publishers of one stream that are remembered while frames of the first have to be written.
const MOST_PUBLISHERS: usize = 64;
/// Files that are remembered after their end.
const MOST_ENDED: usize = 100;

/// Why a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The publication ended, or another publisher took over.
    Unpublished,
    /// The server stopped.
    Stopped,
    /// The file reached `max_duration`.
    MaxDuration,
    /// The file reached `max_size`.
    MaxSize,
    /// The video's sequence header changed.
    HeaderChanged,
    /// The disk failed or was full.
    Failed(Failure),
}

impl EndReason {
    /// The name in the hook and in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EndReason::Unpublished => "unpublished",
            EndReason::Stopped => "stopped",
            EndReason::MaxDuration => "max_duration",
            EndReason::MaxSize => "max_size",
            EndReason::HeaderChanged => "header_changed",
            EndReason::Failed(failure) => failure.name(),
        }
    }
}

/// Why a recording could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The disk, the quota or the largest size of a file is used up, or less than `min_free` is left.
    DiskFull,
    /// The folder or the file cannot be made.
    Folder,
    /// Another error of the disk.
    DiskFailed,
    /// The system starts no thread.
    NoThread,
}

impl Failure {
    pub(crate) const ALL: [Failure; 4] = [Failure::DiskFull, Failure::Folder, Failure::DiskFailed, Failure::NoThread];

    /// The name in metrics, in the hook and in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::DiskFull => "disk_full",
            Failure::Folder => "folder",
            Failure::DiskFailed => "disk_failed",
            Failure::NoThread => "no_thread",
        }
    }

    /// What an error of the system means; `begins` if it came while a file was made.
    pub(super) fn of(error: &io::Error, begins: bool) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Failure::DiskFull,
            _ if begins => Failure::Folder,
            _ => Failure::DiskFailed,
        }
    }
}

/// The client that publishes a recorded stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Publisher {
    /// The number of its connection; `None` if the program itself publishes.
    pub(crate) connection: Option<u64>,
    pub(crate) address: Option<SocketAddr>,
    /// The parameters of its URLs, which may contain secrets.
    pub(crate) params: String,
}

impl From<Option<PublishingClient>> for Publisher {
    fn from(client: Option<PublishingClient>) -> Self {
        client.map_or_else(Publisher::default, |client| Publisher {
            connection: Some(client.connection),
            address: client.address,
            params: client.params,
        })
    }
}

/// A file that has got its last byte.
#[derive(Debug, Clone)]
pub(crate) struct RecordedFile {
    pub(crate) key: StreamKey,
    pub(crate) publisher: Publisher,
    /// Empty if the recording ended without a file, because of the error.
    pub(crate) path: PathBuf,
    pub(crate) begun: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    /// Frames that the recording missed while this file was written.
    pub(crate) missed: u64,
    pub(crate) reason: EndReason,
    /// The error, if there was one: the file can be played, but is not all that was published, or lacks its index.
    pub(crate) error: Option<String>,
}

/// A stream that is being recorded, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct RunningRecording {
    pub(crate) key: StreamKey,
    pub(crate) connection: Option<u64>,
    pub(crate) since: SystemTime,
    /// The file; `None` while there is none.
    pub(crate) file: Option<OpenFile>,
    /// Frames that it missed.
    pub(crate) missed: u64,
    /// What keeps it from recording.
    pub(crate) failing: Option<Failing>,
}

/// A recording that cannot go on.
#[derive(Debug, Clone)]
pub(crate) struct Failing {
    pub(crate) failure: Failure,
    pub(crate) error: String,
    /// When it failed last, and when it is tried again.
    pub(crate) at: SystemTime,
    pub(crate) again: SystemTime,
}

/// A file that is being written.
#[derive(Debug, Clone)]
pub(crate) struct OpenFile {
    pub(crate) path: PathBuf,
    pub(crate) begun: SystemTime,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
}

/// All recordings. The recordings write it, the API and the metrics read it.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    running: Mutex<BTreeMap<u64, Arc<Progress>>>,
    ended: Mutex<VecDeque<RecordedFile>>,
    last: AtomicU64,
    files: AtomicU64,
    completed: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    bytes: AtomicU64,
    milliseconds: AtomicU64,
    missed: AtomicU64,
    /// Nanoseconds in which the disk was waited for.
    waited: AtomicU64,
}

impl Recordings {
    /// A stream begins to be recorded. It counts until the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>, key: StreamKey) -> Arc<Progress> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let state =
            State { key, since: SystemTime::now(), file: None, failing: None, missed: 0, publishers: VecDeque::new() };
        let progress = Arc::new(Progress { recordings: self.clone(), number, state: Mutex::new(state) });
        lock(&self.running).insert(number, progress.clone());
        progress
    }

    /// The streams that are being recorded, the oldest first.
    pub(crate) fn running(&self) -> Vec<RunningRecording> {
        let running: Vec<_> = lock(&self.running).values().cloned().collect();
        running.iter().map(|progress| progress.view()).collect()
    }

    /// The files that ended last, the newest first.
    pub(crate) fn ended(&self) -> Vec<RecordedFile> {
        lock(&self.ended).iter().rev().cloned().collect()
    }

    /// Files that were begun.
    pub(crate) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Files that are complete: they end as the settings or the publisher wanted, and have their index.
    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// How often a recording could not go on, by the reason's name.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Failure::ALL.iter().zip(&self.failures).map(|(failure, count)| (failure.name(), count.load(Ordering::Relaxed)))
    }

    /// Bytes written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Time recorded.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    /// Frames that recordings missed because the disk was too slow.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// How long recordings waited for the disk.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    fn remember(&self, file: RecordedFile) {
        let mut ended = lock(&self.ended);
        ended.push_back(file);
        if ended.len() > MOST_ENDED {
            ended.pop_front();
        }
    }

    pub(super) fn count_failure(&self, failure: Failure) {
        let index = Failure::ALL.iter().position(|known| *known == failure);
        if let Some(count) = index.and_then(|index| self.failures.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One stream that is being recorded.
#[derive(Debug)]
pub(super) struct Progress {
    recordings: Arc<Recordings>,
    number: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    key: StreamKey,
    since: SystemTime,
    file: Option<OpenFile>,
    failing: Option<Failing>,
    /// Frames missed.
    missed: u64,
    /// The publisher whose frames are being written, and those that began since then.
    publishers: VecDeque<Publisher>,
}

impl Progress {
    fn view(&self) -> RunningRecording {
        let State { key, since, file, failing, missed, publishers } = &*self.state();
        RunningRecording {
            key: key.clone(),
            connection: publishers.back().and_then(|publisher| publisher.connection),
            since: *since,
            file: file.clone(),
            missed: *missed,
            failing: failing.clone(),
        }
    }

    /// The client that publishes from now on. Frames of the one before may still have to be written.
    pub(super) fn add_publisher(&self, publisher: Publisher) {
        let mut state = self.state();
        if state.publishers.len() >= MOST_PUBLISHERS {
            state.publishers.pop_front();
        }
        state.publishers.push_back(publisher);
    }

    /// All frames of one publication are written.
    pub(super) fn end_publication(&self) {
        let mut state = self.state();
        if state.publishers.len() > 1 {
            state.publishers.pop_front();
        }
    }

    /// The publishers whose frames may still have to be written.
    pub(super) fn publishers(&self) -> usize {
        self.state().publishers.len()
    }

    /// All frames of these publishers are written, except of the last of them. Several publications without frames have
    /// one end, which counts as that of one publisher.
    pub(super) fn catch_up(&self, publishers: usize) {
        let mut state = self.state();
        for _ in 1..publishers.min(state.publishers.len()) {
            state.publishers.pop_front();
        }
    }

    /// The client whose frames are being written.
    pub(super) fn publisher(&self) -> Publisher {
        self.state().publishers.front().cloned().unwrap_or_default()
    }

    /// A file begins.
    pub(super) fn begin_file(&self, path: &Path) {
        self.recordings.files.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.failing = None;
        state.file =
            Some(OpenFile { path: path.to_owned(), begun: SystemTime::now(), bytes: 0, duration: Duration::ZERO });
    }

    /// The file has so many bytes and lasts so long now, and so much time went into writing it since the last call.
    pub(super) fn wrote(&self, bytes: u64, duration: Duration, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.recordings.waited.fetch_add(nanoseconds, Ordering::Relaxed);
        let mut state = self.state();
        if let Some(file) = &mut state.file {
            let more = duration.saturating_sub(file.duration);
            self.recordings.bytes.fetch_add(bytes.saturating_sub(file.bytes), Ordering::Relaxed);
            let milliseconds = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
            self.recordings.milliseconds.fetch_add(milliseconds, Ordering::Relaxed);
            (file.bytes, file.duration) = (bytes.max(file.bytes), duration.max(file.duration));
        }
    }

    pub(super) fn missed(&self, frames: u64) {
        self.recordings.missed.fetch_add(frames, Ordering::Relaxed);
        self.state().missed += frames;
    }

    /// Frames missed so far.
    pub(super) fn missed_so_far(&self) -> u64 {
        self.state().missed
    }

    /// The recording cannot go on, and is tried again at that time.
    pub(super) fn fail(&self, failure: Failure, error: &str, again: SystemTime) {
        self.recordings.count_failure(failure);
        self.state().failing = Some(Failing { failure, error: error.to_owned(), at: SystemTime::now(), again });
    }

    /// The file was removed, because it is empty.
    pub(super) fn drop_file(&self) {
        self.state().file = None;
    }

    /// The file has got its last byte.
    pub(super) fn end_file(&self, file: RecordedFile) {
        if file.error.is_none() {
            self.recordings.completed.fetch_add(1, Ordering::Relaxed);
        }
        self.state().file = None;
        self.recordings.remember(file);
    }

    /// The stream is no longer recorded.
    pub(super) fn end(&self) {
        lock(&self.recordings.running).remove(&self.number);
        let mut state = self.state();
        let Some(Failing { failure, error, .. }) = state.failing.take() else {
            return;
        };
        // The last thing that happened to it: nothing more could be recorded.
        let nothing = RecordedFile {
            key: state.key.clone(),
            publisher: state.publishers.back().cloned().unwrap_or_default(),
            path: PathBuf::new(),
            begun: state.since,
            ended: SystemTime::now(),
            bytes: 0,
            duration: Duration::ZERO,
            missed: 0,
            reason: EndReason::Failed(failure),
            error: Some(error),
        };
        drop(state);
        self.recordings.remember(nothing);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_ended_files_are_remembered_and_all_are_counted() {
        let recordings = Arc::new(Recordings::default());
        let key = StreamKey::new("v", "live", "cam").unwrap();
        let progress = recordings.begin(key.clone());
        for number in 0..150u64 {
            progress.begin_file(Path::new("x"));
            progress.wrote(100, Duration::from_secs(2), Duration::from_millis(1));
            progress.wrote(150, Duration::from_secs(3), Duration::from_millis(1));
            let error = (number % 3 == 0).then(|| "no".to_owned());
            let path = PathBuf::from(number.to_string());
            progress.end_file(RecordedFile {
                key: key.clone(),
                publisher: progress.publisher(),
                path,
                begun: SystemTime::now(),
                ended: SystemTime::now(),
                bytes: 150,
                duration: Duration::from_secs(3),
                missed: 0,
                reason: EndReason::Unpublished,
                error,
            });
        }
        assert_eq!((recordings.files(), recordings.completed(), recordings.bytes()), (150, 100, 150 * 150));
        assert_eq!(
            (recordings.duration(), recordings.waited()),
            (Duration::from_secs(450), Duration::from_millis(300))
        );
        let ended = recordings.ended();
        assert_eq!((ended.len(), ended[0].path.as_path()), (MOST_ENDED, Path::new("149")));
        assert_eq!(recordings.running().len(), 1);
        progress.end();
        assert!(recordings.running().is_empty());
    }

    #[test]
    fn errors_are_named_by_what_an_operator_does_about_them() {
        let of = |kind: ErrorKind, begins| Failure::of(&kind.into(), begins).name();
        assert_eq!(of(ErrorKind::StorageFull, true), "disk_full");
        assert_eq!(of(ErrorKind::FileTooLarge, false), "disk_full");
        assert_eq!(of(ErrorKind::NotFound, true), "folder");
        assert_eq!(of(ErrorKind::PermissionDenied, true), "folder");
        assert_eq!(of(ErrorKind::Other, false), "disk_failed");
    }
}
