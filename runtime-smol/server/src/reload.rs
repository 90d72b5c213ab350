use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_host::Handle;
use anabranch_program::LogFilter;
use serde_json::{Value, json};
use tracing::warn;

use crate::api::Capturing;
use crate::examine::{Purpose, findings_of};
use crate::hooks::HttpHooks;
use crate::record::Recorder;
use crate::relays;
use crate::run::Runner;
use crate::segments::Outlets;
use crate::settings::{Loaded, Sources};
use crate::tls::TlsListeners;

/// Reads the configuration again and puts it in force in the running server.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) sources: Sources,
    pub(crate) handle: Handle,
    pub(crate) log: LogFilter,
    pub(crate) captures: Capturing,
    pub(crate) hooks: HttpHooks,
    pub(crate) recorder: Recorder,
    pub(crate) outlets: Outlets,
    pub(crate) runner: Runner,
    #[cfg(feature = "webrtc")]
    pub(crate) rtc: crate::rtc::Rtc,
    pub(crate) tls: Option<TlsListeners>,
    /// The first line of captures.
    pub(crate) program: String,
    /// The configuration in force.
    pub(crate) current: Mutex<Arc<Loaded>>,
}

/// The result of a successful reload.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The keys whose values have changed.
    pub(crate) changed: Vec<String>,
}

impl Reloader {
    /// Reads the file again, and puts it in force as a whole or not at all.
    ///
    /// # Errors
    /// The errors in the file with their places, or the keys that need a restart.
    pub(crate) fn reload(&self) -> Result<Applied, String> {
        // One reload at a time.
        let mut current = self.lock();
        let new = self.sources.load().map_err(|problems| problems.to_string())?;
        let fixed = current.fixed_changes(&new);
        if !fixed.is_empty() {
            return Err(format!("these keys need a restart of the server to change: {}", fixed.join(", ")));
        }
        let changed = current.changes(&new);
        self.handle.log_addresses(new.settings.log.addresses.into());
        // First, so that messages about the rest have the new level. The filter was checked when the file was read.
        self.log.set(&new.settings.log.level)?;
        if let Err(error) = self.put_in_force(&new) {
            // The old configuration could be put in force before, so it can be again.
            let _ = self.put_in_force(&current);
            let _ = self.log.set(&current.settings.log.level);
            self.handle.log_addresses(current.settings.log.addresses.into());
            return Err(error);
        }
        self.captures.update(&new, &self.program);
        // What is wrong on the machine must not keep a change from it that is perhaps the cure.
        let findings = findings_of(&new, &self.sources, Purpose::Reload);
        findings.iter().for_each(|finding| warn!(event = "advice", "{finding}"));
        *current = Arc::new(new);
        Ok(Applied { changed })
    }

    /// The same, with a JSON result for the API.
    ///
    /// # Errors
    /// As [`Reloader::reload`].
    pub(crate) fn reload_for_api(&self) -> Result<Value, String> {
        self.reload().map(|applied| json!({ "changed": applied.changed }))
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.lock().clone()
    }

    /// Updates the parts that may fail. Hooks come first, so that they can answer when core begins to ask.
    fn put_in_force(&self, new: &Loaded) -> Result<(), String> {
        let settings = &new.settings;
        // The certificates are put in force last, when nothing can fail any more: the old files may be gone, so going
        // back might not be possible.
        let certificates = self.tls.as_ref().map(|tls| tls.prepare(&settings.tls)).transpose()?;
        self.hooks.update(&new.of_streams(|settings| &settings.hooks))?;
        let client_tls = relays::client(&settings.relay)?;
        self.recorder.update(&new.of_streams(|settings| &settings.record))?;
        self.outlets.update(&new.of_streams(|settings| &settings.hls))?;
        self.runner.prepare(new)?;
        self.handle.reconfigure(new.config.clone(), settings.tcp.options()).map_err(|error| error.to_string())?;
        self.runner.update(new);
        #[cfg(feature = "webrtc")]
        self.rtc.update(&settings.rtc);
        self.handle.client_tls(client_tls);
        if let Some(put_in_force) = certificates {
            put_in_force();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Loaded>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
