use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tracing::warn;

/// The pause before the next accept when the system cannot give one more connection.
const PAUSE: Duration = Duration::from_millis(100);
/// The shortest time between two log lines about it.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Handles the errors of one listener's accept(2). No error is a reason to stop: a connection may be gone before it is
/// accepted, and if no file descriptor is free, one becomes free later.
#[derive(Debug, Default)]
pub struct AcceptErrors {
    warned: Option<Instant>,
}

impl AcceptErrors {
    /// How long to wait before accepting again; `None` for at once. Errors that need a pause are logged, but not each
    /// time.
    pub fn pause(&mut self, error: &io::Error) -> Option<Duration> {
        if is_of_one_connection(error) {
            return None;
        }
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            self.warned = Some(Instant::now());
            warn!(event = "accept_failed", error = %error, "cannot accept connections: {error}; trying again");
        }
        Some(PAUSE)
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

/// Makes a thread that blocks in an accept from `listener` return, with an error or with a connection that this
/// function opens. The listener cannot be used afterwards.
pub fn interrupt_accept(listener: &TcpListener) {
    // On Linux this ends the accept and needs no file descriptor. Other systems refuse; there, a connection ends it.
    if SockRef::from(listener).shutdown(Shutdown::Both).is_err()
        && let Ok(address) = listener.local_addr()
    {
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn only_errors_of_the_listener_need_a_pause() {
        let mut errors = AcceptErrors::default();
        assert_eq!(errors.pause(&io::ErrorKind::ConnectionAborted.into()), None);
        assert_eq!(errors.pause(&io::ErrorKind::Interrupted.into()), None);
        // EMFILE has no stable kind: whatever is not known to be of one connection pauses.
        assert_eq!(errors.pause(&io::Error::other("too many open files")), Some(PAUSE));
    }

    #[test]
    fn a_blocked_accept_can_be_interrupted() {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let (returned, outcome) = channel();
        let accepting = listener.clone();
        thread::spawn(move || returned.send(accepting.accept().is_ok()));
        // Whether accept has begun or not: it must return.
        interrupt_accept(&listener);
        let accepted = outcome.recv_timeout(Duration::from_secs(30)).expect("accept returns");
        assert!(!accepted || cfg!(not(target_os = "linux")), "Linux needs no connection for it");
    }
}
