use std::collections::BTreeMap;

use anabranch_core::chunk::MAX_HEADER;
use anabranch_core::conn::{Attachment, Config, Role, Subject, VhostConfig};
use anabranch_core::hub::{Conflict, StreamId};
use anabranch_core::url::StreamKey;

use super::{Sim, Slot};

/// What a client can make the server queue with one last request, beyond the bound on replies: the answers to it.
const LAST_ANSWER: usize = 4096;

/// Limits of all virtual hosts of a server, under every configuration that was ever in force: a stream or connection
/// keeps the configuration that it began with.
#[derive(Debug)]
pub(super) struct Bounds {
    log: usize,
    queue: usize,
    chunk: usize,
    /// Whether another publisher may take over a name.
    pub(super) takes_over: bool,
    /// True once there was more than one configuration.
    pub(super) changed: bool,
}

impl Bounds {
    pub(super) fn of(config: &Config) -> Self {
        let vhosts = || config.vhosts.iter().map(|vhost| &vhost.settings).chain([&config.defaults]);
        let most = |of: fn(&VhostConfig) -> usize| vhosts().map(of).max().unwrap_or_default();
        Bounds {
            log: most(|vhost| vhost.source.bytes),
            queue: most(|vhost| vhost.high_water) + most(|vhost| vhost.session.limits.replies) + LAST_ANSWER,
            chunk: vhosts().map(|vhost| vhost.session.chunk_size as usize).min().unwrap_or(128),
            takes_over: vhosts().any(|vhost| vhost.conflict == Conflict::TakeOver),
            changed: false,
        }
    }

    /// Adds a configuration; streams and connections that exist keep theirs.
    pub(super) fn widen(&mut self, config: &Config) {
        let other = Bounds::of(config);
        *self = Bounds {
            log: self.log.max(other.log),
            queue: self.queue.max(other.queue),
            chunk: self.chunk.min(other.chunk),
            takes_over: self.takes_over || other.takes_over,
            changed: true,
        };
    }
}

/// An invariant, which returns a description of what is wrong if it does not hold.
pub type Check = fn(&Sim) -> Result<(), String>;

/// Additional invariants.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extra(pub(super) Option<Check>);

/// Which slots are attached to a stream.
#[derive(Debug, Default)]
pub(super) struct Attached {
    /// The slot that publishes it, without those that were taken over.
    pub(super) publisher: Option<usize>,
    /// Slots that play it, and how often each plays it.
    pub(super) players: BTreeMap<usize, usize>,
}

impl Sim {
    /// Checks what must hold at every moment. Every step ends with it, so tests need not call it.
    ///
    /// - No log is over its limit, except by a single message that is larger, and all streams together are within their
    ///   limit.
    /// - A stream is listed exactly while a connection publishes or plays it, with the right number of players. It
    ///   never has two publishers, except while one that was taken over is being closed.
    /// - No connection has more bytes queued than the high-water mark, one message and the bound on replies.
    /// - No question is open beyond its deadline.
    /// - Virtual hosts count exactly: as many publishers as published names, players as are attached, streams as are
    ///   listed, connections as were let in, and questions as are open. Checked when a client comes, goes or asks.
    ///
    /// In addition, every step checks that
    /// - actions are paired, and a connection that has ended sends nothing;
    /// - every question that was not refused is followed by exactly one notice about the same, the notice about the
    ///   connection last, and there are no other notices; before the verdict, no connection is attached and no client
    ///   is told of success;
    /// - every client could read all it got, and every player got what was sent: see [`Playback`](super::Playback);
    /// - time passes.
    ///
    /// # Panics
    /// If any of this does not hold, with the seed and the time.
    pub fn check(&self) {
        if self.bounds.changed {
            self.check_refused();
        }
        let limit = self.bounds.log.max(self.largest_message());
        let memory = self.server.hub().memory();
        if memory.held > memory.limit {
            self.fail(&format!("all streams together hold more than they may: {memory:?}"));
        }
        let nobody = Attached::default();
        let mut listed = 0;
        for stream in self.server.hub().streams() {
            let Attached { publisher, players } = self.attached.get(&stream.id).unwrap_or(&nobody);
            listed += usize::from(publisher.is_some() || !players.is_empty());
            let key = &stream.key;
            if stream.published != publisher.is_some() {
                self.fail(&format!("{key} is listed with published {}, attached is {publisher:?}", stream.published));
            }
            let (least, most) = (players.len(), players.values().sum());
            if !(least..=most).contains(&stream.players) {
                self.fail(&format!("{key} is listed with {} players, attached are {players:?}", stream.players));
            }
            if !stream.published && stream.players == 0 {
                self.fail(&format!("{key} is listed and unused"));
            }
            if stream.log_bytes > limit {
                self.fail(&format!("{} bytes in the log of {key}", stream.log_bytes));
            }
        }
        let mut playing = self.attached.iter().filter(|(_, attached)| !attached.players.is_empty());
        let mut subscribed = self.subscribed.iter();
        let same = |(stream, attached): (&StreamId, &Attached)| {
            subscribed.next().is_some_and(|(other, players)| other == stream && attached.players.keys().eq(players))
        };
        if !playing.all(same) || subscribed.next().is_some() {
            self.fail(&format!("attached are {:?}, subscribed {:?}", self.attached, self.subscribed));
        }
        if listed != self.attached.len() {
            self.fail(&format!("attached to streams that are not listed: {:?}", self.attached));
        }
    }

