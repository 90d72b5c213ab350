use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::{Ask, AskId, ClientFacts, Closed, Notice, StreamFacts, Subject, Verdict};
use super::player::Playing;
use super::publisher::Publishing;
use super::site::{Counter, Site};
use super::{Action, Attachment, Conn, Role};
use crate::capture::Call;
use crate::command::Capabilities;
use crate::flow::Patience;
use crate::hub::{Busy, Claim};
use crate::policy::{self, Refusal};
use crate::session::{ConnectRequest, PlayRequest, PublishRequest, Rejection};
use crate::url::{StreamKey, Target};

/// The longest that a question may be open, so that no setting leads out of the clock's range.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A request that waits for a verdict.
#[derive(Debug)]
pub(super) struct Pending {
    id: AskId,
    patience: Patience,
    /// True while it is asked what the server upstream says.
    traversing: bool,
    request: Request,
}

/// A request that every rule of ours allows, with all it will need: what it holds goes back if it comes to nothing.
#[derive(Debug)]
pub(super) enum Request {
    Connect(ConnectRequest),
    /// Who takes a name over is not counted: it takes the other's place.
    Publish {
        request: PublishRequest,
        claim: Claim,
        site: Arc<Site>,
        counter: Option<Counter>,
        facts: StreamFacts,
    },
    Play {
        request: PlayRequest,
        key: StreamKey,
        site: Arc<Site>,
        counter: Counter,
        facts: StreamFacts,
    },
}

impl Pending {
    pub(super) fn id(&self) -> AskId {
        self.id
    }

    /// When to look whether its time is over.
    pub(super) fn next_look(&self) -> Instant {
        self.patience.next_look()
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
            Request::Connect(_) => Subject::Connect,
            Request::Publish { facts, .. } => Subject::Publish(facts.clone()),
            Request::Play { facts, .. } => Subject::Play(facts.clone()),
        }
    }

    fn site<'a>(&'a self, connected: &'a Arc<Site>) -> &'a Arc<Site> {
        match self {
            Request::Connect(_) => connected,
            Request::Publish { site, .. } | Request::Play { site, .. } => site,
        }
    }

    fn is_asked(&self, site: &Site) -> bool {
        let asks = &site.config.asks;
        match self {
            Request::Connect(_) => asks.connect,
            Request::Publish { .. } => asks.publish,
            Request::Play { .. } => asks.play,
        }
    }
}

impl Conn {
    /// Answers a question. A verdict that comes too late, or twice, is nothing.
    pub fn answer(&mut self, now: Instant, id: AskId, verdict: Verdict) {
        let open = self.pending.as_ref().is_some_and(|pending| pending.id == id);
        self.note(now, Call::Answer { open, verdict: &verdict });
        if let Some(pending) = self.pending.take_if(|pending| pending.id == id) {
            if self.session.is_closing() {
                // Too late to grant anything. Who refused it wants to hear no more.
                if !matches!(verdict, Verdict::Deny(_) | Verdict::Redirect(_)) {
                    self.withdraw(&pending);
                }
                return;
            }
            self.session.tell_time(now);
            self.decide(now, *pending, verdict);
        }
    }

    /// Silence until the deadline is a verdict too.
    pub(super) fn check_verdict(&mut self, now: Instant) {
        let Some(pending) = self.pending.take_if(|pending| pending.patience.is_over(now)) else {
            return;
        };
        if self.session.is_closing() {
            return self.withdraw(&pending);
        }
        let site = pending.request.site(&self.site);
        if site.config.asks.allow_on_timeout {
            self.decide(now, *pending, Verdict::Allow);
            return;
        }
        // It was asked and not refused by whom it was asked: they hear that it came to nothing.
        self.withdraw(&pending);
        self.decide(now, *pending, Verdict::Deny("no answer in time".to_owned()));
    }

