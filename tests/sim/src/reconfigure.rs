//! Changed settings while clients are connected: which connections must end, and the counts of each virtual host.

use std::sync::Arc;

use anabranch_core::conn::{ApplicationSnapshot, Config, Conn, Role, Subject, VhostSnapshot};
use anabranch_core::hub::StreamSnapshot;
use anabranch_core::policy::Action;
use anabranch_core::session::{CloseReason, SessionConfig};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};

use super::Sim;
use super::back_end::Question;
use super::slot::Slot;

impl Sim {
    /// Puts another configuration in force and has each connection check whether it may stay. Exactly those connections
    /// end whose virtual host is gone, or whose address may no longer do what they do.
    ///
    /// # Panics
    /// If other connections end, or these do not.
    pub fn put_in_force(&mut self, config: &Config) {
        self.bounds.widen(config);
        let before = self.server.config();
        self.server.reconfigure(config.clone());
        self.changed = true;
        let mut refused = Vec::new();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let Some(stays) = slot.may_stay(config) else {
                continue;
            };
            let Some(conn) = slot.conn.as_mut().filter(|conn| !conn.session().is_closing()) else {
                continue;
            };
            let waiting = conn.outbound().len();
            conn.reconfigured();
            let (closing, told) = (conn.session().is_closing(), conn.outbound().len() != waiting);
            if closing {
                refused.push(index);
            }
            // What is asked of a server upstream may be for publishing or for playing. And what waits for a verdict may
            // have no token of those that are asked for now.
            let uncertain = !slot.keep_their_tokens(&before, config)
                || slot.questions.iter().any(|question| question.is_open() && question.traverses());
            let certain = !stays || !uncertain;
            if certain && closing == stays {
                self.fail(&format!("connection {index} may stay: {stays}; it ends: {closing}"));
            }
            if told && !closing {
                self.fail(&format!("connection {index} stays and gets a message"));
            }
            self.serve(index);
        }
        self.settle();
        for index in refused {
            let slot = &mut self.slots[index];
            // What is queued for it is still written, for a while.
            let last = self.now + SessionConfig::default().timeouts.linger;
            slot.must_end = Some(if slot.outbound > 0 { last } else { self.now });
        }
    }

    /// A connection that may not stay ends, and for that reason.
    pub(super) fn check_refused(&self) {
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(last) = slot.must_end else {
                continue;
            };
            let reason = slot.report.as_ref().map(|report| &report.close.reason);
            let right = match reason {
                Some(reason) => matches!(reason, CloseReason::Refused(_)),
                None => self.now <= last,
            };
            if !right {
                self.fail(&format!("connection {index} may not stay, and its end is {reason:?}"));
            }
        }
    }

    /// Each virtual host counts exactly its connected clients.
    pub(super) fn check_counts(&self) {
        let slots = || self.slots.iter().filter_map(|slot| Some((slot, slot.conn.as_ref()?)));
        let streams = self.server.hub().streams();
        for counted in self.server.vhosts() {
            let name = &*counted.name;
            let listed = || streams.iter().filter(|stream| stream.key.vhost() == name);
            let is_published = |id| self.attached.get(id).is_some_and(|attached| attached.publisher.is_some());
            let played = slots().flat_map(|(_, conn)| conn.streams());
            let played = played.filter(|(role, key)| *role == Role::Player && key.vhost() == name);
            let open = slots().flat_map(|(slot, _)| slot.questions.iter());
            let expected = VhostSnapshot {
                name: name.to_owned(),
                enabled: counted.enabled,
                connections: slots().filter(|(_, conn)| conn.vhosts().any(|vhost| vhost == name)).count(),
                // A name that was taken over counts once.
                publishers: listed().filter(|stream| is_published(&stream.id)).count(),
                players: played.count(),
                streams: listed().count(),
                questions: open.filter(|question| question.is_open() && question.vhost() == name).count(),
                applications: counted.applications.iter().map(|one| self.application(&one.name, &streams)).collect(),
            };
            if counted != expected {
                self.fail(&format!("{counted:?} is counted, {expected:?} is there"));
            }
            self.check_limits(&counted);
        }
    }

    /// What is counted of the streams of an application.
    fn application(&self, name: &Arc<str>, streams: &[StreamSnapshot]) -> ApplicationSnapshot {
        let listed = || streams.iter().filter(|stream| stream.group.as_ref() == Some(name));
        let is_published = |id| self.attached.get(id).is_some_and(|attached| attached.publisher.is_some());
        ApplicationSnapshot {
            name: name.clone(),
            publishers: listed().filter(|stream| is_published(&stream.id)).count(),
            players: listed().map(|stream| stream.players).sum(),
            streams: listed().count(),
        }
    }

    /// No client is let in beyond a limit, if the limit never changed.
    fn check_limits(&self, counted: &VhostSnapshot) {
        if self.bounds.changed {
            return;
        }
        let limits = &self.vhost_named(&counted.name).limits;
        for (most, there) in [
            (limits.connections, counted.connections),
            (limits.publishers, counted.publishers),
            (limits.players, counted.players),
            (limits.streams, counted.streams),
            (limits.questions, counted.questions),
        ] {
            if most.is_some_and(|most| there > most as usize) {
                self.fail(&format!("{counted:?}, within {limits:?}"));
            }
        }
        let most = limits.stream_players.map_or(usize::MAX, |most| most as usize);
        let streams = self.server.hub().streams();
        if streams.iter().any(|stream| stream.key.vhost() == counted.name && stream.players > most) {
            self.fail(&format!("more than {most} play one stream: {streams:?}"));
        }
    }
}

