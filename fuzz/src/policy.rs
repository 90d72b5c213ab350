//! The texts of an operator, and clients held against them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anabranch_core::policy::{
    Action, HostPattern, Network, Refer, Refusal, Rule, Secret, Security, Token, TokenScope, Vhost, Vhosts, sign,
};
use anabranch_core::url::StreamKey;

/// Lines: rules, hosts of a refer, a secret, an app, a stream, a page URL or `expires`, a token.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.split('\n').map(str::trim_end);
    let mut line = || lines.next().unwrap_or_default();
    let (rules, hosts, secret, app, stream, page, token) = (line(), line(), line(), line(), line(), line(), line());

    let addresses = [
        IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)),
        Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    ];
    if let Ok(network) = rules.parse::<Network>() {
        let again: Network = network.to_string().parse().expect("what we write can be read");
        assert_eq!(again, network);
    }
    if let Ok(security) = rules.parse::<Security>() {
        for rule in &security.rules {
            assert_eq!(rule.to_string().parse::<Rule>().as_ref(), Ok(rule));
        }
        for action in [Action::Publish, Action::Play] {
            let verdicts = addresses.map(|address| security.check(action, address));
            assert_eq!(verdicts[0], verdicts[1], "an IPv4 address in IPv6 form is one");
        }
    }
    let patterns: Vec<HostPattern> = hosts.split(' ').filter_map(|host| host.parse().ok()).collect();
    for pattern in &patterns {
        assert_eq!(pattern.to_string().parse::<HostPattern>().as_ref(), Ok(pattern));
    }
    let refer = Refer { all: patterns, ..Refer::default() };
    for page in [None, Some(page)] {
        let _ = refer.check(Action::Play, page);
    }
    if let Ok(secret) = Secret::new(secret) {
        check_token(secret, app, stream, page, token);
    }
    let names = hosts.split(' ').map(|name| Vhost::new(name, ()));
    if let Ok(vhosts) = Vhosts::new(names) {
        for name in hosts.split(' ') {
            assert!(vhosts.resolve(name).accepted().is_ok(), "{name:?} is configured");
        }
        let _ = vhosts.resolve(page).accepted();
    }
}

fn check_token(secret: Secret, app: &str, stream: &str, expires: &str, token: &str) {
    let Ok(key) = StreamKey::new("a.example", app, stream) else {
        return;
    };
    let policy = Token { secrets: vec![secret.clone()], required_for: TokenScope::Publish };
    let check = |token: &str, expires: &str, now| policy.check(Action::Publish, &key, Some(token), Some(expires), now);
    let forged = check(token, expires, 0);
    assert_ne!(forged, Ok(()), "a token without a valid signature");
    let signed = sign(&secret, Action::Publish, &key, 1000);
    assert_eq!(check(&signed, "1000", 999), Ok(()));
    assert_eq!(check(&signed, "1000", 1000), Err(Refusal::TokenExpired));
    assert_eq!(check(&signed, "1001", 0), Err(Refusal::TokenInvalid));
    assert_eq!(policy.check(Action::Play, &key, None, None, 0), Ok(()), "only publishing needs one");
}
