//! What comes from the directory: its connection, replies, notices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    ClaimError, Conflict, Connection, Event, Lease, Located, Location, LostReason, OnLoss, Output, Owner, Reply,
    Request, RequestId, Session, Taking, Timer, located,
};
use crate::time_limit::deadline_after;

/// How soon a name is claimed again whose owner was asked to give it up.
const ASKED_TO_YIELD: Duration = Duration::from_millis(100);

impl Location {
    /// The adapter has opened a connection. Nothing was sent on it before.
    pub fn handle_connected(&mut self, now: Instant) {
        if self.is_connected() {
            return;
        }
        self.connection = Connection::Up;
        self.heard = now;
        self.announce(now);
        // What has ended comes first: a publisher may have come back, and its new claim would meet the old lease.
        for ended in self.leases.take_ended(now) {
            self.ask(now, Request::Release { name: ended.name, session: ended.session });
        }
        // The directory may have lost all its data, so each server says what it has.
        for name in self.leases.names() {
            self.ask_for_lease(now, &name);
        }
        for name in self.cache.waiting() {
            self.ask(now, Request::Find { name });
        }
    }

    /// The connection is lost, or could not be opened.
    pub fn handle_disconnected(&mut self, now: Instant) {
        let failures = match self.connection {
            Connection::Down { .. } => return,
            Connection::Opening { failures, .. } => failures.saturating_add(1),
            Connection::Up => 0,
        };
        let pause = self.config.retry_pause(failures);
        let retry = deadline_after(now, self.jitter(pause));
        self.connection = Connection::Down { retry, failures };
        for request in self.requests.clear() {
            match request {
                Request::Claim { name, .. } | Request::Renew { name, .. } => {
                    if let Some(lease) = self.leases.get_mut(&name) {
                        lease.asked = None;
                    }
                }
                Request::Release { name, session } => {
                    self.leases.end_later(name, session, deadline_after(now, self.config.ttl));
                }
                Request::Find { .. } | Request::Announce => {}
            }
        }
        self.outputs.retain(|output| !matches!(output, Output::Ask(..) | Output::Connect));
        self.timers.retain(|(_, timer)| *timer != Timer::Announce);
    }

    /// A reply of the directory. Replies to requests of a connection that is closed by now are ignored.
    pub fn handle_reply(&mut self, now: Instant, id: RequestId, reply: Reply) {
        if self.requests.is_oldest(id) {
            self.heard = now;
        }
        let Some((sent, request)) = self.requests.take(id) else { return };
        match request {
            Request::Claim { name, session, taking: Taking::NowIfDraining | Taking::AskIfDraining }
                if matches!(reply, Reply::Held(_)) && self.wants_to_take(&name, session) =>
            {
                // A claim that takes the name has come while this one, which does not, was on its way.
                if let Some(lease) = self.leases.get_mut(&name) {
                    lease.asked = None;
                }
                self.ask_for_lease(now, &name);
            }
            Request::Claim { name, session, .. } | Request::Renew { name, session } => {
                self.handle_lease_reply(now, sent, &name, session, reply);
            }
            Request::Find { name } => match reply {
                Reply::Found(owner) => self.found(now, &name, owner),
                _ => self.answer_finds_from_memory(&name),
            },
            Request::Announce => {
                let pause = self.config.ttl / 10 * 3;
                let next = deadline_after(sent, self.jitter(pause)).max(now);
                self.timers.retain(|(_, timer)| *timer != Timer::Announce);
                self.timers.insert((next, Timer::Announce));
            }
            // What is not released ends by itself.
            Request::Release { .. } => {}
        }
    }

    fn handle_lease_reply(&mut self, now: Instant, sent: Instant, name: &Arc<str>, session: Session, reply: Reply) {
        let Some(lease) = self.leases.get_mut(name).filter(|lease| lease.session == session) else {
            // The name was given free while the request was on its way.
            if matches!(reply, Reply::Granted { .. }) {
                self.end_session(now, name, session);
            }
            return;
        };
        lease.asked = None;
        if lease.lost.is_some() {
            // It waits for its publisher to stop.
            return;
        }
        match reply {
            Reply::Granted { fencing } => self.leased(now, sent, name, fencing),
            Reply::Held(owner) => self.held_elsewhere(now, name, owner),
            Reply::Hold(time) => self.on_hold(now, name, time),
            Reply::Found(_) | Reply::Done | Reply::Failed => {
                let pause = self.config.retry_pause(2);
                let pause = self.jitter(pause);
                self.ask_again_at(name, deadline_after(now, pause));
            }
        }
    }

    fn leased(&mut self, now: Instant, sent: Instant, name: &Arc<str>, fencing: u64) {
        let relied = deadline_after(sent, self.config.reliance());
        let strict = self.config.on_loss == OnLoss::Strict;
        let pause = self.config.renewal();
        let next = deadline_after(sent, self.jitter(pause)).max(now);
        self.ask_again_at(name, next);
        let Some(lease) = self.leases.get_mut(name) else { return };
        let before = lease.fencing.replace(fencing);
        let was_granted = lease.is_granted;
        if strict {
            if let Some(at) = lease.expire.take() {
                self.timers.remove(&(at, Timer::Expire(name.clone())));
            }
            if relied <= now && !was_granted {
                // The answer came too late to rely on. The next one, asked for at once, tells.
                return;
            }
            if let Some(lease) = self.leases.get_mut(name) {
                lease.expire = Some(relied);
            }
            self.timers.insert((relied, Timer::Expire(name.clone())));
        }
        if !was_granted {
            self.grant(name, Some(fencing));
        } else if before != Some(fencing) {
            self.event(Event::Registered { name: name.clone(), fencing });
        }
    }

