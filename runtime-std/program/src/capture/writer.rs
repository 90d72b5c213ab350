use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{error, warn};

/// Bytes on their way to files. Connections never wait for the disk and get none of its errors: a separate thread
/// writes the files.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
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
    /// The file's name, if it is to be created.
    name: Option<PathBuf>,
    bytes: Vec<u8>,
    /// Nothing comes after this.
    last: bool,
}

impl Writer {
    /// Starts the thread, which ends with the process. `capacity` bytes may wait, and as many are being written
    /// meanwhile.
    pub(super) fn start(folder: PathBuf, capacity: usize) -> io::Result<Self> {
        let (state, filled, written) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { folder, capacity, state, filled, written });
        let its_shared = shared.clone();
        thread::Builder::new().name("capture".into()).spawn(move || its_shared.run())?;
        Ok(Writer { shared })
    }

    /// A new file; its number.
    pub(super) fn begin(&self, name: PathBuf, bytes: &[u8]) -> u64 {
        let mut state = self.shared.state();
        state.last += 1;
        let file = state.last;
        state.bytes += bytes.len();
        state.waiting.insert(file, Piece { name: Some(name), bytes: bytes.to_vec(), last: false });
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
        // Those that could be made and written so far.
        let mut files: HashMap<u64, File> = HashMap::new();
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
                if catch_unwind(AssertUnwindSafe(|| self.write(&mut files, file, piece))).is_err() {
                    let folder = self.folder.display();
                    error!(event = "bug", folder = %folder, "writing a capture in {folder} panicked, which is a bug");
                    files.remove(&file);
                }
            }
            state = self.state();
        }
    }

    fn write(&self, files: &mut HashMap<u64, File>, number: u64, piece: Piece) {
        if let Some(name) = piece.name {
            let path = self.folder.join(name);
            match create(&path) {
                Ok(file) => drop(files.insert(number, file)),
                Err(error) => {
                    let file = path.display();
                    warn!(event = "capture_failed", file = %file, error = %error, "cannot capture into {file}: {error}");
                }
            }
        }
        // A file that could not be created or written is not in the map any more.
        if let Some(file) = files.get_mut(&number)
            && let Err(error) = file.write_all(&piece.bytes)
        {
            let folder = self.folder.display();
            warn!(
                event = "capture_failed",
                folder = %folder,
                error = %error,
                "a capture in {folder} is cut short: {error}"
            );
            files.remove(&number);
        }
        if piece.last {
            files.remove(&number);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates a new file that only its owner may read. Never overwrites a file.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
