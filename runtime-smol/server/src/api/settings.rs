use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anabranch_host::Listen;
use anabranch_program::Fault;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::values::{Secret, Time};
use crate::settings::written::{Of, Text};

/// The default address of the API: SRS's port, on this machine only.
pub(super) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1985);

/// The HTTP API and the metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-restart" = true))]
pub(crate) struct ApiSettings {
    /// Address and port of the API. "auto" is 127.0.0.1:1985; if that port is taken the server runs without the API.
    /// "off" switches the API off. An address that other machines can reach needs a token, or user and password.
    pub(crate) listen: Of<Place>,
    /// A request with this bearer token may do everything; "" for no token.
    pub(crate) token: Secret,
    /// A request with this user name and the password (HTTP Basic) may do everything; "" for no user.
    pub(crate) user: String,
    /// The user's password.
    pub(crate) password: Secret,
    /// Connections to the API at the same time. When all places are taken, a new connection replaces one that has not
    /// made a valid request: of the client with most such connections, the one that is idle for longest. A quarter of
    /// the places is reserved for connections without a valid request.
    #[schemars(range(min = 1, max = 4096))]
    pub(crate) connections: usize,
    /// How long the head of a request may take to arrive.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"))]
    pub(crate) header_timeout: Time,
    /// How long a connection may stay open without a new request.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "24h"))]
    pub(crate) idle_timeout: Time,
    /// How many streams have their own metrics: the busiest ones. All other streams share one series.
    #[schemars(range(max = 10_000))]
    pub(crate) metrics_streams: usize,
}

impl Default for ApiSettings {
    fn default() -> Self {
        ApiSettings {
            listen: Of(Place::Auto),
            token: Secret::default(),
            user: String::new(),
            password: Secret::default(),
            connections: 64,
            header_timeout: Time(Duration::from_secs(10)),
            idle_timeout: Time(Duration::from_secs(60)),
            metrics_streams: 100,
        }
    }
}

impl ApiSettings {
    /// Where the API is to listen, if it is not off.
    pub(crate) fn place(&self) -> Option<Listen> {
        match self.listen.0 {
            Place::Off => None,
            Place::At(place) => Some(place),
            Place::Auto => Some(Listen::One(DEFAULT)),
        }
    }

    /// Whether the server runs without the API if it cannot listen there.
    pub(crate) fn is_optional(&self) -> bool {
        self.listen.0 == Place::Auto
    }

    /// Checks that the API can be served safely with these values.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), (&'static str, Fault)> {
        let Some(place) = self.place() else {
            return Ok(());
        };
        let address = match place {
            Listen::One(address) => address,
            Listen::Any(port) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
        };
        let both = "set both, or neither and api.token instead";
        match (self.user.as_str(), self.password.0.as_str()) {
            ("", "") => {}
            (_, "") => return Err(("user", Fault::new("api.user is set without api.password", both))),
            ("", _) => return Err(("password", Fault::new("api.password is set without api.user", both))),
            (user, _) if user.contains(':') => {
                let words = "api.user has a colon, which HTTP Basic cannot express";
                return Err(("user", Fault::new(words, "choose a name without one")));
            }
            _ => {}
        }
        if self.has_credentials() || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let words = format!("api.listen is {address}, which other machines may reach");
        Err(("listen", Fault::new(words, "set api.token, or api.user and api.password, or listen on 127.0.0.1")))
    }

    /// The header `Authorization` of a request that may do everything; `None` if none is needed.
    pub(crate) fn authorization(&self) -> Option<String> {
        match (self.token.0.as_str(), self.user.as_str()) {
            ("", "") => None,
            ("", user) => Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", self.password.0)))),
            (token, _) => Some(format!("Bearer {token}")),
        }
    }

    pub(crate) fn has_credentials(&self) -> bool {
        !self.token.0.is_empty() || !self.user.is_empty()
    }
}

/// The address to listen on, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// [`DEFAULT`], if that port is free.
    Auto,
    /// No address: the API is off.
    Off,
    /// This address.
    At(Listen),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Place::Auto),
            "off" => Ok(Place::Off),
            _ => text.parse().map(Place::At).map_err(|_: String| format!("{text:?} is not {}", Place::FORM)),
        }
    }
}

impl Text for Place {
    const FORM: &'static str = "an address to listen on such as \"127.0.0.1:1985\", \"[::1]:1985\", \"1985\" for all \
                                addresses, \"auto\" or \"off\"";

    fn text(&self) -> String {
        match self {
            Place::Auto => "auto".to_owned(),
            Place::Off => "off".to_owned(),
            Place::At(listen) => listen.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> ApiSettings {
        toml::from_str(text).unwrap()
    }

    fn check(text: &str) -> Result<(), String> {
        settings(text).check().map_err(|(key, fault)| format!("{key}: {fault}"))
    }

    #[test]
    fn only_this_machine_needs_no_credentials() {
        for text in ["", "listen = '127.0.0.1:1985'", "listen = '[::1]:1985'", "listen = 'off'\nuser = 'u'"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        let error = check("listen = '0.0.0.0:1985'").unwrap_err();
        assert!(error.contains("listen: ") && error.contains("0.0.0.0:1985") && error.contains("api.token"), "{error}");
        for text in ["listen = '1985'", "listen = '192.0.2.1:1985'", "listen = '[::]:1985'"] {
            assert!(check(text).is_err(), "{text}");
        }
        assert_eq!(check("listen = '0.0.0.0:1985'\ntoken = 'x'"), Ok(()));
        assert_eq!(check("listen = '[::]:1985'\nuser = 'u'\npassword = 'p'"), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, name) in
            [("user = 'u'", "api.password"), ("password = 'p'", "api.user"), ("user = 'a:b'\npassword = 'p'", "colon")]
        {
            let error = check(text).unwrap_err();
            assert!(error.contains(name), "{text}: {error}");
        }
        for text in ["listen = 'here'", "idle_timeout = '5'", "header_timeout = '99999999999999999s'", "colour = 1"] {
            assert!(toml::from_str::<ApiSettings>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_and_times() {
        assert_eq!(settings("listen = 'off'").listen, Of(Place::Off));
        assert_eq!(settings("listen = ':1985'").listen, Of(Place::At(Listen::Any(1985))));
        assert_eq!(settings("idle_timeout = '350ms'").idle_timeout, Time(Duration::from_millis(350)));
        assert_eq!(settings("idle_timeout = '2m'").idle_timeout, Time(Duration::from_secs(120)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", settings("token = 'hunter2'"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
