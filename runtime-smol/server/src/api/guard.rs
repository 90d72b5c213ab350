//! Checks that a request is allowed: credentials, host and origin.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode};
use subtle::{Choice, ConstantTimeEq};

use super::reply::Reply;
use super::settings::ApiSettings;

/// The credentials that requests need. It does not implement `Debug`, because it is secret.
pub(super) struct Guard {
    /// The token after `Bearer`.
    token: Option<Box<[u8]>>,
    /// `user:password`, which follows `Basic` in base64.
    user: Option<Box<[u8]>>,
}

impl Guard {
    pub(super) fn new(settings: &ApiSettings) -> Self {
        let (token, user) = (&settings.token.0, &settings.user);
        let basic = || format!("{user}:{}", settings.password.0).into_bytes().into();
        Guard { token: (!token.is_empty()).then(|| token.as_bytes().into()), user: (!user.is_empty()).then(basic) }
    }

    /// Whether this request may use all routes.
    pub(super) fn admits(&self, request: &Parts) -> bool {
        self.refuse(request, false).is_none()
    }

    /// The answer to a request that is not allowed. `open` routes need no credentials, and their host may be any
    /// address: orchestrators probe a container by its address.
    pub(super) fn refuse(&self, request: &Parts, open: bool) -> Option<Reply> {
        let asks = self.token.is_some() || self.user.is_some();
        if asks && !open && !self.knows(request) {
            let reply = Reply::error(StatusCode::UNAUTHORIZED, 401, "credentials are missing or wrong");
            return Some(reply.with_challenge(self.user.is_some()));
        }
        if !(asks || is_local(request) || open && is_address(request)) {
            let words = "the Host header must be localhost, 127.0.0.1 or [::1] when the API has no credentials";
            return Some(Reply::error(StatusCode::FORBIDDEN, 403, words));
        }
        if !matches!(request.method, Method::GET | Method::HEAD) && is_from_elsewhere(request) {
            let words = "the request comes from a page of another origin";
            return Some(Reply::error(StatusCode::FORBIDDEN, 403, words));
        }
        None
    }

    fn knows(&self, request: &Parts) -> bool {
        let Some((scheme, rest)) = request
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().split_once(' '))
        else {
            return false;
        };
        let rest = rest.trim();
        let equal = |expected: &Option<Box<[u8]>>, given: &[u8]| {
            expected.as_ref().map_or(Choice::from(0), |expected| expected.ct_eq(given)).into()
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            equal(&self.token, rest.as_bytes())
        } else if scheme.eq_ignore_ascii_case("basic") {
            BASE64_STANDARD.decode(rest).is_ok_and(|given| equal(&self.user, &given))
        } else {
            false
        }
    }
}

/// Whether the request's host is this machine. A web page whose name points to this machine (DNS rebinding) sends its
/// own name. A request without a host does not come from a browser.
fn is_local(request: &Parts) -> bool {
    let Some(authority) = authority(request) else {
        return !request.headers.contains_key(HOST);
    };
    authority.host().eq_ignore_ascii_case("localhost") || address(&authority).is_some_and(|ip| ip.is_loopback())
}

/// Whether the request's host is an address, not a name. A page whose name points to this machine sends a name.
fn is_address(request: &Parts) -> bool {
    authority(request).is_some_and(|authority| address(&authority).is_some())
}

