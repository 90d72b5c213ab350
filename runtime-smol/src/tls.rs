use std::io::{self, IoSlice, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use anabranch_core::preface::{Preface, Prefaced};
use anabranch_core::session::TlsFault;
use anabranch_host::Carrier;
use mio::net::TcpStream;
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};

pub(crate) use self::refused::reason;
use self::refused::{Hello, refusal};
use crate::openings::{Done, Opening, Openings};
use crate::transport::Written;
use crate::worker::LONGEST_TURN;

pub(crate) mod outbound;
mod refused;

/// The first byte of TLS: the type of a handshake record (RFC 8446, section 5.1).
const FIRST_OF_TLS: u8 = 22;
/// Most content that is encrypted before the socket has taken it: one record that is, with what it adds, no longer than
/// 16 KiB, for which allocators have a size. More would save few calls, and each client that stalls holds as much. Bytes
/// that were taken count as written.
const TAKEN: usize = (16 << 10) - 64;
/// Most bytes received in one turn, with or without content; then other tasks run. A turn also ends after
/// [`LONGEST_TURN`].
const TURN: usize = 64 << 10;
/// Most bytes that a client may send for the handshake; real clients send one or two thousand.
const BEGINNING: usize = 16 << 10;
/// Most bytes received beyond those that the content accounts for. Key updates and records without content cost work
/// and bring no content.
const WITHOUT_CONTENT: usize = 64 << 10;
/// Received bytes that each byte of content accounts for: a record with one byte of content has twenty-three.
const FOR_EACH_BYTE: usize = 32;

/// State and keys of a session, and the server's part of the handshake.
const SESSION: usize = 12 << 10;
/// The received part of a record or of the handshake: its buffer grows by doubling.
const RECORD: usize = 32 << 10;
/// Content that one read can decrypt and not return at once: a record of the greatest length, and short ones.
const CONTENT: usize = 20 << 10;
/// Bytes that records add to the bytes to write.
const OVERHEAD: usize = (2 << 10) + 64;

/// Most bytes that TLS can take for each connection, before and after `connect`; an ordinary connection takes about a
/// tenth. Buffers of the system for its socket come on top.
pub const CONNECTION_MEMORY: usize = SESSION + RECORD + CONTENT + TAKEN + OVERHEAD;

const _: () = assert!(BEGINNING + (4 << 10) <= RECORD);

/// The TLS state of a connection that uses TLS, or may use it.
#[derive(Debug)]
pub(crate) struct Tls {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Undecided(Beginning),
    Plain,
    Encrypted(Encrypted),
    /// TLS could not be set up.
    Unusable,
}

#[derive(Debug)]
struct Beginning {
    config: Arc<ServerConfig>,
    /// True if the connection may also be plain.
    either: bool,
    /// Reads a proxy's header in front of TLS; `None` once that is over. The core gets the header as it came; here only
    /// its end is looked for, with the core's reader.
    preface: Option<Preface>,
    /// True if the last read ended at the end of a proxy's header.
    read_header: bool,
}

#[derive(Debug)]
struct Encrypted {
    at: Place,
    /// The client's first bytes, to explain a failure; `None` if this server is the client.
    hello: Option<Hello>,
    /// True if the first byte of the next write was taken already. It counts as written only once all bytes before it
    /// are: so the caller has something left to write as long as bytes wait here.
    ahead: bool,
    /// True once there is nothing more to read.
    over: bool,
    /// True if the last turn ended while there may be more to read.
    more: bool,
    /// During the handshake, the bytes received so far; then the bytes that no content accounts for.
    spent: usize,
}

/// Where the library's connection is.
#[derive(Debug)]
enum Place {
    Here(Box<Connection>),
    /// On another thread, which computes its handshake.
    Away(Arc<Opening>),
    /// The handshake failed.
    Gone,
}

impl Tls {
    /// `None` if the carrier has no TLS.
    pub(crate) fn new(carrier: &Carrier) -> Option<Self> {
        let (config, either) = match carrier {
            Carrier::Tls(config) => (config.clone(), false),
            Carrier::Either(config) => (config.clone(), true),
            _ => return None,
        };
        let beginning = Beginning { config, either, preface: Some(Preface::default()), read_header: false };
        Some(Tls { state: Mutex::new(State::Undecided(beginning)) })
    }

    /// A connection that the server opened, whose handshake is over.
    pub(crate) fn outbound(session: Box<ClientConnection>) -> Self {
        Tls { state: Mutex::new(State::of(Connection::Client(*session), None)) }
    }

