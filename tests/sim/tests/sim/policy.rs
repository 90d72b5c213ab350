//! Which clients may do what: virtual hosts, limits, addresses, pages, signed URLs.

use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::policy::{Action, Limits, Rate, Refer, Secret, Token, TokenScope, Vhost, Vhosts, sign};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
use anabranch_sim::{ClientId, Encoder, Media, Route, Sim};

const SECOND: Duration = Duration::from_secs(1);
const REJECTED: &str = "NetConnection.Connect.Rejected";
const DENIED: &str = "NetStream.Publish.Denied";
const FAILED: &str = "NetStream.Play.Failed";

fn cutting(chunk_size: u32) -> VhostConfig {
    let mut settings = VhostConfig::default();
    settings.session.chunk_size = chunk_size;
    settings
}

/// Two virtual hosts whose frames are cut differently, one that is switched off, and perhaps one for all other names.
fn hosts(default: bool) -> Config {
    let mut vhosts = vec![
        Vhost { aliases: vec!["www.a.example".into()], ..Vhost::new("a.example", VhostConfig::default()) },
        Vhost::new("b.example", cutting(128)),
        Vhost { enabled: false, ..Vhost::new("off.example", VhostConfig::default()) },
    ];
    if default {
        vhosts.push(Vhost::new(DEFAULT_VHOST, cutting(4096)));
    }
    Config { vhosts: Vhosts::new(vhosts).expect("the names are good"), ..Config::default() }
}

fn with(change: impl FnOnce(&mut VhostConfig)) -> Config {
    let mut settings = VhostConfig::default();
    change(&mut settings);
    settings.into()
}

/// The client got this as its last message, and closed.
fn assert_refused(net: &Sim, client: ClientId, code: &str, words: &str) {
    let notice = net.client(client).notices().last().expect("the client gets a status");
    assert_eq!((notice.code.as_str(), notice.redirect.as_deref()), (code, None), "{notice:?}");
    assert!(notice.description.contains(words), "{notice:?}");
    assert!(!net.is_open(client) && net.client(client).is_closed());
}

#[test]
fn each_virtual_host_has_streams_of_its_own() {
    let mut net = Sim::with_config(1, hosts(true));
    let routes = ["a.example", "b.example", "c.example"].map(|host| Route::to(host, "live"));
    let publishers = routes.clone().map(|route| net.publish(route, "cam"));
    let players = routes.map(|route| net.play(route, "cam"));
    let alias = net.play(Route::to("WWW.a.example", "live"), "cam");
    let another = net.play(Route::to("192.0.2.1", "live"), "cam");
    net.run_for(SECOND * 4);
    let sees = |player, publisher: ClientId| {
        let frames = net.player(player).frames();
        frames.len() > 100 && frames.iter().all(|frame| frame.publisher == publisher.index())
    };
    for (player, publisher) in players.into_iter().zip(publishers) {
        assert!(sees(player, publisher));
    }
    assert!(sees(alias, publishers[0]) && sees(another, publishers[2]));
    let streams = net.server().hub().streams();
    let names: Vec<_> = streams.iter().map(|stream| stream.key.vhost()).collect();
    assert_eq!(names, [DEFAULT_VHOST, "a.example", "b.example"]);
}

#[test]
fn unknown_virtual_hosts_and_disabled_ones_are_refused() {
    for default in [false, true] {
        let mut net = Sim::with_config(2, hosts(default));
        let unknown = net.play(Route::to("c.example", "live"), "cam");
        let off = net.publish(Route::to("OFF.example", "live"), "cam");
        let sideways = net.play(Route::to("a.example", "live"), "cam?vhost=off.example");
        let by_parameter = net.play(Route::to("a.example", "live?vhost=off.example"), "cam");
        net.run_for(SECOND * 5);
        if default {
            assert!(net.client(unknown).is_running());
        } else {
            assert_refused(&net, unknown, REJECTED, "the server has no virtual host of this name");
        }
        assert_refused(&net, off, REJECTED, "disabled");
        assert_refused(&net, by_parameter, REJECTED, "disabled");
        assert_refused(&net, sideways, "NetStream.Play.StreamNotFound", "disabled");
    }
}

