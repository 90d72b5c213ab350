use std::path::PathBuf;

use anabranch_core::policy::Network;
use anabranch_host::{Listen, TcpOptions};
use anabranch_program::{CaptureLimits, LogFormat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Memory, Size, Threads, Time};
use super::written::{Of, Text};

impl Text for Listen {
    const FORM: &'static str = "an address to listen on such as \"1935\", \"127.0.0.1:1935\" or \"[::1]:1935\"";

    fn text(&self) -> String {
        match self {
            Listen::Any(port) => port.to_string(),
            Listen::One(address) => address.to_string(),
        }
    }
}

impl Text for Network {
    const FORM: &'static str = "an address or network such as \"10.0.0.0/8\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Where clients come in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Where to listen: PORT or ADDRESS:PORT, an IPv6 address in brackets.
    #[schemars(extend("x-restart" = true))]
    pub(crate) listen: Vec<Of<Listen>>,
    /// Threads that serve connections; "auto" is one a core.
    #[schemars(extend("x-restart" = true))]
    pub(crate) threads: Threads,
    /// The server's name in hooks and the API; "" for one made of the machine's, the same after each start.
    #[schemars(extend("x-restart" = true))]
    pub(crate) id: String,
    /// Proxies that may say in front of the handshake who is behind them (PROXY protocol 1 and 2, SRS's proxy):
    /// addresses or networks such as "10.0.0.0/8".
    pub(crate) trusted_proxies: Vec<Of<Network>>,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: vec![Of(Listen::Any(1935))],
            threads: Threads(None),
            id: String::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// What the whole server may take; [defaults.limits] has what each virtual host may.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerLimits {
    /// Memory for the recent frames of all streams together; "auto" is half of what the machine has, or of what the
    /// process's control group may use if that is less. When it becomes short, the streams that take more than an equal
    /// share of it give up what lies before their newest key frame, and if need be the rest.
    pub(crate) memory: Memory,
}

/// How TCP connections are treated, those that come from now on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tcp {
    /// Whether small writes leave at once (TCP_NODELAY).
    pub(crate) nodelay: bool,
    /// Idle time after which the system probes whether a peer is still there; "never" for no probes.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "32767s", "x-endless" = true))]
    pub(crate) keepalive: Time,
    /// How long sent data may go unacknowledged before the system breaks the connection (TCP_USER_TIMEOUT); "never" for
    /// the system's own idea, many minutes.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "24h", "x-endless" = true))]
    pub(crate) user_timeout: Time,
    /// Bytes not yet sent with which a socket still counts as writable (TCP_NOTSENT_LOWAT); "unlimited" for the system's
    /// own idea. Less makes slow players skip sooner, at the price of more wake-ups.
    #[schemars(extend("x-minimum" = "1", "x-maximum" = "2GiB", "x-endless" = true))]
    pub(crate) notsent_lowat: Size,
}

impl Default for Tcp {
    fn default() -> Self {
        let TcpOptions { nodelay, keepalive, user_timeout, notsent_lowat } = TcpOptions::default();
        let time = |time: Option<_>| time.map_or(Time::NEVER, Time);
        let notsent_lowat = notsent_lowat.map_or(Size::UNLIMITED, |bytes| Size(u64::from(bytes)));
        Tcp { nodelay, keepalive: time(keepalive), user_timeout: time(user_timeout), notsent_lowat }
    }
}

impl Tcp {
    pub(crate) fn options(&self) -> TcpOptions {
        TcpOptions {
            nodelay: self.nodelay,
            keepalive: self.keepalive.limit(),
            user_timeout: self.user_timeout.limit(),
            notsent_lowat: u32::try_from(self.notsent_lowat.0).ok(),
        }
    }
}

/// What is said on standard error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// What to log: error, warn, info, debug or trace, or levels per module as in "info,anabranch_smol=debug".
    pub(crate) level: String,
    /// For whom: lines for people ("text"), or a JSON object a line for machines ("json").
    #[schemars(extend("x-restart" = true))]
    pub(crate) format: Format,
}

/// For whom the log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".to_owned(), format: Format::Text }
    }
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        }
    }
}

/// Records of connections, to be looked at and run again with `replay`. The files hold all that clients send, keys and
/// media included.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-restart" = true))]
pub(crate) struct Capture {
    /// Record each connection into a file in this folder; "" for none.
    pub(crate) folder: PathBuf,
    /// Size at which the record of one connection ends.
    #[schemars(extend("x-minimum" = "1MiB"))]
    pub(crate) file_size: Size,
    /// Files in that folder; no more are begun.
    #[schemars(range(min = 1, max = i64::MAX))]
    pub(crate) files: u64,
}

impl Default for Capture {
    fn default() -> Self {
        let CaptureLimits { bytes, files, .. } = CaptureLimits::default();
        Capture { folder: PathBuf::new(), file_size: Size(bytes), files }
    }
}
