use std::path::PathBuf;

use tracing::{info, warn};

use super::file::{CaptureFile, FileEnd};

/// The line about the end of a file.
#[derive(Debug)]
pub(super) struct FileEnded {
    connection: u64,
    path: PathBuf,
    bytes: u64,
    end: FileEnd,
}

impl FileEnded {
    pub(super) fn of(file: &CaptureFile, end: &FileEnd) -> Self {
        FileEnded { connection: file.connection, path: file.path.clone(), bytes: file.bytes(), end: end.clone() }
    }

    /// `capture` is the number of the capture that the API began, if it did.
    pub(super) fn log(&self, capture: Option<u64>) {
        let FileEnded { connection: conn, path, bytes, end } = self;
        let (file, reason, words) = (path.display(), end.name(), end.words());
        // A file that misses what the operator waits for.
        let is_short = matches!(end, FileEnd::DiskSlow | FileEnd::DiskFailed(_) | FileEnd::DiskFull(_));
        if is_short {
            warn!(
                event = "capture_file_ended",
                conn,
                capture,
                file = %file,
                bytes,
                reason,
                "conn {conn} is not captured any more: {words}; {file} has {bytes} bytes"
            );
        } else {
            info!(
                event = "capture_file_ended",
                conn,
                capture,
                file = %file,
                bytes,
                reason,
                "{file} is complete: conn {conn}, {bytes} bytes, {words}"
            );
        }
    }
}
