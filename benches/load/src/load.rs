use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_core::client::Destination;
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::url::Scheme;

use crate::client_pool::{ClientPool, Count, Measuring, Numbers, Tally};
use crate::load_scenario::LoadScenario;
use crate::media::MediaOptions;
use crate::report::{Cost, Report};
use crate::{Histogram, WebTarget, encryption, process};

/// How often the measuring thread looks whether all are up.
const STEP: Duration = Duration::from_millis(20);

/// What is to be done to a server.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The stream; with several streams they have a number behind the name.
    pub destination: Destination,
    /// Another server, where the streams are played under their names there.
    pub play_at: Option<Destination>,
    /// Where players play by HTTP or WebSocket instead.
    pub watch_at: Option<WebTarget>,
    /// Connections that publish, each its own stream.
    pub publishers: u32,
    /// Streams that are played; as many as there are publishers if not given, and at least one.
    pub streams: Option<u32>,
    /// Connections that play, spread over the streams.
    pub players: u32,
    /// How they are spread.
    pub layout: Layout,
    /// Players more, that never read once they play.
    pub stalled: u32,
    /// Places more, in each of which one player follows the other: connects, plays, leaves after the first key frame.
    pub churn: u32,
    /// One player in so many takes every message apart and checks it; the others count bytes once they have begun.
    pub check_every: u32,
    /// What publishers send.
    pub media: MediaOptions,
    /// How long all are up before it is measured, for what comes about by and by, such as connections to other servers.
    pub warm_up: Duration,
    /// How long to measure then.
    pub duration: Duration,
    /// Connections opened a second.
    pub ramp: f64,
    /// Connections that may be on their way to playing at once.
    pub parallel: u32,
    /// How long to wait for all to be up before measuring those that are.
    pub timeout: Duration,
    /// Event loops, each a thread.
    pub threads: u32,
    /// Seed of all that is random.
    pub seed: u64,
    /// Form of the handshake.
    pub handshake: ClientHandshakeKind,
    /// The server's process on this machine.
    pub server_pid: Option<u32>,
}

impl LoadOptions {
    /// One publisher, a hundred players, ten seconds.
    pub fn to(destination: Destination) -> Self {
        LoadOptions {
            destination,
            play_at: None,
            watch_at: None,
            publishers: 1,
            streams: None,
            players: 100,
            layout: Layout::Even,
            stalled: 0,
            churn: 0,
            check_every: 1,
            media: MediaOptions::default(),
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(10),
            ramp: 2000.0,
            parallel: 200,
            timeout: Duration::from_secs(30),
            threads: 1,
            seed: 1,
            handshake: ClientHandshakeKind::Simple,
            server_pid: None,
        }
    }

    pub(crate) fn stream_count(&self) -> u32 {
        self.streams.unwrap_or(self.publishers).max(self.publishers).max(1)
    }

    /// Where players play.
    pub(crate) fn played(&self) -> &Destination {
        self.play_at.as_ref().unwrap_or(&self.destination)
    }

    /// The name of a stream at a destination.
    pub(crate) fn stream_name(&self, at: &Destination, stream: u32) -> String {
        let name = at.stream();
        if self.stream_count() == 1 {
            return name.to_owned();
        }
        match name.split_once('?') {
            Some((name, query)) => format!("{name}{stream}?{query}"),
            None => format!("{name}{stream}"),
        }
    }
}

/// How players are spread over streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// As many on each
    Even,
    /// All on the first
    First,
}

/// The state of a run, each second.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Since the beginning.
    pub elapsed: Duration,
    /// True while it is measured.
    pub measuring: bool,
    /// Publishers that send.
    pub publishers: u64,
    /// Players that play.
    pub players: u64,
    /// Players that there are to be.
    pub wanted: u64,
    /// Bits a second that players received since the last report.
    pub bits_per_second: f64,
    /// Players that came and left again, so far.
    pub churned: u64,
    /// Frames missing so far.
    pub gaps: u64,
    /// Errors so far.
    pub errors: u64,
}

