use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Control;
use super::plan::{Lost, Refused};
use super::pull::Pull;
use super::push::Push;
use super::relays::Shared;
use super::rules::StreamRules;
use super::{AttemptId, PushTarget, RelayError, RelayId, RelayKind, UplinkAction, UplinkOutput, UplinkReport};
use crate::client::{
    Client, ClientClose, ClientCloseReason, ClientConfig, ClientEvent, ClientOutput, ClientRejection, Destination,
    PlayOptions, StreamHandle,
};
use crate::cluster::Referral;
use crate::command::PublishType;
use crate::endpoint::{Due, DueKind, Outbound, Wait};
use crate::fast_path::{self, Ready};
use crate::hub::StreamId;
use crate::pool::Portion;
use crate::source::{Batch, Form, Place};
use crate::stats::{ConnStats, ConnStatsView};
use crate::time_limit::TimeLimit;
use crate::url::StreamKey;

/// How long a push that ends may take to send what the stream still has.
const FLUSH: Duration = Duration::from_secs(1);

/// A connection of a relay with all that belongs to it: all that calls and polls work on. The calls are those of
/// [`Uplink`](super::Uplink).
// The fields that a batch touches come first.
#[repr(C)]
pub(super) struct SlowPath {
    stats: ConnStats,
    pub(super) id: u64,
    pub(super) facts: Facts,
    pub(super) peer: SocketAddr,
    client: Client,
    stream: Option<StreamHandle>,
    role: Role,
    shared: Arc<Shared>,
    control: Arc<Control>,
    start: Instant,
    /// Its share in the memory for incomplete messages.
    unfinished: Portion,
    actions: VecDeque<UplinkAction>,
    /// What the relay is to know about the end, if it is not in the reason of the close.
    error: Option<RelayError>,
    refused: Option<Refused>,
    redirect: Option<Destination>,
    referral: Option<Referral>,
    reconnect: bool,
    /// Until when what is left of the stream may be sent, once the relay is over.
    flush: Option<TimeLimit>,
    /// True once the adapter was told that nothing more is sent.
    finished: bool,
    /// True once the relay knows of the end.
    reported: bool,
}

enum Role {
    Push(Box<Push>),
    Pull(Box<Pull>),
    /// It only connects.
    Traverse,
}

/// What an uplink is for.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) relay: RelayId,
    pub(super) kind: RelayKind,
    pub(super) attempt: AttemptId,
    pub(super) key: StreamKey,
    pub(super) target: PushTarget,
}

/// All that makes an uplink.
pub(super) struct Made {
    pub(super) id: u64,
    pub(super) facts: Facts,
    pub(super) peer: SocketAddr,
    pub(super) config: ClientConfig,
    pub(super) seed: [u8; 32],
    pub(super) stats: ConnStats,
    pub(super) control: Arc<Control>,
    pub(super) rules: Arc<StreamRules>,
    pub(super) shared: Arc<Shared>,
    pub(super) now: Instant,
}

