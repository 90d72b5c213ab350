//! A whole server with its clients in one thread, on a virtual clock.
//!
//! [`Sim`] holds one [`Core`] and, for each scripted client, a connection and a link with latency, bandwidth, a buffer
//! that fills up, reads cut at random, stalls and breaks. There are no sockets, no threads and no real time. Equal
//! seeds give equal runs, to the byte.
//!
//! Every step checks the invariants: see [`Sim::check`]. So a test mostly sets up clients, lets time pass and asks what
//! the players got. [`Pair`] is the small version: one client, one connection, no link. In a [`RoleSim`] the clients
//! are core's own.
//!
//! ```
//! use std::time::Duration;
//!
//! use anabranch_sim::Sim;
//!
//! let mut net = Sim::new(7);
//! let encoder = net.publish("live", "cam");
//! let player = net.play("live", "cam");
//! net.link(player).bandwidth(200_000);
//! net.run_for(Duration::from_secs(10));
//! assert!(net.player(player).first_video_is_key());
//! assert!(net.sent(encoder).len() > 600);
//! ```

mod back_end;
mod channel;
mod check;
mod client;
pub mod cluster;
mod link;
mod media;
mod pair;
mod peer;
mod playback;
mod reconfigure;
mod rng;
mod role;
mod route;
#[cfg(feature = "rtc")]
pub mod rtc;
pub mod scene;
mod slot;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Ask, Batches, Config, Core, Notice, Report, VhostConfig};
use anabranch_core::hub::StreamId;
use anabranch_core::pacing::Sockets;
use anabranch_core::session::{ClientKind, CloseReason};
use anabranch_core::source::Timestamps;

pub use back_end::Reply;
pub use check::Check;
pub use client::{Client, Status};
pub use link::{Link, Pipe};
pub use media::{Encoder, Marks, Media, Sent, Track};
pub use pair::Pair;
pub use peer::{Peer, command_in, status_code};
pub use playback::{Playback, Received};
pub use rng::{Digest, Rng};
pub use role::{End, RoleSim};
pub use route::Route;

use back_end::BackEnd;
use channel::{Channel, Part};
use check::{Attached, Bounds, Extra};
use media::{Archive, EncoderState};
use slot::Slot;

/// Steps without any time passing before the server is said to spin.
const STEPS_AT_ONCE: u32 = 10_000;

/// How long a simulation that keeps the newest only remembers a client that has disconnected.
const MEMORY: Duration = Duration::from_secs(600);

/// A server, its clients and the time. See the [module](self).
#[derive(Debug)]
pub struct Sim {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    server: Core,
    slots: Vec<Slot>,
    archive: Archive,
    /// Connections to be polled because their stream was woken.
    woken: VecDeque<usize>,
    /// Which connections are attached to which stream.
    attached: BTreeMap<StreamId, Attached>,
    /// The connections to poll when a stream is woken.
    subscribed: BTreeMap<StreamId, BTreeSet<usize>>,
    back_end: BackEnd,
    bounds: Bounds,
    /// When each client has its next turn, and the clients whose turn may have changed.
    schedule: BTreeSet<(Instant, usize)>,
    touched: Vec<usize>,
    digest: Digest,
    steps: u64,
    /// Steps since time last passed.
    steps_at_once: u32,
    extra: Extra,
    /// The lists of streams and players are checked every this many steps, and at steps with `changed`.
    check_every: u64,
    changed: bool,
    /// `None` in a simulation that forgets nothing. Otherwise which clients have disconnected since when, and their
    /// frames.
    gone: Option<VecDeque<(Instant, usize)>>,
    forgotten: u64,
    delayed_reads: DelayedReads,
}

