use std::time::Duration;

use super::Request;
use super::reader::MAX_FIELDS;

/// Settings of all connections by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What one request may have.
    pub limits: Limits,
    /// Pages whose scripts may read live streams. Default: all.
    pub origins: Origins,
    /// Other ports of this server that have pages. Pages of the host of a request, at its port or at one of these, may read
    /// live streams whatever the origins are. Default: none.
    pub ports: Vec<u16>,
    /// From the grant of a live stream to its first frame; then the answer is 404. Default 10 s.
    pub wait: Duration,
    /// Connections that play no live stream. If there are more, the program should close those that have waited longest
    /// for a request ([`Conn::asks_since`](crate::conn::Conn::asks_since)). Default 10 000.
    pub connections: usize,
    /// How long a connection may wait for its next request. Default 60 s.
    pub idle: Duration,
    /// How long the program may take to answer a request; then the answer is 504. Default 30 s.
    pub answer: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            limits: Limits::default(),
            origins: Origins::Any,
            ports: Vec::new(),
            wait: Duration::from_secs(10),
            connections: 10_000,
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(30),
        }
    }
}

/// What one request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of request line and fields. Default 8 KiB.
    pub head: usize,
    /// Bytes of the body. Default 32 KiB.
    pub body: usize,
}

impl Limits {
    /// Bytes of memory that a request takes at most until it is answered.
    pub(crate) fn most_held(&self) -> usize {
        // The head comes into a buffer that doubles. Then there are its fields, and the body.
        let fields = self.head + MAX_FIELDS * 2 * size_of::<String>();
        (2 * self.head).max(fields + self.body)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head: 8 << 10, body: 32 << 10 }
    }
}

/// Pages whose scripts may read live streams (CORS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All.
    Any,
    /// Those of these origins, such as `https://www.example.com`. None if it is empty.
    Listed(Vec<String>),
}

impl Settings {
    /// The fields of the answer to the page that has sent this request, as lines.
    pub fn fields(&self, request: &Request) -> String {
        // A cache must not give an answer without these fields to a page: either they are always there, or the cache is
        // told that they depend on the page.
        let origin = match (&self.origins, request.field("Origin")) {
            (Origins::Any, _) => "*",
            (Origins::Listed(_), Some(origin)) if self.admits(request) => origin,
            (Origins::Listed(_), _) => return "Vary: Origin\r\n".to_owned(),
        };
        let mut lines = format!("Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: *\r\n");
        if matches!(self.origins, Origins::Listed(_)) {
            lines += "Vary: Origin\r\n";
            if request.field("Access-Control-Request-Private-Network") == Some("true") {
                lines += "Access-Control-Allow-Private-Network: true\r\n";
            }
        }
        lines
    }

    /// The same fields, for an [`Answer`](super::Answer).
    pub fn field_list(&self, request: &Request) -> Vec<(String, String)> {
        let lines = self.fields(request);
        let fields = lines.lines().filter_map(|line| line.split_once(": "));
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Whether the page that has sent this request may open a WebSocket. Browsers do not ask first, so that the server has
    /// to refuse.
    pub fn admits(&self, request: &Request) -> bool {
        match (&self.origins, request.field("Origin")) {
            (Origins::Any, _) | (_, None) => true,
            (Origins::Listed(origins), Some(origin)) => {
                origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) || self.is_own_page(origin, request)
            }
        }
    }

    /// Whether an origin is this server, by the name that the request has for it.
    fn is_own_page(&self, origin: &str, request: &Request) -> bool {
        let (Some((_, page)), Some(server)) = (origin.split_once("://"), request.field("Host")) else {
            return false;
        };
        let (page_name, port) = without_port(page);
        let is_port = || port.and_then(|port| port.parse().ok()).is_some_and(|port| self.ports.contains(&port));
        page.eq_ignore_ascii_case(server) || (page_name.eq_ignore_ascii_case(without_port(server).0) && is_port())
    }
}

/// A host without its port, and the port.
fn without_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}
