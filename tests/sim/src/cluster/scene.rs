use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anabranch_core::conn::{Fallback, VhostConfig};
use anabranch_core::hub::{BackupRules, Conflict};
use anabranch_core::location::{LocationConfig, OnLoss};
use anabranch_core::relay::{Backoff, Edge, Forward};

use super::act::{Act, Operation};
use super::directory::DirectoryState;
use super::{ClusterSim, HOLD, Rules};
use crate::scene::{History, Plan};
use crate::{Digest, Rng};

/// After the last failure has ended: how long until all players of streams that are published get them.
const HEALING: Duration = Duration::from_secs(30);
/// After all clients have left: how long until nothing of them is left.
const ENDING: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["live/a", "live/b", "live/c"];

/// A history of several servers, made from a seed.
#[derive(Debug, Clone)]
pub struct ClusterScene {
    seed: u64,
    layout: Layout,
    operations: Vec<Operation>,
    end: Duration,
}

/// How the servers are connected.
#[derive(Debug, Clone)]
struct Layout {
    what: &'static str,
    configs: Vec<VhostConfig>,
    rules: Rules,
    location: Option<LocationConfig>,
    /// How many clients may want to publish one name.
    publishers: usize,
    /// The servers at which clients publish, and those at which they play.
    publish_at: Vec<usize>,
    play_at: Vec<usize>,
}

/// The outcome of a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterOutcome {
    /// Virtual time.
    pub elapsed: Duration,
    /// Clients in all.
    pub clients: usize,
    /// Frames that players got.
    pub received: u64,
    /// Connections that servers opened to others.
    pub uplinks: u64,
    /// Publishers that stood by and went on air.
    pub switches: u64,
    /// Players that were sent to another server.
    pub redirects: u64,
    /// What relays reported, and how often.
    pub remarks: BTreeMap<&'static str, usize>,
    /// How often connections ended how.
    pub ends: BTreeMap<&'static str, usize>,
    /// How often clients were refused, by code.
    pub refusals: BTreeMap<String, usize>,
    /// The fingerprint of it all.
    pub digest: Digest,
}

impl ClusterScene {
    /// The scene of a seed.
    pub fn new(seed: u64) -> Self {
        let rng = Rng::new(seed);
        let layout = Layout::of(&mut rng.fork(1));
        let (operations, end) = Author::new(rng.fork(2), &layout).write();
        ClusterScene { seed, layout, operations, end }
    }

    /// What it is made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// All that happens, in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// All of it.
    pub fn whole(&self) -> Plan {
        Plan { steps: self.operations.iter().map(|operation| operation.at).enumerate().collect(), end: self.end }
    }

    /// Plays all of it.
    ///
    /// # Panics
    /// If anything is wrong: see [`ClusterSim::check`].
    pub fn play(&self) -> ClusterOutcome {
        let mut net = self.stage();
        self.perform(&mut net, &self.whole());
        ClusterScene::outcome(&net)
    }

    /// What happens in a plan, a line each.
    pub fn describe(&self, plan: &Plan) -> String {
        let mut client = 0;
        let mut lines = format!("       {} servers, {}\n", self.layout.configs.len(), self.layout.what);
        let mut steps = plan.steps.iter().peekable();
        for (number, Operation { act, .. }) in self.operations.iter().enumerate() {
            if let Some((_, at)) = steps.next_if(|(next, _)| *next == number) {
                let who = if act.opens() { format!("client {client} ") } else { String::new() };
                lines.push_str(&format!("{number:>5}  {:>10.3} s  {who}{act}\n", at.as_secs_f64()));
            }
            client += usize::from(act.opens());
        }
        lines.push_str(&format!("         {:>8.3} s  all failures end\n", plan.end.as_secs_f64()));
        lines
    }
}

impl History for ClusterScene {
    type Net = ClusterSim;
    type Outcome = ClusterOutcome;

    fn stage(&self) -> ClusterSim {
        let Layout { configs, rules, location, .. } = self.layout.clone();
        ClusterSim::with_directory(self.seed, configs, rules, location)
    }

