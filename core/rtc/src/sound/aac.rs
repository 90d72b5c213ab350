use std::fmt;

use symphonia_codec_aac::AacDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia_core::packet::PacketRef;
use symphonia_core::units;

use super::SoundError;

/// Samples of a frame of each channel.
pub(super) const FRAME: usize = 1024;

const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

const OBJECT_TYPE_LC: u32 = 2;
const OBJECT_TYPE_SBR: u32 = 5;
const OBJECT_TYPE_PS: u32 = 29;

/// Above this rate of the core there is no SBR: the whole would have more than 48 kHz.
const FASTEST_CORE: u32 = 24_000;

/// How many frames are searched for SBR if the configuration does not speak of it. If three in four have some, the sound is
/// HE-AAC: frames without may be broken ones, and a few without look as if they had some.
const FRAMES_SEARCHED: u32 = 32;

/// What an AudioSpecificConfig says (ISO/IEC 14496-3 §1.6.2.1), if the sound can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Config {
    /// Index of the sample rate of what is decoded. With SBR this is half the rate of the whole.
    rate_index: u32,
    /// One or two.
    pub(super) channels: usize,
    high_band: HighBand,
}

/// Whether there is an upper half of the band, coded by SBR (ISO/IEC 14496-3 §4.6.18), which is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HighBand {
    Yes,
    No,
    /// The configuration does not say it. So many frames were searched, and so many of them had it.
    Perhaps {
        searched: u32,
        with: u32,
    },
}

impl Config {
    pub(super) fn read(config: &[u8]) -> Result<Self, SoundError> {
        let mut bits = Bits::new(config);
        let fields = read_fields(&mut bits).ok_or(SoundError::Config)?;
        let Fields { object_type, rate, channel_config, sbr } = fields;
        if object_type != OBJECT_TYPE_LC {
            return Err(SoundError::Unsupported(match object_type {
                1 => "AAC Main".to_owned(),
                3 => "AAC SSR".to_owned(),
                4 => "AAC LTP".to_owned(),
                23 => "AAC-LD".to_owned(),
                39 => "AAC-ELD".to_owned(),
                42 => "xHE-AAC".to_owned(),
                other => format!("MPEG-4 audio of object type {other}"),
            }));
        }
        let channels = match channel_config {
            1 | 2 => channel_config as usize,
            0 => return Err(SoundError::Unsupported("AAC with a program config element".to_owned())),
            3..=6 => return Err(SoundError::Unsupported(format!("AAC with {channel_config} channels"))),
            7 | 12 | 14 => return Err(SoundError::Unsupported("AAC with 8 channels".to_owned())),
            11 => return Err(SoundError::Unsupported("AAC with 7 channels".to_owned())),
            _ => return Err(SoundError::Config),
        };
        let Rate::Index(rate_index) = rate else {
            return Err(SoundError::Unsupported("AAC with an unusual sample rate".to_owned()));
        };
        if bits.read(1).ok_or(SoundError::Config)? == 1 {
            return Err(SoundError::Unsupported("AAC with 960 samples a frame".to_owned()));
        }
        let high_band = match sbr.or_else(|| read_sync_extension(&mut bits)) {
            Some(true) => HighBand::Yes,
            Some(false) => HighBand::No,
            None => HighBand::Perhaps { searched: 0, with: 0 },
        };
        let mut config = Self { rate_index, channels, high_band };
        if config.rate() > FASTEST_CORE {
            config.high_band = HighBand::No;
        }
        Ok(config)
    }

    /// The sample rate of what is decoded.
    pub(super) fn rate(&self) -> u32 {
        SAMPLE_RATES[self.rate_index as usize]
    }

    /// The AudioSpecificConfig of what is decoded.
    fn core(&self) -> [u8; 2] {
        let bits = OBJECT_TYPE_LC << 11 | self.rate_index << 7 | (self.channels as u32) << 3;
        (bits as u16).to_be_bytes()
    }

    /// Whether the upper half of the band is known to be left out.
    pub(super) fn is_half(&self) -> bool {
        self.high_band == HighBand::Yes
    }

    /// Looks for SBR in a frame, if that is not known yet.
    pub(super) fn look(&mut self, frame: &[u8]) {
        let HighBand::Perhaps { searched, with } = &mut self.high_band else {
            return;
        };
        *searched += 1;
        *with += u32::from(has_sbr(frame));
        if *searched == FRAMES_SEARCHED {
            self.high_band = if *with * 4 >= *searched * 3 { HighBand::Yes } else { HighBand::No };
        }
    }
}

struct Fields {
    object_type: u32,
    rate: Rate,
    channel_config: u32,
    sbr: Option<bool>,
}

