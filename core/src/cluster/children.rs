use std::collections::HashMap;
use std::sync::Arc;

use super::{Member, SignedPull, TreeTotals};
use crate::url::StreamKey;

/// The most connections of one server that pull one stream at one time: the one that it uses, and the one that replaces it.
const MOST_CONNECTIONS: usize = 2;

/// The servers of the cluster that pull streams from here: a tree of servers grows from the owner of each stream.
#[derive(Debug, Default)]
pub(crate) struct Children {
    seats: HashMap<SeatNumber, Seat>,
    by_key: HashMap<StreamKey, Branch>,
    last_number: u64,
    totals: TreeTotals,
}

/// Names the connection of a server that pulls a stream; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SeatNumber(u64);

#[derive(Debug)]
struct Seat {
    connection: u64,
    pull: SignedPull,
    /// True once the stream was granted to it.
    is_served: bool,
}

/// The connections that pull a stream, in the order in which they came.
#[derive(Debug, Default)]
struct Branch {
    seats: Vec<SeatNumber>,
    /// How many were sent to a child: each to the next one.
    turn: usize,
}

/// How far the tree may grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) children: usize,
    pub(crate) depth: u8,
}

/// What a server is told that pulls a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It gets the stream; beyond the number of children, if it is `over`.
    Here { over: bool },
    /// Another server that gets the stream from here has room for it.
    At(Member),
}

impl Children {
    /// A server connects to pull a stream. `None` if it has too many connections for that.
    pub(crate) fn enter(&mut self, connection: u64, pull: SignedPull) -> Option<SeatNumber> {
        let branch = self.by_key.entry(pull.key.clone()).or_default();
        let is_its = |seat: &&SeatNumber| self.seats.get(seat).is_some_and(|seat| seat.pull.by.node == pull.by.node);
        if branch.seats.iter().filter(is_its).count() >= MOST_CONNECTIONS {
            return None;
        }
        self.last_number += 1;
        let number = SeatNumber(self.last_number);
        branch.seats.push(number);
        self.seats.insert(number, Seat { connection, pull, is_served: false });
        Some(number)
    }

    /// The connection is over. Returns the stream that it got.
    pub(crate) fn leave(&mut self, number: SeatNumber) -> Option<StreamKey> {
        let seat = self.seats.remove(&number)?;
        if let Some(branch) = self.by_key.get_mut(&seat.pull.key) {
            branch.seats.retain(|known| *known != number);
            if branch.seats.is_empty() {
                self.by_key.remove(&seat.pull.key);
            }
        }
        seat.is_served.then_some(seat.pull.key)
    }

    /// A server asks for its stream, which this one has.
    pub(crate) fn ask(&mut self, number: SeatNumber, shape: Shape) -> Option<Told> {
        let pull = self.seats.get(&number)?.pull.clone();
        let told = self.decide(&pull, shape);
        match &told {
            Told::Here { over } => {
                self.totals.over += u64::from(*over);
                self.seats.get_mut(&number)?.is_served = true;
            }
            Told::At(_) => self.totals.referred += 1,
        }
        Some(told)
    }

    fn decide(&mut self, pull: &SignedPull, shape: Shape) -> Told {
        let mut known: Vec<&Arc<str>> = Vec::new();
        let mut others = Vec::new();
        for seat in self.served(&pull.key) {
            let node = &seat.pull.by.node;
            if *node == pull.by.node {
                // It replaces its connection.
                return Told::Here { over: false };
            }
            if known.contains(&node) {
                continue;
            }
            known.push(node);
            // One that is there under another lease, or at another place of the tree, does not give the stream to others.
            let has_it = seat.pull.fencing == pull.fencing && seat.pull.hop == pull.hop;
            if has_it && !pull.avoid.contains(node) {
                others.push(seat.pull.by.clone());
            }
        }
        let is_full = shape.children > 0 && known.len() >= shape.children;
        if !is_full {
            return Told::Here { over: false };
        }
        // One that was sent to several servers in vain is not sent to another one.
        let may_send = pull.hop < shape.depth && pull.avoid.len() < super::MOST_AVOIDED && !others.is_empty();
        let Some(branch) = self.by_key.get_mut(&pull.key).filter(|_| may_send) else {
            return Told::Here { over: true };
        };
        branch.turn = branch.turn.wrapping_add(1);
        Told::At(others.swap_remove((branch.turn - 1) % others.len()))
    }

    fn served(&self, key: &StreamKey) -> impl Iterator<Item = &Seat> {
        let seats = self.by_key.get(key).into_iter().flat_map(|branch| &branch.seats);
        seats.filter_map(|number| self.seats.get(number)).filter(|seat| seat.is_served)
    }

    /// How many connections of other servers get the stream.
    pub(crate) fn count(&self, key: &StreamKey) -> usize {
        self.served(key).count()
    }

    /// The connections that must not get the stream any longer, now that this server is at this place of the tree: their
    /// servers are not below it, and it might get the stream from them.
    pub(crate) fn misplaced(&self, key: &StreamKey, fencing: u64, hop: u8) -> Vec<u64> {
        let is_misplaced = |seat: &&Seat| seat.pull.fencing == fencing && seat.pull.hop <= hop;
        self.served(key).filter(is_misplaced).map(|seat| seat.connection).collect()
    }

