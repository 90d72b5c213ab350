use super::backup::{BackupPlace, Rank, Reserve, Standby, Waits};
use super::group::{Counts, Group};
use super::publisher::Begins;
use super::{Busy, Conflict, Entry, Holder, Holds, Hub, Player, Publisher, Registry, Stream, Wish};
use crate::policy::{Counted, Limits, Refusal};
use crate::source::Timeline;
use crate::url::StreamKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// How a publisher comes to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joins {
    /// It has the name alone, or takes it over.
    Alone,
    /// It stands by at this time if a client has the name.
    Backup(Instant),
    /// It stands by, because another server has the name.
    Elsewhere,
}

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

/// Admission checks the limits and takes the place under one lock, that of all names: a publisher counts by the name
/// that it holds, and a player as one of its stream's. So the checked numbers are exact, and no other client can come
/// between. The limits that a caller gives hold for the virtual host; those of the hub's [group](Group) hold in
/// addition.
impl Hub {
    /// Takes the publish lock of a name for a client and begins to publish. With [`Conflict::TakeOver`], the client
    /// takes over a name that is published with the same `credentials`, and its place under the limits. The old
    /// publisher is then superseded. With [`Conflict::Backup`], a client stands by if the name has a publisher that is a
    /// client.
    ///
    /// # Errors
    /// The name is taken, or the limit of streams or publishers is reached. Nothing has changed then.
    pub fn admit_publisher(
        &self,
        now: Instant,
        key: &StreamKey,
        credentials: &str,
        conflict: Conflict,
        limits: &Limits,
    ) -> Result<Publisher, NotAdmitted> {
        let joins = if conflict == Conflict::Backup { Joins::Backup(now) } else { Joins::Alone };
        self.begin(key, credentials, Holds::Client, joins, |registry| {
            self.check_publisher(now, registry, key, credentials, conflict, limits)
        })
    }

    /// A client publishes a name that another server of the cluster has: it stands by here, and has the name when
    /// [`name_is_here`](Self::name_is_here) says so.
    ///
    /// # Errors
    /// Another client stands by, the program publishes the name here, or the limit of streams or publishers is reached.
    pub(crate) fn admit_backup_of_elsewhere(
        &self,
        now: Instant,
        key: &StreamKey,
        limits: &Limits,
    ) -> Result<Publisher, NotAdmitted> {
        self.begin(key, "", Holds::Client, Joins::Elsewhere, |registry| {
            let entry = registry.streams.get(key);
            let place =
                entry.map_or(Some(BackupPlace::More), |entry| entry.backup_place(now, self.config().backup, true));
            match place {
                Some(BackupPlace::Instead) => Ok(()),
                Some(BackupPlace::More) => self.check_limits(registry, key, limits),
                None => Err(Busy.into()),
            }
        })
    }

    /// Checks whether a client would be admitted now, without taking the name.
    ///
    /// # Errors
    /// As for [`admit_publisher`](Self::admit_publisher).
    pub fn may_publish(
        &self,
        now: Instant,
        key: &StreamKey,
        credentials: &str,
        conflict: Conflict,
        limits: &Limits,
    ) -> Result<(), NotAdmitted> {
        self.check_publisher(now, &self.registry(), key, credentials, conflict, limits)
    }

    /// Joins a stream as a client, published or not.
    ///
    /// # Errors
    /// The limit of players of this stream, of all players or of streams is reached.
    pub fn admit_player(&self, key: &StreamKey, limits: &Limits) -> Result<Player, Refusal> {
        self.join(key, true, |registry| self.check_player(registry, key, limits))
    }

    /// Checks whether a client would be admitted now, without joining.
    ///
    /// # Errors
    /// As for [`admit_player`](Self::admit_player).
    pub fn may_play(&self, key: &StreamKey, limits: &Limits) -> Result<(), Refusal> {
        self.check_player(&self.registry(), key, limits)
    }

