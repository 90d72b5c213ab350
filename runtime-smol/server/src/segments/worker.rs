//! The threads that store segments.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::url::{StreamKey, shortened};
use tracing::{error, info, warn};

use super::listing::Listing;
use super::place::Place;
use super::store::{Kind, Store};
use super::{Job, OnStored};

/// The bytes of segments that may wait for a store.
const MOST_BYTES: usize = 64 << 20;
/// What a waiting segment takes besides its bytes.
const JOB: usize = 1024;
/// How often a file is tried while the store works.
const ATTEMPTS: u32 = 4;
/// The wait before the second attempt. Each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The wait of a thread whose store does not work, before the next file.
const PAUSE: Duration = Duration::from_millis(250);

/// What is known of a store, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) segments: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Segments that are not stored: the store failed, or was too slow.
    pub(crate) lost: AtomicU64,
    /// Attempts that failed.
    pub(crate) failures: AtomicU64,
    /// Bytes that wait.
    pub(crate) waiting: AtomicUsize,
}

/// A store with its threads. The segments of one stream are stored one after the other, by one of them.
pub(super) struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    store: Box<dyn Store>,
    /// One for each thread.
    lanes: Vec<Lane>,
    tally: Arc<Tally>,
    on_stored: Option<OnStored>,
    /// True while files fail; then each is tried once.
    failing: AtomicBool,
    /// Segments that were lost since then.
    lost: AtomicU64,
    over: AtomicBool,
    running: AtomicUsize,
}

#[derive(Debug, Default)]
struct Lane {
    jobs: Mutex<VecDeque<Job>>,
    work: Condvar,
}

