//! Drives the packager: hands requests to it, does what it wants done, and tells it what streams have.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anabranch_core::conn::Core;
use anabranch_core::hls::{self, Complete, Shortage};
use anabranch_core::http::{Answer, Request};
use anabranch_core::hub::StreamId;
use anabranch_core::packager::{Effect, Packager, PackagerStats, Target, Time};
use anabranch_core::session::CloseReason;
use anabranch_core::url::{StreamKey, shortened};
use event_listener::{Event, Listener};
use tracing::{error, warn};

use crate::handle::Control;
use crate::in_order::InOrder;
use crate::viewer::{Granted, Keeper, Kept, Viewer};
use crate::viewers::Viewers;
use crate::web::Reply;

/// The longest time between two looks of the thread.
const LOOK: Duration = Duration::from_secs(1);
/// Effects that a connection's thread carries out for others, before it leaves them to the thread of the segments.
const SHARE: usize = 64;

pub(crate) type OnComplete = Box<dyn Fn(&StreamKey, &Complete) + Send + Sync>;

/// What serves streams in segments. A thread follows the streams, once there is one to follow; requests are answered on the
/// threads of their connections if the answer is there.
pub(crate) struct Segments {
    packager: Mutex<Packager<Reply>>,
    /// So that effects are carried out in their order.
    order: InOrder,
    viewers: Viewers,
    /// The streams that it follows, and those of them that have something new.
    followed: RwLock<HashSet<StreamId>>,
    news: Mutex<BTreeSet<StreamId>>,
    event: Event,
    control: OnceLock<Weak<dyn Control>>,
    is_started: AtomicBool,
    complete: RwLock<Vec<Arc<OnComplete>>>,
    /// Segments that are complete, and that the thread tells.
    untold: Mutex<VecDeque<(StreamKey, Box<Complete>)>>,
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
            order: InOrder::default(),
            viewers: Viewers::default(),
            followed: RwLock::default(),
            news: Mutex::default(),
            event: Event::new(),
            control: OnceLock::new(),
            is_started: AtomicBool::new(false),
            complete: RwLock::default(),
            untold: Mutex::default(),
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

    /// A stream is published.
    pub(crate) fn publishes(&self, core: &Core, key: &StreamKey) {
        if let Some(settings) = core.segmenting(key).filter(|settings| settings.mode == hls::Mode::Always) {
            self.packager().publishes(time(), key, &settings);
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
        self.complete.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(complete));
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

    /// Does what the packager wants done, or leaves it to the thread that does so already.
    fn follow_effects(&self) {
        if !self.follow(SHARE) {
            self.start();
            self.notify();
        }
    }

    /// Does so much of that at most. False if there is more.
    fn follow(&self, most: usize) -> bool {
        let has_more = || self.packager().has_effects();
        self.order.carry_out(most, has_more, || self.packager().poll(), |effect| self.act(effect))
    }

    /// No lock of what is here is held meanwhile.
    fn act(&self, effect: Effect<Reply>) {
        match effect {
            Effect::Answer(reply, answer) => reply.give(answer),
            Effect::View(view) => {
                let Some(control) = self.control.get().and_then(Weak::upgrade) else { return };
                self.start();
                let viewer = Viewer::open(&control, view.session, Kept::BySegments, control.open_viewer(&view));
                self.viewers.insert(view.session, viewer.clone());
                viewer.serve();
            }
            Effect::Leave(session) => {
                if let Some(viewer) = self.viewers.get(session) {
                    viewer.leave(CloseReason::PeerClosed);
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
                self.start();
                self.untold().push_back((key, complete));
                self.notify();
            }
            Effect::Short(key, shortage) => tell_shortage(&key, shortage),
        }
    }

    /// Tells complete segments. Only the thread does that, so that they are told one after the other.
    fn tell(&self) {
        let untold = std::mem::take(&mut *self.untold());
        if untold.is_empty() {
            return;
        }
        let callbacks = self.complete.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (key, complete) in untold {
            callbacks.iter().for_each(|tell| tell(&key, &complete));
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
        let mut absent = Vec::new();
        {
            let mut packager = self.packager();
            for stream in news {
                packager.wake(stream);
                if !packager.is_live(stream) {
                    absent.push(stream);
                }
            }
        }
        // Requests wait for no more than one stream at a time, and what waited for it is answered at once.
        while self.packager().take_news(time) {
            self.follow(usize::MAX);
        }
        let due = {
            let mut packager = self.packager();
            packager.limit_memory(core.segment_memory());
            packager.turn(time);
            packager.deadline()
        };
        self.follow(usize::MAX);
        self.tell();
        self.viewers.look(time.now);
        // A stream may be refused elsewhere, or be nowhere: its viewers are told.
        for stream in absent {
            self.viewers.waiting_for(stream).iter().for_each(|viewer| viewer.serve());
        }
        let next = self.viewers.next_due();
        [due, next].into_iter().flatten().fold(time.now + LOOK, Instant::min)
    }

    fn packager(&self) -> MutexGuard<'_, Packager<Reply>> {
        self.packager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self) -> MutexGuard<'_, VecDeque<(StreamKey, Box<Complete>)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for Segments {
    fn look_at(&self, session: u64, due: Instant) {
        self.viewers.look_at(session, due);
    }

    fn awaits(&self, session: u64, stream: StreamId) {
        self.viewers.awaits(session, stream);
    }

    fn forgets(&self, session: u64, stream: StreamId) {
        self.viewers.forgets(session, stream);
    }

    fn granted(&self, session: u64, granted: Granted) {
        let Granted { key, segments: Some(settings), asked } = granted else { return };
        self.packager().granted(time(), session, &key, &settings, asked);
        self.follow_effects();
    }

    fn refused(&self, session: u64, answer: &Answer) {
        self.packager().refused(session, answer);
        self.follow_effects();
    }

    fn left(&self, session: u64) {
        self.viewers.remove(session);
        let answer = Answer::text(503, "the server cannot answer at present").with("Retry-After", "1");
        self.refused(session, &answer);
    }
}

fn tell_shortage(key: &StreamKey, shortage: Shortage) {
    let Shortage { segments, window, bytes, needed } = shortage;
    warn!(
        event = "segments_short",
        vhost = &*shortened(key.vhost()),
        app = &*shortened(key.app()),
        stream = &*shortened(key.stream()),
        segments,
        window,
        bytes,
        needed,
        "the segments of {} have no room in hls.bytes, which is {bytes}: its playlist has {segments} of {window}, which \
         need about {needed}",
        key.shown()
    );
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
pub(crate) fn time() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { now: Instant::now(), wall: wall.as_millis() as u64 }
}
