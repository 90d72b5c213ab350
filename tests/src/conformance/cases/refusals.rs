//! Which requests are refused, with which status, and that the connection is closed.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anabranch_core::amf::Object;
use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::policy::{Action, Rate, Refer, Secret, Token, TokenScope, Vhost, Vhosts, sign};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};

use crate::conformance::Target;
use crate::conformance::media::{audio_frame, gop_lines};
use crate::peer::{ScriptedClient, TIMEOUT, has_line};

cases![
    publishing_is_denied_by_a_rule with DENY_PUBLISH,
    playing_is_denied_by_a_rule with DENY_PLAY,
    a_rule_that_allows_others_denies_the_rest with ALLOW_OTHERS,
    an_unknown_virtual_host_is_refused with VHOSTS,
    a_disabled_virtual_host_is_refused with VHOSTS,
    an_alias_is_the_virtual_host_it_is_of with VHOSTS,
    virtual_hosts_do_not_share_streams with VHOSTS,
    the_vhost_parameter_names_the_virtual_host with VHOSTS,
    the_settings_are_those_of_the_virtual_host with VHOSTS,
    a_name_with_another_host_passes_what_that_asks with VHOSTS,
    players_from_other_pages_are_refused with REFER,
    a_missing_token_is_refused with SIGNED,
    a_malformed_token_is_refused with SIGNED,
    a_token_for_something_else_is_refused with SIGNED,
    an_expired_token_is_refused with SIGNED,
    a_valid_token_is_accepted with SIGNED,
    publishing_without_a_name_is_refused,
    names_with_control_characters_are_refused,
    names_of_dots_are_refused,
    names_that_are_too_long_are_refused,
    connections_are_limited with TWO_CONNECTIONS,
    publishers_are_limited with ONE_PUBLISHER,
    players_are_limited with TWO_PLAYERS,
    players_of_a_stream_are_limited with ONE_PLAYER_EACH,
    streams_are_limited with ONE_STREAM,
    a_publisher_over_its_bitrate_is_told_and_closed with SLOW_PUBLISHERS,
    messages_of_nothing_count_for_the_bitrate with SLOW_PUBLISHERS,
    the_same_token_takes_a_name_over with TAKE_OVER,
    another_token_takes_nothing_over with TAKE_OVER,
    no_token_takes_nothing_over with TAKE_OVER,
    a_publisher_that_was_taken_over_leaves_the_name_alone with TAKE_OVER,
];

const SECRET: &str = "sixteen bytes or more";

setups! {
    DENY_PUBLISH = |config| config.defaults.security = "deny publish all".parse().expect("a rule");
    DENY_PLAY = |config| config.defaults.security = "deny play 127.0.0.1".parse().expect("a rule");
    ALLOW_OTHERS = |config| config.defaults.security = "allow publish 192.0.2.0/24".parse().expect("a rule");
    VHOSTS = |config| config.vhosts = vhosts(config);
    REFER = |config| {
        let hosts = vec!["good.example".parse().expect("a host")];
        config.defaults.refer = Refer { play: hosts, ..Refer::default() };
    };
    SIGNED = |config| {
        let secrets = vec![secret()];
        config.defaults.token = Some(Token { secrets, required_for: TokenScope::Both });
    };
    TWO_CONNECTIONS = |config| config.defaults.limits.connections = Some(2);
    ONE_PUBLISHER = |config| config.defaults.limits.publishers = Some(1);
    TWO_PLAYERS = |config| config.defaults.limits.players = Some(2);
    ONE_PLAYER_EACH = |config| config.defaults.limits.stream_players = Some(1);
    ONE_STREAM = |config| config.defaults.limits.streams = Some(1);
    SLOW_PUBLISHERS = |config| config.defaults.limits.publisher_rate = Some(slow_rate());
    TAKE_OVER = |config| config.defaults.conflict = Conflict::TakeOver;
}

fn vhosts(config: &Config) -> Vhosts<VhostConfig> {
    let defaults = || config.defaults.clone();
    let mut small_chunks = defaults();
    small_chunks.session.chunk_size = 5000;
    let known = Vhost { aliases: vec!["www.known.example".to_owned()], ..Vhost::new("known.example", small_chunks) };
    let off = Vhost { enabled: false, ..Vhost::new("off.example", defaults()) };
    let mut full = Vhost::new("full.example", defaults());
    full.settings.limits.connections = Some(0);
    Vhosts::new([known, Vhost::new("other.example", defaults()), full, off]).expect("different names")
}

fn secret() -> Secret {
    Secret::new(SECRET).expect("long enough")
}

/// 100 kB in any ten seconds.
fn slow_rate() -> Rate {
    Rate::new(10_000)
}

