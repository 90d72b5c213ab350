use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::debug;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use super::complaints::Complaints;
use super::order::Order;
use super::reply::Reply;
use super::settings::{HookSettings, HookUrl};

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);
/// How long a connection without work is kept: less than the five seconds after which many servers close theirs.
const KEEP: Duration = Duration::from_secs(4);
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 64 << 10;
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One call of one URL.
#[derive(Debug)]
pub(super) struct Call {
    /// The client it is about.
    pub(super) connection: u64,
    pub(super) body: Arc<str>,
    /// When a question must be answered; none for what is only told.
    pub(super) deadline: Option<Instant>,
    /// Repetitions that are left, and the wait before the next.
    pub(super) retries: u32,
    pub(super) retry_after: Duration,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Somebody waits for the answer.
    Question,
    Notice,
}

impl Call {
    fn sort(&self) -> Sort {
        if self.deadline.is_some() { Sort::Question } else { Sort::Notice }
    }
}

/// What makes two URLs one endpoint: they share its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointKey {
    url: HookUrl,
    timeout: Duration,
    max_in_flight: usize,
    queue: usize,
    /// The certificates themselves: the file may be another one by now.
    certificates: Option<Vec<u8>>,
    verify_tls: bool,
    user_agent: String,
}

impl EndpointKey {
    /// The endpoint of a URL under these settings.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub(super) fn new(url: &HookUrl, settings: &HookSettings) -> Result<Self, String> {
        let read = |path: &std::path::PathBuf| {
            fs::read(path).map_err(|error| format!("hooks: ca_file {}: {error}", path.display()))
        };
        Ok(EndpointKey {
            url: url.clone(),
            timeout: settings.timeout.0,
            max_in_flight: settings.max_in_flight.clamp(1, 1024),
            queue: settings.queue,
            certificates: Some(&settings.ca_file).filter(|path| !path.as_os_str().is_empty()).map(read).transpose()?,
            verify_tls: settings.verify_tls,
            user_agent: settings.user_agent.clone(),
        })
    }

    fn agent(&self) -> Result<Agent, String> {
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
                    return Err("hooks: ca_file: there is no certificate in it".to_owned());
                }
                RootCerts::from(certificates)
            }
        };
        let tls = TlsConfig::builder().root_certs(root_certs).disable_verification(!self.verify_tls).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            // The environment's proxy is for the outer world; back ends are next door.
            .proxy(None)
            // SRS follows none either, and a redirected POST would come as a GET.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(self.timeout))
            .user_agent(self.user_agent.as_str())
            .max_idle_connections(self.max_in_flight)
            .max_idle_connections_per_host(self.max_in_flight)
            .max_idle_age(KEEP);
        Ok(config.build().new_agent())
    }
}

/// A URL that is called: a bounded queue, and at most so many threads that call. An endpoint that is slow or dead is so
/// for itself.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) key: EndpointKey,
    agent: Agent,
    complaints: Complaints,
    /// Calls that were admitted and are not over, wherever they wait.
    questions: AtomicUsize,
    /// Counted for themselves: what waits to be repeated must not keep clients out.
    notices: AtomicUsize,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    questions: VecDeque<Call>,
    /// By the time from which they may be made, in the order in which they came.
    notices: BTreeMap<(Instant, u64), Call>,
    next: u64,
    workers: usize,
    idle: usize,
    /// Whose turn it is when there are both.
    questions_turn: bool,
}

impl Queue {
    /// The next call that may be made now.
    fn take(&mut self, now: Instant) -> Option<Call> {
        let notice = self.notices.keys().next().copied().filter(|(due, _)| *due <= now);
        self.questions_turn = !self.questions_turn;
        match notice {
            Some(key) if !self.questions_turn || self.questions.is_empty() => self.notices.remove(&key),
            _ => self.questions.pop_front(),
        }
    }

    fn waiting(&self) -> usize {
        self.questions.len() + self.notices.len()
    }

    fn push_notice(&mut self, due: Instant, call: Call) {
        self.notices.insert((due, self.next), call);
        self.next += 1;
    }
}

impl Endpoint {
    /// An endpoint without threads so far.
    ///
    /// # Errors
    /// Its certificates cannot be used.
    pub(super) fn new(key: EndpointKey) -> Result<Self, String> {
        let agent = key.agent()?;
        Ok(Endpoint {
            complaints: Complaints::new(key.url.to_string()),
            agent,
            key,
            questions: AtomicUsize::new(0),
            notices: AtomicUsize::new(0),
            queue: Mutex::default(),
            work: Condvar::new(),
        })
    }

