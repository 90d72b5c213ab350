//! Programs that the server starts when a stream begins, and ends when the stream ends.
//!
//! [`plan`] decides when a program starts, waits, is started again and ends; one thread follows its orders. Another thread
//! for each program reads its output and waits for its end.

pub(crate) mod launch;
mod output;
mod plan;
mod process;
mod settings;
mod status;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::hub::{HeldBy, StreamId};
use anabranch_core::policy::{Action, PASS};
use anabranch_core::url::StreamKey;
use anabranch_host::{Handle, PublishStart};
use rustix::process::Signal;
use tracing::{error, info, warn};

use output::Entry;
use plan::{Exit, Facts, OfStream, Order, Outcome, Plan, PlanLimits};
pub(crate) use process::find;
use process::{Group, Launch};
pub(crate) use settings::RunSettings;
pub(crate) use status::{RunCounts, RunSnapshot};
use template::{NotExpanded, Template, Urls, Values};

use crate::settings::written::Of;
use crate::settings::{Loaded, OfStreams};

/// How often it is checked whether the server drains, and whether streams still have their publisher.
const LOOK: Duration = Duration::from_millis(500);
/// How long the server waits at its end for programs that it killed.
const KILLED: Duration = Duration::from_secs(1);

/// Runs programs. Clones share the same programs.
#[derive(Clone)]
pub(crate) struct Runner {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Notified when something has changed: for the thread that starts and ends programs, and at the end.
    changed: Condvar,
}

struct State {
    plan: Plan,
    settings: InForce,
    /// The streams that are published by others than the programs of this server.
    streams: HashMap<StreamId, StreamKey>,
    /// The processes that may be there, by the number of their task.
    groups: HashMap<u64, Group>,
    has_thread: bool,
    stops: bool,
    server: Option<Server>,
}

/// The running server.
#[derive(Clone)]
struct Server {
    handle: Handle,
    /// Where programs reach it.
    address: Option<SocketAddr>,
}

/// The settings in force.
struct InForce {
    runs: OfStreams<Vec<Arc<RunSettings>>>,
    away: OfStreams<Duration>,
    most: OfStreams<Option<u32>>,
}

impl InForce {
    fn of(loaded: &Loaded) -> Self {
        fn map<T, U>(of: &OfStreams<T>, f: impl Fn(&T) -> U) -> OfStreams<U> {
            let Ok(mapped) = of.try_map(|one| Ok::<_, std::convert::Infallible>(f(one)));
            mapped
        }
        InForce {
            runs: map(&loaded.of_streams(|one| &one.run), |runs| runs.iter().cloned().map(Arc::new).collect()),
            away: map(&loaded.of_streams(|one| &one.play), |play| play.unpublish_grace.0),
            most: map(&loaded.of_streams(|one| &one.limits), |limits| limits.runs.0),
        }
    }

    fn stream(&self, key: &StreamKey) -> OfStream {
        let runs = self.runs.stream(key).iter().filter(|run| run.wants(key)).cloned().collect();
        OfStream { runs, away: *self.away.stream(key), most: *self.most.vhost(key.vhost()) }
    }

    fn is_any(&self) -> bool {
        self.runs.iter().any(|runs| !runs.is_empty())
    }
}

fn limits_of(loaded: &Loaded) -> PlanLimits {
    let limits = &loaded.settings.limits;
    PlanLimits { runs: limits.runs.0, starts: limits.run_starts }
}

