//! One process: starts it, follows its output, and ends it with all that it has started.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};

use super::launch::LAUNCH;
use super::output::{Entry, Output};
use super::plan::Exit;

/// How long the wait for output may take before it is checked whether the process has ended.
const LOOK: Duration = Duration::from_millis(100);
/// At most so many bytes of output are read in this time. A program that writes more waits.
const READ_MOST: usize = 64 << 10;
/// How often it is checked whether what a program has started has ended, too.
const GROUP_LOOK: Duration = Duration::from_millis(20);
/// How long the system may take to end a process that was killed.
const KILLED: Duration = Duration::from_secs(5);

/// What is to be started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) command: &'a [String],
    pub(super) folder: &'a Path,
    pub(super) environment: &'a BTreeMap<String, OsString>,
    pub(super) grace: Duration,
}

/// A process group, as long as something of it may be there.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pid: Pid,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    /// True once nothing of it is left: another process may get the number then.
    gone: bool,
    /// True once it was asked to end.
    terminated: bool,
}

impl Group {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it to end, once: ffmpeg takes a second SIGTERM for impatience, and leaves its file without an end.
    ///
    /// # Errors
    /// The server may signal nothing of it.
    pub(super) fn terminate(&self) -> io::Result<()> {
        let mut told = self.told();
        if told.gone || std::mem::replace(&mut told.terminated, true) {
            return Ok(());
        }
        self.signal(Signal::TERM)
    }

    /// Ends it.
    ///
    /// # Errors
    /// The server may signal nothing of it.
    pub(super) fn kill(&self) -> io::Result<()> {
        let told = self.told();
        if told.gone { Ok(()) } else { self.signal(Signal::KILL) }
    }

    /// Only while it is not gone.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill_process_group(self.pid, signal) {
            // It may have ended by itself.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ends what the program has started and left behind, and returns when nothing is left, or when nothing can be done
    /// about it. Goes on reading meanwhile: who writes its last words must not wait for a reader.
    fn end_rest(&self, grace: Duration, reading: &mut Reading, log: &mut impl FnMut(Entry)) {
        let begin = Instant::now();
        let mut killed = false;
        loop {
            // Where the server is the first process of a container, what was left behind is its child now.
            let reaped = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            while matches!(waitid(WaitId::Pgid(Some(self.pid)), reaped), Ok(Some(_))) {}
            {
                let mut told = self.told();
                // What is left of the group keeps its number from being given to others. Something that the server may
                // not signal is there, too.
                let is_gone = test_kill_process_group(self.pid) == Err(Errno::SRCH);
                told.gone = is_gone || begin.elapsed() > grace + KILLED;
                if told.gone {
                    drop(told);
                    if !is_gone {
                        log(Entry::Stays);
                    }
                    return;
                }
            }
            if begin.elapsed() >= grace && !killed {
                killed = true;
                log(Entry::RestKilled);
                // If it must not be signalled, it stays.
                let _ = self.kill();
            }
            reading.step(GROUP_LOOK, log);
        }
    }
}

/// A process that must be waited for, also if the code that does so panics.
struct Leader {
    child: Child,
    group: Group,
    is_reaped: bool,
}

impl Leader {
    fn wait(&mut self) -> io::Result<ExitStatus> {
        self.is_reaped = true;
        self.child.wait()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.is_reaped {
            let _ = self.group.kill();
            let _ = self.child.wait();
            self.group.told().gone = true;
        }
    }
}

/// Starts the program, calls `started`, and returns when it has ended, and all that it had started. Until the system has
/// started it, this may take long: a folder may be on a disk that hangs.
///
/// # Errors
/// The system starts no process.
pub(super) fn run(
    launch: &Launch<'_>,
    output: Output,
    started: impl FnOnce(&Group),
    mut log: impl FnMut(Entry),
) -> io::Result<Exit> {
    let (reader, writer) = io::pipe()?;
    let itself = if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { env::current_exe()? };
    let mut command = Command::new(itself);
    command
        .arg0("anabranch")
        .arg(LAUNCH)
        .arg(std::process::id().to_string())
        .args(launch.command)
        .env_clear()
        .envs(launch.environment)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    if !launch.folder.as_os_str().is_empty() {
        command.current_dir(launch.folder);
    }
    let mut child = command.spawn()?;
    // The writers of the pipe are closed with it.
    drop(command);
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        let _ = child.kill();
        return Err(io::Error::other("the process has no number"));
    };
    let group = Group { pid, told: Arc::default() };
    let leader = Leader { child, group: group.clone(), is_reaped: false };
    started(&group);
    let reading = Reading { reader, output, buffer: vec![0; 16 << 10], is_open: true, span: Instant::now(), read: 0 };
    Ok(follow(leader, reading, launch.grace, &mut log))
}

