use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use anabranch_core::conn::{Action, Conn, Output, Report};
use anabranch_core::hub::StreamId;
use anabranch_core::session::{CloseReason, Outbound, Wait};
use anabranch_host::{Lines, Link, Runtime};
use async_io::{Async, Timer};
use bytes::Buf;

use crate::fanout::Member;
use crate::server::Shared;

/// Pieces handed to one write call.
const SLICES: usize = 64;
/// Turns of a connection's task before others get theirs: a peer that floods must not starve them.
const TURNS: usize = 8;

thread_local! {
    /// Each thread reads all its connections into one buffer: none of them holds memory while it waits.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into_boxed_slice());
}

/// A connection, shared by its task and the sweepers of the streams it is subscribed to.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    lines: Lines,
    socket: Async<TcpStream>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    conn: Conn,
    /// True while somebody does what the core asked for, or writes what it lent. They let go of the lock meanwhile, and
    /// nobody else polls, so that actions are done in their order; they poll again when they are done.
    busy: bool,
    /// True if the task wants to be woken when they are done.
    waits_for_turn: bool,
    /// True from the moment the socket took no more until the task finds it writable.
    full: bool,
    wait: Wait,
    closed: Option<Report>,
    /// True once a panic ended it.
    abandoned: bool,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// Places with the sweepers of the streams it is subscribed to, one or none nearly always.
    places: Vec<(StreamId, Arc<Member>)>,
}

impl Connection {
    /// Takes over a connection just accepted.
    pub(crate) fn start(shared: &Arc<Shared>, socket: Async<TcpStream>, peer: SocketAddr) {
        let (conn, lines) = shared.host.open(socket.get_ref(), peer);
        let id = conn.id();
        let state = State {
            conn,
            busy: false,
            waits_for_turn: false,
            full: false,
            wait: Wait { deadline: None, read: true, write: false, source: false },
            closed: None,
            abandoned: false,
            waker: None,
            places: Vec::new(),
        };
        let connection = Arc::new(Connection { id, lines, socket, state: Mutex::new(state) });
        shared.host.enter(id, &connection);
        shared.spawn(Task { connection, shared: shared.clone(), timer: None, drained: false });
    }

    /// There is something new in a stream. A connection whose socket is full is left to its task.
    pub(crate) fn sweep(self: &Arc<Self>, shared: &Arc<Shared>) {
        let swept = catch_unwind(AssertUnwindSafe(|| {
            let state = self.state();
            if !state.full {
                self.serve(shared, state);
            }
        }));
        if swept.is_err() {
            self.abandon(shared);
        }
    }

    /// Ends the connection after a panic of whoever served it. Its core is not asked any more.
    fn abandon(&self, shared: &Shared) {
        // A socket that is gone already is what is wanted.
        let _ = self.socket.get_ref().shutdown(Shutdown::Both);
        let (places, orphaned) = {
            let mut state = self.state();
            if std::mem::replace(&mut state.abandoned, true) {
                return;
            }
            state.wake();
            (std::mem::take(&mut state.places), shared.host.abandon(&mut state.conn))
        };
        for (stream, member) in places {
            shared.fanouts.leave(stream, &member);
        }
        orphaned.into_iter().for_each(|stream| shared.wake(stream));
    }

