//! Changed settings while connections are open: which must end, and the counts of each virtual host.

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
        self.archive.expect(&config);
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

    /// Each virtual host counts exactly its connected clients.
    pub(super) fn check_counts(&self) {
        let slots = || self.slots.iter().flatten();
        for host in self.server.vhosts() {
            let of_host = |key: &StreamKey| key.vhost() == host.name;
            let used = |role: Role| {
                slots().flat_map(|slot| slot.conn.streams()).filter(|(used, key)| *used == role && of_host(key)).count()
            };
            let here = |slot: &&Slot| slot.conn.vhosts().any(|name| name == host.name);
            assert_eq!(host.connections, slots().filter(here).count(), "connections of {}", host.name);
            let asked = slots().filter(|slot| slot.questions.vhost() == Some(&*host.name)).count();
            let late = slots().filter(|slot| slot.questions.is_late(self.now)).count();
            assert!((asked..=asked + late).contains(&host.questions), "questions of {}: {asked}, {host:?}", host.name);
            assert_eq!(host.players, used(Role::Player), "players of {}", host.name);
            let streams = self.server.hub().streams();
            let listed = || streams.iter().filter(|stream| of_host(&stream.key));
            assert_eq!(host.streams, listed().count(), "streams of {}", host.name);
            let published = listed().filter(|stream| stream.published).count();
            assert_eq!(host.publishers, published, "a name that was taken over counts once");
            // A publisher that was taken over may not know yet.
            let publishers = used(Role::Publisher);
            let right = if self.bounds.exclusive { publishers == published } else { publishers >= published };
            assert!(right, "{host:?}, {publishers} publish");
            for one in &host.applications {
                let grouped = || listed().filter(|stream| stream.group.as_ref() == Some(&one.name));
                assert_eq!(one.streams, grouped().count(), "streams of {one:?}");
                assert_eq!(
                    one.publishers,
                    grouped().filter(|stream| stream.published).count(),
                    "publishers of {one:?}"
                );
                assert_eq!(one.players, grouped().map(|stream| stream.players).sum::<usize>(), "players of {one:?}");
            }
        }
    }
}

impl Slot {
    /// Has the connection check whether it may stay. A connection that may stay is not affected.
    pub(super) fn look(&mut self, config: &Config, held: bool) {
        if self.conn.session().is_closing() {
            return self.conn.reconfigured();
        }
        let stays = self.may_stay(config);
        let waiting = self.conn.outbound().len();
        self.conn.reconfigured();
        self.refused = self.conn.session().is_closing();
        assert!(stays || self.refused, "it may not stay: {:?}", self.conn);
        // A question that was not asked yet, or not in this form, may also be a reason against it.
        if stays && !held && !self.questions.traverses() {
            assert!(!self.refused, "it may stay: {:?}", self.conn);
            assert_eq!(self.conn.outbound().len(), waiting, "one that stays gets no message and loses nothing");
        }
    }

    fn may_stay(&self, config: &Config) -> bool {
        let may_go_on = |action: Action, key: &StreamKey| {
            let host = config.vhosts.resolve(key.vhost()).accepted().map_or(&config.defaults, |(_, host)| host);
            let settings = host.applications.of(key).map_or(host, |application| &application.settings);
            let allowed = match self.conn.peer() {
                Some(peer) => settings.security.check(action, peer.ip()).is_ok(),
                None => settings.security.rules.is_empty(),
            };
            is_there(config, key.vhost()) && allowed
        };
        let used = self.conn.streams();
        let used = used.map(|(role, key)| (if role == Role::Publisher { Action::Publish } else { Action::Play }, key));
        let asked_there = self.questions.vhost().is_none_or(|name| is_there(config, name));
        asked_there
            && vhost(&self.conn).is_none_or(|name| is_there(config, &name))
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
