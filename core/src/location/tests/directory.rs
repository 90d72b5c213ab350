//! A directory in memory, which does what the scripts in a real one do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::location::{Owner, Reply, Request, Session, Taking};

#[derive(Debug, Clone)]
struct Record {
    node: Arc<str>,
    session: Session,
    fencing: u64,
    until: Instant,
}

/// A notice to all servers: a name has a new owner.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) name: Arc<str>,
    pub(crate) node: Arc<str>,
    pub(crate) fencing: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Directory {
    ttl: Duration,
    /// When its clock began: fencing numbers are at least the microseconds since then.
    epoch: Instant,
    born: Option<Instant>,
    records: BTreeMap<Arc<str>, Record>,
    nodes: BTreeMap<Arc<str>, Instant>,
    /// The servers that say that they drain.
    draining: BTreeSet<Arc<str>>,
}

impl Directory {
    /// One that has had its data for long.
    pub(crate) fn new(ttl: Duration, now: Instant) -> Self {
        Directory {
            ttl,
            epoch: now,
            born: Some(now - ttl),
            records: BTreeMap::new(),
            nodes: BTreeMap::new(),
            draining: BTreeSet::new(),
        }
    }

    /// The server says that it drains.
    pub(crate) fn drains(&mut self, node: &Arc<str>) {
        self.draining.insert(node.clone());
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

    pub(crate) fn apply(&mut self, now: Instant, node: &Arc<str>, request: &Request) -> (Reply, Option<Notice>) {
        self.records.retain(|_, record| record.until > now);
        self.nodes.retain(|_, until| *until > now);
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
                self.nodes.insert(node.clone(), now + self.ttl);
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
            let drains = self.draining.contains(&record.node);
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
        let address = self.nodes.contains_key(&record.node).then(|| format!("rtmp://{}", record.node).into());
        let is_draining = self.draining.contains(&record.node);
        Owner { node: record.node.clone(), fencing: record.fencing, address, is_draining }
    }
}
