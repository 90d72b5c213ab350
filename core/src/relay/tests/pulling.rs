//! Pulls: one for each name, failover, and names that no origin has.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);

pub(super) fn edge_of(origins: &[&str]) -> Edge {
    Edge::of(origins.iter().map(|origin| origin.parse().expect("an origin")).collect())
}

pub(super) fn edge(origins: &[&str]) -> VhostConfig {
    VhostConfig { edge: Some(edge_of(origins)), ..VhostConfig::default() }
}

/// An origin that publishes `live/cam`, and an edge of it.
pub(super) fn pair() -> (Net, usize, usize, u64) {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1"]));
    let publisher = net.publisher(origin, "live/cam");
    net.gop(publisher, 0, 1);
    (net, origin, edge, publisher)
}

#[test]
fn many_players_cause_one_pull_which_ends_after_the_last() {
    let (mut net, origin, edge, publisher) = pair();
    let players: Vec<_> = (0..500).map(|_| net.player(edge, "live/cam")).collect();
    net.stream(publisher, 1, 2);
    assert_eq!((net.uplinks(edge).len(), net.states(edge)), (1, vec![RelayState::Live]));
    assert_eq!(net.servers[origin].core.hub().player_count(&key("live/cam")), 1);
    for player in &players {
        assert!(net.heard(*player).times().ends_with(&[1000, 1010, 1040, 2000, 2010, 2040]));
    }
    for player in &players {
        net.leave(*player);
    }
    net.stream(publisher, 3, 9);
    assert_eq!(net.states(edge), [RelayState::Live], "it lingers");
    net.stream(publisher, 12, 2);
    assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty());
    assert_eq!(net.servers[origin].core.hub().player_count(&key("live/cam")), 0);
    assert_eq!(net.remarks(edge), ["connecting", "live", "ended"]);
    assert!(net.servers[edge].core.hub().streams().is_empty());
}

#[test]
fn a_thousand_players_come_and_go_and_there_are_never_two_pulls() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let settings = Edge { linger: Duration::from_millis(30), ..edge_of(&["10.0.0.1"]) };
    let edge = net.server(VhostConfig { edge: Some(settings), ..VhostConfig::default() });
    let publisher = net.publisher(origin, "live/cam");
    let mut random = 7;
    for cycle in 0..1000_u32 {
        if cycle % 50 == 0 {
            net.gop(publisher, cycle * 40, 1);
        }
        let player = net.player(edge, "live/cam");
        let stays = crate::split_mix::split_mix(&mut random) % 60;
        net.run(Duration::from_millis(stays));
        assert!(net.uplinks(edge).len() <= 1, "cycle {cycle}");
        assert!(net.servers[origin].core.hub().player_count(&key("live/cam")) <= 1, "cycle {cycle}");
        net.leave(player);
        let away = crate::split_mix::split_mix(&mut random) % 60;
        net.run(Duration::from_millis(away));
        assert!(net.uplinks(edge).len() <= 1, "cycle {cycle}");
    }
    net.run(5 * SECOND);
    assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty() && net.opening.is_empty());
    assert!(net.servers[edge].core.hub().streams().is_empty());
}

#[test]
fn a_dead_first_origin_delays_the_picture_by_its_head_start_only() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.8", "10.0.0.9", "10.0.0.1"]));
    net.hosts.insert(address("10.0.0.8:1935"), Host::BlackHole);
    net.hosts.insert(address("10.0.0.9:1935"), Host::Mute);
    let publisher = net.publisher(origin, "live/cam");
    net.gop(publisher, 0, 1);
    net.run(SECOND);
    let (player, from) = (net.player(edge, "live/cam"), net.now);
    net.run(3 * SECOND);
    let first = net.heard(player).first.expect("media came") - from;
    assert!(first < Duration::from_millis(1100), "{first:?}");
    net.run(SECOND);
    assert_eq!(net.uplinks(edge).len(), 1, "the others are given up");
}

#[test]
fn an_origin_that_is_killed_and_comes_back_keeps_its_players() {
    let (mut net, origin, edge, publisher) = pair();
    let player = net.player(edge, "live/cam");
    net.stream(publisher, 1, 3);
    net.kill(origin);
    net.run(3 * SECOND);
    net.revive(origin, VhostConfig::default());
    let publisher = net.publisher(origin, "live/cam");
    net.stream(publisher, 0, 4);
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && !heard.has("ended"), "{:?}", heard.events);
    let times = heard.times();
    assert!(times.is_sorted() && times.len() >= 18, "{times:?}");
    assert_eq!(net.uplinks(edge).len(), 1);
}

