use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::encoding::{Put, zigzag};
use super::record::{
    Call, Closing, Decision, DecisionKind, Ending, Output, Pull, Pulling, Returned, Step, Written, nanoseconds, tag,
};
use super::{Opening, Tap};
use crate::conn::{self, Action, Report, Subject};
use crate::hub::{PullEnd, Pulled};
use crate::session::{Outbound, Rejection};
use crate::source::{Frame, Gap};

/// What goes along with a connection: it writes down what happens, or says what is to happen.
#[derive(Debug)]
pub(crate) enum Watch {
    Record(Recorder),
    Replay(Script),
}

/// Makes records of what happens.
#[derive(Debug)]
pub(crate) struct Recorder {
    tap: Box<dyn Tap>,
    start: Instant,
    /// Nanoseconds from the start to the last record.
    last: i64,
    written: Written,
    /// Places so far at which others had a say.
    points: u64,
    /// Reused.
    payload: Vec<u8>,
    record: Vec<u8>,
}

impl Recorder {
    pub(crate) fn new(start: Instant, opening: &Opening, mut tap: Box<dyn Tap>) -> Self {
        tap.opened(opening);
        let written = Written::default();
        let (payload, record) = (Vec::new(), Vec::new());
        let mut recorder = Recorder { tap, start, last: 0, written, points: 0, payload, record };
        opening.put(&mut recorder.payload);
        recorder.emit(start, tag::OPENING);
        recorder
    }

    /// Hands over what is in `payload` as a record.
    fn emit(&mut self, now: Instant, tag: u8) {
        let at = i64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(i64::MAX);
        self.record.clear();
        self.record.push(tag);
        self.record.number(zigzag(at - self.last));
        self.record.number(self.payload.len() as u64);
        self.record.extend_from_slice(&self.payload);
        self.last = at;
        self.tap.record(&self.record);
        self.payload.clear();
        // A large frame leaves no large buffers behind.
        self.payload.shrink_to(16 << 10);
        self.record.shrink_to(16 << 10);
    }

    fn called(&mut self, now: Instant, outbound: &Outbound, call: &Call<'_>) {
        let start = self.start;
        let since = |at: Instant| at.saturating_duration_since(start);
        let tag = call.put(Written::of(outbound), &mut self.written, since, &mut self.payload);
        self.emit(now, tag);
    }

    fn decided(&mut self, now: Instant, kind: DecisionKind) {
        Decision { point: self.points, kind }.put(&mut self.payload);
        self.emit(now, tag::DECISION);
    }

    fn returned(&mut self, now: Instant, outbound: &mut Outbound, output: &conn::Output) {
        returned(outbound, output).put(&mut self.payload);
        self.emit(now, tag::RETURNED);
    }

    fn pull(
        &mut self,
        now: Instant,
        stream_id: u32,
        live: bool,
        mut sink: impl FnMut(&Frame) -> bool,
        pull: impl FnOnce(&mut dyn FnMut(&Frame) -> bool) -> Pulled,
    ) -> Pulled {
        let mut frames = Vec::new();
        let pulled = pull(&mut |frame| {
            Pulling::put(frame, &mut frames);
            sink(frame)
        });
        let start = self.start;
        let since = |at: Instant| at.saturating_duration_since(start);
        Pull::put(stream_id, live, pulled, since, &mut self.payload);
        self.payload.extend_from_slice(&frames);
        self.emit(now, tag::PULL);
        pulled
    }
}

/// How it went at the call that is to be repeated now.
#[derive(Debug, Default)]
pub(crate) struct Script {
    start: Option<Instant>,
    points: u64,
    decisions: VecDeque<Decision>,
    pulls: VecDeque<Pull>,
}

impl Script {
    /// Goes on to the next call.
    pub(super) fn turn(&mut self, start: Instant, decisions: VecDeque<Decision>, pulls: VecDeque<Pull>) {
        *self = Script { start: Some(start), points: self.points, decisions, pulls };
    }

    /// What was decided at this point.
    fn decision(&mut self) -> Option<DecisionKind> {
        self.points += 1;
        while self.decisions.front().is_some_and(|next| next.point < self.points) {
            self.decisions.pop_front();
        }
        let here = self.decisions.front().is_some_and(|next| next.point == self.points);
        if here { self.decisions.pop_front().map(|decision| decision.kind) } else { None }
    }

    /// The refusal between the last point and the next, if it was at this step.
    fn refusal_at(&mut self, step: Step) -> Option<Rejection> {
        let here = |decision: &&Decision| {
            decision.point == self.points && matches!(decision.kind, DecisionKind::RefusedAt(at, _) if at == step)
        };
        self.decisions.front().filter(here)?;
        match self.decisions.pop_front()?.kind {
            DecisionKind::RefusedAt(_, rejection) => Some(rejection),
            _ => None,
        }
    }

