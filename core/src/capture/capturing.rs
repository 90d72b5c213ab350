use std::time::Instant;

use super::record::{Call, DecisionKind, Returned, Step};
use super::{Recorder, Replayer};
use crate::hub::Pulled;
use crate::session::{Outbound, Rejection};
use crate::source::Frame;

/// What a connection has that is recorded or replayed: it is told of each decision, and writes it down or overrules it.
#[derive(Debug)]
pub(crate) enum Capturing {
    Record(Recorder),
    Replay(Replayer),
}

impl Capturing {
    pub(crate) fn called(&mut self, now: Instant, outbound: &Outbound, call: &Call<'_>) {
        if let Capturing::Record(recorder) = self {
            recorder.called(now, outbound, call);
        }
    }

    /// `poll` returns; what is asked for only where it is recorded.
    pub(crate) fn returned(&mut self, now: Instant, returned: impl FnOnce() -> Returned) {
        if let Capturing::Record(recorder) = self {
            recorder.returned(now, &returned());
        }
    }

    /// A request was granted or refused here; the rejection it had when it was recorded, whatever would be said now.
    pub(crate) fn ruled(&mut self, now: Instant, refused: Option<&Rejection>) -> Option<Rejection> {
        match self {
            Capturing::Record(recorder) => {
                recorder.points += 1;
                let refused = refused.cloned();
                recorder.decided(now, refused.map_or(DecisionKind::Granted, DecisionKind::Refused));
                None
            }
            Capturing::Replay(replayer) => match replayer.decision() {
                Some(DecisionKind::Refused(rejection)) => Some(rejection),
                _ => None,
            },
        }
    }

    /// The same at a step that has no number of its own; only refusals are noted.
    pub(crate) fn ruled_besides(&mut self, now: Instant, step: Step, refused: Option<&Rejection>) -> Option<Rejection> {
        match (self, refused) {
            (Capturing::Record(recorder), Some(rejection)) => {
                recorder.decided(now, DecisionKind::RefusedAt(step, rejection.clone()));
                None
            }
            (Capturing::Record(_), None) => None,
            (Capturing::Replay(replayer), _) => replayer.refusal_at(step),
        }
    }

    /// Whether another publisher has taken over.
    pub(crate) fn superseded(&mut self, now: Instant, superseded: bool) -> bool {
        self.yes_or_no(now, superseded, &DecisionKind::Superseded)
    }

    /// Whether a publisher has been alone for too long.
    pub(crate) fn idle(&mut self, now: Instant, idle: bool) -> bool {
        self.yes_or_no(now, idle, &DecisionKind::Idle)
    }

    /// Whether there is no publisher of what a paused player waits for.
    pub(crate) fn absent(&mut self, now: Instant, absent: bool) -> bool {
        self.yes_or_no(now, absent, &DecisionKind::Absent)
    }

    fn yes_or_no(&mut self, now: Instant, yes: bool, kind: &DecisionKind) -> bool {
        match self {
            Capturing::Record(recorder) => {
                recorder.points += 1;
                if yes {
                    recorder.decided(now, kind.clone());
                }
                yes
            }
            Capturing::Replay(replayer) => replayer.decision().as_ref() == Some(kind),
        }
    }

    /// For a replay: whether a player that was told of its stream's end finds it published again.
    pub(crate) fn recorded_live(&self) -> Option<bool> {
        match self {
            Capturing::Record(_) => None,
            Capturing::Replay(replayer) => Some(replayer.is_live()),
        }
    }

    /// A player takes what is new in its stream.
    pub(crate) fn pull(
        &mut self,
        now: Instant,
        stream_id: u32,
        live: bool,
        sink: impl FnMut(&Frame) -> bool,
        pull: impl FnOnce(&mut dyn FnMut(&Frame) -> bool) -> Pulled,
    ) -> Pulled {
        match self {
            Capturing::Record(recorder) => recorder.pull(now, stream_id, live, sink, pull),
            Capturing::Replay(replayer) => replayer.pull(stream_id, sink),
        }
    }
}
