use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tracing::{debug, error};
use ureq::tls::{PemItem, RootCerts, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Error};

use super::body::Event;
use super::complaints::{About, Complaints};
use super::health::{Health, UrlState};
use super::names::Names;
use super::order::Order;
use super::reply::Reply;
use super::settings::{Form, HookSettings, HookTarget, HookUrl};
use super::tally::Tally;
use crate::tls;

/// How long a thread waits for work before it ends.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: less than the five seconds after which many servers close idle connections.
const KEEP: Duration = Duration::from_secs(4);
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 64 << 10;
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The bytes that a notice takes besides its body: entries in queues and maps.
const NOTICE: usize = 512;

/// One call to one URL.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) about: About,
    pub(super) turn: Turn,
    pub(super) body: Arc<str>,
    /// When a question must be answered; `None` for a notice.
    pub(super) deadline: Option<Instant>,
    /// Repetitions that are left, and the wait before the next.
    pub(super) retries: u32,
    pub(super) retry_after: Duration,
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A client waits for the answer.
    Question,
    /// A notice, which takes so many bytes until it is delivered.
    Notice { bytes: usize },
    /// A notice that a stream is over. It goes before all other notices.
    Unpublish { bytes: usize },
}

impl Sort {
    /// The kind of the notice for an event.
    pub(super) fn notice(event: Event, body: &str) -> Sort {
        let bytes = body.len() + NOTICE;
        if event == Event::Unpublish { Sort::Unpublish { bytes } } else { Sort::Notice { bytes } }
    }
}

/// A place for one call among those of an endpoint. Dropping it frees the place, however the call ended.
#[derive(Debug)]
pub(super) struct Place {
    endpoint: Arc<Endpoint>,
    sort: Sort,
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.endpoint.shared;
        match self.sort {
            Sort::Question => shared.questions.fetch_sub(1, Ordering::Relaxed),
            Sort::Notice { bytes } | Sort::Unpublish { bytes } => shared.notices.fetch_sub(bytes, Ordering::Relaxed),
        };
    }
}

impl Place {
    /// The form of the endpoint's calls.
    pub(super) fn form(&self) -> Form {
        self.endpoint.key().form
    }

    /// Logs a problem with the endpoint, at a limited rate.
    pub(super) fn complain(&self, about: &About, what: &str) {
        self.endpoint.complain(about, what);
    }
}

/// Keeps a client's queue waiting until its current call is over, and holds the call's place. The holder passes it on
/// with the reply. If it is dropped instead, its thread has panicked, and the queue goes on as after a failure.
#[derive(Debug)]
pub(super) struct Turn {
    /// `None` after it is passed on.
    held: Option<(Place, Arc<Order>)>,
    sort: Sort,
    connection: u64,
}

impl Turn {
    pub(super) fn new(place: Place, connection: u64, order: Arc<Order>) -> Self {
        Turn { sort: place.sort, held: Some((place, order)), connection }
    }

    /// Counts what came of the call.
    fn tally(&self, count: impl FnOnce(&Tally)) {
        if let Some((_, order)) = &self.held {
            count(order.tally());
        }
    }

    fn pass_on(mut self, reply: Reply) {
        self.end(reply);
    }

    fn end(&mut self, reply: Reply) {
        if let Some((place, order)) = self.held.take() {
            order.finish(place, self.connection, reply);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end(Reply::Failed("the thread of this call panicked, which is a bug".to_owned()));
    }
}

/// URLs with equal keys are one endpoint and share its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointKey {
    url: HookUrl,
    form: Form,
    timeout: Duration,
    max_in_flight: usize,
    queue: usize,
    notice_memory: usize,
    /// The content of the file, because the file may change.
    certificates: Option<Vec<u8>>,
    verify_tls: bool,
    user_agent: String,
}

