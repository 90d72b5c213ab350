//! The sockets of UDP: many datagrams with one call, both ways.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anabranch_rtc::peer::{Datagram, Path, Transport};
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Listen;

/// Buffers that one call fills, each with datagrams of one peer.
const BUFFERS: usize = 16;
/// What one of them holds: the most that the system puts together.
const BUFFER: usize = 64 << 10;
/// The most bytes that one call sends: the system counts its own heads in 64 KiB.
const MOST_SENT: usize = 60 << 10;
/// Bytes that may wait for a socket that is full. What comes beyond is lost, as on a line that is full. Viewers get nothing more
/// from a tenth of it on, so that there is room for answers.
const MOST_WAITING: usize = 4 << 20;
const FULL: usize = MOST_WAITING / 10;
/// Bytes that the system may keep for a socket, if it permits so many: a key frame for a thousand viewers is some 50 MB, and a
/// burst of that is spread over several rounds.
const SYSTEM_BUFFER: usize = 4 << 20;

/// Opens a socket for datagrams. For every address, one socket has both families where the machine has IPv6.
pub(crate) fn bind(listen: Listen) -> io::Result<std::net::UdpSocket> {
    match listen {
        Listen::One(address) => bind_to(address, false),
        Listen::Any(port) => bind_to((Ipv6Addr::UNSPECIFIED, port).into(), true).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => bind_to((Ipv4Addr::UNSPECIFIED, port).into(), false),
        }),
    }
}

fn bind_to(address: SocketAddr, dual_stack: bool) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    // The system may give less.
    let _ = socket.set_recv_buffer_size(SYSTEM_BUFFER);
    let _ = socket.set_send_buffer_size(SYSTEM_BUFFER);
    Ok(socket.into())
}

/// What has been received and sent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Calls of the system that sent them.
    pub(crate) sends: u64,
    /// Datagrams that were lost here, because a socket was full or the system refused them.
    pub(crate) lost: u64,
}

/// Memory for what comes.
#[derive(Debug)]
pub(crate) struct Buffers(Vec<u8>);

impl Buffers {
    pub(crate) fn new() -> Self {
        Buffers(vec![0; BUFFERS * BUFFER])
    }

    /// As one piece, for another kind of socket.
    pub(crate) fn whole(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Datagrams of the same length for one peer, of which the last may be shorter: what one call sends.
#[derive(Debug)]
pub(crate) struct Batch {
    path: Path,
    bytes: Vec<u8>,
    segment: usize,
    datagrams: usize,
    is_full: bool,
}

impl Batch {
    /// `bytes` is memory that was used before.
    fn new(datagram: &Datagram, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.extend_from_slice(&datagram.bytes);
        Batch { path: datagram.path, segment: bytes.len(), bytes, datagrams: 1, is_full: false }
    }

    /// Takes one more if it belongs to these.
    fn add(&mut self, datagram: &Datagram, most: usize) -> bool {
        let length = datagram.bytes.len();
        let fits = !self.is_full && self.datagrams < most && self.bytes.len() + length <= MOST_SENT;
        if !fits || length > self.segment || length == 0 || datagram.path != self.path {
            return false;
        }
        self.bytes.extend_from_slice(&datagram.bytes);
        self.datagrams += 1;
        self.is_full = length < self.segment;
        true
    }
}

#[derive(Debug)]
struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    /// As it is bound, in the form that peers are told.
    local: SocketAddr,
    /// True if it takes addresses of IPv6 alone, those of IPv4 in their form for IPv6.
    is_v6: bool,
    token: Token,
    is_readable: bool,
    /// What waits until the socket has room.
    waiting: VecDeque<Batch>,
    waiting_bytes: usize,
}

/// All sockets of UDP.
#[derive(Debug)]
pub(crate) struct UdpSockets {
    sockets: Vec<Udp>,
    batch: Option<Batch>,
    /// Memory for the next batch.
    spare: Vec<u8>,
    pub(crate) counts: Counts,
}

impl UdpSockets {
    /// Registers them with tokens from `first` on.
    pub(crate) fn register(
        sockets: Vec<std::net::UdpSocket>,
        registry: &Registry,
        first: usize,
    ) -> io::Result<UdpSockets> {
        let register = |(index, socket): (usize, std::net::UdpSocket)| {
            let state = UdpSocketState::new((&socket).into())?;
            let bound = socket.local_addr()?;
            let mut socket = UdpSocket::from_std(socket);
            let token = Token(first + index);
            registry.register(&mut socket, token, Interest::READABLE)?;
            let local = SocketAddr::new(bound.ip().to_canonical(), bound.port());
            let (waiting, waiting_bytes) = (VecDeque::new(), 0);
            let is_v6 = bound.is_ipv6();
            Ok(Udp { socket, state, local, is_v6, token, is_readable: true, waiting, waiting_bytes })
        };
        let sockets = sockets.into_iter().enumerate().map(register).collect::<io::Result<_>>()?;
        Ok(UdpSockets { sockets, batch: None, spare: Vec::new(), counts: Counts::default() })
    }

