//! What may refuse a request, and what may end what was granted, in the order in which it is asked.
//!
//! | | `connect` | a stream of another virtual host (`?vhost=`) | `publish` | `play` |
//! |---|---|---|---|---|
//! | 1 | its URLs are well formed ([`may_connect`]) | its name is well formed ([`find_stream`]) | its name is well formed ([`find_stream`]) | its name is well formed ([`find_stream`]) |
//! | 2 | the virtual host exists and is enabled | the virtual host exists and is enabled | the virtual host exists and is enabled; its application for the name is found | the virtual host exists and is enabled; its application for the name is found |
//! | 3 | the server does not drain ([`may_connect`]) | the server does not drain ([`may_enter`]) | the server does not drain ([`may_publish`](Requester::may_publish)) | the server does not drain ([`may_play`](Requester::may_play)) |
//! | 4 | | the host has streams: it is none for bandwidth checks | security, by address | security, by address |
//! | 5 | | | refer, by page | refer, by page |
//! | 6 | | | token, by signed URL | token, by signed URL |
//! | 7 | it is no relay of a stream that has been here, `limits.connections` | `limits.connections` of that host | the name is free, or its publisher may be taken over from; `limits.streams`, `limits.publishers` | `limits.players`, `limits.stream_players`, `limits.streams` |
//! | 8 | `limits.questions`, then the back end | the same, as for `connect` there | the same: the server upstream, then the back end, then the origin that is to take the stream, or the directory of the cluster that is to give the name | the same: the server upstream, then the back end |
//! | 9 | 3 and 7 again ([`admit_connection`]) | 3 and 7 again ([`admit_connection`]) | 3 and 7 again ([`admit_publisher`]) | 3 and 7 again ([`admit_player`]) |
//!
//! The rules of rows 4 to 7 and the questions of row 8 for a stream are those of its [application](Application): the
//! first of its virtual host that matches the name, or what the host has for all other streams. Limits hold for the
//! application and for the whole host.
//!
//! A back end may grant a stream under another name ([`Verdict::Rename`](crate::policy::Verdict)). Then rows 3 to 5, 7
//! and 9 are passed for the new name with the rules of its application, and row 6 if the URL is signed for neither
//! name ([`may_use_renamed`](Requester::may_use_renamed)). No question is asked about the new name, so renaming ends.
//!
//! Rules up to 7 take nothing. They come first so that the server does not ask a back end about requests that it would
//! refuse anyway. Row 8 is skipped if the host asks nothing; [`may_ask`] counts the question. Row 9 decides, under the
//! lock of the counts: the first request to come there gets the place. For a stream of another virtual host, the whole
//! column of that host is passed once, before row 3 of `publish` or `play`; then the name is looked up again.
//!
//! A URL with a valid [pass](crate::policy::Passes) skips rows 4 to 6, the limits of rows 7 and 9, and row 8: the server
//! made it for a program that it started ([`Requester::has_pass`]). The name must be free all the same. A pass that is not
//! valid refuses the request, and so does, in row 9, one that too many connections use. A connection whose `connect` had
//! a pass makes no request without one, because no back end was asked about it.
//!
//! In a cluster, a server that pulls a stream from here signs that in `connect` with the secret of the cluster
//! ([`may_pull`](Requester::may_pull)). It skips rows 3 to 9, and the stream must be here under the lease that the signature
//! names: published, or pulled from a server that is nearer to the publisher. Such a connection plays nothing else. A
//! `connect` with a signature that is not valid is refused.
//!
//! A `connect` to a host for bandwidth checks goes from row 7 to [`may_measure`], and from there to row 9.
//!
//! A granted connection ends early if another publisher [takes its name over](crate::hub::Conflict::TakeOver), if it
//! sends more than `limits.publisher_rate` (`conn/allowance.rs`), and after a reload by these rules, in this order
//! ([`may_stay`](Requester::may_stay)):
//!
//! 1. The connection's virtual host exists and is enabled.
//! 2. For each stream that it publishes, then for each that it plays: the stream's host exists and is enabled; security
//!    of its application, unless it was granted for a pass.
//! 3. For a request that waits for a verdict: the same, and rows 3 to 6 as they are now if refer or token changed.
//!
//! A refusal has the status code that fits the request, is noted in a capture (`conn/capturing.rs`), and is reported to
//! the adapter (`conn/refused.rs`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Core;
use super::application::Application;
use super::ask::StreamFacts;
use super::vhost::{ConnectionPermit, QuestionPermit, VirtualHost};
use crate::bandwidth::TooSoon;
use crate::cluster::SignedPull;
use crate::command::ConnectInfo;
use crate::hub::{Conflict, Hub, NotAdmitted, Player, Publisher};
use crate::policy::{self, Action, Refusal};
use crate::relay::{Seat, Served};
use crate::session::Rejection;
use crate::url::{self, Params, StreamKey, Target, UrlError};

