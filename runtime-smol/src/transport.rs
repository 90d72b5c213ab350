use std::io::{self, IoSlice, Read, Write};
#[cfg(feature = "tls")]
use std::net::Ipv4Addr;
use std::net::{Shutdown, SocketAddr};
use std::task::Waker;

use anabranch_core::session::{CloseReason, Lent};
use anabranch_host::Carrier;
use bytes::Buf;
use mio::net::TcpStream;

use crate::outbound::Session;
use crate::server::Shared;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Most slices for one write call.
const SLICES: usize = 64;

/// A connection's socket, with TLS if it has it. Only the connection's own thread calls it.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
}

/// How much a read returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Nothing,
    /// All that had arrived.
    Some,
    /// The buffer is full: there may be more.
    Whole,
}

/// How much was written.
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

    /// The transport of a connection that the server opened.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn outbound(socket: TcpStream, session: Session) -> Self {
        Transport {
            socket,
            #[cfg(feature = "tls")]
            tls: session.map(|session| Box::new(Tls::outbound(session))),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads once. If it does not fill the buffer, it has read all there is, unless there
    /// [is more](Self::has_more). If a TLS handshake has to be computed first, in the turn of `client`, `waker` is woken
    /// when that is done.
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
            match self.write_slices(&mut slices[..count]) {
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

    /// Writes with one call, and returns how many bytes the socket took. Only a broken connection is an error.
    pub(crate) fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.write_slices(&mut [IoSlice::new(bytes)]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            written => written,
        }
    }

    /// Reads a field of what a write needs first, only to load it into the cache.
    pub(crate) fn touch(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.touch();
        }
        false
    }

    /// Writes bytes that a write took and that did not fit into the socket.
    pub(crate) fn flush(&self) -> io::Result<Written> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.flush(&self.socket);
        }
        Ok(Written::All)
    }

    /// True while bytes that a write took wait for room in the socket.
    pub(crate) fn is_full(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.is_full();
        }
        false
    }

    /// True if the next read returns something for which the socket may have no further event.
    pub(crate) fn has_more(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.has_more();
        }
        false
    }

    /// True once the TLS handshake that the last read handed over is computed.
    pub(crate) fn has_news(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.has_news();
        }
        false
    }

    /// Sends TLS's closing alert, if the connection has TLS.
    pub(crate) fn end(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.end(&self.socket);
        }
    }

    /// Ends the sending side: the peer sees the end once it has read all.
    pub(crate) fn finish(&self) {
        self.end();
        // What waits for room in the socket would be lost.
        if !self.is_full() {
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Ends the connection at once; bytes under way may be lost. An error means that the connection is gone already.
    pub(crate) fn cut(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    #[cfg_attr(not(feature = "tls"), allow(clippy::needless_pass_by_ref_mut))]
    fn write_slices(&self, slices: &mut [IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.write(&self.socket, slices);
        }
        // For one slice, which is frequent, there is a cheaper call.
        if let [slice] = slices { (&self.socket).write(slice) } else { (&self.socket).write_vectored(slices) }
    }
}

/// The close reason for an error of the socket.
pub(crate) fn lost(error: &io::Error) -> CloseReason {
    #[cfg(feature = "tls")]
    if let Some(reason) = crate::tls::reason(error) {
        return reason;
    }
    CloseReason::PeerLost(error.to_string())
}