/// Connected to this host.
fn on_host(target: &Target, host: &str) -> ScriptedClient {
    ScriptedClient::connected_with(target, at_host(host))
}

fn at_host(host: &str) -> Object {
    Object::new().with("app", "live").with("tcUrl", format!("rtmp://{host}/live"))
}

fn publish(client: &mut ScriptedClient, name: &str) -> String {
    client.publish(0, name);
    client.receive_until("NetStream").pop().unwrap_or_default()
}

fn play(client: &mut ScriptedClient, name: &str) -> String {
    client.play(0, name);
    client.receive_until("NetStream").pop().unwrap_or_default()
}

const PUBLISH_DENIED: &str = "5/1 onStatus 0 NetStream.Publish.Denied";
const PLAY_FAILED: &str = "5/1 onStatus 0 NetStream.Play.Failed";
const BAD_NAME: &str = "5/1 onStatus 0 NetStream.Publish.BadName";
const NOT_FOUND: &str = "5/1 onStatus 0 NetStream.Play.StreamNotFound";

/// It gets the refusal and nothing more, and is closed as soon as it hangs up. How long the server waits for that is with the
/// timeouts.
fn assert_refused(mut client: ScriptedClient, told: &str, expected: &str) {
    assert_eq!(told, expected);
    client.wire().shut_down_writing();
    assert_eq!(client.assert_closed(), [""; 0]);
}

fn publish_is_refused(target: &Target, name: &str, expected: &str) {
    let mut client = ScriptedClient::connected(target);
    let told = publish(&mut client, name);
    assert_refused(client, &told, expected);
}

fn play_is_refused(target: &Target, name: &str, expected: &str) {
    let mut client = ScriptedClient::connected(target);
    let told = play(&mut client, name);
    assert_refused(client, &told, expected);
}

fn connect_is_refused(target: &Target, object: Object, code: &str) {
    let mut client = ScriptedClient::open(target);
    client.connect(object);
    assert_eq!(client.receive(4)[3], format!("3/0 _error 1 {code}"));
    client.wire().shut_down_writing();
    assert_eq!(client.assert_closed(), [""; 0]);
}

/// Whoever was there is gone once the server has noticed: tried until there is room.
fn becomes_possible(mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < TIMEOUT, "there is no room although a client left");
    }
}

fn publishing_is_denied_by_a_rule(target: &Target) {
    publish_is_refused(target, &target.name, PUBLISH_DENIED);
    ScriptedClient::player(target, &target.name);
}

fn playing_is_denied_by_a_rule(target: &Target) {
    play_is_refused(target, &target.name, PLAY_FAILED);
    ScriptedClient::publisher(target, &target.name);
}

fn a_rule_that_allows_others_denies_the_rest(target: &Target) {
    publish_is_refused(target, &target.name, PUBLISH_DENIED);
    // It says nothing about players.
    ScriptedClient::player(target, &target.name);
}

fn an_unknown_virtual_host_is_refused(target: &Target) {
    connect_is_refused(target, at_host("nobody.example"), "NetConnection.Connect.Rejected");
}

fn a_disabled_virtual_host_is_refused(target: &Target) {
    connect_is_refused(target, at_host("off.example"), "NetConnection.Connect.Rejected");
}

fn an_alias_is_the_virtual_host_it_is_of(target: &Target) {
    let mut publisher = on_host(target, "WWW.known.example:1935");
    assert!(publish(&mut publisher, &target.name).contains("Publish.Start"));
    let mut player = on_host(target, "known.example");
    play(&mut player, &target.name);
    player.receive_until("|RtmpSampleAccess");
    publisher.audio(0, &audio_frame(1));
    assert_eq!(player.receive(1), ["audio frame 1 on 1 at 0"]);
}

fn virtual_hosts_do_not_share_streams(target: &Target) {
    let hosts = ["known.example", "other.example"];
    let mut players = hosts.map(|host| {
        let mut player = on_host(target, host);
        play(&mut player, &target.name);
        player.receive_until("|RtmpSampleAccess");
        player
    });
    for (number, host) in (1..).zip(hosts) {
        let mut publisher = on_host(target, host);
        assert!(publish(&mut publisher, &target.name).contains("Publish.Start"));
        publisher.audio(0, &audio_frame(number));
        assert_eq!(players[usize::from(number) - 1].receive(1), [format!("audio frame {number} on 1 at 0")]);
    }
    players[0].assert_quiet();
}

fn the_vhost_parameter_names_the_virtual_host(target: &Target) {
    let object = Object::new().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live?vhost=other.example");
    let mut publisher = ScriptedClient::connected_with(target, object);
    assert!(publish(&mut publisher, &target.name).contains("Publish.Start"));
    let mut player = on_host(target, "other.example");
    play(&mut player, &target.name);
    player.receive_until("|RtmpSampleAccess");
    publisher.audio(0, &audio_frame(1));
    assert_eq!(player.receive(1), ["audio frame 1 on 1 at 0"]);
}

