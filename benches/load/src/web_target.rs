use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::client_pool::Role;

/// Where streams are watched by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTarget {
    /// Host and port.
    authority: String,
    /// The path up to the name of the stream, with it.
    stem: String,
    /// What follows the name: `.flv`, and parameters.
    rest: String,
    is_web_socket: bool,
    /// Of HTTP Live Streaming: whether parts of segments are got as soon as they are there.
    pub uses_parts: bool,
}

impl WebTarget {
    /// Reads `http://HOST[:PORT]/APP/STREAM.flv`, the same with `ws`, or `http://HOST[:PORT]/APP/STREAM.m3u8`. `None` if the URL is of another kind.
    ///
    /// # Errors
    /// It has no path with an extension.
    pub fn parse(url: &str) -> io::Result<Option<Self>> {
        let (rest, is_web_socket) = match (url.strip_prefix("http://"), url.strip_prefix("ws://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            (None, None) => return Ok(None),
        };
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: expected a path such as /live/cam.flv"));
        let slash = rest.find('/').ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(slash);
        let path_end = path.find('?').unwrap_or(path.len());
        let dot = path[..path_end].rfind('.').filter(|dot| *dot > path[..path_end].rfind('/').unwrap_or(0));
        let (stem, rest) = path.split_at(dot.ok_or_else(wrong)?);
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Some(WebTarget { authority, stem: stem.to_owned(), rest: rest.to_owned(), is_web_socket, uses_parts: true }))
    }

    /// The first address of the host.
    ///
    /// # Errors
    /// It has none.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.authority));
        self.authority.to_socket_addrs()?.next().ok_or_else(none)
    }

    /// What a player of a stream does. Of several streams each has its number behind the name.
    pub(crate) fn role(&self, number: Option<u32>, counts_only: bool) -> Role {
        if self.rest.split('?').next() == Some(".m3u8") {
            let (authority, path) = (self.authority.clone(), self.path(number));
            return Role::Follow { authority, path, uses_parts: self.uses_parts };
        }
        Role::Watch { request: self.request(number), counts_only }
    }

    fn path(&self, number: Option<u32>) -> String {
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        format!("{}{number}{}", self.stem, self.rest)
    }

    fn request(&self, number: Option<u32>) -> String {
        let upgrade = if self.is_web_socket {
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        } else {
            ""
        };
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", self.path(number), self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_a_request_with_the_number_of_the_stream() {
        let target =
            WebTarget::parse("http://127.0.0.1:8080/live/cam.flv?token=1.5").expect("it is one").expect("HTTP");
        assert_eq!(target.request(None), "GET /live/cam.flv?token=1.5 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n");
        assert!(target.request(Some(7)).starts_with("GET /live/cam7.flv?token=1.5 HTTP/1.1\r\n"));
        let target = WebTarget::parse("ws://h/live/cam.flv").expect("it is one").expect("WebSocket");
        let request = target.request(None);
        assert!(request.contains("Host: h:80\r\n") && request.contains("Upgrade: websocket\r\n"), "{request}");
        assert_eq!(WebTarget::parse("rtmp://h/live/cam").expect("it is none of these"), None);
        for wrong in ["http://h", "http://h/live.tv/cam", "http://h/live/cam"] {
            assert!(WebTarget::parse(wrong).is_err(), "{wrong}");
        }
    }
}
