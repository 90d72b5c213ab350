use std::net::SocketAddr;
use std::time::Instant;

use super::record::{Call, DecisionKind, Returned, Step};
use super::{Recorder, Replayer};
use crate::hub::Pulled;
use crate::session::{Outbound, Rejection};
use crate::source::Frame;
use crate::url::StreamKey;

/// Part of a connection that is recorded or replayed. The connection passes each decision to it: a recorder records the
/// decision, a replayer replaces it with the recorded one.
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

    /// `poll` returns. `returned` is only called for a recorder.
    pub(crate) fn returned(&mut self, now: Instant, returned: impl FnOnce() -> Returned) {
        if let Capturing::Record(recorder) = self {
            recorder.returned(now, &returned());
        }
    }

    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Capturing::Replay(_))
    }

    /// True if the recorder's tap takes no more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Capturing::Record(recorder) if recorder.is_over())
    }

    /// The client names a stream that it wants to publish or play.
    pub(crate) fn names(&mut self, key: &StreamKey, publishes: bool) {
        if let Capturing::Record(recorder) = self {
            recorder.names(key, publishes);
        }
    }

    /// A trusted proxy gave the client's address.
    pub(crate) fn client_address(&mut self, address: SocketAddr) {
        if let Capturing::Record(recorder) = self {
            recorder.client_address(address);
        }
    }

    /// `poll` is about to return: this was queued for the client.
    pub(crate) fn pushed(&mut self, now: Instant, outbound: &mut Outbound) {
        if let Capturing::Record(recorder) = self {
            recorder.pushed(now, outbound);
        }
    }

    /// A request is granted or refused. For a replayer, returns the recorded rejection, which replaces the present
    /// decision.
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

    /// The same at a step without its own number; only refusals are recorded.
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

    /// Whether another publisher has taken over, as recorded if this is a replay. So are the following decisions.
    pub(crate) fn superseded(&mut self, now: Instant, superseded: bool) -> bool {
        self.yes_or_no(now, superseded, &DecisionKind::Superseded)
    }

    /// Whether a publisher has had no players for too long.
    pub(crate) fn idle(&mut self, now: Instant, idle: bool) -> bool {
        self.yes_or_no(now, idle, &DecisionKind::Idle)
    }

    /// Whether the stream that a paused player waits for has no publisher.
    pub(crate) fn absent(&mut self, now: Instant, absent: bool) -> bool {
        self.yes_or_no(now, absent, &DecisionKind::Absent)
    }

    /// Whether no origin has the stream that a player waits for. Older captures do not have this decision: as with
    /// [`ruled_besides`](Self::ruled_besides), a capture has it only if the answer is yes.
    pub(crate) fn absent_at_origins(&mut self, now: Instant, absent: bool) -> bool {
        match self {
            Capturing::Record(recorder) => {
                if absent {
                    recorder.decided(now, DecisionKind::Absent);
                }
                absent
            }
            Capturing::Replay(replayer) => replayer.is_absent_here(),
        }
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

    /// For a replay: whether a player that got a message about its stream's end finds the stream published again.
    pub(crate) fn recorded_live(&self) -> Option<bool> {
        match self {
            Capturing::Record(_) => None,
            Capturing::Replay(replayer) => Some(replayer.is_live()),
        }
    }

    /// A player takes new frames from its stream.
    pub(crate) fn pull(
        &mut self,
        now: Instant,
        message_stream_id: u32,
        live: bool,
        sink: impl FnMut(&Frame) -> bool,
        pull: impl FnOnce(&mut dyn FnMut(&Frame) -> bool) -> Pulled,
    ) -> Pulled {
        match self {
            Capturing::Record(recorder) => recorder.pull(now, message_stream_id, live, sink, pull),
            Capturing::Replay(replayer) => replayer.pull(message_stream_id, sink),
        }
    }
}
