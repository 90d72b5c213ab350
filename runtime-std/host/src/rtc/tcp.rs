//! Connections of TCP that carry datagrams, each with its length in front (RFC 4571): the way through firewalls.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anabranch_rtc::peer::{Datagram, Path, Transport};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

/// The longest datagram that a peer may send. Theirs fit into a packet of the network.
const LONGEST: usize = 4096;
/// Bytes that may wait for a peer that reads slowly. What comes beyond is lost.
const MOST_WAITING: usize = 256 << 10;
/// Connections that may be open.
const MOST: usize = 4096;
/// Those of them that no peer was found for yet. The oldest gives way to a new one.
const MOST_UNKNOWN: usize = 256;
/// How long a connection may be open before a peer is found for it.
const UNKNOWN: Duration = Duration::from_secs(10);
/// How long it may be silent. Peers ask every few seconds whether the other side is there.
const SILENT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that are accepted in one turn, and pieces that are read of one.
const ACCEPTS: usize = 32;
const READS: usize = 4;

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    path: Path,
    since: Instant,
    heard: Instant,
    /// True once something was sent to it: it has proven that it is a peer.
    is_known: bool,
    is_readable: bool,
    /// The beginning of a datagram whose end is not there yet.
    partial: Vec<u8>,
    /// What is not written yet.
    waiting: Vec<u8>,
}

/// All connections of TCP, and the sockets that accept them.
#[derive(Debug)]
pub(crate) struct TcpSockets {
    listeners: Vec<(TcpListener, SocketAddr, Token, bool)>,
    connections: HashMap<Token, Connection>,
    tokens: HashMap<(SocketAddr, SocketAddr), Token>,
    next: usize,
    unknown: usize,
    looked: Instant,
    /// Datagrams that were lost, because their peer did not read.
    pub(crate) lost: u64,
}

/// What has happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TcpEvent<'a> {
    /// A datagram has come.
    Datagram(Path, &'a [u8]),
    /// The connection is over.
    Over(Path),
}

impl TcpSockets {
    /// Registers sockets that listen, with tokens from `first` on.
    pub(crate) fn register(
        listeners: Vec<std::net::TcpListener>,
        registry: &Registry,
        first: usize,
        now: Instant,
    ) -> io::Result<Self> {
        let next = first + listeners.len();
        let register = |(index, listener): (usize, std::net::TcpListener)| {
            listener.set_nonblocking(true)?;
            let local = listener.local_addr()?;
            let (mut listener, token) = (TcpListener::from_std(listener), Token(first + index));
            registry.register(&mut listener, token, Interest::READABLE)?;
            Ok((listener, local, token, true))
        };
        let listeners = listeners.into_iter().enumerate().map(register).collect::<io::Result<_>>()?;
        Ok(TcpSockets {
            listeners,
            connections: HashMap::new(),
            tokens: HashMap::new(),
            next,
            unknown: 0,
            looked: now,
            lost: 0,
        })
    }

