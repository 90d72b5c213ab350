//! Packets of a transport stream (ISO/IEC 13818-1 §2.4.3).

use super::PACKET;

/// The clock reference of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pcr {
    /// It has none.
    None,
    /// In 90,000ths of a second.
    At(u64),
}

/// Cuts a packet of an elementary stream, or a section of a table, into packets of the stream `pid`.
pub(super) fn write_packets(
    pid: u16,
    counter: &mut u8,
    mut bytes: &[u8],
    pcr: Pcr,
    random_access: bool,
    out: &mut Vec<u8>,
) {
    const SPACE: usize = PACKET - 4;
    let mut is_first = true;
    while !bytes.is_empty() {
        // Flags of the adaptation field, and the clock reference.
        let mut adaptation = [0u8; 7];
        let mut used = 0;
        if is_first && (random_access || pcr != Pcr::None) {
            used = 1;
            adaptation[0] = if random_access { 0x40 } else { 0 };
            if let Pcr::At(time) = pcr {
                adaptation[0] |= 0x10;
                // 33 bits of the time, six reserved, and nine of a finer time.
                let value = (time & 0x1_FFFF_FFFF) << 15 | 0x7E00;
                adaptation[1..].copy_from_slice(&value.to_be_bytes()[2..]);
                used = 7;
            }
        }
        // A length byte comes before the adaptation field. It also fills a packet that would not be full.
        let field = if used > 0 { used + 1 } else { 0 };
        let length = bytes.len().min(SPACE - field);
        let field = SPACE - length;
        let (payload, rest) = bytes.split_at(length);
        let [high, low] = pid.to_be_bytes();
        let start = if is_first { 0x40 } else { 0 };
        let control = if field > 0 { 0x30 } else { 0x10 };
        out.extend_from_slice(&[0x47, start | high & 0x1F, low, control | *counter & 0x0F]);
        if field > 0 {
            out.push((field - 1) as u8);
            if field > 1 {
                let used = used.max(1);
                out.extend_from_slice(&adaptation[..used]);
                out.resize(out.len() + field - 1 - used, 0xFF);
            }
        }
        out.extend_from_slice(payload);
        *counter = counter.wrapping_add(1) & 0x0F;
        is_first = false;
        bytes = rest;
    }
}
