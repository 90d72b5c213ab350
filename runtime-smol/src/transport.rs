use std::io::{self, IoSlice, Read, Write};
#[cfg(feature = "tls")]
use std::net::Ipv4Addr;
use std::net::{Shutdown, SocketAddr};
use std::task::Waker;

use anabranch_core::session::{CloseReason, Lent};
use anabranch_host::Carrier;
use bytes::Buf;
use mio::net::TcpStream;

use crate::server::Shared;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Pieces handed to one write call.
const SLICES: usize = 64;

/// What carries a connection's bytes. Only its own thread calls it.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Nothing,
    /// All there was.
    Some,
    /// As much as was asked for: there may be more.
    Whole,
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    All,
    /// The socket takes no more.
    Full,
}

#[cfg_attr(not(feature = "tls"), allow(clippy::unused_self))]
impl Transport {
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn new(socket: TcpStream, carrier: &Carrier) -> Self {
        #[cfg(feature = "tls")]
        let tls = Tls::new(carrier).map(Box::new);
        #[cfg(not(feature = "tls"))]
        let Carrier::Plain = carrier else { unreachable!("there is no other without TLS") };
        Transport {
            socket,
            #[cfg(feature = "tls")]
            tls,
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads once. Less than the buffer holds is all there is, unless something is [left](Self::has_left). Where that is to
    /// be computed first, in the turn of `client`, `waker` is woken when it is there.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn read(
        &self,
        buffer: &mut [u8],
        client: Option<SocketAddr>,
        shared: &Shared,
        waker: &Waker,
    ) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let client = client.map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.ip());
            return tls.read(&self.socket, buffer, client, &shared.openings, waker);
        }
        (&self.socket).read(buffer)
    }

    /// Writes until the queue is empty or the socket takes no more.
    pub(crate) fn write(&self, outbound: &mut Lent) -> io::Result<Written> {
        while outbound.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = outbound.chunks_vectored(&mut slices);
            let offered = slices[..count].iter().map(|slice| slice.len()).sum::<usize>();
            match self.write_slices(&slices[..count]) {
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
        match self.write_slices(&[IoSlice::new(bytes)]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            written => written,
        }
    }

    /// Writes what was taken and did not fit into the socket.
    pub(crate) fn flush(&self) -> io::Result<Written> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.flush(&self.socket);
        }
        Ok(Written::All)
    }

    /// True while what was taken did not fit into the socket.
    pub(crate) fn is_full(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.is_full();
        }
        false
    }

    /// True if the next read finds something of which the socket may never tell.
    pub(crate) fn has_left(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.has_left();
        }
        false
    }

    /// True once there is what the last read had computed.
    pub(crate) fn has_news(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.has_news();
        }
        false
    }

    /// The last word, if there is one to say.
    pub(crate) fn end(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.end(&self.socket);
        }
    }

    /// Ends the connection without regard to what is under way. One that is gone already is what is wanted.
    pub(crate) fn cut(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.write(&self.socket, slices);
        }
        // Often it is one piece, and then there is a cheaper call.
        if let [slice] = slices { (&self.socket).write(slice) } else { (&self.socket).write_vectored(slices) }
    }
}

/// What a broken connection means.
pub(crate) fn lost(error: &io::Error) -> CloseReason {
    #[cfg(feature = "tls")]
    if let Some(reason) = crate::tls::reason(error) {
        return reason;
    }
    CloseReason::PeerLost(error.to_string())
}
