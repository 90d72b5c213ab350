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
}

impl Goals {
    pub(super) fn new(targets: Vec<PushTarget>) -> Self {
        let new = |target| Goal { target, failures: 0, steps: 0, retry: None };
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

    /// It has failed. `pause` gets the number of failures since it was stable. Returns the number of failures in a row.
    pub(super) fn failed(&mut self, now: Instant, at: usize, pause: impl FnOnce(u32) -> Duration) -> u32 {
        let Some(goal) = self.0.get_mut(at) else {
            return 0;
        };
        goal.failures = goal.failures.saturating_add(1);
        goal.steps = goal.steps.saturating_add(1);
        goal.retry = Some(now + pause(goal.steps));
        goal.failures
    }

    /// It has ended the connection in good order: it is tried again after this pause, and that is no failure.
    pub(super) fn moved(&mut self, now: Instant, at: usize, pause: Duration) {
        if let Some(goal) = self.0.get_mut(at) {
            (goal.failures, goal.retry) = (0, (!pause.is_zero()).then(|| now + pause));
        }
    }

    /// The first that may be tried now; one that is known to be down only if there is no other.
    pub(super) fn next(
        &self,
        now: Instant,
        is_tried: impl Fn(usize) -> bool,
        is_down: impl Fn(&PushTarget) -> bool,
    ) -> Option<(usize, &PushTarget)> {
        let may = |(at, goal): &(usize, &Goal)| !is_tried(*at) && goal.retry.is_none_or(|retry| retry <= now);
        let free = || self.0.iter().enumerate().filter(may);
        let next = free().find(|(_, goal)| !is_down(&goal.target)).or_else(|| free().next());
        next.map(|(at, goal)| (at, &goal.target))
    }

    /// When one of those that are not tried may be tried: `Some(None)` for now, `None` if all are tried.
    pub(super) fn next_of(&self, is_tried: impl Fn(usize) -> bool) -> Option<Option<Instant>> {
        self.0.iter().enumerate().filter(|(at, _)| !is_tried(*at)).map(|(_, goal)| goal.retry).min()
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
