use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use redis_protocol::resp2::encode::encode_borrowed;
use redis_protocol::resp2::types::{BorrowedFrame, OwnedFrame as Frame};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use smol::Async;
use smol::future::FutureExt as _;

use super::replies::{Replies, ReplyError};

/// How much is read at once.
const READ: usize = 16 << 10;

/// A connection to a Redis or a Sentinel: requests out, replies in.
#[derive(Debug)]
pub(super) struct Link {
    socket: Async<TcpStream>,
    tls: Option<Box<ClientConnection>>,
    outbound: Vec<u8>,
    /// How much of `outbound` the socket has taken.
    written: usize,
    replies: Replies,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum LinkError {
    Closed,
    Io(io::Error),
    Reply(ReplyError),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkError::Closed => f.write_str("it closed the connection"),
            LinkError::Io(error) => error.fmt(f),
            LinkError::Reply(error) => f.write_str(error.words()),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        LinkError::Io(error)
    }
}

impl From<ReplyError> for LinkError {
    fn from(error: ReplyError) -> Self {
        LinkError::Reply(error)
    }
}

impl Link {
    /// Connects. With `tls`, the certificate must be valid for `host`; the handshake happens with the first request.
    ///
    /// # Errors
    /// The system's, or the host's name cannot be in a certificate.
    pub(super) async fn open(address: SocketAddr, host: &str, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let socket = Async::<TcpStream>::connect(address).await?;
        socket.get_ref().set_nodelay(true)?;
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                Some(Box::new(connection))
            }
        };
        Ok(Link { socket, tls, outbound: Vec::new(), written: 0, replies: Replies::default() })
    }

    /// Queues a request. [`turn`](Self::turn) sends it.
    pub(super) fn send(&mut self, words: &[&str]) {
        let values: Vec<_> = words.iter().map(|word| BorrowedFrame::BulkString(word.as_bytes())).collect();
        let frame = BorrowedFrame::Array(&values);
        let start = self.outbound.len();
        self.outbound.resize(start + frame.encode_len(false), 0);
        let room = self.outbound.get_mut(start..).unwrap_or_default();
        // The room is what the codec asked for.
        let encoded = encode_borrowed(room, &frame, false);
        debug_assert!(encoded.is_ok_and(|length| length == room.len()));
    }

    /// The next reply of those that have come.
    ///
    /// # Errors
    /// What has come is no reply.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        Ok(self.replies.next()?)
    }

    /// Waits for the next reply, and sends what is queued meanwhile.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn reply(&mut self) -> Result<Frame, LinkError> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            self.turn().await?;
        }
    }

    /// Waits until something was received, and sends what is queued meanwhile. If this future is dropped, nothing is lost.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn turn(&mut self) -> Result<(), LinkError> {
        loop {
            self.write()?;
            if self.read()? {
                return Ok(());
            }
            // What was received may have made TLS write.
            self.write()?;
            let wants_write = self.wants_write();
            let readable = self.socket.readable();
            if wants_write {
                readable.or(self.socket.writable()).await?;
            } else {
                readable.await?;
            }
        }
    }

    fn wants_write(&self) -> bool {
        // While TLS is being set up it takes only a part, and waits for the peer.
        self.tls.as_ref().map_or(self.written < self.outbound.len(), |tls| tls.wants_write())
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        loop {
            if let Some(tls) = &mut self.tls {
                while self.written < self.outbound.len() {
                    let rest = self.outbound.get(self.written..).unwrap_or_default();
                    // TLS takes a limited part until the socket has taken it.
                    match tls.writer().write(rest)? {
                        0 => break,
                        count => self.written += count,
                    }
                }
                if !tls.wants_write() {
                    break;
                }
                match tls.write_tls(&mut self.socket.get_ref()) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            } else {
                let rest = self.outbound.get(self.written..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
                match self.socket.get_ref().write(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if self.written == self.outbound.len() {
            self.outbound.clear();
            self.written = 0;
            // After many leases were renewed at once.
            self.outbound.shrink_to(64 << 10);
        }
        Ok(())
    }

    /// Reads what is there. False if nothing is.
    fn read(&mut self) -> Result<bool, LinkError> {
        let mut buffer = [0; READ];
        let mut any = false;
        loop {
            let Some(tls) = &mut self.tls else {
                return match self.socket.get_ref().read(&mut buffer) {
                    Ok(0) => Err(LinkError::Closed),
                    Ok(count) => {
                        self.replies.add(buffer.get(..count).unwrap_or_default());
                        Ok(true)
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error.into()),
                };
            };
            match tls.read_tls(&mut self.socket.get_ref()) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            tls.process_new_packets()
                .map_err(|error| LinkError::Io(io::Error::new(io::ErrorKind::InvalidData, error)))?;
            loop {
                match tls.reader().read(&mut buffer) {
                    Ok(0) => return if any { Ok(true) } else { Err(LinkError::Closed) },
                    Ok(count) => {
                        self.replies.add(buffer.get(..count).unwrap_or_default());
                        any = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            if any {
                return Ok(true);
            }
            // A part of the handshake: it may have to be answered before more comes.
            if tls.wants_write() {
                return Ok(false);
            }
        }
    }
}
