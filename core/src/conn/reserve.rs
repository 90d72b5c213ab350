//! What a publish or a play needs from other servers before it is granted: the word of an origin, a name in the directory of
//! the cluster, the place of a stream.

use std::time::{Duration, Instant};

use super::application::Application;
use super::grant::{LONGEST, Pending, Request, Stage};
use super::rules;
use super::slow_path::SlowPath;
use crate::capture::Step;
use crate::hub::{Conflict, RelayFacts};
use crate::location;
use crate::policy::{Refusal, TokenScope, Verdict};
use crate::relay::Ticket;
use crate::session::Rejection;
use crate::time_limit::TimeLimit;

/// How long a request waits for an origin beyond the time in which the relay decides without one.
const ORIGIN_SLACK: Duration = Duration::from_secs(2);

/// How long a request waits for the directory. The directory has decided by then, also when it does not answer: this limit
/// holds if nothing asks it.
const DIRECTORY_LIMIT: Duration = Duration::from_secs(3);

impl SlowPath {
    /// Takes what a publisher needs beside the name here. Returns the request if that is nothing.
    pub(super) fn reserve(&mut self, now: Instant, request: Request, asked: bool) -> Option<Request> {
        let has_origins = |application: &Application| application.config.edge_of_origins().is_some();
        match &request {
            Request::Publish { application, .. } if has_origins(application) => self.ask_origin(now, request, asked),
            Request::Publish { .. } => self.claim_name(now, request, asked),
            Request::Play { application, by_pass: None, .. } if !has_origins(application) => {
                self.ask_place(now, request, asked)
            }
            _ => Some(request),
        }
    }

    /// Asks the directory of the cluster whether another server has the stream of a player that can be sent there.
    fn ask_place(&mut self, now: Instant, request: Request, asked: bool) -> Option<Request> {
        let Request::Play { key, facts, .. } = &request else {
            return Some(request);
        };
        if !self.client.as_ref().is_some_and(|client| client.follows_redirects()) {
            return Some(request);
        }
        let id = self.server.next_ask();
        if !self.server.relays().guide((self.id, id), key, &facts.params) {
            return Some(request);
        }
        let limit = TimeLimit::new(now, DIRECTORY_LIMIT);
        self.session.answer_takes(DIRECTORY_LIMIT);
        let (stage, ticket) = (Stage::Place { asked }, None);
        self.pending = Some(Box::new(Pending { id, limit, stage, ticket, request, _question: None }));
        None
    }

    /// Claims the name in the directory of the cluster. Returns the request if the server stands alone.
    fn claim_name(&mut self, now: Instant, request: Request, asked: bool) -> Option<Request> {
        let Request::Publish { application, key, credentials, by_pass, .. } = &request else {
            return Some(request);
        };
        if !self.server.relays().claims_names() {
            return Some(request);
        }
        let address = self.peer().map(|peer| peer.ip());
        let question = by_pass.is_none().then(|| rules::may_ask(application, address)).transpose();
        // The back end may have taken its time, and a server that drains takes no name from another one.
        let question = rules::does_not_drain(&self.server).and(question);
        let question = question.map_err(|refusal| request.refusal(refusal));
        // Which token another server's publisher has shown is not known here. One that is signed for the stream will do.
        let token = application.config.token.as_ref();
        let is_signed = token.is_some_and(|token| token.required_for != TokenScope::Play) && !credentials.is_empty();
        let conflict = if is_signed { location::Conflict::Take } else { location::Conflict::Refuse };
        let question = match self.ruled_besides(now, Step::Question, question) {
            Ok(question) => question,
            Err(rejection) => {
                self.refuse(request, asked, &rejection);
                return None;
            }
        };
        let (id, limit) = (self.server.next_ask(), TimeLimit::new(now, DIRECTORY_LIMIT));
        let is_backup = by_pass.is_none() && application.config.conflict == Conflict::Backup;
        let Some(ticket) = self.server.relays().claim((self.id, id), key, conflict, is_backup) else {
            let rejection = request.refusal(Refusal::Draining);
            self.refuse(request, asked, &rejection);
            return None;
        };
        self.session.answer_takes(DIRECTORY_LIMIT);
        let (stage, ticket) = (Stage::Directory { asked }, Some(ticket));
        self.pending = Some(Box::new(Pending { id, limit, stage, ticket, request, _question: question }));
        None
    }

