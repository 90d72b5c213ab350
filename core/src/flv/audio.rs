//! Bodies of audio messages (type 8): FLV 10.1 §E.4.2 and the extended header of Enhanced RTMP v2.

use std::fmt;

use super::{AudioCodec, FlvError, ModExList, Multitrack, MultitrackKind, RawTracks, take};
use crate::shown::Shown;

/// Packet type of an extended header that announces tracks. (Video uses another number.)
pub(super) const PACKET_TYPE_MULTITRACK: u8 = 5;

/// SoundFormat that marks an extended header (Enhanced RTMP v2, `ExHeader`).
const SOUND_FORMAT_EXTENDED: u8 = 9;

/// The content of an audio message, after ModEx and Multitrack headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioPacketType {
    /// A decoder configuration. AACPacketType 0 in a legacy header.
    SequenceStart,
    /// Coded frames. AACPacketType 1, and every body of another legacy codec.
    CodedFrames,
    /// The sequence ends: silence, for one track.
    SequenceEnd,
    /// Number and order of the channels.
    MultichannelConfig,
    /// An unknown value.
    Unknown(u8),
}

impl AudioPacketType {
    #[inline]
    const fn from_aac(value: u8) -> Self {
        match value {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            other => Self::Unknown(other),
        }
    }

    #[inline]
    const fn from_extended(value: u8) -> Self {
        match value {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            2 => Self::SequenceEnd,
            4 => Self::MultichannelConfig,
            other => Self::Unknown(other),
        }
    }
}

/// The low four bits of a legacy audio header (FLV 10.1 §E.4.2.1).
///
/// For AAC they are always `f`, for any rate and number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundHeader {
    /// SoundRate, 0..=3.
    pub rate_bits: u8,
    /// SoundSize: 16 bit samples.
    pub wide: bool,
    /// SoundType: two channels.
    pub stereo: bool,
}

impl SoundHeader {
    /// The fields of byte 0 of a legacy body.
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        Self { rate_bits: (byte >> 2) & 0x03, wide: byte & 0x02 != 0, stereo: byte & 0x01 != 0 }
    }

    /// Sample rate in Hz, as the specification rounds it.
    pub const fn sample_rate(self) -> u32 {
        match self.rate_bits {
            0 => 5_512,
            1 => 11_025,
            2 => 22_050,
            _ => 44_100,
        }
    }

    /// Bits per sample, 8 or 16.
    pub const fn bits(self) -> u8 {
        if self.wide { 16 } else { 8 }
    }

    /// Channels, 1 or 2.
    pub const fn channels(self) -> u8 {
        if self.stereo { 2 } else { 1 }
    }
}

/// One track of an audio message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AudioTrack<'a> {
    /// Track id; 0 for a message without multitrack.
    pub id: u8,
    /// Codec.
    pub codec: AudioCodec,
    /// Configuration record or frames, after all headers.
    pub payload: &'a [u8],
}

crate::shown::debug_with_bytes!(AudioTrack<'_> { id, codec; payload });

/// The part of an audio message after its headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AudioBody<'a> {
    /// The one track of a message without multitrack.
    Track(AudioTrack<'a>),
    /// The tracks of a multitrack message.
    Multitrack(Multitrack<'a>),
    /// A reserved packet type of an extended header: its content is not interpreted.
    Opaque(&'a [u8]),
}

impl fmt::Debug for AudioBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AudioBody::Track(track) => f.debug_tuple("Track").field(track).finish(),
            AudioBody::Multitrack(tracks) => f.debug_tuple("Multitrack").field(tracks).finish(),
            AudioBody::Opaque(bytes) => f.debug_tuple("Opaque").field(&Shown(bytes)).finish(),
        }
    }
}

/// A parsed audio message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioTag<'a> {
    /// Rate, size and channels of a legacy header; `None` in the extended header of Enhanced RTMP.
    pub sound: Option<SoundHeader>,
    /// Packet type; in a multitrack message that of all its tracks.
    pub packet_type: AudioPacketType,
    /// ModEx prefixes; empty in a legacy header.
    pub mod_ex: ModExList<'a>,
    /// The part after the headers.
    pub body: AudioBody<'a>,
}

impl<'a> AudioTag<'a> {
    /// Whether the header is the extended one of Enhanced RTMP.
    #[inline]
    pub const fn is_enhanced(&self) -> bool {
        self.sound.is_none()
    }

    /// The tracks in the order of the message; a message without multitrack has one with id 0.
    ///
    /// A track that cannot be read yields an error after the good ones and ends the iteration.
    pub fn tracks(&self) -> AudioTracks<'a> {
        let inner = match self.body {
            AudioBody::Track(track) => Inner::One(Some(track)),
            AudioBody::Multitrack(multitrack) => Inner::Many(multitrack.tracks()),
            AudioBody::Opaque(_) => Inner::One(None),
        };
        AudioTracks { inner }
    }

    /// The multitrack layout, if the message is a multitrack one.
    pub fn multitrack_kind(&self) -> Option<MultitrackKind> {
        match self.body {
            AudioBody::Multitrack(multitrack) => Some(multitrack.kind),
            AudioBody::Track(_) | AudioBody::Opaque(_) => None,
        }
    }
}

