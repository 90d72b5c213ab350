//! Maps stream names to sources, and knows the publisher and the players of each.
//!
//! A [`Hub`] is shared by all connections of a server; its methods lock inside and hold no lock when they return. A
//! [`Publisher`] is the publish lock of one stream: at most one exists per name, and dropping it frees the name,
//! however the connection ended. A [`Player`] reads a stream, published or not: players wait for a publisher. The hub
//! removes a stream without publisher and players at once, so no later cleanup is needed.
//!
//! ```
//! use std::time::Instant;
//! use anabranch_core::hub::{Hub, HubConfig, PullEnd};
//! use anabranch_core::message::{Message, MessageType};
//! use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
//!
//! let now = Instant::now();
//! let hub = Hub::new(HubConfig::default());
//! let key = StreamKey::new(DEFAULT_VHOST, "live", "cam")?;
//! let mut player = hub.play(&key);
//! let mut publisher = hub.publish(&key)?;
//! assert!(hub.publish(&key).is_err(), "one publisher per name");
//!
//! let (type_id, payload) = (MessageType::VIDEO, [0x17, 1, 0, 0, 0, 1][..].into());
//! publisher.push(now, Message { chunk_stream: 6, timestamp: 0, type_id, message_stream_id: 1, payload })?;
//! let mut frames = 0;
//! let pulled = player.pull(|_| {
//!     frames += 1;
//!     true
//! });
//! assert_eq!((pulled.end, frames), (PullEnd::Pending, 1));
//!
//! drop((publisher, player));
//! assert!(hub.streams().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A hub calls nothing back: it does not know how a player waits. [`Publisher::take_wake`] says when the players of a
//! [`StreamId`] are to be woken; the adapter wakes them.
//!
//! Clients are [admitted](Hub::admit_publisher) within limits, and counted while they publish or play; the program's
//! own publishers and players are not. With [`Conflict::TakeOver`] a client that shows the same credentials takes a
//! name that is in use. [`Hub::streams`] lists the streams, [`Hub::counts`] says how many streams and clients there
//! are. Streams may form [groups](Group) that have their own counts and limits.

mod admission;
mod backup;
mod changes;
mod fallback;
mod group;
mod memory;
mod player;
mod publisher;
mod slowness;
mod wishes;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use admission::Joins;
pub use admission::NotAdmitted;
pub use backup::{BackupRules, StandbyEvent, Switched};
use backup::{Rank, Reserve, Standby, Waits};
pub(crate) use changes::{Changes, RelayFacts, Standing, Wanted};
use group::HostCounts;
pub use group::{Counts, Group};
use memory::Memory;
pub use memory::{Gave, MemorySnapshot, Relief};
pub use player::{Player, PullEnd, Pulled};
pub use publisher::{GoesOn, Publisher};
pub(crate) use slowness::Slowness;
pub(crate) use wishes::WISH;
use wishes::{Wish, Wishes};

use crate::endpoint::unique_number;
use crate::pacing::{Paces, Pacing, Publishers, StreamPace, ThreadLoad, ThreadShare};
use crate::source::{Frame, Source, SourceLimits, StartLimits, StartRule, Timeline, Timestamps, WireFormat};
use crate::stats::StreamStatsView;
use crate::url::StreamKey;

/// All live streams of a server.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Mutex<Registry>>,
    publishers: Arc<Publishers>,
    paces: Arc<Paces>,
    memory: Arc<Memory>,
    config: Arc<HubConfig>,
    /// The group of the streams that are published or played through this value.
    group: Option<Arc<Group>>,
    /// What relays look at.
    changes: Arc<Changes>,
    /// What fallbacks look at.
    wants: Arc<Changes>,
    /// What relays know of the client that publishes or plays through this value.
    client: Option<Arc<RelayFacts>>,
    /// Whether clients may publish a name that a relay pulls: a directory says which server has it.
    relays_yield: bool,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A call that holds the lock may want to show it.
        let streams = self.shared.try_lock().map(|registry| registry.streams.len()).ok();
        f.debug_struct("Hub").field("streams", &streams).finish_non_exhaustive()
    }
}

