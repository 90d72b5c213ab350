//! The configuration: a file, environment variables and options become one tree of values, each with its origin. The
//! tree is then converted into settings. Keys, their descriptions, bounds and defaults are defined once, by the types
//! of [`Settings`] and their doc comments; all other code here works with any key.
//!
//! Besides serde's and schemars' own attributes, a field's schema may be extended with
//! - `x-restart`: a change needs a restart;
//! - `x-minimum` and `x-maximum`: bounds of times and sizes, in their written form; with a maximum, "never" and
//!   "unlimited" are out of bounds unless the field has `x-endless`;
//! - `x-connection`: the key is for connections, with the reason why an application cannot set it; the schema of an
//!   application has the reasons as `x-refused`;
//! - `x-ruled`: the key only decides what is granted. Captures hold these decisions, so they leave the key out;
//! - `writeOnly`, JSON Schema's own: the value is never shown. [`Secret`](values::Secret) has it.

mod advice;
mod bounds;
mod convert;
mod defaults;
mod environment;
mod example;
mod flags;
mod hls;
mod load;
mod of_streams;
mod rtc;
mod schema;
mod server;
mod show;
pub(crate) mod tree;
pub(crate) mod values;
pub(crate) mod vhost;
mod web;
pub(crate) mod written;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::ApiSettings;
use crate::cluster::ClusterSettings;
use crate::lifecycle::ShutdownSettings;
use crate::relays::RelaySettings;
use crate::tls::TlsSettings;
pub(crate) use environment::names_of_keys;
pub(crate) use example::example;
pub(crate) use flags::flags;
pub(crate) use hls::{HlsMode, HlsSettings, rendition_fault};
pub(crate) use load::{Loaded, Problems, Sources};
pub(crate) use of_streams::OfStreams;
#[cfg(test)]
pub(crate) use of_streams::OfVhost;
pub(crate) use rtc::{KEPT_MEMORY, PublicAddress, PublicHost, RtcSettings, SESSION_MEMORY};
pub(crate) use schema::Schema;
pub(crate) use show::{ShownValue, of_capture};

/// All settings.
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
    pub(crate) web: web::WebSettings,
    pub(crate) rtc: RtcSettings,
    pub(crate) relay: RelaySettings,
    pub(crate) api: ApiSettings,
    pub(crate) cluster: ClusterSettings,
    pub(crate) defaults: vhost::VhostSettings,
    /// Virtual hosts. Without any, all host names are the same and share their streams. With some, the server refuses
    /// host names that none of them has, unless one is called "__defaultVhost__". Each may set any key that [defaults]
    /// has; its applications come before those of [defaults].
    pub(crate) vhost: Vec<vhost::Vhost>,
}
