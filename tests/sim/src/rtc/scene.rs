use std::fmt;
use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_rtc::desk::Settings;

use super::{Camera, Leaving, RtcSetup, RtcSim, Sound, SourceId, Weather};
use crate::scene::{History, Plan};
use crate::{ClientId, Digest, Rng};

/// After all has been put right: how long until all viewers of streams that are published have them.
const HEALING: Duration = Duration::from_secs(15);
/// After all have left: how long until nothing of them is left.
const ENDING: Duration = Duration::from_secs(30);
const NAMES: [&str; 2] = ["live/a", "live/b"];
const WHIP: bool = true;

/// One thing that happens.
#[derive(Debug, Clone)]
pub struct RtcOperation {
    /// When, from the beginning on.
    pub at: Duration,
    what: Act,
}

/// What happens. Peers and publishers are numbered in the order in which they come.
#[derive(Debug, Clone)]
enum Act {
    Publish { stream: &'static str, camera: Camera },
    Whip { stream: &'static str, camera: Camera, weather: Weather },
    Play { stream: &'static str, weather: Weather },
    EndSource { source: usize, politely: bool },
    ResumeSource { source: usize },
    FreezeSource { source: usize, time: Duration },
    Leave { client: usize, how: Leaving },
    Kick { client: usize },
    Move { client: usize, moves: u16 },
    Loss { client: usize },
    Key { client: usize },
    Forge { client: usize },
    Noise { bytes: Vec<u8> },
}

/// A history of a server with viewers by WebRTC, made from a seed.
#[derive(Debug, Clone)]
pub struct RtcScene {
    seed: u64,
    operations: Vec<RtcOperation>,
    end: Duration,
}

/// The outcome of a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtcOutcome {
    /// Virtual time.
    pub elapsed: Duration,
    /// Peers in all.
    pub clients: usize,
    /// Pictures that viewers got.
    pub pictures: u64,
    /// Sounds that viewers got.
    pub sounds: u64,
    /// Pictures left out, and pictures skipped, for all viewers together.
    pub left_out: u64,
    /// See there.
    pub skipped: u64,
    /// Packets that were written, and payloads that were made for them.
    pub packets: (u64, u64),
    /// How often publishers were asked for key frames.
    pub keys_asked: u64,
    /// The fingerprint of it all.
    pub digest: Digest,
}

/// A scene that is played.
#[derive(Debug)]
pub struct Stage {
    net: RtcSim,
    /// `None` for those that are left out.
    clients: Vec<Option<ClientId>>,
    sources: Vec<Option<SourceId>>,
}

impl Act {
    fn comes(&self) -> bool {
        matches!(self, Act::Whip { .. } | Act::Play { .. })
    }

    fn perform(&self, Stage { net, clients, sources }: &mut Stage) {
        let client = |number: &usize| clients.get(*number).copied().flatten();
        let source = |number: &usize| sources.get(*number).copied().flatten();
        match self {
            Act::Publish { stream, camera } => {
                let id = net.publish(stream, camera.clone());
                sources.push(Some(id));
            }
            Act::Whip { stream, camera, weather } => {
                let id = net.whip(stream, camera.clone(), *weather);
                clients.push(Some(id));
            }
            Act::Play { stream, weather } => {
                let id = net.play(stream, *weather);
                clients.push(Some(id));
            }
            Act::EndSource { source: number, politely } => {
                source(number).into_iter().for_each(|id| net.end_source(id, *politely));
            }
            Act::ResumeSource { source: number } => source(number).into_iter().for_each(|id| net.resume_source(id)),
            Act::FreezeSource { source: number, time } => {
                source(number).into_iter().for_each(|id| net.freeze_source(id, *time));
            }
            Act::Leave { client: number, how } => client(number).into_iter().for_each(|id| net.leave(id, *how)),
            Act::Kick { client: number } => client(number).into_iter().for_each(|id| net.kick(id)),
            Act::Move { client: number, moves } => client(number).into_iter().for_each(|id| net.move_away(id, *moves)),
            Act::Loss { client: number } => client(number).into_iter().for_each(|id| net.report_loss(id, 30)),
            Act::Key { client: number } => client(number).into_iter().for_each(|id| net.ask_for_key(id)),
            Act::Forge { client: number } => client(number).into_iter().for_each(|id| net.forge_binding(id)),
            Act::Noise { bytes } => net.forge(bytes),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = |camera: &Camera| {
            let b = if camera.b_frames { ", with B-frames" } else { "" };
            format!("{:?}{b}", camera.sound)
        };
        let network = |Weather { latency, jitter, loss }: &Weather| {
            format!("{} ms away, up to {} ms later, {loss} of a million lost", latency.as_millis(), jitter.as_millis())
        };
        match self {
            Act::Publish { stream, camera } => write!(f, "a publisher of {stream} comes, sound: {}", form(camera)),
            Act::Whip { stream, weather, .. } => write!(f, "publishes {stream} by WHIP, {}", network(weather)),
            Act::Play { stream, weather } => write!(f, "plays {stream}, {}", network(weather)),
            Act::EndSource { source, politely: true } => write!(f, "publisher {source} leaves"),
            Act::EndSource { source, politely: false } => write!(f, "the connection of publisher {source} breaks"),
            Act::ResumeSource { source } => write!(f, "publisher {source} is there again"),
            Act::FreezeSource { source, time } => write!(f, "publisher {source} sends nothing for {time:?}"),
            Act::Leave { client, how } => write!(f, "peer {client} leaves: {how:?}"),
            Act::Kick { client } => write!(f, "peer {client} is kicked"),
            Act::Move { client, .. } => write!(f, "peer {client} has another address"),
            Act::Loss { client } => write!(f, "viewer {client} tells that it has lost 30 %"),
            Act::Key { client } => write!(f, "viewer {client} asks for a key frame"),
            Act::Forge { client } => write!(f, "a stranger calls itself peer {client}"),
            Act::Noise { bytes } => write!(f, "a stranger sends {} bytes", bytes.len()),
        }
    }
}

impl RtcScene {
    /// The scene of a seed.
    pub fn new(seed: u64) -> Self {
        let mut author = Author {
            rng: Rng::new(seed).fork(1),
            operations: Vec::new(),
            at: Duration::ZERO,
            clients: Vec::new(),
            sources: Vec::new(),
            moves: 0,
        };
        author.write();
        let end = author.at + Duration::from_secs(1);
        RtcScene { seed, operations: author.operations, end }
    }

    /// All that happens, in order.
    pub fn operations(&self) -> &[RtcOperation] {
        &self.operations
    }

    /// All of it.
    pub fn whole(&self) -> Plan {
        Plan { steps: self.operations.iter().map(|operation| operation.at).enumerate().collect(), end: self.end }
    }

    /// Plays all of it.
    ///
    /// # Panics
    /// If anything is wrong: see [`RtcSim::check`].
    pub fn play(&self) -> RtcOutcome {
        let mut stage = self.stage();
        self.perform(&mut stage, &self.whole());
        RtcScene::outcome(&stage)
    }

    /// What happens in a plan, a line each.
    pub fn describe(&self, plan: &Plan) -> String {
        let mut client = 0;
        let mut lines = String::new();
        let mut steps = plan.steps.iter().peekable();
        for (number, RtcOperation { what, .. }) in self.operations.iter().enumerate() {
            if let Some((_, at)) = steps.next_if(|(next, _)| *next == number) {
                let who = if what.comes() { format!("peer {client} ") } else { String::new() };
                lines.push_str(&format!("{number:>5}  {:>10.3} s  {who}{what}\n", at.as_secs_f64()));
            }
            client += usize::from(what.comes());
        }
        lines.push_str(&format!("         {:>8.3} s  all is put right\n", plan.end.as_secs_f64()));
        lines
    }
}

impl History for RtcScene {
    type Net = Stage;
    type Outcome = RtcOutcome;

    fn stage(&self) -> Stage {
        let vhost = VhostConfig { unpublish_grace: Duration::from_secs(3), ..VhostConfig::default() };
        let settings = Settings { most_joins: 1_000, ..Settings::default() };
        let net = RtcSim::new(self.seed, RtcSetup { vhost, settings, keeps: true });
        Stage { net, clients: Vec::new(), sources: Vec::new() }
    }

    fn perform(&self, stage: &mut Stage, plan: &Plan) {
        let mut steps = plan.steps.iter().copied().peekable();
        for (number, operation) in self.operations.iter().enumerate() {
            if let Some((_, at)) = steps.next_if(|(next, _)| *next == number) {
                stage.net.run_for(at.saturating_sub(stage.net.elapsed()));
                operation.what.perform(stage);
            } else if operation.what.comes() {
                stage.clients.push(None);
            } else if matches!(operation.what, Act::Publish { .. }) {
                stage.sources.push(None);
            }
        }
        let net = &mut stage.net;
        net.run_for(plan.end.saturating_sub(net.elapsed()));
        stage.sources.iter().flatten().for_each(|source| net.resume_source(*source));
        net.run_for(HEALING);
        net.check_served();
        for client in net.present() {
            let how = [Leaving::Delete, Leaving::Bye, Leaving::Silent][client.index() % 3];
            net.leave(client, how);
        }
        stage.sources.iter().flatten().for_each(|source| net.end_source(*source, true));
        net.run_for(ENDING);
        net.check_empty();
    }

    fn outcome(Stage { net, .. }: &Stage) -> RtcOutcome {
        let all = (0..net.remotes.len()).map(|index| net.got(ClientId(index)));
        let sum = |of: fn(&super::Got) -> u64| all.clone().map(|got| of(&got)).sum();
        RtcOutcome {
            elapsed: net.elapsed(),
            clients: net.remotes.len(),
            pictures: sum(|got| got.pictures),
            sounds: sum(|got| got.sounds),
            left_out: sum(|got| got.left_out),
            skipped: sum(|got| got.skipped),
            packets: net.packets(),
            keys_asked: net.keys_asked(),
            digest: net.digest(),
        }
    }

    fn elapsed(Stage { net, .. }: &Stage) -> Duration {
        net.elapsed()
    }
}

impl fmt::Display for RtcOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RtcOutcome { clients, pictures, sounds, left_out, skipped, packets: (written, made), .. } = self;
        write!(f, "{:.3} s, {clients} peers, {pictures} pictures, {sounds} sounds, ", self.elapsed.as_secs_f64())?;
        write!(f, "{left_out} left out, {skipped} skipped, {written} packets of {made} payloads, ")?;
        write!(f, "{} key frames asked for, digest {}", self.keys_asked, self.digest)
    }
}

/// Writes a history.
struct Author {
    rng: Rng,
    operations: Vec<RtcOperation>,
    at: Duration,
    /// True for peers that publish.
    clients: Vec<bool>,
    /// True for publishers that are there.
    sources: Vec<bool>,
    moves: u16,
}

impl Author {
    fn add(&mut self, what: Act) {
        self.operations.push(RtcOperation { at: self.at, what });
    }

