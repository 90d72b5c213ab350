use std::str::FromStr;
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

/// The origin of pages, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageOrigin(String);

impl FromStr for PageOrigin {
    type Err = String;

    /// As browsers write it, because theirs is compared with it: no path, and no port that goes without saying.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_origin = || {
            let (scheme, host) = text.split_once("://")?;
            let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
            let implied = match scheme {
                "http" => "80",
                "https" => "443",
                _ => return None,
            };
            let is_port = |port: &str| port != implied && port.parse::<u16>().is_ok();
            let is_host = !host.is_empty() && !host.starts_with(':') && !host.contains(['/', '?', '#', '@', '*', ' ']);
            (is_host && port.is_none_or(is_port)).then_some(())
        };
        match text == "*" || is_origin().is_some() {
            true => Ok(PageOrigin(text.to_owned())),
            false => Err(format!("{text:?} is not {}", PageOrigin::FORM)),
        }
    }
}

impl Text for PageOrigin {
    const FORM: &'static str =
        "\"*\", or an origin of pages such as \"https://www.example.com\" or \"http://10.0.0.1:3000\", without a path";

    fn text(&self) -> String {
        self.0.clone()
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
    pub(crate) allow_origins: Vec<Of<PageOrigin>>,
    /// How long a player waits for a stream that is not published, before the answer is 404.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub(crate) wait: Time,
    /// Most connections by HTTP that play no live stream, at most three quarters of the open files. If there are more,
    /// those that have waited longest for a request are closed.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) connections: usize,
    /// How long a connection may stay open without a new request.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "24h"))]
    pub(crate) idle_timeout: Time,
}

impl Default for WebSettings {
    fn default() -> Self {
        let Settings { wait, idle, connections, .. } = Settings::default();
        WebSettings {
            listen: Of(WebListen::Auto),
            https: Vec::new(),
            on_rtmp_ports: false,
            allow_origins: vec![Of(PageOrigin("*".to_owned()))],
            wait: Time(wait),
            connections,
            idle_timeout: Time(idle),
        }
    }
}

impl WebSettings {
    /// Whether it listens for HTTP anywhere.
    pub(crate) fn is_on(&self) -> bool {
        self.listen.0 != WebListen::Off || !self.https.is_empty() || self.on_rtmp_ports
    }

    /// What core needs. The pages at the API's address are this server's, too.
    pub(crate) fn core(&self, api: Option<Listen>) -> Arc<Settings> {
        let origins = self.allow_origins.iter().map(|Of(PageOrigin(origin))| origin);
        let origins = match origins.clone().any(|origin| origin == "*") {
            true => Origins::Any,
            false => Origins::Listed(origins.cloned().collect()),
        };
        // If all pages may, there is nothing to know of those.
        let is_listed = matches!(origins, Origins::Listed(_));
        let ports = api.filter(|_| is_listed).map(Listen::port).into_iter().collect();
        let (wait, connections, idle) = (self.wait.0, self.connections, self.idle_timeout.0);
        Arc::new(Settings { origins, ports, wait, connections, idle, ..Settings::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for right in ["*", "https://www.example.com", "http://10.0.0.1:3000", "http://[::1]", "https://[::1]:8443"] {
            assert_eq!(right.parse::<PageOrigin>().map(|origin| origin.text()).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "www.example.com",
            "https://www.example.com/",
            "https://www.example.com:443",
            "http://www.example.com:80",
            "https://*.example.com",
            "https://",
            "https://:8443",
            "https://a:b",
            "ftp://a",
            "null",
        ] {
            assert!(wrong.parse::<PageOrigin>().is_err(), "{wrong}");
        }
    }
}
