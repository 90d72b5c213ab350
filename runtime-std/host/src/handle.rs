use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::capture::Tap;
use anabranch_core::cluster::Spread;
use anabranch_core::conn::{
    self, Action, AnyConn, ClientFacts, Config, Conn, Ended, LocalError, NotCaptured, Role, VhostSnapshot,
};
use anabranch_core::hls::Complete;
use anabranch_core::hub::{HeldBy, MemorySnapshot, Relief, StreamId, StreamSnapshot};
use anabranch_core::pacing::ThreadShare;
use anabranch_core::packager::{PackagerStats, View};
use anabranch_core::policy;
use anabranch_core::relay::{AttemptId, NotAdded, RelayId, RelaySnapshot, Relays};
use anabranch_core::session::{ClientKind, CloseReason, Phase};
use anabranch_core::stats::ConnSnapshot;
use anabranch_core::url::{StreamKey, shortened};
#[cfg(feature = "webrtc")]
use anabranch_rtc::desk::Opening;
use tracing::info;

use crate::closes::Closed;
use crate::drain::{Drain, LeavesToStop};
use crate::fallback;
use crate::host::{Host, Link};
use crate::local::{Publication, Subscribers, Subscription};
use crate::publications::{OnPublish, OnUnpublish, PublishStart};
#[cfg(feature = "webrtc")]
use crate::rtc::{Rtc, RtcAddresses, RtcSession, RtcStats};
use crate::segments::Segments;
use crate::totals::{Totals, UplinkTotals};
use crate::viewer::Viewer;
use crate::{AnyLines, LogAddresses, TcpOptions};

/// What a [`Handle`] needs of a running server.
pub trait Runtime: Send + Sync + 'static {
    /// Its connections.
    type Connection: Link;

    /// What the connections share.
    fn host(&self) -> &Host<Self::Connection>;

    /// Makes the server stop: it closes all connections and its `run` returns.
    fn stop(&self);

    /// A stream has something new: has all connections that are subscribed to it polled, and calls [`Host::wake`].
    fn wake(&self, stream: StreamId);

    /// The same as [`wake`](Self::wake) at a later time.
    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant);

    /// Looks up a host, and calls [`resolved`](anabranch_core::relay::Relays::resolved) or
    /// [`failed`](anabranch_core::relay::Relays::failed). Does not block.
    fn resolve(self: &Arc<Self>, attempt: AttemptId, host: String, port: u16);

    /// Connects, with TLS for this name if there is one, and calls
    /// [`connected`](anabranch_core::relay::Relays::connected) or [`failed`](anabranch_core::relay::Relays::failed).
    /// Serves the connection. Does not block.
    fn connect(self: &Arc<Self>, attempt: AttemptId, address: SocketAddr, tls: Option<String>);

    /// Ends a look-up or an attempt to connect, if it still goes on.
    fn abort(&self, attempt: AttemptId);
}

/// The server's own reference to its runtime. When it is dropped, the server stops: no part of the program then waits
/// for a server that ran to its end, panicked or never ran.
#[derive(Debug)]
pub struct Alive<R: Runtime>(Arc<R>);

