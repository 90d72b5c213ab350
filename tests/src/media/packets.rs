use std::path::Path;

use crate::TIMEOUT;
use crate::program::Process;

/// What ffprobe prints of every packet, hash of the payload included.
const FIELDS: &str = "packet=codec_type,pts,dts,size,flags,data_hash";

pub(super) fn arguments(input: &str) -> [&str; 9] {
    ["-loglevel", "error", "-show_data_hash", "sha256", "-show_entries", FIELDS, "-of", "csv=print_section=0", input]
}

/// The packets of a file as ffprobe sees them, or those that ffprobe got as a player: one line each with type,
/// presentation time, decoding time, size, flags and hash of the payload.
///
/// # Panics
/// If a line is not that.
pub fn packets(ffprobe: &Process) -> Vec<String> {
    let lines = ffprobe.stdout();
    for line in &lines {
        assert!(line.contains(",SHA256:") && line.split(',').count() == 6, "{line:?} is no packet");
    }
    lines
}

/// Checks that a player got exactly the packets that are in a file.
///
/// # Panics
/// At the first difference.
pub fn assert_same_packets(sent: &Path, player: &Process) {
    let file = read(sent);
    let [sent, received] = [&file, player].map(packets);
    for index in 0..sent.len().max(received.len()) {
        let (sent, received) = (sent.get(index), received.get(index));
        assert_eq!(received, sent, "packet {index}");
    }
}

/// ffprobe as reader of a file, ended. It printed a line per packet, to be read with [`packets`].
///
/// # Panics
/// If it cannot read it.
pub fn read(file: &Path) -> Process {
    let ffprobe = Process::start("ffprobe", arguments(file.to_str().expect("paths of tests are UTF-8")));
    ffprobe.wait_success(TIMEOUT);
    ffprobe
}

/// Decodes a file and returns the widths and heights of its pictures in order, each run of equal ones once, as
/// `WIDTH,HEIGHT`.
///
/// # Panics
/// If the decoder has anything to complain about.
pub fn decoded_sizes(file: &Path) -> Vec<String> {
    let file = file.to_str().expect("paths of tests are UTF-8");
    let arguments = ["-loglevel", "warning", "-select_streams", "v", "-show_entries", "frame=width,height", "-of"];
    let ffprobe = Process::start("ffprobe", arguments.iter().chain(&["csv=print_section=0", file]));
    ffprobe.wait_success(TIMEOUT);
    assert_eq!(ffprobe.stderr(), [""; 0], "decoding {file}");
    // Where a frame has side data, a comma follows.
    let mut sizes: Vec<_> = ffprobe.stdout().iter().map(|line| line.trim_end_matches(',').to_owned()).collect();
    sizes.dedup();
    sizes
}