impl EndpointKey {
    /// The endpoint of a URL under these settings.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub(super) fn new(target: &HookTarget, settings: &HookSettings) -> Result<Self, String> {
        let read = |path: &std::path::PathBuf| {
            fs::read(path).map_err(|error| format!("hooks: ca_file {}: {error}", path.display()))
        };
        Ok(EndpointKey {
            url: target.url.clone(),
            form: target.form,
            timeout: settings.timeout.0,
            max_in_flight: settings.max_in_flight.clamp(1, 1024),
            queue: settings.queue,
            notice_memory: usize::try_from(settings.notice_memory.0).unwrap_or(usize::MAX),
            certificates: Some(&settings.ca_file).filter(|path| !path.as_os_str().is_empty()).map(read).transpose()?,
            verify_tls: settings.verify_tls,
            user_agent: settings.user_agent.clone(),
        })
    }

    /// The form of the calls.
    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// The URL without user, password and query.
    pub(super) fn shown(&self) -> String {
        self.url.to_string()
    }

    /// Checks that calls can be made with these settings.
    ///
    /// # Errors
    /// The certificates cannot be read or used.
    pub(super) fn check(&self) -> Result<(), String> {
        self.agent().map(drop)
    }

    /// What makes the calls.
    pub(super) fn agent(&self) -> Result<Agent, String> {
        let root_certs = match &self.certificates {
            None => RootCerts::PlatformVerifier,
            Some(pem) => {
                let items: Result<Vec<_>, _> = parse_pem(pem).collect();
                let items = items.map_err(|error| format!("hooks: ca_file: {error}"))?;
                let certificates: Vec<_> = items
                    .into_iter()
                    .filter_map(|item| match item {
                        PemItem::Certificate(certificate) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                if certificates.is_empty() {
                    return Err("hooks: ca_file: the file contains no certificate".to_owned());
                }
                let mut roots = RootCertStore::empty();
                for certificate in &certificates {
                    let added = roots.add(CertificateDer::from(certificate.der()));
                    added.map_err(|error| format!("hooks: ca_file: a certificate in it cannot be used: {error}"))?;
                }
                RootCerts::from(certificates)
            }
        };
        let config = Agent::config_builder()
            .tls_config(tls::of_calls(root_certs, self.verify_tls))
            // The proxy in the environment is for the internet; back ends are usually in the same network.
            .proxy(None)
            // SRS does not follow redirects either, and a redirected POST would become a GET. In nginx-rtmp's form they
            // are answers.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(self.timeout))
            .user_agent(self.user_agent.as_str())
            .max_idle_connections(self.max_in_flight)
            .max_idle_connections_per_host(self.max_in_flight)
            .max_idle_age(KEEP);
        let names = Names::of(self.url.as_str())?;
        Ok(Agent::with_parts(config.build(), DefaultConnector::default(), names))
    }
}

/// Makes a call, within the given time if that is less than the endpoint's timeout.
type Post = dyn Fn(&EndpointKey, &Call, Option<Duration>) -> Result<Reply, Error> + Send + Sync;

/// A URL that is called, with its own bounded queues and a bounded number of threads, so that a slow or dead back end
/// does not delay calls to others. It ends when it is dropped and all its calls are made.
#[derive(Debug)]
pub(super) struct Endpoint {
    shared: Arc<Shared>,
}

/// The state that an endpoint's threads share.
struct Shared {
    key: EndpointKey,
    post: Box<Post>,
    /// How long a thread waits for work before it ends.
    idle: Duration,
    complaints: Complaints,
    health: Health,
    /// Questions that are admitted and not answered yet, in any queue.
    questions: AtomicUsize,
    /// Bytes of notices that are admitted and not delivered yet. They are counted separately, because notices that wait
    /// to be repeated must not take places from questions.
    notices: AtomicUsize,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    questions: VecDeque<Call>,
    /// By the earliest time at which the call may be made, then in the order of arrival.
    notices: BTreeMap<(Instant, u64), Call>,
    /// Notices that go before the others.
    unpublishes: BTreeMap<(Instant, u64), Call>,
    next: u64,
    /// The first thread stays as long as the endpoint, so that there is one even if the system can start no more.
    workers: usize,
    idle: usize,
    /// Whether a question is taken next when there are questions and notices.
    questions_turn: bool,
    /// The endpoint is dropped.
    over: bool,
}

impl Queue {
    /// The next call that may be made now.
    fn take(&mut self, now: Instant) -> Option<Call> {
        self.questions_turn = !self.questions_turn;
        if self.questions_turn
            && let Some(question) = self.questions.pop_front()
        {
            return Some(question);
        }
        let notice = [&mut self.unpublishes, &mut self.notices].into_iter().find_map(|notices| {
            let first = notices.first_entry().filter(|first| first.key().0 <= now)?;
            Some(first.remove())
        });
        notice.or_else(|| self.questions.pop_front())
    }

    /// When the next notice may be sent.
    fn due(&self) -> Option<Instant> {
        [&self.unpublishes, &self.notices].iter().filter_map(|notices| Some(notices.keys().next()?.0)).min()
    }

    fn waiting(&self) -> usize {
        self.questions.len() + self.notices.len() + self.unpublishes.len()
    }

    fn push(&mut self, due: Instant, call: Call) {
        let key = (due, self.next);
        self.next += 1;
        match call.turn.sort {
            Sort::Question => self.questions.push_back(call),
            Sort::Notice { .. } => drop(self.notices.insert(key, call)),
            Sort::Unpublish { .. } => drop(self.unpublishes.insert(key, call)),
        }
    }
}

impl Endpoint {
    /// An endpoint with one thread.
    ///
    /// # Errors
    /// Its certificates cannot be used, or the system starts no thread.
    pub(super) fn new(key: EndpointKey) -> Result<Self, String> {
        let agent = key.agent()?;
        Endpoint::calling(key, Box::new(move |key, call, timeout| post(&agent, key, call, timeout)), IDLE)
    }

    pub(super) fn calling(key: EndpointKey, post: Box<Post>, idle: Duration) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            complaints: Complaints::new(key.url.to_string()),
            health: Health::default(),
            post,
            idle,
            key,
            questions: AtomicUsize::new(0),
            notices: AtomicUsize::new(0),
            queue: Mutex::default(),
            work: Condvar::new(),
        });
        shared.queue().workers = 1;
        shared.begin_work().map_err(|error| format!("hooks: cannot start a thread for {}: {error}", shared.key.url))?;
        Ok(Endpoint { shared })
    }

    pub(super) fn key(&self) -> &EndpointKey {
        &self.shared.key
    }

    /// A place for one more call, if one is free. Notices share the memory for notices; its last quarter is only for
    /// the ends of streams.
    pub(super) fn admit(self: &Arc<Self>, sort: Sort) -> Option<Place> {
        let Shared { key, questions, notices, .. } = &*self.shared;
        let (count, more, most) = match sort {
            Sort::Question => (questions, 1, key.max_in_flight.saturating_add(key.queue)),
            Sort::Notice { bytes } => (notices, bytes, key.notice_memory - key.notice_memory / 4),
            Sort::Unpublish { bytes } => (notices, bytes, key.notice_memory),
        };
        let take = |count: usize| count.checked_add(more).filter(|count| *count <= most);
        let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok().then(|| Place { endpoint: self.clone(), sort })
    }

    /// Logs a problem, at a limited rate.
    pub(super) fn complain(&self, about: &About, what: &str) {
        self.shared.complaints.add(about, what);
    }

    /// How its calls went, and what waits.
    pub(super) fn state(&self) -> UrlState {
        let Shared { key, health, notices, .. } = &*self.shared;
        let queue = self.shared.queue();
        UrlState {
            questions_waiting: queue.questions.len(),
            notices_waiting: queue.notices.len() + queue.unpublishes.len(),
            notice_bytes: notices.load(Ordering::Relaxed),
            ..health.of(key.shown())
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.queue().over = true;
        self.shared.work.notify_all();
    }
}

