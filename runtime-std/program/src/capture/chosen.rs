//! Captures of chosen connections, begun and ended while the server runs.
//!
//! A capture chooses one connection, the clients of a network, or those of a stream. Connections that are open are
//! captured from now on. Connections to come are captured from their beginning: while a capture waits for a stream, the
//! first records of each new connection are kept in memory until the client names its stream.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::capture::{Joined, Opening, Tap, file_header, joined_file_header};
use anabranch_core::conn::Role;
use anabranch_core::policy::Network;
use anabranch_core::session::Phase;
use anabranch_core::url::StreamKey;
use anabranch_host::{Arriving, CaptureError, Captures, Handle};
use tracing::{info, warn};

use super::file::{CaptureFile, CaptureTally, FileEnd, FileTap, Over};
use super::writer::Writer;
use super::{EXTENSION, prepare, unix_time};

/// Captures that run at the same time.
const MOST_RUNNING: usize = 16;
/// Captures that are remembered after their end.
const MOST_ENDED: usize = 100;
/// Bytes of one connection that wait until it is known whether it is captured: more than handshake, `connect` and the
/// first request of any client.
const UNDECIDED: usize = 256 << 10;
/// The same of all connections.
const ALL_UNDECIDED: usize = 16 << 20;

/// Which connections a capture takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureChoice {
    /// The connection of this number, which is open.
    Connection(u64),
    /// Clients with an address of this network, now and to come.
    Network(Network),
    /// Clients that publish or play this stream, or only those of one role, now and to come.
    Stream {
        /// The stream.
        key: StreamKey,
        /// The role; both if none is given.
        role: Option<Role>,
    },
}

impl CaptureChoice {
    fn takes_stream(&self, named: &StreamKey, as_role: Role) -> bool {
        matches!(self, CaptureChoice::Stream { key, role } if key == named && role.is_none_or(|role| role == as_role))
    }

    fn takes_address(&self, address: SocketAddr) -> bool {
        matches!(self, CaptureChoice::Network(network) if network.contains(address.ip()))
    }
}

impl fmt::Display for CaptureChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureChoice::Connection(id) => write!(f, "conn {id}"),
            CaptureChoice::Network(network) => write!(f, "clients from {network}"),
            CaptureChoice::Stream { key, role: None } => write!(f, "clients of {key}"),
            CaptureChoice::Stream { key, role: Some(role) } => write!(f, "each {role} of {key}"),
        }
    }
}

/// Bounds of one capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChosenLimits {
    /// Bytes of each file.
    pub bytes: u64,
    /// How long it runs.
    pub time: Duration,
    /// Connections that it takes, a file for each.
    pub connections: usize,
}

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenFolder {
    /// The folder; it is made when the first capture begins. Empty: no captures are begun.
    pub folder: PathBuf,
    /// Files in the folder, those of earlier servers included; no more are begun.
    pub files: u64,
    /// Bytes of the largest file that a capture may ask for.
    pub bytes: u64,
    /// Bytes that may wait for the disk, of all files.
    pub waiting: usize,
    /// What a replay needs to know of the program, see [`CaptureFolder`](super::CaptureFolder).
    pub header: String,
}

/// Why a capture was not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotBegun {
    /// The settings allow no captures.
    Off,
    /// So many run already.
    TooMany(usize),
    /// The folder has so many files.
    Full(u64),
    /// The folder cannot be used, or the system starts no thread.
    Failed(String),
    /// The server does not run.
    NoServer,
    /// The connection cannot be captured.
    Connection(CaptureError),
}

impl fmt::Display for NotBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotBegun::Off => f.write_str("capture.api_folder is empty, which forbids captures through the API"),
            NotBegun::TooMany(most) => write!(f, "{most} captures run already: end one of them first"),
            NotBegun::Full(files) => {
                write!(f, "the folder has {files} captures, and capture.files allows no more: remove some")
            }
            NotBegun::Failed(words) => f.write_str(words),
            NotBegun::NoServer => f.write_str("the server does not run"),
            NotBegun::Connection(error) => error.fmt(f),
        }
    }
}

/// A capture as lists show it.
#[derive(Debug, Clone)]
pub struct CaptureView {
    /// Its number in this run of the server.
    pub number: u64,
    /// What it takes.
    pub choice: CaptureChoice,
    /// Its bounds.
    pub limits: ChosenLimits,
    /// When it began.
    pub begun: SystemTime,
    /// Why it ended, if it has.
    pub ended: Option<&'static str>,
    /// Its files, in the order in which they began.
    pub files: Vec<FileView>,
}

