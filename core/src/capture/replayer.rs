use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::record::{Decision, DecisionKind, Ending, Pull, Step};
use crate::hub::{PullEnd, Pulled};
use crate::session::Rejection;
use crate::source::{Frame, Gap};

/// Makes a connection decide as it did when it was recorded. Holds the decisions and pulls of one call, the one that is
/// replayed now.
#[derive(Debug, Default)]
pub(crate) struct Replayer {
    start: Option<Instant>,
    points: u64,
    decisions: VecDeque<Decision>,
    pulls: VecDeque<Pull>,
}

impl Replayer {
    /// Moves to the next call.
    pub(crate) fn turn(&mut self, start: Instant, decisions: VecDeque<Decision>, pulls: VecDeque<Pull>) {
        *self = Replayer { start: Some(start), points: self.points, decisions, pulls };
    }

    /// The recorded decision at the next point, if there is one.
    pub(super) fn decision(&mut self) -> Option<DecisionKind> {
        self.points += 1;
        while self.decisions.front().is_some_and(|next| next.point < self.points) {
            self.decisions.pop_front();
        }
        let here = self.decisions.front().is_some_and(|next| next.point == self.points);
        if here { self.decisions.pop_front().map(|decision| decision.kind) } else { None }
    }

    /// The recorded refusal between the last point and the next, if it was at this step.
    pub(super) fn refusal_at(&mut self, step: Step) -> Option<Rejection> {
        let here = |decision: &&Decision| {
            decision.point == self.points && matches!(decision.kind, DecisionKind::RefusedAt(at, _) if at == step)
        };
        self.decisions.front().filter(here)?;
        match self.decisions.pop_front()?.kind {
            DecisionKind::RefusedAt(_, rejection) => Some(rejection),
            _ => None,
        }
    }

    /// Whether the decision between the last point and the next is that the stream is absent.
    pub(super) fn is_absent_here(&mut self) -> bool {
        let here = |decision: &&Decision| decision.point == self.points && decision.kind == DecisionKind::Absent;
        let is_absent = self.decisions.front().filter(here).is_some();
        if is_absent {
            self.decisions.pop_front();
        }
        is_absent
    }

    pub(super) fn pull(&mut self, message_stream_id: u32, mut sink: impl FnMut(&Frame) -> bool) -> Pulled {
        let here = self.pulls.front().is_some_and(|pull| pull.message_stream_id == message_stream_id);
        let Some(pull) = (if here { self.pulls.pop_front() } else { None }) else {
            return Pulled { missed: Gap::default(), end: PullEnd::Pending };
        };
        for frame in &pull.frames {
            sink(&frame.encode());
        }
        let at = |time: Duration| self.start.and_then(|start| start.checked_add(time));
        let end = match pull.pulled {
            Ending::Full => PullEnd::Full,
            Ending::Pending => PullEnd::Pending,
            Ending::Ended(time) => PullEnd::Ended(time.and_then(at)),
        };
        Pulled { missed: pull.gap, end }
    }

    /// Whether the stream had a publisher at the next recorded pull.
    pub(super) fn is_live(&self) -> bool {
        self.pulls.front().is_some_and(|pull| pull.live)
    }
}
