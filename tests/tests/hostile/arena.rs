use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_tests::conformance::{Target, assert_healthy};
use anabranch_tests::peer::{ScriptedClient, Wire};
use anabranch_tests::program::{Held, Launch, Program, Runtime};
use anabranch_tests::rtc::{RtcClient, Way};
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use rustls::RootCertStore;
use serde_json::Value;

use crate::attacks::Case;
use crate::certificates;
use crate::log::{self, Closed};
use crate::neighbours::{Heard, Neighbours};
use crate::table::short;

/// A pause between two frames of a neighbour that no load of the machine excuses.
const PAUSE: Duration = Duration::from_secs(5);
/// Beyond a timeout, what a connection may last on a machine that does much else.
const LATE: f64 = 60.0;
/// How long after the attackers have gone memory may still be theirs.
const GIVEN_BACK: Duration = Duration::from_secs(10);
/// Bytes that the server may keep of what it took for them: the allocator's own structures, tables that have grown.
const KEPT: usize = 24 << 20;
/// Threads that look after many connections.
const ATTENDANTS: usize = 8;

/// A server under attack.
pub(crate) struct Arena {
    /// The server, and names for the attackers.
    pub(crate) target: Target,
    /// Where it speaks HTTP.
    web: Option<SocketAddr>,
    /// How many attackers there are.
    pub(crate) attackers: usize,
    /// The certificates that the server may have.
    pub(crate) roots: RootCertStore,
    /// Whether it can be asked about itself.
    has_api: bool,
    server: Program,
    neighbours: Neighbours,
    /// What it held before the attack.
    before: Held,
    /// The connections of the neighbours.
    healthy: HashSet<u64>,
    /// Where recordings go, if there are any.
    files: PathBuf,
}

/// The outcome of a case.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) attackers: usize,
    pub(crate) ended: String,
    grown: usize,
    bound: usize,
    left: isize,
    after: After,
    heard: Heard,
}

/// What is left of the attackers after they have gone.
#[derive(Debug, Clone, Copy, Default)]
struct After {
    /// Until nothing was left, or less than before.
    time: Duration,
    threads: isize,
    files: isize,
    connections: isize,
    /// Where it can be asked.
    streams: Option<isize>,
}

impl Row {
    pub(crate) fn after(&self) -> String {
        let After { time, threads, files, connections, streams } = self.after;
        let streams = streams.map_or("-".to_owned(), |streams| streams.to_string());
        format!("{threads}, {files}, {connections}, {streams} after {:.1} s", time.as_secs_f64())
    }

    pub(crate) fn memory(&self) -> String {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        format!("{:.1} / {} / {:+.1} MiB", mib(self.grown as f64), self.bound >> 20, mib(self.left as f64))
    }

    pub(crate) fn neighbours(&self) -> String {
        let Heard { frames, lost, longest_pause, late } = self.heard;
        format!("{frames}, {lost}, {} ms, {} ms", longest_pause.as_millis(), late.as_millis())
    }
}

