//! A whole server with its clients in one thread, on a clock of its own.
//!
//! [`Sim`] holds one [`Server`] and, for each scripted client, a connection and a link
//! with latency, bandwidth, a buffer that fills up, reads cut at random, stalls and breaks. Nothing else takes part: no
//! sockets, no threads, no real time. Equal seeds give equal runs, to the byte.
//!
//! Whatever happens is checked at every step: see [`Sim::check`]. A test therefore mostly sets a scene, lets time pass
//! and asks what the players got. [`Pair`] is the small one: one client, one connection, no link.
//!
//! ```
//! use std::time::Duration;
//!
//! use anabranch_tests::sim::Sim;
//!
//! let mut net = Sim::new(7);
//! let encoder = net.publish("live", "cam");
//! let player = net.play("live", "cam");
//! net.link(player).bandwidth(200_000);
//! net.run_for(Duration::from_secs(10));
//! assert!(net.player(player).first_video_is_key());
//! assert!(net.sent(encoder).len() > 600);
//! ```

mod check;
mod client;
mod link;
mod media;
mod pair;
mod peer;
mod rng;
mod screen;
mod slot;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Config, Report, Server};
use anabranch_core::session::{ClientKind, CloseReason};

pub use client::{Client, Status};
pub use link::{Link, Pipe};
pub use media::{Encoder, Media, Sent};
pub use pair::Pair;
pub use peer::{Peer, command_in, status_code};
pub use rng::{Digest, Rng};
pub use screen::{Received, Screen};

use client::Part;
use media::{Archive, Studio};
use slot::Slot;

/// Steps without any time passing before the server is said to spin.
const STEPS_AT_ONCE: u32 = 10_000;

/// A server, its clients and the time. See the [module](self).
#[derive(Debug)]
pub struct Sim {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    server: Server,
    slots: Vec<Slot>,
    archive: Archive,
    /// Connections to be polled because their stream was woken.
    woken: VecDeque<usize>,
    digest: Digest,
    /// Steps since time last passed.
    steps_at_once: u32,
}

/// Names a client of a [`Sim`], open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(usize);

impl ClientId {
    /// Its index, as in [`Received::publisher`].
    pub fn index(self) -> usize {
        self.0
    }
}

impl Sim {
    /// A server with default settings and no clients.
    pub fn new(seed: u64) -> Self {
        Sim::with_config(seed, Config::default())
    }

    /// A server with these settings.
    pub fn with_config(seed: u64, config: Config) -> Self {
        let rng = Rng::new(seed);
        // The only look at a clock: where a clock starts is nobody's business, all that counts is what is added.
        let start = Instant::now();
        Sim {
            seed,
            start,
            now: start,
            server: Server::new(config, rng.fork(u64::MAX).seed()),
            rng,
            slots: Vec::new(),
            archive: Archive::default(),
            woken: VecDeque::new(),
            digest: Digest::default(),
            steps_at_once: 0,
        }
    }

    /// A publisher with the default [`Encoder`] connects.
    pub fn publish(&mut self, app: &str, name: &str) -> ClientId {
        self.publish_with(app, name, Encoder::default())
    }

    /// A publisher connects and publishes, in one of the known manners.
    pub fn publish_with(&mut self, app: &str, name: &str, encoder: Encoder) -> ClientId {
        let kind = client::manner(&mut self.fork(0));
        self.publish_as(kind, app, name, encoder)
    }

    /// A publisher of this manner connects and publishes.
    pub fn publish_as(&mut self, kind: ClientKind, app: &str, name: &str, encoder: Encoder) -> ClientId {
        let studio = Studio::new(encoder, self.slots.len(), self.fork(1));
        self.add(app, name, Part::Publisher(kind, Box::new(studio)))
    }

    /// A player connects and plays.
    pub fn play(&mut self, app: &str, name: &str) -> ClientId {
        self.add(app, name, Part::Player(Box::default()))
    }

    /// A client opens a connection and says nothing.
    pub fn open_silently(&mut self) -> ClientId {
        self.add("", "", Part::Silent)
    }

    /// A client connects to an application and asks for nothing.
    pub fn idle(&mut self, app: &str) -> ClientId {
        self.add(app, "", Part::Idle)
    }

    /// The path of a client to the server and back.
    pub fn link(&mut self, id: ClientId) -> &mut Link {
        &mut self.slots[id.0].link
    }

    /// Nothing is delivered on this client's link, either way, for so long.
    pub fn stall(&mut self, id: ClientId, duration: Duration) {
        let until = self.now + duration;
        self.link(id).up.stall_until(until);
        self.link(id).down.stall_until(until);
    }

    /// The connection breaks: what is on its way is lost, and both sides notice.
    pub fn kill(&mut self, id: ClientId) {
        let slot = &mut self.slots[id.0];
        slot.client.closed = true;
        slot.link.up.clear();
        slot.link.down.clear();
        self.disconnect(id.0, CloseReason::PeerLost("connection reset".into()));
        self.settle();
    }

