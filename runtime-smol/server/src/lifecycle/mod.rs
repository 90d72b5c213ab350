//! How the program begins and ends: sockets that it inherits, signals, what the service manager is told.

mod inherited;
mod service;
mod signals;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::values::Time;
pub(crate) use inherited::inherited_listeners;
pub(crate) use service::ready;
pub(crate) use signals::Signals;

/// How the server ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ShutdownSettings {
    /// How long after SIGTERM clients are let go on. Nobody new is served; players go on to the end of their
    /// group of pictures, and who understands it is asked to connect anew. SIGINT and SIGQUIT end the server at once.
    #[schemars(extend("x-maximum" = "24h"))]
    pub(crate) drain: Time,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        ShutdownSettings { drain: Time(Duration::from_secs(10)) }
    }
}
