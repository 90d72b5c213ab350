use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use super::{Example, PATIENCE, Process, Runtime};

/// What the server's `replay` prints about a capture: it goes the same way again.
///
/// # Panics
/// If it does not, or the file is no capture.
pub fn replay(runtime: Runtime, capture: &Path) -> Vec<String> {
    let mut process = start_replay(runtime, capture);
    process.wait_success(PATIENCE);
    let lines = process.stdout();
    assert_eq!(lines.last().map(String::as_str), Some("same actions and bytes as captured"));
    lines
}

/// The server's `replay` of a capture.
pub fn start_replay(runtime: Runtime, capture: &Path) -> Process {
    Process::start(runtime.binary(), [OsString::from("replay"), capture.into()])
}

/// Each connection has its lines here, also in a storm.
const LOG: &str = "info,anabranch_host::strangers=debug";

/// A running server on a port of its own.
#[derive(Debug)]
pub struct Server {
    /// The process, with its log.
    pub process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(runtime: Runtime, arguments: &[&str]) -> Self {
        Self::start_with_files(runtime, arguments, None)
    }

    /// Starts one that may have no more than `files` open files.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with_files(runtime: Runtime, arguments: &[&str], files: Option<u32>) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0", "--log", LOG], arguments].concat();
        Self::start_program(&runtime.binary(), &arguments, files)
    }

    /// Starts a server that is one of core's examples, which may have no more than `files` open files.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_example(example: Example, files: Option<u32>) -> Self {
        Self::start_program(&example.binary(), &["127.0.0.1:0"], files)
    }

    fn start_program(program: &Path, arguments: &[&str], files: Option<u32>) -> Self {
        let mut line: Vec<OsString> = Vec::new();
        if let Some(files) = files {
            line.extend(["prlimit".into(), format!("--nofile={files}:{files}").into()]);
        }
        line.push(program.into());
        line.extend(arguments.iter().map(OsString::from));
        let mut process = Process::start(&line[0], &line[1..]);
        let banner = process.wait_line("listening on ").text;
        let address = banner.rsplit(' ').next().and_then(|address| address.parse().ok());
        Server { process, address: address.unwrap_or_else(|| panic!("no address in {banner:?}")) }
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
    pub fn wait_players(&mut self, stream: &str, count: usize) -> Vec<super::Line> {
        self.process.wait_lines(&format!(" is player of /{stream},"), count)
    }

    /// Waits until `count` publishers of a stream have come since the server started.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_publishers(&mut self, stream: &str, count: usize) -> Vec<super::Line> {
        self.process.wait_lines(&format!(" is publisher of /{stream},"), count)
    }

    /// Waits until `count` connections have been closed, and fails if one of them missed a frame.
    ///
    /// # Panics
    /// If they are not closed, or a player missed something.
    pub fn wait_closed_without_loss(&mut self, count: usize) {
        self.process.wait_lines(" closed: ", count);
        let missed = self.process.lines_with("; missed ");
        assert!(missed.is_empty(), "{missed:?}");
    }

    /// ffprobe as player: it prints a line per packet, to be read with [`packets`](super::packets).
    pub fn ffprobe(&self, stream: &str) -> Process {
        Process::start("ffprobe", super::packets::arguments(&self.url(stream)))
    }

    /// rtmpdump as player, writing what it gets into a file.
    pub fn rtmpdump(&self, stream: &str, file: &Path) -> Process {
        let url = self.url(stream);
        let file = file.to_str().expect("paths of tests are UTF-8");
        Process::start("rtmpdump", ["--live", "--quiet", "--rtmp", &url, "--flv", file])
    }

    /// ffmpeg as player, writing what it gets into a file as it comes.
    pub fn ffmpeg(&self, stream: &str, file: &Path) -> Process {
        let url = self.url(stream);
        let file = file.to_str().expect("paths of tests are UTF-8");
        let arguments = ["-nostdin", "-loglevel", "warning", "-copyts", "-i", &url, "-c", "copy"];
        let output = ["-flush_packets", "1", "-flvflags", "no_duration_filesize", "-f", "flv", file];
        Process::start("ffmpeg", arguments.iter().chain(&output))
    }

    /// ffmpeg as player that decodes everything; `frame=` lines on its stdout count what it decoded.
    pub fn ffmpeg_decoding(&self, stream: &str) -> Process {
        let url = self.url(stream);
        let arguments = ["-nostdin", "-loglevel", "warning", "-progress", "pipe:1", "-i", &url, "-f", "null", "-"];
        Process::start("ffmpeg", arguments)
    }

    /// Ends it at once and checks that it says so with a success.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop(mut self) {
        self.process.signal("INT");
        self.process.wait_success(PATIENCE);
    }
}
