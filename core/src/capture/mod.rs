//! Recordings of connections, which can be replayed: users attach them to bug reports.
//!
//! A [`Tap`] gets the records of one connection. They hold everything that the connection depends on: bytes and calls
//! with their times, the outcomes that depended on other connections or on a back end (a name that was taken, a limit,
//! a verdict), and the frames that it got as a player. They also hold a hash of the bytes that it sent.
//! [`Capture::parse`] reads them back.
//!
//! This module knows the file, and not how a connection is run. [`conn`](crate::conn) uses it to record connections;
//! [`replay`](crate::replay) uses both to run a connection again.
//!
//! A capture may also begin in the middle of a connection ([`Joined`]): then it has what was sent in both directions
//! from that moment on, and where the server was in the client's chunk stream, so that it can be shown as messages. It
//! lacks what the connection had become by then, so it cannot be run again.
//!
//! A capture holds everything the client sent, including secrets in URLs and the media, and the random bytes of the
//! server's handshake.
//!
//! # Format
//! The magic `ANACAP`, a zero byte, the version; length and text of a header that the program writes; then records: a
//! tag, nanoseconds since the record before, length, payload. The nanoseconds are signed (zigzag), because two threads
//! may read the clock in one order and write in the other. Numbers are LEB128. The first record is the opening in
//! version 1, and the [`Joined`] in version 2.
//!
//! The format is written by hand and not by a serializer, for three reasons: a file may end anywhere, and everything
//! before the end must be readable; records are made while the connection is locked; and old files must replay with all
//! later versions.

mod capturing;
mod encoding;
mod format;
mod joined;
mod record;
mod recorder;
mod replayer;

use std::net::SocketAddr;

pub use format::{Capture, End, FormatError, file_header, joined_file_header, stopped_record};
pub use joined::Joined;
pub use record::Opening;

pub(crate) use capturing::Capturing;
pub(crate) use record::{
    Call, Called, Closing, Decision, DecisionKind, Polled, Pull, Record, Returned, Step, Written, nanoseconds,
};
pub(crate) use recorder::Recorder;
pub(crate) use replayer::Replayer;

use crate::url::StreamKey;

/// Where a captured connection's records go.
pub trait Tap: std::fmt::Debug + Send {
    /// The connection begins; its first record follows.
    fn opened(&mut self, opening: &Opening) {
        let _ = opening;
    }

    /// The capture begins in the middle of a connection, instead of [`opened`](Self::opened); its first record follows.
    /// The file begins with a [`joined_file_header`].
    fn joined(&mut self, joined: &Joined) {
        let _ = joined;
    }

    /// A trusted proxy gave this address of the client.
    fn client_address(&mut self, address: SocketAddr) {
        let _ = address;
    }

    /// The client names a stream that it wants to publish, or to play. The server decides afterwards.
    fn names(&mut self, key: &StreamKey, publishes: bool) {
        let _ = (key, publishes);
    }

    /// True if it takes no more records: the connection drops it, and goes on without a capture.
    fn is_over(&self) -> bool {
        false
    }

    /// Takes one whole record. A [`file_header`] and all records in order are a capture. The connection is locked
    /// during the call: the tap may keep the bytes in memory and must not wait for anything.
    fn record(&mut self, record: &[u8]);
}
