use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use tracing::warn;

use crate::connection::Connection;
use crate::server::Shared;

/// How long to leave a listener alone when the system cannot give one more connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to write that into the log.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts connections for ever. No error ends it: a connection that was gone before it was accepted is nothing, and
/// when there are no more file descriptors there will be some again.
pub(crate) async fn run(shared: Arc<Shared>, listener: Async<TcpListener>) {
    let mut warned: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                Connection::start(&shared, socket, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                    warned = Some(Instant::now());
                    warn!("cannot accept connections: {error}; trying on");
                }
                Timer::after(PAUSE).await;
            }
        }
    }
}

/// Errors of the connection that was to be accepted, not of the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}
