use std::fmt;

use anabranch_core::flv::config::{self, CodecSummary};
use anabranch_core::flv::{FourCC, VideoCodec};

use super::{nal, obu};

/// Sets of parameters of one kind that are kept, and bytes of one.
const MOST_SETS: usize = 31;
const LONGEST_SET: usize = 4096;

/// The number of H.264 in a legacy header, and frame types in either header.
const LEGACY_AVC: u8 = 7;
const KEY: u8 = 1 << 4;
const INTER: u8 = 2 << 4;
/// That a header is extended, and packet types.
const EXTENDED: u8 = 0x80;
const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const CODED_FRAMES_X: u8 = 3;
/// The longest time from decoding to presentation in a message, in milliseconds.
const LONGEST_SHIFT: i64 = (1 << 23) - 1;

/// A picture in the form of FLV.
pub(super) struct Picture {
    pub(super) is_key: bool,
    pub(super) payload: Vec<u8>,
}

/// The unit is not coded as its codec prescribes.
#[derive(Debug)]
pub(super) struct Unreadable;

/// Reads the pictures of a publisher, and keeps what decoders need.
#[derive(Default)]
pub(super) struct Pictures {
    codec: Option<VideoCodec>,
    /// Of H.264 and HEVC.
    sets: Sets,
    /// The configuration that belongs to the newest picture.
    configuration: Option<Configuration>,
    /// True if players have not got it.
    is_new: bool,
    /// When the last picture is decoded, in milliseconds.
    last: Option<u64>,
}

struct Configuration {
    record: Vec<u8>,
    size: Option<(u32, u32)>,
}

/// Without bytes of publishers.
impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.configuration.as_ref().and_then(|configuration| configuration.size);
        f.debug_struct("Pictures").field("codec", &self.codec).field("size", &size).finish_non_exhaustive()
    }
}

/// Sets of parameters.
#[derive(Default)]
struct Sets {
    video: Vec<Vec<u8>>,
    sequence: Vec<Vec<u8>>,
    picture: Vec<Vec<u8>>,
}

/// What a unit of H.264 or HEVC is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    VideoSet,
    SequenceSet,
    PictureSet,
    KeySlice,
    Slice,
    /// Further information, which goes with the picture.
    Information,
    /// Nothing that players need.
    Other,
}

impl Pictures {
    /// Reads a unit. `None` if it has only parameters.
    pub(super) fn read(&mut self, codec: VideoCodec, data: &[u8]) -> Result<Option<Picture>, Unreadable> {
        if self.codec != Some(codec) {
            let last = self.last;
            *self = Pictures { codec: Some(codec), last, ..Pictures::default() };
        }
        match codec {
            VideoCodec::Avc => self.read_units(data, 1, avc_kind),
            VideoCodec::Hevc => self.read_units(data, 2, hevc_kind),
            VideoCodec::Av1 => self.read_av1(data),
            VideoCodec::Vp9 => self.read_vp9(data),
            _ => Err(Unreadable),
        }
    }

    fn read_units(
        &mut self,
        data: &[u8],
        header: usize,
        kind: fn(&[u8]) -> Kind,
    ) -> Result<Option<Picture>, Unreadable> {
        let units: Vec<(Kind, &[u8])> =
            nal::units(data).filter(|unit| unit.len() > header).map(|unit| (kind(unit), unit)).collect();
        let has_changed = self.sets.take(&units, header)?;
        if has_changed {
            self.configure();
        }
        let is_slice = |kind: &Kind| matches!(kind, Kind::KeySlice | Kind::Slice);
        if !units.iter().any(|(kind, _)| is_slice(kind)) {
            return if units.is_empty() { Err(Unreadable) } else { Ok(None) };
        }
        let is_key = units.iter().any(|(kind, _)| *kind == Kind::KeySlice);
        let mut payload = Vec::with_capacity(data.len());
        for (_, unit) in units.iter().filter(|(kind, _)| is_slice(kind) || *kind == Kind::Information) {
            let length = u32::try_from(unit.len()).map_err(|_| Unreadable)?;
            payload.extend_from_slice(&length.to_be_bytes());
            payload.extend_from_slice(unit);
        }
        Ok(Some(Picture { is_key, payload }))
    }

