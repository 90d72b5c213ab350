use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{RelayFacts, Wanted};

/// What relays know of the clients that play one name, in the order in which these came.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    all: BTreeMap<u64, Arc<Wish>>,
    refused: usize,
}

/// One client.
#[derive(Debug)]
pub(super) struct Wish {
    number: u64,
    facts: Arc<RelayFacts>,
    /// True once the origins have refused the name to it.
    is_refused: AtomicBool,
}

/// Bytes that one takes, with its place among all: a tree of numbers and references, whose nodes are at least half full.
pub(crate) const WISH: usize = size_of::<Wish>() + 4 * size_of::<(u64, Arc<Wish>)>() + 2 * size_of::<usize>();

impl Wish {
    pub(super) fn new(number: u64, facts: Arc<RelayFacts>) -> Arc<Self> {
        Arc::new(Wish { number, facts, is_refused: AtomicBool::new(false) })
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }
}

impl Wishes {
    pub(super) fn add(&mut self, wish: Arc<Wish>) {
        self.all.insert(wish.number, wish);
    }

    pub(super) fn remove(&mut self, wish: &Wish) {
        if self.all.remove(&wish.number).is_some() && wish.is_refused() {
            self.refused -= 1;
        }
    }

    /// The first one behind this number that was not refused.
    pub(super) fn next(&self, behind: u64) -> Option<Wanted> {
        let next = self.all.range(behind.saturating_add(1)..).find(|(_, wish)| !wish.is_refused());
        next.map(|(number, wish)| Wanted { number: *number, facts: wish.facts.clone() })
    }

    /// Refuses all of whom relays know this. Returns false if there is none.
    pub(super) fn refuse(&mut self, facts: &RelayFacts) -> bool {
        let before = self.refused;
        for wish in self.all.values().filter(|wish| *wish.facts == *facts) {
            self.refused += usize::from(!wish.is_refused.swap(true, Ordering::Relaxed));
        }
        self.refused > before
    }

    pub(super) fn refused(&self) -> usize {
        self.refused
    }
}
