//! Segments of HLS outside of the server: as files in a folder, and as objects in a store that speaks S3. Playlists are
//! there, too, so that a web server or a CDN can serve the streams alone.
//!
//! Nothing here delays a stream: segments wait in queues of bounded size ([`worker`]) for threads that may block. What a
//! store does not take in time is lost there, which is counted and logged.

mod listing;
mod place;
mod settings;
mod sign;
mod store;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anabranch_core::hls::Complete;
use anabranch_core::hub::StreamId;
use anabranch_core::url::StreamKey;
use anabranch_host::Handle;
use bytes::Bytes;

use place::Place;
pub(crate) use settings::S3Settings;
use store::{Folder, S3, Store};
pub(crate) use worker::Tally;
use worker::Worker;

use crate::record::Publisher;
use crate::settings::{HlsSettings, OfStreams};

/// Threads that write into a folder: a write that hangs does not keep all streams.
const OF_FOLDER: usize = 2;
/// Threads that put objects, each of which takes a round trip.
const OF_S3: usize = 8;
/// Publishers that are remembered for the hook before those that have left are forgotten.
const MOST_PUBLISHERS: usize = 4096;

/// A segment that is complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Its name, which has nothing that a client chose.
    pub(crate) name: String,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) content_type: &'static str,
    /// Name and bytes of its init segment.
    pub(crate) init: Option<(String, Bytes)>,
    pub(crate) duration: Duration,
    /// Milliseconds since 1970 at its start.
    pub(crate) wall: u64,
    /// True if it does not go on from the segment before.
    pub(crate) discontinuity: bool,
    /// The target duration in seconds.
    pub(crate) target: u32,
}

/// A segment to be stored.
#[derive(Debug, Clone)]
pub(super) struct Job {
    key: StreamKey,
    segment: Arc<Segment>,
    /// How many segments a playlist has, and how long others stay.
    window: usize,
    keep: Duration,
}

impl Job {
    fn bytes(&self) -> usize {
        self.segment.pieces.iter().map(Bytes::len).sum()
    }
}

/// Gets each segment that a store has taken.
#[derive(Clone)]
struct OnStored(Arc<TellsStored>);

type TellsStored = dyn Fn(&Job, &Place) + Send + Sync;

/// A segment that is complete, and stored if it is to be in a folder: for the hook.
#[derive(Debug, Clone)]
pub(crate) struct StoredSegment {
    pub(crate) key: StreamKey,
    pub(crate) publisher: Publisher,
    pub(crate) number: u64,
    pub(crate) duration: Duration,
    /// The file and its playlist; empty if there is no folder.
    pub(crate) file: PathBuf,
    pub(crate) playlist: PathBuf,
    /// Both as they are below the address of the server, or of the folder.
    pub(crate) url: String,
    pub(crate) playlist_url: String,
}

/// Where the segments of a stream are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OutletSettings {
    /// Empty for none.
    pub(crate) folder: PathBuf,
    pub(crate) s3: S3Settings,
    /// How many segments a playlist has.
    pub(crate) window: usize,
    /// How long other segments stay, and how long an end is waited for.
    pub(crate) hold: Duration,
}

impl OutletSettings {
    fn destinations(&self) -> impl Iterator<Item = Destination> {
        let folder = (!self.folder.as_os_str().is_empty()).then(|| Destination::Folder(self.folder.clone()));
        let s3 = self.s3.is_on().then(|| Destination::S3(Box::new(self.s3.clone())));
        folder.into_iter().chain(s3)
    }
}

/// A folder, or a store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Folder(PathBuf),
    S3(Box<S3Settings>),
}

/// Gets each segment for the hook.
type OnSegment = Box<dyn Fn(&StoredSegment) + Send + Sync>;

/// All stores. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Outlets {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    settings: RwLock<OfStreams<Arc<OutletSettings>>>,
    workers: Mutex<Vec<(Destination, Arc<Worker>)>>,
    /// Those that published last, for the hook, with their stream while they publish.
    publishers: Mutex<HashMap<StreamKey, (Option<StreamId>, Publisher)>>,
    on_segment: OnceLock<OnSegment>,
    /// Of all folders, and of all stores.
    tallies: [Arc<Tally>; 2],
}

impl Outlets {
    /// Stores with these settings.
    ///
    /// # Errors
    /// A store cannot be used, or the system starts no thread.
    pub(crate) fn new(settings: &OfStreams<HlsSettings>) -> Result<Self, String> {
        let outlets = Outlets::default();
        outlets.update(settings)?;
        Ok(outlets)
    }

