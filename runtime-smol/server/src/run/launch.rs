//! The moment between the start of a process and the program in it. The server starts itself with [`LAUNCH`] as its first
//! argument, and this becomes the program. So it can prepare the process without unsafe code of our own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, getppid, getrlimit, setrlimit};

/// The first argument of a process that becomes a program: then come the number of the server's process, the program,
/// and its arguments.
pub(super) const LAUNCH: &str = "anabranch-launch";
/// Files that a program may have open at once, unless it raises its limit. The server's own limit is raised, and
/// programs that go through all possible numbers would take seconds.
const OPEN_FILES: u64 = 1024;
/// The exit code if the program cannot be started, as that of shells.
const NOT_STARTED: u8 = 127;

/// Becomes the program, if the arguments of this process say so. Then it returns only if that fails.
pub(crate) fn launch(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    arguments.next_if_launch()?;
    let parent = arguments.next().and_then(|number| number.to_str()?.parse::<i32>().ok());
    let program = arguments.next()?;
    die_with_parent();
    // The server may have ended before.
    if parent != getppid().map(|pid| pid.as_raw_nonzero().get()) {
        return Some(ExitCode::FAILURE);
    }
    close_files();
    drop_rights();
    end_first();
    let limit = getrlimit(Resource::Nofile);
    let least = |limit: Option<u64>| limit.map_or(OPEN_FILES, |limit| limit.min(OPEN_FILES));
    // With another limit the program works as well.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(least(limit.maximum)), maximum: limit.maximum });
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("cannot start {}: {error}", program.display());
    Some(ExitCode::from(NOT_STARTED))
}

trait Arguments: Iterator<Item = OsString> {
    /// The name of this program and the mark, if they are there.
    fn next_if_launch(&mut self) -> Option<()> {
        self.next()?;
        self.next().filter(|mark| mark == LAUNCH).map(|_| ())
    }
}

impl<I: Iterator<Item = OsString>> Arguments for I {}

/// Has the system end this process if the server ends without having ended it.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // Without it, the program ends when its connections to the server end.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
}

/// Drops the capabilities that the server has besides its user's rights, such as that for ports below 1024.
fn drop_rights() {
    #[cfg(target_os = "linux")]
    {
        // Systems without them have nothing to drop.
        let _ = rustix::thread::clear_ambient_capability_set();
    }
}

/// If memory runs out, the system is to end programs before the server. Any process may ask for that for itself.
fn end_first() {
    const FILE: &str = "/proc/self/oom_score_adj";
    if cfg!(target_os = "linux") {
        let own = fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok()).unwrap_or_default();
        // Without it, the system chooses by size alone.
        let _ = fs::write(FILE, own.saturating_add(500).min(1000).to_string());
    }
}

/// Closes all files except for standard input, output and error. The server opens none that programs inherit; this
/// closes those that it inherited itself.
fn close_files() {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let names =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // The folder itself is one of them, and is closed by then.
    let numbers: Vec<i32> = names.filter_map(|name| name.parse().ok()).filter(|number| *number > 2).collect();
    for number in numbers {
        let _ = nix::unistd::close(number);
    }
}
