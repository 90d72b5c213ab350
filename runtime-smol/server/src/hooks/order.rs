use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Subject, Verdict};
use anabranch_host::Answer;
use tracing::error;

use super::body::Event;
use super::endpoint::{Call, Place, Turn};
use super::reply::Reply;
use super::tally::{Lost, Tally};

/// How long after a refusal the core may still say that what was asked about is over. It does if it gave up waiting or
/// lost the client the moment before it heard of the refusal.
const LATE: Duration = Duration::from_secs(10);
/// Refusals from which on old ones are looked for.
const MANY: usize = 1024;

/// What is to be done about one client: all calls of one event.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) event: Event,
    pub(super) subject: Subject,
    /// The virtual host that it is about: one connection may be asked about for several.
    pub(super) vhost: String,
    pub(super) body: Arc<str>,
    /// For the calls that are still to be made, in their order.
    pub(super) places: VecDeque<Place>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// One URL after the other is asked, and the first that does not grant it decides.
    Ask { answer: Option<Answer>, deadline: Instant, allow_on_failure: bool },
    /// All URLs are told at once.
    Tell {
        retries: u32,
        retry_after: Duration,
        /// Calls that are not over.
        open: usize,
    },
}

/// The calls about each client, one event after the other in the order in which the core brought them; different
/// clients have nothing to do with each other.
#[derive(Debug, Default)]
pub(super) struct Order {
    state: Mutex<State>,
    emptied: Condvar,
    tally: Tally,
}

#[derive(Debug, Default)]
struct State {
    /// For each client with something to do what is under way, and behind it what waits.
    clients: HashMap<u64, VecDeque<Job>>,
    /// What was refused lately: it never began, so that nobody is told of its end.
    refused: HashMap<(u64, Name), Instant>,
    /// The number of refusals at which old ones are removed.
    many: usize,
}

/// What a question and a notice about the same have in common.
type Name = (std::mem::Discriminant<Subject>, String);

impl Order {
    /// Does this after all else about the client. Does not block.
    pub(super) fn push(self: &Arc<Self>, connection: u64, job: Job) {
        let mut state = self.state();
        let jobs = state.clients.entry(connection).or_default();
        jobs.push_back(job);
        let calls = if jobs.len() == 1 { state.begin(connection, self) } else { Vec::new() };
        drop(state);
        calls.into_iter().for_each(Call::begin);
    }

