use super::audio::{self, AudioBody, AudioPacketType, AudioTag};
use super::video::{self, VideoBody, VideoPacketType, VideoTag};
use super::{AudioCodec, FlvError, Multitrack, MultitrackKind, VideoCodec};

/// The kind of one audio or video message, as a relay needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameClass {
    /// No bytes: silence for audio (relay, do not cache), nothing for video.
    Empty,
    /// A decoder configuration. A player needs the latest one before any frame.
    SequenceHeader,
    /// The sequence ends; the cached headers of the track are no longer valid.
    SequenceEnd,
    /// Video metadata (`colorInfo`): each message replaces the one before, and a player needs it after the
    /// sequence header.
    Metadata,
    /// Number and order of audio channels, to be cached like a sequence header.
    MultichannelConfig,
    /// A coded video frame at which decoding can start.
    KeyFrame,
    /// Any other coded frame.
    Frame,
    /// A command to the player instead of a frame: relay, never cache as a key frame.
    Command,
    /// An unknown packet type or multitrack layout: relay unchanged.
    Other,
    /// Too damaged for any player: drop the message, keep the connection.
    Malformed,
}

impl FrameClass {
    /// Whether the message carries coded frames.
    #[inline]
    pub const fn is_coded(self) -> bool {
        matches!(self, Self::KeyFrame | Self::Frame)
    }

    /// Whether a player that joins later needs the latest message of this class.
    #[inline]
    pub const fn is_header(self) -> bool {
        matches!(self, Self::SequenceHeader | Self::Metadata | Self::MultichannelConfig)
    }
}

/// The properties of one message that the data path needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameInfo<C> {
    /// The class.
    pub class: FrameClass,
    /// Codec of the first track; `None` if the message names none (commands, empty, opaque or malformed messages).
    pub codec: Option<C>,
    /// Whether the header is the extended one of Enhanced RTMP. Such messages are relayed to every player: most
    /// players that can read them announce no FourCC.
    pub enhanced: bool,
    /// Whether the message is a multitrack one: only for players with the Multitrack capability, others get
    /// [`rebuild`](super::rebuild)'s plain form of track 0.
    pub multitrack: bool,
    /// Whether the message concerns the default track, id 0: true for every plain message, and for a multitrack
    /// message that contains track 0.
    pub default_track: bool,
}

/// [`FrameInfo`] of a video message.
pub type VideoInfo = FrameInfo<VideoCodec>;
/// [`FrameInfo`] of an audio message.
pub type AudioInfo = FrameInfo<AudioCodec>;

impl VideoInfo {
    /// Whether a player can start at this message: a key frame of the default track.
    ///
    /// A player cannot start at a key frame of another track. OBS sends each track in its own message, track 0
    /// first, so a player that starts at the message of track 1 has missed the key frame of track 0.
    #[inline]
    pub fn is_join_point(&self) -> bool {
        self.class == FrameClass::KeyFrame && self.default_track
    }
}

impl<C> FrameInfo<C> {
    /// A message without track information.
    const fn plain(class: FrameClass, codec: Option<C>, enhanced: bool) -> Self {
        Self { class, codec, enhanced, multitrack: false, default_track: true }
    }

    /// A message that could not be read.
    fn unreadable(error: &FlvError, enhanced: bool) -> Self {
        match error {
            FlvError::Empty => Self::plain(FrameClass::Empty, None, false),
            _ => Self::plain(FrameClass::Malformed, None, enhanced),
        }
    }

    /// A multitrack message: `class` if at least one track can be read. Tracks after a damaged one are lost,
    /// those before it are kept.
    fn tracks<E>(
        class: FrameClass,
        multitrack: &Multitrack<'_>,
        tracks: impl Iterator<Item = Result<(u8, C), E>>,
    ) -> Self {
        let mut info =
            Self { class: FrameClass::Malformed, codec: None, enhanced: true, multitrack: true, default_track: false };
        if matches!(multitrack.kind, MultitrackKind::Unknown(_)) {
            info.class = FrameClass::Other;
        }
        for (id, codec) in tracks.map_while(Result::ok) {
            info.class = class;
            info.codec.get_or_insert(codec);
            if id == 0 {
                info.default_track = true;
                break;
            }
        }
        info
    }
}

