//! Several servers in one thread, on a virtual clock: their relays, their clients and the connections between them all.
//!
//! [`ClusterSim`] is to many servers what [`Sim`](super::Sim) is to one: each is a whole [`Core`] with its relays. Its
//! clients come back: one that is refused, or loses its connection, connects again, and those that roam try another
//! server. Servers are killed, machines disappear, servers drain, and connections between servers break or stand still.
//! Encoders freeze, or their networks end, while a second encoder of the name stands by, or another stream is its
//! fallback. Equal seeds give equal runs, to the byte.
//!
//! What must hold at each moment is checked all the time, see [`ClusterSim::check`].

mod act;
mod check;
mod client;
mod clocks;
mod directory;
mod fallback;
mod line;
mod node;
mod on_air;
mod scene;
mod session;
mod tree;
mod viewing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Core, VhostConfig};
use anabranch_core::hub::BackupRules;
use anabranch_core::location::LocationConfig;
use anabranch_core::url::StreamKey;

pub use act::{Act, Operation, encoder};
pub use node::NodeState;
pub use scene::{ClusterOutcome, ClusterScene};
pub use tree::{DirectoryFigures, Tree, TreeFigures};

use self::client::{Client, Part, Publication, Stage};
use self::clocks::Apart;
use self::directory::Directory;
use self::line::{End, Line};
use self::node::{Node, address_of};
use self::viewing::Viewing;
use super::media::Archive;
use super::{ClientId, Digest, Link, Rng};

/// Steps without any time passing before a server is said to spin.
const STEPS_AT_ONCE: u32 = 50_000;
/// How often everything is looked at that is not checked when it changes.
const LOOK: Duration = Duration::from_millis(500);
/// From how many lost segments of a million on a loss is a failure.
const HEAVY_LOSS: u32 = 100_000;
/// The stream that plays as fallback of others.
const HOLD: &str = "live/hold";

/// Servers, their clients and the time. See the [module](self).
#[derive(Debug)]
pub struct ClusterSim {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    /// The time of day at the start, in seconds since 1970.
    unix: u64,
    nodes: Vec<Node>,
    lines: Vec<Line>,
    clients: Vec<Client>,
    publications: Vec<Publication>,
    archive: Archive,
    /// Servers whose relays have something to do.
    signals: Arc<Mutex<BTreeSet<usize>>>,
    /// Servers with connections to serve.
    woken: BTreeSet<usize>,
    schedule: BTreeSet<(Instant, Turn)>,
    touched: Vec<Turn>,
    /// How servers use the directory, if they are a cluster.
    location: Option<LocationConfig>,
    directory: Directory,
    /// Servers that do not reach the directory.
    directory_cuts: BTreeSet<usize>,
    /// When something about the directory last changed.
    hurt: Option<Instant>,
    /// Pairs of servers that do not reach each other.
    cuts: BTreeSet<(usize, usize)>,
    /// When clocks were apart.
    apart: Vec<Apart>,
    /// Lost segments of a million between pairs of servers.
    losses: BTreeMap<(usize, usize), u32>,
    /// The same for all pairs of servers, if they have no latency of their own.
    hop: Option<Duration>,
    rules: Rules,
    /// Names that several servers publish, and since when; and when a name last was one of these.
    double: BTreeMap<StreamKey, Instant>,
    single: BTreeMap<StreamKey, Instant>,
    /// Names that ever had several.
    doubled: BTreeSet<StreamKey>,
    /// The publishers that were on air of each name, as servers said: where, and on which connection.
    told: BTreeMap<StreamKey, Vec<(usize, usize)>>,
    /// When a name last got a publisher at another server than before.
    moved: BTreeMap<StreamKey, Instant>,
    switches: u64,
    redirects: u64,
    next_look: Instant,
    steps: u64,
    steps_at_once: u32,
    digest: Digest,
    received: u64,
    /// True while the latency of each frame is kept.
    measures: bool,
    uplinks: u64,
    ends: BTreeMap<&'static str, usize>,
    remarks: BTreeMap<&'static str, usize>,
    refusals: BTreeMap<String, usize>,
}

/// What is checked beyond what always holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// At most one server may publish a name.
    pub one_owner: bool,
    /// Each stream comes directly from the server that publishes it, so that trouble elsewhere is no excuse.
    pub is_direct: bool,
    /// A name may have a publisher that stands by, which is on air when the other one is lost or stalls.
    pub backup: Option<BackupRules>,
    /// In a cluster, players that follow redirects are sent to the server that has their stream.
    pub redirect: bool,
    /// In a cluster: to how many servers one sends a stream, and over how many connections it comes, if not as usual.
    pub tree: Option<(usize, u8)>,
}

