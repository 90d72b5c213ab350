use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use super::{Holds, Hub, StreamId};
use crate::url::StreamKey;

/// The names of which relays must look again: a publisher came or went, the first client came or the last one went. It is
/// a set of names and not a list of events, so it is never larger than the number of names that were in use.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    on: AtomicBool,
    keys: Mutex<BTreeSet<StreamKey>>,
    waker: Mutex<Option<Waker>>,
}

/// How a name is used at present.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// The number of the publication, if the publisher is no relay. It goes on when a backup takes over.
    pub(crate) publication: Option<u64>,
    /// The connection of that publisher, once it is known.
    pub(crate) connection: Option<u64>,
    /// How many clients play it or wait for it, without those that were told that they do not get it.
    pub(crate) clients: usize,
    /// What is known of the publisher with which the publication began.
    pub(crate) published_by: Option<Arc<RelayFacts>>,
    /// What is known of the publisher on air.
    pub(crate) sent_by: Option<Arc<RelayFacts>>,
    /// What is known of the first client of the present ones.
    pub(crate) wanted_by: Option<Wanted>,
}

/// What is known of a client that plays a name, and its number among those.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) number: u64,
    pub(crate) facts: Arc<RelayFacts>,
}

/// What relays know of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RelayFacts {
    /// The parameters of its URLs. They may have secrets.
    pub(crate) params: Box<str>,
    /// The servers through which its stream comes, or for which it plays: their ids with commas between them.
    pub(crate) path: Box<str>,
}

impl Changes {
    /// Begins or ends to collect names.
    pub(crate) fn collect(&self, on: bool) {
        if !on {
            self.on.store(false, Ordering::Relaxed);
            self.keys().clear();
        } else {
            self.on.store(true, Ordering::Relaxed);
        }
    }

    /// The names that changed since the last call.
    pub(crate) fn take(&self) -> BTreeSet<StreamKey> {
        std::mem::take(&mut *self.keys())
    }

    pub(crate) fn set_waker(&self, waker: Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }

    /// Wakes the driver of the relays.
    pub(crate) fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A name has changed. Called without any lock of the hub.
    pub(super) fn changed(&self, key: &StreamKey) {
        if self.on.load(Ordering::Relaxed) && self.keys().insert(key.clone()) {
            self.wake();
        }
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeSet<StreamKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The same hub for a client of which relays are to know this.
    #[must_use]
    pub(crate) fn for_client(&self, facts: RelayFacts) -> Self {
        Hub { client: Some(Arc::new(facts)), ..self.clone() }
    }

    /// How a name is used at present.
    pub(crate) fn standing(&self, key: &StreamKey) -> Standing {
        let registry = self.registry();
        let Some(entry) = registry.streams.get(key) else {
            return Standing::default();
        };
        let own = entry.publisher().filter(|holder| holder.role != Holds::Relay);
        Standing {
            publication: own.map(|holder| holder.publication),
            connection: own.and_then(|holder| holder.connection).map(|(connection, _)| connection),
            clients: entry.wanting(),
            published_by: own.and_then(|holder| holder.published_by.clone()),
            sent_by: own.and_then(|holder| holder.facts.clone()),
            wanted_by: entry.wishes.next(0),
        }
    }

    /// The next client that plays the name, behind the one of this number.
    pub(crate) fn next_wanted(&self, key: &StreamKey, behind: u64) -> Option<Wanted> {
        self.registry().streams.get(key)?.wishes.next(behind)
    }

    /// The origins refuse the name to all clients of which relays know this: they do not wait any longer. Returns the
    /// stream whose players are to be woken.
    pub(crate) fn refuse_wanted(&self, key: &StreamKey, facts: &RelayFacts) -> Option<StreamId> {
        let mut registry = self.registry();
        let entry = registry.streams.get_mut(key)?;
        entry.wishes.refuse(facts).then_some(entry.stream.id)
    }

    /// All names in use.
    pub(crate) fn keys(&self) -> BTreeSet<StreamKey> {
        self.registry().streams.keys().cloned().collect()
    }

    /// Notes that no origin has the stream, or that this is not known any more. Returns the stream whose players are to be
    /// woken, if there is one that had no publisher and has changed.
    pub(crate) fn set_absent(&self, key: &StreamKey, absent: bool) -> Option<StreamId> {
        let registry = self.registry();
        let entry = registry.streams.get(key)?;
        let absent = absent && entry.holder.is_none();
        let before = entry.stream.absent.swap(absent, Ordering::Relaxed);
        (absent && !before).then_some(entry.stream.id)
    }
}
