use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_core::capture::stopped_record;

use super::writer::{Appended, Writer};

/// Why a file of a capture got no more records, or a capture no more files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEnd {
    /// The connection ended.
    Closed,
    /// The file reached its limit of bytes.
    Bytes(u64),
    /// The capture reached its limit of time.
    Time,
    /// The operator ended the capture.
    Asked,
    /// More waited for the disk than may wait.
    DiskSlow,
    /// The file could not be made or written.
    DiskFailed(String),
    /// The disk is full, or less is free than is to stay free.
    DiskFull(String),
    /// The folder has as many files as it may have, so that the capture got no more.
    Files(u64),
}

impl FileEnd {
    const NAMES: [&'static str; 8] = [
        "connection_closed",
        "byte_limit",
        "time_limit",
        "ended_by_api",
        "disk_slow",
        "disk_failed",
        "disk_full",
        "file_limit",
    ];

    /// What an error of the system means.
    pub(super) fn of_disk(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                FileEnd::DiskFull(error.to_string())
            }
            _ => FileEnd::DiskFailed(error.to_string()),
        }
    }

    /// The name in metrics and in the API.
    pub fn name(&self) -> &'static str {
        FileEnd::NAMES[self.index()]
    }

    fn index(&self) -> usize {
        match self {
            FileEnd::Closed => 0,
            FileEnd::Bytes(_) => 1,
            FileEnd::Time => 2,
            FileEnd::Asked => 3,
            FileEnd::DiskSlow => 4,
            FileEnd::DiskFailed(_) => 5,
            FileEnd::DiskFull(_) => 6,
            FileEnd::Files(_) => 7,
        }
    }

    /// The reason in words.
    pub fn words(&self) -> String {
        match self {
            FileEnd::Closed => "the connection ended".to_owned(),
            FileEnd::Bytes(limit) => format!("the limit of {limit} bytes for one connection was reached"),
            FileEnd::Time => "the capture's time was over".to_owned(),
            FileEnd::Asked => "the capture was ended through the API".to_owned(),
            FileEnd::DiskSlow => "the disk was too slow".to_owned(),
            FileEnd::DiskFailed(error) => format!("the file could not be written: {error}"),
            FileEnd::DiskFull(error) => format!("the disk is full: {error}"),
            FileEnd::Files(files) => format!("the folder has {files} captures, and capture.files allows no more"),
        }
    }
}

/// Counts of captures, for metrics.
#[derive(Debug, Default)]
pub struct CaptureTally {
    open: AtomicU64,
    begun: AtomicU64,
    bytes: AtomicU64,
    ended: [AtomicU64; FileEnd::NAMES.len()],
}

impl CaptureTally {
    /// Files that are being written.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Files that were begun so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Bytes captured so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files that have ended, by the reason's name.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FileEnd::NAMES.into_iter().zip(self.ended.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// One file: its tap, the writer and lists share this.
#[derive(Debug)]
pub(super) struct CaptureFile {
    pub(super) connection: u64,
    pub(super) path: PathBuf,
    /// True if it has all of the connection, so that it can be replayed.
    pub(super) from_start: bool,
    bytes: AtomicU64,
    /// The first reason stands.
    end: OnceLock<FileEnd>,
    tally: Arc<CaptureTally>,
    /// Its number with the writer.
    number: OnceLock<u64>,
    /// Called once, at the end.
    over: Mutex<Option<Over>>,
}

type Tell = dyn FnOnce(&CaptureFile, &FileEnd) + Send;

/// Called at the end of a file.
pub(super) struct Over(pub(super) Box<Tell>);

impl std::fmt::Debug for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Over(..)")
    }
}

impl CaptureFile {
    pub(super) fn new(
        connection: u64,
        path: PathBuf,
        from_start: bool,
        tally: Arc<CaptureTally>,
        over: Option<Over>,
    ) -> Arc<Self> {
        tally.open.fetch_add(1, Ordering::Relaxed);
        tally.begun.fetch_add(1, Ordering::Relaxed);
        Arc::new(CaptureFile {
            connection,
            path,
            from_start,
            bytes: AtomicU64::new(0),
            end: OnceLock::new(),
            tally,
            number: OnceLock::new(),
            over: Mutex::new(over),
        })
    }

    /// Bytes so far, including those that wait for the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) -> Option<&FileEnd> {
        self.end.get()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the file with a record that says why, unless it has ended.
    pub(super) fn stop(&self, end: &FileEnd, writer: &Writer) {
        let last = if *end == FileEnd::Closed { Vec::new() } else { stopped_record(&end.words()) };
        if self.settle(end)
            && let Some(number) = self.number.get()
        {
            writer.finish(*number, &last);
        }
    }

    /// The writer could not write it, and writes no more of it.
    pub(super) fn fail(&self, end: &FileEnd) {
        self.settle(end);
    }

    /// True if this is the reason for the end.
    fn settle(&self, end: &FileEnd) -> bool {
        let index = end.index();
        if self.end.set(end.clone()).is_err() {
            return false;
        }
        self.tally.open.fetch_sub(1, Ordering::Relaxed);
        self.tally.ended[index].fetch_add(1, Ordering::Relaxed);
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Over(tell)) = over {
            tell(self, end);
        }
        true
    }

    fn add(&self, bytes: u64) {
        self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What the records of one connection go through.
#[derive(Debug)]
pub(super) struct FileTap {
    writer: Arc<Writer>,
    file: Arc<CaptureFile>,
    /// Bytes of the file.
    limit: u64,
    number: u64,
}

impl FileTap {
    /// Begins the file.
    pub(super) fn begin(writer: Arc<Writer>, file: Arc<CaptureFile>, limit: u64, header: &[u8]) -> Self {
        let number = writer.begin(file.clone(), header);
        let _ = file.number.set(number);
        file.add(header.len() as u64);
        FileTap { writer, file, limit, number }
    }

    /// Takes one record, or several at the beginning.
    pub(super) fn record(&mut self, record: &[u8]) {
        if self.is_over() {
            return;
        }
        // Only what is written counts.
        let length = record.len() as u64;
        if self.file.bytes().saturating_add(length) > self.limit {
            return self.file.stop(&FileEnd::Bytes(self.limit), &self.writer);
        }
        match self.writer.append(self.number, record) {
            Appended::Yes => self.file.add(length),
            Appended::TooMuch => self.file.stop(&FileEnd::DiskSlow, &self.writer),
            Appended::Ended => {}
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.file.end().is_some()
    }
}

impl Drop for FileTap {
    fn drop(&mut self) {
        self.file.stop(&FileEnd::Closed, &self.writer);
    }
}
