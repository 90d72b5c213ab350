//! A cluster whose servers send a stream to a few others each.

use super::cluster::{CAM, SECOND};
use super::*;
use crate::cluster::ClusterConfig;
use crate::location::OnLoss;

/// Servers of a cluster, the owner first, with a player of the stream at each of the others.
struct Tree {
    net: Net,
    servers: Vec<usize>,
    publisher: u64,
    players: Vec<u64>,
    /// The time of the next picture, in seconds.
    time: u32,
    cluster: ClusterConfig,
}

impl Tree {
    fn new(servers: usize, children: usize, depth: u8) -> Self {
        let mut net = Net::new();
        let cluster = ClusterConfig { children, depth, ..ClusterConfig::default() };
        let member = |net: &mut Net| net.member_in(VhostConfig::default().into(), OnLoss::Serve, &cluster);
        let servers: Vec<usize> = (0..servers).map(|_| member(&mut net)).collect();
        net.run(SECOND);
        let publisher = net.encoder(servers[0], CAM).expect("the name is free");
        net.stream(publisher, 1, 1);
        let mut players = Vec::new();
        for server in &servers[1..] {
            players.push(net.player(*server, CAM));
            net.run(Duration::from_millis(30));
        }
        let mut tree = Tree { net, servers, publisher, players, time: 2, cluster };
        tree.stream(2);
        tree
    }

    fn stream(&mut self, seconds: u32) {
        self.net.stream(self.publisher, self.time, seconds);
        self.time += seconds;
    }

    /// To how many servers each one sends the stream.
    fn copies(&self) -> Vec<usize> {
        let of = |server: &usize| self.net.cluster(*server).children.iter().map(|(_, nodes)| nodes.len()).sum();
        self.servers.iter().map(of).collect()
    }

    /// Over how many connections the stream comes to each server but the owner.
    fn hops(&self) -> Vec<u8> {
        let of = |server: &usize| self.net.list(*server).iter().filter_map(|pull| pull.hop).max().unwrap_or(0);
        self.servers[1..].iter().map(of).collect()
    }

    /// The ids of the servers from which each server but the owner gets the stream.
    fn parents(&self) -> Vec<String> {
        let of = |server: &usize| {
            let pulls = self.net.list(*server);
            pulls.first().and_then(|pull| pull.parent.as_deref()).unwrap_or_default().to_owned()
        };
        self.servers[1..].iter().map(of).collect()
    }

    fn child_of(&self, server: usize) -> Vec<usize> {
        let node = self.net.address_of(server).to_string();
        let is_child = |(_, parent): &(usize, String)| *parent == node;
        self.parents().into_iter().enumerate().filter(is_child).map(|(at, _)| self.servers[at + 1]).collect()
    }

    /// No player has lost its connection, and its times rise.
    fn all_play(&self, players: &[u64]) {
        for player in players {
            let heard = self.net.heard(*player);
            assert!(heard.closed.is_none() && !heard.has("ended"), "{:?}", heard.events);
            assert!(heard.times().is_sorted(), "{:?}", heard.times());
            let newest = peer::inter_frame((self.time - 1) as u8);
            assert_eq!(heard.counts(&newest), 1, "{player}: {:?}", heard.times());
        }
    }

