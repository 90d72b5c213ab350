//! Bounds-checked reading of fixed-size fields from the front of a slice.

use super::{FlvError, FourCC};

/// The first `N` bytes and the rest.
#[inline]
pub(super) fn array<'a, const N: usize>(
    bytes: &'a [u8],
    part: &'static str,
) -> Result<(&'a [u8; N], &'a [u8]), FlvError> {
    bytes.split_first_chunk::<N>().ok_or(FlvError::Truncated { part, needed: N, left: bytes.len() })
}

/// The first byte and the rest.
#[inline]
pub(super) fn byte<'a>(bytes: &'a [u8], part: &'static str) -> Result<(u8, &'a [u8]), FlvError> {
    let (&[value], rest) = array(bytes, part)?;
    Ok((value, rest))
}

/// The first `count` bytes and the rest.
#[inline]
pub(super) fn slice<'a>(bytes: &'a [u8], count: usize, part: &'static str) -> Result<(&'a [u8], &'a [u8]), FlvError> {
    bytes.split_at_checked(count).ok_or(FlvError::Truncated { part, needed: count, left: bytes.len() })
}

/// A FourCC and the rest.
#[inline]
pub(super) fn fourcc(bytes: &[u8]) -> Result<(FourCC, &[u8]), FlvError> {
    let (code, rest) = array(bytes, "FourCC")?;
    Ok((FourCC(*code), rest))
}

/// An unsigned 24 bit big-endian number.
#[inline]
pub(super) fn u24(bytes: [u8; 3]) -> u32 {
    let [high, middle, low] = bytes;
    u32::from_be_bytes([0, high, middle, low])
}

/// A signed 24 bit big-endian number, sign-extended.
#[inline]
pub(super) fn s24(bytes: [u8; 3]) -> i32 {
    let [high, middle, low] = bytes;
    // With the number in the top 24 bits, the arithmetic shift extends its sign.
    i32::from_be_bytes([high, middle, low, 0]) >> 8
}