    fn pull(&mut self, stream_id: u32, mut sink: impl FnMut(&Frame) -> bool) -> Pulled {
        let here = self.pulls.front().is_some_and(|pull| pull.stream_id == stream_id);
        let Some(pull) = (if here { self.pulls.pop_front() } else { None }) else {
            return Pulled { missed: Gap::default(), end: PullEnd::Pending };
        };
        for frame in &pull.frames {
            sink(&frame.frame());
        }
        let at = |time: Duration| self.start.and_then(|start| start.checked_add(time));
        let end = match pull.pulled {
            Ending::Full => PullEnd::Full,
            Ending::Pending => PullEnd::Pending,
            Ending::Ended(time) => PullEnd::Ended(time.and_then(at)),
        };
        Pulled { missed: pull.gap, end }
    }
}

impl Watch {
    pub(crate) fn called(&mut self, now: Instant, outbound: &Outbound, call: &Call<'_>) {
        if let Watch::Record(recorder) = self {
            recorder.called(now, outbound, call);
        }
    }

    pub(crate) fn returned(&mut self, now: Instant, outbound: &mut Outbound, output: &conn::Output) {
        if let Watch::Record(recorder) = self {
            recorder.returned(now, outbound, output);
        }
    }

    /// A request was granted or refused here; the rejection it had when it was recorded, whatever would be said now.
    pub(crate) fn ruled(&mut self, now: Instant, refused: Option<&Rejection>) -> Option<Rejection> {
        match self {
            Watch::Record(recorder) => {
                recorder.points += 1;
                let refused = refused.cloned();
                recorder.decided(now, refused.map_or(DecisionKind::Granted, DecisionKind::Refused));
                None
            }
            Watch::Replay(script) => match script.decision() {
                Some(DecisionKind::Refused(rejection)) => Some(rejection),
                _ => None,
            },
        }
    }

    /// The same at a step that has no number of its own; only refusals are noted.
    pub(crate) fn ruled_besides(&mut self, now: Instant, step: Step, refused: Option<&Rejection>) -> Option<Rejection> {
        match (self, refused) {
            (Watch::Record(recorder), Some(rejection)) => {
                recorder.decided(now, DecisionKind::RefusedAt(step, rejection.clone()));
                None
            }
            (Watch::Record(_), None) => None,
            (Watch::Replay(script), _) => script.refusal_at(step),
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
            Watch::Record(recorder) => {
                recorder.points += 1;
                if yes {
                    recorder.decided(now, kind.clone());
                }
                yes
            }
            Watch::Replay(script) => script.decision().as_ref() == Some(kind),
        }
    }

    /// For a replay: whether a player that was told of its stream's end finds it published again.
    pub(crate) fn recorded_live(&self) -> Option<bool> {
        match self {
            Watch::Record(_) => None,
            Watch::Replay(script) => Some(script.pulls.front().is_some_and(|pull| pull.live)),
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
            Watch::Record(recorder) => recorder.pull(now, stream_id, live, sink, pull),
            Watch::Replay(script) => script.pull(stream_id, sink),
        }
    }
}

pub(super) fn returned(outbound: &mut Outbound, output: &conn::Output) -> Returned {
    let (queued, hash) = outbound.tally().map_or((0, 0), |tally| (tally.total, tally.hash));
    let what = match output {
        conn::Output::Action(action) => Output::Action(label(action)),
        conn::Output::Wait(wait) => {
            Output::Wait(u8::from(wait.read) | u8::from(wait.write) << 1 | u8::from(wait.source) << 2)
        }
        conn::Output::Closed(report) => Output::Closed(Box::new(closing(report))),
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

/// What an action is, without the numbers that differ from server to server.
fn label(action: &Action) -> String {
    let subject = |subject: &Subject| match subject {
        Subject::Connect => "connect".to_owned(),
        Subject::Publish(facts) => format!("publish of {}", facts.key),
        Subject::Play(facts) => format!("play of {}", facts.key),
        Subject::Traverse(facts) => format!("traverse for {}", facts.key),
    };
    match action {
        Action::Attach(attachment) => format!("attach {} of {}", attachment.role, attachment.key),
        Action::Detach { role, .. } => format!("detach {role}"),
        Action::Subscribe(_) => "subscribe".to_owned(),
        Action::Unsubscribe(_) => "unsubscribe".to_owned(),
        Action::Ask(ask) => format!("ask {}", subject(&ask.subject)),
        Action::Tell(notice) => format!("tell the end of {}", subject(&notice.subject)),
        Action::Wake(_) => "wake".to_owned(),
        Action::Remark(remark) => format!("remark: {remark}"),
    }
}

/// The moment `time` after the opening.
pub(super) fn offset(start: Instant, time: Duration) -> Instant {
    start.checked_add(Duration::from_nanos(nanoseconds(time))).unwrap_or(start)
}