impl Call {
    /// Gives the call to one of the endpoint's threads.
    pub(super) fn begin(self) {
        let Some(shared) = self.turn.held.as_ref().map(|(place, _)| place.endpoint.shared.clone()) else {
            return;
        };
        let about = self.about.clone();
        let mut queue = shared.queue();
        queue.push(Instant::now(), self);
        if queue.waiting() > queue.idle && queue.workers < shared.key.max_in_flight {
            queue.workers += 1;
            drop(queue);
            let Err(error) = shared.begin_work() else {
                return;
            };
            // The threads that are there make the calls one after the other.
            shared.queue().workers -= 1;
            shared.complaints.add(&about, &format!("cannot start another thread for its calls: {error}"));
        } else {
            drop(queue);
        }
        shared.work.notify_one();
    }
}

impl Shared {
    /// Starts a thread, which is already counted.
    fn begin_work(self: &Arc<Self>) -> io::Result<()> {
        let shared = self.clone();
        thread::Builder::new().name("hook".to_owned()).spawn(move || shared.work()).map(drop)
    }

    fn work(&self) {
        while let Some(call) = self.next() {
            // `serve` handles a panic of the call itself. If the code after the call panics, the thread still serves
            // other calls.
            if catch_unwind(AssertUnwindSafe(|| self.serve(call))).is_err() {
                let url = &self.key.url;
                error!(event = "bug", url = %url, "handling the reply of {url} panicked, which is a bug");
            }
        }
    }