/// How streams behave. One value serves every stream of a virtual host, or of a group of its streams.
#[derive(Debug, Clone, Copy)]
pub struct HubConfig {
    /// How frames of a stream are cut for the wire, from its beginning to its end; see [`Player::format`].
    pub format: WireFormat,
    /// Bounds of each stream's log.
    pub source: SourceLimits,
    /// When players are woken, and how long reads of publishers may wait.
    pub pacing: Pacing,
    /// How publishers' timestamps are changed.
    pub timestamps: Timestamps,
    /// Where new players begin.
    pub start_rule: StartRule,
    /// How long players wait for a start, and how old it may be.
    pub start_limits: StartLimits,
    /// Whether a sequence header equal to the one in force is left out. Some encoders repeat it with every key frame.
    /// Players that join later still get it, and metadata always passes. Default off.
    pub reduce_sequence_headers: bool,
    /// When a publisher that stands by takes a stream over.
    pub backup: BackupRules,
}

impl Default for HubConfig {
    fn default() -> Self {
        HubConfig {
            format: WireFormat { chunk_size: 60_000 },
            source: SourceLimits::default(),
            pacing: Pacing::default(),
            timestamps: Timestamps::default(),
            start_rule: StartRule::default(),
            start_limits: StartLimits::default(),
            reduce_sequence_headers: false,
            backup: BackupRules::default(),
        }
    }
}

impl HubConfig {
    fn new_source(&self) -> Source {
        Source::new(self.source)
            .with_start_rule(self.start_rule)
            .with_start_limits(self.start_limits)
            .with_timestamps(self.timestamps)
            .with_reduced_sequence_headers(self.reduce_sequence_headers)
    }
}

/// Identifies a stream while it has a publisher or players. A hub never uses an id twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

/// The stream has a publisher already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is already being published")]
pub struct Busy;

/// What happens when a client wants to publish a name that has a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// The new client is refused.
    #[default]
    Reject,
    /// The new client takes over if it shows the same credentials, even if the old connection still looks alive: an
    /// encoder whose connection died unnoticed gets its name back at once.
    TakeOver,
    /// The new client stands by and takes over when the old one is lost or stalls, see [`BackupRules`]. One client may
    /// stand by; if it has stalled, another one gets its place.
    Backup,
}

/// Another publisher has taken the stream over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another publisher has taken the stream over")]
pub struct Superseded;

/// One stream, for listings.
#[derive(Debug, Clone)]
pub struct StreamSnapshot {
    /// Its name.
    pub key: StreamKey,
    /// The name of the [group](Group) that it counts in.
    pub group: Option<Arc<str>>,
    /// Its id.
    pub id: StreamId,
    /// True while it has a publisher.
    pub published: bool,
    /// The publisher on air, if it is known.
    pub publisher: Option<HeldBy>,
    /// The publisher that stands by, if it is known.
    pub backup: Option<HeldBy>,
    /// How often the publisher that stood by has gone on air.
    pub switches: u64,
    /// True while its fallback plays.
    pub fallback: bool,
    /// How many players read it or wait for it.
    pub players: usize,
    /// How long its frames wait for others that leave with them, at most: [`Pacing::merge_window`], or longer while a thread
    /// that writes to its players has much to do.
    pub merge_window: Duration,
    /// Bytes of the messages in its log.
    pub log_bytes: usize,
    /// Bytes of memory that it takes: the log with its overhead, and the headers in force.
    pub held_bytes: usize,
    /// True while its publisher sends pictures and no key frame to start at: players begin without one.
    pub keyless: bool,
    /// How many players began without a key frame.
    pub keyless_starts: u64,
    /// Totals, rates, codecs, key frame intervals: [`snapshot`](StreamStatsView::snapshot) reads them. `None` before
    /// the first frame.
    pub stats: Option<StreamStatsView>,
}

#[derive(Debug, Default)]
struct Registry {
    /// The memory of all streams.
    memory: Arc<Memory>,
    streams: HashMap<StreamKey, Entry>,
    /// The counts of each virtual host that has streams.
    counts: HashMap<Box<str>, HostCounts>,
    last_id: u64,
    last_holder: u64,
    last_wish: u64,
}

#[derive(Debug)]
struct Entry {
    stream: Arc<Stream>,
    /// The group that it counts in: that of the latest grant.
    group: Option<Arc<str>>,
    /// The publisher on air.
    holder: Option<Holder>,
    /// The publisher that stands by.
    reserve: Option<Reserve>,
    switches: u64,
    players: usize,
    /// How many of the players are clients.
    clients: usize,
    /// What relays know of the clients that play it.
    wishes: Wishes,
    /// How many players of the program want it from wherever it is.
    asking: usize,
}

