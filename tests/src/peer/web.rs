use std::net::SocketAddr;
use std::time::Instant;

use anabranch_core::flv::TagReader;

use super::{End, Wire};
use crate::TIMEOUT;

/// The fields of a request that asks for a WebSocket.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A ping without content.
const PING: [u8; 2] = [0x89, 0];

/// A player by HTTP: it sends a request, and takes the answer apart.
#[derive(Debug)]
pub struct WebPlayer {
    wire: Wire,
    /// What has come and is not taken apart.
    received: Vec<u8>,
    head: String,
    framing: Framing,
    reader: TagReader,
    /// A piece of the body of which the tags are read.
    piece: Vec<u8>,
}

/// A tag of FLV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTag {
    /// 8 for audio, 9 for video, 18 for data.
    pub kind: u8,
    /// In milliseconds.
    pub timestamp: u32,
    /// What follows its head.
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Chunks,
    Plain,
    Messages,
}

impl WebPlayer {
    /// Gets a path, such as `/live/cam.flv`. There is no answer yet.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn get(server: impl Into<SocketAddr>, path: &str) -> Self {
        WebPlayer::asking(server, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
    }

    /// Asks for a WebSocket.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn web_socket(server: impl Into<SocketAddr>, path: &str) -> Self {
        WebPlayer::asking(server, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n"))
    }

    /// Sends any request.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn asking(server: impl Into<SocketAddr>, request: &str) -> Self {
        let mut wire = Wire::dial(server);
        wire.write(request.as_bytes());
        let (received, head) = (Vec::new(), String::new());
        WebPlayer { wire, received, head, framing: Framing::Plain, reader: TagReader::default(), piece: Vec::new() }
    }

    /// The status of the answer, once it has come.
    ///
    /// # Panics
    /// If none comes, or the answer is none of HTTP.
    pub fn status(&mut self) -> u16 {
        let line = self.head().split(' ').nth(1);
        line.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {:?}", self.head))
    }

    /// The head of the answer.
    ///
    /// # Panics
    /// If none comes.
    pub fn head(&mut self) -> &str {
        if self.head.is_empty() {
            let end = loop {
                match self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                    Some(at) => break at + 4,
                    None => {
                        assert!(self.read(), "the connection ends in {:?}", String::from_utf8_lossy(&self.received));
                    }
                }
            };
            let head = self.received.drain(..end).collect();
            self.head = String::from_utf8(head).expect("a head is text");
            let has = |field: &str| self.head.to_ascii_lowercase().contains(field);
            self.framing = match () {
                () if self.head.starts_with("HTTP/1.1 101 ") => Framing::Messages,
                () if has("\r\ntransfer-encoding: chunked\r\n") => Framing::Chunks,
                () => Framing::Plain,
            };
        }
        &self.head
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Panics
    /// If nothing comes in time, or the framing is wrong.
    pub fn piece(&mut self) -> Option<Vec<u8>> {
        self.head();
        loop {
            if self.received.starts_with(&PING) && matches!(self.framing, Framing::Messages) {
                self.received.drain(..PING.len());
            }
            if let Some((head, length, tail)) = self.framed()
                && self.received.len() >= head + length + tail
            {
                let piece = self.received[head..head + length].to_vec();
                self.received.drain(..head + length + tail);
                return Some(piece).filter(|piece| !piece.is_empty());
            }
            if !self.read() {
                assert!(self.received.is_empty(), "the body ends within a piece: {:02x?}", self.received);
                return None;
            }
        }
    }

    /// Bytes before the next piece, in it, and after it. An empty one is the end.
    fn framed(&self) -> Option<(usize, usize, usize)> {
        let received = &self.received[..];
        match self.framing {
            Framing::Plain => Some((0, received.len(), 0)).filter(|(_, length, _)| *length > 0),
            Framing::Chunks => {
                let line = received.windows(2).position(|window| window == b"\r\n")?;
                let digits = std::str::from_utf8(&received[..line]).expect("a length is text");
                Some((line + 2, usize::from_str_radix(digits, 16).expect("a length is a number"), 2))
            }
            Framing::Messages => {
                let [first, second, rest @ ..] = received else { return None };
                let wide = match second {
                    126 => 2,
                    127 => 8,
                    length => return Some((2, usize::from(*length) * usize::from(*first == 0x82), 0)),
                };
                assert_eq!(*first, 0x82, "a message is binary and whole");
                let length = rest.get(..wide)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                Some((2 + wide, length, 0))
            }
        }
    }

    /// The next tag of FLV; `None` at the end of the body.
    ///
    /// # Panics
    /// If nothing comes in time, or it is not FLV.
    pub fn tag(&mut self) -> Option<WebTag> {
        loop {
            let mut rest = &self.piece[..];
            let tag = self.reader.read(&mut rest).expect("it is FLV");
            let tag = tag.map(|tag| WebTag { kind: tag.type_id, timestamp: tag.timestamp, body: tag.body.to_vec() });
            let taken = self.piece.len() - rest.len();
            self.piece.drain(..taken);
            if tag.is_some() {
                return tag;
            }
            self.piece = self.piece()?;
        }
    }

    /// The next tag with a coded picture.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn picture(&mut self) -> WebTag {
        loop {
            let tag = self.tag().expect("the stream goes on");
            if tag.kind == 9 && tag.body.get(1) == Some(&1) {
                return tag;
            }
        }
    }

    /// The connection, without what has come and is not taken apart.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// Reads some bytes; false at the end.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.wire.read_before(Instant::now() + TIMEOUT, &mut buffer) {
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(End::Open) => panic!("nothing comes in {TIMEOUT:?}; head {:?}", self.head),
            Err(End::Closed | End::Reset) => return false,
        }
        true
    }
}
