use anabranch_core::session::SessionLimits;
use anabranch_core::{amf, chunk};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Size;

/// Limits of what one client can make the server hold; `anabranch check` shows the memory that they add up to. The
/// limits before connect are the same for all virtual hosts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Bounds {
    /// The longest command, control message, or data message other than metadata.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "16MiB"))]
    pub(crate) command: Size,
    /// The longest metadata. From longer metadata the server leaves out the largest properties, such as a file's index
    /// of key frames. The limit is never more than 15/16 of cache.header_bytes, because metadata is kept there.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "16MiB"))]
    pub(crate) metadata: Size,
    /// Message streams on one connection.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) message_streams: usize,
    /// Messages that are parsed and not yet handled.
    #[schemars(range(min = 16, max = 65_536))]
    pub(crate) events: usize,
    /// Replies that wait to be written. At this limit the server reads no more requests.
    #[schemars(extend("x-minimum" = "4KiB", "x-maximum" = "64MiB"))]
    pub(crate) replies: Size,
    /// Bytes received while a request waits for its answer.
    #[schemars(extend("x-minimum" = "4KiB", "x-maximum" = "64MiB"))]
    pub(crate) inbox: Size,
    /// Partly received messages.
    pub(crate) chunks: Chunks,
    /// The same before connect.
    #[schemars(extend("x-connection" = "it holds before the client names a stream"))]
    pub(crate) chunks_before_connect: Chunks,
    /// AMF values in one message.
    pub(crate) amf: Amf,
    /// AMF values in a connect.
    #[schemars(extend("x-connection" = "it holds before the client names a stream"))]
    pub(crate) amf_before_connect: Amf,
}

/// Partly received messages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chunks {
    /// The longest message; the format allows 16 MiB less one byte.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "16777215"))]
    pub(crate) message: Size,
    /// Chunk streams ever used on the connection.
    #[schemars(range(min = 2, max = 65_536))]
    pub(crate) streams: usize,
    /// All partly received messages of the connection together.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "1GiB"))]
    pub(crate) partial: Size,
    /// How much of a message's announced length is allocated before its bytes have arrived.
    #[schemars(extend("x-maximum" = "16MiB"))]
    pub(crate) eager: Size,
}

/// Limits for decoding the AMF values of one message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amf {
    /// How deep objects and arrays may be nested.
    #[schemars(range(min = 1, max = 128))]
    pub(crate) depth: usize,
    /// The number of values.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub(crate) values: usize,
    /// The text in all values together.
    #[schemars(extend("x-minimum" = "256", "x-maximum" = "16MiB"))]
    pub(crate) bytes: Size,
}

impl From<chunk::ChunkLimits> for Chunks {
    fn from(limits: chunk::ChunkLimits) -> Self {
        let size = |bytes: usize| Size(bytes as u64);
        Chunks {
            message: Size(u64::from(limits.message)),
            streams: limits.streams,
            partial: size(limits.partial),
            eager: size(limits.eager),
        }
    }
}

impl From<&Chunks> for chunk::ChunkLimits {
    fn from(chunks: &Chunks) -> Self {
        chunk::ChunkLimits {
            message: u32::try_from(chunks.message.0).unwrap_or(u32::MAX),
            streams: chunks.streams,
            partial: chunks.partial.bytes(),
            eager: chunks.eager.bytes(),
        }
    }
}

impl From<amf::Limits> for Amf {
    fn from(limits: amf::Limits) -> Self {
        Amf { depth: limits.depth, values: limits.values, bytes: Size(limits.bytes as u64) }
    }
}

impl From<&Amf> for amf::Limits {
    fn from(limits: &Amf) -> Self {
        amf::Limits { depth: limits.depth, values: limits.values, bytes: limits.bytes.bytes() }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        let limits = SessionLimits::default();
        Bounds {
            command: Size(u64::from(limits.command)),
            metadata: Size(u64::from(limits.metadata)),
            message_streams: limits.streams,
            events: limits.events,
            replies: Size(limits.replies as u64),
            inbox: Size(limits.inbox as u64),
            chunks: limits.chunks.into(),
            chunks_before_connect: limits.chunks_before_connect.into(),
            amf: limits.amf.into(),
            amf_before_connect: limits.amf_before_connect.into(),
        }
    }
}

impl From<&Bounds> for SessionLimits {
    fn from(bounds: &Bounds) -> Self {
        SessionLimits {
            chunks_before_connect: (&bounds.chunks_before_connect).into(),
            chunks: (&bounds.chunks).into(),
            command: u32::try_from(bounds.command.0).unwrap_or(u32::MAX),
            metadata: u32::try_from(bounds.metadata.0).unwrap_or(u32::MAX),
            amf_before_connect: (&bounds.amf_before_connect).into(),
            amf: (&bounds.amf).into(),
            streams: bounds.message_streams,
            events: bounds.events,
            // Connections are polled after each read, which has a separate bound.
            event_bytes: SessionLimits::default().event_bytes,
            replies: bounds.replies.bytes(),
            inbox: bounds.inbox.bytes(),
        }
    }
}
