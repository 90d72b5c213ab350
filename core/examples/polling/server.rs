//! A server on one thread with its own event loop, as a pattern for other adapters.
//!
//! The core contains the protocol, all decisions and all timeouts. The adapter has the rest: sockets, one timer per
//! connection, and the list of connections to poll when a stream is woken. Read [`Server::serve`] first, then
//! [`Server::act`] and [`Server::turn`].

// An adapter does what core must not do (sockets, clocks, threads), so these lints are off here. Programs that include
// this file need not use all of it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, unreachable_pub, dead_code)]

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::bytes::Buf;
use anabranch_core::conn::{self, Action, Batches, Conn, Output, Report};
use anabranch_core::hub::StreamId;
use anabranch_core::session::CloseReason;
use polling::{AsRawSource, AsSource, Event, Events, Poller};

/// Reads and writes of one connection before the other connections get their turn, so that one busy connection does not
/// block them.
const ROUNDS: usize = 8;
/// Connections accepted from a listener before the existing connections get their turn.
const ACCEPTS: usize = 64;
/// Bytes read at once, into a buffer that all connections share, so that a waiting connection holds no buffer.
const READ_BUFFER: usize = 64 << 10;
/// Slices passed to one write call.
const SLICES: usize = 64;
/// How long to pause a listener when the system cannot accept a connection, for example because it has no free file
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to send their final messages when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(2500);
/// The first key of listeners. A connection's key is its index in `Server::connections`.
const LISTENERS: usize = usize::MAX / 2 + 1;

/// A server: [`bind`](Self::bind) it, then [`run`](Self::run) it.
pub struct Server {
    core: conn::Core,
    poller: Arc<Poller>,
    stopped: Arc<AtomicBool>,
    listeners: Vec<Watched<TcpListener>>,
    addresses: Vec<SocketAddr>,
    connections: Vec<Option<Box<Connection>>>,
    /// Free indexes in `connections`.
    vacant: Vec<usize>,
    /// Deadlines with keys. A connection has at most one entry, and stores which.
    timers: BTreeSet<(Instant, usize)>,
    /// The connections to poll when a stream is woken.
    subscribers: HashMap<StreamId, BTreeSet<usize>>,
    /// Streams woken in this turn.
    woken: BTreeSet<StreamId>,
    buffer: Vec<u8>,
    log: fn(fmt::Arguments<'_>),
}

/// Stops a running server from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    poller: Arc<Poller>,
    stopped: Arc<AtomicBool>,
}

impl Stopper {
    /// Makes [`Server::run`] close all connections and return.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // It fails only if the loop has already ended.
        let _ = self.poller.notify();
    }
}

struct Connection {
    conn: Conn,
    socket: Watched<TcpStream>,
    /// True after a write that the socket did not take completely, until the socket is writable.
    full: bool,
    /// Its entry in the timers.
    deadline: Option<Instant>,
    /// The events that the poller waits for: readable, writable. Each is reported once and must then be set again.
    armed: (bool, bool),
}

impl Server {
    /// Listens on all of these addresses, IPv4 and IPv6; port 0 lets the system choose.
    ///
    /// # Errors
    /// Errors of the system: an address is in use, or does not belong to this machine.
    pub fn bind(addresses: impl ToSocketAddrs, config: conn::Config) -> io::Result<Server> {
        let poller = Arc::new(Poller::new()?);
        let (mut listeners, mut bound) = (Vec::new(), Vec::new());
        for (address, key) in addresses.to_socket_addrs()?.zip(LISTENERS..) {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            bound.push(listener.local_addr()?);
            listeners.push(Watched::new(listener, key, &poller)?);
        }
        Ok(Server {
            core: conn::Core::new(config, random_seed()),
            poller,
            stopped: Arc::default(),
            listeners,
            addresses: bound,
            connections: Vec::new(),
            vacant: Vec::new(),
            timers: BTreeSet::new(),
            subscribers: HashMap::new(),
            woken: BTreeSet::new(),
            buffer: vec![0; READ_BUFFER],
            log: |_| {},
        })
    }

