use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use anabranch_smol::Handle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator;
use tracing::{error, info};

use super::service::{reloaded, reloading, stopping};
use crate::cluster::{Directory, TO_BE_KNOWN};
use crate::reload::{Applied, Reloader};

/// The signals that control the process. They wait until [`follow`](Self::follow) is called.
pub(crate) struct Signals(iterator::Signals);

impl Signals {
    /// # Errors
    /// The system refuses to deliver them.
    pub(crate) fn catch() -> Result<Self, String> {
        let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
        iterator::Signals::new(signals).map(Signals).map_err(|error| named(&error))
    }

    /// Handles signals on a separate thread. SIGTERM drains the server for the configured time and then stops it.
    /// SIGINT and SIGQUIT stop it at once, and so does any of the three while it drains. A further one ends the
    /// process. SIGHUP reads the configuration again. SIGUSR1 and SIGUSR2, with which other servers open their log
    /// files again and replace themselves, would end the process and have no effect here.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn follow(
        mut self,
        handle: Handle,
        reloader: Arc<Reloader>,
        directory: Option<Directory>,
    ) -> Result<(), String> {
        let follow = move || {
            let mut end = End::NotYet;
            for signal in self.0.forever() {
                end = match (signal, end) {
                    (SIGUSR1 | SIGUSR2, end) => {
                        info!(
                            event = "signal_ignored",
                            signal, "SIGUSR1 and SIGUSR2 have no effect: standard error is the log"
                        );
                        end
                    }
                    (SIGHUP, end) => {
                        // Even after a panic the next signal must be handled.
                        if catch_unwind(AssertUnwindSafe(|| reload(&reloader))).is_err() {
                            error!(event = "bug", "the reload panicked, which is a bug; the server goes on");
                        }
                        end
                    }
                    (SIGTERM, End::NotYet) => {
                        stopping();
                        drain(&handle, reloader.current().settings.shutdown.drain.0, directory.as_ref())
                    }
                    (_, end @ (End::NotYet | End::Draining)) => {
                        stopping();
                        stop(&handle, if matches!(end, End::Draining) { Why::SecondSignal } else { Why::Signal })
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

/// How far the server has stopped.
#[derive(Clone, Copy)]
enum End {
    NotYet,
    Draining,
    Stopping,
}

/// Why the server stops.
#[derive(Clone, Copy)]
enum Why {
    Empty,
    TimeIsOver,
    Signal,
    SecondSignal,
}

impl Why {
    /// As a name, and in words.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Why::Empty => ("no_connections", "no connection is open"),
            Why::TimeIsOver => ("drain_over", "the time to drain is over"),
            Why::Signal => ("signal", "a signal asks to stop at once"),
            Why::SecondSignal => ("second_signal", "a second signal came during the drain"),
        }
    }
}

fn stop(handle: &Handle, why: Why) -> End {
    let (reason, words) = why.words();
    info!(event = "stopping", reason, "stopping: {words}");
    handle.stop();
    End::Stopping
}

fn drain(handle: &Handle, time: Duration, directory: Option<&Directory>) -> End {
    let connections = handle.stats().connections;
    if connections == 0 || time.is_zero() {
        return stop(handle, if connections == 0 { Why::Empty } else { Why::Signal });
    }
    let seconds = time.as_secs();
    info!(event = "draining", connections, seconds, "draining: {connections} connections have {seconds} s to end");
    // The other servers of the cluster first: they get the clients that are asked to connect again.
    let others = directory.map(|directory| directory.begin_drain(TO_BE_KNOWN)).unwrap_or_default();
    handle.drain_among_to_stop(time, others);
    let waiting = handle.clone();
    let wait = move || {
        let is_empty = waiting.wait_until_empty(Instant::now() + time);
        stop(&waiting, if is_empty { Why::Empty } else { Why::TimeIsOver });
    };
    // Without a thread that waits, stop at once.
    match thread::Builder::new().name("drain".to_owned()).spawn(wait) {
        Ok(_) => End::Draining,
        Err(_) => stop(handle, Why::Signal),
    }
}

fn reload(reloader: &Reloader) {
    reloading();
    let words = match reloader.reload() {
        Ok(Applied { changed }) if changed.is_empty() => {
            info!(event = "reloaded", "the configuration was read again: nothing has changed");
            "reloaded, nothing has changed"
        }
        Ok(Applied { changed }) => {
            let changed = changed.join(", ");
            info!(event = "reloaded", changed, "the configuration was read again and is in force; changed: {changed}");
            "reloaded"
        }
        Err(words) => {
            let words = words.replace('\n', "; ");
            error!(
                event = "reload_refused",
                error = words,
                "the configuration was not accepted, the old one stays in force: {words}"
            );
            "the configuration was not accepted, the old one stays in force"
        }
    };
    reloaded(words);
}
