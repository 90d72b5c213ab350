use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::disk::{self, MinFree};
use super::file::{CaptureFile, FileEnd};

/// The free space is looked at so often while files are written.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes on their way to files. Connections never wait for the disk and get none of its errors: a separate thread
/// writes the files.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes that may wait.
    capacity: usize,
    min_free: MinFree,
    state: Mutex<State>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when all is written.
    written: Condvar,
}

/// A line of the log, which this thread writes: taps are called while their connection is locked.
type Line = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    waiting: HashMap<u64, Piece>,
    lines: Vec<Line>,
    /// While this is not 0, lines wait.
    held: usize,
    /// Files that are to be created, or are being created.
    new: u64,
    /// Bytes in `waiting`.
    bytes: usize,
    last: u64,
    writing: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { waiting, lines, bytes, writing, .. } = self;
        let (files, lines) = (waiting.len(), lines.len());
        f.debug_struct("State")
            .field("files", &files)
            .field("lines", &lines)
            .field("bytes", bytes)
            .field("writing", writing)
            .finish_non_exhaustive()
    }
}

/// Whether bytes were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appended {
    Yes,
    /// Too much waits already.
    TooMuch,
    /// The file has ended.
    Ended,
}

/// What waits for one file.
#[derive(Debug, Default)]
struct Piece {
    /// The file, if it is to be created.
    new: Option<Arc<CaptureFile>>,
    bytes: Vec<u8>,
    /// Nothing comes after this.
    last: bool,
}

impl Writer {
    /// Starts the thread, which ends with the process. `capacity` bytes may wait, and as many are being written
    /// meanwhile.
    pub(super) fn start(capacity: usize, min_free: MinFree) -> io::Result<Self> {
        let (state, filled, written) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { capacity, min_free, state, filled, written });
        let its_shared = shared.clone();
        thread::Builder::new().name("capture".into()).spawn(move || its_shared.run())?;
        Ok(Writer { shared })
    }

    /// A new file; its number.
    pub(super) fn begin(&self, new: Arc<CaptureFile>, bytes: &[u8]) -> u64 {
        let mut state = self.shared.state();
        state.last += 1;
        let file = state.last;
        state.bytes += bytes.len();
        state.new += 1;
        state.waiting.insert(file, Piece { new: Some(new), bytes: bytes.to_vec(), last: false });
        drop(state);
        self.shared.filled.notify_one();
        file
    }

    /// Nothing is taken if too much waits already, or after the last bytes of the file.
    pub(super) fn append(&self, file: u64, bytes: &[u8]) -> Appended {
        let mut state = self.shared.state();
        if state.waiting.get(&file).is_some_and(|piece| piece.last) {
            return Appended::Ended;
        }
        if state.bytes.saturating_add(bytes.len()) > self.shared.capacity {
            return Appended::TooMuch;
        }
        state.put(file, bytes);
        drop(state);
        self.shared.filled.notify_one();
        Appended::Yes
    }

    /// The last of a file; room is found for it.
    pub(super) fn finish(&self, file: u64, bytes: &[u8]) {
        let mut state = self.shared.state();
        state.put(file, bytes).last = true;
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Has the thread write a line of the log.
    pub(super) fn log(&self, line: impl FnOnce() + Send + 'static) {
        self.shared.state().lines.push(Box::new(line));
        self.shared.filled.notify_one();
    }

    /// Lines to come wait until the value is dropped.
    pub(super) fn hold(&self) -> Held<'_> {
        let mut state = self.shared.state();
        state.held += 1;
        Held { shared: &self.shared, place: state.lines.len() }
    }

    /// Files that are to be created: a list of the folder may not have them yet.
    pub(super) fn to_create(&self) -> u64 {
        self.shared.state().new
    }

    /// Waits until all is written, but not longer than `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty() || !state.lines.is_empty();
        drop(self.shared.written.wait_timeout_while(self.shared.state(), timeout, busy));
    }
}