    /// Connections that are open.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// A socket has something, or room.
    pub(crate) fn is_ready(&mut self, token: Token, readable: bool, writable: bool) {
        if let Some((.., is_ready)) = self.listeners.iter_mut().find(|(_, _, of, _)| *of == token) {
            *is_ready = true;
        }
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.is_readable |= readable;
            if writable {
                write(connection);
            }
        }
    }

    /// True if something may be there to read or accept.
    pub(crate) fn is_readable(&self) -> bool {
        self.listeners.iter().any(|(.., is_ready)| *is_ready)
            || self.connections.values().any(|connection| connection.is_readable)
    }

    /// Accepts connections, and takes what has come: some of it. `admits` says whether the server has room for a socket.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        registry: &Registry,
        buffer: &mut [u8],
        admits: impl Fn(i32) -> bool,
        mut take: impl FnMut(TcpEvent<'_>),
    ) {
        for at in 0..self.listeners.len() {
            for _ in 0..ACCEPTS {
                let (listener, local, _, is_ready) = &mut self.listeners[at];
                if !*is_ready {
                    break;
                }
                let bound = *local;
                match listener.accept() {
                    Ok((stream, remote)) => {
                        if admits(stream.as_raw_fd()) {
                            self.open(now, registry, stream, bound, remote, &mut take);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // If the system has no socket left, the next look tries again.
                    Err(_) => *is_ready = false,
                }
            }
        }
        let readable: Vec<_> =
            self.connections.iter().filter(|(_, connection)| connection.is_readable).map(|(token, _)| *token).collect();
        for token in readable {
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            if !read(now, connection, buffer, &mut take) {
                self.close(registry, token, &mut take);
            }
        }
    }

    fn open(
        &mut self,
        now: Instant,
        registry: &Registry,
        mut stream: TcpStream,
        bound: SocketAddr,
        remote: SocketAddr,
        take: &mut impl FnMut(TcpEvent<'_>),
    ) {
        if self.connections.len() >= MOST {
            return;
        }
        if self.unknown >= MOST_UNKNOWN {
            let unknown = self.connections.iter().filter(|(_, connection)| !connection.is_known);
            let oldest = unknown.min_by_key(|(_, connection)| connection.since).map(|(token, _)| *token);
            oldest.into_iter().for_each(|token| self.close(registry, token, take));
        }
        let token = Token(self.next);
        self.next += 1;
        let canonical = |address: SocketAddr| match address.ip().to_canonical() {
            ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
            _ => address,
        };
        let local = canonical(stream.local_addr().unwrap_or(bound));
        let path = Path { transport: Transport::Tcp, local, remote: canonical(remote) };
        let _ = stream.set_nodelay(true);
        if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_err() {
            return;
        }
        self.unknown += 1;
        self.tokens.insert((path.local, path.remote), token);
        let connection = Connection {
            stream,
            path,
            since: now,
            heard: now,
            is_known: false,
            is_readable: true,
            partial: Vec::new(),
            waiting: Vec::new(),
        };
        self.connections.insert(token, connection);
    }

    fn close(&mut self, registry: &Registry, token: Token, take: &mut impl FnMut(TcpEvent<'_>)) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let _ = registry.deregister(&mut connection.stream);
        self.unknown -= usize::from(!connection.is_known);
        self.tokens.remove(&(connection.path.local, connection.path.remote));
        take(TcpEvent::Over(connection.path));
    }

    /// Sends a datagram, if its peer is there and reads.
    pub(crate) fn send(&mut self, datagram: &Datagram) {
        let Datagram { path, bytes } = datagram;
        let token = self.tokens.get(&(path.local, path.remote));
        let Some(connection) = token.and_then(|token| self.connections.get_mut(token)) else {
            self.lost += 1;
            return;
        };
        self.unknown -= usize::from(!std::mem::replace(&mut connection.is_known, true));
        let Ok(length) = u16::try_from(bytes.len()) else {
            self.lost += 1;
            return;
        };
        if connection.waiting.len() + bytes.len() + 2 > MOST_WAITING {
            self.lost += 1;
            return;
        }
        let was_empty = connection.waiting.is_empty();
        connection.waiting.extend_from_slice(&length.to_be_bytes());
        connection.waiting.extend_from_slice(bytes);
        if was_empty {
            write(connection);
        }
    }

    /// Closes connections that no peer was found for in time, and those that are silent.
    pub(crate) fn look(&mut self, now: Instant, registry: &Registry, mut take: impl FnMut(TcpEvent<'_>)) {
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        self.listeners.iter_mut().for_each(|(.., is_ready)| *is_ready = true);
        let is_late = |connection: &Connection| {
            now > connection.heard + SILENT || !connection.is_known && now > connection.since + UNKNOWN
        };
        let late: Vec<_> =
            self.connections.iter().filter(|(_, connection)| is_late(connection)).map(|(token, _)| *token).collect();
        late.into_iter().for_each(|token| self.close(registry, token, &mut take));
    }

    /// When to look.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.connections.is_empty()).then(|| self.looked + LOOK)
    }
}

/// Reads some of what has come. False if the connection is over.
fn read(now: Instant, connection: &mut Connection, buffer: &mut [u8], take: &mut impl FnMut(TcpEvent<'_>)) -> bool {
    for _ in 0..READS {
        let before = connection.partial.len();
        buffer[..before].copy_from_slice(&connection.partial);
        let length = match connection.stream.read(&mut buffer[before..]) {
            Ok(0) => return false,
            Ok(length) => before + length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.is_readable = false;
                return true;
            }
            Err(_) => return false,
        };
        connection.heard = now;
        let mut rest = &buffer[..length];
        while let Some((head, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*head));
            // The first message of a peer is one of STUN, whose first two bits are 0.
            let is_strange = !connection.is_known && after.first().is_some_and(|first| *first > 3);
            if length > LONGEST || is_strange {
                return false;
            }
            let Some((datagram, next)) = after.split_at_checked(length) else { break };
            take(TcpEvent::Datagram(connection.path, datagram));
            rest = next;
        }
        connection.partial.clear();
        connection.partial.extend_from_slice(rest);
    }
    true
}

/// Writes what the system takes. An error shows when the connection is read.
fn write(connection: &mut Connection) {
    let mut written = 0;
    while written < connection.waiting.len() {
        match connection.stream.write(&connection.waiting[written..]) {
            Ok(0) => break,
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    connection.waiting.drain(..written);
    if connection.waiting.is_empty() && connection.waiting.capacity() > 16 << 10 {
        connection.waiting = Vec::new();
    }
}
