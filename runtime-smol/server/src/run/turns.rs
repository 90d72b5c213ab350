//! Whose turn it is to be started, and how often. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// The programs that wait for a place. Virtual hosts take turns, so that one with many streams does not keep the others
/// from being served; within a host the oldest is the first.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// No host has an empty set.
    waiting: BTreeMap<String, BTreeSet<u64>>,
    /// The host that had its turn last.
    last: String,
}

impl Turns {
    pub(super) fn add(&mut self, host: &str, id: u64) {
        if let Some(ids) = self.waiting.get_mut(host) {
            ids.insert(id);
        } else {
            self.waiting.insert(host.to_owned(), BTreeSet::from([id]));
        }
    }

    pub(super) fn remove(&mut self, host: &str, id: u64) {
        if let Some(ids) = self.waiting.get_mut(host) {
            ids.remove(&id);
            if ids.is_empty() {
                self.waiting.remove(host);
            }
        }
    }

    pub(super) fn has(&self, host: &str, id: u64) -> bool {
        self.waiting.get(host).is_some_and(|ids| ids.contains(&id))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one, of a host that has room. It stays in the list.
    pub(super) fn next(&self, has_room: impl Fn(&str, u64) -> bool) -> Option<u64> {
        let behind = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let hosts = self.waiting.range::<str, _>(behind).chain(self.waiting.iter());
        let mut firsts = hosts.filter_map(|(host, ids)| ids.first().map(|id| (host, *id)));
        firsts.find(|(host, id)| has_room(host, *id)).map(|(_, id)| id)
    }

    /// This host has had its turn.
    pub(super) fn passed(&mut self, host: &str) {
        if self.last != host {
            host.clone_into(&mut self.last);
        }
    }
}

/// How many starts there may be at once, and how fast they come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// When it is full again.
    full: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Bucket { full: now }
    }

    /// Takes one of `most` a minute.
    pub(super) fn take(&mut self, now: Instant, most: u32) -> Result<(), Instant> {
        let each = MINUTE / most.max(1);
        let full = self.full.max(now);
        // The last start must leave no more than a minute's worth missing.
        let latest = now + MINUTE;
        if full + each > latest {
            return Err(now + (full + each - latest));
        }
        self.full = full + each;
        Ok(())
    }

    pub(super) fn back(&mut self, most: u32) {
        self.full = self.full.checked_sub(MINUTE / most.max(1)).unwrap_or(self.full);
    }

    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full <= now
    }
}