/// The client that makes the request, as far as rules need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requester<'a> {
    pub(super) server: &'a Core,
    pub(super) now: Instant,
    /// The client's address, if it is known.
    pub(super) address: Option<IpAddr>,
    /// `pageUrl` in `connect`.
    pub(super) page_url: Option<&'a str>,
    /// True in a replay, where the decisions about passes are those of the capture.
    pub(super) replays: bool,
}

/// In place of the number of a pass: a signature permits the request, or it is a replay, in which nothing is counted.
pub(super) const UNCOUNTED: u64 = 0;

/// A stream that a client named.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) vhost: Arc<VirtualHost>,
    key: StreamKey,
    target: Target,
}

impl Found {
    /// The stream.
    pub(super) fn key(&self) -> &StreamKey {
        &self.key
    }
}

/// A publish or a play that no rule of this server refuses at the moment.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) application: Arc<Application>,
    /// A publisher that shows the same may take the name over; empty if names cannot be taken over.
    pub(super) credentials: Box<str>,
    pub(super) facts: StreamFacts,
    /// True if it is a server of the cluster that gets the stream beyond the number of those that this one sends it to.
    pub(super) over: bool,
    /// The number of the pass that permits it; [`UNCOUNTED`] if the signature of another server of the cluster does.
    pub(super) by_pass: Option<u64>,
}

/// A request that waits for a verdict while settings change.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiting<'a> {
    /// To enter this virtual host. The rules for the stream have not been checked yet.
    Enter(&'a VirtualHost),
    /// For a stream, with the rules of its host `before` the reload.
    Stream { action: Action, facts: &'a StreamFacts, before: &'a Application },
    /// For a stream, by a pass.
    ByPass(&'a StreamKey),
}

/// Why the server does not make a bandwidth check.
#[derive(Debug)]
pub(super) enum NotMeasured {
    WrongKey,
    TooSoon(TooSoon),
}

/// A `connect` that no rule refuses.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) urls: url::Connect,
    pub(super) vhost: Arc<VirtualHost>,
    /// The number of the pass that permits it; [`UNCOUNTED`] if the signature of a pull does.
    pub(super) by_pass: Option<u64>,
}

/// `connect`, rows 1, 2, 3 and 7: what its URLs say, and the virtual host. A server that drains refuses `connect`, not only
/// what comes after: encoders take a refused `connect` for a server that is away, and a refused `publish` for a wrong stream
/// key.
pub(super) fn may_connect(
    requester: Requester<'_>,
    info: &ConnectInfo,
    pull: Option<&SignedPull>,
) -> Result<Connecting, Rejection> {
    let server = requester.server;
    let urls =
        urls_of(info).map_err(|error| Rejection::invalid_app(error.to_string()).because(Refusal::UrlInvalid(error)))?;
    let vhost = server.vhost(urls.vhost()).map_err(|refusal| match urls.tc_url_error() {
        Some(error) => Rejection::connect_rejected(format!("{refusal}; {error}")).because(refusal),
        None => connect_rejected(refusal),
    })?;
    if info.is_page_denied {
        return Err(connect_rejected(Refusal::PageDenied));
    }
    if info.relayed.as_deref().is_some_and(|path| server.relays().is_loop(path)) {
        return Err(connect_rejected(Refusal::Loop));
    }
    if let Some(pull) = pull {
        // A server names the virtual host of the stream that it signs.
        return match pull.key.vhost() == vhost.name {
            true => Ok(Connecting { urls, vhost, by_pass: Some(UNCOUNTED) }),
            false => Err(connect_rejected(Refusal::PullNotSigned)),
        };
    }
    does_not_drain(server).map_err(connect_rejected)?;
    let permits = |pass: &str| server.passes().permits_connect(pass, &vhost.name);
    let by_pass = requester.has_pass(urls.params(), permits).map_err(connect_rejected)?;
    if by_pass.is_none() {
        vhost.check_connections().map_err(connect_rejected)?;
    }
    Ok(Connecting { urls, vhost, by_pass })
}