/// Classifies the body of a video message. Never fails, never allocates; constant time for a message
/// without multitrack or ModEx, and bounded by their limits otherwise.
#[inline]
pub fn classify_video(body: &[u8]) -> VideoInfo {
    match video::parse(body) {
        Ok(tag) => VideoInfo::of(&tag),
        Err(error) => {
            let enhanced = body.first().is_some_and(|first| first & 0x80 != 0);
            VideoInfo::unreadable(&error, enhanced)
        }
    }
}

impl VideoInfo {
    #[inline]
    fn of(tag: &VideoTag<'_>) -> Self {
        let class = match tag.packet_type {
            VideoPacketType::SequenceStart | VideoPacketType::Mpeg2TsSequenceStart => FrameClass::SequenceHeader,
            VideoPacketType::SequenceEnd => FrameClass::SequenceEnd,
            VideoPacketType::Metadata => FrameClass::Metadata,
            VideoPacketType::CodedFrames | VideoPacketType::CodedFramesX if tag.frame_type.is_key() => {
                FrameClass::KeyFrame
            }
            VideoPacketType::CodedFrames | VideoPacketType::CodedFramesX => FrameClass::Frame,
            VideoPacketType::Unknown(_) => FrameClass::Other,
        };
        match &tag.body {
            VideoBody::Track(track) => Self::plain(class, Some(track.codec), tag.enhanced),
            VideoBody::Command(_) => Self::plain(FrameClass::Command, None, tag.enhanced),
            VideoBody::Opaque(_) => Self::plain(FrameClass::Other, None, tag.enhanced),
            VideoBody::Multitrack(multitrack) => {
                let tracks = tag.tracks().map(|track| track.map(|track| (track.id, track.codec)));
                Self::tracks(class, multitrack, tracks)
            }
        }
    }
}

/// Classifies the body of an audio message. Never fails, never allocates; constant time for a message
/// without multitrack or ModEx, and bounded by their limits otherwise.
///
/// An AAC sequence header without its AudioSpecificConfig, which real encoders send, is
/// [malformed](FrameClass::Malformed): it would replace a good one in the cache.
#[inline]
pub fn classify_audio(body: &[u8]) -> AudioInfo {
    match audio::parse(body) {
        Ok(tag) => AudioInfo::of(&tag),
        Err(error) => {
            let enhanced = body.first().is_some_and(|first| first >> 4 == 9);
            AudioInfo::unreadable(&error, enhanced)
        }
    }
}

impl AudioInfo {
    #[inline]
    fn of(tag: &AudioTag<'_>) -> Self {
        let class = match tag.packet_type {
            AudioPacketType::SequenceStart => FrameClass::SequenceHeader,
            AudioPacketType::CodedFrames => FrameClass::Frame,
            AudioPacketType::SequenceEnd => FrameClass::SequenceEnd,
            AudioPacketType::MultichannelConfig => FrameClass::MultichannelConfig,
            AudioPacketType::Unknown(_) => FrameClass::Other,
        };
        match &tag.body {
            AudioBody::Track(track) => {
                let useless =
                    class == FrameClass::SequenceHeader && track.codec == AudioCodec::Aac && track.payload.is_empty();
                let class = if useless { FrameClass::Malformed } else { class };
                Self::plain(class, Some(track.codec), tag.is_enhanced())
            }
            AudioBody::Opaque(_) => Self::plain(FrameClass::Other, None, true),
            AudioBody::Multitrack(multitrack) => {
                let tracks = tag.tracks().map(|track| track.map(|track| (track.id, track.codec)));
                Self::tracks(class, multitrack, tracks)
            }
        }
    }
}
