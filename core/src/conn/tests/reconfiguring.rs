//! Other settings while connections are open: which connections stay, which are closed, and which rules apply then.

use super::*;
use crate::policy::{Limits, Secret, Token, TokenScope, Vhost, Vhosts};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn at(harness: &Harness, host: &str, peer: &str, requests: &[u8]) -> Client {
    let tc_url = format!("rtmp://{host}/live");
    let object = Object::default().with("app", "live").with("tcUrl", tc_url.as_str());
    let mut client = harness.client_from(Some(address(peer)), object);
    client.send(harness, &[&peer::create_stream(2.0), requests].concat());
    client.received = client.receive(harness);
    client
}

fn publishes(harness: &Harness, host: &str, peer: &str) -> Client {
    let client = at(harness, host, peer, &peer::publish(1, "cam"));
    assert!(contains(&client.received, "NetStream.Publish.Start"), "{:?}", client.received);
    client
}

fn hosts(names: &[&str], settings: &VhostConfig) -> Config {
    let vhosts = names.iter().map(|name| Vhost::new(*name, settings.clone()));
    Config { vhosts: Vhosts::new(vhosts).expect("names"), ..Config::default() }
}

/// Applies a configuration as an adapter does.
fn reconfigure(harness: &Harness, config: Config, clients: &mut [&mut Client]) {
    harness.server.reconfigure(config);
    for client in clients {
        client.conn.reconfigured();
        client.poll(harness);
    }
}

fn reason(client: &Client) -> Option<&'static str> {
    client.closed.as_ref().map(|report| report.close.reason.name())
}

#[test]
fn open_connections_go_on_and_new_ones_use_the_new_settings() {
    let harness = Harness::new();
    let (mut publisher, mut player) = (harness.publisher("cam"), harness.player("cam"));
    player.receive(&harness);
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    assert_eq!(player.receive(&harness).len(), 6);
    let mut config = VhostConfig { high_water: 1, ..VhostConfig::default() };
    config.session.chunk_size = 128;
    reconfigure(&harness, config.into(), &mut [&mut publisher, &mut player]);
    assert_eq!(harness.server.config().defaults.high_water, 1);
    publisher.actions();
    // A frame larger than the new chunk size: cut as before for present and new players.
    let large = [peer::key_frame(2), vec![7; 5000]].concat();
    publisher.send(&harness, &peer::video(80, &large));
    let mut newcomer = harness.player("cam");
    for client in [&mut player, &mut newcomer] {
        let messages = client.messages(&harness);
        let video: Vec<_> = messages.iter().filter(|message| message.type_id == MessageType::VIDEO).collect();
        assert_eq!(video.last().expect("the frame").payload.len(), large.len());
    }
    // When all have left the stream, it is made again with the new settings.
    for client in [&mut publisher, &mut player, &mut newcomer] {
        client.disconnect(&harness);
        assert_eq!(reason(client), Some("peer_closed"));
    }
    let (mut publisher, mut player) = (harness.publisher("cam"), harness.player("cam"));
    player.receive(&harness);
    publisher.send(&harness, &[headers(), peer::video(0, &large)].concat());
    let messages = player.messages(&harness);
    assert_eq!(messages.last().expect("the frame").payload.len(), large.len());
}

/// A player gets a message with the chunk size of its stream, though its connection announced another one.
#[test]
fn a_player_from_after_the_change_reads_a_stream_from_before_it() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let mut config = VhostConfig::default();
    config.session.chunk_size = 128;
    reconfigure(&harness, config.into(), &mut [&mut publisher]);
    let mut player = harness.player("cam");
    player.receive(&harness);
    let large = [peer::key_frame(1), vec![7; 5000]].concat();
    publisher.send(&harness, &peer::video(0, &large));
    assert_eq!(player.messages(&harness).last().expect("the frame").payload.len(), large.len());
    assert!(player.closed.is_none());
}

