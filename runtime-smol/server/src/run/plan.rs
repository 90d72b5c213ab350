//! When programs start, wait and end. Pure: time and randomness are arguments, and orders are values.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::url::StreamKey;

use super::settings::{Restart, RunSettings};

const MINUTE: Duration = Duration::from_secs(60);

/// The limits of the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlanLimits {
    /// Programs at the same time.
    pub(super) runs: Option<u32>,
    /// Starts of all programs within a minute.
    pub(super) starts: u32,
}

/// What is known of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) key: StreamKey,
    pub(super) params: String,
    pub(super) address: String,
    /// 0 for the program itself.
    pub(super) connection: u64,
    pub(super) begun: SystemTime,
}

/// The settings for one stream.
#[derive(Debug, Clone)]
pub(super) struct OfStream {
    pub(super) runs: Vec<Arc<RunSettings>>,
    /// How long the publisher may be away before the stream is over.
    pub(super) away: Duration,
    /// Programs at the same time in the virtual host.
    pub(super) most: Option<u32>,
}

/// Something to do now.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// Start the program, and then call [`Plan::started`] or [`Plan::not_started`].
    Start { id: u64, settings: Arc<RunSettings>, facts: Arc<Facts>, attempt: u64 },
    /// Send SIGTERM to the process group.
    Terminate { id: u64 },
    /// Send SIGKILL to the process group.
    Kill { id: u64 },
    /// A program must wait. Reported once for each wait that begins.
    Waits { id: u64, why: Why, at: Option<Instant> },
}

/// Why a program waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is its turn at once.
    Turn,
    /// It has ended, and is started again after a while.
    Restart,
    /// `limits.runs` is reached: of the server, or of the virtual host.
    Room,
    /// It was started too often within a minute.
    Pace,
    /// All programs together were started too often within a minute.
    PaceOfAll,
}

impl Why {
    pub(super) fn name(self) -> &'static str {
        match self {
            Why::Turn => "turn",
            Why::Restart => "restart",
            Why::Room => "limits_runs",
            Why::Pace => "starts",
            Why::PaceOfAll => "limits_run_starts",
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

/// The result of a start, for metrics and the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It ended by itself, with code 0.
    Success,
    /// It ended by itself, with another code.
    Failure,
    /// A signal ended it that the server had not sent.
    Signal,
    /// The server ended it, because the stream was over, it was removed from the configuration, or the server stopped.
    Ended,
    /// The same, and it had to be killed.
    Killed,
    /// The system could not start it.
    NotStarted,
    /// It must not be started for this stream.
    Refused,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 7] = [
        Outcome::Success,
        Outcome::Failure,
        Outcome::Signal,
        Outcome::Ended,
        Outcome::Killed,
        Outcome::NotStarted,
        Outcome::Refused,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Signal => "signal",
            Outcome::Ended => "ended",
            Outcome::Killed => "killed",
            Outcome::NotStarted => "not_started",
            Outcome::Refused => "refused",
        }
    }
}

/// One program for one stream.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) settings: Arc<RunSettings>,
    pub(super) facts: Arc<Facts>,
    pub(super) state: State,
    /// How often it was started for this publication, and since it was last asked for.
    pub(super) starts: u64,
    pub(super) last: Option<(Outcome, String)>,
    /// Failures in a row.
    failures: u32,
    /// The position in the list of the settings.
    place: usize,
    /// False once it is to end: the stream is over, the settings are gone, or another publication has begun.
    wanted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It starts as soon as `at` has come and there is room.
    Waiting {
        at: Instant,
        why: Why,
    },
    /// The order to start it is under way.
    Starting,
    Running {
        since: Instant,
        pid: u32,
    },
    /// It was asked to end.
    Ending {
        since: Instant,
        pid: u32,
        kill_at: Instant,
        killed: bool,
    },
    /// It is not started again while the stream goes on.
    Over,
}

#[derive(Debug)]
struct Live {
    facts: Arc<Facts>,
    settings: OfStream,
    /// When the stream is over, if no publisher comes back.
    ends: Option<Instant>,
}

/// How many starts there may be at once, and how fast they come back.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When it is full again.
    full: Instant,
}

impl Bucket {
    /// Takes one of `most` a minute.
    fn take(&mut self, now: Instant, most: u32) -> Result<(), Instant> {
        let each = MINUTE / most.max(1);
        let full = self.full.max(now);
        // The last start must leave no more than a minute's worth missing.
        let latest = now + MINUTE;
        if full + each > latest {
            return Err(now + (full + each - latest));
        }
        self.full = full + each;
        Ok(())
    }

