use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anabranch_core::client::ClientConfig;

use crate::Histogram;
use crate::client_pool::{ClientPool, End, Id, Next, PoolEvent, Role, Scenario, Spec};
use crate::load::{Addresses, Layout, LoadOptions, Shared};

/// How often a loop looks whether the run goes on.
const STEP: Duration = Duration::from_millis(20);
/// Before a player that failed is tried again, where one follows the other.
const PAUSE: Duration = Duration::from_millis(100);

/// The share of one event loop in a load: which clients connect, and what they do once connected.
#[derive(Debug)]
pub(crate) struct LoadScenario {
    options: Arc<LoadOptions>,
    addresses: Addresses,
    /// Of publishers and of players.
    configs: [Arc<ClientConfig>; 2],
    /// How they encrypt.
    tls: [Option<Arc<rustls::ClientConfig>>; 2],
    shared: Arc<Shared>,
    /// By their tags.
    places: Vec<Place>,
    /// Tags of those to come, the next one last.
    publishers: Vec<u64>,
    players: Vec<u64>,
    churners: Vec<(Instant, u64)>,
    /// Connections on their way to publishing or playing.
    rising: u32,
    rising_limit: u32,
    /// Between two connections that are opened.
    interval: Duration,
    next_open: Instant,
    /// Times from opening to the first key frame, of players that stay.
    pub(crate) first_frame: Histogram,
    /// The same of those that come and go.
    pub(crate) churn: Histogram,
}

/// One connection that is there or is to come.
#[derive(Debug, Clone, Copy)]
struct Place {
    part: Part,
    stream: u32,
    rising: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Publisher,
    Player { counts_only: bool },
    Stalled,
    Churner,
}

impl LoadScenario {
    pub(crate) fn new(
        number: u32,
        options: &Arc<LoadOptions>,
        addresses: Addresses,
        tls: [Option<Arc<rustls::ClientConfig>>; 2],
        shared: Arc<Shared>,
    ) -> Self {
        let threads = options.threads.max(1);
        let streams = options.stream_count();
        let mut places = Vec::new();
        // Every loop takes each so-manieth of each kind.
        let mut take = |count: u32, part: &dyn Fn(u32) -> Part| -> Vec<u64> {
            let mine = (0..count).filter(|index| index % threads == number);
            let tags = mine.map(|index| {
                let part = part(index);
                let first = options.layout == Layout::First && part != Part::Publisher;
                places.push(Place { part, stream: if first { 0 } else { index % streams }, rising: false });
                places.len() as u64 - 1
            });
            let mut tags: Vec<_> = tags.collect();
            tags.reverse();
            tags
        };
        let check_every = options.check_every.max(1);
        // The streams' turn comes round before the checked ones', so that each stream has some.
        let player = |index: u32| Part::Player { counts_only: !(index / streams).is_multiple_of(check_every) };
        let publishers = take(options.publishers, &|_| Part::Publisher);
        let mut players = take(options.stalled, &|_| Part::Stalled);
        players.extend(take(options.players, &player));
        let now = Instant::now();
        let churners = take(options.churn, &|_| Part::Churner).into_iter().map(|tag| (now, tag)).collect();
        let configs = [&options.destination, options.played()]
            .map(|to| Arc::new(ClientConfig { handshake: options.handshake, ..ClientConfig::to(to) }));
        LoadScenario {
            addresses,
            configs,
            tls,
            shared,
            places,
            publishers,
            players,
            churners,
            rising: 0,
            rising_limit: options.parallel.div_ceil(threads).max(1),
            interval: Duration::from_secs_f64(f64::from(threads) / options.ramp.max(0.1)),
            next_open: now,
            first_frame: Histogram::default(),
            churn: Histogram::default(),
            options: options.clone(),
        }
    }

