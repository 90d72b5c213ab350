use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{TIMEOUT, wait_for};

/// A running program. It is killed when the value goes; if a test fails meanwhile, what the program printed is shown.
#[derive(Debug)]
pub struct Process {
    command: String,
    id: u32,
    child: Mutex<Child>,
    output: Arc<Mutex<Output>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    /// Set once it has ended and all that it wrote is read.
    exit: OnceLock<(ExitStatus, Instant)>,
}

/// A line that a program printed.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Without its end.
    pub text: String,
    stream: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Default)]
struct Output {
    lines: Vec<Line>,
    /// All bytes of stdout and of stderr.
    bytes: [Vec<u8>; 2],
}

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// If it does not start, for instance because it is not installed.
    pub fn start<I: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = I>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        Process::start_command(command)
    }

    /// Starts a program that was given more than arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_command(command: Command) -> Self {
        Process::start_with_log(command, Stdio::piped())
    }

    /// Starts a program whose stderr goes where `log` says. It is read here if that is a new pipe.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with_log(mut command: Command, log: Stdio) -> Self {
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error} (tests/run installs what the tests need)"));
        let output = Arc::new(Mutex::new(Output::default()));
        let mut readers = vec![capture(child.stdout.take().expect("stdout is piped"), Stream::Stdout, &output)];
        readers.extend(child.stderr.take().map(|stderr| capture(stderr, Stream::Stderr, &output)));
        Process {
            command: format!("{command:?}"),
            id: child.id(),
            child: Mutex::new(child),
            output,
            readers: Mutex::new(readers),
            exit: OnceLock::new(),
        }
    }

    /// Runs a program to its end and returns what it wrote on stdout.
    ///
    /// # Panics
    /// If it fails.
    pub fn run<I: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = I>) -> Vec<String> {
        let process = Process::start(program, arguments);
        process.wait_success(TIMEOUT);
        process.stdout()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Everything on stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.text(Stream::Stdout)
    }

    /// Everything on stderr so far.
    pub fn stderr(&self) -> Vec<String> {
        self.text(Stream::Stderr)
    }

    /// The line of the log that says that the server has started, if its log is JSON.
    pub(super) fn started(&self) -> Option<Value> {
        let lines = self.stderr();
        let line = lines.iter().find(|line| line.starts_with('{') && line.contains("\"event\":\"started\""))?;
        serde_json::from_str(line).ok()
    }

    /// The lines so far, on either stream, that contain `text`.
    pub fn lines_with(&self, text: &str) -> Vec<Line> {
        self.output().lines.iter().filter(|line| line.text.contains(text)).cloned().collect()
    }

    /// Waits for a line, on either stream, that contains `text`.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_line(&self, text: &str) -> Line {
        self.wait_lines(text, 1).swap_remove(0)
    }

    /// Waits until `count` lines contain `text`.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_lines(&self, text: &str, count: usize) -> Vec<Line> {
        let what = format!("line {count} with {text:?} from {}", self.command);
        wait_for(&what, TIMEOUT, || {
            let ended = self.poll_exit().is_some();
            let lines = self.lines_with(text);
            let enough = lines.len() >= count;
            assert!(enough || !ended, "no {what}: it has ended");
            enough.then_some(lines)
        })
    }

    /// Waits until `probe` finds something, which must be while the program runs.
    ///
    /// # Panics
    /// If it does not, or the program ends.
    pub fn wait_for<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        wait_for(what, TIMEOUT, || {
            let running = self.is_running();
            let found = probe();
            assert!(found.is_some() || running, "no {what}: {} has ended", self.command);
            found
        })
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it is still running after `timeout`.
    pub fn wait_exit(&self, timeout: Duration) -> (ExitStatus, Instant) {
        let what = format!("end of {}", self.command);
        wait_for(&what, timeout, || self.poll_exit())
    }

    /// Waits for its end, which must be a success; returns when it was.
    ///
    /// # Panics
    /// If it is still running after `timeout`, or failed.
    pub fn wait_success(&self, timeout: Duration) -> Instant {
        let (status, at) = self.wait_exit(timeout);
        assert!(status.success(), "{}: {status}", self.command);
        at
    }

    /// True as long as it has not ended.
    pub fn is_running(&self) -> bool {
        self.poll_exit().is_none()
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// If it has ended already.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal: `TERM`, `INT`, `HUP`.
    ///
    /// # Panics
    /// If it has ended already.
    pub fn signal(&self, name: &str) {
        assert!(self.is_running(), "{} has ended already", self.command);
        let kill = format!("kill -{name} {}", self.id);
        let status = Command::new("sh").args(["-c", &kill]).status().expect("sh starts");
        assert!(status.success(), "{kill}: {status}");
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Panics
    /// If it has ended already.
    pub fn kill(&self) {
        assert!(self.is_running(), "{} has ended already", self.command);
        lock(&self.child).kill().expect("a running child can be killed");
    }

    /// All that it has written on stdout and on stderr so far.
    pub(super) fn written(&self) -> (String, String) {
        let output = self.output();
        let [stdout, stderr] = [0, 1].map(|stream| String::from_utf8_lossy(&output.bytes[stream]).into_owned());
        (stdout, stderr)
    }

    /// The exit, once it is there and all output is read.
    fn poll_exit(&self) -> Option<(ExitStatus, Instant)> {
        let mut child = lock(&self.child);
        if self.exit.get().is_none() {
            let status = child.try_wait().expect("a child can be waited for")?;
            let exit = (status, Instant::now());
            self.join_readers();
            let _ = self.exit.set(exit);
        }
        self.exit.get().copied()
    }

    fn join_readers(&self) {
        for reader in lock(&self.readers).drain(..) {
            let _ = reader.join();
        }
    }

    fn text(&self, stream: Stream) -> Vec<String> {
        let output = self.output();
        output.lines.iter().filter(|line| line.stream == stream).map(|line| line.text.clone()).collect()
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        lock(&self.output)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.get().is_none() {
            let mut child = lock(&self.child);
            let _ = child.kill();
            let _ = child.wait();
        }
        self.join_readers();
        if thread::panicking() {
            eprintln!("--- {}", self.command);
            for line in &self.output().lines {
                eprintln!("    {}", line.text);
            }
        }
    }
}

/// Reads a stream of the program to its end; carriage returns end lines too, as in progress displays.
fn capture(mut source: impl Read + Send + 'static, stream: Stream, output: &Arc<Mutex<Output>>) -> JoinHandle<()> {
    let output = output.clone();
    thread::spawn(move || {
        let (mut buffer, mut partial) = ([0; 16 << 10], Vec::new());
        let line = |bytes: &[u8]| {
            if !bytes.is_empty() {
                let text = String::from_utf8_lossy(bytes).into_owned();
                lock(&output).lines.push(Line { at: Instant::now(), text, stream });
            }
        };
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            lock(&output).bytes[stream as usize].extend_from_slice(&buffer[..count]);
            for &byte in &buffer[..count] {
                if matches!(byte, b'\n' | b'\r') {
                    line(&partial);
                    partial.clear();
                } else {
                    partial.push(byte);
                }
            }
        }
        line(&partial);
    })
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
