//! Sound that only players get that have announced its codec. Others, such as FFmpeg before 7.1, end with an error at a
//! codec that they do not know, and do not show the picture either.

use super::{Frame, FrameKind};
use crate::flv::FourCC;

/// A property of `onMetaData`, true if the stream was published by WebRTC: its sound is Opus, which the publisher has not
/// chosen. It goes with the stream to other servers.
pub const BY_WEBRTC: &str = "webrtc";

/// The property in AMF0: the length of the name, the name, and a Boolean that is true.
const MARK: &[u8] = b"\x00\x06webrtc\x01\x01";
/// Properties that promise sound. Players wait for what is promised.
const PROMISES: [&[u8]; 4] =
    [b"\x00\x0caudiocodecid", b"\x00\x0faudiosamplerate", b"\x00\x0faudiosamplesize", b"\x00\x08hasAudio"];
/// Where a name begins in them.
const NAME_AT: usize = 2;
/// The format of sound in an extended header.
const EXTENDED: u8 = 9;

impl Frame {
    /// True for metadata of a stream that was published by WebRTC.
    pub(crate) fn says_by_webrtc(&self) -> bool {
        self.payload().windows(MARK.len()).any(|property| property == MARK)
    }

    /// True for Opus.
    pub(crate) fn is_opus(&self) -> bool {
        self.kind() == FrameKind::Audio
            && matches!(self.first_chunk().0, [first, codec @ ..] if first >> 4 == EXTENDED && codec.starts_with(&FourCC::OPUS.0))
    }

    /// The frame for a player that has not announced the codec: nothing for sound, and metadata without a promise of it.
    pub(crate) fn without_sound(&self) -> Option<Frame> {
        if self.kind() == FrameKind::Audio {
            return None;
        }
        let mut body = self.payload().into_owned();
        for promise in PROMISES {
            if let Some(at) = body.windows(promise.len()).position(|property| property == promise) {
                // Of the same length, so that nothing else changes.
                body[at + NAME_AT] = b'_';
            }
        }
        Some(self.with_body(&body))
    }
}
