use super::websocket;

/// How the body of a live stream is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// In chunks (HTTP/1.1).
    Chunks,
    /// As it is, up to the end of the connection (HTTP/1.0).
    UntilClose,
    /// As binary messages of a WebSocket.
    Messages,
}

/// What comes before a piece of the body.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    bytes: [u8; Head::LONGEST],
    length: usize,
}

impl Head {
    /// 16 hexadecimal digits, and CRLF.
    const LONGEST: usize = 18;

    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut head = Head { bytes: [0; Head::LONGEST], length: 0 };
        for part in parts {
            let end = head.length + part.len();
            head.bytes[head.length..end].copy_from_slice(part);
            head.length = end;
        }
        head
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Framing {
    /// What comes before a piece of `length` bytes, which is not empty.
    pub fn before(self, length: usize) -> Head {
        match self {
            Framing::Chunks => chunk_size(length),
            Framing::UntilClose => Head::new(&[]),
            Framing::Messages => websocket::frame_head(websocket::BINARY, length as u64),
        }
    }

    /// What comes after each piece.
    pub fn after(self) -> &'static [u8] {
        match self {
            Framing::Chunks => b"\r\n",
            Framing::UntilClose | Framing::Messages => b"",
        }
    }

    /// What comes after the last piece of a body that is complete.
    pub fn end(self) -> Vec<u8> {
        match self {
            Framing::Chunks => b"0\r\n\r\n".to_vec(),
            Framing::UntilClose => Vec::new(),
            Framing::Messages => websocket::close_frame(websocket::NORMAL),
        }
    }
}

/// The line before a chunk.
fn chunk_size(length: usize) -> Head {
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1) as usize;
    let mut line = [0; Head::LONGEST];
    for (at, digit) in line[..digits].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[length >> (4 * (digits - 1 - at)) & 15];
    }
    Head::new(&[&line[..digits], b"\r\n"])
}
