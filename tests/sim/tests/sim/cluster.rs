//! Several servers: edges, origins and pushes between them.

use std::time::Duration;

use anabranch_core::conn::{Fallback, VhostConfig};
use anabranch_core::hub::{BackupRules, Conflict};
use anabranch_core::location::{LocationConfig, OnLoss};
use anabranch_core::relay::Edge;
use anabranch_sim::cluster::{ClusterScene, ClusterSim, DirectoryFigures, Rules, Tree, encoder};

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
    let (mut received, mut switches, mut redirects) = (0, 0, 0);
    for seed in seeds {
        let outcome = ClusterScene::new(seed).play();
        received += outcome.received;
        switches += outcome.switches;
        redirects += outcome.redirects;
    }
    assert!(received > count * 500, "{received} frames were received");
    assert!(switches > count && redirects > count / 5, "{switches} switches, {redirects} redirects");
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
    let directory = DirectoryFigures::measure(5);
    assert_eq!(directory.copies_of_owner, 4, "each server pulls once");
    assert!(directory.at_start < 12 && directory.per_second < 3.0, "nothing is asked for each frame: {directory:?}");
    assert!(figures.dark[1] < Duration::from_secs(16), "the silence of an origin is noticed: {figures:?}");
}

fn cluster(servers: usize, on_loss: OnLoss) -> ClusterSim {
    cluster_of(1, servers, on_loss)
}

fn cluster_of(seed: u64, servers: usize, on_loss: OnLoss) -> ClusterSim {
    let location = LocationConfig { on_loss, ..LocationConfig::new("".into()) };
    let rules = Rules { one_owner: on_loss == OnLoss::Strict, is_direct: true, ..Rules::default() };
    ClusterSim::with_directory(seed, vec![VhostConfig::default(); servers], rules, Some(location))
}

#[test]
fn players_lose_nothing_while_the_directory_does_not_answer() {
    for on_loss in [OnLoss::Serve, OnLoss::Refuse] {
        let mut net = cluster(3, on_loss);
        net.run_for(SECOND);
        net.publish(0, "live/cam", encoder(), &[]);
        net.run_for(SECOND);
        let players = [0, 1, 2].map(|server| net.play(server, "live/cam", &[]));
        net.run_for(3 * SECOND);
        net.stop_directory(true);
        net.run_for(30 * SECOND);
        net.stop_directory(false);
        net.run_for(10 * SECOND);
        net.check_one_owner();
        // What is missing would have been reported at once.
        for player in players {
            assert!(net.frames(player) > 43 * 8 && net.connections(player) == 1, "{}", net.frames(player));
        }
        assert_eq!(net.opened_uplinks(), 2);
    }
}

#[test]
fn an_encoder_publishes_at_another_server_when_the_lease_of_a_dead_one_has_ended() {
    for (gone, slack) in [(ClusterSim::kill_node as fn(&mut ClusterSim, usize), 0), (ClusterSim::darken_node, 3)] {
        let mut net = cluster(3, OnLoss::Strict);
        net.run_for(SECOND);
        net.publish(0, "live/cam", encoder(), &[]);
        let player = net.play(2, "live/cam", &[]);
        net.run_for(5 * SECOND);
        gone(&mut net, 0);
        let encoder = net.publish(1, "live/cam", encoder(), &[]);
        let from = net.elapsed();
        net.run_until(30 * SECOND, |net| net.is_granted(encoder));
        let (after, frames) = (net.elapsed() - from, net.frames(player));
        assert!((7 * SECOND..12 * SECOND).contains(&after), "the time to live is 10 s: {after:?}");
        net.run_for((2 + slack) * SECOND);
        assert!(net.frames(player) > frames, "the player follows");
        assert_eq!(net.connections(player), 1);
    }
}

