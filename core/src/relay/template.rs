use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::client::{Destination, DestinationError};
use crate::url::{DEFAULT_VHOST, Scheme, StreamKey, TcUrl, UrlError};

/// The shortest text that is hidden in the words of a peer: shorter ones are in ordinary words, too.
const SHORTEST_SECRET: usize = 4;
/// What stands for a secret.
const HIDDEN: &str = "***";

/// The URL of a target of pushes, with variables: `rtmp://live.example.org/app/{stream}`.
///
/// The variables are `{vhost}`, `{app}`, `{stream}` and `{params}`, the parameters of the publisher's URL. They may stand
/// in the path and the query, never in host or port, so a client's names decide nothing about where the server connects
/// to. Their values are percent-encoded. `{params}` has its place in the query.
///
/// ```
/// use anabranch_core::relay::Template;
/// use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
///
/// let template: Template = "rtmps://live.example.org/ingest/{app}-{stream}?key=abc&{params}".parse()?;
/// let target = template.target(&StreamKey::new(DEFAULT_VHOST, "live", "cam")?, "?x=1")?;
/// assert_eq!(target.destination().to_string(), "rtmps://live.example.org:443/ingest/live-cam?key=abc&x=1");
/// assert_eq!(target.to_string(), "rtmps://live.example.org:443/ingest/live-cam?***");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    /// `rtmp://host:port`.
    authority: Box<str>,
    path: Vec<Piece>,
    query: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Variable(Variable),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Vhost,
    App,
    Stream,
    Params,
}

/// Why a text is no [`Template`], or gives no target for a stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It is not the URL of a stream.
    #[error("{0}")]
    Destination(#[from] DestinationError),
    /// A variable stands in the part that says where to connect to.
    #[error("host and port cannot have variables: names of clients must not decide where the server connects to")]
    VariableInHost,
    /// There is no such variable.
    #[error("there is no variable {{{name}}}: use {{vhost}}, {{app}}, {{stream}} or {{params}}")]
    Unknown {
        /// The text between the braces.
        name: String,
    },
    /// A brace has no partner.
    #[error("a brace has no partner: write variables as {{stream}}, and a brace in a key as %7B or %7D")]
    Brace,
    /// The parameters stand in the path.
    #[error("{{params}} is a query: write it behind a question mark")]
    ParamsInPath,
    /// User and password.
    #[error("RTMP does not send user and password: write the key into the path or the query")]
    UserInfo,
}

impl From<UrlError> for TemplateError {
    fn from(error: UrlError) -> Self {
        TemplateError::Destination(error.into())
    }
}

impl Template {
    /// The target for a stream. `params` are the parameters of its publisher, with or without the question mark.
    ///
    /// # Errors
    /// The URL with these values is not the URL of a stream, because it is too long.
    pub fn target(&self, key: &StreamKey, params: &str) -> Result<PushTarget, TemplateError> {
        // A pass is for this server only.
        let params = crate::policy::without_pass(params.trim_start_matches('?'));
        let params = &*params;
        let mut url = String::from(&*self.authority);
        expand(&mut url, &self.path, |variable, out| match variable {
            Variable::App => percent_encode(key.app(), true, out),
            Variable::Vhost => percent_encode(key.vhost(), false, out),
            Variable::Stream => percent_encode(key.stream(), false, out),
            Variable::Params => {}
        });
        let mut query = String::new();
        expand(&mut query, &self.query, |variable, out| match variable {
            Variable::App => percent_encode(key.app(), false, out),
            Variable::Vhost => percent_encode(key.vhost(), false, out),
            Variable::Stream => percent_encode(key.stream(), false, out),
            Variable::Params => query_encode(params, out),
        });
        // Nothing stands where there are no parameters.
        let query = query.trim_matches('&');
        if !query.is_empty() {
            url.push('?');
            url.push_str(query);
        }
        let destination = Destination::parse(&url)?;
        let hides = |piece: &&Piece| matches!(piece, Piece::Text(_));
        let mut secrets: Vec<Box<str>> = secrets_of_query(query).collect();
        secrets.extend(self.last_component().iter().filter(hides).filter_map(Piece::as_secret));
        let shown = self.shown(&destination, key, !query.is_empty());
        Ok(PushTarget { destination, shown: shown.into(), secrets: secrets.into() })
    }