/// Runs one case; what is not as it should be panics.
pub(crate) fn run(runtime: Runtime, case: &Case, all: bool) -> Row {
    let folder = Folder::new();
    let roots = certificates::write(folder.path());
    let files = folder.file("files");
    let mut launch = Launch::of(runtime).args(case.arguments);
    if let Some(settings) = case.settings {
        let keys = folder.path().display().to_string();
        let settings = settings.replace("FOLDER", &format!("{files:?}")).replace("KEYS", &keys);
        launch = launch.settings(&format!("[api]\nlisten = '127.0.0.1:0'\n{settings}"));
    }
    if let Some(files) = case.files {
        launch = launch.with_files(files);
    }
    if case.has_rtc {
        launch = launch.with_rtc();
    } else if case.has_web {
        launch = launch.with_web();
    }
    let server = launch.start();
    let target = Target::at(server.address(), "target");
    let web = case.has_web.then(|| server.web());
    let neighbours = Neighbours::start(&target, web, |name, players| _ = server.wait_players(name, players));
    let opened = server.process.lines_with(" opened from ");
    let healthy: HashSet<u64> = opened.iter().filter_map(|line| log::connection(&line.text)).collect();
    assert_eq!(healthy.len(), neighbours.connections(), "{opened:?}");
    let attackers = case.attackers(runtime, all);
    if case.has_rtc {
        // The thread of WebRTC begins with its first client.
        RtcClient::publish(server.web(), "/live/first/whip", Way::V4).wait_connected();
        let closed = || server.process.lines_with(" closed: ").len();
        wait_for("the end of the first client by WebRTC", TIMEOUT, || (closed() == 2).then_some(()));
    }
    let before = server.held();
    let has_api = case.settings.is_some();
    let arena = Arena { target, web, attackers, roots, has_api, server, neighbours, before, healthy, files };

    arena.neighbours.attend(true);
    (case.attack)(&arena);
    arena.neighbours.attend(false);
    let left = arena.wait_nothing_left();
    let after = arena.wait_given_back();
    let closed = arena.closed();
    let row = Row {
        attackers,
        ended: ended(case, &closed),
        grown: after.peak.saturating_sub(before.resident),
        bound: case.bound(runtime, attackers),
        left: after.resident as isize - before.resident as isize,
        after: left,
        heard: Heard::default(),
    };
    assert!(row.grown <= row.bound, "{} grew: {}; {}", short(runtime), row.memory(), row.ended);
    assert!(row.left <= KEPT as isize, "{} keeps too much: {}", short(runtime), row.memory());
    assert_healthy(&arena.target);
    let heard = arena.neighbours.stop();
    let row = Row { heard, ..row };
    assert_eq!(heard.lost, 0, "frames of the neighbours: {}", row.neighbours());
    assert!(heard.longest_pause < PAUSE, "the neighbours waited: {}", row.neighbours());
    arena.server.stop();
    row
}

/// Checks how the attackers' connections ended; returns a summary.
fn ended(case: &Case, closed: &[Closed]) -> String {
    assert!(!closed.is_empty(), "no attacker connected");
    let mut lasted = Vec::new();
    for one in closed {
        assert!(case.ends.contains(&one.reason.as_str()), "not for {:?}: {}", case.ends, one.line);
        if let Some(limit) = case.lasts.filter(|_| one.reason.ends_with("_timeout")) {
            assert!((limit..limit + LATE).contains(&one.seconds), "not after {limit} s: {}", one.line);
            lasted.push(one.seconds);
        }
    }
    let shortest = lasted.iter().copied().fold(f64::INFINITY, f64::min);
    let longest = lasted.iter().copied().fold(0.0, f64::max);
    let after = if lasted.is_empty() { String::new() } else { format!(" after {shortest:.1} to {longest:.1} s") };
    assert!(case.lasts.is_none() || !lasted.is_empty(), "no attacker timed out: {}", log::summary(closed.iter()));
    log::summary(closed.iter()) + &after
}

impl Arena {
    /// Where the server speaks HTTP.
    pub(crate) fn web(&self) -> SocketAddr {
        self.web.expect("it is a case of HTTP")
    }

    /// Runs all attackers at the same time, each with its own name.
    pub(crate) fn each(&self, attack: impl Fn(&Target, usize) + Sync) {
        self.several(self.attackers, attack);
    }

    /// Runs so many attackers at the same time.
    pub(crate) fn several(&self, count: usize, attack: impl Fn(&Target, usize) + Sync) {
        thread::scope(|scope| {
            let attack = &attack;
            let threads: Vec<_> = (0..count)
                .map(|number| {
                    let target = Target::at(self.target.address(), &self.target.named(&format!("attacker{number}")));
                    scope.spawn(move || attack(&target, number))
                })
                .collect();
            for thread in threads {
                thread.join().unwrap_or_else(|words| panic!("an attacker: {}", crate::panic_text(&*words)));
            }
        });
    }