    pub(super) fn begin<E>(
        &self,
        key: &StreamKey,
        credentials: &str,
        role: Holds,
        joins: Joins,
        may: impl FnOnce(&Registry) -> Result<(), E>,
    ) -> Result<Publisher, E> {
        // The source is locked under the registry's lock: if two publishers begin at the same time, the one that has
        // the name at the end is also the one whose frames the source takes.
        let mut registry = self.registry();
        may(&registry)?;
        registry.last_holder += 1;
        let number = registry.last_holder;
        let rules = self.config().backup;
        let entry = registry.streams.get(key);
        let falls_back = entry.is_some_and(Entry::falls_back);
        let place = |now, is_elsewhere| entry.and_then(|entry| entry.backup_place(now, rules, is_elsewhere));
        let has_client =
            entry.and_then(|entry| entry.holder.as_ref()).is_some_and(|holder| holder.role == Holds::Client);
        let waits = match joins {
            Joins::Elsewhere => Some(Waits::Name),
            Joins::Backup(now) if has_client || falls_back && place(now, false) == Some(BackupPlace::More) => {
                Some(Waits::Turn)
            }
            // A publisher that waits for the name of another server has the only place.
            _ if falls_back && !entry.is_some_and(Entry::waits_for_name) => Some(Waits::Start),
            Joins::Backup(_) | Joins::Alone => None,
        };
        if matches!(waits, Some(Waits::Name | Waits::Turn)) {
            registry.end_fallback(key);
        }
        let entry = registry.streams.get(key);
        let other = entry.and_then(|entry| {
            let reserve = entry.reserve.as_ref().map(|reserve| &reserve.holder);
            entry.holder.as_ref().filter(|holder| holder.role == Holds::Client).or(reserve)
        });
        let rank = match (joins, waits) {
            (Joins::Elsewhere, _) => Rank::Second,
            (Joins::Backup(_), Some(Waits::Turn) | None) => other.map_or(Rank::First, |other| other.rank.other()),
            _ => Rank::First,
        };
        let holder = Holder {
            number,
            credentials: credentials.into(),
            role,
            connection: None,
            facts: self.client.clone(),
            publication: number,
            published_by: self.client.clone(),
            rank,
            stood_by: None,
        };
        if let Some(waits) = waits {
            let (stream, standby) = registry.stand_by(key, holder, waits, self);
            stream.awaited.store(waits == Waits::Start, std::sync::atomic::Ordering::Relaxed);
            drop(registry);
            if waits != Waits::Turn {
                self.changed(key);
            }
            let timeline = Timeline::new(self.config().timestamps);
            let begins = Begins::StandsBy { standby, timeline, is_backup: waits != Waits::Start };
            return Ok(Publisher::new(self.clone(), stream, number, rank, begins, None));
        }
        let (stream, before) = registry.hold(key, holder, self);
        let (timeline, epoch) = stream.begin(role);
        drop(registry);
        self.changed(key);
        let took_from = before.and_then(|before| before.held_by());
        Ok(Publisher::new(self.clone(), stream, number, rank, Begins::OnAir { timeline, epoch }, took_from))
    }

    pub(super) fn join<E>(
        &self,
        key: &StreamKey,
        client: bool,
        may: impl FnOnce(&Registry) -> Result<(), E>,
    ) -> Result<Player, E> {
        let mut registry = self.registry();
        may(&registry)?;
        let (stream, wish, is_first) = registry.seat(key, client, self);
        drop(registry);
        if is_first {
            self.changed(key);
        }
        Ok(Player::join(self.clone(), stream, client, wish))
    }

    /// A player of the program wants the stream from wherever it is, or does so no more.
    pub(super) fn ask(&self, key: &StreamKey, asks: bool) {
        if let Some(entry) = self.registry().streams.get_mut(key) {
            entry.asking = if asks { entry.asking + 1 } else { entry.asking.saturating_sub(1) };
        }
        self.changed(key);
    }