#[test]
fn one_of_two_encoders_gets_a_name_and_the_other_gets_it_afterwards() {
    let mut net = cluster(2, OnLoss::Serve);
    net.run_for(SECOND);
    for _ in 0..100 {
        let encoders = [0, 1].map(|server| net.publish(server, "live/cam", encoder(), &[]));
        net.run_for(Duration::from_millis(300));
        let granted = encoders.map(|encoder| net.is_granted(encoder));
        assert!(granted[0] != granted[1], "{granted:?}");
        let (winner, loser) = if granted[0] { (encoders[0], encoders[1]) } else { (encoders[1], encoders[0]) };
        net.leave(winner, true);
        net.run_until(3 * SECOND, |net| net.is_granted(loser));
        net.leave(loser, true);
        net.run_for(SECOND);
    }
}

#[test]
fn no_stream_is_taken_from_its_server_when_the_directory_loses_its_data() {
    let mut net = cluster(3, OnLoss::Refuse);
    net.run_for(SECOND);
    let names: Vec<_> = (0..20).map(|number| format!("live/{number}")).collect();
    let owners: Vec<_> = names.iter().map(|name| net.publish(0, name, encoder(), &[])).collect();
    net.run_for(20 * SECOND);
    net.flush_directory();
    let others: Vec<_> = names.iter().map(|name| net.publish(1, name, encoder(), &[])).collect();
    net.run_for(25 * SECOND);
    assert!(owners.iter().all(|owner| net.is_granted(*owner) && net.connections(*owner) == 1), "none was closed");
    assert!(others.iter().all(|other| !net.is_granted(*other) && net.connections(*other) > 5), "they try again");
}

#[test]
fn servers_that_restart_one_after_another_lose_no_stream_for_two_seconds() {
    (1..4).for_each(rolling_restart);
}

