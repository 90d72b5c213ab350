use bytes::Bytes;

use super::websocket;

/// A request, with its body.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) method: String,
    /// Path and query as sent; begins with a slash, or is `*`.
    pub(super) target: String,
    /// The second number of the version: 0 or 1.
    pub(super) minor: u8,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Bytes,
}

crate::shown::debug_with_bytes!(Request { method, target, minor, fields; body });

/// Whether a request is the handshake of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// It is not.
    None,
    /// It is, with the value of `Sec-WebSocket-Accept`, and the first protocol that the client offers.
    WebSocket {
        /// Proves that the handshake was understood.
        accept: String,
        /// The server speaks it, whatever it is: media has none.
        protocol: Option<String>,
    },
    /// It is one of another version than 13.
    OtherVersion,
    /// It is one without a key, or with one of the wrong form.
    Malformed,
}

impl Request {
    /// The method, such as `GET`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Path and query, as sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path, as sent.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    /// What follows the first `?`, as sent.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The same request with another query.
    #[must_use]
    pub fn with_query(&self, query: Option<&str>) -> Self {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Request { target: format!("{}{query}", self.path()), ..self.clone() }
    }

    /// The fields in the order in which they came, with their names as sent. What is no UTF-8 is replaced.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// True if the version is HTTP/1.1.
    pub fn is_http_1_1(&self) -> bool {
        self.minor == 1
    }

    /// Whether the client may send another request on the connection.
    pub fn keeps_alive(&self) -> bool {
        self.is_http_1_1() && !self.lists("Connection", "close")
    }

    /// Whether one of the fields of this name lists `token`.
    pub(super) fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.fields().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    }

    /// Whether it is the handshake of a WebSocket.
    pub fn upgrade(&self) -> Upgrade {
        let upgrades = self.is_http_1_1() && self.lists("Connection", "upgrade") && self.lists("Upgrade", "websocket");
        if !upgrades || self.method != "GET" {
            return Upgrade::None;
        }
        if self.field("Sec-WebSocket-Version").is_none_or(|version| version.trim() != "13") {
            return Upgrade::OtherVersion;
        }
        let protocol = self.field("Sec-WebSocket-Protocol").and_then(|offered| offered.split(',').next());
        let protocol = protocol.map(|first| first.trim().to_owned()).filter(|first| !first.is_empty());
        match self.field("Sec-WebSocket-Key").and_then(websocket::accept) {
            Some(accept) => Upgrade::WebSocket { accept, protocol },
            None => Upgrade::Malformed,
        }
    }
}
