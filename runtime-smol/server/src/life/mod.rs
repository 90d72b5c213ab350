//! How the program begins and ends: sockets that it inherits, signals, what the service manager is told.

mod inherited;
mod service;
mod signals;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use inherited::inherited_listeners;
pub(crate) use service::{ready, reloaded, reloading, stopping};
pub(crate) use signals::follow_signals;

/// How the server ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ShutdownSettings {
    /// How long after SIGTERM clients are let go on, in seconds. Nobody new is served; players go on to the end of their
    /// group of pictures, and who understands it is asked to connect anew. SIGINT and SIGQUIT end the server at once.
    pub(crate) drain_seconds: u32,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        ShutdownSettings { drain_seconds: 10 }
    }
}

impl ShutdownSettings {
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}
