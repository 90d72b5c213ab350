use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::cluster::{ClusterSnapshot, Spread};
use anabranch_core::location::{ClaimError, ClaimId, Conflict, Event, FindId, Located, Location, LocationConfig};
use anabranch_core::relay::Relays;
use smol::channel::{Receiver, Sender, bounded};

use super::advertise::Advertise;
use super::dial::{Dial, DialError};
use super::driver;
use super::lookups::LookUps;
use super::record::{Addresses, Load, NodeRecord};
use super::scripts::Keys;
use super::settings::ClusterSettings;
use super::streams::{self, Streams};
use super::tally::Tally;

/// The program's part in the directory. Clones are the same. Nothing here blocks, except for
/// [`begin_drain`](Self::begin_drain) and [`leave`](Self::leave).
#[derive(Clone)]
pub(crate) struct Directory {
    shared: Arc<Shared>,
}

/// Gets the answer to a claim: the fencing number of the lease, or `None` while the directory does not answer.
type Claimed = Box<dyn FnOnce(Result<Option<u64>, ClaimError>) + Send>;
/// Gets the answer to a question.
type Found = Box<dyn FnOnce(Located) + Send>;
/// Gets what happens to names: `Registered`, `Lost`, `Changed`.
type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// What the server says about itself, besides its address: how much it does, and whether it drains.
type Status = Box<dyn Fn() -> (Load, bool) + Send + Sync>;

/// What the driver and the handles share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// The driver is to look what there is to do.
    wake: Sender<()>,
    /// The driver has said goodbye to the directory, or the directory has a record that says that the server drains, or it
    /// has listed the servers.
    left: Condvar,
    listeners: RwLock<Vec<Listener>>,
    pub(super) tally: Tally,
    pub(super) who: Who,
    status: Status,
    /// The streams of the server; `None` in tests of the directory alone.
    relays: Option<Relays>,
    lookups: LookUps,
}

/// What does not change while the program runs.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) node: Arc<str>,
    /// Different for each run.
    pub(super) boot: String,
    pub(super) advertise: Advertise,
    /// The port at which other servers reach it by HTTP, without TLS.
    web: Option<u16>,
    pub(super) ttl: Duration,
    /// How long a new set of data holds back new leases.
    pub(super) hold: Duration,
    /// Whether a lease of an earlier run of this server ends when the name is claimed again. With strict exclusion it does
    /// not: the earlier run may still drain.
    pub(super) takes_own: bool,
    /// The secret of the configuration, or `None` if the directory keeps one.
    secret: Option<Arc<str>>,
    /// Whether clients reach the servers where these say.
    redirect: bool,
    pub(super) keys: Keys,
    /// The Redis without password.
    pub(super) shown: String,
}

/// The lock is held for moments only, and never while a callback runs.
pub(super) struct Inner {
    pub(super) location: Location,
    claims: HashMap<ClaimId, Option<Claimed>>,
    finds: HashMap<FindId, Found>,
    pub(super) state: State,
    /// The servers that the directory lists, and when it did.
    nodes: Vec<NodeRecord>,
    listed: Option<SystemTime>,
    wants_list: bool,
    secret: Option<Arc<str>>,
    pub(super) leaving: Leaving,
    /// Whether the server drains, or is about to.
    pub(super) drains: bool,
    /// Counts how often that has changed, and up to which change the directory has a record of it.
    pub(super) turn: u64,
    known_turn: Option<u64>,
}

/// How far the server has left the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// All names are given free, and the record is to be removed.
    Begun,
    /// The directory was asked to remove it.
    Asked,
    Done,
}

/// Whether the directory answers.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) connected: bool,
    /// Since when it does, or does not.
    pub(crate) since: SystemTime,
    /// The address of the Redis that was reached last; empty if none was.
    pub(crate) address: String,
    /// Why it was not reached, or was lost, last.
    pub(crate) error: Option<(SystemTime, String)>,
}

/// All that operators can see of the directory.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) node: Arc<str>,
    pub(crate) advertise: String,
    /// The Redis, without password.
    pub(crate) directory: String,
    pub(crate) state: State,
    pub(crate) leases: usize,
    /// Leases that the directory has not confirmed.
    pub(crate) unconfirmed: usize,
    pub(crate) outstanding: usize,
    pub(crate) nodes: Vec<NodeRecord>,
    /// When the directory listed them.
    pub(crate) listed: Option<SystemTime>,
}

