use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anabranch_core::conn::Accepts;
use anabranch_core::hub::StreamId;
use anabranch_core::relay::AttemptId;
use anabranch_host::{
    Alive, Builder, CUT, Carrier, Entrance, FINAL_MESSAGES_WAIT, Handle, Host, Runtime, Serve, Setup, interrupt_accept,
};

use crate::accept;
use crate::connection::Connection;
use crate::fanout::FanOuts;
use crate::outbound::{self, Attempts};

/// A server: [build](Self::builder) it, then [`run`](Self::run) it.
#[derive(Debug)]
pub struct Server {
    shared: Alive<Shared>,
    listeners: Vec<(TcpListener, Accepts)>,
}

/// What all threads of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: Host<Connection>,
    pub(crate) fanouts: FanOuts,
    /// What goes on for relays.
    pub(crate) attempts: Attempts,
    orders: Mutex<Orders>,
    /// Notified when there is a new order.
    ordered: Condvar,
}

/// Tasks for the thread that runs the server.
#[derive(Debug, Default)]
struct Orders {
    stop: bool,
    /// Streams to be woken, the next one first.
    wakes: BTreeSet<(Instant, StreamId)>,
}

impl Shared {
    /// Wakes streams at their times until the server is to stop.
    fn follow_orders(&self) {
        let mut orders = self.orders();
        while !orders.stop {
            let now = Instant::now();
            match orders.wakes.first() {
                None => orders = self.ordered.wait(orders).unwrap_or_else(PoisonError::into_inner),
                Some((at, _)) if *at > now => {
                    let time = *at - now;
                    orders = self.ordered.wait_timeout(orders, time).unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    if let Some((_, stream)) = orders.wakes.pop_first() {
                        drop(orders);
                        self.wake(stream);
                        orders = self.orders();
                    }
                }
            }
        }
    }

    /// Waits up to [`FINAL_MESSAGES_WAIT`] for the final messages of all connections. No more may be accepted.
    fn shut_down(&self) {
        self.host.begin_stop();
        if !self.host.wait_until_empty(Instant::now() + FINAL_MESSAGES_WAIT) {
            self.host.cut();
            // A thread that blocks in a write does not notice the cut.
            self.host.for_each_of_all(Connection::hang_up);
            self.host.wait_until_empty(Instant::now() + CUT);
        }
    }

    fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut self.orders());
        self.ordered.notify_one();
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime for Shared {
    type Connection = Connection;

    fn host(&self) -> &Host<Connection> {
        &self.host
    }

    fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    fn wake(&self, stream: StreamId) {
        self.fanouts.wake(stream);
        self.host.wake(stream);
    }

    fn wake_at(self: Arc<Self>, stream: StreamId, at: Instant) {
        self.order(|orders| _ = orders.wakes.insert((at, stream)));
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
    /// A builder. Each connection has its own threads, so [`Builder::threads`] has no effect.
    pub fn builder() -> Builder<Self> {
        Builder::new(Server::new)
    }

    fn new(mut setup: Setup) -> io::Result<Self> {
        let plain = |(listener, entrance): (_, Entrance)| match entrance.carrier {
            Carrier::Plain => Ok((listener, entrance.accepts)),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "anabranch-std has no TLS; use anabranch-smol")),
        };
        let shared = Shared {
            host: Host::new(&mut setup),
            fanouts: FanOuts::default(),
            attempts: Attempts::default(),
            orders: Mutex::default(),
            ordered: Condvar::new(),
        };
        let listeners = setup.listeners.into_iter().map(plain).collect::<io::Result<_>>()?;
        Ok(Server { shared: Alive::new(shared), listeners })
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
        let listeners = self.listeners.iter().filter(|(_, accepts)| is_it(*accepts));
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
    /// If the system cannot start a thread for each listener, and one for relays.
    pub fn run(self) {
        let Server { shared, listeners } = self;
        for (listener, _) in &listeners {
            // A listener that was made for an event loop may be non-blocking; accepting would then be polling.
            listener.set_nonblocking(false).expect("a listening socket can be blocking");
        }
        let _driver = Driver::begin(&shared).expect("the system gives a thread");
        let begun = thread::scope(|scope| {
            let begun = listeners.iter().enumerate().try_for_each(|(number, (listener, accepts))| {
                let (shared, thread) = (&shared, thread::Builder::new().name(format!("listener-{number}")));
                thread.spawn_scoped(scope, || accept::run(shared, listener, *accepts)).map(drop)
            });
            if begun.is_ok() {
                shared.follow_orders();
            }
            // First refuse new connections: those accepted from here on are closed.
            shared.host.refuse_new();
            listeners.iter().for_each(|(listener, _)| interrupt_accept(listener));
            begun
        });
        shared.shut_down();
        begun.expect("the system gives a thread for each listener");
    }
}

/// The thread that does what relays want done. It ends when this is dropped.
struct Driver<'a> {
    shared: &'a Shared,
    thread: Option<JoinHandle<()>>,
}

impl<'a> Driver<'a> {
    fn begin(shared: &'a Arc<Shared>) -> io::Result<Self> {
        let its_shared = shared.clone();
        let thread = thread::Builder::new().name("relays".to_owned());
        let thread = thread.spawn(move || outbound::run_driver(&its_shared))?;
        Ok(Driver { shared, thread: Some(thread) })
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.shared.host.end_driver();
        // The driver does not panic: it catches panics.
        self.thread.take().map(JoinHandle::join);
    }
}

impl Serve for Server {
    const PROGRAM: &'static str = "anabranch-std";
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
