use bytes::Bytes;

use super::Fmp4Error;
use super::boxes::{put_u16, put_u32, put_zeros, write_box, write_full_box};
use crate::flv::AudioCodec;
use crate::flv::config::{self, CodecSummary};
use crate::shown::Shown;

/// The configuration of an audio decoder: AAC, MP3, Opus, FLAC, AC-3 or E-AC-3.
#[derive(Clone, PartialEq, Eq)]
pub struct AudioConfig {
    codec: AudioCodec,
    sample_rate: u32,
    channels: u8,
    /// Samples that a frame has; `None` if they differ from frame to frame.
    frame_samples: Option<u32>,
    /// For `mp4a`: the object type indication of MPEG-4 systems.
    object_type: u8,
    /// AAC: the object type of the AudioSpecificConfig, for the name of the codec.
    aac_object_type: u8,
    /// The AudioSpecificConfig, or the content of the box `dOps`, `dfLa`, `dac3` or `dec3`; empty for MP3.
    record: Bytes,
}

impl std::fmt::Debug for AudioConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("AudioConfig");
        shown.field("codec", &self.codec).field("sample_rate", &self.sample_rate).field("channels", &self.channels);
        shown.field("record", &Shown(&self.record)).finish()
    }
}

/// Object type indications (ISO/IEC 14496-1 §7.2.6.6).
const OBJECT_AAC: u8 = 0x40;
const OBJECT_MPEG_2_AUDIO: u8 = 0x69;
const OBJECT_MPEG_1_AUDIO: u8 = 0x6B;

impl AudioConfig {
    /// Reads the payload of an audio sequence header, as [`flv::audio`](crate::flv::audio) returns it: AAC, Opus, FLAC.
    ///
    /// # Errors
    ///
    /// A codec that MP4 players do not know or that has no sequence header ([`from_frame`](Self::from_frame)), or a
    /// payload that is not its configuration.
    pub fn from_header(codec: AudioCodec, payload: &[u8]) -> Result<Self, Fmp4Error> {
        let bad = Fmp4Error::BadConfiguration(codec.into());
        if !matches!(codec, AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Flac) {
            return Err(Fmp4Error::UnsupportedCodec(codec.into()));
        }
        let Some(CodecSummary::Audio(summary)) = config::summarize(codec, payload) else {
            return Err(bad);
        };
        let (mut sample_rate, mut frame_samples) = (summary.sample_rate, None);
        let record = match codec {
            AudioCodec::Aac => {
                // With SBR a frame has twice the samples, at twice the rate of the core.
                let doubles = matches!(summary.object_type, Some(5 | 29));
                frame_samples = Some(if doubles { 2048 } else { 1024 });
                payload.to_vec()
            }
            AudioCodec::Opus => {
                sample_rate = 48_000;
                opus_record(payload).ok_or(bad)?
            }
            _ => flac_record(payload).ok_or(bad)?,
        };
        Ok(AudioConfig {
            codec,
            sample_rate,
            channels: summary.channels.unwrap_or(2),
            frame_samples,
            object_type: OBJECT_AAC,
            aac_object_type: summary.object_type.unwrap_or(2),
            record: record.into(),
        })
    }

    /// Reads the configuration from a frame, for the codecs whose frames contain it: MP3, AC-3, E-AC-3.
    ///
    /// # Errors
    ///
    /// Another codec, or a payload that does not begin with a frame of it.
    pub fn from_frame(codec: AudioCodec, payload: &[u8]) -> Result<Self, Fmp4Error> {
        let config = match codec {
            AudioCodec::Mp3 | AudioCodec::Mp3At8k => mp3(payload),
            AudioCodec::Ac3 => ac3(payload),
            AudioCodec::Eac3 => eac3(payload),
            _ => return Err(Fmp4Error::UnsupportedCodec(codec.into())),
        };
        config.ok_or(Fmp4Error::BadConfiguration(codec.into()))
    }

    /// True if the codec has no sequence header, so that its first frame tells the configuration.
    pub fn is_in_frames(codec: AudioCodec) -> bool {
        matches!(codec, AudioCodec::Mp3 | AudioCodec::Mp3At8k | AudioCodec::Ac3 | AudioCodec::Eac3)
    }

    /// The codec.
    pub fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Samples a second after decoding, which are also the units a second of its track.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Channels.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Samples of a frame, if all frames have the same number: the duration of a frame in units of its track.
    pub fn frame_samples(&self) -> Option<u32> {
        self.frame_samples
    }

