use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::Accepts;
use anabranch_core::hub::StreamId;
use anabranch_core::relay::AttemptId;
use anabranch_host::{Alive, Builder, CUT, Entrance, FINAL_MESSAGES_WAIT, Handle, Host, Runtime, Serve, Setup};
use async_io::{Timer, block_on};
use smol::Executor;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;

use crate::accept;
use crate::connection::Connection;
#[cfg(feature = "tls")]
use crate::openings::{self, Openings};
use crate::outbound::{self, Attempts};
use crate::reactor::Reactor;
use crate::worker::{Arriving, Beginning, Worker};

/// A server: [build](Self::builder) it, then [`run`](Self::run) it.
#[derive(Debug)]
pub struct Server {
    shared: Alive<Shared>,
    listeners: Vec<(TcpListener, Entrance)>,
    arriving: Vec<Arriving>,
    stopped: Receiver<()>,
}

/// What all threads of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: Host<Connection>,
    pub(crate) workers: Box<[Worker]>,
    #[cfg(feature = "tls")]
    pub(crate) openings: Openings,
    /// What goes on for relays.
    pub(crate) attempts: Attempts,
    /// Runs tasks that belong to no connection, on a separate thread.
    pub(crate) tasks: Executor<'static>,
    stop: Sender<()>,
}

impl Shared {
    /// The thread with the fewest connections.
    pub(crate) fn least_busy(&self) -> &Worker {
        let fewest = self.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        fewest.expect("there is at least one thread")
    }

    /// Waits until there is no connection left, up to `time`.
    async fn until_empty(&self, time: Duration) {
        or(self.host.until_empty(), async { _ = Timer::after(time).await }).await;
    }
}

impl Runtime for Shared {
    type Connection = Connection;

    fn host(&self) -> &Host<Connection> {
        &self.host
    }

    fn stop(&self) {
        // If the channel is full, the server stops already; if it is closed, the server has stopped.
        let _ = self.stop.try_send(());
    }

    fn wake(&self, stream: StreamId) {
        self.workers.iter().for_each(|worker| worker.fanouts.wake(stream));
        self.host.wake(stream);
    }

    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant) {
        // Weak, so that a waiting task does not keep the server.
        let shared = Arc::downgrade(&self);
        let task = async move {
            Timer::at(at).await;
            if let Some(shared) = shared.upgrade() {
                shared.wake(stream);
            }
        };
        self.tasks.spawn(task).detach();
    }

    fn resolve(self: &Arc<Self>, attempt: AttemptId, host: String, port: u16) {
        outbound::resolve(self, attempt, host, port);
    }

    fn connect(self: &Arc<Self>, attempt: AttemptId, address: SocketAddr, tls: Option<String>) {
        outbound::connect(self, attempt, address, tls);
    }

    fn abort(&self, attempt: AttemptId) {
        self.attempts.abort(attempt);
    }
}

impl Server {
    /// A builder. Default: one thread for each core.
    pub fn builder() -> Builder<Self> {
        Builder::new(Server::new)
    }

    fn new(mut setup: Setup) -> io::Result<Self> {
        let threads = setup.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let (workers, arriving): (Vec<_>, Vec<_>) = (0..threads).map(|_| Worker::new()).unzip();
        let (stop, stopped) = bounded(1);
        let shared = Shared {
            host: Host::new(&mut setup),
            workers: workers.into(),
            #[cfg(feature = "tls")]
            openings: Openings::default(),
            attempts: Attempts::default(),
            tasks: Executor::new(),
            stop,
        };
        Ok(Server { shared: Alive::new(shared), listeners: setup.listeners, arriving, stopped })
    }

    /// The addresses that the server listens on for RTMP, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses_for(|accepts| accepts != Accepts::Web)
    }

    /// The addresses that the server listens on for HTTP, and for both.
    pub fn web_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_for(Accepts::web)
    }

    fn addresses_for(&self, is_it: impl Fn(Accepts) -> bool) -> Vec<SocketAddr> {
        let listeners = self.listeners.iter().filter(|(_, entrance)| is_it(entrance.accepts));
        listeners.filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// A handle of the running server for other parts of the program: it stops the server, returns statistics,
    /// publishes and plays.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// Serves until [`Handle::stop`] is called; then returns within 3 seconds.
    ///
    /// # Panics
    /// If the system cannot start the server's threads, or create an event queue for each.
    pub fn run(self) {
        let Server { shared, listeners, arriving, stopped } = self;
        let listeners = listeners.into_iter().map(|(listener, entrance)| {
            listener.set_nonblocking(true).expect("a listening socket can be watched");
            (mio::net::TcpListener::from_std(listener), entrance)
        });
        let listeners: Vec<_> = listeners.collect();
        // async-io opens its files at its first use. Use it now, before clients have taken all file descriptors.
        block_on(Timer::after(Duration::ZERO));
        thread::scope(|scope| {
            // All threads end when this is dropped, also if this closure panics.
            let (running, over) = bounded::<()>(1);
            let mut beginnings = arriving.into_iter().enumerate().map(|(number, arriving)| {
                let reactor = Reactor::new().expect("the system gives an event queue");
                let thread_waker = reactor.thread_waker().expect("the system gives a waker for it");
                Beginning { number, reactor, thread_waker, arriving, over: over.clone() }
            });
            // This thread accepts for all threads: the C library's allocator serves a program's first thread best.
            let first = beginnings.next().expect("there is at least one thread");
            let shared = &shared;
            for beginning in beginnings {
                let thread = thread::Builder::new().name(format!("worker-{}", beginning.number));
                thread.spawn_scoped(scope, move || beginning.run(shared, |_| {})).expect("the system gives a thread");
            }
            #[cfg(feature = "tls")]
            let _openings = openings::start(scope, &shared.openings, &listeners);
            shared.tasks.spawn(outbound::run_driver(Arc::downgrade(shared))).detach();
            let tasks = shared.tasks.run(async move {
                let _ = stopped.recv().await;
                shared.host.begin_stop();
                shared.until_empty(FINAL_MESSAGES_WAIT).await;
                shared.host.cut();
                shared.until_empty(CUT).await;
                shared.host.end_driver();
                drop(running);
            });
            let thread = thread::Builder::new().name("tasks".to_owned());
            thread.spawn_scoped(scope, || block_on(tasks)).expect("the system gives a thread");
            first.run(shared, |local| accept::begin(local, listeners));
        });
    }
}

impl Serve for Server {
    const PROGRAM: &'static str = "anabranch";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn builder() -> Builder<Self> {
        Server::builder()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses()
    }

    fn web_addresses(&self) -> Vec<SocketAddr> {
        self.web_addresses()
    }

    fn handle(&self) -> Handle {
        self.handle()
    }

    fn run(self) {
        self.run();
    }
}

#[cfg(test)]
mod tests;
