//! Several servers: edges, origins and pushes between them.

use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_core::relay::Edge;
use anabranch_tests::sim::cluster::{ClusterScene, ClusterSim, Rules, Tree, encoder};

const SECOND: Duration = Duration::from_secs(1);

fn edge_of(origins: &[usize]) -> VhostConfig {
    let origins = origins.iter().map(|node| ClusterSim::address(*node).to_string().parse().expect("an origin"));
    VhostConfig { edge: Some(Edge::of(origins.collect())), ..VhostConfig::default() }
}

#[test]
fn five_thousand_players_of_a_cold_name_cause_one_pull() {
    let mut net = ClusterSim::new(1, vec![VhostConfig::default(), edge_of(&[0])], Rules::default());
    net.publish(0, "live/cam", encoder(), &[]);
    net.run_for(SECOND);
    let mut players = Vec::new();
    for _ in 0..100 {
        players.extend((0..50).map(|_| net.play(1, "live/cam", &[])));
        net.run_for(Duration::from_millis(1));
    }
    net.run_for(3 * SECOND);
    assert_eq!((net.uplinks(1), net.opened_uplinks()), ((1, 1), 1));
    assert!(players.iter().all(|player| net.frames(*player) > 15), "all of them got the stream");
    for player in net.present() {
        net.leave(player, true);
    }
    net.run_for(20 * SECOND);
    net.check_empty();
}

#[test]
fn equal_seeds_give_equal_runs_of_several_servers() {
    let play = |seed| ClusterScene::new(seed).play();
    for seed in 0..4 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
        assert_ne!(play(seed).digest, play(seed + 1).digest);
    }
}

/// Scenes in which no player gets anything prove nothing.
fn scenes(seeds: std::ops::Range<u64>) {
    let count = seeds.clone().count() as u64;
    let received: u64 = seeds.map(|seed| ClusterScene::new(seed).play().received).sum();
    assert!(received > count * 500, "{received} frames were received");
}

#[test]
fn the_first_five_hundred_scenes_of_several_servers_pass_all_checks() {
    scenes(0..500);
}

#[test]
fn the_second_five_hundred_scenes_of_several_servers_pass_all_checks() {
    scenes(500..1_000);
}

#[test]
fn an_inner_server_of_a_tree_sends_its_share_and_is_replaced_when_it_dies() {
    let figures = Tree::of(13, 60).measure();
    assert_eq!(figures.servers, 13);
    assert_eq!((figures.copies_of_origin, figures.copies_of_inner, figures.copies_of_leaf), (3, 3, 7));
    let [origin, inner, leaf] = figures.latency;
    let hop = Duration::from_millis(10);
    // A hop adds what the connection takes, and nothing that could be measured.
    assert_eq!((inner - origin, leaf - inner), (hop, hop));
    let most = figures.killed[1].max(figures.start);
    assert!(most < Duration::from_millis(600), "{figures:?}");
    assert!(figures.dark[1] < Duration::from_secs(16), "the silence of an origin is noticed: {figures:?}");
}
