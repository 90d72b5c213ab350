use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::conn::{self, ClientFacts, Config, Conn, LocalError, Role, VhostSnapshot};
use anabranch_core::hub::{MemorySnapshot, Relief, StreamId, StreamSnapshot};
use anabranch_core::session::{ClientKind, CloseReason, Phase};
use anabranch_core::stats::ConnSnapshot;
use anabranch_core::url::StreamKey;
use tracing::info;

use crate::TcpOptions;
use crate::host::{Host, Link, Publications};
use crate::local::{Publication, Subscribers, Subscription};
use crate::totals::Totals;

/// Longer than any server runs.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A runtime that serves, as its [`Handle`]s need it.
pub trait Runtime: Send + Sync + 'static {
    /// Its connections.
    type Connection: Link;

    /// What they share.
    fn host(&self) -> &Host<Self::Connection>;

    /// Makes the server stop: takes leave of all connections and returns from its `run`.
    fn stop(&self);

    /// There is something new in a stream: has all connections subscribed to it polled, and calls [`Host::wake`].
    fn wake(&self, stream: StreamId);

    /// The same at a later time.
    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant);
}

/// What a runtime's server holds of it. When it goes, whether the server ran to its end, panicked or never ran, nobody in
/// the program waits for it any more.
#[derive(Debug)]
pub struct Alive<R: Runtime>(Arc<R>);

impl<R: Runtime> Alive<R> {
    /// Until it is dropped.
    pub fn new(runtime: R) -> Self {
        Alive(Arc::new(runtime))
    }
}

impl<R: Runtime> Deref for Alive<R> {
    type Target = Arc<R>;

    fn deref(&self) -> &Arc<R> {
        &self.0
    }
}

impl<R: Runtime> Drop for Alive<R> {
    fn drop(&mut self) {
        self.0.host().begin_stop();
    }
}

/// A running server, from anywhere in the program: to stop it, to ask it for numbers, to publish and play in it.
#[derive(Clone)]
pub struct Handle {
    control: Arc<dyn Control>,
}

/// Numbers about a server at one moment.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Since the server was built.
    pub age: Duration,
    /// Connections that are open.
    pub connections: usize,
    /// Connections that were accepted so far.
    pub accepted: u64,
    /// Streams that are published or waited for.
    pub streams: Vec<StreamSnapshot>,
    /// What is counted of each virtual host.
    pub vhosts: Vec<VhostSnapshot>,
    /// The memory of all streams together.
    pub memory: MemorySnapshot,
}

/// One connection at one moment.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Its number, as in the log.
    pub id: u64,
    /// The client's address, as far as it is known.
    pub peer: Option<SocketAddr>,
    /// How far it has come.
    pub phase: Phase,
    /// What it publishes and plays.
    pub streams: Vec<(Role, StreamKey)>,
    /// In whose manner it publishes, if it does.
    pub manner: ClientKind,
    /// What it said of itself.
    pub facts: ClientFacts,
    /// Bytes, frames, drops.
    pub stats: ConnSnapshot,
}

impl ConnectionInfo {
    fn of(conn: &Conn) -> Self {
        ConnectionInfo {
            id: conn.id(),
            peer: conn.peer(),
            phase: conn.session().phase(),
            streams: conn.streams().map(|(role, key)| (role, key.clone())).collect(),
            manner: conn.session().manner(),
            facts: conn.facts(),
            stats: conn.stats().snapshot(Instant::now()),
        }
    }
}

impl Handle {
    /// A handle of this runtime.
    pub fn new(runtime: Arc<impl Runtime>) -> Self {
        Handle { control: runtime }
    }

    /// Tells players that their stream is over, closes all connections and makes `run` return, within 3 seconds.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Takes leave of the clients without cutting them off. Nobody is granted anything new; who understands it is asked
    /// to connect anew, to `tc_url` or to the same URL; players go on to the end of their GOP; what is left after `time`
    /// is closed. The server runs on: [`stop`](Self::stop) it when [`stats`](Self::stats) shows no more connections.
    pub fn drain(&self, time: Duration, tc_url: Option<&str>) {
        self.control.core().drain();
        // More than the clock can tell is as good as for ever.
        let deadline = Instant::now() + time.min(FOR_EVER);
        self.control.change_each(&mut |conn| conn.drain(deadline, tc_url));
    }

