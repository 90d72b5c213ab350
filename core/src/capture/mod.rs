//! Connections recorded, to be run again: what a user sends in with a report.
//!
//! [`Server::connect_captured`](crate::conn::Core::connect_captured) makes a connection whose [`Tap`] gets all that it
//! depends on: bytes and calls with their times, how it went where other connections had a say (a name that was taken,
//! a limit, a verdict), the frames it was given as a player; and a hash of what it said. [`Capture::parse`] reads it
//! back, [`replay`] runs it through the core again and finds the first difference, and a [`Timeline`] makes it readable.
//!
//! A capture holds everything the client sent, secrets in URLs and the media itself included, and the randomness the
//! server's handshakes are filled with.
//!
//! # Format
//! The magic `ANACAP`, a zero byte, the version 1; length and text of a header of the program's own; then records: a
//! tag, nanoseconds since the record before (zigzag, since two threads may read the clock in one order and come in the
//! other), length, payload. Numbers are LEB128. The first record is the opening.

mod encoding;
mod format;
mod record;
mod replay;
mod timeline;
mod watch;

pub use format::{Capture, End, FormatError, file_header, stopped_record};
pub use record::Opening;
pub use replay::{Difference, Moment, Outcome, What, replay};
pub use timeline::Timeline;

pub(crate) use record::{Call, Step};
pub(crate) use watch::{Recorder, Script, Watch};

/// Where a captured connection's records go.
pub trait Tap: std::fmt::Debug + Send {
    /// The connection begins; its first record follows.
    fn opened(&mut self, opening: &Opening) {
        let _ = opening;
    }

    /// One whole record. All of them, in order, behind a [`file_header`], are a capture. Called while the connection is
    /// locked: it may keep the bytes in memory and must not wait for anything.
    fn record(&mut self, record: &[u8]);
}
