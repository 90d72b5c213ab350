//! Reads the payloads of RTP packets as the standards say, and panics where they break them.

use std::sync::Arc;

/// The units in payloads of H.264 or HEVC, as RFC 6184 and RFC 7798 say they are read. `header` is the length of
/// the headers of units.
pub(crate) fn units(payloads: &[Arc<[u8]>], header: usize) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for payload in payloads {
        let (is_several, is_part) = match header {
            1 => (payload[0] & 0x1F == 24, payload[0] & 0x1F == 28),
            _ => (payload[0] >> 1 & 0x3F == 48, payload[0] >> 1 & 0x3F == 49),
        };
        assert!(!is_open || is_part, "a fragment has no end");
        if is_several {
            let mut rest = &payload[header..];
            while !rest.is_empty() {
                let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                units.push(rest[2..2 + length].to_vec());
                rest = &rest[2 + length..];
            }
        } else if is_part {
            let ends = payload[header];
            assert_eq!(ends & 0x80 == 0, is_open, "a fragment begins where another has not ended");
            if ends & 0x80 != 0 {
                units.push(match header {
                    1 => vec![payload[0] & 0xE0 | ends & 0x1F],
                    _ => vec![payload[0] & 0x81 | (ends & 0x3F) << 1, payload[1]],
                });
            }
            units.last_mut().expect("a unit has begun").extend_from_slice(&payload[header + 1..]);
            is_open = ends & 0x40 == 0;
        } else {
            units.push(payload.to_vec());
        }
    }
    assert!(!is_open, "the last fragment has no end");
    units
}

/// The OBUs in payloads of AV1, without lengths, as the RTP payload format says they are read.
pub(crate) fn obus(payloads: &[Arc<[u8]>]) -> Vec<Vec<u8>> {
    let mut obus: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for payload in payloads {
        let (header, mut rest) = (payload[0], &payload[1..]);
        assert_eq!(header & 0x80 != 0, is_open);
        let number = usize::from(header >> 4 & 3);
        assert_ne!(number, 0, "elements are counted");
        for index in 0..number {
            let element = if index + 1 == number {
                rest
            } else {
                let mut length = 0;
                for place in 0.. {
                    let byte = rest[0];
                    rest = &rest[1..];
                    length |= usize::from(byte & 0x7F) << (7 * place);
                    if byte & 0x80 == 0 {
                        break;
                    }
                }
                let (element, after) = rest.split_at(length);
                rest = after;
                element
            };
            if index == 0 && is_open {
                obus.last_mut().expect("an OBU has begun").extend_from_slice(element);
            } else {
                obus.push(element.to_vec());
            }
        }
        is_open = header & 0x40 != 0;
    }
    assert!(!is_open, "the last OBU has no end");
    obus
}