    /// Reads until the buffer is full, there is no more, or the turn is over. If the turn is over without content, the
    /// error is `Interrupted`. `WouldBlock` may also mean that the handshake is being computed; then `waker` is woken
    /// when that is done.
    pub(crate) fn read(
        &self,
        mut socket: &TcpStream,
        buffer: &mut [u8],
        client: IpAddr,
        openings: &Openings,
        waker: &Waker,
    ) -> io::Result<usize> {
        let mut state = self.state();
        let mut taken = 0;
        while let State::Undecided(beginning) = &mut *state {
            beginning.read_header = false;
            let rest = &mut buffer[taken..];
            let count = match socket.peek(rest) {
                Ok(0) => return Ok(taken),
                Err(_) if taken > 0 => return Ok(taken),
                count => count?,
            };
            match beginning.preface.as_mut().map(|preface| preface.read(&rest[..count])) {
                // These bytes have been peeked, so they are there.
                Some(Ok(Prefaced::NeedMore)) => taken += socket.read(&mut rest[..count])?,
                Some(Ok(Prefaced::Done { consumed, .. })) => {
                    beginning.preface = None;
                    if consumed > 0 {
                        taken += socket.read(&mut rest[..consumed])?;
                        // The handshake is computed in the client's turn. The core knows its address after this header.
                        beginning.read_header = true;
                        return Ok(taken);
                    }
                }
                // The core refuses it.
                Some(Err(_)) => *state = State::Plain,
                None if rest[0] == FIRST_OF_TLS || !beginning.either => {
                    *state = State::encrypted(beginning.config.clone(), Hello::of(&rest[..count]));
                }
                None => *state = State::Plain,
            }
        }
        match &mut *state {
            State::Encrypted(encrypted) => encrypted.read(socket, buffer, client, openings, waker),
            State::Unusable => Err(unusable()),
            _ => socket.read(buffer),
        }
    }

