//! Peers that ask for another connection, there or at another server.

use std::time::{Duration, Instant};

use super::attempt::Try;
use super::desk::Desk;
use super::directory::NO_GOAL;
use super::goals::Goals;
use super::plan::Plan;
use super::relay::Relay;
use super::state::targets_of;
use super::{AttemptId, Edge, EndedBecause, RelayError, RelayEvent, RelayState};
use crate::client::Destination;

/// A peer that asked for another connection so long ago may do so again without a pause.
const MOVED: Duration = Duration::from_secs(60);

impl Relay {
    /// The peer asks for another connection, there or elsewhere, and serves this one until there is one.
    pub(super) fn leaves(&mut self, now: Instant, attempt: AttemptId, elsewhere: Option<Destination>, desk: &mut Desk) {
        let Some(at) = self.place(attempt).filter(|_| self.ending.is_none()) else {
            return;
        };
        let one = &mut self.tries[at];
        let (goal, target) = (one.goal, one.target.clone());
        let Some(up) = one.up_mut().filter(|up| !up.leaving && !up.goodbye) else {
            return;
        };
        up.leaving = true;
        let asked = self.asked(attempt).cloned();
        self.avoid(asked.as_ref());
        self.goals.forget_failures();
        let pause = self.pause_of_move(now, desk);
        if !pause.is_zero() {
            return self.goals.wait_until(now + pause);
        }
        self.stagger_at = Some(now);
        if let Some(elsewhere) = elsewhere.filter(|elsewhere| self.may_follow(elsewhere)) {
            let target = target.moved_to(elsewhere);
            self.remark(RelayEvent::Redirected { to: target.shown().clone() }, &self.target, desk);
            self.begin_try(now, goal, target, 1, desk);
        }
    }

    /// Clients publish at these origins from now on, or at none. If they are others, the stream goes there once the goodbye
    /// to the one before is over: no two of them may get it.
    pub(super) fn publish_at(&mut self, now: Instant, edge: Option<&Edge>, desk: &mut Desk) {
        let Plan::Upward(claims) = &mut self.plan else {
            return;
        };
        let Some(edge) = edge else {
            claims.refuse("the origins are not in the configuration any more", desk);
            return self.end(now, EndedBecause::Removed, desk);
        };
        let targets = targets_of(edge, &self.key, Some(&*claims.facts));
        if self.goals.has_same_servers(&targets) {
            return;
        }
        claims.begin_keep(now, edge.keep);
        self.tries.retain_mut(|one| {
            one.goal = NO_GOAL;
            !one.end(desk)
        });
        self.goals = Goals::new(targets);
        self.stagger_at = None;
        self.phase_began = None;
        self.set_state(now, RelayState::Connecting);
    }

    /// True if the configuration names the server for this stream, and for what the relay does.
    pub(super) fn may_follow(&self, destination: &Destination) -> bool {
        let rules = &self.rules;
        self.goals.has_server_of(destination)
            || match self.plan {
                Plan::Push { .. } => {
                    rules.forward.iter().any(|forward| forward.takes(&self.key) && forward.to.is_at(destination))
                }
                _ => rules.edge.iter().flat_map(|edge| &edge.origins).any(|origin| origin.has(destination)),
            }
    }

    /// The peer has sent it to another server: only one that the configuration names is used.
    pub(super) fn redirected(&mut self, now: Instant, one: &Try, destination: Destination, desk: &mut Desk) {
        let error = |words: String| RelayError { name: "redirect", code: String::new(), words, is_lasting: true };
        let target = one.target.moved_to(destination);
        if !self.may_follow(target.destination()) {
            let words = format!("it was sent to {}, which is not in the configuration", target.shown());
            return self.try_failed(now, one, error(words), None, desk);
        }
        // One that was live there is sent for the first time.
        let before = if one.up().is_some_and(|up| up.was_live) { 0 } else { one.redirects };
        if before >= self.times.redirects {
            let words = format!("it was sent to another server {} times", u32::from(before) + 1);
            return self.try_failed(now, one, error(words), None, desk);
        }
        self.remark(RelayEvent::Redirected { to: target.shown().clone() }, one.target.shown(), desk);
        self.begin_try(now, one.goal, target, before + 1, desk);
    }

    /// A peer asks for another connection: how long to wait before that. One that asks again and again waits for longer
    /// and longer.
    pub(super) fn pause_of_move(&mut self, now: Instant, desk: &mut Desk) -> Duration {
        let (count, last) = self.moves;
        let count = if last.is_some_and(|last| now.saturating_duration_since(last) < MOVED) { count } else { 0 };
        self.moves = (count.saturating_add(1), Some(now));
        if count == 0 { Duration::ZERO } else { self.times.backoff.pause(count, false, desk.random()) }
    }
}
