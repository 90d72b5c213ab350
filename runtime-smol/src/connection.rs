use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use anabranch_core::conn::{Action, AnyConn, AnyOutput, Batches, Ended, Share};
use anabranch_core::hub::StreamId;
use anabranch_core::session::{CloseReason, Read, Wait};
use anabranch_host::{AnyLines, Link, Runtime, give_up};

use crate::deferred_read::DeferredRead;
use crate::fanout::Member;
use crate::transport::{Taken, Transport, Written, lost};
use crate::worker::{Arrival, LONGEST_TURN, Local};

/// Rounds of a connection's task before other tasks run: a peer that floods must not starve other connections.
const TURNS: usize = 8;

/// Why the core accepts written bytes that are reported to it here: they came from the same connection.
const ITS_OWN: &str = "the bytes came from this connection";

thread_local! {
    /// Each thread reads all its connections into one buffer: a connection that waits holds no read buffer.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into_boxed_slice());
}

/// A connection. Its task and the sweepers of the streams it is subscribed to run on one thread. Other threads only
/// change its core and wake its task, which does what follows from the change.
#[derive(Debug)]
// The fields that a sweep uses come first, in two cache lines that are loaded together: with thousands of connections,
// a connection is no longer in the cache when the next sweep comes to it.
#[repr(C, align(128))]
pub(crate) struct Connection {
    transport: Transport,
    /// The number of the socket in the thread's reactor.
    slot: usize,
    state: Mutex<State>,
    id: u64,
    lines: AnyLines,
}

#[derive(Debug)]
#[repr(C)]
struct State {
    /// True from when the socket takes no more bytes until the task finds it writable.
    full: bool,
    conn: AnyConn,
    wait: Wait,
    closed: Option<Box<Ended>>,
    /// True once a panic ended the connection.
    abandoned: bool,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// The connection's membership with the sweeper of each stream it is subscribed to: nearly always one or none.
    places: Vec<(StreamId, Arc<Member>)>,
}

impl Connection {
    /// Takes over a connection that was just made.
    pub(crate) fn start(local: &Rc<Local>, arrival: Arrival) {
        let Arrival { mut socket, peer, opened } = arrival;
        let registered = local.reactor().register(&mut socket);
        let slot = match registered {
            Ok(slot) => slot,
            Err(error) => {
                local.shared.host.not_served(peer, &error);
                local.worker().connections.fetch_sub(1, Ordering::Relaxed);
                opened.give_up(&local.shared);
                return;
            }
        };
        let host = &local.shared.host;
        let (conn, lines, transport) = opened.open(host, socket, peer);
        let id = conn.id();
        let state = State {
            conn,
            full: false,
            wait: Wait::default(),
            closed: None,
            abandoned: false,
            waker: None,
            places: Vec::new(),
        };
        let connection = Arc::new(Connection { id, lines, transport, slot, state: Mutex::new(state) });
        host.enter(id, &connection);
        local.spawn(Task { connection, local: local.clone(), deferred_read: DeferredRead::default() });
    }

    /// Reads fields of the connection, only to load them into the cache.
    pub(crate) fn touch(&self) -> usize {
        self.slot.wrapping_add(usize::from(self.transport.touch()))
    }

    /// Writes what is new in a stream. If the socket is full, the connection's task writes later.
    pub(crate) fn sweep(self: &Arc<Self>, local: &Rc<Local>, now: Instant, batches: &mut Batches) {
        let swept = catch_unwind(AssertUnwindSafe(|| {
            let mut state = self.state();
            if state.full && !state.conn.has_large_queue() {
                return;
            }
            match state.conn.share(batches) {
                None => self.serve(local, state),
                Some(share) => {
                    drop(state);
                    self.write_share(local, now, share);
                }
            }
        }));
        if swept.is_err() {
            self.abandon(local);
        }
    }

    /// Ends the connection after a panic in code that served it. Its core is not polled again.
    fn abandon(&self, local: &Local) {
        self.transport.cut();
        if std::mem::replace(&mut self.state().abandoned, true) {
            return;
        }
        // Without the lock, because this writes to the log.
        local.shared.host.abandon(self.id);
        let (places, orphaned) = {
            let mut state = self.state();
            state.wake();
            (std::mem::take(&mut state.places), give_up(&mut state.conn))
        };
        local.shared.host.gave_up(self.id);
        for (stream, member) in places {
            local.worker().fanouts.leave(local, stream, &member);
        }
        orphaned.into_iter().for_each(|stream| local.shared.wake(stream));
    }