/// The names in a `connect`, or in the request by HTTP that it stands for.
pub(super) fn urls_of(info: &ConnectInfo) -> Result<url::Connect, UrlError> {
    let parse = if info.is_web { url::Connect::parse_web } else { url::Connect::parse };
    parse(info.tc_url.as_deref(), info.app.as_deref())
}

/// `connect` to a host for bandwidth checks: its key, and the time between checks.
pub(super) fn may_measure(vhost: &VirtualHost, tc_url: &str, now: Instant) -> Result<(), NotMeasured> {
    match &vhost.config().bandwidth_check {
        Some(check) if check.allows(tc_url) => vhost.admit_check(now).map_err(NotMeasured::TooSoon),
        _ => Err(NotMeasured::WrongKey),
    }
}

/// A stream's name, rows 1 and 2: the stream that it means, in the virtual host of `connect` unless it asks for another.
pub(super) fn find_stream(server: &Core, urls: &url::Connect, name: &str) -> Result<Found, Refusal> {
    let target = urls.target(name).map_err(Refusal::NameInvalid)?;
    let vhost = server.vhost(target.vhost())?;
    let key = target.key_in(&vhost.name).map_err(|error| Refusal::NameInvalid(error.into()))?;
    Ok(Found { vhost, key, target })
}

/// Another virtual host, rows 3, 4 and 7.
pub(super) fn may_enter(server: &Core, vhost: &VirtualHost) -> Result<(), Refusal> {
    does_not_drain(server)?;
    if vhost.config().bandwidth_check.is_some() {
        return Err(Refusal::VhostMeasures);
    }
    vhost.check_connections()
}

