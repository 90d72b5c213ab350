//! The soak test: a server in a separate process, a pool of clients that behave badly in every way a seed can think
//! of, and afterwards a look at what the server has kept of them, which is to be nothing.
//!
//! ```text
//! cargo run --release -p anabranch-load --bin soak
//! ```
//!
//! A first round warms the server up: allocator, pools of threads, tables that grow with their contents, whatever is
//! opened once and kept. What the server holds at rest after that is what it has to come back to after the second
//! round.
//!
//! Memory is judged by what is allocated, in bytes and in objects, exactly: a task that never ends or a table that
//! never shrinks shows there, however small. Resident memory is shown beside it and not judged: glibc keeps what was
//! freed as holes between what is still in use, in an arena of each of many threads. From three equal rounds the server
//! on threads came back with 15.8, 12.9 and 11.6 MiB, and with 34.9 KiB in 31 objects each time.

mod child;
mod script;
mod serve;

use std::alloc::System;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_load::ClientPool;
use anabranch_load::client_pool::{Measuring, Numbers, Tally};
use anabranch_load::media::MediaOptions;
use clap::{Parser, Subcommand, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use child::{Child, Vitals};
use script::{Script, Tricks};

/// Counts what is allocated; asked by [`serve`].
#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes and objects by which what is allocated may grow at any rate: tables that double at another moment of each
/// round.
const SLACK: (u64, u64) = (64 << 10, 20);

/// Soaks the servers in players and publishers that come, go, stall and die, and fails if anything is left of them.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// How long each round takes, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,

    /// How long the round before it takes, that warms the server up; as long if not given
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<u64>,

    /// Rounds, after each of which memory is looked at
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    rounds: u32,

    /// Players at any time
    #[arg(long, value_name = "COUNT", default_value_t = 300)]
    players: u32,

    /// Publishers at any time
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    publishers: u32,

    /// Video of a publisher, in kb/s
    #[arg(long, value_name = "KBPS", default_value_t = 500)]
    bitrate: u64,

    /// Seed of all that is random; timing is not among it
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Which server; both if not given
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server that is soaked
    #[command(hide = true)]
    Serve {
        #[arg(value_enum)]
        runtime: Runtime,
    },
}

/// A runtime's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// The one on smol
    Smol,
    /// The one on threads
    Std,
}

impl Runtime {
    fn name(self) -> &'static str {
        match self {
            Runtime::Smol => "smol",
            Runtime::Std => "std",
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Command::Serve { runtime }) = options.command {
        return serve::run(runtime);
    }
    let runtimes = options.runtime.map_or(vec![Runtime::Smol, Runtime::Std], |runtime| vec![runtime]);
    let mut code = ExitCode::SUCCESS;
    for runtime in runtimes {
        match soak(runtime, &options) {
            Ok(true) => {}
            Ok(false) => code = ExitCode::FAILURE,
            Err(error) => {
                eprintln!("soak: {}: {error}", runtime.name());
                code = ExitCode::from(2);
            }
        }
    }
    code
}

/// True if nothing is left of it.
fn soak(runtime: Runtime, options: &Options) -> io::Result<bool> {
    let mut child = Child::start(runtime)?;
    let warm_up = options.warm_up.unwrap_or(options.seconds);
    let idle = child.at_rest(None)?;
    eprintln!("{}: {warm_up} s to warm up", runtime.name());
    round(&child, options, warm_up, options.seed.wrapping_add(1))?;
    let before = child.at_rest(None)?;
    eprintln!(
        "{}: {} s of {} players and {} publishers",
        runtime.name(),
        options.seconds,
        options.players,
        options.publishers
    );
    let mut good = true;
    for number in 0..options.rounds {
        let outcome = round(&child, options, options.seconds, options.seed.wrapping_add(u64::from(number) << 32))?;
        let after = child.at_rest(Some(&before))?;
        good &= report(runtime, [&idle, &before, &after], &outcome);
    }
    child.stop()?;
    Ok(good)
}

/// What a round came to.
struct Outcome {
    numbers: Numbers,
    tally: Arc<Tally>,
    tricks: Tricks,
}

fn round(child: &Child, options: &Options, seconds: u64, seed: u64) -> io::Result<Outcome> {
    let tally = Arc::new(Tally::default());
    let pool = ClientPool::new(seed, tally.clone(), Arc::new(Measuring::default()))?;
    let media = MediaOptions { bitrate: options.bitrate * 1000, ..MediaOptions::default() };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut script = Script::new(child.address(), media, options.publishers, options.players, end);
    let numbers = pool.run(&mut script)?;
    Ok(Outcome { numbers, tally, tricks: script.into_tricks() })
}

/// Prints what there was and is; true if it is as it should be.
fn report(runtime: Runtime, all: [&Vitals; 3], outcome: &Outcome) -> bool {
    let [_, before, after] = all;
    let Outcome { numbers, tally, tricks } = outcome;
    println!(
        "{}: {} connections, {} frames checked, {} skipped by slow players",
        runtime.name(),
        tally.opened.read(),
        tally.frames.read(),
        tally.gaps.read()
    );
    println!("  {tricks}");
    println!("  {:<14}{:>12}{:>12}{:>12}", "", "at start", "before", "after");
    let mut good = true;
    let mut row = |name: &str, values: [String; 3], fine: bool| {
        let [start, before, after] = values;
        let verdict = if fine { "" } else { "   LEAK" };
        println!("  {name:<14}{start:>12}{before:>12}{after:>12}{verdict}");
        good &= fine;
    };
    row("connections", all.map(|vitals| vitals.connections.to_string()), after.connections == 0);
    row("streams", all.map(|vitals| vitals.streams.to_string()), after.streams == 0);
    row("threads", all.map(|vitals| vitals.threads.to_string()), after.threads <= before.threads);
    row("descriptors", all.map(|vitals| vitals.files.to_string()), after.files <= before.files);
    let kibibytes = |vitals: &Vitals| format!("{:.1} KiB", vitals.heap_bytes as f64 / 1024.0);
    row("heap", all.map(kibibytes), after.heap_bytes <= before.heap_bytes + SLACK.0.max(before.heap_bytes / 10));
    let objects = all.map(|vitals| vitals.heap_objects.to_string());
    row("heap objects", objects, after.heap_objects <= before.heap_objects + SLACK.1.max(before.heap_objects / 10));
    let mebibytes = |vitals: &Vitals| format!("{:.1} MiB", vitals.resident as f64 / f64::from(1 << 20));
    row("(resident)", all.map(mebibytes), true);
    if tally.frames.read() == 0 {
        println!("  no frame came through");
        good = false;
    }
    for (error, count) in &numbers.errors {
        println!("  {count:>8}  {error}");
        good = false;
    }
    good
}