/// Does it: publishers first, then players, and once all are up it measures.
///
/// # Errors
/// The address cannot be resolved, the system gives no thread or event queue, or the server's process is not there.
/// What goes wrong with single connections is counted instead.
pub fn load(options: &LoadOptions, mut progress: impl FnMut(&Progress)) -> io::Result<Report> {
    let play = options.watch_at.as_ref().map_or_else(|| resolve(options.played()), WebTarget::resolve)?;
    let addresses = Addresses { publish: resolve(&options.destination)?, play };
    let shared = Arc::new(Shared::default());
    let measuring = Arc::new(Measuring::default());
    let origin = Instant::now();
    let options = Arc::new(options.clone());
    if let Some(pid) = options.server_pid {
        process::cpu_seconds(pid).map_err(|error| io::Error::new(error.kind(), format!("process {pid}: {error}")))?;
    }
    let encrypts =
        |to: &Destination| if *to.scheme() == Scheme::Rtmps { encryption::config().map(Some) } else { Ok(None) };
    let play_tls = if options.watch_at.is_some() { None } else { encrypts(options.played())? };
    let tls = [encrypts(&options.destination)?, play_tls];
    let start = |number| Loop::start(number, &options, addresses, tls.clone(), &shared, &measuring);
    let loops = (0..options.threads.max(1)).map(start);
    let mut run = Run {
        loops: loops.collect::<io::Result<_>>()?,
        shared,
        options: options.clone(),
        origin,
        measuring: false,
        next_report: origin + Duration::from_secs(1),
        reported: (origin, 0),
    };
    let all_up = run.wait_all_up(&mut progress);
    let (players, publishers) = (run.sum(|tally| &tally.players), run.sum(|tally| &tally.publishers));
    run.wait_until(Instant::now() + options.warm_up, &mut progress);
    let before = Snapshot::take(&run)?;
    measuring.set(true);
    run.measuring = true;
    run.shared.measured.store(true, Ordering::Relaxed);
    run.wait_until(Instant::now() + options.duration, &mut progress);
    let after = Snapshot::take(&run)?;
    measuring.set(false);
    let resident = options.server_pid.map(process::resident_bytes).transpose()?;
    run.shared.over.store(true, Ordering::Relaxed);
    let gaps = run.sum(|tally| &tally.gaps);
    let (mut numbers, first_frame, churn) = run.join()?;
    if !all_up {
        let missing = u64::from(options.players + options.stalled).saturating_sub(players)
            + u64::from(options.publishers).saturating_sub(publishers);
        *numbers.errors.entry("not up when it was measured".to_owned()).or_default() += missing.max(1);
    }
    let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
    let bytes = after.bytes - before.bytes;
    let server = before.server.zip(after.server).zip(resident);
    Ok(Report {
        publishers,
        players,
        wanted: u64::from(options.players + options.stalled),
        seconds,
        bytes,
        frames: after.frames - before.frames,
        gaps,
        latency: numbers.latency,
        first_frame,
        churn: (options.churn > 0).then_some(churn),
        errors: numbers.errors,
        own_cpu: after.own - before.own,
        server: server.map(|((before, after), resident)| Cost { cpu: after - before, resident }),
    })
}

/// The first address of a destination's host.
///
/// # Errors
/// It has none.
pub fn resolve(destination: &Destination) -> io::Result<SocketAddr> {
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", destination.host()));
    (destination.host(), destination.port()).to_socket_addrs()?.next().ok_or_else(none)
}

/// The servers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) publish: SocketAddr,
    pub(crate) play: SocketAddr,
}

/// What loops and the measuring thread tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Set when it is measured.
    pub(crate) measured: AtomicBool,
    pub(crate) over: AtomicBool,
    /// Publishers that have failed or are up; players begin when that is all of them.
    pub(crate) settled_publishers: AtomicU64,
    /// Players that have failed, so that the load does not wait for them.
    pub(crate) failed: AtomicU64,
    pub(crate) churned: AtomicU64,
}

/// One event loop in its thread.
struct Loop {
    tally: Arc<Tally>,
    thread: JoinHandle<io::Result<(Numbers, LoadScenario)>>,
}

impl Loop {
    fn start(
        number: u32,
        options: &Arc<LoadOptions>,
        addresses: Addresses,
        tls: [Option<Arc<rustls::ClientConfig>>; 2],
        shared: &Arc<Shared>,
        measuring: &Arc<Measuring>,
    ) -> io::Result<Loop> {
        let tally = Arc::new(Tally::default());
        let seed = options.seed.wrapping_mul(1000).wrapping_add(u64::from(number));
        let pool = ClientPool::new(seed, tally.clone(), measuring.clone())?;
        let mut scenario = LoadScenario::new(number, options, addresses, tls, shared.clone());
        let thread = thread::Builder::new().name(format!("load-{number}")).spawn(move || {
            let numbers = pool.run(&mut scenario)?;
            Ok((numbers, scenario))
        })?;
        Ok(Loop { tally, thread })
    }
}

