use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::{Duration, Instant};

use anabranch_core::cluster::{ClusterConfig, Member};
use anabranch_core::conn::{Config, Conn, Core, VhostConfig};
use anabranch_core::hub::StreamId;
use anabranch_core::relay::{AttemptId, Failure, Order};
use anabranch_core::url::StreamKey;

use super::fallback::Fallback;
use super::line::{End, What};
use super::on_air::OnAir;
use super::session::{Session, id_of};
use super::{ClusterSim, Rules};

/// Orders at one time after which the relays are said to spin.
const ORDERS_AT_ONCE: u32 = 100_000;
/// How long a server that drains waits before it asks its clients to leave, so that other servers know.
const TO_BE_KNOWN: Duration = Duration::from_millis(100);
/// After a failure, how long connections that were hurt by it may miss frames.
pub(super) const RECOVERY: Duration = Duration::from_secs(15);

/// A server, with what an adapter keeps for it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: VhostConfig,
    /// `None` while it does not run.
    pub(super) core: Option<Core>,
    pub(super) state: NodeState,
    /// Counts its runs.
    pub(super) run: u64,
    /// When its relays have something to do.
    pub(super) next: Option<Instant>,
    pub(super) scheduled: Option<Instant>,
    /// When it stops, if it drains, and when it asks its clients to leave.
    pub(super) drains: Option<Instant>,
    pub(super) tells_at: Option<Instant>,
    pub(super) conns: BTreeMap<u64, (usize, usize)>,
    /// Connections to other servers, and the most that there were at one time.
    pub(super) uplinks: usize,
    pub(super) most_uplinks: usize,
    pub(super) subscribed: BTreeMap<StreamId, BTreeSet<(usize, usize)>>,
    /// Ends to serve, because their stream was woken.
    pub(super) woken: Vec<(usize, usize)>,
    /// The streams that each connection of a client publishes.
    pub(super) attached: BTreeMap<(usize, StreamId), StreamKey>,
    /// How many clients publish a name.
    pub(super) published: BTreeMap<StreamKey, usize>,
    /// Who is on air, as far as it says so, and since when names have no publisher.
    pub(super) on_air: BTreeMap<StreamKey, OnAir>,
    pub(super) free: BTreeMap<StreamKey, Instant>,
    /// When a client last began to publish a name.
    pub(super) changed: BTreeMap<StreamKey, Instant>,
    pub(super) fallbacks: BTreeMap<StreamKey, Fallback>,
    pub(super) trouble: Trouble,
    /// Its part in the directory, if it belongs to a cluster, and how many connections to it there were before.
    pub(super) session: Option<Session>,
    pub(super) sessions: u64,
    /// By how many seconds its clock is ahead.
    pub(super) skew: i64,
    /// Connections that it makes to other servers, until they are there.
    pub(super) dials: BTreeMap<AttemptId, (Instant, SocketAddr)>,
}

/// Whether a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It runs.
    Up,
    /// Its process is gone: its address refuses connections.
    Down,
    /// Its machine is gone: its address does not answer.
    Dark,
}

/// Failures that touch a server, or its connections to others.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Trouble {
    active: u32,
    last: Option<Instant>,
}

impl Trouble {
    /// When something last failed, or worked again.
    pub(super) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// True if frames that pass the server may be lost.
    pub(super) fn excuses(&self, now: Instant) -> bool {
        self.active > 0 || self.last.is_some_and(|last| now < last + RECOVERY)
    }
}

/// Notes that a server's relays have something to do.
#[derive(Debug)]
struct Signal {
    node: usize,
    list: Arc<Mutex<BTreeSet<usize>>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.lock().expect("no thread panics").insert(self.node);
    }
}

