use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Measured, StreamPace, ThreadShare};

/// How often a thread's wishes are computed. Long enough for some sweeps, short enough that a person sees no delay.
const PERIOD: Duration = Duration::from_millis(250);
/// The part of its time that a thread may write to players without frames waiting longer than configured. Half: the next
/// stream that begins is then served as well as those before.
const CALM: f64 = 0.5;
/// How busy a thread may be with the longest windows, and with other work beside players. What is left is for what comes
/// unexpectedly: many players that join at once, a large key frame.
const FULL: f64 = 0.8;
/// The part of its time that a thread has for players if other work takes all of it.
const LEAST: f64 = 0.1;
/// Frames do not come more often than this, unless a stream has several tracks of each kind.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// A stream of which nothing has come for so long takes nothing. Shorter pauses are part of how it comes.
const SILENT: Duration = Duration::from_secs(1);
/// A wish that differs less than this part of itself from the one before is not told.
const LITTLE: f64 = 1.0 / 16.0;

/// What one thread of an adapter spends its time with, and how long it therefore wants frames to wait.
///
/// The adapter has one for each thread that writes to players. It tells each stream whose players the thread writes to
/// ([`join`](Self::join), [`leave`](Self::leave)), each sweep through the players of a stream ([`swept`](Self::swept))
/// and each time that the thread waited for something to do ([`idled`](Self::idled)). Nothing else is to be done: the
/// publishers of these streams learn how long their frames wait.
///
/// Made by [`Hub::thread_load`](crate::hub::Hub::thread_load). The wishes end when it is dropped.
#[derive(Debug)]
pub struct ThreadLoad {
    /// Identifies the thread among all of the hub.
    number: u64,
    /// When the current period began.
    began: Instant,
    /// What it has waited in the period; `None` if the adapter has never told.
    idle: Option<Duration>,
    /// What its sweeps have taken in the period.
    swept: Duration,
    /// The part of its time that other work takes, over some periods.
    other: f64,
    is_saturated: bool,
    streams: HashMap<u64, Load>,
    measured: Option<Arc<Mutex<Measured>>>,
}

/// The sweeps of one stream.
#[derive(Debug)]
struct Load {
    pace: Arc<StreamPace>,
    /// Seconds for each player, over some sweeps.
    cost: Option<f64>,
    /// Players at the last sweep.
    players: usize,
    last: Option<Instant>,
    /// Seconds between sweeps, over some sweeps.
    interval: Option<f64>,
    wish: Option<Duration>,
    /// True if it took no more than its share at the last look, so that its wish ends if that is so again.
    is_small: bool,
}

/// A mean with a small weight for what is old.
fn mean(before: Option<f64>, sample: f64) -> f64 {
    before.map_or(sample, |before| before * 0.75 + sample * 0.25)
}

impl Load {
    fn new(pace: Arc<StreamPace>) -> Self {
        Load { pace, cost: None, players: 0, last: None, interval: None, wish: None, is_small: false }
    }

    fn swept(&mut self, began: Instant, players: usize, took: Duration) {
        let sample = took.as_secs_f64() / players as f64;
        // One sweep may take long because the thread did not run.
        let most = self.cost.map_or(f64::INFINITY, |cost| cost * 2.0);
        self.cost = Some(mean(self.cost, sample.min(most)));
        self.players = players;
        if let Some(last) = self.last.replace(began) {
            // A publisher may pause.
            let most = self.interval.map_or(f64::INFINITY, |interval| interval * 2.0);
            let sample = began.saturating_duration_since(last).as_secs_f64();
            self.interval = Some(mean(self.interval, sample.min(most)));
        }
    }

    /// Seconds that a sweep takes.
    fn time(&self) -> f64 {
        self.cost.unwrap_or_default() * self.players as f64
    }

    /// The part of a thread's time that the stream would take with the window as configured.
    fn demand(&self, now: Instant, is_saturated: bool) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        let (configured, _) = self.pace.limits();
        let shortest = configured.max(SHORTEST_INTERVAL).as_secs_f64();
        // What comes less often than the window allows comes as often with any shorter one. On a saturated thread,
        // sweeps are rare for another reason.
        let measured = self.interval.filter(|interval| *interval > 1.25 * self.pace.window().as_secs_f64());
        let interval = measured.filter(|_| !is_saturated).map_or(shortest, |interval| interval.max(shortest));
        if now.saturating_duration_since(last) >= SILENT { 0.0 } else { self.time() / interval }
    }

    /// The window with which the stream takes its share of the thread's time: exactly that where the window stays as
    /// configured, and more the longer it is, up to `growth` times as much at the longest one. So players wait less where
    /// the thread can bear it, and less time is saved where that costs them much.
    fn window(&self, share: f64, growth: f64) -> Duration {
        let (configured, longest) = self.pace.limits();
        let wanted = self.time() / share;
        let (from, to) = (configured.as_secs_f64(), longest.as_secs_f64());
        if to <= from {
            return configured;
        }
        // window * (1 + slope * (window - from)) = wanted
        let slope = (growth - 1.0) / (to - from);
        if slope < 1e-6 {
            return Duration::from_secs_f64(wanted.clamp(from, to));
        }
        let half = (1.0 - slope * from) / 2.0;
        let window = ((half * half + slope * wanted).sqrt() - half) / slope;
        Duration::from_secs_f64(window.clamp(from, to))
    }

    /// The wish changes to this.
    fn wishes(&mut self, thread: u64, window: Duration) {
        let (configured, longest) = self.pace.limits();
        let wish = Some(window).filter(|window| *window > configured);
        let is_same = match (self.wish, wish) {
            (Some(before), Some(wish)) => before.abs_diff(wish) < before.mul_f64(LITTLE) && wish != longest,
            (before, wish) => before == wish,
        };
        if !is_same {
            self.wish = wish;
            self.pace.wish(thread, wish);
        }
    }
}

