use std::sync::Arc;

use bytes::Bytes;

use super::{MAX_PAYLOAD, Packets, RtpError};

/// NAL units of H.264 (RFC 6184) and HEVC (RFC 7798) differ in their headers.
trait Nal {
    /// Bytes of the header of a NAL unit.
    const HEADER: usize;

    /// The type of a unit that begins so.
    fn kind(header: &[u8]) -> u8;

    /// False for units that RTP has no use for: delimiters, ends of sequences, fillers, and types that packets use.
    fn is_sent(kind: u8) -> bool;

    /// True for the sets of parameters.
    fn is_parameters(kind: u8) -> bool;

    /// True for a part of a picture that other pictures do not need.
    fn is_disposable(header: &[u8]) -> Option<bool>;

    /// The header of a packet with several units.
    fn aggregate<'a>(headers: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>);

    /// The header of a packet with a part of a unit.
    fn fragment(header: &[u8], is_first: bool, is_last: bool, out: &mut Vec<u8>);
}

/// Bits of the header of a fragment.
const START: u8 = 0x80;
const END: u8 = 0x40;

#[derive(Debug, Clone, Copy)]
struct H264;

impl Nal for H264 {
    const HEADER: usize = 1;

    fn kind(header: &[u8]) -> u8 {
        header[0] & 0x1F
    }

    fn is_sent(kind: u8) -> bool {
        matches!(kind, 1..=8 | 13..=23)
    }

    fn is_parameters(kind: u8) -> bool {
        kind == 7
    }

    fn is_disposable(header: &[u8]) -> Option<bool> {
        matches!(Self::kind(header), 1..=5).then_some(header[0] & 0x60 == 0)
    }

    fn aggregate<'a>(headers: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        let importance = headers.map(|header| header[0] & 0x60).max().unwrap_or(0);
        out.push(importance | 24); // STAP-A, §5.7.1
    }

    fn fragment(header: &[u8], is_first: bool, is_last: bool, out: &mut Vec<u8>) {
        out.push(header[0] & 0xE0 | 28); // FU-A, §5.8
        out.push(ends(is_first, is_last) | Self::kind(header));
    }
}

#[derive(Debug, Clone, Copy)]
struct Hevc;

impl Nal for Hevc {
    const HEADER: usize = 2;

    fn kind(header: &[u8]) -> u8 {
        header[0] >> 1 & 0x3F
    }

    fn is_sent(kind: u8) -> bool {
        matches!(kind, 0..=34 | 39..=47)
    }

    fn is_parameters(kind: u8) -> bool {
        kind == 33
    }

    fn is_disposable(header: &[u8]) -> Option<bool> {
        // Even types below 16 are of pictures that no other of their sub-layer needs (ITU-T H.265, table 7-1).
        let kind = Self::kind(header);
        (kind < 32).then_some(kind < 16 && kind.is_multiple_of(2))
    }

    fn aggregate<'a>(headers: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        // The lowest layer and temporal id of the units, §4.4.2.
        let (layer, temporal) = headers.fold((0x3F, 7), |(layer, temporal), header| {
            let of_unit = (header[0] & 1) << 5 | header[1] >> 3;
            (of_unit.min(layer), (header[1] & 7).min(temporal))
        });
        out.extend_from_slice(&[48 << 1 | layer >> 5, (layer & 0x1F) << 3 | temporal]);
    }

    fn fragment(header: &[u8], is_first: bool, is_last: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&[header[0] & 0x81 | 49 << 1, header[1]]);
        out.push(ends(is_first, is_last) | Self::kind(header));
    }
}

fn ends(is_first: bool, is_last: bool) -> u8 {
    (if is_first { START } else { 0 }) | (if is_last { END } else { 0 })
}

/// Puts pictures of H.264 into packets in mode 1: single units, several in one (STAP-A), parts of one (FU-A).
#[derive(Debug, Clone)]
pub struct H264Packetizer(Packetizer);

impl H264Packetizer {
    /// For a stream with this AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1).
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn new(record: &[u8]) -> Result<Self, RtpError> {
        let mut reader = Reader(record);
        let length_size = reader.byte_at(4).map(|byte| usize::from(byte & 3) + 1);
        let mut parameters = Vec::new();
        let read = reader.skip(5).and_then(|()| {
            for mask in [0x1F, 0xFF] {
                for _ in 0..reader.byte()? & mask {
                    parameters.push(reader.unit(2)?);
                }
            }
            Some(())
        });
        let (Some(length_size), Some(())) = (length_size, read) else { return Err(RtpError::BadConfiguration) };
        Packetizer::new::<H264>(length_size, parameters).map(H264Packetizer)
    }

    /// Puts a picture into packets: units with their lengths in front.
    ///
    /// # Errors
    ///
    /// The lengths are not those of the units, or there is no unit to send.
    pub fn packetize(&self, picture: &Bytes, is_key: bool) -> Result<Packets, RtpError> {
        self.0.packetize::<H264>(picture, is_key)
    }
}

/// Puts pictures of HEVC into packets: single units, several in one, parts of one.
#[derive(Debug, Clone)]
pub struct HevcPacketizer(Packetizer);

