use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anabranch_host::{Listen, WebListen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Time;
use super::web::WebSettings;
use super::written::{Of, Text};

/// True if this build has WebRTC.
pub(crate) const HAS_WEBRTC: bool = cfg!(feature = "webrtc");

/// Where peers reach the server by UDP: the same forms as for HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RtcListen(pub(crate) WebListen);

impl RtcListen {
    /// The port of `auto`, as SRS has it.
    pub(crate) const PORT: u16 = 8000;

    /// Each address.
    pub(crate) fn places(&self) -> Vec<Listen> {
        match &self.0 {
            WebListen::Auto => vec![Listen::Any(Self::PORT)],
            WebListen::Off => Vec::new(),
            WebListen::At(addresses) => addresses.clone(),
        }
    }

    /// Whether the server does not start without them.
    pub(crate) fn is_needed(&self) -> bool {
        matches!(self.0, WebListen::At(_))
    }
}

impl FromStr for RtcListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(RtcListen).map_err(|_: String| format!("{text:?} is not {}", RtcListen::FORM))
    }
}

/// The most memory that a session takes.
pub(crate) const SESSION_MEMORY: u64 = 256 << 10;
/// The most memory for the packets and the sound of one stream.
pub(crate) const KEPT_MEMORY: u64 = 17 << 20;

impl Text for RtcListen {
    const FORM: &'static str =
        "\"auto\", \"off\", or addresses such as \"8000\" or \"127.0.0.1:8000, [::1]:8000\" of UDP";

    fn text(&self) -> String {
        self.0.to_string()
    }
}

/// An address at which others reach the server: an IP address or a name, with or without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PublicAddress {
    pub(crate) host: PublicHost,
    pub(crate) port: Option<u16>,
}

/// Its host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PublicHost {
    Ip(IpAddr),
    /// A name that is looked up now and then.
    Name(String),
}

impl fmt::Display for PublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (PublicHost::Ip(ip), Some(port)) => SocketAddr::from((*ip, port)).fmt(f),
            (PublicHost::Ip(ip), None) => ip.fmt(f),
            (PublicHost::Name(name), Some(port)) => write!(f, "{name}:{port}"),
            (PublicHost::Name(name), None) => f.write_str(name),
        }
    }
}

impl FromStr for PublicAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of_ip = |ip, port| PublicAddress { host: PublicHost::Ip(ip), port };
        let wrong = || format!("{text:?} is not {}", PublicAddress::FORM);
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Some(of_ip(ip, None)).filter(|_| !ip.is_unspecified()).ok_or_else(wrong);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let is_right = !address.ip().is_unspecified() && address.port() != 0;
            return Some(of_ip(address.ip(), Some(address.port()))).filter(|_| is_right).ok_or_else(wrong);
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let is_label = |label: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(is_plain)
        };
        // A name of digits only would be an address with a mistake.
        let has_letters = name.bytes().any(|byte| byte.is_ascii_alphabetic());
        let is_name = name.len() <= 253 && has_letters && name.trim_end_matches('.').split('.').all(is_label);
        is_name.then(|| PublicAddress { host: PublicHost::Name(name.to_owned()), port }).ok_or_else(wrong)
    }
}

impl Text for PublicAddress {
    const FORM: &'static str =
        "an address such as \"203.0.113.7\", \"[2001:db8::7]:8000\", \"tv.example.com\" or \"tv.example.com:8000\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

/// WebRTC: browsers and encoders publish by WHIP (POST APP/STREAM/whip) and play by WHEP (APP/STREAM/whep), at the
/// addresses of [web]; media go over UDP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RtcSettings {
    /// Addresses of UDP: PORT or ADDRESS:PORT, with commas between several. "auto" is port 8000 of all addresses; if that
    /// port is taken the server runs without WebRTC. "off" for none.
    #[schemars(extend("x-restart" = true))]
    pub(crate) listen: Of<RtcListen>,
    /// Addresses of ICE over TCP, for clients whose firewall lets no UDP through.
    #[schemars(extend("x-restart" = true))]
    pub(crate) tcp_listen: Vec<Of<Listen>>,
    /// Where clients reach the server by UDP, if it does not know: behind NAT and in containers. Addresses or names, with a
    /// port if it is not that of listen. Names are looked up once a minute. Without any, clients are told the address that
    /// their request reached, and then those of the network interfaces.
    pub(crate) candidates: Vec<Of<PublicAddress>>,
    /// The same for ICE over TCP. Without any, the hosts of candidates, at the port of tcp_listen.
    pub(crate) tcp_candidates: Vec<Of<PublicAddress>>,
    /// Most sessions, of publishers and players together.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) sessions: usize,
    /// How many offers are answered in a second. Each costs about 3 ms of one core. As many more wait for up to a second;
    /// further ones are answered with 503.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) joins: u32,
    /// How long a client that has an answer may take to connect.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "5m"))]
    pub(crate) connect_timeout: Time,
    /// The bit rate of the Opus that players get of a stream with AAC, in bits per second.
    #[schemars(extend("x-restart" = true), range(min = 16_000, max = 510_000))]
    pub(crate) opus_bitrate: u32,
    /// How many people may be in one room of the page /call/ROOM; 0 for no such page.
    #[schemars(extend("x-restart" = true), range(min = 0, max = 100))]
    pub(crate) rooms: usize,
}