enum Rate {
    Index(u32),
    Other,
}

fn read_fields(bits: &mut Bits<'_>) -> Option<Fields> {
    let mut object_type = read_object_type(bits)?;
    let rate = read_rate(bits)?;
    let channel_config = bits.read(4)?;
    let mut sbr = None;
    if matches!(object_type, OBJECT_TYPE_SBR | OBJECT_TYPE_PS) {
        read_rate(bits)?;
        object_type = read_object_type(bits)?;
        sbr = Some(true);
    }
    Some(Fields { object_type, rate, channel_config, sbr })
}

fn read_object_type(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.read(5)? {
        0 => None,
        31 => Some(32 + bits.read(6)?),
        object_type => Some(object_type),
    }
}

fn read_rate(bits: &mut Bits<'_>) -> Option<Rate> {
    match bits.read(4)? {
        15 => {
            let rate = bits.read(24)?;
            Some(SAMPLE_RATES.iter().position(|known| *known == rate).map_or(Rate::Other, |n| Rate::Index(n as u32)))
        }
        index => SAMPLE_RATES.get(index as usize).map(|_| Rate::Index(index)),
    }
}

/// The signalling of SBR that old decoders do not see, after the frameLengthFlag of AAC-LC: whether there is SBR, if it is
/// said.
fn read_sync_extension(bits: &mut Bits<'_>) -> Option<bool> {
    if bits.read(1)? == 1 {
        bits.skip(14)?; // coreCoderDelay
    }
    bits.skip(1)?; // extensionFlag
    (bits.read(11)? == 0x2B7 && bits.read(5)? == OBJECT_TYPE_SBR).then_some(())?;
    bits.read(1).map(|flag| flag == 1)
}

/// Whether a raw_data_block ends with a fill element that has SBR (ISO/IEC 14496-3 §4.4.1.1, §4.5.2.8), other fill
/// elements, if any, and the mark of its end.
///
/// Where the sound before it ends is not known without its decoding, so each position is tried. One in a few hundred frames
/// without SBR looks as if it had some.
fn has_sbr(frame: &[u8]) -> bool {
    (0..frame.len() * 8).any(|at| {
        let mut bits = Bits { bytes: frame, at };
        skip_fill(&mut bits).is_some_and(|kind| matches!(kind, Some(0xD | 0xE))) && ends(bits)
    })
}

/// Whether only fill elements come before the end.
fn ends(mut bits: Bits<'_>) -> bool {
    loop {
        let mut end = bits;
        if end.read(3) == Some(7) {
            let left = end.bytes.len() * 8 - end.at;
            return left < 8 && end.read(left as u32) == Some(0);
        }
        if skip_fill(&mut bits).is_none() {
            return false;
        }
    }
}

/// Skips a fill element. The type of its content, if it has any.
fn skip_fill(bits: &mut Bits<'_>) -> Option<Option<u32>> {
    if bits.read(3)? != 6 {
        return None;
    }
    let count = match bits.read(4)? {
        15 => 14 + bits.read(8)?,
        count => count,
    };
    if count == 0 {
        return Some(None);
    }
    let kind = bits.read(4)?;
    bits.skip(count as usize * 8 - 4)?;
    Some(Some(kind))
}

#[derive(Debug, Clone, Copy)]
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// At most 24 bits.
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        let begin = self.at;
        self.skip(count as usize)?;
        for at in begin..self.at {
            value = value << 1 | u32::from(self.bytes[at / 8] >> (7 - at % 8) & 1);
        }
        Some(value)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len() * 8)?;
        self.at = end;
        Some(())
    }
}

/// Decodes the frames of one stream, by `symphonia`.
pub(super) struct Decoder {
    inner: AacDecoder,
}

impl Decoder {
    pub(super) fn new(config: &Config) -> Result<Self, SoundError> {
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_AAC).with_extra_data(Box::new(config.core()));
        let inner = AacDecoder::try_new(&parameters, &AudioDecoderOptions::default())
            .map_err(|error| SoundError::Bug(format!("the AAC decoder refuses {config:?}: {error}")))?;
        Ok(Self { inner })
    }

    /// Decodes a frame into [`FRAME`] samples for each channel.
    pub(super) fn decode(&mut self, frame: &[u8], channels: &mut Vec<Vec<f32>>) -> Result<(), String> {
        let packet = PacketRef::new(0, units::Timestamp::new(0), units::Duration::new(FRAME as u64), frame);
        let decoded = self.inner.decode_ref(&packet).map_err(|error| error.to_string())?;
        decoded.copy_to_vecs_planar(channels);
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}
