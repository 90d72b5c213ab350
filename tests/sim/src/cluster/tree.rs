use std::fmt;
use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_core::location::LocationConfig;
use anabranch_core::relay::Edge;
use anabranch_core::url::StreamKey;

use super::{ClusterSim, Rules, encoder};
use crate::{ClientId, Encoder};

/// One direction of the connections between servers, and of those to clients.
const HOP: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

/// Servers in three tiers: one has the stream, the inner ones pull from it, the leaves from the inner ones. Each leaf has
/// two inner servers to pull from.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    /// Servers between the origin and the leaves.
    pub inner: usize,
    /// Servers with players.
    pub leaves: usize,
    /// Players in all, evenly at the leaves.
    pub players: usize,
}

/// What was measured of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFigures {
    /// Servers in all.
    pub servers: usize,
    /// How often the origin sends the stream.
    pub copies_of_origin: usize,
    /// How often an inner server sends it, at the most.
    pub copies_of_inner: usize,
    /// How often a leaf sends it, at the most.
    pub copies_of_leaf: usize,
    /// From the sending of a frame to its arrival: the median for a player at each tier.
    pub latency: [Duration; 3],
    /// From the request of the first player to the first frame of the last one.
    pub start: Duration,
    /// After an inner server is killed: the longest time without a frame, for the median of the players below it, and for
    /// any of them.
    pub killed: [Duration; 2],
    /// The same after the machine of an inner server is gone.
    pub dark: [Duration; 2],
    /// Players below one inner server.
    pub affected: usize,
}

impl Tree {
    /// As many inner servers as make the copies of the origin and of the inner servers about the same.
    pub fn of(servers: usize, players: usize) -> Self {
        let inner = (1..servers).find(|inner| inner * (inner + 1) >= servers - 1).unwrap_or(1);
        Tree { inner, leaves: servers - 1 - inner, players }
    }

    fn inner_of(&self, leaf: usize) -> [usize; 2] {
        [1 + leaf % self.inner, 1 + (leaf + 1) % self.inner]
    }

    /// Simulates it.
    ///
    /// # Panics
    /// If a player does not get the stream.
    pub fn measure(&self) -> TreeFigures {
        let mut configs = vec![VhostConfig::default()];
        configs.extend((0..self.inner).map(|_| edge(&[0])));
        configs.extend((0..self.leaves).map(|leaf| edge(&self.inner_of(leaf))));
        let mut net = ClusterSim::new(1, configs, Rules::default());
        net.set_hop(HOP);
        let encoder = Encoder {
            video: Some(Duration::from_millis(100)),
            gop: 10,
            key: 100..=300,
            inter: 20..=60,
            ..Encoder::video_only()
        };
        net.publish(0, "live/cam", encoder, &[]);
        net.run_for(SECOND);
        let (at_origin, at_inner) = (net.play(0, "live/cam", &[]), net.play(1, "live/cam", &[]));
        let begin = net.elapsed();
        let leaf_of = |player: usize| player % self.leaves;
        let players: Vec<_> =
            (0..self.players).map(|player| net.play(1 + self.inner + leaf_of(player), "live/cam", &[])).collect();
        net.run_for(3 * SECOND);
        let first = |player: &ClientId| net.first_frame(*player).expect("each player gets the stream");
        let start = players.iter().map(first).max().unwrap_or_default() - begin;
        net.measure();
        net.run_for(2 * SECOND);
        let latency = [at_origin, at_inner, players[0]].map(|player| net.median_latency(player));
        let key: StreamKey = "live/cam".parse().expect("a name");
        let copies = |nodes: std::ops::Range<usize>| {
            nodes.filter_map(|node| Some(net.server(node)?.hub().player_count(&key))).max().unwrap_or(0)
        };
        let first_leaf = 1 + self.inner;
        // One player is at the origin and one at an inner server only to be measured.
        let copies_of_origin = copies(0..1) - 1;
        let (copies_of_inner, copies_of_leaf) = (copies(2..first_leaf), copies(first_leaf..first_leaf + self.leaves));
        let mut heal = |inner: usize, end: fn(&mut ClusterSim, usize), time: Duration| {
            let is_below = |player: &usize| self.inner_of(leaf_of(*player))[0] == inner;
            let below: Vec<_> = (0..self.players).filter(is_below).map(|player| players[player]).collect();
            net.measure();
            end(&mut net, inner);
            net.run_for(time);
            let mut gaps: Vec<_> = below.iter().map(|player| net.longest_gap(*player)).collect();
            gaps.sort_unstable();
            let last = net.elapsed();
            assert!(below.iter().all(|player| net.last_frame(*player).is_some_and(|at| at + SECOND > last)));
            ([gaps[gaps.len() / 2], gaps[gaps.len() - 1]], below.len())
        };
        // The first player of the list is at a leaf of the first inner server.
        let (killed, affected) = heal(1, ClusterSim::kill_node, 3 * SECOND);
        let (dark, _) = heal(2.min(self.inner), ClusterSim::darken_node, 18 * SECOND);
        let servers = 1 + self.inner + self.leaves;
        TreeFigures {
            servers,
            copies_of_origin,
            copies_of_inner,
            copies_of_leaf,
            latency,
            start,
            killed,
            dark,
            affected,
        }
    }
}

