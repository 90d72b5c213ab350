//! Connections recorded, to be run again: what a user sends in with a report.
//!
//! A [`Tap`] gets the records of one connection, which hold all that it depends on: bytes and calls with their times, how
//! it went where other connections had a say (a name that was taken, a limit, a verdict), the frames it was given as a
//! player; and a hash of what it said. [`Capture::parse`] reads them back.
//!
//! This module knows the file, not what runs a connection. [`conn`](crate::conn) stands above it and has its connections
//! recorded; [`replay`](crate::replay) stands above both and runs one again.
//!
//! A capture holds everything the client sent, secrets in URLs and the media itself included, and the randomness the
//! server's handshakes are filled with.
//!
//! # Format
//! The magic `ANACAP`, a zero byte, the version 1; length and text of a header of the program's own; then records: a
//! tag, nanoseconds since the record before (zigzag, since two threads may read the clock in one order and come in the
//! other), length, payload. Numbers are LEB128. The first record is the opening.
//!
//! The format is written by hand. A file may end anywhere, and all before that must be readable; records are made while
//! the connection is locked; and files of before must replay, whatever a serializer's next version does.

mod capturing;
mod encoding;
mod format;
mod record;
mod recorder;
mod replayer;

pub use format::{Capture, End, FormatError, file_header, stopped_record};
pub use record::Opening;

pub(crate) use capturing::Capturing;
pub(crate) use record::{
    Call, Called, Closing, Decision, DecisionKind, Polled, Pull, Record, Returned, Step, Written, nanoseconds,
};
pub(crate) use recorder::Recorder;
pub(crate) use replayer::Replayer;

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
