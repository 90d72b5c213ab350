//! Captures of connections as files: what users send in with a report, and what `replay` makes of it.

mod chosen;
mod disk;
mod ended;
mod file;
mod replay;
mod writer;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anabranch_core::capture::{Opening, Tap, file_header};
use anabranch_host::{Arriving, Captures};
use tracing::warn;

pub use chosen::{CaptureChoice, CaptureView, ChosenCaptures, ChosenFolder, ChosenLimits, FileView, LeftOut, NotBegun};
use disk::MinFree;
use ended::FileEnded;
use file::{CaptureFile, FileTap, Over};
pub use file::{CaptureTally, FileEnd};
pub(crate) use replay::replay;
use writer::Writer;

/// The extension of capture files.
const EXTENSION: &str = "anacap";

/// Bounds of captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureLimits {
    /// Bytes of one connection's file. Default 64 MiB.
    pub bytes: u64,
    /// Files in the folder, those of earlier servers included; no more are begun. Default 1000.
    pub files: u64,
    /// Bytes that may wait for the disk, of all connections; what does not fit ends its capture. Default 32 MiB.
    pub waiting: usize,
    /// Bytes that stay free on the disk: with less, no file is begun, and files end. Default 1 GiB.
    pub min_free: u64,
}

impl Default for CaptureLimits {
    fn default() -> Self {
        CaptureLimits { bytes: 64 << 20, files: 1000, waiting: 32 << 20, min_free: 1 << 30 }
    }
}

/// A folder into which connections are captured, a file for each. A separate thread writes the files: a connection
/// never waits for the disk. The files hold everything that clients send, including keys and media, so only their owner
/// may read them.
#[derive(Debug, Clone)]
pub struct CaptureFolder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: CaptureLimits,
    /// What the files of connections to come begin with.
    header: Mutex<Arc<[u8]>>,
    folder: PathBuf,
    writer: Arc<Writer>,
    /// Files in the folder.
    files: AtomicU64,
    tally: Arc<CaptureTally>,
}

impl CaptureFolder {
    /// Captures into `folder`, which is made if it is not there. `header` is what a replay needs to know of the
    /// program: its name and version in the first line, then its options, one a line. The thread ends with the process.
    ///
    /// # Errors
    /// The folder cannot be made or listed, or there is no thread.
    pub fn start(folder: &Path, limits: CaptureLimits, header: &str) -> io::Result<Self> {
        let files = AtomicU64::new(prepare(folder)?);
        let writer = Arc::new(Writer::start(limits.waiting, MinFree::new(limits.min_free))?);
        let (header, folder) = (Mutex::new(file_header(header).into()), folder.to_owned());
        let shared = Shared { limits, header, folder, writer, files, tally: Arc::default() };
        Ok(CaptureFolder { shared: Arc::new(shared) })
    }

    /// The header of connections to come: other settings hold for them.
    pub fn set_header(&self, header: &str) {
        *self.shared.header.lock().unwrap_or_else(PoisonError::into_inner) = file_header(header).into();
    }

    /// Counts of these captures.
    pub fn tally(&self) -> &CaptureTally {
        &self.shared.tally
    }

    /// Waits until all that was recorded is written, but not longer than `timeout`.
    pub fn flush(&self, timeout: Duration) {
        self.shared.writer.flush(timeout);
    }
}

impl Captures for CaptureFolder {
    /// For the next connection, unless there are as many files as there may be.
    fn tap(&self, _: Arriving) -> Option<Box<dyn Tap>> {
        let Shared { limits, files, .. } = &*self.shared;
        let before = files
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |files| (files <= limits.files).then_some(files + 1));
        match before {
            Ok(files) if files < limits.files => {
                let shared = self.shared.clone();
                Some(Box::new(FolderTap { shared, file: None }))
            }
            // Told once: the count goes one beyond the bound and stays there.
            Ok(_) => {
                let files = limits.files;
                warn!(
                    event = "capture_limit",
                    files, "no further connections are captured: the folder has {files} files, as many as it may"
                );
                None
            }
            Err(_) => None,
        }
    }
}

/// Begins the file when the connection begins.
#[derive(Debug)]
struct FolderTap {
    shared: Arc<Shared>,
    file: Option<FileTap>,
}

impl Tap for FolderTap {
    fn opened(&mut self, opening: &Opening) {
        let Shared { limits, folder, header, writer, tally, .. } = &*self.shared;
        let path = folder.join(format!("conn-{}-{}.{EXTENSION}", opening.connection, unix_time()));
        let header = header.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let over = over(writer.clone());
        let file = CaptureFile::new(opening.connection, path, true, tally.clone(), Some(over));
        self.file = Some(FileTap::begin(writer.clone(), file, limits.bytes, &header));
    }

    fn record(&mut self, record: &[u8]) {
        if let Some(file) = &mut self.file {
            file.record(record);
        }
    }

    fn is_over(&self) -> bool {
        self.file.as_ref().is_some_and(FileTap::is_over)
    }
}

/// Logs the end of a file, unless the connection ended.
fn over(writer: Arc<Writer>) -> Over {
    Over(Box::new(move |file, end| {
        if *end != FileEnd::Closed {
            let (line, none) = (FileEnded::of(file, end), None);
            writer.log(move || line.log(none));
        }
    }))
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Makes the folder, which only its owner may read, and counts the captures in it.
fn prepare(folder: &Path) -> io::Result<u64> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        files += u64::from(entry?.path().extension().is_some_and(|extension| extension == EXTENSION));
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