impl ThreadLoad {
    pub(super) fn new(now: Instant, number: u64, measured: Option<Arc<Mutex<Measured>>>) -> Self {
        ThreadLoad {
            number,
            began: now,
            idle: None,
            swept: Duration::ZERO,
            other: 0.0,
            is_saturated: false,
            streams: HashMap::new(),
            measured,
        }
    }

    /// From now on the thread writes to players of a stream.
    pub fn join(&mut self, pace: Arc<StreamPace>) {
        self.streams.entry(pace.number).or_insert_with(|| Load::new(pace));
    }

    /// The thread has no players of a stream any more.
    pub fn leave(&mut self, pace: &StreamPace) {
        if let Some(load) = self.streams.remove(&pace.number) {
            load.pace.wish(self.number, None);
        }
    }

    /// The thread has waited for something to do, until `now`.
    pub fn idled(&mut self, now: Instant, time: Duration) {
        *self.idle.get_or_insert_default() += time;
        self.look(now);
    }

    /// The thread has written to `players` players of a stream, beginning at `began`. That took `took` of its time,
    /// without what it did in between, and ended `now`.
    pub fn swept(&mut self, now: Instant, pace: &StreamPace, began: Instant, players: usize, took: Duration) {
        self.swept += took;
        if players > 0
            && let Some(load) = self.streams.get_mut(&pace.number)
        {
            load.swept(began, players, took);
        }
        self.look(now);
    }

    fn look(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed >= PERIOD {
            self.measure(elapsed, now);
            self.plan(now);
        }
    }

    fn measure(&mut self, elapsed: Duration, now: Instant) {
        let sweeping = self.swept.div_duration_f64(elapsed).min(1.0);
        let busy = self.idle.map_or(sweeping, |idle| 1.0 - idle.div_duration_f64(elapsed).min(1.0));
        self.other = mean(Some(self.other), (busy - sweeping).max(0.0));
        self.is_saturated = busy > 0.9;
        (self.began, self.swept) = (now, Duration::ZERO);
        self.idle = self.idle.map(|_| Duration::ZERO);
        if let Some(measured) = &self.measured {
            let share = ThreadShare { busy, sweeping };
            *measured.lock().unwrap_or_else(PoisonError::into_inner) = Measured { at: now, share };
        }
    }

    /// Gives each stream a share of the thread's time: all that it demands, but no more than a common limit, which is as
    /// high as the thread's time allows (max-min fairness). So streams that take little keep the window as configured,
    /// however much others take, and also if those take more than their share with the longest window.
    fn plan(&mut self, now: Instant) {
        let rest = (FULL - self.other).max(LEAST);
        let budget = rest.min(CALM);
        let demand = |load: &Load| load.demand(now, self.is_saturated);
        let demands: Vec<_> = self.streams.values().map(demand).collect();
        let limit = common_limit(&demands, budget);
        for (load, demand) in self.streams.values_mut().zip(demands) {
            let (configured, _) = load.pace.limits();
            let was_small = std::mem::replace(&mut load.is_small, demand <= limit);
            if !load.is_small {
                let window = load.window(limit, rest / budget);
                load.wishes(self.number, window);
            } else if was_small {
                // One look may be at an unusual time.
                load.wishes(self.number, configured);
            }
        }
    }
}

impl Drop for ThreadLoad {
    fn drop(&mut self) {
        for load in self.streams.values().filter(|load| load.wish.is_some()) {
            load.pace.wish(self.number, None);
        }
    }
}

/// The highest limit with which all demands, each cut to the limit, are no more than the budget together. Infinite if
/// all get what they demand.
fn common_limit(demands: &[f64], budget: f64) -> f64 {
    let mut demands = demands.to_vec();
    demands.sort_unstable_by(f64::total_cmp);
    let mut left = budget;
    for (index, demand) in demands.iter().enumerate() {
        let each = left / (demands.len() - index) as f64;
        if each < *demand {
            return each;
        }
        left -= demand;
    }
    f64::INFINITY
}
