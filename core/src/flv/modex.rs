use super::{FlvError, take};

/// Most ModEx prefixes read from one message. Only one type is defined, and each type should occur once.
pub const MAX_MOD_EX: usize = 32;

/// Packet type that announces a ModEx prefix, the same for audio and video.
pub(super) const PACKET_TYPE_MOD_EX: u8 = 7;

/// One ModEx prefix of an extended header (Enhanced RTMP v2, "ModEx").
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ModEx<'a> {
    /// ModExType, four bits. 0 is TimestampOffsetNano, the others are reserved.
    pub kind: u8,
    /// Data of the prefix, 1 to 65,536 bytes.
    pub data: &'a [u8],
}

crate::shown::debug_with_bytes!(ModEx<'_> { kind; data });

impl ModEx<'_> {
    /// ModExType of a nanosecond offset.
    pub const TIMESTAMP_OFFSET_NANO: u8 = 0;

    /// Nanoseconds (0..=999,999) to add to the presentation time of the message, if this prefix says so.
    ///
    /// Data after the three bytes of the offset is reserved for later versions and ignored. An offset of a
    /// millisecond or more is outside the specification's range and ignored too.
    pub fn timestamp_offset_nanos(&self) -> Option<u32> {
        if self.kind != Self::TIMESTAMP_OFFSET_NANO {
            return None;
        }
        let nanos = take::u24(*self.data.first_chunk()?);
        (nanos < 1_000_000).then_some(nanos)
    }
}

/// The ModEx prefixes of one message, in order; empty for nearly every message.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ModExList<'a> {
    /// The bytes after byte 0 of the body, up to and including the byte with the final packet type.
    bytes: &'a [u8],
}

crate::shown::debug_with_bytes!(ModExList<'_> { ; bytes });

impl<'a> ModExList<'a> {
    /// Reads the prefixes after byte 0 of an extended body.
    ///
    /// Returns the list, the packet type after it, and the remaining bytes.
    #[inline]
    pub(super) fn read(packet_type: u8, after_first: &'a [u8]) -> Result<(Self, u8, &'a [u8]), FlvError> {
        if packet_type != PACKET_TYPE_MOD_EX {
            return Ok((Self::default(), packet_type, after_first));
        }
        let mut rest = after_first;
        for _ in 0..MAX_MOD_EX {
            let (_, next_type, after) = read_one(rest)?;
            rest = after;
            if next_type != PACKET_TYPE_MOD_EX {
                let length = after_first.len() - rest.len();
                let (bytes, rest) = take::slice(after_first, length, "ModEx")?;
                return Ok((Self { bytes }, next_type, rest));
            }
        }
        Err(FlvError::TooManyModEx { limit: MAX_MOD_EX })
    }

    /// The prefixes, in the order of the message.
    pub fn iter(&self) -> ModExIter<'a> {
        ModExIter { rest: self.bytes }
    }

    /// Whether the message has none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nanoseconds (0..=999,999) to add to the presentation time of the message: the first valid offset, or 0.
    pub fn timestamp_offset_nanos(&self) -> u32 {
        self.iter().find_map(|mod_ex| mod_ex.timestamp_offset_nanos()).unwrap_or(0)
    }

    /// Bytes that the prefixes take on the wire.
    pub(super) fn wire_length(&self) -> usize {
        self.bytes.len()
    }
}

impl<'a> IntoIterator for ModExList<'a> {
    type Item = ModEx<'a>;
    type IntoIter = ModExIter<'a>;

    fn into_iter(self) -> ModExIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &ModExList<'a> {
    type Item = ModEx<'a>;
    type IntoIter = ModExIter<'a>;

    fn into_iter(self) -> ModExIter<'a> {
        self.iter()
    }
}

/// Iterator over the ModEx prefixes of a message.
#[derive(Clone)]
pub struct ModExIter<'a> {
    rest: &'a [u8],
}

crate::shown::debug_with_bytes!(ModExIter<'_> { ; rest });

impl<'a> Iterator for ModExIter<'a> {
    type Item = ModEx<'a>;

    fn next(&mut self) -> Option<ModEx<'a>> {
        let (mod_ex, _, rest) = read_one(self.rest).ok()?;
        self.rest = rest;
        Some(mod_ex)
    }
}

/// One prefix, the packet type after it, and the remaining bytes.
fn read_one(bytes: &[u8]) -> Result<(ModEx<'_>, u8, &[u8]), FlvError> {
    let (size, rest) = take::byte(bytes, "ModEx size")?;
    let (size, rest) = if size == 0xFF {
        // A size of 256 escapes to 16 bits, so that 256 itself is ff 00 ff.
        let (size, rest) = take::array(rest, "ModEx 16 bit size")?;
        (usize::from(u16::from_be_bytes(*size)) + 1, rest)
    } else {
        (usize::from(size) + 1, rest)
    };
    let (data, rest) = take::slice(rest, size, "ModEx data")?;
    let (types, rest) = take::byte(rest, "ModEx type")?;
    let mod_ex = ModEx { kind: types >> 4, data };
    Ok((mod_ex, types & 0x0F, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_header_has_no_prefixes() {
        let (list, packet_type, rest) = ModExList::read(1, b"avc1").unwrap();
        assert!(list.is_empty());
        assert_eq!((packet_type, rest), (1, b"avc1".as_slice()));
        assert_eq!(list.timestamp_offset_nanos(), 0);
    }

    #[test]
    fn the_256_byte_prefix_is_escaped() {
        let mut bytes = vec![0xFF, 0x00, 0xFF];
        bytes.extend([9; 256]);
        bytes.extend([0x31, 0xAA]);
        let (list, packet_type, rest) = ModExList::read(7, &bytes).unwrap();
        assert_eq!((packet_type, rest), (1, [0xAA].as_slice()));
        let only = ModEx { kind: 3, data: &[9; 256] };
        assert_eq!(list.iter().collect::<Vec<_>>(), [only]);
    }

    #[test]
    fn an_offset_out_of_range_or_cut_short_is_no_offset() {
        for data in [[0x0F, 0x42, 0x40].as_slice(), &[1, 2]] {
            assert_eq!(ModEx { kind: 0, data }.timestamp_offset_nanos(), None);
        }
        let longer = ModEx { kind: 0, data: &[0, 1, 0, 99] };
        assert_eq!(longer.timestamp_offset_nanos(), Some(256));
        assert_eq!(ModEx { kind: 1, ..longer }.timestamp_offset_nanos(), None);
    }

    #[test]
    fn prefixes_are_limited() {
        let mut bytes = [0, 0, 0x17].repeat(MAX_MOD_EX - 1);
        bytes.extend([0, 0, 0x11]);
        let (list, ..) = ModExList::read(7, &bytes).unwrap();
        assert_eq!(list.iter().count(), MAX_MOD_EX);

        let too_many = [0, 0, 0x17].repeat(MAX_MOD_EX + 1);
        let limit = MAX_MOD_EX;
        assert_eq!(ModExList::read(7, &too_many), Err(FlvError::TooManyModEx { limit }));
    }
}
