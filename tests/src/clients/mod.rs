//! Servers and real clients as processes: started, watched, compared and ended by a test.
//!
//! Nothing here sleeps for luck: every wait is for something that can be seen (a line in a log, a file that grows, an
//! exit), and gives up with the name of what did not come. What a process printed is shown when its test fails.

mod authority;
mod binaries;
mod flv;
mod folder;
mod media;
mod nginx;
mod packets;
mod process;
mod server;

use std::thread;
use std::time::{Duration, Instant};

pub use authority::Authority;
pub use binaries::{Example, Runtime};
pub use flv::{Tag, TagKind, assert_same_media, assert_same_tags, media_tags, tags};
pub use folder::Folder;
pub use media::{Clip, Publication};
pub use nginx::Nginx;
pub use packets::{assert_same_packets, decoded_sizes, packets, read};
pub use process::{Line, Process};
pub use server::{Server, replay, start_replay};

/// How long a test waits for something that should happen soon. Long enough for a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` finds something.
///
/// # Panics
/// If it has not by the end of `patience`, with `what` in the message.
pub fn wait_for<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < patience, "no {what} in {patience:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
