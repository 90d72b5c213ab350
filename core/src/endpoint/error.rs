use thiserror::Error;

use crate::amf::AmfError;
use crate::chunk::ChunkError;
use crate::command::CommandError;
use crate::handshake::HandshakeError;
use crate::http::HttpError;
use crate::message::ControlError;
use crate::preface::PrefaceError;

/// The peer violated the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// Before the handshake.
    #[error("{0}")]
    Preface(#[from] PrefaceError),
    /// In the handshake.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// In the chunk stream.
    #[error("chunk stream: {0}")]
    Chunk(#[from] ChunkError),
    /// In a protocol control message.
    #[error("control message: {0}")]
    Control(#[from] ControlError),
    /// In a command that the connection needs to go on.
    #[error("command: {0}")]
    Command(#[from] CommandError),
    /// In a request by HTTP, or in a WebSocket.
    #[error("HTTP: {0}")]
    Http(#[from] HttpError),
    /// A command, data or control message exceeds the limit.
    #[error("message of type {type_id} with {length} bytes is over the limit of {limit}")]
    MessageOverLimit {
        /// Message type id.
        type_id: u8,
        /// Its length in bytes.
        length: usize,
        /// [`SessionLimits::command`](crate::session::SessionLimits::command).
        limit: u32,
    },
    /// The peer sent more bytes than fit while the session wanted none.
    #[error("more than {limit} bytes arrived while a request waited for its answer")]
    InboxOverLimit {
        /// [`SessionLimits::inbox`](crate::session::SessionLimits::inbox), or that of the client role.
        limit: usize,
    },
}

impl Error {
    /// The name of the exceeded limit in [`SessionLimits`](crate::session::SessionLimits), if the error is one: the
    /// peer may be an ordinary client and gets a message. `connected` says which limits applied.
    pub(crate) fn limit(&self, connected: bool) -> Option<&'static str> {
        let by_stage = |after, before| Some(if connected { after } else { before });
        match self {
            Error::Chunk(ChunkError::LengthOverLimit { .. }) => {
                by_stage("chunks.message", "chunks_before_connect.message")
            }
            Error::Chunk(ChunkError::TooManyStreams { .. }) => {
                by_stage("chunks.streams", "chunks_before_connect.streams")
            }
            Error::Chunk(ChunkError::PartialOverLimit { .. }) => {
                by_stage("chunks.partial", "chunks_before_connect.partial")
            }
            Error::Command(CommandError::Amf(AmfError::TooDeep { .. })) => {
                by_stage("amf.depth", "amf_before_connect.depth")
            }
            Error::Command(CommandError::Amf(AmfError::TooManyValues { .. })) => {
                by_stage("amf.values", "amf_before_connect.values")
            }
            Error::Command(CommandError::Amf(AmfError::TooManyBytes { .. })) => {
                by_stage("amf.bytes", "amf_before_connect.bytes")
            }
            Error::MessageOverLimit { .. } => Some("command"),
            _ => None,
        }
    }

    /// A name that does not change, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Error::Preface(_) => "proxy_header_error",
            Error::Handshake(_) => "handshake_error",
            Error::Chunk(_) => "chunk_error",
            Error::Control(_) => "control_error",
            Error::Command(_) => "command_error",
            Error::Http(_) => "http_error",
            Error::MessageOverLimit { .. } => "message_over_limit",
            Error::InboxOverLimit { .. } => "inbox_over_limit",
        }
    }
}
