use std::thread;
use std::time::{Duration, Instant};

use anabranch_smol::Handle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::info;

use super::stopping;

/// Does what signals ask for: SIGTERM takes leave of the clients, for as long as `drain`, and then stops the server;
/// SIGINT and SIGQUIT stop it at once, and so does any of them if it is about to end; one more ends the process. SIGHUP
/// reloads the configuration.
///
/// # Errors
/// The system refuses to deliver signals, or to give a thread for them.
pub(crate) fn follow_signals(
    handle: Handle,
    drain: impl Fn() -> Duration + Send + 'static,
    reload: impl Fn() + Send + 'static,
) -> Result<(), String> {
    let named = |error| format!("cannot watch for signals: {error}");
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).map_err(named)?;
    let follow = move || {
        let mut end = End::NotYet;
        for signal in signals.forever() {
            end = match (signal, end) {
                (SIGHUP, end) => {
                    reload();
                    end
                }
                (SIGTERM, End::NotYet) => {
                    stopping();
                    let handle = handle.clone();
                    let drain = drain();
                    // Without a thread to wait on it is stopped at once.
                    let drained = thread::Builder::new().name("drain".to_owned());
                    match drained.spawn({
                        let handle = handle.clone();
                        move || take_leave(&handle, drain)
                    }) {
                        Ok(_) => End::Draining,
                        Err(_) => stop(&handle),
                    }
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
    thread::Builder::new().name("signals".to_owned()).spawn(follow).map(drop).map_err(named)
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

fn take_leave(handle: &Handle, time: Duration) {
    let connections = handle.stats().connections;
    if connections > 0 && !time.is_zero() {
        info!("draining: {connections} connections have {} s to come to an end", time.as_secs());
        handle.drain(time, None);
        handle.wait_until_empty(Instant::now() + time);
    }
    stop(handle);
}
