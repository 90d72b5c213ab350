use std::collections::{HashMap, VecDeque};

use super::lookups::LookUps;
use super::recent::Recent;
use super::{AttemptId, Order, RelayId};
use crate::split_mix::split_mix;

/// Where relays leave their orders, what gives them numbers, and what they share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) orders: VecDeque<Order>,
    /// The relay of each look-up and attempt that has not ended.
    pub(super) attempts: HashMap<AttemptId, RelayId>,
    pub(super) recent: Recent,
    look_ups: LookUps,
    last_attempt: u64,
    random: u64,
}

impl Desk {
    pub(super) fn new(seed: u64) -> Self {
        Desk { random: seed, ..Desk::default() }
    }

    pub(super) fn random(&mut self) -> u64 {
        split_mix(&mut self.random)
    }

    pub(super) fn attempt(&mut self, relay: RelayId) -> AttemptId {
        let attempt = self.number();
        self.attempts.insert(attempt, relay);
        attempt
    }

    fn number(&mut self) -> AttemptId {
        self.last_attempt += 1;
        AttemptId(self.last_attempt)
    }

    /// An attempt to connect is not needed any more.
    pub(super) fn abort(&mut self, attempt: AttemptId) {
        self.attempts.remove(&attempt);
        // An order that was not given yet need not be.
        let before = self.orders.len();
        self.orders.retain(|order| !matches!(order, Order::Connect { attempt: ordered, .. } if *ordered == attempt));
        if self.orders.len() == before {
            self.orders.push_back(Order::Abort(attempt));
        }
    }

    /// Looks up a host. The answer comes under the number that is returned.
    pub(super) fn look_up(&mut self, relay: RelayId, host: String, port: u16) -> AttemptId {
        let (attempt, number) = (self.attempt(relay), self.number());
        self.look_ups.want(attempt, number, host, port);
        self.orders.extend(self.look_ups.begin());
        attempt
    }

    /// The answer is not needed any more.
    pub(super) fn leave_look_up(&mut self, attempt: AttemptId, host: &str, port: u16) {
        self.attempts.remove(&attempt);
        self.look_ups.leave(attempt, host, port);
    }

    /// The answer is there: who waited for it. `None` if this is no look-up.
    pub(super) fn looked_up(&mut self, look_up: AttemptId) -> Option<Vec<AttemptId>> {
        let waited = self.look_ups.answered(look_up)?;
        self.orders.extend(self.look_ups.begin());
        Some(waited)
    }
}
