use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use super::ask::AskId;
use super::slow_path::SlowPath;
use super::vhost::{VhostSnapshot, VirtualHost, VirtualHosts};
use super::{Config, Conn};
use crate::capture::{Capturing, Opening, Recorder, Replayer, Tap};
use crate::hls;
use crate::http;
use crate::hub::{Hub, HubConfig};
use crate::pacing::Sockets;
use crate::policy::{Network, Passes, Refusal, canonical};
use crate::pool::{Pool, Portion};
use crate::relay::Relays;
use crate::session::{Accepts, Delivery, Session, Tally};
use crate::url::StreamKey;

/// What all connections of one server share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Core {
    shared: Arc<Shared>,
}

struct Shared {
    /// Replaced as a whole. Read when a request is granted, not when media moves.
    rules: RwLock<Arc<Rules>>,
    hub: Hub,
    relays: Relays,
    /// The memory for unfinished messages of all connections.
    unfinished: Arc<Pool>,
    /// The memory for frames that only players' queues hold. It is separate, so that stalled players do not close
    /// publishers.
    kept: Arc<Pool>,
    /// What the adapter said about its sockets.
    sockets: Sockets,
    seed: [u8; 32],
    /// The number of the last connection, uplinks included.
    connections: Arc<AtomicU64>,
    asks: AtomicU64,
    /// The connections by HTTP that play nothing.
    asking: Arc<AtomicUsize>,
    /// What the server permits to the programs that it starts.
    passes: Passes,
    /// A moment and the Unix time it was.
    clock: Mutex<Option<(Instant, u64)>>,
    draining: AtomicBool,
}

/// Without the seed, and without settings, which have secrets.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Shared");
        shown.field("hub", &self.hub).field("connections", &self.connections).field("draining", &self.draining);
        shown.finish_non_exhaustive()
    }
}

/// The limit of the pool for unfinished messages is `Config::memory` divided by this, in addition to that memory.
pub(super) const UNFINISHED_DIVISOR: usize = 4;
/// The same for the pool of frames that only players' queues hold. A pool gives half of its limit to publishers and half
/// to other connections. Only the second half counts such frames, so they may take a quarter of `Config::memory`.
const KEPT_DIVISOR: usize = 2;

/// The same for the segments of all streams, which [`Packager::limit_memory`](crate::packager::Packager::limit_memory)
/// keeps.
pub(super) const SEGMENTS_DIVISOR: usize = 4;

/// The settings in use.
#[derive(Debug)]
struct Rules {
    config: Arc<Config>,
    /// [`Config::trusted_proxies`].
    proxies: Arc<[Network]>,
    vhosts: VirtualHosts,
}

impl Rules {
    fn new(config: Config, vhosts: VirtualHosts) -> Self {
        Rules { proxies: config.trusted_proxies.clone().into(), config: Arc::new(config), vhosts }
    }
}

