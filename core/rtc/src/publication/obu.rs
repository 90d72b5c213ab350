//! Units of AV1 (AV1 §5.3) that have their sizes.

/// Types of units.
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

/// A temporal unit.
#[derive(Default)]
pub(super) struct TemporalUnit<'a> {
    /// The sequence header.
    pub(super) header: Option<&'a [u8]>,
    /// The units that a player gets.
    pub(super) units: Vec<&'a [u8]>,
    /// True if decoding can start at it.
    pub(super) is_key: bool,
    /// True if there is a picture in it.
    pub(super) has_picture: bool,
}

/// Takes a temporal unit apart. `None` if that is not possible.
pub(super) fn temporal_unit(mut bytes: &[u8]) -> Option<TemporalUnit<'_>> {
    let mut found = TemporalUnit::default();
    while let Some(&head) = bytes.first() {
        let length = 1 + usize::from(head >> 2 & 1);
        // Forbidden bit, and no size.
        if head & 0x80 != 0 || head & 2 == 0 {
            return None;
        }
        let (size, size_length) = leb128(bytes.get(length..)?)?;
        let (unit, rest) = bytes.split_at_checked(length.checked_add(size_length)?.checked_add(size)?)?;
        let payload = &unit[length + size_length..];
        bytes = rest;
        match head >> 3 & 0x0F {
            TEMPORAL_DELIMITER | TILE_LIST | PADDING => continue,
            SEQUENCE_HEADER => found.header = Some(unit),
            FRAME_HEADER | FRAME if !found.has_picture => {
                found.has_picture = true;
                // It shows no earlier picture, and its type is that of a key frame.
                found.is_key = found.header.is_some() && payload.first()? & 0xE0 == 0;
            }
            _ => {}
        }
        found.units.push(unit);
    }
    Some(found)
}

fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}