fn address(authority: &Authority) -> Option<IpAddr> {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Whether the request comes from a page of another origin. Browsers send a page's POST requests to any server, with
/// the page's origin.
fn is_from_elsewhere(request: &Parts) -> bool {
    let Some(origin) = request.headers.get(ORIGIN) else {
        return false;
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    match (origin, authority(request)) {
        (Some(origin), Some(authority)) => !origin.eq_ignore_ascii_case(authority.as_str()),
        _ => true,
    }
}

fn authority(request: &Parts) -> Option<Authority> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let header = hosts.next().and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
    // With two Host headers it is not clear which one holds.
    if hosts.next().is_some() { None } else { header }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let builder = Request::builder().method(method).uri("/api/v1/streams");
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    fn guard(text: &str) -> Guard {
        Guard::new(&toml::from_str(text).unwrap())
    }

    fn status(guard: &Guard, request: &Parts) -> Option<u16> {
        guard.refuse(request, false).map(|reply| reply.status.as_u16())
    }

    #[test]
    fn only_the_right_credentials_in_the_right_scheme() {
        let guard = guard("token = 'tok'\nuser = 'u'\npassword = 'p:w'");
        let asked = |value: &str| status(&guard, &request("GET", &[("authorization", value)]));
        assert_eq!(asked("Bearer tok"), None);
        assert_eq!(asked("bearer  tok"), None);
        assert_eq!(asked(&format!("Basic {}", BASE64_STANDARD.encode("u:p:w"))), None);
        for wrong in
            ["Bearer", "Bearer ", "Bearer to", "Bearer tokk", "Basic tok", "Digest tok", "tok", "Basic dTpw", "\u{7f}"]
        {
            assert_eq!(
                hyper::header::HeaderValue::from_str(wrong).ok().and_then(|_| asked(wrong)).unwrap_or(401),
                401,
                "{wrong}"
            );
        }
        assert_eq!(status(&guard, &request("GET", &[])), Some(401));
        assert!(guard.refuse(&request("GET", &[]), true).is_none(), "open routes");
    }

    #[test]
    fn a_scheme_that_is_not_set_up_opens_nothing() {
        let token = guard("token = 'tok'");
        let basic = format!("Basic {}", BASE64_STANDARD.encode(""));
        assert_eq!(status(&token, &request("GET", &[("authorization", &basic)])), Some(401));
        let user = guard("user = 'u'\npassword = 'p'");
        assert_eq!(status(&user, &request("GET", &[("authorization", "Bearer ")])), Some(401));
    }

    #[test]
    fn without_credentials_only_names_of_this_machine() {
        let guard = guard("");
        let asked = |host: &str| status(&guard, &request("GET", &[("host", host)]));
        for host in ["localhost", "localhost:1985", "LOCALHOST:1", "127.0.0.1:1985", "127.0.0.1", "[::1]:1985", "[::1]"]
        {
            assert_eq!(asked(host), None, "{host}");
        }
        for host in
            ["evil.example", "evil.example:1985", "localhost.evil.example", "192.0.2.1", "", "127.0.0.1.evil.example"]
        {
            assert_eq!(asked(host), Some(403), "{host}");
        }
        assert_eq!(status(&guard, &request("GET", &[])), None, "HTTP/1.0");
        assert_eq!(status(&guard, &request("GET", &[("host", "localhost"), ("host", "evil.example")])), Some(403));
    }

    #[test]
    fn open_routes_are_asked_by_any_address_and_by_no_other_name() {
        let guard = guard("");
        let open = |hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            guard.refuse(&request("GET", &headers), true).map(|reply| reply.status.as_u16())
        };
        for host in ["10.1.2.3:1985", "10.1.2.3", "[2001:db8::1]:1985", "[::1]", "localhost:1985"] {
            assert_eq!(open(&[host]), None, "{host}");
        }
        for host in ["evil.example", "10.1.2.3.evil.example", "0x7f.1", "10.1.2", "2130706433", ""] {
            assert_eq!(open(&[host]), Some(403), "{host}");
        }
        assert_eq!(open(&["10.1.2.3", "evil.example"]), Some(403));
    }

    #[test]
    fn pages_of_others_change_nothing() {
        let guard = guard("");
        let asked = |method: &str, origin: &str| {
            status(&guard, &request(method, &[("host", "localhost:1985"), ("origin", origin)]))
        };
        assert_eq!(asked("POST", "http://localhost:1985"), None);
        assert_eq!(asked("POST", "https://evil.example"), Some(403));
        assert_eq!(asked("DELETE", "null"), Some(403));
        assert_eq!(asked("GET", "https://evil.example"), None, "it cannot read the answer");
    }
}
