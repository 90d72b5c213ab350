//! What edges show origins of their clients, and what they remember of origins.

use super::*;
use crate::conn::Asks;
use crate::hub::Conflict;

const SECOND: Duration = Duration::from_secs(1);

fn edge_of(origins: &[&str]) -> Edge {
    Edge::of(origins.iter().map(|origin| origin.parse().expect("an origin")).collect())
}

fn edge(origins: &[&str]) -> VhostConfig {
    VhostConfig { edge: Some(edge_of(origins)), ..VhostConfig::default() }
}

/// An origin whose back end refuses what has the parameter `bad`, with a publisher of `live/cam`; and an edge of it.
fn strict_pair() -> (Net, usize, usize, u64) {
    let mut net = Net::new();
    let asks = Asks { play: true, ..Default::default() };
    let origin = net.server(VhostConfig { asks, ..VhostConfig::default() });
    net.servers[origin].wrong = Some("bad");
    let edge = net.server(edge(&["10.0.0.1"]));
    let publisher = net.publisher(origin, "live/cam");
    net.gop(publisher, 0, 1);
    (net, origin, edge, publisher)
}

#[test]
fn a_player_that_the_origin_refuses_is_told_alone_and_the_next_ones_parameters_are_tried() {
    let (mut net, origin, edge, _) = strict_pair();
    let bad = [1, 2, 3].map(|number| net.player(edge, &format!("live/cam?token=bad{}", number % 2)));
    let good = net.player(edge, "live/cam?token=good");
    net.run(SECOND);
    for player in bad {
        let heard = net.heard(player);
        assert!(heard.has("NetStream.Play.StreamNotFound") && heard.media.is_empty(), "{:?}", heard.events);
    }
    let heard = net.heard(good);
    assert!(!heard.has("rejected") && !heard.media.is_empty(), "{:?}", heard.events);
    assert_eq!(net.servers[origin].params, ["?token=bad1", "?token=bad0", "?token=good"], "each is tried once");
    assert_eq!(net.states(edge), [RelayState::Live]);
}

#[test]
fn a_refused_player_does_not_make_the_name_absent_for_others() {
    let (mut net, _, edge, _) = strict_pair();
    let bad = net.player(edge, "live/cam?token=bad");
    net.run(Duration::from_millis(100));
    assert!(net.heard(bad).has("StreamNotFound"), "{:?}", net.heard(bad).events);
    assert!(net.list(edge).is_empty());
    assert_eq!(net.remarks(edge), ["connecting", "failed", "ended"]);
    let good = net.player(edge, "live/cam?token=good");
    net.run(Duration::from_millis(100));
    assert!(!net.heard(good).media.is_empty(), "{:?}", net.heard(good).events);
}

#[test]
fn a_player_that_would_go_in_a_circle_is_refused_alone() {
    let (mut net, _, edge, _) = strict_pair();
    let mut config = ClientConfig::to(&Destination::parse("rtmp://10.0.0.2/live/cam").expect("a URL"));
    // One server more is too many.
    let servers = vec!["0123456789abcdef"; 16].join(",");
    config.properties.insert(crate::relay::relays::PATH_PROPERTY, servers);
    let far = net.client_with(edge, config, "cam", false);
    net.run(LATENCY * 3);
    let near = net.player(edge, "live/cam");
    net.run(SECOND);
    assert!(net.heard(far).has("StreamNotFound"), "{:?}", net.heard(far).events);
    assert!(!net.heard(near).media.is_empty(), "{:?}", net.heard(near).events);
}

/// A name with an address that does not answer, one of a server without the stream, and one of the server that has it.
fn by_name() -> (Net, usize, usize, u64) {
    let mut net = Net::new();
    let (empty, origin) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    net.hosts.insert(address("10.0.0.9:1935"), Host::BlackHole);
    let addresses = ["10.0.0.9:1", "10.0.0.1:1", "10.0.0.2:1"].map(address);
    net.names.insert("origins.internal".to_owned(), addresses.into());
    let edge = net.server(edge(&["rtmp://origins.internal:1935"]));
    let publisher = net.publisher(origin, "live/cam");
    net.gop(publisher, 0, 1);
    (net, empty, edge, publisher)
}

