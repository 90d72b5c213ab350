use std::sync::Arc;
use std::time::{Duration, Instant};

use super::application::Application;
use super::ask::{Ask, AskId, ClientFacts, Closed, Notice, StreamFacts, Subject};
use super::enter::{Entered, Wanted};
use super::player::Playing;
use super::publisher::Publishing;
use super::reserve::{not_asked, refused_by_origin};
use super::rules::{self, UNCOUNTED, Way};
use super::slow_path::SlowPath;
use super::vhost::{QuestionPermit, VirtualHost};
use super::{Action, Attachment, Remark, Role};
use crate::capture::{Call, Step};
use crate::command::Capabilities;
use crate::flv::FourCC;
use crate::hub::{Conflict, Player, Publisher, StreamId};
use crate::location;
use crate::policy::{self, Refusal, Verdict};
use crate::relay::{Ticket, TraverseFacts};
use crate::session::{ClientKind, CloseReason, ConnectRequest, PlayRequest, PublishRequest, Rejection};
use crate::time_limit::TimeLimit;
use crate::url::{self, StreamKey, UrlError};

/// The longest time that a question may be open, so that no setting overflows the clock.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);

/// A request that waits for a verdict.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: AskId,
    pub(super) limit: TimeLimit,
    pub(super) stage: Stage,
    /// The question to the origin of this edge, if it is the one that is asked.
    pub(super) ticket: Option<Ticket>,
    pub(super) request: Request,
    /// The permit for its question: all that the request holds while it waits. One with a pass needs none.
    pub(super) _question: Option<QuestionPermit>,
}

/// Which of its questions waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Whether the server upstream would grant the client's `connect`.
    Traverse,
    BackEnd,
    /// Whether the origin takes the stream. The back end may have been asked before.
    Origin {
        asked: bool,
    },
    /// Whether the directory of the cluster gives the name. The back end may have been asked before.
    Directory {
        asked: bool,
    },
    /// Whether another server has the stream, for a player that is sent there then.
    Place {
        asked: bool,
    },
}

impl Stage {
    /// True if a back end was asked that has not refused the request.
    fn is_known_to_back_end(self) -> bool {
        match self {
            Stage::Traverse => false,
            Stage::BackEnd => true,
            Stage::Origin { asked } | Stage::Directory { asked } | Stage::Place { asked } => asked,
        }
    }

    /// True if the request is granted as soon as the place is there that it waits for.
    fn is_last(self) -> bool {
        matches!(self, Stage::Origin { .. } | Stage::Directory { .. } | Stage::Place { .. })
    }
}

/// A request that all rules of this server allow at the moment. It holds no place and no name: they are taken when the
/// request is granted, and another client may have them by then.
#[derive(Debug)]
pub(super) enum Request {
    Connect(ConnectRequest),
    /// To enter another virtual host than that of `connect`, for a stream that the client wants there.
    Enter {
        wanted: Wanted,
        vhost: Arc<VirtualHost>,
    },
    Publish {
        request: PublishRequest,
        application: Arc<Application>,
        /// The stream's name: the one that the client asked for, or the one that the back end gave it.
        key: StreamKey,
        /// A publisher that shows the same credentials may take the name over.
        credentials: Box<str>,
        /// What the client asked for, for the back end.
        facts: StreamFacts,
        /// The number of the pass that permits it.
        by_pass: Option<u64>,
    },
    Play {
        request: PlayRequest,
        application: Arc<Application>,
        /// As for `Publish`.
        key: StreamKey,
        facts: StreamFacts,
        by_pass: Option<u64>,
    },
}

/// A publish or a play that is granted.
struct Granted {
    application: Arc<Application>,
    facts: StreamFacts,
    /// True if a back end was asked.
    asked: bool,
    by_pass: bool,
}

