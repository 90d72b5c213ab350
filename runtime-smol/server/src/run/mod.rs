//! Programs that the server starts when a stream begins, and ends when the stream ends.
//!
//! [`plan`] decides when a program starts, waits, is started again and ends; one thread follows its orders. Another thread
//! for each program reads its output and waits for its end.

pub(crate) mod launch;
mod output;
mod plan;
mod process;
mod script;
mod settings;
mod status;
mod template;
#[cfg(test)]
mod tests;
mod turns;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::hub::{HeldBy, StreamId};
use anabranch_core::policy::{Action, Issued, PASS};
use anabranch_core::url::StreamKey;
use anabranch_host::{Handle, PublishStart};
use tracing::{error, info, warn};

use output::{Entry, Output, Rate};
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
/// Lines a second of all programs together that the log gets; in a burst ten times as many.
const LINES_OF_ALL: u32 = 1000;
/// How long connections of a program may last after it has ended.
const LAST_FRAMES: Duration = Duration::from_secs(5);
/// The stack of a thread that starts a program, and waits for its end.
const STACK: usize = 512 << 10;

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
    /// The tasks that have a thread, which starts the program and reports its end.
    threads: HashSet<u64>,
    /// How many lines of output the log gets: of an entry for a stream, however often it is started, and of all.
    rates: HashMap<(StreamKey, String, u32), output::Shared>,
    rate: output::Shared,
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

    fn stream(&self, Facts { key, is_relayed, .. }: &Facts) -> OfStream {
        let runs = self.runs.stream(key).iter().filter(|run| run.wants(key, *is_relayed)).cloned().collect();
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
            threads: HashSet::new(),
            rates: HashMap::new(),
            rate: Arc::new(Mutex::new(Rate::new(Instant::now(), LINES_OF_ALL))),
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
        state.plan.reconfigure(now, limits_of(loaded), |facts| Some(settings.stream(facts)));
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
        // What must not be signalled is left.
        left.iter().for_each(|group| _ = group.kill());
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
    /// pulled from an origin starts none, either: the programs run where the stream is published. What another server
    /// pushes here starts only those that are for such streams.
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
            is_relayed: client.is_some_and(|client| client.relays),
            begun: SystemTime::now(),
        };
        let mut state = self.state();
        state.streams.insert(start.stream, start.key.clone());
        let settings = state.settings.stream(&facts);
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
            let mut state = self.state();
            state.groups.values().for_each(|group| _ = group.kill());
            // The orders to start these were lost.
            let lost = state.plan.starting().into_iter().filter(|id| !state.threads.contains(id));
            for id in lost.collect::<Vec<_>>() {
                state.plan.not_started(Instant::now(), id, PANICKED.to_owned(), false);
            }
            drop(state);
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
                    drop(state);
                    self.look(server);
                    state = self.state();
                }
            }
            let now = Instant::now();
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
                        state.threads.insert(id);
                        drop(state);
                        self.start(id, settings, facts, attempt, server.clone());
                        state = self.state();
                    }
                    Order::Terminate { id } => state.terminate(id),
                    Order::Kill { id } => state.kill(id),
                    Order::Waits { id, why, at } => {
                        state.remark_wait(id, why, at.map(|at| at.saturating_duration_since(now)));
                    }
                }
            }
        }
    }

    /// Streams that lost their publisher without a notice, because the code that served it panicked. The hub is asked
    /// about all of them without the lock that publishers need.
    fn look(&self, server: &Server) {
        let is_gone = |key: &StreamKey| server.handle.publisher(key).is_none();
        let mut gone = self.state().plan.streams();
        gone.retain(is_gone);
        for key in gone {
            let mut state = self.state();
            // One that begins now is told after this.
            if is_gone(&key) {
                state.streams.retain(|_, known| *known != key);
                state.plan.unpublished(Instant::now(), &key);
            }
        }
    }

    /// Starts a program in a separate thread, so that a disk that hangs holds up nothing else.
    fn start(
        self: &Arc<Self>,
        id: u64,
        settings: Arc<RunSettings>,
        facts: Arc<Facts>,
        attempt: u64,
        server: Option<Server>,
    ) {
        let label = settings.label();
        let unreported = Some("the system starts no thread for it");
        let one = One { inner: self.clone(), id, settings, facts, label, unreported };
        // Without a thread, it is dropped and reports that.
        let _ = thread::Builder::new()
            .name("run".to_owned())
            .stack_size(STACK)
            .spawn(move || one.run(attempt, server.as_ref()));
    }
}

/// The words of an end that a panic has brought.
const PANICKED: &str = "the code that runs it panicked, which is a bug";

/// One program that is being started, or runs. Whatever happens to its thread, the plan is told of its end.
struct One {
    inner: Arc<Inner>,
    id: u64,
    settings: Arc<RunSettings>,
    facts: Arc<Facts>,
    label: String,
    /// What has happened, if this is dropped without a report.
    unreported: Option<&'static str>,
}

