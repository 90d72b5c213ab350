use std::time::{Instant, SystemTime};

use anabranch_core::url::StreamKey;

use super::plan::{Plan, State, Task};

/// One program at one moment.
#[derive(Debug, Clone)]
pub(crate) struct RunSnapshot {
    pub(crate) id: u64,
    /// Its name.
    pub(crate) label: String,
    /// The program, without arguments: they may have secrets.
    pub(crate) program: String,
    pub(crate) key: StreamKey,
    /// The connection that publishes the stream; 0 if the program around the server does.
    pub(crate) connection: u64,
    pub(crate) state: &'static str,
    /// Why it waits.
    pub(crate) why: &'static str,
    pub(crate) pid: Option<u32>,
    /// Since when it runs.
    pub(crate) since: Option<SystemTime>,
    /// When it is started at the earliest, if it waits for a time.
    pub(crate) again: Option<SystemTime>,
    pub(crate) starts: u64,
    /// How it ended last: the result's name, and words.
    pub(crate) last: Option<(&'static str, String)>,
}

impl RunSnapshot {
    pub(super) fn of(id: u64, task: &Task, now: Instant, time: SystemTime) -> Self {
        let past = |at: Instant| time.checked_sub(now.saturating_duration_since(at)).unwrap_or(time);
        let future = |at: Instant| time.checked_add(at.saturating_duration_since(now)).unwrap_or(time);
        let (state, pid, since) = match task.state {
            State::Waiting { .. } => ("waiting", None, None),
            State::Starting => ("starting", None, None),
            State::Running { since, pid } => ("running", Some(pid), Some(past(since))),
            State::Ending { since, pid, .. } => ("ending", Some(pid), Some(past(since))),
            State::Over => ("over", None, None),
        };
        let (why, again) = match task.state {
            State::Waiting { at, why } => (why.name(), (at > now).then(|| future(at))),
            _ => ("", None),
        };
        RunSnapshot {
            id,
            label: task.settings.label(),
            program: task.settings.program(),
            key: task.facts.key.clone(),
            connection: task.facts.connection,
            state,
            why,
            pid,
            since,
            again,
            starts: task.starts,
            last: task.last.as_ref().map(|(outcome, words)| (outcome.name(), words.clone())),
        }
    }
}

/// Counts of all programs so far.
#[derive(Debug, Clone)]
pub(crate) struct RunCounts {
    /// Programs that have a process.
    pub(crate) running: usize,
    /// Programs that wait to be started.
    pub(crate) waiting: usize,
    pub(crate) starts: u64,
    pub(crate) restarts: u64,
    /// By result.
    pub(crate) exits: Vec<(&'static str, u64)>,
}

impl RunCounts {
    pub(super) fn of(plan: &Plan) -> Self {
        RunCounts {
            running: plan.running(),
            waiting: plan.waiting(),
            starts: plan.starts,
            restarts: plan.restarts,
            exits: plan.outcomes().map(|(outcome, count)| (outcome.name(), count)).collect(),
        }
    }
}