#[test]
fn each_address_of_a_name_is_an_origin() {
    let (mut net, _, edge, publisher) = by_name();
    let (player, from) = (net.player(edge, "live/cam"), net.now);
    net.stream(publisher, 1, 4);
    let first = net.heard(player).first.expect("media came") - from;
    assert!(first < Duration::from_millis(1600), "{first:?}");
    assert_eq!(net.uplinks(edge).len(), 1, "the others are given up");
    assert_eq!(net.list(edge).len(), 1, "it is one pull");
}

#[test]
fn a_name_is_looked_up_again_for_each_attempt() {
    let (mut net, empty, edge, publisher) = by_name();
    let player = net.player(edge, "live/cam");
    net.stream(publisher, 1, 3);
    // Another server takes over, and the name leads there.
    net.kill(1);
    net.names.insert("origins.internal".to_owned(), vec![address("10.0.0.1:1")]);
    let publisher = net.publisher(empty, "live/cam");
    net.stream(publisher, 0, 6);
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && heard.times().is_sorted(), "{:?}", heard.events);
    assert!(heard.counts(&peer::key_frame(5)) >= 1, "{:?}", heard.times());
}

#[test]
fn a_name_that_no_origin_has_is_not_tried_without_pauses() {
    let (mut net, _, edge, _) = by_name();
    net.player(edge, "live/none");
    net.run(9 * SECOND);
    assert!(net.list(edge)[0].attempts < 40, "{}", net.list(edge)[0].attempts);
}

#[test]
fn a_name_whose_addresses_are_all_dead_is_tried_again_after_a_pause() {
    let mut net = Net::new();
    let dead = (101..=116).map(|last| address(&format!("10.0.0.{last}:1")));
    net.names.insert("origins.internal".to_owned(), dead.collect());
    let edge = net.server(edge(&["rtmp://origins.internal:1935"]));
    net.player(edge, "live/cam");
    net.run(3 * SECOND);
    let attempts = net.list(edge)[0].attempts;
    assert!((2..6).contains(&attempts), "{attempts}");
}

#[test]
fn a_crowd_of_wrong_tokens_does_not_flood_the_origin() {
    let (mut net, origin, edge, _) = strict_pair();
    for number in 0..300 {
        net.player(edge, &format!("live/cam?token=bad{number}"));
    }
    net.run(20 * SECOND);
    let asked = net.servers[origin].asked;
    assert!((64..80).contains(&asked), "{asked}");
    assert!(net.list(edge).is_empty());
}

#[test]
fn players_that_have_a_stream_stay_when_the_token_it_was_pulled_with_expires() {
    let (mut net, origin, edge, publisher) = strict_pair();
    let (first, second) = (net.player(edge, "live/cam?token=old"), net.player(edge, "live/cam?token=new"));
    net.stream(publisher, 1, 2);
    net.kill(origin);
    net.run(SECOND);
    let asks = Asks { play: true, ..Default::default() };
    net.revive(origin, VhostConfig { asks, ..VhostConfig::default() });
    net.servers[origin].wrong = Some("old");
    let publisher = net.publisher(origin, "live/cam");
    net.stream(publisher, 0, 8);
    for player in [first, second] {
        let heard = net.heard(player);
        assert!(heard.closed.is_none() && !heard.has("rejected") && heard.times().len() > 12, "{:?}", heard.events);
    }
}

#[test]
fn an_origin_that_refuses_the_only_player_of_a_stream_that_was_live_is_asked_again_with_pauses() {
    let (mut net, origin, edge, publisher) = strict_pair();
    let player = net.player(edge, "live/cam?token=old");
    net.stream(publisher, 1, 2);
    net.kill(origin);
    net.run(SECOND);
    let asks = Asks { play: true, ..Default::default() };
    net.revive(origin, VhostConfig { asks, ..VhostConfig::default() });
    net.servers[origin].wrong = Some("old");
    let before = net.servers[origin].asked;
    net.run(20 * SECOND);
    let asked = net.servers[origin].asked - before;
    assert!((3..20).contains(&asked), "{asked}");
    assert!(net.heard(player).closed.is_none());
    assert!(net.list(edge)[0].failures >= 3, "{:?}", net.list(edge));
}

