//! Scenes: histories made from a seed, which can be run whole or in part, and shortened when they fail.
//!
//! All outside events are data: an [`Operation`] with its time, identified by its number. A scene that fails is
//! [shortened](shrink) to the operations that matter.

mod act;
mod random;
mod shaped;
mod shrink;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};

pub use act::{Act, Line, Operation};
pub use shrink::{Budget, Failure, History, Shrunk, attempt, shrink};

use super::{Check, Digest, Rng, Sim};

/// What time of day it is at the beginning.
const UNIX: u64 = 1_767_225_600;

/// What kind of scene it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two streams with three players each at full rate; a client comes, goes, stalls or pauses about once a minute.
    Modest,
    /// Five streams, six publishers that contend for them, and a hundred players.
    Busy,
    /// Random settings, all small, on bad links; something happens every second.
    Hostile,
    /// Random settings and a random history of some seconds: the tests run thousands of these.
    Random,
}

/// The numbers of a scene. [`Kind::Random`] uses only the kind and the duration.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What kind it is.
    pub kind: Kind,
    /// How long it lasts; `None` for ten minutes, or, for a random scene, for as long as it takes.
    pub duration: Option<Duration>,
    /// Publishers at a time.
    pub publishers: usize,
    /// Players at a time.
    pub players: usize,
    /// Names that they share.
    pub streams: usize,
    /// Pictures a second, with audio in proportion; `None` for 30 and 43, and half of that for small frames.
    pub frames_per_second: Option<u32>,
    /// True for frames of some hundred bytes.
    pub small: bool,
    /// Bytes a second on each link; `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Of each link, one way; `None` for random ones of 1 to 30 ms.
    pub latency: Option<Duration>,
    /// Lost segments of a million.
    pub loss: u32,
    /// Links that stall for up to six seconds, an hour.
    pub stalls: u32,
    /// Connections that break, an hour.
    pub breaks: u32,
    /// Clients that leave for another to come, an hour.
    pub churn: u32,
    /// Pauses, tracks off and on, new headers, silent publishers, an hour.
    pub variations: u32,
}

impl Shape {
    /// The usual numbers of this kind.
    pub fn of(kind: Kind) -> Self {
        let modest = Shape {
            kind,
            duration: None,
            publishers: 2,
            players: 6,
            streams: 2,
            frames_per_second: None,
            small: false,
            bandwidth: None,
            latency: None,
            loss: 1_000,
            stalls: 15,
            breaks: 6,
            churn: 30,
            variations: 15,
        };
        match kind {
            Kind::Modest => modest,
            Kind::Busy => {
                let counts = Shape { publishers: 6, players: 100, streams: 5, ..modest };
                Shape { stalls: 400, breaks: 200, churn: 600, variations: 400, ..counts }
            }
            Kind::Hostile => {
                let counts = Shape { publishers: 4, players: 10, streams: 3, ..modest };
                let links = Shape { bandwidth: Some(60_000), loss: 20_000, ..counts };
                Shape { frames_per_second: Some(15), stalls: 1_200, breaks: 600, churn: 900, variations: 900, ..links }
            }
            Kind::Random => Shape { publishers: 0, players: 0, streams: 0, ..modest },
        }
    }
}

/// A history and the server it happens to.
#[derive(Debug, Clone)]
pub struct Scene {
    seed: u64,
    config: Config,
    operations: Vec<Operation>,
    end: Duration,
    replies: Rng,
    newest_only: bool,
    check: Option<Check>,
}

/// Which operations of a scene are played, when, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Numbers of operations with their times, both rising.
    pub steps: Vec<(usize, Duration)>,
    /// When all clients leave.
    pub end: Duration,
}

/// The outcome of a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Virtual time.
    pub elapsed: Duration,
    /// Clients in all.
    pub clients: usize,
    /// Messages that encoders sent.
    pub sent: u64,
    /// Messages that players got.
    pub received: u64,
    /// Steps of the simulation.
    pub steps: u64,
    /// How often connections ended how.
    pub ends: BTreeMap<&'static str, usize>,
    /// Questions that the outside was asked.
    pub questions: usize,
    /// How often a player missed something and went on.
    pub resumptions: u32,
    /// The fingerprint of it all.
    pub digest: Digest,
}