/// What a back end gave another name, and what the rules for that name need.
#[derive(Debug)]
enum Renamed {
    /// The app of the connection.
    App(Box<url::Connect>),
    /// A stream, its application, and the credentials of a publisher.
    Stream(StreamKey, Arc<Application>, Box<str>),
}

impl Pending {
    pub(super) fn id(&self) -> AskId {
        self.id
    }

    /// When to check its time limit next.
    pub(super) fn next_check(&self) -> Instant {
        self.limit.next_check()
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    pub(super) fn request_mut(&mut self) -> &mut Request {
        &mut self.request
    }
}

impl Request {
    fn subject(&self) -> Subject {
        match self {
            Request::Connect(_) | Request::Enter { .. } => Subject::Connect,
            Request::Publish { facts, .. } => Subject::Publish(facts.clone()),
            Request::Play { facts, .. } => Subject::Play(facts.clone()),
        }
    }

    /// The settings that apply to the request.
    fn application<'a>(&'a self, connected: &'a VirtualHost) -> &'a Application {
        match self {
            Request::Connect(_) => &connected.own,
            Request::Enter { vhost, .. } => &vhost.own,
            Request::Publish { application, .. } | Request::Play { application, .. } => application,
        }
    }

    /// The virtual host that this request enters, if it is not the one of `connect`.
    fn entering(&self) -> Option<&str> {
        match self {
            Request::Enter { vhost, .. } => Some(&vhost.name),
            _ => None,
        }
    }

    fn is_asked(&self, connected: &VirtualHost) -> bool {
        let asks = &self.application(connected).config.asks;
        match self {
            Request::Connect(_) | Request::Enter { .. } => asks.connect,
            Request::Publish { .. } => asks.publish,
            Request::Play { .. } => asks.play,
        }
    }

    /// Whether a pass permits the request.
    fn is_by_pass(&self) -> bool {
        match self {
            Request::Connect(_) | Request::Enter { .. } => false,
            Request::Publish { by_pass, .. } | Request::Play { by_pass, .. } => by_pass.is_some(),
        }
    }

    /// Whether it is to publish a name that has a publisher, and to stand by.
    fn would_stand_by(&self) -> bool {
        match self {
            Request::Publish { application, key, by_pass: None, .. } => {
                application.config.conflict == Conflict::Backup && application.hub.holder(key).is_some()
            }
            _ => false,
        }
    }

    /// The refusal that fits the kind of request.
    pub(super) fn refusal(&self, refusal: Refusal) -> Rejection {
        match self {
            Request::Connect(_) => rules::connect_rejected(refusal),
            Request::Enter { wanted, .. } => wanted.refusal(refusal),
            Request::Publish { .. } => rules::publish_denied(refusal),
            Request::Play { .. } => rules::play_denied(refusal),
        }
    }
}

impl SlowPath {
    /// Answers a question.
    pub(super) fn answer(&mut self, now: Instant, id: AskId, verdict: Verdict) {
        let open = self.pending.as_ref().is_some_and(|pending| pending.id == id);
        self.note(now, Call::Answer { open, verdict: &verdict });
        if let Some(pending) = self.pending.take_if(|pending| pending.id == id) {
            if self.session.is_closing() {
                // Too late to grant anything. A back end that refused the request gets no notice.
                let allows = matches!(verdict, Verdict::Allow | Verdict::Rename(_));
                if allows || pending.stage.is_last() {
                    self.withdraw(&pending);
                }
                return;
            }
            self.session.tell_time(now);
            self.decide(now, *pending, verdict);
        }
    }