    fn held_elsewhere(&mut self, now: Instant, name: &Arc<str>, owner: Owner) {
        let again = deadline_after(now, ASKED_TO_YIELD);
        // A lease that this server does not know is one of its last run, and ends soon.
        let is_own = owner.node == self.config.node;
        if let Some(lease) = self.leases.get(name)
            && !lease.is_granted
            && (is_own || lease.conflict.takes(owner.fencing) || owner.is_draining)
            && self.config.on_loss == OnLoss::Strict
            && lease.deadline.is_some_and(|deadline| again < deadline)
        {
            return self.ask_again_at(name, again);
        }
        let Some(lease) = self.remove_lease(name) else { return };
        let node = owner.node.clone();
        // Nobody is to pull from itself.
        if !is_own {
            self.cache.put(name, Some(owner), now, deadline_after(now, self.config.found));
        }
        if lease.is_granted {
            self.event(Event::Lost { name: name.clone(), reason: LostReason::Taken(node) });
            self.changed(name);
        } else {
            for claim in lease.claims {
                self.event(Event::Refused { claim, error: ClaimError::Held(node.clone()) });
            }
        }
    }

    fn on_hold(&mut self, now: Instant, name: &Arc<str>, time: Duration) {
        let until = deadline_after(now, time.min(self.config.ttl));
        let pause = self.config.renewal();
        let renewal = deadline_after(now, self.jitter(pause));
        let Some(lease) = self.leases.get(name) else { return };
        let fits = lease.deadline.is_none_or(|deadline| until < deadline);
        if lease.is_granted || fits || self.config.on_loss == OnLoss::Serve {
            // The server that had the name may have said so again meanwhile.
            self.ask_again_at(name, until.min(renewal));
        }
        if !fits {
            self.decide_without_answer(now, name, &ClaimError::Hold);
        }
    }

    fn found(&mut self, now: Instant, name: &Arc<str>, owner: Option<Owner>) {
        // A lease of this server that it does not have is one that it has given up, or one of its last run.
        let owner = owner.filter(|owner| owner.node != self.config.node);
        let time = if owner.is_some() { self.config.found } else { self.config.not_found };
        let older = match &owner {
            Some(owner) => owner.fencing < self.cache.fencing(name),
            None => self.cache.told(name) > 0,
        };
        let answer = if self.leases.is_granted(name) { Located::Here } else { located(owner.clone(), false) };
        // An answer that was overtaken by a notice is given, since it is what there is, but not remembered.
        if !older && (owner.is_some() || self.cache.notes_absence(name)) {
            self.cache.put(name, owner, now, deadline_after(now, time));
        }
        self.answer_finds(name, &answer);
    }

    /// The directory has told all servers that `node` has got the name, or wants it ([`Taking::Ask`](super::Taking)).
    pub fn handle_notice(&mut self, now: Instant, name: &Arc<str>, node: &Arc<str>, fencing: u64) {
        if *node == self.config.node {
            return;
        }
        if let Some(lease) = self.leases.get(name).filter(|lease| lease.is_granted) {
            if self.config.on_loss == OnLoss::Strict && lease.fencing == Some(fencing) {
                self.lose(now, name, LostReason::Taken(node.clone()));
            } else {
                // It may be late. A renewal tells for certain.
                self.ask_for_lease(now, name);
            }
        } else if fencing > self.cache.fencing(name) {
            self.cache.outdate(name, now, fencing);
            self.changed(name);
        }
    }

    fn wants_to_take(&self, name: &str, session: Session) -> bool {
        let is_it = |lease: &&Lease| lease.session == session && !lease.is_granted;
        self.leases.get(name).filter(is_it).is_some_and(|lease| lease.conflict != Conflict::Refuse)
    }

    /// Since when the directory has been silent about a request. Many requests may have been sent at once, and while
    /// replies come in their order, it works.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.requests.oldest().map(|sent| sent.max(self.heard))
    }

    pub(super) fn check_connection(&mut self, now: Instant) {
        let hang = self.config.hang_limit();
        match self.connection {
            Connection::Down { retry, failures } if retry <= now => {
                self.connection = Connection::Opening { since: now, failures };
                self.outputs.push_back(Output::Connect);
            }
            Connection::Opening { since, .. } if deadline_after(since, hang) <= now => self.give_up_connection(now),
            Connection::Up if self.silent_since().is_some_and(|since| deadline_after(since, hang) <= now) => {
                self.give_up_connection(now);
            }
            Connection::Down { .. } | Connection::Opening { .. } | Connection::Up => {}
        }
    }

    fn give_up_connection(&mut self, now: Instant) {
        self.handle_disconnected(now);
        self.outputs.push_front(Output::Disconnect);
    }
}
