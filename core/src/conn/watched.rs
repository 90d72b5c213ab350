use std::time::Instant;

use super::AskId;
use super::publisher::Stopped;
use super::slow_path::SlowPath;
use crate::capture::{Call, Script, Step, Watch};
use crate::session::Rejection;

/// Where a connection depends on more than what it is told: on other connections, rules and clocks. A recording notes
/// how it went there, and a replay makes it go the same way again.
impl SlowPath {
    /// A call from outside.
    pub(super) fn note(&mut self, now: Instant, call: Call<'_>) {
        if let Some(watch) = &mut self.watch {
            watch.called(now, self.session.outbound(), &call);
        }
    }

    /// A request was granted or refused.
    pub(super) fn ruled<T>(&mut self, now: Instant, granted: Result<T, Rejection>) -> Result<T, Rejection> {
        let refused = granted.as_ref().err();
        match self.watch.as_mut().and_then(|watch| watch.ruled(now, refused)) {
            Some(rejection) => Err(rejection),
            None => granted,
        }
    }

    /// A request was refused at a step of which captures from before it was there know nothing: it has no number of its own.
    pub(super) fn ruled_besides<T>(
        &mut self,
        now: Instant,
        step: Step,
        granted: Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let refused = granted.as_ref().err();
        match self.watch.as_mut().and_then(|watch| watch.ruled_besides(now, step, refused)) {
            Some(rejection) => Err(rejection),
            None => granted,
        }
    }

    /// A message was handed to its stream, or its publisher is not heard any more.
    pub(super) fn pushed(&mut self, now: Instant, stream_id: u32, pushed: Result<(), Stopped>) -> Result<(), Stopped> {
        let superseded = matches!(pushed, Err(Stopped::Superseded));
        let Some(watch) = &mut self.watch else {
            return pushed;
        };
        if !watch.superseded(now, superseded) || superseded {
            return pushed;
        }
        for publishing in self.publishing.iter_mut().filter(|publishing| publishing.stream_id() == stream_id) {
            publishing.stop();
        }
        Err(Stopped::Superseded)
    }

    /// Whether a publisher has had no player for too long.
    pub(super) fn ruled_idle(&mut self, now: Instant, idle: bool) -> bool {
        self.watch.as_mut().map_or(idle, |watch| watch.idle(now, idle))
    }

    /// For a replay: what the connection is to go by until the next call.
    pub(crate) fn script(&mut self) -> Option<&mut Script> {
        match self.watch.as_deref_mut() {
            Some(Watch::Replay(script)) => Some(script),
            _ => None,
        }
    }

    /// The question that waits for its answer.
    pub(crate) fn open_question(&self) -> Option<AskId> {
        self.pending.as_ref().map(|pending| pending.id())
    }
}