impl<R: Runtime> Alive<R> {
    /// The runtime counts as alive until this is dropped.
    pub fn new(runtime: R) -> Self {
        let runtime = Arc::new(runtime);
        let control: Arc<dyn Control> = runtime.clone();
        runtime.host().segments().belong_to(&control);
        #[cfg(feature = "webrtc")]
        runtime.host().rtc().belong_to(&control);
        Alive(runtime)
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

/// A handle of a running server, for any part of the program: stops the server, returns statistics, publishes and
/// plays.
#[derive(Clone)]
pub struct Handle {
    control: Arc<dyn Control>,
}

/// Statistics of a server at one moment.
#[derive(Debug, Clone)]
pub struct Stats {
    /// The time since the server was built.
    pub age: Duration,
    /// Connections that are open.
    pub connections: usize,
    /// Those of them by HTTP that play no live stream.
    pub web_connections: usize,
    /// Connections that were accepted so far.
    pub accepted: u64,
    /// Streams with a publisher or with players.
    pub streams: Vec<StreamSnapshot>,
    /// Counts of each virtual host.
    pub vhosts: Vec<VhostSnapshot>,
    /// The memory of all streams together.
    pub memory: MemorySnapshot,
    /// What the threads spend their time with; empty if each connection has its own.
    pub threads: Vec<ThreadShare>,
}

/// One connection at one moment.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Its number, as in the log.
    pub id: u64,
    /// The client's address, as far as it is known.
    pub peer: Option<SocketAddr>,
    /// The phase of its session.
    pub phase: Phase,
    /// What it publishes and plays.
    pub streams: Vec<(Role, StreamKey)>,
    /// The kind of client whose way of publishing it uses, if it publishes.
    pub manner: ClientKind,
    /// What the client said about itself.
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

    /// Asks clients to disconnect, without cutting them off. The server grants no new requests. It asks clients that
    /// support it to reconnect, to `tc_url` or to the same URL; players go on to the end of their GOP; connections that
    /// are left after `time` are closed. The server keeps running: [`stop`](Self::stop) it when [`stats`](Self::stats)
    /// shows no more connections, or [`stop_draining`](Self::stop_draining).
    ///
    /// # Errors
    /// The server [drains to stop](Self::drain_to_stop), or stops; its deadline stays as it is.
    pub fn drain(&self, time: Duration, tc_url: Option<&str>) -> Result<(), LeavesToStop> {
        self.drain_among(time, tc_url.map(Spread::to_one).unwrap_or_default())
    }

    /// As [`drain`](Self::drain), with several servers among which the clients are spread.
    ///
    /// # Errors
    /// As for [`drain`](Self::drain).
    pub fn drain_among(&self, time: Duration, servers: Spread) -> Result<(), LeavesToStop> {
        self.control.drain(time, servers, false)
    }

    /// The same for a program that stops the server afterwards: this drain cannot be undone.
    pub fn drain_to_stop(&self, time: Duration, tc_url: Option<&str>) {
        self.drain_among_to_stop(time, tc_url.map(Spread::to_one).unwrap_or_default());
    }

    /// As [`drain_to_stop`](Self::drain_to_stop), with several servers among which the clients are spread.
    pub fn drain_among_to_stop(&self, time: Duration, servers: Spread) {
        // Nothing prevents such a drain.
        let _ = self.control.drain(time, servers, true);
    }

    /// Undoes [`drain`](Self::drain): the server grants requests again, connections have no deadline any more, and
    /// players that have not reached the end of their GOP go on. Clients that were asked to reconnect may do so all the
    /// same. False if the server does not drain.
    ///
    /// # Errors
    /// The server [drains to stop](Self::drain_to_stop), or stops.
    pub fn stop_draining(&self) -> Result<bool, LeavesToStop> {
        self.control.stop_draining()
    }

    /// Since when the server drains and until when, if it does.
    pub fn draining(&self) -> Option<Drain> {
        self.control.draining()
    }

    /// True once the server stops.
    pub fn is_stopping(&self) -> bool {
        self.control.is_stopping()
    }

    /// True if there was no connection left at some time before `deadline`. Blocks until then.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.control.wait_until_empty(deadline)
    }

    /// Closes a connection; `words` is the reason for the log. False if there is none with that number.
    pub fn close(&self, id: u64, words: &'static str) -> bool {
        self.control.change(id, &mut |conn| conn.close(CloseReason::Closed(words)))
    }

    /// Puts another configuration in force, at once and as a whole, see
    /// [`Core::reconfigure`](anabranch_core::conn::Core::reconfigure): connections go on, except those whose virtual
    /// host is gone, and publishers and players whose address is refused now. `tcp` is for new connections.
    ///
    /// # Errors
    /// The configuration asks the back end, and there are no hooks, or there are [hooks](crate::Builder::hooks) and it
    /// asks them nothing; then nothing has changed.
    pub fn reconfigure(&self, config: impl Into<Config>, tcp: TcpOptions) -> io::Result<()> {
        self.control.reconfigure(config.into(), tcp)?;
        self.play_fallbacks()
    }