    fn perform(&self, net: &mut ClusterSim, plan: &Plan) {
        let mut steps = plan.steps.iter().copied().peekable();
        let mut clients = Vec::new();
        for (number, operation) in self.operations.iter().enumerate() {
            if let Some((_, at)) = steps.next_if(|(next, _)| *next == number) {
                net.run_for(at.saturating_sub(net.elapsed()));
                operation.act.perform(net, &mut clients);
            } else if operation.act.opens() && steps.peek().is_some() {
                net.leave_out();
                clients.push(None);
            }
        }
        net.run_for(plan.end.saturating_sub(net.elapsed()));
        net.heal();
        let convergence = net.convergence();
        net.run_for(convergence);
        net.check_one_owner();
        net.run_for(HEALING - convergence);
        net.check_served();
        net.check_on_air();
        for client in net.present() {
            net.leave(client, client.index() % 2 == 0);
        }
        net.run_for(ENDING);
        net.check_empty();
    }

    fn outcome(net: &ClusterSim) -> ClusterOutcome {
        ClusterOutcome {
            elapsed: net.elapsed(),
            clients: net.clients.len(),
            received: net.received,
            uplinks: net.uplinks,
            switches: net.switches(),
            redirects: net.redirects(),
            remarks: net.remarks.clone(),
            ends: net.ends.clone(),
            refusals: net.refusals.clone(),
            digest: net.digest,
        }
    }

    fn elapsed(net: &ClusterSim) -> Duration {
        net.elapsed()
    }
}

impl fmt::Display for ClusterOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClusterOutcome { clients, received, uplinks, digest, .. } = self;
        let elapsed = self.elapsed.as_secs_f64();
        let lost = self.remarks.get("name_lost").copied().unwrap_or_default();
        let taken = self.refusals.get("NetStream.Publish.BadName").copied().unwrap_or_default();
        write!(f, "{elapsed:.3} s, {clients} clients, {received} frames received, ")?;
        write!(f, "{uplinks} connections between servers, {lost} names lost, {taken} names taken, digest {digest}")
    }
}

/// Settings with short times, so that a scene of a minute has room for all that follows a failure.
fn settings() -> VhostConfig {
    let mut config = VhostConfig { unpublish_grace: Duration::from_secs(2), ..VhostConfig::default() };
    let timeouts = &mut config.session.timeouts;
    timeouts.next_message = Duration::from_secs(4);
    timeouts.write = Duration::from_secs(4);
    timeouts.ping = Duration::from_secs(3);
    config
}

fn backoff() -> Backoff {
    let [first, cap, refused] = [300, 2_000, 3_000].map(Duration::from_millis);
    Backoff { first, cap, refused }
}

fn edge(origins: &[usize]) -> VhostConfig {
    let origins = origins.iter().map(|node| ClusterSim::address(*node).to_string().parse().expect("an origin"));
    let edge = Edge {
        connect_timeout: Duration::from_secs(2),
        linger: Duration::from_secs(2),
        silence: Duration::from_secs(4),
        keep: Duration::from_secs(8),
        backoff: backoff(),
        ..Edge::of(origins.collect())
    };
    VhostConfig { edge: Some(edge), ..settings() }
}

fn forward(to: usize) -> VhostConfig {
    let to = format!("rtmp://{}/{{app}}/{{stream}}", ClusterSim::address(to)).parse().expect("a target");
    let forward = Forward { connect_timeout: Duration::from_secs(2), backoff: backoff(), ..Forward::new(to) };
    VhostConfig { forward: vec![forward], ..settings() }
}

