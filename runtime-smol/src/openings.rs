use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;

use anabranch_core::policy::one_client;
use anabranch_host::{Carrier, Entrance};
use rustls::Connection;

/// Most TLS handshakes that may wait to be computed. One more replaces the last one of the client that has most of
/// them.
const WAITING: usize = 512;
/// Most threads that compute handshakes.
const THREADS: usize = 4;

/// The threads' nice value (setpriority(2)): if other threads want the processor too, these threads get a tenth of it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Computes TLS handshakes on separate threads: a signature takes milliseconds, for which the threads that send media
/// would stop. These threads have a lower priority than all others, and clients take turns, by address.
#[derive(Debug, Default)]
pub(crate) struct Openings {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    by_client: HashMap<IpAddr, VecDeque<Job>>,
    /// Each client that has jobs in the queue, the next one first.
    turns: VecDeque<IpAddr>,
    count: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct Job {
    connection: Option<Box<Connection>>,
    opening: Arc<Opening>,
}

/// A handshake that is to be computed, as its connection sees it.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    state: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    is_finished: bool,
    done: Option<Done>,
    waker: Option<Waker>,
}

/// The result of a job.
#[derive(Debug)]
pub(crate) enum Done {
    Computed(Box<Connection>, Result<(), rustls::Error>),
    /// The job was dropped before it was computed.
    Dropped,
}

/// The threads that compute handshakes; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Openings);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Starts one thread for each processor, but at most [`THREADS`], if one of these listeners needs them.
///
/// # Panics
/// If the system cannot start any of them.
pub(crate) fn start<'scope, T>(
    scope: &'scope thread::Scope<'scope, '_>,
    openings: &'scope Openings,
    listeners: &[(T, Entrance)],
) -> Running<'scope> {
    let is_needed = listeners.iter().any(|(_, entrance)| !matches!(entrance.carrier, Carrier::Plain));
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    for number in 0..if is_needed { threads } else { 0 } {
        let thread = thread::Builder::new().name(format!("opening-{number}"));
        let started = thread.spawn_scoped(scope, || openings.run());
        assert!(number > 0 || started.is_ok(), "the system gives a thread");
    }
    Running(openings)
}

impl Openings {
    /// Has the bytes that the connection has received processed on another thread.
    pub(crate) fn compute(&self, client: IpAddr, connection: Box<Connection>) -> Arc<Opening> {
        let opening = Arc::new(Opening::default());
        let job = Job { connection: Some(connection), opening: opening.clone() };
        let mut queue = lock(&self.queue);
        let dropped = queue.push(one_client(client), job);
        drop(queue);
        // This wakes the dropped job's connection, so it happens after the queue is unlocked.
        drop(dropped);
        self.changed.notify_one();
        opening
    }

    /// Computes until [`close`](Self::close) is called.
    pub(crate) fn run(&self) {
        yield_to_others();
        loop {
            let mut queue = lock(&self.queue);
            let job = loop {
                if queue.is_closed {
                    return;
                }
                if let Some(job) = queue.pop() {
                    break job;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            job.compute();
        }
    }

    /// Ends the threads. Waiting jobs are dropped.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.is_closed = true;
        let left = std::mem::take(&mut queue.by_client);
        queue.turns.clear();
        drop(queue);
        drop(left);
        self.changed.notify_all();
    }
}

impl Queue {
    /// Adds a job. Returns the job that is dropped for it, if the queue is full.
    fn push(&mut self, client: IpAddr, job: Job) -> Option<Job> {
        if self.is_closed {
            return Some(job);
        }
        let jobs = self.by_client.entry(client).or_default();
        if jobs.is_empty() {
            self.turns.push_back(client);
        }
        jobs.push_back(job);
        self.count += 1;
        if self.count <= WAITING {
            return None;
        }
        let most = self.by_client.iter().max_by_key(|(_, jobs)| jobs.len()).map(|(client, _)| *client)?;
        let dropped = self.by_client.get_mut(&most)?.pop_back();
        self.count -= usize::from(dropped.is_some());
        dropped
    }