    /// Plays the fallbacks of streams ([`VhostConfig::fallback`](anabranch_core::conn::VhostConfig::fallback)) from now on, if
    /// the configuration has any. A server does it once; another call has no effect.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn play_fallbacks(&self) -> io::Result<()> {
        if self.core().has_fallbacks() && !self.control.plays_fallbacks() {
            fallback::start(self)?;
        }
        Ok(())
    }

    pub(crate) fn core(&self) -> &conn::Core {
        self.control.core()
    }

    /// Begins to play the fallback of a stream.
    pub(crate) fn publish_fallback(&self, key: &StreamKey) -> Result<Publication, LocalError> {
        let publisher = self.core().publish_fallback(key)?;
        self.control.wake(publisher.stream_id());
        Ok(Publication::new(publisher, self.control.clone()))
    }

    /// How much of clients' addresses the log shows from now on.
    pub fn log_addresses(&self, addresses: LogAddresses) {
        self.control.show_addresses(addresses);
    }

    /// How much of clients' addresses the log shows now.
    pub fn log_addresses_in_force(&self) -> LogAddresses {
        self.control.shown_addresses()
    }

    /// The stream that a path leads to: `app/stream`, in another virtual host with `?vhost=NAME`, where the name may be an
    /// alias. Unlike a client, this gets no other virtual host in place of an unknown one.
    ///
    /// # Errors
    /// The name is not valid, or there is no such virtual host.
    pub fn stream_key(&self, path: &str) -> Result<StreamKey, LocalError> {
        self.control.core().stream_key(path)
    }

    /// Statistics of the server, its streams and virtual hosts.
    pub fn stats(&self) -> Stats {
        let core = self.control.core();
        let (connections, accepted, start) = self.control.counts();
        let (streams, vhosts) = (core.hub().streams(), core.vhosts());
        let memory = core.hub().memory();
        let web_connections = core.web_connections();
        let threads = core.hub().thread_shares(Instant::now());
        Stats { age: start.elapsed(), connections, web_connections, accepted, streams, vhosts, memory, threads }
    }

    /// What streams gave up since the last call, because all of them together took too much memory; for each stream and
    /// kind at most one report a minute.
    pub fn take_reliefs(&self) -> Vec<Relief> {
        self.control.core().hub().take_reliefs()
    }

    /// The virtual hosts and their counts. The cost does not depend on the number of streams and connections.
    pub fn vhosts(&self) -> Vec<VhostSnapshot> {
        self.control.core().vhosts()
    }

    /// All open connections, in the order in which they were accepted. Locks one after the other.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let mut list = Vec::new();
        self.inspect_each(|conn| list.push(ConnectionInfo::of(conn)));
        list.sort_unstable_by_key(|connection| connection.id);
        list
    }

    /// The numbers of the open connections, in the order in which they were accepted. Locks no connection.
    pub fn connection_ids(&self) -> Vec<u64> {
        self.control.ids()
    }

    /// One connection, if it is open.
    pub fn connection(&self, id: u64) -> Option<ConnectionInfo> {
        let mut found = None;
        self.control.inspect(id, &mut |conn| found = Some(ConnectionInfo::of(conn)));
        found
    }

    /// Captures a connection from now on, see [`Conn::capture`]. Works with any runtime.
    ///
    /// # Errors
    /// There is no such connection, or it [cannot be captured](NotCaptured) now.
    pub fn capture(&self, id: u64, tap: Box<dyn Tap>) -> Result<(), CaptureError> {
        let (mut tap, mut done) = (Some(tap), Ok(()));
        let found = self.control.change(id, &mut |conn| {
            if let Some(tap) = tap.take() {
                done = conn.capture(Instant::now(), tap);
            }
        });
        if found { done.map_err(CaptureError::NotNow) } else { Err(CaptureError::NoConnection) }
    }

    /// Has a connection polled: it drops a capture whose tap [is over](Tap::is_over).
    pub fn poll_soon(&self, id: u64) {
        self.control.change(id, &mut |_| {});
    }

    /// Calls `look` for each connection, one after the other, in no order. The connection is locked during the call, so
    /// `look` should only copy what it needs.
    pub fn inspect_each(&self, mut look: impl FnMut(&Conn)) {
        self.control.inspect_each(&mut look);
    }

    /// The connections that ended last, the newest first: a hundred of those that had connected, and 28 of those that
    /// ended before that.
    pub fn closes(&self) -> Vec<Closed> {
        self.control.closes()
    }

    /// The totals of all connections so far. No number ever becomes smaller.
    pub fn totals(&self) -> Totals {
        self.control.totals()
    }

    /// All pushes and pulls, in the order in which they began.
    pub fn relays(&self) -> Vec<RelaySnapshot> {
        self.control.core().relays().list(Instant::now())
    }

    /// The relays themselves, for a program with a directory of a cluster. [`Relays::poll_directory`] says what that is to do.
    pub fn relay_core(&self) -> Relays {
        self.control.core().relays().clone()
    }

    /// Pushes a stream to one more target, published or not, until the target is removed or the server ends.
    ///
    /// # Errors
    /// The URL is not valid, the stream has the target already, or there are too many.
    pub fn add_forward(&self, key: &StreamKey, url: &str) -> Result<RelayId, NotAdded> {
        self.control.core().relays().add_forward(Instant::now(), key, url)
    }

    /// Ends a push and removes its target. A target of the configuration comes back with the next publication. False if
    /// there is no such push.
    pub fn remove_forward(&self, id: RelayId) -> bool {
        self.control.core().relays().remove_forward(Instant::now(), id)
    }

    /// Pushes the present publication of a stream to these targets, instead of those of an earlier call. Returns what is
    /// wrong with URLs that are left out.
    pub fn forward_to(&self, key: &StreamKey, urls: &[String]) -> Vec<NotAdded> {
        self.control.core().relays().forward_to(Instant::now(), key, urls)
    }

    /// The client's side of TLS for connections to other servers that are made from now on; `None`: it trusts the roots of
    /// the system.
    #[cfg(feature = "tls")]
    pub fn client_tls(&self, config: Option<Arc<rustls::ClientConfig>>) {
        self.control.set_client_tls(config);
    }

    /// The totals of all connections to other servers so far.
    pub fn uplink_totals(&self) -> UplinkTotals {
        self.control.uplink_totals()
    }

    /// True while the server grants no new requests, because it drains or stops.
    pub fn is_leaving(&self) -> bool {
        self.control.is_stopping() || self.control.core().is_draining()
    }

    /// Publishes a stream without a socket. `path` is `app/stream`, in another virtual host with `?vhost=NAME`. The
    /// program is trusted: rules, limits and hooks are for clients.
    ///
    /// # Errors
    /// The name is not valid or is being published, or the server drains or stops.
    pub fn publish(&self, path: &str) -> Result<Publication, LocalError> {
        let publisher = self.control.core().publish(path)?;
        let key = publisher.key();
        let (vhost, app, stream) = (shortened(key.vhost()), shortened(key.app()), shortened(key.stream()));
        let (vhost, app, stream) = (&*vhost, &*app, &*stream);
        info!(event = "program_publishes", vhost, app, stream, "the program publishes {}", key.shown());
        self.control.publishes(&PublishStart::local(publisher.key(), publisher.stream_id()));
        // Players that got the end of the stream get a message that it goes on.
        self.control.wake(publisher.stream_id());
        Ok(Publication::new(publisher, self.control.clone()))
    }

    /// Plays a stream without a socket, published or not yet.
    ///
    /// # Errors
    /// The name is not valid, or the server drains or stops.
    pub fn subscribe(&self, path: &str) -> Result<Subscription, LocalError> {
        let player = self.control.core().play(path)?;
        let key = player.key();
        let (vhost, app, stream) = (shortened(key.vhost()), shortened(key.app()), shortened(key.stream()));
        let (vhost, app, stream) = (&*vhost, &*app, &*stream);
        info!(event = "program_plays", vhost, app, stream, "the program plays {}", key.shown());
        Ok(Subscription::new(player, self.control.clone()))
    }

    /// The same for a stream whose name is known to be valid, such as that given by [`on_publish`](Self::on_publish).
    pub fn subscribe_to(&self, key: &StreamKey) -> Subscription {
        Subscription::new(self.control.core().hub().follow(key), self.control.clone())
    }

    /// Has `begins` called whenever a client or the program itself begins to publish a stream, before the first frame:
    /// a [subscription](Self::subscribe_to) made there misses nothing. The thread that serves the publisher calls it;
    /// it must not block.
    pub fn on_publish(&self, begins: impl Fn(&PublishStart) + Send + Sync + 'static) {
        self.control.on_publish(Box::new(begins));
    }

    /// Has `ends` called whenever a publication has ended, with the stream of its [`PublishStart`]. Another publisher may
    /// have the name by then: [`publisher`](Self::publisher) says so. The same thread calls it; it must not block.
    pub fn on_unpublish(&self, ends: impl Fn(StreamId) + Send + Sync + 'static) {
        self.control.on_unpublish(Box::new(ends));
    }

    /// Has `complete` called for each segment of a stream that is complete, with the stream's name. One thread makes these
    /// calls for all streams; it must not block.
    pub fn on_segment(&self, complete: impl Fn(&StreamKey, &Complete) + Send + Sync + 'static) {
        self.control.segments().on_complete(Box::new(complete));
    }

    /// Numbers of the streams that are served in segments.
    pub fn packager_stats(&self) -> PackagerStats {
        self.control.segments().stats()
    }

    /// Where the server takes datagrams of WebRTC; nothing if WebRTC is off.
    #[cfg(feature = "webrtc")]
    pub fn rtc_addresses(&self) -> RtcAddresses {
        self.control.rtc().addresses()
    }

    /// Numbers of WebRTC.
    #[cfg(feature = "webrtc")]
    pub fn rtc_stats(&self) -> RtcStats {
        self.control.rtc().stats()
    }

    /// All peers of WebRTC, as they were within the last second.
    #[cfg(feature = "webrtc")]
    pub fn rtc_sessions(&self) -> Vec<RtcSession> {
        self.control.rtc().sessions()
    }

    /// From now on peers of WebRTC are served so. The sockets stay as they are.
    #[cfg(feature = "webrtc")]
    pub fn configure_rtc(&self, settings: anabranch_rtc::desk::Settings) {
        self.control.rtc().configure(settings);
    }

    /// What publishes a stream, if it has a publisher.
    pub fn publisher(&self, key: &StreamKey) -> Option<HeldBy> {
        self.control.core().hub().holder(key)
    }

    /// The publishers of a stream are about to be closed: the one that stands by does not take over.
    pub fn hold_back(&self, key: &StreamKey) {
        self.control.core().hub().hold_back(key);
    }

    /// What stands by as backup of a stream's publisher, if something does.
    pub fn backup(&self, key: &StreamKey) -> Option<HeldBy> {
        self.control.core().hub().backup(key)
    }

    /// A [pass](anabranch_core::policy::Passes): its text is the value of the parameter
    /// [`PASS`](anabranch_core::policy::PASS) in the URL of a program that this program starts. It permits `action` on the
    /// stream from a loopback address, whatever rules, hooks and limits say, until it is dropped.
    pub fn pass(&self, action: policy::Action, key: &StreamKey) -> policy::Issued {
        self.control.core().passes().issue(action, key)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("core", self.control.core()).finish_non_exhaustive()
    }
}