impl Default for RtcSettings {
    fn default() -> Self {
        RtcSettings {
            listen: Of(RtcListen::default()),
            tcp_listen: Vec::new(),
            candidates: Vec::new(),
            tcp_candidates: Vec::new(),
            sessions: 10_000,
            joins: 200,
            connect_timeout: Time(Duration::from_secs(15)),
            opus_bitrate: 96_000,
            rooms: 0,
        }
    }
}

impl RtcSettings {
    /// True if there is WebRTC, should the port be free.
    pub(crate) fn is_on(&self) -> bool {
        HAS_WEBRTC && self.listen.0.0 != WebListen::Off
    }

    /// Whether there is a page for calls.
    pub(crate) fn has_rooms(&self, web: &WebSettings) -> bool {
        self.is_on() && self.rooms > 0 && web.is_on()
    }

    /// The keys that a build without WebRTC cannot follow: those that ask for it.
    pub(crate) fn unmet(&self) -> Vec<&'static str> {
        if HAS_WEBRTC {
            return Vec::new();
        }
        let asks = [
            ("listen", self.listen.0.is_needed()),
            ("tcp_listen", !self.tcp_listen.is_empty()),
            ("candidates", !self.candidates.is_empty()),
            ("tcp_candidates", !self.tcp_candidates.is_empty()),
            ("rooms", self.rooms > 0),
        ];
        asks.into_iter().filter(|(_, is_asked)| *is_asked).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_is_auto_off_or_has_addresses() {
        for (text, written, count) in [("auto", "auto", 1), ("off", "off", 0), ("8000, [::1]:81", "8000,[::1]:81", 2)] {
            let parsed: RtcListen = text.parse().unwrap();
            assert_eq!((parsed.text().as_str(), parsed.places().len()), (written, count));
            assert_eq!(parsed.is_needed(), count == 2);
        }
        for wrong in ["", "on", "8000,", "example.com", "70000"] {
            assert!(wrong.parse::<RtcListen>().unwrap_err().contains("is not \"auto\""), "{wrong}");
        }
    }

    #[test]
    fn a_candidate_is_an_address_or_a_name_with_or_without_a_port() {
        for (text, written) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:40000", "203.0.113.7:40000"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:8000", "[2001:db8::7]:8000"),
            ("tv.example.com", "tv.example.com"),
            ("localhost:8000", "localhost:8000"),
            ("under_score.example", "under_score.example"),
        ] {
            let parsed: PublicAddress = text.parse().unwrap();
            assert_eq!(parsed.text(), written);
            assert_eq!(written.parse(), Ok(parsed));
        }
        for wrong in [
            "",
            "*",
            "0.0.0.0",
            "[::]:8000",
            "203.0.113.7:0",
            "203.0.113",
            "300.1.1.1",
            "a b",
            "a..b",
            "http://a",
            "a:b",
            "a:",
            ":8000",
            "a:70000",
            "[a]",
        ] {
            assert!(wrong.parse::<PublicAddress>().unwrap_err().contains("is not an address such as"), "{wrong}");
        }
    }

    #[test]
    fn a_build_without_webrtc_refuses_only_what_asks_for_it() {
        let listen = |text: &str| RtcSettings { listen: Of(text.parse().unwrap()), ..RtcSettings::default() };
        assert!(RtcSettings::default().unmet().is_empty() && listen("off").unmet().is_empty());
        assert_eq!(listen("9000").unmet().is_empty(), HAS_WEBRTC);
        assert_eq!(RtcSettings::default().is_on(), HAS_WEBRTC);
        assert!(!listen("off").is_on());
    }
}
