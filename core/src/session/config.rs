use std::time::Duration;

use crate::amf;
use crate::chunk::{ChunkLimits, Leniency};
use crate::url::MAX_TEXT_LEN;

/// How a session talks and what it lets a peer do. One value serves every connection of a server.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Chunk size of what we send, in bytes, 128 to 65536. Also the size that media is encoded with, so it must be the
    /// [`WireFormat`](crate::source::WireFormat)'s. Default 60000: one chunk for nearly every frame.
    pub chunk_size: u32,
    /// Window Acknowledgement Size and peer bandwidth announced to the peer, in bytes. Default 2 500 000.
    pub window: u32,
    /// Whether to send `onBWDone` after `connect`, as Flash Media Server and SRS do. Default off: no known client waits
    /// for it, and FFmpeg and librtmp answer it with another call.
    pub bandwidth_done: bool,
    /// How to take chunk headers that inherit from nothing.
    pub leniency: Leniency,
    /// What the peer may make us hold and queue.
    pub limits: SessionLimits,
    /// How long things may take.
    pub timeouts: SessionTimeouts,
}

impl Default for SessionConfig {
    fn default() -> Self {
        SessionConfig {
            chunk_size: 60_000,
            window: 2_500_000,
            bandwidth_done: false,
            leniency: Leniency::Lenient,
            limits: SessionLimits::default(),
            timeouts: SessionTimeouts::default(),
        }
    }
}

impl SessionConfig {
    /// For each setting, the value that satisfies both.
    pub(crate) fn strictest(&self, other: &SessionConfig) -> SessionConfig {
        let strict = self.leniency == Leniency::Strict || other.leniency == Leniency::Strict;
        SessionConfig {
            chunk_size: self.chunk_size.min(other.chunk_size),
            window: self.window.min(other.window),
            bandwidth_done: self.bandwidth_done || other.bandwidth_done,
            leniency: if strict { Leniency::Strict } else { Leniency::Lenient },
            limits: self.limits.strictest(&other.limits),
            timeouts: self.timeouts.strictest(&other.timeouts),
        }
    }
}

/// Bounds on what one peer can make a session hold.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    /// Bounds of the chunk reader before `connect` is accepted: an unknown peer gets little. Default
    /// [`LONGEST_CONNECT`](Self::LONGEST_CONNECT) for a message and for all that are half received, 8 chunk streams;
    /// most `connect` commands have a few hundred bytes, those with a signed token in their URL some thousand.
    pub chunks_before_connect: ChunkLimits,
    /// Bounds of the chunk reader afterwards.
    pub chunks: ChunkLimits,
    /// Longest command or control message, in bytes, and longest data message other than metadata. Default 1 MiB. A
    /// data message over it is left out; with the others the connection ends.
    pub command: u32,
    /// Longest metadata, in bytes: of a longer one the largest properties are left out. Default 960 KiB, which is the
    /// index of the key frames of a whole day, one each two seconds. It is kept for players to come, so it must fit
    /// into [`SourceLimits::header_bytes`](crate::source::SourceLimits::header_bytes) with the headers of the codecs.
    pub metadata: u32,
    /// Bounds on the AMF values of a `connect`, which may have to wait for a verdict. Default 16 deep, 128 values, as
    /// much text as the message may have; real ones have a dozen or two, those of Enhanced RTMP some forty.
    pub amf_before_connect: amf::Limits,
    /// Bounds on the AMF values of a command afterwards, and of metadata that has to be mended. What a publisher sends
    /// as it should be is relayed without being taken apart, however many values it has.
    pub amf: amf::Limits,
    /// Message streams on one connection. Default 16.
    pub streams: usize,
    /// Events waiting for [`poll_output`](super::Session::poll_output); at the bound the session stops parsing until
    /// they are taken. Default 512.
    pub events: usize,
    /// Bytes of the messages that those events came of, with the same effect; one message may go over it. Default 4
    /// MiB. A server whose events are polled after each read, as [`Conn`](crate::conn::Conn) does, holds less.
    pub event_bytes: usize,
    /// Bytes of replies waiting to be written; at the bound the session stops reading requests. At least 4 KiB, default
    /// 64 KiB. Before `connect` is accepted it is 4 KiB.
    pub replies: usize,
    /// Bytes received but not parsed, because of the three bounds above, or because a request waits for its answer. An
    /// adapter that honours [`Wait::read`](super::Wait::read) never gets past one read beyond it. Default 1 MiB.
    pub inbox: usize,
}