/// Why a connection is not captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureError {
    /// No open connection has this number.
    NoConnection,
    /// The connection is in a state in which no capture begins.
    NotNow(NotCaptured),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::NoConnection => f.write_str("there is no such connection"),
            CaptureError::NotNow(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for CaptureError {}

/// What handles, publications and subscriptions need of any runtime.
pub(crate) trait Control: Send + Sync {
    fn core(&self) -> &conn::Core;
    fn is_stopping(&self) -> bool;
    /// Whether fallbacks are played already; from now on they are.
    fn plays_fallbacks(&self) -> bool;
    fn stop(&self);
    fn wake(&self, stream: StreamId);
    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant);
    fn subscribers(&self) -> &Subscribers;
    fn publishes(&self, start: &PublishStart);
    fn on_publish(&self, begins: OnPublish);
    fn unpublishes(&self, stream: StreamId);
    fn on_unpublish(&self, ends: OnUnpublish);
    /// Open connections, accepted connections, the time of the start.
    fn counts(&self) -> (usize, u64, Instant);
    fn wait_until_empty(&self, deadline: Instant) -> bool;
    fn drain(&self, time: Duration, servers: Spread, to_stop: bool) -> Result<(), LeavesToStop>;
    fn stop_draining(&self) -> Result<bool, LeavesToStop>;
    fn draining(&self) -> Option<Drain>;
    fn reconfigure(&self, config: Config, tcp: TcpOptions) -> io::Result<()>;
    fn change(&self, id: u64, change: &mut dyn FnMut(&mut Conn)) -> bool;
    fn inspect(&self, id: u64, look: &mut dyn FnMut(&Conn));
    fn inspect_each(&self, look: &mut dyn FnMut(&Conn));
    fn show_addresses(&self, addresses: LogAddresses);
    fn shown_addresses(&self) -> LogAddresses;
    fn totals(&self) -> Totals;
    fn uplink_totals(&self) -> UplinkTotals;
    #[cfg(feature = "tls")]
    fn set_client_tls(&self, config: Option<Arc<rustls::ClientConfig>>);
    fn closes(&self) -> Vec<Closed>;
    fn ids(&self) -> Vec<u64>;
    fn segments(&self) -> &Segments;
    /// The core of a viewer of segments, and its log lines.
    fn open_viewer(&self, view: &View) -> (AnyConn, AnyLines);
    #[cfg(feature = "webrtc")]
    fn rtc(&self) -> &Rtc;
    /// The core of a client that publishes or plays by WebRTC, and its log lines.
    #[cfg(feature = "webrtc")]
    fn open_peer(&self, opening: &Opening) -> (AnyConn, AnyLines);
    /// Whether there is room for one more socket, by its number.
    #[cfg(feature = "webrtc")]
    fn admits(&self, number: i32) -> bool;
    fn abandon(&self, id: u64);
    fn gave_up(&self, id: u64);
    fn enter_viewer(&self, id: u64, viewer: &Arc<Viewer>);
    fn act(&self, action: Action, lines: &AnyLines, viewer: &Arc<Viewer>);
    fn leave(&self, id: u64, lines: &AnyLines, ended: &Ended);
}

