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
/// Bytes that may wait for a peer that reads slowly, and for all of them. What comes beyond is lost.
const MOST_WAITING: usize = 256 << 10;
const MOST_WAITING_IN_ALL: usize = 64 << 20;
/// Connections that may be open.
const MOST: usize = 4096;
/// Those of them that no peer was found for yet. The oldest gives way to a new one.
const MOST_UNKNOWN: usize = 256;
/// How long a connection may be open before a peer is found for it.
const UNKNOWN: Duration = Duration::from_secs(10);
/// How long it may be without anything that is for a peer. Peers ask every few seconds whether the other side is there.
const SILENT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that are accepted in one turn.
const ACCEPTS: usize = 32;
/// Bytes that are read of one connection in one turn, and of all. Each has its turn.
const READ: usize = 64 << 10;
const READ_IN_ALL: usize = 1 << 20;

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
    /// The connection that is read first in the next turn, or the one after it.
    reads_from: usize,
    /// Bytes that wait for all.
    waiting: usize,
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
            reads_from: 0,
            waiting: 0,
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
                self.waiting -= write(connection);
            }
        }
    }

    /// True if something may be there to read or accept.
    pub(crate) fn is_readable(&self) -> bool {
        self.listeners.iter().any(|(.., is_ready)| *is_ready)
            || self.connections.values().any(|connection| connection.is_readable)
    }

    /// Accepts connections, and takes what has come: some of it. `admits` says whether the server has room for a socket; `take`
    /// returns whether a datagram was for a peer.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        registry: &Registry,
        buffer: &mut [u8],
        admits: impl Fn(i32) -> bool,
        mut take: impl FnMut(TcpEvent<'_>) -> bool,
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
        let readable = self.connections.iter().filter(|(_, connection)| connection.is_readable);
        let mut readable: Vec<_> = readable.map(|(token, _)| *token).collect();
        readable.sort_unstable();
        let first = readable.partition_point(|token| token.0 < self.reads_from);
        readable.rotate_left(first);
        let mut left = READ_IN_ALL;
        for token in readable {
            if left == 0 {
                self.reads_from = token.0;
                return;
            }
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            let room = (left.min(READ) + connection.partial.len()).min(buffer.len());
            match read(now, connection, &mut buffer[..room], &mut take) {
                Some(length) => left -= length,
                None => self.close(registry, token, &mut take),
            }
        }
        self.reads_from = 0;
    }

    fn open(
        &mut self,
        now: Instant,
        registry: &Registry,
        mut stream: TcpStream,
        bound: SocketAddr,
        remote: SocketAddr,
        take: &mut impl FnMut(TcpEvent<'_>) -> bool,
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
        // The addresses can be used again before the end of the connection that had them is noticed here.
        if let Some(before) = self.tokens.get(&(path.local, path.remote)).copied() {
            self.close(registry, before, take);
        }
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

    fn close(&mut self, registry: &Registry, token: Token, take: &mut impl FnMut(TcpEvent<'_>) -> bool) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let _ = registry.deregister(&mut connection.stream);
        self.unknown -= usize::from(!connection.is_known);
        self.waiting -= connection.waiting.len();
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
        let more = bytes.len() + 2;
        if connection.waiting.len() + more > MOST_WAITING || self.waiting + more > MOST_WAITING_IN_ALL {
            self.lost += 1;
            return;
        }
        let was_empty = connection.waiting.is_empty();
        connection.waiting.extend_from_slice(&length.to_be_bytes());
        connection.waiting.extend_from_slice(bytes);
        self.waiting += more;
        if was_empty {
            self.waiting -= write(connection);
        }
    }

    /// Closes connections that no peer was found for in time, and those that are silent.
    pub(crate) fn look(&mut self, now: Instant, registry: &Registry, mut take: impl FnMut(TcpEvent<'_>) -> bool) {
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

/// Reads some of what has come. Returns how many bytes that was; `None` if the connection is over.
fn read(
    now: Instant,
    connection: &mut Connection,
    buffer: &mut [u8],
    take: &mut impl FnMut(TcpEvent<'_>) -> bool,
) -> Option<usize> {
    let before = connection.partial.len();
    buffer[..before].copy_from_slice(&connection.partial);
    let length = match connection.stream.read(&mut buffer[before..]) {
        Ok(0) => return None,
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Some(0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            connection.is_readable = false;
            return Some(0);
        }
        Err(_) => return None,
    };
    let mut rest = &buffer[..before + length];
    while let Some((head, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*head));
        // The first message of a peer is one of STUN, whose first two bits are 0.
        let is_strange = !connection.is_known && after.first().is_some_and(|first| *first > 3);
        if length > LONGEST || is_strange {
            return None;
        }
        let Some((datagram, next)) = after.split_at_checked(length) else { break };
        if take(TcpEvent::Datagram(connection.path, datagram)) {
            connection.heard = now;
        }
        rest = next;
    }
    connection.partial.clear();
    connection.partial.extend_from_slice(rest);
    Some(length)
}

/// Writes what the system takes, and returns how many bytes that was. An error shows when the connection is read.
fn write(connection: &mut Connection) -> usize {
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
    written
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Client;

    use mio::{Events, Poll};

    use super::*;

    /// A datagram that is for no peer.
    const STRANGE: &[u8] = &[1, 1, 1];

    struct Server {
        poll: Poll,
        sockets: TcpSockets,
        address: SocketAddr,
        now: Instant,
        datagrams: Vec<(Path, Vec<u8>)>,
        over: Vec<Path>,
    }

    impl Server {
        fn start() -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            let (poll, now) = (Poll::new().expect("the system gives one"), Instant::now());
            let sockets = TcpSockets::register(vec![listener], poll.registry(), 1, now).expect("it can be registered");
            Server { poll, sockets, address, now, datagrams: Vec::new(), over: Vec::new() }
        }

        /// Serves until this is so.
        fn until(&mut self, mut is_so: impl FnMut(&Self) -> bool) {
            let mut buffer = vec![0; 64 << 10];
            while !is_so(self) {
                let mut events = Events::with_capacity(64);
                let wait = if self.sockets.is_readable() { Duration::ZERO } else { Duration::from_secs(10) };
                self.poll.poll(&mut events, Some(wait)).expect("it waits");
                assert!(!events.is_empty() || self.sockets.is_readable(), "nothing happens any more");
                for event in &events {
                    let is_readable = event.is_readable() || event.is_read_closed();
                    self.sockets.is_ready(event.token(), is_readable, event.is_writable());
                }
                let (datagrams, over) = (&mut self.datagrams, &mut self.over);
                self.sockets.receive(
                    self.now,
                    self.poll.registry(),
                    &mut buffer,
                    |_| true,
                    |event| match event {
                        TcpEvent::Datagram(path, bytes) => {
                            datagrams.push((path, bytes.to_vec()));
                            bytes != STRANGE
                        }
                        TcpEvent::Over(path) => {
                            over.push(path);
                            true
                        }
                    },
                );
            }
        }

        fn look(&mut self, after: Duration) {
            self.now += after;
            let over = &mut self.over;
            self.sockets.look(self.now, self.poll.registry(), |event| {
                if let TcpEvent::Over(path) = event {
                    over.push(path);
                }
                true
            });
        }

        fn client(&mut self) -> Client {
            let (client, before) = (Client::connect(self.address).expect("it listens"), self.sockets.next);
            client.set_read_timeout(Some(Duration::from_secs(10))).expect("it can be set");
            self.until(|server| server.sockets.next > before);
            client
        }
    }

    fn frame(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    #[test]
    fn datagrams_are_found_wherever_the_bytes_are_cut() {
        let mut server = Server::start();
        let mut client = server.client();
        let sent: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![number % 4; usize::from(number) * 150 + 1]).collect();
        for piece in sent.iter().flat_map(|bytes| frame(bytes)).collect::<Vec<_>>().chunks(701) {
            client.write_all(piece).expect("it reads");
        }
        server.until(|server| server.datagrams.len() == 20);
        let path = Path {
            transport: Transport::Tcp,
            local: server.address,
            remote: client.local_addr().expect("it is connected"),
        };
        assert!(server.datagrams.iter().all(|(of, _)| *of == path));
        assert!(server.datagrams.iter().map(|(_, bytes)| bytes).eq(&sent));
        server.sockets.send(&Datagram { path, bytes: vec![7; 1000] });
        let mut got = vec![0; 1002];
        client.read_exact(&mut got).expect("it comes in time");
        assert_eq!(got, frame(&[7; 1000]));
        drop(client);
        server.until(|server| server.over == [path]);
        assert_eq!((server.sockets.len(), server.sockets.unknown, server.sockets.lost), (0, 0, 0));
    }

    #[test]
    fn what_is_no_peer_is_closed_at_its_first_bytes() {
        for rubbish in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 20, 0x16, 0xFE], &[0x10, 1, 0, 1]] {
            let mut server = Server::start();
            let mut client = server.client();
            client.write_all(rubbish).expect("it reads");
            server.until(|server| server.over.len() == 1);
            assert!(server.datagrams.is_empty() && server.sockets.len() == 0);
        }
    }

    #[test]
    fn one_that_says_nothing_or_has_become_silent_is_closed_in_time() {
        let mut server = Server::start();
        let (_silent, mut known) = (server.client(), server.client());
        known.write_all(&frame(&[0, 1])).expect("it reads");
        server.until(|server| server.datagrams.len() == 1);
        let path = server.datagrams[0].0;
        server.sockets.send(&Datagram { path, bytes: vec![1] });
        server.look(UNKNOWN);
        assert!(server.over.is_empty());
        server.look(LOOK);
        assert!(server.over.len() == 1 && server.over[0] != path);
        server.look(SILENT);
        assert_eq!(server.over[1], path);
    }

    #[test]
    fn one_that_sends_on_and_on_what_is_for_no_peer_is_closed() {
        let mut server = Server::start();
        let mut client = server.client();
        client.write_all(&frame(&[0, 1])).expect("it reads");
        server.until(|server| server.datagrams.len() == 1);
        let path = server.datagrams[0].0;
        server.sockets.send(&Datagram { path, bytes: vec![1] });
        server.look(SILENT);
        client.write_all(&frame(STRANGE)).expect("it reads");
        server.until(|server| server.datagrams.len() == 2);
        assert!(server.over.is_empty());
        server.look(LOOK);
        assert_eq!(server.over, [path]);
    }

    #[test]
    fn one_that_sends_much_does_not_keep_the_others_from_being_read() {
        let mut server = Server::start();
        let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
        let much = frame(&[0; 1000]).repeat(200);
        for client in &mut clients {
            client.set_nonblocking(true).expect("it can be set");
            // The buffers of the system may take less.
            while client.write(&much).is_ok() {}
        }
        server.until(|server| server.datagrams.len() > 2000);
        let mut seen: Vec<_> = server.datagrams.iter().take(2000).map(|(path, _)| path.remote).collect();
        seen.dedup();
        assert!(seen.len() >= 20, "{} in turn", seen.len());
        assert!(server.datagrams.len() < 2000 + 3 * (READ_IN_ALL / 1000));
    }

    #[test]
    fn the_oldest_that_is_unknown_gives_way_to_a_new_one() {
        let mut server = Server::start();
        let first = server.client();
        server.now += Duration::from_millis(1);
        let clients: Vec<_> = (0..MOST_UNKNOWN).map(|_| server.client()).collect();
        assert_eq!(server.over.iter().map(|path| path.remote).collect::<Vec<_>>(), [first.local_addr().expect("one")]);
        assert_eq!((server.sockets.len(), clients.len()), (MOST_UNKNOWN, MOST_UNKNOWN));
    }

    #[test]
    fn what_waits_for_all_is_bounded() {
        let mut server = Server::start();
        let mut client = server.client();
        client.write_all(&frame(&[0, 1])).expect("it reads");
        server.until(|server| server.datagrams.len() == 1);
        let path = server.datagrams[0].0;
        // Others have nearly all.
        server.sockets.waiting = MOST_WAITING_IN_ALL - 101;
        server.sockets.send(&Datagram { path, bytes: vec![7; 100] });
        assert_eq!(server.sockets.lost, 1, "with its length it has one byte too many");
        server.sockets.send(&Datagram { path, bytes: vec![7; 99] });
        assert_eq!((server.sockets.lost, server.sockets.waiting), (1, MOST_WAITING_IN_ALL - 101));
        let mut got = vec![0; 101];
        client.read_exact(&mut got).expect("it comes in time");
        assert_eq!(got, frame(&[7; 99]));
        server.sockets.waiting = 0;
    }

    #[test]
    fn an_address_that_comes_again_before_its_end_was_seen_is_a_new_connection() {
        let mut server = Server::start();
        let open = |from: SocketAddr, to: SocketAddr| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.set_reuse_address(true).expect("it can be set");
            // Its end is a reset, after which the address can be used at once.
            socket.set_linger(Some(Duration::ZERO)).expect("it can be set");
            socket.bind(&from.into()).expect("the address is free");
            socket.connect(&to.into()).expect("it listens");
            Client::from(socket)
        };
        let mut first = open("127.0.0.1:0".parse().expect("an address"), server.address);
        let address = first.local_addr().expect("it is connected");
        first.write_all(&frame(&[0, 1])).expect("it reads");
        server.until(|server| server.datagrams.len() == 1);
        let path = server.datagrams[0].0;
        server.sockets.send(&Datagram { path, bytes: vec![1] });
        drop(first);
        // The server accepts before it reads: it has not seen the end yet.
        let mut second = open(address, server.address);
        second.set_read_timeout(Some(Duration::from_secs(10))).expect("it can be set");
        second.write_all(&frame(&[0, 2])).expect("it reads");
        server.until(|server| server.datagrams.len() == 2);
        assert_eq!((server.over.as_slice(), server.datagrams[1].0), (&[path][..], path));
        assert_eq!((server.sockets.len(), server.sockets.unknown), (1, 1));
        server.sockets.send(&Datagram { path, bytes: vec![9; 10] });
        let mut got = vec![0; 12];
        second.read_exact(&mut got).expect("it comes in time");
        assert_eq!(got, frame(&[9; 10]), "it gets what is sent to that address");
    }

    #[test]
    fn what_a_peer_does_not_read_is_lost_beyond_a_bound() {
        let mut server = Server::start();
        let mut client = server.client();
        client.write_all(&frame(&[0, 1])).expect("it reads");
        server.until(|server| server.datagrams.len() == 1);
        let path = server.datagrams[0].0;
        while server.sockets.lost == 0 {
            server.sockets.send(&Datagram { path, bytes: vec![1; 1200] });
        }
        let waiting: usize = server.sockets.connections.values().map(|connection| connection.waiting.len()).sum();
        assert!(waiting <= MOST_WAITING && waiting + 1202 > MOST_WAITING, "{waiting}");
    }
}
