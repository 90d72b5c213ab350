use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::enter::Wanted;
use super::rules;
use super::slow_path::SlowPath;
use super::{Remark, Role};
use crate::hub::HeldBy;
use crate::policy::Refusal;
use crate::session::{ConnectRequest, Rejection};
use crate::url::{DEFAULT_VHOST, StreamKey, quoted, shortened};

/// A request of a client that was refused, or a client that may not go on with what was granted. `Display` gives a line
/// for the log, without addresses. No text has parameters of URLs, which may be secret, or is longer than about 256 characters
/// ([shortened]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// [`Refusal::code`] of the rule or decision.
    pub code: &'static str,
    /// What the client asked for, or does.
    pub request: Requested,
    /// The virtual host: by its name, or the name that the client gave if there is none of that name.
    pub vhost: String,
    /// The host that the client asked for, if the default virtual host took it in the place of another, as in
    /// [`Attachment::unknown_host`](super::Attachment::unknown_host).
    pub unknown_host: Option<String>,
    /// The application.
    pub app: String,
    /// The stream within it; empty for `connect`.
    pub stream: String,
    /// The status code that the client gets, such as `NetStream.Publish.BadName`; empty if it gets none.
    pub status: &'static str,
    /// The words that the client gets; empty if it gets none.
    pub told: String,
    /// The client's address, as far as it is known.
    pub peer: Option<SocketAddr>,
    /// The publisher that has the name, if the name is taken.
    pub holder: Option<HeldBy>,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Requested {
    /// `connect`.
    Connect,
    /// `publish`.
    Publish,
    /// `play`.
    Play,
}

impl Requested {
    /// The name of the command.
    pub fn name(self) -> &'static str {
        match self {
            Requested::Connect => "connect",
            Requested::Publish => "publish",
            Requested::Play => "play",
        }
    }
}

impl Refused {
    /// The application or stream that was asked for, in the form of a [`StreamKey`]: `live/cam?vhost=tv.example`.
    pub fn name(&self) -> String {
        let Refused { vhost, app, stream, .. } = self;
        let mut name = app.clone();
        if !stream.is_empty() {
            name += &format!("/{stream}");
        }
        if !vhost.is_empty() && vhost != DEFAULT_VHOST {
            name += &format!("?vhost={vhost}");
        }
        name
    }

    /// What was asked for, such as `publish of live/cam`. The name is [quoted].
    pub fn asked(&self) -> impl fmt::Display + '_ {
        Asked(self)
    }
}

struct Asked<'a>(&'a Refused);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.0.request;
        let preposition = if request == Requested::Connect { "to" } else { "of" };
        write!(f, "{} {preposition} {}", request.name(), quoted(&self.0.name()))?;
        match &self.0.unknown_host {
            Some(host) => write!(f, ", as there is no virtual host {}", quoted(host)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { code, status, told, holder, .. } = self;
        write!(f, "refused ({code}")?;
        match holder {
            Some(HeldBy::Client { connection, .. }) => write!(f, ", held by conn {connection}")?,
            Some(HeldBy::Relay { connection, .. }) => write!(f, ", held by the relay on conn {connection}")?,
            Some(HeldBy::Program) => f.write_str(", held by the program around the server")?,
            None => {}
        }
        write!(f, "): {}", self.asked())?;
        if told.is_empty() { Ok(()) } else { write!(f, "; told: {told:?} ({status})") }
    }
}

/// Every refusal is made and reported here.
impl SlowPath {
    /// Refuses a `connect`.
    pub(super) fn refuse_connect(&mut self, request: ConnectRequest, rejection: &Rejection) {
        let info = request.info();
        let (vhost, app) = match rules::urls_of(info) {
            Ok(urls) => (urls.vhost().to_owned(), urls.app().to_owned()),
            Err(_) => (String::new(), without_query(info.app.as_deref().unwrap_or_default()).to_owned()),
        };
        let host = vhost;
        let vhost = self.server.vhost(&host).map_or_else(|_| host.clone(), |vhost| vhost.name.clone());
        let names = Names { unknown_host: self.unknown_host(&host), ..Names::of([&vhost, &app, ""]) };
        self.remark_refusal(Requested::Connect, names, None, rejection);
        self.session.reject(request, rejection);
    }

