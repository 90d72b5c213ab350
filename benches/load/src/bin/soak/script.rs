use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::client::{ClientConfig, Destination};
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_load::Random;
use anabranch_load::client_pool::{ClientPool, End, Id, Next, PoolEvent, Role, Scenario, Spec};
use anabranch_load::media::MediaOptions;

/// How often it looks whose time has come.
const STEP: Duration = Duration::from_millis(10);
/// Bytes that a client sends up to the end of its handshake.
const HANDSHAKE: u64 = 1 + 2 * 1536;
/// The status code for a publisher whose stream name is taken.
const BAD_NAME: &str = "NetStream.Publish.BadName";

/// What was done to the server, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tricks {
    resets: u64,
    closes: u64,
    leaves: u64,
    stalls: u64,
    never_read: u64,
    half_handshakes: u64,
    half_requests: u64,
    early_ends: u64,
    half_frames: u64,
    refused: u64,
}

/// Fills a number of places with publishers and players that behave badly, one after the other.
pub(crate) struct Script {
    address: SocketAddr,
    configs: [Arc<ClientConfig>; 2],
    media: MediaOptions,
    publishers: u32,
    /// Publishers, then clients that want the publishers' names, one for each, then players.
    places: Vec<Place>,
    end: Instant,
    ending: bool,
    tricks: Tricks,
}

/// One connection after the other.
struct Place {
    id: Option<Id>,
    act: Act,
    /// When something is to happen here.
    at: Instant,
    /// How the connection ends.
    how: End,
}

/// What the connection of a place does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// There is none.
    Wait,
    /// It publishes or plays until its time has come.
    Live,
    /// It plays, and stops reading at its time, for so long.
    Stall(Duration),
    /// It has stopped reading and goes on at its time.
    Stalled,
    /// It stops reading as soon as it plays.
    NeverRead,
    /// It falls silent in the middle of something.
    Mute,
    /// It ends as soon as this happens.
    Until(Stage),
    /// It was told to end.
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connected,
    Granted,
    FirstFrame,
}

impl Script {
    pub(crate) fn new(address: SocketAddr, media: MediaOptions, publishers: u32, players: u32, end: Instant) -> Self {
        let url = format!("rtmp://{address}/soak/stream");
        let config = Destination::parse(&url).map_or_else(|_| ClientConfig::default(), |to| ClientConfig::to(&to));
        let digest = ClientConfig { handshake: ClientHandshakeKind::Digest, ..config.clone() };
        let now = Instant::now();
        let place = |index: u32| {
            // They do not come all at once, and clients that want the same names come last.
            let late = if (publishers..2 * publishers).contains(&index) { 2000 } else { 0 };
            let at = now + Duration::from_millis(late + u64::from(index) * 3);
            Place { id: None, act: Act::Wait, at, how: End::Close }
        };
        Script {
            address,
            configs: [config, digest].map(Arc::new),
            media,
            publishers,
            places: (0..2 * publishers + players).map(place).collect(),
            end,
            ending: false,
            tricks: Tricks::default(),
        }
    }

    pub(crate) fn into_tricks(self) -> Tricks {
        self.tricks
    }

    fn act(&mut self, pool: &mut ClientPool, index: usize, now: Instant) {
        let place = &mut self.places[index];
        match (place.act, place.id) {
            (Act::Wait, _) => self.open(pool, index, now),
            (Act::Stall(time), Some(id)) => {
                pool.set_reading(id, false);
                self.tricks.stalls += 1;
                (place.act, place.at) = (Act::Stalled, now + time);
            }
            (Act::Stalled, Some(id)) => {
                pool.set_reading(id, true);
                (place.act, place.at) = (Act::Live, now + pool.random().milliseconds(0, 5000));
            }
            (Act::Live | Act::NeverRead | Act::Mute | Act::Until(_), Some(id)) => self.finish(pool, index, id),
            // Its time is over long since: the socket is closed on the way out of the loop at the latest.
            (Act::Ending, _) | (_, None) => place.at = now + Duration::from_secs(1),
        }
    }

    fn open(&mut self, pool: &mut ClientPool, index: usize, now: Instant) {
        let (publishers, random) = (self.publishers as usize, pool.random());
        let publishes = index < 2 * publishers;
        let stream = if publishes { index % publishers } else { random.below(publishers as u64) as usize } as u32;
        let (act, life, send_at_most) = if publishes {
            publisher(random, index >= publishers, &mut self.tricks)
        } else {
            player(random, &mut self.tricks)
        };
        let role = if publishes {
            Role::Publish { media: self.media.clone(), delay: random.milliseconds(0, 33) }
        } else {
            Role::Play { counts_only: false }
        };
        let how = [End::Reset, End::Close, End::Leave][random.below(3) as usize];
        let config = self.configs[random.below(2) as usize].clone();
        let name = format!("stream{stream}");
        let (address, tag) = (self.address, index as u64);
        let receive_buffer = random.chance(50).then_some(8 << 10);
        let id = pool.open(Spec { tag, address, tls: None, config, name, stream, role, send_at_most, receive_buffer });
        self.places[index] = Place { id: Some(id), act, at: now + life, how };
    }

