//! Recording: streams into FLV files, as they come.
//!
//! Each recorded stream has a thread that plays it like any player and writes what it gets. A disk that is too slow makes
//! it miss frames up to a key frame, as a slow player does; the stream and its players notice nothing.

mod file;
mod name;
pub(crate) mod repair;
mod settings;
mod tape;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use anabranch_core::url::StreamKey;
use anabranch_host::{Handle, Subscription, Update};
use tracing::warn;

pub(crate) use settings::RecordSettings;
use tape::Tape;

/// Records streams of all virtual hosts. Clones are the same recorder.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    rules: RwLock<Rules>,
    /// Streams that are being recorded.
    active: Mutex<HashSet<StreamKey>>,
    ended: Condvar,
    handle: Mutex<Option<Handle>>,
}

/// What is recorded of which virtual host.
#[derive(Default)]
struct Rules {
    default: Arc<RecordSettings>,
    vhosts: HashMap<String, Arc<RecordSettings>>,
}

impl Recorder {
    /// A recorder with these settings for virtual hosts with settings of their own, and the others for all the rest.
    pub(crate) fn new(default: &RecordSettings, vhosts: &HashMap<String, RecordSettings>) -> Self {
        let recorder = Recorder::default();
        recorder.update(default, vhosts);
        recorder
    }

    /// From now on these settings hold, for streams that are published from now on.
    pub(crate) fn update(&self, default: &RecordSettings, vhosts: &HashMap<String, RecordSettings>) {
        let vhosts = vhosts.iter().map(|(name, settings)| (name.clone(), Arc::new(settings.clone()))).collect();
        let rules = Rules { default: Arc::new(default.clone()), vhosts };
        *self.inner.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
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
        let waited = self.inner.ended.wait_timeout_while(self.inner.active(), time, |active| !active.is_empty());
        let (active, _) = waited.unwrap_or_else(PoisonError::into_inner);
        active.is_empty()
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
        {
            let mut active = self.active();
            // Somebody has taken over, or the end of the one before has not been seen yet: whoever records goes on.
            if !active.insert(key.clone()) {
                return;
            }
        }
        // Now, so that nothing is missed.
        let subscription = handle.subscribe_to(key);
        let (inner, tape) = (self.clone(), Tape::new(key.clone(), settings));
        let thread = thread::Builder::new().name("record".to_owned()).spawn(move || inner.record(subscription, tape));
        if let Err(error) = thread {
            warn!("{key} is not recorded, there is no thread for it: {error}");
            self.active().remove(key);
        }
    }

    fn record(&self, mut subscription: Subscription, mut tape: Tape) {
        let key = subscription.key().clone();
        let mut next = None;
        loop {
            let update = next.take().or_else(|| subscription.try_recv()).or_else(|| {
                tape.flush();
                subscription.recv()
            });
            match update {
                Some(Update::Frame(frame)) => tape.frame(&frame),
                Some(Update::Missed(gap)) => tape.missed(&gap),
                Some(Update::Ended) => {
                    tape.end_of_stream();
                    // Whoever begins to publish now waits for this, and then gets a recording of its own.
                    let mut active = self.active();
                    next = subscription.try_recv();
                    if next.is_none() && !subscription.is_live() {
                        active.remove(&key);
                        self.ended.notify_all();
                        return;
                    }
                }
                // The server has stopped.
                None => break,
            }
        }
        tape.end_of_stream();
        self.active().remove(&key);
        self.ended.notify_all();
    }

    fn active(&self) -> MutexGuard<'_, HashSet<StreamKey>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> MutexGuard<'_, Option<Handle>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("active", &*self.inner.active()).finish_non_exhaustive()
    }
}
