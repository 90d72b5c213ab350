//! MPEG transport streams (ISO/IEC 13818-1): the older form of HLS segments, for players that read no fragmented MP4.
//!
//! A [`Muxer`] writes packets of 188 bytes. It holds the continuity counters, so one muxer writes all segments of a
//! stream. Each segment begins with [`Muxer::write_tables`]. Payloads are packed into elementary streams as the standard
//! asks: AVC and HEVC with start codes (Annex B), an access unit delimiter before each picture, and parameter sets before
//! key frames; AAC with ADTS headers; Opus with control headers.
//!
//! ```
//! use anabranch_core::bytes::Bytes;
//! use anabranch_core::flv::AudioCodec;
//! use anabranch_core::fmp4::AudioConfig;
//! use anabranch_core::mpegts::{Muxer, Unit};
//!
//! let aac = AudioConfig::from_header(AudioCodec::Aac, &[0x12, 0x10])?;
//! let mut muxer = Muxer::new(&[aac.into()])?;
//! let mut segment = Vec::new();
//! muxer.write_tables(&mut segment);
//! let unit = Unit { track: 0, decode_time: 3600, composition: 0, key: true };
//! muxer.write(unit, &Bytes::from_static(&[0; 6]).into(), &mut segment)?;
//! assert_eq!(segment.len() % 188, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod elementary;
mod packets;
mod tables;

use elementary::{Elementary, PacketError};
use packets::{Pcr, write_packets};

use crate::flv::{Codec, Slices};
use crate::fmp4::TrackConfig;

/// Bytes of a packet.
pub const PACKET: usize = 188;

/// Most tracks of a program: their descriptions fit into one packet.
pub const MOST_TRACKS: usize = 8;

/// Added to all decoding and presentation times, in 90,000ths of a second: clock references are earlier by it, so that a
/// decoder has time to receive a picture. nginx-rtmp uses the same.
pub const DELAY: u64 = 63_000;

/// The first elementary stream; the others follow it.
const FIRST_PID: u16 = 0x100;

/// Why something cannot be put into a transport stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TsError {
    /// Players know no form of the codec in transport streams.
    #[error("{0} cannot be put into a transport stream")]
    UnsupportedCodec(Codec),
    /// No track, or more than [`MOST_TRACKS`].
    #[error("a transport stream has 1 to {MOST_TRACKS} tracks, not {0}")]
    TrackCount(usize),
    /// The payload is not in the form that its decoder's configuration says. Nothing was written.
    #[error("the payload is damaged")]
    Damaged,
    /// A track that the muxer does not have. Nothing was written.
    #[error("there is no track {0}")]
    NoTrack(usize),
}

/// When a payload is decoded and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The track, by its place among the muxer's.
    pub track: usize,
    /// When it is decoded, in 90,000ths of a second. It wraps at 2^33, after 26 hours.
    pub decode_time: u64,
    /// From decoding to presentation, in 90,000ths of a second.
    pub composition: i32,
    /// True if decoding can start at it.
    pub key: bool,
}

/// Writes one transport stream.
pub struct Muxer {
    streams: Vec<Stream>,
    /// The stream that carries clock references: the first video stream, or the first stream.
    clock: usize,
    /// Continuity counters of the two tables.
    tables: [u8; 2],
    /// The packet of an elementary stream that is being written; kept for its memory.
    scratch: Vec<u8>,
}

crate::shown::debug_with_bytes!(Muxer { streams, clock, tables; scratch });

#[derive(Debug)]
struct Stream {
    elementary: Elementary,
    pid: u16,
    counter: u8,
}

impl Muxer {
    /// A muxer for tracks with these configurations.
    ///
    /// # Errors
    ///
    /// A codec that transport streams cannot carry, or too few or too many tracks.
    pub fn new(tracks: &[TrackConfig]) -> Result<Self, TsError> {
        if tracks.is_empty() || tracks.len() > MOST_TRACKS {
            return Err(TsError::TrackCount(tracks.len()));
        }
        let stream = |(config, pid)| Ok(Stream { elementary: Elementary::new(config)?, pid, counter: 0 });
        let streams = tracks.iter().zip(FIRST_PID..).map(stream).collect::<Result<_, _>>()?;
        let clock = tracks.iter().position(TrackConfig::is_video).unwrap_or(0);
        Ok(Muxer { streams, clock, tables: [0; 2], scratch: Vec::new() })
    }

    /// True if transport streams can carry the codec.
    pub fn can_carry(config: &TrackConfig) -> bool {
        Elementary::new(config).is_ok()
    }

    /// Writes the tables (PAT and PMT) that tell what the stream holds. Each segment begins with them.
    pub fn write_tables(&mut self, out: &mut Vec<u8>) {
        tables::write_pat(&mut self.tables[0], out);
        let clock = self.streams.get(self.clock).map_or(FIRST_PID, |stream| stream.pid);
        let streams = self.streams.iter().map(|stream| (stream.pid, &stream.elementary));
        tables::write_pmt(&mut self.tables[1], clock, streams, out);
    }

    /// Writes a payload, as [`AccessUnit`](crate::flv::AccessUnit) holds it.
    ///
    /// # Errors
    ///
    /// A payload in another form than the track's, or a track that does not exist.
    pub fn write(&mut self, unit: Unit, payload: &Slices, out: &mut Vec<u8>) -> Result<(), TsError> {
        let stream = self.streams.get_mut(unit.track).ok_or(TsError::NoTrack(unit.track))?;
        let decode = unit.decode_time.wrapping_add(DELAY);
        let present = decode.wrapping_add_signed(unit.composition.into());
        self.scratch.clear();
        let is_written = stream.elementary.write_packet(decode, present, unit.key, payload, &mut self.scratch);
        is_written.map_err(|PacketError| TsError::Damaged)?;
        let pcr = if unit.track == self.clock { Pcr::At(unit.decode_time) } else { Pcr::None };
        write_packets(stream.pid, &mut stream.counter, &self.scratch, pcr, unit.key, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
