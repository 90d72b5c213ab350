use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::{Order, RelayError};
use crate::hub::RelayFacts;
use crate::policy::{AskId, Verdict};
use crate::session::CloseReason;
use crate::time_limit::TimeLimit;

/// The clients that publish a stream at an edge, or want to, with the same parameters. What an origin has granted to one
/// of them is granted to all; which one gets the name here is decided here.
#[derive(Debug)]
pub(super) struct Claims {
    /// What the origin is shown.
    pub(super) facts: Arc<RelayFacts>,
    all: Vec<Claim>,
    /// What an origin said that refused, in case that no other one grants it.
    refusal: Option<RelayError>,
    /// Until when the publisher is kept without an origin, while there is none.
    keep: Option<TimeLimit>,
}

#[derive(Debug)]
struct Claim {
    connection: u64,
    ask: AskId,
    /// Until when the origin may answer. `None` once it has.
    answer: Option<TimeLimit>,
    /// True once it has had the name here.
    publishes: bool,
}

impl Claims {
    pub(super) fn new(facts: RelayFacts) -> Self {
        Claims { facts: Arc::new(facts), all: Vec::new(), refusal: None, keep: None }
    }

    /// A client asks.
    pub(super) fn add(&mut self, connection: u64, ask: AskId, limit: TimeLimit) {
        self.all.push(Claim { connection, ask, answer: Some(limit), publishes: false });
    }

    /// The client that has asked this has gone, or does not get the name here. Returns true if no other one is left.
    pub(super) fn remove(&mut self, ask: AskId) -> bool {
        self.all.retain(|claim| claim.ask != ask);
        self.all.is_empty()
    }

    /// The client of this connection has the name here. Returns true if it is one of these.
    pub(super) fn published_by(&mut self, connection: u64) -> bool {
        let own = self.all.iter_mut().filter(|claim| claim.connection == connection);
        own.map(|claim| claim.publishes = true).count() > 0
    }

    /// True if all have had the name here, and the client of this connection, which has it now, is none of them.
    pub(super) fn is_superseded_by(&self, connection: u64) -> bool {
        self.all.iter().all(|claim| claim.publishes && claim.connection != connection)
    }

    /// True if a client waits for the answer.
    pub(super) fn is_asking(&self) -> bool {
        self.all.iter().any(|claim| claim.answer.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn granted(&mut self, desk: &mut Desk) {
        (self.refusal, self.keep) = (None, None);
        for claim in &mut self.all {
            if claim.answer.take().is_some() {
                let (connection, ask, verdict) = (claim.connection, claim.ask, Verdict::Allow);
                desk.orders.push_back(Order::Answer { connection, ask, verdict });
            }
        }
    }

    /// An origin has refused, and another one may not.
    pub(super) fn note_refusal(&mut self, error: &RelayError) {
        self.refusal = Some(error.clone());
    }

    pub(super) fn has_refusal(&self) -> bool {
        self.refusal.is_some()
    }

    /// True if the refusal says that the name has a publisher.
    pub(super) fn is_taken(&self) -> bool {
        self.refusal.as_ref().is_some_and(|error| error.code.ends_with("BadName"))
    }

    /// Those that wait are refused: in the words of an origin that has refused, or in these.
    pub(super) fn refuse(&mut self, words: &str, desk: &mut Desk) {
        let verdict = self.verdict(words);
        self.all.retain(|claim| claim.answer.is_none() || claim.is_refused(&verdict, desk));
    }

    /// Refuses those that have waited for too long. Returns false if none of them was.
    pub(super) fn expire(&mut self, now: Instant, words: &str, desk: &mut Desk) -> bool {
        let (verdict, before) = (self.verdict(words), self.all.len());
        self.all.retain_mut(|claim| {
            let is_over = claim.answer.as_mut().is_some_and(|limit| limit.is_over(now));
            !is_over || claim.is_refused(&verdict, desk)
        });
        self.all.len() < before
    }

    fn verdict(&self, words: &str) -> Verdict {
        match &self.refusal {
            Some(error) => Verdict::Origin { code: error.code.clone(), words: error.words.clone() },
            None => Verdict::Origin { code: String::new(), words: words.to_owned() },
        }
    }

    /// The origin is lost: those that publish are kept for this time.
    pub(super) fn begin_keep(&mut self, now: Instant, time: Duration) {
        if !self.is_asking() && self.keep.is_none() {
            self.keep = Some(TimeLimit::new(now, time));
        }
    }

    /// True if they were kept for too long: they are closed.
    pub(super) fn is_given_up(&mut self, now: Instant, desk: &mut Desk) -> bool {
        let is_over = self.keep.as_mut().is_some_and(|limit| limit.is_over(now));
        if is_over {
            let connections = self.all.iter().filter(|claim| claim.answer.is_none()).map(|claim| claim.connection);
            desk.orders
                .extend(connections.map(|connection| Order::Close { connection, reason: CloseReason::OriginLost }));
        }
        is_over
    }

    /// When to look again.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let answers = self.all.iter().filter_map(|claim| claim.answer.as_ref());
        answers.chain(&self.keep).map(TimeLimit::next_check).min()
    }
}

impl Claim {
    /// Always false.
    fn is_refused(&self, verdict: &Verdict, desk: &mut Desk) -> bool {
        let (connection, ask, verdict) = (self.connection, self.ask, verdict.clone());
        desk.orders.push_back(Order::Answer { connection, ask, verdict });
        false
    }
}