    fn back(&mut self, most: u32) {
        self.full = self.full.checked_sub(MINUTE / most.max(1)).unwrap_or(self.full);
    }
}

/// The programs of all streams.
#[derive(Debug)]
pub(super) struct Plan {
    limits: PlanLimits,
    live: HashMap<StreamKey, Live>,
    /// In the order in which they were asked for.
    tasks: BTreeMap<u64, Task>,
    next_id: u64,
    /// How often programs were started for names: by name and place in the list.
    paces: HashMap<(StreamKey, usize), Bucket>,
    pace: Bucket,
    random: u64,
    /// True while nothing may be started, because the server drains or stops.
    held: bool,
    /// By how many times it was restarted.
    pub(super) restarts: u64,
    pub(super) starts: u64,
    outcomes: HashMap<Outcome, u64>,
}

impl Plan {
    pub(super) fn new(now: Instant, limits: PlanLimits, seed: u64) -> Self {
        Plan {
            limits,
            live: HashMap::new(),
            tasks: BTreeMap::new(),
            next_id: 1,
            paces: HashMap::new(),
            pace: Bucket { full: now },
            random: seed,
            held: false,
            restarts: 0,
            starts: 0,
            outcomes: HashMap::new(),
        }
    }

    /// A publication begins. If the stream has one, this publisher has taken over or come back: the programs go on.
    pub(super) fn published(&mut self, now: Instant, facts: Facts, settings: OfStream) {
        let facts = Arc::new(facts);
        if let Some(live) = self.live.get_mut(&facts.key) {
            live.facts = facts;
            live.settings = settings;
            live.ends = None;
        } else {
            self.live.insert(facts.key.clone(), Live { facts: facts.clone(), settings, ends: None });
            self.begin(now, &facts.key);
        }
    }

    /// The stream has no publisher.
    pub(super) fn unpublished(&mut self, now: Instant, key: &StreamKey) {
        let Some(live) = self.live.get_mut(key) else {
            return;
        };
        if live.settings.away.is_zero() {
            self.end_stream(key);
        } else {
            live.ends = live.ends.or(Some(now + live.settings.away.min(MINUTE * 60)));
        }
    }

