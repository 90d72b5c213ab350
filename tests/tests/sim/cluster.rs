//! Several servers: edges, origins and pushes between them.

use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_core::relay::Edge;
use anabranch_tests::sim::cluster::{ClusterScene, ClusterSim, Rules, encoder};

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

#[test]
fn the_first_thousand_scenes_of_several_servers_pass_all_checks() {
    let mut received = 0;
    for seed in 0..1_000 {
        received += ClusterScene::new(seed).play().received;
    }
    assert!(received > 100_000, "{received} frames were received");
}