    fn open(&mut self, pool: &mut ClientPool, tag: u64) {
        let place = self.places[tag as usize];
        self.places[tag as usize].rising = true;
        let role = match place.part {
            Part::Publisher => {
                let frame = (1000.0 / self.options.media.fps).max(1.0) as u64;
                let delay = pool.random().milliseconds(0, frame);
                Role::Publish { media: self.options.media.clone(), delay }
            }
            Part::Player { counts_only } => self.play(place.stream, counts_only),
            Part::Stalled | Part::Churner => self.play(place.stream, false),
        };
        let stream = place.stream;
        let [to_publish, to_play] = &self.configs;
        let [tls_to_publish, tls_to_play] = &self.tls;
        let (address, tls, config, at) = match place.part {
            Part::Publisher => {
                (self.addresses.publish, tls_to_publish.clone(), to_publish.clone(), &self.options.destination)
            }
            _ => (self.addresses.play, tls_to_play.clone(), to_play.clone(), self.options.played()),
        };
        let name = self.options.stream_name(at, stream);
        self.rising += 1;
        pool.open(Spec { tag, address, tls, config, name, stream, role, send_at_most: None, receive_buffer: None });
    }

    fn play(&self, stream: u32, counts_only: bool) -> Role {
        let number = (self.options.stream_count() > 1).then_some(stream);
        match &self.options.watch_at {
            Some(target) => target.role(number, counts_only),
            None => Role::Play { counts_only },
        }
    }

    /// The next one to come and whose turn it is, if there is one.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if let Some(tag) = self.publishers.pop() {
            return Some(tag);
        }
        let settled = self.shared.settled_publishers.load(Ordering::Relaxed);
        if settled < u64::from(self.options.publishers) {
            return None;
        }
        if let Some(tag) = self.players.pop() {
            return Some(tag);
        }
        if !self.shared.measured.load(Ordering::Relaxed) {
            return None;
        }
        let at = self.churners.iter().position(|(at, _)| *at <= now)?;
        Some(self.churners.swap_remove(at).1)
    }

    /// It plays or publishes, or will never.
    fn settle(&mut self, tag: u64) {
        let place = &mut self.places[tag as usize];
        if !std::mem::replace(&mut place.rising, false) {
            return;
        }
        self.rising -= 1;
        if place.part == Part::Publisher {
            self.shared.settled_publishers.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lose(&mut self, pool: &mut ClientPool, tag: u64, error: &str) {
        pool.count_error(error);
        self.settle(tag);
        match self.places[tag as usize].part {
            Part::Publisher => {}
            Part::Player { .. } | Part::Stalled => _ = self.shared.failed.fetch_add(1, Ordering::Relaxed),
            Part::Churner => self.churners.push((Instant::now() + PAUSE, tag)),
        }
    }
}

impl Scenario for LoadScenario {
    fn on_event(&mut self, pool: &mut ClientPool, id: Id, tag: u64, event: PoolEvent) {
        let part = self.places[tag as usize].part;
        match event {
            PoolEvent::Publishing => self.settle(tag),
            PoolEvent::Playing => {
                self.settle(tag);
                if part == Part::Stalled {
                    pool.set_reading(id, false);
                }
            }
            PoolEvent::FirstFrame(time) if part == Part::Churner => {
                if self.shared.measured.load(Ordering::Relaxed) {
                    self.churn.record(time);
                    self.shared.churned.fetch_add(1, Ordering::Relaxed);
                }
                pool.end(id, End::Close);
            }
            PoolEvent::FirstFrame(time) => self.first_frame.record(time),
            PoolEvent::Rejected(code) => {
                self.lose(pool, tag, &format!("refused: {code}"));
                pool.end(id, End::Close);
            }
            PoolEvent::Lost(name) => self.lose(pool, tag, &name),
            PoolEvent::Ended if part == Part::Churner && !self.churners.iter().any(|(_, other)| *other == tag) => {
                self.churners.push((Instant::now(), tag));
            }
            PoolEvent::Ended | PoolEvent::Connected | PoolEvent::Silent => {}
        }
    }

    fn next_step(&mut self, pool: &mut ClientPool, now: Instant) -> Next {
        if self.shared.over.load(Ordering::Relaxed) {
            return Next::Over;
        }
        // After a pause the ramp goes on from now, and does not catch up.
        self.next_open = self.next_open.max(now.checked_sub(STEP).unwrap_or(now));
        while self.next_open <= now && self.rising < self.rising_limit {
            let Some(tag) = self.next(now) else {
                break;
            };
            // The ramp is for those that stay: those that come and go do so as fast as they can.
            if self.places[tag as usize].part != Part::Churner {
                self.next_open += self.interval;
            }
            self.open(pool, tag);
        }
        let soon = now + STEP;
        Next::At(if self.next_open > now { self.next_open.min(soon) } else { soon })
    }
}