    /// The AudioSpecificConfig of AAC; for the other codecs the content of their configuration box.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The codec for `codecs=` of MIME types (RFC 6381) and `CODECS` of playlists, such as `mp4a.40.2`.
    pub fn codec_string(&self) -> String {
        match self.codec {
            AudioCodec::Aac => format!("mp4a.40.{}", self.aac_object_type),
            AudioCodec::Opus => "opus".to_owned(),
            AudioCodec::Flac => "flac".to_owned(),
            AudioCodec::Ac3 => "ac-3".to_owned(),
            AudioCodec::Eac3 => "ec-3".to_owned(),
            _ => format!("mp4a.{:02X}", self.object_type),
        }
    }

    /// An AudioSampleEntry (ISO/IEC 14496-12 §12.2.3) with the box of the configuration.
    pub(super) fn write_entry(&self, out: &mut Vec<u8>) {
        let entry = match self.codec {
            AudioCodec::Opus => b"Opus",
            AudioCodec::Flac => b"fLaC",
            AudioCodec::Ac3 => b"ac-3",
            AudioCodec::Eac3 => b"ec-3",
            _ => b"mp4a",
        };
        write_box(out, entry, |out| {
            put_zeros(out, 6);
            put_u16(out, 1); // data_reference_index
            put_zeros(out, 8);
            put_u16(out, self.channels.into());
            put_u16(out, 16); // samplesize
            put_u32(out, 0);
            // 16.16 fixed point; 0 where a rate does not fit, as for FLAC.
            put_u32(out, u16::try_from(self.sample_rate).map_or(0, |rate| u32::from(rate) << 16));
            let record = |out: &mut Vec<u8>| out.extend_from_slice(&self.record);
            match self.codec {
                AudioCodec::Opus => write_box(out, b"dOps", record),
                AudioCodec::Flac => write_full_box(out, b"dfLa", 0, 0, record),
                AudioCodec::Ac3 => write_box(out, b"dac3", record),
                AudioCodec::Eac3 => write_box(out, b"dec3", record),
                _ => write_full_box(out, b"esds", 0, 0, |out| self.write_descriptors(out)),
            }
        });
    }

    /// The elementary stream descriptor (ISO/IEC 14496-1 §7.2.6.5).
    fn write_descriptors(&self, out: &mut Vec<u8>) {
        const LENGTH: usize = 5; // tag and length
        const CONFIG: usize = 13;
        let specific = if self.record.is_empty() { 0 } else { LENGTH + self.record.len() };
        put_descriptor(out, 3, 3 + LENGTH + CONFIG + specific + LENGTH + 1);
        put_u16(out, 1); // ES_ID
        out.push(0);
        put_descriptor(out, 4, CONFIG + specific);
        out.push(self.object_type);
        out.push(5 << 2 | 1); // an audio stream
        put_zeros(out, 3 + 4 + 4); // buffer size and bit rates: not known
        if specific > 0 {
            put_descriptor(out, 5, self.record.len());
            out.extend_from_slice(&self.record);
        }
        put_descriptor(out, 6, 1);
        out.push(2); // for use in MP4 files
    }
}

/// A descriptor's tag, and its length in the form of four bytes.
fn put_descriptor(out: &mut Vec<u8>, tag: u8, length: usize) {
    let part = |shift: u32| (length >> shift & 0x7F) as u8;
    out.extend_from_slice(&[tag, 0x80 | part(21), 0x80 | part(14), 0x80 | part(7), part(0)]);
}

/// `dOps` (Opus in ISOBMFF §4.3.2) from an OpusHead (RFC 7845 §5.1), whose numbers are little-endian.
fn opus_record(payload: &[u8]) -> Option<Vec<u8>> {
    let head = payload.strip_prefix(b"OpusHead")?;
    let (&[_, channels, s0, s1, r0, r1, r2, r3, g0, g1, family], rest) = head.split_first_chunk()?;
    let mut record = vec![0, channels, s1, s0, r3, r2, r1, r0, g1, g0, family];
    if family != 0 {
        record.extend_from_slice(rest.get(..2 + usize::from(channels))?);
    }
    Some(record)
}

/// `dfLa` (FLAC in ISOBMFF §3.3.2): the STREAMINFO block alone, marked as the last one.
fn flac_record(payload: &[u8]) -> Option<Vec<u8>> {
    let info = config::flac_stream_info(payload)?.get(..34)?;
    Some([&[0x80, 0, 0, 34], info].concat())
}