impl SlowPath {
    pub(super) fn new(made: Made) -> Self {
        let Made { id, facts, peer, mut config, seed, stats, control, rules, shared, now } = made;
        let role = match facts.kind {
            RelayKind::Push | RelayKind::Upward => {
                let push = Push::new(&rules, &facts.key);
                // So that frames go out as they are cut.
                config.chunk_size = push.chunk_size();
                Role::Push(Box::new(push))
            }
            RelayKind::Pull => Role::Pull(Box::new(Pull::new(&rules, id, peer))),
            RelayKind::Traverse => Role::Traverse,
        };
        let unfinished = Portion::of(&shared.unfinished);
        let client = Client::new(Arc::new(config), seed, now);
        SlowPath {
            id,
            facts,
            peer,
            client,
            stream: None,
            role,
            shared,
            control,
            stats,
            unfinished,
            start: now,
            actions: VecDeque::new(),
            error: None,
            refused: None,
            redirect: None,
            referral: None,
            reconnect: false,
            flush: None,
            finished: false,
            reported: false,
        }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn stats(&self) -> ConnStatsView {
        self.stats.view()
    }

    pub(super) fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        self.stats.received(now, bytes.len());
        // The error is in the end that `poll` returns.
        let _ = self.client.handle_input(now, bytes);
        let publishes = matches!(self.role, Role::Pull(_));
        if !self.unfinished.hold(self.client.unfinished_bytes(), publishes) {
            self.fail("memory_short", "the server has no memory left for what the other one sends");
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        if let Role::Pull(pull) = &mut self.role
            && pull.is_silent(now)
        {
            self.fail("silent", "the origin sends nothing any more");
        }
        if self.flush.as_mut().is_some_and(|flush| flush.is_over(now)) {
            self.flush = None;
            self.client.tell_time(now);
            self.end_client();
        }
    }

    pub(super) fn handle_disconnect(&mut self, now: Instant, reason: ClientCloseReason) {
        self.client.handle_disconnect(now, reason);
    }

    pub(super) fn close(&mut self) {
        self.end_client();
    }

    /// What was published is ended so that the target sees it.
    fn end_client(&mut self) {
        match &self.role {
            Role::Push(push) if push.is_live() => self.client.part(),
            _ => self.client.close(),
        }
    }

    pub(super) fn abandon(&mut self) -> Vec<StreamId> {
        self.actions.clear();
        match std::mem::replace(&mut self.role, Role::Traverse) {
            Role::Pull(pull) => pull.stream().into_iter().collect(),
            Role::Push(_) | Role::Traverse => Vec::new(),
        }
    }

    pub(super) fn poll(&mut self, now: Instant) -> UplinkOutput {
        self.client.tell_time(now);
        self.stats.sent_in_all(now, self.client.outbound().written());
        self.check_goodbye(now);
        loop {
            if let Some(action) = self.actions.pop_front() {
                return UplinkOutput::Action(action);
            }
            match self.client.poll_output() {
                ClientOutput::Event(event) => self.react(now, event),
                ClientOutput::Wait(wait) => {
                    let closing = self.client.is_over();
                    let due = if closing { None } else { self.serve(now) };
                    // Media was queued just now: poll once more, so that the timer of the write is set.
                    if self.client.is_parting() && !std::mem::replace(&mut self.finished, true) {
                        return UplinkOutput::Action(UplinkAction::Finish);
                    }
                    let unwatched = !wait.write && self.client.outbound().is_writable();
                    if unwatched || self.client.is_over() != closing || !self.actions.is_empty() {
                        continue;
                    }
                    return UplinkOutput::Wait(self.wait(now, wait, due));
                }
                ClientOutput::Closed(close) => {
                    self.release(now);
                    if self.actions.is_empty() {
                        let report = self.report(now, close);
                        self.report_end(now, &report.close);
                        return UplinkOutput::Closed(report);
                    }
                }
            }
        }
    }

    fn wait(&mut self, now: Instant, mut wait: Wait, due: Option<Due>) -> Wait {
        let flush = self.flush.as_ref().map(|flush| Due::new(flush.next_check(), DueKind::Linger));
        wait.due = Due::first([wait.due, due, flush].into_iter().flatten());
        match &mut self.role {
            Role::Push(push) => {
                wait.source = push.is_live() && !self.client.is_over() && !self.client.outbound().is_out();
            }
            Role::Pull(pull) => {
                if let Some(read) = &mut wait.read {
                    read.from = pull.next_read(now, self.client.received(), &self.shared.sockets);
                }
            }
            Role::Traverse => {}
        }
        wait
    }

    /// The relay wants the end: a push sends what its stream still has, up to a limit.
    fn check_goodbye(&mut self, now: Instant) {
        if !self.control.is_goodbye() || self.client.is_over() || self.flush.is_some() {
            return;
        }
        match &mut self.role {
            Role::Push(push) if push.is_live() => self.flush = Some(TimeLimit::new(now, FLUSH)),
            _ => self.end_client(),
        }
    }

    /// Moves media. Returns what is due next.
    fn serve(&mut self, now: Instant) -> Option<Due> {
        let (facts, shared) = (&self.facts, &self.shared);
        match &mut self.role {
            Role::Push(push) => {
                // What is being written is not known before it is: the same frames would come twice.
                let stream = self.stream.filter(|_| !self.client.outbound().is_out())?;
                let served = push.serve(now, &mut self.client, stream, &mut self.stats);
                if let Some(event) = served.event {
                    let attempt = facts.attempt;
                    shared.report(attempt, |relay, desk| relay.lags(now, attempt, event, desk));
                }
                if let Some(words) = served.refused {
                    self.error = Some(RelayError { name: "codec", code: String::new(), words, is_lasting: true });
                    self.end_client();
                } else if self.flush.is_some() && served.has_all {
                    self.flush = None;
                    self.end_client();
                }
                served.due
            }
            Role::Pull(pull) => {
                if let Some(stream) = pull.take_wake(now) {
                    self.actions.push_back(UplinkAction::Wake(stream));
                }
                pull.due()
            }
            Role::Traverse => None,
        }
    }

    fn react(&mut self, now: Instant, event: ClientEvent) {
        match event {
            ClientEvent::Connected(connected) => {
                let name = self.facts.target.destination().stream().to_owned();
                let asked = match &mut self.role {
                    Role::Push(push) => {
                        if let Some(words) = push.learn(&connected.capabilities) {
                            self.error =
                                Some(RelayError { name: "codec", code: String::new(), words, is_lasting: true });
                            return self.end_client();
                        }
                        self.client.publish(&name, PublishType::Live)
                    }
                    Role::Pull(_) => {
                        let options = PlayOptions { start: -1000.0, buffer: 1000, ..PlayOptions::default() };
                        self.client.play(&name, options)
                    }
                    Role::Traverse => {
                        self.granted(now, String::new());
                        return self.end_client();
                    }
                };
                match asked {
                    Ok(stream) => self.stream = Some(stream),
                    Err(error) => self.fail("not_asked", &error.to_string()),
                }
            }
            ClientEvent::Publishing { .. } => {
                let Role::Push(push) = &mut self.role else {
                    return;
                };
                let left_out = push.left_out();
                self.actions.push_back(UplinkAction::Subscribe(push.begin()));
                self.granted(now, left_out);
            }
            ClientEvent::Playing { .. } => self.granted(now, String::new()),
            ClientEvent::Media { message, .. } => self.media(now, message),
            ClientEvent::Ended { .. } => match &mut self.role {
                Role::Pull(pull) => {
                    if let Some(stream) = pull.end(now) {
                        self.actions.push_back(UplinkAction::Wake(stream));
                        let attempt = self.facts.attempt;
                        self.shared.report(attempt, |relay, desk| relay.fell_silent(now, attempt, desk));
                    }
                }
                _ => self.fail("unpublished", "the target has ended the stream"),
            },
            ClientEvent::Rejected { rejection, .. } => self.rejected(now, &rejection),
            ClientEvent::Unanswered { .. } => self.fail("unanswered", "the server did not answer in time"),
            ClientEvent::ReconnectRequest { tc_url, .. } => {
                let name = self.facts.target.destination().stream();
                let elsewhere = tc_url.and_then(|url| Destination::within(&url, name).ok());
                if let Role::Pull(_) = self.role {
                    // It goes on with this connection until another one has frames.
                    let attempt = self.facts.attempt;
                    self.shared.report(attempt, |relay, desk| relay.leaves(now, attempt, elsewhere, desk));
                } else if self.error.is_none() {
                    (self.redirect, self.reconnect) = (elsewhere, true);
                    self.fail("reconnect", "the server asked for another connection");
                }
            }
            ClientEvent::PublishNotify { .. }
            | ClientEvent::Length { .. }
            | ClientEvent::Status { .. }
            | ClientEvent::Answer { .. }
            | ClientEvent::Call(_) => {}
        }
    }

    fn granted(&mut self, now: Instant, left_out: String) {
        let attempt = self.facts.attempt;
        self.shared.report(attempt, |relay, desk| relay.granted(now, attempt, left_out, desk));
    }

    fn media(&mut self, now: Instant, message: crate::message::Message) {
        let Role::Pull(pull) = &mut self.role else {
            return;
        };
        if self.client.is_over() {
            return;
        }
        if !pull.is_live() {
            let attempt = self.facts.attempt;
            if !self.shared.change(|state| state.first_frame(now, attempt)) {
                return self.end_client();
            }
            match pull.begin(now, &self.facts.key) {
                Ok(stream) => self.actions.push_back(UplinkAction::Wake(stream)),
                Err(error) => return self.fail("busy", &error.to_string()),
            }
        }
        self.stats.received_frames(now, 1);
        if let Err(error) = pull.push(now, message) {
            self.fail("superseded", &error.to_string());
        }
    }

    /// Ends the connection because of this.
    fn fail(&mut self, name: &'static str, words: &str) {
        if self.error.is_none() && !self.client.is_over() {
            self.error = Some(RelayError { name, code: String::new(), words: words.to_owned(), is_lasting: false });
        }
        self.end_client();
    }

    fn rejected(&mut self, now: Instant, rejection: &ClientRejection) {
        let ClientRejection { code, description, redirect } = rejection;
        // What ends the connection first is what counts.
        if self.error.is_none() {
            let name = self.facts.target.destination().stream();
            self.redirect = redirect.as_ref().and_then(|redirect| redirect.destination(name).ok());
            let url = redirect.as_ref().and_then(|redirect| redirect.url.as_deref());
            if let (RelayKind::Pull, Some(url)) = (self.facts.kind, url) {
                self.referral = self.shared.referral(now, &self.facts.key, url);
            }
            let is_absent = code.ends_with("StreamNotFound");
            self.refused = Some(match self.stream {
                None => Refused::Connect,
                Some(_) if is_absent => Refused::Absent,
                Some(_) => Refused::Stream,
            });
            self.error = Some(RelayError {
                name: "rejected",
                code: self.facts.target.hide(code),
                words: self.facts.target.hide(description),
                is_lasting: !is_absent && self.facts.kind != RelayKind::Pull,
            });
        }
        self.end_client();
    }

    /// Releases all that it holds of streams here.
    fn release(&mut self, now: Instant) {
        match &mut self.role {
            Role::Push(push) => {
                if let Some(stream) = push.end() {
                    self.actions.push_back(UplinkAction::Unsubscribe(stream));
                }
            }
            Role::Pull(pull) => {
                if let Some(stream) = pull.end(now) {
                    self.actions.push_back(UplinkAction::Wake(stream));
                }
            }
            Role::Traverse => {}
        }
    }

    fn report_end(&mut self, now: Instant, close: &ClientClose) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        let words = close.reason.to_string();
        let close_error = || RelayError {
            name: close.reason.name(),
            code: String::new(),
            words: self.facts.target.hide(&words),
            is_lasting: false,
        };
        let error = self.error.clone().unwrap_or_else(close_error);
        let (refused, redirect, reconnect) = (self.refused, self.redirect.take(), self.reconnect);
        let lost = Lost { error, refused, redirect, referral: self.referral.take(), reconnect };
        self.shared.lost(now, self.facts.attempt, lost);
    }

