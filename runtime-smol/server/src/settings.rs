use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::ApiSettings;
use crate::hooks::HookSettings;
use crate::life::ShutdownSettings;
use crate::record::RecordSettings;
use crate::tls::TlsSettings;

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// How the server ends.
    pub(crate) shutdown: ShutdownSettings,
    /// RTMP in TLS.
    pub(crate) tls: TlsSettings,
    /// The HTTP API and the metrics.
    pub(crate) api: ApiSettings,
    /// HTTP calls to a back end about clients.
    pub(crate) hooks: HookSettings,
    /// Recording of streams.
    pub(crate) record: RecordSettings,
    /// The server's name in hooks. Default: one made of the machine's, the same after each start.
    pub(crate) server_id: Option<String>,
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or does not say what it should; with its name, and the place.
    pub(crate) fn read(path: &Path) -> Result<Settings, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| named(&error))?;
        toml::from_str(&text).map_err(|error| named(&error))
    }
}