    /// True if the destination is at the server that it names.
    pub(super) fn is_at(&self, destination: &Destination) -> bool {
        let server = TcUrl::parse(&self.authority);
        server.is_ok_and(|server| {
            (server.scheme(), server.host(), server.port())
                == (destination.scheme(), destination.host(), destination.port())
        })
    }

    /// The text that it was made from. It has secrets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn shown(&self, destination: &Destination, key: &StreamKey, has_query: bool) -> String {
        let mut shown = format!("{}/", destination.tc_url());
        for piece in self.last_component() {
            match piece {
                Piece::Variable(Variable::App) => shown.push_str(key.app()),
                Piece::Variable(Variable::Vhost) => shown.push_str(key.vhost()),
                Piece::Variable(Variable::Stream) => shown.push_str(key.stream()),
                Piece::Text(text) if text.len() < SHORTEST_SECRET => shown.push_str(&text),
                Piece::Text(_) | Piece::Variable(Variable::Params) => shown.push_str(HIDDEN),
            }
        }
        if has_query {
            shown.push('?');
            shown.push_str(HIDDEN);
        }
        shown
    }

    /// The pieces behind the last slash of the path.
    fn last_component(&self) -> Vec<Piece> {
        let mut last = Vec::new();
        for piece in self.path.iter().rev() {
            match piece {
                Piece::Text(text) => match text.rsplit_once('/') {
                    Some((_, "")) => break,
                    Some((_, rest)) => {
                        last.push(Piece::Text(rest.into()));
                        break;
                    }
                    None => last.push(piece.clone()),
                },
                Piece::Variable(_) => last.push(piece.clone()),
            }
        }
        last.reverse();
        last
    }
}

impl Piece {
    fn as_secret(&self) -> Option<Box<str>> {
        match self {
            Piece::Text(text) if text.len() >= SHORTEST_SECRET => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.contains(['{', '}']) || scheme.contains(['{', '}']) {
            return Err(TemplateError::VariableInHost);
        }
        if authority.contains('@') {
            return Err(TemplateError::UserInfo);
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let path = pieces(path)?;
        if path.contains(&Piece::Variable(Variable::Params)) {
            return Err(TemplateError::ParamsInPath);
        }
        let template = Template {
            text: text.into(),
            authority: format!("{scheme}://{authority}").into(),
            path,
            query: pieces(query)?,
        };
        let sample = StreamKey::new(DEFAULT_VHOST, "live", "cam").map_err(UrlError::from)?;
        template.target(&sample, "")?;
        Ok(template)
    }
}

/// Without its secrets.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({}/{HIDDEN})", self.authority)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, behind) = rest.split_at(at);
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let inner = behind.strip_prefix('{').ok_or(TemplateError::Brace)?;
        let (name, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
        pieces.push(Piece::Variable(match name {
            "vhost" => Variable::Vhost,
            "app" => Variable::App,
            "stream" => Variable::Stream,
            "params" => Variable::Params,
            _ => return Err(TemplateError::Unknown { name: name.to_owned() }),
        }));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

fn expand(out: &mut String, pieces: &[Piece], mut value: impl FnMut(Variable, &mut String)) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(variable) => value(*variable, out),
        }
    }
}

/// RFC 3986 §2.3: all bytes other than letters, digits and `-._~`.
fn percent_encode(text: &str, keep_slashes: bool, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (byte == b'/' && keep_slashes) {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}

/// Parameters are a query already, and their values are as the client sent them: only what cannot be in a query is
/// encoded.
fn query_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}