fn edge(origins: &[usize]) -> VhostConfig {
    let origins = origins.iter().map(|node| ClusterSim::address(*node).to_string().parse().expect("an origin"));
    VhostConfig { edge: Some(Edge::of(origins.collect())), ..VhostConfig::default() }
}

/// What was measured of a cluster in which one stream is played at each server.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryFigures {
    /// Servers in all.
    pub servers: usize,
    /// How often the owner sends the stream.
    pub copies_of_owner: usize,
    /// How often another server sends it, at the most.
    pub copies_of_inner: usize,
    /// Over how many connections between servers it comes, at the most.
    pub hops: u8,
    /// Requests to the directory in the second in which the players come.
    pub at_start: u64,
    /// Requests a second while the stream goes on.
    pub per_second: f64,
}

impl DirectoryFigures {
    /// The head of the table of `Display`'s rows.
    pub const HEAD: &str = "\
| servers | copies: owner, another server | hops | requests to the directory in the first second | a second later on |
|---|---|---|---|---|";

    /// Simulates so many servers with a directory that has the default times.
    ///
    /// # Panics
    /// If a player does not get the stream.
    pub fn measure(servers: usize) -> Self {
        let location = LocationConfig::new("".into());
        let configs = vec![VhostConfig::default(); servers];
        let mut net = ClusterSim::with_directory(1, configs, Rules::default(), Some(location));
        net.run_for(10 * SECOND);
        net.publish(0, "live/cam", encoder(), &[]);
        net.run_for(2 * SECOND);
        let before = net.directory_requests();
        let players: Vec<_> = (1..servers).map(|server| net.play(server, "live/cam", &[])).collect();
        net.run_for(SECOND);
        let at_start = net.directory_requests() - before;
        net.run_for(SECOND);
        let (before, time) = (net.directory_requests(), 30);
        net.run_for(SECOND * time);
        let per_second = (net.directory_requests() - before) as f64 / f64::from(time);
        let least = u64::from(time) * 8;
        assert!(players.iter().all(|player| net.frames(*player) > least), "each player gets the stream");
        let key: StreamKey = "live/cam".parse().expect("a name");
        let copies_of_owner = net.server(0).map_or(0, |server| server.hub().player_count(&key));
        let copies = |node: usize| {
            let children =
                net.server(node).map(|server| server.relays().cluster(usize::MAX).children).unwrap_or_default();
            children.into_iter().map(|(_, nodes)| nodes.len()).sum()
        };
        let copies_of_inner = (1..servers).map(copies).max().unwrap_or(0);
        let hop = |node: usize| net.server(node)?.relays().list(net.now).into_iter().filter_map(|pull| pull.hop).max();
        let hops = (1..servers).filter_map(hop).max().unwrap_or(0);
        DirectoryFigures { servers, copies_of_owner, copies_of_inner, hops, at_start, per_second }
    }
}

/// A row of a table in Markdown.
impl fmt::Display for DirectoryFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DirectoryFigures { servers, copies_of_owner, copies_of_inner, hops, at_start, per_second } = self;
        write!(f, "| {servers} | {copies_of_owner}, {copies_of_inner} | {hops} | {at_start} | {per_second:.1} |")
    }
}

impl TreeFigures {
    /// The head of the table of `Display`'s rows.
    pub const HEAD: &str = "\
| servers | copies: origin, inner, leaf | latency at origin, inner, leaf | all have a picture after | inner server killed: \
median, longest gap | its machine gone: median, longest gap |
|---|---|---|---|---|---|";
}

/// A row of a table in Markdown.
impl fmt::Display for TreeFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| time.as_millis();
        let TreeFigures { servers, copies_of_origin, copies_of_inner, copies_of_leaf, .. } = self;
        let [origin, inner, leaf] = self.latency.each_ref().map(ms);
        let [killed, most_killed] = self.killed.each_ref().map(ms);
        let [dark, most_dark] = self.dark.each_ref().map(ms);
        write!(f, "| {servers} | {copies_of_origin}, {copies_of_inner}, {copies_of_leaf} ")?;
        write!(f, "| {origin}, {inner}, {leaf} ms | {} ms ", ms(&self.start))?;
        write!(f, "| {killed}, {most_killed} ms | {dark}, {most_dark} ms |")
    }
}