    /// The sets of parameters have changed.
    fn configure(&mut self) {
        let Sets { video, sequence, picture } = &self.sets;
        let [video, sequence, picture] = [video, sequence, picture].map(|sets| sets.iter().map(Vec::as_slice));
        let record = match self.codec {
            Some(VideoCodec::Hevc) => config::hevc_record(video, sequence, picture),
            _ => config::avc_record(sequence, picture),
        };
        self.set_record(record, None);
    }

    fn read_av1(&mut self, data: &[u8]) -> Result<Option<Picture>, Unreadable> {
        let found = obu::temporal_unit(data).ok_or(Unreadable)?;
        if let Some(header) = found.header {
            self.set_record(config::av1_record(header), None);
        }
        let picture = || Picture { is_key: found.is_key, payload: found.units.concat() };
        Ok(found.has_picture.then(picture))
    }

    fn read_vp9(&mut self, data: &[u8]) -> Result<Option<Picture>, Unreadable> {
        if data.is_empty() {
            return Err(Unreadable);
        }
        let record = config::vp9_record(data);
        let is_key = record.is_some();
        if is_key {
            self.set_record(record, config::vp9_size(data));
        }
        Ok(Some(Picture { is_key, payload: data.to_vec() }))
    }

    fn set_record(&mut self, record: Option<Vec<u8>>, size: Option<(u32, u32)>) {
        let Some(record) = record else {
            self.configuration = None;
            return;
        };
        if self
            .configuration
            .as_ref()
            .is_some_and(|known| known.record == record && (size.is_none() || known.size == size))
        {
            return;
        }
        let summary = self.codec.and_then(|codec| config::summarize(codec, &record));
        let size = size.or(match summary {
            Some(CodecSummary::Video(summary)) => summary.size,
            _ => None,
        });
        (self.configuration, self.is_new) = (Some(Configuration { record, size }), true);
    }

    /// True once there is what a decoder needs.
    pub(super) fn has_configuration(&self) -> bool {
        self.configuration.is_some()
    }

    /// The body of the message with the configuration, if players have not got it.
    pub(super) fn take_header(&mut self) -> Option<Vec<u8>> {
        let Configuration { record, .. } = self.configuration.as_ref()?;
        if !std::mem::take(&mut self.is_new) {
            return None;
        }
        let mut body = match self.fourcc() {
            None => vec![KEY | LEGACY_AVC, SEQUENCE_START, 0, 0, 0],
            Some(fourcc) => extended(KEY | SEQUENCE_START, fourcc),
        };
        body.extend_from_slice(record);
        Some(body)
    }

    /// The codec as metadata has it, and the size of the pictures.
    pub(super) fn described(&self) -> Option<(f64, Option<(u32, u32)>)> {
        let Configuration { size, .. } = self.configuration.as_ref()?;
        let codec = self.fourcc().map_or(f64::from(LEGACY_AVC), |fourcc| f64::from(fourcc.as_u32()));
        Some((codec, *size))
    }

    /// When a picture is decoded that is shown at `time`, modulo 2^32, and how much later it is shown. Pictures come in the
    /// order of decoding, and only their presentation is known.
    pub(super) fn decoding_time(&mut self, time: u64) -> (u32, i64) {
        let decoded = self.last.map_or(time, |last| last.max(time));
        self.last = Some(decoded);
        let later = i64::try_from(decoded - time).unwrap_or(LONGEST_SHIFT).min(LONGEST_SHIFT);
        (decoded as u32, -later)
    }

