use std::{io, thread};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use tracing::info;

/// Calls `stop` at SIGINT or SIGTERM. A second signal ends the process at once. SIGUSR1 and SIGUSR2, with which other
/// servers open their log files again and replace themselves, would end the process and have no effect here.
///
/// # Errors
/// The system refuses to deliver signals.
pub fn on_stop_signal(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut signals = signals.forever().filter(|signal| !is_ignored(*signal));
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

fn is_ignored(signal: i32) -> bool {
    let is_ignored = [SIGUSR1, SIGUSR2].contains(&signal);
    if is_ignored {
        info!(event = "signal_ignored", signal, "SIGUSR1 and SIGUSR2 have no effect: standard error is the log");
    }
    is_ignored
}
