use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::{ClaimError, ClaimId, Conflict, RequestId};

/// A number that a server chooses for a lease, so that it knows its own again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// A name that this server has or claims.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) session: Session,
    /// What its claims do if another server has the name.
    pub(super) conflict: Conflict,
    /// The number that the directory gave it last.
    pub(super) fencing: Option<u64>,
    /// The claims, and whether they are granted: all are, or none.
    pub(super) claims: Vec<ClaimId>,
    pub(super) is_granted: bool,
    /// The name is lost, and given free when its claims are released. Claims that come before that are refused with this.
    pub(super) lost: Option<ClaimError>,
    /// The request for it that has no reply.
    pub(super) asked: Option<RequestId>,
    /// When the timers have the next request, the end of reliance and the end of the claims' waiting.
    pub(super) renew: Option<Instant>,
    pub(super) expire: Option<Instant>,
    pub(super) deadline: Option<Instant>,
}

impl Lease {
    pub(super) fn new(session: Session, conflict: Conflict) -> Self {
        Lease {
            session,
            conflict,
            fencing: None,
            claims: Vec::new(),
            is_granted: false,
            lost: None,
            asked: None,
            renew: None,
            expire: None,
            deadline: None,
        }
    }
}

/// A lease that is to be released when the directory can be asked again; it has ended there by the given time.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: Arc<str>,
    pub(super) session: Session,
    until: Instant,
}

/// All leases of this server.
#[derive(Debug)]
pub(super) struct Leases {
    most: usize,
    of: BTreeMap<Arc<str>, Lease>,
    names: BTreeMap<ClaimId, Arc<str>>,
    ended: Vec<Ended>,
}

impl Leases {
    pub(super) fn new(most: usize) -> Self {
        Leases { most, of: BTreeMap::new(), names: BTreeMap::new(), ended: Vec::new() }
    }

    /// All leases that are granted, and those of them that the directory has not confirmed.
    pub(super) fn counts(&self) -> (usize, usize) {
        let granted = || self.of.values().filter(|lease| lease.is_granted);
        (granted().count(), granted().filter(|lease| lease.fencing.is_none()).count())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Lease> {
        self.of.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Lease> {
        self.of.get_mut(name)
    }

    pub(super) fn is_granted(&self, name: &str) -> bool {
        self.of.get(name).is_some_and(|lease| lease.is_granted)
    }

    pub(super) fn is_full(&self) -> bool {
        self.of.len() >= self.most
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.of.keys().cloned().collect()
    }

    pub(super) fn insert(&mut self, name: &Arc<str>, lease: Lease) {
        self.of.insert(name.clone(), lease);
    }

    /// Adds a claim to the lease of the name, which exists.
    pub(super) fn add_claim(&mut self, name: &Arc<str>, claim: ClaimId) {
        if let Some(lease) = self.of.get_mut(name) {
            lease.claims.push(claim);
            self.names.insert(claim, name.clone());
        }
    }

    /// Takes a claim back. The name, if no other claim needs its lease.
    pub(super) fn take_claim(&mut self, claim: ClaimId) -> Option<Arc<str>> {
        let name = self.names.remove(&claim)?;
        let lease = self.of.get_mut(&name)?;
        lease.claims.retain(|other| *other != claim);
        lease.claims.is_empty().then_some(name)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Lease> {
        let lease = self.of.remove(name)?;
        for claim in &lease.claims {
            self.names.remove(claim);
        }
        Some(lease)
    }

    /// The directory is to be told later that a lease has ended. As many are kept as there may be leases; the directory
    /// ends the others itself.
    pub(super) fn end_later(&mut self, name: Arc<str>, session: Session, until: Instant) {
        if self.ended.len() < self.most {
            self.ended.push(Ended { name, session, until });
        }
    }

    /// Those that the directory may still have.
    pub(super) fn take_ended(&mut self, now: Instant) -> Vec<Ended> {
        let mut ended = std::mem::take(&mut self.ended);
        ended.retain(|ended| ended.until > now);
        ended
    }
}