impl Drop for One {
    fn drop(&mut self) {
        let Some(words) = self.unreported.take() else {
            return;
        };
        let mut state = self.inner.state();
        state.threads.remove(&self.id);
        state.groups.remove(&self.id);
        let now = Instant::now();
        if state.plan.exited(now, self.id, Exit::Code(-1), words.to_owned()).is_none() {
            state.plan.not_started(now, self.id, words.to_owned(), false);
        }
        drop(state);
        self.inner.changed.notify_all();
        let key = &self.facts.key;
        let (run, vhost, app, stream) = (&self.label, key.vhost(), key.app(), key.stream());
        error!(event = "run_failed", run, vhost, app, stream, error = words, "{run} of {}: {words}", key.shown());
    }
}

impl One {
    fn run(mut self, attempt: u64, server: Option<&Server>) {
        self.unreported = Some(PANICKED);
        match self.try_run(attempt, server) {
            Ok((exit, uses)) => {
                self.exited(exit);
                if let Some(server) = server {
                    end_uses(uses, server);
                }
            }
            Err((words, refused)) => self.not_started(&words, refused),
        }
    }

    /// Runs the program to its end. Returns the connections that its passes have made and that are there still.
    ///
    /// # Errors
    /// Why it was not started, and whether it must not be for this stream.
    fn try_run(&self, attempt: u64, server: Option<&Server>) -> Result<(Exit, Vec<u64>), (String, bool)> {
        let server = server.ok_or_else(|| ("the server has stopped".to_owned(), true))?;
        let prepared = prepare(&self.settings, &self.facts, server);
        let Prepared { command, environment, passes } = prepared.map_err(|error| (error.to_string(), true))?;
        let places = environment.get("PATH").cloned().unwrap_or_default();
        find(&self.settings.program(), &self.settings.folder, &places).map_err(|words| (words, false))?;
        let launch = Launch {
            command: &command,
            folder: &self.settings.folder,
            environment: &environment,
            grace: self.settings.grace.0,
        };
        let output = Output::new(self.rates(), self.settings.secrets());
        let exit = process::run(&launch, output, |group| self.started(group, attempt), |entry| self.log(entry));
        let exit = exit.map_err(|error| (error.to_string(), false))?;
        Ok((exit, passes.into_iter().flat_map(Issued::revoke).collect()))
    }

    /// The rates of its output. Other starts of the entry for this stream share the first one.
    fn rates(&self) -> [output::Shared; 2] {
        let now = Instant::now();
        let mut state = self.inner.state();
        // Those that nothing uses and that would be full again.
        state.rates.retain(|_, rate| Arc::strong_count(rate) > 1 || !output::is_full(rate, now));
        let lines = self.settings.log_lines;
        let place = (self.facts.key.clone(), self.label.clone(), lines);
        let of_entry = state.rates.entry(place).or_insert_with(|| Arc::new(Mutex::new(Rate::new(now, lines)))).clone();
        [of_entry, state.rate.clone()]
    }

    fn started(&self, group: &Group, attempt: u64) {
        let pid = group.number();
        let mut state = self.inner.state();
        state.plan.started(Instant::now(), self.id, pid);
        state.groups.insert(self.id, group.clone());
        drop(state);
        // Perhaps it has to end already.
        self.inner.changed.notify_all();
        let (run, key) = (&self.label, &self.facts.key);
        let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
        info!(event = "run_started", run, vhost, app, stream, pid, attempt, "{run} runs for {shown} as process {pid}");
    }

    fn log(&self, entry: Entry) {
        let (run, key) = (&self.label, &self.facts.key);
        let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
        match entry {
            Entry::Line(text) => info!(event = "run_output", run, vhost, app, stream, "{run} of {shown}: {text}"),
            Entry::LeftOut(lines) => info!(
                event = "run_output",
                run, vhost, app, stream, lines, "{run} of {shown}: {lines} lines of output left out"
            ),
            Entry::RestKilled => {
                let grace = self.settings.grace.0.as_secs_f64();
                warn!(
                    event = "run_killed",
                    run,
                    vhost,
                    app,
                    stream,
                    "{run} of {shown} is killed, what it left behind: it has not ended within {grace} s"
                );
            }
            Entry::Stays => warn!(
                event = "run_not_ended",
                run,
                vhost,
                app,
                stream,
                "{run} of {shown} has left something behind that the server cannot end, as it has other rights or \
                 hangs in the kernel"
            ),
        }
    }

    fn not_started(mut self, words: &str, refused: bool) {
        self.unreported = None;
        let mut state = self.inner.state();
        state.threads.remove(&self.id);
        state.plan.not_started(Instant::now(), self.id, words.to_owned(), refused);
        let again = again(state.plan.task(self.id));
        drop(state);
        self.inner.changed.notify_all();
        let (run, key) = (&self.label, &self.facts.key);
        let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
        let line = format!("{run} is not started for {shown}: {words}{again}");
        if refused {
            warn!(event = "run_refused", run, vhost, app, stream, error = words, "{line}");
        } else {
            warn!(event = "run_failed", run, vhost, app, stream, error = words, "{line}");
        }
    }

