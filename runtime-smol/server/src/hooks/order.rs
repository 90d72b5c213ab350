use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Subject, Verdict};
use anabranch_core::url::{StreamKey, shortened};
use anabranch_host::Answer;
use tracing::{error, info};

use super::body::{Bodies, Event};
use super::complaints::About;
use super::endpoint::{Call, Place, Turn};
use super::reply::Reply;
use super::settings::Form;
use super::tally::{Lost, Tally};

/// How long after a refusal core may still send the notice that belongs to the question. It does so if its deadline
/// passed or the client left just before the refusal arrived.
const LATE: Duration = Duration::from_secs(10);
/// At this number of refusals old ones are removed.
const MANY: usize = 1024;

/// All calls for one event of one client.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) event: Event,
    pub(super) subject: Subject,
    /// The virtual host: there may be questions about one connection for several.
    pub(super) vhost: String,
    pub(super) body: Bodies,
    /// Places for the calls that are still to be made, in their order.
    pub(super) places: VecDeque<Place>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A question: the URLs are asked one after the other, and the first that does not grant it decides.
    Ask {
        answer: Option<Answer>,
        deadline: Instant,
        allow_on_failure: bool,
        /// The name that a back end gave the stream or the app: the first one that an answer has.
        renamed: Option<String>,
    },
    /// A notice: all URLs are called at the same time.
    Notice {
        retries: u32,
        retry_after: Duration,
        /// Calls that are not finished.
        open: usize,
        /// The targets that the answers so far have, if it is the question about them.
        targets: Option<Vec<String>>,
    },
}

/// The calls about each client, one event after the other, in core's order. Different clients do not wait for each
/// other.
#[derive(Debug, Default)]
pub(super) struct Order {
    state: Mutex<State>,
    emptied: Condvar,
    tally: Tally,
    /// Gets the targets of streams.
    targets: OnceLock<Targets>,
}

/// What gets the targets of a stream.
pub(super) struct Targets(pub(super) Box<GetTargets>);

type GetTargets = dyn Fn(&StreamKey, Vec<String>) + Send + Sync;

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Targets").finish_non_exhaustive()
    }
}

/// The mark of a queue beside that of the client: the question about targets may be repeated for a minute, and the notice
/// that the stream is over must not wait for that.
const APART: u64 = 1 << 63;

/// The number of the queue for the questions about targets of a client's streams.
pub(super) fn apart(connection: u64) -> u64 {
    connection | APART
}

/// The number of the connection that a queue belongs to.
pub(super) fn shown(queue: u64) -> u64 {
    queue & !APART
}

#[derive(Debug, Default)]
struct State {
    /// The queue of each client that has jobs: first the job under way, then those that wait.
    clients: HashMap<u64, VecDeque<Job>>,
    /// Recent refusals. What was refused never began, so no notice of its end is sent.
    refused: HashMap<(u64, Name), Instant>,
    /// The number of refusals at which old ones are removed next.
    many: usize,
    /// The targets of a stream, when the last back end has answered. The caller takes them.
    targets: Option<(StreamKey, Vec<String>)>,
}

/// Equal for a question and the notice that belongs to it.
type Name = (std::mem::Discriminant<Subject>, String);

impl Order {
    /// Adds a job to the client's queue. Does not block.
    pub(super) fn push(self: &Arc<Self>, connection: u64, job: Job) {
        let mut state = self.state();
        let jobs = state.clients.entry(connection).or_default();
        jobs.push_back(job);
        let calls = if jobs.len() == 1 { state.begin(connection, self) } else { Vec::new() };
        drop(state);
        calls.into_iter().for_each(Call::begin);
    }