/// The server grants nothing new, and asks its clients to leave.
fn drain(net: &mut Net, server: usize) {
    net.servers[server].core.drain();
    let deadline = net.now + 60 * SECOND;
    net.each_conn(server, |conn| conn.drain(deadline, None));
}

#[test]
fn an_origin_that_drains_and_is_the_only_one_sends_to_its_end_and_is_asked_again_with_pauses() {
    let (mut net, origin, edge, publisher) = strict_pair();
    let player = net.player(edge, "live/cam");
    net.stream(publisher, 1, 2);
    drain(&mut net, origin);
    net.remarks(edge);
    for at in 3..58 {
        net.gop(publisher, at * 1000, 9);
        net.run(SECOND);
    }
    let failed = net.remarks(edge).iter().filter(|remark| *remark == "failed").count();
    assert!((2..30).contains(&failed), "{failed}");
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && heard.counts(&peer::key_frame(9)) == 55, "{:?}", heard.events);
    // The time to drain is over: the players of the edge stay, and wait for an origin.
    net.run(10 * SECOND);
    assert_ne!(net.states(edge), [RelayState::Live]);
    assert!(net.heard(player).closed.is_none());
}

#[test]
fn players_of_the_origin_itself_leave_it_at_the_end_of_their_gop_and_edges_when_the_drain_is_over() {
    let (mut net, origin, edge, publisher) = strict_pair();
    let (far, near) = (net.player(edge, "live/cam"), net.player(origin, "live/cam"));
    net.stream(publisher, 1, 2);
    drain(&mut net, origin);
    net.stream(publisher, 3, 57);
    let near = net.heard(near);
    assert!(near.has("ended") && near.counts(&peer::key_frame(4)) == 0, "at the end of its GOP: {:?}", near.events);
    assert_eq!(net.heard(far).counts(&peer::key_frame(57)), 1);
    net.run(5 * SECOND);
    assert_ne!(net.states(edge), [RelayState::Live], "the time to drain is over");
}

#[test]
fn an_edge_leaves_an_origin_that_drains_as_soon_as_another_one_has_the_stream() {
    let mut net = Net::new();
    let (one, other) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.2"]));
    let first = net.publisher(one, "live/cam");
    net.gop(first, 0, 1);
    let player = net.player(edge, "live/cam");
    net.stream(first, 1, 2);
    drain(&mut net, one);
    net.stream(first, 3, 5);
    // The encoder's second connection, to the other origin.
    let second = net.publisher(other, "live/cam");
    for at in 8..14 {
        net.gop(first, at * 1000, 1);
        net.gop(second, at * 1000, 2);
        net.run(SECOND);
    }
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && !heard.has("ended") && heard.times().is_sorted(), "{:?}", heard.events);
    assert_eq!((3..8).filter(|number| heard.counts(&peer::key_frame(*number)) == 1).count(), 5, "nothing is lost");
    assert!(heard.counts(&peer::key_frame(2)) >= 5, "{:?}", heard.times());
    let uplinks = net.uplinks(edge);
    assert!(uplinks.len() == 1 && uplinks[0].peer() == net.address_of(other), "the draining one is left");
}

#[test]
fn an_edge_of_an_origin_that_drains_no_more_has_one_connection_to_it_and_misses_nothing() {
    let (mut net, origin, edge, publisher) = strict_pair();
    let player = net.player(edge, "live/cam");
    net.stream(publisher, 1, 2);
    drain(&mut net, origin);
    net.stream(publisher, 3, 5);
    net.servers[origin].core.stop_draining();
    net.each_conn(origin, Conn::stop_draining);
    net.stream(publisher, 8, 90);
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && heard.times().is_sorted(), "{:?}", heard.events);
    let missed = (3..98).filter(|number| heard.counts(&peer::key_frame(*number)) == 0).count();
    assert_eq!((missed, net.uplinks(edge).len(), net.states(edge)), (0, 1, vec![RelayState::Live]));
}

