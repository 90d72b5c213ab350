use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::location::{Owner, Reply, Request, RequestId, Session, Taking};

use crate::Rng;

/// How much of the past a standby may lack.
const PAST: Duration = Duration::from_secs(1);

/// A directory in memory, which does what the scripts in a Redis do, with the links of the servers to it.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) ttl: Duration,
    /// When its clock began: fencing numbers are at least the microseconds since then.
    epoch: Instant,
    data: Data,
    /// What it had before its latest changes, each until the given time.
    past: VecDeque<(Instant, Data)>,
    pub(super) state: DirectoryState,
    /// Notices are lost.
    pub(super) is_deaf: bool,
    /// The longest time that a message takes.
    pub(super) delay: Duration,
    /// Requests that it has answered.
    pub(super) asked: u64,
    /// When it last lost something that it had confirmed, without losing everything.
    pub(super) forgot: Option<Instant>,
    rng: Rng,
    sent: u64,
    under_way: BTreeMap<(Instant, u64), Parcel>,
    /// When the newest message of each connection arrives, by direction: they keep their order.
    newest: BTreeMap<(usize, u64, bool), Instant>,
    /// What waits for the process to go on, or for a link.
    held: Vec<Parcel>,
    pub(super) scheduled: Option<Instant>,
}

/// Whether the process of the directory runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DirectoryState {
    Up,
    /// What is sent to it waits.
    Stopped,
    Down,
}

#[derive(Debug, Clone, Default)]
struct Data {
    born: Option<Instant>,
    records: BTreeMap<Arc<str>, Record>,
    /// The records of servers.
    nodes: BTreeMap<Arc<str>, NodeRecord>,
}

/// What a server has said of itself, and until when that holds.
#[derive(Debug, Clone)]
struct NodeRecord {
    address: Arc<str>,
    is_draining: bool,
    until: Instant,
}

#[derive(Debug, Clone)]
struct Record {
    node: Arc<str>,
    session: Session,
    fencing: u64,
    until: Instant,
}

/// A notice to all servers: a name has a new owner, or one that wants it.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    pub(super) name: Arc<str>,
    pub(super) node: Arc<str>,
    pub(super) fencing: u64,
}

/// A message on its way, of this connection of this server.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) node: usize,
    pub(super) connection: u64,
    pub(super) what: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// To the directory.
    Request(RequestId, Request),
    Reply(RequestId, Reply),
    Notice(Notice),
    Opened,
}

impl Directory {
    /// One that has had its data for long.
    pub(super) fn new(ttl: Duration, rng: Rng, now: Instant) -> Self {
        Directory {
            ttl,
            epoch: now,
            data: Data { born: now.checked_sub(ttl), ..Data::default() },
            past: VecDeque::new(),
            state: DirectoryState::Up,
            is_deaf: false,
            delay: Duration::from_millis(4),
            asked: 0,
            forgot: None,
            rng,
            sent: 0,
            under_way: BTreeMap::new(),
            newest: BTreeMap::new(),
            held: Vec::new(),
            scheduled: None,
        }
    }

    /// All its data is gone.
    pub(super) fn flush(&mut self) {
        self.data = Data::default();
        self.past.clear();
    }

    /// A standby takes over that lacks what was changed in this last time.
    pub(super) fn fail_over(&mut self, now: Instant, lacks: Duration) {
        let kept = self.past.iter().find(|(until, _)| *until + lacks >= now).map(|(_, data)| data.clone());
        if let Some(data) = kept {
            self.data = data;
            self.forgot = Some(now);
        }
        self.past.clear();
    }

    /// How long it gives out no new names.
    pub(super) fn hold(&self, now: Instant) -> Duration {
        self.data.born.map_or(self.ttl, |born| (born + self.ttl).saturating_duration_since(now))
    }

    /// How many leases it has.
    pub(super) fn leases(&self, now: Instant) -> usize {
        self.data.records.values().filter(|record| record.until > now).count()
    }

