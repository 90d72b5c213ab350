//! What a connection is by where it comes from, and what the rules of its virtual host make of that.

use super::*;
use crate::policy::{Action as Wanted, Limits, Rate, Secret, Token, TokenScope, Vhost, Vhosts, sign};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn live() -> Object {
    Object::default().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live")
}

#[test]
fn a_signed_url_works_until_its_time_by_the_clock_that_was_told() {
    let secret = Secret::new("a long random secret of your own").expect("long enough");
    let key = StreamKey::new(crate::url::DEFAULT_VHOST, "live", "cam").expect("a name");
    let name = |expires: u64| {
        let token = sign(&secret, Wanted::Publish, &key, expires);
        format!("cam?expires={expires}&token={token}")
    };
    let granted = |site: &Site, name: &str| said(&site.asks_to_publish(name).heard, "NetStream.Publish.Start");
    let token = Some(Token { secrets: vec![secret.clone()], required_for: TokenScope::Publish });
    let mut site = Site::with(VhostConfig { token, ..VhostConfig::default() }.into());
    assert!(!granted(&site, &name(u64::MAX)), "without a clock all have expired");
    site.server.set_clock(site.now, 1_000_000);
    site.pass(Duration::from_secs(60));
    for (expires, works) in [(1_000_060, false), (1_000_061, true), (1_000_000, false), (2, false)] {
        assert_eq!(granted(&site, &name(expires)), works, "{expires}");
    }
    // The clock is set back: what had expired works again.
    site.server.set_clock(site.now, 1_000_000);
    assert!(granted(&site, &name(1_000_001)));
}

#[test]
fn the_client_is_who_the_connection_comes_from_or_whom_a_trusted_proxy_names() {
    let client = address("203.0.113.9:4000");
    let proxy = address("10.0.0.1:5000");
    let header = b"PROXY TCP4 192.0.2.1 203.0.113.9 1935 1935\r\n";
    let config =
        Config { trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")], ..VhostConfig::default().into() };
    let site = Site::with(config);
    assert_eq!(site.server.connect(site.now).peer(), None);
    let mut direct = site.client_from(Some(client), live());
    direct.say(&site, &peer::publish(0, "direct"));
    assert_eq!(direct.actions(), ["attach publisher of /live/direct, from 203.0.113.9:4000"]);

    let mut behind = Client::new(&site, Some(proxy));
    assert_eq!(behind.conn.peer(), Some(proxy), "nobody was named yet");
    behind.say(&site, &[header.as_slice(), &peer::handshake(), &peer::connect(), &peer::publish(0, "behind")].concat());
    behind.hear(&site);
    assert_eq!(behind.actions(), ["attach publisher of /live/behind, from 192.0.2.1:1935"]);
    behind.disconnect(&site);
    let report = behind.closed.expect("over");
    assert_eq!(report.peer, Some(address("192.0.2.1:1935")));
    assert!(report.to_string().contains("; from 192.0.2.1:1935;"), "{report}");

    let mut stranger = Client::new(&site, Some(client));
    stranger.say(&site, header);
    stranger.hear(&site);
    assert_eq!(stranger.closed.expect("over").close.reason.name(), "handshake_error", "who is no proxy names nobody");
}

/// Rules by address cannot be kept where there is none.
#[test]
fn rules_by_address_refuse_who_has_none() {
    let mut config = VhostConfig::default();
    assert!(said(&Site::with(config.clone().into()).asks_to_publish("cam").heard, "NetStream.Publish.Start"));
    config.security = "allow publish all".parse().expect("a rule");
    let site = Site::with(config.into());
    assert!(said(&site.asks_to_publish("cam").heard, "NetStream.Publish.Denied"));
    let mut known = site.client_from(Some(address("192.0.2.1:4000")), live());
    known.say(&site, &peer::publish(0, "cam"));
    assert!(said(&known.hear(&site), "NetStream.Publish.Start"));
}

/// All randomness of connections comes from the server's seed, and no two have the same.
#[test]
fn connections_and_servers_differ_in_what_they_make_of_their_seed() {
    let hello = |server: &Server, now: Instant| {
        let mut conn = server.connect(now);
        conn.handle_input(now, &peer::handshake());
        conn.poll(now);
        (conn.id(), conn.outbound().copy_to_bytes(1 + 1536).to_vec())
    };
    let site = Site::new();
    let same = Server::new(Config::default(), [3; 32]);
    let mut seed = [3; 32];
    seed[5] = 2;
    let other = Server::new(Config::default(), seed);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (id, bytes) = hello(&site.server, site.now);
        assert_eq!(hello(&same, site.now), (id, bytes.clone()), "equal seeds and equal input give equal output");
        assert_ne!(hello(&other, site.now).1, bytes, "every byte of the seed counts");
        assert!(!seen.iter().any(|(number, said)| *number == id || *said == bytes), "{id} is like one before");
        seen.push((id, bytes));
    }
}