    fn serve(&self, call: Call) {
        let (begun, in_flight) = (Instant::now(), self.health.begin());
        let made = catch_unwind(AssertUnwindSafe(|| self.make(&call)));
        let reply = made.unwrap_or_else(|_| Reply::Failed("the call panicked, which is a bug".to_owned()));
        drop(in_flight);
        self.health.note(&reply);
        call.turn.tally(|tally| tally.called(call.about.event, &reply, begun.elapsed()));
        match reply {
            Reply::Failed(why) if call.deadline.is_none() && call.retries > 0 => {
                self.complaints.add(&call.about, &format!("{why}; the notice will be repeated"));
                let due = Instant::now() + call.retry_after.min(LONGEST_WAIT);
                let retry_after = call.retry_after.saturating_mul(2).min(LONGEST_WAIT);
                self.queue().push(due, Call { retries: call.retries - 1, retry_after, ..call });
            }
            reply => call.turn.pass_on(reply),
        }
    }

    /// Waits for work. `None` when there was none for so long that the thread ends.
    fn next(&self) -> Option<Call> {
        let mut queue = self.queue();
        let leaves = Instant::now() + self.idle;
        loop {
            let now = Instant::now();
            if let Some(call) = queue.take(now) {
                return Some(call);
            }
            let last = queue.workers == 1;
            if queue.over || (now >= leaves && !last) {
                queue.workers -= 1;
                // Another thread must wake at the time for which this one waited.
                self.work.notify_one();
                return None;
            }
            let until = queue.due().into_iter().chain((!last).then_some(leaves)).min();
            queue.idle += 1;
            queue = match until {
                Some(until) => {
                    let woken = self.work.wait_timeout(queue, until.saturating_duration_since(now));
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
            queue.idle -= 1;
        }
    }

    fn make(&self, call: &Call) -> Reply {
        let mut again = true;
        loop {
            let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Reply::Failed("too many calls wait for this URL".to_owned());
            }
            match (self.post)(&self.key, call, left.filter(|left| *left < self.key.timeout)) {
                Ok(reply) => return reply,
                // The back end may have closed a kept connection just before this call.
                Err(Error::Io(error)) if again && is_stale(error.kind()) => again = false,
                // Without the word that ureq puts before the system's.
                Err(Error::Io(error)) => return Reply::Failed(error.to_string()),
                Err(error) => return Reply::Failed(error.to_string()),
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("key", &self.key).finish_non_exhaustive()
    }
}

fn post(agent: &Agent, key: &EndpointKey, call: &Call, timeout: Option<Duration>) -> Result<Reply, Error> {
    let start = Instant::now();
    let content_type = match key.form {
        Form::Srs => "application/json",
        Form::NginxRtmp => "application/x-www-form-urlencoded",
    };
    let request = agent.post(key.url.as_str()).content_type(content_type);
    let request = request.header("Connection", "Keep-Alive");
    let request = match timeout {
        // ureq prepares TLS again for a request with its own settings, so it gets them only where needed.
        Some(timeout) => request.config().timeout_global(Some(timeout)).build(),
        None => request,
    };
    let mut response = request.send(&*call.body)?;
    let status = response.status().as_u16();
    let location =
        response.headers().get("location").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec()?;
    // Not the body, because it has the client's secrets.
    let (url, conn, time) = (&key.url, call.about.connection, start.elapsed());
    debug!(
        event = "hook_called",
        conn,
        url = %url,
        status,
        seconds = time.as_secs_f64(),
        "{url} about conn {conn}: status {status} in {time:?}"
    );
    let of_forward = call.about.event == Event::Forward;
    Ok(match key.form {
        Form::Srs if of_forward => Reply::of_forward(status, &body),
        Form::Srs => Reply::of(status, &body),
        Form::NginxRtmp if of_forward => Reply::of_nginx_forward(status, location.as_deref()),
        Form::NginxRtmp => Reply::of_nginx(status, location.as_deref()),
    })
}

fn is_stale(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
