//! The prefix that a proxy sends before the handshake to name the address of its client.
//!
//! [`Preface`] reads three forms: PROXY protocol version 1 (a line of text) and 2 (binary), as haproxy and most load
//! balancers send them, and the prefix of SRS's RTMP proxy (`F3`, a length, an IPv4 address). A peer can claim any
//! address in a prefix, so the server reads prefixes only from networks that the operator trusts. There a prefix is
//! optional: its first byte distinguishes it from a handshake.
//!
//! This reader is written by hand: a prefix may be split at any byte and must not make a server hold more than
//! [`MAX_PREFACE`] bytes. Libraries for the PROXY protocol leave both to their caller and do not know the prefix of SRS.
//! Code that needs only the end of a prefix, such as an adapter in front of TLS, uses [`Preface`] as well.

mod proxy;

use std::net::IpAddr;

use thiserror::Error;

/// Longest prefix read, in bytes: the 16 bytes of a PROXY protocol version 2 header, and 4 KiB of addresses and
/// extensions. Load balancers use extensions for names, certificates and their own identifiers.
pub const MAX_PREFACE: usize = 16 + 4096;

/// Reads the prefix of one connection. The input may be split at any byte.
#[derive(Default)]
pub struct Preface {
    held: Vec<u8>,
}

crate::shown::debug_with_bytes!(Preface { ; held });

/// A prefix that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrefaceError {
    /// The prefix is longer than [`MAX_PREFACE`], or than its format allows.
    #[error("proxy header of {length} bytes is over the limit")]
    TooLong {
        /// Announced or received length in bytes.
        length: usize,
    },
    /// The prefix does not follow its format.
    #[error("proxy header is malformed: {0}")]
    Malformed(&'static str),
}

/// What [`Preface::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefaced {
    /// All of the input belongs to the prefix, which continues in the next input.
    NeedMore,
    /// The prefix is complete, or there is none. The handshake follows.
    Done {
        /// Bytes of this input that belong to the prefix; the rest belongs to the handshake.
        consumed: usize,
        /// The client's address, if the proxy gave one. A proxy's own health check gives none. An IPv4 address in IPv6
        /// form is given as one of IPv4.
        client: Option<(IpAddr, u16)>,
    },
}

/// A complete prefix at the front of some bytes.
struct Parsed {
    length: usize,
    client: Option<(IpAddr, u16)>,
}

impl Preface {
    /// Takes bytes from the peer until the prefix is complete.
    ///
    /// # Errors
    /// A prefix that cannot be read. The connection cannot go on, because the start of the handshake is unknown.
    pub fn read(&mut self, input: &[u8]) -> Result<Prefaced, PrefaceError> {
        for (index, byte) in input.iter().enumerate() {
            // One byte at a time, so that an error occurs at the same byte however the input is split.
            self.held.push(*byte);
            if let Some(Parsed { length, client }) = parse(&self.held)? {
                // A byte that shows that there is no prefix belongs to the handshake.
                let consumed = index + 1 - (self.held.len() - length);
                self.held = Vec::new();
                let client = client.map(|(address, port)| (address.to_canonical(), port));
                return Ok(Prefaced::Done { consumed, client });
            }
            if self.held.len() > MAX_PREFACE {
                return Err(PrefaceError::TooLong { length: self.held.len() });
            }
        }
        Ok(Prefaced::NeedMore)
    }

    /// True if the prefix has begun with this byte.
    pub(crate) fn begins_with(&self, byte: u8) -> bool {
        self.held.first() == Some(&byte)
    }

    /// Bytes of the prefix so far; after an error, up to the byte that caused it.
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