impl Entry {
    /// How many clients play it or wait for it, without those that were told that they do not get it.
    ///
    /// A publisher that waits for a name of another server is one of them: it is to see when that has nothing any more. So is
    /// what a player of the program [wants](Player::want).
    fn wanting(&self) -> usize {
        self.clients.saturating_sub(self.wishes.refused()) + self.asking + usize::from(self.waits_for_name())
    }

    /// What it adds to the counts of its virtual host and of its group.
    fn counts(&self) -> Counts {
        let reserve = self.reserve.as_ref().map(|reserve| &reserve.holder);
        let holders = self.holder.iter().chain(reserve);
        let publishers = holders.filter(|holder| holder.role == Holds::Client).count();
        Counts { streams: 1, publishers, players: self.clients }
    }

    /// True while the fallback plays.
    fn falls_back(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.role == Holds::Fallback)
    }

    /// The publisher: the one on air, or the one that waits for something that players can begin at while the fallback plays
    /// or nothing does.
    fn publisher(&self) -> Option<&Holder> {
        let on_air = self.holder.as_ref().filter(|holder| holder.role != Holds::Fallback);
        on_air
            .or_else(|| self.reserve.as_ref().filter(|one| one.standby.waits() == Waits::Start).map(|one| &one.holder))
    }

    /// True if it has a publisher that was told of as such. A backup that was silent when the publisher left is none, until it
    /// is on air.
    fn goes_on(&self) -> bool {
        let is_on_air = self.holder.as_ref().is_some_and(|holder| holder.role != Holds::Fallback);
        is_on_air || self.reserve.as_ref().is_some_and(|reserve| reserve.standby.is_told())
    }

    /// The publisher that stands by for another one.
    fn backup(&self) -> Option<&Holder> {
        self.reserve.as_ref().filter(|reserve| reserve.standby.waits() != Waits::Start).map(|reserve| &reserve.holder)
    }

    /// Bytes of memory that the stream takes, with what a publisher that stands by has sent.
    fn held_bytes(&self) -> usize {
        self.stream.held() + self.reserve.as_ref().map_or(0, |reserve| reserve.standby.stream.held())
    }
}

/// The publisher that has the publish lock of a stream.
#[derive(Debug)]
struct Holder {
    /// Identifies the publisher; never used twice.
    number: u64,
    /// A client that shows the same may take over.
    credentials: Box<str>,
    /// Clients are counted.
    role: Holds,
    /// The connection and the peer's address, once they are known.
    connection: Option<(u64, Option<SocketAddr>)>,
    facts: Option<Arc<RelayFacts>>,
    /// The publication: its own number, or that of the publisher whose place it got.
    publication: u64,
    /// What is known of the client with which the publication began.
    published_by: Option<Arc<RelayFacts>>,
    rank: Rank,
    /// How it went on air, if it stood by before: it may not have noticed yet.
    stood_by: Option<Arc<Standby>>,
}

/// What a publisher is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Client,
    /// A client that a pass permits; it is not counted.
    Passed,
    Program,
    Relay,
    /// What plays while there is no publisher. It is none itself.
    Fallback,
}

/// The publisher of a stream, for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// A client.
    Client {
        /// The number of its connection.
        connection: u64,
        /// Its address, as far as it is known.
        address: Option<SocketAddr>,
    },
    /// The program around the server.
    Program,
    /// A relay that pulls the stream from another server.
    Relay {
        /// The number of its uplink.
        connection: u64,
        /// The address of the other server.
        address: Option<SocketAddr>,
    },
}

impl Holder {
    fn held_by(&self) -> Option<HeldBy> {
        match (self.role, self.connection) {
            (Holds::Client | Holds::Passed, Some((connection, address))) => {
                Some(HeldBy::Client { connection, address })
            }
            (Holds::Relay, Some((connection, address))) => Some(HeldBy::Relay { connection, address }),
            (Holds::Program, _) => Some(HeldBy::Program),
            (Holds::Client | Holds::Passed | Holds::Relay, None) | (Holds::Fallback, _) => None,
        }
    }

