use std::sync::Arc;

use anabranch_core::http::{Origins, Settings};
use anabranch_host::{Listen, WebListen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Time;
use super::written::{Of, Text};

impl Text for WebListen {
    const FORM: &'static str = "\"auto\", \"off\", or addresses such as \"8080\" or \"127.0.0.1:8080, [::1]:8080\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

/// HTTP: live streams for browsers, and the pages of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebSettings {
    /// Addresses to listen on for HTTP: PORT or ADDRESS:PORT, with commas between several. "auto" is port 8080 of all
    /// addresses; if that port is taken the server runs without it. "off" for none.
    #[schemars(extend("x-restart" = true))]
    pub(crate) listen: Of<WebListen>,
    /// Addresses to listen on for HTTPS, with the certificates of [tls].
    #[schemars(extend("x-restart" = true))]
    pub(crate) https: Vec<Of<Listen>>,
    /// Whether HTTP is also served on the ports of RTMP. The client's first bytes tell which protocol it speaks.
    #[schemars(extend("x-restart" = true))]
    pub(crate) on_rtmp_ports: bool,
    /// Web pages whose scripts may play live streams, such as "https://www.example.com"; "*" is all. Pages on this
    /// server itself always may.
    pub(crate) allow_origins: Vec<String>,
    /// How long a player waits for a stream that is not published, before the answer is 404.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub(crate) wait: Time,
    /// How long a connection may stay open without a new request.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "24h"))]
    pub(crate) idle_timeout: Time,
}

impl Default for WebSettings {
    fn default() -> Self {
        let Settings { wait, idle, .. } = Settings::default();
        WebSettings {
            listen: Of(WebListen::Auto),
            https: Vec::new(),
            on_rtmp_ports: false,
            allow_origins: vec!["*".to_owned()],
            wait: Time(wait),
            idle_timeout: Time(idle),
        }
    }
}

impl WebSettings {
    /// What core needs.
    pub(crate) fn core(&self) -> Arc<Settings> {
        let origins = match &self.allow_origins[..] {
            origins if origins.iter().any(|origin| origin == "*") => Origins::Any,
            origins => Origins::Listed(origins.to_vec()),
        };
        Arc::new(Settings { origins, wait: self.wait.0, idle: self.idle_timeout.0, ..Settings::default() })
    }
}