    /// The client closes its socket without a word, in good order.
    pub fn close(&mut self, id: ClientId) {
        self.flush(id.0);
        let slot = &mut self.slots[id.0];
        slot.client.closed = true;
        slot.link.up.close(self.now);
    }

    /// The client ends what it does as the protocol wants it, and closes.
    pub fn stop(&mut self, id: ClientId) {
        self.slots[id.0].client.stop();
        self.close(id);
    }

    /// The client ends what it does and stays connected.
    pub fn stop_and_stay(&mut self, id: ClientId) {
        self.slots[id.0].client.stop();
    }

    /// A publisher sends nothing more, or goes on after that; its connection stays.
    pub fn mute(&mut self, id: ClientId, mute: bool) {
        self.slots[id.0].client.mute = mute;
    }

    /// A player pauses or resumes.
    pub fn pause(&mut self, id: ClientId, paused: bool) {
        self.slots[id.0].client.pause(paused);
    }

    /// A publisher sends its headers anew, as an encoder does whose configuration changed.
    pub fn reconfigure(&mut self, id: ClientId) {
        let now = self.now;
        self.slots[id.0].client.reconfigure(now, &mut self.archive);
    }

    /// The server goes down in good order: every connection is told and closed.
    pub fn shutdown(&mut self) {
        for index in 0..self.slots.len() {
            if let Some(conn) = &mut self.slots[index].conn {
                conn.shutdown();
                self.serve(index);
            }
        }
        self.settle();
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If an invariant is broken: see [`check`](Self::check).
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
    }

    /// Lets time pass until `condition` holds.
    ///
    /// # Panics
    /// If it does not within `limit`, or an invariant is broken.
    pub fn run_until(&mut self, limit: Duration, mut condition: impl FnMut(&Sim) -> bool) {
        let end = self.now + limit;
        while !condition(self) {
            if !self.step(end) && !condition(self) {
                self.fail(&format!("what was waited for did not happen within {limit:?}"));
            }
        }
    }

    /// Time passed since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The same of any time.
    pub fn since_start(&self, time: Instant) -> Duration {
        time - self.start
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A client.
    pub fn client(&self, id: ClientId) -> &Client {
        &self.slots[id.0].client
    }

    /// What a player got.
    ///
    /// # Panics
    /// If the client is no player.
    pub fn player(&self, id: ClientId) -> &Screen {
        self.client(id).screen().expect("the client plays")
    }

    /// What a publisher sent.
    pub fn sent(&self, id: ClientId) -> &[Sent] {
        self.archive.of(id.0)
    }

    /// True while the server keeps the connection.
    pub fn is_open(&self, id: ClientId) -> bool {
        self.slots[id.0].conn.is_some()
    }

    /// How the connection ended, once it has.
    pub fn report(&self, id: ClientId) -> Option<&Report> {
        self.slots[id.0].report.as_ref()
    }

    /// Bytes that wait in the server for this client.
    pub fn outbound(&self, id: ClientId) -> usize {
        self.slots[id.0].outbound
    }

    /// The most bytes that ever waited in the server for this client.
    pub fn most_outbound(&self, id: ClientId) -> usize {
        self.slots[id.0].most_outbound
    }

    /// The fingerprint of all that happened so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn fork(&self, label: u64) -> Rng {
        self.rng.fork((self.slots.len() as u64) << 8 | label)
    }

    fn add(&mut self, app: &str, name: &str, part: Part) -> ClientId {
        let index = self.slots.len();
        let client = Client::new(index, app, name, part, self.fork(2));
        let link = Link::new(&mut self.fork(3));
        self.slots.push(Slot::new(self.server.connect(self.now), client, link));
        self.serve(index);
        ClientId(index)
    }

    /// Goes to the next thing that happens before `end` and lets it happen; false if time is over.
    fn step(&mut self, end: Instant) -> bool {
        let next = self.slots.iter().filter_map(|slot| slot.next(self.now)).min();
        let Some(next) = next.filter(|next| *next < end) else {
            self.now = end;
            return false;
        };
        if next > self.now {
            self.now = next;
            self.steps_at_once = 0;
        }
        self.steps_at_once += 1;
        if self.steps_at_once > STEPS_AT_ONCE {
            self.fail("the server spins: time does not pass any more");
        }
        for index in 0..self.slots.len() {
            self.turn(index);
        }
        self.settle();
        self.check();
        true
    }

    /// Serves all that were woken, and those they wake.
    fn settle(&mut self) {
        while let Some(index) = self.woken.pop_front() {
            self.slots[index].woken = false;
            self.serve(index);
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("seed {} at {:?}: {what}", self.seed, self.elapsed());
    }
}
