use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// The number of bytes that are collected before a write.
const PENDING: usize = 256 << 10;

/// A destination that can be truncated, such as a file.
pub(super) trait Target: Write + Seek {
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Target for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// A file that grows by units, such as tags. They are collected and written together, so that the file never ends within
/// one that failed.
#[derive(Debug)]
pub(super) struct Output<F> {
    file: F,
    /// Units that are not written yet.
    pub(super) pending: Vec<u8>,
    /// Bytes that are written.
    written: u64,
    /// How long writes took, since this was last taken.
    waited: Duration,
}

impl<F> Output<F> {
    /// The file has so many bytes, and goes on behind them.
    pub(super) fn new(file: F, written: u64) -> Self {
        Output { file, pending: Vec::new(), written, waited: Duration::ZERO }
    }

    /// Bytes that are written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes, including those that are not written yet.
    pub(super) fn length(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// How long writes took since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// The file alone. What is not written is dropped.
    pub(super) fn into_file(self) -> F {
        self.file
    }
}

impl<F: Target> Output<F> {
    /// Writes what is collected, if it is much.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub(super) fn flush_much(&mut self) -> io::Result<()> {
        if self.pending.len() >= PENDING { self.flush() } else { Ok(()) }
    }

    /// Writes what is collected.
    ///
    /// # Errors
    /// Errors of the system. What is collected is dropped then, and the file ends after what was written before.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let written = self.file.write_all(&self.pending);
        self.waited += begun.elapsed();
        if let Err(error) = written {
            self.pending.clear();
            // If truncating fails, too, part of a unit stays, which players take for the end of the file.
            let _ = self.file.cut(self.written);
            let _ = self.file.seek(SeekFrom::Start(self.written));
            return Err(error);
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