/// The header of a frame of MPEG audio (ISO/IEC 11172-3 §2.4.1.3, 13818-3 §2.4.2.3).
fn mp3(payload: &[u8]) -> Option<AudioConfig> {
    let &[first, second, third, fourth] = payload.first_chunk()?;
    if first != 0xFF || second & 0xE0 != 0xE0 || second >> 1 & 3 == 0 || third >> 4 == 15 {
        return None;
    }
    // 0: MPEG 2.5; 1: reserved; 2: MPEG 2; 3: MPEG 1.
    let version = second >> 3 & 3;
    let rate = [44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
    let layer_3 = second >> 1 & 3 == 1;
    let (divisor, object_type) = match version {
        0 => (4, OBJECT_MPEG_2_AUDIO),
        2 => (2, OBJECT_MPEG_2_AUDIO),
        3 => (1, OBJECT_MPEG_1_AUDIO),
        _ => return None,
    };
    Some(AudioConfig {
        codec: AudioCodec::Mp3,
        sample_rate: rate / divisor,
        channels: if fourth >> 6 == 3 { 1 } else { 2 },
        frame_samples: Some(if layer_3 && version != 3 { 576 } else { 1152 }),
        object_type,
        aac_object_type: 0,
        record: Bytes::new(),
    })
}

/// Rates by `fscod`.
const DOLBY_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// Channels by `acmod`, without the one of low frequencies.
const DOLBY_CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

/// The header of a frame of AC-3 (ETSI TS 102 366 §4.3, §4.4) as `dac3` (§F.4).
fn ac3(payload: &[u8]) -> Option<AudioConfig> {
    let &[0x0B, 0x77, _, _, rates, stream, modes, ..] = payload.first_chunk::<8>()? else {
        return None;
    };
    let (rate, bit_rate) = (rates >> 6, rates & 0x3F);
    let (bsid, bsmod, acmod) = (stream >> 3, stream & 7, modes >> 5);
    if bsid > 8 || bit_rate > 37 {
        return None;
    }
    // Where lfeon is depends on acmod: fields for three channels, surround and stereo come before it.
    let has_centre = acmod & 1 != 0 && acmod != 1;
    let before =
        3 + if has_centre { 2 } else { 0 } + if acmod & 4 != 0 { 2 } else { 0 } + if acmod == 2 { 2 } else { 0 };
    let bits = u16::from_be_bytes([modes, *payload.get(7)?]);
    let lfe = (bits >> (15 - before) & 1) as u8;
    let packed = u32::from(rate) << 22
        | u32::from(bsid) << 17
        | u32::from(bsmod) << 14
        | u32::from(acmod) << 11
        | u32::from(lfe) << 10
        | u32::from(bit_rate >> 1) << 5;
    Some(AudioConfig {
        codec: AudioCodec::Ac3,
        sample_rate: *DOLBY_RATES.get(usize::from(rate))?,
        channels: DOLBY_CHANNELS[usize::from(acmod)] + lfe,
        frame_samples: Some(1536),
        object_type: 0,
        aac_object_type: 0,
        record: Bytes::copy_from_slice(&packed.to_be_bytes()[1..]),
    })
}

/// The header of a frame of E-AC-3 (ETSI TS 102 366 §E.1.2) as `dec3` (§F.6), with one independent substream.
fn eac3(payload: &[u8]) -> Option<AudioConfig> {
    let &[0x0B, 0x77, high, low, modes, stream] = payload.first_chunk()? else {
        return None;
    };
    let bsid = stream >> 3;
    if !(11..=16).contains(&bsid) {
        return None;
    }
    let bytes = (u32::from(high & 7) << 8 | u32::from(low)) * 2 + 2;
    let (acmod, lfe) = (modes >> 1 & 7, modes & 1);
    let (rate, blocks, code) = match modes >> 6 {
        3 => (DOLBY_RATES.get(usize::from(modes >> 4 & 3)).map(|rate| rate / 2)?, 6, 3),
        code => (DOLBY_RATES[usize::from(code)], [1, 2, 3, 6][usize::from(modes >> 4 & 3)], code),
    };
    let samples = 256 * blocks;
    let kilobits = (u64::from(bytes) * 8 * u64::from(rate) / u64::from(samples) / 1000).min(0x1FFF) as u16;
    let [k0, k1] = (kilobits << 3).to_be_bytes(); // and no further substream
    let record = [k0, k1, code << 6 | bsid << 1, acmod << 1 | lfe, 0];
    Some(AudioConfig {
        codec: AudioCodec::Eac3,
        sample_rate: rate,
        channels: DOLBY_CHANNELS[usize::from(acmod)] + lfe,
        frame_samples: Some(samples),
        object_type: 0,
        aac_object_type: 0,
        record: Bytes::copy_from_slice(&record),
    })
}
