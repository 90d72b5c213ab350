//! The client's side of TLS, for connections that the server opens.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_core::relay::Failure;
use anabranch_core::session::Lent;
use anabranch_host::{Host, tls_failure};
use bytes::Buf;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::connection::Connection;
use crate::transport::Transport;

/// Bytes read from the socket at once: as much as the library takes with one call.
const READ: usize = 4 << 10;
/// Content that is encrypted before it is written: one record of the greatest length.
const WRITE: usize = 16 << 10;
/// Slices of the queue that are looked at together.
const SLICES: usize = 32;

/// A connection in TLS. Neither a read nor a write of the socket holds the lock.
#[derive(Debug)]
pub(crate) struct Tls {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    session: ClientConnection,
    /// Encrypted bytes that the socket has not taken.
    pending: Vec<u8>,
    /// True if the first byte of the queue is among the pending ones already. It counts as written when they are, so that
    /// the queue is not empty before.
    ahead: bool,
}

/// Agrees on TLS with the peer, which has to prove this name.
pub(crate) fn secure(host: &Host<Connection>, mut socket: TcpStream, name: String) -> Result<Transport, Failure> {
    let server = ServerName::try_from(name).map_err(|error| Failure::Tls(error.to_string()))?;
    let mut session = ClientConnection::new(host.outbound_tls()?, server).map_err(|error| tls_failure(&error))?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).map_err(|error| {
            let reason = error.get_ref().and_then(|reason| reason.downcast_ref::<rustls::Error>());
            reason.map_or_else(|| Failure::Connect(format!("while TLS begins: {error}")), tls_failure)
        })?;
    }
    session.set_buffer_limit(Some(WRITE));
    let state = State { session, pending: Vec::new(), ahead: false };
    Ok(Transport::secured(socket, Tls { state: Mutex::new(state) }))
}

impl Tls {
    pub(crate) fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut raw = [0; READ];
        loop {
            match self.state().session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end without the peer's closing alert, as most peers do.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            let count = socket.read(&mut raw)?;
            let session = &mut self.state().session;
            let mut input = &raw[..count];
            loop {
                session.read_tls(&mut input)?;
                session.process_new_packets().map_err(|error| io::Error::other(format!("TLS: {error}")))?;
                if input.is_empty() {
                    break;
                }
            }
        }
    }

    pub(crate) fn write(&self, socket: &TcpStream, outbound: &mut Lent) -> io::Result<()> {
        loop {
            if !self.flush(socket)? {
                return Ok(());
            }
            let mut state = self.state();
            if std::mem::take(&mut state.ahead) {
                outbound.advance(1);
            }
            if !outbound.has_remaining() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = outbound.chunks_vectored(&mut slices);
            // What the other direction has queued leaves the whole limit to the content.
            state.take_encrypted();
            // All slices at once, so that their bytes share a record.
            let taken = state.session.writer().write_vectored(&slices[..count])?;
            state.take_encrypted();
            state.ahead = true;
            drop(state);
            outbound.advance(taken - 1);
        }
    }

    /// Writes what is pending. False if the socket took nothing for the time of its timeout.
    fn flush(&self, mut socket: &TcpStream) -> io::Result<bool> {
        loop {
            let mut pending = {
                let mut state = self.state();
                // Answers to the peer's key updates, for instance.
                state.take_encrypted();
                std::mem::take(&mut state.pending)
            };
            if pending.is_empty() {
                return Ok(true);
            }
            let written = socket.write(&pending);
            let count = *written.as_ref().unwrap_or(&0);
            pending.drain(..count);
            let mut state = self.state();
            pending.append(&mut state.pending);
            state.pending = pending;
            drop(state);
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the closing alert, so that the peer knows that the stream is complete.
    pub(crate) fn end(&self, socket: &TcpStream) {
        self.state().session.send_close_notify();
        // If this fails, the peer is gone.
        let _ = self.flush(socket);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_encrypted(&mut self) {
        while self.session.wants_write() {
            // A vector takes everything.
            let _ = self.session.write_tls(&mut self.pending);
        }
    }
}
