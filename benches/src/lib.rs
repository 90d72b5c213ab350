//! Benchmarks of Anabranch; see the `benches` folder. This library holds the streams they run on.

#![forbid(unsafe_code)]

use anabranch_core::chunk::write_message;
use anabranch_core::message::{Message, MessageType, Payload};

/// One second of a stream: 30 video frames, the first a key frame, and 43 audio frames, in the order of time.
///
/// `bits_per_second` is the rate of the video; audio has 128 kb/s.
pub fn one_second(bits_per_second: usize) -> Vec<Message> {
    let key = bits_per_second / 8 / 5;
    let inter = (bits_per_second / 8 - key) / 29;
    let video = (0..30u32).map(|n| {
        let (head, length) = if n == 0 { (0x17, key) } else { (0x27, inter) };
        media(n * 1000 / 30, MessageType::VIDEO, &[head, 1, 0, 0, 0], length)
    });
    let audio = (0..43u32).map(|n| media(n * 1000 / 43, MessageType::AUDIO, &[0xaf, 1], 372));
    let mut messages: Vec<_> = video.chain(audio).collect();
    messages.sort_by_key(|message| message.timestamp);
    messages
}

/// The messages as one peer would write them, one after the other.
pub fn chunked(messages: &[Message], chunk_size: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let chunk_stream = u8::try_from(message.chunk_stream).unwrap_or(6);
        write_message(&mut out, chunk_size, chunk_stream, message.timestamp, message.type_id, 1, &message.payload);
    }
    out
}

fn media(timestamp: u32, type_id: u8, head: &[u8], length: usize) -> Message {
    let mut body = head.to_vec();
    body.resize(length.max(head.len()), 0x5a);
    let chunk_stream = if type_id == MessageType::AUDIO { 4 } else { 6 };
    Message { chunk_stream, timestamp, type_id, stream_id: 1, payload: Payload::from(body) }
}
