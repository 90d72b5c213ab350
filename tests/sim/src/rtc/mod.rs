//! Viewers and publishers by WebRTC in one thread, on a virtual clock: a server's [`Core`] and its [`Desk`], and peers that
//! speak plain text.
//!
//! All is real but the encryption and the network: offers by HTTP, connections of core without sockets, streams that are put
//! into packets. Datagrams are late, come out of order, and are lost. Equal seeds give equal runs, to the byte.
//!
//! What must hold is checked all the time, see [`RtcSim::check`].

mod camera;
mod check;
mod host;
mod peers;
mod plain;
mod remote;
mod scene;
mod sound;
mod viewing;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Core, VhostConfig};
use anabranch_core::http;
use anabranch_core::hub::StreamId;
use anabranch_core::packager::Time;
use anabranch_rtc::desk::{Desk, DeskStats, SessionId, Settings};
use anabranch_rtc::peer::Path;

pub use camera::{Camera, Sound};
pub use host::SourceId;
pub use remote::{Leaving, Weather};
pub use scene::{RtcOutcome, RtcScene};

use self::camera::Publication;
use self::check::Sessions;
use self::host::{Seat, Which};
use self::plain::PlainPeers;
use self::remote::{Asked, Remote, path_of};
use self::sound::Transcoders;
use super::{ClientId, Digest, Rng};

/// Steps without any time passing before the server is said to spin.
const STEPS_AT_ONCE: u32 = 200_000;
/// How long a viewer may be without sound that its stream has.
const SOUND_PATIENCE: Duration = Duration::from_secs(2);
/// How often everything is looked at that is not checked when it changes.
const LOOK: Duration = Duration::from_millis(500);

/// A server, its peers and the time. See the [module](self).
#[derive(Debug)]
pub struct RtcSim {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    core: Core,
    desk: Desk<Asked>,
    peers: PlainPeers,
    settings: http::Settings,
    remotes: Vec<Remote>,
    /// Publishers that send messages of FLV, as by RTMP.
    sources: Vec<host::Source>,
    archive: Vec<Publication>,
    /// The connections of sessions.
    seats: BTreeMap<SessionId, Seat>,
    /// Which remote has which session, since its answer.
    holders: BTreeMap<SessionId, usize>,
    /// Remotes by their addresses.
    places: HashMap<Path, usize>,
    subscribed: BTreeMap<StreamId, BTreeSet<Which>>,
    followed: BTreeSet<StreamId>,
    woken: BTreeSet<StreamId>,
    /// When connections have something to do.
    dues: BTreeSet<(Instant, Which)>,
    transcoders: Transcoders,
    /// The streams whose sound is AAC.
    transcoded: BTreeSet<String>,
    happenings: BinaryHeap<Reverse<Happening>>,
    last_happening: u64,
    sessions: Sessions,
    /// Addresses that have answered, and bytes from and to the others.
    proven: HashSet<Path>,
    unproven: HashMap<Path, (usize, usize)>,
    next_look: Instant,
    steps_at_once: u32,
    datagrams: u64,
    digest: Digest,
}

/// Something that happens at its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Happening {
    at: Instant,
    number: u64,
    what: What,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A datagram arrives at the server, from the address that a remote has after so many moves.
    Arrives(usize, u16, Vec<u8>),
    /// One arrives at a remote.
    Reaches(usize, Vec<u8>),
    /// A remote has something to do.
    Turn(usize),
    /// A publisher has.
    Produces(usize),
}

/// How a server with WebRTC is set up.
#[derive(Debug, Clone, Default)]
pub struct RtcSetup {
    /// Rules and limits of its virtual host.
    pub vhost: VhostConfig,
    /// Those of WebRTC.
    pub settings: Settings,
    /// True if packets are kept to be sent again, for networks that lose some.
    pub keeps: bool,
}

