use std::time::{Duration, Instant};

use super::Edge;
use super::desk::Desk;
use super::rules::StreamRules;
use super::{Backoff, Order};
use crate::hub::Wanted;
use crate::time_limit::TimeLimit;
use crate::url::StreamKey;

/// So many clients that the origins refuse are followed by the next one at once. Behind them there are pauses, so that
/// clients cannot make an edge flood its origins.
const AT_ONCE: u32 = 64;

/// The clients for which a stream is pulled. The origins are shown the parameters of one of them. If they refuse these,
/// that client alone is told, and the next one's are shown.
#[derive(Debug)]
pub(super) struct Audience {
    /// How long clients wait for the first frame.
    pub(super) wait: TimeLimit,
    /// When the pull ends because there are no clients.
    linger: Option<Instant>,
    /// True once there was a frame.
    pub(super) was_live: bool,
    /// The client whose parameters the origins are shown.
    client: Option<Wanted>,
    /// True if an origin has refused them.
    is_refused: bool,
    /// When the next client's are tried, though not all origins have answered.
    next_at: Option<Instant>,
    /// How many clients were refused.
    refused: u32,
}

/// What follows when the origins refuse a client.
pub(super) enum Next {
    /// The parameters of another client are tried, after this pause.
    Client(Duration),
    /// There is no other, and the same ones are tried again as after other failures.
    Again,
    /// Nothing: all clients were told.
    None,
}

impl Audience {
    pub(super) fn new(now: Instant, edge: &Edge, client: Option<Wanted>) -> Self {
        Audience {
            wait: TimeLimit::new(now, edge.wait),
            linger: None,
            was_live: false,
            client,
            is_refused: false,
            next_at: None,
            refused: 0,
        }
    }

    /// What is known of the client for which the origins are asked.
    pub(super) fn client(&self) -> Option<&Wanted> {
        self.client.as_ref()
    }

    /// There are so many clients now.
    pub(super) fn count(&mut self, now: Instant, clients: usize, linger: Duration) {
        self.linger = if clients > 0 { None } else { Some(self.linger.unwrap_or(now + linger)) };
    }

    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.linger.is_some_and(|end| end <= now)
    }

    /// True if there was no frame for too long.
    pub(super) fn has_waited(&mut self, now: Instant) -> bool {
        !self.was_live && self.wait.is_over(now)
    }

    /// An origin refuses what it was shown. The others have until then to grant it.
    pub(super) fn refused_until(&mut self, time: Instant) {
        if self.client.is_some() {
            self.is_refused = true;
            self.next_at.get_or_insert(time);
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// True if the other origins had enough time.
    pub(super) fn has_refusal_by(&self, now: Instant) -> bool {
        self.next_at.is_some_and(|at| at <= now)
    }

    /// An origin has granted it.
    pub(super) fn granted(&mut self) {
        (self.is_refused, self.next_at, self.refused) = (false, None, 0);
    }

    /// All origins have refused this client, or had the time to.
    pub(super) fn next(&mut self, key: &StreamKey, rules: &StreamRules, backoff: Backoff, desk: &mut Desk) -> Next {
        (self.is_refused, self.next_at) = (false, None);
        let Some(refused) = &self.client else {
            return Next::Again;
        };
        // Players that have had the stream stay: what they showed may have expired since.
        if !self.was_live
            && let Some(stream) = rules.hub.refuse_wanted(key, &refused.facts)
        {
            desk.orders.push_back(Order::Wake(stream));
        }
        let mut next = rules.hub.next_wanted(key, refused.number);
        while let Some(other) = &next
            && other.facts == refused.facts
        {
            next = rules.hub.next_wanted(key, other.number);
        }
        match next {
            Some(next) => {
                self.client = Some(next);
                self.refused = self.refused.saturating_add(1);
                let pauses = self.refused.saturating_sub(AT_ONCE);
                let pause = if pauses == 0 { Duration::ZERO } else { backoff.pause(pauses, false, desk.random()) };
                Next::Client(pause)
            }
            None if !self.was_live => Next::None,
            None => {
                // From the first one on.
                self.client = rules.hub.next_wanted(key, 0).or_else(|| self.client.take());
                Next::Again
            }
        }
    }

    /// When to look again.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let wait = (!self.was_live).then(|| self.wait.next_check());
        wait.into_iter().chain(self.linger).chain(self.next_at).min()
    }
}
