use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The ports of RTMP and of RTMPS.
const RTMP: u16 = 1935;
const RTMPS: u16 = 443;
/// The longest address of a server: a host's name has at most 253 bytes.
pub(crate) const LONGEST_ADDRESS: usize = 280;

/// Where other servers reach a server: `rtmp://HOST:PORT` or `rtmps://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertise {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST_ADDRESS {
            return Err("the address is too long".to_owned());
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("rtmp", rest)) => (false, rest),
            Some(("rtmps", rest)) => (true, rest),
            _ => return Err("the address begins with rtmp:// or rtmps://".to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', ',']) {
            return Err("the address has only a host and a port, as in \"rtmp://10.0.0.7:1935\"".to_owned());
        }
        let (host, port) = split_host(rest, if tls { RTMPS } else { RTMP })?;
        Ok(Advertise { tls, host, port })
    }
}

impl Advertise {
    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Why no other server can reach this address.
    pub(crate) fn unreachable(&self) -> Option<&'static str> {
        match self.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => {
                Some("stands for all addresses of a machine, so no other machine can connect to it")
            }
            Ok(ip) if ip.is_multicast() => Some("is a multicast address"),
            Ok(IpAddr::V4(ip)) if ip.is_broadcast() => Some("is the broadcast address"),
            _ => None,
        }
    }

    /// True for an address that only programs on the same machine reach.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "rtmps" } else { "rtmp" }, self.authority())
    }
}

/// Splits `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
pub(super) fn split_host(text: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("an IPv6 address ends with ]")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("what is in brackets is not an IPv6 address".to_owned());
            }
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err("after an IPv6 address only a port may follow".to_owned()),
            }
        }
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.contains(':') && !text.starts_with('[') {
        return Err("an IPv6 address is written in brackets".to_owned());
    }
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() {
        return Err("there is no host".to_owned());
    }
    if !host.chars().all(is_plain) || host.len() > 253 {
        return Err("the name of the host has characters that no name has, or is too long".to_owned());
    }
    let port = match port.map(str::parse) {
        None => default,
        Some(Ok(0)) | Some(Err(_)) => return Err("the port is not a number from 1 to 65535".to_owned()),
        Some(Ok(port)) => port,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, shown) in [
            ("rtmp://10.0.0.7", "rtmp://10.0.0.7:1935"),
            ("rtmp://a.example:1936/", "rtmp://a.example:1936"),
            ("rtmps://[2001:db8::1]", "rtmps://[2001:db8::1]:443"),
            ("rtmp://[::1]:1", "rtmp://[::1]:1"),
        ] {
            assert_eq!(text.parse::<Advertise>().unwrap().to_string(), shown);
        }
        for (text, words) in [
            ("10.0.0.7:1935", "begins with"),
            ("http://h", "begins with"),
            ("rtmp://", "no host"),
            ("rtmp://h/live", "only a host"),
            ("rtmp://u:p@h", "only a host"),
            ("rtmp://h:0", "port"),
            ("rtmp://h:65536", "port"),
            ("rtmp://::1", "brackets"),
            ("rtmp://[::1", "ends with"),
            ("rtmp://[h]", "not an IPv6"),
            ("rtmp://[::1]x", "only a port"),
            ("rtmp://a b", "characters"),
        ] {
            let error = text.parse::<Advertise>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(format!("rtmp://{}", "h".repeat(300)).parse::<Advertise>().is_err());
    }

    #[test]
    fn addresses_that_no_server_reaches_are_known() {
        let of = |text: &str| text.parse::<Advertise>().unwrap();
        for text in ["rtmp://0.0.0.0:1935", "rtmp://[::]", "rtmp://224.0.0.1", "rtmp://255.255.255.255"] {
            assert!(of(text).unreachable().is_some(), "{text}");
        }
        assert_eq!(of("rtmp://10.0.0.7").unreachable(), None);
        assert!(of("rtmp://127.0.0.1").is_loopback() && of("rtmp://localhost").is_loopback());
        assert!(of("rtmp://[::1]").is_loopback() && !of("rtmp://h").is_loopback());
    }
}
