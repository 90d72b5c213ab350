use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anabranch_core::conn::{self, Config};
use anabranch_host::{Listen, TcpOptions, interrupt_accept, listen, random_seed};

use crate::accept;
use crate::connection::Connection;
use crate::fanout::FanOuts;

/// How long a stopping server waits for its connections to take their last words, before it cuts them off.
const STOP_DEADLINE: Duration = Duration::from_millis(2500);
/// How long connections that were cut off may take to end.
const CUT_DEADLINE: Duration = Duration::from_millis(250);

/// A server: build it, add listeners, [`run`](Self::run) it.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<TcpListener>,
    stop: SyncSender<()>,
    stopped: Receiver<()>,
}

/// Stops a running server from another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    stop: SyncSender<()>,
}

impl Handle {
    /// Tells players that their stream is over, closes all connections and makes [`Server::run`] return.
    pub fn stop(&self) {
        // A full channel: somebody has asked already. A closed one: it is over.
        let _ = self.stop.try_send(());
    }
}

/// What all threads of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: conn::Server,
    pub(crate) tcp: TcpOptions,
    pub(crate) fanouts: FanOuts,
    pub(crate) stopping: AtomicBool,
    last_id: AtomicU64,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Notified when the last connection ends.
    emptied: Condvar,
}

impl Shared {
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn insert(&self, id: u64, connection: Arc<Connection>) {
        self.connections().insert(id, connection);
    }

    pub(crate) fn remove(&self, id: u64) {
        let mut connections = self.connections();
        connections.remove(&id);
        if connections.is_empty() {
            self.emptied.notify_all();
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes every connection with its last words and waits for them, but not for long. No more may be accepted.
    fn shut_down(&self) {
        self.for_each(Connection::shutdown);
        if !self.wait_until_empty(STOP_DEADLINE) {
            self.for_each(Connection::cut);
            self.wait_until_empty(CUT_DEADLINE);
        }
    }

    fn for_each(&self, act: impl Fn(&Connection)) {
        let connections: Vec<_> = self.connections().values().cloned().collect();
        for connection in connections {
            act(&connection);
        }
    }

    /// True if all connections ended in time.
    fn wait_until_empty(&self, time: Duration) -> bool {
        let waited = self.emptied.wait_timeout_while(self.connections(), time, |connections| !connections.is_empty());
        let (connections, _) = waited.unwrap_or_else(PoisonError::into_inner);
        connections.is_empty()
    }
}

impl Server {
    /// A server without listeners.
    pub fn new(config: Config) -> Self {
        let (stop, stopped) = sync_channel(1);
        let shared = Shared {
            core: conn::Server::new(config, random_seed()),
            tcp: TcpOptions::default(),
            fanouts: FanOuts::default(),
            stopping: AtomicBool::new(false),
            last_id: AtomicU64::new(0),
            connections: Mutex::default(),
            emptied: Condvar::new(),
        };
        Server { shared: Arc::new(shared), listeners: Vec::new(), stop, stopped }
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
        Handle { stop: self.stop.clone() }
    }

    /// Serves until [`Handle::stop`] is called; then returns within 3 seconds.
    ///
    /// # Panics
    /// If the system does not even give a thread for each listener.
    pub fn run(self) {
        let Server { shared, listeners, stop: _stop, stopped } = self;
        thread::scope(|scope| {
            for (number, listener) in listeners.iter().enumerate() {
                let (shared, thread) = (&shared, thread::Builder::new().name(format!("listener-{number}")));
                thread.spawn_scoped(scope, || accept::run(shared, listener)).expect("the system gives a thread");
            }
            // It holds a sender itself, so that this is no error as long as nobody stopped it.
            let _ = stopped.recv();
            shared.stopping.store(true, Ordering::Release);
            listeners.iter().for_each(interrupt_accept);
        });
        shared.shut_down();
    }
}
