use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Accepts, Action, AnyConn, AnyOutput, Batches, Ended};
use anabranch_core::relay::Uplink;
use anabranch_core::session::{CloseReason, Wait};
use anabranch_host::{AnyLines, Link, Runtime, give_up};

use crate::server::Shared;
use crate::transport::Transport;
use crate::write::lost;

/// Address space for the stack of each thread. Only pages that were touched take memory, mostly two to eight. Both
/// threads may decode what a peer sent; the deepest recursion is for nested values, of which the configuration allows
/// at most 128 levels. Without optimization these take between 768 and 896 KiB, and the default of 32 levels takes less
/// than 256 KiB.
pub(crate) const STACK: usize = 1 << 20;
/// Bytes read at once. Each connection has its own buffer, because a blocking read needs the buffer before it starts.
const READ_BUFFER: usize = 16 << 10;
/// How long a write may block. After this time the core is polled: it gets the number of bytes written, closes a peer
/// that takes nothing, and handles what happened during the write. Only a write to a full socket takes this long.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the core accepts written bytes that are reported to it here: they came from the same connection.
const ITS_OWN: &str = "the bytes came from this connection";

/// A connection, shared by its two threads and those that wake it.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    lines: AnyLines,
    transport: Transport,
    state: Mutex<State>,
    /// Wakes the writer.
    writer: Condvar,
    /// Wakes the reader while it waits for the core to allow a read.
    reader: Condvar,
}

#[derive(Debug)]
struct State {
    conn: AnyConn,
    /// What the core waited for when it was last polled.
    wait: Wait,
    /// True while one of the threads does what the core asked for, or writes bytes that the core lent. It releases the
    /// lock for that time, and no other thread polls, so that actions are done in their order.
    busy: bool,
    /// True from the moment something happened until the core is polled.
    unpolled: bool,
    over: bool,
    writer: Writer,
    reader_waits: bool,
}

#[derive(Debug)]
enum Writer {
    /// The writer looks at the state again before it sleeps.
    Awake,
    /// The writer sleeps until this time, or until it is notified.
    Asleep(Option<Instant>),
}

impl Connection {
    /// Takes over a connection that was just accepted.
    pub(crate) fn start(shared: &Arc<Shared>, socket: TcpStream, peer: SocketAddr, accepts: Accepts) {
        let (conn, lines) = shared.host.open(&socket, peer, accepts);
        Connection::begin(shared, Transport::plain(socket), conn, lines);
    }

    /// Takes over a connection that the server has opened.
    pub(crate) fn start_outbound(shared: &Arc<Shared>, transport: Transport, uplink: Uplink) {
        let (conn, lines) = shared.host.open_uplink(transport.socket(), Box::new(uplink));
        Connection::begin(shared, transport, conn, lines);
    }

    fn begin(shared: &Arc<Shared>, transport: Transport, conn: AnyConn, lines: AnyLines) {
        let id = conn.id();
        let state = State {
            conn,
            wait: Wait::default(),
            busy: false,
            unpolled: true,
            over: false,
            writer: Writer::Awake,
            reader_waits: false,
        };
        let connection = Arc::new(Connection {
            id,
            lines,
            transport,
            state: Mutex::new(state),
            writer: Condvar::new(),
            reader: Condvar::new(),
        });
        shared.host.enter(id, &connection);
        if let Err(error) = connection.start_threads(shared) {
            connection.lines.not_served(&error);
            let mut state = connection.state();
            state.conn.handle_disconnect(Instant::now(), CloseReason::Closed("no threads left to serve it"));
            drop(connection.serve(shared, state));
        }
    }

    fn start_threads(self: &Arc<Self>, shared: &Arc<Shared>) -> io::Result<()> {
        self.transport.socket().set_write_timeout(Some(WRITE_TIMEOUT))?;
        let id = self.id;
        let (connection, its_shared) = (self.clone(), shared.clone());
        let writer = thread::Builder::new().name(format!("writer-{id}")).stack_size(STACK);
        writer.spawn(move || connection.guard(&its_shared, || connection.run_writer(&its_shared)))?;
        let (connection, its_shared) = (self.clone(), shared.clone());
        let reader = thread::Builder::new().name(format!("reader-{id}")).stack_size(STACK);
        reader.spawn(move || connection.guard(&its_shared, || connection.run_reader(&its_shared)))?;
        Ok(())
    }