    /// Sends something on a connection of a server, in either direction.
    pub(super) fn send(&mut self, now: Instant, parcel: Parcel) {
        let to_directory = matches!(parcel.what, Content::Request(..) | Content::Opened);
        let most = self.delay.as_micros() as usize;
        let delay = Duration::from_micros(self.rng.within(1..=most.max(1)) as u64);
        let newest = self.newest.entry((parcel.node, parcel.connection, to_directory)).or_insert(now);
        *newest = (now + delay).max(*newest);
        let at = *newest;
        self.sent += 1;
        self.under_way.insert((at, self.sent), parcel);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// What has arrived.
    pub(super) fn take_arrived(&mut self, now: Instant) -> Option<Parcel> {
        self.under_way.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }

    /// It cannot arrive now.
    pub(super) fn keep(&mut self, parcel: Parcel) {
        self.held.push(parcel);
    }

    /// What was held back and may arrive now.
    pub(super) fn release(&mut self, now: Instant, mut arrives: impl FnMut(&Parcel) -> bool) {
        for parcel in self.held.extract_if(.., |parcel| arrives(parcel)) {
            self.sent += 1;
            self.under_way.insert((now, self.sent), parcel);
        }
    }

    /// What was sent to it is lost.
    pub(super) fn drop_held(&mut self) {
        self.held.retain(|parcel| !matches!(parcel.what, Content::Request(..) | Content::Opened));
    }

    /// Answers a request of the server of this id and address, which drains or not.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        (node, address, is_draining): (&Arc<str>, &Arc<str>, bool),
        request: &Request,
    ) -> (Reply, Option<Notice>) {
        self.asked += 1;
        while self.past.front().is_some_and(|(until, _)| *until + PAST < now) {
            self.past.pop_front();
        }
        self.data.records.retain(|_, record| record.until > now);
        self.data.nodes.retain(|_, record| record.until > now);
        if !matches!(request, Request::Find { .. }) {
            self.past.push_back((now, self.data.clone()));
        }
        match request {
            Request::Claim { name, session, taking } => self.claim(now, node, name, *session, Some(*taking)),
            Request::Renew { name, session } => self.claim(now, node, name, *session, None),
            Request::Release { name, session } => {
                let own = |record: &Record| record.node == *node && record.session == *session;
                if self.data.records.get(name).is_some_and(own) {
                    self.data.records.remove(name);
                }
                (Reply::Done, None)
            }
            Request::Find { name } => {
                (Reply::Found(self.data.records.get(name).map(|record| self.owner(record))), None)
            }
            Request::Announce => {
                let record = NodeRecord { address: address.clone(), is_draining, until: now + self.ttl };
                self.data.nodes.insert(node.clone(), record);
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
        let born = *self.data.born.get_or_insert(now);
        let until = now + self.ttl;
        let mut fencing = now.saturating_duration_since(self.epoch).as_micros() as u64;
        if let Some(record) = self.data.records.get_mut(name) {
            if record.node == *node && record.session == session {
                record.until = until;
                return (Reply::Granted { fencing: record.fencing }, None);
            }
            fencing = fencing.max(record.fencing + 1);
            let drains = self.data.nodes.get(&record.node).is_some_and(|node| node.is_draining);
            let asks = taking.is_some_and(|taking| taking.asks(record.fencing, drains));
            if !taking.is_some_and(|taking| taking.ends(record.fencing, drains)) {
                let record = self.data.records[name].clone();
                let notice = Notice { name: name.clone(), node: node.clone(), fencing: record.fencing };
                return (Reply::Held(self.owner(&record)), asks.then_some(notice));
            }
        } else if taking.is_some() && now < born + self.ttl {
            return (Reply::Hold(born + self.ttl - now), None);
        }
        let (node, name) = (node.clone(), name.clone());
        self.data.records.insert(name.clone(), Record { node: node.clone(), session, fencing, until });
        (Reply::Granted { fencing }, Some(Notice { name, node, fencing }))
    }

    fn owner(&self, record: &Record) -> Owner {
        let node = self.data.nodes.get(&record.node);
        let (address, is_draining) = (node.map(|node| node.address.clone()), node.is_some_and(|node| node.is_draining));
        Owner { node: record.node.clone(), fencing: record.fencing, address, is_draining }
    }
}
