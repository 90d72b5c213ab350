/// Why an FLV tag body, an aggregate message or FLV file framing could not be read or written.
///
/// None of these is a reason to close a connection: the server drops the message, and the stream continues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlvError {
    /// A body of zero bytes. For audio it means silence (FLV 10.1 §E.4.2), for video nothing.
    #[error("the body is empty")]
    Empty,
    /// A field ends after the end of the received bytes.
    #[error("{part} is cut off: it takes {needed} bytes, {left} are left")]
    Truncated {
        /// The field that is cut off.
        part: &'static str,
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that are left for it.
        left: usize,
    },
    /// More ModEx prefixes in one message than [`MAX_MOD_EX`](super::MAX_MOD_EX).
    #[error("more than {limit} ModEx prefixes in one message")]
    TooManyModEx {
        /// The limit.
        limit: usize,
    },
    /// A multitrack message that announces multitrack packets (Enhanced RTMP v2 forbids it).
    #[error("multitrack inside multitrack")]
    NestedMultitrack,
    /// More tracks in one message than [`MAX_TRACKS`](super::MAX_TRACKS).
    #[error("more than {limit} tracks in one message")]
    TooManyTracks {
        /// The limit.
        limit: usize,
    },
    /// A track claims more bytes than its message has left.
    #[error("track {track} claims {size} bytes, {left} are left in the message")]
    TrackTooLong {
        /// Track id.
        track: u8,
        /// Bytes claimed.
        size: usize,
        /// Bytes left.
        left: usize,
    },
    /// A message inside an aggregate claims more bytes than the aggregate has left.
    #[error("a message of {size} bytes inside an aggregate which has {left} bytes left")]
    SubMessageTooLong {
        /// Bytes claimed.
        size: usize,
        /// Bytes left.
        left: usize,
    },
    /// An aggregate inside an aggregate. It is skipped; the messages after it can be read.
    #[error("aggregate inside an aggregate")]
    NestedAggregate,
    /// The bytes do not start with an FLV file header.
    #[error("not an FLV file header")]
    NotFlv,
    /// A tag whose body is longer than its reader takes.
    #[error("an FLV tag of {length} bytes is over the limit of {limit}")]
    TagOverLimit {
        /// Length of the body, in bytes.
        length: usize,
        /// The limit of the [`TagReader`](super::TagReader).
        limit: usize,
    },
    /// A body that is too large for the 24 bit size field of an FLV tag.
    #[error("a body of {length} bytes does not fit into an FLV tag")]
    TagTooLong {
        /// Length of the body, in bytes.
        length: usize,
    },
}
