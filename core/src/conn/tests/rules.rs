//! The address of a connection, and the rules of its virtual host for it.

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
    let granted =
        |harness: &Harness, name: &str| contains(&harness.asks_to_publish(name).received, "NetStream.Publish.Start");
    let token = Some(Token { secrets: vec![secret.clone()], required_for: TokenScope::Publish });
    let mut harness = Harness::with(VhostConfig { token, ..VhostConfig::default() }.into());
    assert!(!granted(&harness, &name(u64::MAX)), "without a clock all have expired");
    harness.server.set_clock(harness.now, 1_000_000);
    harness.pass(Duration::from_secs(60));
    for (expires, works) in [(1_000_060, false), (1_000_061, true), (1_000_000, false), (2, false)] {
        assert_eq!(granted(&harness, &name(expires)), works, "{expires}");
    }
    // The clock is set back: an expired URL is valid again.
    harness.server.set_clock(harness.now, 1_000_000);
    assert!(granted(&harness, &name(1_000_001)));
}

#[test]
fn the_clients_address_is_the_peers_or_the_one_that_a_trusted_proxy_names() {
    let client = address("203.0.113.9:4000");
    let proxy = address("10.0.0.1:5000");
    let header = b"PROXY TCP4 192.0.2.1 203.0.113.9 1935 1935\r\n";
    let config =
        Config { trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")], ..VhostConfig::default().into() };
    let harness = Harness::with(config);
    assert_eq!(harness.server.connect(harness.now).peer(), None);
    let mut direct = harness.client_from(Some(client), live());
    direct.send(&harness, &peer::publish(0, "direct"));
    assert_eq!(direct.actions(), ["attach publisher of live/direct, from 203.0.113.9:4000"]);
    let mut dual = harness.client_from(Some(address("[::ffff:203.0.113.9]:4001")), live());
    assert_eq!(dual.conn.peer(), Some(address("203.0.113.9:4001")), "a socket for both families gives it like that");
    dual.send(&harness, &peer::publish(0, "dual"));
    assert_eq!(dual.actions(), ["attach publisher of live/dual, from 203.0.113.9:4001"]);

    let mut behind = Client::new(&harness, Some(proxy));
    assert_eq!(behind.conn.peer(), Some(proxy), "no client was named yet");
    behind.send(
        &harness,
        &[header.as_slice(), &peer::handshake(), &peer::connect(), &peer::publish(0, "behind")].concat(),
    );
    behind.receive(&harness);
    assert_eq!(behind.actions(), ["attach publisher of live/behind, from 192.0.2.1:1935"]);
    behind.disconnect(&harness);
    let report = behind.closed.expect("over");
    assert_eq!(report.peer, Some(address("192.0.2.1:1935")));
    assert!(report.to_string().contains("; from 192.0.2.1:1935;"), "{report}");

    let mut stranger = Client::new(&harness, Some(client));
    stranger.send(&harness, header);
    stranger.receive(&harness);
    assert_eq!(
        stranger.closed.expect("over").close.reason.name(),
        "handshake_error",
        "a client that is no trusted proxy cannot name an address"
    );
}

/// Rules by address cannot be applied to a client without an address.
#[test]
fn rules_by_address_refuse_clients_without_address() {
    let mut config = VhostConfig::default();
    assert!(contains(&Harness::with(config.clone().into()).asks_to_publish("cam").received, "NetStream.Publish.Start"));
    config.security = "allow publish all".parse().expect("a rule");
    let harness = Harness::with(config.into());
    assert!(contains(&harness.asks_to_publish("cam").received, "NetStream.Publish.Denied"));
    let mut known = harness.client_from(Some(address("192.0.2.1:4000")), live());
    known.send(&harness, &peer::publish(0, "cam"));
    assert!(contains(&known.receive(&harness), "NetStream.Publish.Start"));
}

/// All randomness of connections comes from the server's seed, and no two have the same.
#[test]
fn connections_and_servers_differ_in_what_they_make_of_their_seed() {
    let hello = |server: &Core, now: Instant| {
        let mut conn = server.connect(now);
        conn.handle_input(now, &peer::handshake());
        conn.poll(now);
        (conn.id(), conn.outbound().copy_to_bytes(1 + 1536).to_vec())
    };
    let harness = Harness::new();
    let same = Core::new(Config::default(), [3; 32]);
    let mut seed = [3; 32];
    seed[5] = 2;
    let other = Core::new(Config::default(), seed);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (id, bytes) = hello(&harness.server, harness.now);
        assert_eq!(hello(&same, harness.now), (id, bytes.clone()), "equal seeds and equal input give equal output");
        assert_ne!(hello(&other, harness.now).1, bytes, "every byte of the seed counts");
        assert!(!seen.iter().any(|(number, said)| *number == id || *said == bytes), "{id} is like one before");
        seen.push((id, bytes));
    }
}

