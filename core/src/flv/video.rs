//! Bodies of video messages (type 9): FLV 10.1 §E.4.3 and the extended header of Enhanced RTMP v1 and v2.

use std::fmt;

use super::{FlvError, ModExList, Multitrack, MultitrackKind, RawTracks, VideoCodec, take};
use crate::shown::Shown;

/// Packet type of an extended header that announces tracks. (Audio uses another number.)
pub(super) const PACKET_TYPE_MULTITRACK: u8 = 6;

/// The kind of a frame for the decoder (FLV 10.1 §E.4.3.1, FrameType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameType {
    /// 1: can be decoded alone. Sequence headers have this type too.
    Key,
    /// 2: needs earlier frames.
    Inter,
    /// 3: needs earlier frames, and none needs it (Sorenson H.263).
    DisposableInter,
    /// 4: a key frame made by a server.
    GeneratedKey,
    /// 5: a command to the player instead of a frame.
    Command,
    /// A reserved value: 0, 6 or 7.
    Unknown(u8),
}

impl FrameType {
    /// The type for the three bits of a header; higher bits are ignored.
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x07 {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::DisposableInter,
            4 => Self::GeneratedKey,
            5 => Self::Command,
            other => Self::Unknown(other),
        }
    }

    /// The three bits of the header.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::Inter => 2,
            Self::DisposableInter => 3,
            Self::GeneratedKey => 4,
            Self::Command => 5,
            Self::Unknown(other) => other,
        }
    }

    /// Whether the frame can be decoded alone.
    #[inline]
    pub const fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::GeneratedKey)
    }
}

/// The content of a video message, after ModEx and Multitrack headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VideoPacketType {
    /// A decoder configuration. Legacy packet type 0.
    SequenceStart,
    /// Coded frames. Legacy packet type 1, and every body of a legacy codec without packet types.
    CodedFrames,
    /// The sequence ends. Legacy packet type 2.
    SequenceEnd,
    /// Coded frames without a composition time, which is then 0.
    CodedFramesX,
    /// AMF 0 name and value pairs; only `colorInfo` is defined.
    Metadata,
    /// A decoder configuration as in MPEG-2 TS (AV1).
    Mpeg2TsSequenceStart,
    /// An unknown value.
    Unknown(u8),
}

impl VideoPacketType {
    #[inline]
    const fn from_legacy(value: u8) -> Self {
        match value {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            2 => Self::SequenceEnd,
            other => Self::Unknown(other),
        }
    }

    #[inline]
    const fn from_extended(value: u8) -> Self {
        match value {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            2 => Self::SequenceEnd,
            3 => Self::CodedFramesX,
            4 => Self::Metadata,
            5 => Self::Mpeg2TsSequenceStart,
            other => Self::Unknown(other),
        }
    }

    /// Whether the message configures the decoder.
    #[inline]
    pub const fn is_sequence_header(self) -> bool {
        matches!(self, Self::SequenceStart | Self::Mpeg2TsSequenceStart)
    }

    /// Whether the message carries coded frames.
    #[inline]
    pub const fn is_coded(self) -> bool {
        matches!(self, Self::CodedFrames | Self::CodedFramesX)
    }
}

/// A command to the player instead of a frame (FLV 10.1 §E.4.3, "video info/command frame").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VideoCommand {
    /// 0: client-side seeking starts.
    StartSeek,
    /// 1: client-side seeking ends.
    EndSeek,
    /// Another value.
    Unknown(u8),
    /// The body ends before the command byte.
    Missing,
}

/// One track of a video message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VideoTrack<'a> {
    /// Track id; 0 for a message without multitrack.
    pub id: u8,
    /// Codec.
    pub codec: VideoCodec,
    /// Milliseconds from the message's timestamp (decoding) to presentation. Some encoders send negative values.
    pub composition_time: i32,
    /// Configuration record, frames or metadata, after all headers.
    pub payload: &'a [u8],
}

crate::shown::debug_with_bytes!(VideoTrack<'_> { id, codec, composition_time; payload });

/// The part of a video message after its headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum VideoBody<'a> {
    /// A command, the end of the message. With an extended header it names no codec.
    Command(VideoCommand),
    /// The one track of a message without multitrack.
    Track(VideoTrack<'a>),
    /// The tracks of a multitrack message.
    Multitrack(Multitrack<'a>),
    /// A reserved packet type of an extended header: its content is not interpreted.
    Opaque(&'a [u8]),
}

impl fmt::Debug for VideoBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VideoBody::Command(command) => f.debug_tuple("Command").field(command).finish(),
            VideoBody::Track(track) => f.debug_tuple("Track").field(track).finish(),
            VideoBody::Multitrack(tracks) => f.debug_tuple("Multitrack").field(tracks).finish(),
            VideoBody::Opaque(bytes) => f.debug_tuple("Opaque").field(&Shown(bytes)).finish(),
        }
    }
}

/// A parsed video message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoTag<'a> {
    /// Whether the header is the extended one of Enhanced RTMP.
    pub enhanced: bool,
    /// Frame type. Without meaning for [`VideoPacketType::Metadata`].
    pub frame_type: FrameType,
    /// Packet type; in a multitrack message that of all its tracks. Without meaning for commands.
    pub packet_type: VideoPacketType,
    /// ModEx prefixes; empty in a legacy header.
    pub mod_ex: ModExList<'a>,
    /// The part after the headers.
    pub body: VideoBody<'a>,
}

