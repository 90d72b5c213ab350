use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest answer.
const MOST: u64 = 256 << 10;

/// Where viewers offer: `http://HOST[:PORT]/APP/STREAM/whep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhepTarget {
    /// Host and port.
    authority: String,
    path: String,
}

impl WhepTarget {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is not by HTTP, or has no path.
    pub fn parse(url: &str) -> io::Result<Self> {
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: expected http://HOST:PORT/APP/STREAM/whep"));
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').ok_or_else(wrong)?);
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(WhepTarget { authority, path: path.to_owned() })
    }

    /// The first address of the host.
    ///
    /// # Errors
    /// It has none.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.authority));
        self.authority.to_socket_addrs()?.next().ok_or_else(none)
    }

    /// Offers, and returns the answer (SDP).
    pub(super) fn offer(&self, server: SocketAddr, offer: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{offer}",
            self.path,
            self.authority,
            offer.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(MOST).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no answer by HTTP"))?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "201" {
            let first = body.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!("answered with {status}: {first}")));
        }
        Ok(body.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_path() {
        let target = WhepTarget::parse("http://h/live/cam/whep?token=1").expect("it is one");
        assert_eq!((&target.authority[..], &target.path[..]), ("h:80", "/live/cam/whep?token=1"));
        let target = WhepTarget::parse("http://127.0.0.1:8080/live/cam/whep").expect("it is one");
        assert_eq!(target.authority, "127.0.0.1:8080");
        for wrong in ["rtmp://h/live/cam", "http://h"] {
            assert!(WhepTarget::parse(wrong).is_err(), "{wrong}");
        }
    }
}
