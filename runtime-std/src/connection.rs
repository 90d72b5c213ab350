use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Action, Batches, Conn, Output, Report};
use anabranch_core::session::{CloseReason, Wait};
use anabranch_host::{Lines, Link, Runtime, give_up};
use tracing::{debug, warn};

use crate::server::Shared;
use crate::write::{lost, send_now, write};

/// Address space for the stack of each thread; only pages that were touched take memory, mostly two to eight of them.
/// Either thread may decode what a peer sent, and the deepest way down are values nested as far as can be configured, 128
/// levels: without optimization that takes between 768 and 896 KiB, and under 256 KiB with the default of 32 levels.
const STACK: usize = 1 << 20;
/// Bytes read at once. Every connection has such a buffer for itself, as a blocking read must have it beforehand.
const READ_BUFFER: usize = 16 << 10;
/// How long a write may block. Then the core is asked what it thinks of it: it sees what was taken, closes a peer that
/// takes nothing, and gets to what happened meanwhile. Only a socket that is full for so long ever comes to this.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// What is written and then reported here came from the same connection.
const ITS_OWN: &str = "it is of this connection";

/// A connection, shared by its two threads and those that wake it.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    lines: Lines,
    socket: TcpStream,
    state: Mutex<State>,
    /// Wakes the writer.
    writer: Condvar,
    /// Wakes a reader that waits for its turn.
    reader: Condvar,
}

#[derive(Debug)]
struct State {
    conn: Conn,
    /// What the core waited for when it was last polled.
    wait: Wait,
    /// True while one of the threads does what the core asked for, or writes what it lent. They let go of the lock
    /// meanwhile, and nobody else polls: actions are done in their order.
    busy: bool,
    /// True from the moment something happened until the core is polled.
    unpolled: bool,
    over: bool,
    writer: Writer,
    reader_waits: bool,
}

#[derive(Debug)]
enum Writer {
    /// It looks at the state again before it sleeps.
    Awake,
    /// Until then, or for ever.
    Asleep(Option<Instant>),
}