    /// Whether a client with these credentials may take over. Empty credentials never match.
    fn accepts(&self, credentials: &str) -> bool {
        !credentials.is_empty() && *self.credentials == *credentials
    }
}

/// What the publisher and the players of a stream share.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    /// The stream among those of all hubs of the process.
    number: u64,
    key: StreamKey,
    /// The same for all its publishers: players have got this chunk size already.
    format: WireFormat,
    source: Mutex<Source>,
    /// How long its frames wait.
    pace: Arc<StreamPace>,
    paces: Weak<Paces>,
    players: AtomicUsize,
    /// For listings, which do not lock the source.
    log_bytes: AtomicUsize,
    /// Bytes that the source holds, as counted in `memory`.
    held: AtomicUsize,
    memory: Arc<Memory>,
    /// The last report of memory that it gave up, and its time.
    reported: Mutex<Option<(Gave, Instant)>>,
    keyless: AtomicBool,
    keyless_starts: AtomicU64,
    /// True if no origin has the stream. A publisher ends that.
    absent: AtomicBool,
    /// True while a publisher waits for its first key frame, and the fallback plays until then.
    awaited: AtomicBool,
    /// How often a publisher that stood by went on air. The one before looks where it is when this has changed.
    takeovers: AtomicU64,
    stats: OnceLock<StreamStatsView>,
}

impl Stream {
    /// Begins a publication and returns its timeline and epoch.
    fn begin(&self, role: Holds) -> (Timeline, u64) {
        let mut source = self.source();
        let timeline = source.begin();
        if role == Holds::Fallback {
            source.falls_back();
        }
        // The log of the publisher before is void.
        self.settle(&source);
        self.keyless.store(false, Ordering::Relaxed);
        self.absent.store(false, Ordering::Relaxed);
        (timeline, source.epoch())
    }

    /// A stream with a separate source for a publisher that stands by.
    fn apart(&self, config: &HubConfig) -> Stream {
        Stream {
            id: self.id,
            number: unique_number(),
            key: self.key.clone(),
            format: self.format,
            source: Mutex::new(config.new_source()),
            pace: Paces::apart(self.id.0, &config.pacing),
            paces: Weak::new(),
            players: AtomicUsize::new(0),
            log_bytes: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            memory: self.memory.clone(),
            reported: Mutex::default(),
            keyless: AtomicBool::new(false),
            keyless_starts: AtomicU64::new(0),
            absent: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            takeovers: AtomicU64::new(0),
            stats: OnceLock::new(),
        }
    }

    /// Appends a frame and keeps the listing up to date.
    fn push(&self, mut source: MutexGuard<'_, Source>, now: Instant, frame: Frame) {
        source.keep_past(self.players.load(Ordering::Relaxed) > 0);
        source.push(now, frame);
        self.settle(&source);
        self.keyless.store(source.is_keyless(), Ordering::Relaxed);
        if self.stats.get().is_none()
            && let Some(view) = source.details()
        {
            let _ = self.stats.set(view);
        }
    }

    /// Updates the listing and the memory of all streams.
    fn settle(&self, source: &Source) {
        self.log_bytes.store(source.log_bytes(), Ordering::Relaxed);
        let after = source.held_bytes();
        // Only the holder of the source's lock changes it.
        let before = self.held.swap(after, Ordering::Relaxed);
        self.memory.adjust(before, after);
    }

    /// Frees the memory of a stream that the registry does not have any more. Superseded publishers may keep the stream
    /// while they are connected, and [`Hub::relieve`], which goes through the registry, could not free it.
    fn release(&self) {
        let mut source = self.source();
        source.give_log();
        source.give_headers();
        self.settle(&source);
    }

    /// A poisoned lock does no harm: every method of `Source` leaves it consistent.
    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.memory.adjust(self.held(), 0);
        if let Some(paces) = self.paces.upgrade() {
            paces.remove(&self.pace);
        }
    }
}

impl Hub {
    /// A hub without streams. Each stream has its own limits of memory; all together have none until
    /// [`limit_memory`](Self::limit_memory) sets one.
    pub fn new(config: HubConfig) -> Self {
        let registry = Registry::default();
        let memory = registry.memory.clone();
        let (shared, config) = (Arc::new(Mutex::new(registry)), Arc::new(config));
        Hub {
            shared,
            publishers: Arc::default(),
            paces: Arc::default(),
            memory,
            config,
            group: None,
            changes: Arc::default(),
            wants: Arc::default(),
            client: None,
            relays_yield: false,
        }
    }

