use std::sync::Arc;

use bytes::Bytes;

use super::{MAX_PAYLOAD, Packets, RtpError};

/// Puts temporal units of AV1 into packets (RTP Payload Format For AV1, v1.0, section 4).
#[derive(Debug, Clone)]
pub struct Av1Packetizer {
    /// The sequence header of the stream, without a length; empty if the configuration has none.
    sequence_header: Vec<u8>,
}

/// Types of OBUs (AV1 specification, §6.2.2).
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

/// Bits of the aggregation header, section 4.4.
const CONTINUES: u8 = 0x80;
const IS_CONTINUED: u8 = 0x40;
const BEGINS_SEQUENCE: u8 = 0x08;
/// The number of elements fits into two bits up to this one.
const MOST_COUNTED: usize = 3;

impl Av1Packetizer {
    /// For a stream with this AV1CodecConfigurationRecord, alone or as the content of a descriptor.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn new(record: &[u8]) -> Result<Self, RtpError> {
        let record = record.strip_prefix(&[0x80, 4]).unwrap_or(record);
        let (head, obus) = record.split_at_checked(4).ok_or(RtpError::BadConfiguration)?;
        if head[0] != 0x81 {
            return Err(RtpError::BadConfiguration);
        }
        let obus = read_obus(obus).ok_or(RtpError::BadConfiguration)?;
        let sequence_header = obus.into_iter().find(|obu| kind(obu) == SEQUENCE_HEADER).unwrap_or_default();
        Ok(Av1Packetizer { sequence_header })
    }

    /// Puts a picture into packets: a temporal unit whose OBUs have their lengths.
    ///
    /// # Errors
    ///
    /// The lengths are not those of the OBUs, or there is none to send.
    pub fn packetize(&self, picture: &Bytes, is_key: bool) -> Result<Packets, RtpError> {
        let mut obus = read_obus(picture).ok_or(RtpError::BadPicture)?;
        obus.retain(|obu| !matches!(kind(obu), TEMPORAL_DELIMITER | TILE_LIST | PADDING));
        let has_header = obus.iter().any(|obu| kind(obu) == SEQUENCE_HEADER);
        if is_key && !has_header && !self.sequence_header.is_empty() {
            obus.insert(0, self.sequence_header.clone());
        }
        if obus.is_empty() {
            return Err(RtpError::BadPicture);
        }
        let mut payloads = Vec::new();
        let mut packet = Packet::new(if is_key { BEGINS_SEQUENCE } else { 0 });
        for obu in &obus {
            let mut rest = &obu[..];
            loop {
                let room = packet.room();
                if room == 0 {
                    packet.flush(false, &mut payloads);
                    continue;
                }
                let (piece, after) = rest.split_at(rest.len().min(room));
                packet.elements.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
                packet.flush(true, &mut payloads);
            }
        }
        packet.flush(false, &mut payloads);
        Ok(Packets { payloads, is_reference: true })
    }
}

/// A packet that is made: a header, and elements that are OBUs or pieces of them.
struct Packet<'a> {
    header: u8,
    elements: Vec<&'a [u8]>,
}

impl<'a> Packet<'a> {
    fn new(header: u8) -> Self {
        Packet { header, elements: Vec::new() }
    }

    /// Bytes that one more element may have.
    fn room(&self) -> usize {
        if self.elements.len() == MOST_COUNTED {
            return 0;
        }
        // Each but the last has its length in front, of two bytes at most.
        let used: usize = self.elements.iter().map(|element| element.len() + 2).sum();
        (MAX_PAYLOAD - 1).saturating_sub(used)
    }

    fn flush(&mut self, is_continued: bool, payloads: &mut Vec<Arc<[u8]>>) {
        let Some((last, others)) = self.elements.split_last() else { return };
        let mut payload = Vec::with_capacity(MAX_PAYLOAD);
        let continued = if is_continued { IS_CONTINUED } else { 0 };
        payload.push(self.header | continued | (self.elements.len() as u8) << 4);
        for element in others {
            write_leb128(element.len(), &mut payload);
            payload.extend_from_slice(element);
        }
        payload.extend_from_slice(last);
        payloads.push(payload.into());
        self.header = if is_continued { CONTINUES } else { 0 };
        self.elements.clear();
    }
}

fn kind(obu: &[u8]) -> u8 {
    obu.first().map_or(0, |header| header >> 3 & 0x0F)
}

/// The OBUs, without their lengths. `None` if the lengths do not fit.
fn read_obus(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut obus = Vec::new();
    while let Some(&header) = bytes.first() {
        let head = if header & 0x04 == 0 { 1 } else { 2 };
        let (start, rest) = bytes.split_at_checked(head)?;
        let (content, rest) = if header & 0x02 == 0 {
            // Without a length it takes all that is left.
            (rest, &[][..])
        } else {
            let (length, rest) = read_leb128(rest)?;
            rest.split_at_checked(length)?
        };
        let mut obu = Vec::with_capacity(head + content.len());
        obu.push(header & !0x02);
        obu.extend_from_slice(&start[1..]);
        obu.extend_from_slice(content);
        obus.push(obu);
        bytes = rest;
    }
    Some(obus)
}

fn read_leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[index + 1..]));
        }
    }
    None
}

fn write_leb128(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7F {
        out.push(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
