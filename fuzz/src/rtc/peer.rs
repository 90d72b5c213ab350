use std::time::Duration;

use str0m::media::Mid;
use str0m::rtp::RtpWrite;

use super::pair::Pair;
use super::purpose;
use crate::cuts::take_byte;

/// A byte for the purpose, with a bit for a peer that is not connected yet, and then what happens: datagrams with any bytes
/// from the client's address or from another one, packets with any payload that the client encrypts, and time.
pub fn run(mut input: &[u8]) {
    let choice = take_byte(&mut input);
    // A publisher, as `purpose` has it, or a viewer of H.264.
    let purpose = purpose(if choice & 1 == 0 { 0 } else { 2 });
    let mut pair = Pair::new(&purpose, choice & 2 == 0);
    let mut number = 100_u64;
    let mut time = 1000_u32;
    for _ in 0..200 {
        if input.is_empty() || pair.is_gone {
            break;
        }
        let what = take_byte(&mut input);
        if what & 3 == 3 {
            pair.run(Duration::from_millis(u64::from(take_byte(&mut input)) * 20));
            continue;
        }
        let length = usize::from(take_byte(&mut input)) | usize::from(what >> 5) << 8;
        let (bytes, rest) = input.split_at(length.min(input.len()));
        input = rest;
        match what & 3 {
            0 => pair.receive(false, bytes),
            1 => pair.receive(true, bytes),
            _ => {
                // Bit 2 for sound, bit 3 for a gap before, bit 4 for the end of a picture.
                let mid = pair.tracks[usize::from(what >> 2 & 1)];
                number += if what & 8 == 0 { 1 } else { 2 };
                if what & 16 != 0 {
                    time += 3000;
                }
                send(&mut pair, mid, number, time, what & 16 != 0, bytes);
            }
        }
    }
    pair.run(Duration::from_millis(500));
}

/// Sends a packet of the client's first payload type.
fn send(pair: &mut Pair, mid: Mid, number: u64, time: u32, marker: bool, payload: &[u8]) {
    let Some(pt) = pair.client.media(mid).and_then(|media| media.remote_pts().first().copied()) else { return };
    let now = pair.now;
    let mut api = pair.client.direct_api();
    let Some(stream) = api.stream_tx_by_mid(mid, None) else { return };
    stream.write_rtp(RtpWrite::new(pt, number.into(), time, now, payload).marker(marker).nackable(false));
    let _ = pair.client.handle_input(str0m::Input::Timeout(now));
    pair.settle();
}