impl Layout {
    fn of(rng: &mut Rng) -> Self {
        let rules = Rules::default();
        match rng.within(0..=19) {
            0 => Layout {
                what: "0 is the origin of the others",
                configs: vec![settings(), edge(&[0]), edge(&[0])],
                rules,
                location: None,
                publishers: 1,
                publish_at: vec![0, 1, 2],
                play_at: vec![0, 1, 2],
            },
            1 => Layout {
                what: "0 and 1 are the origins of the others",
                configs: vec![settings(), settings(), edge(&[0, 1]), edge(&[1, 0])],
                rules,
                location: None,
                publishers: 1,
                publish_at: vec![0, 1],
                play_at: vec![2, 3],
            },
            2 => Layout {
                what: "0 is the origin of 1 and 2, which are those of 3 and 4",
                configs: vec![settings(), edge(&[0]), edge(&[0]), edge(&[1, 2]), edge(&[2, 1])],
                rules,
                location: None,
                publishers: 1,
                publish_at: vec![0],
                play_at: vec![0, 1, 2, 3, 4],
            },
            4..=9 => Layout::cluster(rng),
            10.. => Layout::with_backups(rng),
            _ => Layout {
                what: "0 pushes to 1, and 1 to 2",
                configs: vec![forward(1), forward(2), settings()],
                rules,
                location: None,
                publishers: 1,
                publish_at: vec![0],
                play_at: vec![0, 1, 2],
            },
        }
    }

    /// Servers that share a directory.
    fn cluster(rng: &mut Rng) -> Self {
        let count = rng.within(2..=4);
        let (on_loss, what) = rng.pick(&[
            (OnLoss::Serve, "a cluster that serves without its directory"),
            (OnLoss::Refuse, "a cluster that refuses publishers without its directory"),
            (OnLoss::Strict, "a cluster with strict exclusion"),
            (OnLoss::Strict, "a cluster with strict exclusion"),
        ]);
        let ttl = Duration::from_secs(rng.pick(&[3, 6]));
        let (redirect, is_tree) = (rng.once_in(3), rng.once_in(3));
        let tree = is_tree.then(|| (rng.within(1..=2), rng.within(2..=3) as u8));
        let rules =
            Rules { one_owner: on_loss == OnLoss::Strict, is_direct: !is_tree, redirect, tree, ..Rules::default() };
        Layout {
            what,
            configs: vec![edge(&[]); count],
            rules,
            location: Some(LocationConfig { ttl, on_loss, ..LocationConfig::new("".into()) }),
            // In a cluster several may want one name.
            publishers: 2,
            publish_at: (0..count).collect(),
            play_at: (0..count).collect(),
        }
    }

    /// Names may have a second publisher that stands by; without any, another stream may play.
    fn with_backups(rng: &mut Rng) -> Self {
        let rules = BackupRules { after: Duration::from_millis(rng.pick(&[1_000, 2_000])), returns: rng.once_in(2) };
        let (mut layout, what) = match rng.within(0..=4) {
            0 => (Layout::cluster(rng), "a cluster, with backups"),
            1 => (Layout::edges(), "0 is the origin of the others, with backups"),
            2 => (Layout::alone(), "one server, with backups and a fallback"),
            _ => (Layout::alone(), "one server, with backups"),
        };
        let has_fallback = what.ends_with("fallback");
        for config in &mut layout.configs {
            config.conflict = Conflict::Backup;
            config.backup = rules;
            config.fallback = has_fallback.then(|| Fallback::Stream(HOLD.into()));
        }
        layout.rules.backup = Some(rules);
        // A fallback plays only while a name has no publisher: few come, and they leave as players do.
        Layout { what, publishers: if has_fallback { 2 } else { 3 }, ..layout }
    }

    fn alone() -> Self {
        Layout {
            what: "one server",
            configs: vec![settings()],
            rules: Rules::default(),
            location: None,
            publishers: 1,
            publish_at: vec![0],
            play_at: vec![0],
        }
    }

    fn edges() -> Self {
        let configs = vec![settings(), edge(&[0]), edge(&[0])];
        Layout { what: "0 is the origin of the others", configs, play_at: vec![0, 1, 2], ..Layout::alone() }
    }
}

