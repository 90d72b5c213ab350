//! Anabranch next to other RTMP libraries in Rust, on the same bytes; see README.md for what compares with what.
//!
//! [`chunks`] has the readers of chunk streams, [`publishers`] whole server sessions that a publisher talks to. This
//! library only lets each read as its documentation says. `tests` sees to it that all of them read the same,
//! `benches` takes the time.

pub mod chunks;
pub mod publishers;

use anabranch_core::message::Message;

/// Messages of 1 Mb/s video and 128 kb/s audio, four seconds.
pub fn stream() -> Vec<Message> {
    let second = anabranch_benches::one_second(1_000_000);
    let at = |second: u32, mut message: Message| {
        message.timestamp += 1000 * second;
        message
    };
    (0..4).flat_map(|number| second.iter().cloned().map(move |message| at(number, message))).collect()
}

/// How a peer orders the chunks of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Each message is written to its end before the next begins, as FFmpeg and OBS do.
    Sequential,
    /// The chunks of a sound stand between those of a picture, as Flash and several hardware encoders do.
    Interleaved,
}

impl Order {
    /// The messages in chunks.
    pub fn write(self, messages: &[Message], chunk_size: u32) -> Vec<u8> {
        match self {
            Order::Sequential => anabranch_benches::chunked(messages, chunk_size),
            Order::Interleaved => anabranch_benches::interleaved(messages, chunk_size),
        }
    }
}

/// What was read: enough to see that two read the same, and little enough not to be what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub messages: usize,
    pub bytes: usize,
}

impl Tally {
    /// Of messages as they were before they were cut.
    pub fn of(messages: &[Message]) -> Self {
        Tally { messages: messages.len(), bytes: messages.iter().map(|message| message.payload.len()).sum() }
    }

    fn count(&mut self, payload: &[u8]) {
        self.messages += 1;
        self.bytes += std::hint::black_box(payload).len();
    }
}