impl RtcSim {
    /// A server.
    pub fn new(seed: u64, setup: RtcSetup) -> Self {
        let mut rng = Rng::new(seed);
        // The only clock reading: only differences from this start matter.
        let start = Instant::now();
        let core = Core::new(setup.vhost.into(), rng.seed());
        let peers = PlainPeers::default();
        {
            let mut ledger = peers.ledger();
            (ledger.start, ledger.keeps) = (Some(start), setup.keeps);
        }
        let desk = Desk::new(core.hub().clone(), rng.seed(), setup.settings, Box::new(peers.clone()));
        RtcSim {
            seed,
            rng,
            start,
            now: start,
            core,
            desk,
            peers,
            settings: http::Settings::default(),
            remotes: Vec::new(),
            sources: Vec::new(),
            archive: Vec::new(),
            seats: BTreeMap::new(),
            holders: BTreeMap::new(),
            places: HashMap::new(),
            subscribed: BTreeMap::new(),
            followed: BTreeSet::new(),
            woken: BTreeSet::new(),
            dues: BTreeSet::new(),
            transcoders: Transcoders::default(),
            transcoded: BTreeSet::new(),
            happenings: BinaryHeap::new(),
            last_happening: 0,
            sessions: Sessions::default(),
            proven: HashSet::new(),
            unproven: HashMap::new(),
            next_look: start + LOOK,
            steps_at_once: 0,
            datagrams: 0,
            digest: Digest::default(),
        }
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If something is wrong: see [`check`](Self::check).
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Moves to the next event before `end`; false if there is none.
    fn step(&mut self, end: Instant) -> bool {
        self.settle();
        let happening = self.happenings.peek().map(|Reverse(happening)| happening.at);
        let due = self.dues.first().map(|(at, _)| *at);
        let next = [happening, due, self.desk.deadline(), Some(self.next_look)].into_iter().flatten().min();
        let Some(next) = next.map(|next| next.max(self.now)).filter(|next| *next < end) else {
            self.now = end;
            return false;
        };
        if next > self.now {
            (self.now, self.steps_at_once) = (next, 0);
        }
        self.steps_at_once += 1;
        if self.steps_at_once > STEPS_AT_ONCE {
            self.fail("the server spins: time does not pass any more");
        }
        if self.next_look <= next {
            self.next_look = next + LOOK;
            self.check();
        }
        // Those of the same moment are of one turn of the server's thread, as long as there are not too many.
        for _ in 0..16 {
            if self.happenings.peek().is_none_or(|Reverse(happening)| happening.at > next) {
                break;
            }
            if let Some(Reverse(happening)) = self.happenings.pop() {
                self.happen(happening.what);
            }
        }
        while let Some((at, which)) = self.dues.first().copied().filter(|(at, _)| *at <= next) {
            self.dues.remove(&(at, which));
            self.connection_is_due(which);
        }
        if self.desk.deadline().is_some_and(|due| due <= next) {
            let time = self.time();
            self.desk.turn(time);
        }
        self.settle();
        true
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrives(remote, moves, bytes) => self.receive(path_of(remote, moves), &bytes),
            What::Reaches(remote, bytes) => self.reaches(remote, &bytes),
            What::Turn(remote) => self.turn_remote(remote),
            What::Produces(source) => self.produce(source),
        }
    }

    fn later(&mut self, at: Instant, what: What) {
        self.last_happening += 1;
        self.happenings.push(Reverse(Happening { at, number: self.last_happening, what }));
    }

    fn time(&self) -> Time {
        let since = self.now - self.start;
        Time { now: self.now, wall: 1_767_225_600_000 + since.as_millis() as u64 }
    }

    /// Time passed since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The numbers of the desk.
    pub fn stats(&self) -> DeskStats {
        self.desk.stats()
    }

    /// The server.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Pictures and sounds that a viewer has got, and the pictures that were left out for it, that it skipped, and packets
    /// that it lost.
    pub fn got(&self, id: ClientId) -> Got {
        let viewing = &self.remotes[id.index()].viewing;
        let (pictures, sounds) = (viewing.pictures, viewing.sounds);
        let (left_out, skipped, lost) = (viewing.left_out, viewing.skipped, viewing.lost);
        Got { pictures, sounds, left_out, skipped, lost }
    }

    /// True while the peer is connected.
    pub fn is_connected(&self, id: ClientId) -> bool {
        self.remotes[id.index()].stage == remote::Stage::Connected
    }

    /// The statuses with which its offers were answered.
    pub fn statuses(&self, id: ClientId) -> &[u16] {
        &self.remotes[id.index()].statuses
    }

    /// Packets that viewers were sent, and the payloads that were made for them all.
    pub fn packets(&self) -> (u64, u64) {
        let ledger = self.peers.ledger();
        (ledger.written, ledger.made)
    }

    /// How often publishers were asked for key frames.
    pub fn keys_asked(&self) -> u64 {
        self.peers.ledger().asked
    }

    /// Pictures of all publications.
    pub fn pictures_sent(&self) -> usize {
        self.archive.iter().map(|publication| publication.pictures.len()).sum()
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

/// What a viewer has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "their names say it")]
pub struct Got {
    pub pictures: u64,
    pub sounds: u64,
    pub left_out: u64,
    pub skipped: u64,
    pub lost: u64,
}
