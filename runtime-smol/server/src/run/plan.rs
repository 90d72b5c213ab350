//! When programs start, wait and end. Pure: time and randomness are arguments, and orders are values.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::url::StreamKey;

use super::settings::{Restart, RunSettings};
use super::turns::{Bucket, Turns};

const MINUTE: Duration = Duration::from_secs(60);
/// How long after its grace a program may be there before those that wait for its end say so.
const LATE: Duration = Duration::from_secs(5);

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
    /// True if another server pushes the stream here.
    pub(super) is_relayed: bool,
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
    /// It is its turn at once, or when a program that must end before it has ended.
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
    /// Its entry among the timers.
    timer: Option<Instant>,
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

impl State {
    /// Whether it has a place in the limits.
    fn is_busy(self) -> bool {
        !matches!(self, State::Waiting { .. } | State::Over)
    }
}

#[derive(Debug)]
struct Live {
    facts: Arc<Facts>,
    settings: OfStream,
    /// When the stream is over, if no publisher comes back.
    ends: Option<Instant>,
}

/// The programs of all streams. What one call costs depends on what it has to do, and not on how many programs wait.
#[derive(Debug)]
pub(super) struct Plan {
    limits: PlanLimits,
    live: HashMap<StreamKey, Live>,
    /// When streams without a publisher are over.
    ends: BTreeSet<(Instant, StreamKey)>,
    /// In the order in which they were asked for.
    tasks: BTreeMap<u64, Task>,
    of_stream: HashMap<StreamKey, Vec<u64>>,
    next_id: u64,
    /// When a task must be looked at again.
    timers: BTreeSet<(Instant, u64)>,
    /// Tasks that run and must end.
    to_end: Vec<u64>,
    /// Tasks that wait for a place and a start.
    turns: Turns,
    /// Those of them that are new.
    fresh: Vec<u64>,
    /// Tasks that have a place, together and by virtual host.
    busy: usize,
    busy_of: HashMap<String, usize>,
    /// How often programs were started for names: by name and place in the list.
    paces: HashMap<(StreamKey, usize), Bucket>,
    pace: Bucket,
    /// When the next program may be started, if all were started too often.
    pace_until: Option<Instant>,
    random: u64,
    /// True while nothing may be started, because the server drains or stops.
    held: bool,
    /// By how many times it was restarted.
    pub(super) restarts: u64,
    pub(super) starts: u64,
    outcomes: HashMap<Outcome, u64>,
    /// How many tasks were looked at.
    #[cfg(test)]
    pub(super) looks: usize,
}

