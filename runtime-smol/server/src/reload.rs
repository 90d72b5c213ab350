use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_host::Handle;
use anabranch_program::{CaptureFolder, LogFilter};
use serde_json::{Value, json};
use tracing::warn;

use crate::hooks::HttpHooks;
use crate::record::Recorder;
use crate::settings::{Loaded, Sources};
use crate::tls::TlsListeners;

/// Puts the configuration in force that is in the file now, in the running server.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) sources: Sources,
    pub(crate) handle: Handle,
    pub(crate) log: LogFilter,
    pub(crate) captures: Option<CaptureFolder>,
    pub(crate) hooks: HttpHooks,
    pub(crate) recorder: Recorder,
    pub(crate) tls: Option<TlsListeners>,
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
        // First, so that what comes of the rest is told as it is to be. What is no filter was found in reading.
        self.log.set(&new.settings.log.level)?;
        if let Err(error) = self.put_in_force(&new) {
            // What held before could be put in force once, and can be again.
            let _ = self.put_in_force(&current);
            let _ = self.log.set(&current.settings.log.level);
            return Err(error);
        }
        if let Some(captures) = &self.captures {
            captures.set_header(&new.capture_header(&self.program));
        }
        new.advice(self.sources.file.as_deref()).iter().for_each(|line| warn!("{line}"));
        *current = Arc::new(new);
        Ok(Applied { changed })
    }

    /// The same, in words for whoever asked for it over HTTP.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn reload_for_api(&self) -> Result<Value, String> {
        self.reload().map(|applied| json!({ "changed": applied.changed }))
    }

    /// What holds.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.lock().clone()
    }

    /// Those parts that may refuse. Who is asked comes first, so that there is somebody to answer.
    fn put_in_force(&self, new: &Loaded) -> Result<(), String> {
        let settings = &new.settings;
        // Not in force before nothing can refuse any more: what held before may not be there to be read again.
        let certificates = self.tls.as_ref().map(|tls| tls.prepare(&settings.tls)).transpose()?;
        self.hooks.update(&settings.defaults.hooks, &new.of_vhosts(|vhost| &vhost.hooks))?;
        self.recorder.update(&settings.defaults.record, &new.of_vhosts(|vhost| &vhost.record))?;
        self.handle.reconfigure(new.config.clone(), settings.tcp.options()).map_err(|error| error.to_string())?;
        if let Some(put_in_force) = certificates {
            put_in_force();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Loaded>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