#[test]
fn an_origin_that_was_dead_a_moment_ago_is_tried_after_the_others() {
    for host in [Some(Host::BlackHole), Some(Host::Mute), None] {
        let mut net = Net::new();
        let origin = net.server(VhostConfig::default());
        let edge = net.server(edge(&["10.0.0.9", "10.0.0.1"]));
        if let Some(host) = host {
            net.hosts.insert(address("10.0.0.9:1935"), host);
        }
        for name in ["a", "b"] {
            let publisher = net.publisher(origin, &format!("live/{name}"));
            net.gop(publisher, 0, 1);
        }
        net.player(edge, "live/a");
        net.run(SECOND);
        let (next, from) = (net.player(edge, "live/b"), net.now);
        net.run(SECOND);
        let first = net.heard(next).first.expect("media came") - from;
        assert!(first < Duration::from_millis(50), "{first:?}");
        assert_eq!(net.list(edge)[1].attempts, 1);
        // It is forgotten: the origin may be back.
        net.run(10 * SECOND);
        let publisher = net.publisher(origin, "live/c");
        net.gop(publisher, 0, 1);
        net.player(edge, "live/c");
        net.run(SECOND);
        assert_eq!(net.list(edge).last().expect("it is there").attempts, 2);
    }
}

#[test]
fn two_clients_that_want_to_publish_one_free_name_both_get_an_answer() {
    for parameters in [["", ""], ["?token=a", "?token=b"]] {
        let mut net = Net::new();
        net.server(VhostConfig::default());
        let edge = net.server(edge(&["10.0.0.1"]));
        let clients = parameters.map(|parameters| net.client(edge, &format!("live/cam{parameters}"), true));
        net.run(SECOND);
        let heard = clients.map(|client| net.heard(client));
        let granted = heard.iter().filter(|heard| heard.has("publishing")).count();
        let refused = heard.iter().filter(|heard| heard.has("BadName")).count();
        assert_eq!((granted, refused), (1, 1), "{heard:?}");
        assert_eq!(net.states(edge), [RelayState::Live]);
    }
}

#[test]
fn publishers_with_one_token_that_take_over_from_each_other_keep_the_stream_at_the_origin() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(VhostConfig { conflict: Conflict::TakeOver, ..edge(&["10.0.0.1"]) });
    let player = net.player(origin, "live/cam");
    let mut last = None;
    for round in 0..6 {
        let publisher = net.publisher(edge, "live/cam?token=abcdef");
        net.stream(publisher, 0, 1);
        // Some that have lost the name send on, others leave, others are silent.
        match (round % 3, last) {
            (0, Some(last)) => net.gop(last, 5000, 9),
            (1, Some(last)) => net.leave(last),
            _ => {}
        }
        net.stream(publisher, 1, 1);
        assert_eq!((net.states(edge), net.uplinks(edge).len()), (vec![RelayState::Live], 1), "round {round}");
        last = Some(publisher);
    }
    assert_eq!(net.heard(player).times().len(), 36);
}

#[test]
fn the_next_of_two_publishers_goes_on_when_the_first_leaves_before_the_answer() {
    let mut net = Net::new();
    net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1"]));
    let (first, second) = (net.client(edge, "live/cam", true), net.client(edge, "live/cam", true));
    net.run(LATENCY * 9);
    net.leave(first);
    net.run(SECOND);
    assert!(net.heard(second).has("publishing"), "{:?}", net.heard(second).events);
    assert_eq!(net.states(edge), [RelayState::Live]);
}