impl SessionLimits {
    /// Room for a URL of [`MAX_TEXT_LEN`](crate::url::MAX_TEXT_LEN) as often as a client may send it in `connect`
    /// (`app`, `tcUrl`, OBS as `swfUrl` too, browsers as `pageUrl`), and for all else. In bytes.
    pub const LONGEST_CONNECT: u32 = 4 * MAX_TEXT_LEN as u32 + (8 << 10);

    fn strictest(&self, other: &SessionLimits) -> SessionLimits {
        SessionLimits {
            chunks_before_connect: fewer_chunks(&self.chunks_before_connect, &other.chunks_before_connect),
            chunks: fewer_chunks(&self.chunks, &other.chunks),
            command: self.command.min(other.command),
            metadata: self.metadata.min(other.metadata),
            amf_before_connect: fewer_values(&self.amf_before_connect, &other.amf_before_connect),
            amf: fewer_values(&self.amf, &other.amf),
            streams: self.streams.min(other.streams),
            events: self.events.min(other.events),
            event_bytes: self.event_bytes.min(other.event_bytes),
            replies: self.replies.min(other.replies),
            inbox: self.inbox.min(other.inbox),
        }
    }

    /// The chunk reader's bounds for a publisher: it is trusted with whole ordinary frames, so that their buffers are
    /// allocated once.
    pub(crate) fn chunks_publishing(&self) -> ChunkLimits {
        ChunkLimits { eager: self.chunks.eager.max(64 << 10), ..self.chunks }
    }
}

fn fewer_chunks(one: &ChunkLimits, other: &ChunkLimits) -> ChunkLimits {
    ChunkLimits {
        message: one.message.min(other.message),
        streams: one.streams.min(other.streams),
        partial: one.partial.min(other.partial),
        eager: one.eager.min(other.eager),
    }
}

fn fewer_values(one: &amf::Limits, other: &amf::Limits) -> amf::Limits {
    amf::Limits {
        depth: one.depth.min(other.depth),
        values: one.values.min(other.values),
        bytes: one.bytes.min(other.bytes),
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits {
            chunks_before_connect: ChunkLimits {
                message: SessionLimits::LONGEST_CONNECT,
                streams: 8,
                partial: SessionLimits::LONGEST_CONNECT as usize,
                eager: 128,
            },
            chunks: ChunkLimits::default(),
            command: 1 << 20,
            metadata: 960 << 10,
            amf_before_connect: amf::Limits { depth: 16, values: 128, bytes: SessionLimits::LONGEST_CONNECT as usize },
            amf: amf::Limits::default(),
            streams: 16,
            events: 512,
            event_bytes: 4 << 20,
            replies: 64 << 10,
            inbox: 1 << 20,
        }
    }
}

/// Durations a session waits before it gives up; [`Duration::MAX`] is never.
#[derive(Debug, Clone)]
pub struct SessionTimeouts {
    /// From the first moment to an accepted `connect`, handshake included. Default 10 s.
    pub connect: Duration,
    /// From `connect` to the first `publish` or `play`, and again after the last stream ended. Default 30 s.
    pub identify: Duration,
    /// From an accepted `publish` to its first message. Default 20 s.
    pub first_message: Duration,
    /// Between two messages of a publisher. Default 10 s.
    pub next_message: Duration,
    /// Without any progress in writing while bytes wait. Default 30 s.
    pub write: Duration,
    /// For a player, while its stream has no publisher. Default 10 minutes. A rule of the stream's
    /// virtual host. [`Conn`](crate::conn::Conn) applies it, because a session knows no streams.
    pub wait_for_stream: Duration,
    /// Between pings to the peer; a ping keeps the path alive and makes a dead one show. Default 30 s.
    pub ping: Duration,
    /// For the last bytes of a connection that is being closed. Default 3 s.
    pub linger: Duration,
}

impl SessionTimeouts {
    fn strictest(&self, other: &SessionTimeouts) -> SessionTimeouts {
        SessionTimeouts {
            connect: self.connect.min(other.connect),
            identify: self.identify.min(other.identify),
            first_message: self.first_message.min(other.first_message),
            next_message: self.next_message.min(other.next_message),
            write: self.write.min(other.write),
            wait_for_stream: self.wait_for_stream.min(other.wait_for_stream),
            ping: self.ping.min(other.ping),
            linger: self.linger.min(other.linger),
        }
    }
}

impl Default for SessionTimeouts {
    fn default() -> Self {
        SessionTimeouts {
            connect: Duration::from_secs(10),
            identify: Duration::from_secs(30),
            first_message: Duration::from_secs(20),
            next_message: Duration::from_secs(10),
            write: Duration::from_secs(30),
            wait_for_stream: Duration::from_secs(600),
            ping: Duration::from_secs(30),
            linger: Duration::from_secs(3),
        }
    }
}