#[test]
fn only_a_client_that_understands_it_is_asked_to_connect_anew() {
    let site = Site::new();
    let mut plain = site.client();
    assert!(!plain.conn.request_reconnect(None, "maintenance"));
    assert_eq!(plain.hear(&site), [""; 0]);
    let mut client = site.client_from(None, live().with("capsEx", 1.0));
    assert!(client.conn.request_reconnect(Some("rtmp://other/live"), "maintenance"));
    assert_eq!(client.hear(&site), ["3/0 onStatus 0 NetConnection.Connect.ReconnectRequest"]);
    assert!(client.closed.is_none(), "it is served until it leaves");
    client.conn.drain(site.now + Duration::from_secs(5), None);
    assert_eq!(client.hear(&site), ["3/0 onStatus 0 NetConnection.Connect.ReconnectRequest"]);
    assert_eq!(client.deadline(), Some(site.now + Duration::from_secs(5)), "what is left then is closed");
}

/// Each host name has the rules, the numbers and the streams of its virtual host.
#[test]
fn virtual_hosts_are_counted_each_for_itself() {
    let host = |limits| VhostConfig { limits, ..VhostConfig::default() };
    let one = Limits { publishers: Some(1), ..Limits::default() };
    let vhosts = [Vhost::new("a", host(Limits::default())), Vhost::new("b", host(one))];
    let vhosts = Vhosts::new(vhosts).expect("two names");
    let site = Site::with(Config { vhosts, ..Config::default() });
    assert_eq!(site.server.config().vhosts.iter().count(), 2);
    let at = |host: &str| {
        let tc_url = format!("rtmp://{host}/live");
        site.client_from(None, Object::default().with("app", "live").with("tcUrl", tc_url.as_str()))
    };
    let publish = |host: &str, name: &str| {
        let mut client = at(host);
        client.say(&site, &[peer::create_stream(2.0), peer::publish(1, name)].concat());
        client.heard = client.hear(&site);
        client
    };
    let mut publishers = vec![publish("a", "cam"), publish("b", "cam"), publish("a", "other")];
    assert!(publishers.iter().all(|client| said(&client.heard, "NetStream.Publish.Start")));
    assert!(said(&publish("b", "other").heard, "NetStream.Publish.Denied"), "one publisher is all there may be");
    let mut player = at("b");
    player.say(&site, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    let counts = |site: &Site| -> Vec<_> {
        let vhosts = site.server.vhosts().into_iter();
        vhosts.map(|host| (host.name, host.connections, host.publishers, host.players)).collect()
    };
    assert_eq!(counts(&site), [("a".to_owned(), 2, 2, 0), ("b".to_owned(), 2, 1, 1)]);
    publishers.clear();
    drop(player);
    assert_eq!(counts(&site), [("a".to_owned(), 0, 0, 0), ("b".to_owned(), 0, 0, 0)]);
    let mut stranger = Client::new(&site, None);
    let object = Object::default().with("app", "live").with("tcUrl", "rtmp://c/live");
    stranger.say(&site, &[peer::handshake(), peer::connect_with(object)].concat());
    assert!(said(&stranger.hear(&site), "NetConnection.Connect.Rejected"));
    // Without virtual hosts there is one, whatever it is called.
    let names: Vec<String> = Site::new().server.vhosts().into_iter().map(|host| host.name).collect();
    assert_eq!(names, [crate::url::DEFAULT_VHOST]);
}

#[test]
fn a_publisher_over_its_rate_is_told_and_closed_and_what_follows_is_not_heard() {
    let limits = Limits { publisher_rate: Some(Rate::new(1000)), ..Limits::default() };
    let mut site = Site::with(VhostConfig { limits, ..VhostConfig::default() }.into());
    let mut publisher = site.publisher("cam");
    let mut player = site.player("cam");
    player.hear(&site);
    publisher.say(&site, &gop(0, 1));
    assert_eq!(player.hear(&site).len(), 3);
    let large = [peer::key_frame(2), vec![2; 100_000]].concat();
    publisher.say(&site, &[peer::video(80, &large), gop(160, 3)].concat());
    let heard = publisher.hear(&site);
    assert_eq!(heard.iter().filter(|line| line.contains("NetStream.Publish.Denied")).count(), 1, "{heard:?}");
    assert_eq!(player.hear(&site), [""; 0]);
    site.pass(Duration::from_secs(3));
    publisher.conn.handle_timeout(site.now);
    publisher.poll(&site);
    assert!(matches!(publisher.closed.expect("over").close.reason, CloseReason::Refused(_)));
}

/// What is not known yet is read in small pieces.
#[test]
fn a_connection_says_how_much_to_read_at_once() {
    let site = Site::new();
    let stranger = Client::new(&site, None);
    let client = site.client();
    assert_eq!(stranger.conn.read_size(), stranger.conn.session().read_size());
    assert!(stranger.conn.read_size() >= 1537, "C1 comes at once");
    assert!(client.conn.read_size() > stranger.conn.read_size());
}
