use std::time::Duration;

use anabranch_core::hub::HeldBy;
use anabranch_core::url::StreamKey;

use super::ClusterSim;
use super::client::{Client, Part, Stage};

/// From one key frame of an encoder to the next.
const GROUP: Duration = Duration::from_secs(1);
/// For the ways from the encoder to the player, and for the time between two pictures.
const WAYS: Duration = Duration::from_millis(600);
/// How long it takes at the most to get a name from another server, and the stream to players there.
const MOVE: Duration = Duration::from_secs(4);
/// How long a pull takes at the most that begins because a stream has a publisher again.
const PULL: Duration = Duration::from_secs(6);

/// What a server says of who is on air.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnAir {
    /// The connection of the publisher.
    connection: u64,
    pub(super) line: usize,
}

impl ClusterSim {
    /// A client publishes at a server; as far as the server says it stands by, if there is one on air.
    pub(super) fn told_attached(&mut self, node: usize, line: usize, connection: u64, key: &StreamKey, backup: bool) {
        let now = self.now;
        let server = &mut self.nodes[node];
        server.free.remove(key);
        server.changed.insert(key.clone(), now);
        if !backup {
            self.tell_on_air(node, line, connection, key);
        }
    }

    fn tell_on_air(&mut self, node: usize, line: usize, connection: u64, key: &StreamKey) {
        self.nodes[node].on_air.insert(key.clone(), OnAir { connection, line });
        let told = self.told.entry(key.clone()).or_default();
        if told.last().is_some_and(|(before, _)| *before != node) {
            self.moved.insert(key.clone(), self.now);
        }
        told.push((node, line));
        self.check_owners(key);
    }

    /// A server says that a publisher which stood by is on air.
    pub(super) fn told_switched(
        &mut self,
        node: usize,
        line: usize,
        connection: u64,
        key: &StreamKey,
        before: Option<HeldBy>,
    ) {
        self.switches += 1;
        let current = self.nodes[node].on_air.get(key).map(|on_air| on_air.connection);
        let said = match before {
            Some(HeldBy::Client { connection, .. }) => Some(connection),
            _ => None,
        };
        if current != said {
            self.fail(&format!("server {node} says that {said:?} was on air with {key:?} before, but {current:?} was"));
        }
        self.tell_on_air(node, line, connection, key);
    }

    /// A client does not publish any more; if the stream `goes_on`, another one does.
    pub(super) fn told_detached(&mut self, node: usize, connection: u64, key: &StreamKey, goes_on: bool) {
        let now = self.now;
        let server = &mut self.nodes[node];
        if goes_on {
            // If it was on air, its successor says so next.
            return;
        }
        server.free.insert(key.clone(), now);
        let on_air = server.on_air.remove(key).filter(|on_air| on_air.connection != connection);
        if let Some(OnAir { connection: on_air, .. }) = on_air {
            self.fail(&format!("{connection} leaves server {node}, which said that {on_air} is on air with {key:?}"));
        }
    }

    /// Players are without frames for the detection limit and a GOP at the most while the name has a publisher that sends
    /// what it should, whether it is on air or stands by, or a fallback and no publisher.
    pub(super) fn check_gaps(&self) {
        let Some(rules) = self.rules.backup else {
            return;
        };
        let moves = if self.location.is_some() { MOVE } else { Duration::ZERO };
        let limit = rules.after + GROUP + WAYS + moves;
        let healthy = self.now.checked_sub(rules.after + limit + PULL).unwrap_or(self.start);
        for (index, client) in self.clients.iter().enumerate() {
            let (Stage::On(_), Part::Player(viewing)) = (client.stage, &client.part) else {
                continue;
            };
            let Some(last) = viewing.last.filter(|last| self.now > *last + limit) else {
                continue;
            };
            if client.granted.is_none_or(|granted| granted > healthy) {
                continue;
            }
            let key: StreamKey = client.name.parse().expect("a name");
            let is_due = |other: &&super::Client| {
                let falls_back = || {
                    let server = &self.nodes[other.node];
                    let free = server.free.get(&key).copied().unwrap_or(self.start);
                    let is_hold = server.config.fallback.is_some() && other.name == super::HOLD;
                    is_hold && client.node == other.node && !server.published.contains_key(&key) && free < healthy
                };
                let plays = other.name == client.name || falls_back();
                plays && other.healthy_since(self.now).is_some_and(|since| since < healthy)
            };
            let publisher = self.clients.iter().filter(is_due).find_map(super::Client::origin);
            // Without the directory no server gets a name that another one has.
            let is_known = self.location.is_none() || self.directory_is_well() && !self.doubled.contains(&key);
            if let Some(origin) = publisher.filter(|origin| is_known && !self.excuses(client.node, *origin, &key)) {
                let gap = self.now - last;
                self.fail(&format!("client {index} is without frames for {gap:?}, and publication {origin} has them"));
            }
        }
    }

    /// A player got something. If that is a publication which it has not `seen` so far, at another server than where it is
    /// published, a failure may keep news from there.
    pub(super) fn note_lost_touch(&mut self, index: usize, seen: usize) {
        let Client { part: Part::Player(viewing), node, name, .. } = &self.clients[index] else {
            return;
        };
        let Some(origin) = viewing.order.last().copied().filter(|_| viewing.order.len() > seen) else {
            return;
        };
        let key: StreamKey = name.parse().expect("a name");
        let is_lost = self.publications[origin].node != *node && self.excuses(*node, origin, &key);
        if let Part::Player(viewing) = &mut self.clients[index].part
            && is_lost
        {
            viewing.begins_at_lost_server();
        }
    }

    /// What players saw is what servers said to be on air, in the same order. Only a player that comes to a server which has
    /// lost touch with the publisher's may begin there with what was on air before.
    ///
    /// # Panics
    /// If a player saw a publication that no server said to be on air then.
    pub fn check_on_air(&self) {
        for (index, client) in self.clients.iter().enumerate() {
            let Part::Player(viewing) = &client.part else {
                continue;
            };
            let key: StreamKey = client.name.parse().expect("a name");
            if self.doubled.contains(&key) {
                continue;
            }
            let all = self.told.get(&key).map(Vec::as_slice).unwrap_or_default();
            let mut told = all.iter();
            for (at, origin) in viewing.order.iter().enumerate() {
                let publication = self.publications[*origin];
                if self.clients[publication.client].name != client.name {
                    continue;
                }
                let place = (publication.node, publication.line);
                let was_told = viewing.outdated.contains(&at) && all.contains(&place);
                if !was_told && !told.any(|said| *said == place) {
                    let seen = &viewing.order;
                    self.fail(&format!(
                        "client {index} saw {seen:?}, and no server said that {origin} was on air then"
                    ));
                }
            }
        }
    }
}
