use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The text printed when the server has started: the addresses for OBS and for players.
#[derive(Debug)]
pub struct Banner<'a> {
    /// Name and version of the program.
    pub program: &'a str,
    /// The addresses it listens on.
    pub addresses: &'a [SocketAddr],
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(url) = self.addresses.first().map(base_url) else {
            return write!(f, "{}: no address to listen on", self.program);
        };
        writeln!(f, "{} is ready.", self.program)?;
        for address in self.addresses {
            writeln!(f, "  listening on   {address}")?;
        }
        writeln!(f, "  publish, OBS   server {url}/live   stream key cam")?;
        writeln!(f, "  publish        ffmpeg -re -i FILE -c copy -f flv {url}/live/cam")?;
        write!(f, "  watch          ffplay {url}/live/cam   (or VLC, mpv, any RTMP player)")
    }
}

/// An address that a program on this machine can use.
fn base_url(address: &SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    match (host, address.port()) {
        (IpAddr::V4(host), 1935) => format!("rtmp://{host}"),
        (IpAddr::V6(host), 1935) => format!("rtmp://[{host}]"),
        (host, port) => format!("rtmp://{}", SocketAddr::new(host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_can_be_pasted() {
        let url = |address: &str| base_url(&address.parse().unwrap());
        assert_eq!(url("[::]:1935"), "rtmp://127.0.0.1");
        assert_eq!(url("0.0.0.0:1936"), "rtmp://127.0.0.1:1936");
        assert_eq!(url("[::1]:1935"), "rtmp://[::1]");
        assert_eq!(url("10.1.2.3:1935"), "rtmp://10.1.2.3");
    }
}
