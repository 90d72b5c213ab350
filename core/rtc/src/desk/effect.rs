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
#[derive(Debug, Clone)]
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

/// What is to be done.
#[derive(Debug)]
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

/// A step in the work on the sound of one stream. Jobs of one stream are done in order.
#[derive(Debug, Clone)]
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

/// A packet of Opus that was made of other sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpusPacket {
    /// Its presentation time, by the times of the frames that it was made of.
    pub time: Duration,
    /// The packet.
    pub data: Bytes,
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