    /// Runs one of the two threads. A panic in one must not leave the other thread, and the peer, waiting forever.
    fn guard(self: &Arc<Self>, shared: &Shared, life: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(life)).is_ok() {
            return;
        }
        self.hang_up();
        let first = !std::mem::replace(&mut self.state().over, true);
        let orphaned = first.then(|| {
            // Without the lock, because this writes to the log.
            shared.host.abandon(self.id);
            let orphaned = give_up(&mut self.state().conn);
            shared.host.gave_up(self.id);
            orphaned
        });
        self.writer.notify_one();
        self.reader.notify_one();
        if let Some(orphaned) = orphaned {
            shared.fanouts.forget(self);
            orphaned.into_iter().for_each(|stream| shared.wake(stream));
        }
    }

    /// Writes what is new in a stream. Bytes that other players get too are written at once, as far as the socket takes
    /// them without blocking; for everything else the writer is woken.
    pub(crate) fn sweep(&self, now: Instant, batches: &mut Batches) {
        let mut state = self.state();
        let is_idle = !state.busy && !state.unpolled && !state.over;
        if is_idle && let Some(share) = state.conn.share(batches) {
            state.busy = true;
            drop(state);
            let written = match self.transport.send_now(share.bytes()) {
                // The writer waits until the socket has room.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                written => written,
            };
            state = self.state();
            state.busy = false;
            let goes_on = state.conn.wrote(now, share, *written.as_ref().unwrap_or(&0)).expect(ITS_OWN);
            if let Err(error) = written {
                state.conn.handle_disconnect(now, lost(&error));
            } else if goes_on && !state.unpolled && !state.over {
                // The writer may have woken for its deadline during the write, and found the connection busy.
                let wakes = state.concerns_writer() && state.wake_writer();
                drop(state);
                if wakes {
                    self.writer.notify_one();
                }
                return;
            }
        }
        self.leave_to_writer(state);
    }

    /// Called when a sweep panicked: ends the connection, whose own threads clean up. The sweeper continues.
    pub(crate) fn break_off(&self) {
        self.state().busy = false;
        self.hang_up();
    }

    /// Has the core polled: by the thread that is busy, when it is done, or by the writer.
    fn leave_to_writer(&self, mut state: MutexGuard<'_, State>) {
        state.unpolled = true;
        let wakes = !state.busy && state.wake_writer();
        drop(state);
        if wakes {
            self.writer.notify_one();
        }
    }

    /// The reading thread.
    fn run_reader(self: &Arc<Self>, shared: &Arc<Shared>) {
        let (mut buffer, mut size) = (Vec::new(), self.state().wait.read.map_or(0, |read| read.most));
        loop {
            buffer.resize(size.min(READ_BUFFER), 0);
            let result = self.transport.read(&mut buffer);
            if matches!(&result, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                continue;
            }
            let now = Instant::now();
            let mut state = self.state();
            if state.over {
                return;
            }
            let taken = *result.as_ref().unwrap_or(&0);
            let end = match result {
                Ok(0) => Some(CloseReason::PeerClosed),
                Ok(count) => {
                    state.conn.handle_input(now, &buffer[..count]);
                    None
                }
                Err(error) => Some(lost(&error)),
            };
            if let Some(reason) = end {
                state.conn.handle_disconnect(now, reason);
                // The writer may be blocked in a write to a peer that is gone.
                self.hang_up();
                drop(self.serve(shared, state));
                return;
            }
            state = self.serve(shared, state);
            // Until the core has handled these bytes and wants more, further bytes wait in the socket, which slows the
            // peer.
            let read = loop {
                if state.over {
                    return;
                }
                if let Some(read) = state.wait.read.filter(|_| !state.unpolled) {
                    break read;
                }
                state.reader_waits = true;
                state = self.reader.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.reader_waits = false;
            size = read.most;
            // If a read filled the buffer, there may be more in the socket.
            let next = if taken < buffer.len() { read.from } else { None };
            // Past the writer's deadline it does not wait: what arrives just before that may be sent in the same write.
            let next = next.filter(|next| state.wait.deadline().is_none_or(|deadline| *next < deadline));
            drop(state);
            if let Some(next) = next {
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// The writing thread, which also handles the connection's deadlines.
    fn run_writer(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut state = self.state();
        while !state.over {
            if state.busy {
                state = self.sleep(state, None);
                continue;
            }
            let now = Instant::now();
            let due = state.wait.due_by(now);
            if due.is_some() {
                state.conn.handle_timeout(now);
                state.unpolled = true;
            }
            if state.unpolled {
                state = self.serve(shared, state);
                if let Some(due) = due {
                    drop(state);
                    self.lines.deadline(due);
                    state = self.state();
                }
            } else if state.wait.write {
                state = self.write(state);
                state = self.serve(shared, state);
            } else {
                let deadline = state.wait.deadline();
                state = self.sleep(state, deadline);
            }
        }
    }

    /// Sleeps until another thread changes the state or the deadline has come.
    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        state.writer = Writer::Asleep(deadline);
        state = match deadline {
            None => self.writer.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let time = deadline.saturating_duration_since(Instant::now());
                self.writer.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.writer = Writer::Awake;
        state
    }

    /// Writes what the core has queued for the peer, without holding the lock.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(mut lent) = state.conn.outbound().lend() else {
            return state;
        };
        state.busy = true;
        drop(state);
        let written = self.transport.write(&mut lent);
        let mut state = self.state();
        state.busy = false;
        state.conn.outbound().restore(lent).expect(ITS_OWN);
        if let Err(error) = written {
            state.conn.handle_disconnect(Instant::now(), lost(&error));
        }
        state
    }

    /// Polls the core and does what it asks for, until it waits. A thread that finds another one busy leaves it to that
    /// thread.
    fn serve<'a>(self: &'a Arc<Self>, shared: &Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.unpolled = true;
        if state.busy || state.over {
            return state;
        }
        state.busy = true;
        loop {
            state.unpolled = false;
            match state.conn.poll(Instant::now()) {
                AnyOutput::Action(action) => {
                    drop(state);
                    self.act(shared, action);
                    state = self.state();
                }
                AnyOutput::Wait(wait) => {
                    state.wait = wait;
                    break;
                }
                AnyOutput::Closed(ended) => {
                    state.over = true;
                    drop(state);
                    self.finish(shared, &ended);
                    state = self.state();
                    break;
                }
            }
        }
        state.busy = false;
        if state.concerns_writer() && state.wake_writer() {
            self.writer.notify_one();
        }
        if state.reader_waits && (state.wait.read.is_some() || state.over) {
            self.reader.notify_one();
        }
        state
    }

    fn act(self: &Arc<Self>, shared: &Shared, action: Action) {
        match action {
            Action::Subscribe(stream) => shared.fanouts.join(shared.host.core().hub(), stream, self),
            Action::Unsubscribe(stream) => shared.fanouts.leave(stream, self),
            Action::Wake(stream) => shared.wake(stream),
            Action::Finish => self.transport.finish(),
            other => shared.host.act(other, &self.lines, self),
        }
    }

    fn finish(&self, shared: &Shared, ended: &Ended) {
        self.transport.end();
        self.hang_up();
        shared.host.leave(self.id, &self.lines, ended);
    }

    /// Closes the connection to the peer, which also ends a blocked read or write of a thread.
    pub(crate) fn hang_up(&self) {
        self.transport.hang_up();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Connection {
    fn change(&self, change: &mut dyn FnMut(&mut AnyConn)) {
        let mut state = self.state();
        change(&mut state.conn);
        self.leave_to_writer(state);
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.transport.socket().local_addr().ok()
    }

    fn inspect(&self, look: &mut dyn FnMut(&AnyConn)) {
        look(&self.state().conn);
    }
}

impl State {
    /// True if the writer has something to do before the time it sleeps to.
    fn concerns_writer(&self) -> bool {
        let earlier = match (self.wait.deadline(), &self.writer) {
            (Some(new), Writer::Asleep(Some(old))) => new < *old,
            (new, _) => new.is_some(),
        };
        self.over || self.wait.write || earlier
    }

    /// Notes that the writer is awake. True if it slept and must be notified; one notification is enough.
    fn wake_writer(&mut self) -> bool {
        matches!(std::mem::replace(&mut self.writer, Writer::Awake), Writer::Asleep(_))
    }
}
