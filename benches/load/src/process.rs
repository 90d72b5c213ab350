//! What a process costs, as Linux tells it in `/proc`.

use std::io;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::ProcResult;
use procfs::process::{Process, StatM};

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
    let StatM { resident, .. } = look(pid, Process::statm)?;
    Ok(resident * procfs::page_size())
}

/// Threads of a process.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn threads(pid: u32) -> io::Result<usize> {
    look(pid, |process| process.tasks().map(Iterator::count))
}

/// Open files of a process.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn open_files(pid: u32) -> io::Result<usize> {
    look(pid, Process::fd_count)
}

fn look<T>(pid: u32, look: impl Fn(&Process) -> ProcResult<T>) -> io::Result<T> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Process::new(pid).and_then(|process| look(&process)).map_err(|error| io::Error::other(error.to_string()))
}