fn the_settings_are_those_of_the_virtual_host(target: &Target) {
    for (host, size) in [("known.example", 5000), ("other.example", 60_000)] {
        let mut client = ScriptedClient::open(target);
        client.connect(at_host(host));
        assert_eq!(client.receive(4)[2], format!("SetChunkSize({size})"), "{host}");
    }
}

fn a_name_with_another_host_passes_what_that_asks(target: &Target) {
    connect_is_refused(target, at_host("full.example"), "NetConnection.Connect.Rejected");
    let name = format!("{}?vhost=full.example", target.name);
    let mut publisher = on_host(target, "other.example");
    let told = publish(&mut publisher, &name);
    assert_refused(publisher, &told, PUBLISH_DENIED);
    let mut player = on_host(target, "other.example");
    let told = play(&mut player, &name);
    assert_refused(player, &told, PLAY_FAILED);
    // That host's chunk size is announced to a client that comes over.
    let mut publisher = on_host(target, "other.example");
    publisher.publish(0, &format!("{}?vhost=known.example", target.name));
    let received = publisher.receive_until("NetStream");
    assert!(has_line(&received, "SetChunkSize(5000)") && has_line(&received, "Publish.Start"), "{received:?}");
}

fn players_from_other_pages_are_refused(target: &Target) {
    let from = |page: &str| ScriptedClient::connected_with(target, at_host("127.0.0.1").with("pageUrl", page));
    let mut good = from("https://good.example/watch");
    assert!(play(&mut good, &target.name).contains("Play.Reset"));
    let mut bad = from("https://bad.example/watch");
    let told = play(&mut bad, &target.name);
    assert_refused(bad, &told, PLAY_FAILED);
    play_is_refused(target, &target.name, PLAY_FAILED);
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new(DEFAULT_VHOST, "live", stream).expect("a name")
}

fn signed(target: &Target, action: Action, expires: u64) -> String {
    let token = sign(&secret(), action, &key(&target.name), expires);
    format!("{}?expires={expires}&token={token}", target.name)
}

fn a_missing_token_is_refused(target: &Target) {
    publish_is_refused(target, &target.name, PUBLISH_DENIED);
    play_is_refused(target, &target.name, PLAY_FAILED);
}

fn a_malformed_token_is_refused(target: &Target) {
    let expires = unix_now() + 600;
    publish_is_refused(target, &format!("{}?expires={expires}&token=xyz", target.name), PUBLISH_DENIED);
    publish_is_refused(target, &format!("{}?expires=never&token={}", target.name, "0".repeat(64)), PUBLISH_DENIED);
}

fn a_token_for_something_else_is_refused(target: &Target) {
    let expires = unix_now() + 600;
    publish_is_refused(target, &signed(target, Action::Play, expires), PUBLISH_DENIED);
    play_is_refused(target, &signed(target, Action::Publish, expires), PLAY_FAILED);
    let other = sign(&secret(), Action::Publish, &key("other"), expires);
    publish_is_refused(target, &format!("{}?expires={expires}&token={other}", target.name), PUBLISH_DENIED);
}

fn an_expired_token_is_refused(target: &Target) {
    publish_is_refused(target, &signed(target, Action::Publish, unix_now() - 60), PUBLISH_DENIED);
}

fn a_valid_token_is_accepted(target: &Target) {
    let expires = unix_now() + 600;
    let mut player = ScriptedClient::player(target, &signed(target, Action::Play, expires));
    let mut publisher = ScriptedClient::publisher(target, &signed(target, Action::Publish, expires));
    publisher.gop(0, 1);
    assert_eq!(player.receive(3), gop_lines(0, 1));
}

fn publishing_without_a_name_is_refused(target: &Target) {
    // With an app in the URL its last component would be the name.
    let bare = || ScriptedClient::connected_with(target, Object::new().with("tcUrl", "rtmp://127.0.0.1/"));
    for name in ["", "?only=query", "/"] {
        let mut client = bare();
        let told = publish(&mut client, name);
        assert_refused(client, &told, BAD_NAME);
        let mut client = bare();
        let told = play(&mut client, name);
        assert_refused(client, &told, NOT_FOUND);
    }
}

fn names_with_control_characters_are_refused(target: &Target) {
    for name in ["a\u{1}b", "a\nb", "a\u{1}\0", "\u{85}x\u{7f}y"] {
        publish_is_refused(target, name, BAD_NAME);
        play_is_refused(target, name, NOT_FOUND);
    }
}