    /// Does what the core asks for and writes what it has queued, until the socket is full or nothing is left. The
    /// connection's own task and sweepers call this.
    fn serve<'a>(self: &'a Arc<Self>, local: &Rc<Local>, mut state: MutexGuard<'a, State>) {
        loop {
            if state.closed.is_some() || state.abandoned {
                return;
            }
            match state.conn.poll(Instant::now()) {
                AnyOutput::Action(action) => {
                    // Without the lock, because the action may call back into this connection.
                    drop(state);
                    self.act(local, action);
                    state = self.state();
                }
                AnyOutput::Wait(wait) => {
                    if !wait.write || state.full {
                        state.set_wait(wait);
                        return;
                    }
                    // Other threads may change the core during the write; what that queues is sent after these bytes.
                    let Some(mut lent) = state.conn.outbound().lend() else {
                        continue;
                    };
                    drop(state);
                    let written = self.transport.write(&mut lent);
                    state = self.state();
                    state.conn.outbound().restore(lent).expect(ITS_OWN);
                    match written {
                        Ok(Written::All) => {}
                        Ok(Written::Full) => state.fill(local, self.slot),
                        Err(error) => state.conn.handle_disconnect(Instant::now(), lost(&error)),
                    }
                }
                AnyOutput::Closed(ended) => {
                    state.closed = Some(Box::new(ended));
                    state.wake();
                }
            }
        }
    }

    /// Writes bytes that other players get too, with one call. If not all bytes are written, `serve` does the rest.
    fn write_share(self: &Arc<Self>, local: &Rc<Local>, now: Instant, share: Share) {
        let offered = share.bytes().len();
        let written = self.transport.write_once(share.bytes());
        let mut state = self.state();
        let count = *written.as_ref().unwrap_or(&0);
        let goes_on = state.conn.wrote(now, share, count).expect(ITS_OWN);
        if self.transport.is_full() {
            state.fill(local, self.slot);
        }
        if goes_on {
            return;
        }
        match written {
            Err(error) => state.conn.handle_disconnect(now, lost(&error)),
            // Nothing was written: `serve` writes again and learns why.
            Ok(count) if 0 < count && count < offered => state.fill(local, self.slot),
            Ok(_) => {}
        }
        self.serve(local, state);
    }

    fn act(self: &Arc<Self>, local: &Rc<Local>, action: Action) {
        match action {
            Action::Subscribe(stream) => {
                let member = local.worker().fanouts.join(local, stream, self.clone());
                let places = &mut self.state().places;
                places.reserve_exact(1);
                places.push((stream, member));
            }
            Action::Unsubscribe(stream) => {
                let left = {
                    let places = &mut self.state().places;
                    let index = places.iter().position(|(place, _)| *place == stream);
                    index.map(|index| places.swap_remove(index))
                };
                if let Some((_, member)) = left {
                    local.worker().fanouts.leave(local, stream, &member);
                }
            }
            Action::Wake(stream) => local.shared.wake(stream),
            Action::Finish => self.transport.finish(),
            other => local.shared.host.act(other, &self.lines, self),
        }
    }

    /// Reads once, outside the lock.
    fn read(&self, local: &Local, size: usize, client: Option<SocketAddr>, waker: &Waker) -> Taken {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size.min(buffer.len());
            let result = self.transport.read(&mut buffer[..size], client, &local.shared, waker);
            match &result {
                // With TLS, the rest may already be out of the socket, which then has no event for it.
                Ok(count) if *count == size || self.transport.has_more() => local.reactor().more_to_read(self.slot),
                Ok(_) => local.reactor().all_read(self.slot),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => local.reactor().would_block(self.slot),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => local.reactor().more_to_read(self.slot),
                Err(_) => {}
            }
            let conn = &mut self.state().conn;
            match result {
                Ok(0) => conn.handle_disconnect(Instant::now(), CloseReason::PeerClosed),
                Ok(count) => {
                    conn.handle_input(Instant::now(), &buffer[..count]);
                    return if count == size || self.transport.has_more() { Taken::Whole } else { Taken::Some };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Taken::Whole,
                Err(error) => conn.handle_disconnect(Instant::now(), lost(&error)),
            }
            Taken::Nothing
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Connection {
    fn change(&self, change: &mut dyn FnMut(&mut AnyConn)) {
        let mut state = self.state();
        change(&mut state.conn);
        state.wake();
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.transport.socket().local_addr().ok()
    }

    fn inspect(&self, look: &mut dyn FnMut(&AnyConn)) {
        look(&self.state().conn);
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Notes that the socket takes no more bytes.
    fn fill(&mut self, local: &Local, slot: usize) {
        self.full = true;
        // An earlier writable event is out of date: clear it, and wait for the next.
        local.reactor().take_writable(slot);
    }

    /// Stores what the core waits for. Wakes the task if its deadline is now earlier, or if it may read again.
    fn set_wait(&mut self, wait: Wait) {
        let earlier = match (wait.deadline(), self.wait.deadline()) {
            (Some(new), Some(old)) => new < old,
            (new, None) => new.is_some(),
            (None, Some(_)) => false,
        };
        let reads = wait.read.is_some() && self.wait.read.is_none();
        self.wait = wait;
        if earlier || reads {
            self.wake();
        }
    }
}

/// The task of a connection: reads, checks deadlines, and waits for a full socket to drain.
struct Task {
    connection: Arc<Connection>,
    local: Rc<Local>,
    deferred_read: DeferredRead,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // A panic here would end the thread, and with it all connections that the thread serves.
        let turns = catch_unwind(AssertUnwindSafe(|| self.poll_turns(context)));
        turns.unwrap_or_else(|_| {
            self.connection.abandon(&self.local);
            Poll::Ready(())
        })
    }
}

impl Task {
    fn poll_turns(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (connection, local) = (self.connection.clone(), self.local.clone());
        let (slot, began) = (connection.slot, Instant::now());
        for _ in 0..TURNS {
            let mut state = connection.state();
            // The waker is stored first, so that any change after this look wakes the task.
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            if state.full && local.reactor().take_writable(slot) {
                match connection.transport.flush() {
                    Ok(written) => state.full = written == Written::Full,
                    Err(error) => state.conn.handle_disconnect(Instant::now(), lost(&error)),
                }
            }
            let mut read = None;
            let reads = state.wait.read.filter(|_| self.may_read());
            if let Some(Read { most, .. }) = reads {
                let client = state.conn.peer();
                drop(state);
                read = Some(connection.read(&local, most, client, context.waker()));
                state = connection.state();
                if connection.transport.is_full() {
                    state.fill(&local, slot);
                }
            }
            // After the read: what was read may be sent in the same write, or may be what the deadline waited for.
            let due = state.wait.due.and_then(|_| state.wait.due_by(Instant::now()));
            if due.is_some() {
                state.conn.handle_timeout(Instant::now());
            }
            connection.serve(&local, state);
            if let Some(due) = due {
                connection.lines.deadline(due);
            }
            let mut state = connection.state();
            if state.abandoned {
                return Poll::Ready(());
            }
            if let Some(ended) = state.closed.take() {
                drop(state);
                connection.transport.end();
                local.shared.host.leave(connection.id, &connection.lines, &ended);
                return Poll::Ready(());
            }
            if let Some(taken) = read {
                // If a read filled the buffer, there may be more in the socket.
                let next = state.wait.read.filter(|_| taken != Taken::Whole).and_then(|read| read.from);
                self.deferred_read.choose(&mut local.reactor(), slot, &connection.transport, next);
            }
            let next_read = self.deferred_read.next_read().filter(|_| state.wait.read.is_some());
            let deadline = state.wait.deadline().into_iter().chain(next_read).min();
            local.reactor().park(slot, context.waker(), deadline);
            if !(state.wait.read.is_some() && self.may_read()) {
                return Poll::Pending;
            }
            // A buffer holds up to sixty thousand of the shortest messages, and each of them takes time.
            if read == Some(Taken::Whole) || began.elapsed() >= LONGEST_TURN {
                break;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Task {
    fn may_read(&self) -> bool {
        let connection = &self.connection;
        self.deferred_read.may_read(&self.local.reactor(), connection.slot) || connection.transport.has_news()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.local.reactor().release(self.connection.slot);
        self.local.worker().connections.fetch_sub(1, Ordering::Relaxed);
    }
}