    fn pass(&mut self, most: usize) {
        self.at += Duration::from_millis(self.rng.within(1..=most) as u64);
    }

    fn camera(&mut self) -> Camera {
        let b_frames = self.rng.once_in(3);
        let sound = self.rng.pick(&[Some(Sound::Opus), Some(Sound::Opus), Some(Sound::Aac), None]);
        let group = if b_frames { self.rng.pick(&[7, 13]) } else { self.rng.pick(&[5, 10, 20]) };
        Camera { group, b_frames, sound, ..Camera::default() }
    }

    fn weather(&mut self) -> Weather {
        let latency = Duration::from_millis(self.rng.within(1..=80) as u64);
        let jitter = Duration::from_millis(self.rng.pick(&[0, 0, 5, 60]));
        let loss = self.rng.pick(&[0, 0, 0, 10_000, 50_000]);
        Weather { latency, jitter, loss }
    }

    fn write(&mut self) {
        for stream in NAMES {
            let camera = self.camera();
            if self.rng.once_in(3) && WHIP {
                let camera = Camera { b_frames: false, sound: Some(Sound::Opus), ..camera };
                let weather = Weather { loss: 0, jitter: Duration::ZERO, ..self.weather() };
                self.clients.push(true);
                self.add(Act::Whip { stream, camera, weather });
            } else {
                self.sources.push(true);
                self.add(Act::Publish { stream, camera });
            }
            self.pass(2_000);
        }
        for _ in 0..self.rng.within(10..=60) {
            let act = self.next();
            self.add(act);
            self.pass(800);
        }
    }

