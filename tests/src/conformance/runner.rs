use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::Config;

use super::arguments::Arguments;
use super::cases::GROUPS;
use super::healthy::assert_healthy;
use super::{Case, Group, Running, Runtime, Setup, Target, table};

/// How long a case may take, all in all.
const DEADLINE: Duration = Duration::from_secs(60);
/// Cases at a time: most of them wait for a timeout.
const THREADS: usize = 8;

/// One case on one runtime.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    /// Position among the runtimes.
    pub(super) runtime: usize,
    pub(super) group: &'static Group,
    pub(super) case: &'static Case,
    /// Never given twice.
    number: usize,
}

/// A job that was done, and why it failed if it did.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) job: Job,
    pub(super) failure: Option<String>,
}

/// Runs every case on every runtime, as the arguments of the program say, and prints the table.
pub fn main(runtimes: &'static [Runtime]) -> ExitCode {
    let arguments = Arguments::read(std::env::args().skip(1));
    let (jobs, left_out) = jobs(runtimes, &arguments);
    if arguments.list {
        for job in &jobs {
            println!("{}: test", full_name(runtimes, job));
        }
        println!("\n{} tests, 0 benchmarks", jobs.len());
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", jobs.len());
    panic::set_hook(Box::new(note_panic));
    let start = Instant::now();
    let outcomes = run(runtimes, jobs, arguments.threads.unwrap_or(THREADS).max(1));
    let stray = STRAY_PANICS.lock().unwrap_or_else(PoisonError::into_inner).clone();

    println!("{}", table::of(runtimes, &outcomes));
    for outcome in &outcomes {
        if let Some(reason) = &outcome.failure {
            println!("FAILED {}: {reason}", full_name(runtimes, &outcome.job));
        }
    }
    for words in &stray {
        println!("FAILED: a server panicked: {words}");
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count() + stray.len();
    let passed = outcomes.iter().filter(|outcome| outcome.failure.is_none()).count();
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {left_out} filtered out; \
         finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        start.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn full_name(runtimes: &[Runtime], job: &Job) -> String {
    format!("{}::{}::{}", runtimes[job.runtime].name, job.group.name.replace(' ', "_"), job.case.name)
}

/// What is asked for, and how much is not.
fn jobs(runtimes: &[Runtime], arguments: &Arguments) -> (Vec<Job>, usize) {
    let mut all = Vec::new();
    for group in GROUPS {
        for case in group.cases {
            for runtime in 0..runtimes.len() {
                all.push(Job { runtime, group, case, number: all.len() });
            }
        }
    }
    let count = all.len();
    all.retain(|job| arguments.wants(&full_name(runtimes, job)));
    let left_out = count - all.len();
    (all, left_out)
}

fn run(runtimes: &[Runtime], jobs: Vec<Job>, threads: usize) -> Vec<Outcome> {
    let servers = Servers::new(&jobs);
    let outcomes = Mutex::new(Vec::new());
    // The longest waits are in the last groups: they begin first.
    let queue: Mutex<VecDeque<Job>> = Mutex::new(jobs.into_iter().rev().collect());
    let next = || lock(&queue).pop_front();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = next() {
                    let target = Target::new(servers.start(runtimes, &job), job.number);
                    let failure = run_one(job, target).err();
                    servers.finish(&job);
                    lock(&outcomes).push(Outcome { job, failure });
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.job.number);
    outcomes
}

/// Runs a case in a separate thread, so that one that hangs delays no other.
fn run_one(job: Job, target: Target) -> Result<(), String> {
    let (done, result) = channel();
    let body = move || {
        IS_CASE.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            (job.case.run)(&target);
            if job.group.healthy {
                assert_healthy(&target);
            }
        }));
        let reason = LAST_PANIC.take();
        // Nobody listens any more to one that took too long.
        let _ = done.send(outcome.map_err(|_| reason));
    };
    thread::Builder::new().name(job.case.name.to_owned()).spawn(body).expect("the system gives a thread");
    match result.recv_timeout(DEADLINE) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(format!("not over after {} s", DEADLINE.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("its thread is gone".to_owned()),
    }
}

/// The servers that run, one for each runtime and setup.
struct Servers {
    running: Mutex<HashMap<Key, Server>>,
}

/// Runtime and setup.
type Key = (usize, &'static str);

struct Server {
    /// Started when the first case needs it; `None` again when the last is done.
    running: Arc<Mutex<Option<Running>>>,
    cases_left: usize,
}

impl Servers {
    fn new(jobs: &[Job]) -> Self {
        let mut running = HashMap::new();
        for job in jobs {
            let server = running.entry(key(job)).or_insert_with(|| Server { running: Arc::default(), cases_left: 0 });
            server.cases_left += 1;
        }
        Servers { running: Mutex::new(running) }
    }

    fn start(&self, runtimes: &[Runtime], job: &Job) -> std::net::SocketAddr {
        let running = lock(&self.running)[&key(job)].running.clone();
        let mut running = lock(&running);
        running.get_or_insert_with(|| (runtimes[job.runtime].start)(config(job.case.setup))).address
    }

    fn finish(&self, job: &Job) {
        let mut servers = lock(&self.running);
        let server = servers.get_mut(&key(job)).expect("each job has a server");
        server.cases_left -= 1;
        let last = (server.cases_left == 0).then(|| server.running.clone());
        drop(servers);
        if let Some(running) = last.and_then(|running| lock(&running).take()) {
            (running.stop)();
        }
    }
}

fn key(job: &Job) -> Key {
    (job.runtime, job.case.setup.name)
}

fn config(setup: &Setup) -> Config {
    let mut config = Config::default();
    (setup.apply)(&mut config);
    config
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static IS_CASE: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of threads that are no case's: the servers'.
static STRAY_PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note_panic(info: &PanicHookInfo<'_>) {
    let words = info.to_string().replace('\n', " ");
    if IS_CASE.get() {
        LAST_PANIC.set(words);
    } else {
        lock(&STRAY_PANICS).push(words);
    }
}