/// A list of the servers that is older than this is asked for again when an operator looks at it.
const LISTED: Duration = Duration::from_secs(1);

impl Directory {
    /// Starts the thread that talks to the directory, for the streams of `relays`. `status` says what the server does, each time its record is renewed.
    ///
    /// # Errors
    /// The settings cannot be used, or the system starts no thread.
    pub(crate) fn start(
        settings: &ClusterSettings,
        version: &str,
        web: Option<u16>,
        relays: Option<Relays>,
        status: impl Fn() -> (Load, bool) + Send + Sync + 'static,
    ) -> Result<Option<Self>, String> {
        let Some(place) = settings.redis.0.place() else {
            return Ok(None);
        };
        let advertise = settings.advertised().map_err(|fault| fault.to_string())?;
        let tls = settings.tls().map_err(|(key, words)| format!("cluster.{key}: {words}"))?;
        let node: Arc<str> = settings.node(&advertise).into();
        let ttl = settings.ttl.0;
        let seed = anabranch_host::random_seed();
        let (boot, random, secret) = parts(seed);
        let config = LocationConfig { ttl, on_loss: settings.on_loss.into(), ..LocationConfig::new(node.clone()) };
        let answer_limit = config.answer_limit;
        let now = Instant::now();
        let own_secret = Some(settings.secret.0.as_str()).filter(|secret| !secret.is_empty()).map(Arc::from);
        let inner = Inner {
            location: Location::new(config, random, now),
            claims: HashMap::new(),
            finds: HashMap::new(),
            state: State { connected: false, since: SystemTime::now(), address: String::new(), error: None },
            nodes: Vec::new(),
            listed: None,
            wants_list: true,
            secret: own_secret.clone(),
            leaving: Leaving::No,
            drains: false,
            turn: 0,
            known_turn: None,
        };
        let (wake, woken) = bounded(1);
        let who = Who {
            node: node.clone(),
            boot,
            advertise,
            web,
            ttl,
            hold: if settings.hold { ttl } else { Duration::ZERO },
            takes_own: settings.on_loss != super::settings::OnLoss::Strict,
            secret: own_secret,
            redirect: settings.redirect,
            keys: Keys::new(&settings.prefix),
            shown: settings.shown(),
        };
        // Core gives an attempt up after this time; the last of its hosts is to have failed before.
        let most = (ttl / 3).max(answer_limit);
        let hosts = u32::try_from(place.hosts.len()).unwrap_or(u32::MAX).min(3) + u32::from(place.master.is_some());
        let dial = Dial {
            place: place.clone(),
            sentinel_user: settings.sentinel_user.clone(),
            sentinel_password: settings.sentinel_password.0.clone(),
            tls,
            name: format!("anabranch-{node}").chars().filter(char::is_ascii_graphic).collect(),
            limit: most * 9 / 10 / hosts,
        };
        let version = version.to_owned();
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            wake,
            left: Condvar::new(),
            listeners: RwLock::default(),
            tally: Tally::default(),
            who: Who { ..who },
            status: Box::new(status),
            relays: relays.clone(),
            lookups: LookUps::default(),
        });
        let directory = Directory { shared: shared.clone() };
        if let Some(relays) = relays.clone() {
            directory.listen(move |event| streams::learn(&relays, event));
        }
        let streams = relays.map(|relays| Streams::new(relays, shared.wake.clone()));
        start_driver(&shared, dial, woken, secret, version, streams)?;
        Ok(Some(directory))
    }

    /// The directory, without password.
    pub(crate) fn shown(&self) -> &str {
        &self.shared.who.shown
    }

    /// The server is about to drain. Returns when the other servers know: from then on they take its names for publishers
    /// that connect to them. Waits at most for `limit`. Returns the servers that clients are to connect to, if they can
    /// reach them.
    pub(crate) fn begin_drain(&self, limit: Duration) -> Spread {
        let mut inner = self.shared.lock();
        let turn = inner.set_draining(true);
        if !inner.location.is_connected() {
            return Spread::default();
        }
        if self.shared.who.redirect {
            (inner.wants_list, inner.listed) = (true, None);
        }
        self.shared.wake();
        let is_known = |inner: &Inner| inner.known_turn.is_some_and(|known| known >= turn);
        let waits = |inner: &mut Inner| !is_known(inner) || self.shared.who.redirect && inner.listed.is_none();
        let waited = self.shared.left.wait_timeout_while(inner, limit, waits);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !self.shared.who.redirect {
            return Spread::default();
        }
        let others = inner.nodes.iter().filter(|node| !node.draining && *node.id != *self.shared.who.node);
        let clients = |node: &NodeRecord| node.load.players.saturating_add(node.load.streams);
        Spread::new(others.filter_map(|node| Some((node.address()?.into(), clients(node)))))
    }

    /// The server does not drain any more.
    pub(crate) fn end_drain(&self) {
        self.shared.lock().set_draining(false);
        self.shared.wake();
    }

    /// Gives all names free and removes the server's record, and waits until that is done, at most for `limit`.
    pub(crate) fn leave(&self, limit: Duration) {
        let mut inner = self.shared.lock();
        let now = Instant::now();
        let claims: Vec<_> = inner.claims.drain().map(|(id, _)| id).collect();
        for claim in claims {
            inner.location.release(now, claim);
        }
        if inner.leaving == Leaving::No {
            inner.leaving = Leaving::Begun;
        }
        self.shared.wake();
        // What is not given free in time ends by itself.
        let waits = |inner: &mut Inner| inner.leaving != Leaving::Done;
        drop(self.shared.left.wait_timeout_while(inner, limit, waits));
    }

    /// Where another server answers HTTP. Blocks for `limit` at most, while the directory is asked for its servers.
    #[cfg(feature = "webrtc")]
    pub(crate) fn web_of(&self, node: &str, limit: Duration) -> Option<String> {
        let web_of = |inner: &Inner| {
            let record = inner.nodes.iter().find(|record| record.id == node)?;
            record.advertise.web.clone()
        };
        let mut inner = self.shared.lock();
        if let Some(web) = web_of(&inner) {
            return Some(web);
        }
        if !inner.location.is_connected() {
            return None;
        }
        let before = inner.listed;
        inner.wants_list = true;
        self.shared.wake();
        let waited = self.shared.left.wait_timeout_while(inner, limit, |inner| inner.listed == before);
        web_of(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// The directory as operators see it. A list of the servers that is old is asked for again, for the next look.
    pub(crate) fn view(&self) -> View {
        let mut inner = self.shared.lock();
        let is_old = |listed: SystemTime| listed.elapsed().map_or(true, |age| age > LISTED);
        if inner.listed.is_none_or(is_old) {
            inner.wants_list = true;
            self.shared.wake();
        }
        let (leases, unconfirmed) = inner.location.leases();
        View {
            node: self.shared.who.node.clone(),
            advertise: self.shared.who.advertise.to_string(),
            directory: self.shared.who.shown.clone(),
            state: inner.state.clone(),
            leases,
            unconfirmed,
            outstanding: inner.location.outstanding(),
            nodes: inner.nodes.clone(),
            listed: inner.listed,
        }
    }

    /// What the streams of this server have and want, with at most `limit` entries in each list.
    pub(crate) fn streams(&self, limit: usize) -> ClusterSnapshot {
        self.shared.relays.as_ref().map(|relays| relays.cluster(limit)).unwrap_or_default()
    }

    /// Where the other servers reach this one.
    pub(crate) fn advertised(&self) -> &Advertise {
        &self.shared.who.advertise
    }

    /// Whether the directory answers.
    pub(crate) fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// Counts, for the metrics.
    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }
}