    /// Other settings are in force.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        limits: PlanLimits,
        settings: impl Fn(&StreamKey) -> Option<OfStream>,
    ) {
        self.limits = limits;
        let keys: Vec<_> = self.live.keys().cloned().collect();
        for key in keys {
            let new = settings(&key).unwrap_or_else(|| OfStream { runs: Vec::new(), away: Duration::ZERO, most: None });
            for task in self.tasks.values_mut().filter(|task| task.facts.key == key && task.wanted) {
                let place = new.runs.iter().position(|run| *run == task.settings);
                task.wanted = place.is_some();
                task.place = place.unwrap_or(task.place);
            }
            if let Some(live) = self.live.get_mut(&key) {
                live.settings = new;
            }
            self.begin(now, &key);
        }
    }

    /// Nothing is started, and all programs end, while this is true.
    pub(super) fn hold(&mut self, now: Instant, held: bool) {
        if std::mem::replace(&mut self.held, held) == held {
            return;
        }
        if held {
            self.tasks.values_mut().for_each(|task| task.wanted = false);
        } else {
            let keys: Vec<_> = self.live.keys().cloned().collect();
            keys.iter().for_each(|key| self.begin(now, key));
        }
    }

    /// Adds the programs of a live stream that are not there.
    fn begin(&mut self, now: Instant, key: &StreamKey) {
        let Some(live) = self.live.get(key).filter(|_| !self.held) else {
            return;
        };
        for (place, settings) in live.settings.runs.iter().enumerate() {
            let is_there = |task: &Task| task.facts.key == *key && task.wanted && task.settings == *settings;
            if !self.tasks.values().any(is_there) {
                let task = Task {
                    settings: settings.clone(),
                    facts: live.facts.clone(),
                    state: State::Waiting { at: now, why: Why::Turn },
                    starts: 0,
                    last: None,
                    failures: 0,
                    place,
                    wanted: true,
                };
                self.tasks.insert(self.next_id, task);
                self.next_id += 1;
            }
        }
    }

    /// The program runs.
    pub(super) fn started(&mut self, now: Instant, id: u64, pid: u32) {
        if let Some(task) = self.tasks.get_mut(&id) {
            self.starts += 1;
            self.restarts += u64::from(task.starts > 0);
            task.starts += 1;
            task.state = State::Running { since: now, pid };
        }
    }

    /// The program could not be started. It is not tried again if it is `refused`.
    pub(super) fn not_started(&mut self, now: Instant, id: u64, words: String, refused: bool) {
        let outcome = if refused { Outcome::Refused } else { Outcome::NotStarted };
        *self.outcomes.entry(outcome).or_default() += 1;
        if let Some(task) = self.tasks.get_mut(&id) {
            task.last = Some((outcome, words));
            task.state = State::Over;
            let again = !refused && task.settings.restart != Restart::Never;
            self.after(now, id, again);
        }
    }

    /// The program and all that it had started have ended.
    pub(super) fn exited(&mut self, now: Instant, id: u64, exit: Exit, words: String) -> Option<Outcome> {
        let task = self.tasks.get_mut(&id)?;
        let (outcome, since) = match (task.state, exit) {
            (State::Ending { killed: true, since, .. }, _) => (Outcome::Killed, since),
            (State::Ending { since, .. }, _) => (Outcome::Ended, since),
            (State::Running { since, .. }, Exit::Code(0)) => (Outcome::Success, since),
            (State::Running { since, .. }, Exit::Code(_)) => (Outcome::Failure, since),
            (State::Running { since, .. }, Exit::Signal(_)) => (Outcome::Signal, since),
            (State::Waiting { .. } | State::Starting | State::Over, _) => return None,
        };
        *self.outcomes.entry(outcome).or_default() += 1;
        if now.saturating_duration_since(since) >= task.settings.restart_most.0 {
            task.failures = 0;
        }
        task.last = Some((outcome, words));
        task.state = State::Over;
        let again = match task.settings.restart {
            Restart::Always => true,
            Restart::OnFailure => outcome != Outcome::Success,
            Restart::Never => false,
        };
        self.after(now, id, again);
        Some(outcome)
    }

    /// A program is over: it waits to be started again, or stays over until its stream is.
    fn after(&mut self, now: Instant, id: u64, again: bool) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if !task.wanted {
            self.tasks.remove(&id);
            return;
        }
        if again {
            let wait = backoff(&task.settings, task.failures, next_random(&mut self.random));
            task.failures = task.failures.saturating_add(1);
            task.state = State::Waiting { at: now + wait, why: Why::Restart };
        }
    }

    /// Streams whose publisher did not come back are over.
    fn end_streams(&mut self, now: Instant) {
        let over = self.live.iter().filter(|(_, live)| live.ends.is_some_and(|at| at <= now));
        let over: Vec<StreamKey> = over.map(|(key, _)| key.clone()).collect();
        over.iter().for_each(|key| self.end_stream(key));
    }

    fn end_stream(&mut self, key: &StreamKey) {
        self.live.remove(key);
        self.tasks.values_mut().filter(|task| task.facts.key == *key).for_each(|task| task.wanted = false);
    }

    /// What is to be done now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Order> {
        self.end_streams(now);
        self.tasks.retain(|_, task| task.wanted || !matches!(task.state, State::Waiting { .. } | State::Over));
        let mut orders = Vec::new();
        for (id, task) in &mut self.tasks {
            match &mut task.state {
                State::Running { since, pid } if !task.wanted => {
                    let kill_at = now + task.settings.grace.0;
                    task.state = State::Ending { since: *since, pid: *pid, kill_at, killed: false };
                    orders.push(Order::Terminate { id: *id });
                }
                State::Ending { kill_at, killed, .. } if !*killed && *kill_at <= now => {
                    *killed = true;
                    orders.push(Order::Kill { id: *id });
                }
                _ => {}
            }
        }
        self.start_waiting(now, &mut orders);
        self.paces.retain(|_, bucket| bucket.full > now);
        orders
    }

    fn start_waiting(&mut self, now: Instant, orders: &mut Vec<Order>) {
        let is_busy = |task: &Task| !matches!(task.state, State::Waiting { .. } | State::Over);
        let mut running = 0_usize;
        let mut of_vhost = HashMap::<String, usize>::new();
        for task in self.tasks.values().filter(|task| is_busy(task)) {
            running += 1;
            *of_vhost.entry(task.facts.key.vhost().to_owned()).or_default() += 1;
        }
        let within = |most: Option<u32>, count: usize| most.is_none_or(|most| count < most as usize);
        let ids: Vec<u64> = self.tasks.keys().copied().collect();
        for id in ids {
            let Some(task) = self.tasks.get(&id) else {
                continue;
            };
            let State::Waiting { at, why } = task.state else {
                continue;
            };
            if at > now {
                continue;
            }
            let key = &task.facts.key;
            // One program of an entry at a time: the one before may have its output's name.
            let before = |other: &Task| {
                is_busy(other)
                    && other.facts.key == *key
                    && (other.place == task.place || other.settings == task.settings)
            };
            if self.tasks.values().any(before) {
                if let Some(task) = self.tasks.get_mut(&id) {
                    // The end of the one before is what it waits for, not a time.
                    task.state = State::Waiting { at: now, why: Why::Turn };
                }
                continue;
            }
            let count = of_vhost.get(key.vhost()).copied().unwrap_or_default();
            let most = self.live.get(key).and_then(|live| live.settings.most);
            let wait = if !within(self.limits.runs, running) || !within(most, count) {
                Some((Why::Room, None))
            } else {
                self.take_start(now, id)
            };
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            match wait {
                Some((new, at)) => {
                    task.state = State::Waiting { at: at.unwrap_or(now), why: new };
                    if new != why {
                        orders.push(Order::Waits { id, why: new, at });
                    }
                }
                None => {
                    task.state = State::Starting;
                    running += 1;
                    *of_vhost.entry(task.facts.key.vhost().to_owned()).or_default() += 1;
                    // The newest publisher of the stream.
                    if let Some(live) = self.live.get(&task.facts.key) {
                        task.facts = live.facts.clone();
                    }
                    let (settings, facts) = (task.settings.clone(), task.facts.clone());
                    orders.push(Order::Start { id, settings, facts, attempt: task.starts + 1 });
                }
            }
        }
    }

    /// Counts a start, or returns why it must wait and until when.
    fn take_start(&mut self, now: Instant, id: u64) -> Option<(Why, Option<Instant>)> {
        let task = self.tasks.get(&id)?;
        let (place, most) = ((task.facts.key.clone(), task.place), task.settings.starts);
        let bucket = self.paces.entry(place).or_insert(Bucket { full: now });
        if let Err(at) = bucket.take(now, most) {
            return Some((Why::Pace, Some(at)));
        }
        if let Err(at) = self.pace.take(now, self.limits.starts) {
            bucket.back(most);
            return Some((Why::PaceOfAll, Some(at)));
        }
        None
    }

    /// When to call [`due`](Self::due) again, if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        let tasks = self.tasks.values().filter_map(|task| match task.state {
            State::Waiting { why: Why::Room | Why::Turn, .. } => None,
            State::Waiting { at, .. } => Some(at),
            State::Ending { kill_at, killed: false, .. } => Some(kill_at),
            _ => None,
        });
        tasks.chain(self.live.values().filter_map(|live| live.ends)).min()
    }

    /// All programs, the oldest first.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (u64, &Task)> {
        self.tasks.iter().map(|(id, task)| (*id, task))
    }

    pub(super) fn task(&self, id: u64) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// The programs that have a process.
    pub(super) fn running(&self) -> usize {
        let is_running = |task: &&Task| matches!(task.state, State::Running { .. } | State::Ending { .. });
        self.tasks.values().filter(is_running).count()
    }

    /// The programs that wait to be started.
    pub(super) fn waiting(&self) -> usize {
        self.tasks.values().filter(|task| matches!(task.state, State::Waiting { .. })).count()
    }

    pub(super) fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self.outcomes.get(&outcome).copied().unwrap_or_default()))
    }

    /// Whether a process is there, or is about to be.
    pub(super) fn is_idle(&self) -> bool {
        !self.tasks.values().any(|task| !matches!(task.state, State::Waiting { .. } | State::Over))
    }

    /// Live streams that have programs.
    pub(super) fn streams(&self) -> Vec<StreamKey> {
        let keys: HashSet<_> = self.tasks.values().filter(|task| task.wanted).map(|task| &task.facts.key).collect();
        keys.into_iter().cloned().collect()
    }

    /// Whether there is any program, or nothing may be started.
    pub(super) fn is_active(&self) -> bool {
        self.held || !self.tasks.is_empty()
    }
}

/// The wait before a restart after so many failures in a row: it doubles up to the longest, and is up to a quarter
/// shorter or longer.
fn backoff(settings: &RunSettings, failures: u32, random: u64) -> Duration {
    let doubled = settings.restart_after.0.saturating_mul(1 << failures.min(20));
    let wait = doubled.min(settings.restart_most.0);
    let quarter = wait / 4;
    let span = u64::try_from((quarter * 2).as_micros()).unwrap_or(u64::MAX).max(1);
    wait - quarter + Duration::from_micros(random % span)
}

/// SplitMix64: numbers that look random. Not for secrets.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
