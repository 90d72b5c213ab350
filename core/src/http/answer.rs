use std::fmt::Write;

use bytes::Bytes;

/// An answer whose body has a known length.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// Fields, without those that say how the answer is framed: the server sends `Content-Length` and `Connection` itself.
    pub fields: Vec<(String, String)>,
    /// The body, or the first piece of it.
    pub body: Bytes,
    /// The other pieces of the body. They may be shared with other answers.
    pub more: Vec<Bytes>,
}

crate::shown::debug_with_bytes!(Answer { status, fields; body });

/// Fields that would contradict the framing.
const FRAMING: [&str; 5] = ["Content-Length", "Connection", "Transfer-Encoding", "Keep-Alive", "Upgrade"];

impl Answer {
    /// An answer without fields and body.
    pub fn new(status: u16) -> Self {
        Answer { status, fields: Vec::new(), body: Bytes::new(), more: Vec::new() }
    }

    /// An answer with a line of text.
    pub fn text(status: u16, text: &str) -> Self {
        let body = Bytes::from(format!("{text}\n"));
        Answer { body, ..Answer::new(status) }.with("Content-Type", "text/plain; charset=utf-8")
    }

    /// The answer to `OPTIONS`, with which browsers ask what a page of another server may do.
    pub fn preflight(methods: &str) -> Self {
        let answer = Answer::new(204).with("Allow", methods).with("Access-Control-Allow-Methods", methods);
        // `*` does not mean `Authorization`.
        let fields = "*, Authorization, Content-Type, If-Match";
        answer.with("Access-Control-Allow-Headers", fields).with("Access-Control-Max-Age", "86400")
    }

    /// The same with one more field. A field whose name or value is not legal is left out when it is sent.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with a body of these pieces.
    #[must_use]
    pub fn with_pieces(mut self, pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let mut pieces = pieces.into_iter();
        self.body = pieces.next().unwrap_or_default();
        self.more = pieces.collect();
        self
    }

    /// The pieces of the body.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.body).chain(&self.more)
    }

    /// Bytes of the body.
    pub fn length(&self) -> usize {
        self.pieces().map(Bytes::len).sum()
    }

    /// True if it has a field of this name.
    pub(crate) fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The bytes before the body, with these lines of further fields.
    pub(crate) fn head(&self, lines: &str, keeps_alive: bool) -> Vec<u8> {
        let mut head = status_line(self.status);
        for (name, value) in self.fields.iter().filter(|(name, value)| is_legal(name, value)) {
            // Writing to a string does not fail.
            _ = write!(head, "{name}: {value}\r\n");
        }
        head += lines;
        if self.has_length() {
            _ = write!(head, "Content-Length: {}\r\n", self.length());
        }
        if !keeps_alive {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        head.into_bytes()
    }

    /// Whether an answer of this status has a body.
    pub(crate) fn has_length(&self) -> bool {
        !matches!(self.status, 100..=199 | 204 | 304)
    }
}

/// The first line of an answer.
pub(crate) fn status_line(status: u16) -> String {
    format!("HTTP/1.1 {status} {}\r\n", reason(status))
}

fn is_legal(name: &str, value: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let named = !name.is_empty() && name.bytes().all(token);
    let framing = FRAMING.iter().any(|known| known.eq_ignore_ascii_case(name));
    named && !framing && !value.chars().any(|c| c.is_control() && c != '\t')
}

/// The words for a status.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}