    fn exited(mut self, exit: Exit) {
        self.unreported = None;
        let words = match exit {
            Exit::Code(code) => format!("with code {code}"),
            Exit::Signal(signal) => format!("by signal {signal}"),
        };
        let mut state = self.inner.state();
        state.threads.remove(&self.id);
        state.groups.remove(&self.id);
        let outcome = state.plan.exited(Instant::now(), self.id, exit, words.clone()).unwrap_or(Outcome::Ended);
        let again = again(state.plan.task(self.id));
        drop(state);
        self.inner.changed.notify_all();
        let (run, key) = (&self.label, &self.facts.key);
        let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
        let (result, line) = (outcome.name(), format!("{run} of {shown} has ended {words}{again}"));
        if matches!(outcome, Outcome::Success | Outcome::Ended) {
            info!(event = "run_ended", run, vhost, app, stream, result, "{line}");
        } else {
            warn!(event = "run_ended", run, vhost, app, stream, result, "{line}");
        }
    }
}

/// Closes what a program has begun and left behind: something of it may have left its process group. What it sent last may
/// still be on its way.
fn end_uses(mut uses: Vec<u64>, server: &Server) {
    let end = Instant::now() + LAST_FRAMES;
    loop {
        uses.retain(|connection| server.handle.connection(*connection).is_some());
        if uses.is_empty() || Instant::now() >= end {
            break;
        }
        thread::sleep(LOOK.min(LAST_FRAMES / 10));
    }
    for connection in uses {
        server.handle.close(connection, "the program that its pass was for has ended");
    }
}

impl State {
    fn terminate(&self, id: u64) {
        let result = self.groups.get(&id).map_or(Ok(()), Group::terminate);
        self.remark_not_signalled(id, result);
    }

    fn kill(&self, id: u64) {
        let result = self.groups.get(&id).map_or(Ok(()), Group::kill);
        if result.is_err() {
            return self.remark_not_signalled(id, result);
        }
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

    fn remark_not_signalled(&self, id: u64, result: io::Result<()>) {
        if let (Err(error), Some(task)) = (result, self.plan.task(id)) {
            let (key, label) = (&task.facts.key, task.settings.label());
            let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
            let words = error.to_string();
            warn!(
                event = "run_not_ended",
                run = label,
                vhost,
                app,
                stream,
                error = words,
                "{label} of {shown} cannot be ended: {words}"
            );
        }
    }

    fn remark_wait(&self, id: u64, why: plan::Why, time: Option<Duration>) {
        if let Some(task) = self.plan.task(id) {
            let (key, label) = (&task.facts.key, task.settings.label());
            let (vhost, app, stream, shown) = (key.vhost(), key.app(), key.stream(), key.shown());
            let limit = why.name();
            let reason = match (why, time) {
                (plan::Why::Turn, _) => "the program before it has not ended".to_owned(),
                (_, Some(time)) => format!("the limit {limit} is reached, for {:.1} s", time.as_secs_f64()),
                (_, None) => format!("the limit {limit} is reached"),
            };
            warn!(
                event = "run_waits",
                run = label,
                vhost,
                app,
                stream,
                limit,
                "{label} waits to be started for {shown}: {reason}"
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
struct Prepared {
    command: Vec<String>,
    environment: BTreeMap<String, OsString>,
    /// The passes in its URLs.
    passes: Vec<Issued>,
}

fn prepare(run: &RunSettings, facts: &Facts, server: &Server) -> Result<Prepared, NotExpanded> {
    let values = Values {
        key: &facts.key,
        params: &facts.params,
        address: &facts.address,
        connection: facts.connection,
        begun: facts.begun,
        environment: &run.environment,
    };
    let urls = Signed { server, passes: RefCell::default() };
    let argument = |Of(part): &Of<Template>| part.argument(&values, &urls);
    let command = run.command.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
    let mut environment = BTreeMap::new();
    for name in ["PATH"].into_iter().chain(run.inherit.iter().map(String::as_str)) {
        if let Some(value) = env::var_os(name) {
            environment.insert(name.to_owned(), value);
        }
    }
    for (name, value) in &run.environment {
        // Values that are no templates are refused with the configuration.
        if let Ok(template) = value.0.parse::<Template>() {
            environment.insert(name.clone(), template.value(&values, &urls)?.into());
        }
    }
    Ok(Prepared { command, environment, passes: urls.passes.into_inner() })
}

/// URLs of this server, with passes.
struct Signed<'a> {
    server: &'a Server,
    passes: RefCell<Vec<Issued>>,
}

impl Signed<'_> {
    /// The query is behind the first component of the app: there ffmpeg takes it for a part of the app, so that the server
    /// gets it with `connect`.
    fn url(&self, action: Action, key: &StreamKey) -> Option<String> {
        let address = self.server.address?;
        let (app, rest) =
            key.app().split_once('/').map_or((key.app(), String::new()), |(app, rest)| (app, format!("/{rest}")));
        let pass = self.server.handle.pass(action, key);
        let (vhost, stream, text) = (key.vhost(), key.stream(), pass.text());
        let url = format!("rtmp://{address}/{app}?vhost={vhost}&{PASS}={text}{rest}/{stream}");
        self.passes.borrow_mut().push(pass);
        Some(url)
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
