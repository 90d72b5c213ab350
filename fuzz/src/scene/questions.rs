//! The questions and notices that hooks got.

use std::time::Instant;

use anabranch_core::conn::{Ask, AskId, Notice, Subject, Verdict};
use anabranch_core::policy::Action;
use anabranch_core::url::StreamKey;

#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: Vec<Question>,
}

#[derive(Debug)]
struct Question {
    ask: Ask,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A verdict still counts.
    Open,
    /// Granted, or decided by silence: a notice is to follow.
    Decided,
    /// Refused, or there was a notice of its end: nothing is to follow.
    Over,
}

impl Questions {
    pub(super) fn ask(&mut self, ask: Ask) {
        assert!(self.asked.iter().all(|question| question.ask.id != ask.id), "an id is used twice");
        assert!(self.asked.iter().all(|question| question.state != State::Open), "one question at a time");
        self.asked.push(Question { ask, state: State::Open });
    }

    /// The question of this number, however old, and what becomes of it by this verdict.
    pub(super) fn answer(&mut self, number: u8, verdict: &Verdict) -> Option<AskId> {
        let count = self.asked.len();
        // Mostly the last one.
        let question = self.asked.get_mut(count.checked_sub(1 + usize::from(number) % count.max(1))?)?;
        if question.state == State::Open {
            question.state = match (verdict, &question.ask.subject) {
                (_, Subject::Traverse(_)) => State::Over,
                (Verdict::Deny(_) | Verdict::Unanswered(_) | Verdict::Origin { .. } | Verdict::Redirect(_), _) => {
                    State::Over
                }
                (Verdict::Allow | Verdict::Rename(_), _) => State::Decided,
            };
        }
        Some(question.ask.id)
    }

    /// Silence is a verdict from the deadline on.
    pub(super) fn expire(&mut self, now: Instant) {
        for question in &mut self.asked {
            if question.state == State::Open && question.ask.deadline <= now {
                let traverse = matches!(question.ask.subject, Subject::Traverse(_));
                question.state = if traverse { State::Over } else { State::Decided };
            }
        }
    }

    pub(super) fn on_notice(&mut self, notice: &Notice) {
        let notified = self.asked.iter_mut().find(|question| {
            // One connection may be asked about for several virtual hosts.
            let same = question.ask.subject == notice.subject && question.ask.client.vhost == notice.client.vhost;
            question.state != State::Over && same
        });
        let Some(question) = notified else {
            panic!("a notice without a question: {notice:?} after {:?}", self.asked);
        };
        assert_eq!(question.ask.client.connection, notice.client.connection);
        assert_eq!(
            notice.closed.is_some(),
            notice.subject == Subject::Connect,
            "there is a notice of the end of a connection"
        );
        question.state = State::Over;
    }

    /// True while a verdict is waited for.
    pub(super) fn is_open(&self) -> bool {
        self.asked.iter().any(|question| question.state == State::Open)
    }

    /// What is wanted with which stream while a verdict is waited for, as far as the question says so.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (Action, &StreamKey)> {
        self.open().filter_map(|question| match &question.ask.subject {
            Subject::Publish(facts) => Some((Action::Publish, &facts.key)),
            Subject::Play(facts) => Some((Action::Play, &facts.key)),
            Subject::Connect | Subject::Traverse(_) => None,
        })
    }

    /// The virtual host that a verdict is waited for on.
    pub(super) fn vhost(&self) -> Option<&str> {
        let question = self.open().next()?;
        Some(match &question.ask.subject {
            Subject::Publish(facts) | Subject::Play(facts) | Subject::Traverse(facts) => facts.key.vhost(),
            Subject::Connect => &question.ask.client.vhost,
        })
    }

    /// True if the time of the last question is over: it is looked at twice before silence is a verdict.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.asked.last().is_some_and(|question| question.ask.deadline <= now)
    }

    /// True while a server upstream is asked.
    pub(super) fn traverses(&self) -> bool {
        self.open().any(|question| matches!(question.ask.subject, Subject::Traverse(_)))
    }

    fn open(&self) -> impl Iterator<Item = &Question> {
        self.asked.iter().filter(|question| question.state == State::Open)
    }

    pub(super) fn check_end(&self) {
        for question in &self.asked {
            let traverse = matches!(question.ask.subject, Subject::Traverse(_));
            assert!(traverse || question.state == State::Over, "there is no notice of the end of {question:?}");
        }
    }
}
