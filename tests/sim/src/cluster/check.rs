use std::time::{Duration, Instant};

use anabranch_core::relay::RelayKind;
use anabranch_core::url::StreamKey;

use super::client::{Client, Part, Stage};
use super::directory::DirectoryState;
use super::node::{Node, RECOVERY};
use super::session::Session;
use super::viewing::Skipped;
use super::{ClusterSim, HOLD};

/// How long a player may be without a frame of a publication that it gets.
const STILL: Duration = Duration::from_secs(3);
/// How long a player that is sent to another server may take to be there.
const ARRIVAL: Duration = Duration::from_secs(6);

impl ClusterSim {
    /// Checks what must hold at each moment. It runs twice a second, so tests need not call it.
    ///
    /// - A server has one pull of a name at the most.
    /// - A player that has frames of a publication goes on to get them, unless a failure touched the servers on the
    ///   way, or a pull had to begin while their clocks were too far apart.
    ///
    /// In addition, when they change,
    /// - frames are what was sent, in order, with their headers, in rising time, and complete, unless a failure touched
    ///   the servers on the way;
    /// - a name is published at one server at most, if [`Rules::one_owner`](super::Rules::one_owner) says so: at two only
    ///   for a third of the time to live after the directory has forgotten what it had confirmed;
    /// - no server spins.
    ///
    /// # Panics
    /// If any of this does not hold, with the seed and the time.
    pub fn check(&self) {
        for (index, client) in self.clients.iter().enumerate() {
            let (Stage::On(_), Part::Player(viewing)) = (client.stage, &client.part) else {
                continue;
            };
            let (Some((origin, _)), Some(last)) = (viewing.place, viewing.last) else {
                continue;
            };
            let publication = self.publications[origin];
            let goes_on = self.clients[publication.client].origin() == Some(origin);
            let publisher = &self.clients[publication.client];
            let is_well = publisher.healthy_since(self.now).is_some_and(|since| self.now > since + STILL);
            if self.now <= last + STILL || !goes_on || !is_well {
                continue;
            }
            let key: StreamKey = client.name.parse().expect("a name");
            // Where two servers publish a name, a player may have the publisher of its server, which sends nothing. It gets
            // the other one again when that has left.
            let is_double = self.double.contains_key(&key) || self.is_recent(self.single.get(&key), STILL);
            // A fallback ends when the stream has publishers, also if these send nothing.
            let node = &self.nodes[client.node];
            let has_ended = publisher.name != client.name
                && (node.published.contains_key(&key) || self.is_recent(node.free.get(&key), STILL));
            if !is_double && !has_ended && !self.excuses(client.node, origin, &key) {
                self.fail(&format!("client {index} gets no frames any more, for {:?}", self.now - last));
            }
        }
        self.check_pulls();
        self.check_gaps();
        self.check_redirects();
        if self.rules.one_owner {
            let third = self.third();
            if let Some((name, since)) = self.double.iter().find(|(_, since)| self.now > **since + third) {
                self.fail(&format!("several servers publish {name}, for {:?}", self.now - *since));
            }
        }
    }

    /// A third of the time to live: until the next renewal, with its jitter, an attempt to connect on the way, and the
    /// ways there and back.
    fn third(&self) -> Duration {
        let ttl = self.directory.ttl;
        ttl / 3 * 11 / 10 + ttl / 5 * 11 / 10 + self.directory.delay * 8
    }

    /// How long after all failures have ended until each name is published at one server at most: a renewal tells the
    /// server that has lost it. A directory that has lost all data gives out no names at first, so that the servers which
    /// had them get them again; those that have got publishers without a lease learn then which of them has the name.
    pub fn convergence(&self) -> Duration {
        let limit = self.location.as_ref().map_or(Duration::ZERO, |config| config.answer_limit);
        self.third() + limit + self.directory.hold(self.now)
    }

