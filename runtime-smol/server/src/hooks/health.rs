use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::reply::Reply;

/// How the calls to one URL went.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
    in_flight: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    failed: u64,
    failures_in_a_row: u64,
    last_failure: Option<(SystemTime, String)>,
    last_success: Option<SystemTime>,
}

/// A call under way. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Health {
    /// A call begins.
    pub(super) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// A call has ended. A refusal is an answer, and not a failure.
    pub(super) fn note(&self, reply: &Reply) {
        let mut state = self.state();
        state.calls += 1;
        if let Reply::Failed(why) = reply {
            state.failed += 1;
            state.failures_in_a_row += 1;
            state.last_failure = Some((SystemTime::now(), why.clone()));
        } else {
            state.failures_in_a_row = 0;
            state.last_success = Some(SystemTime::now());
        }
    }

    /// The state of the URL; the endpoint adds its queues.
    pub(super) fn of(&self, url: String) -> UrlState {
        let State { calls, failed, failures_in_a_row, last_failure, last_success } = &*self.state();
        UrlState {
            url,
            calls: Vec::new(),
            vhosts: Vec::new(),
            applications: Vec::new(),
            made: *calls,
            failed: *failed,
            failures_in_a_row: *failures_in_a_row,
            last_failure: last_failure.clone(),
            last_success: *last_success,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            questions_waiting: 0,
            notices_waiting: 0,
            notice_bytes: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of one URL that hooks call.
#[derive(Debug, Clone)]
pub(crate) struct UrlState {
    /// The URL without user, password and query.
    pub(crate) url: String,
    /// The calls that go to it.
    pub(crate) calls: Vec<&'static str>,
    /// The virtual hosts whose calls go to it; an empty name for those without their own settings.
    pub(crate) vhosts: Vec<String>,
    /// The applications whose calls go to it because of their own settings: the virtual host and the patterns.
    pub(crate) applications: Vec<(String, String)>,
    /// Calls made so far, repetitions included, and how many of them failed.
    pub(crate) made: u64,
    pub(crate) failed: u64,
    /// How many of the last calls failed, without one that did not.
    pub(crate) failures_in_a_row: u64,
    pub(crate) last_failure: Option<(SystemTime, String)>,
    pub(crate) last_success: Option<SystemTime>,
    /// Calls under way.
    pub(crate) in_flight: usize,
    /// Calls that wait, those included that wait to be repeated.
    pub(crate) questions_waiting: usize,
    pub(crate) notices_waiting: usize,
    /// Memory of the notices that are not delivered yet.
    pub(crate) notice_bytes: usize,
}

impl UrlState {
    /// A call of a virtual host, or of one of its applications, goes to it.
    pub(super) fn add(&mut self, call: &'static str, vhost: &str, application: Option<&str>) {
        insert(&mut self.calls, call);
        insert(&mut self.vhosts, vhost.to_owned());
        if let Some(application) = application {
            insert(&mut self.applications, (vhost.to_owned(), application.to_owned()));
        }
    }

    /// Adds what happened at another endpoint with this URL. It fails if one of them fails.
    pub(super) fn merge(&mut self, other: UrlState) {
        self.made += other.made;
        self.failed += other.failed;
        // The error that is shown is that of an endpoint that fails, if one does.
        let (ours, theirs) = (self.is_failing(), other.is_failing());
        let time = |failure: &Option<(SystemTime, String)>| failure.as_ref().map(|(time, _)| *time);
        if (theirs, time(&other.last_failure)) > (ours, time(&self.last_failure)) {
            self.last_failure = other.last_failure;
        }
        self.failures_in_a_row = self.failures_in_a_row.max(other.failures_in_a_row);
        self.last_success = self.last_success.max(other.last_success);
        self.in_flight += other.in_flight;
        self.questions_waiting += other.questions_waiting;
        self.notices_waiting += other.notices_waiting;
        self.notice_bytes += other.notice_bytes;
    }

    /// True if the last call failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures_in_a_row > 0
    }
}

/// Adds a value to a sorted list that has each value once.
fn insert<T: Ord>(list: &mut Vec<T>, value: T) {
    if let Err(place) = list.binary_search(&value) {
        list.insert(place, value);
    }
}