    fn finish(&mut self, pool: &mut ClientPool, index: usize, id: Id) {
        let place = &mut self.places[index];
        // A silent client cannot end its stream in good order.
        let how = if place.act == Act::Mute && place.how == End::Leave { End::Close } else { place.how };
        place.act = Act::Ending;
        place.at += Duration::from_secs(1);
        match how {
            End::Reset => self.tricks.resets += 1,
            End::Close => self.tricks.closes += 1,
            End::Leave => self.tricks.leaves += 1,
        }
        pool.end(id, how);
    }

    /// The connection of a place is gone: when the next one comes.
    fn vacate(&mut self, random: &mut Random, index: usize, now: Instant) {
        let pause = match index / self.publishers.max(1) as usize {
            // Now and then longer than players wait for it.
            0 if random.chance(4) => random.milliseconds(11_000, 12_000),
            0 => random.milliseconds(0, 2000),
            1 => random.milliseconds(500, 8000),
            _ => random.milliseconds(0, 1000),
        };
        self.places[index] = Place { id: None, act: Act::Wait, at: now + pause, how: End::Close };
    }

    fn end_all(&mut self, pool: &mut ClientPool) {
        for index in 0..self.places.len() {
            if let Some(id) = self.places[index].id
                && self.places[index].act != Act::Ending
            {
                self.finish(pool, index, id);
            }
        }
    }
}

/// What a publisher does, for how long, and how many bytes it may send. A rival wants a name that another one has.
fn publisher(random: &mut Random, is_rival: bool, tricks: &mut Tricks) -> (Act, Duration, Option<u64>) {
    match random.below(100) {
        _ if is_rival => (Act::Live, random.milliseconds(100, 3000), None),
        0..10 => {
            tricks.half_frames += 1;
            (Act::Mute, random.milliseconds(1000, 6000), Some(HANDSHAKE + 700 + random.below(200_000)))
        }
        10..15 => {
            tricks.early_ends += 1;
            (Act::Until(Stage::Granted), random.milliseconds(4000, 8000), None)
        }
        _ => (Act::Live, random.milliseconds(2000, 15_000), None),
    }
}

/// What a player does, for how long, and how many bytes it may send.
fn player(random: &mut Random, tricks: &mut Tricks) -> (Act, Duration, Option<u64>) {
    match random.below(100) {
        0..20 => (Act::Stall(random.milliseconds(1000, 8000)), random.milliseconds(500, 4000), None),
        20..30 => {
            tricks.never_read += 1;
            (Act::NeverRead, random.milliseconds(3000, 15_000), None)
        }
        30..40 => {
            tricks.half_handshakes += 1;
            (Act::Mute, random.milliseconds(0, 5000), Some(random.below(HANDSHAKE)))
        }
        40..47 => {
            tricks.half_requests += 1;
            (Act::Mute, random.milliseconds(0, 5000), Some(HANDSHAKE + random.below(900)))
        }
        47..60 => {
            tricks.early_ends += 1;
            let stage = [Stage::Connected, Stage::Granted, Stage::FirstFrame][random.below(3) as usize];
            (Act::Until(stage), random.milliseconds(2000, 10_000), None)
        }
        _ => (Act::Live, random.milliseconds(1000, 20_000), None),
    }
}

impl Scenario for Script {
    fn on_event(&mut self, pool: &mut ClientPool, id: Id, tag: u64, event: PoolEvent) {
        let index = tag as usize;
        let now = Instant::now();
        if self.places[index].id != Some(id) {
            return;
        }
        let stage = match event {
            PoolEvent::Connected => Stage::Connected,
            PoolEvent::Publishing | PoolEvent::Playing => Stage::Granted,
            PoolEvent::FirstFrame(_) => Stage::FirstFrame,
            PoolEvent::Rejected(code) => {
                if code == BAD_NAME && index < 2 * self.publishers as usize {
                    self.tricks.refused += 1;
                } else {
                    pool.count_error(&format!("refused: {code}"));
                }
                if self.places[index].act != Act::Ending {
                    self.finish(pool, index, id);
                }
                return;
            }
            PoolEvent::Lost(name) => {
                // A server may close first, or reset what is being closed here.
                if self.places[index].act != Act::Ending {
                    pool.count_error(&name);
                }
                return self.vacate(pool.random(), index, now);
            }
            PoolEvent::Ended => return self.vacate(pool.random(), index, now),
            PoolEvent::Silent => return,
        };
        match self.places[index].act {
            Act::Until(until) if until == stage => self.finish(pool, index, id),
            Act::NeverRead if stage == Stage::Granted => pool.set_reading(id, false),
            _ => {}
        }
    }

    fn next_step(&mut self, pool: &mut ClientPool, now: Instant) -> Next {
        if now >= self.end {
            if !std::mem::replace(&mut self.ending, true) {
                self.end_all(pool);
            }
            if pool.is_empty() {
                return Next::Over;
            }
            return Next::At(now + STEP);
        }
        for index in 0..self.places.len() {
            if self.places[index].at <= now {
                self.act(pool, index, now);
            }
        }
        Next::At(now + STEP)
    }
}

impl fmt::Display for Tricks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tricks { resets, closes, leaves, stalls, never_read, .. } = self;
        let Tricks { half_handshakes, half_requests, early_ends, half_frames, refused, .. } = self;
        write!(
            f,
            "ended: {resets} reset, {closes} closed, {leaves} in good order, {early_ends} early; {stalls} stalled, \
             {never_read} never read; silent in {half_handshakes} handshakes, {half_requests} requests, {half_frames} \
             frames; {refused} refused a name"
        )
    }
}