    /// Does what the core asks for and writes what it has, until the socket is full or there is nothing more. Called
    /// by the connection's own task and by sweepers; whoever comes while another is at it leaves it to them.
    fn serve<'a>(self: &'a Arc<Self>, shared: &Arc<Shared>, mut state: MutexGuard<'a, State>) {
        loop {
            if state.busy || state.closed.is_some() || state.abandoned {
                return;
            }
            match state.conn.poll(Instant::now()) {
                Output::Action(action) => {
                    state.busy = true;
                    drop(state);
                    self.act(shared, action);
                    state = self.state();
                    state.end_turn();
                }
                Output::Wait(wait) => {
                    state.set_wait(wait);
                    if !wait.write || state.full {
                        return;
                    }
                    state.busy = true;
                    let mut outbound = state.conn.outbound().lend();
                    drop(state);
                    let written = write(&self.socket, &mut outbound);
                    state = self.state();
                    state.end_turn();
                    state.conn.outbound().restore(outbound);
                    match written {
                        Ok(Written::All) => {}
                        Ok(Written::Full) => {
                            state.full = true;
                            state.wake();
                        }
                        Err(error) => state.conn.handle_disconnect(Instant::now(), lost(&error)),
                    }
                }
                Output::Closed(report) => {
                    state.closed = Some(report);
                    state.wake();
                }
            }
        }
    }

    fn act(self: &Arc<Self>, shared: &Arc<Shared>, action: Action) {
        match action {
            Action::Subscribe(stream) => {
                let member = shared.fanouts.join(shared, stream, self.clone());
                let mut state = self.state();
                if state.abandoned {
                    drop(state);
                    shared.fanouts.leave(stream, &member);
                } else {
                    state.places.push((stream, member));
                }
            }
            Action::Unsubscribe(stream) => {
                let left = {
                    let places = &mut self.state().places;
                    let index = places.iter().position(|(place, _)| *place == stream);
                    index.map(|index| places.swap_remove(index))
                };
                if let Some((_, member)) = left {
                    shared.fanouts.leave(stream, &member);
                }
            }
            Action::Wake(stream) => shared.wake(stream),
            other => shared.host.act(other, &self.lines, self),
        }
    }

    /// Reads once; true if that was all there was.
    fn read(&self, size: usize) -> io::Result<bool> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size.min(buffer.len());
            let buffer = &mut buffer[..size];
            let count = match self.socket.get_ref().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                result => result?,
            };
            let now = Instant::now();
            let mut state = self.state();
            if count == 0 {
                state.conn.handle_disconnect(now, CloseReason::PeerClosed);
            } else {
                state.conn.handle_input(now, &buffer[..count]);
            }
            Ok(count < buffer.len())
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Connection {
    fn change(&self, change: &mut dyn FnMut(&mut Conn)) {
        let mut state = self.state();
        change(&mut state.conn);
        state.wake();
    }

    fn inspect(&self, look: &mut dyn FnMut(&Conn)) {
        look(&self.state().conn);
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn end_turn(&mut self) {
        self.busy = false;
        if std::mem::take(&mut self.waits_for_turn) {
            self.wake();
        }
    }

    /// The task must look again if it is to be woken earlier than it knows, or may read again.
    fn set_wait(&mut self, wait: Wait) {
        let earlier = match (wait.deadline, self.wait.deadline) {
            (Some(new), Some(old)) => new < old,
            (new, None) => new.is_some(),
            (None, Some(_)) => false,
        };
        let reads = wait.read && !self.wait.read;
        self.wait = wait;
        if earlier || reads {
            self.wake();
        }
    }
}

/// The task of a connection: reads, keeps time, and waits for a full socket to drain.
struct Task {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    timer: Option<(Instant, Timer)>,
    /// True if the last read took all there was: wait before the next, and spare the call that would say so.
    drained: bool,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // A panic here would take the thread along, and with it everybody whom it serves.
        let turns = catch_unwind(AssertUnwindSafe(|| self.as_mut().poll_turns(context)));
        turns.unwrap_or_else(|_| {
            self.connection.abandon(&self.shared);
            Poll::Ready(())
        })
    }
}

impl Task {
    fn poll_turns(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let connection = self.connection.clone();
        for _ in 0..TURNS {
            // The waker goes in first: a sweeper that changes something after we looked wakes us.
            let mut state = connection.state();
            state.waker = Some(context.waker().clone());
            connection.serve(&self.shared, state);
            let (wait, full, busy, size) = {
                let mut state = connection.state();
                if state.abandoned {
                    return Poll::Ready(());
                }
                if let Some(report) = state.closed.take() {
                    drop(state);
                    self.shared.host.leave(connection.id, &connection.lines, &report);
                    return Poll::Ready(());
                }
                state.waits_for_turn = state.busy;
                (state.wait, state.full, state.busy, state.conn.read_size())
            };
            let mut turn = self.as_mut().poll_timer(context, wait.deadline).is_ready();
            if full && connection.poll_writable(context).is_ready() {
                turn = true;
            }
            // What is read while another is at it would only pile up unparsed.
            if wait.read && !busy && connection.poll_read(context, &mut self.drained, size).is_ready() {
                turn = true;
                if !self.drained {
                    // A whole buffer: sixty thousand of the shortest messages fit into it, and all of them are work.
                    let state = connection.state();
                    connection.serve(&self.shared, state);
                    break;
                }
            }
            if !turn {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Connection {
    fn poll_read(&self, context: &mut Context<'_>, drained: &mut bool, size: usize) -> Poll<()> {
        loop {
            let result = if *drained { ready!(self.socket.poll_readable(context)) } else { Ok(()) };
            *drained = false;
            match result.and_then(|()| self.read(size)) {
                Ok(all) => *drained = all,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *drained = true;
                    continue;
                }
                Err(error) => self.state().conn.handle_disconnect(Instant::now(), lost(&error)),
            }
            return Poll::Ready(());
        }
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        let result = ready!(self.socket.poll_writable(context));
        let mut state = self.state();
        state.full = false;
        if let Err(error) = result {
            state.conn.handle_disconnect(Instant::now(), lost(&error));
        }
        Poll::Ready(())
    }
}

impl Task {
    /// Ready when the deadline has come and was acted on.
    fn poll_timer(mut self: Pin<&mut Self>, context: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.timer = None;
            return Poll::Pending;
        };
        match &mut self.timer {
            Some((armed, _)) if *armed == deadline => {}
            Some((armed, timer)) => {
                *armed = deadline;
                timer.set_at(deadline);
            }
            none => *none = Some((deadline, Timer::at(deadline))),
        }
        if let Some((_, timer)) = &mut self.timer {
            ready!(Pin::new(timer).poll(context));
        }
        self.timer = None;
        self.connection.state().conn.handle_timeout(Instant::now());
        Poll::Ready(())
    }
}

enum Written {
    All,
    Full,
}

/// Writes until the queue is empty or the socket takes no more.
fn write(socket: &Async<TcpStream>, outbound: &mut Outbound) -> io::Result<Written> {
    while outbound.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outbound.chunks_vectored(&mut slices);
        match socket.get_ref().write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => outbound.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Full),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Written::All)
}

fn lost(error: &io::Error) -> CloseReason {
    CloseReason::PeerLost(error.to_string())
}
