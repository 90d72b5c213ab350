use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anabranch_core::conn::{
    self, Accepts, Action, AnyConn, Attachment, Config, Conn, Delivery, Ended, Remark, Role, WebRequest,
};
use anabranch_core::http::{self, Framing, LivePath};
use anabranch_core::hub::StreamId;
use anabranch_core::packager::{Target, View};
use anabranch_core::policy::canonical;
use anabranch_core::relay::Uplink;
use anabranch_core::session::CloseReason;
use anabranch_core::stats::ConnStatsView;
#[cfg(feature = "webrtc")]
use anabranch_rtc::desk::{self, Opening};
use event_listener::{Event, Listener};
use socket2::SockRef;
use tracing::{error, warn};

use crate::addresses::{AddressRule, LogAddresses};
use crate::before_connect::BeforeConnect;
use crate::builder::check_hooks;
use crate::closes::{Closed, Closes};
use crate::drain::Draining;
use crate::driver::Driver;
use crate::files::Door;
use crate::hooks::{Answer, Hooks, SwitchNotice};
use crate::local::Subscribers;
#[cfg(feature = "tls")]
use crate::outbound_tls::OutboundTls;
use crate::publications::{OnPublish, OnUnpublish, Publications, PublishStart, PublishingClient};
#[cfg(feature = "webrtc")]
use crate::rtc::Rtc;
use crate::segments::Segments;
use crate::totals::{Playing, Totals, UplinkTotals};
use crate::uplinks::{AnyLines, UplinkLines, reason_of};
use crate::viewer::Viewer;
use crate::web::Reply;
use crate::{Arriving, Captures, Lines, SOCKETS, Setup, TcpOptions, Web, random_seed, tune};

/// How long a stopping server waits until its connections have sent their final messages, before it cuts them off.
pub const FINAL_MESSAGES_WAIT: Duration = Duration::from_millis(2500);
/// How long connections that were cut off may take to end.
pub const CUT: Duration = Duration::from_millis(250);

/// A connection of a runtime, as the host uses it.
pub trait Link: Send + Sync + 'static {
    /// Changes the core of the connection, and has it polled afterwards, here or on the connection's own thread. Calls
    /// `change` once, and does not wait for the connection's peer.
    fn change(&self, change: &mut dyn FnMut(&mut AnyConn));

    /// The address of this server that the peer has connected to, if there is a socket.
    fn local_address(&self) -> Option<SocketAddr>;

    /// Shows the core of the connection.
    fn inspect(&self, look: &mut dyn FnMut(&AnyConn));

    /// [Changes](Self::change) the core if a client has opened the connection.
    fn change_client(&self, change: &mut dyn FnMut(&mut Conn)) {
        self.change(&mut |any| {
            if let AnyConn::Client(conn) = any {
                change(conn);
            }
        });
    }

    /// [Shows](Self::inspect) the core if a client has opened the connection.
    fn inspect_client(&self, look: &mut dyn FnMut(&Conn)) {
        self.inspect(&mut |any| {
            if let AnyConn::Client(conn) = any {
                look(conn);
            }
        });
    }
}

/// What the connections of one running server share, with any runtime: the core, the list of the connections, the log,
/// the hooks, and the streams that the program itself publishes and plays.
#[derive(Debug)]
pub struct Host<C> {
    core: conn::Core,
    /// For new connections.
    tcp: Mutex<TcpOptions>,
    door: Door,
    hooks: Option<Arc<dyn Hooks>>,
    hooks_may_idle: bool,
    captures: Option<Arc<dyn Captures>>,
    web: Option<Arc<dyn Web>>,
    subscribers: Subscribers,
    segments: Segments,
    #[cfg(feature = "webrtc")]
    rtc: Rtc,
    connections: Mutex<Connections<C>>,
    /// The connections that ended last.
    closes: Closes,
    publications: Publications,
    /// Notified when the last connection ends.
    emptied: Event,
    accepted: AtomicU64,
    /// For the log lines of connections.
    before_connect: Arc<BeforeConnect>,
    addresses: Arc<AddressRule>,
    /// How often a connection began to publish, and to play.
    published: AtomicU64,
    played: AtomicU64,
    stopping: AtomicBool,
    /// True once fallbacks are played.
    fallbacks: AtomicBool,
    draining: Draining,
    driver: Driver,
    #[cfg(feature = "tls")]
    client_tls: OutboundTls,
    start: Instant,
}

