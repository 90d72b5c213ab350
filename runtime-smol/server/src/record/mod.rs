//! Recording of streams into FLV and MP4 files.
//!
//! Each recorded stream has a task that plays the stream like a player and writes the frames. All tasks run on a few
//! threads ([`writers`]). If a disk is too slow, its recordings miss frames up to a key frame, as slow players do. The
//! streams and their players are not affected.

mod file;
mod media;
mod mp4;
mod name;
mod output;
mod pace;
mod place;
pub(crate) mod repair;
mod settings;
mod status;
mod stream_recording;
mod writers;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anabranch_core::url::{StreamKey, shortened};
use anabranch_host::{Handle, PublishStart};
use tracing::warn;

pub(crate) use name::safe as safe_name;
use pace::Pace;
use place::Place;
pub(crate) use settings::RecordSettings;
pub(crate) use status::{Failing, Publisher, RecordedFile, Recordings, RunningRecording};
use status::{Failure, Progress};
use stream_recording::{OnFile, StreamRecording};
use writers::Writers;

use crate::settings::OfStreams;

/// At this number of remembered names old ones are removed.
const MANY: usize = 1024;

/// The bytes that are free on the disk of a folder, which may not exist yet; `None` if the system does not tell.
pub(crate) fn free_space(folder: &Path) -> Option<u64> {
    let folder = std::path::absolute(folder).ok()?;
    folder.ancestors().find(|at| at.is_dir()).and_then(|at| stream_recording::free_bytes(at).ok())
}

/// Records streams. Clones share the same recorder.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    settings: RwLock<OfStreams<Arc<RecordSettings>>>,
    streams: Mutex<Streams>,
    ended: Condvar,
    handle: Mutex<Option<Handle>>,
    writers: Arc<Writers>,
    recordings: Arc<Recordings>,
    /// Gets each file that has its last byte.
    on_file: Mutex<Option<OnFile>>,
}

#[derive(Default)]
struct Streams {
    /// Streams that are being recorded.
    active: HashMap<StreamKey, Arc<Progress>>,
    /// Streams that are or were recently recorded.
    paces: HashMap<StreamKey, Arc<Pace>>,
    /// The number of `paces` at which old ones are removed next.
    many: usize,
    /// Limits how often files of all names begin.
    all: Option<Arc<Pace>>,
}

impl Streams {
    /// The limits for files of that name, and for files of all names.
    fn paces(&mut self, key: &StreamKey) -> (Arc<Pace>, Arc<Pace>) {
        let now = Instant::now();
        let all = self.all.get_or_insert_with(|| Arc::new(Pace::of_all(now))).clone();
        if self.paces.len() > self.many.max(MANY) {
            self.paces.retain(|key, pace| self.active.contains_key(key) || !pace.is_past(now));
            self.many = self.paces.len() * 2;
        }
        let of_name = self.paces.entry(key.clone()).or_insert_with(|| Arc::new(Pace::new(now)));
        (of_name.clone(), all)
    }
}

impl Recorder {
    /// A recorder with these settings.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn new(settings: &OfStreams<RecordSettings>) -> Result<Self, String> {
        let recorder = Recorder::default();
        recorder.update(settings)?;
        Ok(recorder)
    }

    /// Puts these settings in force for new publications.
    ///
    /// # Errors
    /// The system starts no thread; then nothing changes.
    pub(crate) fn update(&self, settings: &OfStreams<RecordSettings>) -> Result<(), String> {
        if settings.iter().any(|settings| !settings.streams.is_empty()) {
            self.inner.writers.prepare().map_err(|error| format!("cannot start a thread for recording: {error}"))?;
        }
        let settings = settings.try_map(|settings| Ok::<_, String>(Arc::new(settings.clone())))?;
        *self.inner.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// Starts to record streams of this server. `on_file` gets each file that has its last byte; it must not block.
    pub(crate) fn start(&self, handle: &Handle, on_file: impl Fn(&RecordedFile) + Send + Sync + 'static) {
        *self.inner.handle() = Some(handle.clone());
        *self.inner.on_file.lock().unwrap_or_else(PoisonError::into_inner) = Some(OnFile(Arc::new(on_file)));
        let inner = self.inner.clone();
        handle.on_publish(move |start| inner.begins(start));
    }

    /// Call this after the server has stopped. Waits until all files are complete, at most for `time`. Returns false if
    /// some are not.
    pub(crate) fn finish(&self, time: Duration) -> bool {
        self.inner.handle().take();
        let waited =
            self.inner.ended.wait_timeout_while(self.inner.streams(), time, |streams| !streams.active.is_empty());
        let (streams, _) = waited.unwrap_or_else(PoisonError::into_inner);
        streams.active.is_empty()
    }

    /// Streams that are being recorded.
    pub(crate) fn active(&self) -> usize {
        self.inner.streams().active.len()
    }

    /// The recordings that run, those that have ended, and counts of all.
    pub(crate) fn recordings(&self) -> &Recordings {
        &self.inner.recordings
    }
}

impl Inner {
    /// A publisher begins.
    fn begins(self: &Arc<Self>, start: &PublishStart) {
        let key = &start.key;
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).stream(key).clone();
        if !settings.wants(key) {
            return;
        }
        let Some(handle) = self.handle().clone() else {
            return;
        };
        let publisher = start.client.clone().into();
        let (paces, progress) = {
            let mut streams = self.streams();
            // Another publisher has taken over, or the recording has not seen the end of the last publication yet: the
            // recording goes on with the frames of that, and then with those of the new one.
            if let Some(progress) = streams.active.get(key) {
                progress.add_publisher(publisher);
                return;
            }
            let progress = self.recordings.begin(key.clone());
            progress.add_publisher(publisher);
            streams.active.insert(key.clone(), progress.clone());
            (streams.paces(key), progress)
        };
        let place = Place::new(self.clone(), key.clone(), progress.clone());
        // Subscribe now, so that the recording misses nothing.
        let subscription = handle.subscribe_to(key);
        let on_file = self.on_file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let recording = StreamRecording::new(key.clone(), settings, paces, progress, on_file);
        // A task that is not started is dropped, which frees its place.
        if let Err(error) = self.writers.spawn(place.record(subscription, recording)) {
            self.recordings.count_failure(Failure::NoThread);
            warn!(
                event = "recording_failed",
                vhost = &*shortened(key.vhost()),
                app = &*shortened(key.app()),
                stream = &*shortened(key.stream()),
                error = %error,
                "{} is not recorded, cannot start a thread: {error}",
                key.shown()
            );
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> MutexGuard<'_, Option<Handle>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("active", &self.inner.streams().active).finish_non_exhaustive()
    }
}
