//! Names to sources: who publishes what, who plays what.
//!
//! A [`Hub`] is shared by all connections of a server; its methods lock inside and hold no lock when they return. A
//! [`Publisher`] is the publish lock of one stream: at most one exists per name, and dropping it frees the name, however
//! the connection ended. A [`Player`] reads a stream, published or not: players wait for their publisher. A stream with
//! neither is forgotten at once, so that nothing is left to clean up.

mod player;
mod publisher;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use player::{Player, Pulled};
pub use publisher::Publisher;

use crate::source::{MergeWindow, Source, SourceLimits, SourceStats, WireFormat};
use crate::url::StreamKey;

/// All live streams of a server.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

/// How sources behave. One value serves every stream of a hub.
#[derive(Debug, Clone, Copy)]
pub struct HubConfig {
    /// How frames are cut for the wire. Every session that plays from the hub must announce this chunk size.
    pub format: WireFormat,
    /// Bounds of each stream's log.
    pub source: SourceLimits,
    /// How long frames may wait for company.
    pub merge_window: MergeWindow,
}

impl Default for HubConfig {
    fn default() -> Self {
        HubConfig {
            format: WireFormat { chunk_size: 60_000 },
            source: SourceLimits::default(),
            merge_window: MergeWindow::default(),
        }
    }
}

/// Names a stream for as long as anybody publishes or plays it. Never used twice by one hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

/// The name is being published already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is already being published")]
pub struct Busy;

/// One stream, for listings.
#[derive(Debug, Clone)]
pub struct StreamSnapshot {
    /// Its name.
    pub key: StreamKey,
    /// Its id.
    pub id: StreamId,
    /// True while somebody publishes it.
    pub published: bool,
    /// How many play it or wait for it.
    pub players: usize,
    /// Bytes its log holds.
    pub log_bytes: usize,
    /// What was pushed since the stream was created.
    pub stats: SourceStats,
}

#[derive(Debug)]
struct Shared {
    config: HubConfig,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    streams: HashMap<StreamKey, Entry>,
    last_id: u64,
}

#[derive(Debug)]
struct Entry {
    stream: Arc<Stream>,
    published: bool,
    players: usize,
}

/// A stream as publisher and players share it.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    key: StreamKey,
    source: Mutex<Source>,
}

impl Stream {
    /// A thread that panicked while it held the lock broke nothing: every method of `Source` leaves it whole.
    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// A hub without streams.
    pub fn new(config: HubConfig) -> Self {
        Hub { shared: Arc::new(Shared { config, registry: Mutex::default() }) }
    }

    /// Takes the publish lock of a name. Of two that try at the same time exactly one gets it.
    ///
    /// # Errors
    /// Somebody publishes it already.
    pub fn publish(&self, key: &StreamKey) -> Result<Publisher, Busy> {
        let stream = {
            let mut registry = self.registry();
            let entry = registry.entry(key, &self.shared.config);
            if entry.published {
                return Err(Busy);
            }
            entry.published = true;
            entry.stream.clone()
        };
        Ok(Publisher::begin(self.clone(), stream))
    }

    /// Joins a stream as player, published or not.
    pub fn play(&self, key: &StreamKey) -> Player {
        let stream = {
            let mut registry = self.registry();
            let entry = registry.entry(key, &self.shared.config);
            entry.players += 1;
            entry.stream.clone()
        };
        Player::join(self.clone(), stream)
    }

    /// All streams, in the order of their names. For people and their tools, not for the data path.
    pub fn streams(&self) -> Vec<StreamSnapshot> {
        let mut list: Vec<_> = {
            let registry = self.registry();
            registry.streams.values().map(|entry| (entry.stream.clone(), entry.published, entry.players)).collect()
        };
        list.sort_unstable_by(|(a, ..), (b, ..)| a.key.cmp(&b.key));
        let snapshot = |(stream, published, players): (Arc<Stream>, bool, usize)| {
            let source = stream.source();
            StreamSnapshot {
                key: stream.key.clone(),
                id: stream.id,
                published,
                players,
                log_bytes: source.log_bytes(),
                stats: source.stats(),
            }
        };
        list.into_iter().map(snapshot).collect()
    }

    fn config(&self) -> &HubConfig {
        &self.shared.config
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what a publisher or player held; forgets the stream when it was the last.
    fn release(&self, key: &StreamKey, give_back: impl FnOnce(&mut Entry)) {
        let mut registry = self.registry();
        if let Some(entry) = registry.streams.get_mut(key) {
            give_back(entry);
            if !entry.published && entry.players == 0 {
                registry.streams.remove(key);
            }
        }
    }
}

impl Registry {
    fn entry(&mut self, key: &StreamKey, config: &HubConfig) -> &mut Entry {
        let last_id = &mut self.last_id;
        self.streams.entry(key.clone()).or_insert_with(|| {
            *last_id += 1;
            let stream =
                Stream { id: StreamId(*last_id), key: key.clone(), source: Mutex::new(Source::new(config.source)) };
            Entry { stream: Arc::new(stream), published: false, players: 0 }
        })
    }
}

#[cfg(test)]
mod tests;
