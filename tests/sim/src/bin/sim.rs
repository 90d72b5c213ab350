//! Runs scenes of the simulator: a whole server with its clients on a virtual clock, one line per scene.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anabranch_sim::cluster::{ClusterOutcome, ClusterScene, DirectoryFigures, Tree, TreeFigures};
#[cfg(feature = "rtc")]
use anabranch_sim::rtc::{RtcOutcome, RtcScene};
use anabranch_sim::scene::{self, Budget, Failure, History, Kind, Outcome, Plan, Scene, Shape};

const USAGE: &str = "\
Plays scenes of the simulator. Equal seeds and options print equal lines.

usage: sim [options]
  --scene KIND       modest (default), busy, hostile, random; cluster: several servers; or rtc: peers by WebRTC. Of the
                     last two only the seed, the number of scenes and the operations can be chosen
  --seed S           the scene of this seed; default 1
  --seeds N          so many, from S on; default 1
  --jobs J           scenes at a time; default 1
  --keep-going       do not stop at the first that fails
  --quiet            no line for scenes that pass
  --minutes M        of virtual time; default 10, for random scenes some seconds
  --only 3,7@1.5,9   of the scene only these operations, `@` at another second
  --until SECONDS    end sooner
  --trace            print the history
  --no-shrink        do not shorten scenes that fail
  --publishers N, --players N, --streams N
  --fps N            pictures a second, sounds in proportion
  --small            frames of some hundred bytes
  --bandwidth B      of each link, in bytes a second
  --latency MS       of each link, one way
  --loss PPM         lost segments of a million: they come later, and so does what is behind them
  --stalls N, --breaks N, --churn N, --variations N
                     an hour: links that stall, connections that break, clients that leave for others to come, pauses
                     and the like
  --trees            no scenes: measures trees of 10, 100 and 1,000 servers with 10,000 players, and clusters of as many
                     servers with their directory; a row of a table each
A scene that fails is shortened to the operations that matter, for a minute at the most.";

struct Options {
    seeds: std::ops::Range<u64>,
    jobs: usize,
    keep_going: bool,
    quiet: bool,
    shrinks: bool,
    trace: bool,
    what: What,
    shape: Shape,
    only: Option<Vec<(usize, Option<Duration>)>>,
    until: Option<Duration>,
    arguments: String,
}

/// What the scenes are of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Server,
    Cluster,
    #[cfg(feature = "rtc")]
    Rtc,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--trees") {
        println!("{}", TreeFigures::HEAD);
        for servers in [10, 100, 1_000] {
            println!("{}", Tree::of(servers, 10_000).measure());
        }
        println!("\n{}", DirectoryFigures::HEAD);
        for servers in [10, 100, 1_000] {
            println!("{}", DirectoryFigures::measure(servers));
        }
        return ExitCode::SUCCESS;
    }
    match options(&arguments) {
        Ok(options) => match options.what {
            What::Server => run(&options, |seed| Scene::new(seed, &options.shape)),
            What::Cluster => run(&options, ClusterScene::new),
            #[cfg(feature = "rtc")]
            What::Rtc => run(&options, RtcScene::new),
        },
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut kind = Kind::Modest;
    let mut values = BTreeMap::new();
    let (mut flags, mut rerun) = (Vec::new(), String::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = argument.strip_prefix("--").ok_or_else(|| format!("{argument} is no option"))?;
        match name {
            "keep-going" | "quiet" | "trace" | "no-shrink" => flags.push(name),
            "small" => {
                flags.push(name);
                rerun.push_str(" --small");
            }
            _ => {
                let value = rest.next().ok_or_else(|| format!("{argument} lacks its value"))?;
                if !["seed", "seeds", "jobs", "only", "until"].contains(&name) {
                    rerun.push_str(&format!(" {argument} {value}"));
                }
                values.insert(name, value.as_str());
            }
        }
    }
    let what = match values.get("scene").copied() {
        Some("cluster") => What::Cluster,
        #[cfg(feature = "rtc")]
        Some("rtc") => What::Rtc,
        _ => What::Server,
    };
    if let Some(name) = values.remove("scene").filter(|_| what == What::Server) {
        let kinds =
            [("modest", Kind::Modest), ("busy", Kind::Busy), ("hostile", Kind::Hostile), ("random", Kind::Random)];
        let known = kinds.into_iter().find(|(known, _)| *known == name);
        kind = known.ok_or_else(|| format!("there is no scene {name}"))?.1;
    }
    let mut shape = Shape::of(kind);
    let values = &mut values;
    shape.small = flags.contains(&"small");
    if let Some(minutes) = take::<f64>(values, "minutes")? {
        shape.duration = Some(seconds(minutes * 60.0)?);
    }
    set(values, "publishers", &mut shape.publishers)?;
    set(values, "players", &mut shape.players)?;
    set(values, "streams", &mut shape.streams)?;
    shape.frames_per_second = take(values, "fps")?.or(shape.frames_per_second);
    shape.bandwidth = take(values, "bandwidth")?.or(shape.bandwidth);
    shape.latency = take(values, "latency")?.map(Duration::from_millis).or(shape.latency);
    set(values, "loss", &mut shape.loss)?;
    set(values, "stalls", &mut shape.stalls)?;
    set(values, "breaks", &mut shape.breaks)?;
    set(values, "churn", &mut shape.churn)?;
    set(values, "variations", &mut shape.variations)?;
    let seed = take(values, "seed")?.unwrap_or(1_u64);
    let count = take(values, "seeds")?.unwrap_or(1_u64);
    let end = seed.checked_add(count).ok_or("there are no such seeds")?;
    let options = Options {
        seeds: seed..end,
        jobs: take(values, "jobs")?.unwrap_or(1_usize).max(1),
        keep_going: flags.contains(&"keep-going"),
        quiet: flags.contains(&"quiet"),
        shrinks: !flags.contains(&"no-shrink"),
        trace: flags.contains(&"trace"),
        what,
        shape,
        only: values.remove("only").map(only).transpose()?,
        until: take::<f64>(values, "until")?.map(seconds).transpose()?,
        arguments: rerun,
    };
    match values.keys().next() {
        Some(name) => Err(format!("there is no option --{name}")),
        None => Ok(options),
    }
}

