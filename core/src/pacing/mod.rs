//! When players are woken for new frames, and how long a publisher's bytes may stay unread.
//!
//! Both trade latency for fewer system calls. [`Pacing`] is the configuration: how late something may be. [`Sockets`]
//! is what an adapter says about its system: how much may stay unread in a socket, and when a socket must be read
//! before frames leave. All rules between the two are in this module:
//!
//! - Frames of a stream wait for each other within the merge window, then its players are woken (`wake.rs`).
//! - The window is longer while a thread that writes to its players has much to do (`elastic`).
//! - A publisher is read when something arrives, or later if no player gets anything later because of it: when its
//!   streams have no player, or when the next frame would wait for the end of the window (`read.rs`).
//!
//! This module reads no clock and no socket: times are arguments.

mod elastic;
mod publishers;
mod read;
mod wake;

use std::time::Duration;

pub(crate) use elastic::Paces;
pub use elastic::{StreamPace, ThreadLoad, ThreadShare};
pub(crate) use publishers::Publishers;
pub(crate) use read::ReadTimer;
pub(crate) use wake::WakeTimer;

/// How long frames and reads may wait. Each virtual host has one value; a changed value applies to publishers that
/// begin later.
///
/// The defaults are chosen by what viewers notice, not by what a server saves: what comes within a tenth of a second
/// looks immediate, so nothing waits longer, except on a thread that could not serve all its players otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// How long frames may wait so that they leave together. Default 20 ms: audio waits for a picture that is expected
    /// within this time, and pictures at up to 50 a second do not wait. Zero: all frames leave at once. A longer time
    /// adds to the latency of players; the program's settings allow up to 10 s.
    pub merge_window: Duration,
    /// How long frames may wait while a thread that writes to the stream's players has much to do: the window then grows
    /// with what a write to all of them takes, so that the thread is no more than half busy at first, and at most 80 %
    /// with this longest window. Streams that take little of the thread's time keep [`merge_window`](Self::merge_window).
    /// With a `merge_window` of zero, or of no less than this, the window never changes.
    /// Default 150 ms, up to which people that talk to each other do not notice a delay (ITU-T G.114).
    pub merge_window_max: Duration,
    /// How long a publisher's bytes may stay unread if no player waits for them. The server notices up to this much
    /// later
    ///
    /// - that a publisher has ended or disconnected, and its name is free,
    /// - that a stream continues, for a player that has just joined,
    /// - that a stream with only audio so far has a picture, if the merge window is longer.
    ///
    /// Default 100 ms, in which a restarted encoder has not even connected. With zero everything is read at once, and
    /// also with less than 20 ms, which would save no read. The program's settings allow up to 1 s.
    pub read_wait: Duration,
    /// With fewer publishers than this on the whole server, streams without players are read at once. Default 50:
    /// reading fewer publishers at once costs a few percent of a processor, and noticing an end at once is worth more.
    pub read_wait_publishers: usize,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing {
            merge_window: Duration::from_millis(20),
            merge_window_max: Duration::from_millis(150),
            read_wait: Duration::from_millis(100),
            read_wait_publishers: 50,
        }
    }
}

/// What an adapter says about its sockets, for reads that wait.
///
/// By default nothing may stay unread: everything is read when it arrives, which is correct on every system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sockets {
    /// Bytes of one peer that may stay unread without stopping the peer, because the system's buffer has room for more.
    pub unread_bytes: u64,
    /// How long before frames leave their publisher is read, in addition to a read at that time; the longest first.
    /// What these reads find leaves with the other frames, and the reads give the peer's system time to send what it
    /// held back until it got an acknowledgement.
    pub early_reads: &'static [Duration],
}