/// A file of a capture.
#[derive(Debug, Clone)]
pub struct FileView {
    /// The number of the connection.
    pub connection: u64,
    /// Where it is.
    pub path: PathBuf,
    /// True if it has all of the connection, so that it can be replayed; otherwise it can be shown.
    pub from_start: bool,
    /// Its bytes, including those that wait for the disk.
    pub bytes: u64,
    /// Why it ended, if it has.
    pub end: Option<FileEnd>,
}

/// Captures that are begun and ended while the server runs. Clones share the same captures.
#[derive(Debug, Clone)]
pub struct ChosenCaptures {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Mutex<ChosenFolder>,
    handle: Mutex<Option<Handle>>,
    writer: Mutex<Option<Arc<Writer>>>,
    state: Mutex<State>,
    /// Notified when the times of captures have changed.
    timed: Condvar,
    /// Captures that wait for connections to come. Read for each new connection, without a lock.
    waiting: AtomicUsize,
    /// Bytes of connections of which it is not known yet whether they are captured.
    undecided: AtomicUsize,
    tally: Arc<CaptureTally>,
}

#[derive(Debug, Default)]
struct State {
    running: Vec<Running>,
    ended: VecDeque<Running>,
    last: u64,
    /// True while there is a thread that ends captures in time.
    is_watched: bool,
}

#[derive(Debug)]
struct Running {
    number: u64,
    choice: CaptureChoice,
    limits: ChosenLimits,
    begun: SystemTime,
    until: Instant,
    files: Vec<Arc<CaptureFile>>,
    ended: Option<&'static str>,
}

impl Running {
    fn has_room(&self) -> bool {
        self.files.len() < self.limits.connections
    }

    /// True if no file is written and none will begin.
    fn is_done(&self) -> bool {
        !self.has_room() && self.files.iter().all(|file| file.end().is_some())
    }

    fn view(&self) -> CaptureView {
        let file = |file: &Arc<CaptureFile>| FileView {
            connection: file.connection,
            path: file.path.clone(),
            from_start: file.from_start,
            bytes: file.bytes(),
            end: file.end().cloned(),
        };
        CaptureView {
            number: self.number,
            choice: self.choice.clone(),
            limits: self.limits,
            begun: self.begun,
            ended: self.ended,
            files: self.files.iter().map(file).collect(),
        }
    }
}

impl ChosenCaptures {
    /// No captures yet.
    pub fn new(settings: ChosenFolder) -> Self {
        let shared = Shared {
            settings: Mutex::new(settings),
            handle: Mutex::default(),
            writer: Mutex::default(),
            state: Mutex::default(),
            timed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            undecided: AtomicUsize::new(0),
            tally: Arc::default(),
        };
        ChosenCaptures { shared: Arc::new(shared) }
    }

    /// The server whose connections are captured.
    pub fn start(&self, handle: Handle) {
        *lock(&self.shared.handle) = Some(handle);
    }

    /// Puts these settings in force for files to come.
    pub fn set(&self, settings: ChosenFolder) {
        *lock(&self.shared.settings) = settings;
    }

    /// Bytes of the largest file that a capture may ask for.
    pub fn largest_file(&self) -> u64 {
        lock(&self.shared.settings).bytes
    }

