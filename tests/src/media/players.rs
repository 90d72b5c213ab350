use std::path::Path;

use super::packets::arguments;
use crate::program::{Process, Program};

/// rtmpdump as player, writing what it gets into a file.
///
/// # Panics
/// If it does not start.
pub fn rtmpdump(url: &str, file: &Path) -> Process {
    let file = file.to_str().expect("paths of tests are UTF-8");
    Process::start("rtmpdump", ["--live", "--quiet", "--rtmp", url, "--flv", file])
}

/// ffmpeg as publisher of what it reads from `input`, as it is.
///
/// # Panics
/// If it does not start.
pub fn ffmpeg_publishes(url: &str, input: &[&str]) -> Process {
    let before = ["-nostdin", "-loglevel", "warning"];
    let after = ["-map", "0", "-c", "copy", "-f", "flv", url];
    Process::start("ffmpeg", before.iter().chain(input).chain(&after))
}

/// Real clients as players.
impl Program {
    /// ffprobe as player: it prints a line per packet, to be read with [`packets`](super::packets).
    pub fn ffprobe(&self, stream: &str) -> Process {
        Process::start("ffprobe", arguments(&self.url(stream)))
    }

    /// rtmpdump as player, writing what it gets into a file.
    pub fn rtmpdump(&self, stream: &str, file: &Path) -> Process {
        rtmpdump(&self.url(stream), file)
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
}
