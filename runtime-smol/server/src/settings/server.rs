use std::path::PathBuf;

use anabranch_core::policy::Network;
use anabranch_host::{Listen, LogAddresses, TcpOptions};
use anabranch_program::{CaptureLimits, LogFormat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Memory, Most, Size, Threads, Time};
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

/// The addresses that the server listens on, and how it is identified.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Addresses to listen on: PORT or ADDRESS:PORT, with an IPv6 address in brackets.
    #[schemars(extend("x-restart" = true))]
    pub(crate) listen: Vec<Of<Listen>>,
    /// Threads that serve connections; "auto" is one for each core.
    #[schemars(extend("x-restart" = true))]
    pub(crate) threads: Threads,
    /// The server's name in hooks and in the API; "" derives it from the machine's name, so that it stays the same
    /// after a restart.
    #[schemars(extend("x-restart" = true))]
    pub(crate) id: String,
    /// Proxies that may send the client's address in front of the handshake (PROXY protocol 1 and 2, SRS's proxy
    /// header), or by HTTP in X-Forwarded-For: addresses or networks such as "10.0.0.0/8".
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

impl Server {
    /// Whether programs on this machine reach one of the addresses over loopback.
    pub(crate) fn listens_on_loopback(&self) -> bool {
        self.listen.iter().any(|Of(listen)| match listen {
            Listen::Any(_) => true,
            Listen::One(address) => address.ip().is_loopback() || address.ip().is_unspecified(),
        })
    }
}

/// Limits of the whole server. The limits of each virtual host are in [defaults.limits].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerLimits {
    /// Memory for the recent frames of all streams together; "auto" is half of the machine's memory, or half of what
    /// the process's control group may use if that is less. When the memory is nearly used up, streams that hold more
    /// than an equal share drop the frames before their newest key frame, and the frames after it if that is not
    /// enough.
    pub(crate) memory: Memory,
    /// Programs of [[run]] that run at the same time: a number, with 0 for none, or "unlimited". Further ones wait.
    pub(crate) runs: Most,
    /// How often programs of [[run]] are started within a minute, all together. Further starts wait.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) run_starts: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits { memory: Memory::default(), runs: Most(Some(64)), run_starts: 240 }
    }
}

/// TCP options. A change holds for new connections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tcp {
    /// Whether small writes are sent at once (TCP_NODELAY).
    pub(crate) nodelay: bool,
    /// Idle time after which the system checks whether the peer is still there; "never" for no checks.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "32767s", "x-endless" = true))]
    pub(crate) keepalive: Time,
    /// How long sent data may stay unacknowledged before the system closes the connection (TCP_USER_TIMEOUT); "never"
    /// for the system's own limit of many minutes.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "24h", "x-endless" = true))]
    pub(crate) user_timeout: Time,
    /// How many unsent bytes a socket may hold and still count as writable (TCP_NOTSENT_LOWAT); "unlimited" for the
    /// system's own limit. With less, slow players skip frames sooner, and the server wakes up more often.
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

/// The log, which is written to standard error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// What to log: error, warn, info, debug or trace, or a level for each module as in "info,anabranch_smol=debug".
    pub(crate) level: String,
    /// The format: lines for people ("text"), or one JSON object a line for programs ("json").
    #[schemars(extend("x-restart" = true))]
    pub(crate) format: Format,
    /// How much of clients' addresses the log shows: all ("full"), the network ("network": 24 bits of an IPv4 address, 48
    /// bits of an IPv6 address), or nothing ("off"). The API, hooks and captures have them in full.
    pub(crate) addresses: Addresses,
}

/// How much of clients' addresses the log shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Addresses {
    #[default]
    Full,
    Network,
    Off,
}

impl From<Addresses> for LogAddresses {
    fn from(addresses: Addresses) -> Self {
        match addresses {
            Addresses::Full => LogAddresses::Full,
            Addresses::Network => LogAddresses::Network,
            Addresses::Off => LogAddresses::Off,
        }
    }
}

/// The format of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".to_owned(), format: Format::Text, addresses: Addresses::Full }
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

/// Captures of connections, for `anabranch replay`. The files hold everything that clients send, including stream keys
/// and media.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-restart" = true))]
pub(crate) struct Capture {
    /// Capture each connection into a file in this folder; "" captures none, except those that the API chooses.
    pub(crate) folder: PathBuf,
    /// The folder for the captures that are begun through the API (POST /api/v1/captures) while `folder` is ""; it is
    /// made when the first begins. "" forbids them.
    pub(crate) api_folder: PathBuf,
    /// The size at which the capture of one connection ends.
    #[schemars(extend("x-minimum" = "1MiB"))]
    pub(crate) file_size: Size,
    /// The largest number of files in that folder. At this number no new file is begun.
    #[schemars(range(min = 1, max = i64::MAX))]
    pub(crate) files: u64,
    /// The space that captures leave free on the disk, so that recordings have it. With less, no file is begun, and files
    /// that are written end.
    pub(crate) min_free: Size,
}

impl Default for Capture {
    fn default() -> Self {
        let CaptureLimits { bytes, files, min_free, .. } = CaptureLimits::default();
        Capture {
            folder: PathBuf::new(),
            api_folder: PathBuf::from("captures"),
            file_size: Size(bytes),
            files,
            min_free: Size(min_free),
        }
    }
}