    /// Opens as many connections as there are attackers.
    pub(crate) fn crowd(&self, open: impl Fn(&Target, usize) -> Wire + Sync) -> Vec<Wire> {
        let wires = Mutex::new(Vec::new());
        self.several(ATTENDANTS.min(self.attackers), |target, attendant| {
            for number in (attendant..self.attackers).step_by(ATTENDANTS) {
                let wire = open(target, number);
                wires.lock().unwrap_or_else(PoisonError::into_inner).push(wire);
            }
        });
        wires.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the neighbours have so many more frames.
    pub(crate) fn wait_frames(&self, count: usize) {
        self.neighbours.wait_frames(count);
    }

    /// Waits until the server has so many connections of attackers.
    pub(crate) fn wait_open(&self, count: usize) {
        wait_for("open connections", TIMEOUT, || (self.held().files >= self.before.files + count).then_some(()));
    }

    /// Lines of the log with these words.
    pub(crate) fn lines_with(&self, words: &str) -> Vec<String> {
        self.server.process.lines_with(words).into_iter().map(|line| line.text).collect()
    }

    /// Recordings so far, and their bytes on the disk.
    pub(crate) fn files(&self) -> (usize, u64) {
        let folders = fs::read_dir(&self.files).into_iter().flatten().filter_map(Result::ok);
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().filter_map(Result::ok));
        let sizes: Vec<u64> = files.filter_map(|file| file.metadata().ok()).map(|data| data.blocks() * 512).collect();
        (sizes.len(), sizes.iter().sum())
    }

    /// Bytes of memory that the server has once all attackers so far are gone.
    pub(crate) fn resident_when_gone(&self) -> usize {
        self.wait_gone();
        self.held().resident
    }

    /// Waits until nothing is left of the attackers: neither sockets nor threads, and a line in the log for each.
    fn wait_gone(&self) {
        let is_gone = |held: &Held| held.files <= self.before.files && held.threads <= self.before.threads;
        let mut held = self.held();
        let end = Instant::now() + TIMEOUT;
        while !is_gone(&held) && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
            held = self.held();
        }
        assert!(is_gone(&held), "{held:?} when the attackers had gone, and before them {:?}", self.before);
        wait_for("a line for each closed connection", TIMEOUT, || (self.open() == 0).then_some(()));
    }

    /// What is held once memory of the attackers has been given back, or after as long as that may take.
    fn wait_given_back(&self) -> Held {
        let end = Instant::now() + GIVEN_BACK;
        loop {
            let held = self.held();
            if held.resident <= self.before.resident + KEPT || Instant::now() >= end {
                return held;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// New players begin with the neighbours' newest key frame.
    pub(crate) fn assert_neighbours_can_be_joined(&self) {
        let mut player = ScriptedClient::player(&self.target, &self.target.named("neighbours"));
        player.receive_until("video");
    }

    /// Waits until nothing is left of the attackers; what there is then, against what was before they came.
    fn wait_nothing_left(&self) -> After {
        let start = Instant::now();
        self.wait_gone();
        let mut after = After { connections: self.open(), ..After::default() };
        if self.has_api {
            let total = |path: &str| self.ask(path)["total"].as_i64().expect("a number") as isize;
            let (connections, streams) = wait_for("an API that shows the neighbours alone", TIMEOUT, || {
                let clients = total("/api/v1/clients?count=0") - self.healthy.len() as isize;
                let streams = total("/api/v1/streams?count=0") - 1;
                (clients == 0 && streams == 0).then_some((clients, streams))
            });
            after = After { connections, streams: Some(streams), ..after };
            // No questions are left either.
            self.wait_gone();
        }
        let held = self.held();
        let threads = held.threads as isize - self.before.threads as isize;
        let files = held.files as isize - self.before.files as isize;
        After { time: start.elapsed(), threads, files, ..after }
    }

    /// Connections of attackers that are open, by the log.
    fn open(&self) -> isize {
        (self.lines_with(" opened from ").len() - self.healthy.len()) as isize - self.closed().len() as isize
    }

    /// What the API says at this path.
    pub(crate) fn ask(&self, path: &str) -> Value {
        self.server.get(path)
    }

    /// How the attackers' connections ended.
    /// Waits until so many connections have ended for one of these reasons.
    pub(crate) fn wait_closed(&self, reasons: &[&str], count: usize) {
        wait_for(&format!("{count} ends for {reasons:?}"), Duration::from_secs(60), || {
            (self.closed().iter().filter(|closed| reasons.contains(&&*closed.reason)).count() >= count).then_some(())
        });
    }

    fn closed(&self) -> Vec<Closed> {
        let lines = self.server.process.lines_with(" closed: ");
        let closed = log::closed(&lines);
        closed.into_iter().filter(|(id, _)| !self.healthy.contains(id)).map(|(_, closed)| closed).collect()
    }

    fn held(&self) -> Held {
        self.server.held()
    }
}
