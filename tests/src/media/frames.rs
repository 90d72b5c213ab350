//! Messages of H.264 and AAC as small as they can be. Their pictures cannot be decoded.

use anabranch_core::message::Message;

/// The AVCDecoderConfigurationRecord of 320x240: Baseline, level 1.3; one SPS, one PPS.
pub fn video_header() -> Message {
    let sps = [
        0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
        0x03, 0xc0, 0xf1, 0x42, 0xa4, 0x80,
    ];
    let pps = [0x68, 0xcb, 0x83, 0xcb, 0x20];
    let mut body = vec![0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0, sps.len() as u8];
    body.extend(sps);
    body.extend([1, 0, pps.len() as u8]);
    body.extend(pps);
    Message::video(0, body)
}

/// A key frame or another picture, with `length` bytes after its tag header.
pub fn video(timestamp: u32, key: bool, length: usize) -> Message {
    let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.resize(5 + length, 0x55);
    Message::video(timestamp, body)
}

/// AAC LC, 44100 Hz, stereo.
pub fn audio_header() -> Message {
    Message::audio(0, [0xaf, 0, 0x12, 0x10].as_slice())
}

/// A sound.
pub fn audio(timestamp: u32) -> Message {
    Message::audio(timestamp, [0xaf, 1, 1, 2, 3, 4].as_slice())
}