fn take<T: FromStr>(values: &mut BTreeMap<&str, &str>, name: &str) -> Result<Option<T>, String> {
    let value = values.remove(name);
    value.map(|value| value.parse().map_err(|_| format!("--{name} {value} is no number"))).transpose()
}

fn set<T: FromStr>(values: &mut BTreeMap<&str, &str>, name: &str, to: &mut T) -> Result<(), String> {
    if let Some(value) = take(values, name)? {
        *to = value;
    }
    Ok(())
}

/// To the nanosecond as it was printed: floating point has room for that within a month.
fn seconds(value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value).map_err(|error| format!("{value} s: {error}"))
}

fn only(list: &str) -> Result<Vec<(usize, Option<Duration>)>, String> {
    let entry = |entry: &str| {
        let (number, at) = entry.split_once('@').map_or((entry, None), |(number, at)| (number, Some(at)));
        let number = number.parse().map_err(|_| format!("{number} is no operation"))?;
        let at = at.map(|at| at.parse().map_err(|_| format!("{at} is no time")).and_then(seconds)).transpose()?;
        Ok((number, at))
    };
    let list: Vec<_> = list.split(',').filter(|text| !text.is_empty()).map(entry).collect::<Result<_, String>>()?;
    if !list.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err("operations are named in their order".into());
    }
    Ok(list)
}

/// What the tool needs of a scene.
trait Told: History {
    /// All of it.
    fn whole(&self) -> Plan;
    /// When each operation happens.
    fn times(&self) -> Vec<Duration>;
    /// What happens in a plan, a line each.
    fn describe(&self, plan: &Plan) -> String;
    /// The virtual time of it.
    fn length(outcome: &Self::Outcome) -> Duration;
}

impl Told for Scene {
    fn whole(&self) -> Plan {
        self.whole()
    }

    fn times(&self) -> Vec<Duration> {
        self.operations().iter().map(|operation| operation.at).collect()
    }

    fn describe(&self, plan: &Plan) -> String {
        self.describe(plan)
    }

    fn length(outcome: &Outcome) -> Duration {
        outcome.elapsed
    }
}

impl Told for ClusterScene {
    fn whole(&self) -> Plan {
        self.whole()
    }

    fn times(&self) -> Vec<Duration> {
        self.operations().iter().map(|operation| operation.at).collect()
    }

    fn describe(&self, plan: &Plan) -> String {
        self.describe(plan)
    }

