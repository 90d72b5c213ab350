use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::{FindId, Owner};

/// What the directory has said of a name.
#[derive(Debug)]
struct Entry {
    owner: Option<Owner>,
    said: Instant,
    fresh_until: Instant,
}

/// The questions for one name, which wait for one reply.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Until when.
    pub(super) deadline: Instant,
    pub(super) finds: Vec<FindId>,
    /// The highest number of a lease that was told of meanwhile.
    told: u64,
    /// True if it is remembered that no server has the name.
    notes_absence: bool,
}

/// Where streams are, as the directory has said, and the questions that wait for it.
#[derive(Debug)]
pub(super) struct Cache {
    most: usize,
    entries: BTreeMap<Arc<str>, Entry>,
    /// The same names by the time of the answer, so that the oldest can go: first those that no server had. Anyone can ask
    /// for names that are nowhere, and the others are needed while the directory is away.
    by_age: BTreeSet<(bool, Instant, Arc<str>)>,
    waiting: BTreeMap<Arc<str>, Waiting>,
    names: BTreeMap<FindId, Arc<str>>,
}

/// Whether a question waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// It is the first for its name.
    First,
    /// Others wait for the same name.
    WithOthers,
    /// Too many names are asked for.
    No,
}

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Cache {
            most,
            entries: BTreeMap::new(),
            by_age: BTreeSet::new(),
            waiting: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What was said of the name a moment ago.
    pub(super) fn fresh(&self, name: &str, now: Instant) -> Option<&Option<Owner>> {
        self.entries.get(name).filter(|entry| entry.fresh_until > now).map(|entry| &entry.owner)
    }

    /// What was said last, however long ago.
    pub(super) fn last(&self, name: &str) -> Option<&Option<Owner>> {
        self.entries.get(name).map(|entry| &entry.owner)
    }

    pub(super) fn put(&mut self, name: &Arc<str>, owner: Option<Owner>, now: Instant, fresh_until: Instant) {
        self.forget(name);
        self.by_age.insert((owner.is_some(), now, name.clone()));
        self.entries.insert(name.clone(), Entry { owner, said: now, fresh_until });
        if self.entries.len() > self.most
            && let Some((_, _, oldest)) = self.by_age.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }

    pub(super) fn forget(&mut self, name: &Arc<str>) {
        if let Some(entry) = self.entries.remove(name) {
            self.by_age.remove(&(entry.owner.is_some(), entry.said, name.clone()));
        }
    }

    /// A lease with this number is told of: what is remembered counts only if the directory does not answer, and an answer
    /// that is on its way may be older.
    pub(super) fn outdate(&mut self, name: &str, now: Instant, fencing: u64) {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.told = waiting.told.max(fencing);
        }
        if let Some(entry) = self.entries.get_mut(name) {
            entry.fresh_until = now;
        }
    }

    /// The highest number of a lease that is known of the name; 0 if none is.
    pub(super) fn fencing(&self, name: &str) -> u64 {
        self.last(name).and_then(Option::as_ref).map_or(0, |owner| owner.fencing).max(self.told(name))
    }

    /// The highest number that was told of while questions for the name wait; 0 if none was.
    pub(super) fn told(&self, name: &str) -> u64 {
        self.waiting.get(name).map_or(0, |waiting| waiting.told)
    }

    /// True if it is to be remembered that no server has the name, or if something else is remembered of it.
    pub(super) fn notes_absence(&self, name: &str) -> bool {
        self.entries.contains_key(name) || self.waiting.get(name).is_none_or(|waiting| waiting.notes_absence)
    }

    /// Adds a question; `deadline` holds if it is the first for its name. If all questions for the name come of anyone, it
    /// is not remembered that no server has it.
    pub(super) fn wait(&mut self, name: &Arc<str>, find: FindId, deadline: Instant, by_anyone: bool) -> Waits {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.finds.push(find);
            waiting.notes_absence |= !by_anyone;
            self.names.insert(find, name.clone());
            return Waits::WithOthers;
        }
        if self.waiting.len() >= self.most {
            return Waits::No;
        }
        self.waiting.insert(name.clone(), Waiting { deadline, finds: vec![find], told: 0, notes_absence: !by_anyone });
        self.names.insert(find, name.clone());
        Waits::First
    }

    /// The caller no longer waits. The request for the name is on its way, so others that come have its answer.
    pub(super) fn abandon(&mut self, find: FindId) {
        if let Some(name) = self.names.remove(&find)
            && let Some(waiting) = self.waiting.get_mut(&name)
        {
            waiting.finds.retain(|other| *other != find);
        }
    }

    /// The names that are asked for.
    pub(super) fn waiting(&self) -> Vec<Arc<str>> {
        self.waiting.keys().cloned().collect()
    }

    /// The questions for a name, which has an answer now.
    pub(super) fn take_waiting(&mut self, name: &str) -> Option<Waiting> {
        let waiting = self.waiting.remove(name)?;
        for find in &waiting.finds {
            self.names.remove(find);
        }
        Some(waiting)
    }
}