/// What has a next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Node(usize),
    Line(usize),
    Client(usize),
    Directory,
}

impl ClusterSim {
    /// Servers with these settings, all of them running.
    pub fn new(seed: u64, configs: Vec<VhostConfig>, rules: Rules) -> Self {
        ClusterSim::with_directory(seed, configs, rules, None)
    }

    /// The same as a cluster, if there are settings for it.
    pub fn with_directory(
        seed: u64,
        configs: Vec<VhostConfig>,
        rules: Rules,
        location: Option<LocationConfig>,
    ) -> Self {
        // The only clock reading: only differences from this start matter.
        let start = Instant::now();
        let ttl = location.as_ref().map_or(Duration::from_secs(10), |config| config.ttl);
        let mut net = ClusterSim {
            seed,
            directory: Directory::new(ttl, Rng::new(seed).fork(0x6469_7265), start),
            location,
            directory_cuts: BTreeSet::new(),
            hurt: None,
            rng: Rng::new(seed),
            start,
            now: start,
            unix: 1_767_225_600,
            nodes: configs.into_iter().map(Node::new).collect(),
            lines: Vec::new(),
            clients: Vec::new(),
            publications: Vec::new(),
            archive: Archive::default(),
            signals: Arc::default(),
            woken: BTreeSet::new(),
            schedule: BTreeSet::new(),
            touched: Vec::new(),
            cuts: BTreeSet::new(),
            apart: Vec::new(),
            losses: BTreeMap::new(),
            hop: None,
            rules,
            double: BTreeMap::new(),
            single: BTreeMap::new(),
            doubled: BTreeSet::new(),
            told: BTreeMap::new(),
            moved: BTreeMap::new(),
            switches: 0,
            redirects: 0,
            next_look: start + LOOK,
            steps: 0,
            steps_at_once: 0,
            digest: Digest::default(),
            received: 0,
            measures: false,
            uplinks: 0,
            ends: BTreeMap::new(),
            remarks: BTreeMap::new(),
            refusals: BTreeMap::new(),
        };
        for node in 0..net.nodes.len() {
            net.start_node(node);
        }
        net
    }

    /// The address of a server as others have it in their configuration: `10.0.0.1:1935` for the first.
    pub fn address(node: usize) -> SocketAddr {
        address_of(node)
    }

    /// All connections between servers that are made from now on take this long for one direction.
    pub fn set_hop(&mut self, latency: Duration) {
        self.hop = Some(latency);
    }

    /// Messages to and from the directory take this long at the most, and its notices are lost.
    pub fn slow_directory(&mut self, delay: Duration, is_deaf: bool) {
        (self.directory.delay, self.directory.is_deaf) = (delay, is_deaf);
        self.hurt = Some(self.now);
    }

    /// Requests that the directory has answered.
    pub fn directory_requests(&self) -> u64 {
        self.directory.asked
    }

    /// Two servers do not reach each other any more, or again.
    pub fn cut(&mut self, one: usize, other: usize, is_cut: bool) {
        let pair = (one.min(other), one.max(other));
        let changed = one != other && if is_cut { self.cuts.insert(pair) } else { self.cuts.remove(&pair) };
        if !changed {
            return;
        }
        for index in self.between(pair) {
            let line = &mut self.lines[index];
            if is_cut {
                line.stall();
            } else {
                line.resume();
            }
            self.touch_line(index);
        }
        self.trouble(one, is_cut);
        self.trouble(other, is_cut);
    }

    /// So many of a million segments between two servers are lost from now on, and come late.
    pub fn set_loss(&mut self, one: usize, other: usize, per_million: u32) {
        let pair = (one.min(other), one.max(other));
        // What is lost again and again comes seconds late: later than servers wait for it.
        let is_heavy = |loss: u32| loss >= HEAVY_LOSS;
        let was_heavy = self.losses.insert(pair, per_million).is_some_and(is_heavy);
        if was_heavy != is_heavy(per_million) {
            self.trouble(one, is_heavy(per_million));
            self.trouble(other, is_heavy(per_million));
        }
        for index in self.between(pair) {
            self.lines[index].link.loss(per_million);
        }
    }

    /// All failures end: connections are mended, and servers that do not run, or drain, are started again.
    pub fn heal(&mut self) {
        for (one, other) in self.cuts.clone() {
            self.cut(one, other, false);
        }
        for (one, other) in self.losses.clone().into_keys() {
            self.set_loss(one, other, 0);
        }
        for node in self.directory_cuts.clone() {
            self.cut_directory(node, false);
        }
        self.stop_directory(false);
        self.start_directory(false);
        self.slow_directory(Duration::from_millis(4), false);
        for node in 0..self.nodes.len() {
            self.set_skew(node, 0);
            if self.nodes[node].drains.is_some() {
                self.kill_node(node);
            }
            self.start_node(node);
        }
    }

