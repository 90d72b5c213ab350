use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_core::relay::{Backoff, Edge, Forward};

use super::act::{Act, Operation};
use super::{ClusterSim, Rules};
use crate::sim::scene::{History, Plan};
use crate::sim::{Digest, Rng};

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
        ClusterSim::new(self.seed, self.layout.configs.clone(), self.layout.rules)
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
        net.run_for(HEALING);
        net.check_served();
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
        write!(f, "{elapsed:.3} s, {clients} clients, {received} frames received, ")?;
        write!(f, "{uplinks} connections between servers, digest {digest}")
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
        match rng.within(0..=3) {
            0 => Layout {
                what: "0 is the origin of the others",
                configs: vec![settings(), edge(&[0]), edge(&[0])],
                rules,
                publish_at: vec![0, 1, 2],
                play_at: vec![0, 1, 2],
            },
            1 => Layout {
                what: "0 and 1 are the origins of the others",
                configs: vec![settings(), settings(), edge(&[0, 1]), edge(&[1, 0])],
                rules,
                publish_at: vec![0, 1],
                play_at: vec![2, 3],
            },
            2 => Layout {
                what: "0 is the origin of 1 and 2, which are those of 3 and 4",
                configs: vec![settings(), edge(&[0]), edge(&[0]), edge(&[1, 2]), edge(&[2, 1])],
                rules,
                publish_at: vec![0],
                play_at: vec![0, 1, 2, 3, 4],
            },
            _ => Layout {
                what: "0 pushes to 1, and 1 to 2",
                configs: vec![forward(1), forward(2), settings()],
                rules,
                publish_at: vec![0],
                play_at: vec![0, 1, 2],
            },
        }
    }
}

/// Writes the history of a scene.
struct Author<'a> {
    rng: Rng,
    layout: &'a Layout,
    now: Duration,
    clients: usize,
    /// The names that have a publisher.
    published: Vec<&'static str>,
    operations: Vec<Operation>,
}

impl<'a> Author<'a> {
    fn new(rng: Rng, layout: &'a Layout) -> Self {
        Author { rng, layout, now: Duration::ZERO, clients: 0, published: Vec::new(), operations: Vec::new() }
    }

    fn write(mut self) -> (Vec<Operation>, Duration) {
        // In a calm scene clients come and go, and no server fails.
        let is_calm = self.rng.once_in(4);
        for _ in 0..self.rng.within(2..=3) {
            self.client();
            self.pass(1_000);
        }
        for _ in 0..self.rng.within(8..=20) {
            if is_calm || self.rng.once_in(2) {
                self.client();
            } else {
                self.failure();
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
        self.clients += usize::from(act.opens());
        self.operations.push(Operation { at: self.now, act });
    }

    /// A client comes or goes.
    fn client(&mut self) {
        let Author { rng, layout, clients, published, .. } = self;
        let free: Vec<_> = NAMES.into_iter().filter(|name| !published.contains(name)).collect();
        let client = rng.within(0..=*clients);
        let act = match rng.within(0..=9) {
            0..=3 if !free.is_empty() => {
                let name = rng.pick(&free);
                published.push(name);
                let node = rng.pick(&layout.publish_at);
                let among = if rng.once_in(2) { layout.publish_at.clone() } else { Vec::new() };
                Act::Publish { node, name: name.into(), among }
            }
            0..=6 => {
                let node = rng.pick(&layout.play_at);
                let among = if rng.once_in(2) { layout.play_at.clone() } else { Vec::new() };
                Act::Play { node, name: rng.pick(&NAMES).into(), among }
            }
            7 => Act::Leave { client, politely: rng.once_in(2) },
            _ => Act::Break { client },
        };
        self.add(act);
    }

    /// Something fails, or works again.
    fn failure(&mut self) {
        let Author { rng, layout, .. } = self;
        let count = layout.configs.len();
        let (node, other) = (rng.within(0..=count - 1), rng.within(0..=count - 2));
        let other = (node + 1 + other) % count;
        let act = match rng.within(0..=9) {
            0 => Act::Kill { node },
            1 => Act::Darken { node },
            2..=3 => Act::Start { node },
            4 => Act::Drain { node, time: Duration::from_millis(rng.pick(&[500, 2_000, 5_000])) },
            5..=6 => Act::Cut { one: node, other },
            7..=8 => Act::Mend { one: node, other },
            _ => Act::Loss { one: node, other, per_million: rng.pick(&[0, 20_000, 200_000]) },
        };
        self.add(act);
    }
}