    /// True if there was no connection left at some time before `deadline`. Blocks until then.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.control.wait_until_empty(deadline)
    }

    /// Closes a connection, in words for the log. False if there is none with that number.
    pub fn close(&self, id: u64, words: &'static str) -> bool {
        self.control.change(id, &mut |conn| conn.close(CloseReason::Closed(words)))
    }

    /// Puts another configuration in force, at once and as a whole, see
    /// [`Server::reconfigure`](anabranch_core::conn::Core::reconfigure): what runs goes on, but for connections whose
    /// virtual host is gone, and for publishers and players whose address is refused now. `tcp` is for connections to
    /// come.
    ///
    /// # Errors
    /// It asks questions that nobody is there to answer; then nothing has changed.
    pub fn reconfigure(&self, config: impl Into<Config>, tcp: TcpOptions) -> io::Result<()> {
        self.control.reconfigure(config.into(), tcp)
    }

    /// Numbers about the server, its streams and virtual hosts.
    pub fn stats(&self) -> Stats {
        let core = self.control.core();
        let (connections, accepted, start) = self.control.counts();
        let (streams, vhosts) = (core.hub().streams(), core.vhosts());
        let memory = core.hub().memory();
        Stats { age: start.elapsed(), connections, accepted, streams, vhosts, memory }
    }

    /// What streams gave up since this was last asked, because all of them together took too much memory; each stream at
    /// most once a minute and kind.
    pub fn take_reliefs(&self) -> Vec<Relief> {
        self.control.core().hub().take_reliefs()
    }

    /// The virtual hosts and how many there are of what in each; costs the same whatever there is.
    pub fn vhosts(&self) -> Vec<VhostSnapshot> {
        self.control.core().vhosts()
    }

    /// All connections that are open, in the order in which they came. Looks at one after the other.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let mut list = Vec::new();
        self.inspect_each(|conn| list.push(ConnectionInfo::of(conn)));
        list.sort_unstable_by_key(|connection| connection.id);
        list
    }

    /// The numbers of the connections that are open, in the order in which they came; no connection is looked at.
    pub fn connection_ids(&self) -> Vec<u64> {
        self.control.ids()
    }

    /// One connection, if it is open.
    pub fn connection(&self, id: u64) -> Option<ConnectionInfo> {
        let mut found = None;
        self.control.inspect(id, &mut |conn| found = Some(ConnectionInfo::of(conn)));
        found
    }

    /// Shows each connection, one after the other, in no order. A connection can do nothing while it is looked at: take
    /// notes, and think afterwards.
    pub fn inspect_each(&self, mut look: impl FnMut(&Conn)) {
        self.control.inspect_each(&mut look);
    }

    /// What all connections amounted to so far. No number is ever smaller than it was before.
    pub fn totals(&self) -> Totals {
        self.control.totals()
    }

    /// True once nobody is granted anything new, because the server drains or stops.
    pub fn is_leaving(&self) -> bool {
        self.control.is_stopping() || self.control.core().is_draining()
    }

    /// Publishes a stream without a socket. `path` is `app/stream`, in another virtual host with `?vhost=NAME`. The
    /// program is trusted: rules, limits and hooks are for clients.
    ///
    /// # Errors
    /// The name is none, is being published, or the server takes nobody any more.
    pub fn publish(&self, path: &str) -> Result<Publication, LocalError> {
        let publisher = self.control.core().publish(path)?;
        info!("the program publishes {}", publisher.key());
        self.control.publishes(publisher.key());
        // Who was told that the stream is over is told that it goes on.
        self.control.wake(publisher.stream_id());
        Ok(Publication::new(publisher, self.control.clone()))
    }

    /// Plays a stream without a socket, published or not yet.
    ///
    /// # Errors
    /// The name is none, or the server takes nobody any more.
    pub fn subscribe(&self, path: &str) -> Result<Subscription, LocalError> {
        let player = self.control.core().play(path)?;
        info!("the program plays {}", player.key());
        Ok(Subscription::new(player, self.control.clone()))
    }

    /// The same for a stream whose name is known to be one, as [`on_publish`](Self::on_publish) tells it.
    pub fn subscribe_to(&self, key: &StreamKey) -> Subscription {
        Subscription::new(self.control.core().hub().play(key), self.control.clone())
    }

    /// Has `begins` called whenever somebody begins to publish a stream, a client or the program itself, before there is
    /// anything in it: who [subscribes](Self::subscribe_to) there misses nothing. It is called by the thread that serves
    /// the publisher and must not block. Only the first call of this has an effect.
    pub fn on_publish(&self, begins: impl Fn(&StreamKey) + Send + Sync + 'static) {
        self.control.on_publish(Publications(Box::new(begins)));
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("core", self.control.core()).finish_non_exhaustive()
    }
}

