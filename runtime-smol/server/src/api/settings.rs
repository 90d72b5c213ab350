use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anabranch_host::Listen;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the API is served if nobody says: SRS's port, for this machine only.
pub(super) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1985);

/// The HTTP API and the metrics.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiSettings {
    /// Address and port of the API, or "off". Default 127.0.0.1:1985; where that is taken, the server runs without. An
    /// address that other machines reach needs a token, or user and password
    pub(crate) listen: Option<Place>,
    /// Who sends this as a bearer token may do everything
    pub(crate) token: Option<Secret>,
    /// Who sends this name and the password (HTTP Basic) may do everything
    pub(crate) user: Option<String>,
    /// The password that belongs to the user
    pub(crate) password: Option<Secret>,
    /// Connections at a time. One more takes the place of the one that has been idle for longest
    #[schemars(range(min = 1, max = 4096))]
    pub(crate) connections: usize,
    /// How long a request's head may take to arrive
    pub(crate) header_timeout: Time,
    /// How long a connection may go without a new request
    pub(crate) idle_timeout: Time,
    /// Streams with metrics of their own, the busiest; the others share one
    #[schemars(range(max = 10_000))]
    pub(crate) metrics_streams: usize,
}

impl Default for ApiSettings {
    fn default() -> Self {
        ApiSettings {
            listen: None,
            token: None,
            user: None,
            password: None,
            connections: 64,
            header_timeout: Time(Duration::from_secs(10)),
            idle_timeout: Time(Duration::from_secs(60)),
            metrics_streams: 100,
        }
    }
}

impl ApiSettings {
    /// What the values have to be for the API to be served safely.
    ///
    /// # Errors
    /// What is wrong, with the setting's name.
    pub(super) fn check(&self, address: SocketAddr) -> Result<(), String> {
        if !(1..=4096).contains(&self.connections) {
            return Err(format!("api.connections is {}: expected 1 to 4096", self.connections));
        }
        if self.metrics_streams > 10_000 {
            return Err(format!("api.metrics_streams is {}: expected at most 10000", self.metrics_streams));
        }
        for (name, time) in [("header_timeout", self.header_timeout), ("idle_timeout", self.idle_timeout)] {
            if time.0.is_zero() {
                return Err(format!("api.{name} is 0: no request could be made"));
            }
        }
        for (name, secret) in [("token", &self.token), ("password", &self.password)] {
            if secret.as_ref().is_some_and(|secret| secret.0.is_empty()) {
                return Err(format!("api.{name} is empty"));
            }
        }
        match (&self.user, &self.password) {
            (Some(_), None) => return Err("api.user is set without api.password".to_owned()),
            (None, Some(_)) => return Err("api.password is set without api.user".to_owned()),
            (Some(user), _) if user.is_empty() || user.contains(':') => {
                return Err("api.user is empty or has a colon, which HTTP Basic cannot express".to_owned());
            }
            _ => {}
        }
        if self.has_credentials() || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(format!(
            "api.listen is {address}, which other machines may reach: set api.token, or api.user and api.password, or \
             listen on 127.0.0.1"
        ))
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.token.is_some() || self.user.is_some()
    }
}

/// Where to listen, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", example = &"127.0.0.1:1985", example = &"off")]
pub(crate) enum Place {
    /// Nowhere.
    Off,
    /// There.
    At(Listen),
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Place::Off);
        }
        text.parse().map(Place::At).map_err(|_: String| {
            format!(
                "{text:?} is no address to listen on: write 127.0.0.1:1985, [::1]:1985, 1985 for all addresses, or off"
            )
        })
    }
}

/// What must not be seen in logs.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A length of time: "10s", "350ms", "2m".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", example = &"10s")]
pub(crate) struct Time(pub(super) Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => 0,
        };
        match number.parse::<u32>() {
            Ok(number) if milliseconds > 0 => Ok(Time(Duration::from_millis(u64::from(number) * milliseconds))),
            _ => Err(format!("{text:?} is no time: write 350ms, 10s, 2m or 1h")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> ApiSettings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn only_this_machine_needs_no_credentials() {
        let check = |text: &str, address: &str| settings(text).check(address.parse().unwrap());
        assert_eq!(check("", "127.0.0.1:1985"), Ok(()));
        assert_eq!(check("", "[::1]:1985"), Ok(()));
        let error = check("", "0.0.0.0:1985").unwrap_err();
        assert!(error.contains("0.0.0.0:1985") && error.contains("api.token"), "{error}");
        assert!(check("", "192.0.2.1:1985").is_err());
        assert_eq!(check("token = 'x'", "0.0.0.0:1985"), Ok(()));
        assert_eq!(check("user = 'u'\npassword = 'p'", "[::]:1985"), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, name) in [
            ("token = ''", "api.token"),
            ("user = 'u'", "api.password"),
            ("password = 'p'", "api.user"),
            ("user = 'a:b'\npassword = 'p'", "colon"),
            ("connections = 0", "api.connections"),
            ("metrics_streams = 10001", "api.metrics_streams"),
            ("idle_timeout = '0s'", "api.idle_timeout"),
        ] {
            let error = settings(text).check(DEFAULT).unwrap_err();
            assert!(error.contains(name), "{text}: {error}");
        }
        for text in ["listen = 'here'", "idle_timeout = '5'", "header_timeout = '99999999999s'", "colour = 1"] {
            assert!(toml::from_str::<ApiSettings>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_and_times() {
        assert_eq!(settings("listen = 'off'").listen, Some(Place::Off));
        assert_eq!(settings("listen = ':1985'").listen, Some(Place::At(Listen::Any(1985))));
        assert_eq!(settings("idle_timeout = '350ms'").idle_timeout, Time(Duration::from_millis(350)));
        assert_eq!(settings("idle_timeout = '2m'").idle_timeout, Time(Duration::from_secs(120)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", settings("token = 'hunter2'"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
