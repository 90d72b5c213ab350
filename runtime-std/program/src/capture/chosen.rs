//! Captures of chosen connections, begun and ended while the server runs.
//!
//! A capture chooses one connection, the clients of a network, or those of a stream. Connections that are open are
//! captured from now on. Connections to come are captured from their beginning: while a capture waits for a stream, the
//! first records of each new connection are kept in memory until the client names its stream.

mod shared;
mod tap;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anabranch_core::capture::Tap;
use anabranch_core::conn::{NotCaptured, Role};
use anabranch_core::policy::Network;
use anabranch_core::url::StreamKey;
use anabranch_host::{Arriving, CaptureError, Captures, Handle, LogAddresses};
use tracing::info;

use super::file::{CaptureTally, FileEnd};
use shared::Shared;

/// Captures that run at the same time.
const MOST_RUNNING: usize = 16;
/// Files that are written at the same time, of all captures. They come out of the open files that the program keeps for
/// the API, recordings and hooks.
const MOST_OPEN: usize = 100;

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

    /// What it takes, as the log shows it: a network may be the address of one client, and a name may be long or odd.
    fn logged(&self, addresses: LogAddresses) -> String {
        match (self, addresses) {
            (CaptureChoice::Network(_), LogAddresses::Off) => "clients from a network".to_owned(),
            (CaptureChoice::Network(network), LogAddresses::Network) => {
                let shown = addresses.shown_network(*network).unwrap_or_else(|| "a network".to_owned());
                format!("clients from {shown}")
            }
            (CaptureChoice::Stream { key, role: None }, _) => format!("clients of {}", key.shown()),
            (CaptureChoice::Stream { key, role: Some(role) }, _) => format!("each {role} of {}", key.shown()),
            _ => self.to_string(),
        }
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
    /// Bytes that stay free on the disk: with less, no file is begun, and files end.
    pub min_free: u64,
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
    /// So many files are written already.
    Open(usize),
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
            NotBegun::Open(most) => write!(f, "{most} files of captures are written already: end one of them first"),
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
    /// Open connections that it chose when it began.
    pub matches: usize,
    /// Its files, in the order in which they began.
    pub files: Vec<FileView>,
    /// Connections that it chose and could not take; at most 100.
    pub left_out: Vec<LeftOut>,
}

/// A connection that a capture chose and could not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The number of the connection.
    pub connection: u64,
    /// Why, in words.
    pub why: String,
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

impl ChosenCaptures {
    /// No captures yet.
    pub fn new(settings: ChosenFolder) -> Self {
        let shared = Shared::new(settings);
        ChosenCaptures { shared: Arc::new(shared) }
    }

    /// The server whose connections are captured.
    pub fn start(&self, handle: Handle) {
        *lock(&self.shared.handle) = Some(handle);
    }

    /// Puts these settings in force for files to come.
    pub fn set(&self, settings: ChosenFolder) {
        self.shared.set(settings);
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
        let writer = shared.prepare()?;
        let limits = match choice {
            CaptureChoice::Connection(_) => ChosenLimits { connections: 1, ..limits },
            _ => limits,
        };
        let limits = ChosenLimits { bytes: limits.bytes.min(self.largest_file()), ..limits };
        // The line comes when the capture has begun, and before the lines about its files.
        let held = writer.hold();
        let number = shared.begin(choice.clone(), limits)?;
        self.take_open(&handle, choice, number)?;
        let is_one = matches!(choice, CaptureChoice::Connection(_));
        let choice = choice.logged(handle.log_addresses_in_force());
        let view = self.find(number).ok_or(NotBegun::NoServer)?;
        let matches = view.matches;
        held.log_first(move || {
            let connected = if is_one { String::new() } else { format!("; connected now: {matches}") };
            info!(
                event = "capture_begun",
                capture = number,
                choice = choice,
                matches,
                "capture {number} begins: {choice}{connected}"
            );
        });
        Ok(view)
    }

    /// Takes the open connections.
    fn take_open(&self, handle: &Handle, choice: &CaptureChoice, number: u64) -> Result<(), NotBegun> {
        let shared = &self.shared;
        if let CaptureChoice::Connection(id) = choice {
            shared.count_matches(number, 1);
            let taken =
                shared.take(handle, number, *id).map_err(NotBegun::Connection).and_then(|()| match self.find(number) {
                    Some(view) if view.files.is_empty() && view.ended.is_some() => {
                        Err(NotBegun::Full(lock(&shared.settings).files))
                    }
                    Some(view) if view.files.is_empty() => Err(NotBegun::Open(MOST_OPEN)),
                    _ => Ok(()),
                });
            return taken.inspect_err(|_| shared.forget(number));
        }
        let open = shared.open_connections(handle, choice);
        shared.count_matches(number, open.len());
        for id in open {
            if !shared.has_room(number) {
                break;
            }
            // A connection that has ended meanwhile is left out.
            if let Err(CaptureError::NotNow(why)) = shared.take(handle, number, id) {
                shared.leave_out(number, id, why.to_string());
            }
        }
        Ok(())
    }

    /// Ends a capture. `None` if there is none of this number.
    pub fn end(&self, number: u64) -> Option<CaptureView> {
        self.shared.end(number, &FileEnd::Asked);
        self.find(number)
    }

    /// All captures: those that run, then those that have ended, the newest first.
    pub fn list(&self) -> Vec<CaptureView> {
        self.shared.list()
    }

    /// One capture.
    pub fn find(&self, number: u64) -> Option<CaptureView> {
        self.shared.find(number)
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.shared.running()
    }

    /// Counts of these captures.
    pub fn tally(&self) -> &CaptureTally {
        &self.shared.tally
    }

    /// Waits until all that was recorded is written, but not longer than `timeout`.
    pub fn flush(&self, timeout: Duration) {
        // The server has stopped, and its handle must not keep it.
        lock(&self.shared.handle).take();
        let writer = lock(&self.shared.writer).clone();
        if let Some(writer) = writer {
            writer.flush(timeout);
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
        Some(shared.undecided_tap(!is_proxy))
    }

    fn attaches(&self, connection: u64, role: Role, key: &StreamKey) -> Option<Box<dyn Tap>> {
        let shared = &self.shared;
        if !shared.waits() {
            return None;
        }
        let number = shared.taking(|choice| choice.takes_stream(key, role))?;
        match shared.captured_by(connection) {
            None => return Some(shared.tap(number)),
            Some(other) if other != number => {
                shared.leave_out(number, connection, NotCaptured::Already.to_string());
            }
            Some(_) => {}
        }
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
