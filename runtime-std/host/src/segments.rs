//! Drives the packager: hands requests to it, does what it wants done, and tells it what streams have.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anabranch_core::conn::Core;
use anabranch_core::hls::{self, Complete};
use anabranch_core::http::{Answer, Request};
use anabranch_core::hub::StreamId;
use anabranch_core::packager::{Effect, Packager, PackagerStats, Target, Time};
use anabranch_core::url::StreamKey;
use event_listener::{Event, Listener};
use tracing::{error, warn};

use crate::handle::Control;
use crate::viewer::Viewer;
use crate::web::Reply;

/// The longest time between two looks of the thread.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) type OnComplete = Box<dyn Fn(&StreamKey, &Complete) + Send + Sync>;

/// What serves streams in segments. A thread follows the streams, once there is one to follow; requests are answered on the
/// threads of their connections if the answer is there.
pub(crate) struct Segments {
    packager: Mutex<Packager<Reply>>,
    viewers: Mutex<HashMap<u64, Arc<Viewer>>>,
    /// The streams that it follows, and those of them that have something new.
    followed: RwLock<HashSet<StreamId>>,
    news: Mutex<BTreeSet<StreamId>>,
    event: Event,
    control: OnceLock<Weak<dyn Control>>,
    is_started: AtomicBool,
    complete: RwLock<Vec<OnComplete>>,
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Segments {
    pub(crate) fn new(core: &Core, seed: [u8; 32]) -> Self {
        Segments {
            packager: Mutex::new(Packager::new(core.hub().clone(), seed)),
            viewers: Mutex::default(),
            followed: RwLock::default(),
            news: Mutex::default(),
            event: Event::new(),
            control: OnceLock::new(),
            is_started: AtomicBool::new(false),
            complete: RwLock::default(),
        }
    }

    /// The server that it belongs to.
    pub(crate) fn belong_to(&self, control: &Arc<dyn Control>) {
        // A server is made once.
        let _ = self.control.set(Arc::downgrade(control));
    }

    /// A client asks for a segment or a list of them.
    pub(crate) fn request(&self, core: &Core, target: Target, request: &Request, reply: Reply) {
        let (client, settings) = (reply.client(), core.config().web.clone());
        self.packager().request(time(), target, request, client, &settings, reply);
        self.follow_effects();
    }

    /// A viewer may view a stream.
    pub(crate) fn granted(&self, session: u64, key: &StreamKey, settings: hls::Settings, asked: bool) {
        self.packager().granted(time(), session, key, settings, asked);
        self.follow_effects();
    }

    /// A viewer may not, or may no longer.
    pub(crate) fn refused(&self, session: u64, answer: &Answer) {
        self.packager().refused(session, answer);
        self.follow_effects();
    }

    /// A viewer has left.
    pub(crate) fn left(&self, session: u64) {
        self.viewers().remove(&session);
        let answer = Answer::text(503, "the server cannot answer at present").with("Retry-After", "1");
        self.refused(session, &answer);
    }

    /// A stream is published.
    pub(crate) fn publishes(&self, core: &Core, key: &StreamKey) {
        if let Some(settings) = core.segmenting(key).filter(|settings| settings.mode == hls::Mode::Always) {
            self.packager().publishes(time(), key, settings);
            self.follow_effects();
        }
    }

    /// A stream has something new.
    pub(crate) fn wake(&self, stream: StreamId) {
        if self.followed.read().unwrap_or_else(PoisonError::into_inner).contains(&stream) {
            self.note_news(stream);
        }
    }

    /// Has the thread look at what there is.
    pub(crate) fn notify(&self) {
        self.event.notify(usize::MAX);
    }

    /// Has complete segments told.
    pub(crate) fn on_complete(&self, complete: OnComplete) {
        self.complete.write().unwrap_or_else(PoisonError::into_inner).push(complete);
        self.packager().tell_segments();
    }

    pub(crate) fn stats(&self) -> PackagerStats {
        self.packager().stats()
    }

    fn note_news(&self, stream: StreamId) {
        let is_first = {
            let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
            news.insert(stream) && news.len() == 1
        };
        if is_first {
            self.notify();
        }
    }

    /// Does what the packager wants done. No lock is held meanwhile.
    fn follow_effects(&self) {
        loop {
            let Some(effect) = self.packager().poll() else { return };
            match effect {
                Effect::Answer(reply, answer) => reply.give(answer),
                Effect::View(view) => {
                    let Some(control) = self.control.get().and_then(Weak::upgrade) else {
                        continue;
                    };
                    self.start();
                    let viewer = Viewer::open(&control, &view);
                    self.viewers().insert(view.session, viewer.clone());
                    viewer.serve();
                }
                Effect::Leave(session) => {
                    let viewer = self.viewers().get(&session).cloned();
                    if let Some(viewer) = viewer {
                        viewer.leave();
                    }
                }
                Effect::Follow(stream) => {
                    self.start();
                    self.followed.write().unwrap_or_else(PoisonError::into_inner).insert(stream);
                    self.note_news(stream);
                }
                Effect::Unfollow(stream) => {
                    self.followed.write().unwrap_or_else(PoisonError::into_inner).remove(&stream);
                }
                Effect::Complete(key, complete) => {
                    let callbacks = self.complete.read().unwrap_or_else(PoisonError::into_inner);
                    callbacks.iter().for_each(|tell| tell(&key, &complete));
                }
            }
        }
    }

    /// Starts the thread, if it does not run.
    fn start(&self) {
        let Some(control) = self.control.get() else { return };
        if self.is_started.swap(true, Ordering::AcqRel) {
            return;
        }
        let control = control.clone();
        let started = thread::Builder::new().name("segments".to_owned()).spawn(move || run(&control));
        if let Err(error) = started {
            warn!(event = "not_segmented", error = %error, "cannot start the thread that makes segments: {error}");
            self.is_started.store(false, Ordering::Release);
        }
    }

    /// One turn of the thread. Returns when the next one is due.
    fn turn(&self, core: &Core) -> Instant {
        let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
        let time = time();
        let due = {
            let mut packager = self.packager();
            for stream in news {
                packager.wake(stream);
            }
            packager.limit_memory(core.segment_memory());
            packager.turn(time);
            packager.deadline()
        };
        self.follow_effects();
        let viewers: Vec<_> = self.viewers().values().cloned().collect();
        viewers.iter().for_each(|viewer| viewer.look(time.now));
        let latest = time.now + LOOK;
        due.map_or(latest, |due| due.min(latest))
    }

    fn packager(&self) -> MutexGuard<'_, Packager<Reply>> {
        self.packager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn viewers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Viewer>>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(control: &Weak<dyn Control>) {
    loop {
        let Some(server) = control.upgrade() else { return };
        if server.is_stopping() {
            return;
        }
        // What happens from here on is noticed.
        let news = server.segments().event.listen();
        let turn = catch_unwind(AssertUnwindSafe(|| server.segments().turn(server.core())));
        let due = turn.unwrap_or_else(|_| {
            error!(event = "bug", "the thread that makes segments panicked, which is a bug; it goes on");
            thread::sleep(LOOK);
            Instant::now()
        });
        drop(server);
        news.wait_deadline(due);
    }
}

/// The present moment.
fn time() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { now: Instant::now(), wall: wall.as_millis() as u64 }
}
