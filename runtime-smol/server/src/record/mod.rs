//! Recording: streams into FLV files, as they come.
//!
//! Each recorded stream has a task that plays it like any player and writes what it gets; all of them run on a few
//! threads ([`writers`]). A disk that is too slow makes recordings miss frames up to a key frame, as slow players do;
//! the streams and their players notice nothing.

mod file;
mod name;
mod pace;
pub(crate) mod repair;
mod settings;
mod tape;
mod writers;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anabranch_core::url::StreamKey;
use anabranch_host::{Handle, Subscription, Update};
use smol::future::yield_now;
use tracing::warn;

use pace::Pace;
pub(crate) use settings::RecordSettings;
pub(crate) use tape::Tally;
use tape::Tape;
use writers::Writers;

/// Updates that a recording takes before others have a turn.
const TURN: usize = 64;
/// Names that are remembered from which on old ones are looked for.
const MANY: usize = 1024;

/// Records streams of all virtual hosts. Clones are the same recorder.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    rules: RwLock<Rules>,
    streams: Mutex<Streams>,
    ended: Condvar,
    handle: Mutex<Option<Handle>>,
    writers: Arc<Writers>,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Streams {
    /// Those that are being recorded.
    active: HashSet<StreamKey>,
    /// Those that were lately.
    paces: HashMap<StreamKey, Arc<Pace>>,
    /// The number of them at which old ones are removed.
    many: usize,
    /// How often files of any name begin.
    all: Option<Arc<Pace>>,
}

impl Streams {
    /// How often files of that name begin, and of any.
    fn paces(&mut self, key: &StreamKey) -> (Arc<Pace>, Arc<Pace>) {
        let now = Instant::now();
        let all = self.all.get_or_insert_with(|| Arc::new(Pace::of_all(now))).clone();
        if self.paces.len() > self.many.max(MANY) {
            self.paces.retain(|key, pace| self.active.contains(key) || !pace.is_past(now));
            self.many = self.paces.len() * 2;
        }
        let of_name = self.paces.entry(key.clone()).or_insert_with(|| Arc::new(Pace::new(now)));
        (of_name.clone(), all)
    }
}

/// What is recorded of which virtual host.
#[derive(Default)]
struct Rules {
    default: Arc<RecordSettings>,
    vhosts: HashMap<String, Arc<RecordSettings>>,
}

impl Recorder {
    /// A recorder with these settings for virtual hosts with settings of their own, and the others for all the rest.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn new(default: &RecordSettings, vhosts: &HashMap<String, RecordSettings>) -> Result<Self, String> {
        let recorder = Recorder::default();
        recorder.update(default, vhosts)?;
        Ok(recorder)
    }

    /// From now on these settings hold, for streams that are published from now on.
    ///
    /// # Errors
    /// There is no thread for it; then all is as it was.
    pub(crate) fn update(
        &self,
        default: &RecordSettings,
        vhosts: &HashMap<String, RecordSettings>,
    ) -> Result<(), String> {
        if vhosts.values().chain([default]).any(|settings| !settings.streams.is_empty()) {
            self.inner.writers.prepare().map_err(|error| format!("no thread for recording: {error}"))?;
        }
        let vhosts = vhosts.iter().map(|(name, settings)| (name.clone(), Arc::new(settings.clone()))).collect();
        let rules = Rules { default: Arc::new(default.clone()), vhosts };
        *self.inner.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    /// Records what is published in this server.
    pub(crate) fn start(&self, handle: &Handle) {
        *self.inner.handle() = Some(handle.clone());
        let inner = self.inner.clone();
        handle.on_publish(move |key| inner.begins(key));
    }

    /// The server has stopped: waits until all files are at their ends, but no longer than this. False if some are not.
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

    /// What was recorded so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.inner.tally
    }
}

impl Inner {
    /// Somebody begins to publish.
    fn begins(self: &Arc<Self>, key: &StreamKey) {
        let settings = {
            let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
            rules.vhosts.get(key.vhost()).unwrap_or(&rules.default).clone()
        };
        if !settings.wants(key.app(), key.stream()) {
            return;
        }
        let Some(handle) = self.handle().clone() else {
            return;
        };
        let paces = {
            let mut streams = self.streams();
            // Somebody has taken over, or the end of the one before has not been seen yet: whoever records goes on.
            if !streams.active.insert(key.clone()) {
                return;
            }
            streams.paces(key)
        };
        let place = Place { inner: self.clone(), key: key.clone(), left: false };
        // Now, so that nothing is missed.
        let subscription = handle.subscribe_to(key);
        let tape = Tape::new(key.clone(), settings, paces, self.tally.clone());
        // What is not run gives its place back when it is dropped.
        if let Err(error) = self.writers.spawn(place.record(subscription, tape)) {
            self.tally.failed();
            warn!("{key} is not recorded, there is no thread for it: {error}");
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> MutexGuard<'_, Option<Handle>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's place among those that are being recorded. It is given back however the recording ends.
struct Place {
    inner: Arc<Inner>,
    key: StreamKey,
    /// True once it was given back: from then on it may be another's.
    left: bool,
}

impl Place {
    async fn record(mut self, mut subscription: Subscription, mut tape: Tape) {
        let mut turn = 0;
        let mut next = None;
        loop {
            turn += 1;
            if turn % TURN == 0 {
                yield_now().await;
            }
            let mut update = next.take().or_else(|| subscription.try_recv());
            if update.is_none() {
                tape.flush();
                if !subscription.is_live() {
                    tape.end_of_stream();
                    // Whoever begins to publish now waits for this, and then gets a recording of its own.
                    let inner = self.inner.clone();
                    let mut streams = inner.streams();
                    next = subscription.try_recv();
                    if next.is_none() && !subscription.is_live() {
                        self.leave(&mut streams);
                        return;
                    }
                    continue;
                }
                update = subscription.recv_async().await;
            }
            match update {
                Some(Update::Frame(frame)) => tape.frame(&frame),
                Some(Update::Missed(gap)) => tape.missed(&gap),
                Some(Update::Ended) => tape.end_of_stream(),
                // The server has stopped.
                None => {
                    tape.end_of_stream();
                    return;
                }
            }
        }
    }

    fn leave(&mut self, streams: &mut Streams) {
        self.left = true;
        streams.active.remove(&self.key);
        let now = Instant::now();
        if streams.paces.get(&self.key).is_some_and(|pace| pace.is_past(now)) {
            streams.paces.remove(&self.key);
        }
        self.inner.ended.notify_all();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.left {
            let inner = self.inner.clone();
            self.leave(&mut inner.streams());
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("active", &self.inner.streams().active).finish_non_exhaustive()
    }
}
