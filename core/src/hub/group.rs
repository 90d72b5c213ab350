use std::collections::HashMap;
use std::sync::Arc;

use super::{Entry, Hub};
use crate::policy::Limits;
use crate::url::StreamKey;

/// A group of streams of one virtual host that has its own counts and limits: an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What identifies it among the groups of its virtual host.
    pub name: Arc<str>,
    /// The limits of its streams, publishers and players, in addition to those of the virtual host.
    pub limits: Limits,
}

/// How many streams and clients a virtual host or a [`Group`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Streams that have a publisher or players, clients or the program's own.
    pub streams: usize,
    /// Clients that publish. A superseded publisher does not count.
    pub publishers: usize,
    /// Clients that play, counted once for each stream that they play.
    pub players: usize,
}

impl Counts {
    fn add(&mut self, more: Counts) {
        self.streams += more.streams;
        self.publishers += more.publishers;
        self.players += more.players;
    }

    fn remove(&mut self, less: Counts) {
        self.streams -= less.streams;
        self.publishers -= less.publishers;
        self.players -= less.players;
    }
}

/// The counts of a virtual host. Each stream counts once in `all`, and once in its group.
#[derive(Debug, Default)]
pub(super) struct HostCounts {
    pub(super) all: Counts,
    /// Those of the groups that have streams.
    groups: HashMap<Arc<str>, Counts>,
}

impl HostCounts {
    pub(super) fn of_group(&self, name: &str) -> Counts {
        self.groups.get(name).copied().unwrap_or_default()
    }

    /// Adds the counts of a stream.
    pub(super) fn add(&mut self, group: Option<&Arc<str>>, counts: Counts) {
        self.all.add(counts);
        self.add_to_group(group, counts);
    }

    /// Removes the counts of a stream.
    pub(super) fn remove(&mut self, group: Option<&Arc<str>>, counts: Counts) {
        self.all.remove(counts);
        self.remove_from_group(group, counts);
    }

    /// Changes a stream, and its counts with it.
    pub(super) fn change<T>(&mut self, entry: &mut Entry, change: impl FnOnce(&mut Entry) -> T) -> T {
        let before = entry.counts();
        let changed = change(entry);
        let after = entry.counts();
        if before != after {
            let group = entry.group.as_ref().and_then(|name| self.groups.get_mut(name));
            for counts in [Some(&mut self.all), group].into_iter().flatten() {
                counts.add(after);
                counts.remove(before);
            }
        }
        changed
    }

    /// The stream belongs to another group: all that is counted of it is counted there from now on, even if that exceeds
    /// the limits of the group.
    pub(super) fn move_to(&mut self, group: Option<&Arc<str>>, entry: &mut Entry) {
        if entry.group.as_ref() != group {
            let counts = entry.counts();
            self.remove_from_group(entry.group.as_ref(), counts);
            self.add_to_group(group, counts);
            entry.group = group.cloned();
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.all == Counts::default()
    }

    fn add_to_group(&mut self, group: Option<&Arc<str>>, counts: Counts) {
        if let Some(name) = group {
            self.groups.entry(name.clone()).or_default().add(counts);
        }
    }

    fn remove_from_group(&mut self, group: Option<&Arc<str>>, counts: Counts) {
        if let Some(name) = group
            && let Some(left) = self.groups.get_mut(name)
        {
            left.remove(counts);
            if *left == Counts::default() {
                self.groups.remove(name);
            }
        }
    }
}

impl Hub {
    /// The same hub for the streams of a group: those that are published or played through it count in the group. A
    /// running stream that was in another group moves with all that is counted of it.
    #[must_use]
    pub fn with_group(&self, group: Option<Group>) -> Self {
        Hub { group: group.map(Arc::new), ..self.clone() }
    }

    /// Moves a stream into this hub's group, if there is such a stream.
    pub fn regroup(&self, key: &StreamKey) {
        let mut registry = self.registry();
        let registry = &mut *registry;
        if let (Some(entry), Some(counts)) = (registry.streams.get_mut(key), registry.counts.get_mut(key.vhost())) {
            counts.move_to(self.group.as_ref().map(|group| &group.name), entry);
        }
    }

    /// How many streams and clients a virtual host has.
    pub fn counts(&self, vhost: &str) -> Counts {
        self.registry().counts.get(vhost).map(|counts| counts.all).unwrap_or_default()
    }