    /// Begins a capture.
    ///
    /// # Errors
    /// See [`NotBegun`]; then nothing is captured.
    pub fn begin(&self, choice: &CaptureChoice, limits: ChosenLimits) -> Result<CaptureView, NotBegun> {
        let shared = &self.shared;
        let handle = lock(&shared.handle).clone().ok_or(NotBegun::NoServer)?;
        shared.prepare()?;
        let limits = match choice {
            CaptureChoice::Connection(_) => ChosenLimits { connections: 1, ..limits },
            _ => limits,
        };
        let limits = ChosenLimits { bytes: limits.bytes.min(self.largest_file()), ..limits };
        let number = {
            let mut state = shared.state();
            if state.running.len() >= MOST_RUNNING {
                return Err(NotBegun::TooMany(MOST_RUNNING));
            }
            shared.watch(&mut state)?;
            state.last += 1;
            let now = Instant::now();
            let until = now.checked_add(limits.time).unwrap_or(now);
            let (number, begun) = (state.last, SystemTime::now());
            let choice = choice.clone();
            state.running.push(Running { number, choice, limits, begun, until, files: Vec::new(), ended: None });
            shared.count_waiting(&state);
            number
        };
        shared.timed.notify_all();
        info!(event = "capture_begun", capture = number, choice = %choice, "capture {number} begins: {choice}");
        if let CaptureChoice::Connection(id) = *choice {
            if let Err(error) = handle.capture(id, shared.tap(number)) {
                shared.forget(number);
                return Err(NotBegun::Connection(error));
            }
        } else {
            for id in open_connections(&handle, choice) {
                // One that leaves now, or is captured already, is left out.
                let _ = handle.capture(id, shared.tap(number));
            }
        }
        self.find(number).ok_or(NotBegun::NoServer)
    }

    /// Ends a capture. `None` if there is none of this number.
    pub fn end(&self, number: u64) -> Option<CaptureView> {
        self.shared.end(number, &FileEnd::Asked);
        self.find(number)
    }

    /// All captures: those that run, then those that have ended, the newest first.
    pub fn list(&self) -> Vec<CaptureView> {
        let state = self.shared.state();
        state.running.iter().rev().chain(state.ended.iter().rev()).map(Running::view).collect()
    }

    /// One capture.
    pub fn find(&self, number: u64) -> Option<CaptureView> {
        let state = self.shared.state();
        let mut all = state.running.iter().chain(&state.ended);
        all.find(|capture| capture.number == number).map(Running::view)
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.shared.state().running.len()
    }

    /// Counts of these captures.
    pub fn tally(&self) -> &CaptureTally {
        &self.shared.tally
    }

    /// Waits until all that was recorded is written, but not longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        // The server has stopped, and its handle must not keep it.
        lock(&self.shared.handle).take();
        let writer = lock(&self.shared.writer).clone();
        if let Some(writer) = writer {
            writer.flush(patience);
        }
    }
}

