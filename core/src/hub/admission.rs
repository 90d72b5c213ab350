use super::{Busy, Conflict, Holder, Hub, Player, Publisher, Registry, Stream};
use crate::policy::{Counted, Limits, Refusal};
use crate::url::StreamKey;
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a client may not publish or play a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The stream has a publisher already, and it cannot be taken over.
    #[error("{0}")]
    Busy(#[from] Busy),
    /// A limit is reached.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// How many streams and clients a virtual host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Streams that have a publisher or players, clients or the program's own.
    pub streams: usize,
    /// Clients that publish. A superseded publisher does not count.
    pub publishers: usize,
    /// Clients that play, counted once for each stream that they play.
    pub players: usize,
}

/// Admission checks the limits and takes the place under one lock, that of all names: a publisher counts by the name
/// that it holds, and a player as one of its stream's. So the checked numbers are exact, and no other client can come
/// between.
impl Hub {
    /// Takes the publish lock of a name for a client and begins to publish. With [`Conflict::TakeOver`], the client
    /// takes over a name that is published with the same `credentials`, and its place under the limits. The old
    /// publisher is then superseded.
    ///
    /// # Errors
    /// The name is taken, or the limit of streams or publishers is reached. Nothing has changed then.
    pub fn admit_publisher(
        &self,
        key: &StreamKey,
        credentials: &str,
        conflict: Conflict,
        limits: &Limits,
    ) -> Result<Publisher, NotAdmitted> {
        self.begin(key, credentials, true, |registry| registry.may_publish(key, credentials, conflict, limits))
    }

    /// Checks whether a client would be admitted now, without taking the name.
    ///
    /// # Errors
    /// As for [`admit_publisher`](Self::admit_publisher).
    pub fn may_publish(
        &self,
        key: &StreamKey,
        credentials: &str,
        conflict: Conflict,
        limits: &Limits,
    ) -> Result<(), NotAdmitted> {
        self.registry().may_publish(key, credentials, conflict, limits)
    }

    /// Joins a stream as a client, published or not.
    ///
    /// # Errors
    /// The limit of players of this stream, of all players or of streams is reached.
    pub fn admit_player(&self, key: &StreamKey, limits: &Limits) -> Result<Player, Refusal> {
        self.join(key, true, |registry| registry.may_play(key, limits))
    }

    /// Checks whether a client would be admitted now, without joining.
    ///
    /// # Errors
    /// As for [`admit_player`](Self::admit_player).
    pub fn may_play(&self, key: &StreamKey, limits: &Limits) -> Result<(), Refusal> {
        self.registry().may_play(key, limits)
    }

    /// How many streams and clients a virtual host has.
    pub fn counts(&self, vhost: &str) -> Counts {
        self.registry().counts(vhost)
    }

    pub(super) fn begin<E>(
        &self,
        key: &StreamKey,
        credentials: &str,
        client: bool,
        may: impl FnOnce(&Registry) -> Result<(), E>,
    ) -> Result<Publisher, E> {
        // The source is locked under the registry's lock: if two publishers begin at the same time, the one that has
        // the name at the end is also the one whose frames the source takes.
        let mut registry = self.registry();
        may(&registry)?;
        registry.last_holder += 1;
        let number = registry.last_holder;
        let holder = Holder { number, credentials: credentials.into(), client, connection: None };
        let (stream, before) = registry.hold(key, holder, &self.config);
        let (timeline, epoch) = stream.begin();
        drop(registry);
        let took_from = before.and_then(|before| before.held_by());
        Ok(Publisher::new(self.clone(), stream, number, timeline, epoch, took_from))
    }

    pub(super) fn join<E>(
        &self,
        key: &StreamKey,
        client: bool,
        may: impl FnOnce(&Registry) -> Result<(), E>,
    ) -> Result<Player, E> {
        let mut registry = self.registry();
        may(&registry)?;
        let stream = registry.seat(key, client, &self.config);
        drop(registry);
        Ok(Player::join(self.clone(), stream, client))
    }
}