    /// The ids of the servers that get each stream from here.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&StreamKey, Vec<Arc<str>>)> {
        self.by_key.keys().filter_map(|key| {
            let mut nodes: Vec<Arc<str>> = self.served(key).map(|seat| seat.pull.by.node.clone()).collect();
            nodes.sort_unstable();
            nodes.dedup();
            (!nodes.is_empty()).then_some((key, nodes))
        })
    }

    pub(crate) fn totals(&self) -> TreeTotals {
        self.totals
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(node: &str, hop: u8) -> SignedPull {
        let by = Member { node: node.into(), address: format!("rtmp://{node}").into() };
        let key = "live/cam".parse().expect("a name");
        SignedPull { key, fencing: 7, hop, asked: "owner".into(), by, avoid: Vec::new() }
    }

    fn ask(children: &mut Children, pull: SignedPull, depth: u8) -> (SeatNumber, Told) {
        let seat = children.enter(1, pull).expect("there is room");
        (seat, children.ask(seat, Shape { children: 2, depth }).expect("it is there"))
    }

    fn to(node: &str) -> Told {
        Told::At(pull(node, 1).by)
    }

    #[test]
    fn children_are_taken_up_to_their_number_and_then_sent_to_each_in_turn() {
        let mut children = Children::default();
        for node in ["a", "b"] {
            assert_eq!(ask(&mut children, pull(node, 1), 2).1, Told::Here { over: false });
        }
        for expected in ["a", "b", "a"] {
            let (seat, told) = ask(&mut children, pull("c", 1), 2);
            assert_eq!(told, to(expected));
            assert_eq!(children.leave(seat), None, "it has got nothing");
        }
        assert_eq!((children.count(&pull("a", 1).key), children.totals().referred), (2, 3));
    }

    #[test]
    fn a_place_is_free_when_the_last_connection_of_a_child_is_over() {
        let mut children = Children::default();
        let (first, _) = ask(&mut children, pull("a", 1), 2);
        let (_, _) = ask(&mut children, pull("b", 1), 2);
        let (second, told) = ask(&mut children, pull("a", 1), 2);
        assert_eq!(told, Told::Here { over: false }, "it replaces its connection");
        assert_eq!(children.enter(3, pull("a", 1)), None, "one that replaces another is enough");
        children.leave(first);
        assert!(matches!(ask(&mut children, pull("c", 1), 2).1, Told::At(_)));
        assert_eq!(children.leave(second), Some(pull("a", 1).key));
        children.leave(second);
        assert_eq!(ask(&mut children, pull("d", 1), 2).1, Told::Here { over: false });
    }

    #[test]
    fn a_server_that_cannot_be_sent_on_is_served_beyond_the_number_of_children() {
        let mut children = Children::default();
        for node in ["a", "b"] {
            ask(&mut children, pull(node, 1), 1);
        }
        assert_eq!(ask(&mut children, pull("c", 1), 1).1, Told::Here { over: true }, "the depth is used up");
        let mut children = Children::default();
        for node in ["a", "b"] {
            ask(&mut children, pull(node, 1), 3);
        }
        let avoids = |nodes: &[&str], by: &str| {
            let avoid = nodes.iter().map(|node| Arc::from(*node)).collect();
            SignedPull { avoid, ..pull(by, 1) }
        };
        assert_eq!(ask(&mut children, avoids(&["a"], "c"), 3).1, to("b"));
        assert_eq!(ask(&mut children, avoids(&["b"], "d"), 3).1, to("a"));
        assert_eq!(ask(&mut children, avoids(&["a", "b"], "e"), 3).1, Told::Here { over: true });
        assert_eq!(ask(&mut children, avoids(&["w", "x", "y", "z"], "f"), 3).1, Told::Here { over: true });
        assert_eq!(children.totals().over, 2);
    }

    #[test]
    fn only_children_under_the_same_lease_get_others() {
        let mut children = Children::default();
        for node in ["a", "b"] {
            ask(&mut children, SignedPull { fencing: 6, ..pull(node, 1) }, 3);
        }
        assert_eq!(ask(&mut children, pull("c", 1), 3).1, Told::Here { over: true });
        assert_eq!(ask(&mut children, pull("d", 1), 3).1, to("c"));
    }

    #[test]
    fn children_that_are_not_below_the_new_place_of_a_server_are_known() {
        let mut children = Children::default();
        let seat = children.enter(31, pull("a", 2)).expect("there is room");
        children.ask(seat, Shape { children: 0, depth: 3 });
        let key = pull("a", 2).key;
        assert_eq!(children.misplaced(&key, 7, 1), [0; 0]);
        assert_eq!(children.misplaced(&key, 7, 0), [0; 0], "one that is further away than it needs to be stays");
        assert_eq!(children.misplaced(&key, 7, 2), [31]);
        assert_eq!(children.misplaced(&key, 8, 2), [0; 0], "under another lease they find another server themselves");
        children.leave(seat);
        assert!(children.is_empty());
    }
}
