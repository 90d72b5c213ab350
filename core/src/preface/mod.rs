//! What a proxy puts in front of the handshake to say who is behind it.
//!
//! Three forms are read: PROXY protocol version 1 (a line of text) and 2 (binary), as haproxy and most load balancers
//! send them, and the prefix of SRS's RTMP proxy (`F3`, a length, an IPv4 address). A peer may claim anything with them,
//! so they are read only from networks the operator trusts; from there they are optional, told apart from a handshake
//! by their first byte.

mod proxy;

use std::net::IpAddr;

use thiserror::Error;

/// Longest prefix read, in bytes: what PROXY protocol version 2 and SRS's proxy allow themselves at most here.
pub const MAX_PREFACE: usize = 1024 + 16;

/// Reads the prefix of one connection; bytes may be cut anywhere.
#[derive(Debug, Default)]
pub struct Preface {
    held: Vec<u8>,
}

/// A prefix that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrefaceError {
    /// It is longer than [`MAX_PREFACE`], or than its format allows.
    #[error("proxy header of {length} bytes is over the limit")]
    TooLong {
        /// Announced or received length in bytes.
        length: usize,
    },
    /// It does not follow its format.
    #[error("proxy header is malformed: {0}")]
    Malformed(&'static str),
}

/// What [`Preface::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefaced {
    /// All of the input is part of an unfinished prefix.
    NeedMore,
    /// The prefix is over. So many bytes of the input belong to it; the rest is the handshake.
    Done {
        /// Bytes of this input that belong to the prefix.
        consumed: usize,
        /// The client's address, if the proxy gave one. A proxy's own health check gives none.
        client: Option<(IpAddr, u16)>,
    },
}

/// A prefix found at the front of some bytes.
struct Parsed {
    length: usize,
    client: Option<(IpAddr, u16)>,
}

impl Preface {
    /// Takes bytes from the peer until the prefix is over.
    ///
    /// # Errors
    /// A prefix that cannot be read: what follows it cannot be found.
    pub fn read(&mut self, input: &[u8]) -> Result<Prefaced, PrefaceError> {
        let before = self.held.len();
        // One byte past the longest prefix is enough to know that it is too long.
        let take = input.len().min(MAX_PREFACE + 1 - before);
        self.held.extend_from_slice(&input[..take]);
        match parse(&self.held)? {
            Some(Parsed { length, client }) => {
                self.held = Vec::new();
                // Bytes held from earlier calls always belong to the prefix: it was not over then.
                Ok(Prefaced::Done { consumed: length.saturating_sub(before), client })
            }
            None if self.held.len() > MAX_PREFACE => Err(PrefaceError::TooLong { length: self.held.len() }),
            None => Ok(Prefaced::NeedMore),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Parsed>, PrefaceError> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => proxy::version_1(bytes),
        Some(b'\r') => proxy::version_2(bytes),
        Some(0xf3) => proxy::srs(bytes),
        Some(_) => Ok(Some(Parsed { length: 0, client: None })),
    }
}

#[cfg(test)]
mod tests;
