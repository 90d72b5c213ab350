//! What a process costs, as Linux tells it in `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// Bytes of a page, as `statm` counts.
const PAGE: u64 = 4096;

/// Seconds of CPU that a process has used, in itself and in the system on its behalf.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid))?;
    Ok(Duration::from(clock.now()?).as_secs_f64())
}

/// Bytes of memory that a process has in use.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| pages * PAGE).ok_or_else(unreadable)
}

/// Threads of a process.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn threads(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// Open files of a process.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected form of a file in /proc")
}
