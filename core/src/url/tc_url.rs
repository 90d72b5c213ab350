//! The URL of `connect`, taken apart.

use std::fmt;
use std::net::Ipv6Addr;

use super::text::{VHOST_MARK, prepare, split_query, trim};
use super::{DEFAULT_VHOST, Part, UrlError};

/// Schemes that no RTMP client sends: a URL with one of them is meant for another server.
const FOREIGN_SCHEMES: [&str; 9] = ["http", "https", "ws", "wss", "rtsp", "rtsps", "srt", "ftp", "file"];

/// The scheme of a URL: RTMP, what it is wrapped in, and whether Adobe's encryption is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `rtmp`: over TCP.
    Rtmp,
    /// `rtmps`: over TLS.
    Rtmps,
    /// `rtmpt`: over HTTP.
    Rtmpt,
    /// `rtmpts`: over HTTPS.
    Rtmpts,
    /// `http`: a request by HTTP, which stands for the `connect` of RTMP.
    Http,
    /// `https`: the same over TLS.
    Https,
    /// `rtmpe`: encrypted after the handshake.
    Rtmpe,
    /// `rtmpte`: encrypted, over HTTP.
    Rtmpte,
    /// Any other text that a client sent, in lower case. The connection is RTMP all the same.
    Other(String),
}

impl Scheme {
    /// The port of a URL that gives none: 1935, or the port of the protocol RTMP is wrapped in.
    pub fn default_port(&self) -> u16 {
        match self {
            Self::Rtmp | Self::Rtmpe | Self::Other(_) => 1935,
            Self::Rtmps | Self::Rtmpts | Self::Https => 443,
            Self::Rtmpt | Self::Rtmpte | Self::Http => 80,
        }
    }

    /// The scheme in lower case, without `://`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtmps => "rtmps",
            Self::Rtmpt => "rtmpt",
            Self::Rtmpts => "rtmpts",
            Self::Http => "http",
            Self::Https => "https",
            Self::Rtmpe => "rtmpe",
            Self::Rtmpte => "rtmpte",
            Self::Other(name) => name,
        }
    }

    fn from_name(name: &str, of: Of) -> Result<Self, UrlError> {
        let scheme = name.to_ascii_lowercase();
        Ok(match scheme.as_str() {
            "http" if of == Of::Web => Self::Http,
            "https" if of == Of::Web => Self::Https,
            "rtmp" => Self::Rtmp,
            "rtmps" => Self::Rtmps,
            "rtmpt" => Self::Rtmpt,
            "rtmpts" => Self::Rtmpts,
            "rtmpe" => Self::Rtmpe,
            "rtmpte" => Self::Rtmpte,
            foreign if FOREIGN_SCHEMES.contains(&foreign) => return Err(UrlError::NotRtmp { scheme }),
            _ => Self::Other(scheme),
        })
    }
}

/// Whose URL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A client of RTMP. It means another server with a URL of HTTP.
    Rtmp,
    /// A client of HTTP.
    Web,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A URL up to the app, as `tcUrl` holds it. `Display` is the URL without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct TcUrl {
    scheme: Scheme,
    userinfo: Option<String>,
    host: String,
    port: u16,
    app: String,
    query: String,
}

impl TcUrl {
    /// Takes a URL apart. Blanks around it, and single quotes around it (clients written in Neko),
    /// are dropped.
    ///
    /// # Errors
    /// Every [`UrlError`] except [`UrlError::Missing`], [`UrlError::TooManyParams`] and
    /// [`UrlError::Name`]: the parts need not make a legal name yet.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        TcUrl::parse_of(Of::Rtmp, text)
    }

    /// The same for a URL of either protocol.
    pub(super) fn parse_of(of: Of, text: &str) -> Result<Self, UrlError> {
        let text = prepare(text, Part::TcUrl)?;
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        let (scheme, rest) = split_scheme(&text).ok_or(UrlError::NoScheme)?;
        let scheme = Scheme::from_name(scheme, of)?;
        let (authority, tail) =
            rest.find(['/', '?', '#']).and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        let (userinfo, place) = match authority.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo.to_owned()), place),
            None => (None, authority),
        };
        let (host, port) = split_port(trim(place))?;
        let (path, query) = split_query(tail);
        Ok(Self {
            userinfo,
            host: canonical_host(trim(host))?,
            port: parse_port(trim(port))?.unwrap_or_else(|| scheme.default_port()),
            app: trim_path(path).to_owned(),
            query: trim(query).to_owned(),
            scheme,
        })
    }

    /// [`TcUrl::parse`] for bytes that may not be UTF-8.
    ///
    /// # Errors
    /// The errors of [`TcUrl::parse`], and [`UrlError::NotUtf8`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UrlError> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| UrlError::NotUtf8)?)
    }

    /// The scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// `user:password` as sent, not decoded. A secret: neither `Display` nor `Debug` shows it.
    pub fn userinfo(&self) -> Option<&str> {
        self.userinfo.as_deref()
    }

    /// The host: a name in lower case, an IPv4 address, or an IPv6 address in its canonical form,
    /// without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; the scheme's default port if none, or 0, was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path without slashes at its ends, otherwise as it was sent.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// All that follows the first `?`, as it was sent.
    pub fn query(&self) -> &str {
        &self.query
    }
}