/// Iterator over the tracks of an audio message.
#[derive(Clone, Debug)]
pub struct AudioTracks<'a> {
    inner: Inner<'a>,
}

#[derive(Clone, Debug)]
enum Inner<'a> {
    One(Option<AudioTrack<'a>>),
    Many(RawTracks<'a>),
}

impl<'a> Iterator for AudioTracks<'a> {
    type Item = Result<AudioTrack<'a>, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.inner {
            Inner::One(track) => track.take().map(Ok),
            Inner::Many(raw) => Some(raw.next()?.map(|track| AudioTrack {
                id: track.id,
                codec: AudioCodec::from_fourcc(track.fourcc),
                payload: track.payload,
            })),
        }
    }
}

impl std::iter::FusedIterator for AudioTracks<'_> {}

/// Parses the body of an audio message without copying.
///
/// # Errors
///
/// A header that is cut off, nested multitrack, too many ModEx prefixes, or an empty body. Tracks of a
/// multitrack message are read, and their errors found, by [`AudioTag::tracks`].
#[inline]
pub fn parse(body: &[u8]) -> Result<AudioTag<'_>, FlvError> {
    let Some((&first, rest)) = body.split_first() else {
        return Err(FlvError::Empty);
    };
    if first >> 4 == SOUND_FORMAT_EXTENDED {
        return parse_extended(first & 0x0F, rest);
    }
    let codec = AudioCodec::from_legacy_id(first >> 4);
    let (packet_type, payload) = if codec == AudioCodec::Aac {
        let (packet_type, payload) = take::byte(rest, "AAC packet type")?;
        (AudioPacketType::from_aac(packet_type), payload)
    } else {
        (AudioPacketType::CodedFrames, rest)
    };
    Ok(AudioTag {
        sound: Some(SoundHeader::from_byte(first)),
        packet_type,
        mod_ex: ModExList::default(),
        body: AudioBody::Track(AudioTrack { id: 0, codec, payload }),
    })
}

#[inline]
fn parse_extended(packet_type: u8, rest: &[u8]) -> Result<AudioTag<'_>, FlvError> {
    let (mod_ex, packet_type, rest) = ModExList::read(packet_type, rest)?;
    let tag = |packet_type, body| AudioTag { sound: None, packet_type, mod_ex, body };
    if packet_type == PACKET_TYPE_MULTITRACK {
        let (multitrack, packet_type) = Multitrack::read(PACKET_TYPE_MULTITRACK, rest)?;
        let effective = AudioPacketType::from_extended(packet_type);
        return Ok(tag(effective, AudioBody::Multitrack(multitrack)));
    }
    let effective = AudioPacketType::from_extended(packet_type);
    if matches!(effective, AudioPacketType::Unknown(_)) {
        return Ok(tag(effective, AudioBody::Opaque(rest)));
    }
    let (fourcc, payload) = take::fourcc(rest)?;
    let track = AudioTrack { id: 0, codec: AudioCodec::from_fourcc(fourcc), payload };
    Ok(tag(effective, AudioBody::Track(track)))
}

/// How the channels of a track are ordered (Enhanced RTMP v2, `AudioChannelOrder`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelLayout<'a> {
    /// 0: no order is given, only the number of channels.
    Unspecified,
    /// 1: in the order of the set bits. Bit 0 is front left, 1 front right, 2 front centre, 3 the first
    /// low-frequency channel, and so on as in the specification's `AudioChannelMask`.
    Native(u32),
    /// 2: one channel name per channel, the numbers of those bits; fe is unused, ff unknown.
    Custom(&'a [u8]),
    /// A reserved order.
    Unknown(u8),
}

impl fmt::Debug for ChannelLayout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelLayout::Unspecified => f.write_str("Unspecified"),
            ChannelLayout::Native(mask) => f.debug_tuple("Native").field(mask).finish(),
            ChannelLayout::Custom(channels) => f.debug_tuple("Custom").field(&Shown(channels)).finish(),
            ChannelLayout::Unknown(order) => f.debug_tuple("Unknown").field(order).finish(),
        }
    }
}

/// The payload of a [`AudioPacketType::MultichannelConfig`] message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultichannelConfig<'a> {
    /// Number of channels.
    pub channels: u8,
    /// Their order.
    pub layout: ChannelLayout<'a>,
}

impl<'a> MultichannelConfig<'a> {
    /// Reads the payload of a track.
    ///
    /// # Errors
    ///
    /// A payload that is cut off.
    pub fn parse(payload: &'a [u8]) -> Result<Self, FlvError> {
        let (&[order, channels], rest) = take::array(payload, "channel order and count")?;
        let layout = match order {
            0 => ChannelLayout::Unspecified,
            1 => {
                let (mask, _) = take::array(rest, "channel mask")?;
                ChannelLayout::Native(u32::from_be_bytes(*mask))
            }
            2 => ChannelLayout::Custom(take::slice(rest, usize::from(channels), "channel mapping")?.0),
            other => ChannelLayout::Unknown(other),
        };
        Ok(Self { channels, layout })
    }
}