    /// The longest time between two pictures of a player from this one on.
    fn gap(&self, player: u64, from: usize) -> u32 {
        let times = self.net.heard(player).times();
        times[from..].windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    fn ends(mut self) {
        let clients: Vec<_> = self.players.drain(..).chain([self.publisher]).collect();
        clients.into_iter().for_each(|end| self.net.leave(end));
        self.net.run(60 * SECOND);
        let alive: Vec<_> = self.servers.iter().copied().filter(|at| self.net.is_member(*at)).collect();
        self.net.is_idle(&alive);
        for server in alive {
            assert!(self.net.cluster(server).children.is_empty());
        }
    }
}

#[test]
fn servers_beyond_the_children_of_the_owner_get_the_stream_from_these() {
    let tree = Tree::new(8, 2, 3);
    assert_eq!(tree.hops(), [1, 1, 2, 2, 2, 2, 3]);
    assert_eq!(tree.copies(), [2, 2, 2, 1, 0, 0, 0, 0]);
    tree.all_play(&tree.players);
    // Each stream comes once to each server.
    assert!(tree.servers[1..].iter().all(|server| tree.net.uplinks(*server).len() == 1));
    assert_eq!(tree.net.cluster(tree.servers[0]).tree.referred, 5);
    tree.ends();
}

#[test]
fn the_owner_serves_all_without_a_limit_or_with_a_depth_of_one() {
    for (children, depth) in [(0, 3), (2, 1)] {
        let tree = Tree::new(6, children, depth);
        assert_eq!(tree.copies(), [5, 0, 0, 0, 0, 0], "{children} {depth}");
        let over = if children == 0 { 0 } else { 3 };
        assert_eq!(tree.net.cluster(tree.servers[0]).tree.over, over);
        tree.all_play(&tree.players);
    }
}

#[test]
fn where_the_depth_is_used_up_servers_take_more_children() {
    let tree = Tree::new(6, 1, 2);
    // One child of the owner has all others.
    assert_eq!((tree.hops(), tree.copies()), (vec![1, 2, 2, 2, 2], vec![1, 4, 0, 0, 0, 0]));
    tree.all_play(&tree.players);
    tree.ends();
}

#[test]
fn an_inner_server_without_players_goes_on_while_others_get_the_stream_from_it() {
    let mut tree = Tree::new(4, 1, 3);
    assert_eq!(tree.hops(), [1, 2, 3]);
    let inner = tree.players.remove(0);
    tree.net.leave(inner);
    tree.stream(30);
    tree.all_play(&tree.players);
    assert_eq!(tree.hops(), [1, 2, 3]);
    let last: Vec<_> = tree.players.drain(..).collect();
    last.into_iter().for_each(|player| tree.net.leave(player));
    tree.stream(60);
    assert_eq!(tree.copies(), [0, 0, 0, 0], "what nothing wants is not pulled");
    tree.ends();
}

#[test]
fn the_servers_below_one_that_dies_go_back_to_the_owner_and_their_players_stay() {
    let mut tree = Tree::new(7, 2, 3);
    let dies = tree.servers[1];
    let below = tree.child_of(dies);
    assert_eq!(below.len(), 2);
    let players: Vec<_> =
        tree.players.iter().zip(&tree.servers[1..]).filter(|(_, at)| **at != dies).map(|(end, _)| *end).collect();
    tree.net.crash(dies);
    let before: Vec<_> = players.iter().map(|player| tree.net.heard(*player).times().len()).collect();
    tree.stream(5);
    tree.all_play(&players);
    for (player, from) in players.iter().zip(before) {
        // No picture is missing: those that came meanwhile are in the newest GOP. Pictures are 960 ms apart.
        assert!(tree.gap(*player, from - 1) <= 1200, "{:?}", tree.net.heard(*player).times());
        assert!((4..9).all(|number| tree.net.heard(*player).counts(&peer::key_frame(number)) == 1));
    }
    assert!(tree.child_of(dies).is_empty());
    assert!(tree.copies()[0] <= 2, "one of those below it took its place: {:?}", tree.copies());
    let back = below.iter().map(|server| tree.net.list(*server)[0].hop).collect::<Vec<_>>();
    assert!(back.contains(&Some(1)), "{back:?}");
    tree.players = players;
    tree.ends();
}

#[test]
fn the_servers_below_a_machine_that_is_gone_find_another_way() {
    let mut tree = Tree::new(6, 2, 3);
    let gone = tree.servers[1];
    let below = tree.child_of(gone);
    tree.net.vanish(gone);
    // They notice that nothing comes after `edge.silence`.
    tree.stream(20);
    let players: Vec<_> =
        tree.players.iter().zip(&tree.servers[1..]).filter(|(_, at)| **at != gone).map(|(end, _)| *end).collect();
    tree.all_play(&players);
    assert!(!below.is_empty() && tree.child_of(gone).is_empty());
}

#[test]
fn the_servers_below_one_that_drains_move_before_it_goes() {
    let mut tree = Tree::new(6, 2, 3);
    let drains = tree.servers[1];
    let below = tree.child_of(drains);
    assert!(!below.is_empty());
    tree.net.servers[drains].core.drain();
    let deadline = tree.net.now + 60 * SECOND;
    tree.net.each_conn(drains, |conn| conn.drain(deadline, None));
    tree.stream(3);
    assert!(tree.child_of(drains).is_empty(), "{:?}", tree.parents());
    assert_eq!(tree.copies()[1], 0);
    let others: Vec<_> =
        tree.players.iter().zip(&tree.servers[1..]).filter(|(_, at)| **at != drains).map(|(end, _)| *end).collect();
    for player in &others {
        let heard = tree.net.heard(*player);
        assert_eq!(heard.times().len(), heard.times().iter().collect::<BTreeSet<_>>().len());
        assert!(tree.gap(*player, 3) <= 960, "nothing is lost: {:?}", heard.times());
    }
    tree.all_play(&others);
}

#[test]
fn a_tree_forms_again_from_the_new_owner_of_the_name() {
    let mut tree = Tree::new(7, 2, 3);
    let (old, new) = (tree.servers[0], tree.servers[3]);
    tree.net.leave(tree.publisher);
    tree.net.run(Duration::from_millis(20));
    tree.publisher = tree.net.encoder(new, CAM).expect("the name is free");
    tree.stream(5);
    let watched = tree.net.player(old, CAM);
    tree.stream(5);
    assert!(tree.child_of(old).iter().all(|_| tree.net.list(old)[0].hop.is_some()));
    let copies = tree.copies();
    assert_eq!(copies[3], 2, "{copies:?}");
    assert!(copies.iter().all(|copies| *copies <= 2), "{copies:?}");
    assert_eq!(copies.iter().sum::<usize>(), 6, "each other server gets it once");
    assert!(tree.hops().iter().all(|hop| *hop <= 3), "{:?}", tree.hops());
    let players = [&tree.players[..], &[watched]].concat();
    for player in &players {
        let heard = tree.net.heard(*player);
        assert!(heard.closed.is_none() && !heard.has("ended"), "{:?}", heard.events);
        assert!(heard.times().is_sorted() && heard.counts(&peer::key_frame(10)) == 1, "{:?}", heard.times());
    }
    tree.players = players;
    tree.ends();
}

#[test]
fn a_redirect_to_a_server_that_the_cluster_does_not_name_is_not_followed() {
    let mut tree = Tree::new(3, 1, 2);
    // Another server has the address of the owner, and sends those that pull elsewhere.
    let stranger = tree.net.server(VhostConfig::default());
    let asks = crate::conn::Asks { connect: true, ..Default::default() };
    let liar = tree.net.server(VhostConfig { asks, ..VhostConfig::default() });
    let elsewhere = format!("rtmp://{}/{CAM}?anabranchReferral=32", tree.net.address_of(stranger));
    tree.net.servers[liar].verdict = Verdict::Redirect(elsewhere);
    let fake = tree.net.publisher(stranger, CAM);
    tree.net.gop(fake, 0, 77);
    let player = tree.players[1];
    let inner = tree.servers[1];
    let owner = tree.net.address_of(tree.servers[0]);
    tree.net.hosts.insert(owner, Host::Server(liar));
    tree.net.crash(inner);
    tree.net.run(5 * SECOND);
    assert_eq!(tree.net.heard(player).counts(&peer::key_frame(77)), 0);
    assert_eq!(tree.net.servers[stranger].core.hub().player_count(&key(CAM)), 0);
    // The owner is there again.
    tree.net.hosts.insert(owner, Host::Server(tree.servers[0]));
    tree.stream(8);
    tree.all_play(&[player]);
}

#[test]
fn signatures_with_the_secret_before_are_valid_for_a_minute_and_then_the_puller_says_so_once() {
    let mut tree = Tree::new(2, 8, 3);
    let (owner, other) = (tree.servers[0], tree.servers[1]);
    let core = tree.net.servers[owner].core.clone();
    core.relays().set_cluster_secret(tree.net.now, "another secret of the cluster");
    // Its connection breaks, and it has not heard of the new secret.
    tree.net.break_uplinks(other);
    tree.stream(3);
    tree.all_play(&tree.players);
    assert!(!tree.net.remarks(other).contains(&"not_trusted".to_owned()));
    tree.stream(60);
    tree.net.break_uplinks(other);
    tree.stream(4);
    let said = tree.net.remarks(other);
    assert_eq!(said.iter().filter(|name| *name == "not_trusted").count(), 1, "{said:?}");
    tree.net.servers[other].core.relays().set_cluster_secret(tree.net.now, "another secret of the cluster");
    tree.stream(10);
    tree.all_play(&tree.players);
    tree.ends();
}

#[test]
fn a_denial_belongs_to_the_lease_that_was_asked_for() {
    let mut net = Net::new();
    let [a, b, c] = net.members();
    let mut denied = 0;
    for (wait, lead) in (10..34_u64).flat_map(|wait| (7..12_u64).map(move |lead| (wait, lead))) {
        let name = format!("live/{wait}-{lead}");
        let first = net.encoder(a, &name).expect("the name is free");
        let player = net.player(b, &name);
        // The name goes to the other server while the first one is asked.
        net.run(Duration::from_millis(wait.saturating_sub(lead)));
        let second = net.client(c, &name, true);
        net.run(Duration::from_millis(lead));
        net.leave(first);
        net.run(Duration::from_millis(100));
        let names = net.cluster(c).names;
        let lease = names.iter().find(|(known, _)| *known == key(&name)).and_then(|(_, lease)| *lease);
        let leases = net.denied(b);
        denied += leases.len();
        assert!(lease.is_none_or(|lease| !leases.contains(&lease)), "{name}");
        for end in [player, second] {
            net.leave(end);
        }
        net.run(SECOND);
    }
    assert!(denied > 0, "the first server was asked for what it had no longer");
}

#[test]
fn a_puller_and_its_replacement_are_two_connections_and_a_third_is_refused() {
    let mut tree = Tree::new(3, 8, 3);
    let (owner, other) = (tree.servers[0], tree.servers[1]);
    assert_eq!(tree.net.cluster(owner).children[0].1.len(), 2);
    // The server comes back before the owner knows that it was gone.
    for run in 0..3_u8 {
        tree.net.vanish(other);
        tree.net.join_again(other, &tree.cluster);
        let player = tree.net.player(other, CAM);
        tree.stream(1);
        let is_served = !tree.net.heard(player).media.is_empty();
        assert_eq!(is_served, run == 0, "run {run}");
    }
    let error = tree.net.list(other)[0].last_error.clone().expect("it was refused");
    assert!(error.words.contains("two connections already"), "{error}");
}

/// Servers that die, come back and drain, at random: the stream always finds its way, and never in a circle.
#[test]
fn whatever_fails_every_server_that_is_alive_gets_the_stream_once_and_in_no_circle() {
    for seed in 0..12_u64 {
        let mut random = seed;
        let mut below = |limit: u64| crate::split_mix::split_mix(&mut random) % limit;
        let mut tree = Tree::new(8, 1 + (seed % 2) as usize, 2 + (seed % 3) as u8);
        for _ in 0..8 {
            let at = 1 + below(7) as usize;
            let server = tree.servers[at];
            match below(3) {
                0 if tree.net.is_member(server) => tree.net.crash(server),
                1 if !tree.net.is_member(server) => {
                    tree.net.join_again(server, &tree.cluster);
                    tree.players[at - 1] = tree.net.player(server, CAM);
                }
                2 if tree.net.is_member(server) => {
                    // As after a switch that forgets connections: all of its pulls break.
                    tree.net.break_uplinks(server);
                }
                _ => {}
            }
            tree.stream(1 + below(3) as u32);
        }
        tree.stream(4);
        let alive: Vec<usize> = tree.servers.iter().copied().filter(|at| tree.net.is_member(*at)).collect();
        for server in &alive[1..] {
            let pulls = tree.net.list(*server);
            assert_eq!(pulls.len(), 1, "seed {seed}");
            let uplinks = tree.net.uplinks(*server);
            assert_eq!(uplinks.len(), 1, "seed {seed}: {uplinks:?}");
        }
        let players = tree.servers[1..].iter().zip(&tree.players).filter(|(server, _)| alive.contains(server));
        let players: Vec<_> = players.map(|(_, player)| *player).collect();
        for player in &players {
            let heard = tree.net.heard(*player);
            let newest = peer::inter_frame((tree.time - 1) as u8);
            assert_eq!(heard.counts(&newest), 1, "seed {seed}: {:?}", heard.times());
            assert!(heard.times().is_sorted() && heard.closed.is_none(), "seed {seed}: {:?}", heard.events);
        }
        tree.players = players;
        tree.ends();
    }
}