/// Resolves the URL of a reconnect request against the one in use (Enhanced RTMP v2, "Reconnect
/// Request"; RFC 3986 §5.2): absolute, `//host/app`, `/app`, `app`, `?query`, or empty for the URL
/// in use. User and password are kept only if the host stays the same.
///
/// # Errors
/// The errors of [`TcUrl::parse`].
pub fn resolve(base: &TcUrl, reference: &str) -> Result<TcUrl, UrlError> {
    let reference = prepare(reference, Part::TcUrl)?;
    if reference.is_empty() {
        return Ok(base.clone());
    }
    if split_scheme(&reference).is_some() {
        return TcUrl::parse(&reference);
    }
    if reference.starts_with("//") {
        return TcUrl::parse(&format!("{}:{reference}", base.scheme));
    }
    let (path, query) = split_query(&reference);
    let app = match (path, base.app.rsplit_once('/')) {
        ("", _) => base.app.clone(),
        (path, Some((parent, _))) if !path.starts_with('/') => format!("{parent}/{}", trim_path(path)),
        (path, _) => trim_path(path).to_owned(),
    };
    Ok(TcUrl { app, query: trim(query).to_owned(), ..base.clone() })
}

/// `scheme://host`, and `:port` if it is not the scheme's default.
pub(super) fn write_authority(f: &mut fmt::Formatter<'_>, scheme: &Scheme, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') {
        write!(f, "{scheme}://[{host}]")?;
    } else {
        write!(f, "{scheme}://{host}")?;
    }
    if port == scheme.default_port() { Ok(()) } else { write!(f, ":{port}") }
}

fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let legal = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    legal.then_some((scheme, rest))
}

/// Host without brackets, and the port's text.
fn split_port(place: &str) -> Result<(&str, &str), UrlError> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(UrlError::BadHost)?;
        if !host.contains(':') {
            return Err(UrlError::BadHost);
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if rest.is_empty() => Ok((host, "")),
            None => Err(UrlError::BadHost),
        };
    }
    // Without brackets: if the whole text is an IPv6 address, it has no port.
    if is_ipv6(place) {
        return Ok((place, ""));
    }
    Ok(place.rsplit_once(':').unwrap_or((place, "")))
}

fn is_ipv6(host: &str) -> bool {
    host.parse::<Ipv6Addr>().is_ok()
}

fn canonical_host(host: &str) -> Result<String, UrlError> {
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let illegal = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']' | '@' | '\\');
    if host.contains(illegal) {
        return Err(UrlError::BadHost);
    }
    if host.contains(':') {
        let (address, zone) = host.find('%').and_then(|at| host.split_at_checked(at)).unwrap_or((host, ""));
        let address: Ipv6Addr = address.parse().map_err(|_| UrlError::BadHost)?;
        return Ok(format!("{address}{zone}"));
    }
    if host.eq_ignore_ascii_case(DEFAULT_VHOST) {
        return Ok(DEFAULT_VHOST.to_owned());
    }
    let host = host.to_ascii_lowercase();
    // SRS's mark is lower case. In another case it is part of a host name, and would become a mark in lower case.
    if host.contains(VHOST_MARK) { Err(UrlError::BadHost) } else { Ok(host) }
}

/// `None` if there is no port, or 0, which no server listens on.
fn parse_port(text: &str) -> Result<Option<u16>, UrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::PortNotDecimal);
    }
    match text.trim_start_matches('0') {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| UrlError::PortOutOfRange),
    }
}

fn trim_path(path: &str) -> &str {
    path.trim_matches(|c: char| c == '/' || c.is_ascii_whitespace())
}

impl fmt::Display for TcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_authority(f, &self.scheme, &self.host, self.port)?;
        write!(f, "/{}", self.app)?;
        if self.query.is_empty() { Ok(()) } else { write!(f, "?{}", self.query) }
    }
}

impl fmt::Debug for TcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcUrl({self})")
    }
}