impl<R: Runtime> Control for R {
    fn core(&self) -> &conn::Core {
        self.host().core()
    }

    fn is_stopping(&self) -> bool {
        self.host().is_stopping()
    }

    fn plays_fallbacks(&self) -> bool {
        self.host().plays_fallbacks()
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

    fn publishes(&self, start: &PublishStart) {
        self.host().publishes(start);
    }

    fn on_publish(&self, begins: OnPublish) {
        self.host().on_publish(begins);
    }

    fn unpublishes(&self, stream: StreamId) {
        self.host().unpublishes(stream);
    }

    fn on_unpublish(&self, ends: OnUnpublish) {
        self.host().on_unpublish(ends);
    }

    fn counts(&self) -> (usize, u64, Instant) {
        let host = self.host();
        (host.open_connections(), host.accepted(), host.start())
    }

    fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.host().wait_until_clients_left(deadline)
    }

    fn drain(&self, time: Duration, servers: Spread, to_stop: bool) -> Result<(), LeavesToStop> {
        self.host().drain(time, servers, to_stop)
    }

    fn stop_draining(&self) -> Result<bool, LeavesToStop> {
        self.host().stop_draining()
    }

    fn draining(&self) -> Option<Drain> {
        self.host().draining()
    }

    fn reconfigure(&self, config: Config, tcp: TcpOptions) -> io::Result<()> {
        self.host().reconfigure(config, tcp)
    }

