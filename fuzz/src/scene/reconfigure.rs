//! Other settings while connections are open: who has to go, and what is counted of each virtual host.

use anabranch_core::conn::{Config, Conn, Role};
use anabranch_core::policy::Action;
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};

use super::operation::Change;
use super::{Slot, World};

impl World {
    /// Puts other settings in force. Some connections look at once whether they may stay, others after their next turn.
    pub(super) fn reconfigure(&mut self, change: &Change) {
        let config = self.setup.changed(change, self.bounds.header_bytes);
        self.bounds.widen(&config);
        self.server.reconfigure(config);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else {
                continue;
            };
            slot.viewer.promise(self.bounds.promise);
            slot.woken = true;
            slot.late = change.is_late(index);
            if !slot.late {
                slot.look(&self.server.config(), self.held);
            }
        }
    }

    /// Each virtual host counts exactly those who are there.
    pub(super) fn check_counts(&self) {
        let slots = || self.slots.iter().flatten();
        for host in self.server.vhosts() {
            let of_host = |key: &StreamKey| key.vhost() == host.name;
            let used = |role: Role| {
                slots().flat_map(|slot| slot.conn.streams()).filter(|(used, key)| *used == role && of_host(key)).count()
            };
            // Who waits for a verdict is counted already.
            let waiting = slots().filter(|slot| slot.questions.stream().is_some_and(of_host)).count();
            let connections = slots().filter(|slot| vhost(&slot.conn).is_some_and(|name| name == host.name)).count();
            assert_eq!(host.connections, connections, "connections of {}", host.name);
            let (publishers, players) = (used(Role::Publisher), used(Role::Player));
            assert!((players..=players + waiting).contains(&host.players), "{host:?}, {players} play, {waiting} wait");
            // Who takes a name over is not counted beside the one who had it.
            let least = if self.bounds.exclusive { publishers } else { 0 };
            assert!((least..=publishers + waiting).contains(&host.publishers), "{host:?}, {publishers} publish");
        }
    }
}

impl Slot {
    /// Looks whether it may stay. Who may is left in peace.
    pub(super) fn look(&mut self, config: &Config, held: bool) {
        if self.conn.session().is_closing() {
            return self.conn.reconfigured();
        }
        let stays = self.may_stay(config);
        let waiting = self.conn.outbound().len();
        self.conn.reconfigured();
        self.refused = self.conn.session().is_closing();
        assert!(stays || self.refused, "it may not stay: {:?}", self.conn);
        // What nobody was asked yet, or not in so many words, may speak against it too.
        if stays && !held && !self.questions.traverses() {
            assert!(!self.refused, "it may stay: {:?}", self.conn);
            assert_eq!(self.conn.outbound().len(), waiting, "who stays is told nothing, and loses nothing");
        }
    }

    fn may_stay(&self, config: &Config) -> bool {
        let may_go_on = |action: Action, key: &StreamKey| {
            let host = config.vhosts.resolve(key.vhost()).accepted().map_or(&config.defaults, |(_, host)| host);
            let allowed = match self.conn.peer() {
                Some(peer) => host.security.check(action, peer.ip()).is_ok(),
                None => host.security.rules.is_empty(),
            };
            is_there(config, key.vhost()) && allowed
        };
        let used = self.conn.streams();
        let used = used.map(|(role, key)| (if role == Role::Publisher { Action::Publish } else { Action::Play }, key));
        vhost(&self.conn).is_none_or(|name| is_there(config, &name))
            && used.chain(self.questions.wanted()).all(|(action, key)| may_go_on(action, key))
    }
}

/// The virtual host of a connection that is past `connect`.
fn vhost(conn: &Conn) -> Option<String> {
    let facts = conn.facts();
    (facts.tc_url.is_some() || !facts.app.is_empty()).then_some(facts.vhost)
}

/// Whether there is a virtual host of this very name that lets clients in.
fn is_there(config: &Config, name: &str) -> bool {
    if config.vhosts.is_empty() {
        return name == DEFAULT_VHOST;
    }
    config.vhosts.iter().any(|vhost| vhost.enabled && vhost.name == name)
}