impl Plan {
    pub(super) fn new(now: Instant, limits: PlanLimits, seed: u64) -> Self {
        Plan {
            limits,
            live: HashMap::new(),
            ends: BTreeSet::new(),
            tasks: BTreeMap::new(),
            of_stream: HashMap::new(),
            next_id: 1,
            timers: BTreeSet::new(),
            to_end: Vec::new(),
            turns: Turns::default(),
            fresh: Vec::new(),
            busy: 0,
            busy_of: HashMap::new(),
            paces: HashMap::new(),
            pace: Bucket::new(now),
            pace_until: None,
            random: seed,
            held: false,
            restarts: 0,
            starts: 0,
            outcomes: HashMap::new(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// A publication begins. If the stream has one, this publisher has taken over or come back: the programs go on.
    pub(super) fn published(&mut self, now: Instant, facts: Facts, settings: OfStream) {
        let (key, facts) = (facts.key.clone(), Arc::new(facts));
        if let Some(live) = self.live.get_mut(&key) {
            live.facts = facts;
            if let Some(at) = live.ends.take() {
                self.ends.remove(&(at, key.clone()));
            }
        } else {
            self.live.insert(key.clone(), Live { facts, settings: settings.clone(), ends: None });
        }
        self.fit(now, &key, settings);
    }

    /// The stream has no publisher. Without programs it is forgotten at once: nothing would wait for its end.
    pub(super) fn unpublished(&mut self, now: Instant, key: &StreamKey) {
        let Some(live) = self.live.get_mut(key) else {
            return;
        };
        if live.settings.away.is_zero() || live.settings.runs.is_empty() {
            self.end_stream(key);
        } else if live.ends.is_none() {
            let at = now + live.settings.away.min(MINUTE * 60);
            live.ends = Some(at);
            self.ends.insert((at, key.clone()));
        }
    }

    /// Other settings are in force.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        limits: PlanLimits,
        settings: impl Fn(&Facts) -> Option<OfStream>,
    ) {
        self.limits = limits;
        let lives: Vec<_> = self.live.values().map(|live| live.facts.clone()).collect();
        for facts in lives {
            let none = || OfStream { runs: Vec::new(), away: Duration::ZERO, most: None };
            self.fit(now, &facts.key, settings(&facts).unwrap_or_else(none));
        }
    }

    /// The stream has these settings now: programs that they do not have end, and those that are new begin.
    fn fit(&mut self, now: Instant, key: &StreamKey, new: OfStream) {
        for id in self.ids_of(key) {
            let Some(task) = self.tasks.get_mut(&id).filter(|task| task.wanted) else {
                continue;
            };
            match new.runs.iter().position(|run| *run == task.settings) {
                Some(place) => task.place = place,
                None => self.give_up(id),
            }
        }
        if let Some(live) = self.live.get_mut(key) {
            live.settings = new;
        }
        self.begin(now, key);
        self.queue_blocked(key);
    }

    /// Nothing is started, and all programs end, while this is true.
    pub(super) fn hold(&mut self, now: Instant, held: bool) {
        if std::mem::replace(&mut self.held, held) == held {
            return;
        }
        if held {
            let ids: Vec<_> = self.tasks.keys().copied().collect();
            ids.into_iter().for_each(|id| self.give_up(id));
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
        let (facts, runs) = (live.facts.clone(), live.settings.runs.clone());
        for (place, settings) in runs.into_iter().enumerate() {
            let is_there = |task: &Task| task.wanted && task.settings == settings;
            if self.ids_of(key).iter().any(|id| self.tasks.get(id).is_some_and(is_there)) {
                continue;
            }
            let id = self.next_id;
            self.next_id += 1;
            let task = Task {
                settings,
                facts: facts.clone(),
                state: State::Waiting { at: now, why: Why::Turn },
                starts: 0,
                last: None,
                failures: 0,
                place,
                wanted: true,
                timer: None,
            };
            self.tasks.insert(id, task);
            self.of_stream.entry(key.clone()).or_default().push(id);
            self.queue(id);
        }
    }

    fn ids_of(&self, key: &StreamKey) -> Vec<u64> {
        self.of_stream.get(key).cloned().unwrap_or_default()
    }

    /// The task is not wanted any more.
    fn give_up(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.wanted) else {
            return;
        };
        task.wanted = false;
        match task.state {
            State::Waiting { .. } | State::Over => self.remove(id),
            State::Running { .. } => self.to_end.push(id),
            State::Starting | State::Ending { .. } => {}
        }
    }

    /// Forgets a task that has no place.
    fn remove(&mut self, id: u64) {
        self.set_timer(id, None);
        let Some(task) = self.tasks.remove(&id) else {
            return;
        };
        let key = &task.facts.key;
        self.turns.remove(key.vhost(), id);
        if let Some(ids) = self.of_stream.get_mut(key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of_stream.remove(key);
            }
        }
    }

    fn set_timer(&mut self, id: u64, at: Option<Instant>) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut task.timer, at) {
            self.timers.remove(&(before, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    /// Counts the places that tasks have. All changes of a state that begin or end with one come by here.
    fn set(&mut self, id: u64, state: State) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut task.state, state).is_busy();
        let host = task.facts.key.vhost();
        match (before, state.is_busy()) {
            (false, true) => {
                self.busy += 1;
                *self.busy_of.entry(host.to_owned()).or_default() += 1;
            }
            (true, false) => {
                self.busy = self.busy.saturating_sub(1);
                let count = self.busy_of.get(host).copied().unwrap_or_default();
                if count <= 1 {
                    self.busy_of.remove(host);
                } else {
                    self.busy_of.insert(host.to_owned(), count - 1);
                }
            }
            _ => {}
        }
    }

    /// Lets a task wait for a place and a start.
    fn queue(&mut self, id: u64) {
        if let Some(task) = self.tasks.get(&id) {
            self.turns.add(task.facts.key.vhost(), id);
            self.fresh.push(id);
        }
    }

    /// Tasks that waited for the end of another one of their stream get their turn.
    fn queue_blocked(&mut self, key: &StreamKey) {
        for id in self.ids_of(key) {
            let is_blocked = |task: &Task| matches!(task.state, State::Waiting { why: Why::Turn, .. });
            if self.tasks.get(&id).is_some_and(is_blocked) {
                self.set_timer(id, None);
                self.queue(id);
            }
        }
    }

    /// The program runs.
    pub(super) fn started(&mut self, now: Instant, id: u64, pid: u32) {
        if let Some(task) = self.tasks.get_mut(&id) {
            self.starts += 1;
            self.restarts += u64::from(task.starts > 0);
            task.starts += 1;
            if !task.wanted {
                self.to_end.push(id);
            }
            self.set(id, State::Running { since: now, pid });
        }
    }

    /// The program could not be started. It is not tried again if it is `refused`.
    pub(super) fn not_started(&mut self, now: Instant, id: u64, words: String, refused: bool) {
        let outcome = if refused { Outcome::Refused } else { Outcome::NotStarted };
        *self.outcomes.entry(outcome).or_default() += 1;
        // It is one of all starts that others can use.
        self.pace.back(self.limits.starts);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.last = Some((outcome, words));
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
        self.set(id, State::Over);
        self.set_timer(id, None);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let key = task.facts.key.clone();
        if !task.wanted {
            self.remove(id);
        } else if again {
            let wait = backoff(&task.settings, task.failures, next_random(&mut self.random));
            task.failures = task.failures.saturating_add(1);
            self.set(id, State::Waiting { at: now + wait, why: Why::Restart });
            self.set_timer(id, Some(now + wait));
        }
        self.queue_blocked(&key);
    }

    fn end_stream(&mut self, key: &StreamKey) {
        if let Some(at) = self.live.remove(key).and_then(|live| live.ends) {
            self.ends.remove(&(at, key.clone()));
        }
        self.ids_of(key).into_iter().for_each(|id| self.give_up(id));
    }

    /// What is to be done now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Order> {
        // Streams whose publisher did not come back are over.
        while let Some((_, key)) = self.ends.first().filter(|(at, _)| *at <= now).cloned() {
            self.end_stream(&key);
        }
        let mut orders = Vec::new();
        for id in std::mem::take(&mut self.to_end) {
            let task = self.tasks.get(&id).map(|task| (task.state, task.settings.grace.0));
            if let Some((State::Running { since, pid }, grace)) = task {
                let kill_at = now + grace;
                self.set(id, State::Ending { since, pid, kill_at, killed: false });
                self.set_timer(id, Some(kill_at));
                orders.push(Order::Terminate { id });
            }
        }
        while let Some((_, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            self.set_timer(id, None);
            match self.tasks.get(&id).map(|task| task.state) {
                Some(State::Waiting { why: Why::Turn, .. }) => {
                    orders.push(Order::Waits { id, why: Why::Turn, at: None });
                }
                Some(State::Waiting { .. }) => self.queue(id),
                Some(State::Ending { since, pid, kill_at, killed: false }) => {
                    self.set(id, State::Ending { since, pid, kill_at, killed: true });
                    orders.push(Order::Kill { id });
                }
                _ => {}
            }
        }
        self.start_waiting(now, &mut orders);
        self.paces.retain(|_, bucket| !bucket.is_full(now));
        orders
    }

    fn start_waiting(&mut self, now: Instant, orders: &mut Vec<Order>) {
        let within = |most: Option<u32>, count: usize| most.is_none_or(|most| count < most as usize);
        self.pace_until = None;
        while within(self.limits.runs, self.busy) {
            let has_room = |host: &str, id: u64| {
                let of_host = self.tasks.get(&id).and_then(|task| self.live.get(&task.facts.key));
                let count = self.busy_of.get(host).copied().unwrap_or_default();
                within(of_host.and_then(|live| live.settings.most), count)
            };
            let Some(id) = self.turns.next(has_room) else {
                break;
            };
            #[cfg(test)]
            {
                self.looks += 1;
            }
            if self.is_blocked(now, id) {
                continue;
            }
            match self.take_start(now, id) {
                Some((Why::PaceOfAll, at)) => {
                    self.pace_until = Some(at);
                    self.waits(id, Why::PaceOfAll, now, None, orders);
                    break;
                }
                Some((why, at)) => {
                    self.leave_queue(id);
                    self.set_timer(id, Some(at));
                    self.waits(id, why, at, Some(at), orders);
                }
                None => {
                    self.leave_queue(id);
                    self.set(id, State::Starting);
                    orders.extend(self.start(id));
                }
            }
        }
        // What has come since the last time, and must wait.
        for id in std::mem::take(&mut self.fresh) {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            let is_queued = |task: &Task| self.turns.has(task.facts.key.vhost(), id);
            if self.tasks.get(&id).is_some_and(is_queued) && !self.is_blocked(now, id) {
                let why = if self.pace_until.is_some() { Why::PaceOfAll } else { Why::Room };
                self.waits(id, why, now, None, orders);
            }
        }
    }

    /// The order to start a task, for the newest publisher of its stream.
    fn start(&mut self, id: u64) -> Option<Order> {
        let task = self.tasks.get_mut(&id)?;
        if let Some(live) = self.live.get(&task.facts.key) {
            task.facts = live.facts.clone();
        }
        let (settings, facts) = (task.settings.clone(), task.facts.clone());
        Some(Order::Start { id, settings, facts, attempt: task.starts + 1 })
    }

    fn leave_queue(&mut self, id: u64) {
        if let Some(task) = self.tasks.get(&id) {
            self.turns.passed(task.facts.key.vhost());
            self.turns.remove(task.facts.key.vhost(), id);
        }
    }

    /// Notes why a task waits, and reports it if it is new.
    fn waits(&mut self, id: u64, new: Why, at: Instant, until: Option<Instant>, orders: &mut Vec<Order>) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if !matches!(task.state, State::Waiting { why, .. } if why == new) {
            orders.push(Order::Waits { id, why: new, at: until.or(self.pace_until) });
        }
        task.state = State::Waiting { at, why: new };
    }