#[test]
fn connections_of_a_virtual_host_that_is_gone_are_closed() {
    let harness = Harness::with(hosts(&["a", "b"], &VhostConfig::default()));
    let (mut stays, mut goes) = (publishes(&harness, "a", "192.0.2.1:1"), publishes(&harness, "b", "192.0.2.1:2"));
    let mut idle = at(&harness, "b", "192.0.2.1:3", &[]);
    // It connected to a host that stays, and plays from the other.
    let mut crossing = at(&harness, "a", "192.0.2.1:4", &peer::play(1, "cam?vhost=b"));
    assert!(contains(&crossing.received, "NetStream.Play.Start"), "{:?}", crossing.received);
    let mut stranger = Client::new(&harness, None);
    let all = &mut [&mut stays, &mut goes, &mut idle, &mut crossing, &mut stranger];
    reconfigure(&harness, hosts(&["a"], &VhostConfig::default()), all);
    let reasons = [&stays, &goes, &idle, &crossing, &stranger].map(reason);
    let gone = Some("vhost_unknown");
    assert_eq!(reasons, [None, gone, gone, gone, None]);
    assert_eq!(harness.server.hub().streams().len(), 1, "what they held is given back");

    let mut disabled = hosts(&["a"], &VhostConfig::default());
    disabled.vhosts = Vhosts::new([Vhost { enabled: false, ..Vhost::new("a", VhostConfig::default()) }]).expect("one");
    reconfigure(&harness, disabled, &mut [&mut stays]);
    assert_eq!(reason(&stays), Some("vhost_disabled"));
    assert_eq!(harness.server.vhosts().iter().map(|vhost| vhost.enabled).collect::<Vec<_>>(), [false]);
}

/// The new settings apply to later grants, even if another back end was asked before the change.
#[test]
fn a_request_that_waits_needs_what_the_new_settings_ask_for() {
    let asks = Asks { publish: true, play: true, ..Asks::default() };
    let asking = VhostConfig { asks, ..VhostConfig::default() };
    let secrets = vec![Secret::new("a secret that came later").expect("long enough")];
    let token = Some(Token { secrets, required_for: TokenScope::Both });
    let refer = crate::policy::Refer { all: vec!["good.example".parse().expect("a host")], ..Default::default() };
    let with_token = VhostConfig { token, ..asking.clone() };
    let with_refer = VhostConfig { refer, ..asking.clone() };
    for (config, name) in [(with_token, "token_missing"), (with_refer, "refer_denied")] {
        let harness = Harness::with(hosts(&["a", "b"], &asking));
        for request in [peer::publish(1, "cam?vhost=b"), peer::play(1, "cam")] {
            let mut client = at(&harness, "a", "192.0.2.1:1", &request);
            assert_eq!(client.asked.len(), 1, "{:?}", client.received);
            reconfigure(&harness, hosts(&["a", "b"], &config), &mut [&mut client]);
            client.disconnect(&harness);
            assert_eq!(
                (reason(&client), client.notices.len()),
                (Some(name), 1),
                "the back end that was asked gets a notice of the end"
            );
            harness.server.reconfigure(hosts(&["a", "b"], &asking));
        }
    }
}

/// Its name may mean another host now; the streams belong to the old one.
#[test]
fn a_name_that_has_become_an_alias_is_no_separate_host() {
    let harness = Harness::with(hosts(&["a"], &VhostConfig::default()));
    let mut client = publishes(&harness, "a", "192.0.2.1:1");
    let alias = Vhost { aliases: vec!["a".to_owned()], ..Vhost::new("b", VhostConfig::default()) };
    let config = Config { vhosts: Vhosts::new([alias]).expect("one"), ..Config::default() };
    reconfigure(&harness, config, &mut [&mut client]);
    assert_eq!(reason(&client), Some("vhost_unknown"));
}

#[test]
fn a_client_that_new_settings_refuse_is_closed() {
    let harness = Harness::new();
    let mut publisher = publishes(&harness, "h", "192.0.2.1:1");
    let mut denied = at(&harness, "h", "192.0.2.2:1", &peer::play(1, "cam"));
    let mut player = at(&harness, "h", "192.0.2.3:1", &peer::play(1, "cam"));
    let mut idle = at(&harness, "h", "192.0.2.2:2", &[]);
    let security = "deny play 192.0.2.2; allow publish 192.0.2.0/24".parse().expect("rules");
    let config = VhostConfig { security, ..VhostConfig::default() };
    reconfigure(&harness, config.into(), &mut [&mut publisher, &mut denied, &mut player, &mut idle]);
    assert_eq!([&publisher, &denied, &player, &idle].map(reason), [None, Some("security_denied"), None, None]);
    idle.send(&harness, &peer::play(1, "cam"));
    assert!(contains(&idle.receive(&harness), "NetStream.Play.Failed"), "what it asks for goes by the new rules");
    let security = "allow publish 10.0.0.0/8".parse().expect("rules");
    let config = VhostConfig { security, ..VhostConfig::default() };
    reconfigure(&harness, config.into(), &mut [&mut publisher, &mut player]);
    assert_eq!([&publisher, &player].map(reason), [Some("security_not_allowed"), None]);
}

