//! Complete connections of real clients: handshake, the recorded commands, and for publishers some media.

use super::chunk_writer::{ChunkWriter, Extension, IdForm, Outgoing, Style};
use super::fixtures;

/// The bytes of one client.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// The capture's id and the form of the handshake.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Where the chunk stream starts.
    pub(crate) handshake: usize,
    pub(crate) publishes: bool,
}

/// Every capture, once after a simple and once after a digest handshake.
pub(crate) fn connections() -> Vec<Recorded> {
    let digest = fixtures::vectors("c0c1").into_iter().find(|vector| fixtures::id(vector) == "hs-c1-ffmpeg");
    let digest = fixtures::input(&digest.expect("a recorded C1"));
    let captures = fixtures::captures();
    let both = |capture: &serde_json::Value| {
        [("simple", simple_hello()), ("digest", digest.clone())].map(|(form, hello)| {
            let publishes = fixtures::id(capture).ends_with("pub");
            let mut bytes = hello;
            bytes.extend_from_slice(&[0x5c; 1536]);
            let handshake = bytes.len();
            bytes.extend(fixtures::input(capture));
            if publishes {
                bytes.extend(media(chunk_size(capture)));
            }
            Recorded { name: format!("{} {form}", fixtures::id(capture)), bytes, handshake, publishes }
        })
    };
    captures.iter().flat_map(both).collect()
}

/// C0 and a C1 that asks for no digest.
pub(crate) fn simple_hello() -> Vec<u8> {
    let mut hello = vec![3; 1537];
    hello[1..9].fill(0);
    hello
}

/// The chunk size in force at the end of a capture.
fn chunk_size(capture: &serde_json::Value) -> usize {
    match fixtures::id(capture) {
        "cap-ff-pub" => 4096,
        _ => 128,
    }
}

/// Media on chunk streams that the recordings do not use, so that it can follow any of them: sequence headers, key
/// frames and other frames, longer and shorter than a chunk, with rising, wrapping and extended timestamps.
fn media(chunk_size: usize) -> Vec<u8> {
    let (mut out, mut writer) = (Vec::new(), ChunkWriter::new(chunk_size));
    let mut write = |video: bool, timestamp: u32, head: &[u8], length: usize, format: u8, extension: Extension| {
        let mut body = head.to_vec();
        body.extend((0..length).map(|index| (index * 7 + length) as u8));
        let (chunk_stream, type_id) = if video { (70, 9) } else { (11, 8) };
        let message = Outgoing { chunk_stream, timestamp, type_id, message_stream_id: 1, body };
        writer.write(&mut out, message, Style { format, id: IdForm::Shortest, extension });
    };
    write(true, 0, &[0x17, 0, 0, 0, 0], 40, 0, Extension::Repeat);
    write(false, 0, &[0xaf, 0], 2, 0, Extension::Repeat);
    for gop in 0..3u32 {
        let time = gop * 0x00ff_ff00;
        write(true, time, &[0x17, 1, 0, 0, 0], 3000, 3, Extension::Repeat);
        for frame in 1..6 {
            write(true, time + frame * 40, &[0x27, 1, 0, 0, 0], 300, 3, Extension::Omit);
            write(false, time + frame * 40, &[0xaf, 1], 90, 3, Extension::Absolute);
        }
    }
    out
}
