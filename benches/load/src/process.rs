//! What a process costs, as Linux tells it in `/proc`.

use std::fs;
use std::io;

/// Clock ticks a second in `/proc`: USER_HZ, which is 100 on every architecture Rust runs on.
const TICKS: f64 = 100.0;
/// Bytes of a page, as `statm` counts.
const PAGE: u64 = 4096;

/// Seconds of CPU that a process has used, in itself and in the system on its behalf.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in parentheses, which may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    match (ticks.next(), ticks.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) as f64 / TICKS),
        _ => Err(unreadable()),
    }
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