/// What relays and the grant of a publish need.
impl Directory {
    /// The handle of what the driver shares with it.
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Directory { shared: shared.clone() }
    }

    /// Claims a name for a publisher. `answer` gets the outcome within about a second, on another thread. When the returned
    /// value is dropped, the name is given free, or the claim withdrawn.
    pub(crate) fn claim(
        &self,
        name: &Arc<str>,
        conflict: Conflict,
        answer: impl FnOnce(Result<Option<u64>, ClaimError>) + Send + 'static,
    ) -> Claim {
        let mut inner = self.shared.lock();
        let id = inner.location.claim(Instant::now(), name, conflict);
        inner.claims.insert(id, Some(Box::new(answer)));
        drop(inner);
        self.shared.wake();
        Claim { shared: self.shared.clone(), id }
    }

    /// Asks which server has a stream. `answer` gets the outcome within about a second, on another thread. When the returned
    /// value is dropped, no answer comes any more.
    pub(crate) fn find(&self, name: &Arc<str>, answer: impl FnOnce(Located) + Send + 'static) -> Find {
        let mut inner = self.shared.lock();
        let id = inner.location.find(Instant::now(), name);
        inner.finds.insert(id, Box::new(answer));
        drop(inner);
        self.shared.wake();
        Find { shared: self.shared.clone(), id, is_lookup: false }
    }

    /// The same for a caller that anyone can be. `None` if there are too many of them.
    pub(crate) fn look_up(&self, name: &Arc<str>, answer: impl FnOnce(Located) + Send + 'static) -> Option<Find> {
        let now = Instant::now();
        if !self.shared.lookups.begin(now) {
            return None;
        }
        let mut inner = self.shared.lock();
        let id = inner.location.find_for_anyone(now, name);
        inner.finds.insert(id, Box::new(answer));
        drop(inner);
        self.shared.wake();
        Some(Find { shared: self.shared.clone(), id, is_lookup: true })
    }

    /// Has [`Event::Changed`] reported when another server gets the name, until the returned value is dropped. A notice may be
    /// lost: ask again from time to time.
    pub(crate) fn watch(&self, name: &Arc<str>) -> Watch {
        self.shared.lock().location.watch(name);
        Watch { shared: self.shared.clone(), name: name.clone() }
    }

    /// The server that has the lease `fencing` says that it does not have the stream.
    pub(crate) fn deny(&self, name: &Arc<str>, fencing: u64) {
        self.shared.lock().location.deny(name, fencing);
    }

    /// Reports what happens to names from now on: `Registered`, `Lost` and `Changed`. The calls come from the directory's
    /// thread, and must not block.
    pub(crate) fn listen(&self, listener: impl Fn(&Event) + Send + Sync + 'static) {
        self.shared.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    /// The secret of the cluster; `None` until the directory has answered once, unless it is configured.
    pub(crate) fn secret(&self) -> Option<Arc<str>> {
        self.shared.lock().secret.clone()
    }

    /// The server dies: it says nothing more, and gives nothing free.
    #[cfg(test)]
    pub(super) fn crash(&self) {
        self.shared.lock().leaving = Leaving::Done;
        self.shared.wake();
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("who", &self.shared.who).finish_non_exhaustive()
    }
}

