//! What a proxy puts in front of the handshake to say who is behind it.
//!
//! Three forms are read: PROXY protocol version 1 (a line of text) and 2 (binary), as haproxy and most load balancers
//! send them, and the prefix of SRS's RTMP proxy (`F3`, a length, an IPv4 address). A peer may claim anything with them,
//! so they are read only from networks the operator trusts; from there they are optional, told apart from a handshake
//! by their first byte.
//!
//! Read by hand: a header may be cut anywhere and must not make a server hold more than [`MAX_PREFACE`] bytes. Libraries
//! for the PROXY protocol leave both to their caller, which is most of the work, and do not know the prefix of SRS. What
//! needs to know only where a header ends, as an adapter does in front of TLS, uses [`Preface`] as well.

mod proxy;

use std::net::IpAddr;

use thiserror::Error;

/// Longest prefix read, in bytes: 16 of PROXY protocol version 2 and 4 KiB of addresses and extensions, among which
/// load balancers put names, certificates and identifiers of their own.
pub const MAX_PREFACE: usize = 16 + 4096;

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
        for (index, byte) in input.iter().enumerate() {
            // One more each time, so that what is wrong is found at the same byte however the input is cut.
            self.held.push(*byte);
            if let Some(Parsed { length, client }) = parse(&self.held)? {
                // A byte that shows that there is no prefix belongs to what follows.
                let consumed = index + 1 - (self.held.len() - length);
                self.held = Vec::new();
                return Ok(Prefaced::Done { consumed, client });
            }
            if self.held.len() > MAX_PREFACE {
                return Err(PrefaceError::TooLong { length: self.held.len() });
            }
        }
        Ok(Prefaced::NeedMore)
    }

    /// Bytes of the prefix so far; after an error up to the one that showed it.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
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
