use std::fs;
use std::net::SocketAddr;
use std::sync::OnceLock;

use super::{Example, Held, Launch, Line, Process, Runtime};
use crate::peer::Driver;
use crate::{Folder, TIMEOUT, wait_for};

/// A running server on its own port; it is killed when the value is dropped.
#[derive(Debug)]
pub struct Program {
    /// The process, with its log.
    pub process: Process,
    address: SocketAddr,
    pub(super) api: OnceLock<SocketAddr>,
    _folder: Option<Folder>,
}

impl Program {
    pub(super) fn new(process: Process, address: SocketAddr, folder: Option<Folder>) -> Self {
        Program { process, address, api: OnceLock::new(), _folder: folder }
    }

    /// Starts one of the two servers; [`Launch`] starts others and says more.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(runtime: Runtime, arguments: &[&str]) -> Self {
        Launch::of(runtime).args(arguments).start()
    }

    /// Starts a server that is one of core's examples.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_example(example: Example) -> Self {
        Launch::example(example).start()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a stream, written as `app/stream`.
    pub fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.address)
    }

    /// Waits until `count` players of a stream have come since the server started.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_players(&self, stream: &str, count: usize) -> Vec<Line> {
        self.process.wait_lines(&format!(" is player of {stream},"), count)
    }

    /// Waits until `count` publishers of a stream have come since the server started.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_publishers(&self, stream: &str, count: usize) -> Vec<Line> {
        self.process.wait_lines(&format!(" is publisher of {stream},"), count)
    }

    /// Waits until `count` connections have been closed, and fails if one of them missed a frame.
    ///
    /// # Panics
    /// If they are not closed, or a player missed something.
    pub fn wait_closed_without_loss(&self, count: usize) {
        self.process.wait_lines(" closed: ", count);
        let missed = self.process.lines_with("; missed ");
        assert!(missed.is_empty(), "{missed:?}");
    }

    /// A client on the application `live` that has asked for nothing yet.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn visitor(&self) -> Driver {
        Driver::to(&self.url("live/x"))
    }

    /// A client that publishes a stream of the application `live`.
    ///
    /// # Panics
    /// If it may not.
    pub fn publisher(&self, name: &str) -> Driver {
        let mut driver = self.visitor();
        driver.publish(name).expect("it may publish");
        driver
    }

    /// A client that plays a stream of the application `live`.
    ///
    /// # Panics
    /// If it may not.
    pub fn player(&self, name: &str) -> Driver {
        let mut driver = self.visitor();
        driver.play(name).expect("it may play");
        driver
    }

    /// Waits for a line of its log, or on its stdout, with these words.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_line(&self, words: &str) -> Line {
        self.process.wait_line(words)
    }

    /// Waits for so many of them.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_lines(&self, words: &str, count: usize) -> Vec<Line> {
        self.process.wait_lines(words, count)
    }

    /// The lines so far with these words.
    pub fn lines(&self, words: &str) -> Vec<String> {
        self.process.lines_with(words).into_iter().map(|line| line.text).collect()
    }

    /// Has it read its configuration again, and returns what the log says came of it. Calls `meanwhile` until then.
    ///
    /// # Panics
    /// If the log says nothing.
    pub fn reload(&self, mut meanwhile: impl FnMut()) -> String {
        const OUTCOME: &str = "the configuration was ";
        let count = self.lines(OUTCOME).len();
        self.process.signal("HUP");
        wait_for("outcome of a reload", TIMEOUT, || {
            meanwhile();
            self.lines(OUTCOME).into_iter().nth(count)
        })
    }

    /// What it holds of the system.
    ///
    /// # Panics
    /// If it has ended.
    pub fn held(&self) -> Held {
        Held::by(self.process.id())
    }

    /// How many threads it has.
    ///
    /// # Panics
    /// If it has ended.
    pub fn threads(&self) -> usize {
        self.count("task")
    }

    /// How many files and sockets it has open.
    ///
    /// # Panics
    /// If it has ended.
    pub fn open_files(&self) -> usize {
        self.count("fd")
    }

    fn count(&self, what: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{what}", self.process.id())).expect("it runs").count()
    }

    /// Ends it at once, as a crash does, and waits until it is gone.
    ///
    /// # Panics
    /// If it has ended already.
    pub fn kill(&self) {
        self.process.kill();
        self.process.wait_exit(TIMEOUT);
    }

    /// Asks it to end when what it does has come to an end (SIGTERM), and waits until it has, with a success.
    ///
    /// # Panics
    /// If it does not.
    pub fn finish(&self) {
        self.process.terminate();
        self.process.wait_success(TIMEOUT);
    }

    /// Ends it at once and checks that it says so with a success.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop(self) {
        self.process.signal("INT");
        self.process.wait_success(TIMEOUT);
    }
}