/// Which connections read later if [`Read::from`](anabranch_core::session::Read::from) says that they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DelayedReads {
    /// Every third connection.
    Some,
    /// All.
    All,
    /// None: everything that arrives is read at once.
    None,
}
/// The values that the servers pass to core.
/// As the servers tell them.
const SOCKETS: Sockets =
    Sockets { unread_bytes: 32 << 10, early_reads: &[Duration::from_millis(2), Duration::from_micros(500)] };

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
        // The only clock reading: only differences from this start matter.
        let start = Instant::now();
        Sim {
            seed,
            bounds: Bounds::of(&config),
            start,
            now: start,
            server: Core::with_sockets(config, rng.fork(u64::MAX).seed(), SOCKETS),
            rng,
            slots: Vec::new(),
            archive: Archive::default(),
            woken: VecDeque::new(),
            attached: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            back_end: BackEnd::default(),
            schedule: BTreeSet::new(),
            touched: Vec::new(),
            digest: Digest::default(),
            steps: 0,
            steps_at_once: 0,
            extra: Extra::default(),
            check_every: 1,
            changed: false,
            gone: None,
            forgotten: 0,
            delayed_reads: DelayedReads::Some,
        }
    }

    /// Which connections read later if the core says that they may. By default every third connection.
    pub fn delay_reads(&mut self, delayed_reads: DelayedReads) {
        self.delayed_reads = delayed_reads;
    }

    /// For runs of many hours: keeps only the newest of what was sent and received, as much as the checks need, and
    /// nothing of clients that disconnected long ago. The lists of streams and players are checked when a client comes
    /// or goes, and otherwise every 64th step.
    pub fn keep_newest_only(&mut self) {
        self.gone = Some(VecDeque::new());
        self.check_every = 64;
        self.archive.keep_newest_only();
    }

    /// Adds a check after every step, which returns a description of what is wrong, if anything is.
    pub fn also_check(&mut self, check: Check) {
        self.extra = Extra(Some(check));
    }

    /// This script answers questions. Without a script, no question may be asked.
    pub fn back_end(&mut self, script: impl FnMut(&Ask) -> Reply + 'static) {
        self.back_end = BackEnd::new(script);
    }

    /// Tells the server the time of day, in seconds since 1970.
    pub fn set_clock(&mut self, unix: u64) {
        self.server.set_clock(self.now, unix);
    }

    /// A publisher with the default [`Encoder`] connects.
    pub fn publish(&mut self, route: impl Into<Route>, name: &str) -> ClientId {
        self.publish_with(route, name, Encoder::default())
    }

    /// A publisher connects and publishes in one of the known ways.
    pub fn publish_with(&mut self, route: impl Into<Route>, name: &str, encoder: Encoder) -> ClientId {
        let kind = client::manner(&mut self.fork(0));
        self.publish_as(kind, route, name, encoder)
    }

    /// A publisher connects and publishes in this way.
    pub fn publish_as(&mut self, kind: ClientKind, route: impl Into<Route>, name: &str, encoder: Encoder) -> ClientId {
        let encoder_state = EncoderState::new(encoder, self.slots.len(), self.fork(1));
        self.add(route.into(), vec![Channel::new(name, Part::Publisher(kind, Box::new(encoder_state)))])
    }

    /// A player connects and plays.
    pub fn play(&mut self, route: impl Into<Route>, name: &str) -> ClientId {
        let route = route.into();
        let part = self.playback(&route, name);
        self.add(route, vec![Channel::new(name, part)])
    }

    /// A connected client plays one more stream on its connection.
    pub fn also_play(&mut self, id: ClientId, name: &str) {
        let part = self.playback(self.slots[id.0].client.route(), name);
        self.slots[id.0].client.add(Channel::new(name, part));
        self.touch(id.0);
    }

    /// A connected client publishes one more stream on its connection. Returns the index that identifies its frames,
    /// see [`Received::publisher`].
    pub fn also_publish(&mut self, id: ClientId, name: &str, encoder: Encoder) -> usize {
        let client = &mut self.slots[id.0].client;
        let number = client.names().count();
        let origin = number << 20 | id.0;
        let mut rng = self.rng.fork((origin as u64) << 8 | 4);
        let kind = client::manner(&mut rng);
        let encoder_state = EncoderState::new(encoder, origin, rng);
        client.add(Channel::new(name, Part::Publisher(kind, Box::new(encoder_state))));
        self.touch(id.0);
        origin
    }

    /// A client opens a connection and sends nothing.
    pub fn open_silently(&mut self) -> ClientId {
        let client = Client::new("".into(), Vec::new(), self.fork(2));
        self.enter(None, client.silent())
    }

    /// A client connects to an application and requests nothing.
    pub fn idle(&mut self, route: impl Into<Route>) -> ClientId {
        self.add(route.into(), Vec::new())
    }

    /// A client that does not come. It takes only its place in the numbering, so that later clients keep their numbers.
    pub fn leave_out(&mut self) -> ClientId {
        let index = self.slots.len();
        let mut client = Client::new("".into(), Vec::new(), self.fork(2));
        client.closed = true;
        // Its number in the server is taken as well.
        drop(self.server.connect(self.now));
        self.slots.push(Slot::new(None, client, Link::new(&mut self.fork(3))));
        ClientId(index)
    }

    /// The path of a client to the server and back.
    pub fn link(&mut self, id: ClientId) -> &mut Link {
        self.touch(id.0);
        &mut self.slots[id.0].link
    }

    /// Delivers nothing on this client's link, in both directions, for this long.
    pub fn stall(&mut self, id: ClientId, duration: Duration) {
        let until = self.now + duration;
        self.link(id).up.stall_until(until);
        self.link(id).down.stall_until(until);
        self.hold_up(id, duration);
    }

    /// Delays what this client sends for this long at times, so that its key frames arrive further apart.
    pub(crate) fn hold_up(&mut self, id: ClientId, duration: Duration) {
        self.slots[id.0].client.hold_up(duration);
    }

    /// The connection breaks: what is on its way is lost, and both sides notice.
    pub fn kill(&mut self, id: ClientId) {
        self.touch(id.0);
        let slot = &mut self.slots[id.0];
        slot.client.closed = true;
        slot.link.up.clear();
        slot.link.down.clear();
        self.disconnect(id.0, CloseReason::PeerLost("connection reset".into()));
        self.settle();
    }

    /// The client closes its socket without a message, in good order.
    pub fn close(&mut self, id: ClientId) {
        self.flush(id.0);
        self.touch(id.0);
        let slot = &mut self.slots[id.0];
        slot.client.closed = true;
        slot.link.up.close(self.now);
    }

    /// The client ends its streams as the protocol specifies, and closes.
    pub fn stop(&mut self, id: ClientId) {
        self.slots[id.0].client.stop();
        self.close(id);
    }

    /// The client ends its streams and stays connected.
    pub fn stop_and_stay(&mut self, id: ClientId) {
        self.slots[id.0].client.stop();
        self.touch(id.0);
    }

    /// A publisher stops sending, or continues after that; its connection stays open.
    pub fn mute(&mut self, id: ClientId, mute: bool) {
        self.slots[id.0].client.mute = mute;
    }

    /// A player pauses or resumes.
    pub fn pause(&mut self, id: ClientId, paused: bool) {
        self.slots[id.0].client.pause(paused);
        self.touch(id.0);
    }

    /// A player turns audio ([`Media::Sound`]) or video on or off, on all its streams.
    pub fn receive(&mut self, id: ClientId, track: Media, on: bool) {
        self.slots[id.0].client.receive(track, on);
        self.touch(id.0);
    }

    /// A publisher sends its headers again, as an encoder does after a change of its configuration.
    pub fn reconfigure(&mut self, id: ClientId) {
        let now = self.now;
        self.slots[id.0].client.reconfigure(now, &mut self.archive);
        self.touch(id.0);
    }

    /// The server shuts down in good order: every client gets a message, and every connection is closed.
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
    pub fn server(&self) -> &Core {
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
    pub fn player(&self, id: ClientId) -> &Playback {
        self.client(id).playback().expect("the client plays")
    }

    /// What a publisher sent, or the newest of it: see [`keep_newest_only`](Self::keep_newest_only).
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

    /// What hooks were asked about this client, in order.
    pub fn asked(&self, id: ClientId) -> Vec<&Ask> {
        self.slots[id.0].questions.iter().map(|question| &question.ask).collect()
    }

    /// The notices about this client, in order.
    pub fn notices(&self, id: ClientId) -> &[Notice] {
        &self.slots[id.0].notices
    }

    /// The settings of a virtual host, by the name of its streams.
    pub fn vhost_named(&self, name: &str) -> VhostConfig {
        let config = self.server.config();
        config.vhosts.resolve(name).accepted().map_or(&config.defaults, |(_, settings)| settings).clone()
    }

    /// Bytes queued in the server for this client.
    pub fn outbound(&self, id: ClientId) -> usize {
        self.slots[id.0].outbound
    }

    /// The most bytes that were ever queued in the server for this client.
    pub fn most_outbound(&self, id: ClientId) -> usize {
        self.slots[id.0].most_outbound
    }

    /// How many clients there were.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = ClientId> + use<> {
        (0..self.slots.len()).map(ClientId)
    }

    /// Messages that encoders sent so far.
    pub fn frames_sent(&self) -> u64 {
        self.archive.total()
    }

    /// Messages of encoders that players got so far.
    pub fn frames_received(&self) -> u64 {
        let playbacks = self.slots.iter().flat_map(|slot| slot.client.playbacks());
        self.forgotten + playbacks.map(Playback::received).sum::<u64>()
    }

    /// Steps so far. A step is a moment at which something happened, or several events at one moment that caused each
    /// other.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The fingerprint of all that happened so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn fork(&self, label: u64) -> Rng {
        self.rng.fork((self.slots.len() as u64) << 8 | label)
    }

    fn add(&mut self, route: Route, channels: Vec<Channel>) -> ClientId {
        let address = route.address;
        self.enter(address, Client::new(route, channels, self.fork(2)))
    }

    fn enter(&mut self, address: Option<SocketAddr>, client: Client) -> ClientId {
        let index = self.slots.len();
        let conn = match address {
            Some(address) => self.server.connect_from(self.now, address),
            None => self.server.connect(self.now),
        };
        let link = Link::new(&mut self.fork(3));
        self.forget();
        self.slots.push(Slot::new(Some(conn), client, link));
        self.serve(index);
        ClientId(index)
    }

    /// What a player of this name looks at.
    fn playback(&self, route: &Route, name: &str) -> Part {
        let vhost = name.split(['?', '&']).find_map(|part| part.strip_prefix("vhost="));
        let settings = self.vhost_named(vhost.unwrap_or(&route.host));
        let playback = Playback::new(settings.timestamps == Timestamps::Pass);
        Part::Player(Box::new(if self.gone.is_some() { playback.keep_newest_only() } else { playback }))
    }

    /// Moves to the next event before `end` and runs it; false if there is none.
    fn step(&mut self, end: Instant) -> bool {
        self.reschedule();
        let next = self.schedule.first().map(|(time, _)| (*time).max(self.now));
        let Some(next) = next.filter(|next| *next < end) else {
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
            self.fail("the server spins: time does not pass any more");
        }
        let due = self.schedule.iter().take_while(|(time, _)| *time <= next);
        let mut due: Vec<_> = due.map(|(_, index)| *index).collect();
        due.sort_unstable();
        for index in due {
            self.turn(index);
        }
        self.settle();
        if self.changed {
            self.check_counts();
        }
        if std::mem::take(&mut self.changed) || self.steps.is_multiple_of(self.check_every) {
            self.check();
        }
        if let Extra(Some(check)) = self.extra
            && let Err(fault) = check(self)
        {
            self.fail(&fault);
        }
        true
    }

    /// Drops what is kept of clients that disconnected long ago.
    fn forget(&mut self) {
        let Some(gone) = &mut self.gone else {
            return;
        };
        while let Some((_, index)) = gone.front().copied().filter(|(time, _)| *time + MEMORY < self.now) {
            gone.pop_front();
            self.archive.forget(index);
            let slot = &mut self.slots[index];
            self.forgotten += slot.client.playbacks().map(Playback::received).sum::<u64>();
            slot.client.forget();
            slot.link.up.clear();
            slot.link.down.clear();
            slot.notices = Vec::new();
            if !std::mem::replace(&mut slot.touched, true) {
                self.touched.push(index);
            }
        }
    }

    /// Notes that the next turn of a client may have changed, because something was done to it or its connection.
    fn touch(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index)
            && !std::mem::replace(&mut slot.touched, true)
        {
            self.touched.push(index);
        }
    }

    fn reschedule(&mut self) {
        for index in self.touched.drain(..) {
            let slot = &mut self.slots[index];
            slot.touched = false;
            let next = slot.next(self.now);
            if slot.scheduled != next {
                if let Some(before) = std::mem::replace(&mut slot.scheduled, next) {
                    self.schedule.remove(&(before, index));
                }
                self.schedule.extend(next.map(|next| (next, index)));
            }
        }
    }

    /// Serves all connections that were woken, and those that these wake. Every second connection is served in a batch,
    /// like in adapters that encode once what many players get.
    fn settle(&mut self) {
        let mut batches = Batches::default();
        while let Some(index) = self.woken.pop_front() {
            self.slots[index].woken = false;
            if index % 2 == 1 || !self.write_batch(index, &mut batches) {
                self.serve(index);
            }
        }
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("seed {} at {:?}: {what}", self.seed, self.elapsed());
    }
}
