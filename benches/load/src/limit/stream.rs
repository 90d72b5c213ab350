use std::collections::VecDeque;
use std::time::Instant;

use anabranch_core::chunk::write_message;
use anabranch_core::message::{Message, MessageType};

use crate::media::{Class, Feed, Kind, MediaOptions};

/// Chunk size of the bytes, as our servers tell it their players.
const CHUNK_SIZE: u32 = 60_000;
/// GOPs that are kept. Players further behind are closed.
const KEPT: usize = 4;

/// A publisher's stream as its players are sent it. Positions count its bytes from the beginning.
#[derive(Debug)]
pub(crate) struct Stream {
    feed: Feed,
    /// What players begin with.
    headers: Vec<u8>,
    /// Those from `first` on.
    bytes: Vec<u8>,
    first: u64,
    /// The key frames among them.
    starts: VecDeque<u64>,
    messages: Vec<Message>,
}

impl Stream {
    pub(crate) fn new(media: &MediaOptions, start: Instant) -> Self {
        let media = MediaOptions { metadata: false, ..media.clone() };
        Stream {
            feed: Feed::new(media, 0, 0, start),
            headers: Vec::new(),
            bytes: Vec::new(),
            first: 0,
            starts: VecDeque::new(),
            messages: Vec::new(),
        }
    }

    /// When there is more.
    pub(crate) fn due(&self) -> Instant {
        self.feed.due()
    }

    /// Appends what is due next, as sent when it was due.
    pub(crate) fn advance(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        self.feed.take_due(self.feed.due(), &mut messages);
        messages.drain(..).for_each(|message| self.push(&message));
        self.messages = messages;
    }

    fn push(&mut self, message: &Message) {
        let (kind, chunk_stream) =
            if message.type_id == MessageType::AUDIO { (Kind::Audio, 4) } else { (Kind::Video, 6) };
        let class = Class::of(kind, &message.payload);
        if class == Class::Key && kind == Kind::Video {
            self.starts.push_back(self.end());
            if self.starts.len() > KEPT {
                self.starts.pop_front();
                let first = self.starts[0];
                self.bytes.drain(..(first - self.first) as usize);
                self.first = first;
            }
        }
        let out = if class == Class::Header { &mut self.headers } else { &mut self.bytes };
        write_message(out, CHUNK_SIZE, chunk_stream, message.timestamp, message.type_id, 1, &message.payload);
    }

    /// What players begin with.
    pub(crate) fn headers(&self) -> &[u8] {
        &self.headers
    }

    /// Where a player begins: the newest key frame.
    pub(crate) fn start(&self) -> u64 {
        self.starts.back().copied().unwrap_or_default()
    }

    /// The position of the first byte that is there.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The position behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64
    }

    /// All bytes from a position on that is there.
    pub(crate) fn from(&self, position: u64) -> &[u8] {
        &self.bytes[(position - self.first) as usize..]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};

    use super::*;
    use crate::frame_check::FrameCheck;

    #[test]
    fn a_player_that_begins_at_a_key_frame_gets_a_stream_without_fault() {
        let now = Instant::now();
        let mut stream = Stream::new(&MediaOptions::default(), now);
        let until = |stream: &mut Stream, seconds| {
            while stream.due() < now + Duration::from_secs(seconds) {
                stream.advance();
            }
        };
        until(&mut stream, 3);
        let start = stream.start();
        // The first GOP is over.
        assert!(0 < start && start < stream.end() && stream.first() == 0);
        until(&mut stream, 8);
        let mut bytes = [stream.headers(), stream.from(start)].concat();
        assert_eq!((stream.first(), stream.start() > start), (0, true), "four GOPs are kept");
        let end = stream.end();
        until(&mut stream, 9);
        assert_eq!(stream.first(), start, "and no fifth");
        bytes.extend_from_slice(stream.from(end));

        let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
        reader.set_chunk_size(CHUNK_SIZE).expect("a legal size");
        let (mut check, mut rest, mut frames) = (FrameCheck::new(0), &bytes[..], 0);
        while let Some(message) = reader.read(&mut rest).expect("it is RTMP") {
            let seen = check.look(&message, now);
            assert_eq!((seen.gap, seen.error), (0, None));
            frames += 1;
        }
        // Seven seconds of pictures and about as many of sound, and two headers.
        assert!((210 + 300..210 + 304).contains(&(frames - 2)), "{frames}");
    }
}
