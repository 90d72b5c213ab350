use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that captures leave free on a disk, so that a capture does not take the space of recordings. It may change
/// while files are written; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct MinFree(Arc<AtomicU64>);

impl MinFree {
    pub(super) fn new(bytes: u64) -> Self {
        MinFree(Arc::new(AtomicU64::new(bytes)))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// # Errors
/// Fewer bytes are free on the disk of this folder, or the system does not say.
pub(super) fn check_room(folder: &Path, least: u64) -> io::Result<()> {
    if least == 0 {
        return Ok(());
    }
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < least {
        let (folder, free, least) = (folder.display(), free >> 20, least >> 20);
        let words = format!("{free} MiB are free in {folder}, and capture.min_free keeps {least} MiB");
        return Err(io::Error::new(io::ErrorKind::StorageFull, words));
    }
    Ok(())
}
