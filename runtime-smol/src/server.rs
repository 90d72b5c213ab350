use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::{self, Config};
use anabranch_host::{Listen, TcpOptions, listen, random_seed};
use async_io::{Async, Timer};
use smol::Executor;
use smol::channel::{Receiver, Sender, bounded};

use crate::accept;
use crate::connection::Connection;
use crate::fanout::FanOuts;

/// How long a stopping server waits for its connections to take their last words.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// A server: build it, add listeners, [`run`](Self::run) it.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    executor: Arc<Executor<'static>>,
    listeners: Vec<TcpListener>,
    threads: usize,
    stopped: Receiver<()>,
}

/// Stops a running server from another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    stop: Sender<()>,
}

impl Handle {
    /// Tells players that their stream is over, closes all connections and makes [`Server::run`] return.
    pub fn stop(&self) {
        // A full channel: somebody has asked already. A closed one: it is over.
        let _ = self.stop.try_send(());
    }
}

/// What all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: conn::Server,
    /// Weak: tasks hold this value, and are to go when the server's executor goes.
    executor: Weak<Executor<'static>>,
    pub(crate) tcp: TcpOptions,
    pub(crate) fanouts: FanOuts,
    pub(crate) stopping: AtomicBool,
    last_id: AtomicU64,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    stop: Sender<()>,
}

impl Shared {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// A server without listeners, with one thread for each core.
    pub fn new(config: Config) -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let (stop, stopped) = bounded(1);
        let executor = Arc::new(Executor::new());
        let shared = Shared {
            core: conn::Server::new(config, random_seed()),
            executor: Arc::downgrade(&executor),
            tcp: TcpOptions::default(),
            fanouts: FanOuts::new(threads),
            stopping: AtomicBool::new(false),
            last_id: AtomicU64::new(0),
            connections: Mutex::default(),
            stop,
        };
        Server { shared: Arc::new(shared), executor, listeners: Vec::new(), threads, stopped }
    }

    /// Listens on one more address.
    ///
    /// # Errors
    /// What the system says: the address is in use, or not this machine's.
    pub fn listen(mut self, address: Listen) -> io::Result<Self> {
        self.listeners.push(listen(address)?);
        Ok(self)
    }

    /// The addresses it listens on, with the ports the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Stops the server from another thread.
    pub fn handle(&self) -> Handle {
        Handle { stop: self.shared.stop.clone() }
    }

    /// Serves until [`Handle::stop`] is called.
    pub fn run(self) {
        let Server { shared, executor, listeners, threads, stopped } = self;
        for listener in listeners {
            let listener = Async::new(listener).expect("a listening socket can be watched");
            shared.spawn(accept::run(shared.clone(), listener));
        }
        let (running, over) = bounded::<()>(1);
        thread::scope(|scope| {
            for number in 1..threads {
                let (executor, over) = (&executor, over.clone());
                let body = move || _ = smol::block_on(executor.run(over.recv()));
                let thread = thread::Builder::new().name(format!("worker-{number}"));
                thread.spawn_scoped(scope, body).expect("the system gives a thread");
            }
            smol::block_on(executor.run(async {
                let _ = stopped.recv().await;
                shutdown(&shared).await;
            }));
            drop(running);
        });
    }
}

/// Closes every connection with its last words, and waits for them, but not for long.
async fn shutdown(shared: &Shared) {
    shared.stopping.store(true, Ordering::Release);
    let connections: Vec<_> = shared.connections().values().cloned().collect();
    for connection in &connections {
        connection.shutdown();
    }
    drop(connections);
    let deadline = Instant::now() + STOP_DEADLINE;
    while !shared.connections().is_empty() && Instant::now() < deadline {
        Timer::after(Duration::from_millis(10)).await;
    }
}