/// What handles, publications and subscriptions need of a runtime, whichever it is.
pub(crate) trait Control: Send + Sync {
    fn core(&self) -> &conn::Core;
    fn is_stopping(&self) -> bool;
    fn stop(&self);
    fn wake(&self, stream: StreamId);
    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant);
    fn subscribers(&self) -> &Subscribers;
    fn publishes(&self, key: &StreamKey);
    fn on_publish(&self, publications: Publications);
    /// Open connections, accepted ones, the time of the beginning.
    fn counts(&self) -> (usize, u64, Instant);
    fn wait_until_empty(&self, deadline: Instant) -> bool;
    fn reconfigure(&self, config: Config, tcp: TcpOptions) -> io::Result<()>;
    fn change(&self, id: u64, change: &mut dyn FnMut(&mut Conn)) -> bool;
    fn change_each(&self, change: &mut dyn FnMut(&mut Conn));
    fn inspect(&self, id: u64, look: &mut dyn FnMut(&Conn));
    fn inspect_each(&self, look: &mut dyn FnMut(&Conn));
    fn totals(&self) -> Totals;
    fn ids(&self) -> Vec<u64>;
}

impl<R: Runtime> Control for R {
    fn core(&self) -> &conn::Core {
        self.host().core()
    }

    fn is_stopping(&self) -> bool {
        self.host().is_stopping()
    }

    fn stop(&self) {
        Runtime::stop(self);
    }

    fn wake(&self, stream: StreamId) {
        Runtime::wake(self, stream);
    }

    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant) {
        Runtime::wake_at(self, stream, at);
    }

    fn subscribers(&self) -> &Subscribers {
        self.host().subscribers()
    }

    fn publishes(&self, key: &StreamKey) {
        self.host().publishes(key);
    }

    fn on_publish(&self, publications: Publications) {
        self.host().on_publish(publications);
    }

    fn counts(&self) -> (usize, u64, Instant) {
        let host = self.host();
        (host.open_connections(), host.accepted(), host.start())
    }

    fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.host().wait_until_empty(deadline)
    }

    fn reconfigure(&self, config: Config, tcp: TcpOptions) -> io::Result<()> {
        self.host().reconfigure(config, tcp)
    }

    fn change(&self, id: u64, change: &mut dyn FnMut(&mut Conn)) -> bool {
        let connection = self.host().find(id);
        if let Some(connection) = &connection {
            connection.change(change);
        }
        connection.is_some()
    }

    fn change_each(&self, change: &mut dyn FnMut(&mut Conn)) {
        self.host().for_each(|connection| connection.change(change));
    }

    fn totals(&self) -> Totals {
        self.host().totals()
    }

    fn ids(&self) -> Vec<u64> {
        self.host().ids()
    }

    fn inspect(&self, id: u64, look: &mut dyn FnMut(&Conn)) {
        if let Some(connection) = self.host().find(id) {
            connection.inspect(look);
        }
    }

    fn inspect_each(&self, look: &mut dyn FnMut(&Conn)) {
        self.host().for_each(|connection| connection.inspect(look));
    }
}
