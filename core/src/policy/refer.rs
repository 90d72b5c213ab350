use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::{Action, Refusal};

/// Which web pages a player or publisher may be part of, by the `pageUrl` of `connect` (RTMP 1.0 §7.2.1.1). An empty
/// list permits every page, and clients without a page.
///
/// The client itself says what page it is on. So this only keeps out ordinary players that are embedded in other pages;
/// streams that must be protected need a [`Token`](super::Token).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refer {
    /// Pages that may do anything.
    pub all: Vec<HostPattern>,
    /// Pages that may publish, if they are among `all` too.
    pub publish: Vec<HostPattern>,
    /// Pages that may play, if they are among `all` too.
    pub play: Vec<HostPattern>,
}

impl Refer {
    /// Checks whether a client on this page may do this. `all` and the action's own list must both permit it.
    ///
    /// # Errors
    /// [`Refusal::ReferDenied`]. If a list is not empty, also for clients without a page, or with a page URL without a
    /// host.
    pub fn check(&self, action: Action, page_url: Option<&str>) -> Result<(), Refusal> {
        let own = match action {
            Action::Publish => &self.publish,
            Action::Play => &self.play,
        };
        if self.all.is_empty() && own.is_empty() {
            return Ok(());
        }
        let host = page_url.map(host_of).unwrap_or_default();
        let permits = |list: &[HostPattern]| list.is_empty() || list.iter().any(|pattern| pattern.matches(&host));
        if !host.is_empty() && permits(&self.all) && permits(own) {
            Ok(())
        } else {
            Err(Refusal::ReferDenied { action })
        }
    }
}

/// The hosts of pages: `example.com` matches that host and all its subdomains, `.example.com` and `*.example.com` only
/// the subdomains. An IP address matches only itself; IPv6 with or without brackets.
///
/// SRS compares texts, so its `example.com` also matches `evilexample.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// As [`canonical`] writes it.
    host: String,
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Itself,
    ItselfAndBelow,
    Below,
}

/// A text that is not a [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a host such as example.com or *.example.com")]
pub struct HostPatternError(String);

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match host.strip_suffix(self.host.as_str()) {
            Some("") => self.reach != Reach::Below,
            Some(below) => self.reach != Reach::Itself && below.ends_with('.'),
            None => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let error = || HostPatternError(text.to_owned());
        let trimmed = text.trim();
        let below = trimmed.strip_prefix('*').unwrap_or(trimmed).strip_prefix('.');
        let bracketed = trimmed.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = bracketed.unwrap_or(trimmed).parse::<Ipv6Addr>() {
            return Ok(HostPattern { host: address.to_string(), reach: Reach::Itself });
        }
        let host = canonical(below.unwrap_or(trimmed));
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/\\@?#*:[]".contains(c);
        if host.is_empty() || host.starts_with('.') || host.ends_with('.') || host.contains(odd) {
            return Err(error());
        }
        let reach = match (below, host.parse::<Ipv4Addr>()) {
            (None, Err(_)) => Reach::ItselfAndBelow,
            (None, Ok(_)) => Reach::Itself,
            (Some(_), Err(_)) => Reach::Below,
            (Some(_), Ok(_)) => return Err(error()),
        };
        Ok(HostPattern { host: host.into_owned(), reach })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.reach == Reach::Below { "*." } else { "" }, self.host)
    }
}

/// The host of a page's URL in [`canonical`] form, empty if there is none. It must be the host that browsers use: they
/// skip a user before `@`, and read `\` as `/`.
fn host_of(page_url: &str) -> Cow<'_, str> {
    let url = page_url.trim();
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        _ => url.strip_prefix("//").unwrap_or(url),
    };
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let host = match host_and_port.find(']') {
        Some(end) if host_and_port.starts_with('[') => host_and_port.get(1..end).unwrap_or_default(),
        _ => host_and_port.split(':').next().unwrap_or_default(),
    };
    canonical(host)
}

