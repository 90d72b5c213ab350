use std::borrow::Cow;
use std::net::Ipv6Addr;

use bytes::Bytes;

use super::{HttpError, Limits, Request};

/// Most fields of a request.
pub(super) const MAX_FIELDS: usize = 64;

/// Reads the requests of a connection. The input may be split at any byte.
///
/// Only a body with a `Content-Length` is read. Lines end with CRLF. What servers and proxies are known to understand in
/// different ways is an error, so that nothing is smuggled past a proxy: two lengths, a length and a transfer coding, line
/// ends without CR, a CR alone, continued lines, blanks before the colon of a field, two hosts, a host that is none.
pub struct RequestReader {
    limits: Limits,
    /// The head so far, then the body so far.
    held: Vec<u8>,
    state: State,
    /// True if an empty line has come before the request.
    has_empty_line: bool,
}

crate::shown::debug_with_bytes!(RequestReader { limits, state, has_empty_line; held });

#[derive(Debug)]
enum State {
    /// In a line of the head that has so many bytes.
    Line { length: usize },
    /// After the CR of a line that had so many bytes before it.
    LineEnd { length: usize },
    /// In the body, of which so many bytes are missing. `is_awaited` if the client waits until it is told to send it.
    Body { request: Box<Request>, missing: usize, is_awaited: bool },
}

impl RequestReader {
    /// A reader at the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        RequestReader { limits, held: Vec::new(), state: State::Line { length: 0 }, has_empty_line: false }
    }

    /// True once a part of a request has come. An empty line before it is none.
    pub fn has_begun(&self) -> bool {
        !matches!(self.held[..], [] | [b'\r']) || matches!(self.state, State::Body { .. })
    }

    /// True once for each request whose client waits for [`CONTINUE`](super::CONTINUE) before it sends the body.
    pub fn take_awaited(&mut self) -> bool {
        if let State::Body { is_awaited, .. } = &mut self.state { std::mem::take(is_awaited) } else { false }
    }

    /// Bytes that it holds of a request.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes bytes from the front of `input`, up to the end of a request, or of a head whose client waits.
    ///
    /// # Errors
    /// The client does not speak HTTP as this server does. Later calls have no meaning.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Request>, HttpError> {
        while let Some((&byte, after)) = input.split_first() {
            if let State::Body { missing, .. } = &mut self.state {
                let taken = (*missing).min(input.len());
                // It does not grow beyond the body.
                self.held.reserve_exact(if self.held.is_empty() { *missing } else { taken });
                self.held.extend_from_slice(&input[..taken]);
                (*input, *missing) = (&input[taken..], *missing - taken);
                if *missing == 0 {
                    return Ok(self.take());
                }
                continue;
            }
            *input = after;
            if self.read_head(byte)? {
                let (request, missing) = parse(&self.held, self.limits)?;
                self.held = Vec::new();
                let is_awaited = missing > 0 && request.is_http_1_1() && request.lists("Expect", "100-continue");
                self.state = State::Body { request: Box::new(request), missing, is_awaited };
                if missing == 0 {
                    return Ok(self.take());
                }
                if is_awaited {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// The request, with its body.
    fn take(&mut self) -> Option<Request> {
        self.has_empty_line = false;
        let body = Bytes::from(std::mem::take(&mut self.held));
        match std::mem::replace(&mut self.state, State::Line { length: 0 }) {
            State::Body { request, .. } => Some(Request { body, ..*request }),
            _ => None,
        }
    }

    /// Takes a byte of the head; true if it was the last.
    fn read_head(&mut self, byte: u8) -> Result<bool, HttpError> {
        if self.held.is_empty() && !(byte.is_ascii_alphabetic() || byte == b'\r') {
            return Err(HttpError::Malformed("it does not begin with a method"));
        }
        if self.held.len() >= self.limits.head {
            return Err(HttpError::HeadTooLong { limit: self.limits.head });
        }
        self.held.push(byte);
        self.state = match (&self.state, byte) {
            (State::LineEnd { length: 0 }, b'\n') if self.held.len() == 2 => {
                // Some clients send an empty line after the body of the request before. More would be a way to keep a
                // connection without a request.
                if std::mem::replace(&mut self.has_empty_line, true) {
                    return Err(HttpError::Malformed("several empty lines come before it"));
                }
                self.held.clear();
                State::Line { length: 0 }
            }
            (State::LineEnd { length: 0 }, b'\n') => return Ok(true),
            (State::LineEnd { .. }, b'\n') => State::Line { length: 0 },
            (State::LineEnd { .. }, _) => return Err(HttpError::Malformed("a CR is not followed by LF")),
            (_, b'\n') => return Err(HttpError::Malformed("a line ends with LF alone")),
            (State::Line { length }, b'\r') => State::LineEnd { length: *length },
            (State::Line { length }, _) => State::Line { length: length + 1 },
            // The body is read elsewhere.
            (State::Body { .. }, _) => return Ok(false),
        };
        Ok(false)
    }
}

/// A value as text of no more bytes. What is no UTF-8 has a question mark for each byte that is not ASCII.
fn text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => value.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect(),
    }
}