impl HevcPacketizer {
    /// For a stream with this HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1).
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn new(record: &[u8]) -> Result<Self, RtpError> {
        let mut reader = Reader(record);
        let length_size = reader.byte_at(21).map(|byte| usize::from(byte & 3) + 1);
        let mut parameters = Vec::new();
        let read = reader.skip(22).and_then(|()| {
            for _ in 0..reader.byte()? {
                reader.skip(1)?;
                for _ in 0..reader.number(2)? {
                    parameters.push(reader.unit(2)?);
                }
            }
            Some(())
        });
        let (Some(length_size), Some(())) = (length_size, read) else { return Err(RtpError::BadConfiguration) };
        Packetizer::new::<Hevc>(length_size, parameters).map(HevcPacketizer)
    }

    /// Puts a picture into packets: units with their lengths in front.
    ///
    /// # Errors
    ///
    /// The lengths are not those of the units, or there is no unit to send.
    pub fn packetize(&self, picture: &Bytes, is_key: bool) -> Result<Packets, RtpError> {
        self.0.packetize::<Hevc>(picture, is_key)
    }
}

#[derive(Debug, Clone)]
struct Packetizer {
    /// Bytes of the length in front of each unit.
    length_size: usize,
    /// The units that a decoder needs before a key frame.
    parameters: Vec<Bytes>,
}

impl Packetizer {
    fn new<N: Nal>(length_size: usize, mut parameters: Vec<Bytes>) -> Result<Self, RtpError> {
        parameters.retain(|unit| unit.len() > N::HEADER && N::is_sent(N::kind(unit)));
        let has_parameters = parameters.iter().any(|unit| N::is_parameters(N::kind(unit)));
        if length_size == 3 || !has_parameters {
            return Err(RtpError::BadConfiguration);
        }
        Ok(Packetizer { length_size, parameters })
    }

    fn packetize<N: Nal>(&self, picture: &Bytes, is_key: bool) -> Result<Packets, RtpError> {
        let mut units = Vec::new();
        let mut reader = Reader(picture);
        while !reader.0.is_empty() {
            let length = reader.number(self.length_size).ok_or(RtpError::BadPicture)?;
            let unit = reader.take(length).ok_or(RtpError::BadPicture)?;
            if unit.len() > N::HEADER && N::is_sent(N::kind(unit)) {
                units.push(unit);
            }
        }
        let mut is_disposable = None;
        for unit in &units {
            if let Some(of_unit) = N::is_disposable(unit) {
                is_disposable = Some(is_disposable.unwrap_or(true) && of_unit);
            }
        }
        let is_disposable = is_disposable.ok_or(RtpError::BadPicture)?;
        let has_parameters = units.iter().any(|unit| N::is_parameters(N::kind(unit)));
        let parameters: &[Bytes] = if is_key && !has_parameters { &self.parameters } else { &[] };
        let mut writer = Writer::<N>::new();
        for unit in parameters.iter().map(|unit| &unit[..]).chain(units) {
            writer.unit(unit);
        }
        Ok(Packets { payloads: writer.finish(), is_reference: !is_disposable || is_key })
    }
}

struct Writer<'a, N> {
    payloads: Vec<Arc<[u8]>>,
    /// Units that fit into one packet together.
    together: Vec<&'a [u8]>,
    /// Bytes of that packet.
    bytes: usize,
    packet: Vec<u8>,
    of: std::marker::PhantomData<N>,
}

impl<'a, N: Nal> Writer<'a, N> {
    fn new() -> Self {
        Writer {
            payloads: Vec::new(),
            together: Vec::new(),
            bytes: N::HEADER,
            packet: Vec::with_capacity(MAX_PAYLOAD),
            of: std::marker::PhantomData,
        }
    }

    fn unit(&mut self, unit: &'a [u8]) {
        if unit.len() > MAX_PAYLOAD {
            self.flush();
            return self.fragments(unit);
        }
        if self.bytes + 2 + unit.len() > MAX_PAYLOAD {
            self.flush();
        }
        self.bytes += 2 + unit.len();
        self.together.push(unit);
    }

    fn fragments(&mut self, unit: &[u8]) {
        let (header, content) = unit.split_at(N::HEADER);
        let pieces = content.chunks(MAX_PAYLOAD - N::HEADER - 1);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.enumerate() {
            N::fragment(header, index == 0, index == last, &mut self.packet);
            self.packet.extend_from_slice(piece);
            self.packet();
        }
    }

    fn flush(&mut self) {
        match &self.together[..] {
            [] => return,
            [alone] => self.packet.extend_from_slice(alone),
            several => {
                N::aggregate(several.iter().map(|unit| &unit[..N::HEADER]), &mut self.packet);
                for unit in several {
                    self.packet.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                    self.packet.extend_from_slice(unit);
                }
            }
        }
        self.together.clear();
        self.bytes = N::HEADER;
        self.packet();
    }

    fn packet(&mut self) {
        self.payloads.push(Arc::from(&self.packet[..]));
        self.packet.clear();
    }

    fn finish(mut self) -> Vec<Arc<[u8]>> {
        self.flush();
        self.payloads
    }
}

/// Reads numbers and units from bytes of a stranger.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte_at(&self, index: usize) -> Option<u8> {
        self.0.get(index).copied()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number of so many bytes, at most 4.
    fn number(&mut self, size: usize) -> Option<usize> {
        let bytes = self.take(size)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Bytes with their length in so many bytes in front.
    fn unit(&mut self, size: usize) -> Option<Bytes> {
        let length = self.number(size)?;
        self.take(length).map(Bytes::copy_from_slice)
    }
}