    fn between(&self, (one, other): (usize, usize)) -> Vec<usize> {
        let pairs = [[Some(one), Some(other)], [Some(other), Some(one)]];
        (0..self.lines.len()).filter(|index| pairs.contains(&self.lines[*index].hosts)).collect()
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cuts.contains(&(one.min(other), one.max(other)))
    }

    /// How long bytes take from one server to another.
    fn latency(&self, one: usize, other: usize) -> Duration {
        let mut rng = self.rng.fork(0x6c69_6e6b << 32 | (one.min(other) as u64) << 16 | one.max(other) as u64);
        self.hop.unwrap_or_else(|| Duration::from_millis(rng.within(1..=20) as u64))
    }

    /// A connection to a server is made.
    fn open(
        &mut self,
        node: usize,
        from: SocketAddr,
        hosts: [Option<usize>; 2],
        client: Option<usize>,
        opener: End,
    ) -> usize {
        let index = self.lines.len();
        let mut link = Link::new(&mut self.rng.fork(0x7061_7468 << 32 | index as u64));
        if let [Some(one), Some(other)] = hosts {
            link.latency(self.latency(one, other));
            link.loss(self.losses.get(&(one.min(other), one.max(other))).copied().unwrap_or(0));
        } else if let Some(hop) = self.hop {
            link.latency(hop);
        }
        let Some(core) = &self.nodes[node].core else {
            self.fail("a connection is made to a server that does not run");
        };
        let conn = core.connect_from(self.now, from);
        self.nodes[node].conns.insert(conn.id(), (index, 1));
        self.lines.push(Line {
            hosts,
            client,
            ends: [Some(opener), Some(End::conn(conn))],
            link,
            is_dark: false,
            is_broken: false,
            woken: [false; 2],
            scheduled: None,
            touched: false,
        });
        self.serve(index, 1);
        self.serve(index, 0);
        index
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If something is wrong: see [`check`](Self::check).
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Lets time pass until `condition` holds.
    ///
    /// # Panics
    /// If it does not within `limit`, or something is wrong.
    pub fn run_until(&mut self, limit: Duration, mut condition: impl FnMut(&ClusterSim) -> bool) {
        let end = self.now + limit;
        while !condition(self) {
            if !self.step(end) && !condition(self) {
                self.fail(&format!("what was waited for did not happen within {limit:?}"));
            }
        }
    }

    /// Moves to the next event before `end` and runs it; false if there is none.
    fn step(&mut self, end: Instant) -> bool {
        self.settle();
        self.reschedule();
        let next = self.schedule.first().map(|(time, _)| (*time).max(self.now));
        let next = next.into_iter().chain([self.next_look]).min().filter(|next| *next < end);
        let Some(next) = next else {
            self.now = end;
            return false;
        };
        if next > self.now {
            self.now = next;
            self.steps_at_once = 0;
        }
        self.steps += 1;
        self.steps_at_once += 1;
        if self.steps_at_once > STEPS_AT_ONCE {
            self.fail("a server spins: time does not pass any more");
        }
        if self.next_look <= next {
            self.next_look = next + LOOK;
            for node in 0..self.nodes.len() {
                self.play_fallbacks(node);
            }
            self.check();
        }
        while let Some((_, turn)) = self.schedule.first().copied().filter(|(time, _)| *time <= next) {
            self.schedule.pop_first();
            *self.scheduled(turn) = None;
            match turn {
                Turn::Node(node) => self.turn_node(node),
                Turn::Line(line) => self.turn(line),
                Turn::Client(client) => self.turn_client(client),
                Turn::Directory => self.turn_directory(),
            }
            self.settle();
        }
        true
    }

    fn scheduled(&mut self, turn: Turn) -> &mut Option<Instant> {
        match turn {
            Turn::Node(node) => &mut self.nodes[node].scheduled,
            Turn::Line(line) => &mut self.lines[line].scheduled,
            Turn::Client(client) => &mut self.clients[client].scheduled,
            Turn::Directory => &mut self.directory.scheduled,
        }
    }

    /// Notes that the next turn may have changed.
    fn touch_line(&mut self, line: usize) {
        if !std::mem::replace(&mut self.lines[line].touched, true) {
            self.touched.push(Turn::Line(line));
        }
    }

    fn touch_node(&mut self, node: usize) {
        self.touched.push(Turn::Node(node));
    }

    fn touch_client(&mut self, client: usize) {
        self.touched.push(Turn::Client(client));
    }

    fn touch_directory(&mut self) {
        self.touched.push(Turn::Directory);
    }

    fn reschedule(&mut self) {
        let now = self.now;
        while let Some(turn) = self.touched.pop() {
            let next = match turn {
                Turn::Node(node) => self.nodes[node].due(),
                Turn::Line(line) => {
                    self.lines[line].touched = false;
                    self.lines[line].next(now)
                }
                Turn::Client(client) => self.clients[client].due(),
                Turn::Directory => self.directory.due(),
            };
            let scheduled = self.scheduled(turn);
            if *scheduled != next {
                let before = std::mem::replace(scheduled, next);
                self.schedule.extend(next.map(|next| (next, turn)));
                if let Some(before) = before {
                    self.schedule.remove(&(before, turn));
                }
            }
        }
    }

    /// Time passed since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// A server; `None` while it does not run.
    pub fn server(&self, node: usize) -> Option<&Core> {
        self.nodes[node].core.as_ref()
    }

    /// How many connections to other servers a server has, and the most that it had at one time.
    pub fn uplinks(&self, node: usize) -> (usize, usize) {
        (self.nodes[node].uplinks, self.nodes[node].most_uplinks)
    }

    /// True while the server grants the client what it wants.
    pub fn is_granted(&self, id: ClientId) -> bool {
        self.clients[id.index()].granted.is_some()
    }

    /// The server that the client is at, or tries next.
    pub fn node_of(&self, id: ClientId) -> usize {
        self.clients[id.index()].node
    }

    /// How many frames a player got.
    pub fn frames(&self, id: ClientId) -> u64 {
        self.viewing(id).map_or(0, |viewing| viewing.frames)
    }

    /// When the first frame came, from the beginning on.
    pub fn first_frame(&self, id: ClientId) -> Option<Duration> {
        self.viewing(id)?.first_ever.map(|at| at - self.start)
    }

    /// From now on keeps the latency of each frame and the longest time that each player is without one.
    pub fn measure(&mut self) {
        self.measures = true;
        for client in &mut self.clients {
            if let Part::Player(viewing) = &mut client.part {
                (viewing.latencies, viewing.longest) = (Vec::new(), Duration::ZERO);
            }
        }
    }

    /// The median of the time from the sending of a frame to its arrival at a player, since [`measure`](Self::measure).
    pub fn median_latency(&self, id: ClientId) -> Duration {
        let mut latencies = self.viewing(id).map(|viewing| viewing.latencies.clone()).unwrap_or_default();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied().unwrap_or_default()
    }

    /// The longest time that a player was without a frame, since [`measure`](Self::measure).
    pub fn longest_gap(&self, id: ClientId) -> Duration {
        self.viewing(id).map(|viewing| viewing.longest).unwrap_or_default()
    }

    /// When the newest frame came, from the beginning on.
    pub fn last_frame(&self, id: ClientId) -> Option<Duration> {
        self.viewing(id)?.last.map(|at| at - self.start)
    }

    /// The publishers whose frames a player got, in this order.
    pub fn order(&self, id: ClientId) -> Vec<ClientId> {
        let order = self.viewing(id).map(|viewing| &viewing.order).into_iter().flatten();
        order.map(|origin| ClientId(self.publications[*origin].client)).collect()
    }

    fn viewing(&self, id: ClientId) -> Option<&Viewing> {
        match &self.clients[id.index()].part {
            Part::Player(viewing) => Some(viewing),
            Part::Publisher { .. } => None,
        }
    }

    /// How often a client connected.
    pub fn connections(&self, id: ClientId) -> u64 {
        self.clients[id.index()].connections
    }

    /// All clients that still come.
    pub fn present(&self) -> Vec<ClientId> {
        let stays = |index: &usize| self.clients[*index].stage != Stage::Gone;
        (0..self.clients.len()).filter(stays).map(ClientId).collect()
    }

    /// Messages that players got.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How often relays reported something, by its name.
    pub fn remarks(&self, name: &str) -> usize {
        self.remarks.get(name).copied().unwrap_or_default()
    }

    /// Connections that servers opened to others.
    pub fn opened_uplinks(&self) -> u64 {
        self.uplinks
    }

    /// Publishers that stood by and went on air, as servers said.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    /// Players that servers sent to another one.
    pub fn redirects(&self) -> u64 {
        self.redirects
    }

    /// The fingerprint of all that happened.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("seed {} at {:?}: {what}", self.seed, self.elapsed());
    }
}
