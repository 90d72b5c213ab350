use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_host::Carrier;
use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use self::refused::Hello;
use crate::preface::Preface;
use crate::transport::Written;

mod refused;

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
    Undecided(Beginning),
    Plain,
    /// `None` if the library made none of it.
    Encrypted(Option<Box<Encrypted>>),
}

#[derive(Debug)]
struct Beginning {
    config: Arc<ServerConfig>,
    /// True if it need not be TLS.
    either: bool,
    preface: Option<Preface>,
}

#[derive(Debug)]
struct Encrypted {
    connection: ServerConnection,
    /// What its client began with, for the words about a failure.
    hello: Hello,
    /// True if the first byte of the next write was taken already. It counts as written once all before it is: what
    /// waits here would be waited for by nobody.
    ahead: bool,
    /// True once there is nothing more to read.
    over: bool,
}

impl Tls {
    /// `None` if there is nothing to do.
    pub(crate) fn new(carrier: &Carrier) -> Option<Self> {
        let (config, either) = match carrier {
            Carrier::Tls(config) => (config.clone(), false),
            Carrier::Either(config) => (config.clone(), true),
            _ => return None,
        };
        Some(Tls { state: Mutex::new(State::Undecided(Beginning { config, either, preface: None })) })
    }

    /// Reads until the buffer is full or there is no more.
    pub(crate) fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let mut taken = 0;
        while let State::Undecided(beginning) = &mut *state {
            let rest = &mut buffer[taken..];
            let count = match socket.peek(rest) {
                Ok(0) => return Ok(taken),
                Err(_) if taken > 0 => return Ok(taken),
                count => count?,
            };
            let preface = beginning.preface.take().or_else(|| Preface::of(rest[0]));
            match preface {
                // That much is there.
                Some(mut preface) => {
                    let own = preface.take(&rest[..count]);
                    taken += socket.read(&mut rest[..own])?;
                    beginning.preface = Some(preface).filter(|preface| !preface.is_over());
                }
                None if rest[0] == FIRST_OF_TLS || !beginning.either => {
                    *state = State::encrypted(beginning.config.clone(), Hello::of(&rest[..count]));
                }
                None => *state = State::Plain,
            }
        }
        let rest = &mut buffer[taken..];
        if rest.is_empty() {
            return Ok(taken);
        }
        let read = match &mut *state {
            State::Encrypted(Some(encrypted)) => encrypted.read(socket, rest),
            State::Encrypted(None) => Err(unusable()),
            _ => socket.read(rest),
        };
        match read {
            Ok(count) => Ok(taken + count),
            Err(error) if taken > 0 && error.kind() == io::ErrorKind::WouldBlock => Ok(taken),
            Err(error) => Err(error),
        }
    }

    /// Takes what fits, and writes it as far as the socket has room: the rest is for [`flush`](Self::flush). While there
    /// is a rest, less is taken than is offered.
    pub(crate) fn write(&self, mut socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.state() {
            State::Encrypted(Some(encrypted)) => encrypted.write(socket, slices),
            State::Encrypted(None) => Err(unusable()),
            _ => socket.write_vectored(slices),
        }
    }

    pub(crate) fn flush(&self, socket: &TcpStream) -> io::Result<Written> {
        match &mut *self.state() {
            State::Encrypted(Some(encrypted)) => flush(&mut encrypted.connection, socket),
            _ => Ok(Written::All),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        matches!(&*self.state(), State::Encrypted(Some(encrypted)) if encrypted.connection.wants_write())
    }

    /// True once the peer has ended its side, which its socket need not show.
    pub(crate) fn is_over(&self) -> bool {
        matches!(&*self.state(), State::Encrypted(Some(encrypted)) if encrypted.over)
    }

    /// Tells the peer that this is the end and not a cut, if the socket has room for it.
    pub(crate) fn end(&self, socket: &TcpStream) {
        if let State::Encrypted(Some(encrypted)) = &mut *self.state() {
            encrypted.connection.send_close_notify();
            // A peer that is gone does not miss it.
            let _ = flush(&mut encrypted.connection, socket);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn encrypted(config: Arc<ServerConfig>, hello: Hello) -> Self {
        let connection = ServerConnection::new(config).map(|mut connection| {
            connection.set_buffer_limit(Some(TAKEN));
            Box::new(Encrypted { connection, hello, ahead: false, over: false })
        });
        State::Encrypted(connection.ok())
    }
}

impl Encrypted {
    fn read(&mut self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let Encrypted { connection, hello, over, .. } = self;
        let mut taken = 0;
        loop {
            match connection.reader().read(&mut buffer[taken..]) {
                // The peer has said that this is the end; or it has gone without a word, as most do.
                Ok(0) => {
                    *over = true;
                    return Ok(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    *over = true;
                    return Ok(taken);
                }
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
                        processed.map_err(|error| hello.refused(&error))?;
                        flushed?;
                    }
                },
            }
        }
    }

    fn write(&mut self, socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Encrypted { connection, ahead, .. } = self;
        let mut taken = 0;
        'slices: for slice in slices {
            let mut rest = &slice[..];
            while !rest.is_empty() {
                // One that is full takes no more before that is gone.
                if flush(connection, socket)? == Written::Full {
                    break 'slices;
                }
                let count = if *ahead { 1 } else { connection.writer().write(&rest[..rest.len().min(TAKEN)])? };
                if count == 0 {
                    return Ok(taken);
                }
                *ahead = false;
                taken += count;
                rest = &rest[count..];
            }
        }
        if taken > 0 && flush(connection, socket)? == Written::Full {
            *ahead = true;
            taken -= 1;
        }
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
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

#[cfg(test)]
mod tests;
