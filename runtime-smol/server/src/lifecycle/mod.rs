//! The program's start and stop: inherited sockets, signals, and messages to the service manager.

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

/// How the server stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ShutdownSettings {
    /// How long clients may go on after SIGTERM. The server grants nothing new; players go on to the end of their GOP,
    /// and clients that understand reconnect requests are asked to connect again. SIGINT and SIGQUIT stop the server at
    /// once.
    #[schemars(extend("x-maximum" = "24h"))]
    pub(crate) drain: Time,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        ShutdownSettings { drain: Time(Duration::from_secs(10)) }
    }
}