impl Connection {
    /// Takes over a connection just accepted.
    pub(crate) fn start(shared: &Arc<Shared>, socket: TcpStream, peer: SocketAddr) {
        let (conn, lines) = shared.host.open(&socket, peer);
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
            socket,
            state: Mutex::new(state),
            writer: Condvar::new(),
            reader: Condvar::new(),
        });
        shared.host.enter(id, &connection);
        if let Err(error) = connection.start_threads(shared) {
            warn!(conn = id, "conn {id} cannot be served: {error}");
            let mut state = connection.state();
            state.conn.handle_disconnect(Instant::now(), CloseReason::Closed("no threads left to serve it"));
            drop(connection.serve(shared, state));
        }
    }

    fn start_threads(self: &Arc<Self>, shared: &Arc<Shared>) -> io::Result<()> {
        self.socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let id = self.id;
        let (connection, its_shared) = (self.clone(), shared.clone());
        let writer = thread::Builder::new().name(format!("writer-{id}")).stack_size(STACK);
        writer.spawn(move || connection.guard(&its_shared, || connection.run_writer(&its_shared)))?;
        let (connection, its_shared) = (self.clone(), shared.clone());
        let reader = thread::Builder::new().name(format!("reader-{id}")).stack_size(STACK);
        reader.spawn(move || connection.guard(&its_shared, || connection.run_reader(&its_shared)))?;
        Ok(())
    }

    /// Runs one of the two threads' lives. A panic in one would leave the other, and the peer, waiting for ever.
    fn guard(self: &Arc<Self>, shared: &Shared, life: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(life)).is_ok() {
            return;
        }
        self.hang_up();
        let first = !std::mem::replace(&mut self.state().over, true);
        let orphaned = first.then(|| {
            // Not under the lock: it writes into the log.
            shared.host.abandon(self.id);
            give_up(&mut self.state().conn)
        });
        self.writer.notify_one();
        self.reader.notify_one();
        if let Some(orphaned) = orphaned {
            shared.fanouts.forget(self);
            orphaned.into_iter().for_each(|stream| shared.wake(stream));
        }
    }

    /// There is something new in a stream. What others are sent as well is written here and now, as far as the socket
    /// takes it without waiting; for all else the writer is woken.
    pub(crate) fn sweep(&self, now: Instant, batches: &mut Batches) {
        let mut state = self.state();
        let is_idle = !state.busy && !state.unpolled && !state.over;
        if is_idle && let Some(share) = batches.share(&mut state.conn) {
            state.busy = true;
            drop(state);
            let written = match send_now(&self.socket, share.bytes()) {
                // The writer waits for room.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                written => written,
            };
            state = self.state();
            state.busy = false;
            let goes_on = state.conn.wrote(now, share, *written.as_ref().unwrap_or(&0)).expect(ITS_OWN);
            if let Err(error) = written {
                state.conn.handle_disconnect(now, lost(&error));
            } else if goes_on && !state.unpolled && !state.over {
                // It may have come for its deadline meanwhile, and have found the connection busy.
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

    /// A sweep panicked: the connection's own threads see to its end, and the sweeper goes on.
    pub(crate) fn break_off(&self) {
        self.state().busy = false;
        self.hang_up();
    }

    /// Has the core polled: by whoever is busy, when they are done, or by the writer.
    fn leave_to_writer(&self, mut state: MutexGuard<'_, State>) {
        state.unpolled = true;
        let wakes = !state.busy && state.wake_writer();
        drop(state);
        if wakes {
            self.writer.notify_one();
        }
    }

    /// The life of the reading thread.
    fn run_reader(self: &Arc<Self>, shared: &Arc<Shared>) {
        let (mut buffer, mut size) = (Vec::new(), self.state().wait.read.map_or(0, |read| read.most));
        loop {
            buffer.resize(size.min(READ_BUFFER), 0);
            let result = (&self.socket).read(&mut buffer);
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
                // The writer may be blocked in writing to a peer that is gone.
                self.hang_up();
                drop(self.serve(shared, state));
                return;
            }
            state = self.serve(shared, state);
            // While the core has not seen these bytes, or wants no more, they wait with the system and so with the peer.
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
            // A read that filled the buffer may have left something.
            let next = if taken < buffer.len() { read.from } else { None };
            // What comes just before the writer has something to do may go along, if a reader waits for it.
            let next = next.filter(|next| state.wait.deadline().is_none_or(|deadline| *next < deadline));
            drop(state);
            if let Some(next) = next {
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// The life of the writing thread, which also keeps the connection's time.
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
                    debug!(conn = self.id, "conn {} had a deadline: {due}", self.id);
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

    /// Sleeps until somebody changes something or the deadline has come.
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

    /// Writes what the core has for the peer, with the lock let go.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(mut lent) = state.conn.outbound().lend() else {
            return state;
        };
        state.busy = true;
        drop(state);
        let written = write(&self.socket, &mut lent);
        let mut state = self.state();
        state.busy = false;
        state.conn.outbound().restore(lent).expect(ITS_OWN);
        if let Err(error) = written {
            state.conn.handle_disconnect(Instant::now(), lost(&error));
        }
        state
    }

    /// Polls the core and does what it asks for, until it waits. Whoever comes while another is busy leaves it to them.
    fn serve<'a>(self: &'a Arc<Self>, shared: &Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.unpolled = true;
        if state.busy || state.over {
            return state;
        }
        state.busy = true;
        loop {
            state.unpolled = false;
            match state.conn.poll(Instant::now()) {
                Output::Action(action) => {
                    drop(state);
                    self.act(shared, action);
                    state = self.state();
                }
                Output::Wait(wait) => {
                    state.wait = wait;
                    break;
                }
                Output::Closed(report) => {
                    state.over = true;
                    drop(state);
                    self.finish(shared, &report);
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
            Action::Subscribe(stream) => shared.fanouts.join(stream, self),
            Action::Unsubscribe(stream) => shared.fanouts.leave(stream, self),
            Action::Wake(stream) => shared.wake(stream),
            other => shared.host.act(other, &self.lines, self),
        }
    }

    fn finish(&self, shared: &Shared, report: &Report) {
        self.hang_up();
        shared.host.leave(self.id, &self.lines, report);
    }

    /// Ends the connection for the peer, and whatever read or write a thread is blocked in.
    pub(crate) fn hang_up(&self) {
        // The one error there is: it is not connected any more.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Connection {
    fn change(&self, change: &mut dyn FnMut(&mut Conn)) {
        let mut state = self.state();
        change(&mut state.conn);
        self.leave_to_writer(state);
    }

    fn inspect(&self, look: &mut dyn FnMut(&Conn)) {
        look(&self.state().conn);
    }
}

impl State {
    /// True if the writer has something to do earlier than it knows.
    fn concerns_writer(&self) -> bool {
        let earlier = match (self.wait.deadline(), &self.writer) {
            (Some(new), Writer::Asleep(Some(old))) => new < *old,
            (new, _) => new.is_some(),
        };
        self.over || self.wait.write || earlier
    }

    /// True if the writer sleeps and has to be notified; once is enough.
    fn wake_writer(&mut self) -> bool {
        matches!(std::mem::replace(&mut self.writer, Writer::Awake), Writer::Asleep(_))
    }
}