    /// One program of an entry at a time: the one before may have its output's name. If there is one, the task leaves
    /// the queue until that has ended, and says so if it takes longer than it may.
    fn is_blocked(&mut self, now: Instant, id: u64) -> bool {
        let Some(task) = self.tasks.get(&id) else {
            return false;
        };
        let (key, host) = (task.facts.key.clone(), task.facts.key.vhost().to_owned());
        let is_before =
            |other: &&Task| other.state.is_busy() && (other.place == task.place || other.settings == task.settings);
        let mut others = self.of_stream.get(&key).into_iter().flatten().filter_map(|other| self.tasks.get(other));
        let Some(before) = others.find(is_before) else {
            return false;
        };
        let late = now + before.settings.grace.0 + LATE;
        self.turns.remove(&host, id);
        if let Some(task) = self.tasks.get_mut(&id) {
            // The end of the one before is what it waits for, not a time.
            task.state = State::Waiting { at: now, why: Why::Turn };
        }
        self.set_timer(id, Some(late));
        true
    }

    /// Counts a start, or returns why it must wait and until when.
    fn take_start(&mut self, now: Instant, id: u64) -> Option<(Why, Instant)> {
        let task = self.tasks.get(&id)?;
        let (place, most) = ((task.facts.key.clone(), task.place), task.settings.starts);
        let bucket = self.paces.entry(place).or_insert_with(|| Bucket::new(now));
        if let Err(at) = bucket.take(now, most) {
            return Some((Why::Pace, at));
        }
        if let Err(at) = self.pace.take(now, self.limits.starts) {
            bucket.back(most);
            return Some((Why::PaceOfAll, at));
        }
        None
    }

    /// When to call [`due`](Self::due) again, if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let end = self.ends.first().map(|(at, _)| *at);
        timer.into_iter().chain(end).chain(self.pace_until.filter(|_| !self.turns.is_empty())).min()
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

    /// The programs that are being started.
    pub(super) fn starting(&self) -> Vec<u64> {
        let starting = self.tasks.iter().filter(|(_, task)| matches!(task.state, State::Starting));
        starting.map(|(id, _)| *id).collect()
    }

    pub(super) fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self.outcomes.get(&outcome).copied().unwrap_or_default()))
    }

    /// Whether no process is there, and none is about to be.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// Streams with programs that are expected to have a publisher.
    pub(super) fn streams(&self) -> Vec<StreamKey> {
        let live = self.live.iter().filter(|(_, live)| live.ends.is_none() && !live.settings.runs.is_empty());
        live.map(|(key, _)| key.clone()).collect()
    }

    /// Whether there is any program, or nothing may be started.
    pub(super) fn is_active(&self) -> bool {
        self.held || !self.tasks.is_empty()
    }

    /// The streams that it knows.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.live.len()
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
