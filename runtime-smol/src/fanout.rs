use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};

use anabranch_core::hub::StreamId;
use smol::future::yield_now;

use crate::connection::Connection;
use crate::server::Shared;

/// Connections served by a sweeper before other tasks get a turn.
const MEMBERS_PER_TURN: usize = 128;

/// The connections subscribed to every stream that has some.
#[derive(Debug)]
pub(crate) struct FanOuts {
    threads: usize,
    streams: Mutex<HashMap<StreamId, FanOut>>,
}

/// Those of one stream, spread over as many sweepers as there are threads.
#[derive(Debug)]
struct FanOut {
    sweepers: Box<[Arc<Sweeper>]>,
    members: usize,
}

/// A connection's place with a sweeper.
#[derive(Debug)]
pub(crate) struct Member {
    connection: Arc<Connection>,
    /// Weak: the sweeper holds its members.
    sweeper: Weak<Sweeper>,
    left: AtomicBool,
}

/// One task's share of a stream's connections.
#[derive(Debug, Default)]
struct Sweeper {
    /// Those that joined since the last turn.
    joining: Mutex<Vec<Arc<Member>>>,
    members: AtomicUsize,
    signal: Mutex<Signal>,
}

/// What a sweeper is asked to do.
#[derive(Debug, Default)]
struct Signal {
    /// Write to all of them.
    sweep: bool,
    /// Forget those that left.
    tidy: bool,
    stop: bool,
    waker: Option<Waker>,
}

impl FanOuts {
    pub(crate) fn new(threads: usize) -> Self {
        FanOuts { threads, streams: Mutex::default() }
    }

    /// Adds a connection to a stream.
    pub(crate) fn join(&self, shared: &Arc<Shared>, stream: StreamId, connection: Arc<Connection>) -> Arc<Member> {
        let mut streams = lock(&self.streams);
        let fanout = streams.entry(stream).or_insert_with(|| {
            let sweepers: Box<[_]> = (0..self.threads).map(|_| Arc::new(Sweeper::default())).collect();
            for sweeper in &sweepers {
                shared.spawn(sweep(shared.clone(), sweeper.clone()));
            }
            FanOut { sweepers, members: 0 }
        });
        fanout.members += 1;
        let fewest = fanout.sweepers.iter().min_by_key(|sweeper| sweeper.members.load(Ordering::Relaxed));
        let sweeper = fewest.expect("there is at least one thread").clone();
        sweeper.members.fetch_add(1, Ordering::Relaxed);
        let left = AtomicBool::new(false);
        let member = Arc::new(Member { connection, sweeper: Arc::downgrade(&sweeper), left });
        lock(&sweeper.joining).push(member.clone());
        member
    }

    /// Removes a connection from a stream.
    pub(crate) fn leave(&self, stream: StreamId, member: &Member) {
        member.left.store(true, Ordering::Release);
        let sweeper = member.sweeper.upgrade();
        if let Some(sweeper) = &sweeper {
            sweeper.members.fetch_sub(1, Ordering::Relaxed);
        }
        let mut streams = lock(&self.streams);
        let Some(fanout) = streams.get_mut(&stream) else {
            return;
        };
        fanout.members -= 1;
        if fanout.members > 0 {
            if let Some(sweeper) = sweeper {
                sweeper.signal(|signal| signal.tidy = true);
            }
        } else if let Some(fanout) = streams.remove(&stream) {
            for sweeper in &fanout.sweepers {
                sweeper.signal(|signal| signal.stop = true);
            }
        }
    }

    /// Has all connections of a stream written to.
    pub(crate) fn wake(&self, stream: StreamId) {
        if let Some(fanout) = lock(&self.streams).get(&stream) {
            for sweeper in &fanout.sweepers {
                if sweeper.members.load(Ordering::Relaxed) > 0 {
                    sweeper.signal(|signal| signal.sweep = true);
                }
            }
        }
    }
}

impl Sweeper {
    fn signal(&self, ask: impl FnOnce(&mut Signal)) {
        let waker = {
            let mut signal = lock(&self.signal);
            ask(&mut signal);
            signal.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until something is asked; returns it and forgets it.
    async fn asked(&self) -> Signal {
        poll_fn(|context| {
            let mut signal = lock(&self.signal);
            if signal.sweep || signal.tidy || signal.stop {
                return Poll::Ready(std::mem::take(&mut *signal));
            }
            signal.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// The task of a sweeper. The list of its members is its own: no lock is held while it writes to them.
async fn sweep(shared: Arc<Shared>, sweeper: Arc<Sweeper>) {
    let mut members: Vec<Arc<Member>> = Vec::new();
    loop {
        let signal = sweeper.asked().await;
        if signal.stop {
            // Who joins from now on has another sweeper.
            lock(&sweeper.joining).clear();
            return;
        }
        members.append(&mut lock(&sweeper.joining));
        members.retain(|member| !member.left.load(Ordering::Acquire));
        if !signal.sweep {
            continue;
        }
        for (index, member) in members.iter().enumerate() {
            if index % MEMBERS_PER_TURN == MEMBERS_PER_TURN - 1 {
                yield_now().await;
            }
            member.connection.sweep(&shared);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