/// Three servers of a cluster with six streams, whose encoders go where they are told to.
fn rolling_restart(seed: u64) {
    let mut net = cluster_of(seed, 3, OnLoss::Serve);
    net.run_for(SECOND);
    let servers = [0, 1, 2];
    let names: Vec<_> = (0..6).map(|number| format!("live/{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        net.publish(number % 3, name, encoder(), &servers);
    }
    net.run_for(3 * SECOND);
    for restarting in servers {
        let other = (restarting + 1) % 3;
        let players: Vec<_> = names.iter().map(|name| net.play(other, name, &[])).collect();
        net.run_for(3 * SECOND);
        net.measure();
        net.drain_node(restarting, 5 * SECOND);
        net.run_for(6 * SECOND);
        net.start_node(restarting);
        net.run_for(2 * SECOND);
        for player in &players {
            let gap = net.longest_gap(*player);
            assert!(gap < 2 * SECOND && net.connections(*player) == 1, "server {restarting}: {gap:?}");
            net.leave(*player, true);
        }
    }
}

/// A server, and an edge of it, with settings for backups.
fn with_backups(seed: u64, returns: bool, fallback: Option<&str>) -> ClusterSim {
    let backup = BackupRules { returns, ..BackupRules::default() };
    let fallback = fallback.map(|name| Fallback::Stream(name.into()));
    let server = VhostConfig { conflict: Conflict::Backup, backup, fallback, ..VhostConfig::default() };
    ClusterSim::new(seed, vec![server, edge_of(&[0])], Rules { backup: Some(backup), ..Rules::default() })
}

#[test]
fn players_here_and_at_an_edge_see_the_backup_while_the_first_encoder_fails() {
    for (seed, is_dark) in (0..8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let returns = seed % 2 == 0;
        let mut net = with_backups(seed, returns, None);
        let first = net.publish(0, "live/cam", encoder(), &[]);
        net.run_for(SECOND);
        let second = net.publish(0, "live/cam", encoder(), &[]);
        let players = [0, 1].map(|server| net.play(server, "live/cam", &[]));
        net.run_for(5 * SECOND);
        net.measure();
        net.freeze(first, 4 * SECOND, is_dark);
        net.run_for(15 * SECOND);
        net.break_connection(if returns { first } else { second });
        net.run_for(5 * SECOND);
        net.check_on_air();
        let seen = if returns { vec![first, second, first, second] } else { vec![first, second, first] };
        for player in players {
            let gap = net.longest_gap(player);
            assert!(gap < Duration::from_millis(3_500), "seed {seed}, dark {is_dark}: {gap:?}");
            // An encoder that returns at once is the first one again, and goes on air after a while.
            assert!(net.order(player).starts_with(&seen), "seed {seed}: {:?}, not {seen:?}", net.order(player));
            assert_eq!(net.connections(player), 1);
        }
    }
}

#[test]
fn a_stream_whose_publishers_are_disconnected_goes_on_with_its_fallback_until_they_are_back() {
    let mut net = with_backups(3, false, Some("live/hold"));
    let hold = net.publish(0, "live/hold", encoder(), &[]);
    net.run_for(SECOND);
    let player = net.play(0, "live/cam", &[]);
    net.run_for(3 * SECOND);
    assert_eq!(net.order(player), [hold]);
    let encoder = net.publish(0, "live/cam", encoder(), &[]);
    net.run_for(5 * SECOND);
    net.measure();
    net.kick("live/cam");
    net.run_for(5 * SECOND);
    net.leave(encoder, true);
    net.run_for(3 * SECOND);
    assert_eq!(net.order(player), [hold, encoder, hold, encoder, hold]);
    assert!(net.longest_gap(player) < 2 * SECOND && net.connections(player) == 1);
    for client in net.present() {
        net.leave(client, true);
    }
    net.run_for(15 * SECOND);
    net.check_empty();
}

#[test]
fn a_player_that_follows_redirects_plays_at_the_server_that_has_the_stream() {
    for seed in 0..5 {
        let location = LocationConfig::new("".into());
        let rules = Rules { redirect: true, is_direct: true, ..Rules::default() };
        let mut net = ClusterSim::with_directory(seed, vec![VhostConfig::default(); 3], rules, Some(location));
        net.run_for(SECOND);
        let encoder = net.publish(2, "live/cam", encoder(), &[0, 1, 2]);
        net.run_for(SECOND);
        let (edge, other) = (net.play_as_edge(0, "live/cam", &[0, 1, 2]), net.play(1, "live/cam", &[]));
        net.run_for(2 * SECOND);
        assert_eq!((net.node_of(edge), net.node_of(other), net.redirects()), (2, 1, 1));
        assert!(net.frames(edge) > 8 && net.frames(other) > 8 && net.connections(edge) == 2);
        net.drain_node(2, 5 * SECOND);
        net.run_for(15 * SECOND);
        assert_ne!(net.node_of(encoder), 2);
        assert_eq!(net.node_of(edge), net.node_of(encoder), "it is sent to the server that has the stream now");
        let frames = net.frames(edge);
        net.run_for(2 * SECOND);
        assert!(net.frames(edge) > frames + 10);
    }
}

#[test]
fn a_wrong_clock_ends_no_pull_but_none_begins_until_it_is_right() {
    let mut net = cluster(2, OnLoss::Serve);
    net.run_for(SECOND);
    net.publish(0, "live/cam", encoder(), &[]);
    let player = net.play(1, "live/cam", &[]);
    net.run_for(2 * SECOND);
    net.set_skew(1, 40);
    let frames = net.frames(player);
    net.run_for(10 * SECOND);
    assert!(net.frames(player) > frames + 80, "{}", net.frames(player) - frames);
    // A client that publishes here what is pulled ends the pull, and the next one begins when that has left.
    net.stop_directory(true);
    let other = net.publish(1, "live/cam", encoder(), &[]);
    net.run_until(5 * SECOND, |net| net.is_granted(other));
    net.run_for(2 * SECOND);
    net.leave(other, true);
    net.stop_directory(false);
    net.run_for(SECOND);
    let frames = net.frames(player);
    net.run_for(5 * SECOND);
    assert_eq!(net.frames(player), frames, "each attempt is refused");
    assert!(net.remarks("relay_not_trusted") > 0, "and the server says so");
    net.set_skew(1, 25);
    net.run_for(5 * SECOND);
    assert!(net.frames(player) > frames, "25 s are near enough");
    assert_eq!(net.connections(player), 1);
}