    /// The same hub with other settings for the streams that are created through it.
    #[must_use]
    pub fn with_config(&self, config: Arc<HubConfig>) -> Self {
        Hub { config, ..self.clone() }
    }

    /// The same hub, where clients may publish a name that a relay pulls from another server, or not.
    #[must_use]
    pub(crate) fn with_yielding_relays(&self, relays_yield: bool) -> Self {
        Hub { relays_yield, ..self.clone() }
    }

    /// Takes the publish lock of a name for the program itself and begins to publish. If two callers try at the same
    /// time, exactly one gets it.
    ///
    /// # Errors
    /// The stream has a publisher already.
    pub fn publish(&self, key: &StreamKey) -> Result<Publisher, Busy> {
        self.begin(key, "", Holds::Program, Joins::Alone, |registry| registry.is_free(key))
    }

    /// Takes the publish lock of a name for a client that a [pass](crate::policy::Passes) permits to publish: limits do not
    /// hold for it, and it is not counted.
    ///
    /// # Errors
    /// The stream has a publisher already.
    pub fn publish_passed(&self, key: &StreamKey) -> Result<Publisher, Busy> {
        self.begin(key, "", Holds::Passed, Joins::Alone, |registry| self.is_free_in(registry, key))
    }

    /// Whether a name has no publisher now.
    ///
    /// # Errors
    /// It has one.
    pub fn is_free(&self, key: &StreamKey) -> Result<(), Busy> {
        self.is_free_in(&self.registry(), key)
    }

    /// Takes the publish lock of a name for a relay and begins to publish what it pulls from another server. If another
    /// relay holds the name, this one takes it over: the other one is then superseded.
    ///
    /// # Errors
    /// The stream has a publisher already that is not a relay.
    pub fn publish_relay(&self, key: &StreamKey, connection: u64, address: SocketAddr) -> Result<Publisher, Busy> {
        let is_free = |registry: &Registry| {
            let holder = registry.streams.get(key).and_then(Entry::publisher);
            holder.filter(|holder| holder.role != Holds::Relay).map_or(Ok(()), |_| Err(Busy))
        };
        let publisher = self.begin(key, "", Holds::Relay, Joins::Alone, is_free)?;
        publisher.held_by(connection, Some(address));
        Ok(publisher)
    }

    /// Joins a stream as the program's own player, published or not.
    pub fn play(&self, key: &StreamKey) -> Player {
        let joined: Result<Player, Infallible> = self.join(key, false, |_| Ok(()));
        let Ok(player) = joined;
        player
    }

    /// Joins a stream as the program's own player that loses nothing when another publication begins: frames that it has
    /// not pulled by then are kept for it, as many as the stream's log may hold. A pull returns frames of one publication
    /// only.
    pub fn follow(&self, key: &StreamKey) -> Player {
        self.play(key).following()
    }

    /// The same for what is made of a stream for clients: it gets what the stream's fallback plays, too.
    pub fn follow_for_clients(&self, key: &StreamKey) -> Player {
        self.follow(key).taking_fallback()
    }

    /// The publisher of a stream, if it has one that is known.
    pub fn holder(&self, key: &StreamKey) -> Option<HeldBy> {
        self.registry().streams.get(key)?.publisher()?.held_by()
    }

    /// Whether the timestamps of a stream may be those of another one, from which it is made, if they are as far behind those
    /// as this: a program that a pass permits publishes it. Of what a relay pulls nothing is known.
    pub(crate) fn delay_behind_source(&self, key: &StreamKey) -> Option<Duration> {
        match self.registry().streams.get(key)?.publisher()?.role {
            Holds::Passed => Some(Duration::from_secs(30)),
            Holds::Relay => Some(Duration::from_secs(5)),
            Holds::Client | Holds::Program | Holds::Fallback => None,
        }
    }

    /// How many clients wait for a publisher of this stream; none if it has one.
    pub fn waiting(&self, key: &StreamKey) -> usize {
        let registry = self.registry();
        registry.streams.get(key).filter(|entry| entry.publisher().is_none()).map_or(0, |entry| entry.clients)
    }