    /// Asks the origin of this edge whether it takes the stream. It counts among the questions, because the request waits
    /// like one for a back end. Returns the request if it need not be asked.
    fn ask_origin(&mut self, now: Instant, request: Request, asked: bool) -> Option<Request> {
        let Request::Publish { application, key, facts, by_pass, .. } = &request else {
            return Some(request);
        };
        let Some(edge) = application.config.edge_of_origins().filter(|edge| edge.publish) else {
            return Some(request);
        };
        let time = edge.publish_wait.saturating_add(ORIGIN_SLACK).min(LONGEST);
        let address = self.peer().map(|peer| peer.ip());
        let question = by_pass.is_none().then(|| rules::may_ask(application, address)).transpose();
        let question = question.map_err(|refusal| request.refusal(refusal));
        let question = match self.ruled_besides(now, Step::Question, question) {
            Ok(question) => question,
            Err(rejection) => {
                self.refuse(request, asked, &rejection);
                return None;
            }
        };
        let (id, limit) = (self.server.next_ask(), TimeLimit::new(now, time));
        let path = self.relayed().unwrap_or_default();
        // Without a pass: the origin decides about what a program publishes as about all else.
        let client = RelayFacts { params: facts.params.as_str().into(), path: path.into() };
        let ticket = self.server.relays().ask_to_publish(now, (self.id, id), key, &client);
        let ticket = ticket.ok_or_else(|| request.refusal(not_asked()));
        let ticket = match self.ruled_besides(now, Step::Question, ticket) {
            Ok(ticket) => Some(ticket),
            Err(rejection) => {
                self.refuse(request, asked, &rejection);
                return None;
            }
        };
        self.session.answer_takes(time);
        let stage = Stage::Origin { asked };
        self.pending = Some(Box::new(Pending { id, limit, stage, ticket, request, _question: question }));
        None
    }

    pub(super) fn decide_by_origin(
        &mut self,
        now: Instant,
        request: Request,
        ticket: Option<Ticket>,
        asked: bool,
        verdict: Verdict,
    ) {
        let rejection = match verdict {
            Verdict::Allow => return self.grant_here(now, request, asked, ticket),
            Verdict::Origin { code, words } => refused_by_origin(&request, &code, words),
            Verdict::Rename(_) => request.refusal(Refusal::OriginDenied("the origin gives another name".to_owned())),
            Verdict::Deny(words) | Verdict::Unanswered(words) => request.refusal(Refusal::OriginDenied(words)),
            Verdict::Redirect(url) => Rejection::redirect(url).because(Refusal::HookRedirected),
        };
        self.refuse(request, asked, &rejection);
    }

    pub(super) fn decide_by_directory(
        &mut self,
        now: Instant,
        request: Request,
        ticket: Option<Ticket>,
        asked: bool,
        verdict: &Verdict,
    ) {
        let rejection = match (verdict, &request) {
            (Verdict::Allow, _) => return self.grant_here(now, request, asked, ticket),
            // It stands by here for the publisher of the other server.
            (Verdict::Origin { .. }, Request::Publish { application, by_pass: None, .. })
                if application.config.conflict == Conflict::Backup =>
            {
                return self.grant_here(now, request, asked, ticket);
            }
            // The server that has it is nothing for clients; the log of this server has it.
            (Verdict::Origin { .. }, Request::Publish { key, .. }) => {
                let name = key.stream();
                Rejection::stream_in_use(name).because(Refusal::NameElsewhere(name.to_owned()))
            }
            (Verdict::Unanswered(words), _) => request.refusal(Refusal::NoDirectory(words.clone())),
            _ => request.refusal(Refusal::NoDirectory(location::ClaimError::NoAnswer.to_string())),
        };
        self.refuse(request, asked, &rejection);
    }

    /// The server drains: a client that waits for the directory gets no name here any more.
    pub(super) fn withdraw_claim(&mut self) {
        let claims = |pending: &mut Box<Pending>| matches!(pending.stage, Stage::Directory { .. });
        if self.session.is_closing() {
            return;
        }
        if let Some(pending) = self.pending.take_if(claims) {
            let Pending { stage, request, ticket, .. } = *pending;
            drop(ticket);
            let rejection = request.refusal(Refusal::Draining);
            self.refuse(request, matches!(stage, Stage::Directory { asked: true }), &rejection);
        }
    }
}

/// Nothing will answer: the server ends, or its edge has no origins any more.
pub(super) fn not_asked() -> Refusal {
    Refusal::OriginDenied("no origin can be asked at present".to_owned())
}

/// The refusal of an origin, with its status code where clients of this server may get that code, and with its words.
pub(super) fn refused_by_origin(request: &Request, code: &str, words: String) -> Rejection {
    let refusal = |words: String| request.refusal(Refusal::OriginDenied(words));
    match (request, code) {
        (Request::Publish { .. }, "NetStream.Publish.BadName") => {
            Rejection::bad_publish_name(words.clone()).because(Refusal::OriginDenied(words))
        }
        (Request::Play { .. }, "NetStream.Play.StreamNotFound") => {
            Rejection::bad_play_name(words.clone()).because(Refusal::OriginDenied(words))
        }
        (_, "" | "NetStream.Publish.Denied" | "NetStream.Play.Failed" | "NetConnection.Connect.Rejected") => {
            refusal(words)
        }
        (_, code) => refusal(format!("{code}: {words}")),
    }
}
