use super::audio::{self, AudioPacketType, AudioTracks};
use super::video::{self, VideoPacketType, VideoTracks};
use super::{AudioCodec, Codec};

/// The effect of a header message on the cache entry of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderKind {
    /// Sets the decoder configuration.
    SequenceHeader,
    /// Sets the metadata (`colorInfo`) of a video track; an undefined value resets it.
    Metadata,
    /// Sets the number and order of the channels of an audio track.
    MultichannelConfig,
    /// Ends the track: all its entries are removed.
    SequenceEnd,
}

/// One cache entry that a message sets or clears. Players that join later need the entry; it has a medium, track and
/// kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeaderSlot<'a> {
    /// The effect on the entry.
    pub kind: HeaderKind,
    /// Track id; 0 for a message without multitrack. Audio and video ids are separate.
    pub track: u8,
    /// Codec, which also gives the medium. A codec change removes the track's other entries.
    pub codec: Codec,
    /// The configuration record, metadata or channel list of this track.
    pub payload: &'a [u8],
}

crate::shown::debug_with_bytes!(HeaderSlot<'_> { kind, track, codec; payload });

/// Iterator over the cache entries of one message; one for a plain header, several for a multitrack one,
/// none for a message that is not a header. A damaged track ends it.
#[derive(Clone, Debug, Default)]
pub struct HeaderSlots<'a> {
    inner: Option<(HeaderKind, Tracks<'a>)>,
}

#[derive(Clone, Debug)]
enum Tracks<'a> {
    Audio(AudioTracks<'a>),
    Video(VideoTracks<'a>),
}

/// The cache entries that the body of a video message sets or clears.
pub fn video_header_slots(body: &[u8]) -> HeaderSlots<'_> {
    let Ok(tag) = video::parse(body) else {
        return HeaderSlots::default();
    };
    let kind = match tag.packet_type {
        VideoPacketType::SequenceStart | VideoPacketType::Mpeg2TsSequenceStart => HeaderKind::SequenceHeader,
        VideoPacketType::SequenceEnd => HeaderKind::SequenceEnd,
        VideoPacketType::Metadata => HeaderKind::Metadata,
        VideoPacketType::CodedFrames | VideoPacketType::CodedFramesX | VideoPacketType::Unknown(_) => {
            return HeaderSlots::default();
        }
    };
    HeaderSlots { inner: Some((kind, Tracks::Video(tag.tracks()))) }
}

/// The cache entries that the body of an audio message sets or clears.
///
/// An AAC sequence header without its AudioSpecificConfig sets none.
pub fn audio_header_slots(body: &[u8]) -> HeaderSlots<'_> {
    let Ok(tag) = audio::parse(body) else {
        return HeaderSlots::default();
    };
    let kind = match tag.packet_type {
        AudioPacketType::SequenceStart => HeaderKind::SequenceHeader,
        AudioPacketType::SequenceEnd => HeaderKind::SequenceEnd,
        AudioPacketType::MultichannelConfig => HeaderKind::MultichannelConfig,
        AudioPacketType::CodedFrames | AudioPacketType::Unknown(_) => return HeaderSlots::default(),
    };
    HeaderSlots { inner: Some((kind, Tracks::Audio(tag.tracks()))) }
}

impl<'a> Iterator for HeaderSlots<'a> {
    type Item = HeaderSlot<'a>;

    fn next(&mut self) -> Option<HeaderSlot<'a>> {
        let (kind, tracks) = self.inner.as_mut()?;
        let kind = *kind;
        match tracks {
            Tracks::Video(tracks) => tracks.next()?.ok().map(|track| HeaderSlot {
                kind,
                track: track.id,
                codec: track.codec.into(),
                payload: track.payload,
            }),
            Tracks::Audio(tracks) => loop {
                let track = tracks.next()?.ok()?;
                if kind == HeaderKind::SequenceHeader && track.codec == AudioCodec::Aac && track.payload.is_empty() {
                    continue;
                }
                return Some(HeaderSlot { kind, track: track.id, codec: track.codec.into(), payload: track.payload });
            },
        }
    }
}
