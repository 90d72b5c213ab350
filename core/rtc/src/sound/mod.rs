//! Sound of one codec put into another: AAC of RTMP publishers into Opus, which is what browsers play by WebRTC.
//!
//! This is work for a separate thread: a stream costs about a hundredth of a core, and nothing here waits for anything.
//! [`Transcoders`] does the work of such a thread. [`begin`] makes the [`Transcoder`] of one stream: it takes frames with
//! their times and returns packets with theirs. Samples are counted in integers, so that times do not drift; see [`AacToOpus`] for how sound follows the times
//! of its frames. Panics of the codecs are contained: they are an error of that stream.

mod aac;
mod framer;
mod opus;
mod resample;
mod timeline;
mod to_opus;
mod transcoders;

#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use thiserror::Error;

use crate::desk::OpusPacket;
pub use to_opus::AacToOpus;
pub use transcoders::{Done, Transcoders};

/// How Opus is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bits a second of stereo sound; one channel has two thirds of it. 6,000 to 510,000; other values become these.
    pub bitrate: u32,
    /// What the encoder may try for the same bits, from 0 to 10. At 96 kb/s, 10 costs half as much again as 5, and no
    /// difference can be measured.
    pub complexity: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bitrate: 96_000, complexity: 5 }
    }
}

/// Puts the sound of one stream into another codec.
pub trait Transcoder: fmt::Debug + Send {
    /// Takes a frame and its presentation time. Returns the packets that are whole with it.
    ///
    /// A frame that cannot be decoded becomes silence.
    ///
    /// # Errors
    ///
    /// The sound of this stream cannot be made: no further frame can be taken.
    fn push(&mut self, time: Duration, frame: &[u8]) -> Result<Vec<OpusPacket>, SoundError>;

    /// What viewers do not hear although all goes well, as the end of the sentence "the sound of this stream ...".
    fn remark(&self) -> Option<&'static str>;
}

/// Why the sound of a stream cannot be put into another codec. The texts continue the sentence "viewers have no sound:".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SoundError {
    /// The configuration ends too soon, or has values that are reserved.
    #[error("its AudioSpecificConfig cannot be read")]
    Config,
    /// The sound is of a kind that is not decoded.
    #[error("it is {0}; AAC-LC and HE-AAC with one or two channels can be converted")]
    Unsupported(String),
    /// Many frames one after the other could not be decoded.
    #[error("{frames} frames in a row could not be decoded: {because}")]
    Undecodable {
        /// How many.
        frames: u32,
        /// What the decoder says.
        because: String,
    },
    /// A panic in a codec, or an error that cannot be.
    #[error("a fault of the server, which is worth a report: {0}")]
    Bug(String),
}

/// Begins to put AAC with this configuration (AudioSpecificConfig, ISO/IEC 14496-3 §1.6.2.1) into Opus. Panics of the
/// codecs become [`SoundError::Bug`].
///
/// # Errors
///
/// This sound cannot be converted.
pub fn begin(config: &[u8], settings: Settings) -> Result<Box<dyn Transcoder>, SoundError> {
    let inner = contained(|| AacToOpus::new(config, settings))?;
    Ok(Box::new(Contained { inner, failed: None }))
}

/// A transcoder whose panics are errors.
#[derive(Debug)]
struct Contained<T> {
    inner: T,
    failed: Option<SoundError>,
}

impl<T: Transcoder> Transcoder for Contained<T> {
    fn push(&mut self, time: Duration, frame: &[u8]) -> Result<Vec<OpusPacket>, SoundError> {
        // What is inside may be half changed after a panic: it is not asked again.
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let made = contained(|| self.inner.push(time, frame));
        self.failed = made.as_ref().err().cloned();
        made
    }

    fn remark(&self) -> Option<&'static str> {
        self.inner.remark()
    }
}

fn contained<R>(work: impl FnOnce() -> Result<R, SoundError>) -> Result<R, SoundError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(SoundError::Bug(text.to_owned()))
    })
}