/// The open connections, and the totals of those that have ended. Under one lock, so that each counts exactly once.
#[derive(Debug)]
struct Connections<C> {
    /// Those of clients.
    open: HashMap<u64, Entry<C>>,
    ended: Totals,
    /// Those that the server opened to other servers.
    uplinks: HashMap<u64, Entry<C>>,
    ended_uplinks: UplinkTotals,
}

struct Entry<C> {
    link: Arc<dyn Link>,
    /// The connection, if it has a socket.
    socket: Option<Arc<C>>,
    stats: ConnStatsView,
    /// How it plays, if it does or did.
    playing: Option<Playing>,
}

impl<C> fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl<C> Default for Connections<C> {
    fn default() -> Self {
        Connections {
            open: HashMap::new(),
            ended: Totals::default(),
            uplinks: HashMap::new(),
            ended_uplinks: UplinkTotals::default(),
        }
    }
}

impl<C> Connections<C> {
    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.uplinks.is_empty()
    }
}

/// One in so many connections by HTTP is closed beyond what is over the limit.
const ROOM: usize = 16;
/// Why connections by HTTP are closed that are over the limit.
const NO_ROOM: &str = "there are too many connections by HTTP, and this one has waited long for a request";

impl<C: Link> Host<C> {
    /// A host without connections.
    pub fn new(setup: &mut Setup) -> Self {
        let core = conn::Core::with_sockets(setup.config.clone(), random_seed(), SOCKETS);
        let host = Host {
            segments: Segments::new(&core, random_seed()),
            #[cfg(feature = "webrtc")]
            rtc: Rtc::new(setup.rtc.take()),
            core,
            tcp: Mutex::new(setup.tcp),
            door: Door::new(),
            hooks: setup.hooks.clone(),
            hooks_may_idle: setup.hooks_may_idle,
            captures: setup.captures.clone(),
            web: setup.web.clone(),
            subscribers: Subscribers::default(),
            connections: Mutex::default(),
            closes: Closes::default(),
            publications: Publications::default(),
            emptied: Event::new(),
            accepted: AtomicU64::new(0),
            before_connect: Arc::default(),
            addresses: Arc::new(AddressRule::new(setup.log_addresses)),
            published: AtomicU64::new(0),
            played: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            fallbacks: AtomicBool::new(false),
            draining: Draining::default(),
            driver: Driver::default(),
            #[cfg(feature = "tls")]
            client_tls: OutboundTls::of(setup.client_tls.clone()),
            start: Instant::now(),
        };
        host.core.relays().set_waker(host.driver.waker());
        host
    }

    /// Whether a connection just accepted is served, by the number of its socket; if not, the runtime
    /// [turns it away](Self::turn_away). Some file descriptors are kept for files that the server itself opens.
    pub fn admits(&self, number: i32) -> bool {
        self.door.admits(number)
    }

    /// Counts a connection that is closed at once, and logs it, but not each time.
    pub fn turn_away(&self) {
        self.door.turn_away();
    }