    /// Waits until nothing is left to do. The number of calls that are left.
    pub(super) fn wait_until_done(&self, time: Duration) -> usize {
        let (state, _) = self
            .emptied
            .wait_timeout_while(self.state(), time, |state| !state.clients.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.clients.values().map(VecDeque::len).sum()
    }

    /// What did not go as it should.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// A call is over, and its place free.
    pub(super) fn finish(self: &Arc<Self>, place: Place, connection: u64, reply: Reply) {
        let mut state = self.state();
        let (given, calls) = state.finish(connection, &place, reply, self);
        let empty = state.clients.is_empty();
        drop(state);
        // Before the answer: who has it may ask for something else at once.
        drop(place);
        calls.into_iter().for_each(Call::begin);
        if empty {
            self.emptied.notify_all();
        }
        if let Some((answer, verdict)) = given
            && catch_unwind(AssertUnwindSafe(|| answer.give(verdict))).is_err()
        {
            error!("the answer to conn {connection} panicked, which is a bug");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins what is first in a client's line; its line ends when there is nothing.
    fn begin(&mut self, connection: u64, order: &Arc<Order>) -> Vec<Call> {
        loop {
            let Some(job) = self.clients.get_mut(&connection).and_then(VecDeque::front_mut) else {
                self.clients.remove(&connection);
                return Vec::new();
            };
            let refused = self.refused.remove(&(connection, name(job))).is_some();
            match &mut job.kind {
                Kind::Ask { .. } => return job.ask(connection, order).into_iter().collect(),
                Kind::Tell { open, .. } if !refused => {
                    *open = job.places.len();
                    return job.tell(connection, order);
                }
                // It never began.
                Kind::Tell { .. } => self.next(connection),
            }
        }
    }

    fn finish(
        &mut self,
        connection: u64,
        place: &Place,
        reply: Reply,
        order: &Arc<Order>,
    ) -> (Option<(Answer, Verdict)>, Vec<Call>) {
        let Some(job) = self.clients.get_mut(&connection).and_then(VecDeque::front_mut) else {
            return (None, Vec::new());
        };
        let given = match &mut job.kind {
            Kind::Tell { open, .. } => {
                match reply {
                    Reply::Granted => {}
                    Reply::Refused { reason, .. } => {
                        let reason = reason.unwrap_or_default();
                        place.complain(&format!("it says no to what it is only told: {reason}"));
                    }
                    Reply::Failed(why) => {
                        order.tally.lose(job.event, Lost::Failed);
                        place.complain(&format!("{why}; it is not told what became of conn {connection}"));
                    }
                }
                *open = open.saturating_sub(1);
                if *open > 0 {
                    return (None, Vec::new());
                }
                None
            }
            Kind::Ask { answer, allow_on_failure, .. } => {
                let verdict = match reply {
                    Reply::Granted => Verdict::Allow,
                    Reply::Failed(why) => {
                        order.tally.leave_unanswered();
                        place.complain(&why);
                        on_failure(*allow_on_failure)
                    }
                    Reply::Refused { redirect: Some(url), .. } if job.subject != Subject::Connect => {
                        Verdict::Redirect(url)
                    }
                    Reply::Refused { reason, .. } => Verdict::Deny(reason.unwrap_or_else(|| "refused".to_owned())),
                };
                let granted = verdict == Verdict::Allow;
                if granted && !job.places.is_empty() {
                    return (None, job.ask(connection, order).into_iter().collect());
                }
                let answer = answer.take();
                if !granted {
                    let name = name(job);
                    self.refuse(connection, name);
                }
                answer.map(|answer| (answer, verdict))
            }
        };
        self.next(connection);
        (given, self.begin(connection, order))
    }

    /// The first in a client's line is done.
    fn next(&mut self, connection: u64) {
        if let Some(jobs) = self.clients.get_mut(&connection) {
            jobs.pop_front();
        }
    }

    fn refuse(&mut self, connection: u64, name: Name) {
        let now = Instant::now();
        self.refused.insert((connection, name), now);
        if self.refused.len() > self.many.max(MANY) {
            self.refused.retain(|_, since| now.saturating_duration_since(*since) < LATE);
            self.many = self.refused.len() * 2;
        }
    }
}

impl Job {
    /// The question to the URL whose turn it is.
    fn ask(&mut self, connection: u64, order: &Arc<Order>) -> Option<Call> {
        let Kind::Ask { deadline, .. } = self.kind else {
            return None;
        };
        let turn = Turn::new(self.places.pop_front()?, connection, order.clone());
        let (retries, retry_after) = (0, Duration::ZERO);
        Some(Call { turn, body: self.body.clone(), deadline: Some(deadline), retries, retry_after })
    }

    fn tell(&mut self, connection: u64, order: &Arc<Order>) -> Vec<Call> {
        let Kind::Tell { retries, retry_after, .. } = self.kind else {
            return Vec::new();
        };
        let call = |place: Place| {
            let turn = Turn::new(place, connection, order.clone());
            Call { turn, body: self.body.clone(), deadline: None, retries, retry_after }
        };
        self.places.drain(..).map(call).collect()
    }
}

/// The verdict when nobody can be asked.
pub(super) fn on_failure(allow: bool) -> Verdict {
    if allow { Verdict::Allow } else { Verdict::Deny("nobody can be asked about it now".to_owned()) }
}

fn name(job: &Job) -> Name {
    let key = match &job.subject {
        Subject::Connect => job.vhost.clone(),
        Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => stream.key.as_str().to_owned(),
    };
    (std::mem::discriminant(&job.subject), key)
}
