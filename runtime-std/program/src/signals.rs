use std::{io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `stop` at SIGINT or SIGTERM. A second signal ends the process at once.
///
/// # Errors
/// The system refuses to deliver signals.
pub fn on_stop_signal(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            stop();
        }
        if let Some(signal) = signals.next() {
            // By convention: 128 and the signal's number.
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}
