use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted. With 128, five hundred players that come at once lose SYN packets and wait
/// a second; the system cuts this to its own bound (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The system's default is a buffer of up to 4 MiB, and a stalled player fills it: a hundred of them hold some 400 MiB
/// of the kernel's memory. With this limit they hold 20 MiB, and players that read are served as fast.
const NOTSENT_LOWAT: u32 = 128 << 10;

/// Where to listen: `PORT`, `ADDRESS:PORT`, `[IPV6]:PORT`, or `:PORT` for every address, IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Every address of the machine.
    Any(u16),
    /// One address.
    One(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Any(port) => write!(f, "port {port}"),
            Listen::One(address) => address.fmt(f),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text);
        if let Ok(port) = port.parse() {
            return Ok(Listen::Any(port));
        }
        text.parse()
            .map(Listen::One)
            .map_err(|_| format!("{text:?} is no address to listen on: write 1935, 127.0.0.1:1935 or [::1]:1935"))
    }
}

impl Listen {
    /// Whether no two sockets could listen on both at once: the same port, and an address that both have. Port 0 stands
    /// for any free port, so it overlaps with none.
    pub fn overlaps(self, other: Listen) -> bool {
        if self.port() != other.port() || self.port() == 0 {
            return false;
        }
        match (self, other) {
            (Listen::Any(_), _) | (_, Listen::Any(_)) => true,
            (Listen::One(one), Listen::One(other)) => {
                let same_family = one.is_ipv4() == other.is_ipv4();
                same_family && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
            }
        }
    }

    /// The port; 0 for any free port.
    pub fn port(self) -> u16 {
        match self {
            Listen::Any(port) => port,
            Listen::One(address) => address.port(),
        }
    }
}

/// Where to listen for HTTP: `auto`, `off`, or addresses with commas between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WebListen {
    /// [`WEB_PORT`](Self::WEB_PORT) of every address, if it is free.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// These addresses.
    At(Vec<Listen>),
}

impl WebListen {
    /// The port of `auto`, as SRS has it.
    pub const WEB_PORT: u16 = 8080;
}

impl fmt::Display for WebListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebListen::Auto => f.write_str("auto"),
            WebListen::Off => f.write_str("off"),
            WebListen::At(addresses) => {
                for (index, address) in addresses.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    match address {
                        Listen::Any(port) => port.fmt(f)?,
                        Listen::One(address) => address.fmt(f)?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl FromStr for WebListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(WebListen::Auto),
            "off" => Ok(WebListen::Off),
            addresses => {
                let parsed = addresses.split(',').map(|address| address.trim().parse());
                parsed.collect::<Result<_, _>>().map(WebListen::At)
            }
        }
    }
}

/// Options of TCP connections.
#[derive(Debug, Clone, Copy)]
pub struct TcpOptions {
    /// Send small writes at once (TCP_NODELAY). Default on: every write is a whole batch already.
    pub nodelay: bool,
    /// Idle time before the system probes whether the peer is still there. Default 60 s.
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged before the system closes the connection (TCP_USER_TIMEOUT), on
    /// systems that have this option. Default: the system's own limit, many minutes; the core's write timeout comes
    /// first.
    pub user_timeout: Option<Duration>,
    /// How many unsent bytes a socket may hold and still count as writable (TCP_NOTSENT_LOWAT), on systems that have
    /// this option. With less, slow players skip frames sooner, and the server wakes up more often. Default: 128 KiB.
    pub notsent_lowat: Option<u32>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: None,
            notsent_lowat: Some(NOTSENT_LOWAT),
        }
    }
}

/// Opens a listening socket with a backlog for many players that connect at once.
///
/// # Errors
/// The system's error: for example, the address is in use or is not an address of this machine.
pub fn listen(listen: Listen) -> io::Result<TcpListener> {
    let socket = bind(listen)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Checks whether [`listen`] would succeed now, without listening: no client notices, and a server that starts at the
/// same time is not disturbed.
///
/// # Errors
/// As [`listen`].
pub fn can_listen(listen: Listen) -> io::Result<()> {
    bind(listen).map(drop)
}

fn bind(listen: Listen) -> io::Result<Socket> {
    match listen {
        Listen::One(address) => bind_to(address, false),
        // One socket for both families where the machine has IPv6.
        Listen::Any(port) => bind_to((Ipv6Addr::UNSPECIFIED, port).into(), true).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => bind_to((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into(), false),
        }),
    }
}

fn bind_to(address: SocketAddr, dual_stack: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Applies `options` to an accepted connection. Errors are ignored: the next read finds a connection that is gone.
pub fn tune<'a>(socket: impl Into<SockRef<'a>>, options: &TcpOptions) {
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(options.nodelay);
    if let Some(idle) = options.keepalive {
        let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle));
    }
    #[cfg(target_os = "linux")]
    {
        if options.user_timeout.is_some() {
            let _ = socket.set_tcp_user_timeout(options.user_timeout);
        }
        if let Some(bytes) = options.notsent_lowat {
            let _ = socket.set_tcp_notsent_lowat(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_in_every_form() {
        assert_eq!("1935".parse(), Ok(Listen::Any(1935)));
        assert_eq!(":1935".parse(), Ok(Listen::Any(1935)));
        assert_eq!("127.0.0.1:1936".parse(), Ok(Listen::One(SocketAddr::from(([127, 0, 0, 1], 1936)))));
        assert_eq!("[::1]:1936".parse(), Ok(Listen::One(SocketAddr::from((Ipv6Addr::LOCALHOST, 1936)))));
        for wrong in ["", "localhost", "70000", "1.2.3.4", "[::1]"] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn web_addresses_in_every_form() {
        for (text, written) in [("auto", "auto"), (" off", "off"), ("8080, [::1]:81", "8080,[::1]:81")] {
            let parsed: WebListen = text.parse().unwrap();
            assert_eq!(parsed.to_string(), written);
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
        assert!("8080,".parse::<WebListen>().is_err() && "on".parse::<WebListen>().is_err());
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let again = listen(Listen::One(first.local_addr().unwrap()));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_look_at_an_address_finds_what_listening_there_would_find() {
        let taken = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(can_listen(Listen::One(address)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        // The look leaves the address free.
        assert!(can_listen(Listen::One(address)).is_ok() && listen(Listen::One(address)).is_ok());
        let elsewhere = can_listen("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn addresses_that_overlap_cannot_both_be_listened_on() {
        let parsed = |text: &str| text.parse::<Listen>().unwrap();
        let overlap = |one: &str, other: &str| {
            assert_eq!(parsed(one).overlaps(parsed(other)), parsed(other).overlaps(parsed(one)), "{one} {other}");
            parsed(one).overlaps(parsed(other))
        };
        for (one, other) in [
            ("1935", "1935"),
            ("1935", "127.0.0.1:1935"),
            ("1935", "[::1]:1935"),
            ("0.0.0.0:1935", "127.0.0.1:1935"),
            ("[::]:1935", "[::1]:1935"),
            ("10.0.0.1:1935", "10.0.0.1:1935"),
        ] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1935", "1936"),
            ("0", "0"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:1935", "[::]:1935"),
            ("127.0.0.1:1935", "127.0.0.2:1935"),
        ] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