fn push_escape(byte: u8, out: &mut String) {
    use fmt::Write as _;
    let _ = write!(out, "%{byte:02X}");
}

/// The whole query and the values of its pairs, as far as they are long enough.
fn secrets_of_query(query: &str) -> impl Iterator<Item = Box<str>> {
    let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let all = std::iter::once(query).chain(values);
    all.filter(|text| text.len() >= SHORTEST_SECRET).map(Box::from)
}

/// Where a push goes. `Display` is the URL without secrets: stars stand for the query, and for what of the stream's name
/// there is not the name here.
#[derive(Clone, PartialEq, Eq)]
pub struct PushTarget {
    destination: Destination,
    shown: Arc<str>,
    /// Texts that must not be shown.
    secrets: Arc<[Box<str>]>,
}

impl PushTarget {
    /// The target of a full URL, for the stream `key`.
    ///
    /// # Errors
    /// It is not the URL of a stream, or has user and password.
    pub fn of_url(url: &str, key: &StreamKey) -> Result<Self, TemplateError> {
        if TcUrl::parse(url)?.userinfo().is_some() {
            return Err(TemplateError::UserInfo);
        }
        let destination = Destination::parse(url)?;
        let (name, query) = destination.stream().split_once('?').unwrap_or((destination.stream(), ""));
        let is_known = name == key.stream();
        let name_secret = (!is_known && name.len() >= SHORTEST_SECRET).then(|| Box::from(name));
        let secrets: Vec<Box<str>> = secrets_of_query(query).chain(name_secret).collect();
        let query = if query.is_empty() { "" } else { "?***" };
        let shown = format!("{}/{}{query}", destination.tc_url(), if is_known { name } else { HIDDEN });
        Ok(PushTarget { destination, shown: shown.into(), secrets: secrets.into() })
    }

    /// The stream `key` at an origin, with these parameters.
    pub(super) fn at_origin(origin: &Origin, key: &StreamKey, params: &str) -> Self {
        let params = params.trim_start_matches('?');
        let mut stream = key.stream().to_owned();
        if !params.is_empty() {
            stream.push('?');
            stream.push_str(params);
        }
        let Origin { scheme, host, port } = origin;
        let destination = Destination::of(scheme.clone(), host, *port, key.app(), stream);
        let shown = format!("{}/{}", destination.tc_url(), key.stream());
        let secrets: Vec<Box<str>> = secrets_of_query(params).collect();
        PushTarget { destination, shown: shown.into(), secrets: secrets.into() }
    }

    /// The same stream at another server, which a peer has named.
    pub(super) fn moved_to(&self, destination: Destination) -> Self {
        let (_, name) = self.shown.rsplit_once('/').unwrap_or_default();
        let (app, app_query) = destination.app().split_once('?').unwrap_or((destination.app(), ""));
        let (_, query) = destination.stream().split_once('?').unwrap_or_default();
        let server = Origin::of(&destination);
        let hidden = if app_query.is_empty() { "" } else { "?***" };
        let shown = plain(&format!("{server}/{app}{hidden}/{name}"));
        let secrets = secrets_of_query(query).chain(secrets_of_query(app_query)).chain(self.secrets.iter().cloned());
        let secrets: Vec<Box<str>> = secrets.collect();
        PushTarget { destination, shown: shown.into(), secrets: secrets.into() }
    }

    /// True if the destination is at the same server.
    pub(super) fn is_at(&self, destination: &Destination) -> bool {
        let own = &self.destination;
        own.host() == destination.host() && own.port() == destination.port() && own.scheme() == destination.scheme()
    }

    /// The URL with its secrets.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The URL without secrets.
    pub fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    /// Words of a peer, without the secrets that they repeat and without control characters, and at most 256 characters
    /// of them.
    pub fn hide(&self, words: &str) -> String {
        let mut hidden = words.to_owned();
        // The longest first: one may be a part of another.
        let mut secrets: Vec<&str> = self.secrets.iter().map(|secret| &**secret).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            if hidden.contains(secret) {
                hidden = hidden.replace(secret, HIDDEN);
            }
        }
        plain(&hidden)
    }
}

