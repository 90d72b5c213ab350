//! Runs a [capture](crate::capture) again through core: [`run`] makes the recorded calls, compares what the connection
//! does, and finds the first difference. A [`Timeline`] makes a replay readable.
//!
//! This module is above [`conn`], whose connections it drives.

mod joined;
mod timeline;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

pub use timeline::Timeline;

use crate::capture::{
    Called, Capture, Closing, Decision, DecisionKind, End, Polled, Pull, Record, Returned, Written, nanoseconds,
};
use crate::conn::{self, Config, Conn, Core};
use crate::policy::Verdict;
use crate::session::{Due, Lent, Phase};
use crate::shown::Shown;

/// Something that happens in a replay.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Time since the connection began.
    pub at: Duration,
    /// The phase that the connection has reached.
    pub phase: Phase,
    /// What happens.
    pub what: What<'a>,
}

/// What happens in a replay.
#[non_exhaustive]
pub enum What<'a> {
    /// The client sent these bytes.
    Input(&'a [u8]),
    /// Core queued these bytes for the client.
    Output(&'a [u8]),
    /// Another call of the adapter or the program; calls that only let time pass are `routine`.
    Call {
        /// The call in words.
        words: &'a str,
        /// True if only the time has changed.
        routine: bool,
    },
    /// A request was granted, or refused in these words.
    Ruled(Option<&'a str>),
    /// Another decision in words: a takeover, no players for too long, or no publisher.
    Event(&'a str),
    /// An action for the adapter; a wake-up is `routine`.
    Action {
        /// The action in words.
        words: &'a str,
        /// True for wake-ups.
        routine: bool,
    },
    /// The connection is over: the report in words.
    Closed(&'a str),
}

impl fmt::Debug for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Input(bytes) => f.debug_tuple("Input").field(&Shown(bytes)).finish(),
            What::Output(bytes) => f.debug_tuple("Output").field(&Shown(bytes)).finish(),
            What::Call { words, routine } => {
                f.debug_struct("Call").field("words", words).field("routine", routine).finish()
            }
            What::Ruled(refusal) => f.debug_tuple("Ruled").field(refusal).finish(),
            What::Event(words) => f.debug_tuple("Event").field(words).finish(),
            What::Action { words, routine } => {
                f.debug_struct("Action").field("words", words).field("routine", routine).finish()
            }
            What::Closed(words) => f.debug_tuple("Closed").field(words).finish(),
        }
    }
}

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first difference, if there is one.
    pub difference: Option<Difference>,
    /// How many calls were replayed.
    pub calls: u64,
    /// Bytes that core queued for the client.
    pub queued: u64,
}

/// The first difference between a capture and its replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// When it happened, since the connection began.
    pub at: Duration,
    /// What the capture has.
    pub captured: String,
    /// What the replay did.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { at, captured, replayed } = self;
        write!(f, "at {:.6} s: captured {captured}, replayed {replayed}", at.as_secs_f64())
    }
}

/// Runs a captured connection again, in a separate server with the same configuration. Compares each action, each wait,
/// the bytes for the client and the end. `start` is any instant; `show` gets everything that happens.
///
/// Everything that depended on other connections or on a back end happens as recorded: names that were taken, limits,
/// verdicts, and the frames of played streams.
///
/// A capture that [began in the middle](Capture::joined) of its connection cannot be run again. It is only shown, and
/// there is no difference.
pub fn run(capture: &Capture, config: &Config, start: Instant, show: &mut dyn FnMut(&Moment<'_>)) -> Outcome {
    if capture.joined().is_some() {
        return joined::show(capture, show);
    }
    let server = Core::new(config.clone(), [0; 32]);
    let conn = server.connect_again(start, capture.opening());
    let outcome = Outcome { difference: None, calls: 0, queued: 0 };
    let mut run = Run { start, conn, lent: None, due: None, outcome, show };
    let mut records = capture.records.iter().peekable();
    while let Some((at, record)) = records.next() {
        let Record::Call(written, called) = record else {
            // A recorder writes no such record before the first call.
            run.differs(*at, "a record that belongs to no call".to_owned(), "nothing".to_owned());
            continue;
        };
        let (mut decisions, mut pulls, mut expected) = (VecDeque::new(), VecDeque::new(), None);
        while let Some((_, record)) = records.next_if(|(_, record)| !matches!(record, Record::Call(..))) {
            match record {
                Record::Decision(decision) => decisions.push_back(decision.clone()),
                Record::Pull(pull) => pulls.push_back(pull.clone()),
                Record::Returned(returned) => expected = Some(returned),
                // The file would be damaged, and was not read.
                Record::Opening(_) | Record::Joined(_) | Record::Output(_) => {}
                Record::Call(..) | Record::Stopped(_) => {}
            }
        }
        let cut = records.peek().is_none() && *capture.end() != End::Closed;
        run.call(*at, *written, called, decisions, pulls);
        if matches!(called, Called::Poll) {
            run.poll(*at, expected, cut);
        }
    }
    run.outcome
}

struct Run<'a> {
    start: Instant,
    conn: Conn,
    /// The outbound queue while the recorded writer had it.
    lent: Option<Lent>,
    /// What is due next, as the last wait of the connection said.
    due: Option<Due>,
    outcome: Outcome,
    show: &'a mut dyn FnMut(&Moment<'_>),
}

