use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::relay::Relay;
use super::{RelayId, RelayKind};

/// How many pulls each virtual host or application has. Anyone can ask for names that no server has: while a pull waits for
/// a server that has the stream, it takes no room of the others.
#[derive(Debug, Default)]
pub(super) struct Room(HashMap<Arc<str>, Pulls>);

#[derive(Debug, Default)]
struct Pulls {
    placed: usize,
    /// The oldest has the lowest number.
    unplaced: BTreeSet<RelayId>,
}

impl Room {
    /// How many pulls have, or had, a server.
    pub(super) fn placed(&self, rules: &Arc<str>) -> usize {
        self.0.get(rules).map_or(0, |pulls| pulls.placed)
    }

    /// How many pulls wait for one.
    pub(super) fn unplaced(&self, rules: &Arc<str>) -> usize {
        self.0.get(rules).map_or(0, |pulls| pulls.unplaced.len())
    }

    /// The one that has waited longest.
    pub(super) fn oldest_unplaced(&self, rules: &Arc<str>) -> Option<RelayId> {
        self.0.get(rules)?.unplaced.first().copied()
    }

    /// Counts a relay, if it is a pull, with the rules and the place that it has now.
    pub(super) fn enter(&mut self, relay: &Relay) {
        if relay.kind() == RelayKind::Pull {
            let pulls = self.0.entry(relay.rules.id.clone()).or_default();
            if relay.is_placed {
                pulls.placed += 1;
            } else {
                pulls.unplaced.insert(relay.id);
            }
        }
    }

    /// No longer counts it: before its rules or its place change, and at its end.
    pub(super) fn leave(&mut self, relay: &Relay) {
        if relay.kind() == RelayKind::Pull
            && let Some(pulls) = self.0.get_mut(&relay.rules.id)
        {
            if relay.is_placed {
                pulls.placed = pulls.placed.saturating_sub(1);
            } else {
                pulls.unplaced.remove(&relay.id);
            }
            if pulls.placed == 0 && pulls.unplaced.is_empty() {
                self.0.remove(&relay.rules.id);
            }
        }
    }
}
