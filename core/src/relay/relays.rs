use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use thiserror::Error;

use super::attempt::{Control, Up};
use super::claims::Claims;
use super::directory::{SIGNED_PROPERTY, Signing};
use super::plan::{Lost, Plan, TraverseFacts};
use super::relay::Relay;
use super::rules::{Rules, client_limits};
use super::slow_path::{Facts, Made};
use super::state::{HOOK_TARGETS, State, targets_of, times_of_edge};
use super::tree::Asked;
use super::{
    AttemptId, EndedBecause, Failure, Order, PushTarget, RelayId, RelayKind, RelaySnapshot, TargetSource,
    TemplateError, Uplink,
};
use crate::client::{ClientConfig, ClientTimeouts};
use crate::cluster::{ClaimNumber, Member, SeatNumber};
use crate::hub::{Hub, RelayFacts};
use crate::pacing::Sockets;
use crate::policy::AskId;
use crate::pool::Pool;
use crate::stats::ConnStats;
use crate::time_limit::TimeLimit;
use crate::url::{DEFAULT_VHOST, StreamKey};

/// All relays of a server. Cheap to clone. Its methods lock inside and hold no lock when they return; they call nothing
/// back but the waker.
#[derive(Clone)]
pub struct Relays {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) hub: Hub,
    /// Names this server among those that a stream goes through.
    id: Box<str>,
    seed: [u8; 32],
    /// Numbers of connections, clients' included.
    connections: Arc<AtomicU64>,
    pub(super) sockets: Sockets,
    /// The memory of all connections for incomplete messages.
    pub(super) unfinished: Arc<Pool>,
    state: Mutex<State>,
    /// Never locked while the state is to be locked.
    signing: Mutex<Signing>,
    /// Wakes the program's part in the directory.
    directory: Mutex<Option<Waker>>,
}

/// Why a target was not added.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotAdded {
    /// The URL is not one that a stream can be published at.
    #[error("{0}")]
    Url(#[from] TemplateError),
    /// The stream is pushed there already.
    #[error("the stream has this target already")]
    Duplicate,
    /// As many targets as there may be were added.
    #[error("there are {limit} targets already")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The server has no virtual host for the stream.
    #[error("the server has no virtual host of this name")]
    NoVhost,
    /// The hook's answer came when the stream was over.
    #[error("the stream is not published")]
    NotPublished,
    /// The server ends.
    #[error("the server ends")]
    Closed,
}

/// A client's request that waits for an origin or for a directory, or a publisher that one of them has granted. Dropping
/// it ends the relay, or gives the name free.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    held: Held,
}

/// What a client has while it publishes.
#[derive(Debug)]
pub(super) enum Held {
    /// A relay, as the client that has asked this.
    Relay(RelayId, AskId),
    /// A name in the directory.
    Claim(ClaimNumber),
    /// The place of another server that pulls a stream from here.
    Seat(SeatNumber),
}

impl Ticket {
    pub(super) fn new(shared: &Arc<Shared>, held: Held) -> Self {
        Ticket { shared: shared.clone(), held }
    }

    /// True if another server of the cluster has the name, and the client stands by.
    pub(crate) fn stands_by(&self) -> bool {
        matches!(self.held, Held::Claim(claim) if self.shared.stands_by(claim))
    }

    /// Nothing has answered the claim, and the client publishes all the same.
    pub(crate) fn accept(&self) {
        if let Held::Claim(claim) = self.held {
            self.shared.accept(claim);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.held {
            Held::Relay(relay, ask) => {
                self.shared.change(|state| {
                    state.with_relay(relay, |relay, _| relay.withdraw(ask));
                });
            }
            Held::Claim(claim) => self.shared.release(claim),
            Held::Seat(seat) => self.shared.leave(seat),
        }
    }
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relays").field("hub", &self.shared.hub).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn signing(&self) -> MutexGuard<'_, Signing> {
        self.signing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes the drivers for what follows of it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        self.unlock(state);
        self.hub.changes().wake();
        changed
    }