#[test]
fn a_stream_of_another_host_is_cut_as_that_host_cuts_it() {
    let mut net = Sim::with_config(3, hosts(true));
    let hosts = ["a.example", "b.example", "c.example"];
    let publishers = hosts.map(|host| net.publish(Route::to(host, "live"), "cam"));
    net.run_for(SECOND * 2);
    for home in hosts {
        for host in hosts {
            let player = net.play(Route::to(home, "live"), &format!("cam?vhost={host}"));
            net.run_for(SECOND * 2);
            assert!(net.player(player).count(Media::Key) >= 2, "{host} from {home}");
            // Bodies larger than a chunk, or it would prove nothing.
            assert!(net.sent(publishers[0]).iter().any(|sent| sent.size > 4096));
        }
    }
}

#[test]
fn one_connection_plays_streams_of_several_hosts() {
    let mut net = Sim::with_config(13, hosts(true));
    let all = ["a.example", "b.example", "c.example"];
    for host in all {
        net.publish(Route::to(host, "live"), "cam");
    }
    let player = net.play(Route::to("a.example", "live"), "cam");
    net.also_play(player, "cam?vhost=b.example");
    net.also_play(player, "cam?vhost=c.example");
    net.run_for(SECOND * 10);
    // They take turns, and each body is checked.
    let counts: Vec<_> = net.client(player).playbacks().map(|playback| playback.count(Media::Key)).collect();
    assert!(counts.len() == 3 && counts.iter().all(|count| *count >= 8), "{counts:?}");
}

#[test]
fn a_stream_of_another_host_is_left_alone_as_long_as_that_host_allows() {
    let limit = SECOND * 8;
    let settings = VhostConfig { idle_publisher: Some(limit), ..VhostConfig::default() };
    let vhosts = [Vhost::new("a.example", VhostConfig::default()), Vhost::new("b.example", settings)];
    let config = Config { vhosts: Vhosts::new(vhosts).expect("the names are good"), ..Config::default() };
    let mut net = Sim::with_config(12, config);
    let there = net.publish(Route::to("a.example", "live"), "cam?vhost=b.example");
    let here = net.publish(Route::to("b.example", "live"), "cam?vhost=a.example");
    net.run_for(SECOND * 30);
    assert_eq!(net.report(there).expect("it is closed").close.reason.name(), "idle_publisher");
    assert!(net.client(here).is_running());
}

#[test]
fn one_more_than_there_may_be_is_refused_until_one_goes() {
    type Come = fn(&mut Sim, usize) -> ClientId;
    let publish: Come = |net, number| net.publish_with("live", &format!("cam{number}"), Encoder::small());
    let play: Come = |net, number| net.play("live", &format!("cam{number}"));
    let play_one: Come = |net, _| net.play("live", "cam");
    let idle: Come = |net, _| net.idle("live");
    let one = Some(1);
    for (limits, come, code, words) in [
        (Limits { connections: one, ..Limits::default() }, idle, REJECTED, "too many connections"),
        (Limits { connections: one, ..Limits::default() }, play, REJECTED, "too many connections"),
        (Limits { publishers: one, ..Limits::default() }, publish, DENIED, "too many publishers"),
        (Limits { players: one, ..Limits::default() }, play, FAILED, "too many players"),
        (Limits { stream_players: one, ..Limits::default() }, play_one, FAILED, "too many players of this stream"),
        (Limits { streams: one, ..Limits::default() }, publish, DENIED, "too many streams"),
    ] {
        let mut net = Sim::with_config(4, with(|settings| settings.limits = limits));
        let first = come(&mut net, 1);
        net.run_for(SECOND);
        let second = come(&mut net, 2);
        net.run_for(SECOND * 4);
        assert!(net.is_open(first), "{words}");
        assert_refused(&net, second, code, words);
        net.kill(first);
        let third = come(&mut net, 3);
        net.run_for(SECOND * 2);
        assert!(net.is_open(third), "{words}: there is room again");
    }
}