/// The open connections that a capture takes: publishers first, then the oldest.
fn open_connections(handle: &Handle, choice: &CaptureChoice) -> Vec<u64> {
    let mut found = Vec::new();
    handle.inspect_each(|conn| {
        if conn.session().phase() == Phase::Handshake {
            return;
        }
        let role = conn.streams().find(|(role, key)| choice.takes_stream(key, *role)).map(|(role, _)| role);
        if role.is_some() || conn.peer().is_some_and(|peer| choice.takes_address(peer)) {
            found.push((role != Some(Role::Publisher), conn.id()));
        }
    });
    found.sort_unstable();
    found.into_iter().map(|(_, id)| id).collect()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Makes the folder and the writer.
    fn prepare(&self) -> Result<(), NotBegun> {
        let ChosenFolder { folder, files, waiting, .. } = lock(&self.settings).clone();
        if folder.as_os_str().is_empty() {
            return Err(NotBegun::Off);
        }
        let found = prepare(&folder)
            .map_err(|error| NotBegun::Failed(format!("cannot capture into {}: {error}", folder.display())))?;
        if found >= files {
            return Err(NotBegun::Full(found));
        }
        let mut writer = lock(&self.writer);
        if writer.is_none() {
            let started = Writer::start(waiting);
            let started =
                started.map_err(|error| NotBegun::Failed(format!("cannot start a thread for captures: {error}")))?;
            *writer = Some(Arc::new(started));
        }
        Ok(())
    }

    /// Makes sure that a thread ends captures in time.
    fn watch(self: &Arc<Self>, state: &mut State) -> Result<(), NotBegun> {
        if !state.is_watched {
            let shared = self.clone();
            let started = thread::Builder::new().name("capture-time".to_owned()).spawn(move || shared.end_in_time());
            started.map_err(|error| NotBegun::Failed(format!("cannot start a thread for captures: {error}")))?;
            state.is_watched = true;
        }
        Ok(())
    }

    /// Ends captures when their time is over, until none runs.
    fn end_in_time(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let due = state.running.iter().filter(|capture| capture.until <= now).map(|capture| capture.number);
            let due: Vec<_> = due.collect();
            if !due.is_empty() {
                drop(state);
                due.into_iter().for_each(|number| self.end(number, &FileEnd::Time));
                state = self.state();
                continue;
            }
            let Some(next) = state.running.iter().map(|capture| capture.until).min() else {
                state.is_watched = false;
                return;
            };
            let waited = self.timed.wait_timeout(state, next.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn count_waiting(&self, state: &State) {
        let waits = |capture: &&Running| !matches!(capture.choice, CaptureChoice::Connection(_)) && capture.has_room();
        self.waiting.store(state.running.iter().filter(waits).count(), Ordering::Release);
    }

    fn end(&self, number: u64, why: &FileEnd) {
        let files = {
            let mut state = self.state();
            let Some(index) = state.running.iter().position(|capture| capture.number == number) else {
                return;
            };
            let mut capture = state.running.remove(index);
            capture.ended = Some(why.name());
            let files = capture.files.clone();
            state.remember(capture);
            self.count_waiting(&state);
            files
        };
        let words = why.words();
        info!(event = "capture_ended", capture = number, reason = why.name(), "capture {number} ends: {words}");
        self.timed.notify_all();
        let (writer, handle) = (lock(&self.writer).clone(), lock(&self.handle).clone());
        for file in files {
            if let Some(writer) = &writer {
                file.stop(why.clone(), writer);
            }
            // The connection drops its tap, and gets its bytes in batches again.
            if let Some(handle) = &handle {
                handle.poll_soon(file.connection);
            }
        }
    }

    /// Removes a capture that could not begin.
    fn forget(&self, number: u64) {
        let mut state = self.state();
        state.running.retain(|capture| capture.number != number);
        self.count_waiting(&state);
        drop(state);
        self.timed.notify_all();
    }

    /// A file of this capture has ended: with the last one the capture ends.
    fn file_over(&self, number: u64) {
        let mut state = self.state();
        let Some(index) = state.running.iter().position(|capture| capture.number == number && capture.is_done()) else {
            return;
        };
        let mut capture = state.running.remove(index);
        capture.ended = capture.files.last().and_then(|file| file.end()).map(FileEnd::name);
        state.remember(capture);
        self.count_waiting(&state);
        drop(state);
        self.timed.notify_all();
        info!(event = "capture_ended", capture = number, "capture {number} ends: all its files are complete");
    }

    /// A tap for a connection that this capture takes.
    fn tap(self: &Arc<Self>, number: u64) -> Box<dyn Tap> {
        Box::new(ChosenTap { shared: self.clone(), stage: Stage::Chosen(number) })
    }

    /// Begins the file of a connection; `None` if the capture has ended or takes no more.
    fn file(self: &Arc<Self>, number: u64, connection: u64, from_start: bool) -> Option<FileTap> {
        let writer = lock(&self.writer).clone()?;
        let ChosenFolder { folder, header, .. } = lock(&self.settings).clone();
        let header = if from_start { file_header(&header) } else { joined_file_header(&header) };
        // The file begins under this lock, so that nothing ends it before.
        let mut state = self.state();
        let capture = state.running.iter_mut().find(|capture| capture.number == number && capture.has_room())?;
        let name = format!("capture-{number}-conn-{connection}-{}.{EXTENSION}", unix_time());
        let shared = Arc::downgrade(self);
        let over = Over(Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.file_over(number);
            }
        }));
        let file = CaptureFile::new(connection, folder.join(name), from_start, self.tally.clone(), Some(over));
        capture.files.push(file.clone());
        let tap = FileTap::begin(writer, file.clone(), capture.limits.bytes, &header);
        self.count_waiting(&state);
        drop(state);
        let path = file.path().display();
        info!(
            event = "capture_file",
            conn = connection,
            capture = number,
            file = %path,
            "conn {connection} is captured into {path}"
        );
        Some(tap)
    }

    /// The capture that takes a connection by what is known of it.
    fn taking(&self, takes: impl Fn(&CaptureChoice) -> bool) -> Option<u64> {
        let state = self.state();
        let taking = state.running.iter().find(|capture| capture.has_room() && takes(&capture.choice));
        taking.map(|capture| capture.number)
    }

    fn waits(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

impl State {
    fn remember(&mut self, capture: Running) {
        self.ended.push_back(capture);
        if self.ended.len() > MOST_ENDED {
            self.ended.pop_front();
        }
    }
}

impl Captures for ChosenCaptures {
    fn tap(&self, Arriving { peer, is_proxy }: Arriving) -> Option<Box<dyn Tap>> {
        let shared = &self.shared;
        if !shared.waits() {
            return None;
        }
        if !is_proxy && let Some(number) = shared.taking(|choice| choice.takes_address(peer)) {
            return Some(shared.tap(number));
        }
        let may_come = |choice: &CaptureChoice| match choice {
            CaptureChoice::Connection(_) => false,
            CaptureChoice::Network(_) => is_proxy,
            CaptureChoice::Stream { .. } => true,
        };
        shared.taking(may_come)?;
        Some(Box::new(ChosenTap {
            shared: shared.clone(),
            stage: Stage::Undecided { connection: 0, records: Vec::new() },
        }))
    }

    fn attaches(&self, _: u64, role: Role, key: &StreamKey) -> Option<Box<dyn Tap>> {
        if !self.shared.waits() {
            return None;
        }
        self.shared.taking(|choice| choice.takes_stream(key, role)).map(|number| self.shared.tap(number))
    }
}

/// The tap of a connection that is captured, or may be.
#[derive(Debug)]
struct ChosenTap {
    shared: Arc<Shared>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Taken by this capture; the file begins with the first call.
    Chosen(u64),
    /// Not known yet. The records so far wait.
    Undecided {
        connection: u64,
        records: Vec<u8>,
    },
    Writing(FileTap),
    Over,
}

impl ChosenTap {
    fn begin(&mut self, number: u64, connection: u64, from_start: bool) {
        let records = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Undecided { records, .. } => records,
            _ => Vec::new(),
        };
        self.shared.undecided.fetch_sub(records.len(), Ordering::Relaxed);
        if let Some(mut file) = self.shared.file(number, connection, from_start) {
            if !records.is_empty() {
                file.record(&records);
            }
            self.stage = Stage::Writing(file);
        }
    }

    /// The connection is not captured.
    fn leave_out(&mut self) {
        if let Stage::Undecided { records, .. } = &self.stage {
            self.shared.undecided.fetch_sub(records.len(), Ordering::Relaxed);
            self.stage = Stage::Over;
        }
    }
}

