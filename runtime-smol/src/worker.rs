use std::cell::{Cell, RefCell, RefMut};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use anabranch_core::conn::AnyConn;
use anabranch_core::pacing::ThreadLoad;
use anabranch_core::relay::Uplink;
use anabranch_host::{AnyLines, Entrance, Host, Runtime, give_up};
use mio::net::TcpStream;
use smol::LocalExecutor;
use smol::channel::{Receiver, Sender, unbounded};
use smol::future::yield_now;

use crate::accept::ACCEPTS_PER_TURN;
use crate::connection::Connection;
use crate::fanout::FanOuts;
use crate::outbound::Session;
use crate::reactor::Reactor;
use crate::server::Shared;
use crate::transport::Transport;

/// A connection just made.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) opened: Opened,
}

/// Which side opened a connection.
#[derive(Debug)]
pub(crate) enum Opened {
    ByClient(Entrance),
    ByServer(Box<Uplink>, Session),
}

impl Opened {
    /// The core of the connection, its log lines, and what carries its bytes.
    pub(crate) fn open(
        self,
        host: &Host<Connection>,
        socket: TcpStream,
        peer: SocketAddr,
    ) -> (AnyConn, AnyLines, Transport) {
        let ((conn, lines), transport) = match self {
            Opened::ByClient(Entrance { carrier, accepts }) => {
                (host.open(&socket, peer, accepts), Transport::new(socket, &carrier))
            }
            Opened::ByServer(uplink, session) => {
                (host.open_uplink(&socket, uplink), Transport::outbound(socket, session))
            }
        };
        (conn, lines, transport)
    }

    /// The connection cannot be served.
    pub(crate) fn give_up(self, shared: &Shared) {
        if let Opened::ByServer(uplink, _) = self {
            let orphaned = give_up(&mut AnyConn::Uplink(uplink));
            orphaned.into_iter().for_each(|stream| shared.wake(stream));
        }
    }
}

/// The channel from which a thread gets its connections.
pub(crate) type Arriving = Receiver<Arrival>;

/// One thread of the server, as the others see it. A connection stays on its thread until it ends.
#[derive(Debug)]
pub(crate) struct Worker {
    /// How many connections the thread serves.
    pub(crate) connections: AtomicUsize,
    pub(crate) fanouts: FanOuts,
    arrivals: Sender<Arrival>,
}

impl Worker {
    /// A worker, and the channel from which its thread gets its connections.
    pub(crate) fn new() -> (Self, Arriving) {
        let (arrivals, arriving) = unbounded();
        (Worker { connections: AtomicUsize::new(0), fanouts: FanOuts::default(), arrivals }, arriving)
    }

    /// Takes a connection just made.
    pub(crate) fn take(&self, arrival: Arrival) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        // If the thread has ended, this drops the socket, which closes it.
        let _ = self.arrivals.try_send(arrival);
    }
}

/// The thread's own side: its tasks, sockets and timers.
#[derive(Debug)]
pub(crate) struct Local {
    /// Weak: tasks hold this value, and the tasks must be dropped with the thread's executor.
    executor: Weak<LocalExecutor<'static>>,
    reactor: RefCell<Reactor>,
    /// What the thread spends its time with.
    load: RefCell<ThreadLoad>,
    pub(crate) shared: Arc<Shared>,
    number: usize,
}

impl Local {
    /// This thread, as the others see it.
    pub(crate) fn worker(&self) -> &Worker {
        &self.shared.workers[self.number]
    }

    pub(crate) fn reactor(&self) -> RefMut<'_, Reactor> {
        self.reactor.borrow_mut()
    }

    pub(crate) fn load(&self) -> RefMut<'_, ThreadLoad> {
        self.load.borrow_mut()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
        }
    }
}

/// Wakes the thread while it waits for its sockets; otherwise only notes the wake-up.
#[derive(Debug)]
struct ThreadWaker {
    state: AtomicU8,
    waker: mio::Waker,
}

/// The thread polls its tasks before it waits.
const AWAKE: u8 = 0;
const WAITING: u8 = 1;
/// A task was woken: the thread polls its tasks again before it waits.
const WOKEN: u8 = 2;

impl ThreadWaker {
    /// The thread is about to poll its tasks. A swap, not a store: the thread then sees everything that was written
    /// before an earlier wake-up, and a later wake-up is not overwritten.
    fn listen(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            // This fails if the system has no memory; then the thread's next event wakes it.
            let _ = self.waker.wake();
        }
    }
}

/// How long tasks run before the thread checks its sockets and timers; a single task may take longer. Peers whose tasks
/// always have more to do must not keep others from being read. The time is short, because frames to all players wait
/// for it.
pub(crate) const LONGEST_TURN: Duration = Duration::from_millis(1);

const FAILS: &str = "the system's event queue works";

/// What a thread of the server needs at its start.
pub(crate) struct Beginning {
    pub(crate) number: usize,
    pub(crate) reactor: Reactor,
    /// Wakes the thread. It is made before the first connection is accepted: connections may take all files that the
    /// system has.
    pub(crate) thread_waker: mio::Waker,
    pub(crate) arriving: Arriving,
    /// Ends the thread when it is closed.
    pub(crate) over: Receiver<()>,
}

impl Beginning {
    /// Serves the connections of this thread until the server is over. `begin` starts further tasks on the thread.
    ///
    /// # Panics
    /// If the system's event queue fails; no reason for that is known.
    pub(crate) fn run(self, shared: &Arc<Shared>, begin: impl FnOnce(&Rc<Local>)) {
        let Beginning { number, reactor, thread_waker, arriving, over } = self;
        let thread_waker = Arc::new(ThreadWaker { state: AtomicU8::new(AWAKE), waker: thread_waker });
        let waker = Waker::from(thread_waker.clone());
        let executor = Rc::new(LocalExecutor::new());
        let local = Rc::new(Local {
            executor: Rc::downgrade(&executor),
            reactor: RefCell::new(reactor),
            load: RefCell::new(shared.host.core().hub().thread_load(Instant::now())),
            shared: shared.clone(),
            number,
        });
        begin(&local);
        let receiving = local.clone();
        local.spawn(async move {
            for number in 1_usize.. {
                let Ok(arrival) = arriving.recv().await else {
                    return;
                };
                Connection::start(&receiving, arrival);
                // Receiving does not yield while the channel has more.
                if number.is_multiple_of(ACCEPTS_PER_TURN) {
                    yield_now().await;
                }
            }
        });
        let ended = Rc::new(Cell::new(false));
        let ends = ended.clone();
        local.spawn(async move {
            let _ = over.recv().await;
            ends.set(true);
        });
        let mut turn = pin!(executor.tick());
        loop {
            thread_waker.listen();
            let look = Instant::now() + LONGEST_TURN;
            let more = loop {
                if turn.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    break false;
                }
                if ended.get() {
                    return;
                }
                turn.set(executor.tick());
                if look <= Instant::now() {
                    break true;
                }
            };
            let waits = !more
                && thread_waker.state.compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok();
            let since = Instant::now();
            let woken = local.reactor().wait(!waits).expect(FAILS);
            let now = Instant::now();
            // Also if it did not wait: a thread that always has something to do is to be seen as such.
            local.load().idled(now, if waits { now - since } else { Duration::ZERO });
            thread_waker.listen();
            woken.for_each(Waker::wake);
        }
    }
}
