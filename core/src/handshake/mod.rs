//! The RTMP handshake, both roles, without IO (RTMP 1.0 §5.2).
//!
//! ```text
//! client                         server
//! C0 C1                    ->
//!                          <-    S0 S1 S2
//! C2                       ->
//! chunk stream             <->   chunk stream
//! ```
//!
//! C0 and S0 are one byte, the version; the other packets are 1536 bytes each. [`ServerHandshake`]
//! and [`ClientHandshake`] take the peer's bytes, which may be split anywhere, and append their own
//! packets to the caller's buffer. They leave the bytes after the handshake to the chunk reader. Both
//! hold at most [`MAX_BUFFERED`] bytes on the heap, and none when a packet arrives in one piece.
//!
//! There are two forms. In the *simple* form of the specification, each side echoes the other's
//! packet. In the *digest* form, the packets contain HMAC-SHA256 digests with published keys
//! ([`digest`]). The specification does not describe it; Flash Player requires it before it plays
//! H.264 or AAC. The server answers in the form of the client's C1; [`Kind`] names it.
//!
//! ```
//! use anabranch_core::handshake::{ClientHandshake, ClientHandshakeKind, Kind, ServerHandshake, Status};
//!
//! let mut client = ClientHandshake::new([1; 32], 0, ClientHandshakeKind::Simple);
//! let mut server = ServerHandshake::new([2; 32], 0);
//! let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
//!
//! client.start(&mut to_server);
//! let _ = server.read(&to_server, &mut to_client)?;
//! to_server.clear();
//! let _ = client.read(&to_client, &mut to_server)?;
//! to_server.extend_from_slice(b"first chunk");
//! let progress = server.read(&to_server, &mut to_client)?;
//!
//! assert_eq!(progress.status, Status::Done);
//! assert_eq!(&to_server[progress.consumed..], b"first chunk");
//! assert_eq!(server.kind(), Some(Kind::Simple));
//! # Ok::<(), anabranch_core::handshake::HandshakeError>(())
//! ```

mod client;
pub mod digest;
mod error;
mod filler;
mod server;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, mem};

pub use client::{ClientHandshake, ClientHandshakeKind, S2Check};
pub use error::HandshakeError;
pub use server::ServerHandshake;

use digest::Scheme;

/// The only supported protocol version, the value of C0 and S0 (RTMP 1.0 §5.2.2).
pub const VERSION: u8 = 3;

/// Length in bytes of each of C1, S1, C2 and S2 (RTMP 1.0 §5.2.3 and §5.2.4).
pub const PACKET_LENGTH: usize = 1536;

/// The most heap bytes a [`ServerHandshake`] or a [`ClientHandshake`] holds at any moment: one packet that arrived in
/// pieces.
pub const MAX_BUFFERED: usize = PACKET_LENGTH;

/// One of C1, S1, C2 and S2.
pub type Packet = [u8; PACKET_LENGTH];

/// The result of a call to [`ServerHandshake::read`] or [`ClientHandshake::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "bytes that were not consumed belong to the chunk stream"]
pub struct Progress {
    /// Bytes of the input that belong to the handshake. All of the input unless the status is
    /// [`Status::Done`].
    pub consumed: usize,
    /// Whether the handshake is done.
    pub status: Status,
}

/// Whether a handshake is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The peer has not sent all of its packets yet.
    NeedMore,
    /// The peer's last packet is complete; every byte after it belongs to the chunk stream.
    Done,
}

/// The form of a handshake, for logs and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Each side echoes the other (RTMP 1.0 §5.2): librtmp, OBS, GStreamer's `rtmp2sink` and
    /// `rtmp2src`.
    Simple,
    /// Each side signs its packets: Flash Player, FMLE, FFmpeg.
    Digest {
        /// The place of the digest in the peer's first packet.
        scheme: Scheme,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple => f.write_str("simple"),
            Self::Digest { scheme } => write!(f, "digest ({scheme})"),
        }
    }
}

/// Takes the next packet from the front of `input`, or moves all of `input` into `held` until the
/// packet is complete.
///
/// A packet that is complete in the input is borrowed, so that the usual case does not allocate.
fn gather<'a>(held: &mut Vec<u8>, input: &mut &'a [u8]) -> Option<Cow<'a, Packet>> {
    if held.is_empty() {
        if let Some((packet, rest)) = input.split_first_chunk() {
            *input = rest;
            return Some(Cow::Borrowed(packet));
        }
        if input.is_empty() {
            return None;
        }
    }
    let missing = PACKET_LENGTH.saturating_sub(held.len());
    let (part, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
    held.reserve_exact(missing);
    held.extend_from_slice(part);
    *input = rest;
    match Packet::try_from(mem::take(held)) {
        Ok(packet) => Some(Cow::Owned(packet)),
        Err(partial) => {
            *held = partial;
            None
        }
    }
}

/// A C1 or S1: the sender's clock, a version (zero requests the simple form), then filler.
fn hello(filler: Packet, epoch_ms: u32, version: [u8; 4]) -> Packet {
    let mut packet = filler;
    packet[..4].copy_from_slice(&epoch_ms.to_be_bytes());
    packet[4..8].copy_from_slice(&version);
    packet
}

/// The version field of a packet in the simple form (RTMP 1.0 §5.2.3: "zero").
const SIMPLE: [u8; 4] = [0; 4];