/// Lines of the log wait.
#[derive(Debug)]
pub(super) struct Held<'a> {
    shared: &'a Shared,
    /// Where the lines begin that came since.
    place: usize,
}

impl Held<'_> {
    /// Has a line written before those that came since.
    pub(super) fn log_first(&self, line: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state();
        let place = self.place.min(state.lines.len());
        state.lines.insert(place, Box::new(line));
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.state().held -= 1;
        self.shared.filled.notify_one();
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && (self.lines.is_empty() || self.held > 0)
    }

    fn put(&mut self, file: u64, bytes: &[u8]) -> &mut Piece {
        self.bytes += bytes.len();
        let piece = self.waiting.entry(file).or_default();
        piece.bytes.extend_from_slice(bytes);
        piece
    }
}

impl Shared {
    fn run(&self) {
        let mut files = Files::new();
        let mut looked = Instant::now();
        let mut state = self.state();
        loop {
            if state.is_idle() {
                state.writing = false;
                self.written.notify_all();
            }
            state = self.filled.wait_while(state, |state| state.is_idle()).unwrap_or_else(PoisonError::into_inner);
            let waiting = mem::take(&mut state.waiting);
            let lines = if state.held > 0 { Vec::new() } else { mem::take(&mut state.lines) };
            state.bytes = 0;
            state.writing = true;
            drop(state);
            for line in lines {
                // A line that panics is a bug; what is captured is written all the same.
                let _ = catch_unwind(AssertUnwindSafe(line));
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                end_without_room(&mut files, &self.min_free);
            }
            let created = waiting.values().filter(|piece| piece.new.is_some()).count() as u64;
            for (file, piece) in waiting {
                // If one write panics, the others and later ones still run.
                if catch_unwind(AssertUnwindSafe(|| write(&mut files, file, piece, &self.min_free))).is_err() {
                    error!(event = "bug", "writing a capture panicked, which is a bug");
                    files.remove(&file);
                }
            }
            state = self.state();
            state.new -= created;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that could be made and written so far.
type Files = HashMap<u64, (File, Arc<CaptureFile>)>;

fn write(files: &mut Files, number: u64, piece: Piece, min_free: &MinFree) {
    if let Some(new) = piece.new {
        let folder = new.path().parent().unwrap_or(Path::new("."));
        match disk::check_room(folder, min_free.get()).and_then(|()| create(new.path())) {
            Ok(file) => drop(files.insert(number, (file, new))),
            Err(error) => {
                let path = new.path().display();
                warn!(event = "capture_failed", file = %path, error = %error, "cannot capture into {path}: {error}");
                new.fail(&FileEnd::of_disk(&error));
            }
        }
    }
    // A file that could not be created or written is not in the map any more.
    if let Some((file, known)) = files.get_mut(&number)
        && let Err(error) = file.write_all(&piece.bytes)
    {
        let path = known.path().display();
        warn!(event = "capture_failed", file = %path, error = %error, "the capture {path} ends: {error}");
        known.fail(&FileEnd::of_disk(&error));
        files.remove(&number);
    }
    if piece.last {
        files.remove(&number);
    }
}

/// Ends the files on disks that have less free space than is to stay free.
fn end_without_room(files: &mut Files, min_free: &MinFree) {
    let mut folders: Vec<_> = files.values().filter_map(|(_, file)| file.path().parent()).map(Path::to_owned).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        let Err(error) = disk::check_room(&folder, min_free.get()) else { continue };
        files.retain(|_, (_, file)| {
            if file.path().parent() != Some(folder.as_path()) {
                return true;
            }
            let path = file.path().display();
            warn!(event = "capture_failed", file = %path, error = %error, "the capture {path} ends: {error}");
            file.fail(&FileEnd::of_disk(&error));
            false
        });
    }
}

/// Creates a new file that only its owner may read. Never overwrites a file.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