#[test]
fn only_a_client_that_supports_it_is_asked_to_reconnect() {
    let harness = Harness::new();
    let mut plain = harness.client();
    assert!(!plain.conn.request_reconnect(None, "maintenance"));
    assert_eq!(plain.receive(&harness), [""; 0]);
    let mut client = harness.client_from(None, live().with("capsEx", 1.0));
    assert!(client.conn.request_reconnect(Some("rtmp://other/live"), "maintenance"));
    assert_eq!(client.receive(&harness), ["3/0 onStatus 0 NetConnection.Connect.ReconnectRequest"]);
    assert!(client.closed.is_none(), "it is served until it leaves");
    client.conn.drain(harness.now + Duration::from_secs(5), None);
    assert_eq!(client.receive(&harness), ["3/0 onStatus 0 NetConnection.Connect.ReconnectRequest"]);
    assert_eq!(client.deadline(), Some(harness.now + Duration::from_secs(5)), "what is left then is closed");
}

/// Each host name has the rules, the counts and the streams of its virtual host.
#[test]
fn virtual_hosts_are_counted_each_for_itself() {
    let host = |limits| VhostConfig { limits, ..VhostConfig::default() };
    let one = Limits { publishers: Some(1), ..Limits::default() };
    let vhosts = [Vhost::new("a", host(Limits::default())), Vhost::new("b", host(one))];
    let vhosts = Vhosts::new(vhosts).expect("two names");
    let harness = Harness::with(Config { vhosts, ..Config::default() });
    assert_eq!(harness.server.config().vhosts.iter().count(), 2);
    let at = |host: &str| {
        let tc_url = format!("rtmp://{host}/live");
        harness.client_from(None, Object::default().with("app", "live").with("tcUrl", tc_url.as_str()))
    };
    let publish = |host: &str, name: &str| {
        let mut client = at(host);
        client.send(&harness, &[peer::create_stream(2.0), peer::publish(1, name)].concat());
        client.received = client.receive(&harness);
        client
    };
    let mut publishers = vec![publish("a", "cam"), publish("b", "cam"), publish("a", "other")];
    assert!(publishers.iter().all(|client| contains(&client.received, "NetStream.Publish.Start")));
    assert!(contains(&publish("b", "other").received, "NetStream.Publish.Denied"), "one publisher is all there may be");
    let mut player = at("b");
    player.send(&harness, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    let counts = |harness: &Harness| -> Vec<_> {
        let vhosts = harness.server.vhosts().into_iter();
        vhosts.map(|host| (host.name, host.connections, host.publishers, host.players)).collect()
    };
    assert_eq!(counts(&harness), [("a".to_owned(), 2, 2, 0), ("b".to_owned(), 2, 1, 1)]);
    publishers.clear();
    drop(player);
    assert_eq!(counts(&harness), [("a".to_owned(), 0, 0, 0), ("b".to_owned(), 0, 0, 0)]);
    let mut stranger = Client::new(&harness, None);
    let object = Object::default().with("app", "live").with("tcUrl", "rtmp://c/live");
    stranger.send(&harness, &[peer::handshake(), peer::connect_with(object)].concat());
    assert!(contains(&stranger.receive(&harness), "NetConnection.Connect.Rejected"));
    // Without virtual hosts there is one, which all host names mean.
    let names: Vec<String> = Harness::new().server.vhosts().into_iter().map(|host| host.name).collect();
    assert_eq!(names, [crate::url::DEFAULT_VHOST]);
}

#[test]
fn a_publisher_over_its_rate_is_refused_and_closed_and_later_bytes_are_not_parsed() {
    let limits = Limits { publisher_rate: Some(Rate::new(1000)), ..Limits::default() };
    let mut harness = Harness::with(VhostConfig { limits, ..VhostConfig::default() }.into());
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.send(&harness, &gop(0, 1));
    assert_eq!(player.receive(&harness).len(), 3);
    let large = [peer::key_frame(2), vec![2; 100_000]].concat();
    publisher.send(&harness, &[peer::video(80, &large), gop(160, 3)].concat());
    let received = publisher.receive(&harness);
    assert_eq!(received.iter().filter(|line| line.contains("NetStream.Publish.Denied")).count(), 1, "{received:?}");
    assert_eq!(player.receive(&harness), [""; 0]);
    harness.pass(Duration::from_secs(3));
    publisher.conn.handle_timeout(harness.now);
    publisher.poll(&harness);
    assert!(matches!(publisher.closed.expect("over").close.reason, CloseReason::Refused(_)));
}

fn slow(bytes_per_second: u64) -> Config {
    let limits = Limits { publisher_rate: Some(Rate::new(bytes_per_second)), ..Limits::default() };
    VhostConfig { limits, ..VhostConfig::default() }.into()
}

fn is_over_its_rate(client: &Client) -> bool {
    client.conn.session().is_closing()
}

/// All that a publisher sends counts, useful or not.
#[test]
fn no_bytes_of_a_publisher_pass_its_rate() {
    // A chunk header with its body, in one chunk.
    let chunk = |on: u8, type_id: u8, stream: u32, body: &[u8]| {
        let mut bytes = vec![on, 0, 0, 0];
        bytes.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes()[1..]);
        bytes.push(type_id);
        bytes.extend_from_slice(&stream.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    // 100 bytes of a longer message, then the message is aborted.
    let mut half = vec![6, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0];
    half.extend_from_slice(&[7; 128]);
    let aborted = [half, chunk(2, 2, 0, &[0, 0, 0, 6])].concat();
    for (what, piece) in [
        ("media", chunk(6, 9, 1, &[0x27; 100])),
        ("empty media", chunk(5, 8, 1, &[])),
        ("pings", chunk(2, 4, 0, &[0, 6, 0, 0, 0, 7])),
        ("an unknown type", chunk(7, 99, 1, &[7; 100])),
        ("messages given up", aborted),
        ("calls", peer::command("what", 0.0, 1, &[])),
        ("media of no stream", chunk(6, 9, 99, &[0x27; 100])),
    ] {
        let harness = Harness::with(slow(1000));
        let mut publisher = harness.publisher("cam");
        let mut sent = 0;
        while !is_over_its_rate(&publisher) && sent < 20_000 {
            publisher.send(&harness, &piece);
            publisher.receive(&harness);
            sent += piece.len();
        }
        assert!((10_000..10_000 + 2 * piece.len()).contains(&sent), "{what}: {sent} bytes in a window of 10,000");
        let mut elsewhere = harness.player("cam");
        assert!(contains(&elsewhere.receive(&harness), "Play.Start"), "its neighbours notice nothing");
    }
}

/// A limit that begins because the publisher without a limit ended begins with a full window, as at the start.
#[test]
fn a_rate_that_begins_later_has_its_window_too() {
    let limits = Limits { publisher_rate: Some(Rate::new(1000)), ..Limits::default() };
    let limited = VhostConfig { limits, ..VhostConfig::default() };
    let vhosts = [Vhost::new("limited", limited), Vhost::new("free", VhostConfig::default())];
    let harness = Harness::with(Config { vhosts: Vhosts::new(vhosts).expect("two names"), ..Config::default() });
    for names in [["cam?vhost=limited", "cam?vhost=free"], ["cam?vhost=free", "cam?vhost=limited"]] {
        let tc_url = "rtmp://limited/live";
        let mut client = harness.client_from(None, Object::default().with("app", "live").with("tcUrl", tc_url));
        for (stream, name) in (1..).zip(names) {
            client.send(&harness, &[peer::create_stream(2.0), peer::publish(stream, name)].concat());
            assert!(contains(&client.receive(&harness), "NetStream.Publish.Start"), "{name}");
        }
        let free = 1 + names.iter().position(|name| name.ends_with("free")).expect("one of them") as u32;
        client.send(&harness, &peer::command("deleteStream", 0.0, 0, &[f64::from(free).into()]));
        client.send(&harness, &vec![peer::command("what", 0.0, 0, &[]); 100].concat());
        assert!(!is_over_its_rate(&client), "{names:?}");
        client.send(&harness, &vec![peer::command("what", 0.0, 0, &[]); 400].concat());
        assert!(is_over_its_rate(&client), "{names:?}");
    }
}

/// The limit is exceeded at the same byte, however the input is cut.
#[test]
fn a_rate_ends_at_the_same_byte_however_the_input_is_cut() {
    let bytes: Vec<u8> =
        (0..40).flat_map(|number| peer::video(number * 40, &[&peer::key_frame(1)[..], &[9; 400]].concat())).collect();
    let frames = |cut: usize| {
        let harness = Harness::with(slow(1000));
        let (mut publisher, mut player) = (harness.publisher("cam"), harness.player("cam"));
        player.receive(&harness);
        let mut said = Vec::new();
        for piece in bytes.chunks(cut) {
            publisher.send(&harness, piece);
            said.extend(publisher.receive(&harness));
        }
        (player.receive(&harness), said, publisher.conn.session().received())
    };
    let whole = frames(usize::MAX);
    assert!((20..30).contains(&whole.0.len()), "{} frames of 400 bytes are 10,000", whole.0.len());
    for cut in [1, 7, 128, 1000, 9_999] {
        assert_eq!(frames(cut), whole, "cut to {cut}");
    }
}

/// A publisher that stops and publishes again does not get another window by that.
#[test]
fn a_publisher_that_publishes_again_gets_no_new_window() {
    let mut harness = Harness::with(slow(1000));
    let mut publisher = harness.publisher("cam");
    let mut sent = 0;
    for _ in 0..100 {
        let junk = vec![7; 900];
        let piece = [&peer::command("closeStream", 0.0, 1, &[])[..], &peer::publish(1, "cam")].concat();
        publisher.send(&harness, &piece);
        publisher.send(&harness, &peer::video(0, &junk));
        publisher.receive(&harness);
        if is_over_its_rate(&publisher) {
            break;
        }
        sent += junk.len();
    }
    assert!(is_over_its_rate(&publisher) && sent <= 10_000, "{sent} bytes at once");
    // A publisher that has waited does.
    let mut publisher = harness.publisher("door");
    for _ in 0..5 {
        publisher.send(&harness, &peer::video(0, &vec![7; 8_000]));
        harness.pass(Duration::from_secs(10));
        publisher.send(&harness, &[&peer::command("closeStream", 0.0, 1, &[])[..], &peer::publish(1, "door")].concat());
        publisher.receive(&harness);
        assert!(!is_over_its_rate(&publisher));
    }
}

/// The limit is for each publisher: two on one connection may send twice as much, but none may use the other's part.
#[test]
fn two_publishers_on_one_connection_have_a_rate_each() {
    let both = |first: usize, second: usize| {
        let mut harness = Harness::with(slow(1000));
        let mut publisher = harness.publisher("one");
        publisher.send(&harness, &peer::create_stream(4.0));
        publisher.send(&harness, &peer::publish(2, "two"));
        let received = publisher.receive(&harness);
        assert!(contains(&received, "Publish.Start"), "{received:?}");
        for turn in 0..120 {
            harness.pass(Duration::from_secs(1));
            publisher.send(&harness, &peer::video(turn * 1000, &vec![0x27; first]));
            publisher.send(&harness, &peer::message(MessageType::VIDEO, turn * 1000, 2, &vec![0x27; second]));
            publisher.receive(&harness);
        }
        !is_over_its_rate(&publisher)
    };
    assert!(both(900, 900), "each keeps to its own");
    assert!(both(100, 900));
    assert!(!both(1_700, 50), "one takes the other's part");
    assert!(!both(1_100, 1_100));
}

/// Before a connection is identified, it is read in small pieces.
#[test]
fn a_connection_says_how_much_to_read_at_once() {
    let harness = Harness::new();
    let mut stranger = Client::new(&harness, None);
    stranger.poll(&harness);
    let client = harness.client();
    assert!(stranger.reads_most() >= 1537, "C1 comes at once");
    assert!(client.reads_most() > stranger.reads_most());
}