    /// How many streams and clients a group of a virtual host has.
    pub fn group_counts(&self, vhost: &str, group: &str) -> Counts {
        self.registry().counts.get(vhost).map(|counts| counts.of_group(group)).unwrap_or_default()
    }

    /// The same for all groups of a virtual host that have streams, by name.
    pub fn groups(&self, vhost: &str) -> HashMap<Arc<str>, Counts> {
        self.registry().counts.get(vhost).map(|counts| counts.groups.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Conflict, HubConfig, NotAdmitted};
    use super::*;
    use crate::policy::{Counted, Refusal};
    use crate::url::DEFAULT_VHOST;

    #[allow(clippy::disallowed_methods)] // any instant will do: core only compares
    fn any_instant() -> std::time::Instant {
        std::time::Instant::now()
    }

    fn key(app: &str, stream: &str) -> StreamKey {
        StreamKey::new(DEFAULT_VHOST, app, stream).expect("a good name")
    }

    fn group(name: &str, limits: Limits) -> Option<Group> {
        Some(Group { name: name.into(), limits })
    }

    #[test]
    fn groups_have_counts_and_limits_in_addition_to_those_of_the_virtual_host() {
        let hub = Hub::new(HubConfig::default());
        let few = hub.with_group(group("few", Limits { publishers: Some(1), players: Some(2), ..Limits::NONE }));
        let rest = hub.with_group(None);
        let all = Limits { players: Some(3), ..Limits::NONE };
        let publish = |hub: &Hub, key: &StreamKey| hub.admit_publisher(any_instant(), key, "", Conflict::Reject, &all);
        let publisher = publish(&few, &key("few", "a")).expect("it is the first");
        let refused = publish(&few, &key("few", "b")).expect_err("one is the most");
        assert_eq!(refused, NotAdmitted::Refused(Refusal::Limit(Counted::Publishers)));
        let _other = publish(&rest, &key("rest", "a")).expect("it is in no group");
        let players: Vec<_> =
            (0..2).map(|_| few.admit_player(&key("few", "a"), &all).expect("there is room")).collect();
        let limit = Refusal::Limit(Counted::Players);
        assert_eq!(few.admit_player(&key("few", "b"), &all).expect_err("two is the most"), limit);
        let _third = rest.admit_player(&key("rest", "a"), &all).expect("there is room in the virtual host");
        assert_eq!(rest.admit_player(&key("rest", "a"), &all).expect_err("three is the most"), limit);
        assert_eq!(hub.group_counts(DEFAULT_VHOST, "few"), Counts { streams: 1, publishers: 1, players: 2 });
        assert_eq!(hub.counts(DEFAULT_VHOST), Counts { streams: 2, publishers: 2, players: 3 });
        let groups: Vec<_> = hub.streams().into_iter().map(|stream| stream.group).collect();
        assert_eq!(groups, [Some("few".into()), None]);
        drop((publisher, players));
        assert_eq!(hub.group_counts(DEFAULT_VHOST, "few"), Counts::default());
        assert!(publish(&few, &key("few", "b")).is_ok());
    }

    #[test]
    fn a_stream_moves_with_all_that_is_counted_of_it() {
        let hub = Hub::new(HubConfig::default());
        let limits = Limits { players: Some(1), ..Limits::NONE };
        let (one, other) = (hub.with_group(group("one", Limits::NONE)), hub.with_group(group("other", limits)));
        let key = key("live", "cam");
        let publisher =
            one.admit_publisher(any_instant(), &key, "", Conflict::Reject, &Limits::NONE).expect("it is free");
        let players: Vec<_> = (0..2).map(|_| one.admit_player(&key, &Limits::NONE).expect("no limit")).collect();
        other.regroup(&key);
        assert_eq!(hub.group_counts(DEFAULT_VHOST, "one"), Counts::default());
        let moved = Counts { streams: 1, publishers: 1, players: 2 };
        assert_eq!(hub.group_counts(DEFAULT_VHOST, "other"), moved, "more than its limit");
        assert!(other.admit_player(&key, &Limits::NONE).is_err());
        // The next grant moves it as well.
        let third = one.admit_player(&key, &Limits::NONE).expect("no limit");
        assert_eq!(hub.group_counts(DEFAULT_VHOST, "one"), Counts { players: 3, ..moved });
        drop((publisher, players, third));
        one.regroup(&key);
        assert!(hub.streams().is_empty());
        assert_eq!(hub.group_counts(DEFAULT_VHOST, "one"), Counts::default());
    }
}
