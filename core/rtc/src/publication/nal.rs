//! Units of H.264 and HEVC with start codes (ITU-T H.264 and H.265, annex B).

/// The units of a byte stream.
pub(super) fn units(mut stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_first = true;
    std::iter::from_fn(move || {
        if std::mem::take(&mut is_first) {
            stream = after_start_code(stream)?.1;
        }
        if stream.is_empty() {
            return None;
        }
        let (unit, rest) = after_start_code(stream).unwrap_or((stream, &[]));
        stream = rest;
        // Zeros at its end are none of it.
        let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// What is before the first start code, and what is after it.
fn after_start_code(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while let Some(&[first, second, third]) = stream.get(at..at + 3).and_then(<[u8]>::first_chunk) {
        match third {
            0 => at += 1,
            1 if first == 0 && second == 0 => return Some((&stream[..at], &stream[at + 3..])),
            _ => at += 3,
        }
    }
    None
}

/// The number with which a picture parameter set begins after its header: its id (an unsigned Exp-Golomb number).
pub(super) fn first_number(bytes: &[u8]) -> Option<u32> {
    let bit = |at: usize| Some(bytes.get(at / 8)? >> (7 - at % 8) & 1);
    let mut zeros = 0;
    while bit(zeros)? == 0 {
        zeros += 1;
        // Ids have at most 8 bits.
        if zeros > 8 {
            return None;
        }
    }
    let mut number = 0;
    for at in zeros..=2 * zeros {
        number = number << 1 | u32::from(bit(at)?);
    }
    Some(number - 1)
}