/// Writes the history of a scene.
struct Author<'a> {
    rng: Rng,
    layout: &'a Layout,
    now: Duration,
    /// For each client: true if it publishes.
    clients: Vec<bool>,
    published: Vec<&'static str>,
    down: BTreeSet<usize>,
    cuts: BTreeSet<(usize, usize)>,
    directory_cuts: BTreeSet<usize>,
    directory: DirectoryState,
    operations: Vec<Operation>,
}

impl<'a> Author<'a> {
    fn new(rng: Rng, layout: &'a Layout) -> Self {
        Author {
            rng,
            layout,
            now: Duration::ZERO,
            clients: Vec::new(),
            published: Vec::new(),
            down: BTreeSet::new(),
            cuts: BTreeSet::new(),
            directory_cuts: BTreeSet::new(),
            directory: DirectoryState::Up,
            operations: Vec::new(),
        }
    }

    fn write(mut self) -> (Vec<Operation>, Duration) {
        // In a calm scene clients come and go, and no server fails. In a cluster the directory fails, too, or alone.
        let is_calm = self.rng.once_in(4);
        let directory = self.layout.location.as_ref().map_or(2, |_| self.rng.within(2..=5));
        if self.layout.configs[0].fallback.is_some() {
            self.clients.push(true);
            self.add(Act::Publish { node: 0, name: HOLD.into(), among: Vec::new() });
        }
        for _ in 0..self.layout.publishers.saturating_sub(1).max(1) {
            for name in &NAMES[..2] {
                self.publish(name);
                self.pass(1_000);
            }
        }
        for _ in 0..self.rng.within(2..=5) {
            self.play();
            self.pass(1_000);
        }
        for _ in 0..self.rng.within(10..=22) {
            match self.rng.within(0..=4) {
                0 | 1 => self.client(),
                which if which < directory => self.directory_failure(),
                _ if is_calm => self.client(),
                _ => self.failure(),
            }
            self.pass(3_000);
        }
        self.pass(2_000);
        (self.operations, self.now)
    }

    fn pass(&mut self, most: usize) {
        self.now += Duration::from_millis(self.rng.within(0..=most) as u64);
    }

    fn add(&mut self, act: Act) {
        self.operations.push(Operation { at: self.now, act });
    }

    fn publish(&mut self, name: &'static str) {
        let (node, among) = self.place(&self.layout.publish_at);
        self.published.push(name);
        self.clients.push(true);
        self.add(Act::Publish { node, name: name.into(), among });
    }

    fn play(&mut self) {
        let (node, among) = self.place(&self.layout.play_at);
        let name = self.rng.pick(&NAMES[..2]).into();
        self.clients.push(false);
        if self.layout.rules.redirect && self.rng.once_in(2) {
            return self.add(Act::PlayAsEdge { node, name, among });
        }
        self.add(Act::Play { node, name, among });
    }

    fn place(&mut self, nodes: &[usize]) -> (usize, Vec<usize>) {
        (self.rng.pick(nodes), if self.rng.once_in(2) { nodes.to_vec() } else { Vec::new() })
    }

    /// A client comes or goes.
    fn client(&mut self) {
        let most = self.layout.publishers;
        let count = |name: &str| self.published.iter().filter(|known| **known == name).count();
        let free: Vec<_> = NAMES.into_iter().filter(|name| count(name) < most).collect();
        // What plays as fallback stays.
        let has_fallback = self.layout.configs[0].fallback.is_some();
        let first = usize::from(has_fallback);
        let client = self.rng.within(first..=self.clients.len() - 1);
        if self.layout.rules.backup.is_some() && self.rng.once_in(2) {
            return self.trouble_of_encoder();
        }
        match self.rng.within(0..=9) {
            0..=1 if !free.is_empty() => {
                let name = self.rng.pick(&free);
                self.publish(name);
            }
            0..=4 => self.play(),
            // Most publishers stay.
            5..=6 if !self.clients[client] || has_fallback || self.rng.once_in(3) => {
                let politely = self.rng.once_in(2);
                self.add(Act::Leave { client, politely });
            }
            _ => self.add(Act::Break { client }),
        }
    }

