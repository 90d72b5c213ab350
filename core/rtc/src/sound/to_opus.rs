use std::time::Duration;

use super::aac::{Config, Decoder, FRAME};
use super::framer::Framer;
use super::opus::Encoder;
use super::{Settings, SoundError, Transcoder};
use crate::desk::OpusPacket;

/// So many frames in a row that cannot be decoded, about two seconds of 48 kHz, are the end: the configuration is wrong.
const BROKEN_FRAMES: u32 = 100;

/// Puts AAC into Opus: packets of 20 ms at 48 kHz, with two channels if the source has two.
///
/// - AAC-LC with one or two channels is decoded. Of HE-AAC the lower half of the band is, and of its version 2 one channel;
///   [`remark`](Transcoder::remark) says so as soon as it is known. That may be from the frames alone, as many encoders do
///   not say it in the configuration.
/// - Times of packets are 20 ms apart. They begin with the time of the first frame, and begin again where a frame is more
///   than 100 ms later than the end of the sound before it, or more than a second earlier. Smaller differences, of two
///   clocks that drift apart or of a lost frame, are taken back by a few milliseconds of sound as soon as their mean is
///   10 ms. So sound stays with its times for as long as the stream lasts.
/// - A frame that cannot be decoded becomes silence; if none of 100 in a row can be, that is an error.
#[derive(Debug)]
pub struct AacToOpus {
    config: Config,
    decoder: Decoder,
    framer: Framer,
    encoder: Encoder,
    broken: u32,
    channels: Vec<Vec<f32>>,
}

impl AacToOpus {
    /// Reads an AudioSpecificConfig.
    ///
    /// # Errors
    ///
    /// Sound with this configuration is not decoded.
    pub fn new(config: &[u8], settings: Settings) -> Result<Self, SoundError> {
        let config = Config::read(config)?;
        let bitrate = if config.channels == 1 { settings.bitrate / 3 * 2 } else { settings.bitrate };
        let encoder = Encoder::new(config.channels, bitrate, settings.complexity)?;
        Ok(Self {
            decoder: Decoder::new(&config)?,
            framer: Framer::new(config.rate(), config.channels, encoder.delay()),
            encoder,
            broken: 0,
            channels: Vec::new(),
            config,
        })
    }

    fn decode(&mut self, frame: &[u8]) -> Result<(), SoundError> {
        let Err(because) = self.decoder.decode(frame, &mut self.channels) else {
            self.broken = 0;
            return Ok(());
        };
        self.broken += 1;
        if self.broken >= BROKEN_FRAMES {
            return Err(SoundError::Undecodable { frames: self.broken, because });
        }
        self.channels.resize(self.config.channels, Vec::new());
        for channel in &mut self.channels {
            channel.clear();
            channel.resize(FRAME, 0.0);
        }
        Ok(())
    }
}

impl Transcoder for AacToOpus {
    fn push(&mut self, time: Duration, frame: &[u8]) -> Result<Vec<OpusPacket>, SoundError> {
        self.config.look(frame);
        self.decode(frame)?;
        let moments = self.framer.push(time, &mut self.channels);
        let packets = moments.into_iter().map(|moment| {
            let data = self.encoder.encode(&moment.samples)?;
            Ok(OpusPacket { time: moment.time, data })
        });
        packets.collect()
    }

    fn remark(&self) -> Option<&'static str> {
        self.config.is_half().then_some("is HE-AAC, of which viewers by WebRTC hear the lower half of the band only")
    }
}
