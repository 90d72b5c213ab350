use std::fmt;

use anabranch_core::http::{Request, decoded_path, encoded, is_application};
use anabranch_core::url::Params;
use subtle::ConstantTimeEq;

/// The folder of session URLs.
const SESSIONS: &str = "/rtc/session/";

/// What a request is for.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// The endpoint of a stream for publishers: `/live/cam/whip`, `/rtc/v1/whip/?app=live&stream=cam`.
    Whip {
        /// The application.
        app: String,
        /// The stream.
        stream: String,
    },
    /// The endpoint of a stream for players: `/live/cam/whep`, `/rtc/v1/whep/?app=live&stream=cam`.
    Whep {
        /// The application.
        app: String,
        /// The stream.
        stream: String,
    },
    /// A session: `/rtc/session/ID`.
    Session {
        /// Its secret name, which names the node, too.
        id: String,
    },
    /// SRS's own calls, whose bodies are JSON: `/rtc/v1/publish/` and `/rtc/v1/play/`.
    Srs {
        /// True for the call that publishes.
        publishes: bool,
    },
}

/// Without the secret of a session.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Whip { app, stream } => write!(f, "Whip({app:?}, {stream:?})"),
            Target::Whep { app, stream } => write!(f, "Whep({app:?}, {stream:?})"),
            Target::Session { .. } => write!(f, "Session({:?})", self.session()),
            Target::Srs { publishes } => write!(f, "Srs(publishes: {publishes})"),
        }
    }
}

impl Target {
    /// The name of the session, if it is for one and the name has the form. What is behind it, as in `ID/peers`, is no part
    /// of the name.
    pub fn session(&self) -> Option<SessionName> {
        let Target::Session { id } = self else { return None };
        SessionName::parse(id.split('/').next().unwrap_or_default())
    }

    /// What a request is for, if it is for WebRTC.
    pub fn of(request: &Request) -> Option<Self> {
        let path = request.path();
        if let Some(id) = path.strip_prefix(SESSIONS) {
            return Some(Target::Session { id: id.to_owned() });
        }
        if let Some(call) = path.strip_prefix("/rtc/v1/") {
            let name = |key: &str, default: &str| {
                let params = Params::parse(request.query().unwrap_or_default()).unwrap_or_default();
                let given = params.get(key).filter(|value| !value.trim().is_empty());
                given.map_or_else(|| default.to_owned(), |value| value.into_owned())
            };
            let (app, stream) = (name("app", "live"), name("stream", "livestream"));
            return match call.strip_suffix('/').unwrap_or(call) {
                "whip" => Some(Target::Whip { app, stream }),
                // SRS has had this name for both.
                "whip-play" | "whep" => Some(Target::Whep { app, stream }),
                "publish" => Some(Target::Srs { publishes: true }),
                "play" => Some(Target::Srs { publishes: false }),
                _ => None,
            };
        }
        let path = decoded_path(request)?;
        let path = path.strip_suffix('/').unwrap_or(&path);
        let (rest, end) = path.rsplit_once('/')?;
        let (app, stream) = rest.rsplit_once('/')?;
        // The rooms of calls are applications below a name of the program's own.
        let is_room = app.strip_prefix("call/").is_some_and(|room| !room.trim().is_empty() && !room.contains('/'));
        if stream.trim().is_empty() || !is_room && !is_application(app) {
            return None;
        }
        let (app, stream) = (app.to_owned(), stream.to_owned());
        match end {
            "whip" => Some(Target::Whip { app, stream }),
            "whep" => Some(Target::Whep { app, stream }),
            _ => None,
        }
    }
}

/// The name of a session in its URL: of the node of a cluster that has it, a number, and 128 bits that are a secret of its
/// client.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionName {
    /// The node; empty without a cluster.
    pub node: String,
    pub(crate) number: u64,
    secret: [u8; 16],
}

/// Without the secret.
impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionName").field("node", &self.node).field("number", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.node.is_empty() {
            write!(f, "{}~", encoded(&self.node))?;
        }
        write!(f, "{:x}-{:032x}", self.number, u128::from_be_bytes(self.secret))
    }
}

impl SessionName {
    pub(crate) fn new(node: &str, number: u64, secret: [u8; 16]) -> Self {
        SessionName { node: node.to_owned(), number, secret }
    }

    /// Reads the last part of a session URL.
    pub fn parse(id: &str) -> Option<Self> {
        let (node, rest) = id.rsplit_once('~').unwrap_or(("", id));
        let (number, secret) = rest.split_once('-')?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if secret.len() != 32 || !is_hex(secret) || !is_hex(number) {
            return None;
        }
        let secret = u128::from_str_radix(secret, 16).ok()?.to_be_bytes();
        Some(SessionName { node: unescaped(node)?, number: u64::from_str_radix(number, 16).ok()?, secret })
    }

    /// The path of the session.
    pub fn path(&self) -> String {
        format!("{SESSIONS}{self}")
    }

    /// Whether both are the same, in a time that does not tell how much of the secrets is.
    pub(crate) fn is(&self, other: &SessionName) -> bool {
        self.node == other.node && self.number == other.number && bool::from(self.secret.ct_eq(&other.secret))
    }
}

fn unescaped(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let query = format!("node={text}");
    let node = Params::parse(&query).ok()?.get("node")?.into_owned();
    (encoded(&node) == text).then_some(node)
}

/// The request with what its field `Authorization: Bearer X` says among the parameters: `token=X`, or all of X if it has the
/// form of parameters.
pub fn with_bearer(request: &Request, query: Option<&str>) -> Request {
    let bearer = request.field("Authorization").and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let bearer = bearer.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    let more = bearer.map(|token| if token.contains('=') { token.to_owned() } else { format!("token={token}") });
    let parts: Vec<String> = query.map(str::to_owned).into_iter().chain(more).filter(|part| !part.is_empty()).collect();
    request.with_query((!parts.is_empty()).then(|| parts.join("&")).as_deref())
}

/// The parameters of a request without those that name the stream.
pub(crate) fn without_names(query: &str) -> String {
    let is_name = |pair: &str| matches!(pair.split('=').next(), Some("app" | "stream"));
    query.split('&').filter(|pair| !is_name(pair)).collect::<Vec<_>>().join("&")
}

/// What SRS's own calls say.
#[derive(Clone, PartialEq, Eq)]
pub struct SrsCall {
    /// The application.
    pub app: String,
    /// The stream.
    pub stream: String,
    /// The parameters of its address.
    pub query: Option<String>,
    /// The offer.
    pub offer: String,
}

impl fmt::Debug for SrsCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SrsCall({:?}, {:?}, {} bytes)", self.app, self.stream, self.offer.len())
    }
}

impl SrsCall {
    /// Reads a body such as `{"streamurl": "webrtc://HOST/live/cam?vhost=a", "sdp": "v=0..."}`.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        let (address, offer) = (body.get("streamurl")?.as_str()?, body.get("sdp")?.as_str()?);
        let (_, rest) = address.split_once("://")?;
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query.to_owned())),
            None => (rest, None),
        };
        let (_, path) = place.split_once('/')?;
        let (app, stream) = path.rsplit_once('/')?;
        if stream.trim().is_empty() || !is_application(app) {
            return None;
        }
        Some(SrsCall { app: app.to_owned(), stream: stream.to_owned(), query, offer: offer.to_owned() })
    }
}
