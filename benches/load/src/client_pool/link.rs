use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::net::TcpStream;
use nix::sys::socket::{MsgFlags, recv};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

/// A connection's socket, with TLS if it has it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Link {
    pub(super) fn connect(address: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>) -> io::Result<Self> {
        let name = || ServerName::IpAddress(address.ip().into());
        let tls = tls.map(|config| ClientConnection::new(config, name()).map(Box::new));
        Ok(Link { tls: tls.transpose().map_err(io::Error::other)?, socket: TcpStream::connect(address)? })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                // Most servers close without TLS's alert.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            // Its end is seen by the next look at the content.
            tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            flush(tls, &mut self.socket)?;
        }
    }

    /// Takes bytes off the socket without looking at them. On Linux they are not even copied, so that players that only
    /// count bytes use little of a machine that they share with the server. Of TLS nothing can be read afterwards.
    pub(super) fn discard(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?)
    }

    /// Writes as much as the socket takes. What TLS has taken may still wait for it: [`flush`](Self::flush) writes that.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write_vectored(slices);
        };
        let count = tls.writer().write_vectored(slices)?;
        flush(tls, &mut self.socket)?;
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    /// Writes what TLS has taken and the socket did not.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| flush(tls, &mut self.socket))
    }
}

fn flush(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => _ = result?,
        }
    }
    Ok(())
}