/// Numbers at one moment, all taken at once.
struct Snapshot {
    at: Instant,
    bytes: u64,
    frames: u64,
    own: f64,
    server: Option<f64>,
}

impl Snapshot {
    fn take(run: &Run) -> io::Result<Self> {
        Ok(Snapshot {
            at: Instant::now(),
            bytes: run.sum(|tally| &tally.bytes),
            frames: run.sum(|tally| &tally.frames),
            own: process::cpu_seconds(std::process::id())?,
            server: run.options.server_pid.map(process::cpu_seconds).transpose()?,
        })
    }
}

/// The run as the measuring thread has it.
struct Run {
    loops: Vec<Loop>,
    shared: Arc<Shared>,
    options: Arc<LoadOptions>,
    origin: Instant,
    measuring: bool,
    next_report: Instant,
    /// When and how many bytes.
    reported: (Instant, u64),
}

impl Run {
    fn sum(&self, which: impl Fn(&Tally) -> &Count) -> u64 {
        self.loops.iter().map(|each| which(&each.tally).read()).sum()
    }

    /// False if the timeout ended first, or connections failed.
    fn wait_all_up(&mut self, progress: &mut impl FnMut(&Progress)) -> bool {
        let options = self.options.clone();
        let wanted = u64::from(options.players + options.stalled);
        let rise = Duration::from_secs_f64((wanted + u64::from(options.publishers)) as f64 / options.ramp.max(1.0));
        let deadline = Instant::now() + rise + options.timeout;
        loop {
            let failed = self.shared.failed.load(Ordering::Relaxed);
            let publishers = self.shared.settled_publishers.load(Ordering::Relaxed) >= u64::from(options.publishers);
            let up = self.sum(|tally| &tally.players) + failed >= wanted;
            // A player that never reads may have had its first frame or not.
            let begun = self.sum(|tally| &tally.begun) + failed >= u64::from(options.players);
            if publishers && up && begun {
                return failed == 0 && self.sum(|tally| &tally.publishers) == u64::from(options.publishers);
            }
            if Instant::now() >= deadline || self.loops.iter().any(|each| each.thread.is_finished()) {
                return false;
            }
            self.wait_until(Instant::now() + STEP, progress);
        }
    }

    fn wait_until(&mut self, until: Instant, progress: &mut impl FnMut(&Progress)) {
        loop {
            let now = Instant::now();
            if now >= self.next_report {
                self.next_report += Duration::from_secs(1);
                progress(&self.progress(now));
            }
            if now >= until {
                return;
            }
            thread::sleep(until.min(self.next_report).saturating_duration_since(now));
        }
    }

    fn progress(&mut self, now: Instant) -> Progress {
        let bytes = self.sum(|tally| &tally.bytes);
        let (at, before) = std::mem::replace(&mut self.reported, (now, bytes));
        Progress {
            elapsed: now.saturating_duration_since(self.origin),
            measuring: self.measuring,
            publishers: self.sum(|tally| &tally.publishers),
            players: self.sum(|tally| &tally.players),
            wanted: u64::from(self.options.players + self.options.stalled + self.options.churn),
            bits_per_second: (bytes - before) as f64 * 8.0 / now.saturating_duration_since(at).as_secs_f64().max(1e-9),
            churned: self.shared.churned.load(Ordering::Relaxed),
            gaps: self.sum(|tally| &tally.gaps),
            errors: self.sum(|tally| &tally.errors),
        }
    }

    /// The numbers of all loops, the times to first frames of those that stay and of those that come and go.
    fn join(self) -> io::Result<(Numbers, Histogram, Histogram)> {
        let (mut all, mut first_frame, mut churn) = (Numbers::default(), Histogram::default(), Histogram::default());
        for each in self.loops {
            let (numbers, scenario) = each.thread.join().map_err(|_| io::Error::other("a loop panicked"))??;
            all.merge(&numbers);
            first_frame.merge(&scenario.first_frame);
            churn.merge(&scenario.churn);
        }
        Ok((all, first_frame, churn))
    }
}