    /// The body of the message with a picture.
    pub(super) fn body(&self, is_key: bool, shown_later: i64, payload: &[u8]) -> Vec<u8> {
        let frame_type = if is_key { KEY } else { INTER };
        let shift = (shown_later as i32).to_be_bytes();
        let mut body = match self.fourcc() {
            None => [&[frame_type | LEGACY_AVC, CODED_FRAMES], &shift[1..]].concat(),
            Some(FourCC::HVC1) if shown_later != 0 => {
                [extended(frame_type | CODED_FRAMES, FourCC::HVC1).as_slice(), &shift[1..]].concat()
            }
            Some(FourCC::HVC1) => extended(frame_type | CODED_FRAMES_X, FourCC::HVC1),
            Some(fourcc) => extended(frame_type | CODED_FRAMES, fourcc),
        };
        body.extend_from_slice(payload);
        body
    }

    /// The codec in an extended header; `None` for H.264, which all players read in the legacy one.
    fn fourcc(&self) -> Option<FourCC> {
        match self.codec {
            Some(VideoCodec::Hevc) => Some(FourCC::HVC1),
            Some(VideoCodec::Av1) => Some(FourCC::AV01),
            Some(VideoCodec::Vp9) => Some(FourCC::VP09),
            _ => None,
        }
    }
}

fn extended(types: u8, fourcc: FourCC) -> Vec<u8> {
    let mut body = vec![EXTENDED | types];
    body.extend_from_slice(&fourcc.0);
    body
}

impl Sets {
    /// Keeps the sets of a unit. Returns true if they are other ones than before.
    fn take(&mut self, units: &[(Kind, &[u8])], header: usize) -> Result<bool, Unreadable> {
        let of_kind = |wanted: Kind| units.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, unit)| *unit);
        let mut has_changed = false;
        // Encoders send all sets of a sequence together.
        let begins = of_kind(Kind::SequenceSet).next().is_some();
        for (kind, kept) in [(Kind::VideoSet, &mut self.video), (Kind::SequenceSet, &mut self.sequence)] {
            let mut new: Vec<&[u8]> = of_kind(kind).collect();
            new.dedup();
            if !new.is_empty() && new != *kept {
                *kept = kept_of(&new)?;
                has_changed = true;
            }
        }
        let mut new: Vec<&[u8]> = of_kind(Kind::PictureSet).collect();
        new.dedup();
        if begins && !new.is_empty() {
            if new != self.picture {
                self.picture = kept_of(&new)?;
                has_changed = true;
            }
            return Ok(has_changed);
        }
        let id = |set: &[u8]| nal::first_number(set.get(header..).unwrap_or_default());
        for set in new {
            let known = self.picture.iter().position(|known| id(known) == id(set));
            match known {
                Some(at) if self.picture[at] == set => continue,
                _ if set.len() > LONGEST_SET => return Err(Unreadable),
                Some(at) => self.picture[at] = set.to_vec(),
                None if self.picture.len() >= MOST_SETS => return Err(Unreadable),
                None => self.picture.push(set.to_vec()),
            }
            has_changed = true;
        }
        Ok(has_changed)
    }
}

fn kept_of(sets: &[&[u8]]) -> Result<Vec<Vec<u8>>, Unreadable> {
    let fits = sets.len() <= MOST_SETS && sets.iter().all(|set| set.len() <= LONGEST_SET);
    if fits { Ok(sets.iter().map(|set| set.to_vec()).collect()) } else { Err(Unreadable) }
}

/// ITU-T H.264, table 7-1. What is for scalable and other special decoders is left out.
fn avc_kind(unit: &[u8]) -> Kind {
    match unit[0] & 0x1F {
        5 => Kind::KeySlice,
        1..=4 => Kind::Slice,
        6 => Kind::Information,
        7 => Kind::SequenceSet,
        8 => Kind::PictureSet,
        _ => Kind::Other,
    }
}

/// ITU-T H.265, table 7-1. Layers above the first are left out.
fn hevc_kind(unit: &[u8]) -> Kind {
    let layer = (unit[0] & 1) << 5 | unit[1] >> 3;
    match unit[0] >> 1 & 0x3F {
        _ if layer > 0 => Kind::Other,
        16..=23 => Kind::KeySlice,
        0..=15 | 24..=31 => Kind::Slice,
        32 => Kind::VideoSet,
        33 => Kind::SequenceSet,
        34 => Kind::PictureSet,
        39 | 40 => Kind::Information,
        _ => Kind::Other,
    }
}