#[test]
fn failover_to_another_origin_bridges_time_and_renews_headers() {
    let mut net = Net::new();
    let (one, other) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.2"]));
    let (first, second) = (net.publisher(one, "live/cam"), net.client(other, "live/cam", true));
    net.run(TICK);
    let header: &[u8] = &[0x17, 0, 0, 0, 0, 1, 77, 0, 40, 0xff];
    net.send(second, Message::video(900_000, header));
    let player = net.player(edge, "live/cam");
    for at in 0..3 {
        net.gop(first, at * 1000, 1);
        net.gop(second, 900_000 + at * 1000, 2);
        net.run(SECOND);
    }
    net.kill(one);
    for at in 3..8 {
        net.gop(second, 900_000 + at * 1000, 2);
        net.run(SECOND);
    }
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && !heard.has("ended"), "{:?}", heard.events);
    let times = heard.times();
    assert!(times.is_sorted() && times.last().is_some_and(|last| *last < 20_000), "{times:?}");
    let place = |body: &[u8]| heard.media.iter().position(|(_, known)| known == body);
    let (renewed, frame) =
        (place(header).expect("its header came"), place(&peer::key_frame(2)).expect("its frames came"));
    assert!(renewed < frame);
    assert_eq!(net.remarks(edge), ["connecting", "live", "failed", "connecting", "live"]);
}

#[test]
fn a_name_that_no_origin_has_is_told_after_a_limit_and_remembered_for_a_moment() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.9"]));
    let player = net.player(edge, "live/none");
    net.run(9 * SECOND);
    assert!(!net.heard(player).has("rejected"), "it waits");
    net.run(2 * SECOND);
    let heard = net.heard(player);
    assert!(heard.has("NetStream.Play.StreamNotFound"), "{:?}", heard.events);
    assert_eq!(net.servers[origin].core.hub().player_count(&key("live/none")), 0);
    assert!(net.list(edge).is_empty());
    let lists: Vec<_> = (0..2)
        .map(|_| {
            let player = net.player(edge, "live/other");
            net.run(Duration::from_millis(10_900));
            // Told again and at once, while the name is remembered.
            let late = net.player(edge, "live/other");
            net.run(Duration::from_millis(50));
            (net.heard(player).has("rejected"), net.heard(late).has("rejected"))
        })
        .collect();
    assert_eq!(lists[0], (true, true));
    net.run(30 * SECOND);
    assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty());
}

#[test]
fn players_that_come_before_the_encoder_get_the_stream_when_it_begins() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1"]));
    let player = net.player(edge, "live/cam");
    net.run(5 * SECOND);
    assert_eq!(net.states(edge), [RelayState::Silent]);
    let publisher = net.publisher(origin, "live/cam");
    net.stream(publisher, 0, 2);
    assert_eq!(net.states(edge), [RelayState::Live]);
    net.leave(publisher);
    net.run(25 * SECOND);
    assert_eq!(net.states(edge), [RelayState::Silent]);
    assert!(net.heard(player).has("ended"), "its players are told after the grace");
    let publisher = net.publisher(origin, "live/cam");
    net.stream(publisher, 0, 2);
    let heard = net.heard(player);
    assert!(heard.has("published") && heard.times().is_sorted() && heard.times().len() == 12, "{heard:?}");
}

#[test]
fn pulls_have_a_limit_and_names_that_no_origin_has_take_none_of_it() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let settings = Edge { pulls: 2, ..edge_of(&["10.0.0.1"]) };
    let edge = net.server(VhostConfig { edge: Some(settings), ..VhostConfig::default() });
    let publishers = ["a", "b", "c"].map(|name| net.publisher(origin, &format!("live/{name}")));
    let unknown = [1, 2, 3, 4].map(|number| {
        let player = net.player(edge, &format!("live/none{number}"));
        net.run(Duration::from_millis(200));
        player
    });
    let is_told = |net: &Net, player: u64| net.heard(player).has("StreamNotFound");
    assert_eq!(unknown.map(|player| is_told(&net, player)), [true, true, false, false], "the oldest make room");
    net.run(2 * SECOND);
    assert_eq!(net.uplinks(edge).len(), 2);
    let players = ["a", "b", "c"].map(|name| {
        let player = net.player(edge, &format!("live/{name}"));
        net.run(Duration::from_millis(200));
        for publisher in publishers {
            net.gop(publisher, 0, 1);
        }
        net.run(Duration::from_millis(200));
        player
    });
    assert_eq!(players.map(|player| !net.heard(player).media.is_empty()), [true, true, false]);
    assert!(is_told(&net, players[2]) && !is_told(&net, players[0]));
    assert!(net.remarks(edge).contains(&"not_begun".to_owned()));
    assert_eq!(net.states(edge).iter().filter(|state| **state == RelayState::Live).count(), 2);
}

