//! Connections that the server opens to other servers. Each look-up and each attempt to connect has a thread.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anabranch_core::relay::{AttemptId, Failure};
use anabranch_host::{Pause, drive};
use event_listener::Listener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::connection::{Connection, STACK};
use crate::server::Shared;
use crate::transport::Transport;

/// The sockets of attempts that go on.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<AttemptId, Arc<Socket>>>);

/// Does what relays want done, until the server is over.
pub(crate) fn run_driver(shared: &Arc<Shared>) {
    while let Some(Pause { until, news }) = drive(shared) {
        match until {
            None => news.wait(),
            Some(until) => _ = news.wait_deadline(until),
        }
    }
}

/// Looks up the addresses of a host.
pub(crate) fn resolve(shared: &Arc<Shared>, attempt: AttemptId, host: String, port: u16) {
    let its_shared = shared.clone();
    let begun = begin(format!("look-up-{attempt}"), move || {
        let relays = its_shared.host.core().relays();
        match (&*host, port).to_socket_addrs() {
            Ok(addresses) => relays.resolved(Instant::now(), attempt, addresses.collect()),
            Err(error) => relays.failed(Instant::now(), attempt, Failure::Resolve(error.to_string())),
        }
    });
    if let Err(error) = begun {
        shared.host.core().relays().failed(Instant::now(), attempt, Failure::Resolve(error.to_string()));
    }
}

/// Connects, and serves the connection.
pub(crate) fn connect(shared: &Arc<Shared>, attempt: AttemptId, address: SocketAddr, tls: Option<String>) {
    let its_shared = shared.clone();
    let begun = begin(format!("connect-{attempt}"), move || {
        let relays = its_shared.host.core().relays();
        let made = make(&its_shared, attempt, address, tls.as_deref());
        its_shared.attempts.sockets().remove(&attempt);
        match made {
            Ok(transport) => {
                // `None`: it is not wanted any more, and is closed here.
                if let Some(uplink) = relays.connected(Instant::now(), attempt, address) {
                    Connection::start_outbound(&its_shared, transport, uplink);
                }
            }
            Err(failure) => relays.failed(Instant::now(), attempt, failure),
        }
    });
    if let Err(error) = begun {
        shared.host.core().relays().failed(Instant::now(), attempt, Failure::Connect(error.to_string()));
    }
}

fn make(shared: &Shared, attempt: AttemptId, address: SocketAddr, tls: Option<&str>) -> Result<Transport, Failure> {
    let failed = |error: io::Error| Failure::Connect(error.to_string());
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
    if !shared.host.admits(socket.as_raw_fd()) {
        return Err(Failure::Connect("the limit of open files is nearly reached".to_owned()));
    }
    let socket = Arc::new(socket);
    shared.attempts.sockets().insert(attempt, socket.clone());
    socket.connect(&address.into()).map_err(failed)?;
    // The other reference is dropped with the attempt; both are of one connection.
    let stream = TcpStream::from(socket.try_clone().map_err(failed)?);
    match tls {
        None => Ok(Transport::plain(stream)),
        #[cfg(feature = "tls")]
        Some(name) => crate::tls::secure(&shared.host, stream, name.to_owned()),
        #[cfg(not(feature = "tls"))]
        Some(_) => Err(Failure::Tls("this server was built without the feature tls".to_owned())),
    }
}

fn begin(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name).stack_size(STACK).spawn(work).map(drop)
}

impl Attempts {
    /// Ends an attempt to connect.
    pub(crate) fn abort(&self, attempt: AttemptId) {
        if let Some(socket) = self.sockets().remove(&attempt) {
            // On Linux this also ends a connect that has no answer yet. Elsewhere that goes on to the system's own timeout.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn sockets(&self) -> MutexGuard<'_, HashMap<AttemptId, Arc<Socket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