    /// Something about an encoder fails.
    fn trouble_of_encoder(&mut self) {
        let publishers: Vec<_> = (0..self.clients.len()).filter(|client| self.clients[*client]).collect();
        let client = self.rng.pick(&publishers);
        if self.rng.once_in(8) {
            let name = self.rng.pick(&NAMES[..2]).into();
            return self.add(Act::Kick { name });
        }
        let time = Duration::from_millis(self.rng.pick(&[300, 1_500, 3_000, 6_000, 15_000]));
        let is_dark = self.rng.once_in(2);
        self.add(Act::Freeze { client, time, is_dark });
    }

    /// Something about a server fails, or works again.
    fn failure(&mut self) {
        let count = self.layout.configs.len();
        let rng = &mut self.rng;
        let (node, other) = (rng.within(0..=count - 1), rng.within(0..=count.saturating_sub(2)));
        let other = (node + 1 + other) % count;
        let act = match rng.within(0..=11) {
            0 => Act::Kill { node },
            1 => Act::Darken { node },
            2 => Act::Drain { node, time: Duration::from_millis(rng.pick(&[500, 2_000, 5_000])) },
            3..=4 => Act::Cut { one: node, other },
            5 => Act::Loss { one: node, other, per_million: rng.pick(&[0, 20_000, 200_000]) },
            6..=8 if !self.cuts.is_empty() => {
                let cuts: Vec<_> = self.cuts.iter().copied().collect();
                let (one, other) = rng.pick(&cuts);
                self.cuts.remove(&(one, other));
                return self.add(Act::Mend { one, other });
            }
            _ if !self.down.is_empty() => {
                let down: Vec<_> = self.down.iter().copied().collect();
                let node = rng.pick(&down);
                self.down.remove(&node);
                return self.add(Act::Start { node });
            }
            _ => Act::Kill { node },
        };
        match act {
            Act::Cut { one, other } => _ = self.cuts.insert((one, other)),
            Act::Kill { node } | Act::Darken { node } | Act::Drain { node, .. } => _ = self.down.insert(node),
            _ => {}
        }
        self.add(act);
    }

    /// Something about the directory fails, or works again.
    fn directory_failure(&mut self) {
        let rng = &mut self.rng;
        let node = rng.within(0..=self.layout.configs.len() - 1);
        let act = match (rng.within(0..=9), self.directory) {
            (0..=2, DirectoryState::Stopped) => Act::StopDirectory { is_stopped: false },
            (0..=3, DirectoryState::Down) => Act::StartDirectory { is_empty: rng.once_in(2) },
            (0..=1, DirectoryState::Up) => Act::StopDirectory { is_stopped: true },
            (2, _) => Act::KillDirectory,
            (3, _) => Act::FlushDirectory,
            (4, _) => Act::FailOver { lacks: Duration::from_millis(rng.within(0..=1_000) as u64) },
            (5, _) => {
                let delay = Duration::from_millis(rng.pick(&[4, 100, 700, 2_000]));
                Act::SlowDirectory { delay, is_deaf: rng.once_in(2) }
            }
            (6, _) => Act::Skew { node, seconds: rng.pick(&[0, 40, -40, 1_000_000, -1_000_000]) },
            (7, _) if !self.directory_cuts.is_empty() => {
                let cuts: Vec<_> = self.directory_cuts.iter().copied().collect();
                Act::CutDirectory { node: rng.pick(&cuts), is_cut: false }
            }
            _ => Act::CutDirectory { node, is_cut: true },
        };
        match act {
            Act::StopDirectory { is_stopped } => {
                self.directory = if is_stopped { DirectoryState::Stopped } else { DirectoryState::Up };
            }
            Act::KillDirectory => self.directory = DirectoryState::Down,
            Act::StartDirectory { .. } => self.directory = DirectoryState::Up,
            Act::CutDirectory { node, is_cut: true } => _ = self.directory_cuts.insert(node),
            Act::CutDirectory { node, is_cut: false } => _ = self.directory_cuts.remove(&node),
            _ => {}
        }
        self.add(act);
    }
}