    fn check_publisher(
        &self,
        now: Instant,
        registry: &Registry,
        key: &StreamKey,
        credentials: &str,
        conflict: Conflict,
        limits: &Limits,
    ) -> Result<(), NotAdmitted> {
        let entry = registry.streams.get(key);
        if let Some((entry, holder)) = entry.and_then(|entry| Some((entry, entry.publisher()?))) {
            let takes = conflict == Conflict::TakeOver && holder.accepts(credentials);
            let yields = self.relays_yield && holder.role == Holds::Relay;
            let backs_up = conflict == Conflict::Backup && !yields;
            let place = backs_up.then(|| entry.backup_place(now, self.config().backup, false)).flatten();
            // One that has stalled gives its place under the limits, too.
            if takes || place == Some(BackupPlace::Instead) {
                return Ok(());
            }
            if !yields && place.is_none() {
                return Err(Busy.into());
            }
        }
        self.check_limits(registry, key, limits)
    }

    /// Whether there is room for one more publisher.
    fn check_limits(&self, registry: &Registry, key: &StreamKey, limits: &Limits) -> Result<(), NotAdmitted> {
        let entry = registry.streams.get(key);
        for (limits, counts) in self.limited(registry, key, limits) {
            if entry.is_none() {
                limits.check(Counted::Streams, counts.streams)?;
            }
            limits.check(Counted::Publishers, counts.publishers)?;
        }
        Ok(())
    }

    /// Whether a client may publish the name.
    pub(super) fn is_free_in(&self, registry: &Registry, key: &StreamKey) -> Result<(), Busy> {
        let holder = registry.streams.get(key).and_then(Entry::publisher);
        let holder = holder.filter(|holder| !self.relays_yield || holder.role != Holds::Relay);
        holder.map_or(Ok(()), |_| Err(Busy))
    }

    fn check_player(&self, registry: &Registry, key: &StreamKey, limits: &Limits) -> Result<(), Refusal> {
        let entry = registry.streams.get(key);
        for (limits, counts) in self.limited(registry, key, limits) {
            limits.check(Counted::Players, counts.players)?;
            limits.check(Counted::StreamPlayers, entry.map_or(0, |entry| entry.clients))?;
            // A player that waits for a publisher creates the stream, too.
            if entry.is_none() {
                limits.check(Counted::Streams, counts.streams)?;
            }
        }
        Ok(())
    }

    /// The limits of the virtual host and of the group, each with its counts.
    fn limited<'a>(
        &'a self,
        registry: &Registry,
        key: &StreamKey,
        limits: &'a Limits,
    ) -> impl Iterator<Item = (&'a Limits, Counts)> {
        let counts = registry.counts.get(key.vhost());
        let all = counts.map(|counts| counts.all).unwrap_or_default();
        let of_group = self
            .group
            .as_deref()
            .map(|Group { name, limits }| (limits, counts.map(|counts| counts.of_group(name)).unwrap_or_default()));
        std::iter::once((limits, all)).chain(of_group)
    }
}

impl Registry {
    /// Whether a name has no publisher.
    pub(super) fn is_free(&self, key: &StreamKey) -> Result<(), Busy> {
        self.streams.get(key).and_then(Entry::publisher).map_or(Ok(()), |_| Err(Busy))
    }

    /// Gives the name to this holder, also if it had another one, which is returned.
    fn hold(&mut self, key: &StreamKey, holder: Holder, hub: &Hub) -> (Arc<Stream>, Option<Holder>) {
        let is_publisher = matches!(holder.role, Holds::Client | Holds::Passed | Holds::Program);
        self.change(key, hub, |entry| {
            if let Some(reserve) = entry.reserve.as_ref().filter(|_| is_publisher) {
                reserve.standby.turns();
            }
            entry.holder.replace(holder)
        })
    }