    /// At the deadline the server decides without an answer.
    pub(super) fn check_verdict(&mut self, now: Instant) {
        let Some(pending) = self.pending.take_if(|pending| pending.limit.is_over(now)) else {
            return;
        };
        if self.session.is_closing() {
            return self.withdraw(&pending);
        }
        let allow = pending.request.application(&self.vhost).config.asks.allow_on_timeout;
        if allow && !pending.stage.is_last() {
            self.decide(now, *pending, Verdict::Allow);
            return;
        }
        if let Stage::Place { asked } = pending.stage {
            // Without an answer, the stream comes from here.
            return self.grant_here(now, pending.request, asked, None);
        }
        if let (Stage::Directory { asked }, true) = (pending.stage, self.server.relays().accepts_unanswered()) {
            if let Some(ticket) = &pending.ticket {
                ticket.accept();
            }
            return self.grant_here(now, pending.request, asked, pending.ticket);
        }
        let refusal = match pending.stage {
            Stage::Directory { .. } | Stage::Place { .. } => {
                Refusal::NoDirectory(location::ClaimError::NoAnswer.to_string())
            }
            Stage::Traverse | Stage::BackEnd | Stage::Origin { .. } => Refusal::HookUnanswered,
        };
        // The back end did not refuse the request, so it gets a notice that the request ended.
        self.past.refused = Some(refusal.code());
        self.withdraw(&pending);
        let Pending { request, _question: question, .. } = *pending;
        drop(question);
        let rejection = request.refusal(refusal);
        self.reject(request, &rejection);
    }