impl Worker {
    /// # Errors
    /// The system starts no thread.
    pub(super) fn new(
        store: Box<dyn Store>,
        threads: usize,
        tally: Arc<Tally>,
        on_stored: Option<OnStored>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            store,
            lanes: (0..threads).map(|_| Lane::default()).collect(),
            tally,
            on_stored,
            failing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            over: AtomicBool::new(false),
            running: AtomicUsize::new(0),
        });
        let worker = Worker { shared };
        for number in 0..threads {
            let shared = worker.shared.clone();
            shared.running.fetch_add(1, Ordering::AcqRel);
            let spawned = thread::Builder::new().name("segments".to_owned()).spawn(move || {
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shared.run(number))).is_err() {
                    error!(event = "bug", "storing segments panicked, which is a bug: a thread of it has ended");
                }
                shared.running.fetch_sub(1, Ordering::AcqRel);
            });
            if let Err(error) = spawned {
                worker.shared.running.fetch_sub(1, Ordering::AcqRel);
                return Err(error);
            }
        }
        Ok(worker)
    }

    /// Stores a segment later. It never waits: if too much waits already, the segment is lost, which is counted.
    pub(super) fn store(&self, job: Job) {
        let bytes = job.bytes() + JOB;
        let Shared { tally, .. } = &*self.shared;
        let take = |waiting: usize| waiting.checked_add(bytes).filter(|waiting| *waiting <= MOST_BYTES);
        if tally.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            self.shared.lose(&job.key, "too much waits for it");
            return;
        }
        self.shared.lane(&job.key).push(job);
    }

    /// Ends the threads once all that waits is stored, or has been tried. True if that was within the time.
    pub(super) fn finish(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        self.stop();
        while self.shared.running.load(Ordering::Acquire) > 0 {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn stop(&self) {
        self.shared.over.store(true, Ordering::Release);
        for lane in &self.shared.lanes {
            // With the lock held, so that no thread is between its look and its wait.
            let _jobs = lane.jobs();
            lane.work.notify_all();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Lane {
    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.jobs().push_back(job);
        self.work.notify_one();
    }
}

/// A stream of which something is stored.
struct Stored {
    place: Place,
    listing: Listing,
    /// When its playlist ends, if no further segment comes; `None` once it has ended.
    ends: Option<Instant>,
    /// How long files stay that are not listed.
    keep: Duration,
}

impl Stored {
    fn due(&self) -> Option<Instant> {
        [self.ends, self.listing.due()].into_iter().flatten().min()
    }
}

impl Shared {
    fn lane(&self, key: &StreamKey) -> &Lane {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % self.lanes.len().max(1) as u64).unwrap_or(0);
        &self.lanes[index]
    }

    fn run(&self, number: usize) {
        let mut streams: HashMap<StreamKey, Stored> = HashMap::new();
        loop {
            let due = streams.values().filter_map(Stored::due).min();
            match self.next(number, due) {
                Some(job) => {
                    let bytes = job.bytes() + JOB;
                    self.segment(&mut streams, &job);
                    self.tally.waiting.fetch_sub(bytes, Ordering::Relaxed);
                }
                None if self.over.load(Ordering::Acquire) => return,
                None => {}
            }
            let now = Instant::now();
            streams.retain(|_, stored| {
                if stored.ends.take_if(|ends| *ends <= now).is_some() {
                    stored.listing.end();
                    let text = stored.listing.text(stored.place.url_folder());
                    let _ = self.put(stored.place.playlist(), &[text.into()], Kind::Playlist);
                    stored.listing.close(stored.keep, now);
                }
                for name in stored.listing.expired(now) {
                    // A file that cannot be removed stays.
                    let _ = self.store.remove(&stored.place.file(&name));
                }
                let is_over = stored.listing.is_empty() && stored.ends.is_none();
                if is_over {
                    let _ = self.store.remove(stored.place.playlist());
                }
                !is_over
            });
        }
    }

    /// The next job; `None` if the time `due` has come, or the end.
    fn next(&self, number: usize, due: Option<Instant>) -> Option<Job> {
        let lane = &self.lanes[number];
        let mut jobs = lane.jobs();
        loop {
            if let Some(job) = jobs.pop_front() {
                return Some(job);
            }
            let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
            if self.over.load(Ordering::Acquire) || wait.is_some_and(|wait| wait.is_zero()) {
                return None;
            }
            jobs = match wait {
                Some(wait) => lane.work.wait_timeout(jobs, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => lane.work.wait(jobs).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn segment(&self, streams: &mut HashMap<StreamKey, Stored>, job: &Job) {
        let stored = streams.entry(job.key.clone()).or_insert_with(|| {
            let place = Place::new(&job.key);
            let mut listing = Listing::default();
            let left = self.store.left(place.folder());
            listing.adopt(left, Instant::now() + job.keep);
            Stored { place, listing, ends: None, keep: job.keep }
        });
        let Stored { place, listing, ends, keep } = stored;
        *keep = job.keep;
        let segment = &job.segment;
        let kind = Kind::Media(segment.content_type);
        let init = segment.init.as_ref().filter(|(name, _)| listing.lacks(name));
        let mut put = || -> Result<(), String> {
            if let Some((name, bytes)) = init {
                self.put(&place.file(name), std::slice::from_ref(bytes), kind)?;
                listing.note_init(name);
            }
            self.put(&place.file(&segment.name), &segment.pieces, kind)
        };
        if let Err(error) = put() {
            listing.miss();
            self.lose(&job.key, &error);
            return;
        }
        let now = Instant::now();
        listing.add(segment, job.window, job.keep, now);
        *ends = Some(now + job.keep + 2 * Duration::from_secs(segment.target.into()));
        // A playlist that is not stored is stored with the next segment.
        let _ = self.put(place.playlist(), &[listing.text(place.url_folder()).into()], Kind::Playlist);
        self.tally.segments.fetch_add(1, Ordering::Relaxed);
        self.tally.bytes.fetch_add(job.bytes() as u64, Ordering::Relaxed);
        if let Some(OnStored(tell)) = &self.on_stored {
            tell(job, place);
        }
    }

    /// Tries to store a file, a few times if the store has worked until now.
    fn put(&self, path: &str, pieces: &[bytes::Bytes], kind: Kind) -> Result<(), String> {
        let mut wait = FIRST_WAIT;
        let attempts = if self.failing.load(Ordering::Relaxed) { 1 } else { ATTEMPTS };
        let mut attempt = 1;
        loop {
            match self.store.put(path, pieces, kind) {
                Ok(()) => {
                    if self.failing.swap(false, Ordering::Relaxed) {
                        let (store, lost) = (self.store.name(), self.lost.swap(0, Ordering::Relaxed));
                        info!(
                            event = "segments_stored_again",
                            store = %store,
                            lost,
                            "segments are stored in {store} again; {lost} are not there"
                        );
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.tally.failures.fetch_add(1, Ordering::Relaxed);
                    if attempt >= attempts || self.over.load(Ordering::Acquire) {
                        if attempts == 1 && !self.over.load(Ordering::Acquire) {
                            thread::sleep(PAUSE);
                        }
                        return Err(error);
                    }
                }
            }
            thread::sleep(wait);
            (wait, attempt) = (wait * 2, attempt + 1);
        }
    }

    /// A segment is not stored.
    fn lose(&self, key: &StreamKey, why: &str) {
        self.tally.lost.fetch_add(1, Ordering::Relaxed);
        self.lost.fetch_add(1, Ordering::Relaxed);
        if !self.failing.swap(true, Ordering::Relaxed) {
            let store = self.store.name();
            warn!(
                event = "segments_lost",
                store = %store,
                vhost = &*shortened(key.vhost()),
                app = &*shortened(key.app()),
                stream = &*shortened(key.stream()),
                error = why,
                "segments of {} are not stored in {store}: {why}",
                key.shown()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;

    use anabranch_core::url::DEFAULT_VHOST;
    use bytes::Bytes;

    use super::super::Segment;
    use super::super::store::Folder;
    use super::*;

    fn job(name: &str, number: u64) -> Job {
        let segment = Segment {
            number,
            name: format!("s{number}.m4s"),
            pieces: vec![Bytes::from_static(b"moof"), Bytes::from_static(b"mdat")],
            content_type: "video/mp4",
            init: Some(("i0.mp4".to_owned(), Bytes::from_static(b"moov"))),
            duration: Duration::from_secs(2),
            target: 2,
            ..Segment::default()
        };
        let key = StreamKey::new(DEFAULT_VHOST, "live", name).unwrap();
        Job { key, segment: Arc::new(segment), window: 3, keep: Duration::from_secs(60) }
    }

    #[test]
    fn a_folder_has_the_segments_and_the_playlist_of_each_stream() {
        let folder = std::env::temp_dir().join(format!("anabranch-segments-{}", std::process::id()));
        let tally = Arc::new(Tally::default());
        let (sender, told) = mpsc::channel();
        let on_stored = OnStored(Arc::new(move |job: &Job, place: &Place| {
            let _ = sender.send(place.file(&job.segment.name));
        }));
        let store = Box::new(Folder(folder.clone()));
        let worker = Worker::new(store, 2, tally.clone(), Some(on_stored)).unwrap();
        for number in 0..5 {
            ["a", ".x", "c d"].iter().for_each(|name| worker.store(job(name, number)));
        }
        assert!(worker.finish(Duration::from_secs(30)));
        let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
        for name in ["a", "%2Ex", "c%20d"] {
            assert_eq!(read(&format!("live/{name}/i0.mp4")), "moov");
            assert_eq!(read(&format!("live/{name}/s4.m4s")), "moofmdat");
            let playlist = read(&format!("live/{name}.m3u8"));
            let listed: Vec<_> = playlist.lines().filter(|line| !line.starts_with('#')).collect();
            let folder = name.replace('%', "%25");
            assert_eq!(listed, [2, 3, 4].map(|number| format!("{folder}/s{number}.m4s")));
        }
        let count = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
        assert_eq!((count(&folder), count(&folder.join("live")), count(&folder.join("live/a"))), (1, 6, 6));
        assert_eq!((tally.segments.load(Ordering::Relaxed), told.try_iter().count()), (15, 15));
        assert_eq!(tally.waiting.load(Ordering::Relaxed), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// A store in memory that takes nothing while `is_broken`, and nothing at all before `gate` is dropped.
    #[derive(Default)]
    struct Memory {
        files: Arc<Mutex<BTreeMap<String, Bytes>>>,
        is_broken: Arc<AtomicBool>,
        gate: Option<Mutex<mpsc::Receiver<()>>>,
    }

    impl Store for Memory {
        fn put(&self, path: &str, pieces: &[Bytes], _: Kind) -> Result<(), String> {
            if let Some(gate) = &self.gate {
                let _ = gate.lock().unwrap().recv();
            }
            if self.is_broken.load(Ordering::SeqCst) {
                return Err("broken".to_owned());
            }
            self.files.lock().unwrap().insert(path.to_owned(), pieces.concat().into());
            Ok(())
        }

        fn remove(&self, path: &str) -> Result<(), String> {
            self.files.lock().unwrap().remove(path);
            Ok(())
        }

        fn left(&self, _: &str) -> Vec<String> {
            Vec::new()
        }

        fn name(&self) -> String {
            "memory".to_owned()
        }
    }

    fn wait(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(30));
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_a_broken_store_misses_is_counted_and_what_follows_is_a_discontinuity() {
        let (files, is_broken, tally) = (Arc::default(), Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
        let memory = Memory { files: Arc::clone(&files), is_broken: is_broken.clone(), gate: None };
        let worker = Worker::new(Box::new(memory), 1, tally.clone(), None).unwrap();
        let stored = |count| wait(|| tally.segments.load(Ordering::Relaxed) == count);
        worker.store(job("cam", 0));
        stored(1);
        is_broken.store(true, Ordering::SeqCst);
        worker.store(job("cam", 1));
        wait(|| tally.lost.load(Ordering::Relaxed) == 1);
        assert_eq!(tally.failures.load(Ordering::Relaxed), u64::from(ATTEMPTS));
        is_broken.store(false, Ordering::SeqCst);
        worker.store(job("cam", 2));
        stored(2);
        assert!(worker.finish(Duration::from_secs(30)));
        let playlist = String::from_utf8(files.lock().unwrap()["live/cam.m3u8"].to_vec()).unwrap();
        let listed: Vec<_> = playlist.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(playlist.contains("cam/s0.m4s\n#EXT-X-DISCONTINUITY\n"), "{playlist}");
        assert_eq!(listed, ["cam/s0.m4s", "cam/s2.m4s"]);
    }

    #[test]
    fn a_store_that_hangs_does_not_make_callers_wait_and_holds_so_many_bytes() {
        let (open, gate) = mpsc::channel();
        let tally = Arc::new(Tally::default());
        let memory = Memory { gate: Some(Mutex::new(gate)), ..Memory::default() };
        let worker = Worker::new(Box::new(memory), 1, tally.clone(), None).unwrap();
        let large = Bytes::from(vec![0; 8 << 20]);
        for number in 0..20 {
            let mut job = job("cam", number);
            let mut segment = Segment::clone(&job.segment);
            segment.pieces = vec![large.clone()];
            job.segment = Arc::new(segment);
            worker.store(job);
            assert!(tally.waiting.load(Ordering::Relaxed) <= MOST_BYTES);
        }
        assert!(tally.lost.load(Ordering::Relaxed) >= 12);
        assert!(!worker.finish(Duration::ZERO), "it hangs");
        drop(open);
        assert!(worker.finish(Duration::from_secs(30)));
        assert_eq!(tally.waiting.load(Ordering::Relaxed), 0);
    }
}
