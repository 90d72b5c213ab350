use std::time::{Duration, Instant};

use super::PushTarget;
use crate::client::Destination;

/// The servers that a relay may use, in the order in which they are tried, each with its own backoff.
#[derive(Debug)]
pub(super) struct Goals(Vec<Goal>);

#[derive(Debug)]
struct Goal {
    target: PushTarget,
    /// How many attempts in a row have failed.
    failures: u32,
    /// How many failed or ended too soon since it was stable: the pauses grow with that.
    steps: u32,
    /// When it may be tried again.
    retry: Option<Instant>,
    /// How many addresses its name had at the last look-up: each is a server that may have the stream.
    addresses: usize,
    /// How many attempts have begun: each begins with another address.
    begun: usize,
}

impl Goals {
    pub(super) fn new(targets: Vec<PushTarget>) -> Self {
        let new = |target| Goal { target, failures: 0, steps: 0, retry: None, addresses: 1, begun: 0 };
        Goals(targets.into_iter().map(new).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&PushTarget> {
        self.0.first().map(|goal| &goal.target)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &PushTarget> {
        self.0.iter().map(|goal| &goal.target)
    }

    /// True if the servers are those of these targets.
    pub(super) fn has_same_servers(&self, targets: &[PushTarget]) -> bool {
        let same = |(goal, target): (&Goal, &PushTarget)| goal.target.is_at(target.destination());
        self.0.len() == targets.len() && self.0.iter().zip(targets).all(same)
    }

    /// True if one of the servers is that of the destination.
    pub(super) fn has_server_of(&self, destination: &Destination) -> bool {
        self.targets().any(|target| target.is_at(destination))
    }

    /// The same servers with other parameters: nothing is known of how they take these.
    pub(super) fn replace(&mut self, targets: Vec<PushTarget>) {
        for (goal, target) in self.0.iter_mut().zip(targets) {
            (goal.target, goal.failures, goal.retry) = (target, 0, None);
        }
    }

    /// The same servers with parameters that they have had before: the pauses after failures stay.
    pub(super) fn show(&mut self, targets: Vec<PushTarget>) {
        for (goal, target) in self.0.iter_mut().zip(targets) {
            goal.target = target;
        }
    }

    /// All may be tried at once, and the pauses begin with the shortest.
    pub(super) fn forget_failures(&mut self) {
        for goal in &mut self.0 {
            (goal.failures, goal.steps, goal.retry) = (0, 0, None);
        }
    }

    /// None is tried before this time.
    pub(super) fn wait_until(&mut self, time: Instant) {
        for goal in &mut self.0 {
            goal.retry = Some(time);
        }
    }

    /// It has become live.
    pub(super) fn succeeded(&mut self, at: usize) {
        if let Some(goal) = self.0.get_mut(at) {
            goal.failures = 0;
        }
    }

    /// It has failed, by one address of its name or by all. `pause` gets the number of failures since it was stable. Returns
    /// the number of failures in a row.
    pub(super) fn failed(&mut self, now: Instant, at: usize, by_all: bool, pause: impl FnOnce(u32) -> Duration) -> u32 {
        let Some(goal) = self.0.get_mut(at) else {
            return 0;
        };
        goal.failures = goal.failures.saturating_add(1);
        goal.steps = goal.steps.saturating_add(1);
        // The other addresses of its name are tried first.
        let rounds = u32::try_from(goal.addresses.max(1)).unwrap_or(u32::MAX);
        if by_all {
            goal.steps = goal.steps.checked_next_multiple_of(rounds).unwrap_or(goal.steps);
        }
        let pause = pause(goal.steps.div_ceil(rounds));
        goal.retry = goal.steps.is_multiple_of(rounds).then(|| now + pause);
        goal.failures
    }

    /// It has ended the connection in good order: it is tried again after this pause, and that is no failure.
    pub(super) fn moved(&mut self, now: Instant, at: usize, pause: Duration) {
        if let Some(goal) = self.0.get_mut(at) {
            (goal.failures, goal.retry) = (0, (!pause.is_zero()).then(|| now + pause));
        }
    }

    /// The look-up of its name is over.
    pub(super) fn has_addresses(&mut self, at: usize, count: usize) {
        if let Some(goal) = self.0.get_mut(at) {
            goal.addresses = count.max(1);
        }
    }

    /// An attempt begins. Returns how many have begun before.
    pub(super) fn begins(&mut self, at: usize) -> usize {
        let Some(goal) = self.0.get_mut(at) else {
            return 0;
        };
        goal.begun = goal.begun.wrapping_add(1);
        goal.begun - 1
    }

    /// The first that may be tried now; one that is known to be down only if there is no other.
    pub(super) fn next(
        &self,
        now: Instant,
        tries: impl Fn(usize) -> usize,
        is_down: impl Fn(&PushTarget) -> bool,
    ) -> Option<(usize, &PushTarget)> {
        let may =
            |(at, goal): &(usize, &Goal)| tries(*at) < goal.addresses && goal.retry.is_none_or(|retry| retry <= now);
        let free = || self.0.iter().enumerate().filter(may);
        let next = free().find(|(_, goal)| !is_down(&goal.target)).or_else(|| free().next());
        next.map(|(at, goal)| (at, &goal.target))
    }

    /// When one of those that are not tried may be tried: `Some(None)` for now, `None` if all are tried.
    pub(super) fn next_of(&self, tries: impl Fn(usize) -> usize) -> Option<Option<Instant>> {
        self.0.iter().enumerate().filter(|(at, goal)| tries(*at) < goal.addresses).map(|(_, goal)| goal.retry).min()
    }

    /// When the first retry is due.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.0.iter().filter_map(|goal| goal.retry).min()
    }

    /// How many attempts in a row have failed at most.
    pub(super) fn failures(&self) -> u32 {
        self.0.iter().map(|goal| goal.failures).max().unwrap_or(0)
    }
}
