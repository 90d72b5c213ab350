//! The configuration: a file, environment variables and options become one tree of values, each with where it comes
//! from, and that becomes settings. What keys there are, what they mean, their bounds and defaults is said once, by the
//! types of [`Settings`] and their doc comments; all else here works with any key.
//!
//! Beside serde's and schemars' own attributes, a field's schema may be extended with
//! - `x-restart`: a change needs a restart;
//! - `x-minimum` and `x-maximum`: bounds of times and sizes, as these are written; with a maximum, "never" and "unlimited"
//!   are out of bounds unless it says `x-endless`;
//! - `x-ruled`: it only decides what is granted, which captures of connections hold themselves;
//! - `writeOnly`, JSON Schema's own: the value is shown to nobody. [`Secret`](values::Secret) has it.

mod advice;
mod bounds;
mod convert;
mod defaults;
mod environment;
mod example;
mod flags;
mod load;
mod schema;
mod server;
mod show;
mod tree;
pub(crate) mod values;
pub(crate) mod vhost;
pub(crate) mod written;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::ApiSettings;
use crate::lifecycle::ShutdownSettings;
use crate::tls::TlsSettings;
pub(crate) use example::example;
pub(crate) use flags::flags;
pub(crate) use load::{Loaded, Sources};
pub(crate) use schema::Schema;
pub(crate) use show::of_capture;

/// All that can be set.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) server: server::Server,
    pub(crate) limits: server::ServerLimits,
    pub(crate) tcp: server::Tcp,
    pub(crate) log: server::Log,
    pub(crate) capture: server::Capture,
    pub(crate) shutdown: ShutdownSettings,
    pub(crate) tls: TlsSettings,
    pub(crate) api: ApiSettings,
    pub(crate) defaults: vhost::VhostSettings,
    /// Virtual hosts. Without any, all host names are one and share their streams. With some, a name that none of them
    /// has is refused, unless one is called "__defaultVhost__". Each may set whatever [defaults] may.
    pub(crate) vhost: Vec<vhost::Vhost>,
}