impl Slot {
    /// `None` if it is over.
    fn may_stay(&self, config: &Config) -> Option<bool> {
        let conn = self.conn.as_ref()?;
        let may_go_on = |action: Action, key: &StreamKey| {
            let host = config.vhosts.resolve(key.vhost()).accepted().map_or(&config.defaults, |(_, host)| host);
            let allowed = match conn.peer() {
                Some(peer) => host.security.check(action, peer.ip()).is_ok(),
                None => host.security.rules.is_empty(),
            };
            is_there(config, key.vhost()) && allowed
        };
        let used = conn.streams();
        let used = used.map(|(role, key)| (if role == Role::Publisher { Action::Publish } else { Action::Play }, key));
        // The one it is to be let in to, too.
        let asked = self.questions.iter().filter(|question| question.is_open()).map(Question::vhost);
        let asked_there = asked.into_iter().all(|name| is_there(config, name));
        let host_stays = vhost(conn).is_none_or(|name| is_there(config, &name)) && asked_there;
        Some(host_stays && used.chain(self.wanted()).all(|(action, key)| may_go_on(action, key)))
    }

    /// Whether streams that are wanted need the tokens that they needed before.
    fn keep_their_tokens(&self, before: &Config, now: &Config) -> bool {
        let token = |config: &Config, key: &StreamKey| {
            let host = config.vhosts.resolve(key.vhost()).accepted().map_or(&config.defaults, |(_, host)| host);
            host.token.clone()
        };
        self.wanted().all(|(_, key)| token(before, key) == token(now, key))
    }

    /// What is wanted with which stream while a verdict on it is waited for, as far as the question says so.
    fn wanted(&self) -> impl Iterator<Item = (Action, &StreamKey)> {
        let open = self.questions.iter().filter(|question| question.is_open());
        open.filter_map(|question| match &question.ask.subject {
            Subject::Publish(facts) => Some((Action::Publish, &facts.key)),
            Subject::Play(facts) => Some((Action::Play, &facts.key)),
            Subject::Connect | Subject::Traverse(_) => None,
        })
    }
}

/// The virtual host of a connection that is past `connect`.
fn vhost(conn: &Conn) -> Option<String> {
    let facts = conn.facts();
    facts.tc_url.is_some().then_some(facts.vhost)
}

/// Whether there is a virtual host with exactly this name that lets clients in.
fn is_there(config: &Config, name: &str) -> bool {
    if config.vhosts.is_empty() {
        return name == DEFAULT_VHOST;
    }
    config.vhosts.iter().any(|vhost| vhost.enabled && vhost.name == name)
}