    /// Refuses a stream that a client wants.
    pub(super) fn refuse_stream(&mut self, wanted: Wanted, rejection: &Rejection) {
        let request = match &wanted {
            Wanted::Publish(_) => Requested::Publish,
            Wanted::Play(_) => Requested::Play,
        };
        let name = wanted.name();
        let urls = self.client.as_deref().map(|client| &client.urls);
        let found = urls.and_then(|urls| rules::find_stream(&self.server, urls, name).ok());
        // A name in an unknown virtual host is shown with that host.
        let key = found.map(|found| found.key().clone());
        let key = key.or_else(|| urls.and_then(|urls| Some(urls.target(name).ok()?.key().clone())));
        match key {
            Some(key) => {
                let unknown_host = self.unknown_host_of(name);
                self.remark_refused_stream(request, &key, unknown_host, rejection);
            }
            None => {
                let app = urls.map_or("", |urls| urls.app()).to_owned();
                let (vhost, stream) = (self.vhost.name.clone(), without_query(name).to_owned());
                self.remark_refusal(request, Names::of([&vhost, &app, &stream]), None, rejection);
            }
        }
        wanted.reject(&mut self.session, rejection);
    }

    /// Refuses a stream whose name is known: the one that the client wants, or the one that the back end gave it.
    pub(super) fn refuse_named(&mut self, wanted: Wanted, key: &StreamKey, rejection: &Rejection) {
        let request = match &wanted {
            Wanted::Publish(_) => Requested::Publish,
            Wanted::Play(_) => Requested::Play,
        };
        let unknown_host = self.unknown_host_of(wanted.name());
        self.remark_refused_stream(request, key, unknown_host, rejection);
        wanted.reject(&mut self.session, rejection);
    }

    /// A client may not go on with what was granted. The caller closes the connection.
    pub(super) fn report_ended(&mut self, refusal: &Refusal, told: bool) {
        let rejection = Rejection::publish_denied(refusal.to_string()).because(refusal.clone());
        let rejection = if told { rejection } else { Rejection { code: "", description: String::new(), ..rejection } };
        let granted = self.streams().next().map(|(role, key)| (role, key.clone()));
        match granted {
            Some((Role::Publisher, key)) => self.remark_refused_stream(Requested::Publish, &key, None, &rejection),
            Some((Role::Player, key)) => self.remark_refused_stream(Requested::Play, &key, None, &rejection),
            None => {
                let app = self.client.as_ref().map_or(String::new(), |client| client.urls.app().to_owned());
                let vhost = self.vhost.name.clone();
                self.remark_refusal(Requested::Connect, Names::of([&vhost, &app, ""]), None, &rejection);
            }
        }
    }

    /// The host that the client asked for with the name of a stream, if the default virtual host takes it in the place
    /// of another.
    pub(super) fn unknown_host_of(&self, name: &str) -> Option<String> {
        let target = self.client.as_ref()?.urls.target(name).ok()?;
        self.unknown_host(target.vhost())
    }

    fn unknown_host(&self, host: &str) -> Option<String> {
        let is_address = || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        (self.server.is_unknown_host(host) && !is_address()).then(|| shortened(host).into_owned())
    }

    fn remark_refused_stream(
        &mut self,
        request: Requested,
        key: &StreamKey,
        unknown_host: Option<String>,
        rejection: &Rejection,
    ) {
        let is_taken = matches!(rejection.refusal, Some(Refusal::NameTaken(_)));
        let holder = if is_taken { self.server.hub().holder(key) } else { None };
        let names = Names { unknown_host, ..Names::of([key.vhost(), key.app(), key.stream()]) };
        self.remark_refusal(request, names, holder, rejection);
    }

    fn remark_refusal(&mut self, request: Requested, names: Names, holder: Option<HeldBy>, rejection: &Rejection) {
        if self.session.is_closing() {
            return;
        }
        // A replay has the words of a refusal only, and reports nothing.
        self.past.refused = rejection.refusal.as_ref().map(Refusal::code);
        let code = self.past.refused.unwrap_or_default();
        let is_listed = |known: &(&str, &[&str])| known.0 == code && known.1.contains(&rejection.code);
        debug_assert!(
            code.is_empty() || rejection.code.is_empty() || Refusal::STATUSES.iter().any(is_listed),
            "{code} with {} is not in Refusal::STATUSES",
            rejection.code
        );
        let Names { names: [vhost, app, stream], unknown_host } = names;
        let (status, told) = (rejection.code, shortened(&rejection.description).into_owned());
        let peer = self.peer();
        let refused = Refused { code, request, vhost, unknown_host, app, stream, status, told, peer, holder };
        self.remarks.push(Remark::Refused(Box::new(refused)));
    }
}

/// The names in a report of a refusal, shortened: virtual host, app, stream.
struct Names {
    names: [String; 3],
    unknown_host: Option<String>,
}

impl Names {
    fn of(names: [&str; 3]) -> Self {
        Names { names: names.map(|name| shortened(name).into_owned()), unknown_host: None }
    }
}

/// The part of a name before its parameters.
fn without_query(text: &str) -> &str {
    text.split('?').next().unwrap_or_default()
}