#[test]
fn players_of_other_streams_do_not_count() {
    let mut net = Sim::with_config(5, with(|settings| settings.limits.stream_players = Some(1)));
    let players = ["a", "b", "c"].map(|name| net.play("live", name));
    net.run_for(SECOND * 4);
    assert!(players.iter().all(|player| net.client(*player).is_running()));
}

#[test]
fn a_player_cannot_make_streams_beyond_the_limit() {
    let mut net = Sim::with_config(6, with(|settings| settings.limits.streams = Some(1)));
    let first = net.publish("live", "a");
    let viewer = net.play("live", "a");
    net.run_for(SECOND);
    let other = net.play("live", "b");
    net.run_for(SECOND * 4);
    assert!(net.client(first).is_running() && net.client(viewer).is_running());
    assert_refused(&net, other, FAILED, "too many streams");
}

#[test]
fn streams_are_counted_for_each_virtual_host() {
    let limited = || VhostConfig { limits: Limits { streams: Some(1), ..Limits::default() }, ..VhostConfig::default() };
    let vhosts = ["a.example", "b.example"].map(|name| Vhost::new(name, limited()));
    let config = Config { vhosts: Vhosts::new(vhosts).expect("the names are good"), ..Config::default() };
    let mut net = Sim::with_config(11, config);
    let first = net.publish(Route::to("a.example", "live"), "cam");
    net.run_for(SECOND);
    let other = net.publish(Route::to("b.example", "live"), "cam");
    let second = net.publish(Route::to("a.example", "live"), "cam2");
    net.run_for(SECOND * 4);
    assert!(net.client(first).is_running() && net.client(other).is_running());
    assert_refused(&net, second, DENIED, "too many streams");
}

#[test]
fn a_publisher_that_sends_more_than_it_may_is_told_and_closed() {
    let rate = |bytes_per_second| Rate { bytes_per_second, window: SECOND * 2 };
    let encoder = || Encoder { key: 10_000..=10_000, inter: 2_000..=2_000, audio: None, ..Encoder::default() };
    for (limit, fits) in [(90_000, true), (50_000, false)] {
        let mut net = Sim::with_config(7, with(|settings| settings.limits.publisher_rate = Some(rate(limit))));
        let publisher = net.publish_with("live", "cam", encoder());
        let player = net.play("live", "cam");
        net.run_for(SECOND * 30);
        assert_eq!(net.client(publisher).is_running(), fits);
        if !fits {
            assert_eq!(net.report(publisher).expect("it is closed").close.reason.name(), "limit_bitrate");
            assert_refused(&net, publisher, DENIED, "sends more than its limit allows");
            assert!(net.client(player).is_running());
        }
    }
}

#[test]
fn nothing_is_relayed_behind_the_message_that_was_too_much() {
    let rate = Rate { bytes_per_second: 20_000, window: SECOND };
    for seed in 0..20 {
        let mut net = Sim::with_config(seed, with(|settings| settings.limits.publisher_rate = Some(rate)));
        let encoder = Encoder { inter: 500..=20_000, ..Encoder::default() };
        let player = net.play("live", "cam");
        let publisher = net.publish_with("live", "cam", encoder);
        net.link(publisher).latency(Duration::from_millis(100));
        net.run_until(SECOND, |net| net.client(publisher).is_running());
        // All at once, in one read.
        net.stall(publisher, SECOND / 2);
        net.run_for(SECOND * 4);
        assert_eq!(net.report(publisher).expect("it is closed").close.reason.name(), "limit_bitrate");
        assert_eq!(net.client(publisher).count(DENIED), 1);
        let playback = net.player(player);
        assert_eq!((playback.skipped().frames, playback.frames().is_empty()), (0, false));
    }
}