/// A text of a peer for logs and listings: at most 256 characters, and a space instead of each character that could change
/// a line or how it is read.
fn plain(text: &str) -> String {
    let is_plain = |one: char| {
        !one.is_control() && !matches!(one, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = crate::url::shortened(text);
    shown.chars().map(|one| if is_plain(one) { one } else { ' ' }).collect()
}

impl fmt::Display for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Without its secrets.
impl fmt::Debug for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushTarget({})", self.shown)
    }
}

/// A server that an edge pulls from and publishes to: `rtmp://host`, `rtmps://host:port`, or `host:port` as in SRS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// Why a text is no [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OriginError {
    /// It is not a URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// It is the URL of something else.
    #[error("{0} is not supported for origins: use rtmp or rtmps")]
    Scheme(Scheme),
    /// It has more than scheme, host and port.
    #[error("an origin has a host and a port only: its streams have the names that they have here")]
    More,
}

impl Origin {
    /// The host, in lower case, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// RTMP or RTMPS.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The server of a destination.
    pub(super) fn of(destination: &Destination) -> Self {
        let (scheme, host, port) = (destination.scheme().clone(), destination.host().to_owned(), destination.port());
        Origin { scheme, host, port }
    }

    /// True if the destination is at this origin.
    pub(super) fn has(&self, destination: &Destination) -> bool {
        self.host == destination.host() && self.port == destination.port() && self.scheme == *destination.scheme()
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let text = text.trim();
        let url = if text.contains("://") { TcUrl::parse(text)? } else { TcUrl::parse(&format!("rtmp://{text}"))? };
        if !matches!(url.scheme(), Scheme::Rtmp | Scheme::Rtmps) {
            return Err(OriginError::Scheme(url.scheme().clone()));
        }
        if !url.app().is_empty() || !url.query().is_empty() || url.userinfo().is_some() {
            return Err(OriginError::More);
        }
        Ok(Origin { scheme: url.scheme().clone(), host: url.host().to_owned(), port: url.port() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { scheme, host, port } = self;
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(stream: &str) -> StreamKey {
        StreamKey::new("tv.example", "live/room", stream).expect("a name")
    }

    fn target(template: &str, stream: &str, params: &str) -> PushTarget {
        template.parse::<Template>().expect(template).target(&key(stream), params).expect("a target")
    }

    #[test]
    fn variables_stand_in_path_and_query_and_are_encoded() {
        for (template, stream, params, url) in [
            ("rtmp://h/live/{stream}", "cam", "?a=1", "rtmp://h:1935/live/cam"),
            ("rtmp://h/{app}/{stream}?{params}", "cam", "?a=1&b=2", "rtmp://h:1935/live/room/cam?a=1&b=2"),
            ("rtmp://h/{app}/{stream}?{params}", "cam", "", "rtmp://h:1935/live/room/cam"),
            ("rtmp://h/x/{stream}?k=1&{params}", "cam", "", "rtmp://h:1935/x/cam?k=1"),
            ("rtmps://h:444/x/{vhost}_{stream}", "a b?c&d#e", "", "rtmps://h:444/x/tv.example_a%20b%3Fc%26d%23e"),
            ("rtmp://h/x/key?s={stream}&a={app}", "@host", "", "rtmp://h:1935/x/key?s=%40host&a=live%2Froom"),
            ("rtmp://[::1]/x/k/e?y=a=b&c=/", "cam", "", "rtmp://[::1]:1935/x/k/e?y=a=b&c=/"),
        ] {
            assert_eq!(target(template, stream, params).destination().to_string(), url, "{template}");
        }
    }

    #[test]
    fn a_wrong_template_says_what_is_wrong() {
        for (template, error) in [
            ("rtmp://{stream}/live/cam", TemplateError::VariableInHost),
            ("rtmp://h:{app}/live/cam", TemplateError::VariableInHost),
            ("rtmp://h/live/{name}", TemplateError::Unknown { name: "name".to_owned() }),
            ("rtmp://h/live/{stream", TemplateError::Brace),
            ("rtmp://h/live/stream}", TemplateError::Brace),
            ("rtmp://h/live/{params}", TemplateError::ParamsInPath),
            ("rtmp://user:secret@h/live/{stream}", TemplateError::UserInfo),
            ("h/live/{stream}", UrlError::NoScheme.into()),
            ("http://h/live/{stream}", UrlError::NotRtmp { scheme: "http".to_owned() }.into()),
        ] {
            assert_eq!(template.parse::<Template>(), Err(error), "{template}");
        }
        assert!("rtmp://h/".parse::<Template>().is_err());
    }

    #[test]
    fn secrets_are_neither_shown_nor_repeated() {
        for (template, shown) in [
            ("rtmp://h/app/{stream}", "rtmp://h:1935/app/cam"),
            ("rtmp://h/app/sk_us-east_abc123", "rtmp://h:1935/app/***"),
            ("rtmp://h/app/{stream}-abc123", "rtmp://h:1935/app/cam***"),
            ("rtmp://h/app/{stream}?key=abc123", "rtmp://h:1935/app/cam?***"),
        ] {
            let target = target(template, "cam", "");
            assert_eq!(target.to_string(), shown);
            assert!(!format!("{target:?}").contains("abc123"));
            let secret = template.rsplit(['/', '=', '}']).next().unwrap_or_default();
            assert!(secret.is_empty() || !target.hide(&format!("{secret} is wrong")).contains("abc123"), "{template}");
        }
        let template: Template = "rtmp://h/app/sk_abc123".parse().expect("a template");
        assert!(!format!("{template:?}").contains("abc123"));
        let target = PushTarget::of_url("rtmp://h/app/cam?k=abc123", &key("cam")).expect("a URL");
        assert_eq!(
            (target.to_string().as_str(), target.hide("no abc123")),
            ("rtmp://h:1935/app/cam?***", "no ***".into())
        );
        let target = PushTarget::of_url("rtmp://h/app/other-key", &key("cam")).expect("a URL");
        assert_eq!(target.to_string(), "rtmp://h:1935/app/***");
    }

    #[test]
    fn a_pass_does_not_leave_the_server() {
        let target = target("rtmp://h/{app}/{stream}?{params}", "cam", "?a=1&anabranch_pass=17-0a-0b");
        assert_eq!(target.destination().to_string(), "rtmp://h:1935/live/room/cam?a=1");
    }

    #[test]
    fn a_server_that_a_peer_names_is_shown_without_its_query() {
        let target = PushTarget::of_url("rtmp://h/app/cam?k=abc123", &key("cam")).expect("a URL");
        let there = TcUrl::parse("rtmp://other/app?token=secret1").expect("a URL");
        let moved = target.moved_to(Destination::within(&there, "cam?k=abc123").expect("a stream"));
        assert_eq!(moved.to_string(), "rtmp://other:1935/app?***/cam?***");
        assert_eq!(moved.hide("secret1 and abc123"), "*** and ***");
    }

    #[test]
    fn an_origin_is_a_host_and_a_port() {
        for (text, origin) in [
            ("rtmp://Origin.example", "rtmp://origin.example:1935"),
            ("10.0.0.1:19350", "rtmp://10.0.0.1:19350"),
            ("rtmps://[::1]", "rtmps://[::1]:443"),
        ] {
            assert_eq!(text.parse::<Origin>().expect(text).to_string(), origin);
        }
        assert_eq!("rtmp://h/live".parse::<Origin>(), Err(OriginError::More));
        assert!(matches!("rtmpt://h".parse::<Origin>(), Err(OriginError::Scheme(_))));
    }
}