impl Node {
    pub(super) fn new(config: VhostConfig) -> Self {
        Node {
            config,
            core: None,
            state: NodeState::Down,
            run: 0,
            next: None,
            scheduled: None,
            drains: None,
            tells_at: None,
            conns: BTreeMap::new(),
            uplinks: 0,
            most_uplinks: 0,
            subscribed: BTreeMap::new(),
            woken: Vec::new(),
            attached: BTreeMap::new(),
            published: BTreeMap::new(),
            on_air: BTreeMap::new(),
            free: BTreeMap::new(),
            changed: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            trouble: Trouble::default(),
            dials: BTreeMap::new(),
            session: None,
            sessions: 0,
            skew: 0,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let dials = self.dials.values().map(|(at, _)| *at).min();
        let session = self.session.as_ref().and_then(|session| session.next);
        let fallback = self.fallbacks.values().filter_map(Fallback::due).min();
        [self.next, self.drains, self.tells_at, dials, session, fallback].into_iter().flatten().min()
    }
}

/// Where a server listens.
pub(super) fn address_of(node: usize) -> SocketAddr {
    let [.., high, low] = (node as u32 + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 1935)
}

pub(super) fn node_at(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let [_, _, high, low] = ip.octets();
    usize::from(u16::from_be_bytes([high, low])).checked_sub(1)
}

impl ClusterSim {
    /// Starts a server that does not run.
    pub fn start_node(&mut self, node: usize) {
        if self.nodes[node].state == NodeState::Up {
            return;
        }
        if self.nodes[node].state == NodeState::Dark {
            self.light_up(node);
        }
        let (now, signals) = (self.now, self.signals.clone());
        let server = &mut self.nodes[node];
        server.run += 1;
        let mut rng = self.rng.fork(0x6e6f_6465 << 32 | (node as u64) << 16 | server.run);
        let member = Member { node: id_of(node), address: format!("rtmp://{}", address_of(node)).into() };
        let Rules { redirect, tree, .. } = self.rules;
        let (children, depth) = tree.unwrap_or((8, 3));
        let cluster = self.location.as_ref().map(|_| {
            let default = ClusterConfig::default();
            ClusterConfig { redirect, member, children, depth, ..default }
        });
        let core = Core::new(Config { cluster, ..server.config.clone().into() }, rng.seed());
        let signal = Arc::new(Signal { node, list: signals });
        core.relays().set_waker(signal.clone().into());
        core.relays().set_directory_waker(signal.clone().into());
        if server.config.fallback.is_some() {
            core.hub().collect_wants(signal.into());
        }
        core.relays().set_cluster_secret(now, "the secret of all these servers");
        let seed = rng.draw();
        server.session = self.location.as_ref().map(|config| Session::new(node, config, server.sessions, seed, now));
        server.core = Some(core);
        let is_first = std::mem::replace(&mut server.state, NodeState::Up) == NodeState::Down && server.run == 1;
        (server.drains, server.tells_at) = (None, None);
        self.set_clock(node);
        if !is_first {
            self.trouble(node, false);
        }
        self.signals.lock().expect("no thread panics").insert(node);
        self.touch_node(node);
    }

    /// The process of a server is killed: its connections break, and its address refuses others.
    pub fn kill_node(&mut self, node: usize) {
        self.end_node(node, NodeState::Down);
    }

    /// The machine of a server is gone: nothing answers any more.
    pub fn darken_node(&mut self, node: usize) {
        self.end_node(node, NodeState::Dark);
    }

    fn end_node(&mut self, node: usize, state: NodeState) {
        if self.nodes[node].state != NodeState::Up {
            return;
        }
        let now = self.now;
        self.trouble(node, true);
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            for side in [0, 1] {
                if line.hosts[side] != Some(node) || line.ends[side].take().is_none() {
                    continue;
                }
                if state == NodeState::Dark {
                    line.stall();
                    line.is_dark = true;
                } else {
                    line.is_broken = true;
                    line.pipe(1 - side).clear();
                    line.pipe(side).clear();
                    line.pipe(side).close(now);
                }
                self.touch_line(index);
                break;
            }
        }
        let server = &mut self.nodes[node];
        server.state = state;
        (server.core, server.next, server.drains, server.tells_at) = (None, None, None, None);
        if let Some(session) = server.session.take() {
            server.sessions = session.connection + 1;
        }
        server.conns.clear();
        server.uplinks = 0;
        server.subscribed.clear();
        server.woken.clear();
        server.attached.clear();
        server.on_air.clear();
        server.free.clear();
        server.fallbacks.clear();
        server.dials.clear();
        let names: Vec<_> = std::mem::take(&mut server.published).into_keys().collect();
        for name in names {
            self.note_owners(&name);
        }
        self.touch_node(node);
    }

