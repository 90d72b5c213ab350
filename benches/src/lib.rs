//! Benchmarks of Anabranch; see the `benches` folder. This library holds the streams they run on.

#![forbid(unsafe_code)]

use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency, continuation_header, message_header, write_message};
use anabranch_core::message::{Control, Message, MessageType, Payload};

/// What OBS Studio 29 sends after C2: `connect` to the first key frame and some sound. Whole messages.
const OBS: &str = include_str!("../../core/tests/fixtures/obs-29-publish.hex");

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

/// The messages as a peer writes them that ends each before it begins the next.
pub fn chunked(messages: &[Message], chunk_size: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let chunk_stream = chunk_stream(message);
        write_message(&mut out, chunk_size, chunk_stream, message.timestamp, message.type_id, 1, &message.payload);
    }
    out
}

/// The messages as a peer writes them that lets no sound wait for a picture: their chunks alternate.
pub fn interleaved(messages: &[Message], chunk_size: u32) -> Vec<u8> {
    let is_audio = |message: &Message| message.type_id == MessageType::AUDIO;
    let mut out = Vec::new();
    // A picture, and the sounds until the next.
    for run in messages.chunk_by(|_, next| is_audio(next)) {
        let lane = |audio| {
            let messages = run.iter().filter(move |message| is_audio(message) == audio);
            messages.flat_map(|message| chunks(message, chunk_size))
        };
        let (mut video, mut audio) = (lane(false), lane(true));
        loop {
            let pair = [video.next(), audio.next()];
            if pair.iter().all(Option::is_none) {
                break;
            }
            out.extend(pair.into_iter().flatten().flatten());
        }
    }
    out
}

/// The messages that a real encoder sent, of all types.
pub fn recorded() -> Vec<Message> {
    let digits: String = OBS.lines().filter(|line| !line.starts_with('#')).collect();
    let bytes = hex::decode(digits).expect("the recording is hexadecimal");
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Lenient);
    let (mut input, mut messages) = (&bytes[..], Vec::new());
    while let Some(message) = reader.read(&mut input).expect("the recording is legal") {
        if let Ok(Some(Control::SetChunkSize(size))) = Control::parse(message.type_id, &message.payload) {
            reader.set_chunk_size(size).expect("the size is legal");
        }
        messages.push(message);
    }
    messages
}

/// An audio, video or data message with a body of this length.
pub fn media(timestamp: u32, type_id: u8, head: &[u8], length: usize) -> Message {
    let mut body = head.to_vec();
    body.resize(length.max(head.len()), 0x5a);
    let chunk_stream = if type_id == MessageType::AUDIO { 4 } else { 6 };
    Message { chunk_stream, timestamp, type_id, message_stream_id: 1, payload: Payload::from(body) }
}

fn chunks(message: &Message, chunk_size: u32) -> impl Iterator<Item = Vec<u8>> {
    let (chunk_stream, length) = (chunk_stream(message), message.payload.len() as u32);
    message.payload.chunks(chunk_size as usize).enumerate().map(move |(index, body)| {
        let header = match index {
            0 => message_header(chunk_stream, message.timestamp, length, message.type_id, 1),
            _ => continuation_header(chunk_stream, message.timestamp),
        };
        [&header[..], body].concat()
    })
}

fn chunk_stream(message: &Message) -> u8 {
    u8::try_from(message.chunk_stream).unwrap_or(6)
}