fn names_of_dots_are_refused(target: &Target) {
    for name in ["..", ".", "../../etc/passwd", "a/../b", "a/./b"] {
        publish_is_refused(target, name, BAD_NAME);
        play_is_refused(target, name, NOT_FOUND);
    }
}

fn names_that_are_too_long_are_refused(target: &Target) {
    for length in [8193, 20_000, 65_535] {
        publish_is_refused(target, &"n".repeat(length), BAD_NAME);
        play_is_refused(target, &"n".repeat(length), NOT_FOUND);
    }
}

fn connections_are_limited(target: &Target) {
    let first = ScriptedClient::connected(target);
    let _second = ScriptedClient::connected(target);
    connect_is_refused(target, at_host("127.0.0.1"), "NetConnection.Connect.Rejected");
    drop(first);
    becomes_possible(|| {
        let mut client = ScriptedClient::open(target);
        client.connect(at_host("127.0.0.1"));
        has_line(&client.receive_until("NetConnection"), "Connect.Success")
    });
}

fn publishers_are_limited(target: &Target) {
    let first = ScriptedClient::publisher(target, &target.named("a"));
    publish_is_refused(target, &target.named("b"), PUBLISH_DENIED);
    drop(first);
    becomes_possible(|| publish(&mut ScriptedClient::connected(target), &target.named("b")).contains("Publish.Start"));
}

fn players_are_limited(target: &Target) {
    let first = ScriptedClient::player(target, &target.named("a"));
    let _second = ScriptedClient::player(target, &target.named("b"));
    play_is_refused(target, &target.named("c"), PLAY_FAILED);
    drop(first);
    becomes_possible(|| play(&mut ScriptedClient::connected(target), &target.named("c")).contains("Play.Reset"));
}

fn players_of_a_stream_are_limited(target: &Target) {
    let first = ScriptedClient::player(target, &target.name);
    play_is_refused(target, &target.name, PLAY_FAILED);
    let _of_another = ScriptedClient::player(target, &target.named("other"));
    drop(first);
    becomes_possible(|| play(&mut ScriptedClient::connected(target), &target.name).contains("Play.Reset"));
}

fn streams_are_limited(target: &Target) {
    let first = ScriptedClient::publisher(target, &target.name);
    let player = ScriptedClient::player(target, &target.name);
    publish_is_refused(target, &target.named("other"), PUBLISH_DENIED);
    play_is_refused(target, &target.named("other"), PLAY_FAILED);
    drop((first, player));
    becomes_possible(|| {
        publish(&mut ScriptedClient::connected(target), &target.named("other")).contains("Publish.Start")
    });
}

fn a_publisher_over_its_bitrate_is_told_and_closed(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    for time in 0..40 {
        publisher.video(time, &[0x27; 5000]);
    }
    let received = publisher.assert_closed();
    assert_eq!(received, [PUBLISH_DENIED]);
}

fn messages_of_nothing_count_for_the_bitrate(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    for _ in 0..12_000 {
        publisher.audio(0, &[]);
    }
    assert_eq!(publisher.assert_closed(), [PUBLISH_DENIED]);
}

fn the_same_token_takes_a_name_over(target: &Target) {
    let name = format!("{}?token=t", target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    let mut first = ScriptedClient::publisher(target, &name);
    first.gop(0, 1);
    assert_eq!(player.receive(3), gop_lines(0, 1));
    let mut second = ScriptedClient::publisher(target, &name);
    // The first gets the refusal when it next sends something.
    first.audio(50, &audio_frame(9));
    assert_eq!(first.assert_closed(), [BAD_NAME]);
    second.gop(0, 2);
    let received = player.receive(3);
    assert!(received[0].starts_with("video key 2 on 1 at "), "{received:?}");
}

fn another_token_takes_nothing_over(target: &Target) {
    let _first = ScriptedClient::publisher(target, &format!("{}?token=t", target.name));
    publish_is_refused(target, &format!("{}?token=u", target.name), BAD_NAME);
    publish_is_refused(target, &target.name, BAD_NAME);
}

fn no_token_takes_nothing_over(target: &Target) {
    let _first = ScriptedClient::publisher(target, &target.name);
    publish_is_refused(target, &target.name, BAD_NAME);
    publish_is_refused(target, &format!("{}?token=", target.name), BAD_NAME);
}

fn a_publisher_that_was_taken_over_leaves_the_name_alone(target: &Target) {
    let name = format!("{}?token=t", target.name);
    let mut first = ScriptedClient::publisher(target, &name);
    let mut second = ScriptedClient::publisher(target, &name);
    first.wire().shut_down_writing();
    first.assert_closed();
    let mut player = ScriptedClient::player(target, &target.name);
    second.gop(0, 1);
    assert_eq!(player.receive(3), gop_lines(0, 1), "its end does not end the stream");
    publish_is_refused(target, &target.name, BAD_NAME);
}
