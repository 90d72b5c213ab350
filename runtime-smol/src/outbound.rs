//! Connections that the server opens to other servers.
//!
//! They are made on the thread of the server's own tasks, on async-io, and then served by a thread of connections like any
//! other. Names are looked up on threads of smol, because the system's look-up blocks.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use anabranch_core::relay::{AttemptId, Failure};
use anabranch_host::{Pause, drive};
use async_io::{Async, Timer};
use smol::Task;
use smol::future::or;

use crate::server::Shared;
use crate::worker::{Arrival, Opened};

/// What goes on for the relays: look-ups and attempts to connect. Dropping one ends it.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<AttemptId, Task<()>>>);

/// Does what relays want done, until the server is over.
pub(crate) async fn run_driver(shared: Weak<Shared>) {
    loop {
        let pause = shared.upgrade().and_then(|shared| drive(&shared));
        let Some(Pause { until, news }) = pause else {
            return;
        };
        match until {
            None => news.await,
            Some(until) => or(news, async { _ = Timer::at(until).await }).await,
        }
    }
}

/// Looks up the addresses of a host.
pub(crate) fn resolve(shared: &Arc<Shared>, attempt: AttemptId, host: String, port: u16) {
    let weak = Arc::downgrade(shared);
    begin(shared, attempt, async move {
        let found = smol::unblock(move || io::Result::Ok((&*host, port).to_socket_addrs()?.collect())).await;
        let Some(shared) = weak.upgrade() else {
            return;
        };
        let relays = shared.host.core().relays();
        match found {
            Ok(addresses) => relays.resolved(Instant::now(), attempt, addresses),
            Err(error) => relays.failed(Instant::now(), attempt, Failure::Resolve(error.to_string())),
        }
    });
}

/// Connects, and hands the connection to the thread with the fewest.
pub(crate) fn connect(shared: &Arc<Shared>, attempt: AttemptId, address: SocketAddr, tls: Option<String>) {
    let weak = Arc::downgrade(shared);
    begin(shared, attempt, async move {
        let made = make(&weak, address, tls).await;
        let Some(shared) = weak.upgrade() else {
            return;
        };
        let relays = shared.host.core().relays();
        match made {
            Ok((socket, session)) => {
                // `None`: it is not wanted any more, and is closed here.
                if let Some(uplink) = relays.connected(Instant::now(), attempt, address) {
                    let socket = mio::net::TcpStream::from_std(socket);
                    let opened = Opened::ByServer(Box::new(uplink), session);
                    shared.least_busy().take(Arrival { socket, peer: address, opened });
                }
            }
            Err(failure) => relays.failed(Instant::now(), attempt, failure),
        }
    });
}

#[cfg(feature = "tls")]
pub(crate) type Session = Option<Box<rustls::ClientConnection>>;
/// There is no TLS without the feature.
#[cfg(not(feature = "tls"))]
#[derive(Debug)]
pub(crate) struct Session;

async fn make(
    shared: &Weak<Shared>,
    address: SocketAddr,
    tls: Option<String>,
) -> Result<(TcpStream, Session), Failure> {
    let failed = |error: io::Error| Failure::Connect(error.to_string());
    let socket = Async::<TcpStream>::connect(address).await.map_err(failed)?;
    if !shared.upgrade().is_some_and(|shared| shared.host.admits(socket.as_raw_fd())) {
        return Err(Failure::Connect("the limit of open files is nearly reached".to_owned()));
    }
    #[cfg(feature = "tls")]
    let session = match tls {
        None => None,
        Some(name) => Some(crate::tls::outbound::secure(shared, &socket, name).await?),
    };
    #[cfg(not(feature = "tls"))]
    let session = match tls {
        None => Session,
        Some(_) => return Err(Failure::Tls("this server was built without TLS".to_owned())),
    };
    Ok((socket.into_inner().map_err(failed)?, session))
}

fn begin(shared: &Arc<Shared>, attempt: AttemptId, work: impl Future<Output = ()> + Send + 'static) {
    let weak = Arc::downgrade(shared);
    // The lock is held until the task has its entry, which it removes at its end.
    let mut running = shared.attempts.running();
    let task = shared.tasks.spawn(async move {
        work.await;
        let ended = weak.upgrade().and_then(|shared| shared.attempts.running().remove(&attempt));
        if let Some(task) = ended {
            task.detach();
        }
    });
    running.insert(attempt, task);
}

impl Attempts {
    /// Ends an attempt.
    pub(crate) fn abort(&self, attempt: AttemptId) {
        let task = self.running().remove(&attempt);
        drop(task);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<AttemptId, Task<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
