use thiserror::Error;

/// The peer broke the rules of the chunk stream. Every one of these errors loses framing, so it ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// A message header announced more bytes than a message may have.
    #[error("chunk stream {chunk_stream}: message of {length} bytes is over the limit of {limit}")]
    LengthOverLimit {
        /// Chunk stream id the header came on.
        chunk_stream: u32,
        /// Announced message length in bytes.
        length: u32,
        /// The limit in bytes, [`ChunkLimits::message`](crate::chunk::ChunkLimits::message).
        limit: u32,
    },
    /// The peer uses more chunk streams than allowed.
    #[error("chunk stream {chunk_stream} would be one more than the {limit} allowed")]
    TooManyStreams {
        /// The chunk stream id that did not fit.
        chunk_stream: u32,
        /// The limit, [`ChunkLimits::streams`](crate::chunk::ChunkLimits::streams).
        limit: usize,
    },
    /// The partial messages of all chunk streams together have more bytes than allowed.
    #[error("partial messages have more than {limit} bytes")]
    PartialOverLimit {
        /// The limit in bytes, [`ChunkLimits::partial`](crate::chunk::ChunkLimits::partial).
        limit: usize,
    },
    /// The first chunk of a chunk stream has a format that inherits fields from an earlier message.
    #[error("chunk stream {chunk_stream} starts with format {format}, which needs an earlier message on it")]
    FreshStream {
        /// Chunk stream id.
        chunk_stream: u32,
        /// Chunk format, 1 to 3.
        format: u8,
    },
    /// A new message started on a chunk stream whose previous message is not complete.
    #[error("chunk stream {chunk_stream}: format {format} starts a message inside a message")]
    Interrupted {
        /// Chunk stream id.
        chunk_stream: u32,
        /// Chunk format, 0 to 2.
        format: u8,
    },
    /// A Set Chunk Size of zero (RTMP 1.0 §5.4.1 asks for at least 1).
    #[error("chunk size 0")]
    ZeroChunkSize,
}