    /// Checks that no name is published at several servers.
    ///
    /// # Panics
    /// If one is.
    pub fn check_one_owner(&self) {
        if self.location.is_some()
            && let Some((name, since)) = self.double.first_key_value()
        {
            let owners = self.owners(name);
            self.fail(&format!("servers {owners:?} publish {name} after all failures, for {:?}", self.now - *since));
        }
    }

    /// A server has one pull of a name at the most, with as many connections as there are origins.
    pub(super) fn check_pulls(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(core) = node.core.as_ref().filter(|_| node.uplinks > 1) else {
                continue;
            };
            let relays = core.relays().list(self.now);
            let mut pulls: Vec<_> = relays.iter().filter(|relay| relay.kind == RelayKind::Pull).collect();
            pulls.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            if let Some(pair) = pulls.windows(2).find(|pair| pair[0].key == pair[1].key) {
                self.fail(&format!("server {index} has two pulls of {}", pair[0].key));
            }
        }
    }

    /// True if something happened at this time, and no longer ago.
    fn is_recent(&self, at: Option<&Instant>, time: Duration) -> bool {
        at.is_some_and(|at| self.now < *at + time)
    }

    /// A player missed frames.
    pub(super) fn check_skip(&self, index: usize, skipped: Skipped) {
        let node = self.clients[index].node;
        let key: StreamKey = self.clients[index].name.parse().expect("a name");
        // A client that publishes here for a moment what is pulled ends the pull, and the next one begins at a key frame. So
        // does a pull from the server to which the name has moved: it may have come through another server before.
        let is_remote = self.publications[skipped.origin].node != node;
        let has_changed = [self.nodes[node].changed.get(&key), self.moved.get(&key)];
        let begins = is_remote && has_changed.into_iter().any(|at| self.is_recent(at, RECOVERY));
        let is_late = skipped.is_unkept && self.rules.backup.is_some();
        if !begins && !is_late && !self.excuses(node, skipped.origin, &key) {
            let Skipped { origin, frames, .. } = skipped;
            self.fail(&format!("client {index} at server {node} missed {frames} frames of publication {origin}"));
        }
    }

    /// True if the directory works, and has done so for long enough that servers know what it knows.
    pub(super) fn directory_is_well(&self) -> bool {
        let is_up = self.directory.state == DirectoryState::Up && self.directory_cuts.is_empty();
        let settled = |at: Instant| self.now > at + self.directory.ttl + RECOVERY;
        is_up && self.directory.delay <= Duration::from_millis(4) && self.hurt.is_none_or(settled)
    }

    /// True if frames of this publication may not get to players at this server.
    pub(super) fn excuses(&self, node: usize, origin: usize, key: &StreamKey) -> bool {
        let at = self.publications[origin].node;
        let fails = if self.rules.is_direct {
            [node, at].iter().any(|node| self.nodes[*node].trouble.excuses(self.now))
        } else {
            self.nodes.iter().any(|node| node.trouble.excuses(self.now))
        };
        fails || node != at && self.is_distrusted((node, at), key)
    }

    /// A player that a server sent elsewhere gets there what it wants.
    fn check_redirects(&self) {
        let fails = self.nodes.iter().any(|node| node.trouble.excuses(self.now)) || !self.directory_is_well();
        let present = self.clients.iter().enumerate().filter(|(_, client)| client.stage != Stage::Gone);
        for (index, client) in present.filter(|_| !fails) {
            if let Some(since) = client.sent_on.filter(|since| self.now > *since + ARRIVAL) {
                let late = self.now - since;
                self.fail(&format!("client {index} was sent to another server {late:?} ago, and has not arrived"));
            }
        }
    }

    /// The servers at which a client publishes a name and is on air.
    pub fn owners(&self, name: &StreamKey) -> Vec<usize> {
        let publishes = |node: &usize| {
            let Node { on_air, attached, .. } = &self.nodes[*node];
            let line = on_air.get(name).map(|on_air| on_air.line);
            line.is_some_and(|line| attached.iter().any(|((of, _), key)| *of == line && key == name))
        };
        (0..self.nodes.len()).filter(publishes).collect()
    }

    /// A client publishes the name from now on.
    pub(super) fn check_owners(&mut self, name: &StreamKey) {
        self.note_owners(name);
        // A directory that has forgotten a lease gives the name to another server until the owner renews.
        let forgot = self.directory.forgot.is_some_and(|at| self.now <= at + self.directory.ttl + self.third());
        if self.rules.one_owner && !forgot && self.double.contains_key(name) {
            let owners = self.owners(name);
            self.fail(&format!("servers {owners:?} publish {name}"));
        }
    }

    /// The servers that publish the name have changed.
    pub(super) fn note_owners(&mut self, name: &StreamKey) {
        if self.owners(name).len() < 2 {
            let was_double = self.double.remove(name).is_some();
            self.single.extend(was_double.then(|| (name.clone(), self.now)));
        } else {
            self.double.entry(name.clone()).or_insert(self.now);
            self.doubled.insert(name.clone());
        }
    }

    /// Checks that all clients have what they want, some time after the last failure: publishers publish, and players
    /// of a stream that is published get it.
    ///
    /// # Panics
    /// If one does not.
    pub fn check_served(&self) {
        let present = || self.clients.iter().enumerate().filter(|(_, client)| client.stage != Stage::Gone);
        for (index, client) in present() {
            match &client.part {
                Part::Publisher { .. }
                    if !present().any(|(_, other)| other.name == client.name && other.origin().is_some()) =>
                {
                    let refused = &client.refused;
                    self.fail(&format!("client {index} does not publish {}, refused with {refused:?}", client.name));
                }
                Part::Publisher { .. } => {}
                Part::Player(viewing) => {
                    let origins_of = |name: &str| -> Vec<_> {
                        let same = present().filter(|(_, other)| other.name == name);
                        same.filter_map(|(_, other)| other.origin()).collect()
                    };
                    let mut origins = origins_of(&client.name);
                    if origins.is_empty() && self.nodes[client.node].config.fallback.is_some() {
                        origins = origins_of(HOLD);
                    }
                    let place = viewing.place.filter(|_| viewing.last.is_some_and(|last| self.now <= last + STILL));
                    let is_served = place.is_some_and(|(origin, _)| origins.contains(&origin));
                    if !origins.is_empty() && !is_served {
                        let Client { name, node, .. } = client;
                        self.fail(&format!("client {index} does not get {name} at server {node}"));
                    }
                }
            }
        }
    }

    /// Checks that nothing is left after all clients have gone, also in the directory.
    ///
    /// # Panics
    /// If a server has a stream, a relay, a connection or a claim.
    pub fn check_empty(&self) {
        let leases = self.directory.leases(self.now);
        if leases > 0 {
            self.fail(&format!("the directory has {leases} leases left"));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(core) = &node.core else {
                continue;
            };
            let streams: Vec<_> = core.hub().streams().into_iter().map(|stream| stream.key).collect();
            let relays = core.relays().list(self.now);
            if !streams.is_empty() || !relays.is_empty() || !node.conns.is_empty() {
                let conns = node.conns.len();
                self.fail(&format!("server {index} has {streams:?}, {conns} connections and {relays:?} left"));
            }
            let cluster = core.relays().cluster(usize::MAX);
            let is_clean = node.session.as_ref().is_none_or(Session::is_empty);
            if !cluster.names.is_empty() || !cluster.places.is_empty() || cluster.waiting > 0 || !is_clean {
                self.fail(&format!("server {index} has claims left: {cluster:?}, {:?}", node.session));
            }
            if !node.subscribed.is_empty() || !node.attached.is_empty() || !node.dials.is_empty() {
                self.fail(&format!("server {index} has connections of streams left"));
            }
        }
    }
}
