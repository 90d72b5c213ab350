use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anabranch_host::{Captures, Handle, LogFilter};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use tracing::{error, info};

use crate::settings::{Loaded, Sources};

/// Puts the configuration in force that is in the file now, in the running server.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) sources: Sources,
    pub(crate) handle: Handle,
    pub(crate) log: LogFilter,
    pub(crate) captures: Option<Captures>,
    /// The first line of captures.
    pub(crate) program: String,
    /// What holds.
    pub(crate) current: Mutex<Arc<Loaded>>,
}

/// A configuration that is in force now.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The keys that have other values than before.
    pub(crate) changed: Vec<String>,
}

impl Reloader {
    /// Reads the file anew, and puts what it says in force as a whole, or nothing of it.
    ///
    /// # Errors
    /// What is wrong with it and where, or what needs a restart.
    pub(crate) fn reload(&self) -> Result<Applied, String> {
        // One at a time.
        let mut current = self.lock();
        let new = self.sources.load().map_err(|problems| problems.to_string())?;
        let fixed = current.fixed_changes(&new);
        if !fixed.is_empty() {
            return Err(format!("cannot change while the server runs, restart it: {}", fixed.join(", ")));
        }
        let changed = current.changes(&new);
        self.handle.reconfigure(new.config.clone(), new.settings.tcp.options()).map_err(|error| error.to_string())?;
        // What is no filter was found when the file was read.
        self.log.set(&new.settings.log.level)?;
        if let Some(captures) = &self.captures {
            captures.set_header(&new.capture_header(&self.program));
        }
        *current = Arc::new(new);
        Ok(Applied { changed })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Loaded>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps SIGHUP, by which a process else ends, until it is [served](on_signal).
///
/// # Errors
/// The system refuses to deliver signals.
pub(crate) fn signals() -> io::Result<Signals> {
    Signals::new([SIGHUP])
}

/// Reloads at each of these signals, and says in the log what came of it.
///
/// # Errors
/// There is no thread for it.
pub(crate) fn on_signal(mut signals: Signals, reloader: Arc<Reloader>) -> io::Result<()> {
    thread::Builder::new().name("reload".into()).spawn(move || {
        for _ in signals.forever() {
            match reloader.reload() {
                Ok(Applied { changed }) if changed.is_empty() => {
                    info!("the configuration was read: nothing has changed");
                }
                Ok(Applied { changed }) => {
                    info!("the configuration was read, and holds from now on: {}", changed.join(", "));
                }
                Err(words) => {
                    let words = words.replace('\n', "; ");
                    error!("the configuration was not taken, all stays as it was: {words}");
                }
            }
        }
    })?;
    Ok(())
}