    fn length(outcome: &ClusterOutcome) -> Duration {
        outcome.elapsed
    }
}

#[cfg(feature = "rtc")]
impl Told for RtcScene {
    fn whole(&self) -> Plan {
        self.whole()
    }

    fn times(&self) -> Vec<Duration> {
        self.operations().iter().map(|operation| operation.at).collect()
    }

    fn describe(&self, plan: &Plan) -> String {
        self.describe(plan)
    }

    fn length(outcome: &RtcOutcome) -> Duration {
        outcome.elapsed
    }
}

impl Options {
    fn plan(&self, scene: &impl Told) -> Plan {
        let mut plan = scene.whole();
        if let Some(only) = &self.only {
            let times = scene.times();
            let step = |(number, at): &(usize, Option<Duration>)| {
                times.get(*number).map(|time| (*number, at.unwrap_or(*time)))
            };
            plan.steps = only.iter().filter_map(step).collect();
        }
        plan.end = self.until.unwrap_or(plan.end);
        plan
    }
}

fn run<S: Told>(options: &Options, make: impl Fn(u64) -> S + Sync) -> ExitCode
where
    S::Outcome: fmt::Display + Send,
{
    let begin = Instant::now();
    let (next, stop) = (AtomicU64::new(options.seeds.start), AtomicBool::new(false));
    let (mut passed, mut failed, mut elapsed) = (0_u64, 0_u64, Duration::ZERO);
    std::thread::scope(|threads| {
        let (results, played) = mpsc::channel::<(u64, Result<S::Outcome, Failure>)>();
        for _ in 0..options.jobs {
            let (results, next, stop, make) = (results.clone(), &next, &stop, &make);
            threads.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        return;
                    }
                    let scene = make(seed);
                    let result = scene::attempt(&scene, &options.plan(&scene));
                    if results.send((seed, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        // In the order of the seeds, whichever is done first.
        let (mut early, mut expected) = (BTreeMap::new(), options.seeds.start);
        for (seed, result) in played {
            early.insert(seed, result);
            while let Some(result) = early.remove(&expected) {
                match result {
                    Ok(outcome) => {
                        passed += 1;
                        elapsed += S::length(&outcome);
                        print_passed(options, &make(expected), expected, &outcome);
                    }
                    Err(failure) => {
                        failed += 1;
                        stop.store(!options.keep_going, Ordering::Relaxed);
                        print_failed(options, &make(expected), expected, failure);
                    }
                }
                expected += 1;
                if failed > 0 && !options.keep_going {
                    return;
                }
            }
        }
    });
    let real = begin.elapsed().as_secs_f64();
    let hours = elapsed.as_secs_f64() / 3600.0;
    eprintln!(
        "{passed} passed, {failed} failed: {hours:.2} virtual hours in {real:.1} s, {:.0} a minute",
        hours * 60.0 / real
    );
    ExitCode::from(u8::from(failed > 0))
}

fn print_passed<S: Told>(options: &Options, scene: &S, seed: u64, outcome: &S::Outcome)
where
    S::Outcome: fmt::Display,
{
    if options.trace {
        print!("{}", scene.describe(&options.plan(scene)));
    }
    if !options.quiet {
        // A reader that has seen enough is no failure.
        let _ = writeln!(std::io::stdout(), "seed {seed}: {outcome}");
    }
}

fn print_failed(options: &Options, scene: &impl Told, seed: u64, failure: Failure) {
    let plan = options.plan(scene);
    if options.trace {
        print!("{}", scene.describe(&plan));
    }
    println!("seed {seed}: FAILED after {:?}: {}\n  {}", failure.at, failure.what, failure.place);
    if !options.shrinks {
        return;
    }
    let shrunk = scene::shrink(scene, &plan, failure, Budget::default());
    let seconds = |time: Duration| format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    println!("The shortest history found in {} tries, of {} operations:", shrunk.runs, plan.steps.len());
    print!("{}", scene.describe(&shrunk.plan));
    println!("It fails with: {}\n  {}", shrunk.failure.what, shrunk.failure.place);
    let steps: Vec<_> = shrunk.plan.steps.iter().map(|(number, at)| format!("{number}@{}", seconds(*at))).collect();
    let until = seconds(shrunk.plan.end);
    println!("Again: sim --seed {seed}{} --only {} --until {until}", options.arguments, steps.join(","));
}