    /// The core of a connection just accepted, and its log lines. The socket gets the server's TCP options.
    pub fn open<'a>(&self, socket: impl Into<SockRef<'a>>, peer: SocketAddr, accepts: Accepts) -> (AnyConn, AnyLines) {
        self.tune(socket);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        if let Ok(time) = SystemTime::now().duration_since(UNIX_EPOCH) {
            self.core.set_clock(now, time.as_secs());
        }
        let tap = self.captures.as_ref().and_then(|captures| captures.tap(self.arriving(peer)));
        let conn = match tap {
            Some(tap) => self.core.connect_captured_by(now, Some(peer), accepts, tap),
            None => self.core.connect_by(now, Some(peer), accepts),
        };
        let lines = Lines::opened(conn.id(), canonical(peer), self.addresses.clone(), self.before_connect.clone());
        (conn.into(), AnyLines::Client(lines))
    }

    /// The core of a connection that this server opened, and its log lines. The socket gets the server's TCP options.
    pub fn open_uplink<'a>(&self, socket: impl Into<SockRef<'a>>, uplink: Box<Uplink>) -> (AnyConn, AnyLines) {
        self.tune(socket);
        self.connections().ended_uplinks.opened += 1;
        let lines = UplinkLines::opened(&uplink);
        (AnyConn::Uplink(uplink), AnyLines::Uplink(lines))
    }

    fn tune<'a>(&self, socket: impl Into<SockRef<'a>>) {
        tune(socket, &self.tcp.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Logs that a connection just accepted cannot be served, because the system does not give what that needs.
    pub fn not_served(&self, peer: SocketAddr, error: &io::Error) {
        let address = self.addresses.get().shown(peer);
        let from = address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
        let address = address.as_deref();
        warn!(event = "not_served", address, error = %error, "a connection{from} cannot be served: {error}");
    }

    /// How much of clients' addresses the log shows from now on.
    pub(crate) fn show_addresses(&self, addresses: LogAddresses) {
        self.addresses.set(addresses);
    }

    pub(crate) fn shown_addresses(&self) -> LogAddresses {
        self.addresses.get()
    }

    fn arriving(&self, peer: SocketAddr) -> Arriving {
        let config = self.core.config();
        Arriving { peer, is_proxy: config.trusted_proxies.iter().any(|network| network.contains(peer.ip())) }
    }

    /// Adds a connection to the list of open connections.
    pub fn enter(&self, id: u64, connection: &Arc<C>) {
        let link: Arc<dyn Link> = connection.clone();
        self.enter_link(id, &link, Some(connection.clone()));
    }

    /// The same for one that has no socket.
    pub(crate) fn enter_viewer(&self, id: u64, viewer: &Arc<Viewer>) {
        let link: Arc<dyn Link> = viewer.clone();
        self.enter_link(id, &link, None);
    }

    fn enter_link(&self, id: u64, connection: &Arc<dyn Link>, socket: Option<Arc<C>>) {
        let mut found = None;
        connection.inspect(&mut |any| found = Some((any.stats(), matches!(any, AnyConn::Uplink(_)))));
        let Some((stats, is_uplink)) = found else {
            return;
        };
        {
            let mut connections = self.connections();
            let list = if is_uplink { &mut connections.uplinks } else { &mut connections.open };
            list.insert(id, Entry { link: connection.clone(), socket, stats, playing: None });
        }
        self.make_room();
        if self.is_stopping() {
            // The stop may have copied the list before this connection was on it.
            shut_down(&**connection);
        }
    }

    /// Closes connections by HTTP that have waited longest for a request, if there are too many: they must not take the
    /// open files that publishers and players need. Some more than needed, so that it is not done for each connection.
    fn make_room(&self) {
        let most = self.core.config().web.connections.min(self.door.share());
        let over = self.core.web_connections().saturating_sub(most);
        if over == 0 {
            return;
        }
        let links: Vec<_> = self.connections().open.values().map(|entry| entry.link.clone()).collect();
        let mut idle = Vec::new();
        for (at, link) in links.iter().enumerate() {
            link.inspect_client(&mut |conn| idle.extend(conn.asks_since().map(|since| (since, conn.id(), at))));
        }
        idle.sort_unstable();
        for (.., at) in idle.into_iter().take(over + most / ROOM) {
            links[at].change_client(&mut |conn| {
                if conn.asks_since().is_some() {
                    conn.close(CloseReason::Closed(NO_ROOM));
                }
            });
        }
    }

    /// The connection has ended: logs it and removes it from the list.
    pub fn leave(&self, id: u64, lines: &AnyLines, ended: &Ended) {
        match (lines, ended) {
            (AnyLines::Client(lines), Ended::Client(report)) => {
                lines.closed(report, |key| self.core.hub().waiting(key));
                self.closes.note(lines, report, self.addresses.get());
            }
            (AnyLines::Uplink(lines), Ended::Uplink(report)) => lines.closed(report),
            // A connection's lines are of its own kind.
            _ => {}
        }
        self.remove(id, reason_of(ended));
    }

    /// The code that served the connection panicked: logs it and removes the connection from the list. The caller
    /// closes the socket, [gives up](give_up) the core, says so by [`gave_up`](Self::gave_up), and drops the connection.
    pub fn abandon(&self, id: u64) {
        error!(event = "bug", conn = id, "conn {id} is closed: the code that served it panicked, which is a bug");
        self.remove(id, "abandoned");
    }

    /// The core of an abandoned connection has released what it held: tells the program that its publications have ended.
    /// The caller holds no lock.
    pub fn gave_up(&self, id: u64) {
        for (start, is_live) in self.publications.abandoned(id) {
            // Another publisher may go on with it, such as one that stood by.
            if is_live && self.core.hub().holder(&start.key).is_none() {
                self.unpublishes(start.stream);
            }
        }
    }

    fn remove(&self, id: u64, reason: &'static str) {
        let mut connections = self.connections();
        if let Some(entry) = connections.open.remove(&id) {
            let ended = entry.playing.map(|playing| Playing { players: 0, ..playing });
            connections.ended.add(&entry.stats, ended);
            *connections.ended.closed.entry(reason).or_default() += 1;
        }
        if let Some(entry) = connections.uplinks.remove(&id) {
            connections.ended_uplinks.add(&entry.stats);
            *connections.ended_uplinks.closed.entry(reason).or_default() += 1;
        }
        if connections.open.is_empty() {
            self.emptied.notify(usize::MAX);
        }
    }

    /// Handles the core's actions that need no runtime: all except subscriptions and wake-ups.
    pub fn act<L: Link>(&self, action: Action, lines: &AnyLines, connection: &Arc<L>) {
        let AnyLines::Client(lines) = lines else {
            return;
        };
        lines.action(&action);
        if let Action::Remark(Remark::Refused(refused)) = &action {
            *self.connections().ended.refused.entry(refused.code).or_default() += 1;
        }
        if let Action::Attach(attachment) = &action {
            self.attach(attachment, lines.id(), connection);
        }
        if let Action::Detach { role: Role::Player, .. } = &action
            && let Some(entry) = self.connections().open.get_mut(&lines.id())
            && let Some(playing) = &mut entry.playing
        {
            playing.players = playing.players.saturating_sub(1);
        }
        if let Action::Detach { role: Role::Publisher, stream, goes_on } = action {
            self.publications.detached(lines.id(), stream);
            if !goes_on {
                self.unpublishes(stream);
            }
        }
        if let Action::Remark(Remark::Switched { key, .. }) = &action
            && let Some(start) = self.publications.on_air(lines.id(), key)
        {
            self.publishes(&start);
        }
        let action = match action {
            Action::Request(asked) => return self.request(*asked, lines.id(), connection),
            other => other,
        };
        let Some(hooks) = &self.hooks else {
            return;
        };
        let call = || match action {
            Action::Ask(ask) => {
                let answer = Answer::new(ask.id, connection);
                hooks.ask(*ask, answer);
            }
            Action::Notify(notice) => hooks.notify(*notice),
            Action::Remark(Remark::Switched { key, because, before }) => {
                let mut client = None;
                connection.inspect_client(&mut |conn| client = Some(conn.facts()));
                if let Some(client) = client {
                    hooks.switched(SwitchNotice { key, because, before, client });
                }
            }
            _ => {}
        };
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            // The core was not running, so the connection can end like any other.
            let id = lines.id();
            error!(event = "bug", conn = id, "the program's hooks panicked, which is a bug; conn {id} is closed");
            connection.change_client(&mut |conn| conn.close(CloseReason::Closed("the program's hooks panicked")));
        }
    }

    /// Has the program answer a request.
    fn request<L: Link>(&self, asked: WebRequest, id: u64, connection: &Arc<L>) {
        let (request, reply) = Reply::to(asked, connection);
        #[cfg(feature = "webrtc")]
        if let Some(target) = anabranch_rtc::signal::Target::of(&request)
            && !self.rtc.is_elsewhere(&target)
        {
            return self.rtc.request(&self.core, target, &request, reply);
        }
        if let Some(target) = Target::of(&request) {
            return self.segments.request(&self.core, target, &request, reply);
        }
        let Some(web) = &self.web else {
            return reply.give(http::Answer::text(404, "there is nothing here"));
        };
        if catch_unwind(AssertUnwindSafe(|| web.request(request, reply))).is_err() {
            error!(event = "bug", conn = id, "the program panicked at a request, which is a bug; conn {id} is closed");
            connection.change_client(&mut |conn| conn.close(CloseReason::Closed("the program panicked at a request")));
        }
    }

    fn attach<L: Link>(&self, attachment: &Attachment, connection: u64, link: &Arc<L>) {
        let Attachment { role, key, peer, params, stream, by_pass, relays, backup, delivery, .. } = attachment;
        let mut tap = self.captures.as_ref().and_then(|captures| captures.attaches(connection, *role, key));
        if tap.is_some() {
            // If it is captured already, or leaves, there is nothing to capture.
            link.change_client(&mut |conn| _ = tap.take().map(|tap| conn.capture(Instant::now(), tap)));
        }
        if *role == Role::Publisher {
            self.published.fetch_add(1, Ordering::Relaxed);
            let client = PublishingClient {
                connection,
                address: *peer,
                params: params.clone(),
                by_pass: *by_pass,
                relays: *relays,
            };
            let start = PublishStart { key: key.clone(), client: Some(client), stream: *stream, is_pulled: false };
            self.publications.attached(connection, start.clone());
            // One that stands by begins no publication.
            if !backup {
                self.publishes(&start);
            }
        } else {
            self.played.fetch_add(1, Ordering::Relaxed);
            if let Some(entry) = self.connections().open.get_mut(&connection) {
                let first = Playing { delivery: *delivery, players: 0 };
                entry.playing.get_or_insert(first).players += 1;
            }
        }
    }

    /// A stream has something new: wakes the program's subscriptions to it.
    pub fn wake(&self, stream: StreamId) {
        self.subscribers.wake(stream);
        self.segments.wake(stream);
        #[cfg(feature = "webrtc")]
        self.rtc.wake(stream);
    }

    /// A publication begins. Nothing is pushed before this returns.
    pub(crate) fn publishes(&self, start: &PublishStart) {
        self.publications.begins(start);
        self.segments.publishes(&self.core, &start.key);
    }

    /// A publication has ended.
    pub(crate) fn unpublishes(&self, stream: StreamId) {
        self.publications.ends(stream);
    }

    /// Adds a callback for publications that begin.
    pub(crate) fn on_publish(&self, begins: OnPublish) {
        self.publications.on_begin(begins);
    }

    /// Adds a callback for publications that have ended.
    pub(crate) fn on_unpublish(&self, ends: OnUnpublish) {
        self.publications.on_end(ends);
    }

    /// Whether fallbacks are played already; from now on they are.
    pub(crate) fn plays_fallbacks(&self) -> bool {
        self.fallbacks.swap(true, Ordering::Relaxed)
    }

    /// What all connections share.
    pub fn core(&self) -> &conn::Core {
        &self.core
    }

    /// Puts another configuration in force, and has each connection check whether it may stay.
    ///
    /// # Errors
    /// The configuration asks the back end, and there are no hooks, or there are hooks and it asks them nothing; then
    /// nothing has changed.
    pub(crate) fn reconfigure(&self, config: Config, tcp: TcpOptions) -> io::Result<()> {
        check_hooks(&config, self.hooks.is_some(), self.hooks_may_idle)?;
        *self.tcp.lock().unwrap_or_else(PoisonError::into_inner) = tcp;
        self.core.reconfigure(config);
        self.for_each(|connection| connection.change_client(&mut |conn| conn.reconfigured()));
        Ok(())
    }

    /// True once the server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn drain_state(&self) -> &Draining {
        &self.draining
    }

    /// Refuses new connections from now on. A runtime that still accepts one checks [`is_stopping`](Self::is_stopping)
    /// and closes it.
    pub fn refuse_new(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Begins to shut down all connections, and refuses new ones.
    pub fn begin_stop(&self) {
        self.refuse_new();
        self.subscribers.wake_all();
        self.segments.notify();
        #[cfg(feature = "webrtc")]
        self.rtc.notify();
        // Before the clients' connections: what they publish is over after this, and its pushes say goodbye.
        self.core.relays().close(Instant::now());
        self.for_each(shut_down);
    }

    /// Ends all connections at once; output that is not written is lost. They release what they hold, and the hooks get
    /// their notices.
    pub fn cut(&self) {
        let links: Vec<_> = {
            let connections = self.connections();
            let all = connections.open.values().chain(connections.uplinks.values());
            all.map(|entry| entry.link.clone()).collect()
        };
        for link in links {
            link.change(&mut |any| any.handle_disconnect(Instant::now(), CloseReason::Shutdown));
        }
    }

    /// True if there was no connection left at some time before `deadline`, neither one of a client nor one to another
    /// server. Blocks until then.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.wait_until(Connections::is_empty, deadline)
    }

    /// True if there was no client left at some time before `deadline`. Blocks until then.
    pub(crate) fn wait_until_clients_left(&self, deadline: Instant) -> bool {
        self.wait_until(|connections| connections.open.is_empty(), deadline)
    }

    fn wait_until(&self, is_so: impl Fn(&Connections<C>) -> bool, deadline: Instant) -> bool {
        while !is_so(&self.connections()) {
            let listener = self.emptied.listen();
            if !is_so(&self.connections()) && listener.wait_deadline(deadline).is_none() {
                return is_so(&self.connections());
            }
        }
        true
    }

    /// Waits until there is no connection left, neither one of a client nor one to another server.
    pub async fn until_empty(&self) {
        while !self.connections().is_empty() {
            let listener = self.emptied.listen();
            if !self.connections().is_empty() {
                listener.await;
            }
        }
    }

    /// Calls `act` for each client's connection that is open now. The list is not locked during the calls.
    pub(crate) fn for_each(&self, act: impl FnMut(&dyn Link)) {
        let connections: Vec<_> = self.connections().open.values().map(|entry| entry.link.clone()).collect();
        connections.iter().map(|connection| &**connection).for_each(act);
    }

    /// The same for all that have a socket: connections of clients and to other servers.
    pub fn for_each_of_all(&self, act: impl FnMut(&C)) {
        let connections: Vec<_> = {
            let connections = self.connections();
            let all = connections.open.values().chain(connections.uplinks.values());
            all.filter_map(|entry| entry.socket.clone()).collect()
        };
        connections.iter().map(|connection| &**connection).for_each(act);
    }

    /// A client's connection by its number.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<dyn Link>> {
        self.connections().open.get(&id).map(|entry| entry.link.clone())
    }

    /// A connection to another server by its number.
    pub(crate) fn find_uplink(&self, id: u64) -> Option<Arc<dyn Link>> {
        self.connections().uplinks.get(&id).map(|entry| entry.link.clone())
    }

    /// Changes a client's connection, and has it polled. False if there is none with that number.
    pub(crate) fn change_client(&self, id: u64, change: &mut dyn FnMut(&mut Conn)) -> bool {
        let connection = self.find(id);
        if let Some(connection) = &connection {
            connection.change_client(change);
        }
        connection.is_some()
    }

    #[cfg(feature = "tls")]
    pub(crate) fn client_tls(&self) -> &OutboundTls {
        &self.client_tls
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// What serves streams in segments.
    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The core of a viewer of segments, and its log lines.
    pub(crate) fn open_viewer(&self, view: &View) -> (AnyConn, AnyLines) {
        let peer = view.client.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let LivePath { app, stream, container } = &view.path;
        let delivery = Delivery::of(*container, Framing::UntilClose);
        let conn = self.core.view(Instant::now(), view.client, &view.request, app, stream, delivery);
        let lines = Lines::opened(conn.id(), canonical(peer), self.addresses.clone(), self.before_connect.clone());
        (conn.into(), AnyLines::Client(lines))
    }

    /// What serves WebRTC.
    #[cfg(feature = "webrtc")]
    pub(crate) fn rtc(&self) -> &Rtc {
        &self.rtc
    }

    /// The core of a client that publishes or plays by WebRTC, and its log lines.
    #[cfg(feature = "webrtc")]
    pub(crate) fn open_peer(&self, opening: &Opening) -> (AnyConn, AnyLines) {
        let Opening { role, client, request, app, stream, .. } = opening;
        let (peer, now) = (client.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))), Instant::now());
        let conn = match role {
            desk::Role::Publisher => self.core.offer(now, *client, request, app, stream),
            desk::Role::Player => self.core.view(now, *client, request, app, stream, Delivery::WebRtc),
        };
        let lines = Lines::opened(conn.id(), canonical(peer), self.addresses.clone(), self.before_connect.clone());
        (conn.into(), AnyLines::Client(lines))
    }

    pub(crate) fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.connections().open.len()
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The totals of all connections so far. No number ever becomes smaller.
    pub(crate) fn totals(&self) -> Totals {
        let connections = self.connections();
        let open: Vec<_> = connections.open.values().map(|entry| (entry.stats.clone(), entry.playing)).collect();
        let mut totals = connections.ended.clone();
        drop(connections);
        totals.accepted = self.accepted();
        totals.turned_away = self.door.turned_away();
        totals.published = self.published.load(Ordering::Relaxed);
        totals.played = self.played.load(Ordering::Relaxed);
        open.iter().for_each(|(stats, playing)| totals.add(stats, *playing));
        totals
    }

    /// The totals of all connections that the server opened to other servers.
    pub(crate) fn uplink_totals(&self) -> UplinkTotals {
        let connections = self.connections();
        let open: Vec<_> = connections.uplinks.values().map(|entry| entry.stats.clone()).collect();
        let mut totals = connections.ended_uplinks.clone();
        drop(connections);
        totals.open = open.len();
        open.iter().for_each(|stats| totals.add(stats));
        totals
    }

    /// The connections that ended last, the newest first.
    pub(crate) fn closes(&self) -> Vec<Closed> {
        self.closes.all()
    }

    /// The numbers of the open connections, in the order in which they were accepted.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.connections().open.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    fn connections(&self) -> MutexGuard<'_, Connections<C>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the core of a connection release what it holds, after a panic of the code that served it. The caller wakes the
/// returned streams and does not use the core any more.
pub fn give_up(conn: &mut AnyConn) -> Vec<StreamId> {
    // The panic may have come from the core. If it panics again, the core is dropped with the connection.
    catch_unwind(AssertUnwindSafe(|| conn.abandon())).unwrap_or_default()
}

fn shut_down(connection: &dyn Link) {
    connection.change(&mut |any| {
        // The time for the final messages counts from now, not from the last input of the peer.
        any.handle_timeout(Instant::now());
        any.shutdown();
    });
}
