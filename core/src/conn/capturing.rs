use std::time::Instant;

use thiserror::Error;

use super::publisher::Stopped;
use super::slow_path::SlowPath;
use super::{Action, AskId, Output, Report, Subject};
use crate::capture::{Call, Capturing, Closing, Joined, Opening, Polled, Recorder, Replayer, Returned, Step, Tap};
use crate::session::{Accepts, ChunkStreams, Delivery, Outbound, Phase, Rejection, Tally};
use crate::url::{DEFAULT_VHOST, StreamKey};

/// Why a connection is not captured from its middle on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotCaptured {
    /// It is captured already.
    #[error("the connection is captured already")]
    Already,
    /// It has not finished its handshake, which takes a few seconds at most.
    #[error("the connection is still in its handshake")]
    Handshake,
    /// The server closes it.
    #[error("the connection is being closed")]
    Closing,
    /// It publishes or plays by WebRTC, of which captures have nothing.
    #[error("the client publishes or plays by WebRTC, which is not captured")]
    WebRtc,
    /// It speaks HTTP: such a connection is captured from its beginning or not at all.
    #[error("the connection is by HTTP, which is captured only from its beginning")]
    Web,
}

/// Where a connection depends on more than its input: on other connections, rules and clocks. A recording notes each of
/// these decisions, and a replay applies the noted ones.
impl SlowPath {
    /// A call of the adapter.
    pub(super) fn note(&mut self, now: Instant, call: Call<'_>) {
        if let Some(capturing) = &mut self.capturing {
            capturing.called(now, self.session.outbound(), &call);
        }
    }

    /// Begins to capture in the middle of the connection.
    pub(super) fn capture(&mut self, now: Instant, tap: Box<dyn Tap>) -> Result<(), NotCaptured> {
        if self.capturing.is_some() {
            return Err(NotCaptured::Already);
        }
        let (phase, received, given) = (self.session.phase(), self.session.received(), self.session.waiting());
        let Some(ChunkStreams { input, unread, chunk_size }) = self.session.chunk_streams() else {
            return Err(match phase {
                Phase::Handshake => NotCaptured::Handshake,
                _ if self.session.is_web() && !self.session.is_closing() => match self.session.delivery() {
                    Delivery::WebRtc => NotCaptured::WebRtc,
                    _ => NotCaptured::Web,
                },
                _ => NotCaptured::Closing,
            });
        };
        let joined = Joined {
            opening: Opening {
                connection: self.id,
                seed: [0; 32],
                peer: self.peer(),
                accepts: Accepts::Rtmp,
                unix_time: self.server.knows_time().then(|| self.server.unix_time(now)),
            },
            age: now.saturating_duration_since(self.start),
            phase,
            streams: self.streams().map(|(role, key)| format!("{role} of {key}")).collect(),
            received,
            sent: given.written(),
            waiting: given.len() as u64,
            input,
            chunk_size,
        };
        let recorder = Recorder::join(now, &joined, unread, given, tap);
        self.session.outbound().count_pushed(Tally::new(true));
        self.capturing = Some(Box::new(Capturing::Record(recorder)));
        Ok(())
    }

    /// Drops the capture if its tap takes no more. The connection can then use the fast path again.
    pub(super) fn end_capture_if_over(&mut self) {
        if self.capturing.as_ref().is_some_and(|capturing| capturing.is_over()) {
            self.capturing = None;
            self.session.outbound().stop_counting();
        }
    }

    /// A request was granted or refused.
    pub(super) fn ruled<T>(&mut self, now: Instant, granted: Result<T, Rejection>) -> Result<T, Rejection> {
        let refused = granted.as_ref().err();
        match self.capturing.as_mut().and_then(|capturing| capturing.ruled(now, refused)) {
            Some(rejection) => Err(rejection),
            None => granted,
        }
    }

    /// A request was granted or refused at a step that older captures do not have. A replay finds the decisions of
    /// [`ruled`](Self::ruled) by their order. A capture has only the refusals of this step, with the step's name, so older
    /// captures keep their order.
    pub(super) fn ruled_besides<T>(
        &mut self,
        now: Instant,
        step: Step,
        granted: Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let refused = granted.as_ref().err();
        match self.capturing.as_mut().and_then(|capturing| capturing.ruled_besides(now, step, refused)) {
            Some(rejection) => Err(rejection),
            None => granted,
        }
    }

