use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Subject, Verdict};
use anabranch_host::Answer;

use super::endpoint::{Call, Endpoint, Sort};
use super::reply::Reply;

/// How long after a refusal the core may still say that what was asked about is over. It does if it gave up waiting or
/// lost the client the moment before it heard of the refusal.
const LATE: Duration = Duration::from_secs(10);
/// Refusals from which on old ones are looked for.
const MANY: usize = 1024;

/// What is to be done about one client: all calls of one event.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) subject: Subject,
    pub(super) body: Arc<str>,
    /// Where; for each of them a place was taken.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// One URL after the other is asked, and the first that does not grant it decides.
    Ask {
        answer: Option<Answer>,
        deadline: Instant,
        allow_on_failure: bool,
        /// The URL whose turn it is.
        turn: usize,
    },
    /// All URLs are told at once.
    Tell {
        retries: u32,
        retry_after: Duration,
        /// Calls that are not over.
        open: usize,
    },
}

/// The calls about each client, one event after the other in the order in which the core brought them; different clients
/// have nothing to do with each other.
#[derive(Debug, Default)]
pub(super) struct Order {
    state: Mutex<State>,
    emptied: Condvar,
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

/// A call to be made, and where.
type Start = (Arc<Endpoint>, Call);

impl Order {
    /// Does this after all else about the client. Does not block.
    pub(super) fn push(self: &Arc<Self>, connection: u64, job: Job) {
        let mut state = self.state();
        let jobs = state.clients.entry(connection).or_default();
        jobs.push_back(job);
        let starts = if jobs.len() == 1 { state.begin(connection) } else { Vec::new() };
        drop(state);
        self.start(starts);
    }

    /// Waits until nothing is left to do. False: something is left.
    pub(super) fn wait_until_done(&self, time: Duration) -> bool {
        let (state, _) = self
            .emptied
            .wait_timeout_while(self.state(), time, |state| !state.clients.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.clients.is_empty()
    }

    fn start(self: &Arc<Self>, starts: Vec<Start>) {
        for (endpoint, call) in starts {
            endpoint.push(call, self);
        }
    }

    /// A call is over.
    pub(super) fn finish(self: &Arc<Self>, endpoint: &Endpoint, connection: u64, reply: Reply) {
        let mut state = self.state();
        let (given, starts) = state.finish(connection, endpoint, reply);
        let empty = state.clients.is_empty();
        drop(state);
        if let Some((answer, verdict)) = given {
            answer.give(verdict);
        }
        self.start(starts);
        if empty {
            self.emptied.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins what is first in a client's line; its line ends when there is nothing.
    fn begin(&mut self, connection: u64) -> Vec<Start> {
        loop {
            let Some(job) = self.clients.get_mut(&connection).and_then(VecDeque::front_mut) else {
                self.clients.remove(&connection);
                return Vec::new();
            };
            let refused = self.refused.remove(&(connection, name(&job.subject))).is_some();
            match &mut job.kind {
                Kind::Ask { .. } => return job.ask(connection).into_iter().collect(),
                Kind::Tell { open, .. } if !refused => {
                    *open = job.endpoints.len();
                    return job.tell(connection);
                }
                Kind::Tell { .. } => job.endpoints.iter().for_each(|endpoint| endpoint.leave(Sort::Notice)),
            }
            self.next(connection);
        }
    }

    fn finish(
        &mut self,
        connection: u64,
        endpoint: &Endpoint,
        reply: Reply,
    ) -> (Option<(Answer, Verdict)>, Vec<Start>) {
        let Some(job) = self.clients.get_mut(&connection).and_then(VecDeque::front_mut) else {
            return (None, Vec::new());
        };
        let given = match &mut job.kind {
            Kind::Tell { open, .. } => {
                match reply {
                    Reply::Granted => {}
                    Reply::Refused { reason, .. } => {
                        let reason = reason.unwrap_or_default();
                        endpoint.complain(&format!("it says no to what it is only told: {reason}"));
                    }
                    Reply::Failed(why) => {
                        endpoint.complain(&format!("{why}; it is not told what became of conn {connection}"));
                    }
                }
                *open = open.saturating_sub(1);
                if *open > 0 {
                    return (None, Vec::new());
                }
                None
            }
            Kind::Ask { answer, allow_on_failure, turn, .. } => {
                let verdict = match reply {
                    Reply::Granted => Verdict::Allow,
                    Reply::Failed(why) => {
                        endpoint.complain(&why);
                        on_failure(*allow_on_failure)
                    }
                    Reply::Refused { redirect: Some(url), .. } if job.subject != Subject::Connect => {
                        Verdict::Redirect(url)
                    }
                    Reply::Refused { reason, .. } => Verdict::Deny(reason.unwrap_or_else(|| "refused".to_owned())),
                };
                *turn += 1;
                let rest = job.endpoints.get(*turn..).unwrap_or_default();
                let granted = verdict == Verdict::Allow;
                if granted && !rest.is_empty() {
                    return (None, job.ask(connection).into_iter().collect());
                }
                rest.iter().for_each(|endpoint| endpoint.leave(Sort::Question));
                let answer = answer.take();
                if !granted {
                    let name = name(&job.subject);
                    self.refuse(connection, name);
                }
                answer.map(|answer| (answer, verdict))
            }
        };
        self.next(connection);
        (given, self.begin(connection))
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
    fn ask(&self, connection: u64) -> Option<Start> {
        let Kind::Ask { deadline, turn, .. } = &self.kind else {
            return None;
        };
        let call = Call {
            connection,
            body: self.body.clone(),
            deadline: Some(*deadline),
            retries: 0,
            retry_after: Duration::ZERO,
        };
        self.endpoints.get(*turn).map(|endpoint| (endpoint.clone(), call))
    }

    fn tell(&self, connection: u64) -> Vec<Start> {
        let Kind::Tell { retries, retry_after, .. } = self.kind else {
            return Vec::new();
        };
        let call = || Call { connection, body: self.body.clone(), deadline: None, retries, retry_after };
        self.endpoints.iter().map(|endpoint| (endpoint.clone(), call())).collect()
    }
}

/// The verdict when nobody can be asked.
pub(super) fn on_failure(allow: bool) -> Verdict {
    if allow { Verdict::Allow } else { Verdict::Deny("nobody can be asked about it now".to_owned()) }
}

fn name(subject: &Subject) -> Name {
    let key = match subject {
        Subject::Connect => String::new(),
        Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => stream.key.as_str().to_owned(),
    };
    (std::mem::discriminant(subject), key)
}
