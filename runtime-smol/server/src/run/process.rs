//! One process: starts it, follows its output, and ends it with all that it has started.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
const STACK: usize = 256 << 10;

/// What is to be started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) command: &'a [String],
    pub(super) folder: &'a Path,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) log_lines: u32,
    pub(super) grace: Duration,
}

/// A process group, as long as something of it may be there.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pid: Pid,
    /// True once nothing of it is left: another process may get the number then.
    gone: Arc<Mutex<bool>>,
}

impl Group {
    pub(super) fn signal(&self, signal: Signal) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*gone {
            // It may have ended by itself.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ends what the program has started and left behind, and returns when nothing is left.
    fn end_rest(&self, grace: Duration) {
        let begin = Instant::now();
        let mut killed = false;
        loop {
            // Where the server is the first process of a container, what was left behind is its child now.
            let reaped = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            while matches!(waitid(WaitId::Pgid(Some(self.pid)), reaped), Ok(Some(_))) {}
            {
                let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
                // What is left of the group keeps its number from being given to others.
                if test_kill_process_group(self.pid).is_err() || begin.elapsed() > grace + KILLED {
                    *gone = true;
                    return;
                }
            }
            if begin.elapsed() >= grace && !killed {
                killed = true;
                self.signal(Signal::KILL);
            }
            thread::sleep(GROUP_LOOK);
        }
    }
}

/// Starts the program, and calls `started` before `log` and `ended`, which a thread calls.
///
/// # Errors
/// The system starts no process or no thread.
pub(super) fn start(
    launch: &Launch<'_>,
    started: impl FnOnce(&Group),
    log: impl FnMut(Entry) + Send + 'static,
    ended: impl FnOnce(Exit) + Send + 'static,
) -> io::Result<()> {
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
    let group = Group { pid, gone: Arc::default() };
    let output = Output::new(Instant::now(), launch.log_lines);
    let (watched, grace) = (group.clone(), launch.grace);
    let child = Arc::new(Mutex::new(Some(child)));
    let of_thread = child.clone();
    let gate = Arc::new(Mutex::new(()));
    let begun = gate.clone();
    let hold = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let watch = move || {
        drop(begun.lock());
        let child = of_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(child) = child {
            ended(follow(child, reader, output, &watched, grace, log));
        }
    };
    let thread = thread::Builder::new().name("run".to_owned()).stack_size(STACK).spawn(watch);
    match thread {
        Ok(_) => {
            started(&group);
            drop(hold);
            Ok(())
        }
        Err(error) => {
            drop(hold);
            group.signal(Signal::KILL);
            if let Some(mut child) = child.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = child.wait();
            }
            Err(error)
        }
    }
}

/// Reads the output until the process has ended and nothing that it started is left.
fn follow(
    mut child: Child,
    mut reader: PipeReader,
    mut output: Output,
    group: &Group,
    grace: Duration,
    mut log: impl FnMut(Entry),
) -> Exit {
    let mut is_open = true;
    let mut buffer = vec![0; 16 << 10];
    let (mut span, mut read) = (Instant::now(), 0);
    while !has_ended(&child, is_open) {
        if span.elapsed() >= LOOK {
            (span, read) = (Instant::now(), 0);
        }
        if read >= READ_MOST {
            thread::sleep(LOOK.saturating_sub(span.elapsed()));
            continue;
        }
        if is_open && is_readable(&reader, LOOK) {
            match reader.read(&mut buffer) {
                Ok(0) | Err(_) => is_open = false,
                Ok(count) => {
                    read += count;
                    output.take(Instant::now(), buffer.get(..count).unwrap_or_default(), &mut log);
                }
            }
        }
    }
    // The process is not reaped yet, so its number is that of its group and of nothing else.
    group.signal(Signal::TERM);
    let status = child.wait();
    group.end_rest(grace);
    // What it wrote last.
    let mut rest = READ_MOST;
    while is_open && rest > 0 && is_readable(&reader, Duration::ZERO) {
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => is_open = false,
            Ok(count) => {
                rest = rest.saturating_sub(count);
                output.take(Instant::now(), buffer.get(..count).unwrap_or_default(), &mut log);
            }
        }
    }
    output.finish(Instant::now(), &mut log);
    status.map_or(Exit::Code(-1), exit_of)
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
            Err(rustix::io::Errno::INTR) => {}
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

/// Where the program is, as the system looks for it.
///
/// # Errors
/// It is not there, or cannot be started.
pub(crate) fn find(program: &str, folder: &Path) -> Result<PathBuf, String> {
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
    let places = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&places).map(|place| place.join(program)).find(|path| is_program(path));
    found.ok_or_else(|| format!("there is no program {program:?} in any folder of PATH ({})", places.display()))
}
