//! When players are woken for new frames, and how long what a publisher sends may lie unread.
//!
//! Both trade latency for system calls. [`Pacing`] is the configuration: how late may something be? [`Sockets`] is what an
//! adapter tells about its system: how much may lie unread in a socket there, and when must it be read before frames
//! leave? The rules between them are in this module alone:
//!
//! - Frames of a stream wait for each other within the merge window, then its players are woken (`wake.rs`).
//! - A publisher is read whenever something comes, or late where no player gets anything later for it: because nobody plays
//!   its streams, or because the next frame would wait for the end of the window (`read.rs`).
//!
//! Nothing here reads a clock or a socket: times are arguments.

mod publishers;
mod read;
mod wake;

use std::time::Duration;

pub(crate) use publishers::Publishers;
pub(crate) use read::ReadTimer;
pub(crate) use wake::WakeTimer;

/// How long frames and reads may wait. One value for each virtual host; publishers that begin later go by a changed one.
///
/// The defaults are chosen by what people notice, not by what a server saves: what comes within a tenth of a second looks
/// immediate, so no wait is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// How long frames may wait so that they leave together. Default 20 ms: sound waits for a picture that is expected
    /// within it, and pictures up to 50 a second do not wait. Zero: all frames leave at once. Any longer time adds itself
    /// to the latency of players; the program's settings allow up to 10 s.
    pub merge_window: Duration,
    /// How long what a publisher sends may lie unread where no player waits for it. So much later, at most, it is noticed
    ///
    /// - that a publisher has ended or gone, and its name is free,
    /// - that a stream goes on, by the player that has just come,
    /// - that a stream which was sound alone has a picture, where the merge window is longer.
    ///
    /// Default 100 ms, in which an encoder that was restarted has not even connected. With zero everything is read at once,
    /// and with less than 20 ms, which would spare no read. The program's settings allow up to 1 s.
    pub read_wait: Duration,
    /// With fewer publishers on the whole server, streams that nobody plays are read at once. Default 50: fewer cost a few
    /// percent of a processor if they are read at once, which is worth less than to notice an end at once.
    pub read_wait_publishers: usize,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing {
            merge_window: Duration::from_millis(20),
            read_wait: Duration::from_millis(100),
            read_wait_publishers: 50,
        }
    }
}

/// What an adapter tells of its sockets, for reads that wait.
///
/// The default is that nothing may lie unread: everything is read when it comes, which is right everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sockets {
    /// Bytes of one peer that may lie unread without stopping it, for the system's buffer has room for more.
    pub unread_bytes: u64,
    /// So long before frames leave their publisher is read, besides at that time itself; the longest first. What these
    /// reads find leaves with the others, and what the peer's system held back until it heard of them has time to come.
    pub early_reads: &'static [Duration],
}