    /// Wakes the directory if there is something for it to do.
    fn unlock(&self, state: MutexGuard<'_, State>) {
        let has_orders = state.cluster.has_orders();
        drop(state);
        if has_orders {
            let waker = self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(super) fn wakes_directory(&self, waker: Waker) {
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
        self.unlock(self.state());
    }

    /// An uplink reports something about its attempt.
    pub(super) fn report<T>(
        &self,
        attempt: AttemptId,
        report: impl FnOnce(&mut Relay, &mut super::desk::Desk) -> T,
    ) -> Option<T> {
        self.change(|state| state.with(attempt, report))
    }

    pub(super) fn lost(&self, now: Instant, attempt: AttemptId, lost: Lost) {
        let is_denied = lost.error.code == NOT_FOUND;
        self.change(|state| {
            let pull = state.with(attempt, |relay, desk| {
                let pull = (relay.key.clone(), relay.asked(attempt).and_then(Asked::lease));
                relay.lost(now, attempt, lost, desk);
                pull
            });
            if let Some((key, lease)) = pull.filter(|_| is_denied) {
                state.denied(now, &key, lease);
            }
        });
    }
}

impl Relays {
    pub(crate) fn new(
        hub: Hub,
        seed: [u8; 32],
        connections: Arc<AtomicU64>,
        sockets: Sockets,
        unfinished: Arc<Pool>,
    ) -> Self {
        let [id, random] = ["id", "attempts"].map(|purpose| word_of(&seed, purpose));
        let state = Mutex::new(State::new(hub.clone(), random));
        let id = format!("{id:016x}").into();
        let (signing, directory) = Default::default();
        let shared = Shared { hub, id, seed, connections, sockets, unfinished, state, signing, directory };
        Relays { shared: Arc::new(shared) }
    }

    /// Other settings are in force.
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.shared.change(|state| state.set_rules(rules));
    }

    /// True if a stream that comes by these servers has been here: it would go in a circle.
    pub(crate) fn is_loop(&self, path: &str) -> bool {
        path.split(',').any(|id| id == &*self.shared.id) || path.split(',').count() > MOST_SERVERS
    }

    /// Called when [`poll`](Self::poll) has something to do before the time that it named. It is called without any lock,
    /// from the threads that use the server's hub, connections and uplinks.
    pub fn set_waker(&self, waker: Waker) {
        self.shared.hub.changes().set_waker(waker);
    }

    /// What to do next. Call it until it returns `Wait`; then when that time has come, when the waker was called, and
    /// after each answer to an order.
    pub fn poll(&self, now: Instant) -> Order {
        let mut state = self.shared.state();
        if let Some(order) = state.desk.orders.pop_front() {
            return order;
        }
        let next = state.run(now);
        let order = state.desk.orders.pop_front().unwrap_or(Order::Wait(next));
        self.shared.unlock(state);
        order
    }

    /// The addresses of a host, in the order of the system. An empty list counts as a failure.
    #[allow(clippy::needless_pass_by_value)] // the caller makes it for this call
    pub fn resolved(&self, now: Instant, attempt: AttemptId, addresses: Vec<SocketAddr>) {
        self.shared.change(|state| {
            for waited in state.desk.looked_up(attempt).unwrap_or_default() {
                let addresses = addresses.clone();
                state.with(waited, |relay, desk| relay.resolved(now, waited, addresses, desk));
            }
        });
    }

    /// There is a connection to this address, and TLS is agreed on if the order wanted it. Returns the uplink to serve on
    /// it; `None` if it is not wanted any more: close the socket then.
    pub fn connected(&self, now: Instant, attempt: AttemptId, peer: SocketAddr) -> Option<Uplink> {
        let id = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let control = Arc::new(Control::default());
        let stats = ConnStats::new(now);
        let up = Up {
            attempt,
            connection: id,
            peer,
            control: control.clone(),
            stats: stats.view(),
            live: None,
            granted: false,
            was_live: false,
            leaving: false,
            goodbye: false,
        };
        let made = self.shared.change(|state| {
            let member = state.rules.cluster().map(|cluster| cluster.member.clone());
            state.with(attempt, |relay, desk| {
                let target = relay.connected(up, desk)?;
                let facts = Facts {
                    relay: relay.id,
                    kind: relay.kind(),
                    attempt,
                    key: relay.key.clone(),
                    target: target.clone(),
                };
                Some((facts, relay.rules.clone(), self.client_config(now, relay, attempt, &target, member)))
            })
        });
        let (facts, rules, config) = made.flatten()?;
        let seed = seed_of(&self.shared.seed, id);
        Some(Uplink::new(Made {
            id,
            facts,
            peer,
            config,
            seed,
            stats,
            control,
            rules,
            shared: self.shared.clone(),
            now,
        }))
    }

    /// What the uplink says about itself.
    fn client_config(
        &self,
        now: Instant,
        relay: &Relay,
        attempt: AttemptId,
        target: &PushTarget,
        member: Option<Member>,
    ) -> ClientConfig {
        let asked = relay.asked(attempt);
        let limit = relay.times().connect;
        let destination = target.destination();
        let limits = client_limits(relay.kind(), relay.rules.chunks, relay.rules.high_water);
        let timeouts = ClientTimeouts { connect: limit, answer: limit, linger: LINGER, ..ClientTimeouts::default() };
        let mut config =
            ClientConfig { chunk_size: relay.rules.chunk_size, limits, timeouts, ..ClientConfig::to(destination) };
        let vhost = relay.key.vhost();
        if relay.kind() != RelayKind::Push && (vhost != DEFAULT_VHOST || asked.is_some()) {
            // An origin has the stream in the same virtual host. The host of a server of the cluster may be the name of
            // another one.
            let (scheme, port, app) = (destination.scheme(), destination.port(), destination.app());
            config.tc_url = format!("{scheme}://{vhost}:{port}/{app}");
        }
        let mut path = match &relay.plan {
            // Within a cluster the number of hops excludes circles, and what one client says decides nothing for the
            // others.
            Plan::Pull(_) if asked.is_some() => String::new(),
            Plan::Pull(audience) => audience.client().map(|client| client.facts.path.to_string()).unwrap_or_default(),
            Plan::Upward(claims) => claims.facts.path.to_string(),
            Plan::Push { .. } => {
                let by = self.shared.hub.standing(&relay.key).sent_by;
                by.map(|facts| facts.path.to_string()).unwrap_or_default()
            }
            Plan::Traverse { facts, .. } => {
                let TraverseFacts { app, tc_url, page_url, swf_url, arguments } = (**facts).clone();
                config.app = app;
                if let Some(tc_url) = tc_url {
                    config.tc_url = tc_url;
                }
                (config.page_url, config.swf_url, config.arguments) = (page_url, swf_url, arguments);
                String::new()
            }
        };
        if !path.is_empty() {
            path.push(',');
        }
        path.push_str(&self.shared.id);
        config.properties.insert(PATH_PROPERTY, path);
        let pull = asked.zip(member).map(|(asked, by)| relay.pull_of(asked, by));
        if let Some(signed) = pull.and_then(|pull| self.shared.signing().sign(now, &pull)) {
            config.properties.insert(SIGNED_PROPERTY, signed);
        }
        config
    }

    /// There are no addresses, or there is no connection.
    #[allow(clippy::needless_pass_by_value)] // the caller makes it for this call
    pub fn failed(&self, now: Instant, attempt: AttemptId, failure: Failure) {
        self.shared.change(|state| {
            let waited = state.desk.looked_up(attempt);
            for attempt in waited.unwrap_or_else(|| vec![attempt]) {
                state.with(attempt, |relay, desk| relay.failed(now, attempt, &failure, desk));
            }
        });
    }

    /// All relays, in the order in which they began.
    pub fn list(&self, now: Instant) -> Vec<RelaySnapshot> {
        self.shared.state().relays().map(|relay| relay.snapshot(now)).collect()
    }

    /// Adds a target for a stream, published or not. It stays until it is removed or the server ends, also when the stream
    /// is published again.
    ///
    /// # Errors
    /// The URL is not valid, the stream has the target already, or there are too many.
    pub fn add_forward(&self, now: Instant, key: &StreamKey, url: &str) -> Result<RelayId, NotAdded> {
        self.shared.change(|state| state.add_target(now, key, url, TargetSource::Api))
    }

    /// Ends a push and removes its target. A target of the configuration comes back with the next publication. Returns
    /// false if there is no such push.
    pub fn remove_forward(&self, now: Instant, id: RelayId) -> bool {
        self.shared.change(|state| state.remove_target(now, id))
    }

    /// Adds targets for the present publication of a stream: the answer of a hook. They replace those of an earlier call
    /// for the same stream; pushes to targets that are in both lists go on. Returns what is wrong with URLs that are left
    /// out. Call it once the stream is published.
    pub fn forward_to(&self, now: Instant, key: &StreamKey, urls: &[String]) -> Vec<NotAdded> {
        self.shared.change(|state| {
            let mut errors = Vec::new();
            for id in state.hook_targets(key) {
                let wanted = |relay: &Relay| {
                    let targets = urls.iter().filter_map(|url| PushTarget::of_url(url, key).ok());
                    targets.into_iter().any(|target| relay.goes_to(target.destination()))
                };
                state.with_relay(id, |relay, desk| {
                    if !wanted(relay) {
                        relay.end(now, EndedBecause::Removed, desk);
                    }
                });
            }
            for url in urls.iter().take(HOOK_TARGETS) {
                match state.add_target(now, key, url, TargetSource::Hook) {
                    Ok(_) | Err(NotAdded::Duplicate) => {}
                    Err(error) => errors.push(error),
                }
            }
            if urls.len() > HOOK_TARGETS {
                errors.push(NotAdded::TooMany { limit: HOOK_TARGETS });
            }
            errors
        })
    }

    /// A client wants to publish at an edge: the origin is asked. The driver gets the verdict as an order.
    pub(crate) fn ask_to_publish(
        &self,
        now: Instant,
        (connection, ask): (u64, AskId),
        key: &StreamKey,
        client: &RelayFacts,
    ) -> Option<Ticket> {
        self.shared.change(|state| {
            if state.closing {
                return None;
            }
            let rules = state.rules.of(key)?.clone();
            let edge = rules.edge.as_ref().filter(|edge| !edge.origins.is_empty())?;
            let answer = TimeLimit::new(now, edge.publish_wait);
            let ticket = |relay: RelayId| Some(Ticket::new(&self.shared, Held::Relay(relay, ask)));
            // What was granted, or is asked about, with the same parameters is the same question. With others it is one of
            // its own, and the client that publishes keeps its relay until that is answered.
            if let Some(relay) = state.upward_of(key, client) {
                state.with_relay(relay, |relay, desk| relay.join(connection, ask, answer, desk));
                return ticket(relay);
            }
            let mut claims = Claims::new(client.clone());
            claims.add(connection, ask, answer);
            let (plan, before) = (Plan::Upward(Box::new(claims)), state.last_upward(key));
            let (targets, times) = (targets_of(edge, key, Some(client)), times_of_edge(edge));
            let relay = state.begin(now, key, TargetSource::Configuration, plan, rules.clone(), times, targets);
            state.with_relay(relay, |relay, _| relay.after = before);
            ticket(relay)
        })
    }

    /// A client's `connect` is to be granted by the origin, too.
    pub(crate) fn ask_to_connect(
        &self,
        now: Instant,
        (connection, ask): (u64, AskId),
        key: &StreamKey,
        facts: TraverseFacts,
    ) -> Option<Ticket> {
        self.shared.change(|state| {
            if state.closing {
                return None;
            }
            let rules = state.rules.of(key)?.clone();
            let edge = rules.edge.as_ref().filter(|edge| !edge.origins.is_empty())?;
            let answer = TimeLimit::new(now, edge.publish_wait);
            let plan = Plan::Traverse { connection, ask, answer, facts: Box::new(facts) };
            let (targets, times) = (targets_of(edge, key, None), times_of_edge(edge));
            let relay = state.begin(now, key, TargetSource::Configuration, plan, rules.clone(), times, targets);
            Some(Ticket::new(&self.shared, Held::Relay(relay, ask)))
        })
    }

    /// Has the driver poll a connection of this server: something has become of it.
    pub(crate) fn poll_connection(&self, connection: u64) {
        self.shared.change(|state| state.desk.orders.push_back(Order::Poll { connection }));
    }

    /// Ends all relays in good order, and begins no more. Uplinks say their goodbye and close; poll them until then.
    pub fn close(&self, now: Instant) {
        self.shared.change(|state| state.close(now));
    }

    /// True once all relays are over after [`close`](Self::close).
    pub fn is_over(&self) -> bool {
        self.shared.state().is_over()
    }
}

/// The property of `connect` that has the ids of the servers on the way, so that a server finds its own and refuses.
pub(crate) const PATH_PROPERTY: &str = "anabranch";
/// The status with which a server says that it does not have a stream.
const NOT_FOUND: &str = "NetStream.Play.StreamNotFound";
/// The most servers that a stream goes through.
const MOST_SERVERS: usize = 16;
/// How long the last bytes of an uplink may take.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// A number that depends on the seed and does not tell it.
fn word_of(seed: &[u8; 32], purpose: &str) -> u64 {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(seed).expect("HMAC takes a key of any length");
    mac.update(b"anabranch relays: ");
    mac.update(purpose.as_bytes());
    let mut word = 0_u64;
    for byte in mac.finalize().into_bytes().iter().take(8) {
        word = word << 8 | u64::from(*byte);
    }
    word
}

/// As for clients' connections.
fn seed_of(seed: &[u8; 32], id: u64) -> [u8; 32] {
    let mut seed = *seed;
    for (byte, number) in seed.iter_mut().zip(id.to_le_bytes()) {
        *byte ^= number;
    }
    seed
}
