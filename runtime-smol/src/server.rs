use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::hub::StreamId;
use anabranch_host::{Alive, Builder, CUT, Handle, Host, LAST_WORDS, Runtime, Serve, Setup};
use async_io::{Async, Timer};
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;
use smol::{Executor, block_on};

use crate::accept;
use crate::connection::Connection;
use crate::fanout::FanOuts;

/// A server: [build](Self::builder) it, then [`run`](Self::run) it.
#[derive(Debug)]
pub struct Server {
    shared: Alive<Shared>,
    executor: Arc<Executor<'static>>,
    listeners: Vec<TcpListener>,
    threads: usize,
    stopped: Receiver<()>,
}

/// What all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: Host<Connection>,
    /// Weak: tasks hold this value, and are to go when the server's executor goes.
    executor: Weak<Executor<'static>>,
    pub(crate) fanouts: FanOuts,
    stop: Sender<()>,
}

impl Shared {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
        }
    }

    /// Waits until there is no connection left, but not for longer than this.
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
        // A full channel: somebody has asked already. A closed one: it is over.
        let _ = self.stop.try_send(());
    }

    fn wake(&self, stream: StreamId) {
        self.fanouts.wake(stream);
        self.host.wake(stream);
    }

    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant) {
        let shared = Arc::downgrade(&self);
        self.spawn(async move {
            Timer::at(at).await;
            if let Some(shared) = shared.upgrade() {
                shared.wake(stream);
            }
        });
    }
}

impl Server {
    /// A builder, with one thread for each core unless it is told otherwise.
    pub fn builder() -> Builder<Self> {
        Builder::new(Server::new)
    }

    fn new(setup: Setup) -> Self {
        let threads = setup.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let (stop, stopped) = bounded(1);
        let executor = Arc::new(Executor::new());
        let shared = Shared {
            host: Host::new(&setup),
            executor: Arc::downgrade(&executor),
            fanouts: FanOuts::new(threads),
            stop,
        };
        Server { shared: Alive::new(shared), executor, listeners: setup.listeners, threads, stopped }
    }

    /// The addresses it listens on, with the ports the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The running server, from elsewhere in the program: stops it, tells numbers, takes part in its streams.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// Serves until [`Handle::stop`] is called; then returns within 3 seconds.
    ///
    /// # Panics
    /// If the system does not even give the threads it is to run on.
    pub fn run(self) {
        let Server { shared, executor, listeners, threads, stopped } = self;
        for listener in listeners {
            let listener = Async::new(listener).expect("a listening socket can be watched");
            shared.spawn(accept::run(shared.clone(), listener));
        }
        thread::scope(|scope| {
            // Dropped on every way out of here, with which the workers end.
            let (running, over) = bounded::<()>(1);
            for number in 1..threads {
                let (executor, over) = (&executor, over.clone());
                let body = move || _ = block_on(executor.run(over.recv()));
                let thread = thread::Builder::new().name(format!("worker-{number}"));
                thread.spawn_scoped(scope, body).expect("the system gives a thread");
            }
            block_on(executor.run(async {
                let _ = stopped.recv().await;
                shared.host.begin_stop();
                shared.until_empty(LAST_WORDS).await;
                shared.host.cut();
                shared.until_empty(CUT).await;
            }));
            drop(running);
        });
    }
}

impl Serve for Server {
    const PROGRAM: &'static str = "anabranch";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const THREADS: bool = true;

    fn builder() -> Builder<Self> {
        Server::builder()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses()
    }

    fn handle(&self) -> Handle {
        self.handle()
    }

    fn run(self) {
        self.run();
    }
}