    /// Has this publisher stand by for the name, instead of the one that did.
    fn stand_by(&mut self, key: &StreamKey, holder: Holder, waits: Waits, hub: &Hub) -> (Arc<Stream>, Arc<Standby>) {
        let (stream, (standby, before)) = self.change(key, hub, |entry| {
            let standby = Standby::new(&entry.stream, hub, waits);
            let before = entry.reserve.replace(Reserve { holder, standby: standby.clone() });
            (standby, before)
        });
        if let Some(before) = before {
            before.standby.release();
        }
        (stream, standby)
    }

    /// Whether the publisher of this number has the name.
    pub(super) fn holds(&self, key: &StreamKey, number: u64) -> bool {
        let holder = self.streams.get(key).and_then(|entry| entry.holder.as_ref());
        holder.is_some_and(|holder| holder.number == number)
    }

    /// Also returns what relays know of the client, and true if it is the first client that waits or plays.
    fn seat(&mut self, key: &StreamKey, client: bool, hub: &Hub) -> (Arc<Stream>, Option<Arc<Wish>>, bool) {
        let facts = hub.client.as_ref().filter(|_| client);
        let wish = facts.map(|facts| {
            self.last_wish += 1;
            Wish::new(self.last_wish, facts.clone())
        });
        let (stream, is_first) = self.change(key, hub, |entry| {
            let is_first = client && entry.wanting() == 0;
            if let Some(wish) = &wish {
                entry.wishes.add(wish.clone());
            }
            entry.players += 1;
            entry.clients += usize::from(client);
            is_first
        });
        (stream, wish, is_first)
    }

    fn change<T>(&mut self, key: &StreamKey, hub: &Hub, change: impl FnOnce(&mut Entry) -> T) -> (Arc<Stream>, T) {
        let (entry, counts) = self.entry(key, hub);
        let changed = counts.change(entry, change);
        (entry.stream.clone(), changed)
    }

    /// Notes the connection of a publisher, if it still has the name.
    pub(super) fn name_holder(&mut self, key: &StreamKey, number: u64, connection: (u64, Option<SocketAddr>)) {
        let Some(entry) = self.streams.get_mut(key) else {
            return;
        };
        let reserve = entry.reserve.as_mut().map(|reserve| &mut reserve.holder);
        for holder in entry.holder.iter_mut().chain(reserve).filter(|holder| holder.number == number) {
            holder.connection = Some(connection);
        }
    }

    /// A publisher is gone: frees the name if the publisher still had it. Returns the stream if it is removed now, and
    /// whether the name was freed.
    pub(super) fn give_up(&mut self, key: &StreamKey, number: u64) -> (Option<Arc<Stream>>, bool) {
        let mut freed = false;
        let removed =
            self.reduce(key, |entry| freed = entry.holder.take_if(|holder| holder.number == number).is_some());
        (removed, freed)
    }

    /// A player is gone. Returns the stream if it is removed now, and whether it was the last client that waited or played.
    pub(super) fn leave(&mut self, key: &StreamKey, client: bool, wish: Option<&Wish>) -> (Option<Arc<Stream>>, bool) {
        let mut was_last = false;
        let removed = self.reduce(key, |entry| {
            entry.players -= 1;
            entry.clients -= usize::from(client);
            if let Some(wish) = wish {
                entry.wishes.remove(wish);
            }
            was_last = client && entry.wanting() == 0;
        });
        (removed, was_last)
    }

    /// Changes a stream, and removes it if it has no publisher and no players then. Then also removes the counts of a
    /// virtual host or group without streams.
    fn reduce(&mut self, key: &StreamKey, change: impl FnOnce(&mut Entry)) -> Option<Arc<Stream>> {
        let (entry, counts) = (self.streams.get_mut(key)?, self.counts.get_mut(key.vhost())?);
        counts.change(entry, change);
        if entry.holder.is_some() || entry.reserve.is_some() || entry.players > 0 {
            return None;
        }
        let entry = self.streams.remove(key)?;
        counts.remove(entry.group.as_ref(), entry.counts());
        if counts.is_unused() {
            self.counts.remove(key.vhost());
        }
        Some(entry.stream)
    }
}
