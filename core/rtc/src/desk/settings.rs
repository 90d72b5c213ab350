use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How the desk serves peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where peers reach the server by UDP, as answers tell them. If there are none, the addresses of the sockets
    /// ([`listening`](Self::listening)). One that is bound to no address is at the address that the request reached, and then at
    /// those of the interfaces.
    pub candidates: Vec<SocketAddr>,
    /// The same by TCP, independently of those of UDP.
    pub tcp_candidates: Vec<SocketAddr>,
    /// What the sockets of UDP are bound to.
    pub listening: Vec<SocketAddr>,
    /// The same of TCP, if peers may come that way.
    pub tcp_listening: Vec<SocketAddr>,
    /// The addresses of the interfaces, without the loopback.
    pub interfaces: Vec<std::net::IpAddr>,
    /// Peers that may be there at the same time. Requests of more are answered with 503.
    pub most_peers: usize,
    /// Offers that are answered in one second. More wait, up to the same number, and then are answered with 503.
    pub most_joins: u32,
    /// The longest offer, in bytes. A longer one is answered with 413.
    pub longest_offer: usize,
    /// A peer that has not connected by then is gone.
    pub connect: Duration,
    /// Bytes of a stream's packets that are kept for viewers that join: from the newest key frame on.
    pub most_kept: usize,
    /// People that may be in one room: publishers of an application `call/ROOM`. 0: there are no rooms.
    pub most_in_room: usize,
    /// The name of this node of a cluster in the URLs of sessions; empty without one.
    pub node: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            candidates: Vec::new(),
            tcp_candidates: Vec::new(),
            listening: vec![(Ipv6Addr::UNSPECIFIED, 8000).into()],
            tcp_listening: Vec::new(),
            interfaces: Vec::new(),
            most_peers: 10_000,
            most_joins: 200,
            longest_offer: 32 * 1024,
            connect: Duration::from_secs(15),
            most_kept: 16 * 1024 * 1024,
            most_in_room: 0,
            node: String::new(),
        }
    }
}