#[test]
fn redirects_lead_to_configured_servers_only_and_not_for_ever() {
    for (to, live) in [("10.0.0.2", true), ("10.0.0.7", false), ("10.0.0.1", false)] {
        let mut net = Net::new();
        let asks = crate::conn::Asks { play: true, ..Default::default() };
        let guide = net.server(VhostConfig { asks, ..VhostConfig::default() });
        let origin = net.server(VhostConfig::default());
        net.servers[guide].verdict = Verdict::Redirect(format!("rtmp://{to}/live/cam"));
        let settings = Edge { stagger: 3600 * SECOND, ..edge_of(&["10.0.0.1", "10.0.0.2"]) };
        let settings =
            if live { settings } else { Edge { origins: vec!["10.0.0.1".parse().expect("one")], ..settings } };
        let edge = net.server(VhostConfig { edge: Some(settings), ..VhostConfig::default() });
        let publisher = net.publisher(origin, "live/cam");
        net.gop(publisher, 0, 1);
        let player = net.player(edge, "live/cam");
        net.run(2 * SECOND);
        assert_eq!(!net.heard(player).media.is_empty(), live, "{to}");
        if !live {
            let error = net.list(edge)[0].last_error.clone().expect("it failed");
            assert_eq!(error.name, "redirect", "{error:?}");
        }
        assert!(net.servers[guide].asked <= 20, "{}", net.servers[guide].asked);
    }
}

#[test]
fn nothing_is_pulled_for_a_player_without_rights() {
    let mut net = Net::new();
    net.server(VhostConfig::default());
    let asks = crate::conn::Asks { play: true, ..Default::default() };
    let edge = net.server(VhostConfig { asks, ..edge(&["10.0.0.1"]) });
    net.servers[edge].verdict = Verdict::Deny("no".to_owned());
    let player = net.player(edge, "live/cam");
    net.run(SECOND);
    assert!(net.heard(player).has("NetStream.Play.Failed"));
    assert!(net.list(edge).is_empty() && net.remarks(edge).is_empty());
}

#[test]
fn the_players_parameters_go_to_the_origin() {
    let mut net = Net::new();
    let asks = crate::conn::Asks { play: true, ..Default::default() };
    let origin = net.server(VhostConfig { asks, ..VhostConfig::default() });
    let edge = net.server(edge(&["10.0.0.1"]));
    net.player(edge, "live/cam?token=abcdef");
    net.run(SECOND);
    assert_eq!(net.servers[origin].asked, 1);
    assert_eq!(net.servers[origin].params, ["?token=abcdef"]);
    assert!(!format!("{:?}", net.list(edge)).contains("abcdef"));
}

#[test]
fn edges_of_each_other_do_not_pull_in_a_circle() {
    let mut net = Net::new();
    let one = net.server(edge(&["10.0.0.2"]));
    let other = net.server(edge(&["10.0.0.1"]));
    let player = net.player(one, "live/cam");
    net.run(12 * SECOND);
    assert!(net.heard(player).has("StreamNotFound"));
    net.run(30 * SECOND);
    for server in [one, other] {
        assert!(net.list(server).is_empty() && net.uplinks(server).is_empty(), "{:?}", net.list(server));
    }
}

#[test]
fn an_origin_that_drains_keeps_sending_until_another_one_does() {
    let mut net = Net::new();
    let (one, other) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.2"]));
    let (first, second) = (net.publisher(one, "live/cam"), net.publisher(other, "live/cam"));
    let player = net.player(edge, "live/cam");
    for at in 0..10 {
        net.gop(first, at * 1000, 1);
        net.gop(second, at * 1000, 2);
        if at == 4 {
            net.servers[one].core.drain();
            let deadline = net.now + 60 * SECOND;
            net.each_conn(one, |conn| conn.drain(deadline, None));
        }
        net.run(SECOND);
    }
    let heard = net.heard(player);
    assert!(!heard.has("ended") && heard.times().is_sorted(), "{:?}", heard.events);
    assert!(heard.counts(&peer::key_frame(2)) >= 4 && net.uplinks(edge).len() == 1);
}

#[test]
fn an_origin_that_falls_silent_is_left() {
    let mut net = Net::new();
    let (one, other) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.2"]));
    let (first, second) = (net.publisher(one, "live/cam"), net.publisher(other, "live/cam"));
    let player = net.player(edge, "live/cam");
    for at in 0..30 {
        if at < 4 {
            net.gop(first, at * 1000, 1);
        }
        net.gop(second, at * 1000, 2);
        net.run(SECOND);
    }
    assert!(net.heard(player).counts(&peer::key_frame(2)) >= 4);
    assert_eq!(net.reports[0].error.as_ref().expect("it failed").name, "silent");
}