impl Registry {
    fn may_publish(
        &self,
        key: &StreamKey,
        credentials: &str,
        conflict: Conflict,
        limits: &Limits,
    ) -> Result<(), NotAdmitted> {
        let entry = self.streams.get(key);
        match entry.and_then(|entry| entry.holder.as_ref()) {
            Some(holder) if conflict == Conflict::TakeOver && holder.accepts(credentials) => return Ok(()),
            Some(_) => return Err(Busy.into()),
            None => {}
        }
        let counts = self.counts(key.vhost());
        if entry.is_none() {
            limits.check(Counted::Streams, counts.streams)?;
        }
        Ok(limits.check(Counted::Publishers, counts.publishers)?)
    }

    fn may_play(&self, key: &StreamKey, limits: &Limits) -> Result<(), Refusal> {
        let (entry, counts) = (self.streams.get(key), self.counts(key.vhost()));
        limits.check(Counted::Players, counts.players)?;
        limits.check(Counted::StreamPlayers, entry.map_or(0, |entry| entry.clients))?;
        // A player that waits for a publisher creates the stream, too.
        if entry.is_none() { limits.check(Counted::Streams, counts.streams) } else { Ok(()) }
    }

    pub(super) fn counts(&self, vhost: &str) -> Counts {
        self.counts.get(vhost).copied().unwrap_or_default()
    }

    /// Gives the name to this holder, also if it had another one, which is returned.
    fn hold(&mut self, key: &StreamKey, holder: Holder, config: &super::HubConfig) -> (Arc<Stream>, Option<Holder>) {
        let client = holder.client;
        let (entry, counts) = self.entry(key, config);
        let before = entry.holder.replace(holder);
        counts.publishers += usize::from(client);
        counts.publishers -= usize::from(before.as_ref().is_some_and(|before| before.client));
        (entry.stream.clone(), before)
    }

    fn seat(&mut self, key: &StreamKey, client: bool, config: &super::HubConfig) -> Arc<Stream> {
        let (entry, counts) = self.entry(key, config);
        entry.players += 1;
        entry.clients += usize::from(client);
        counts.players += usize::from(client);
        entry.stream.clone()
    }

    /// Notes the connection of a publisher, if it still has the name.
    pub(super) fn name_holder(&mut self, key: &StreamKey, number: u64, connection: (u64, Option<SocketAddr>)) {
        let holder = self.streams.get_mut(key).and_then(|entry| entry.holder.as_mut());
        if let Some(holder) = holder.filter(|holder| holder.number == number) {
            holder.connection = Some(connection);
        }
    }

    /// A publisher is gone: frees the name if the publisher still had it. Returns the stream if it is removed now.
    pub(super) fn give_up(&mut self, key: &StreamKey, number: u64) -> Option<Arc<Stream>> {
        let entry = self.streams.get_mut(key)?;
        if let Some(holder) = entry.holder.take_if(|holder| holder.number == number)
            && let Some(counts) = self.counts.get_mut(key.vhost())
        {
            counts.publishers -= usize::from(holder.client);
        }
        self.remove_unused(key)
    }

    /// A player is gone. Returns the stream if it is removed now.
    pub(super) fn leave(&mut self, key: &StreamKey, client: bool) -> Option<Arc<Stream>> {
        let entry = self.streams.get_mut(key)?;
        entry.players -= 1;
        entry.clients -= usize::from(client);
        if let Some(counts) = self.counts.get_mut(key.vhost()) {
            counts.players -= usize::from(client);
        }
        self.remove_unused(key)
    }

    /// Removes a stream without publisher and players, and the counts of a virtual host without streams.
    fn remove_unused(&mut self, key: &StreamKey) -> Option<Arc<Stream>> {
        if self.streams.get(key).is_none_or(|entry| entry.holder.is_some() || entry.players > 0) {
            return None;
        }
        let entry = self.streams.remove(key)?;
        if let Some(counts) = self.counts.get_mut(key.vhost()) {
            counts.streams -= 1;
            if *counts == Counts::default() {
                self.counts.remove(key.vhost());
            }
        }
        Some(entry.stream)
    }
}
