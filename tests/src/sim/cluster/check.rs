use std::time::Duration;

use anabranch_core::relay::RelayKind;
use anabranch_core::url::StreamKey;

use super::ClusterSim;
use super::client::{Client, Part, Stage};
use super::viewing::Skipped;

/// How long a player may be without a frame of a publication that it gets.
const STILL: Duration = Duration::from_secs(3);

impl ClusterSim {
    /// Checks what must hold at each moment. It runs twice a second, so tests need not call it.
    ///
    /// - A server has one pull of a name at the most.
    /// - A player that has frames of a publication goes on to get them, unless a failure touched the servers on the
    ///   way.
    ///
    /// In addition, when they change,
    /// - frames are what was sent, in order, with their headers, in rising time, and complete, unless a failure touched
    ///   the servers on the way;
    /// - a name is published at one server at most, if [`Rules::one_owner`](super::Rules::one_owner) says so;
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
            if goes_on && self.now > last + STILL && !self.excuses(client.node, origin) {
                self.fail(&format!("client {index} gets no frames any more, for {:?}", self.now - last));
            }
        }
        self.check_pulls();
        let now = self.now;
        for (name, since) in &self.double {
            if now > *since && self.rules.one_owner {
                self.fail(&format!("several servers publish {name}"));
            }
        }
    }

    /// A server has one pull of a name at the most, with as many connections as there are origins.
    fn check_pulls(&self) {
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

    /// A player missed frames.
    pub(super) fn check_skip(&self, index: usize, skipped: Skipped) {
        let node = self.clients[index].node;
        if !self.excuses(node, skipped.origin) {
            let Skipped { origin, frames } = skipped;
            self.fail(&format!("client {index} at server {node} missed {frames} frames of publication {origin}"));
        }
    }

    /// True if frames of this publication may not get to players at this server.
    fn excuses(&self, node: usize, origin: usize) -> bool {
        let at = self.publications[origin].node;
        if self.rules.is_direct {
            [node, at].iter().any(|node| self.nodes[*node].trouble.excuses(self.now))
        } else {
            self.nodes.iter().any(|node| node.trouble.excuses(self.now))
        }
    }

    /// The servers at which clients publish a name.
    pub fn owners(&self, name: &StreamKey) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].published.contains_key(name)).collect()
    }

    /// A client publishes the name from now on.
    pub(super) fn check_owners(&mut self, name: &StreamKey) {
        self.note_owners(name);
        if self.rules.one_owner && self.double.contains_key(name) {
            let owners = self.owners(name);
            self.fail(&format!("servers {owners:?} publish {name}"));
        }
    }

    /// The servers that publish the name have changed.
    pub(super) fn note_owners(&mut self, name: &StreamKey) {
        if self.owners(name).len() < 2 {
            self.double.remove(name);
        } else {
            self.double.entry(name.clone()).or_insert(self.now);
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
                Part::Publisher { .. } if client.origin().is_none() => {
                    let refused = &client.refused;
                    self.fail(&format!("client {index} does not publish {}, refused with {refused:?}", client.name));
                }
                Part::Publisher { .. } => {}
                Part::Player(viewing) => {
                    let same = present().filter(|(_, other)| other.name == client.name);
                    let mut origins = same.filter_map(|(_, other)| other.origin()).peekable();
                    let place = viewing.place.filter(|_| viewing.last.is_some_and(|last| self.now <= last + STILL));
                    let is_served = place.is_some_and(|(origin, _)| origins.any(|known| known == origin));
                    if origins.peek().is_some() && !is_served {
                        let Client { name, node, .. } = client;
                        self.fail(&format!("client {index} does not get {name} at server {node}"));
                    }
                }
            }
        }
    }

    /// Checks that nothing is left after all clients have gone.
    ///
    /// # Panics
    /// If a server has a stream, a relay or a connection.
    pub fn check_empty(&self) {
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
            if !node.subscribed.is_empty() || !node.attached.is_empty() || !node.dials.is_empty() {
                self.fail(&format!("server {index} has connections of streams left"));
            }
        }
    }
}
