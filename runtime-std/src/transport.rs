use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};

use anabranch_core::session::Lent;

#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::write::{send_now, write};

/// A connection's socket, with TLS if it has it. One thread reads while another one writes.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
}

impl Transport {
    pub(crate) fn plain(socket: TcpStream) -> Self {
        Transport {
            socket,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn secured(socket: TcpStream, tls: Tls) -> Self {
        Transport { socket, tls: Some(Box::new(tls)) }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads once, and blocks until there is something.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.read(&self.socket, buffer);
        }
        (&self.socket).read(buffer)
    }

    /// Writes until the queue is empty or the socket takes nothing for the time of its timeout.
    pub(crate) fn write(&self, outbound: &mut Lent) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.write(&self.socket, outbound);
        }
        write(&self.socket, outbound)
    }

    /// Writes what the socket takes at once, without waiting. With TLS it takes nothing: the writer writes.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return Ok(0);
        }
        send_now(&self.socket, bytes)
    }

    /// Closes the connection to the peer, which also ends a blocked read or write of a thread.
    pub(crate) fn hang_up(&self) {
        // The only possible error is that the socket is no longer connected.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Ends the sending side: the peer sees the end once it has read all.
    pub(crate) fn finish(&self) {
        self.end();
        // The only possible error is that the socket is no longer connected.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Sends TLS's closing alert, if the connection has TLS.
    pub(crate) fn end(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.end(&self.socket);
        }
    }
}
