use std::time::{Duration, Instant};

use anabranch_core::cluster::CLOCK_TOLERANCE;
use anabranch_core::url::StreamKey;

use super::ClusterSim;
use super::node::RECOVERY;

/// A time in which the clocks of two servers were further apart than signatures of pulls permit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Apart {
    pair: (usize, usize),
    since: Instant,
    /// `None` as long as they are.
    until: Option<Instant>,
}

impl Apart {
    /// True if a pull that began at this time was refused, so that the next attempt may still be to come.
    fn refused(&self, at: Option<Instant>, now: Instant) -> bool {
        let goes_on = self.until.is_none_or(|until| now < until + RECOVERY);
        let began = at.is_some_and(|at| at >= self.since && self.until.is_none_or(|until| at <= until));
        goes_on && began
    }
}

impl ClusterSim {
    /// The clock of a server's machine is so many seconds ahead, or behind.
    pub fn set_skew(&mut self, node: usize, seconds: i64) {
        self.nodes[node].skew = seconds;
        self.set_clock(node);
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let pair = (node.min(other), node.max(other));
            let between = Duration::from_secs(seconds.abs_diff(self.nodes[other].skew));
            let open = self.apart.iter_mut().find(|apart| apart.pair == pair && apart.until.is_none());
            match (open, between > CLOCK_TOLERANCE) {
                (None, true) => self.apart.push(Apart { pair, since: self.now, until: None }),
                (Some(apart), false) => apart.until = Some(self.now),
                _ => {}
            }
        }
    }

    pub(super) fn set_clock(&mut self, node: usize) {
        let (now, skew) = (self.now, self.nodes[node].skew);
        if let Some(core) = &self.nodes[node].core {
            core.set_clock(now, (self.unix + (now - self.start).as_secs()).saturating_add_signed(skew));
        }
    }

    /// True if a pull between two servers had to begin while their clocks were too far apart: it was refused. Pulls that
    /// had begun before go on. A pull begins after a failure, when the name has moved, and when a client that published
    /// here what is pulled from elsewhere has left.
    pub(super) fn is_distrusted(&self, (node, at): (usize, usize), key: &StreamKey) -> bool {
        let pair = (node.min(at), node.max(at));
        let is_direct = self.rules.is_direct;
        let begins = |other: usize| {
            let server = &self.nodes[other];
            let concerned = !is_direct || other == node;
            let names = [server.changed.get(key), server.free.get(key)].map(|at| at.copied().filter(|_| concerned));
            let failure = server.trouble.last().filter(|_| !is_direct || other == node || other == at);
            names.into_iter().chain([failure])
        };
        let moments: Vec<_> = (0..self.nodes.len()).flat_map(begins).chain([self.moved.get(key).copied()]).collect();
        let mut apart = self.apart.iter().filter(|apart| !is_direct || apart.pair == pair);
        apart.any(|apart| moments.iter().any(|moment| apart.refused(*moment, self.now)))
    }
}