impl<'a> VideoTag<'a> {
    /// The tracks in the order of the message; a message without multitrack has one with id 0, a command none.
    ///
    /// A track that cannot be read yields an error after the good ones and ends the iteration.
    pub fn tracks(&self) -> VideoTracks<'a> {
        let inner = match self.body {
            VideoBody::Track(track) => Inner::One(Some(track)),
            VideoBody::Multitrack(multitrack) => Inner::Many(multitrack.tracks()),
            VideoBody::Command(_) | VideoBody::Opaque(_) => Inner::One(None),
        };
        VideoTracks { packet_type: self.packet_type, inner }
    }

    /// The multitrack layout, if the message is a multitrack one.
    pub fn multitrack_kind(&self) -> Option<MultitrackKind> {
        match self.body {
            VideoBody::Multitrack(multitrack) => Some(multitrack.kind),
            VideoBody::Command(_) | VideoBody::Track(_) | VideoBody::Opaque(_) => None,
        }
    }
}

/// Iterator over the tracks of a video message.
#[derive(Clone, Debug)]
pub struct VideoTracks<'a> {
    packet_type: VideoPacketType,
    inner: Inner<'a>,
}

#[derive(Clone, Debug)]
enum Inner<'a> {
    One(Option<VideoTrack<'a>>),
    Many(RawTracks<'a>),
}

impl<'a> Iterator for VideoTracks<'a> {
    type Item = Result<VideoTrack<'a>, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.inner {
            Inner::One(track) => track.take().map(Ok),
            Inner::Many(raw) => {
                let track = raw.next()?.and_then(|track| {
                    let codec = VideoCodec::from_fourcc(track.fourcc);
                    extended_track(track.id, codec, self.packet_type, track.payload)
                });
                if track.is_err() {
                    raw.stop();
                }
                Some(track)
            }
        }
    }
}

impl std::iter::FusedIterator for VideoTracks<'_> {}

/// Parses the body of a video message without copying.
///
/// # Errors
///
/// A header that is cut off, nested multitrack, too many ModEx prefixes, or an empty body. Tracks of a
/// multitrack message are read, and their errors found, by [`VideoTag::tracks`].
#[inline]
pub fn parse(body: &[u8]) -> Result<VideoTag<'_>, FlvError> {
    let Some((&first, rest)) = body.split_first() else {
        return Err(FlvError::Empty);
    };
    let frame_type = FrameType::from_bits(first >> 4);
    if first & 0x80 == 0 {
        parse_legacy(frame_type, VideoCodec::from_legacy_id(first), rest)
    } else {
        parse_extended(frame_type, first & 0x0F, rest)
    }
}

#[inline]
fn parse_legacy(frame_type: FrameType, codec: VideoCodec, rest: &[u8]) -> Result<VideoTag<'_>, FlvError> {
    let tag =
        |packet_type, body| VideoTag { enhanced: false, frame_type, packet_type, mod_ex: ModExList::default(), body };
    let track = |composition_time, payload| VideoBody::Track(VideoTrack { id: 0, codec, composition_time, payload });
    if frame_type == FrameType::Command {
        return Ok(tag(VideoPacketType::CodedFrames, VideoBody::Command(command(rest))));
    }
    if !codec.has_legacy_packet_type() {
        return Ok(tag(VideoPacketType::CodedFrames, track(0, rest)));
    }
    let (&[packet_type, a, b, c], payload) = take::array(rest, "AVC video header")?;
    let packet_type = VideoPacketType::from_legacy(packet_type);
    let composition_time = if packet_type.is_coded() { take::s24([a, b, c]) } else { 0 };
    Ok(tag(packet_type, track(composition_time, payload)))
}

#[inline]
fn parse_extended(frame_type: FrameType, packet_type: u8, rest: &[u8]) -> Result<VideoTag<'_>, FlvError> {
    let (mod_ex, packet_type, rest) = ModExList::read(packet_type, rest)?;
    let effective = VideoPacketType::from_extended(packet_type);
    let tag = |packet_type, body| VideoTag { enhanced: true, frame_type, packet_type, mod_ex, body };
    if frame_type == FrameType::Command && effective != VideoPacketType::Metadata {
        return Ok(tag(effective, VideoBody::Command(command(rest))));
    }
    if packet_type == PACKET_TYPE_MULTITRACK {
        let (multitrack, packet_type) = Multitrack::read(PACKET_TYPE_MULTITRACK, rest)?;
        let effective = VideoPacketType::from_extended(packet_type);
        return Ok(tag(effective, VideoBody::Multitrack(multitrack)));
    }
    if matches!(effective, VideoPacketType::Unknown(_)) {
        return Ok(tag(effective, VideoBody::Opaque(rest)));
    }
    let (fourcc, rest) = take::fourcc(rest)?;
    let track = extended_track(0, VideoCodec::from_fourcc(fourcc), effective, rest)?;
    Ok(tag(effective, VideoBody::Track(track)))
}

#[inline]
fn extended_track(
    id: u8,
    codec: VideoCodec,
    packet_type: VideoPacketType,
    bytes: &[u8],
) -> Result<VideoTrack<'_>, FlvError> {
    let (composition_time, payload) = if packet_type == VideoPacketType::CodedFrames && codec.has_composition_time() {
        let (time, payload) = take::array(bytes, "composition time")?;
        (take::s24(*time), payload)
    } else {
        (0, bytes)
    };
    Ok(VideoTrack { id, codec, composition_time, payload })
}

fn command(bytes: &[u8]) -> VideoCommand {
    match bytes.first() {
        Some(0) => VideoCommand::StartSeek,
        Some(1) => VideoCommand::EndSeek,
        Some(&other) => VideoCommand::Unknown(other),
        None => VideoCommand::Missing,
    }
}
