//! The chunk stream: messages cut into chunks, and back (RTMP 1.0 §5.3).
//!
//! [`ChunkReader`] assembles messages from bytes that may be cut anywhere; [`write_message`] does the reverse for
//! the messages a connection sends on its own behalf. Media for players does not pass through a writer: it is
//! encoded once per stream, see [`Frame`](crate::source::Frame).

mod error;
mod reader;
mod writer;

pub use error::ChunkError;
pub(crate) use reader::STREAM_STATE;
pub use reader::{ChunkLimits, ChunkReader, Leniency};
pub use writer::{HeaderBytes, MAX_HEADER, continuation_header, message_header, write_message};

/// The chunk size both directions start with (RTMP 1.0 §5.4.1).
pub const DEFAULT_CHUNK_SIZE: u32 = 128;

/// The largest chunk size that makes a difference: a message length has 24 bits, so from here on nothing is split.
pub const MAX_CHUNK_SIZE: u32 = 0xff_ffff;

/// A 24-bit timestamp field with this value says that the 32-bit extended timestamp follows (RTMP 1.0 §5.3.1.3).
pub(crate) const EXTENDED: u32 = 0xff_ffff;