    /// How many players a stream has, those that wait for a publisher included.
    pub fn player_count(&self, key: &StreamKey) -> usize {
        self.registry().streams.get(key).map_or(0, |entry| entry.players)
    }

    /// All streams, in the order of their names. Does not lock their sources, so no frame waits for it.
    pub fn streams(&self) -> Vec<StreamSnapshot> {
        let mut list: Vec<_> = {
            let registry = self.registry();
            registry
                .streams
                .values()
                .map(|entry| StreamSnapshot {
                    key: entry.stream.key.clone(),
                    group: entry.group.clone(),
                    id: entry.stream.id,
                    published: entry.publisher().is_some(),
                    publisher: entry.publisher().and_then(Holder::held_by),
                    backup: entry.backup().and_then(Holder::held_by),
                    fallback: entry.falls_back(),
                    switches: entry.switches,
                    players: entry.players,
                    merge_window: entry.stream.pace.window(),
                    log_bytes: entry.stream.log_bytes.load(Ordering::Relaxed),
                    held_bytes: entry.held_bytes(),
                    keyless: entry.publisher().is_some() && entry.stream.keyless.load(Ordering::Relaxed),
                    keyless_starts: entry.stream.keyless_starts.load(Ordering::Relaxed),
                    stats: entry.stream.stats.get().cloned(),
                })
                .collect()
        };
        list.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        list
    }

    /// Measures one thread of an adapter that writes to players, from now on.
    pub fn thread_load(&self, now: Instant) -> ThreadLoad {
        self.paces.thread(now)
    }

    /// The same without a place in [`thread_shares`](Self::thread_shares): for an adapter that has a thread for each
    /// connection, and measures the sweeps of each stream alone.
    pub fn unlisted_thread_load(&self, now: Instant) -> ThreadLoad {
        self.paces.unlisted_thread(now)
    }

    /// What the threads that are measured spend their time with, in the order of their beginning.
    pub fn thread_shares(&self, now: Instant) -> Vec<ThreadShare> {
        self.paces.shares(now)
    }

    /// How long frames of a stream wait, for the threads that write to its players; `None` if there is no such stream.
    pub fn pace(&self, stream: StreamId) -> Option<Arc<StreamPace>> {
        self.paces.of(stream.0)
    }

    #[cfg(test)]
    pub(crate) fn paces_known(&self) -> usize {
        self.paces.known()
    }

    fn config(&self) -> &HubConfig {
        &self.config
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// The entry of a name, created if there is none, and the counts of its virtual host. From now on the stream counts
    /// in the hub's group.
    fn entry(&mut self, key: &StreamKey, hub: &Hub) -> (&mut Entry, &mut HostCounts) {
        let last_id = &mut self.last_id;
        if !self.counts.contains_key(key.vhost()) {
            self.counts.insert(key.vhost().into(), HostCounts::default());
        }
        let counts = self.counts.get_mut(key.vhost()).expect("inserted above");
        let group = hub.group.as_ref().map(|group| &group.name);
        let entry = self.streams.entry(key.clone()).or_insert_with(|| {
            *last_id += 1;
            let stream = Stream {
                id: StreamId(*last_id),
                number: unique_number(),
                key: key.clone(),
                format: hub.config.format,
                players: AtomicUsize::new(0),
                source: Mutex::new(hub.config.new_source()),
                pace: hub.paces.add(*last_id, &hub.config.pacing),
                paces: Arc::downgrade(&hub.paces),
                log_bytes: AtomicUsize::new(0),
                held: AtomicUsize::new(0),
                memory: self.memory.clone(),
                reported: Mutex::default(),
                keyless: AtomicBool::new(false),
                keyless_starts: AtomicU64::new(0),
                absent: AtomicBool::new(false),
                awaited: AtomicBool::new(false),
                takeovers: AtomicU64::new(0),
                stats: OnceLock::new(),
            };
            let entry = Entry {
                stream: Arc::new(stream),
                group: group.cloned(),
                holder: None,
                reserve: None,
                switches: 0,
                players: 0,
                clients: 0,
                wishes: Wishes::default(),
                asking: 0,
            };
            counts.add(entry.group.as_ref(), entry.counts());
            entry
        });
        counts.move_to(group, entry);
        (entry, counts)
    }
}

#[cfg(test)]
mod tests;