    /// Waits until all jobs are done. Returns the number of jobs that are left.
    pub(super) fn wait_until_done(&self, time: Duration) -> usize {
        let (state, _) = self
            .emptied
            .wait_timeout_while(self.state(), time, |state| !state.clients.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.clients.values().map(VecDeque::len).sum()
    }

    /// Sets what gets the targets of streams. Only the first call has an effect.
    pub(super) fn on_targets(&self, targets: Targets) {
        let _ = self.targets.set(targets);
    }

    /// Counts of failures, for the metrics.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Handles the reply to a call, and frees its place.
    pub(super) fn finish(self: &Arc<Self>, place: Place, connection: u64, reply: Reply) {
        let mut state = self.state();
        let (given, calls) = state.finish(connection, &place, reply, self);
        let targets = state.targets.take();
        let empty = state.clients.is_empty();
        drop(state);
        // Before the answer: the client that gets it may make another request at once.
        drop(place);
        calls.into_iter().for_each(Call::begin);
        if empty {
            self.emptied.notify_all();
        }
        if let (Some((key, urls)), Some(Targets(take))) = (targets, self.targets.get())
            && catch_unwind(AssertUnwindSafe(|| take(&key, urls))).is_err()
        {
            error!(event = "bug", "handling the targets of {} panicked, which is a bug", key.shown());
        }
        if let Some((answer, verdict)) = given
            && catch_unwind(AssertUnwindSafe(|| answer.give(verdict))).is_err()
        {
            let conn = connection;
            error!(event = "bug", conn, "handling the answer for conn {conn} panicked, which is a bug");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins the first job in a client's queue, or removes the queue if it is empty.
    fn begin(&mut self, connection: u64, order: &Arc<Order>) -> Vec<Call> {
        loop {
            let Some(job) = self.clients.get_mut(&connection).and_then(VecDeque::front_mut) else {
                self.clients.remove(&connection);
                return Vec::new();
            };
            // A recording is no request, and a stream that is pushed was granted, so nothing refused them.
            let is_of_request = !matches!(job.event, Event::Dvr | Event::Hls | Event::Forward | Event::Switch);
            let refused = is_of_request && self.refused.remove(&(connection, name(job))).is_some();
            match &mut job.kind {
                Kind::Ask { .. } => return job.ask(connection, order).into_iter().collect(),
                Kind::Notice { open, .. } if !refused => {
                    *open = job.places.len();
                    return job.notify(connection, order);
                }
                // It was refused and never began.
                Kind::Notice { .. } => self.next(connection),
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
            Kind::Notice { open, targets, .. } => {
                match reply {
                    Reply::Targets(urls) => targets.get_or_insert_default().extend(urls),
                    Reply::Granted => {}
                    Reply::Renamed(_) => place.complain(
                        &About::new(job.event, connection, &job.vhost, &job.subject),
                        "it redirects a notice, which has no effect",
                    ),
                    Reply::Refused { reason, .. } => {
                        let reason = reason.unwrap_or_default();
                        place.complain(
                            &About::new(job.event, connection, &job.vhost, &job.subject),
                            &format!("the back end refuses a notice, which has no effect: {reason}"),
                        );
                    }
                    Reply::Failed(why) => {
                        order.tally.lose(job.event, Lost::Failed);
                        place.complain(
                            &About::new(job.event, connection, &job.vhost, &job.subject),
                            &format!("{why}; the notice is lost"),
                        );
                    }
                }
                *open = open.saturating_sub(1);
                if *open > 0 {
                    return (None, Vec::new());
                }
                if let (Subject::Publish(stream), Some(urls)) = (&job.subject, targets.take()) {
                    self.targets = Some((stream.key.clone(), urls));
                }
                None
            }
            Kind::Ask { answer, allow_on_failure, renamed, .. } => {
                let verdict = match reply {
                    Reply::Granted | Reply::Targets(_) => Verdict::Allow,
                    Reply::Renamed(name) => {
                        renamed.get_or_insert(name);
                        Verdict::Allow
                    }
                    Reply::Failed(why) => {
                        order.tally.fail_question();
                        place.complain(&About::new(job.event, connection, &job.vhost, &job.subject), &why);
                        on_failure(*allow_on_failure)
                    }
                    // In nginx-rtmp it would push the stream to this URL.
                    Reply::Refused { redirect: Some(_), .. }
                        if place.form() == Form::NginxRtmp && job.event != Event::Play =>
                    {
                        let words =
                            "the back end redirects to another server, which this server can do for players only";
                        place.complain(&About::new(job.event, connection, &job.vhost, &job.subject), words);
                        Verdict::Deny(words.to_owned())
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
                let (answer, renamed) = (answer.take(), renamed.take());
                let verdict = match renamed.filter(|_| granted) {
                    Some(name) => {
                        let (about, call) = (job.about(), job.event.name());
                        let renamed = shortened(&name);
                        info!(
                            event = "renamed",
                            conn = connection,
                            name = %about,
                            renamed = %renamed,
                            call,
                            "conn {connection}: {about} is renamed to {renamed:?} by {call}"
                        );
                        Verdict::Rename(name)
                    }
                    None => verdict,
                };
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

    /// Removes the first job of a client, which is done.
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
    /// The name that the question is about.
    fn about(&self) -> String {
        match &self.subject {
            Subject::Connect => "the app".to_owned(),
            Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => stream.key.shown(),
        }
    }

    /// The call, for lines of the log.
    fn call(&self, connection: u64) -> About {
        About::new(self.event, connection, &self.vhost, &self.subject)
    }

    /// The question to the next URL.
    fn ask(&mut self, connection: u64, order: &Arc<Order>) -> Option<Call> {
        let Kind::Ask { deadline, .. } = self.kind else {
            return None;
        };
        let place = self.places.pop_front()?;
        let body = self.body.of(place.form());
        let turn = Turn::new(place, connection, order.clone());
        let (retries, retry_after) = (0, Duration::ZERO);
        Some(Call { about: self.call(connection), turn, body, deadline: Some(deadline), retries, retry_after })
    }

    fn notify(&mut self, connection: u64, order: &Arc<Order>) -> Vec<Call> {
        let Kind::Notice { retries, retry_after, .. } = self.kind else {
            return Vec::new();
        };
        let about = self.call(connection);
        let call = |place: Place| {
            let body = self.body.of(place.form());
            let turn = Turn::new(place, connection, order.clone());
            Call { about: about.clone(), turn, body, deadline: None, retries, retry_after }
        };
        self.places.drain(..).map(call).collect()
    }
}

/// The verdict when no back end answers.
pub(super) fn on_failure(allow: bool) -> Verdict {
    if allow {
        return Verdict::Allow;
    }
    Verdict::Unanswered("the server cannot ask its back end about this request now; try again later".to_owned())
}

fn name(job: &Job) -> Name {
    let key = match &job.subject {
        Subject::Connect => job.vhost.clone(),
        Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => stream.key.as_str().to_owned(),
    };
    (std::mem::discriminant(&job.subject), key)
}