    /// Calls `log` with a line when a connection attaches to a stream or ends. Default: no log.
    pub fn with_log(mut self, log: fn(fmt::Arguments<'_>)) -> Self {
        self.log = log;
        self
    }

    /// The first of the addresses it listens on.
    ///
    /// # Panics
    /// If the server has no address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends [`run`](Self::run) from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper { poller: self.poller.clone(), stopped: self.stopped.clone() }
    }

    /// Serves until it is stopped, then lets connections send their final messages and returns within 3 seconds.
    ///
    /// # Errors
    /// Errors of the system while waiting for events.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::new();
        while !self.stopped.load(Ordering::Acquire) {
            self.turn(&mut events, None)?;
        }
        self.listeners.clear();
        let now = Instant::now();
        self.change_all(|conn| {
            // The time for the final messages starts now, not when the peer's last bytes were received.
            conn.handle_timeout(now);
            conn.shutdown();
        });
        let end = now + CLOSE_TIMEOUT;
        while self.connections.iter().any(Option::is_some) && Instant::now() < end {
            self.turn(&mut events, Some(end))?;
        }
        self.change_all(|conn| conn.handle_disconnect(Instant::now(), CloseReason::Shutdown));
        Ok(())
    }

    /// Waits for events, at most until `end`, and handles them.
    fn turn(&mut self, events: &mut Events, end: Option<Instant>) -> io::Result<()> {
        let deadline = self.timers.first().map(|(deadline, _)| *deadline).into_iter().chain(end).min();
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        events.clear();
        self.poller.wait(events, timeout)?;

        for event in events.iter() {
            if event.key >= LISTENERS {
                self.accept(event.key);
            } else if let Some(Some(connection)) = self.connections.get_mut(event.key) {
                connection.armed = (false, false);
                connection.full &= !event.writable;
                self.serve(event.key, event.readable);
            }
        }
        let now = Instant::now();
        let due: Vec<(Instant, usize)> = self.timers.range(..=(now, usize::MAX)).copied().collect();
        for (deadline, key) in due {
            if key >= LISTENERS {
                self.timers.remove(&(deadline, key));
                self.accept(key);
            } else if let Some(Some(connection)) = self.connections.get_mut(key) {
                connection.conn.handle_timeout(now);
                self.serve(key, false);
            }
        }
        self.serve_woken();
        Ok(())
    }

    /// Serves a connection: drains its core, writes, reads, and stores what it waits for.
    fn serve(&mut self, key: usize, mut readable: bool) {
        // The connection is taken out of the list, so that the rest of the server can be borrowed.
        let Some(mut connection) = self.connections.get_mut(key).and_then(Option::take) else {
            return;
        };
        let mut rounds = ROUNDS;
        let wait = loop {
            match connection.conn.poll(Instant::now()) {
                Output::Action(action) => self.act(key, &connection.conn, action),
                Output::Wait(wait) => {
                    let (writes, reads) = (wait.write && !connection.full, wait.read.filter(|_| readable));
                    if rounds == 0 || !(writes || reads.is_some()) {
                        break wait;
                    }
                    rounds -= 1;
                    let result = match reads {
                        Some(read) if !writes => {
                            let most = read.most.min(self.buffer.len());
                            connection.read(&mut self.buffer[..most]).map(|more| readable = more)
                        }
                        _ => connection.write(),
                    };
                    if let Err(error) = result {
                        let reason = CloseReason::PeerLost(error.to_string());
                        connection.conn.handle_disconnect(Instant::now(), reason);
                    }
                }
                Output::Closed(report) => return self.remove(key, &connection, &report),
            }
        };
        // If output is left although the socket would take it, the poller reports the socket as writable at once.
        connection.full = wait.write;
        if let Err(error) = connection.arm(key, wait.read.is_some(), wait.write) {
            // The system is out of memory, and the poller would report no more events of the connection.
            connection.conn.handle_disconnect(Instant::now(), CloseReason::PeerLost(error.to_string()));
            self.connections[key] = Some(connection);
            return self.serve(key, false);
        }
        if connection.deadline != wait.deadline() {
            self.timers.extend(wait.deadline().map(|deadline| (deadline, key)));
            if let Some(old) = std::mem::replace(&mut connection.deadline, wait.deadline()) {
                self.timers.remove(&(old, key));
            }
        }
        self.connections[key] = Some(connection);
    }

    /// Carries out an action of a connection.
    fn act(&mut self, key: usize, conn: &Conn, action: Action) {
        match action {
            Action::Attach(attachment) => (self.log)(format_args!("conn {} is {attachment}", conn.id())),
            Action::Detach { .. } => {}
            Action::Subscribe(stream) => _ = self.subscribers.entry(stream).or_default().insert(key),
            Action::Unsubscribe(stream) => {
                if let Some(subscribers) = self.subscribers.get_mut(&stream) {
                    subscribers.remove(&key);
                    if subscribers.is_empty() {
                        self.subscribers.remove(&stream);
                    }
                }
            }
            // Only stored: several wakes in one turn cost a player one write.
            Action::Wake(stream) => _ = self.woken.insert(stream),
            // With a back end, the adapter sends it the question and passes the verdict to `Conn::answer` in a later
            // turn. This server has no back end, and its `conn::Config` asks no questions.
            Action::Ask(_) | Action::Notify(_) | Action::Finish | Action::Request(_) => {}
            Action::Remark(remark) => (self.log)(format_args!("conn {}: {remark}", conn.id())),
        }
    }

    /// Serves the players of all streams that were woken.
    fn serve_woken(&mut self) {
        // A connection that ends in its turn may wake others.
        while !self.woken.is_empty() {
            let woken = std::mem::take(&mut self.woken);
            let subscribers: BTreeSet<usize> =
                woken.iter().filter_map(|stream| self.subscribers.get(stream)).flatten().copied().collect();
            let mut batches = Batches::default();
            for key in subscribers {
                if !self.write_batch(key, &mut batches) {
                    self.serve(key, false);
                }
            }
        }
    }

    /// Writes frames to a connection on the core's fast path; true if nothing else changed, so that the connection need
    /// not be polled. A server with thousands of players spends most of its time here.
    fn write_batch(&mut self, key: usize, batches: &mut Batches) -> bool {
        let Some(connection) = self.connections.get_mut(key).and_then(Option::as_mut).filter(|it| !it.full) else {
            return false;
        };
        let Some(share) = batches.share(&mut connection.conn) else {
            return false;
        };
        // Ignore the error: the next write returns it again.
        let count = (&connection.socket.source).write(share.bytes()).unwrap_or(0);
        connection.conn.wrote(Instant::now(), share, count).expect("it is of this connection")
    }

    /// Accepts the connections that wait at a listener.
    fn accept(&mut self, key: usize) {
        for _ in 0..ACCEPTS {
            // None if the server stops.
            let Some(listener) = self.listeners.get(key - LISTENERS) else {
                return;
            };
            match listener.source.accept() {
                Ok((socket, peer)) => {
                    if let Err(error) = self.open(socket, peer) {
                        (self.log)(format_args!("a connection from {peer} cannot be served: {error}"));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The peer closed before it was accepted. Other errors concern the listener; the server goes on.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => return self.pause(key, &error),
            }
        }
        let listener = &self.listeners[key - LISTENERS];
        if let Err(error) = self.poller.modify(&listener.source, Event::readable(key)) {
            self.pause(key, &error);
        }
    }

    /// Pauses a listener.
    fn pause(&mut self, key: usize, error: &io::Error) {
        (self.log)(format_args!("cannot accept connections: {error}; trying again"));
        self.timers.insert((Instant::now() + ACCEPT_PAUSE, key));
    }

    fn open(&mut self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        // Every write is already a complete batch.
        socket.set_nodelay(true)?;
        let key = self.vacant.last().copied().unwrap_or(self.connections.len());
        let socket = Watched::new(socket, key, &self.poller)?;
        if self.vacant.pop().is_none() {
            self.connections.push(None);
        }
        let now = Instant::now();
        if let Ok(unix) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            // The core checks the expiry of signed URLs against this time.
            self.core.set_clock(now, unix.as_secs());
        }
        let conn = self.core.connect_from(now, peer);
        let connection = Connection { conn, socket, full: false, deadline: None, armed: (true, false) };
        self.connections[key] = Some(Box::new(connection));
        self.serve(key, false);
        Ok(())
    }

    /// Removes a closed connection; dropping it closes its socket. The core has already detached it from streams.
    fn remove(&mut self, key: usize, connection: &Connection, report: &Report) {
        (self.log)(format_args!("conn {} closed: {report}", connection.conn.id()));
        if let Some(deadline) = connection.deadline {
            self.timers.remove(&(deadline, key));
        }
        // An event of this turn may still name the key. The next connection with this key then finds nothing to do.
        self.vacant.push(key);
    }

    fn change_all(&mut self, change: impl Fn(&mut Conn)) {
        for key in 0..self.connections.len() {
            if let Some(connection) = &mut self.connections[key] {
                change(&mut connection.conn);
                self.serve(key, false);
            }
        }
        self.serve_woken();
    }
}

