use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anabranch_core::http::{Answer, Request};
use anabranch_core::hub::StreamId;
use anabranch_core::message::Message;
use anabranch_core::url::StreamKey;
use bytes::Bytes;

use crate::peer::Gone;

/// The number of a session: of one peer, from its first request to its end. No number is used twice.
pub type SessionId = u64;

/// What a peer is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It publishes: WHIP.
    Publisher,
    /// It plays: WHEP.
    Player,
}

/// A client that asks to publish or play a stream by WebRTC.
#[derive(Clone)]
pub struct Opening {
    /// The number of its session.
    pub session: SessionId,
    /// What it wants.
    pub role: Role,
    /// Its address, as far as it is known.
    pub client: Option<SocketAddr>,
    /// Its request, whose parameters have the token of `Authorization: Bearer`, too.
    pub request: Request,
    /// The application of the stream.
    pub app: String,
    /// The stream.
    pub stream: String,
}

/// Without the request, which has tokens and an offer.
impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Opening { session, role, client, request: _, app, stream } = self;
        f.debug_struct("Opening")
            .field("session", session)
            .field("role", role)
            .field("client", client)
            .field("app", app)
            .field("stream", stream)
            .finish_non_exhaustive()
    }
}

/// What is to be done.
pub enum Effect<T> {
    /// Answer the request of this ticket.
    Answer(T, Answer),
    /// Make a connection of core without a socket for this client, so that all rules apply to it, and say what became of
    /// it: [`granted`](super::Desk::granted) or [`refused`](super::Desk::refused).
    Open(Box<Opening>),
    /// The connection of this session leaves. If it was granted its stream, [`Remark::Gone`] has said why just before.
    Leave(SessionId),
    /// A publisher has sent this.
    Publish(SessionId, Message),
    /// A stream is followed from now on: [`wake`](super::Desk::wake) is to be called for it, and once at once.
    Follow(StreamId),
    /// It is followed no more.
    Unfollow(StreamId),
    /// Sound is to be put into another codec, on another thread.
    Sound(SoundJob),
    /// So much was sent to a viewer since the last time: for the statistics of its connection.
    Sent {
        /// The viewer.
        session: SessionId,
        /// Pictures and moments of sound.
        frames: u64,
        /// Bytes of datagrams.
        bytes: u64,
    },
    /// For the log.
    Tell(Remark),
}

/// Without the body and the fields of an answer, which have secrets of its client.
impl<T: fmt::Debug> fmt::Debug for Effect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Answer(ticket, answer) => {
                write!(f, "Answer({ticket:?}, {}, {} bytes)", answer.status, answer.body.len())
            }
            Effect::Open(opening) => f.debug_tuple("Open").field(opening).finish(),
            Effect::Leave(session) => f.debug_tuple("Leave").field(session).finish(),
            Effect::Publish(session, message) => f.debug_tuple("Publish").field(session).field(message).finish(),
            Effect::Follow(stream) => f.debug_tuple("Follow").field(stream).finish(),
            Effect::Unfollow(stream) => f.debug_tuple("Unfollow").field(stream).finish(),
            Effect::Sound(job) => f.debug_tuple("Sound").field(job).finish(),
            Effect::Sent { session, frames, bytes } => write!(f, "Sent({session}, {frames} frames, {bytes} bytes)"),
            Effect::Tell(remark) => f.debug_tuple("Tell").field(remark).finish(),
        }
    }
}

/// A step in the work on the sound of one stream. Jobs of one stream are done in order.
#[derive(Clone)]
pub enum SoundJob {
    /// AAC with this configuration (AudioSpecificConfig, ISO/IEC 14496-3 §1.6.2.1) is to become Opus from now on.
    Begin {
        /// A number for this work: answers have it.
        job: u64,
        /// The configuration.
        config: Bytes,
    },
    /// A frame.
    Frame {
        /// The work that it belongs to.
        job: u64,
        /// Its presentation time, from an arbitrary beginning.
        time: Duration,
        /// The frame as it is coded.
        data: Bytes,
    },
    /// The work is over.
    End {
        /// Which.
        job: u64,
    },
}

/// Without the sound.
impl fmt::Debug for SoundJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SoundJob::Begin { job, config } => write!(f, "Begin({job}, {} bytes)", config.len()),
            SoundJob::Frame { job, time, data } => write!(f, "Frame({job}, {time:?}, {} bytes)", data.len()),
            SoundJob::End { job } => write!(f, "End({job})"),
        }
    }
}

/// A packet of Opus that was made of other sound.
#[derive(Clone, PartialEq, Eq)]
pub struct OpusPacket {
    /// Its presentation time, by the times of the frames that it was made of.
    pub time: Duration,
    /// The packet.
    pub data: Bytes,
}

/// Without the sound.
impl fmt::Debug for OpusPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpusPacket({:?}, {} bytes)", self.time, self.data.len())
    }
}

/// What the log and the lists of connections are told of a session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Remark {
    /// Packets reach the peer from now on.
    Connected {
        /// Of this session.
        session: SessionId,
        /// The peer's address.
        remote: SocketAddr,
        /// From its request to now.
        after: Duration,
    },
    /// A peer that was granted its stream is gone.
    Gone {
        /// Of this session.
        session: SessionId,
        /// Why.
        why: Gone,
    },
    /// Pictures that no other picture needs are left out for viewers of this stream, because they come out of order, which
    /// WebRTC cannot carry. Told once for each publication.
    LeavesOut {
        /// The stream.
        key: StreamKey,
    },
    /// The sound of this stream does not reach viewers. Told once for each publication.
    NoSound {
        /// The stream.
        key: StreamKey,
        /// Why.
        because: String,
    },
    /// The sound of this stream reaches viewers in part. Told once for each work on its sound.
    LessSound {
        /// The stream.
        key: StreamKey,
        /// What they do not hear, as the end of the sentence "the sound of this stream ...".
        how: &'static str,
    },
    /// The pictures of this stream do not reach viewers. Told once for each publication.
    NoPicture {
        /// The stream.
        key: StreamKey,
        /// Why.
        because: String,
    },
    /// A viewer was too slow for so many pictures, and went on at a key frame.
    Skipped {
        /// Of this session.
        session: SessionId,
        /// Pictures that it missed.
        pictures: u64,
    },
}
