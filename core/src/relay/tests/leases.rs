//! Names in the directory, and the pulls of names that it does not have.

use super::cluster::{CAM, SECOND};
use super::*;
use crate::cluster::ClusterConfig;
use crate::hub::Conflict;
use crate::location::OnLoss;

#[test]
fn names_that_no_server_has_take_no_room_of_the_others() {
    let mut net = Net::new();
    let [a] = net.members();
    let edge = Edge { pulls: 3, ..Edge::of(Vec::new()) };
    let b = net.member(VhostConfig { edge: Some(edge), ..VhostConfig::default() }, OnLoss::Serve);
    net.run(SECOND);
    let publishers = [CAM, "live/1", "live/2", "live/3"].map(|name| net.encoder(a, name).expect("the name is free"));
    let unknown: Vec<_> = (0..10)
        .map(|number| {
            let player = net.player(b, &format!("live/none{number}"));
            net.run(Duration::from_millis(100));
            player
        })
        .collect();
    let is_told = |net: &Net, player: u64| net.heard(player).has("NetStream.Play.StreamNotFound");
    let told: Vec<_> = unknown.iter().map(|player| is_told(&net, *player)).collect();
    assert_eq!(told, [[true; 7].as_slice(), &[false; 3]].concat(), "the oldest make room");
    let players = [CAM, "live/1", "live/2", "live/3"].map(|name| {
        let player = net.player(b, name);
        net.run(Duration::from_millis(100));
        player
    });
    for publisher in publishers {
        net.gop(publisher, 0, 1);
    }
    net.run(SECOND);
    let comes = players.map(|player| net.heard(player).first.is_some());
    assert_eq!(comes, [true, true, true, false], "as many as there may be");
    assert!(is_told(&net, players[3]));
}

#[test]
fn a_pull_whose_origins_a_reload_removes_is_followed_in_the_directory() {
    let mut net = Net::new();
    let [a] = net.members();
    let origin = format!("rtmp://{}", net.address_of(a)).parse().expect("an origin");
    let edge = Some(Edge::of(vec![origin]));
    let b = net.member(VhostConfig { edge, ..VhostConfig::default() }, OnLoss::Serve);
    net.run(SECOND);
    let publisher = net.encoder(a, CAM).expect("the name is free");
    let player = net.player(b, CAM);
    net.stream(publisher, 0, 3);
    assert!(net.cluster(b).places.is_empty());
    let core = net.servers[b].core.clone();
    core.reconfigure(Config { cluster: Some(ClusterConfig::default()), ..Config::default() });
    net.stream(publisher, 3, 2);
    assert_eq!(net.cluster(b).places.len(), 1);
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && heard.times().is_sorted(), "{:?}", heard.events);
}

#[test]
fn a_stream_whose_owner_has_lost_its_name_is_followed_also_if_the_notice_is_lost() {
    let mut net = Net::new();
    let [a, b, c] = net.members();
    let first = net.encoder(a, CAM).expect("the name is free");
    let player = net.player(b, CAM);
    net.stream(first, 0, 2);
    // The owner goes on without the directory, and the other server misses that another one has got the name.
    net.cut(a, true);
    net.stream(first, 2, 12);
    net.cut(b, true);
    let second = net.encoder(c, CAM).expect("the name is free after its time to live");
    net.cut(b, false);
    for at in 0..14 {
        net.gop(first, 14_000 + at * 1000, 1);
        net.gop(second, at * 1000, 2);
        net.run(SECOND);
    }
    let heard = net.heard(player);
    assert!(heard.closed.is_none() && heard.times().is_sorted(), "{:?}", heard.events);
    assert!(heard.counts(&peer::key_frame(2)) >= 2, "{:?}", heard.times());
}