    fn pop(&mut self) -> Option<Job> {
        while let Some(client) = self.turns.pop_front() {
            let Some(jobs) = self.by_client.get_mut(&client) else {
                continue;
            };
            let job = jobs.pop_front();
            if jobs.is_empty() {
                self.by_client.remove(&client);
            } else {
                self.turns.push_back(client);
            }
            if let Some(job) = job {
                self.count -= 1;
                return Some(job);
            }
        }
        None
    }
}

impl Job {
    fn compute(mut self) {
        // If nothing else holds the opening, the connection is gone.
        if Arc::strong_count(&self.opening) == 1 {
            return;
        }
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let computed = catch_unwind(AssertUnwindSafe(|| {
            let result = connection.process_new_packets().map(drop);
            Done::Computed(connection, result)
        }));
        self.opening.finish(computed.unwrap_or(Done::Dropped));
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Has no effect if the job has a result. Otherwise the waiting connection is woken.
        self.opening.finish(Done::Dropped);
    }
}

impl Opening {
    /// Takes the result. If there is none yet, the task is woken when there is.
    pub(crate) fn take(&self, waker: &Waker) -> Option<Done> {
        let mut state = lock(&self.state);
        if state.done.is_none() {
            state.waker = Some(waker.clone());
        }
        state.done.take()
    }

    pub(crate) fn is_done(&self) -> bool {
        lock(&self.state).done.is_some()
    }

    /// Sets the result. Only the first call has an effect.
    fn finish(&self, done: Done) {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.is_finished, true) {
            state.done = Some(done);
        }
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Lowers this thread's priority below that of the threads that send media, on systems that have a priority for each
/// thread.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        // If the system refuses, the thread keeps its priority.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> (Job, Arc<Opening>) {
        let opening = Arc::new(Opening::default());
        (Job { connection: None, opening: opening.clone() }, opening)
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn clients_take_turns_however_many_they_send() {
        let (mut queue, mut openings) = (Queue::default(), Vec::new());
        for client in [1, 1, 1, 1, 2, 3, 2] {
            let (job, opening) = job();
            openings.push((client, opening));
            assert!(queue.push(address(client), job).is_none());
        }
        let next = |queue: &mut Queue| {
            let job = queue.pop()?;
            openings.iter().find(|(_, opening)| Arc::ptr_eq(opening, &job.opening)).map(|(client, _)| *client)
        };
        let turns: Vec<u8> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 1, 1]);
        assert!(queue.by_client.is_empty() && queue.turns.is_empty() && queue.count == 0);
    }

    #[test]
    fn a_full_queue_refuses_the_client_that_has_most_in_it() {
        let mut queue = Queue::default();
        let mut openings: Vec<_> = (0..WAITING)
            .map(|_| {
                let (job, opening) = job();
                assert!(queue.push(address(1), job).is_none());
                opening
            })
            .collect();
        let (other, theirs) = job();
        let dropped = queue.push(address(2), other).expect("one too many");
        assert!(Arc::ptr_eq(&dropped.opening, openings.last().expect("one")), "the last one of the first client");
        drop(dropped);
        let done = openings.pop().expect("one").take(Waker::noop());
        assert!(matches!(done, Some(Done::Dropped)), "its connection gets the result");
        assert!(theirs.take(Waker::noop()).is_none(), "it waits");
        assert_eq!(queue.count, WAITING);
        let (own, _own) = job();
        let dropped = queue.push(address(1), own).expect("one too many");
        assert!(Arc::ptr_eq(&dropped.opening, &_own));
    }

    #[test]
    fn closing_finishes_waiting_jobs() {
        let openings = Openings::default();
        let (job, opening) = job();
        assert!(lock(&openings.queue).push(address(1), job).is_none());
        openings.close();
        assert!(opening.is_done());
        openings.run();
    }
}