    /// A message was given to its stream, or its publisher is ignored from now on.
    pub(super) fn pushed(
        &mut self,
        now: Instant,
        message_stream_id: u32,
        pushed: Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let superseded = matches!(pushed, Err(Stopped::Superseded));
        let Some(capturing) = &mut self.capturing else {
            return pushed;
        };
        if !capturing.superseded(now, superseded) || superseded {
            return pushed;
        }
        for publishing in
            self.publishing.iter_mut().filter(|publishing| publishing.message_stream_id() == message_stream_id)
        {
            publishing.stop();
        }
        Err(Stopped::Superseded)
    }

    /// Whether a publisher has had no player for too long.
    pub(super) fn ruled_idle(&mut self, now: Instant, idle: bool) -> bool {
        self.capturing.as_mut().map_or(idle, |capturing| capturing.idle(now, idle))
    }

    /// For a replay: the recorded decisions until the next call.
    pub(crate) fn replayer(&mut self) -> Option<&mut Replayer> {
        match self.capturing.as_deref_mut() {
            Some(Capturing::Replay(replayer)) => Some(replayer),
            _ => None,
        }
    }

    /// The question that waits for its answer.
    pub(crate) fn open_question(&self) -> Option<AskId> {
        self.pending.as_ref().map(|pending| pending.id())
    }
}

/// The output of `poll`, as a capture has it.
pub(crate) fn returned(outbound: &mut Outbound, output: &Output) -> Returned {
    let (queued, hash) = outbound.tally().map_or((0, 0), |tally| (tally.total, tally.hash));
    let what = match output {
        Output::Action(action) => Polled::Action(label(action, in_captures)),
        Output::Wait(wait) => {
            Polled::Wait(u8::from(wait.read.is_some()) | u8::from(wait.write) << 1 | u8::from(wait.source) << 2)
        }
        Output::Closed(report) => Polled::Closed(Box::new(closing(report))),
    };
    Returned { queued, hash, what }
}

fn closing(report: &Report) -> Closing {
    Closing {
        reason: report.close.reason.name().to_owned(),
        phase: report.close.phase.to_string(),
        offset: report.close.offset,
        received: report.received,
        sent: report.sent,
        report: report.to_string(),
    }
}

/// The form that names have in captures since their first version, so that older captures can still be replayed.
fn in_captures(key: &StreamKey) -> String {
    let vhost = if key.vhost() == DEFAULT_VHOST { "" } else { key.vhost() };
    format!("{vhost}/{}/{}", key.app(), key.stream())
}

/// An action in words, for people.
pub(crate) fn in_words(action: &Action) -> String {
    label(action, StreamKey::to_string)
}

/// What an action is, without the numbers that differ between servers.
fn label(action: &Action, name: fn(&StreamKey) -> String) -> String {
    let subject = |subject: &Subject| match subject {
        Subject::Connect => "connect".to_owned(),
        Subject::Publish(facts) => format!("publish of {}", name(&facts.key)),
        Subject::Play(facts) => format!("play of {}", name(&facts.key)),
        Subject::Traverse(facts) => format!("traverse for {}", name(&facts.key)),
    };
    match action {
        Action::Attach(attachment) => format!("attach {} of {}", attachment.role, name(&attachment.key)),
        Action::Detach { role, .. } => format!("detach {role}"),
        Action::Subscribe(_) => "subscribe".to_owned(),
        Action::Unsubscribe(_) => "unsubscribe".to_owned(),
        Action::Ask(ask) => format!("ask {}", subject(&ask.subject)),
        Action::Notify(notice) => format!("tell the end of {}", subject(&notice.subject)),
        Action::Wake(_) => "wake".to_owned(),
        Action::Request(asked) => format!("request {} {}", asked.request.method(), asked.request.target()),
        Action::Finish => "finish".to_owned(),
        Action::Remark(remark) => format!("remark: {remark}"),
    }
}
