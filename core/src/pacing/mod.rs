//! When the players of a stream are woken for its frames.
//!
//! Frames wait for each other within the merge window of [`Pacing`], then the players are woken (`wake.rs`). Nothing here
//! reads a clock: times are arguments.

mod wake;

use std::time::Duration;

pub(crate) use wake::WakeTimer;

/// How long frames may wait. One value for each virtual host; publishers that begin later go by a changed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// How long frames may wait so that they leave together. Default 20 ms: sound waits for a picture that is expected
    /// within it, and pictures up to 50 a second do not wait. Zero: all frames leave at once. The program's settings allow
    /// up to 10 s.
    pub merge_window: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing { merge_window: Duration::from_millis(20) }
    }
}
