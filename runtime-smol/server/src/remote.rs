//! The API of a running server, as this program's subcommands ask it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anabranch_host::Listen;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Arg, ArgMatches};
use serde_json::Value;
use ureq::Agent;
use ureq::tls::RootCerts;

use crate::api::ApiSettings;
use crate::settings::Sources;
use crate::settings::tree::Step;
use crate::tls;

const API: &str = "api";
const TOKEN: &str = "token";
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const LONGEST: u64 = 32 << 20;

/// A running server.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    agent: Agent,
    /// The URL without a path.
    base: String,
    authorization: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Remote {
    /// The options that name a server.
    pub(crate) fn arguments() -> [Arg; 2] {
        let api = Arg::new(API)
            .long(API)
            .value_name("URL")
            .env("ANABRANCH_API_URL")
            .help("The server's API, such as http://127.0.0.1:1985; otherwise the configuration says where it is");
        let token = Arg::new(TOKEN)
            .long(TOKEN)
            .value_name("TOKEN")
            .env("ANABRANCH_API_TOKEN")
            .hide_env_values(true)
            .help("The API's token; without --api it is in the configuration, too");
        [api, token].map(|option| {
            // Empty means not set, as in all variables.
            let empty = option.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
            if empty { option.env(clap::builder::Resettable::Reset) } else { option }
        })
    }

    /// The server that the options name, or the one that runs with the configuration.
    ///
    /// # Errors
    /// Neither says where the API is.
    pub(crate) fn of(matches: &ArgMatches, sources: &Sources) -> Result<Self, String> {
        let token = matches.get_one::<String>(TOKEN).map(|token| format!("Bearer {token}"));
        if let Some(url) = matches.get_one::<String>(API) {
            let (base, in_url) = read_url(url)?;
            return Ok(Remote::at(base, token.or(in_url)));
        }
        let mut remote = Remote::configured(sources)?;
        remote.authorization = token.or(remote.authorization);
        Ok(remote)
    }

    /// The server that runs with this configuration. A fault elsewhere in the file does not matter: the server may be
    /// running with an earlier one.
    ///
    /// # Errors
    /// The section `api` cannot be read, or the API is off.
    pub(crate) fn configured(sources: &Sources) -> Result<Self, String> {
        let (problems, loaded) = sources.read();
        let is_of_api = |step: Option<&Step>| step.is_some_and(|step| *step == Step::Key(API.to_owned()));
        let in_api = problems.iter().any(|problem| is_of_api(problem.path.0.first()));
        let Some(loaded) = loaded.filter(|_| !in_api) else {
            return Err(format!("cannot tell where the API is, name it with --api: {problems}"));
        };
        Remote::with(&loaded.settings.api)
    }

    /// The server that runs with these settings.
    ///
    /// # Errors
    /// The API is off.
    pub(crate) fn with(settings: &ApiSettings) -> Result<Self, String> {
        let place = settings.place().ok_or("the API is off (api.listen is \"off\"), so nothing can be asked")?;
        if place.port() == 0 {
            return Err("api.listen has port 0, so each start chooses another: name the API with --api".to_owned());
        }
        let base = format!("http://{}", reachable(place));
        Ok(Remote::at(base, settings.authorization()))
    }

    fn at(base: String, authorization: Option<String>) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls::of_calls(RootCerts::PlatformVerifier, true))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(TIMEOUT));
        Remote { agent: config.build().into(), base, authorization }
    }

    /// The server's URL, without credentials.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// There is no answer; the text names the URL.
    pub(crate) fn ask(&self, path: &str) -> Result<Answer, String> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.as_str());
        }
        let failed = |error: ureq::Error| format!("{} does not answer: {error}", self.base);
        let mut response = request.call().map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(LONGEST).read_to_string().map_err(failed)?;
        Ok(Answer { status, body })
    }

    /// Asks for a path that answers with JSON.
    ///
    /// # Errors
    /// There is no such answer; the text says what can be done.
    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.ask(path)?;
        let json = serde_json::from_str::<Value>(&answer.body);
        match (answer.status, json) {
            (200, Ok(value)) => Ok(value),
            (401, _) => Err(format!("{} wants credentials: --token TOKEN, or --config with api.token", self.base)),
            (200, Err(error)) => Err(format!("{}{path} is not this server's API: {error}", self.base)),
            (status, json) => {
                let words = json.ok().and_then(|value| value.get("error")?.as_str().map(str::to_owned));
                Err(format!("{}{path} answers with status {status}: {}", self.base, words.unwrap_or_default()))
            }
        }
    }
}

/// An address at which this machine reaches what listens there.
pub(crate) fn reachable(place: Listen) -> SocketAddr {
    match place {
        Listen::Any(port) => (Ipv4Addr::LOCALHOST, port).into(),
        Listen::One(address) => match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
            _ => address,
        },
    }
}

/// Reads `http://HOST:PORT`, `HOST:PORT` or `PORT`, with what else users paste: a path of the API, user and password.
fn read_url(text: &str) -> Result<(String, Option<String>), String> {
    let wrong =
        || format!("--api: {:?} is not a URL such as http://127.0.0.1:1985", text.rsplit('@').next().unwrap_or(text));
    let text = text.trim();
    let full = match text.parse::<u16>() {
        Ok(port) => format!("http://127.0.0.1:{port}"),
        Err(_) if text.contains("://") => text.to_owned(),
        Err(_) => format!("http://{text}"),
    };
    let uri: ureq::http::Uri = full.parse().map_err(|_| wrong())?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong());
    };
    let (user, host) = match authority.as_str().rsplit_once('@') {
        Some((user, host)) => (Some(format!("Basic {}", BASE64_STANDARD.encode(decoded(user)))), host),
        None => (None, authority.as_str()),
    };
    if host.is_empty() {
        return Err(wrong());
    }
    // A proxy may have the API below a path.
    let path = uri.path().trim_end_matches('/').trim_end_matches("/api/v1");
    Ok((format!("{scheme}://{host}{path}"), user))
}

fn decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_users_write_them() {
        for (text, base) in [
            ("http://127.0.0.1:1985", "http://127.0.0.1:1985"),
            ("http://127.0.0.1:1985/", "http://127.0.0.1:1985"),
            ("http://127.0.0.1:1985/api/v1/", "http://127.0.0.1:1985"),
            ("media-1:1985", "http://media-1:1985"),
            ("1985", "http://127.0.0.1:1985"),
            ("[::1]:1985", "http://[::1]:1985"),
            ("https://ops.example/media-1", "https://ops.example/media-1"),
        ] {
            assert_eq!(read_url(text), Ok((base.to_owned(), None)), "{text}");
        }
        let (base, authorization) = read_url("http://ops:p%40ss@h:1985").unwrap();
        assert_eq!((base.as_str(), authorization.as_deref()), ("http://h:1985", Some("Basic b3BzOnBAc3M=")));
        for wrong in ["", "ftp://h", "http://", "http://user:s3cret@", "a b"] {
            let error = read_url(wrong).unwrap_err();
            assert!(error.contains("--api") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn an_address_for_all_is_asked_at_loopback() {
        for (listen, asked) in [
            ("1985", "127.0.0.1:1985"),
            ("0.0.0.0:1985", "127.0.0.1:1985"),
            ("[::]:1985", "[::1]:1985"),
            ("10.0.0.1:1985", "10.0.0.1:1985"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