    /// Takes the bytes that fit, and writes as much as the socket has room for: [`flush`](Self::flush) writes the rest.
    /// While there is a rest, it takes fewer bytes than it is offered.
    pub(crate) fn write(&self, mut socket: &TcpStream, slices: &mut [IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.state() {
            State::Encrypted(encrypted) => encrypted.write(socket, slices),
            State::Unusable => Err(unusable()),
            _ => socket.write_vectored(slices),
        }
    }

    pub(crate) fn flush(&self, socket: &TcpStream) -> io::Result<Written> {
        match self.state().here() {
            Some(connection) => flush(connection, socket),
            None => Ok(Written::All),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.state().here().is_some_and(|connection| connection.wants_write())
    }

    /// Reads a field without the lock, only to load it into the cache.
    pub(crate) fn touch(&self) -> bool {
        self.state.is_poisoned()
    }

    /// True if the next read returns something for which the socket may have no event: the end of the peer's side, or
    /// what was left when a turn was over.
    pub(crate) fn has_more(&self) -> bool {
        match &*self.state() {
            State::Undecided(beginning) => beginning.read_header,
            State::Encrypted(encrypted) => encrypted.over || encrypted.more,
            _ => false,
        }
    }

    /// True once the handshake is computed.
    pub(crate) fn has_news(&self) -> bool {
        match &*self.state() {
            State::Encrypted(Encrypted { at: Place::Away(opening), .. }) => opening.is_done(),
            _ => false,
        }
    }

    /// Sends the closing alert, if the socket has room, so that the peer knows that the stream is complete.
    pub(crate) fn end(&self, socket: &TcpStream) {
        if let Some(connection) = self.state().here() {
            connection.send_close_notify();
            // If this fails, the peer is gone.
            let _ = flush(connection, socket);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn encrypted(config: Arc<ServerConfig>, hello: Hello) -> Self {
        match ServerConnection::new(config) {
            Ok(connection) => State::of(Connection::Server(connection), Some(hello)),
            Err(_) => State::Unusable,
        }
    }

    fn of(mut connection: Connection, hello: Option<Hello>) -> Self {
        connection.set_buffer_limit(Some(TAKEN));
        let at = Place::Here(Box::new(connection));
        State::Encrypted(Encrypted { at, hello, ahead: false, over: false, more: false, spent: 0 })
    }

    fn here(&mut self) -> Option<&mut Connection> {
        match self {
            State::Encrypted(Encrypted { at: Place::Here(connection), .. }) => Some(connection),
            _ => None,
        }
    }
}

impl Encrypted {
    fn read(
        &mut self,
        mut socket: &TcpStream,
        buffer: &mut [u8],
        client: IpAddr,
        openings: &Openings,
        waker: &Waker,
    ) -> io::Result<usize> {
        self.more = false;
        let (began, mut taken, mut input) = (Instant::now(), 0, 0);
        loop {
            let Place::Here(connection) = &mut self.at else {
                self.come_back(socket, waker)?;
                continue;
            };
            match connection.reader().read(&mut buffer[taken..]) {
                // The end, with the peer's closing alert, or without it (the next arm), as most peers do.
                Ok(0) => {
                    self.over = true;
                    return Ok(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.over = true;
                    return Ok(taken);
                }
                Ok(count) => {
                    taken += count;
                    self.spent = self.spent.saturating_sub(count * FOR_EACH_BYTE);
                    if taken == buffer.len() {
                        return Ok(taken);
                    }
                    continue;
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
            if self.spent > WITHOUT_CONTENT {
                return Err(refusal(TlsFault::WithoutContent, "records without content"));
            }
            if input >= TURN || (input > 0 && began.elapsed() >= LONGEST_TURN) {
                self.more = true;
                return if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::Interrupted.into()) };
            }
            let begins = connection.is_handshaking();
            match connection.read_tls(&mut socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) if taken > 0 => return Ok(taken),
                Err(error) => return Err(error),
                Ok(count) => {
                    input += count;
                    self.spent += count;
                    if begins && count > 0 {
                        self.send_away(client, openings)?;
                        continue;
                    }
                }
            }
            let processed = connection.process_new_packets();
            // Its answer, which may be an alert about an error.
            let flushed = flush(connection, socket);
            processed.map_err(|error| refused(self.hello, &error))?;
            flushed?;
        }
    }

    /// Has the handshake computed on another thread.
    fn send_away(&mut self, client: IpAddr, openings: &Openings) -> io::Result<()> {
        if self.spent > BEGINNING {
            return Err(refusal(TlsFault::BeginningTooLong, "the beginning of the client's TLS is too long"));
        }
        if let Place::Here(connection) = std::mem::replace(&mut self.at, Place::Gone) {
            self.at = Place::Away(openings.compute(client, connection));
        }
        Ok(())
    }

    /// Goes on with the result of the computation, if it is there.
    fn come_back(&mut self, socket: &TcpStream, waker: &Waker) -> io::Result<()> {
        let Place::Away(opening) = &self.at else {
            return Err(unusable());
        };
        let Some(done) = opening.take(waker) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let Done::Computed(mut connection, result) = done else {
            self.at = Place::Gone;
            return Err(refusal(TlsFault::TooManyBegin, "too many connections begin TLS at the same time"));
        };
        if !connection.is_handshaking() {
            self.spent = 0;
        }
        // The server's part of the handshake, or its alert about an error.
        let flushed = flush(&mut connection, socket);
        self.at = Place::Here(connection);
        result.map_err(|error| refused(self.hello, &error))?;
        flushed.map(drop)
    }

    fn write(&mut self, socket: &TcpStream, mut slices: &mut [IoSlice<'_>]) -> io::Result<usize> {
        let Encrypted { at: Place::Here(connection), ahead, .. } = self else {
            return Err(unusable());
        };
        // While bytes wait, no more are taken.
        if flush(connection, socket)? == Written::Full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = usize::from(std::mem::take(ahead));
        IoSlice::advance_slices(&mut slices, taken);
        while !slices.is_empty() {
            // All slices at once, so that their bytes share records, and records share a call.
            let count = connection.writer().write_vectored(slices)?;
            if count == 0 {
                return Ok(taken);
            }
            taken += count;
            IoSlice::advance_slices(&mut slices, count);
            if flush(connection, socket)? == Written::Full {
                *ahead = true;
                taken -= 1;
                break;
            }
        }
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
}

fn flush(connection: &mut Connection, socket: &TcpStream) -> io::Result<Written> {
    while connection.wants_write() {
        match connection.write_tls(&mut Records(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Full),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Written::All)
}

/// A socket as rustls writes to it: with several slices, of which there is nearly always one. For one slice there is a
/// cheaper call.
struct Records<'a>(&'a TcpStream);

impl Write for Records<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [slice] = slices { self.0.write(slice) } else { self.0.write_vectored(slices) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The error for a read to return, in words about the peer.
fn refused(hello: Option<Hello>, error: &rustls::Error) -> io::Error {
    match hello {
        Some(hello) => hello.refused(error),
        None => refusal(TlsFault::Broken, error.to_string()),
    }
}

fn unusable() -> io::Error {
    io::Error::other("TLS is not set up")
}

#[cfg(test)]
mod tests;