    fn report(&mut self, now: Instant, mut close: ClientClose) -> UplinkReport {
        if let ClientCloseReason::Rejected(code) = &mut close.reason {
            *code = self.facts.target.hide(code);
        }
        let Facts { relay, kind, key, target, .. } = self.facts.clone();
        UplinkReport {
            relay,
            kind,
            key,
            target: target.shown().clone(),
            peer: self.peer,
            close,
            error: self.error.clone(),
            received: self.client.received(),
            sent: self.client.outbound().written(),
            duration: now.saturating_duration_since(self.start),
            missed: self.stats.missed(),
            given_up: self.client.given_up(),
        }
    }
}

impl fast_path::SlowPath for SlowPath {
    fn ready(&self, wait: &Wait) -> Option<Ready> {
        let (Role::Push(push), Some(stream)) = (&self.role, self.stream) else {
            return None;
        };
        let goes_on = self.flush.is_none() && !self.control.is_goodbye();
        if !wait.source || wait.read.is_none() || wait.write || !goes_on {
            return None;
        }
        push.ready(&self.client, stream)
    }

    fn batch(&self, form: Form, place: &Place, most: usize) -> Option<Batch> {
        let Role::Push(push) = &self.role else {
            return None;
        };
        push.batch(form, place, most)
    }

    fn pass_to(&mut self, place: Place) {
        if let Role::Push(push) = &mut self.role {
            push.pass_to(place);
        }
    }

    fn pass_late(&mut self, _: u64, from: &Place, place: Place) {
        if let Role::Push(push) = &mut self.role {
            push.pass_late(from, place);
        }
    }

    fn outbound(&mut self) -> &mut Outbound {
        self.client.outbound()
    }

    fn stats(&mut self) -> &mut ConnStats {
        &mut self.stats
    }

    fn wrote_at(&mut self, time: Instant) {
        self.client.tell_time(time.max(self.client.time()));
    }

    fn has_large_queue(&self) -> bool {
        matches!(&self.role, Role::Push(push) if push.is_full())
    }
}

/// An uplink that an adapter drops without its end counts as lost.
impl Drop for SlowPath {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.reported, true) {
            let words = "the connection was dropped".to_owned();
            let error = RelayError { name: "dropped", code: String::new(), words, is_lasting: false };
            let now = self.client.time();
            let lost = Lost { error, refused: None, redirect: None, referral: None, reconnect: false };
            self.shared.lost(now, self.facts.attempt, lost);
        }
    }
}
