use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use anabranch_smol::Handle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator;
use tracing::{error, info};

use super::service::{reloaded, reloading, stopping};
use crate::reload::{Applied, Reloader};

/// The signals by which the process is told what to do. While this waits to be [followed](Self::follow) they wait, too.
pub(crate) struct Signals(iterator::Signals);

impl Signals {
    /// # Errors
    /// The system refuses to deliver them.
    pub(crate) fn catch() -> Result<Self, String> {
        iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).map(Signals).map_err(|error| named(&error))
    }

    /// Does what they ask for, on a thread of its own: SIGTERM takes leave of the clients, for as long as the
    /// configuration says, and then stops the server; SIGINT and SIGQUIT stop it at once, and so does any of them while
    /// it takes leave; one more ends the process. SIGHUP reads the configuration anew.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn follow(mut self, handle: Handle, reloader: Arc<Reloader>) -> Result<(), String> {
        let follow = move || {
            let mut end = End::NotYet;
            for signal in self.0.forever() {
                end = match (signal, end) {
                    (SIGHUP, end) => {
                        // Whatever comes of it, the next signal is followed.
                        if catch_unwind(AssertUnwindSafe(|| reload(&reloader))).is_err() {
                            error!("the reload panicked, which is a bug; the server goes on");
                        }
                        end
                    }
                    (SIGTERM, End::NotYet) => {
                        stopping();
                        drain(&handle, reloader.current().settings.shutdown.drain.0)
                    }
                    (_, End::NotYet | End::Draining) => {
                        stopping();
                        stop(&handle)
                    }
                    // By convention: 128 and the signal's number.
                    (signal, End::Stopping) => std::process::exit(128 + signal),
                };
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(follow).map(drop).map_err(|error| named(&error))
    }
}

fn named(error: &io::Error) -> String {
    format!("cannot watch for signals: {error}")
}

/// How near the end is.
#[derive(Clone, Copy)]
enum End {
    NotYet,
    Draining,
    Stopping,
}

fn stop(handle: &Handle) -> End {
    info!("stopping");
    handle.stop();
    End::Stopping
}

fn drain(handle: &Handle, time: Duration) -> End {
    let connections = handle.stats().connections;
    if connections == 0 || time.is_zero() {
        return stop(handle);
    }
    info!("draining: {connections} connections have {} s to come to an end", time.as_secs());
    handle.drain(time, None);
    let waiting = handle.clone();
    let wait = move || {
        waiting.wait_until_empty(Instant::now() + time);
        stop(&waiting);
    };
    // Without a thread to wait on it is stopped at once.
    match thread::Builder::new().name("drain".to_owned()).spawn(wait) {
        Ok(_) => End::Draining,
        Err(_) => stop(handle),
    }
}

fn reload(reloader: &Reloader) {
    reloading();
    let words = match reloader.reload() {
        Ok(Applied { changed }) if changed.is_empty() => {
            info!("the configuration was read: nothing has changed");
            "reloaded, nothing has changed"
        }
        Ok(Applied { changed }) => {
            info!("the configuration was read, and holds from now on: {}", changed.join(", "));
            "reloaded"
        }
        Err(words) => {
            let words = words.replace('\n', "; ");
            error!("the configuration was not taken, all stays as it was: {words}");
            "the configuration was not taken, all stays as it was"
        }
    };
    reloaded(words);
}
