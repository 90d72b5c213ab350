//! The program under test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::peer::PATIENCE;

/// A running server; it is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    folder: PathBuf,
}

impl Program {
    /// Starts it with this configuration file.
    pub(crate) fn start(settings: &str) -> Program {
        Program::start_by(Command::new(env!("CARGO_BIN_EXE_anabranch")), settings)
    }

    /// The same, behind these commands of a shell.
    pub(crate) fn start_behind(commands: &str, settings: &str) -> Program {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{commands}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_anabranch")]);
        Program::start_by(shell, settings)
    }

    fn start_by(mut command: Command, settings: &str) -> Program {
        let folder = folder();
        let file = folder.join("anabranch.toml");
        fs::write(&file, settings).unwrap();
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--threads", "2", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (log, lines) = (Arc::new(Mutex::new(Vec::new())), BufReader::new(child.stderr.take().unwrap()).lines());
        let writer = log.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                writer.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let address = stdout
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.trim().strip_prefix("listening on").map(|address| address.trim().parse().unwrap()));
        let Some(address) = address else {
            let _ = child.wait();
            panic!("it does not start: {:?}", log.lock());
        };
        Program { child, address, log, folder }
    }

    /// Waits for a line of the log with these words.
    pub(crate) fn wait_line(&self, words: &str) {
        self.wait_lines(words, 1);
    }

    /// Waits for so many lines of the log with these words.
    pub(crate) fn wait_lines(&self, words: &str, count: usize) {
        let start = Instant::now();
        loop {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.iter().filter(|line| line.contains(words)).count() >= count {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no {count} lines with {words:?} in {log:#?}");
            drop(log);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many lines of the log so far have these words.
    pub(crate) fn lines(&self, words: &str) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line.contains(words)).count()
    }

    /// Threads that it has.
    pub(crate) fn threads(&self) -> usize {
        self.held("task")
    }

    /// Files and sockets that it has open.
    pub(crate) fn open_files(&self) -> usize {
        self.held("fd")
    }

    fn held(&self, what: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{what}", self.child.id())).unwrap().count()
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(mut self) {
        self.terminate();
    }

    /// The same for one that is looked at afterwards.
    pub(crate) fn terminate(&mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "it does not stop");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An empty folder that no other test has.
pub(crate) fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("anabranch-test-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
