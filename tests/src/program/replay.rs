use std::ffi::OsString;
use std::path::Path;

use super::{Process, Runtime};
use crate::TIMEOUT;

/// What the server's `replay` prints about a capture: it goes the same way again.
///
/// # Panics
/// If it does not, or the file is no capture.
pub fn replay(runtime: Runtime, capture: &Path) -> Vec<String> {
    let process = start_replay(runtime, capture);
    process.wait_success(TIMEOUT);
    let lines = process.stdout();
    assert_eq!(lines.last().map(String::as_str), Some("same actions and bytes as captured"));
    lines
}

/// The server's `replay` of a capture.
pub fn start_replay(runtime: Runtime, capture: &Path) -> Process {
    Process::start(runtime.binary(), [OsString::from("replay"), capture.into()])
}