    /// The token after the last one.
    pub(crate) fn after(&self, first: usize) -> usize {
        first + self.sockets.len()
    }

    /// A socket has something, or room. False if the token is of none.
    pub(crate) fn is_ready(&mut self, registry: &Registry, token: Token, readable: bool, writable: bool) -> bool {
        let Some(at) = self.sockets.iter().position(|udp| udp.token == token) else { return false };
        self.sockets[at].is_readable |= readable;
        if writable {
            self.send_waiting(registry, at);
        }
        true
    }

    /// True if something may be there to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.sockets.iter().any(|udp| udp.is_readable)
    }

    /// True while viewers are to get nothing more.
    pub(crate) fn is_full(&self) -> bool {
        self.sockets.iter().any(|udp| udp.waiting_bytes > FULL)
    }

    /// Takes what has come, with one call for each socket.
    pub(crate) fn receive(&mut self, buffers: &mut Buffers, mut take: impl FnMut(Path, &[u8])) {
        for udp in &mut self.sockets {
            if !udp.is_readable {
                continue;
            }
            let mut metas = [RecvMeta::default(); BUFFERS];
            let mut pieces = buffers.0.chunks_exact_mut(BUFFER);
            let mut slices: [IoSliceMut<'_>; BUFFERS] =
                std::array::from_fn(|_| IoSliceMut::new(pieces.next().unwrap_or_default()));
            let count = match udp.state.recv((&udp.socket).into(), &mut slices, &mut metas) {
                Ok(count) => count,
                Err(error) => {
                    // Other errors are of datagrams that were sent before.
                    udp.is_readable = error.kind() != io::ErrorKind::WouldBlock;
                    continue;
                }
            };
            for (meta, piece) in metas[..count].iter().zip(&slices) {
                let remote = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
                let remote = if remote.is_ipv6() { meta.addr } else { remote };
                let own = udp.local.ip();
                let ip = meta.dst_ip.filter(|_| own.is_unspecified()).map_or(own, |ip| ip.to_canonical());
                let local = SocketAddr::new(ip, udp.local.port());
                let path = Path { transport: Transport::Udp, local, remote };
                for datagram in piece[..meta.len].chunks(meta.stride.max(1)) {
                    self.counts.received += 1;
                    // It is forged, and no answer could be sent there.
                    if remote.port() != 0 {
                        take(path, datagram);
                    }
                }
            }
        }
    }

    /// Sends a datagram, perhaps together with the next ones: [`flush`](Self::flush) comes after the last one.
    pub(crate) fn send(&mut self, registry: &Registry, datagram: &Datagram) {
        let most = self.socket_of(datagram.path.local).map_or(1, |at| self.sockets[at].state.max_gso_segments());
        if self.batch.as_mut().is_some_and(|batch| batch.add(datagram, most)) {
            return;
        }
        self.flush(registry);
        self.batch = Some(Batch::new(datagram, std::mem::take(&mut self.spare)));
    }

    /// Sends what waits for further datagrams.
    pub(crate) fn flush(&mut self, registry: &Registry) {
        let Some(batch) = self.batch.take() else { return };
        let Some(at) = self.socket_of(batch.path.local) else {
            self.counts.lost += batch.datagrams as u64;
            return;
        };
        let udp = &mut self.sockets[at];
        if udp.waiting.is_empty() && send(udp, &batch, &mut self.counts) {
            self.spare = batch.bytes;
            return;
        }
        if udp.waiting_bytes + batch.bytes.len() > MOST_WAITING {
            self.counts.lost += batch.datagrams as u64;
            return;
        }
        if udp.waiting.is_empty() {
            // A registration that fails leaves the batches until the next try.
            let _ = registry.reregister(&mut udp.socket, udp.token, Interest::READABLE | Interest::WRITABLE);
        }
        udp.waiting_bytes += batch.bytes.len();
        udp.waiting.push_back(batch);
    }

    /// The socket that sends from an address: the one that is bound to it, or one for every address of its family.
    fn socket_of(&self, local: SocketAddr) -> Option<usize> {
        let is_same = |udp: &Udp| udp.local == local;
        let is_any = |udp: &Udp| {
            udp.local.ip().is_unspecified() && udp.local.port() == local.port() && (udp.is_v6 || local.is_ipv4())
        };
        self.sockets.iter().position(is_same).or_else(|| self.sockets.iter().position(is_any))
    }

    fn send_waiting(&mut self, registry: &Registry, at: usize) {
        let udp = &mut self.sockets[at];
        while let Some(batch) = udp.waiting.pop_front() {
            if !send(udp, &batch, &mut self.counts) {
                udp.waiting.push_front(batch);
                return;
            }
            udp.waiting_bytes -= batch.bytes.len();
        }
        let _ = registry.reregister(&mut udp.socket, udp.token, Interest::READABLE);
    }
}

/// Sends it. False if the socket is full.
fn send(udp: &Udp, batch: &Batch, counts: &mut Counts) -> bool {
    let destination = match batch.path.remote {
        SocketAddr::V4(remote) if udp.is_v6 => (remote.ip().to_ipv6_mapped(), remote.port()).into(),
        remote => remote,
    };
    let source = batch.path.local.ip();
    let src_ip = (udp.local.ip().is_unspecified() && !source.is_unspecified()).then(|| match source {
        IpAddr::V4(source) if udp.is_v6 => source.to_ipv6_mapped().into(),
        source => source,
    });
    let mut transmit = Transmit { destination, ecn: None, contents: &batch.bytes, segment_size: None, src_ip };
    transmit.segment_size = (batch.datagrams > 1).then_some(batch.segment);
    let failed = match udp.state.try_send((&udp.socket).into(), &transmit) {
        Ok(()) => {
            (counts.sends, counts.sent) = (counts.sends + 1, counts.sent + batch.datagrams as u64);
            counts.sent_bytes += batch.bytes.len() as u64;
            return true;
        }
        Err(error) => error,
    };
    if failed.kind() == io::ErrorKind::WouldBlock {
        return false;
    }
    if batch.datagrams == 1 {
        counts.lost += 1;
        return true;
    }
    // The system takes no such batches, or not this one.
    for contents in batch.bytes.chunks(batch.segment) {
        let one = Transmit { contents, segment_size: None, ..transmit.clone() };
        match udp.state.try_send((&udp.socket).into(), &one) {
            Ok(()) => {
                (counts.sends, counts.sent) = (counts.sends + 1, counts.sent + 1);
                counts.sent_bytes += contents.len() as u64;
            }
            Err(_) => counts.lost += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Path { transport: Transport::Udp, local: address(8000), remote: address(port) }
    }

    fn datagram(port: u16, length: usize) -> Datagram {
        Datagram { path: path(port), bytes: vec![7; length] }
    }

    #[test]
    fn datagrams_of_one_peer_and_one_length_are_one_call_and_a_shorter_one_ends_it() {
        let mut batch = Batch::new(&datagram(1, 100), vec![1; 5]);
        assert!(!batch.add(&datagram(2, 100), 64), "it is of another peer");
        assert!(!batch.add(&datagram(1, 101), 64), "it is longer");
        assert!(batch.add(&datagram(1, 100), 64));
        assert!(!batch.add(&datagram(1, 100), 2), "there are two already");
        assert!(batch.add(&datagram(1, 99), 64));
        assert!(!batch.add(&datagram(1, 99), 64), "the last one was shorter");
        assert_eq!((batch.datagrams, batch.bytes.len(), batch.segment), (3, 299, 100));
    }

    /// What a socket with both families receives and sends has addresses of the family that the peer has.
    #[test]
    fn one_socket_serves_both_families_and_answers_from_the_address_that_was_reached() {
        let server = bind(Listen::Any(0)).expect("a port is free");
        let port = server.local_addr().expect("it is bound").port();
        let mut poll = mio::Poll::new().expect("the system gives one");
        let mut sockets = UdpSockets::register(vec![server], poll.registry(), 1).expect("it can be registered");
        let mut buffers = Buffers::new();
        for host in ["127.0.0.2", "127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().expect("an address");
            let peer = std::net::UdpSocket::bind((host, 0)).expect("the machine has it");
            peer.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("it can be set");
            peer.connect((host, port)).expect("it is bound");
            peer.send(b"hello").expect("it takes it");
            let mut got = Vec::new();
            while got.is_empty() {
                let mut events = mio::Events::with_capacity(8);
                poll.poll(&mut events, None).expect("it waits");
                for event in &events {
                    sockets.is_ready(poll.registry(), event.token(), event.is_readable(), event.is_writable());
                }
                while sockets.is_readable() {
                    sockets.receive(&mut buffers, |path, bytes| got.push((path, bytes.to_vec())));
                }
            }
            let remote = peer.local_addr().expect("it is bound");
            let path = Path { transport: Transport::Udp, local: (host, port).into(), remote };
            assert_eq!(got, [(path, b"hello".to_vec())]);
            for length in [900, 900, 900, 20] {
                sockets.send(poll.registry(), &Datagram { path, bytes: vec![1; length] });
            }
            sockets.flush(poll.registry());
            for length in [900, 900, 900, 20] {
                let mut buffer = [0; 2048];
                assert_eq!(peer.recv(&mut buffer).expect("it comes in time"), length);
            }
        }
        let Counts { received, sent, lost, .. } = sockets.counts;
        assert_eq!((received, sent, lost), (3, 12, 0));
    }
}