impl Run<'_> {
    fn call(
        &mut self,
        at: Duration,
        written: Written,
        called: &Called,
        decisions: VecDeque<Decision>,
        pulls: VecDeque<Pull>,
    ) {
        let now = offset(self.start, at);
        self.write(written);
        let kinds: Vec<_> = decisions.iter().map(|decision| decision.kind.clone()).collect();
        if let Some(replayer) = self.conn.replayer() {
            replayer.turn(self.start, decisions, pulls);
        }
        self.outcome.calls += 1;
        if !matches!(called, Called::Poll | Called::Input(_)) {
            let due = self.due.filter(|due| matches!(called, Called::Timeout) && due.at <= now);
            let words = due.map_or_else(|| called.to_string(), |due| format!("{called}: {}", due.what));
            self.show(at, What::Call { words: &words, routine: matches!(called, Called::Timeout) });
        }
        match called {
            Called::Input(bytes) => {
                self.show(at, What::Input(bytes));
                self.conn.handle_input(now, bytes);
            }
            Called::Timeout => self.conn.handle_timeout(now),
            Called::Disconnect(reason) => self.conn.handle_disconnect(now, reason.close_reason()),
            Called::Close(reason) => self.conn.close(reason.close_reason()),
            Called::LoseName(key) => self.conn.lose_name(key),
            Called::Shutdown => self.conn.shutdown(),
            Called::Drain { deadline, tc_url } => self.conn.drain(offset(self.start, *deadline), tc_url.as_deref()),
            Called::StopDraining => self.conn.stop_draining(),
            Called::Reconnect { tc_url, description } => {
                self.conn.request_reconnect(tc_url.as_deref(), description);
            }
            Called::Answer { open, verdict } => match self.conn.open_question() {
                Some(id) if *open => self.conn.answer(now, id, verdict.clone()),
                _ => {}
            },
            Called::Respond { open, answer } => match self.conn.open_request() {
                Some(id) if *open => self.conn.respond(now, id, answer),
                _ => {}
            },
            // The caller polls and compares what `poll` returns.
            Called::Poll => {}
        }
        for decision in &kinds {
            show_decision(decision, &mut |what| self.show(at, what));
        }
        self.show_output(at);
    }

    fn poll(&mut self, at: Duration, expected: Option<&Returned>, cut: bool) {
        let output = self.conn.poll(offset(self.start, at));
        let found = conn::returned(self.conn.outbound(), &output);
        self.outcome.queued = found.queued;
        if let conn::Output::Wait(wait) = &output {
            self.due = wait.due;
        }
        match expected {
            Some(expected) if equal(expected, &found) => {}
            Some(expected) => self.differs(at, expected.to_string(), found.to_string()),
            // The capture ends before it says what `poll` returned.
            None if cut => {}
            None => self.differs(at, "no return".to_owned(), found.to_string()),
        }
        self.show_output(at);
        match (&output, &found.what) {
            (conn::Output::Action(action), _) => {
                let routine = matches!(action, conn::Action::Wake(_));
                self.show(at, What::Action { words: &conn::in_words(action), routine });
            }
            // The recorded words: their counts include other connections, which a replay does not have.
            (_, Polled::Closed(closing)) => match expected.map(|expected| &expected.what) {
                Some(Polled::Closed(then)) => self.show(at, What::Closed(&then.report)),
                _ => self.show(at, What::Closed(&closing.report)),
            },
            _ => {}
        }
    }

    /// Brings the outbound queue to the state in which the recorded writer had left it.
    fn write(&mut self, then: Written) {
        let lent = then.lent;
        let outbound = self.conn.outbound();
        if lent && self.lent.is_some() && outbound.len() == then.waiting {
            return;
        }
        if let Some(queue) = self.lent.take() {
            // It is always the queue of this connection.
            _ = outbound.restore(queue);
        }
        if lent {
            self.lent = outbound.lend();
        } else {
            outbound.advance_to(then.written, then.replies);
        }
    }

    fn differs(&mut self, at: Duration, captured: String, replayed: String) {
        self.outcome.difference.get_or_insert(Difference { at, captured, replayed });
    }

    fn show_output(&mut self, at: Duration) {
        let tally = self.conn.outbound().tally();
        let bytes = tally.and_then(|tally| tally.bytes.as_mut()).map(std::mem::take).unwrap_or_default();
        if !bytes.is_empty() {
            self.show(at, What::Output(&bytes));
        }
    }

    fn show(&mut self, at: Duration, what: What<'_>) {
        (self.show)(&Moment { at, phase: self.conn.session().phase(), what });
    }
}

