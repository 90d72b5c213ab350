use thiserror::Error;

/// The client does not speak HTTP as this server understands it. The connection cannot go on, because it is unknown where
/// the next request begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request can be read in no way, or in two ways.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// The request line and the fields are too long.
    #[error("the request line and the fields have more than {limit} bytes")]
    HeadTooLong {
        /// [`Limits::head`](super::Limits::head).
        limit: usize,
    },
    /// There are too many fields.
    #[error("the request has more than {limit} fields")]
    TooManyFields {
        /// The most fields.
        limit: usize,
    },
    /// The body is too long.
    #[error("the body of the request has {length} bytes, over the limit of {limit}")]
    BodyTooLong {
        /// Its length in bytes.
        length: u64,
        /// [`Limits::body`](super::Limits::body).
        limit: usize,
    },
    /// The body has a transfer coding.
    #[error("the body of the request has a transfer coding; only bodies with a Content-Length are read")]
    TransferCoding,
    /// Another version than HTTP/1.0 and HTTP/1.1.
    #[error("the request is of another version than HTTP/1.0 and HTTP/1.1")]
    Version,
    /// A WebSocket frame that the client may not send.
    #[error("WebSocket: {0}")]
    Frame(&'static str),
    /// A WebSocket frame that is too long.
    #[error("WebSocket: a frame of {length} bytes is over the limit of {limit}")]
    FrameTooLong {
        /// Its length in bytes.
        length: u64,
        /// [`MAX_FRAME`](super::websocket::MAX_FRAME).
        limit: u64,
    },
}

impl HttpError {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            HttpError::Malformed(_) | HttpError::Frame(_) | HttpError::FrameTooLong { .. } => 400,
            HttpError::HeadTooLong { .. } | HttpError::TooManyFields { .. } => 431,
            HttpError::BodyTooLong { .. } => 413,
            HttpError::TransferCoding => 501,
            HttpError::Version => 505,
        }
    }
}