    fn change(&self, id: u64, change: &mut dyn FnMut(&mut Conn)) -> bool {
        self.host().change_client(id, change)
    }

    fn show_addresses(&self, addresses: LogAddresses) {
        self.host().show_addresses(addresses);
    }

    fn shown_addresses(&self) -> LogAddresses {
        self.host().shown_addresses()
    }

    fn totals(&self) -> Totals {
        self.host().totals()
    }

    fn uplink_totals(&self) -> UplinkTotals {
        self.host().uplink_totals()
    }

    #[cfg(feature = "tls")]
    fn set_client_tls(&self, config: Option<Arc<rustls::ClientConfig>>) {
        self.host().client_tls().set(config);
    }

    fn closes(&self) -> Vec<Closed> {
        self.host().closes()
    }

    fn ids(&self) -> Vec<u64> {
        self.host().ids()
    }

    fn segments(&self) -> &Segments {
        self.host().segments()
    }

    fn open_viewer(&self, view: &View) -> (AnyConn, AnyLines) {
        self.host().open_viewer(view)
    }

    #[cfg(feature = "webrtc")]
    fn rtc(&self) -> &Rtc {
        self.host().rtc()
    }

    #[cfg(feature = "webrtc")]
    fn open_peer(&self, opening: &Opening) -> (AnyConn, AnyLines) {
        self.host().open_peer(opening)
    }

    #[cfg(feature = "webrtc")]
    fn admits(&self, number: i32) -> bool {
        self.host().admits(number)
    }

    fn abandon(&self, id: u64) {
        self.host().abandon(id);
    }

    fn gave_up(&self, id: u64) {
        self.host().gave_up(id);
    }

    fn enter_viewer(&self, id: u64, viewer: &Arc<Viewer>) {
        self.host().enter_viewer(id, viewer);
    }

    fn act(&self, action: Action, lines: &AnyLines, viewer: &Arc<Viewer>) {
        self.host().act(action, lines, viewer);
    }

    fn leave(&self, id: u64, lines: &AnyLines, ended: &Ended) {
        self.host().leave(id, lines, ended);
    }

    fn inspect(&self, id: u64, look: &mut dyn FnMut(&Conn)) {
        if let Some(connection) = self.host().find(id) {
            connection.inspect_client(look);
        }
    }

    fn inspect_each(&self, look: &mut dyn FnMut(&Conn)) {
        self.host().for_each(|connection| connection.inspect_client(look));
    }
}