    /// The connection is over while a request waits.
    pub(super) fn drop_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.withdraw(&pending);
        }
    }

    fn withdraw(&mut self, pending: &Pending) {
        if pending.stage.is_known_to_back_end() {
            self.came_to_nothing(&pending.request);
        }
    }

    /// Tells the back end that a request ended that it was asked about and did not refuse.
    fn came_to_nothing(&mut self, request: &Request) {
        let subject = request.subject();
        let closed = matches!(subject, Subject::Connect).then(|| Closed {
            reason: CloseReason::Rejected(request.refusal(Refusal::HookUnanswered).code),
            refused: self.past.refused,
            received: self.received(),
            sent: self.sent(),
            duration: self.session.now().saturating_duration_since(self.start),
        });
        self.notify(request.entering(), Some(subject), closed);
    }

    /// Grants a request, or asks the back end first.
    pub(super) fn grant_or_ask(&mut self, now: Instant, request: Request) {
        let by_pass = match request {
            Request::Connect(_) => self.client.as_ref().is_some_and(|client| client.by_pass.is_some()),
            _ => request.is_by_pass(),
        };
        if by_pass {
            return self.grant(now, request, false);
        }
        let traverses = request.application(&self.vhost).config.asks.traverse;
        match request.subject() {
            Subject::Publish(facts) | Subject::Play(facts) if traverses => {
                self.ask(now, request, Subject::Traverse(facts), None);
            }
            _ => self.grant_or_ask_here(now, request, None),
        }
    }

    /// The same, after the server upstream, if there is one, has allowed the request.
    fn grant_or_ask_here(&mut self, now: Instant, request: Request, question: Option<QuestionPermit>) {
        if request.is_asked(&self.vhost) {
            let subject = request.subject();
            self.ask(now, request, subject, question);
        } else {
            self.grant(now, request, false);
        }
    }

    /// Asks, if the limits allow one more question; or goes on with the permit of the question before.
    fn ask(&mut self, now: Instant, request: Request, subject: Subject, question: Option<QuestionPermit>) {
        let application = request.application(&self.vhost);
        let address = self.peer().map(|peer| peer.ip());
        let timeout = application.config.asks.timeout;
        let question = match question {
            Some(question) => Ok(question),
            None => rules::may_ask(application, address).map_err(|refusal| request.refusal(refusal)),
        };
        let question = match self.ruled_besides(now, Step::Question, question) {
            Ok(question) => question,
            Err(rejection) => return self.reject(request, &rejection),
        };
        let time = timeout.min(LONGEST);
        let limit = TimeLimit::new(now, time);
        self.session.answer_takes(time);
        let id = self.server.next_ask();
        let stage = if matches!(subject, Subject::Traverse(_)) { Stage::Traverse } else { Stage::BackEnd };
        let client = self.facts_in(request.entering());
        let mut ticket = None;
        if let (Subject::Traverse(facts), true) =
            (&subject, request.application(&self.vhost).config.edge_of_origins().is_some())
        {
            let asked = self.server.relays().ask_to_connect(now, (self.id, id), &facts.key, traverse_facts(&client));
            let asked = asked.ok_or_else(|| request.refusal(not_asked()));
            match self.ruled_besides(now, Step::Question, asked) {
                Ok(asked) => ticket = Some(asked),
                Err(rejection) => return self.reject(request, &rejection),
            }
        } else {
            let backup = request.would_stand_by();
            self.actions.push_back(Action::Ask(Box::new(Ask { id, deadline: limit.end(), subject, backup, client })));
        }
        self.pending = Some(Box::new(Pending { id, limit, stage, ticket, request, _question: Some(question) }));
    }

    /// The servers that its streams have come by, if it is a relay.
    pub(super) fn relayed(&self) -> Option<&str> {
        self.client.as_ref().and_then(|client| client.relayed.as_deref())
    }

    fn decide(&mut self, now: Instant, pending: Pending, verdict: Verdict) {
        let Pending { stage, ticket, request, _question: question, .. } = pending;
        let traversing = stage == Stage::Traverse;
        if traversing && verdict == Verdict::Allow {
            return self.grant_or_ask_here(now, request, question);
        }
        if let Stage::Origin { asked } = stage {
            drop(question);
            return self.decide_by_origin(now, request, ticket, asked, verdict);
        }
        if let Stage::Place { asked } = stage {
            return match verdict {
                Verdict::Redirect(url) => {
                    self.refuse(request, asked, &Rejection::redirect(url).because(Refusal::HookRedirected));
                }
                _ => self.grant_here(now, request, asked, None),
            };
        }
        if let Stage::Directory { asked } = stage {
            drop(question);
            return self.decide_by_directory(now, request, ticket, asked, &verdict);
        }
        // The permit is released first, because the verdict may lead to another question.
        drop(question);
        let rejection = match verdict {
            Verdict::Allow => return self.grant(now, request, true),
            Verdict::Rename(_) if traversing => {
                request.refusal(Refusal::HookDenied("the server upstream gives another name".to_owned()))
            }
            Verdict::Rename(name) => return self.rename(now, request, &name),
            Verdict::Deny(words) => request.refusal(Refusal::HookDenied(words)),
            Verdict::Unanswered(words) => request.refusal(Refusal::HookDenied(words)).because(Refusal::HookUnanswered),
            Verdict::Redirect(url) => Rejection::redirect(url).because(Refusal::HookRedirected),
            Verdict::Origin { code, words } => refused_by_origin(&request, &code, words),
        };
        self.reject(request, &rejection);
    }

    /// Grants a request under the name that the back end gave, if the rules for that name allow it. The back end is not
    /// asked about the new name, and its notice of the end has the name that it was asked about.
    fn rename(&mut self, now: Instant, request: Request, name: &str) {
        let renamed = self.renamed(now, &request, name);
        match self.ruled(now, renamed) {
            Ok(Renamed::App(urls)) => {
                if let Some(client) = &mut self.client {
                    client.urls = *urls;
                }
                self.grant(now, request, true);
            }
            Ok(Renamed::Stream(new_key, new_application, new_credentials)) => {
                let request = match request {
                    Request::Publish { request, facts, by_pass, .. } => Request::Publish {
                        request,
                        application: new_application,
                        key: new_key,
                        credentials: new_credentials,
                        facts,
                        by_pass,
                    },
                    Request::Play { request, facts, by_pass, .. } => {
                        Request::Play { request, application: new_application, key: new_key, facts, by_pass }
                    }
                    other => other,
                };
                self.grant(now, request, true);
            }
            Err(rejection) => self.refuse(request, true, &rejection),
        }
    }

    fn renamed(&self, now: Instant, request: &Request, name: &str) -> Result<Renamed, Rejection> {
        let (action, facts) = match request {
            Request::Connect(_) => {
                let urls = self.client.as_ref().map_or(Err(UrlError::Missing), |client| client.urls.with_app(name));
                let renamed = urls.map(|urls| Renamed::App(Box::new(urls)));
                return renamed.map_err(|error| request.refusal(Refusal::UrlInvalid(error)));
            }
            Request::Enter { .. } => {
                let words = "the back end gives another app to a client of another virtual host";
                return Err(request.refusal(Refusal::HookDenied(words.to_owned())));
            }
            Request::Publish { facts, .. } => (policy::Action::Publish, facts),
            Request::Play { facts, .. } => (policy::Action::Play, facts),
        };
        let key = facts.key.with_stream(name);
        let key = key.map_err(|error| request.refusal(Refusal::NameInvalid(error.into())))?;
        let granted = self.requester(now).may_use_renamed(action, &key, facts);
        let (application, credentials) = granted.map_err(|refusal| request.refusal(refusal))?;
        Ok(Renamed::Stream(key, application, credentials))
    }

    fn reject(&mut self, request: Request, rejection: &Rejection) {
        match request {
            Request::Connect(request) => self.refuse_connect(request, rejection),
            Request::Enter { wanted, .. } => self.refuse_stream(wanted, rejection),
            Request::Publish { request, key, .. } => self.refuse_named(Wanted::Publish(request), &key, rejection),
            Request::Play { request, key, .. } => self.refuse_named(Wanted::Play(request), &key, rejection),
        }
    }

    /// Refuses a request by this server's own rules. If the back end was asked, it had allowed the request: it gets a
    /// notice that the request ended.
    pub(super) fn refuse(&mut self, request: Request, asked: bool, rejection: &Rejection) {
        if asked {
            self.past.refused = rejection.refusal.as_ref().map(Refusal::code);
            self.came_to_nothing(&request);
        }
        self.reject(request, rejection);
    }

    /// Grants a request, if the origin takes the stream that is to be published at this edge, or the directory gives its
    /// name.
    fn grant(&mut self, now: Instant, request: Request, asked: bool) {
        if let Some(request) = self.reserve(now, request, asked) {
            self.grant_here(now, request, asked, None);
        }
    }

    /// Grants a request, if there is room for it: the first request that comes here gets the place.
    pub(super) fn grant_here(&mut self, now: Instant, request: Request, asked: bool, ticket: Option<Ticket>) {
        match request {
            Request::Connect(request) => self.grant_connect(now, request, asked),
            Request::Enter { wanted, vhost } => {
                let permit = rules::admit_connection(&self.server, &vhost).map_err(|refusal| wanted.refusal(refusal));
                match self.ruled_besides(now, Step::Enter, permit) {
                    Ok(permit) => {
                        self.entered.push(Entered { vhost: vhost.name.clone(), asked, _permit: permit });
                        self.want(now, wanted);
                    }
                    Err(rejection) => self.refuse(Request::Enter { wanted, vhost }, asked, &rejection),
                }
            }
            Request::Publish { request, application, key, credentials, facts, by_pass } => {
                let hub = application.hub_for(&facts.params, self.relayed());
                let entered = self.use_pass(by_pass).map_err(rules::publish_denied);
                let way = match (by_pass, &ticket) {
                    (Some(_), _) => Way::ByPass,
                    (None, Some(ticket)) if ticket.stands_by() => Way::Elsewhere,
                    (None, _) => Way::Ordinary(&credentials),
                };
                let admitted =
                    entered.and_then(|()| rules::admit_publisher(now, &self.server, &application, &hub, &key, way));
                drop(hub);
                match self.ruled(now, admitted) {
                    Ok(publisher) => {
                        let granted = Granted { application, facts, asked, by_pass: by_pass.is_some() };
                        self.begin_publishing(now, request, (publisher, ticket), granted);
                    }
                    Err(rejection) => {
                        let request = Request::Publish { request, application, key, credentials, facts, by_pass };
                        self.refuse(request, asked, &rejection);
                    }
                }
            }
            Request::Play { request, application, key, facts, by_pass } => {
                let hub = application.hub_for(&facts.params, self.relayed());
                let entered = self.use_pass(by_pass).map_err(rules::play_denied);
                let signed = self.is_signed();
                let admitted = entered.and_then(|()| {
                    rules::admit_player(&self.server, &application, &hub, &key, by_pass.is_some(), signed)
                });
                drop(hub);
                match self.ruled_besides(now, Step::Play, admitted) {
                    Ok(player) => {
                        let granted = Granted { application, facts, asked, by_pass: by_pass.is_some() };
                        self.begin_playing(request, player, granted);
                    }
                    Err(rejection) => {
                        let request = Request::Play { request, application, key, facts, by_pass };
                        self.refuse(request, asked, &rejection);
                    }
                }
            }
        }
    }

    fn grant_connect(&mut self, now: Instant, request: ConnectRequest, asked: bool) {
        let permit = match self.client.as_ref().and_then(|client| client.by_pass) {
            by_pass @ Some(_) => self.use_pass(by_pass).map(|()| None).map_err(rules::connect_rejected),
            None => rules::admit_connection(&self.server, &self.vhost).map(Some).map_err(rules::connect_rejected),
        };
        let permit = match self.ruled_besides(now, Step::Connect, permit) {
            Ok(permit) => permit,
            Err(rejection) => return self.refuse(Request::Connect(request), asked, &rejection),
        };
        if let Some(client) = &mut self.client {
            client.asked = asked;
            client.permit = permit;
        }
        self.session.set_config(self.vhost.own.session.clone());
        self.session.accept(request);
    }

    /// Counts this connection as a user of a pass.
    ///
    /// # Errors
    /// It is not in force any more, or has too many users.
    fn use_pass(&mut self, by_pass: Option<u64>) -> Result<(), Refusal> {
        let (Some(number), Some(client)) = (by_pass.filter(|number| *number != UNCOUNTED), &mut self.client) else {
            return Ok(());
        };
        if client.passes.iter().all(|known| known.number() != number) {
            client.passes.push(self.server.passes().enter(number, self.id).ok_or(Refusal::PassInvalid)?);
        }
        Ok(())
    }

    fn begin_publishing(
        &mut self,
        now: Instant,
        request: PublishRequest,
        (publisher, ticket): (Publisher, Option<Ticket>),
        granted: Granted,
    ) {
        let Granted { application, facts, asked, by_pass } = granted;
        publisher.held_by(self.id, self.peer());
        // The back end may have given it another name than the client asked for.
        let granted = StreamFacts { key: publisher.key().clone(), params: facts.params.clone() };
        let took = publisher.took_from().map(|from| Remark::TookOver { key: granted.key.clone(), from });
        let unknown_host = self.unknown_host_of(request.name());
        let backup = publisher.began_as_backup();
        let client = Some(request.client());
        self.attach(Role::Publisher, publisher.stream_id(), granted, client, (by_pass, backup), unknown_host);
        self.go_by(&application);
        let message_stream_id = request.message_stream_id();
        // Nearly every connection has one publisher.
        self.publishing.reserve_exact(1);
        let asked = asked.then_some(facts);
        let publishing = Publishing::new(now, message_stream_id, (publisher, ticket), application, asked, by_pass);
        // Players that got a message that the stream is over get one that it goes on.
        if publishing.is_played(self.capturing.is_some()) {
            self.actions.push_back(Action::Wake(publishing.stream()));
        }
        self.allowance.begin(now, publishing.rate(), &self.publishing);
        self.publishing.push(publishing);
        self.session.accept(request);
        self.remarks.extend(took);
    }

    fn begin_playing(&mut self, request: PlayRequest, player: Player, granted: Granted) {
        let Granted { application, facts, asked, by_pass } = granted;
        let stream = player.stream_id();
        let granted = StreamFacts { key: player.key().clone(), params: facts.params.clone() };
        let unknown_host = self.unknown_host_of(&request.arguments().name);
        self.attach(Role::Player, stream, granted, None, (by_pass, false), unknown_host);
        if !self.plays(stream) {
            self.actions.push_back(Action::Subscribe(stream));
        }
        self.go_by(&application);
        let capabilities = self.session.capabilities();
        let multitrack = capabilities.is_some_and(|capabilities| capabilities.has(Capabilities::MULTITRACK));
        // Players by HTTP announce nothing, and those that there are know Opus.
        let has_opus = |capabilities: &Capabilities| capabilities.audio.supports(FourCC::OPUS) == Some(true);
        let understands = (multitrack, self.session.is_web() || capabilities.is_some_and(has_opus));
        let (asked, elsewhere) = (asked.then_some(facts), self.session.plays_elsewhere());
        let mut playing = Playing::new(&request, player, understands, application, asked, by_pass, elsewhere);
        if self.drained.is_some() && !self.leaves_late() {
            playing.finish();
        }
        // Behind the actions above, and not when it is served first: how its input was cut must make no difference.
        if let Some(remark) = playing.waits_from(self.session.now()) {
            self.actions.push_back(Action::Remark(remark));
        }
        self.playing.reserve_exact(1);
        self.playing.push(playing);
        self.session.accept(request);
    }

    fn attach(
        &mut self,
        role: Role,
        stream: StreamId,
        facts: StreamFacts,
        client: Option<ClientKind>,
        (by_pass, backup): (bool, bool),
        unknown_host: Option<String>,
    ) {
        let agent = self.client.as_ref().and_then(|client| client.agent.clone());
        let StreamFacts { key, params } = facts;
        let (peer, delivery, relays) = (self.peer(), self.session.delivery(), self.relayed().is_some());
        let attachment = Attachment {
            role,
            stream,
            key,
            unknown_host,
            client,
            agent,
            delivery,
            peer,
            params,
            by_pass,
            relays,
            backup,
        };
        self.actions.push_back(Action::Attach(attachment));
    }

    /// Tells the back end that something is over: in a virtual host that the client entered, or that of `connect`.
    pub(super) fn notify(&mut self, entered: Option<&str>, subject: Option<Subject>, closed: Option<Closed>) {
        if let Some(subject) = subject {
            let notice = Notice { subject, client: self.facts_in(entered), closed };
            self.actions.push_back(Action::Notify(Box::new(notice)));
        }
    }

    /// What is known of the client.
    pub(super) fn facts(&self) -> ClientFacts {
        self.facts_in(None)
    }

    fn facts_in(&self, entered: Option<&str>) -> ClientFacts {
        let mut facts = ClientFacts {
            connection: self.id,
            address: self.peer(),
            vhost: entered.unwrap_or(&self.vhost.name).to_owned(),
            delivery: self.session.delivery(),
            ..ClientFacts::default()
        };
        if let Some(client) = &self.client {
            facts.app = client.urls.app().to_owned();
            facts.params = client.urls.params().without(policy::PASS).to_query();
            facts.tc_url.clone_from(&client.tc_url);
            facts.page_url.clone_from(&client.page_url);
            facts.swf_url.clone_from(&client.swf_url);
            facts.agent.clone_from(&client.agent);
            facts.arguments.clone_from(&client.arguments);
        }
        facts
    }
}

fn traverse_facts(client: &ClientFacts) -> TraverseFacts {
    TraverseFacts {
        app: client.app.clone(),
        tc_url: client.tc_url.clone(),
        page_url: client.page_url.clone(),
        swf_url: client.swf_url.clone(),
        arguments: client.arguments.clone(),
    }
}