impl Tap for ChosenTap {
    fn opened(&mut self, opening: &Opening) {
        match &mut self.stage {
            Stage::Chosen(number) => {
                let number = *number;
                self.begin(number, opening.connection, true);
            }
            Stage::Undecided { connection, .. } => *connection = opening.connection,
            Stage::Writing(_) | Stage::Over => {}
        }
    }

    fn joined(&mut self, joined: &Joined) {
        if let Stage::Chosen(number) = self.stage {
            self.begin(number, joined.opening.connection, false);
        }
    }

    fn client_address(&mut self, address: SocketAddr) {
        if let Stage::Undecided { connection, .. } = self.stage
            && let Some(number) = self.shared.taking(|choice| choice.takes_address(address))
        {
            self.begin(number, connection, true);
        }
    }

    fn names(&mut self, key: &StreamKey, publishes: bool) {
        let Stage::Undecided { connection, .. } = self.stage else {
            return;
        };
        let role = if publishes { Role::Publisher } else { Role::Player };
        match self.shared.taking(|choice| choice.takes_stream(key, role)) {
            Some(number) => self.begin(number, connection, true),
            None => self.leave_out(),
        }
    }

    fn record(&mut self, record: &[u8]) {
        match &mut self.stage {
            Stage::Writing(file) => file.record(record),
            Stage::Undecided { connection, records } => {
                let all = self.shared.undecided.load(Ordering::Relaxed);
                if records.len() + record.len() > UNDECIDED || all + record.len() > ALL_UNDECIDED {
                    warn!(
                        event = "capture_incomplete",
                        conn = *connection,
                        "conn {connection} is not captured from its beginning: it sends much first"
                    );
                    self.leave_out();
                } else {
                    records.extend_from_slice(record);
                    self.shared.undecided.fetch_add(record.len(), Ordering::Relaxed);
                }
            }
            Stage::Chosen(_) | Stage::Over => {}
        }
    }

    fn is_over(&self) -> bool {
        match &self.stage {
            Stage::Writing(file) => file.is_over(),
            Stage::Undecided { .. } => !self.shared.waits(),
            Stage::Chosen(_) => false,
            Stage::Over => true,
        }
    }
}

impl Drop for ChosenTap {
    fn drop(&mut self) {
        self.leave_out();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