impl Runner {
    /// A runner with the settings of this configuration.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn new(loaded: &Loaded) -> Result<Self, String> {
        // Two servers that start at once have different numbers.
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = u64::from(time.subsec_nanos()) ^ u64::from(std::process::id()).rotate_left(32);
        let state = State {
            plan: Plan::new(Instant::now(), limits_of(loaded), seed),
            settings: InForce::of(loaded),
            streams: HashMap::new(),
            groups: HashMap::new(),
            has_thread: false,
            stops: false,
            server: None,
        };
        let runner = Runner { inner: Arc::new(Inner { state: Mutex::new(state), changed: Condvar::new() }) };
        runner.prepare(loaded)?;
        Ok(runner)
    }

    /// Prepares for the settings of this configuration.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn prepare(&self, loaded: &Loaded) -> Result<(), String> {
        let mut state = self.inner.state();
        if InForce::of(loaded).is_any() && !state.has_thread {
            let inner = self.inner.clone();
            let thread = thread::Builder::new().name("runs".to_owned()).spawn(move || inner.supervise());
            thread.map_err(|error| format!("cannot start a thread for [[run]]: {error}"))?;
            state.has_thread = true;
        }
        Ok(())
    }

    /// Puts the settings of this configuration in force, for live streams, too: programs that it does not have end.
    /// Call [`prepare`](Self::prepare) before.
    pub(crate) fn update(&self, loaded: &Loaded) {
        let settings = InForce::of(loaded);
        let mut state = self.inner.state();
        let now = Instant::now();
        state.plan.reconfigure(now, limits_of(loaded), |key| Some(settings.stream(key)));
        state.settings = settings;
        drop(state);
        self.inner.changed.notify_all();
    }

    /// Starts to run programs for streams of this server. `addresses` are those on which it takes plain RTMP.
    pub(crate) fn start(&self, handle: &Handle, addresses: &[SocketAddr]) {
        let address = loopback(addresses);
        self.inner.state().server = Some(Server { handle: handle.clone(), address });
        let inner = self.inner.clone();
        handle.on_publish(move |start| inner.begins(start));
        let inner = self.inner.clone();
        handle.on_unpublish(move |stream| inner.ends(stream));
    }

    /// Begins to end all programs; nothing is started any more.
    pub(crate) fn begin_stop(&self) {
        self.inner.state().stops = true;
        self.inner.changed.notify_all();
    }

    /// Call this after the server has stopped. Waits until all programs have ended, at most for `time`, and then kills
    /// those that are left. Returns their number.
    pub(crate) fn finish(&self, time: Duration) -> usize {
        self.begin_stop();
        let wait = |time| {
            let busy = |state: &mut State| !state.groups.is_empty() || !state.plan.is_idle();
            let waited = self.inner.changed.wait_timeout_while(self.inner.state(), time, busy);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        let state = wait(time);
        let left: Vec<Group> = state.groups.values().cloned().collect();
        drop(state);
        left.iter().for_each(|group| group.signal(Signal::KILL));
        if !left.is_empty() {
            drop(wait(KILLED));
        }
        self.inner.state().server = None;
        left.len()
    }

    /// All programs, the oldest first.
    pub(crate) fn list(&self) -> Vec<RunSnapshot> {
        let (now, time) = (Instant::now(), SystemTime::now());
        self.inner.state().plan.tasks().map(|(id, task)| RunSnapshot::of(id, task, now, time)).collect()
    }

    /// Counts of all programs so far.
    pub(crate) fn counts(&self) -> RunCounts {
        RunCounts::of(&self.inner.state().plan)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A publisher begins. What a program of this server publishes starts none: programs would start each other. What is
    /// pulled from an origin starts none, either: the programs run where the stream is published.
    fn begins(&self, start: &PublishStart) {
        let client = start.client.as_ref();
        if start.is_pulled || client.is_some_and(|client| client.by_pass) {
            return;
        }
        let facts = Facts {
            key: start.key.clone(),
            params: client.map(|client| client.params.trim_start_matches('?').to_owned()).unwrap_or_default(),
            address: client
                .and_then(|client| client.address)
                .map(|address| address.ip().to_string())
                .unwrap_or_default(),
            connection: client.map_or(0, |client| client.connection),
            begun: SystemTime::now(),
        };
        let mut state = self.state();
        state.streams.insert(start.stream, start.key.clone());
        let settings = state.settings.stream(&start.key);
        state.plan.published(Instant::now(), facts, settings);
        drop(state);
        self.changed.notify_all();
    }

    /// A publisher has ended. Another one may have the name.
    fn ends(&self, stream: StreamId) {
        let mut state = self.state();
        let Some((key, server)) = state.streams.get(&stream).cloned().zip(state.server.clone()) else {
            return;
        };
        // What is pulled from another server starts no programs, so it keeps none.
        let held = server.handle.publisher(&key);
        if held.is_some_and(|held| !matches!(held, HeldBy::Relay { .. })) {
            return;
        }
        state.streams.remove(&stream);
        state.plan.unpublished(Instant::now(), &key);
        drop(state);
        self.changed.notify_all();
    }

    /// Follows the plan until the program ends. A panic ends all programs; those that are wanted begin again.
    fn supervise(self: &Arc<Self>) {
        loop {
            if catch_unwind(AssertUnwindSafe(|| self.follow())).is_ok() {
                return;
            }
            error!(
                event = "bug",
                "all programs of [[run]] are ended: the code that runs them panicked, which is a bug"
            );
            self.state().groups.values().for_each(|group| group.signal(Signal::KILL));
            thread::sleep(LOOK);
        }
    }

    fn follow(self: &Arc<Self>) {
        let mut state = self.state();
        let mut looked = Instant::now();
        loop {
            let now = Instant::now();
            let server = state.server.clone();
            if let Some(server) = &server {
                let leaves = state.stops || server.handle.is_leaving();
                state.plan.hold(now, leaves);
                if now.saturating_duration_since(looked) >= LOOK {
                    looked = now;
                    state.look(now, server);
                }
            }
            let orders = state.plan.due(now);
            if orders.is_empty() {
                if state.stops && state.plan.is_idle() {
                    self.changed.notify_all();
                    return;
                }
                let next = state.plan.next().map(|at| at.saturating_duration_since(now));
                let look = state.plan.is_active().then_some(LOOK);
                state = match next.into_iter().chain(look).min() {
                    Some(time) => self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
                    None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
                continue;
            }
            for order in orders {
                match order {
                    Order::Start { id, settings, facts, attempt } => {
                        drop(state);
                        self.launch(id, &settings, &facts, attempt, server.as_ref());
                        state = self.state();
                    }
                    Order::Terminate { id } => state.signal(id, Signal::TERM),
                    Order::Kill { id } => state.kill(id),
                    Order::Waits { id, why, at } => state.remark_wait(id, why, at.map(|at| at - now)),
                }
            }
        }
    }

    fn launch(
        self: &Arc<Self>,
        id: u64,
        run: &Arc<RunSettings>,
        facts: &Arc<Facts>,
        attempt: u64,
        server: Option<&Server>,
    ) {
        let label = run.label();
        let prepared = match server {
            Some(server) => prepare(run, facts, server).map_err(|error| (error.to_string(), true)),
            None => Err(("the server has stopped".to_owned(), true)),
        };
        let found = prepared
            .and_then(|prepared| find(&run.program(), &run.folder).map(|_| prepared).map_err(|words| (words, false)));
        let started = found.and_then(|(command, environment)| {
            let launch = Launch {
                command: &command,
                folder: &run.folder,
                environment: &environment,
                log_lines: run.log_lines,
                grace: run.grace.0,
            };
            self.start(id, &launch, &label, facts, attempt).map_err(|error| (error.to_string(), false))
        });
        if let Err((words, refused)) = started {
            let mut state = self.state();
            state.plan.not_started(Instant::now(), id, words.clone(), refused);
            let again = again(state.plan.task(id));
            drop(state);
            let (vhost, app, stream) = (facts.key.vhost(), facts.key.app(), facts.key.stream());
            let shown = facts.key.shown();
            let line = format!("{label} is not started for {shown}: {words}{again}");
            if refused {
                warn!(event = "run_refused", run = label, vhost, app, stream, error = words, "{line}");
            } else {
                warn!(event = "run_failed", run = label, vhost, app, stream, error = words, "{line}");
            }
        }
    }

    fn start(
        self: &Arc<Self>,
        id: u64,
        launch: &Launch<'_>,
        label: &str,
        facts: &Arc<Facts>,
        attempt: u64,
    ) -> io::Result<()> {
        let begun = |group: &Group| {
            let mut state = self.state();
            state.plan.started(Instant::now(), id, group.number());
            state.groups.insert(id, group.clone());
            drop(state);
            let (vhost, app, stream) = (facts.key.vhost(), facts.key.app(), facts.key.stream());
            let (shown, pid) = (facts.key.shown(), group.number());
            info!(
                event = "run_started",
                run = label,
                vhost,
                app,
                stream,
                pid,
                attempt,
                "{label} runs for {shown} as process {pid}"
            );
        };
        let (of_log, name) = (facts.clone(), label.to_owned());
        let log = move |entry| {
            let (vhost, app, stream) = (of_log.key.vhost(), of_log.key.app(), of_log.key.stream());
            let shown = of_log.key.shown();
            match entry {
                Entry::Line(text) => {
                    info!(event = "run_output", run = name, vhost, app, stream, "{name} of {shown}: {text}");
                }
                Entry::LeftOut(lines) => info!(
                    event = "run_output",
                    run = name,
                    vhost,
                    app,
                    stream,
                    lines,
                    "{name} of {shown}: {lines} lines of output left out"
                ),
            }
        };
        let (inner, facts, label) = (self.clone(), facts.clone(), label.to_owned());
        let ended = move |exit| inner.exited(id, exit, &facts, &label);
        process::start(launch, begun, log, ended)
    }

    fn exited(&self, id: u64, exit: Exit, facts: &Facts, label: &str) {
        let words = match exit {
            Exit::Code(code) => format!("with code {code}"),
            Exit::Signal(signal) => format!("by signal {signal}"),
        };
        let mut state = self.state();
        let outcome = state.plan.exited(Instant::now(), id, exit, words.clone());
        state.groups.remove(&id);
        let again = again(state.plan.task(id));
        drop(state);
        self.changed.notify_all();
        let (vhost, app, stream) = (facts.key.vhost(), facts.key.app(), facts.key.stream());
        let (shown, outcome) = (facts.key.shown(), outcome.unwrap_or(Outcome::Ended));
        let result = outcome.name();
        match outcome {
            Outcome::Success | Outcome::Ended => {
                info!(
                    event = "run_ended",
                    run = label,
                    vhost,
                    app,
                    stream,
                    result,
                    "{label} of {shown} has ended {words}{again}"
                );
            }
            _ => {
                warn!(
                    event = "run_ended",
                    run = label,
                    vhost,
                    app,
                    stream,
                    result,
                    "{label} of {shown} has ended {words}{again}"
                );
            }
        }
    }
}

impl State {
    /// Streams that lost their publisher without a notice, because the code that served it panicked.
    fn look(&mut self, now: Instant, server: &Server) {
        for key in self.plan.streams() {
            if server.handle.publisher(&key).is_none() {
                self.streams.retain(|_, known| *known != key);
                self.plan.unpublished(now, &key);
            }
        }
    }

    fn signal(&self, id: u64, signal: Signal) {
        if let Some(group) = self.groups.get(&id) {
            group.signal(signal);
        }
    }

    fn kill(&self, id: u64) {
        self.signal(id, Signal::KILL);
        if let Some(task) = self.plan.task(id) {
            let (key, label) = (&task.facts.key, task.settings.label());
            let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
            let grace = task.settings.grace.0.as_secs_f64();
            warn!(
                event = "run_killed",
                run = label,
                vhost,
                app,
                stream,
                "{label} of {shown} is killed: it has not ended within {grace} s"
            );
        }
    }

    fn remark_wait(&self, id: u64, why: plan::Why, time: Option<Duration>) {
        if let Some(task) = self.plan.task(id) {
            let (key, label) = (&task.facts.key, task.settings.label());
            let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
            let (limit, until) = (why.name(), time.map(|time| format!(", for {:.1} s", time.as_secs_f64())));
            let until = until.unwrap_or_default();
            warn!(
                event = "run_waits",
                run = label,
                vhost,
                app,
                stream,
                limit,
                "{label} waits to be started for {shown}: the limit {limit} is reached{until}"
            );
        }
    }
}

/// When a program is started again, in words.
fn again(task: Option<&plan::Task>) -> String {
    let Some(plan::Task { state: plan::State::Waiting { at, .. }, .. }) = task else {
        return String::new();
    };
    let time = at.saturating_duration_since(Instant::now());
    format!("; it is started again in {:.1} s", time.as_secs_f64())
}

/// The arguments and the environment of a program for a stream.
type Prepared = (Vec<String>, BTreeMap<String, String>);

fn prepare(run: &RunSettings, facts: &Facts, server: &Server) -> Result<Prepared, NotExpanded> {
    let values = Values {
        key: &facts.key,
        params: &facts.params,
        address: &facts.address,
        connection: facts.connection,
        begun: facts.begun,
    };
    let urls = Signed { server, time: run.url_lifetime.0 };
    let argument = |Of(part): &Of<Template>| part.argument(&values, &urls);
    let command = run.command.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
    let mut environment = BTreeMap::new();
    for name in ["PATH"].into_iter().chain(run.inherit.iter().map(String::as_str)) {
        if let Ok(value) = env::var(name) {
            environment.insert(name.to_owned(), value);
        }
    }
    for (name, value) in &run.environment {
        // Values that are no templates are refused with the configuration.
        if let Ok(template) = value.0.parse::<Template>() {
            environment.insert(name.clone(), template.value(&values, &urls)?);
        }
    }
    Ok((command, environment))
}

/// URLs of this server, with passes.
struct Signed<'a> {
    server: &'a Server,
    time: Duration,
}

impl Signed<'_> {
    /// The query is behind the first component of the app: there ffmpeg takes it for a part of the app, so that the server
    /// gets it with `connect`.
    fn url(&self, action: Action, key: &StreamKey) -> Option<String> {
        let address = self.server.address?;
        let (app, rest) =
            key.app().split_once('/').map_or((key.app(), String::new()), |(app, rest)| (app, format!("/{rest}")));
        let pass = self.server.handle.pass(action, key, self.time);
        let (vhost, stream) = (key.vhost(), key.stream());
        Some(format!("rtmp://{address}/{app}?vhost={vhost}&{PASS}={pass}{rest}/{stream}"))
    }
}

impl Urls for Signed<'_> {
    fn input(&self, key: &StreamKey) -> Option<String> {
        self.url(Action::Play, key)
    }

    fn output(&self, key: &StreamKey) -> Option<String> {
        self.url(Action::Publish, key)
    }
}

/// The first of these addresses that programs on this machine reach over loopback.
fn loopback(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let on_loopback = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))),
        ip if ip.is_loopback() => Some(*address),
        _ => None,
    };
    addresses.iter().find_map(on_loopback)
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("running", &self.inner.state().groups.len()).finish_non_exhaustive()
    }
}