/// `publish` and `play`, rows 3 to 7, and the rules after a reload.
impl Requester<'_> {
    pub(super) fn may_publish(&self, found: Found) -> Result<Allowed, Rejection> {
        let Found { vhost, key, target } = found;
        let application = vhost.application(&key).clone();
        let by_pass = self.may_use(Action::Publish, &application, &key, target.params()).map_err(publish_denied)?;
        let credentials = if by_pass.is_some() { Box::default() } else { credentials(&application, target.params()) };
        may_take(self.now, &application, &key, &credentials, by_pass.is_some())?;
        let params = target.params().without(policy::PASS).to_query();
        Ok(Allowed { application, credentials, facts: StreamFacts { key, params }, over: false, by_pass })
    }

    /// What another server of the cluster pulls: this one has the stream under the lease that it knows, and no other server
    /// is to send it.
    pub(super) fn may_pull(&self, found: Found, pull: &SignedPull, seat: Option<&Seat>) -> Result<Allowed, Rejection> {
        let Found { vhost, key, target } = found;
        if key != pull.key {
            return Err(play_denied(Refusal::PassInvalid));
        }
        let mut over = false;
        // A replay has the decisions, and no seat.
        if let Some(seat) = seat {
            match self.server.relays().serve_pull(self.now, pull, seat, self.server.is_draining()) {
                Served::Here { over: is_over } => over = is_over,
                Served::At(url) => return Err(Rejection::redirect(url).because(Refusal::PullReferred)),
                Served::NotHere => {
                    return Err(Rejection::bad_play_name(Refusal::NotOwner.to_string()).because(Refusal::NotOwner));
                }
            }
        }
        let (application, params) = (vhost.application(&key).clone(), target.params().to_query());
        let facts = StreamFacts { key, params };
        Ok(Allowed { application, credentials: Box::default(), facts, over, by_pass: Some(UNCOUNTED) })
    }

    pub(super) fn may_play(&self, found: Found) -> Result<Allowed, Rejection> {
        let Found { vhost, key, target } = found;
        let application = vhost.application(&key).clone();
        let by_pass = self.may_use(Action::Play, &application, &key, target.params()).map_err(play_denied)?;
        if by_pass.is_none() {
            application.hub.may_play(&key, &application.limits).map_err(play_denied)?;
        }
        let params = target.params().without(policy::PASS).to_query();
        Ok(Allowed {
            application,
            credentials: Box::default(),
            facts: StreamFacts { key, params },
            over: false,
            by_pass,
        })
    }

    /// The number of the URL's pass, if it has one, which `permits` the request.
    ///
    /// # Errors
    /// It has one that is not valid.
    fn has_pass(&self, params: &Params, permits: impl FnOnce(&str) -> Option<u64>) -> Result<Option<u64>, Refusal> {
        let Some(pass) = params.get(policy::PASS) else {
            return Ok(None);
        };
        let number = if self.replays {
            policy::is_well_formed(&pass).then_some(UNCOUNTED)
        } else {
            let is_local = self.address.is_some_and(|address| address.to_canonical().is_loopback());
            is_local.then(|| permits(&pass)).flatten()
        };
        number.map(Some).ok_or(Refusal::PassInvalid)
    }

    /// Rows 3 to 6. The number of a pass if one permits it, so that limits and questions are skipped, too.
    fn may_use(
        &self,
        action: Action,
        application: &Application,
        key: &StreamKey,
        params: &Params,
    ) -> Result<Option<u64>, Refusal> {
        does_not_drain(self.server)?;
        let by_pass = self.has_pass(params, |pass| self.server.passes().permits(pass, action, key))?;
        if by_pass.is_some() {
            return Ok(by_pass);
        }
        self.is_at_allowed_address(action, application)?;
        application.config.refer.check(action, self.page_url)?;
        self.is_signed(action, application, key, params)?;
        Ok(None)
    }

    /// Row 6.
    fn is_signed(
        &self,
        action: Action,
        application: &Application,
        key: &StreamKey,
        params: &Params,
    ) -> Result<(), Refusal> {
        let Some(token) = &application.config.token else {
            return Ok(());
        };
        let (signature, expires) = (params.get("token"), params.get("expires"));
        token.check(action, key, signature.as_deref(), expires.as_deref(), self.server.unix_time(self.now))
    }

    /// Rows 3 to 6 for the name under which a back end grants a stream that the client `asked` for. If the application
    /// of the new name needs a signed URL, one for either name is enough: only the back end knows the new one. Returns
    /// that application, and the credentials of a publisher there.
    pub(super) fn may_use_renamed(
        &self,
        action: Action,
        key: &StreamKey,
        asked: &StreamFacts,
    ) -> Result<(Arc<Application>, Box<str>), Refusal> {
        let application = self.server.vhost_named(key.vhost())?.application(key).clone();
        let params = Params::parse(&asked.params).unwrap_or_default();
        does_not_drain(self.server)?;
        self.is_at_allowed_address(action, &application)?;
        application.config.refer.check(action, self.page_url)?;
        self.is_signed(action, &application, &asked.key, &params)
            .or_else(|refusal| self.is_signed(action, &application, key, &params).map_err(|_| refusal))?;
        let credentials = credentials(&application, &params);
        Ok((application, credentials))
    }

    /// Row 4. Rules by address refuse clients whose address is unknown.
    fn is_at_allowed_address(&self, action: Action, application: &Application) -> Result<(), Refusal> {
        let security = &application.config.security;
        match self.address {
            Some(address) => security.check(action, address),
            None if security.rules.is_empty() => Ok(()),
            None => Err(Refusal::SecurityNotAllowed { action }),
        }
    }

    /// After a reload: whether a connection of this virtual host, with these streams and this request, may stay. A stream
    /// is true that was granted for a pass.
    /// Returns the host with the new settings.
    pub(super) fn may_stay<'k>(
        &self,
        vhost: &str,
        streams: impl IntoIterator<Item = (Action, &'k StreamKey, bool)>,
        waiting: Option<Waiting<'_>>,
    ) -> Result<Arc<VirtualHost>, Refusal> {
        let vhost = self.server.vhost_named(vhost)?;
        for (action, key, by_pass) in streams {
            if by_pass {
                self.server.vhost_named(key.vhost())?;
            } else {
                self.may_go_on(action, key)?;
            }
        }
        match waiting {
            Some(Waiting::Enter(vhost)) => _ = self.server.vhost_named(&vhost.name)?,
            Some(Waiting::ByPass(key)) => _ = self.server.vhost_named(key.vhost())?,
            Some(Waiting::Stream { action, facts, before }) => self.may_be_granted(action, facts, before)?,
            None => {}
        }
        Ok(vhost)
    }

    fn may_go_on(&self, action: Action, key: &StreamKey) -> Result<Arc<Application>, Refusal> {
        let application = self.server.vhost_named(key.vhost())?.application(key).clone();
        self.is_at_allowed_address(action, &application)?;
        Ok(application)
    }

    /// A request that is not granted yet must pass all rules that changed; it has passed the unchanged ones already.
    fn may_be_granted(&self, action: Action, facts: &StreamFacts, before: &Application) -> Result<(), Refusal> {
        let now = self.may_go_on(action, &facts.key)?;
        if now.config.token == before.config.token && now.config.refer == before.config.refer {
            return Ok(());
        }
        let params = Params::parse(&facts.params).unwrap_or_default();
        self.may_use(action, &now, &facts.key, &params).map(|_| ())
    }
}