/// A request without its body, and the length of the body.
fn parse(head: &[u8], limits: Limits) -> Result<(Request, usize), HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HttpError::Malformed("its end is not clear")),
        Err(error) => return Err(read_error(error)),
    }
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let named =
        |field: &httparse::Header<'_>| (field.name.to_owned(), text(field.value).trim_matches([' ', '\t']).to_owned());
    let (authority, target) = origin_form(method, target)?;
    let mut request = Request {
        method: method.to_owned(),
        target,
        minor: parsed.version.unwrap_or(0),
        fields: parsed.headers.iter().map(named).collect(),
        body: Bytes::new(),
    };
    take_authority(&mut request, authority)?;
    let length = check(&request)?;
    let fits = usize::try_from(length).ok().filter(|length| *length <= limits.body);
    let length = fits.ok_or(HttpError::BodyTooLong { length, limit: limits.body })?;
    Ok((request, length))
}

/// Checks what the request says of its host and its body. Returns the length of the body.
fn check(request: &Request) -> Result<u64, HttpError> {
    let all = |name: &'static str| request.fields().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
    let mut hosts = all("Host").map(|(_, host)| host);
    match (hosts.next(), hosts.next()) {
        (None, _) if request.is_http_1_1() => return Err(HttpError::Malformed("it names no host")),
        (_, Some(_)) => return Err(HttpError::Malformed("it names several hosts")),
        (Some(host), None) if !is_host(host) => return Err(HttpError::Malformed("its host is none")),
        _ => {}
    }
    let mut lengths = all("Content-Length").map(|(_, length)| length);
    let (length, another) = (lengths.next(), lengths.next());
    if another.is_some() {
        return Err(HttpError::Malformed("it has several lengths"));
    }
    match (all("Transfer-Encoding").next(), length) {
        (Some(_), Some(_)) => return Err(HttpError::Malformed("it has a length and a transfer coding")),
        (Some(_), None) => return Err(HttpError::TransferCoding),
        _ => {}
    }
    length.map_or(Ok(0), body_length)
}

fn body_length(text: &str) -> Result<u64, HttpError> {
    // Neither signs nor blanks nor lists.
    let digits = Some(text).filter(|text| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(HttpError::Malformed("its length is no number"))
}

/// The host that the target names counts (RFC 9112, 3.2.2). A proxy may have gone by the field, so both must be the same.
fn take_authority(request: &mut Request, authority: Option<&str>) -> Result<(), HttpError> {
    let Some(authority) = authority else {
        return Ok(());
    };
    match request.field("Host") {
        Some(host) if host.eq_ignore_ascii_case(authority) => Ok(()),
        Some(_) => Err(HttpError::Malformed("its target and its field Host name different hosts")),
        None if is_host(authority) && !authority.is_empty() => {
            request.fields.push(("Host".to_owned(), authority.to_owned()));
            Ok(())
        }
        None => Err(HttpError::Malformed("the host in its target is none")),
    }
}

/// Whether a text is a name or an address, with a port or without one; or empty, for a target that has no host (RFC 9110,
/// 7.2).
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("", port),
        Some(_) => return false,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok();
    host.bytes().all(named) && port.strip_prefix(':').map_or(port.is_empty(), |port| port.is_empty() || is_port(port))
}

/// The authority, if the target has one, then path and query. Clients of a proxy send the whole URL.
fn origin_form<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, String), HttpError> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target.to_owned()));
    }
    let strip = |scheme: &str| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = strip("http://").or_else(|| strip("https://"));
    let rest = rest.ok_or(HttpError::Malformed("its target is neither a path nor a URL"))?;
    let (authority, rest) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    Ok((Some(authority), if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") }))
}

fn read_error(error: httparse::Error) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => HttpError::TooManyFields { limit: MAX_FIELDS },
        httparse::Error::Version => HttpError::Version,
        httparse::Error::HeaderName => HttpError::Malformed("a field has no name that is allowed"),
        httparse::Error::HeaderValue => HttpError::Malformed("a field has a value that is not allowed"),
        httparse::Error::Token => HttpError::Malformed("the request line has bytes that are not allowed"),
        _ => HttpError::Malformed("a line ends where it may not"),
    }
}
