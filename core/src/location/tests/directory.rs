//! A directory in memory, which does what the scripts in a real one do. The simulator includes this file, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

// The module above has them: here from this crate, in the simulator from the library.
use super::{Owner, Reply, Request, Session, Taking};

#[derive(Debug, Clone)]
struct Record {
    node: Arc<str>,
    session: Session,
    fencing: u64,
    until: Instant,
}

/// What a server has said of itself, and until when that holds.
#[derive(Debug, Clone)]
struct Node {
    address: Arc<str>,
    is_draining: bool,
    until: Instant,
}

/// A notice to all servers: a name has a new owner, or one that wants it.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) name: Arc<str>,
    pub(crate) node: Arc<str>,
    pub(crate) fencing: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) ttl: Duration,
    /// When its clock began: fencing numbers are at least the microseconds since then.
    epoch: Instant,
    /// When this set of data began; `None` before the first claim.
    pub(crate) born: Option<Instant>,
    records: BTreeMap<Arc<str>, Record>,
    nodes: BTreeMap<Arc<str>, Node>,
}

impl Directory {
    /// One that has had its data for long.
    pub(crate) fn new(ttl: Duration, now: Instant) -> Self {
        let (records, nodes) = (BTreeMap::new(), BTreeMap::new());
        Directory { ttl, epoch: now, born: now.checked_sub(ttl), records, nodes }
    }

    /// A server that has announced itself says that it drains, or that it does not.
    pub(crate) fn drains(&mut self, node: &str, is_draining: bool) {
        if let Some(record) = self.nodes.get_mut(node) {
            record.is_draining = is_draining;
        }
    }

    /// All its data is gone.
    pub(crate) fn flush(&mut self) {
        self.born = None;
        self.records.clear();
        self.nodes.clear();
    }

    /// How many leases it has.
    pub(crate) fn len(&self, now: Instant) -> usize {
        self.records.values().filter(|record| record.until > now).count()
    }

    /// Answers a request of the server of this id and address.
    pub(crate) fn apply(
        &mut self,
        now: Instant,
        (node, address): (&Arc<str>, &str),
        request: &Request,
    ) -> (Reply, Option<Notice>) {
        self.records.retain(|_, record| record.until > now);
        self.nodes.retain(|_, record| record.until > now);
        match request {
            Request::Claim { name, session, taking } => self.claim(now, node, name, *session, Some(*taking)),
            Request::Renew { name, session } => self.claim(now, node, name, *session, None),
            Request::Release { name, session } => {
                if self.records.get(name).is_some_and(|record| record.node == *node && record.session == *session) {
                    self.records.remove(name);
                }
                (Reply::Done, None)
            }
            Request::Find { name } => (Reply::Found(self.records.get(name).map(|record| self.owner(record))), None),
            Request::Announce => {
                let is_draining = self.nodes.get(node).is_some_and(|record| record.is_draining);
                let record = Node { address: address.into(), is_draining, until: now + self.ttl };
                self.nodes.insert(node.clone(), record);
                (Reply::Done, None)
            }
        }
    }

    fn claim(
        &mut self,
        now: Instant,
        node: &Arc<str>,
        name: &Arc<str>,
        session: Session,
        taking: Option<Taking>,
    ) -> (Reply, Option<Notice>) {
        let born = *self.born.get_or_insert(now);
        let until = now + self.ttl;
        let mut fencing = now.saturating_duration_since(self.epoch).as_micros() as u64;
        if let Some(record) = self.records.get_mut(name) {
            if record.node == *node && record.session == session {
                record.until = until;
                return (Reply::Granted { fencing: record.fencing }, None);
            }
            fencing = fencing.max(record.fencing + 1);
            let drains = self.nodes.get(&record.node).is_some_and(|node| node.is_draining);
            let asks = taking.is_some_and(|taking| taking.asks(record.fencing, drains));
            if !taking.is_some_and(|taking| taking.ends(record.fencing, drains)) {
                let record = self.records[name].clone();
                let notice = Notice { name: name.clone(), node: node.clone(), fencing: record.fencing };
                return (Reply::Held(self.owner(&record)), asks.then_some(notice));
            }
        } else if taking.is_some() && now < born + self.ttl {
            return (Reply::Hold(born + self.ttl - now), None);
        }
        let (node, name) = (node.clone(), name.clone());
        self.records.insert(name.clone(), Record { node: node.clone(), session, fencing, until });
        (Reply::Granted { fencing }, Some(Notice { name, node, fencing }))
    }

    fn owner(&self, record: &Record) -> Owner {
        let node = self.nodes.get(&record.node);
        let (address, is_draining) = (node.map(|node| node.address.clone()), node.is_some_and(|node| node.is_draining));
        Owner { node: record.node.clone(), fencing: record.fencing, address, is_draining }
    }
}