/// It is closed, so that it knows, and is then what any second encoder of a name is.
#[test]
fn an_encoder_that_has_lost_its_name_connects_again_and_is_the_next_one_on_air() {
    for conflict in [Conflict::Reject, Conflict::Backup] {
        let mut net = Net::new();
        let config = || VhostConfig { conflict, ..VhostConfig::default() };
        let [a, b] = [(); 2].map(|()| net.member(config(), OnLoss::Serve));
        net.run(SECOND);
        let first = net.encoder(a, CAM).expect("the name is free");
        let player = net.player(a, CAM);
        net.stream(first, 0, 2);
        net.cut(a, true);
        net.stream(first, 2, 15);
        let second = net.encoder(b, CAM).expect("the name is free after its time to live");
        net.cut(a, false);
        net.stream(second, 0, 12);
        assert_eq!(net.servers[a].ended, [CloseReason::LeaseLost], "{conflict:?}");
        let again = net.publisher(a, CAM);
        for at in 12..20 {
            net.gop(second, at * 1000, 102);
            net.gop(again, at * 1000, 103);
            net.run(SECOND);
        }
        let heard = net.heard(again);
        let stands_by = conflict == Conflict::Backup;
        let is_refused = heard.has("NetStream.Publish.BadName");
        assert_eq!((heard.has("publishing"), is_refused), (stands_by, !stands_by), "{:?}", heard.events);
        assert_eq!(net.heard(player).counts(&peer::key_frame(103)), 0, "the other one is on air");
        net.leave(second);
        net.run(SECOND / 2);
        let next = if stands_by { again } else { net.encoder(a, CAM).expect("the name is free again") };
        for at in 20..26 {
            net.gop(next, at * 1000, 103);
            net.run(SECOND);
        }
        let heard = net.heard(player);
        assert!(heard.closed.is_none() && heard.times().is_sorted(), "{:?}", heard.events);
        assert!(heard.counts(&peer::key_frame(103)) >= 4, "{conflict:?}: {:?}", heard.times());
    }
}

#[test]
fn what_a_player_says_about_its_way_decides_nothing_for_the_others_of_its_server() {
    let mut net = Net::new();
    let [a, b] = net.members();
    let mut config = ClientConfig::to(&Destination::parse("rtmp://10.0.0.2/live/cam").expect("a URL"));
    // One server more is too many.
    let servers = vec!["0123456789abcdef"; 16].join(",");
    config.properties.insert(crate::relay::relays::PATH_PROPERTY, servers);
    let far = net.client_with(b, config, "cam", false);
    net.run(SECOND);
    let near = net.player(b, CAM);
    let publisher = net.encoder(a, CAM).expect("the name is free");
    net.stream(publisher, 0, 3);
    for player in [far, near] {
        let heard = net.heard(player);
        assert!(!heard.has("rejected") && !heard.media.is_empty(), "{:?}", heard.events);
    }
}

#[test]
fn an_edge_without_origins_sets_how_a_server_of_a_cluster_pulls() {
    let mut net = Net::new();
    let [a] = net.members();
    let edge = Edge { wait: SECOND, ..Edge::of(Vec::new()) };
    let b = net.member(VhostConfig { edge: Some(edge), ..VhostConfig::default() }, OnLoss::Serve);
    net.run(SECOND);
    let publisher = net.encoder(b, CAM).expect("the name is free");
    let (there, absent) = (net.player(a, CAM), net.player(b, "live/none"));
    net.stream(publisher, 0, 2);
    assert!(!net.heard(there).media.is_empty(), "what is published here stays here");
    assert!(net.heard(absent).has("NetStream.Play.StreamNotFound"), "{:?}", net.heard(absent).events);
}

#[test]
fn an_edge_without_origins_does_nothing_at_a_server_that_is_alone() {
    let mut net = Net::new();
    let alone = net.server(VhostConfig { edge: Some(Edge::of(Vec::new())), ..VhostConfig::default() });
    let publisher = net.publisher(alone, CAM);
    let (player, early) = (net.player(alone, CAM), net.player(alone, "live/none"));
    net.stream(publisher, 0, 12);
    assert!(!net.heard(player).media.is_empty());
    assert!(!net.heard(early).has("rejected"), "it waits for its publisher as at any server");
    assert!(net.list(alone).is_empty() && net.remarks(alone).is_empty());
}