    /// The machine is back: what others send on their old connections is answered with a reset.
    fn light_up(&mut self, node: usize) {
        let now = self.now;
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            if !line.is_dark || !line.hosts.contains(&Some(node)) {
                continue;
            }
            (line.is_dark, line.is_broken) = (false, true);
            line.resume();
            for side in [0, 1] {
                line.pipe(side).clear();
                line.pipe(side).close(now);
            }
            self.touch_line(index);
        }
    }

    /// A failure that touches the server begins, or has ended.
    pub(super) fn trouble(&mut self, node: usize, begins: bool) {
        let now = self.now;
        let trouble = &mut self.nodes[node].trouble;
        trouble.active = if begins { trouble.active + 1 } else { trouble.active.saturating_sub(1) };
        trouble.last = Some(now);
    }

    /// The server gets no new clients, asks the others to leave, and stops after this time.
    pub fn drain_node(&mut self, node: usize, time: Duration) {
        let (now, deadline) = (self.now, self.now + time);
        let server = &mut self.nodes[node];
        let (Some(core), None) = (&server.core, server.drains) else {
            return;
        };
        core.drain();
        (server.drains, server.tells_at) = (Some(deadline), Some(now + TO_BE_KNOWN));
        if let Some(session) = &mut server.session {
            session.location.set_draining(true);
            session.location.announce(now);
        }
        // Its clients lose nothing that they need not, but they leave.
        self.trouble(node, true);
        self.trouble(node, false);
        self.consult(node);
    }

    /// The server asks its clients to leave, in a cluster to another server.
    fn tell_to_leave(&mut self, node: usize, deadline: Instant) {
        self.nodes[node].tells_at = None;
        let stays = |other: &usize| {
            let server = &self.nodes[*other];
            server.state == NodeState::Up && server.drains.is_none() && self.location.is_some()
        };
        let count = self.nodes.len();
        let other = (1..count).map(|step| (node + step) % count).find(stays);
        let url = other.map(|other| format!("rtmp://{}", address_of(other)));
        for end in self.nodes[node].conns.values().copied().collect::<Vec<_>>() {
            self.with_conn(end, |conn| conn.drain(deadline, url.as_deref()));
        }
    }

    /// The time of a draining server is over.
    fn stop(&mut self, node: usize) {
        for end in self.nodes[node].conns.values().copied().collect::<Vec<_>>() {
            self.with_conn(end, Conn::shutdown);
        }
        let now = self.now;
        if let Some(core) = &self.nodes[node].core {
            core.relays().close(now);
        }
        self.settle();
        self.end_node(node, NodeState::Down);
    }

    pub(super) fn with_conn(&mut self, end: (usize, usize), act: impl FnOnce(&mut Conn)) {
        let (line, side) = end;
        if let Some(End { what: What::Conn(conn), .. }) = &mut self.lines[line].ends[side]
            && let Some(conn) = conn.as_client()
        {
            act(conn);
            self.serve(line, side);
        }
    }

    /// Does what is due at a server.
    pub(super) fn turn_node(&mut self, node: usize) {
        let now = self.now;
        self.touch_node(node);
        let dials = self.nodes[node].dials.clone();
        for (attempt, (_, address)) in dials.into_iter().filter(|(_, (at, _))| *at <= now) {
            self.nodes[node].dials.remove(&attempt);
            self.dial(node, attempt, address);
        }
        if self.nodes[node].next.is_some_and(|next| next <= now) {
            self.drive(node);
        }
        if self.nodes[node].session.as_ref().is_some_and(|session| session.next.is_some_and(|next| next <= now)) {
            self.consult(node);
        }
        if let Some(deadline) =
            self.nodes[node].drains.filter(|_| self.nodes[node].tells_at.is_some_and(|at| at <= now))
        {
            self.tell_to_leave(node, deadline);
        }
        if self.nodes[node].drains.is_some_and(|at| at <= now) {
            self.stop(node);
        }
        if self.nodes[node].fallbacks.values().any(|fallback| fallback.due().is_some_and(|at| at <= now)) {
            self.play_fallbacks(node);
        }
    }

    /// Polls the relays of a server until they wait.
    pub(super) fn drive(&mut self, node: usize) {
        self.touch_node(node);
        for _ in 0..ORDERS_AT_ONCE {
            let Some(core) = &self.nodes[node].core else {
                return;
            };
            match core.relays().poll(self.now) {
                Order::Wait(next) => {
                    self.nodes[node].next = next;
                    return;
                }
                order => self.obey(node, order),
            }
        }
        self.fail(&format!("the relays of server {node} give orders without end"));
    }

    fn obey(&mut self, node: usize, order: Order) {
        let now = self.now;
        match order {
            Order::Resolve { attempt, .. } => {
                let failure = Failure::Resolve("there are no names here".into());
                self.relays(node, |relays| relays.failed(now, attempt, failure));
            }
            Order::Connect { attempt, address, .. } => {
                let latency = node_at(address).map_or(Duration::ZERO, |other| self.latency(node, other));
                self.nodes[node].dials.insert(attempt, (now + latency * 2, address));
            }
            Order::Abort(attempt) => _ = self.nodes[node].dials.remove(&attempt),
            Order::Answer { connection, ask, verdict } => {
                if let Some(end) = self.nodes[node].conns.get(&connection).copied() {
                    self.with_conn(end, |conn| conn.answer(now, ask, verdict));
                }
            }
            Order::Close { connection, reason } => {
                if let Some(end) = self.nodes[node].conns.get(&connection).copied() {
                    self.with_conn(end, |conn| conn.close(reason));
                }
            }
            Order::LoseName { connection, key } => {
                if let Some(end) = self.nodes[node].conns.get(&connection).copied() {
                    self.with_conn(end, |conn| conn.lose_name(&key));
                }
            }
            Order::Poll { connection } => {
                if let Some((line, side)) = self.nodes[node].conns.get(&connection).copied() {
                    self.serve(line, side);
                }
            }
            Order::Wake(stream) => self.wake(node, stream),
            Order::Remark(remark) => {
                self.digest.bytes(remark.name().as_bytes());
                *self.remarks.entry(remark.name()).or_default() += 1;
            }
            Order::Wait(_) => {}
        }
    }

    fn relays(&mut self, node: usize, act: impl FnOnce(&anabranch_core::relay::Relays)) {
        if let Some(core) = &self.nodes[node].core {
            act(core.relays());
        }
    }

    /// A connection to another server is there, or not.
    fn dial(&mut self, node: usize, attempt: AttemptId, address: SocketAddr) {
        let now = self.now;
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        let relays = core.relays().clone();
        let other = node_at(address).filter(|other| *other < self.nodes.len());
        let Some(other) = other.filter(|other| self.nodes[*other].state != NodeState::Down) else {
            return relays.failed(now, attempt, Failure::Connect("connection refused".into()));
        };
        if self.nodes[other].state == NodeState::Dark || self.is_cut(node, other) {
            // It does not answer; the relay gives it up.
            return;
        }
        let Some(uplink) = relays.connected(now, attempt, address) else {
            return;
        };
        let (id, line) = (uplink.id(), self.lines.len());
        let server = &mut self.nodes[node];
        server.conns.insert(id, (line, 0));
        server.uplinks += 1;
        server.most_uplinks = server.most_uplinks.max(server.uplinks);
        self.uplinks += 1;
        self.check_pulls();
        self.open(other, address_of(node), [Some(node), Some(other)], None, End::conn(uplink));
    }
}
