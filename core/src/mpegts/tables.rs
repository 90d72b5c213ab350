//! The tables of a program (ISO/IEC 13818-1 §2.4.4): PAT and PMT, each one section in one packet.

use super::PACKET;
use super::elementary::Elementary;

const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
const PROGRAM: u16 = 1;

pub(super) fn write_pat(counter: &mut u8, out: &mut Vec<u8>) {
    write_section(PAT_PID, counter, 0, out, |out| {
        out.extend_from_slice(&PROGRAM.to_be_bytes());
        out.extend_from_slice(&(0xE000 | PMT_PID).to_be_bytes());
    });
}

pub(super) fn write_pmt<'a>(
    counter: &mut u8,
    clock: u16,
    streams: impl Iterator<Item = (u16, &'a Elementary)>,
    out: &mut Vec<u8>,
) {
    write_section(PMT_PID, counter, 2, out, |out| {
        out.extend_from_slice(&(0xE000 | clock).to_be_bytes());
        out.extend_from_slice(&0xF000u16.to_be_bytes()); // no descriptors of the program
        for (pid, elementary) in streams {
            let descriptors = elementary.descriptors();
            out.push(elementary.stream_type());
            out.extend_from_slice(&(0xE000 | pid).to_be_bytes());
            out.extend_from_slice(&(0xF000 | descriptors.len() as u16).to_be_bytes());
            out.extend_from_slice(&descriptors);
        }
    });
}

/// A packet with one section: its header, what `content` writes, and the checksum.
fn write_section(pid: u16, counter: &mut u8, table: u8, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let [high, low] = pid.to_be_bytes();
    out.extend_from_slice(&[0x47, 0x40 | high & 0x1F, low, 0x10 | *counter & 0x0F]);
    *counter = counter.wrapping_add(1) & 0x0F;
    out.push(0); // the section begins at once
    let section = out.len();
    // The length comes below; then the number of the stream or program, version 0 in force, the only section.
    out.extend_from_slice(&[table, 0xB0, 0, 0, 1, 0xC1, 0, 0]);
    content(out);
    // Behind the length itself, with the checksum: less than a packet, because the tracks are limited.
    let length = out.len() - section - 3 + 4;
    debug_assert!(length < 176, "a section fits into its packet");
    out[section + 2] = length as u8;
    let checksum = crc_32(&out[section..]);
    out.extend_from_slice(&checksum.to_be_bytes());
    out.resize(start + PACKET, 0xFF);
}

/// The checksum of sections (ISO/IEC 13818-1 Annex A).
pub(super) fn crc_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 }
        })
    })
}