    #[track_caller]
    pub(super) fn check_questions(&self, index: usize) {
        let late = |slot: &Slot| slot.questions.iter().any(|q| q.is_open() && q.ask.deadline < self.now);
        if self.slots[index].conn.is_some() && late(&self.slots[index]) {
            self.fail(&format!("connection {index} waits for a verdict beyond the deadline"));
        }
    }

    /// Records what a connection is attached to.
    pub(super) fn attach(&mut self, index: usize, attachment: &Attachment) {
        let wanted = |subject: &Subject| match (subject, attachment.role) {
            (Subject::Publish(facts), Role::Publisher)
            | (Subject::Play(facts), Role::Player)
            | (Subject::Traverse(facts), _) => facts.key == attachment.key,
            _ => false,
        };
        if self.slots[index].questions.iter().any(|question| question.is_open() && wanted(&question.ask.subject)) {
            self.fail(&format!("connection {index} is attached before the verdict: {attachment}"));
        }
        let attached = self.attached.entry(attachment.stream).or_default();
        match attachment.role {
            Role::Player => {
                *attached.players.entry(index).or_default() += 1;
                self.slots[index].plays.insert(attachment.stream);
            }
            Role::Publisher => {
                let before = attached.publisher.replace(index);
                self.slots[index].publishes.push(attachment.stream);
                if let Some(before) = before {
                    if !self.may_take_over(before, index, &attachment.key) {
                        self.fail(&format!("connection {index} publishes {} beside {before}", attachment.key));
                    }
                    self.slots[before].superseded.push(attachment.stream);
                }
            }
        }
    }

    fn may_take_over(&self, before: usize, after: usize, key: &StreamKey) -> bool {
        let tokens = |index: usize| {
            let names = self.slots[index].client.names();
            names.filter(|name| name.split('?').next() == Some(key.stream())).map(|name| {
                let mut parameters = name.split(['?', '&']);
                parameters.find_map(|part| part.strip_prefix("token=")).unwrap_or_default()
            })
        };
        let same = tokens(before).any(|token| tokens(after).any(|other| other == token));
        let bounds = &self.bounds;
        // By the rule that was in force when it asked.
        let may = self.vhost_named(key.vhost()).conflict == Conflict::TakeOver || bounds.changed && bounds.takes_over;
        may && same
    }

    /// Records that a connection is no longer attached; false if it was not attached.
    pub(super) fn detach(&mut self, index: usize, role: Role, stream: StreamId) -> bool {
        let slot = &mut self.slots[index];
        let attached = self.attached.get_mut(&stream);
        let known = match role {
            Role::Player => {
                slot.plays.remove(&stream) && attached.is_some_and(|attached| attached.players.remove(&index).is_some())
            }
            Role::Publisher => {
                let at = slot.publishes.iter().position(|publishes| *publishes == stream);
                at.map(|at| slot.publishes.swap_remove(at));
                match slot.superseded.iter().position(|superseded| *superseded == stream) {
                    Some(superseded) => {
                        slot.superseded.swap_remove(superseded);
                        at.is_some()
                    }
                    None => {
                        at.is_some()
                            && attached.is_some_and(|attached| attached.publisher.take_if(|p| *p == index).is_some())
                    }
                }
            }
        };
        if self.attached.get(&stream).is_some_and(|left| left.publisher.is_none() && left.players.is_empty()) {
            self.attached.remove(&stream);
        }
        known
    }

    pub(super) fn note_outbound(&mut self, index: usize) {
        let bound = self.bounds.queue + self.largest_message();
        let slot = &mut self.slots[index];
        slot.outbound = slot.conn.as_mut().map_or(0, |conn| conn.outbound().len());
        slot.most_outbound = slot.most_outbound.max(slot.outbound);
        if slot.outbound > bound {
            let outbound = slot.outbound;
            self.fail(&format!("{outbound} bytes queued for client {index}, over {bound}"));
        }
    }

    /// The largest message any encoder sent, in its size for players.
    fn largest_message(&self) -> usize {
        let body = self.archive.largest();
        let chunks = body / self.bounds.chunk + 1;
        body + MAX_HEADER + chunks * 5
    }
}
