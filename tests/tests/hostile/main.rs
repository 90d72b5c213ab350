//! Hostile peers against both servers, over loopback, and a table of the results.
//!
//! Each case has its own server, the program that people run, so that memory, threads and files are those of the case.
//! A healthy publisher and two healthy players run during every attack and lose nothing. When the attackers are gone,
//! the server must hold nothing for them, and must still serve.
//!
//! In `cargo test` every case runs with fewer attackers than in `tests/hostile`, which passes `--all`.

mod arena;
mod attacks;
mod certificates;
mod log;
mod neighbours;
mod table;

use std::collections::VecDeque;
use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_tests::conformance::Arguments;
use anabranch_tests::program::Runtime;
use arena::Row;
use attacks::{CASES, Case};

const RUNTIMES: [Runtime; 2] = [Runtime::Smol, Runtime::Std];
/// Cases at a time of those that keep a processor busy. Those that wait for a timeout all run beside them.
const BUSY: usize = 3;
/// Cases at a time of those that wait.
const WAITING: usize = 14;
/// How long a case may take, all in all.
const DEADLINE: Duration = Duration::from_secs(240);

#[derive(Clone, Copy)]
struct Job {
    number: usize,
    runtime: Runtime,
    case: &'static Case,
    all: bool,
}

impl Job {
    fn name(&self) -> String {
        format!("{}::{}", table::short(self.runtime), self.case.name)
    }
}

type Outcome = (Job, Result<Row, String>);

fn main() -> ExitCode {
    let arguments = Arguments::read(std::env::args().skip(1));
    let all = std::env::args().any(|argument| argument == "--all");
    let of_case = |case: &'static Case| {
        let runtimes = RUNTIMES.into_iter().filter(|runtime| case.settings.is_none() || *runtime == Runtime::Smol);
        runtimes.map(move |runtime| Job { number: 0, runtime, case, all })
    };
    let jobs: Vec<Job> = CASES.iter().copied().flatten().flat_map(of_case).collect();
    let count = jobs.len();
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| arguments.wants(&job.name())).collect();
    if arguments.list {
        for job in &jobs {
            println!("{}: test", job.name());
        }
        println!("\n{} tests, 0 benchmarks", jobs.len());
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", jobs.len());
    let left_out = count - jobs.len();
    let start = Instant::now();
    let jobs = jobs.into_iter().enumerate().map(|(number, job)| Job { number, ..job }).collect();
    let outcomes = run(jobs, arguments.threads);
    print!("{}", table::of(&outcomes));
    let mut failed = 0;
    for (job, outcome) in &outcomes {
        if let Err(reason) = outcome {
            failed += 1;
            println!("FAILED {}: {reason}", job.name());
        }
    }
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {left_out} filtered out; finished in \
         {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        outcomes.len() - failed,
        start.elapsed().as_secs_f64()
    );
    let _ = std::io::stdout().flush();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(jobs: Vec<Job>, threads: Option<usize>) -> Vec<Outcome> {
    let (waiting, busy): (VecDeque<Job>, VecDeque<Job>) = jobs.into_iter().partition(|job| job.case.waits());
    let outcomes = Mutex::new(Vec::new());
    let queues = [(Mutex::new(waiting), threads.unwrap_or(WAITING)), (Mutex::new(busy), threads.unwrap_or(BUSY))];
    thread::scope(|scope| {
        for (queue, threads) in &queues {
            for _ in 0..(*threads).max(1) {
                scope.spawn(|| {
                    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    while let Some(job) = next() {
                        let outcome = run_one(job);
                        outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((job, outcome));
                    }
                });
            }
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(job, _)| job.number);
    outcomes
}

/// Runs a case in its own thread, so that one that hangs does not block the others.
fn run_one(job: Job) -> Result<Row, String> {
    let (done, result) = std::sync::mpsc::channel();
    let all = job.all;
    let body = move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| arena::run(job.runtime, job.case, all)));
        // A case that took too long has no receiver any more.
        let _ = done.send(outcome.map_err(|words| panic_text(&*words)));
    };
    thread::Builder::new().name(job.case.name.to_owned()).spawn(body).expect("the system gives a thread");
    result.recv_timeout(DEADLINE).unwrap_or_else(|_| Err(format!("not over after {} s", DEADLINE.as_secs())))
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// Joins a thread whose panic is this one's.
fn join<T>(thread: thread::JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|words| panic!("{}", panic_text(&*words)))
}

/// Something that several threads count.
type Counter = Arc<std::sync::atomic::AtomicUsize>;