/// Row 7 of `publish`.
fn may_take(
    now: Instant,
    application: &Application,
    key: &StreamKey,
    credentials: &str,
    by_pass: bool,
) -> Result<(), Rejection> {
    if by_pass {
        let is_free = application.hub.is_free(key).map_err(NotAdmitted::Busy);
        return is_free.map_err(|error| not_admitted(error, key));
    }
    let admitted = application.hub.may_publish(now, key, credentials, application.config.conflict, &application.limits);
    admitted.map_err(|error| not_admitted(error, key))
}

/// What a publisher must show to take the name over from one that showed the same; empty if names cannot be taken over.
fn credentials(application: &Application, params: &Params) -> Box<str> {
    match application.config.conflict {
        Conflict::Reject | Conflict::Backup => "",
        Conflict::TakeOver => params.raw("token").unwrap_or_default(),
    }
    .into()
}

/// Row 8: counts a question about a client at this address.
pub(super) fn may_ask(application: &Application, address: Option<IpAddr>) -> Result<QuestionPermit, Refusal> {
    application.question(address)
}

/// `connect` and another virtual host, row 9.
pub(super) fn admit_connection(server: &Core, vhost: &VirtualHost) -> Result<ConnectionPermit, Refusal> {
    does_not_drain(server)?;
    vhost.enter()
}

/// `publish`, row 9.
pub(super) fn admit_publisher(
    now: Instant,
    server: &Core,
    application: &Application,
    hub: &Hub,
    key: &StreamKey,
    way: Way<'_>,
) -> Result<Publisher, Rejection> {
    does_not_drain(server).map_err(publish_denied)?;
    let limits = &application.limits;
    let admitted = match way {
        Way::Ordinary(credentials) => hub.admit_publisher(now, key, credentials, application.config.conflict, limits),
        Way::Elsewhere => hub.admit_backup_of_elsewhere(now, key, limits),
        Way::ByPass => hub.publish_passed(key).map_err(NotAdmitted::from),
    };
    admitted.map_err(|error| not_admitted(error, key))
}

/// How a publisher is admitted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// With what it must show to take the name over.
    Ordinary(&'a str),
    /// As a backup, because another server of the cluster has the name.
    Elsewhere,
    /// By a pass.
    ByPass,
}

/// `play`, row 9.
pub(super) fn admit_player(
    server: &Core,
    application: &Application,
    hub: &Hub,
    key: &StreamKey,
    by_pass: bool,
    is_signed: bool,
) -> Result<Player, Rejection> {
    if !is_signed {
        does_not_drain(server).map_err(play_denied)?;
    }
    if by_pass {
        return Ok(hub.play(key));
    }
    hub.admit_player(key, &application.limits).map_err(play_denied)
}

pub(super) fn does_not_drain(server: &Core) -> Result<(), Refusal> {
    if server.is_draining() { Err(Refusal::Draining) } else { Ok(()) }
}

pub(super) fn connect_rejected(refusal: Refusal) -> Rejection {
    Rejection::connect_rejected(refusal.to_string()).because(refusal)
}

pub(super) fn publish_denied(refusal: Refusal) -> Rejection {
    Rejection::publish_denied(refusal.to_string()).because(refusal)
}

pub(super) fn play_denied(refusal: Refusal) -> Rejection {
    Rejection::play_denied(refusal.to_string()).because(refusal)
}

/// The error for a name that is taken, or for a limit.
fn not_admitted(error: NotAdmitted, key: &StreamKey) -> Rejection {
    match error {
        NotAdmitted::Busy(_) => {
            let name = key.stream();
            Rejection::stream_in_use(name).because(Refusal::NameTaken(name.to_owned()))
        }
        NotAdmitted::Refused(refusal) => publish_denied(refusal),
    }
}