    /// Takes a place for one more call, to be given back by [`leave`](Self::leave). False if there is none.
    pub(super) fn admit(&self, sort: Sort) -> bool {
        let places = self.key.max_in_flight.saturating_add(self.key.queue);
        let more = |count| (count < places).then_some(count + 1);
        self.count(sort).fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn leave(&self, sort: Sort) {
        self.count(sort).fetch_sub(1, Ordering::Relaxed);
    }

    fn count(&self, sort: Sort) -> &AtomicUsize {
        match sort {
            Sort::Question => &self.questions,
            Sort::Notice => &self.notices,
        }
    }

    /// Something did not go as it should; told in the log, but not each time.
    pub(super) fn complain(&self, what: &str) {
        self.complaints.add(what);
    }

    /// Has a call made by one of its threads.
    pub(super) fn push(self: &Arc<Self>, call: Call, order: &Arc<Order>) {
        let mut queue = self.queue();
        match call.sort() {
            Sort::Question => queue.questions.push_back(call),
            Sort::Notice => queue.push_notice(Instant::now(), call),
        }
        if queue.waiting() <= queue.idle || queue.workers >= self.key.max_in_flight {
            drop(queue);
            self.work.notify_one();
            return;
        }
        queue.workers += 1;
        drop(queue);
        let (endpoint, order) = (self.clone(), order.clone());
        let thread = thread::Builder::new().name("hook".to_owned()).spawn(move || endpoint.work(&order));
        if let Err(error) = thread {
            // What waits is seen to with the next call; the core does not wait for the answer longer than it should.
            self.queue().workers -= 1;
            self.complain(&format!("no thread for it: {error}"));
        }
    }

    fn work(&self, order: &Arc<Order>) {
        while let Some(call) = self.next() {
            let reply = self.make(&call);
            match reply {
                Reply::Failed(why) if call.sort() == Sort::Notice && call.retries > 0 => {
                    self.complain(&format!("{why}; it is told again"));
                    let due = Instant::now() + call.retry_after.min(LONGEST_WAIT);
                    let retry_after = call.retry_after.saturating_mul(2).min(LONGEST_WAIT);
                    let again = Call { retries: call.retries - 1, retry_after, ..call };
                    self.queue().push_notice(due, again);
                }
                reply => {
                    self.leave(call.sort());
                    order.finish(self, call.connection, reply);
                }
            }
        }
    }

    /// Waits for work. None: there was none for so long that the thread may go.
    fn next(&self) -> Option<Call> {
        let mut queue = self.queue();
        let leaves = Instant::now() + IDLE;
        loop {
            let now = Instant::now();
            if let Some(call) = queue.take(now) {
                return Some(call);
            }
            let due = queue.notices.keys().next().map(|(due, _)| *due);
            // What is to be repeated needs one to do it.
            if now >= leaves && (due.is_none() || queue.workers > 1) {
                queue.workers -= 1;
                return None;
            }
            let until = due.map_or(leaves, |due| if now < leaves { due.min(leaves) } else { due });
            queue.idle += 1;
            let woken = self.work.wait_timeout(queue, until.saturating_duration_since(now));
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
            queue.idle -= 1;
        }
    }

    fn make(&self, call: &Call) -> Reply {
        let mut again = true;
        loop {
            let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Reply::Failed("too many calls wait before it".to_owned());
            }
            match self.post(call, left.filter(|left| *left < self.key.timeout)) {
                Ok(reply) => return reply,
                // A connection that was kept may have been closed by the back end the moment before.
                Err(Error::Io(error)) if again && is_stale(error.kind()) => again = false,
                Err(error) => return Reply::Failed(error.to_string()),
            }
        }
    }

    fn post(&self, call: &Call, timeout: Option<Duration>) -> Result<Reply, Error> {
        let start = Instant::now();
        let request = self.agent.post(self.key.url.as_str()).content_type("application/json");
        let request = request.header("Connection", "Keep-Alive");
        let request = match timeout {
            // A request with settings of its own has its TLS prepared anew: only where it is needed.
            Some(timeout) => request.config().timeout_global(Some(timeout)).build(),
            None => request,
        };
        let mut response = request.send(&*call.body)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        // Not the body, in which the client's secrets are.
        debug!("{} about conn {}: status {status} in {:?}", self.key.url, call.connection, start.elapsed());
        Ok(Reply::of(status, &body))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_stale(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