#[test]
fn a_takeover_that_the_origin_refuses_leaves_the_first_publisher_as_it_is() {
    let mut net = Net::new();
    let asks = Asks { publish: true, ..Default::default() };
    let origin = net.server(VhostConfig { asks, conflict: Conflict::TakeOver, ..VhostConfig::default() });
    net.servers[origin].wrong = Some("bad");
    let edge = net.server(VhostConfig { conflict: Conflict::TakeOver, ..edge(&["10.0.0.1"]) });
    let first = net.publisher(edge, "live/cam?token=abcdef");
    let player = net.player(origin, "live/cam");
    net.stream(first, 0, 2);
    let second = net.client(edge, "live/cam?token=abcdef&x=bad", true);
    net.stream(first, 2, 2);
    assert!(net.heard(second).has("wrong token"), "{:?}", net.heard(second).events);
    assert!(net.heard(first).closed.is_none());
    assert_eq!((net.states(edge), net.uplinks(edge).len()), (vec![RelayState::Live], 1));
    assert_eq!(net.heard(player).times().len(), 12, "nothing is missing at the origin");
    // One that it grants takes over there and here.
    let third = net.publisher(edge, "live/cam?token=abcdef&x=good");
    net.stream(third, 0, 2);
    assert!(net.heard(third).has("publishing"), "{:?}", net.heard(third).events);
    assert_eq!((net.states(edge), net.uplinks(edge).len()), (vec![RelayState::Live], 1));
    // What the new connection begins with may be there already.
    let times = net.heard(player).times();
    assert!(times.is_sorted() && (18..=21).contains(&times.len()), "{times:?}");
}

#[test]
fn an_origin_that_refuses_the_connection_is_followed_by_the_next() {
    let mut net = Net::new();
    let asks = Asks { connect: true, ..Default::default() };
    let first = net.server(VhostConfig { asks, ..VhostConfig::default() });
    net.servers[first].verdict = Verdict::Deny("not here".to_owned());
    net.server(VhostConfig::default());
    let edge_at = net.server(edge(&["10.0.0.1", "10.0.0.2"]));
    let publisher = net.publisher(edge_at, "live/cam");
    assert!(net.heard(publisher).has("publishing"), "{:?}", net.heard(publisher).events);
    // With no other one, its words go to the client, and at once.
    let lone = net.server(edge(&["10.0.0.1", "10.0.0.9"]));
    let refused = net.client(lone, "live/cam", true);
    net.run(SECOND);
    assert!(net.heard(refused).has("not here"), "{:?}", net.heard(refused).events);
    assert!(net.list(lone).is_empty());
}

#[test]
fn an_encoder_is_not_kept_for_ever_by_an_origin_that_sent_it_away() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.9"]));
    let publisher = net.publisher(edge, "live/cam");
    net.stream(publisher, 0, 2);
    let deadline = net.now + 60 * SECOND;
    net.each_conn(origin, |conn| conn.drain(deadline, Some("rtmp://10.0.0.9/live")));
    net.run(Duration::from_millis(2));
    net.hosts.remove(&net.address_of(origin));
    net.stream(publisher, 2, 28);
    assert!(net.heard(publisher).closed.is_none());
    net.run(6 * SECOND);
    assert_eq!(net.servers[edge].ended, [CloseReason::OriginLost]);
}

#[test]
fn a_server_that_ends_refuses_publishers_of_an_edge_at_once() {
    let mut net = Net::new();
    let edge = net.server(edge(&["10.0.0.9"]));
    net.hosts.insert(address("10.0.0.9:1935"), Host::Mute);
    net.servers[edge].core.relays().close(net.now);
    let client = net.client(edge, "live/cam", true);
    net.run(Duration::from_millis(100));
    assert!(net.heard(client).has("NetStream.Publish.Denied"), "{:?}", net.heard(client).events);
}

#[test]
fn a_pull_that_one_connection_still_serves_is_not_over_when_another_one_fails() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.9"]));
    let publisher = net.publisher(origin, "live/cam");
    net.player(edge, "live/cam");
    net.stream(publisher, 0, 2);
    let deadline = net.now + 60 * SECOND;
    net.servers[origin].core.drain();
    net.each_conn(origin, |conn| conn.drain(deadline, None));
    net.run(SECOND / 2);
    let failed = net.servers[edge].remarks.iter().filter_map(|remark| match &remark.event {
        RelayEvent::Failed { was_live, .. } => Some(*was_live),
        _ => None,
    });
    let failed: Vec<bool> = failed.collect();
    assert!(!failed.is_empty() && !failed.contains(&true), "{failed:?}");
    assert_eq!(net.states(edge), [RelayState::Live]);
    net.kill(origin);
    net.run(SECOND);
    let ends = |remark: &Remark| matches!(remark.event, RelayEvent::Failed { was_live: true, .. });
    assert!(net.servers[edge].remarks.iter().any(ends));
    assert_ne!(net.states(edge), [RelayState::Live]);
}