/// Lower case, without the dot at the end; an IPv6 address in its shortest form.
fn canonical(host: &str) -> Cow<'_, str> {
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return address.to_string().into();
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(hosts: &[&str]) -> Vec<HostPattern> {
        hosts.iter().map(|host| host.parse().unwrap()).collect()
    }

    fn permits(host: &str, page_url: &str) -> bool {
        Refer { all: list(&[host]), ..Refer::default() }.check(Action::Play, Some(page_url)).is_ok()
    }

    #[test]
    fn pages_of_a_host_and_of_others() {
        for (host, page_url, expected) in [
            ("example.com", "http://example.com/a.html", true),
            ("example.com", "https://example.com", true),
            ("example.com", "https://www.example.com:8443/", true),
            ("example.com", "HTTPS://WWW.Example.COM?q", true),
            ("Example.com.", "http://example.com./", true),
            ("example.com", "example.com/watch", true),
            ("example.com", "//example.com/watch", true),
            ("example.com", " http://example.com#x ", true),
            ("example.com", "http://evilexample.com/", false),
            ("example.com", "http://example.com.evil.net/", false),
            ("example.com", "http://evil.net/example.com", false),
            ("example.com", "http://evil.net/?u=http://example.com", false),
            ("example.com", "evil.net/?u=http://example.com", false),
            ("example.com", "http://evil.net\\.example.com", false),
            ("example.com", "http://example.com:pw@evil.net/", false),
            ("example.com", "http://user:pw@example.com/", true),
            ("example.com", "http://com/", false),
            ("example.com", "", false),
            ("example.com", "http:///example.com", false),
            ("example.com", "file:///home/example.com", false),
            (".example.com", "http://example.com/", false),
            (".example.com", "http://a.example.com/", true),
            ("*.example.com", "http://a.b.example.com/", true),
            ("*.example.com", "http://aexample.com/", false),
            ("*.example.com", "http://example.com/", false),
            ("localhost", "http://localhost:8080/", true),
            ("10.0.0.1", "http://10.0.0.1:80/x", true),
            ("10.0.0.1", "http://10.0.0.11/", false),
            ("10.0.0.1", "http://x.10.0.0.1/", false),
            ("::1", "http://[x.::1]/", false),
            ("::1", "http://[::1]:80/x", true),
            ("[0:0::1]", "http://[::1]", true),
            ("::1", "http://[0:0:0:0:0:0:0:1]/", true),
            ("::1", "http://[::2]/", false),
            ("::1", "http://[::1", false),
        ] {
            assert_eq!(permits(host, page_url), expected, "{host}, {page_url}");
        }
    }

    #[test]
    fn both_lists_must_permit_it() {
        let refer = Refer { all: list(&["a.com", "b.com"]), publish: list(&["b.com", "c.com"]), play: list(&[]) };
        for (page, publish, play) in [
            (Some("http://a.com"), false, true),
            (Some("http://b.com"), true, true),
            (Some("http://c.com"), false, false),
            (Some(""), false, false),
            (None, false, false),
        ] {
            assert_eq!(refer.check(Action::Publish, page).is_ok(), publish, "{page:?}");
            assert_eq!(refer.check(Action::Play, page).is_ok(), play, "{page:?}");
        }
        let refer = Refer { play: list(&["a.com"]), ..Refer::default() };
        assert_eq!(refer.check(Action::Publish, None), Ok(()));
        assert_eq!(refer.check(Action::Play, None), Err(Refusal::ReferDenied { action: Action::Play }));
        assert_eq!(Refer::default().check(Action::Play, None), Ok(()));
    }

    #[test]
    fn a_text_that_is_not_a_host_is_an_error() {
        for wrong in [
            "",
            " ",
            ".",
            "*",
            "*.",
            "..a",
            "a b",
            "a/b",
            "http://a",
            "a:80",
            "*.*.a",
            "a*",
            "u@a",
            "*.::1",
            ".10.0.0.1",
            "[a]",
            "a..",
        ] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong}");
        }
        for (text, shown) in [(".A.b", "*.a.b"), ("*.a.b", "*.a.b"), ("a.b", "a.b"), ("[::0:1]", "::1")] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_page_is_judged_by_one_host(
            before in "[a-z:/@.\\[\\]?#\\\\]{0,12}", after in "[a-z:/@.\\[\\]?#\\\\]{0,12}", text in "\\PC{0,20}",
        ) {
            for url in [format!("{before}a.com{after}"), text] {
                let host = host_of(&url);
                prop_assert!(!host.contains(['/', '\\', '?', '#', '@']), "{host}");
                prop_assert_eq!(permits("a.com", &url), *host == *"a.com" || host.ends_with(".a.com"));
            }
        }

        #[test]
        fn any_text_is_a_host_or_an_error(text in "[a-zA-Z0-9.:*\\[\\]é]{0,10}") {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
            }
        }
    }
}