impl Core {
    /// A server without connections. All randomness of its connections comes from `seed`; equal seeds and equal input
    /// give equal output.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Core::with_sockets(config, seed, Sockets::default())
    }

    /// The same for an adapter that delays reads when the core says so; `sockets` describes its sockets.
    pub fn with_sockets(config: Config, seed: [u8; 32], sockets: Sockets) -> Self {
        let hub = Hub::new(HubConfig::default());
        hub.limit_memory(config.memory);
        let [unfinished, kept] =
            [UNFINISHED_DIVISOR, KEPT_DIVISOR].map(|part| Arc::new(Pool::new(config.memory / part)));
        let vhosts = VirtualHosts::new(&config, &hub);
        let connections = Arc::new(AtomicU64::new(0));
        let relays = Relays::new(hub.clone(), seed, connections.clone(), sockets, unfinished.clone());
        relays.set_rules(vhosts.relay_rules(config.cluster.as_ref()));
        let shared = Shared {
            rules: RwLock::new(Arc::new(Rules::new(config, vhosts))),
            relays,
            hub,
            unfinished,
            kept,
            sockets,
            seed,
            connections,
            asks: AtomicU64::new(0),
            asking: Arc::default(),
            passes: Passes::new(&seed),
            clock: Mutex::new(None),
            draining: AtomicBool::new(false),
        };
        Core { shared: Arc::new(shared) }
    }

    /// A new connection from an unknown address.
    pub fn connect(&self, now: Instant) -> Conn {
        self.conn(now, None)
    }

    /// A new connection from this address. If it is the address of a trusted proxy, the client's own address may
    /// follow. An IPv4 address in IPv6 form becomes one of IPv4: rules, reports and questions have it like that.
    pub fn connect_from(&self, now: Instant, peer: SocketAddr) -> Conn {
        self.conn(now, Some(canonical(peer)))
    }

    /// A new connection that may speak these protocols. HTTP has the settings of [`Config::web`].
    pub fn connect_by(&self, now: Instant, peer: Option<SocketAddr>, accepts: Accepts) -> Conn {
        Conn::new(self.make_next(now, peer.map(canonical), accepts))
    }

    /// A client that has asked for a stream by a request on another connection, and gets it in another way: in segments or
    /// by WebRTC. It is a connection without a socket. It is granted, counted, told of and closed as one that plays, and
    /// gets no frames; [`Conn::take_admission`] says what becomes of it. `peer` is the client.
    ///
    /// Poll it when its stream is woken while the stream has no publisher, and at its deadlines.
    pub fn view(
        &self,
        now: Instant,
        peer: Option<SocketAddr>,
        request: &http::Request,
        app: &str,
        stream: &str,
        delivery: Delivery,
    ) -> Conn {
        self.elsewhere(now, peer, |session| session.view(request, app, stream.to_owned(), delivery))
    }

    /// A client that has offered, by a request on another connection, to publish a stream by WebRTC. It is a connection
    /// without a socket, for which all holds that holds for publishers; [`Conn::take_admission`] says what becomes of it.
    /// Give its media to [`Conn::publish_media`] once it is granted. `peer` is the client.
    pub fn offer(
        &self,
        now: Instant,
        peer: Option<SocketAddr>,
        request: &http::Request,
        app: &str,
        stream: &str,
    ) -> Conn {
        self.elsewhere(now, peer, |session| session.offer(request, app, stream.to_owned()))
    }

    fn elsewhere(&self, now: Instant, peer: Option<SocketAddr>, begin: impl FnOnce(&mut Session)) -> Conn {
        let mut conn = self.make_next(now, peer.map(canonical), Accepts::Web);
        begin(&mut conn.session);
        conn.count_asking();
        Conn::new(conn)
    }

    /// Bytes that the segments of all streams may take: a part of [`Config::memory`].
    pub fn segment_memory(&self) -> usize {
        self.config().memory / SEGMENTS_DIVISOR
    }

    /// How a stream is segmented; `None` if its virtual host is gone.
    pub fn segmenting(&self, key: &StreamKey) -> Option<hls::Settings> {
        let vhost = self.vhost_named(key.vhost()).ok()?;
        Some(vhost.application(key).config.hls.clone())
    }

    /// Sets the time of day: it is `unix` seconds after 1970 at `now`. Signed URLs expire by it; before the first call
    /// they are all expired. Call it again from time to time, so that the two clocks do not drift apart.
    pub fn set_clock(&self, now: Instant, unix: u64) {
        *self.shared.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, unix));
        self.shared.relays.set_clock(now, unix);
    }

    /// From now on the server grants no new requests. Then have each connection [`drain`](Conn::drain).
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Undoes [`drain`](Self::drain): the server grants requests again. Then have each connection
    /// [`stop_draining`](Conn::stop_draining).
    pub fn stop_draining(&self) {
        self.shared.draining.store(false, Ordering::Relaxed);
    }

    /// The virtual hosts and what is counted of each, in the order of the configuration.
    pub fn vhosts(&self) -> Vec<VhostSnapshot> {
        self.rules().vhosts.snapshots()
    }

    /// The passes that this server makes, for programs that it starts.
    pub fn passes(&self) -> &Passes {
        &self.shared.passes
    }

    /// The live streams.
    pub fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// The pushes and pulls.
    pub fn relays(&self) -> &Relays {
        &self.shared.relays
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.rules().config.clone()
    }

    /// Applies another configuration, at once and as a whole: new connections and new requests use it. Existing streams
    /// and sessions go on as they were granted: sessions keep their timeouts, streams their limits and chunk size.
    /// Counts go on; if a limit is lower now, only new clients are refused. Then have each connection
    /// [check](Conn::reconfigured) whether it may stay.
    pub fn reconfigure(&self, config: Config) {
        // After the rest: streams may have to drop frames for it, and no lock is held while they do.
        let memory = config.memory;
        let mut rules = self.shared.rules.write().unwrap_or_else(PoisonError::into_inner);
        let vhosts = rules.vhosts.reconfigured(&config, &self.shared.hub);
        let relay_rules = vhosts.relay_rules(config.cluster.as_ref());
        *rules = Arc::new(Rules::new(config, vhosts));
        drop(rules);
        self.shared.relays.set_rules(relay_rules);
        self.shared.hub.limit_memory(memory);
        self.shared.unfinished.set_limit(memory / UNFINISHED_DIVISOR);
        self.shared.kept.set_limit(memory / KEPT_DIVISOR);
    }

    fn rules(&self) -> Arc<Rules> {
        self.shared.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections by HTTP that play no live stream, with those that may speak nothing else.
    pub fn web_connections(&self) -> usize {
        self.shared.asking.load(Ordering::Relaxed)
    }

    pub(super) fn asking(&self) -> &Arc<AtomicUsize> {
        &self.shared.asking
    }

    /// True while it [drains](Self::drain).
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// The virtual host that a host name means.
    pub(super) fn vhost(&self, host: &str) -> Result<Arc<VirtualHost>, Refusal> {
        self.rules().vhosts.resolve(host)
    }

    /// The virtual host of this name, if its clients may stay.
    pub(super) fn vhost_named(&self, name: &str) -> Result<Arc<VirtualHost>, Refusal> {
        self.rules().vhosts.named(name)
    }

    /// Whether the default virtual host takes a host name that no virtual host has, and there are others.
    pub(super) fn is_unknown_host(&self, host: &str) -> bool {
        self.rules().vhosts.is_unknown(host)
    }

    /// The settings before the virtual host is known.
    pub(super) fn default_vhost(&self) -> Arc<VirtualHost> {
        self.rules().vhosts.defaults.clone()
    }

    /// The share of a new connection in the memory for unfinished messages, and in that for frames that only queues
    /// hold.
    pub(super) fn portions(&self) -> [Portion; 2] {
        [&self.shared.unfinished, &self.shared.kept].map(Portion::of)
    }

    pub(super) fn sockets(&self) -> &Sockets {
        &self.shared.sockets
    }

    pub(super) fn next_ask(&self) -> AskId {
        AskId(self.shared.asks.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn unix_time(&self, now: Instant) -> u64 {
        self.clock().map_or(u64::MAX, |(then, unix)| unix + now.saturating_duration_since(then).as_secs())
    }

    /// True once it knows the time of day.
    pub(super) fn knows_time(&self) -> bool {
        self.clock().is_some()
    }

    fn clock(&self) -> Option<(Instant, u64)> {
        *self.shared.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection that `tap` records, see [`capture`](crate::capture).
    pub fn connect_captured(&self, now: Instant, peer: Option<SocketAddr>, tap: Box<dyn Tap>) -> Conn {
        self.connect_captured_by(now, peer, Accepts::Rtmp, tap)
    }

    /// The same for a connection that may speak these protocols.
    pub fn connect_captured_by(
        &self,
        now: Instant,
        peer: Option<SocketAddr>,
        accepts: Accepts,
        tap: Box<dyn Tap>,
    ) -> Conn {
        let peer = peer.map(canonical);
        let mut conn = self.make_next(now, peer, accepts);
        let opening = Opening {
            connection: conn.id,
            seed: self.seed_of(conn.id),
            peer,
            accepts,
            unix_time: self.knows_time().then(|| self.unix_time(now)),
        };
        conn.session.outbound().count_pushed(Tally::new(false));
        conn.capturing = Some(Box::new(Capturing::Record(Recorder::new(now, &opening, tap))));
        Conn::new(conn)
    }

    /// A connection of which everything is known.
    pub(crate) fn connect_again(&self, now: Instant, opening: &Opening) -> Conn {
        if let Some(unix) = opening.unix_time {
            self.set_clock(now, unix);
        }
        let mut conn = self.make(now, opening.connection, opening.seed, opening.peer.map(canonical), opening.accepts);
        conn.session.outbound().count_pushed(Tally::new(true));
        conn.capturing = Some(Box::new(Capturing::Replay(Replayer::default())));
        Conn::new(conn)
    }

    fn conn(&self, now: Instant, peer: Option<SocketAddr>) -> Conn {
        Conn::new(self.make_next(now, peer, Accepts::Rtmp))
    }

    fn make_next(&self, now: Instant, peer: Option<SocketAddr>, accepts: Accepts) -> SlowPath {
        let id = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.make(now, id, self.seed_of(id), peer, accepts)
    }

    /// The handshake hashes its seed, so consecutive numbers give different enough results.
    fn seed_of(&self, id: u64) -> [u8; 32] {
        let mut seed = self.shared.seed;
        for (byte, number) in seed.iter_mut().zip(id.to_le_bytes()) {
            *byte ^= number;
        }
        seed
    }

    fn make(&self, now: Instant, id: u64, seed: [u8; 32], peer: Option<SocketAddr>, accepts: Accepts) -> SlowPath {
        let rules = self.rules();
        let vhost = rules.vhosts.defaults.clone();
        let trusted = peer.is_some_and(|peer| rules.proxies.iter().any(|network| network.contains(peer.ip())));
        let new = if trusted { Session::behind_proxy } else { Session::new };
        let session = new(vhost.own.session.clone(), seed, now);
        let session = session.accepting(accepts, rules.config.web.clone(), &rules.proxies);
        let session = session.at_time(self.knows_time().then(|| self.unix_time(now)));
        let mut conn = SlowPath::new(id, self.clone(), vhost, session, peer, now);
        conn.count_asking();
        conn
    }
}