/// Reads the output until the process has ended and nothing that it started is left.
fn follow(mut leader: Leader, mut reading: Reading, grace: Duration, log: &mut impl FnMut(Entry)) -> Exit {
    while !has_ended(&leader.child, reading.is_open) {
        if reading.is_open {
            reading.step(LOOK, log);
        }
    }
    // The process is not reaped yet, so its number is that of its group and of nothing else. What may not be signalled is
    // found below.
    let _ = leader.group.terminate();
    let status = leader.wait();
    let group = leader.group.clone();
    group.end_rest(grace, &mut reading, log);
    reading.finish(log);
    status.map_or(Exit::Code(-1), exit_of)
}

/// The output of a program, which is read no faster than it may come.
struct Reading {
    reader: PipeReader,
    output: Output,
    buffer: Vec<u8>,
    is_open: bool,
    /// Since when, and how much was read since then.
    span: Instant,
    read: usize,
}

impl Reading {
    /// Takes what is there, or waits for it for about this time.
    fn step(&mut self, time: Duration, log: &mut impl FnMut(Entry)) {
        if self.span.elapsed() >= LOOK {
            (self.span, self.read) = (Instant::now(), 0);
        }
        if !self.is_open || self.read >= READ_MOST {
            thread::sleep(if self.is_open { LOOK.saturating_sub(self.span.elapsed()).min(time) } else { time });
        } else if is_readable(&self.reader, time) {
            self.read += self.take(log);
        }
    }

    fn take(&mut self, log: &mut impl FnMut(Entry)) -> usize {
        match self.reader.read(&mut self.buffer) {
            Ok(0) | Err(_) => {
                self.is_open = false;
                0
            }
            Ok(count) => {
                self.output.take(Instant::now(), self.buffer.get(..count).unwrap_or_default(), log);
                count
            }
        }
    }

    /// Takes what was written last.
    fn finish(&mut self, log: &mut impl FnMut(Entry)) {
        let mut rest = READ_MOST;
        while self.is_open && rest > 0 && is_readable(&self.reader, Duration::ZERO) {
            rest = rest.saturating_sub(self.take(log));
        }
        self.output.finish(Instant::now(), log);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    status.signal().map_or_else(|| Exit::Code(status.code().unwrap_or(-1)), Exit::Signal)
}

/// Whether the process has ended; without output to wait for, this waits until it has.
fn has_ended(child: &Child, look: bool) -> bool {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return true;
    };
    let mut options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    if look {
        options |= WaitIdOptions::NOHANG;
    }
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => return status.is_some() || !look,
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// Whether there is something to read, or an end. Waits for it for at most `time`.
fn is_readable(reader: &PipeReader, time: Duration) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let mut files = [PollFd::new(reader, PollFlags::IN)];
    poll(&mut files, Some(&timeout)).is_ok_and(|count| count > 0)
}

/// Where the program is, as the system looks for it: `places` is the PATH of the program.
///
/// # Errors
/// It is not there, or cannot be started.
pub(crate) fn find(program: &str, folder: &Path, places: &OsStr) -> Result<PathBuf, String> {
    find_one(program, folder, places).map_err(|words| match program.split_once(' ') {
        Some((first, _)) if find_one(first, folder, places).is_ok() => {
            format!("{words}; each argument is an item of the list: [\"{first}\", \"...\"]")
        }
        _ => words,
    })
}

fn find_one(program: &str, folder: &Path, places: &OsStr) -> Result<PathBuf, String> {
    let is_program =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        let path = folder.join(program);
        return match fs::metadata(&path) {
            Err(error) => Err(format!("{}: {error}", path.display())),
            Ok(_) if is_program(&path) => Ok(path),
            Ok(_) => Err(format!("{} is no program: it is no file, or must not be executed", path.display())),
        };
    }
    let found = env::split_paths(places).map(|place| folder.join(place).join(program)).find(|path| is_program(path));
    found.ok_or_else(|| format!("there is no program {program:?} in any folder of PATH ({})", places.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_the_system_does_it() {
        let folder = env::temp_dir().join(format!("anabranch-find-{}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        let program = folder.join("bin/mytool");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let found = |name: &str, places: &str| find(name, &folder, OsStr::new(places));
        assert_eq!(found("mytool", "/nowhere:bin").unwrap(), program, "from the folder that it works in");
        assert_eq!(found("mytool", folder.join("bin").to_str().unwrap()).unwrap(), program);
        assert_eq!(found("bin/mytool", "").unwrap(), program);
        assert!(found("mytool", "/nowhere").unwrap_err().contains("in any folder of PATH (/nowhere)"));
        let words = found("mytool -i x", "bin").unwrap_err();
        assert!(words.contains("each argument is an item of the list: [\"mytool\", "), "{words}");
        assert!(!found("other -i x", "bin").unwrap_err().contains("each argument"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
