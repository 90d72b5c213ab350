//! The chunk stream: messages are split into chunks and assembled again (RTMP 1.0 §5.3).
//!
//! [`ChunkReader`] assembles messages from bytes that may be split anywhere. [`write_message`] writes the messages that
//! a connection itself sends, such as command replies. Media for players does not pass through it: a stream encodes
//! each message once for all players, see [`Frame`](crate::source::Frame).

mod error;
mod reader;
mod writer;

pub use error::ChunkError;
pub use reader::{ChunkLimits, ChunkReader, Leniency};
pub(crate) use reader::{ReaderState, STREAM_STATE, StreamState};
pub use writer::{HeaderBytes, MAX_HEADER, continuation_header, message_header, write_message};

/// The initial chunk size of both directions (RTMP 1.0 §5.4.1).
pub const DEFAULT_CHUNK_SIZE: u32 = 128;

/// The largest useful chunk size: a message length has 24 bits, so with this size no message is split.
pub const MAX_CHUNK_SIZE: u32 = 0xff_ffff;

/// A 24-bit timestamp field with this value says that the 32-bit extended timestamp follows (RTMP 1.0 §5.3.1.3).
pub(crate) const EXTENDED: u32 = 0xff_ffff;
