use std::io::{self, IoSlice, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use anabranch_core::preface::{Preface, Prefaced};
use anabranch_core::session::TlsFault;
use anabranch_host::Carrier;
use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

pub(crate) use self::refused::reason;
use self::refused::{Hello, refusal};
use crate::openings::{Done, Opening, Openings};
use crate::transport::Written;
use crate::worker::LONGEST_TURN;

mod refused;

/// With this byte TLS begins: the type of a record that opens a connection (RFC 8446, section 5.1).
const FIRST_OF_TLS: u8 = 22;
/// Bytes that may wait, encrypted, for a socket that is full: what is taken further counts as written.
const TAKEN: usize = 32 << 10;
/// Bytes taken in at one turn, whatever they bring: then others go first. Or after as much time as tasks have.
const TURN: usize = 64 << 10;
/// Bytes that a client may need to begin; real ones take one or two thousand.
const BEGINNING: usize = 16 << 10;
/// Bytes by which what is taken in may exceed what it may cost to bring content: keys that are changed again and again,
/// and records without content, are work that brings nothing.
const WITHOUT_CONTENT: usize = 64 << 10;
/// What each byte of content may cost: a record of one byte has twenty-three.
const FOR_EACH_BYTE: usize = 32;

/// State and keys of a session, and what it has to say when it begins.
const SESSION: usize = 12 << 10;
/// What is there of a record, or of a beginning: its buffer grows by doubling.
const RECORD: usize = 32 << 10;
/// What one read can bring beyond what is taken of it: a record of the longest length, and short ones.
const CONTENT: usize = 20 << 10;
/// What records add to what is taken to be written.
const OVERHEAD: usize = 2 << 10;

/// Bytes that each connection in TLS can hold at the worst because of that, accepted or not; an ordinary one holds about a
/// tenth. What the system holds for its socket comes on top.
pub const CONNECTION_MEMORY: usize = SESSION + RECORD + CONTENT + TAKEN + OVERHEAD;

const _: () = assert!(BEGINNING + (4 << 10) <= RECORD);

/// A connection that is carried in TLS, or may turn out to be.
#[derive(Debug)]
pub(crate) struct Tls {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Undecided(Beginning),
    Plain,
    Encrypted(Encrypted),
    /// It came to nothing.
    Unusable,
}

#[derive(Debug)]
struct Beginning {
    config: Arc<ServerConfig>,
    /// True if it need not be TLS.
    either: bool,
    /// What a proxy may say in front of TLS, until that is over. The core is handed it as it came; here only its end is
    /// looked for, with the core's own reader.
    preface: Option<Preface>,
    /// True if the last read ended where a proxy has said who the client is.
    told: bool,
}

#[derive(Debug)]
struct Encrypted {
    at: Place,
    /// What its client began with, for the words about a failure.
    hello: Hello,
    /// True if the first byte of the next write was taken already. It counts as written once all before it is: what
    /// waits here would be waited for by nobody.
    ahead: bool,
    /// True once there is nothing more to read.
    over: bool,
    /// True if the last turn ended before there was nothing more.
    more: bool,
    /// Bytes taken in so far, while it begins; then those that brought nothing.
    spent: usize,
}

/// Where the library's part of it is.
#[derive(Debug)]
enum Place {
    Here(Box<ServerConnection>),
    /// Its beginning is being computed.
    Away(Arc<Opening>),
    /// It came to nothing.
    Gone,
}

impl Tls {
    /// `None` if there is nothing to do.
    pub(crate) fn new(carrier: &Carrier) -> Option<Self> {
        let (config, either) = match carrier {
            Carrier::Tls(config) => (config.clone(), false),
            Carrier::Either(config) => (config.clone(), true),
            _ => return None,
        };
        let beginning = Beginning { config, either, preface: Some(Preface::default()), told: false };
        Some(Tls { state: Mutex::new(State::Undecided(beginning)) })
    }

    /// Reads until the buffer is full, there is no more, or its turn is over. It is interrupted if that brought nothing so
    /// far. What it would block for may be a computation, then `waker` is woken when that is done.
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
            beginning.told = false;
            let rest = &mut buffer[taken..];
            let count = match socket.peek(rest) {
                Ok(0) => return Ok(taken),
                Err(_) if taken > 0 => return Ok(taken),
                count => count?,
            };
            match beginning.preface.as_mut().map(|preface| preface.read(&rest[..count])) {
                // That much is there.
                Some(Ok(Prefaced::NeedMore)) => taken += socket.read(&mut rest[..count])?,
                Some(Ok(Prefaced::Done { consumed, .. })) => {
                    beginning.preface = None;
                    if consumed > 0 {
                        taken += socket.read(&mut rest[..consumed])?;
                        // Whose turn it is to have its beginning computed: the core knows once it has read this.
                        beginning.told = true;
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

    /// Takes what fits, and writes it as far as the socket has room: the rest is for [`flush`](Self::flush). While there
    /// is a rest, less is taken than is offered.
    pub(crate) fn write(&self, mut socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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

    /// True if the next read finds what its socket need not show: the end of the peer's side, or what was left when a turn
    /// was over.
    pub(crate) fn has_left(&self) -> bool {
        match &*self.state() {
            State::Undecided(beginning) => beginning.told,
            State::Encrypted(encrypted) => encrypted.over || encrypted.more,
            _ => false,
        }
    }

    /// True once what was computed is there.
    pub(crate) fn has_news(&self) -> bool {
        match &*self.state() {
            State::Encrypted(Encrypted { at: Place::Away(opening), .. }) => opening.is_done(),
            _ => false,
        }
    }

    /// Tells the peer that this is the end and not a cut, if the socket has room for it.
    pub(crate) fn end(&self, socket: &TcpStream) {
        if let Some(connection) = self.state().here() {
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
    fn encrypted(config: Arc<ServerConfig>, hello: Hello) -> Self {
        let Ok(mut connection) = ServerConnection::new(config) else {
            return State::Unusable;
        };
        connection.set_buffer_limit(Some(TAKEN));
        let at = Place::Here(Box::new(connection));
        State::Encrypted(Encrypted { at, hello, ahead: false, over: false, more: false, spent: 0 })
    }

    fn here(&mut self) -> Option<&mut ServerConnection> {
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
                // The peer has said that this is the end; or it has gone without a word, as most do.
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
            // What it has to say about it.
            let flushed = flush(connection, socket);
            processed.map_err(|error| self.hello.refused(&error))?;
            flushed?;
        }
    }

    /// Has what came at the beginning computed elsewhere.
    fn send_away(&mut self, client: IpAddr, openings: &Openings) -> io::Result<()> {
        if self.spent > BEGINNING {
            return Err(refusal(TlsFault::BeginningTooLong, "the client takes too much to begin"));
        }
        if let Place::Here(connection) = std::mem::replace(&mut self.at, Place::Gone) {
            self.at = Place::Away(openings.compute(client, connection));
        }
        Ok(())
    }

    /// Goes on with what was computed, if it is.
    fn come_back(&mut self, socket: &TcpStream, waker: &Waker) -> io::Result<()> {
        let Place::Away(opening) = &self.at else {
            return Err(unusable());
        };
        let Some(done) = opening.take(waker) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let Done::Computed(mut connection, result) = done else {
            self.at = Place::Gone;
            return Err(refusal(TlsFault::TooManyBegin, "too many begin at the same time"));
        };
        if !connection.is_handshaking() {
            self.spent = 0;
        }
        // Its part of the beginning, or what it has to say about an error.
        let flushed = flush(&mut connection, socket);
        self.at = Place::Here(connection);
        result.map_err(|error| self.hello.refused(&error))?;
        flushed.map(drop)
    }

    fn write(&mut self, socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Encrypted { at: Place::Here(connection), ahead, .. } = self else {
            return Err(unusable());
        };
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