#[test]
fn rules_for_addresses() {
    let rules = "allow publish 10.0.0.0/8; deny publish 10.6.6.6; deny play 2001:db8:bad::/48";
    let mut net = Sim::with_config(8, with(|settings| settings.security = rules.parse().expect("the rules are good")));
    let from = |address: &str| Route::from("live").from_address(address);
    let good = net.publish(from("10.1.2.3"), "a");
    let bad = net.publish(from("10.6.6.6"), "b");
    let stranger = net.publish(from("192.0.2.1"), "c");
    let nobody = net.publish("live", "d");
    let watches = ["10.6.6.6", "192.0.2.1", "2001:db8::1"].map(|address| net.play(from(address), "a"));
    let banned = net.play(from("2001:db8:bad::7"), "a");
    net.run_for(SECOND * 5);
    assert!(net.client(good).is_running());
    assert!(watches.iter().all(|player| net.player(*player).frames().len() > 100));
    assert_refused(&net, bad, DENIED, "your address may not publish");
    assert_refused(&net, stranger, DENIED, "not among those");
    assert_refused(&net, nobody, DENIED, "not among those");
    assert_refused(&net, banned, FAILED, "your address may not play");
}

#[test]
fn rules_for_pages() {
    let refer = Refer { play: vec!["example.com".parse().expect("a host")], ..Refer::default() };
    let mut net = Sim::with_config(9, with(|settings| settings.refer = refer));
    let from = |page: &str| Route::from("live").from_page(page);
    let publisher = net.publish("live", "cam");
    let good = net.play(from("https://www.example.com/watch"), "cam");
    let bad = net.play(from("https://example.com.evil.net/"), "cam");
    let none = net.play("live", "cam");
    net.run_for(SECOND * 5);
    assert!(net.client(publisher).is_running() && net.client(good).is_running());
    assert_refused(&net, bad, FAILED, "clients of this web page may not play");
    assert_refused(&net, none, FAILED, "clients of this web page may not play");
}

#[test]
fn signed_urls_hold_until_they_expire() {
    const NOW: u64 = 1_767_225_600;
    let secret = || Secret::new("a long random secret of your own").expect("it is long enough");
    let token = Token { secrets: vec![secret()], required_for: TokenScope::Both };
    let mut net = Sim::with_config(10, with(|settings| settings.token = Some(token)));
    let url = |action, stream: &str, expires: u64| {
        let key = StreamKey::new(DEFAULT_VHOST, "live", "cam").expect("a name");
        let token = sign(&secret(), action, &key, expires);
        format!("{stream}?expires={expires}&token={token}")
    };
    let publish = url(Action::Publish, "cam", NOW + 10);
    // Without a clock everything has expired.
    let early = net.publish("live", &publish);
    net.run_for(SECOND * 4);
    assert_refused(&net, early, DENIED, "expired");

    net.set_clock(NOW);
    let good = net.publish("live", &publish);
    let watching = net.play("live", &url(Action::Play, "cam", NOW + 10));
    let refused = [
        (net.play("live", "cam"), "missing"),
        (net.play("live", &publish), "is wrong"),
        (net.play("live", &url(Action::Play, "other", NOW + 10)), "is wrong"),
        (net.play("live", &url(Action::Play, "cam", NOW)), "expired"),
        (net.play("live", &url(Action::Play, "cam", NOW + 10).replace("token=", "token=0")), "wrong form"),
    ];
    net.run_for(SECOND * 11);
    for (player, words) in refused {
        assert_refused(&net, player, FAILED, words);
    }
    // It is looked at when they come.
    assert!(net.client(good).is_running() && net.client(watching).is_running());
    let late = net.play("live", &url(Action::Play, "cam", NOW + 10));
    let fresh = net.play("live", &url(Action::Play, "cam", NOW + 1_000));
    net.run_for(SECOND * 4);
    assert_refused(&net, late, FAILED, "expired");
    assert!(net.client(fresh).is_running());
}
