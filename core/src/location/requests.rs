use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Owner, Session};

/// A request to the directory, until its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// What the directory is asked.
///
/// It keeps for each name: the server, its session, and the fencing number, all for the time to live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Give this server a lease of the name. If it has one with this session, that is a renewal. A directory without
    /// data answers [`Reply::Hold`] for one time to live after it began.
    Claim {
        /// The name.
        name: Arc<str>,
        /// Identifies the lease.
        session: Session,
        /// What happens if another server has the name.
        taking: Taking,
    },
    /// Renew the lease. If the directory has none of the name, it gives a new one with a higher fencing number, also
    /// while it answers claims with [`Reply::Hold`].
    Renew {
        /// The name.
        name: Arc<str>,
        /// Identifies the lease.
        session: Session,
    },
    /// End the lease, if it is the one with this session.
    Release {
        /// The name.
        name: Arc<str>,
        /// Identifies the lease.
        session: Session,
    },
    /// Which server has the name?
    Find {
        /// The name.
        name: Arc<str>,
    },
    /// Keep the record of this server: its address, its load. It is to be valid for one time to live.
    Announce,
}

/// What a claim does to the lease of another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// Nothing.
    Never,
    /// Nothing, unless that server's record says that it drains: then it ends, as with [`Now`](Self::Now).
    NowIfDraining,
    /// Nothing, unless that server's record says that it drains: then that is asked, as with [`Ask`](Self::Ask).
    AskIfDraining,
    /// It ends. All servers get a notice with the new owner and the new fencing number.
    Now,
    /// Nothing, but all servers get a notice with the server that claims and the fencing number of the lease. The owner
    /// releases it then.
    Ask,
    /// As [`Now`](Self::Now) if the lease has this number; otherwise as [`NowIfDraining`](Self::NowIfDraining).
    NowFrom(u64),
    /// As [`Ask`](Self::Ask) if the lease has this number; otherwise as [`AskIfDraining`](Self::AskIfDraining).
    AskFrom(u64),
}

impl Taking {
    /// Whether it ends the lease of this number, of a server that drains or not.
    pub fn ends(self, fencing: u64, drains: bool) -> bool {
        match self {
            Taking::Now => true,
            Taking::NowFrom(from) => drains || from == fencing,
            Taking::NowIfDraining => drains,
            Taking::Never | Taking::AskIfDraining | Taking::Ask | Taking::AskFrom(_) => false,
        }
    }

    /// Whether it asks the owner of the lease of this number, a server that drains or not, to release it.
    pub fn asks(self, fencing: u64, drains: bool) -> bool {
        match self {
            Taking::Ask => true,
            Taking::AskFrom(from) => drains || from == fencing,
            Taking::AskIfDraining => drains,
            Taking::Never | Taking::NowIfDraining | Taking::Now | Taking::NowFrom(_) => false,
        }
    }
}

/// What the directory answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Claim` and `Renew`: the server has the lease.
    Granted {
        /// Its number.
        fencing: u64,
    },
    /// To `Claim` and `Renew`: another server has it.
    Held(Owner),
    /// To `Claim`: the directory has just begun, and gives out no new leases for this long.
    Hold(Duration),
    /// To `Find`.
    Found(Option<Owner>),
    /// To `Release` and `Announce`.
    Done,
    /// The directory could not do it.
    Failed,
}

/// Requests that are sent and have no reply.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// In the order of their sending, since ids rise.
    pending: BTreeMap<RequestId, (Instant, Request)>,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn insert(&mut self, id: RequestId, sent: Instant, request: Request) {
        self.pending.insert(id, (sent, request));
    }

    pub(super) fn take(&mut self, id: RequestId) -> Option<(Instant, Request)> {
        self.pending.remove(&id)
    }

    /// Whether this is the request that has waited longest.
    pub(super) fn is_oldest(&self, id: RequestId) -> bool {
        self.pending.first_key_value().is_some_and(|(oldest, _)| *oldest == id)
    }

    /// When the request was sent that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|(_, (sent, _))| *sent)
    }

    /// The connection is gone, and the replies with it.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Request> {
        std::mem::take(&mut self.pending).into_values().map(|(_, request)| request)
    }
}
