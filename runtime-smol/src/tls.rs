use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_host::Carrier;
use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use crate::transport::Written;

/// With this byte TLS begins: the type of a record that opens a connection (RFC 8446, section 5.1).
const FIRST_OF_TLS: u8 = 22;
/// Bytes that may wait, encrypted, for a socket that is full: what is taken further counts as written.
const TAKEN: usize = 32 << 10;

/// A connection that is carried in TLS, or may turn out to be.
#[derive(Debug)]
pub(crate) struct Tls {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Undecided(Arc<ServerConfig>),
    Plain,
    /// `None` if the library made none of it.
    Encrypted(Option<Box<ServerConnection>>),
}

impl Tls {
    /// `None` if there is nothing to do.
    pub(crate) fn new(carrier: &Carrier) -> Option<Self> {
        let state = match carrier {
            Carrier::Tls(config) => State::encrypted(config.clone()),
            Carrier::Either(config) => State::Undecided(config.clone()),
            _ => return None,
        };
        Some(Tls { state: Mutex::new(state) })
    }

    /// Reads until the buffer is full or there is no more.
    pub(crate) fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        if let State::Undecided(config) = &*state {
            let mut first = [0];
            match socket.peek(&mut first)? {
                0 => return Ok(0),
                _ if first[0] == FIRST_OF_TLS => *state = State::encrypted(config.clone()),
                _ => *state = State::Plain,
            }
        }
        match &mut *state {
            State::Encrypted(Some(connection)) => read(connection, socket, buffer),
            State::Encrypted(None) => Err(unusable()),
            _ => socket.read(buffer),
        }
    }

    /// Takes what fits, and writes it as far as the socket has room: the rest is for [`flush`](Self::flush).
    pub(crate) fn write(&self, mut socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.state() {
            State::Encrypted(Some(connection)) => {
                let mut taken = 0;
                for slice in slices {
                    let mut rest = &slice[..];
                    while !rest.is_empty() {
                        // One that is full takes no more before that is gone.
                        if flush(connection, socket)? == Written::Full {
                            return if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) };
                        }
                        let count = connection.writer().write(&rest[..rest.len().min(TAKEN)])?;
                        if count == 0 {
                            return Ok(taken);
                        }
                        taken += count;
                        rest = &rest[count..];
                    }
                }
                flush(connection, socket)?;
                Ok(taken)
            }
            State::Encrypted(None) => Err(unusable()),
            _ => socket.write_vectored(slices),
        }
    }

    pub(crate) fn flush(&self, socket: &TcpStream) -> io::Result<Written> {
        match &mut *self.state() {
            State::Encrypted(Some(connection)) => flush(connection, socket),
            _ => Ok(Written::All),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        matches!(&*self.state(), State::Encrypted(Some(connection)) if connection.wants_write())
    }

    /// Tells the peer that this is the end and not a cut, if the socket has room for it.
    pub(crate) fn end(&self, socket: &TcpStream) {
        if let State::Encrypted(Some(connection)) = &mut *self.state() {
            connection.send_close_notify();
            // A peer that is gone does not miss it.
            let _ = flush(connection, socket);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn encrypted(config: Arc<ServerConfig>) -> Self {
        let connection = ServerConnection::new(config).map(|mut connection| {
            connection.set_buffer_limit(Some(TAKEN));
            Box::new(connection)
        });
        State::Encrypted(connection.ok())
    }
}

fn read(connection: &mut ServerConnection, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut taken = 0;
    loop {
        match connection.reader().read(&mut buffer[taken..]) {
            // The peer has said that this is the end; or it has gone without a word, as most do.
            Ok(0) => return Ok(taken),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(taken),
            Ok(count) => {
                taken += count;
                if taken == buffer.len() {
                    return Ok(taken);
                }
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => match connection.read_tls(&mut socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if taken > 0 => return Ok(taken),
                Err(error) => return Err(error),
                Ok(_) => {
                    let processed = connection.process_new_packets();
                    // Its part of the beginning, or what it has to say about an error.
                    let flushed = flush(connection, socket);
                    processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}")))?;
                    flushed?;
                }
            },
        }
    }
}

fn flush(connection: &mut ServerConnection, mut socket: &TcpStream) -> io::Result<Written> {
    while connection.wants_write() {
        match connection.write_tls(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Full),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Written::All)
}

fn unusable() -> io::Error {
    io::Error::other("TLS is not set up")
}