    fn next(&mut self) -> Act {
        let viewers: Vec<_> = (0..self.clients.len()).filter(|client| !self.clients[*client]).collect();
        let choice = self.rng.within(0..=99);
        if choice < 35 || viewers.is_empty() {
            self.clients.push(false);
            return Act::Play { stream: self.rng.pick(&NAMES), weather: self.weather() };
        }
        let client = self.rng.pick(&viewers);
        match choice {
            35..50 => Act::Leave { client, how: self.rng.pick(&[Leaving::Delete, Leaving::Bye, Leaving::Silent]) },
            50..56 => Act::Kick { client },
            56..62 => {
                self.moves += 1;
                Act::Move { client, moves: self.moves }
            }
            62..66 => Act::Loss { client },
            66..70 => Act::Key { client },
            70..75 => Act::Forge { client },
            75..80 => {
                let mut bytes = vec![0; self.rng.within(0..=200)];
                self.rng.fill(&mut bytes);
                Act::Noise { bytes }
            }
            _ if self.sources.is_empty() => Act::Key { client },
            _ => self.of_source(),
        }
    }

    fn of_source(&mut self) -> Act {
        let source = self.rng.within(0..=self.sources.len() - 1);
        if !std::mem::replace(&mut self.sources[source], true) {
            return Act::ResumeSource { source };
        }
        if self.rng.once_in(3) {
            let time = Duration::from_millis(self.rng.pick(&[300, 2_000, 6_000]));
            return Act::FreezeSource { source, time };
        }
        self.sources[source] = false;
        Act::EndSource { source, politely: self.rng.once_in(2) }
    }
}
