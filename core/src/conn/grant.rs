use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::{Ask, AskId, ClientFacts, Closed, Notice, StreamFacts, Subject};
use super::enter::{Entered, Wanted};
use super::player::Playing;
use super::publisher::Publishing;
use super::rules;
use super::slow_path::SlowPath;
use super::vhost::{QuestionPermit, VirtualHost};
use super::{Action, Attachment, Remark, Role};
use crate::capture::{Call, Step};
use crate::command::Capabilities;
use crate::hub::{Player, Publisher, StreamId};
use crate::patience::Patience;
use crate::policy::{Refusal, Verdict};
use crate::session::{ClientKind, CloseReason, ConnectRequest, PlayRequest, PublishRequest, Rejection};

/// The longest time that a question may be open, so that no setting overflows the clock.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A request that waits for a verdict.
#[derive(Debug)]
pub(super) struct Pending {
    id: AskId,
    patience: Patience,
    /// True while the question is whether the server upstream grants the request.
    traversing: bool,
    request: Request,
    /// The permit for its question: all that the request holds while it waits.
    _question: QuestionPermit,
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
        vhost: Arc<VirtualHost>,
        /// A publisher that shows the same credentials may take the name over.
        credentials: Box<str>,
        facts: StreamFacts,
    },
    Play {
        request: PlayRequest,
        vhost: Arc<VirtualHost>,
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
            Request::Connect(_) | Request::Enter { .. } => Subject::Connect,
            Request::Publish { facts, .. } => Subject::Publish(facts.clone()),
            Request::Play { facts, .. } => Subject::Play(facts.clone()),
        }
    }

    fn vhost<'a>(&'a self, connected: &'a Arc<VirtualHost>) -> &'a Arc<VirtualHost> {
        match self {
            Request::Connect(_) => connected,
            Request::Enter { vhost, .. } | Request::Publish { vhost, .. } | Request::Play { vhost, .. } => vhost,
        }
    }

    /// The virtual host that this request enters, if it is not the one of `connect`.
    fn entering(&self) -> Option<&str> {
        match self {
            Request::Enter { vhost, .. } => Some(&vhost.name),
            _ => None,
        }
    }

    fn is_asked(&self, vhost: &VirtualHost) -> bool {
        let asks = &vhost.config.asks;
        match self {
            Request::Connect(_) | Request::Enter { .. } => asks.connect,
            Request::Publish { .. } => asks.publish,
            Request::Play { .. } => asks.play,
        }
    }

    /// The refusal that fits the kind of request.
    fn refusal(&self, refusal: Refusal) -> Rejection {
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
                if !matches!(verdict, Verdict::Deny(_) | Verdict::Redirect(_)) {
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
        let Some(pending) = self.pending.take_if(|pending| pending.patience.is_over(now)) else {
            return;
        };
        if self.session.is_closing() {
            return self.withdraw(&pending);
        }
        let vhost = pending.request.vhost(&self.vhost);
        if vhost.config.asks.allow_on_timeout {
            self.decide(now, *pending, Verdict::Allow);
            return;
        }
        // The back end did not refuse the request, so it gets a notice that the request ended.
        self.past.refused = Some(Refusal::HookUnanswered.code());
        self.withdraw(&pending);
        let Pending { request, _question: question, .. } = *pending;
        drop(question);
        let rejection = request.refusal(Refusal::HookUnanswered);
        self.reject(request, &rejection);
    }

    /// The connection is over while a request waits.
    pub(super) fn drop_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.withdraw(&pending);
        }
    }

    fn withdraw(&mut self, pending: &Pending) {
        if !pending.traversing {
            self.came_to_nothing(&pending.request);
        }
    }

    /// Tells the back end that a request ended that it was asked about and did not refuse.
    fn came_to_nothing(&mut self, request: &Request) {
        let subject = request.subject();
        let closed = matches!(subject, Subject::Connect).then(|| Closed {
            reason: CloseReason::Rejected(request.refusal(Refusal::HookUnanswered).code),
            refused: self.past.refused,
            received: self.session.received(),
            sent: self.session.outbound().written(),
            duration: self.session.now().saturating_duration_since(self.start),
        });
        self.tell(request.entering(), Some(subject), closed);
    }

    /// Grants a request, or asks the back end first.
    pub(super) fn grant_or_ask(&mut self, now: Instant, request: Request) {
        let traverses = request.vhost(&self.vhost).config.asks.traverse;
        match request.subject() {
            Subject::Publish(facts) | Subject::Play(facts) if traverses => {
                self.ask(now, request, Subject::Traverse(facts), None);
            }
            _ => self.grant_or_ask_here(now, request, None),
        }
    }

    /// The same, after the server upstream, if there is one, has allowed the request.
    fn grant_or_ask_here(&mut self, now: Instant, request: Request, question: Option<QuestionPermit>) {
        if request.is_asked(request.vhost(&self.vhost)) {
            let subject = request.subject();
            self.ask(now, request, subject, question);
        } else {
            self.grant(now, request, false);
        }
    }

    /// Asks, if the limits allow one more question; or goes on with the permit of the question before.
    fn ask(&mut self, now: Instant, request: Request, subject: Subject, question: Option<QuestionPermit>) {
        let vhost = request.vhost(&self.vhost);
        let address = self.peer().map(|peer| peer.ip());
        let timeout = vhost.config.asks.timeout;
        let question = match question {
            Some(question) => Ok(question),
            None => rules::may_ask(vhost, address).map_err(|refusal| request.refusal(refusal)),
        };
        let question = match self.ruled_besides(now, Step::Question, question) {
            Ok(question) => question,
            Err(rejection) => return self.reject(request, &rejection),
        };
        let time = timeout.min(LONGEST);
        let patience = Patience::new(now, time);
        self.session.answer_takes(time);
        let id = self.server.next_ask();
        let traversing = matches!(subject, Subject::Traverse(_));
        let client = self.facts_in(request.entering());
        self.actions.push_back(Action::Ask(Box::new(Ask { id, deadline: patience.end(), subject, client })));
        self.pending = Some(Box::new(Pending { id, patience, traversing, request, _question: question }));
    }

    fn decide(&mut self, now: Instant, pending: Pending, verdict: Verdict) {
        let Pending { traversing, request, _question: question, .. } = pending;
        if traversing && verdict == Verdict::Allow {
            return self.grant_or_ask_here(now, request, Some(question));
        }
        // The permit is released first, because the verdict may lead to another question.
        drop(question);
        let rejection = match verdict {
            Verdict::Allow => return self.grant(now, request, true),
            Verdict::Deny(words) => request.refusal(Refusal::HookDenied(words)),
            Verdict::Redirect(url) => Rejection::redirect(url).because(Refusal::HookRedirected),
        };
        self.reject(request, &rejection);
    }

    fn reject(&mut self, request: Request, rejection: &Rejection) {
        match request {
            Request::Connect(request) => self.refuse_connect(request, rejection),
            Request::Enter { wanted, .. } => self.refuse_stream(wanted, rejection),
            Request::Publish { request, .. } => self.refuse_stream(Wanted::Publish(request), rejection),
            Request::Play { request, .. } => self.refuse_stream(Wanted::Play(request), rejection),
        }
    }

    /// Refuses a request by this server's own rules. If the back end was asked, it had allowed the request: it gets a
    /// notice that the request ended.
    fn refuse(&mut self, request: Request, asked: bool, rejection: &Rejection) {
        if asked {
            self.past.refused = rejection.refusal.as_ref().map(Refusal::code);
            self.came_to_nothing(&request);
        }
        self.reject(request, rejection);
    }

    /// Grants a request, if there is room for it: the first request that comes here gets the place.
    fn grant(&mut self, now: Instant, request: Request, asked: bool) {
        match request {
            Request::Connect(request) => self.grant_connect(now, request, asked),
            Request::Enter { wanted, vhost } => {
                let permit = rules::admit_connection(&vhost).map_err(|refusal| wanted.refusal(refusal));
                match self.ruled_besides(now, Step::Enter, permit) {
                    Ok(permit) => {
                        self.entered.push(Entered { vhost: vhost.name.clone(), asked, _permit: permit });
                        self.want(now, wanted);
                    }
                    Err(rejection) => self.refuse(Request::Enter { wanted, vhost }, asked, &rejection),
                }
            }
            Request::Publish { request, vhost, credentials, facts } => {
                let admitted = rules::admit_publisher(&self.server, &vhost, &facts.key, &credentials);
                match self.ruled(now, admitted) {
                    Ok(publisher) => self.begin_publishing(now, request, publisher, vhost, facts, asked),
                    Err(rejection) => {
                        self.refuse(Request::Publish { request, vhost, credentials, facts }, asked, &rejection);
                    }
                }
            }
            Request::Play { request, vhost, facts } => {
                let admitted = rules::admit_player(&self.server, &vhost, &facts.key);
                match self.ruled_besides(now, Step::Play, admitted) {
                    Ok(player) => self.begin_playing(&vhost, request, player, facts, asked),
                    Err(rejection) => self.refuse(Request::Play { request, vhost, facts }, asked, &rejection),
                }
            }
        }
    }

    fn grant_connect(&mut self, now: Instant, request: ConnectRequest, asked: bool) {
        let permit = rules::admit_connection(&self.vhost).map_err(rules::connect_rejected);
        let permit = match self.ruled_besides(now, Step::Connect, permit) {
            Ok(permit) => permit,
            Err(rejection) => return self.refuse(Request::Connect(request), asked, &rejection),
        };
        if let Some(client) = &mut self.client {
            client.asked = asked;
            client.permit = Some(permit);
        }
        self.session.set_config(self.vhost.session.clone());
        self.session.accept(request);
    }

    fn begin_publishing(
        &mut self,
        now: Instant,
        request: PublishRequest,
        publisher: Publisher,
        vhost: Arc<VirtualHost>,
        facts: StreamFacts,
        asked: bool,
    ) {
        publisher.held_by(self.id, self.peer());
        let took = publisher.took_from().map(|from| Remark::TookOver { key: facts.key.clone(), from });
        self.attach(Role::Publisher, publisher.stream_id(), &facts, Some(request.client()));
        self.go_by(&vhost);
        let stream_id = request.stream_id();
        // Nearly every connection has one publisher.
        self.publishing.reserve_exact(1);
        let publishing = Publishing::new(now, stream_id, publisher, vhost, asked.then_some(facts));
        // Players that got a message that the stream is over get one that it goes on.
        if publishing.is_played(self.capturing.is_some()) {
            self.actions.push_back(Action::Wake(publishing.stream()));
        }
        self.allowance.begin(now, publishing.rate(), &self.publishing);
        self.publishing.push(publishing);
        self.session.accept(request);
        self.remarks.extend(took);
    }

    fn begin_playing(
        &mut self,
        vhost: &Arc<VirtualHost>,
        request: PlayRequest,
        player: Player,
        facts: StreamFacts,
        asked: bool,
    ) {
        let stream = player.stream_id();
        self.attach(Role::Player, stream, &facts, None);
        if !self.plays(stream) {
            self.actions.push_back(Action::Subscribe(stream));
        }
        self.go_by(vhost);
        let capabilities = self.session.capabilities();
        let understands = capabilities.is_some_and(|capabilities| capabilities.has(Capabilities::MULTITRACK));
        let mut playing = Playing::new(&request, player, understands, vhost.clone(), asked.then_some(facts));
        if self.drained.is_some() {
            playing.finish();
        }
        self.playing.reserve_exact(1);
        self.playing.push(playing);
        self.session.accept(request);
    }

    fn attach(&mut self, role: Role, stream: StreamId, facts: &StreamFacts, client: Option<ClientKind>) {
        let agent = self.client.as_ref().and_then(|client| client.agent.clone());
        let StreamFacts { key, params } = facts.clone();
        let attachment = Attachment { role, stream, key, client, agent, peer: self.peer(), params };
        self.actions.push_back(Action::Attach(attachment));
    }

    /// Tells the back end that something is over: in a virtual host that the client entered, or that of `connect`.
    pub(super) fn tell(&mut self, entered: Option<&str>, subject: Option<Subject>, closed: Option<Closed>) {
        if let Some(subject) = subject {
            let notice = Notice { subject, client: self.facts_in(entered), closed };
            self.actions.push_back(Action::Tell(Box::new(notice)));
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