impl Scene {
    /// The scene of a seed.
    pub fn new(seed: u64, shape: &Shape) -> Self {
        let mut rng = Rng::new(seed);
        let (history, replies, random) = (rng.fork(2), rng.fork(1), shape.kind == Kind::Random);
        let settings = rng.fork(3);
        let config = match shape.kind {
            Kind::Random => random::config(&mut rng),
            Kind::Hostile => random::hostile(&mut rng).into(),
            Kind::Modest | Kind::Busy => VhostConfig::default().into(),
        };
        let (config, changes) = if random { random::changing(settings, config) } else { (config, None) };
        let (operations, end) = if random {
            random::history(history, shape.duration, changes)
        } else {
            let end = shape.duration.unwrap_or(Duration::from_secs(600));
            (shaped::history(history, shape, end), end)
        };
        // Short ones are checked at every step, and nothing of them is forgotten.
        let newest_only = !random || shape.duration.is_some();
        Scene { seed, config, operations, end, replies, newest_only, check: None }
    }

    /// One more thing that must hold, see [`Sim::also_check`].
    #[must_use]
    pub fn also_check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
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
    /// If anything is wrong: see [`Sim::check`].
    pub fn play(&self) -> Outcome {
        let mut net = self.stage();
        self.perform(&mut net, &self.whole());
        Outcome::of(&net)
    }

    /// What happens in a plan, a line each.
    pub fn describe(&self, plan: &Plan) -> String {
        let mut client = 0;
        let mut lines = String::new();
        let mut steps = plan.steps.iter().peekable();
        for (number, Operation { act, .. }) in self.operations.iter().enumerate() {
            if let Some((_, at)) = steps.next_if(|(next, _)| *next == number) {
                let who = if act.opens() { format!("client {client} ") } else { String::new() };
                lines.push_str(&format!("{number:>5}  {:>10.3} s  {who}{act}\n", at.as_secs_f64()));
            }
            client += usize::from(act.opens());
        }
        lines.push_str(&format!("         {:>8.3} s  all clients leave\n", plan.end.as_secs_f64()));
        lines
    }
}

impl History for Scene {
    type Net = Sim;
    type Outcome = Outcome;

    fn stage(&self) -> Sim {
        let mut net = Sim::with_config(self.seed, self.config.clone());
        let replies = self.replies.clone();
        net.back_end(move |ask| random::reply(&replies, ask));
        net.set_clock(UNIX);
        if self.newest_only {
            net.keep_newest_only();
        }
        if let Some(check) = self.check {
            net.also_check(check);
        }
        net
    }

    fn perform(&self, net: &mut Sim, plan: &Plan) {
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
        let present: Vec<_> = clients.into_iter().flatten().collect();
        for client in &present {
            net.kill(*client);
        }
        net.run_for(Duration::from_secs(1));
        if !net.server().hub().streams().is_empty() {
            net.fail("streams are left over");
        }
        for client in present {
            let Some(report) = net.report(client) else {
                net.fail("connections are left over");
            };
            let skipped: u64 = net.client(client).playbacks().map(|playback| playback.skipped().frames).sum();
            // Pictures before the first key frame are counted as well.
            let missed = report.missed.frames + report.left_out.undecodable;
            if skipped > missed {
                net.fail(&format!("client {} skipped {skipped} frames, {missed} were counted", client.index()));
            }
        }
    }

    fn outcome(net: &Sim) -> Outcome {
        Outcome::of(net)
    }

    fn elapsed(net: &Sim) -> Duration {
        net.elapsed()
    }
}

impl Outcome {
    fn of(net: &Sim) -> Self {
        let mut outcome = Outcome {
            elapsed: net.elapsed(),
            clients: net.clients().len(),
            sent: net.frames_sent(),
            received: net.frames_received(),
            steps: net.steps(),
            ends: BTreeMap::new(),
            questions: 0,
            resumptions: 0,
            digest: net.digest(),
        };
        for client in net.clients() {
            if let Some(report) = net.report(client) {
                *outcome.ends.entry(report.close.reason.name()).or_default() += 1;
            }
            outcome.questions += net.asked(client).len();
            outcome.resumptions += net.client(client).playbacks().map(|playback| playback.resumptions()).sum::<u32>();
        }
        outcome
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { clients, sent, received, steps, digest, .. } = self;
        let elapsed = self.elapsed.as_secs_f64();
        write!(f, "{elapsed:.3} s, {clients} clients, {sent} frames sent, {received} received, ")?;
        write!(f, "{steps} steps, digest {digest}")
    }
}