fn show_decision(decision: &DecisionKind, show: &mut dyn FnMut(What<'_>)) {
    match decision {
        DecisionKind::Granted => show(What::Ruled(None)),
        DecisionKind::Refused(rejection) | DecisionKind::RefusedAt(_, rejection) => {
            let words = format!("{}: {}", rejection.code, rejection.description);
            show(What::Ruled(Some(&words)));
        }
        DecisionKind::Superseded => show(What::Event("another publisher took the stream over")),
        DecisionKind::Absent => show(What::Event("the stream of a paused player had no publisher")),
        DecisionKind::Idle => show(What::Event("the publisher had no players for too long")),
    }
}

/// Compares everything except the words of a report: they count frames of the stream that a replay does not have.
fn equal(captured: &Returned, replayed: &Returned) -> bool {
    let same = match (&captured.what, &replayed.what) {
        (Polled::Closed(a), Polled::Closed(b)) => {
            let facts = |closing: &Closing| {
                (closing.reason.clone(), closing.phase.clone(), closing.offset, closing.received, closing.sent)
            };
            facts(a) == facts(b)
        }
        (a, b) => a == b,
    };
    same && (captured.queued, captured.hash) == (replayed.queued, replayed.hash)
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Polled::Action(label) => write!(f, "\"{label}\"")?,
            Polled::Wait(flags) => {
                let words = [(1, "reading"), (2, "writing"), (4, "a stream")];
                let words: Vec<_> = words.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect();
                write!(f, "a wait for [{}]", words.join(", "))?;
            }
            Polled::Closed(closing) => {
                let Closing { reason, phase, offset, received, sent, .. } = &**closing;
                write!(f, "the end ({reason} in phase {phase} at byte {offset}, {received} received, {sent} sent)")?;
            }
        }
        write!(f, " with {} bytes queued (hash {:016x})", self.queued, self.hash)
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Called::Input(bytes) => write!(f, "{} bytes from the client", bytes.len()),
            Called::Timeout => f.write_str("a deadline came"),
            Called::Disconnect(reason) => write!(f, "disconnected: {}", reason.words),
            Called::Close(reason) => write!(f, "closed by the program: {}", reason.words),
            Called::LoseName(key) => write!(f, "another server has the name {key}"),
            Called::Shutdown => f.write_str("the server stops"),
            Called::Drain { .. } => f.write_str("the server drains"),
            Called::StopDraining => f.write_str("the server no longer drains"),
            Called::Reconnect { .. } => f.write_str("the client is asked to reconnect"),
            Called::Answer { open, verdict } => {
                match verdict {
                    Verdict::Allow => f.write_str("the back end allows it")?,
                    Verdict::Rename(name) => write!(f, "the back end allows it under the name {name}")?,
                    Verdict::Deny(words) => write!(f, "the back end denies it: {words}")?,
                    Verdict::Unanswered(words) => write!(f, "no back end answers: {words}")?,
                    Verdict::Origin { code, words } => write!(f, "the origin denies it: {code} {words}")?,
                    Verdict::Redirect(url) => write!(f, "the back end redirects the client to {url}")?,
                }
                f.write_str(if *open { "" } else { ", too late" })
            }
            Called::Respond { open, answer } => {
                write!(f, "the program answers with {} and {} bytes", answer.status, answer.length())?;
                f.write_str(if *open { "" } else { ", too late" })
            }
            Called::Poll => f.write_str("poll"),
        }
    }
}

/// The moment `time` after the opening.
fn offset(start: Instant, time: Duration) -> Instant {
    start.checked_add(Duration::from_nanos(nanoseconds(time))).unwrap_or(start)
}