/// A claim, and the name while it is granted.
#[must_use = "if it is dropped, the name is given free"]
pub(crate) struct Claim {
    shared: Arc<Shared>,
    id: ClaimId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        // After a refusal, and after the name was lost, there is nothing left of it.
        inner.location.release(Instant::now(), self.id);
        let answer = inner.claims.remove(&self.id);
        drop(inner);
        // What it holds may have a claim, too.
        drop(answer);
        self.shared.wake();
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.id).finish()
    }
}

/// A question that waits for its answer.
#[must_use = "if it is dropped, no answer comes"]
pub(crate) struct Find {
    shared: Arc<Shared>,
    id: FindId,
    is_lookup: bool,
}

impl Drop for Find {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.location.abandon(self.id);
        let answer = inner.finds.remove(&self.id);
        drop(inner);
        if self.is_lookup {
            self.shared.lookups.end();
        }
        drop(answer);
    }
}

impl fmt::Debug for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Find").field(&self.id).finish()
    }
}

/// A name whose changes are reported.
#[must_use = "if it is dropped, changes are no longer reported"]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    name: Arc<str>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().location.unwatch(&self.name);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.name).finish()
    }
}

impl Inner {
    /// Has the directory told whether the server drains. Returns the number of the change.
    fn set_draining(&mut self, drains: bool) -> u64 {
        self.drains = drains;
        self.turn += 1;
        self.location.set_draining(drains);
        self.location.announce(Instant::now());
        self.turn
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the driver look what there is to do.
    pub(super) fn wake(&self) {
        // A full channel means that it will look anyway.
        let _ = self.wake.try_send(());
    }

    /// What the server says about itself now, and up to which change whether it drains is in it.
    pub(super) fn record(&self, version: &str) -> (NodeRecord, u64) {
        let (drains, turn) = {
            let inner = self.lock();
            (inner.drains, inner.turn)
        };
        let (load, is_draining) = (self.status)();
        let draining = is_draining || drains;
        let address = Some(self.who.advertise.to_string());
        let (rtmp, rtmps) = if self.who.advertise.tls { (None, address) } else { (address, None) };
        let web = self.who.web.map(|port| {
            let at_port = Advertise { port, ..self.who.advertise.clone() };
            format!("http://{}", at_port.authority())
        });
        let record = NodeRecord {
            id: self.who.node.to_string(),
            boot: self.who.boot.clone(),
            advertise: Addresses { rtmp, rtmps, web },
            version: version.to_owned(),
            load,
            draining,
        };
        (record, turn)
    }

    /// The directory has a record of this server that says whether it drains, up to this change; `None` if it may have none.
    pub(super) fn is_known(&self, turn: Option<u64>) {
        self.lock().known_turn = turn;
        self.left.notify_all();
    }

    /// True if the directory keeps the secret of the cluster.
    pub(super) fn keeps_secret(&self) -> bool {
        self.who.secret.is_none()
    }

    /// The secret that is known, or this one.
    pub(super) fn secret_or(&self, random: &str) -> String {
        self.lock().secret.as_deref().unwrap_or(random).to_owned()
    }

    /// The secret that the directory has; true if this server had another one.
    pub(super) fn has_secret(&self, secret: &str) -> bool {
        let mut inner = self.lock();
        let other = inner.secret.as_deref().is_some_and(|known| known != secret);
        if other || inner.secret.is_none() {
            inner.secret = Some(secret.into());
        }
        other
    }

    /// True once for each list that is wanted.
    pub(super) fn takes_list(&self) -> bool {
        std::mem::take(&mut self.lock().wants_list)
    }

    pub(super) fn lists(&self, nodes: Vec<NodeRecord>) {
        let mut inner = self.lock();
        inner.nodes = nodes;
        inner.listed = Some(SystemTime::now());
        self.left.notify_all();
    }

    pub(super) fn connected(&self, address: String) {
        let mut inner = self.lock();
        inner.state = State { connected: true, since: SystemTime::now(), address, error: inner.state.error.take() };
        inner.wants_list = true;
    }

    /// The directory was lost, or not reached.
    pub(super) fn failed(&self, words: &str) {
        let mut inner = self.lock();
        let now = SystemTime::now();
        if inner.state.connected {
            inner.state.connected = false;
            inner.state.since = now;
        }
        inner.state.error = Some((now, words.to_owned()));
    }

    /// Calls those that wait for this event, or listen. Without the lock.
    pub(super) fn deliver(&self, event: Event) {
        match event {
            Event::Granted { claim, fencing } => {
                let answer = self.lock().claims.get_mut(&claim).and_then(Option::take);
                if let Some(answer) = answer {
                    answer(Ok(fencing));
                }
            }
            Event::Refused { claim, error } => {
                let answer = self.lock().claims.remove(&claim).flatten();
                if let Some(answer) = answer {
                    answer(Err(error));
                }
            }
            Event::Located { find, located } => {
                let answer = self.lock().finds.remove(&find);
                if let Some(answer) = answer {
                    answer(located);
                }
            }
            event @ (Event::Registered { .. } | Event::Lost { .. } | Event::Changed { .. }) => {
                let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone();
                for listener in listeners {
                    listener(&event);
                }
            }
        }
    }

    /// The server has left the directory.
    pub(super) fn has_left(&self) {
        self.lock().leaving = Leaving::Done;
        self.left.notify_all();
    }
}

fn start_driver(
    shared: &Arc<Shared>,
    dial: Dial,
    woken: Receiver<()>,
    secret: String,
    version: String,
    mut streams: Option<Streams>,
) -> Result<(), String> {
    let shared = shared.clone();
    let run = move || driver::run(&shared, &dial, &woken, &secret, &version, &mut streams);
    let thread = std::thread::Builder::new().name("directory".to_owned()).spawn(run);
    thread.map(drop).map_err(|error| format!("cannot start a thread for the directory: {error}"))
}

/// What is random in a run: its name, the seed of the lease numbers, a secret for a cluster without one.
fn parts(seed: [u8; 32]) -> (String, u64, String) {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let derived = |what: &[u8]| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&seed).expect("HMAC takes a key of any length");
        mac.update(what);
        mac.finalize().into_bytes()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let number = derived(b"lease").iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    (hex(&derived(b"boot")[..8]), number, hex(&derived(b"secret")))
}

/// For the log: why the directory cannot be used.
pub(super) fn with_cure(error: &DialError) -> String {
    format!("{error}: {}", error.reason.cure())
}