impl Connection {
    /// Reads once and passes the bytes to the core; true if there may be more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match (&self.socket.source).read(buffer) {
            Ok(0) => {
                self.conn.handle_disconnect(Instant::now(), CloseReason::PeerClosed);
                Ok(false)
            }
            Ok(count) => {
                self.conn.handle_input(Instant::now(), &buffer[..count]);
                Ok(count == buffer.len())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes once; bytes that the socket does not take stay queued in the core.
    fn write(&mut self) -> io::Result<()> {
        let outbound = self.conn.outbound();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outbound.chunks_vectored(&mut slices);
        match (&self.socket.source).write_vectored(&slices[..count]) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                outbound.advance(count);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.full = true;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets the poller to the events that the core waits for. If the core wants no input, the adapter does not read,
    /// and TCP stops the peer from sending: this is the backpressure.
    fn arm(&mut self, key: usize, readable: bool, writable: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.armed, (readable, writable)) == (readable, writable) {
            return Ok(());
        }
        self.socket.poller.modify(&self.socket.source, Event::new(key, readable, writable))
    }
}

/// A socket that is registered with the poller. Dropping it removes it from the poller.
struct Watched<S: AsSource> {
    source: S,
    poller: Arc<Poller>,
}

impl<S: AsSource> Watched<S>
where
    for<'a> &'a S: AsRawSource,
{
    #[allow(unsafe_code)]
    fn new(source: S, key: usize, poller: &Arc<Poller>) -> io::Result<Self> {
        // SAFETY: the source must be deleted from the poller before it is dropped; `drop` below does that, and no code
        // moves the source out of this struct.
        unsafe { poller.add(&source, Event::readable(key))? };
        Ok(Watched { source, poller: poller.clone() })
    }
}

impl<S: AsSource> Drop for Watched<S> {
    fn drop(&mut self) {
        let _ = self.poller.delete(&self.source);
    }
}

/// Random bytes from the standard library: the keys of its hash maps, which come from the system.
fn random_seed() -> [u8; 32] {
    let parts: [[u8; 8]; 4] = std::array::from_fn(|_| RandomState::new().build_hasher().finish().to_le_bytes());
    let mut seed = [0; 32];
    seed.copy_from_slice(parts.as_flattened());
    seed
}