    /// The connection is over while a request waits.
    pub(super) fn drop_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.withdraw(&pending);
        }
    }

    fn withdraw(&mut self, pending: &Pending) {
        if pending.traversing {
            return;
        }
        let subject = pending.request.subject();
        let closed = matches!(subject, Subject::Connect).then(|| Closed {
            reason: crate::session::CloseReason::Rejected("NetConnection.Connect.Rejected"),
            received: self.session.received(),
            sent: self.session.outbound().written(),
            duration: self.session.now().saturating_duration_since(self.start),
        });
        self.tell(Some(subject), closed);
    }

    /// Grants a request, or asks the outside whether to.
    pub(super) fn grant_or_ask(&mut self, now: Instant, request: Request) {
        let traverses = request.site(&self.site).config.asks.traverse;
        match request.subject() {
            Subject::Publish(facts) | Subject::Play(facts) if traverses => {
                self.ask(now, request, Subject::Traverse(facts));
            }
            _ => self.grant_or_ask_here(now, request),
        }
    }

    /// The same when the server upstream, if there is one, has said yes.
    fn grant_or_ask_here(&mut self, now: Instant, request: Request) {
        if request.is_asked(request.site(&self.site)) {
            let subject = request.subject();
            self.ask(now, request, subject);
        } else {
            self.grant(now, request, false);
        }
    }

    fn ask(&mut self, now: Instant, request: Request, subject: Subject) {
        let time = request.site(&self.site).config.asks.timeout.min(LONGEST);
        let patience = Patience::new(now, time);
        self.session.answer_takes(time);
        let id = self.server.next_ask();
        let traversing = matches!(subject, Subject::Traverse(_));
        let ask = Ask { id, deadline: patience.end(), subject, client: self.facts() };
        self.actions.push_back(Action::Ask(Box::new(ask)));
        self.pending = Some(Box::new(Pending { id, patience, traversing, request }));
    }

    fn decide(&mut self, now: Instant, pending: Pending, verdict: Verdict) {
        let Pending { traversing, request, .. } = pending;
        let rejection = match verdict {
            Verdict::Allow if traversing => return self.grant_or_ask_here(now, request),
            Verdict::Allow => return self.grant(now, request, true),
            Verdict::Deny(words) => match &request {
                Request::Connect(_) => Rejection::connect_rejected(words),
                Request::Publish { .. } => Rejection::publish_denied(words),
                Request::Play { .. } => Rejection::play_denied(words),
            },
            Verdict::Redirect(url) => Rejection::redirect(url),
        };
        match request {
            Request::Connect(request) => self.session.reject(request, &rejection),
            Request::Publish { request, .. } => self.session.reject(request, &rejection),
            Request::Play { request, .. } => self.session.reject(request, &rejection),
        }
    }

    fn grant(&mut self, now: Instant, request: Request, asked: bool) {
        match request {
            Request::Connect(request) => {
                if let Some(client) = &mut self.client {
                    client.asked = asked;
                }
                self.session.set_config(self.site.session.clone());
                self.session.accept(request);
            }
            Request::Publish { request, claim, site, counter, facts } => {
                let key = claim.key().clone();
                let granted = if self.server.is_draining() {
                    Err(Rejection::publish_denied(Refusal::Draining.to_string()))
                } else {
                    claim.begin().map_err(|Busy| Rejection::stream_in_use(key.stream()))
                };
                let publisher = match self.ruled(now, granted) {
                    Ok(publisher) => publisher,
                    Err(rejection) => {
                        if asked {
                            self.tell(Some(Subject::Publish(facts)), None);
                        }
                        return self.session.reject(request, &rejection);
                    }
                };
                self.attach(Role::Publisher, publisher.stream_id(), key, Some(request.client()));
                let asked = asked.then_some(facts);
                let stream_id = request.stream_id();
                // One is what nearly every connection has.
                self.publishing.reserve_exact(1);
                let publishing = Publishing::new(now, stream_id, publisher, &site, counter, asked);
                // Who was told that the stream is over is told that it goes on.
                if publishing.is_played(self.watch.is_some()) {
                    self.actions.push_back(Action::Wake(publishing.stream()));
                }
                self.publishing.push(publishing);
                self.session.accept(request);
            }
            Request::Play { request, key, site, counter, facts } => {
                let player = site.hub.play(&key);
                let stream = player.stream_id();
                self.attach(Role::Player, stream, key, None);
                if !self.plays(stream) {
                    self.actions.push_back(Action::Subscribe(stream));
                }
                let understands =
                    self.session.capabilities().is_some_and(|capabilities| capabilities.has(Capabilities::MULTITRACK));
                let mut playing = Playing::new(&request, player, understands, site, counter, asked.then_some(facts));
                if self.drained.is_some() {
                    playing.finish();
                }
                self.playing.reserve_exact(1);
                self.playing.push(playing);
                self.session.accept(request);
            }
        }
    }

    fn attach(
        &mut self,
        role: Role,
        stream: crate::hub::StreamId,
        key: StreamKey,
        client: Option<crate::session::ClientKind>,
    ) {
        let agent = self.client.as_ref().and_then(|client| client.agent.clone());
        let attachment = Attachment { role, stream, key, client, agent, peer: self.peer() };
        self.actions.push_back(Action::Attach(attachment));
    }

    /// Everything of ours that can speak against a `publish` or `play`.
    pub(super) fn check(
        &self,
        now: Instant,
        action: policy::Action,
        site: &Arc<Site>,
        target: &Target,
    ) -> Result<(), Refusal> {
        if self.server.is_draining() {
            return Err(Refusal::Draining);
        }
        let config = &site.config;
        self.check_address(action, site)?;
        let page_url = self.client.as_ref().and_then(|client| client.page_url.as_deref());
        config.refer.check(action, page_url)?;
        if let Some(token) = &config.token {
            let (signature, expires) = (target.params().get("token"), target.params().get("expires"));
            let unix_time = self.server.unix_time(now);
            let (app, stream) = (target.app(), target.stream());
            token.check(action, app, stream, signature.as_deref(), expires.as_deref(), unix_time)?;
        }
        Ok(())
    }

    /// Whether the client's address may do this there.
    pub(super) fn check_address(&self, action: policy::Action, site: &Site) -> Result<(), Refusal> {
        let security = &site.config.security;
        match self.peer() {
            Some(peer) => security.check(action, peer.ip()),
            None if security.rules.is_empty() => Ok(()),
            None => Err(Refusal::SecurityNotAllowed { action }),
        }
    }

    pub(super) fn tell(&mut self, subject: Option<Subject>, closed: Option<Closed>) {
        if let Some(subject) = subject {
            let notice = Notice { subject, client: self.facts(), closed };
            self.actions.push_back(Action::Tell(Box::new(notice)));
        }
    }

    /// What is known of the client.
    pub fn facts(&self) -> ClientFacts {
        let mut facts = ClientFacts {
            connection: self.id,
            address: self.peer(),
            vhost: self.site.name.clone(),
            ..ClientFacts::default()
        };
        if let Some(client) = &self.client {
            facts.app = client.urls.app().to_owned();
            facts.params = client.urls.params().to_query();
            facts.tc_url.clone_from(&client.tc_url);
            facts.page_url.clone_from(&client.page_url);
            facts.swf_url.clone_from(&client.swf_url);
            facts.agent.clone_from(&client.agent);
            facts.arguments.clone_from(&client.arguments);
        }
        facts
    }
}
