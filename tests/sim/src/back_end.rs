use std::fmt;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Ask, AskId, Notice, Subject, Verdict};

/// How hooks answer a question, and when.
#[derive(Debug, Clone)]
pub struct Reply {
    verdict: Option<Verdict>,
    after: Duration,
}

impl Reply {
    /// This verdict, at once.
    pub fn of(verdict: Verdict) -> Self {
        Reply { verdict: Some(verdict), after: Duration::ZERO }
    }

    /// The same answer, this much later.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    /// No answer at all.
    pub fn never() -> Self {
        Reply { verdict: None, after: Duration::ZERO }
    }

    /// The request is allowed.
    pub fn allow() -> Self {
        Reply::of(Verdict::Allow)
    }

    /// The request is refused.
    pub fn deny() -> Self {
        Reply::of(Verdict::Deny("not today".into()))
    }
}

type Script = dyn FnMut(&Ask) -> Reply;

/// Which party the adapter asks.
#[derive(Default)]
pub(super) struct BackEnd {
    script: Option<Box<Script>>,
}

impl BackEnd {
    pub(super) fn new(script: impl FnMut(&Ask) -> Reply + 'static) -> Self {
        BackEnd { script: Some(Box::new(script)) }
    }

    /// `None` in a scene in which no question may be asked.
    pub(super) fn reply(&mut self, ask: &Ask) -> Option<Reply> {
        self.script.as_mut().map(|script| script(ask))
    }
}

impl fmt::Debug for BackEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackEnd").field("script", &self.script.is_some()).finish()
    }
}

/// A question that a connection asked, and its outcome.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) ask: Ask,
    state: State,
    /// True once there was a notice about its end.
    notified: bool,
    /// The answer that hooks will give, until they have.
    reply: Option<(Instant, Verdict)>,
    /// Bytes that the client had been sent when the question was asked, and at the verdict.
    asked_at: u64,
    decided_at: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Allowed,
    Refused,
    /// There was no answer in time.
    Silent,
}

/// All questions of one connection, in order.
#[derive(Debug, Default)]
pub(super) struct Questions {
    list: Vec<Question>,
}

impl Questions {
    pub(super) fn ask(&mut self, now: Instant, ask: Ask, reply: Reply, offset: u64) {
        let reply = reply.verdict.map(|verdict| (now + reply.after, verdict));
        let question = Question { ask, state: State::Open, notified: false, reply, asked_at: offset, decided_at: None };
        self.list.push(question);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Question> {
        self.list.iter()
    }

    /// When hooks next answer.
    pub(super) fn next(&self) -> Option<Instant> {
        self.list.iter().filter_map(|question| Some(question.reply.as_ref()?.0)).min()
    }

    /// A verdict that is due.
    pub(super) fn take_verdict(&mut self, now: Instant, offset: u64) -> Option<(AskId, Verdict)> {
        let due = |question: &&mut Question| question.reply.as_ref().is_some_and(|(time, _)| *time <= now);
        let question = self.list.iter_mut().find(due)?;
        let (_, verdict) = question.reply.take()?;
        let granted = matches!(verdict, Verdict::Allow | Verdict::Rename(_));
        question.decide(if granted { State::Allowed } else { State::Refused }, offset);
        Some((question.ask.id, verdict))
    }

    /// Marks the questions whose answer was due by `now` as unanswered.
    pub(super) fn expire(&mut self, now: Instant, offset: u64) {
        for question in self.list.iter_mut().filter(|question| question.ask.deadline <= now) {
            question.decide(State::Silent, offset);
        }
    }

    /// Records a notice about an end; returns what is wrong with it, if anything is.
    pub(super) fn on_notice(&mut self, notice: &Notice) -> Result<(), String> {
        // There may be questions about several virtual hosts for one connection.
        let about = |question: &&mut Question| {
            let same = question.ask.subject == notice.subject && question.ask.client.vhost == notice.client.vhost;
            question.awaits_notice() && same
        };
        let Some(question) = self.list.iter_mut().find(about) else {
            return Err(format!(
                "there is a notice of the end of a request that was not asked or was refused: {notice:?}"
            ));
        };
        question.notified = true;
        if question.ask.client != notice.client {
            return Err(format!("{:?} asked, {:?} has ended", question.ask.client, notice.client));
        }
        let of_connection = notice.subject == Subject::Connect;
        if notice.closed.is_some() != of_connection {
            return Err(format!("a notice of the end of a connection has the wrong subject: {notice:?}"));
        }
        let of_stream = |question: &Question| question.awaits_notice() && question.ask.subject != Subject::Connect;
        if of_connection && self.list.iter().any(of_stream) {
            return Err("the notice of the connection's end comes before those of its streams".into());
        }
        Ok(())
    }

    /// The first question without a notice about its end.
    pub(super) fn without_notice(&self) -> Option<&Question> {
        self.list.iter().find(|question| question.awaits_notice())
    }

    /// True if bytes up to `offset` were sent before some question was decided.
    pub(super) fn is_early(&self, offset: u64) -> bool {
        let early = |question: &Question| {
            offset > question.asked_at && question.decided_at.is_none_or(|decided| offset <= decided)
        };
        self.list.iter().any(early)
    }
}

impl Question {
    fn decide(&mut self, state: State, offset: u64) {
        // The first verdict counts.
        if self.state == State::Open {
            self.state = state;
            self.decided_at = Some(offset);
        }
    }

    /// True if the notice about its end is missing.
    fn awaits_notice(&self) -> bool {
        !self.notified && self.state != State::Refused && !self.traverses()
    }

    /// The virtual host that it is asked for.
    pub(super) fn vhost(&self) -> &str {
        match &self.ask.subject {
            Subject::Publish(facts) | Subject::Play(facts) | Subject::Traverse(facts) => facts.key.vhost(),
            Subject::Connect => &self.ask.client.vhost,
        }
    }

    /// True if a server upstream is asked.
    pub(super) fn traverses(&self) -> bool {
        matches!(self.ask.subject, Subject::Traverse(_))
    }

    /// True while it waits for a verdict.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open && !self.notified
    }
}