#[test]
fn lower_limits_refuse_new_clients_and_counts_go_on() {
    let limits = |players| VhostConfig { limits: Limits { players, ..Limits::default() }, ..VhostConfig::default() };
    let harness = Harness::with(hosts(&["a", "b"], &limits(None)));
    let mut players: Vec<_> = (0..3).map(|_| at(&harness, "a", "192.0.2.1:1", &peer::play(1, "cam"))).collect();
    for turn in 0..10 {
        let config = hosts(if turn % 2 == 0 { &["a"] } else { &["b", "a"] }, &limits(Some(2)));
        reconfigure(&harness, config, &mut players.iter_mut().collect::<Vec<_>>());
    }
    assert!(players.iter().all(|player| player.closed.is_none()));
    let count = || harness.server.vhosts().into_iter().find(|host| host.name == "a").expect("there").players;
    assert_eq!(count(), 3);
    let granted =
        || contains(&at(&harness, "a", "192.0.2.1:1", &peer::play(1, "cam")).received, "NetStream.Play.Start");
    assert!(!granted());
    players.pop();
    assert!(!granted());
    players.pop();
    assert!(granted());
    drop(players);
    assert_eq!(count(), 0, "what was counted by old settings is given back to the same count");
}

/// Between two changes some connections may not have checked their settings.
#[test]
fn a_host_that_is_back_before_its_clients_have_looked_counts_them() {
    let settings = |limits| VhostConfig { limits, ..VhostConfig::default() };
    let harness = Harness::with(hosts(&["a", "b"], &settings(Limits::default())));
    let mut player = at(&harness, "a", "192.0.2.1:1", &peer::play(1, "cam"));
    harness.server.reconfigure(hosts(&["b"], &settings(Limits::default())));
    harness.server.reconfigure(VhostConfig::default().into());
    let one = settings(Limits { players: Some(1), ..Limits::default() });
    reconfigure(&harness, hosts(&["a", "b"], &one), &mut [&mut player]);
    assert_eq!(reason(&player), None);
    let count = || harness.server.vhosts().into_iter().find(|host| host.name == "a").map(|host| host.players);
    assert_eq!(count(), Some(1));
    assert!(!contains(&at(&harness, "a", "192.0.2.1:1", &peer::play(1, "cam")).received, "NetStream.Play.Start"));
    player.disconnect(&harness);
    drop(player);
    assert_eq!(count(), Some(0));
}

#[test]
fn a_request_that_waits_for_its_verdict_is_held_to_the_new_rules() {
    let asks = Asks { publish: true, ..Asks::default() };
    let config = VhostConfig { asks, ..VhostConfig::default() };
    let harness = Harness::with(config.clone().into());
    let mut waits = at(&harness, "h", "192.0.2.1:1", &peer::publish(1, "cam"));
    let mut denied = at(&harness, "h", "192.0.2.2:1", &peer::publish(1, "other"));
    let security = "deny publish 192.0.2.2".parse().expect("a rule");
    let config = VhostConfig { security, ..config };
    reconfigure(&harness, config.into(), &mut [&mut waits, &mut denied]);
    assert_eq!(reason(&denied), Some("security_denied"));
    assert_eq!(
        denied.actions().last().map(String::as_str),
        Some("tell"),
        "the back end that was asked gets a notice of the end"
    );
    assert!(contains(&waits.answer(&harness, Verdict::Allow), "NetStream.Publish.Start"));
}

/// Settings that no connection uses any more are dropped.
#[test]
fn old_settings_do_not_pile_up() {
    let harness = Harness::with(hosts(&["a"], &VhostConfig::default()));
    let mut client = at(&harness, "a", "192.0.2.1:1", &[]);
    let first = std::sync::Arc::downgrade(&client.conn.inner().vhost);
    for _ in 0..100 {
        reconfigure(&harness, hosts(&["a"], &VhostConfig::default()), &mut [&mut client]);
    }
    assert_eq!(first.strong_count(), 0);
    assert_eq!(std::sync::Arc::strong_count(&client.conn.inner().vhost), 2, "the server's and the connection's");
}
