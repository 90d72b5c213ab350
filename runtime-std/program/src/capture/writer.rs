use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{error, warn};

use super::file::CaptureFile;

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
    state: Mutex<State>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when all is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, Piece>,
    /// Bytes in `waiting`.
    bytes: usize,
    last: u64,
    writing: bool,
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
    pub(super) fn start(capacity: usize) -> io::Result<Self> {
        let (state, filled, written) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { capacity, state, filled, written });
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
        state.waiting.insert(file, Piece { new: Some(new), bytes: bytes.to_vec(), last: false });
        drop(state);
        self.shared.filled.notify_one();
        file
    }

    /// False, and nothing is taken, if too much waits already.
    pub(super) fn append(&self, file: u64, bytes: &[u8]) -> bool {
        let mut state = self.shared.state();
        if state.bytes.saturating_add(bytes.len()) > self.shared.capacity {
            return false;
        }
        state.put(file, bytes);
        drop(state);
        self.shared.filled.notify_one();
        true
    }

    /// The last of a file; room is found for it.
    pub(super) fn finish(&self, file: u64, bytes: &[u8]) {
        let mut state = self.shared.state();
        state.put(file, bytes).last = true;
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Waits until all is written, but not longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        drop(self.shared.written.wait_timeout_while(self.shared.state(), patience, busy));
    }
}

impl State {
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
        let mut state = self.state();
        loop {
            if state.waiting.is_empty() {
                state.writing = false;
                self.written.notify_all();
            }
            state =
                self.filled.wait_while(state, |state| state.waiting.is_empty()).unwrap_or_else(PoisonError::into_inner);
            let waiting = mem::take(&mut state.waiting);
            state.bytes = 0;
            state.writing = true;
            drop(state);
            for (file, piece) in waiting {
                // If one write panics, the others and later ones still run.
                if catch_unwind(AssertUnwindSafe(|| write(&mut files, file, piece))).is_err() {
                    error!(event = "bug", "writing a capture panicked, which is a bug");
                    files.remove(&file);
                }
            }
            state = self.state();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that could be made and written so far.
type Files = HashMap<u64, (File, Arc<CaptureFile>)>;

fn write(files: &mut Files, number: u64, piece: Piece) {
    if let Some(new) = piece.new {
        match create(new.path()) {
            Ok(file) => drop(files.insert(number, (file, new))),
            Err(error) => {
                let path = new.path().display();
                warn!(event = "capture_failed", file = %path, error = %error, "cannot capture into {path}: {error}");
                new.fail(&error.to_string());
            }
        }
    }
    // A file that could not be created or written is not in the map any more.
    if let Some((file, known)) = files.get_mut(&number)
        && let Err(error) = file.write_all(&piece.bytes)
    {
        let path = known.path().display();
        warn!(event = "capture_failed", file = %path, error = %error, "the capture {path} ends: {error}");
        known.fail(&error.to_string());
        files.remove(&number);
    }
    if piece.last {
        files.remove(&number);
    }
}

/// Creates a new file that only its owner may read. Never overwrites a file.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
