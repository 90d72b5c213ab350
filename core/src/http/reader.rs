use bytes::Bytes;

use super::{HttpError, Limits, Request};

/// Most fields of a request.
pub(super) const MAX_FIELDS: usize = 64;

/// Reads the requests of a connection. The input may be split at any byte.
///
/// Only a body with a `Content-Length` is read. Lines end with CRLF. What servers and proxies are known to understand in
/// different ways is an error, so that nothing is smuggled past a proxy: two lengths, a length and a transfer coding, line
/// ends without CR, a CR alone, continued lines, blanks before the colon of a field.
pub struct RequestReader {
    limits: Limits,
    /// The head so far, then the body so far.
    held: Vec<u8>,
    state: State,
}

crate::shown::debug_with_bytes!(RequestReader { limits, state; held });

#[derive(Debug)]
enum State {
    /// In a line of the head that has so many bytes.
    Line { length: usize },
    /// After the CR of a line that had so many bytes before it.
    LineEnd { length: usize },
    /// In the body, of which so many bytes are missing.
    Body { request: Box<Request>, missing: usize },
}

impl RequestReader {
    /// A reader at the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        RequestReader { limits, held: Vec::new(), state: State::Line { length: 0 } }
    }

    /// True once a part of a request has come.
    pub fn has_begun(&self) -> bool {
        !self.held.is_empty() || matches!(self.state, State::Body { .. })
    }

    /// Bytes that it holds of a request.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes bytes from the front of `input`, up to the end of a request.
    ///
    /// # Errors
    /// The client does not speak HTTP as this server does. Later calls have no meaning.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Request>, HttpError> {
        while let Some((&byte, after)) = input.split_first() {
            if let State::Body { missing, .. } = &mut self.state {
                let taken = (*missing).min(input.len());
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
                self.state = State::Body { request: Box::new(request), missing };
                if missing == 0 {
                    return Ok(self.take());
                }
            }
        }
        Ok(None)
    }

    /// The request, with its body.
    fn take(&mut self) -> Option<Request> {
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
                // Some clients send an empty line after the body of the request before.
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
    let named = |field: &httparse::Header<'_>| {
        (field.name.to_owned(), String::from_utf8_lossy(field.value).trim_matches([' ', '\t']).to_owned())
    };
    let request = Request {
        method: method.to_owned(),
        target: origin_form(method, target)?,
        minor: parsed.version.unwrap_or(0),
        fields: parsed.headers.iter().map(named).collect(),
        body: Bytes::new(),
    };
    let length = check(&request)?;
    let fits = usize::try_from(length).ok().filter(|length| *length <= limits.body);
    let length = fits.ok_or(HttpError::BodyTooLong { length, limit: limits.body })?;
    Ok((request, length))
}

/// Checks what the request says of its host and its body. Returns the length of the body.
fn check(request: &Request) -> Result<u64, HttpError> {
    let all = |name: &'static str| request.fields().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
    match all("Host").count() {
        0 if request.is_http_1_1() => return Err(HttpError::Malformed("it names no host")),
        0 | 1 => {}
        _ => return Err(HttpError::Malformed("it names several hosts")),
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

/// Path and query. Clients of a proxy send the whole URL.
fn origin_form(method: &str, target: &str) -> Result<String, HttpError> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(target.to_owned());
    }
    let strip = |scheme: &str| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = strip("http://").or_else(|| strip("https://"));
    let rest = rest.ok_or(HttpError::Malformed("its target is neither a path nor a URL"))?;
    Ok(match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".to_owned(),
    })
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