    /// Puts these settings in force for segments that come from now on.
    ///
    /// # Errors
    /// A store cannot be used, or the system starts no thread; then nothing changes.
    pub(crate) fn update(&self, settings: &OfStreams<HlsSettings>) -> Result<(), String> {
        let settings = settings.try_map(|settings| Ok::<_, String>(Arc::new(settings.outlet())))?;
        let mut workers = Vec::new();
        for destination in settings.iter().flat_map(|settings| settings.destinations()) {
            if workers.iter().any(|(known, _)| *known == destination) {
                continue;
            }
            let known = self.inner.workers().iter().find(|(known, _)| *known == destination).cloned();
            let worker = match known {
                Some((_, worker)) => worker,
                None => Arc::new(self.inner.open(&destination)?),
            };
            workers.push((destination, worker));
        }
        *self.inner.workers() = workers;
        *self.inner.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// Begins to store the segments of a server. `on_segment` gets each of them; it must not block.
    pub(crate) fn start(&self, handle: &Handle, on_segment: impl Fn(&StoredSegment) + Send + Sync + 'static) {
        // A server is started once.
        let _ = self.inner.on_segment.set(Box::new(on_segment));
        let inner = self.inner.clone();
        handle.on_publish(move |start| {
            let publisher = start.client.clone().into();
            let mut publishers = lock(&inner.publishers);
            if publishers.len() >= MOST_PUBLISHERS {
                publishers.retain(|_, (stream, _)| stream.is_some());
            }
            publishers.insert(start.key.clone(), (Some(start.stream), publisher));
        });
        let inner = self.inner.clone();
        handle.on_unpublish(move |ended| {
            // It stays for its last segment.
            let mut publishers = lock(&inner.publishers);
            if let Some((stream, _)) = publishers.values_mut().find(|(stream, _)| *stream == Some(ended)) {
                *stream = None;
            }
        });
        let inner = self.inner.clone();
        handle.on_segment(move |key, complete| inner.complete(key, complete));
    }

    /// Waits until all that waits is stored, at most for that time. Returns false if some is not.
    pub(crate) fn finish(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let workers = std::mem::take(&mut *self.inner.workers());
        // All of them, whatever the first one says.
        let left = || until.saturating_duration_since(Instant::now());
        workers.iter().fold(true, |all, (_, worker)| worker.finish(left()) && all)
    }

    /// What is known of all folders, and of all stores.
    pub(crate) fn tallies(&self) -> [(&'static str, &Tally); 2] {
        let [folder, s3] = &self.inner.tallies;
        [("folder", folder), ("s3", s3)]
    }
}

impl Inner {
    fn open(self: &Arc<Self>, destination: &Destination) -> Result<Worker, String> {
        let [of_folder, of_s3] = &self.tallies;
        let (store, threads, tally): (Box<dyn Store>, _, _) = match destination {
            Destination::Folder(folder) => (Box::new(Folder(folder.clone())), OF_FOLDER, of_folder),
            Destination::S3(settings) => (Box::new(S3::new(settings)?), OF_S3, of_s3),
        };
        let on_stored = match destination {
            Destination::Folder(folder) => {
                // Its threads end after it, so they must not keep it.
                let (inner, folder) = (Arc::downgrade(self), folder.clone());
                let tell = move |job: &Job, place: &Place| {
                    if let Some(inner) = inner.upgrade() {
                        let (file, playlist) = (folder.join(place.file(&job.segment.name)), place.playlist());
                        inner.tell(job, place, file, folder.join(playlist));
                    }
                };
                Some(OnStored(Arc::new(tell)))
            }
            Destination::S3(_) => None,
        };
        Worker::new(store, threads, tally.clone(), on_stored)
            .map_err(|error| format!("cannot start a thread for segments: {error}"))
    }

    fn complete(&self, key: &StreamKey, complete: &Complete) {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).stream(key).clone();
        let job = Job {
            key: key.clone(),
            segment: Arc::new(Segment::from(complete)),
            window: settings.window,
            keep: settings.hold,
        };
        let workers = self.workers();
        for destination in settings.destinations() {
            if let Some((_, worker)) = workers.iter().find(|(known, _)| *known == destination) {
                worker.store(job.clone());
            }
        }
        drop(workers);
        if settings.folder.as_os_str().is_empty() {
            self.tell(&job, &Place::new(key), PathBuf::new(), PathBuf::new());
        }
    }

    fn tell(&self, job: &Job, place: &Place, file: PathBuf, playlist: PathBuf) {
        let Some(on_segment) = self.on_segment.get() else { return };
        on_segment(&StoredSegment {
            key: job.key.clone(),
            publisher: lock(&self.publishers).get(&job.key).map(|(_, publisher)| publisher.clone()).unwrap_or_default(),
            number: job.segment.number,
            duration: job.segment.duration,
            file,
            playlist,
            url: place.file(&job.segment.name),
            playlist_url: place.playlist().to_owned(),
        });
    }

    fn workers(&self) -> MutexGuard<'_, Vec<(Destination, Arc<Worker>)>> {
        lock(&self.workers)
    }
}

impl From<&Complete> for Segment {
    fn from(complete: &Complete) -> Self {
        Segment {
            number: complete.number,
            name: complete.name.clone(),
            pieces: complete.media.pieces.clone(),
            content_type: complete.media.content_type,
            init: complete.init.clone(),
            duration: complete.duration,
            wall: complete.wall,
            discontinuity: complete.discontinuity,
            target: complete.target,
        }
    }
}

impl fmt::Debug for Outlets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlets").field("stores", &self.inner.workers().len()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
