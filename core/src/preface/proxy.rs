use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

use super::{MAX_PREFACE, Parsed, PrefaceError};

/// Longest line of PROXY protocol version 1, line end included.
const MAX_LINE: usize = 107;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// `PROXY TCP4 192.0.2.1 192.0.2.2 51000 1935\r\n`, or `PROXY UNKNOWN ...\r\n`.
pub(super) fn version_1(bytes: &[u8]) -> Result<Option<Parsed>, PrefaceError> {
    let start = &bytes[..bytes.len().min(6)];
    if !b"PROXY ".starts_with(start) {
        return Err(PrefaceError::Malformed("it starts like PROXY protocol version 1 but does not continue like it"));
    }
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        let too_long = bytes.len() >= MAX_LINE;
        return if too_long { Err(PrefaceError::TooLong { length: bytes.len() }) } else { Ok(None) };
    };
    let line = str::from_utf8(&bytes[..end]).ok().and_then(|line| line.strip_suffix('\r'));
    let line = line.ok_or(PrefaceError::Malformed("the line is not text that ends in CR LF"))?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        Some("TCP4" | "TCP6") => {
            let (source, _, port) = (words.next(), words.next(), words.next());
            let address = source.and_then(|source| source.parse::<IpAddr>().ok());
            let port = port.and_then(|port| port.parse::<u16>().ok());
            let wrong = PrefaceError::Malformed("the line names no address and port");
            Some(address.zip(port).ok_or(wrong)?)
        }
        Some("UNKNOWN") => None,
        _ => return Err(PrefaceError::Malformed("the line names no known protocol")),
    };
    Ok(Some(Parsed { length: end + 1, client }))
}

/// A signature, version and command, family, length, addresses, and extensions that are skipped.
pub(super) fn version_2(bytes: &[u8]) -> Result<Option<Parsed>, PrefaceError> {
    if !SIGNATURE.starts_with(&bytes[..bytes.len().min(SIGNATURE.len())]) {
        return Err(PrefaceError::Malformed("it starts like PROXY protocol version 2 but does not continue like it"));
    }
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..).and_then(|rest| rest.first_chunk()) else {
        return Ok(None);
    };
    let length = SIGNATURE.len() + 4 + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_PREFACE {
        return Err(PrefaceError::TooLong { length });
    }
    let Some(addresses) = bytes.get(SIGNATURE.len() + 4..length) else {
        return Ok(None);
    };
    let client = match (command, family) {
        // LOCAL: a connection of the proxy itself, such as a health check.
        (0x20, _) => None,
        (0x21, 0x11) => {
            let address = addresses.first_chunk::<4>().map(|octets| IpAddr::from(Ipv4Addr::from(*octets)));
            Some(with_port(address, addresses, 8)?)
        }
        (0x21, 0x21) => {
            let address = addresses.first_chunk::<16>().map(|octets| IpAddr::from(Ipv6Addr::from(*octets)));
            Some(with_port(address, addresses, 32)?)
        }
        // UDP, local sockets, unspecified: these do not name a client of this server.
        (0x21, _) => None,
        _ => return Err(PrefaceError::Malformed("the version or the command is unknown")),
    };
    Ok(Some(Parsed { length, client }))
}

/// `F3`, a length of at most 1024, and the client's IPv4 address if the length has room for one.
pub(super) fn srs(bytes: &[u8]) -> Result<Option<Parsed>, PrefaceError> {
    let Some(&[_, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = 3 + usize::from(u16::from_be_bytes([high, low]));
    if length > 3 + 1024 {
        return Err(PrefaceError::TooLong { length });
    }
    let Some(body) = bytes.get(3..length) else {
        return Ok(None);
    };
    let client = body.first_chunk::<4>().map(|octets| (IpAddr::from(Ipv4Addr::from(*octets)), 0));
    Ok(Some(Parsed { length, client }))
}

fn with_port(address: Option<IpAddr>, addresses: &[u8], at: usize) -> Result<(IpAddr, u16), PrefaceError> {
    let port = addresses.get(at..).and_then(|rest| rest.first_chunk()).map(|port| u16::from_be_bytes(*port));
    address.zip(port).ok_or(PrefaceError::Malformed("the addresses are cut off"))
}
