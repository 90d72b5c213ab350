//! Opus by `ropus`. Nothing else here knows that crate, so that another can take its place.

use std::fmt;

use bytes::Bytes;
use ropus::{Application, Bitrate, Channels};

use super::SoundError;

/// The longest packet of one moment (RFC 6716 §3.2.1, with its first byte).
const LONGEST: usize = 1276;

/// Makes Opus of samples at 48 kHz.
pub(super) struct Encoder {
    inner: ropus::Encoder,
}

impl Encoder {
    /// `channels` is 1 or 2.
    pub(super) fn new(channels: usize, bitrate: u32, complexity: u8) -> Result<Self, SoundError> {
        let channels = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let inner = ropus::Encoder::builder(48_000, channels, Application::Audio)
            .bitrate(Bitrate::Bits(bitrate.clamp(6_000, 510_000)))
            .complexity(complexity.min(10))
            // As FFmpeg does: moments that need more bits have them, which is a decibel for one in a hundred bits.
            .vbr_constraint(false)
            .build()
            .map_err(|error| SoundError::Bug(format!("the Opus encoder refuses its settings: {error}")))?;
        Ok(Self { inner })
    }

    /// By how many samples of 48 kHz the sound is later than the packets.
    pub(super) fn delay(&self) -> usize {
        self.inner.lookahead() as usize
    }

    pub(super) fn encode(&mut self, samples: &[i16]) -> Result<Bytes, SoundError> {
        let mut packet = [0; LONGEST];
        let length = self.inner.encode(samples, &mut packet);
        let length = length.map_err(|error| SoundError::Bug(format!("the Opus encoder fails: {error}")))?;
        Ok(Bytes::copy_from_slice(&packet[..length]))
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}
