use std::collections::HashMap;
use std::future::poll_fn;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use anabranch_core::conn::Batches;
use anabranch_core::hub::StreamId;
use anabranch_core::pacing::StreamPace;
use smol::future::yield_now;

use crate::connection::Connection;
use crate::worker::Local;

/// Connections served by a sweeper before other tasks get a turn.
const MEMBERS_PER_TURN: usize = 128;
/// How many connections ahead a sweeper touches before it writes to them: the processor loads several cache lines from
/// memory in the time of one.
const MEMBERS_AHEAD: usize = 8;

/// The connections of one thread that are subscribed to streams.
#[derive(Debug, Default)]
pub(crate) struct FanOuts {
    streams: Mutex<HashMap<StreamId, FanOut>>,
}

/// The connections of one stream.
#[derive(Debug)]
struct FanOut {
    sweeper: Arc<Sweeper>,
    /// How long its frames wait; `None` if the stream was gone already.
    pace: Option<Arc<StreamPace>>,
    members: usize,
}

/// A connection's membership with a sweeper.
#[derive(Debug)]
pub(crate) struct Member {
    /// Weak: the sweeper holds its members.
    sweeper: Weak<Sweeper>,
    left: AtomicBool,
}

/// A member in a sweeper's list. A sweeper goes through thousands of members in each merge window, so it reads as
/// little of each as possible.
type Seat = (Arc<Connection>, Arc<Member>);

/// The task that writes to a stream's connections.
#[derive(Debug, Default)]
struct Sweeper {
    /// The members that joined since the last turn.
    joining: Mutex<Vec<Seat>>,
    signal: Mutex<Signal>,
}

/// What a sweeper is asked to do.
#[derive(Debug, Default)]
struct Signal {
    /// Write to all members.
    sweep: bool,
    /// Remove the members that left.
    tidy: bool,
    stop: bool,
    waker: Option<Waker>,
}

impl FanOuts {
    /// Adds a connection of this thread to a stream.
    pub(crate) fn join(&self, local: &Rc<Local>, stream: StreamId, connection: Arc<Connection>) -> Arc<Member> {
        let mut streams = lock(&self.streams);
        let fanout = streams.entry(stream).or_insert_with(|| {
            let sweeper = Arc::new(Sweeper::default());
            let pace = local.shared.host.core().hub().pace(stream);
            if let Some(pace) = &pace {
                local.load().join(pace.clone());
            }
            local.spawn(sweep(local.clone(), pace.clone(), sweeper.clone()));
            FanOut { sweeper, pace, members: 0 }
        });
        fanout.members += 1;
        let sweeper = Arc::downgrade(&fanout.sweeper);
        let member = Arc::new(Member { sweeper, left: AtomicBool::new(false) });
        lock(&fanout.sweeper.joining).push((connection, member.clone()));
        member
    }

    /// Removes a connection from a stream.
    pub(crate) fn leave(&self, local: &Local, stream: StreamId, member: &Member) {
        member.left.store(true, Ordering::Release);
        let mut streams = lock(&self.streams);
        let Some(fanout) = streams.get_mut(&stream) else {
            return;
        };
        fanout.members -= 1;
        if fanout.members > 0 {
            if let Some(sweeper) = member.sweeper.upgrade() {
                sweeper.signal(|signal| signal.tidy = true);
            }
        } else if let Some(fanout) = streams.remove(&stream) {
            if let Some(pace) = &fanout.pace {
                local.load().leave(pace);
            }
            fanout.sweeper.signal(|signal| signal.stop = true);
        }
    }

    /// Has a sweeper write to all connections of a stream. Called from any thread.
    pub(crate) fn wake(&self, stream: StreamId) {
        if let Some(fanout) = lock(&self.streams).get(&stream) {
            fanout.sweeper.signal(|signal| signal.sweep = true);
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

    /// Waits for a request; returns and clears it.
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

/// The task of a sweeper. Only this task uses its list of members: it holds no lock while it writes to them.
async fn sweep(local: Rc<Local>, pace: Option<Arc<StreamPace>>, sweeper: Arc<Sweeper>) {
    let mut members: Vec<Seat> = Vec::new();
    loop {
        let signal = sweeper.asked().await;
        if signal.stop {
            // Connections that join from now on get a new sweeper.
            lock(&sweeper.joining).clear();
            return;
        }
        members.append(&mut lock(&sweeper.joining));
        if signal.tidy {
            members.retain(|(_, member)| !member.left.load(Ordering::Acquire));
        }
        if !signal.sweep {
            continue;
        }
        let (mut batches, began) = (Batches::default(), Instant::now());
        let (mut now, mut took) = (began, Duration::ZERO);
        for (index, (connection, _)) in members.iter().enumerate() {
            if index % MEMBERS_PER_TURN == MEMBERS_PER_TURN - 1 {
                took += now.elapsed();
                yield_now().await;
                now = Instant::now();
            }
            if index % MEMBERS_AHEAD == 0 {
                let ahead = members[index..].iter().take(MEMBERS_AHEAD);
                black_box(ahead.map(|(connection, _)| connection.touch()).fold(0, usize::wrapping_add));
            }
            connection.sweep(&local, now, &mut batches);
        }
        if let Some(pace) = &pace {
            let end = Instant::now();
            local.load().swept(end, pace, began, members.len(), took + (end - now));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
