use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use anabranch_core::session::{CloseReason, Outbound};
use bytes::Buf;
use mio::net::TcpStream;

/// Pieces handed to one write call.
const SLICES: usize = 64;

/// What carries a connection's bytes.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: TcpStream,
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    All,
    /// The socket takes no more.
    Full,
}

impl Transport {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Transport { socket }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads once.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    /// Writes until the queue is empty or the socket takes no more.
    pub(crate) fn write(&self, outbound: &mut Outbound) -> io::Result<Written> {
        while outbound.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = outbound.chunks_vectored(&mut slices);
            let offered = slices[..count].iter().map(|slice| slice.len()).sum::<usize>();
            match (&self.socket).write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    outbound.advance(taken);
                    // epoll(7): a stream that takes less than it is offered is full.
                    if taken < offered {
                        return Ok(Written::Full);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Full),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::All)
    }

    /// Writes with one call. What is not taken, for whatever reason but a broken connection, is for another.
    pub(crate) fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.socket).write(bytes) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            written => written,
        }
    }

    /// Ends the connection without regard to what is under way. One that is gone already is what is wanted.
    pub(crate) fn cut(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What a broken connection means.
pub(crate) fn lost(error: &io::Error) -> CloseReason {
    CloseReason::PeerLost(error.to_string())
}
