use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::location::{Owner, Reply, Request, RequestId, Session, Taking};

use self::data::Directory as Data;
pub(super) use self::data::Notice;
use crate::Rng;

/// The one of core's tests.
#[path = "../../../../core/src/location/tests/directory.rs"]
mod data;

/// How much of the past a standby may lack.
const PAST: Duration = Duration::from_secs(1);

/// A directory, with the links of the servers to it.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) ttl: Duration,
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
            data: Data::new(ttl, now),
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
        self.data.flush();
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
        self.data.len(now)
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
        (node, address, is_draining): (&Arc<str>, &str, bool),
        request: &Request,
    ) -> (Reply, Option<Notice>) {
        self.asked += 1;
        while self.past.front().is_some_and(|(until, _)| *until + PAST < now) {
            self.past.pop_front();
        }
        if !matches!(request, Request::Find { .. }) {
            self.past.push_back((now, self.data.clone()));
        }
        let answer = self.data.apply(now, (node, address), request);
        if matches!(request, Request::Announce) {
            self.data.drains(node, is_draining);
        }
        answer
    }
}
