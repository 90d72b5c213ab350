use std::time::{Duration, Instant};

use super::{ClaimNumber, Cluster, DirectoryOrder, key_of, name_of};
use crate::location::{ClaimError, Conflict};
use crate::policy::{AskId, Verdict};
use crate::url::StreamKey;

/// A name that clients of this server publish, or want to.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// The claims of it: one for each client.
    claims: Vec<ClaimNumber>,
    pub(super) is_granted: bool,
    pub(super) fencing: Option<u64>,
}

/// The claim of a client.
#[derive(Debug)]
pub(super) struct Claim {
    key: StreamKey,
    connection: u64,
    /// The question that the client waits for; `None` once it is answered.
    ask: Option<AskId>,
    /// True if the client stands by should another server have the name.
    is_backup: bool,
    /// True once it is granted.
    has_name: bool,
    /// True once the name is lost, until the client has stopped to publish.
    is_lost: bool,
    /// As what the directory has it; `None` while the client stands by and nothing is asked.
    order: Option<ClaimNumber>,
    /// When it may be asked again.
    next: Option<Instant>,
}

/// How soon the name of a client that stands by may be claimed again.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// What a publisher lacks that waits for a name of another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Nothing comes from the other server.
    Gone,
    /// The other server has sent nothing, or no pictures, for too long.
    Stalled {
        /// True if it has sent media since this publisher is here.
        seen: bool,
    },
}

/// A publisher that waits for a name of another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Its connection.
    pub(crate) connection: u64,
    /// Why it should be on air, if it should.
    pub(crate) lack: Option<Lack>,
}

/// What follows of the outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    Nothing,
    /// The client that waits gets its verdict.
    Verdict(u64, AskId, Verdict),
    /// The client of this connection, which stood by, has the name now.
    Name(StreamKey, u64),
    /// The client was accepted without an answer, and another server has the name.
    Lost(Lost),
}

/// The connections that publish a name which is no longer this server's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) key: StreamKey,
    pub(crate) connections: Vec<u64>,
}

impl Cluster {
    /// A client wants to publish the name, and waits for the verdict about this question. With `is_backup` it stands by if
    /// another server has the name.
    pub(crate) fn claim(
        &mut self,
        key: &StreamKey,
        (connection, ask): (u64, AskId),
        conflict: Conflict,
        is_backup: bool,
    ) -> ClaimNumber {
        let claim = ClaimNumber(self.number());
        let (ask, order, next) = (Some(ask), Some(claim), None);
        let (has_name, is_lost) = (false, false);
        let own = Claim { key: key.clone(), connection, ask, is_backup, has_name, is_lost, order, next };
        self.claims.insert(claim, own);
        self.waiting += 1;
        self.names.entry(key.clone()).or_default().claims.push(claim);
        self.orders.push_back(DirectoryOrder::Claim { claim, name: name_of(key), conflict });
        claim
    }

    /// True if the client of the claim stands by, because another server has the name.
    pub(crate) fn stands_by(&self, claim: ClaimNumber) -> bool {
        self.claims.get(&claim).is_some_and(|claim| claim.ask.is_none() && !claim.has_name)
    }

    /// A client stands by for the name of another server. The name is claimed if it should be this server's. `answers` is
    /// true if the other server is there.
    pub(crate) fn back_up(&mut self, now: Instant, key: &StreamKey, waiting: Waiting, answers: bool) {
        let of_key = self.backups.get(key).into_iter().flatten();
        let is_it = |claim: &&ClaimNumber| {
            self.claims.get(claim).is_some_and(|claim| claim.connection == waiting.connection && claim.order.is_none())
        };
        let Some(claim) = of_key.copied().find(|claim| is_it(&claim)) else {
            return;
        };
        let is_here = self.names.get(key).is_some_and(|name| name.is_granted);
        let conflict = match waiting.lack {
            _ if is_here => Conflict::Refuse,
            None => return,
            // A server that this one does not reach may serve its players all the same: it would get the name back.
            Some(Lack::Stalled { seen }) if seen || answers => {
                self.find(now, key);
                self.place(key).map_or(Conflict::Refuse, |place| Conflict::TakeFrom(place.fencing))
            }
            Some(Lack::Stalled { .. } | Lack::Gone) => Conflict::Refuse,
        };
        let order = ClaimNumber(self.number());
        let Some(own) = self.claims.get_mut(&claim).filter(|own| is_here || own.next.is_none_or(|next| next <= now))
        else {
            return;
        };
        (own.order, own.next) = (Some(order), Some(now + PAUSE));
        self.attempts.insert(order, claim);
        self.orders.push_back(DirectoryOrder::Claim { claim: order, name: name_of(key), conflict });
    }

    /// The client has left, or publishes no more.
    pub(crate) fn release(&mut self, claim: ClaimNumber) {
        if let Some(order) = self.drop_claim(claim).and_then(|ended| ended.order) {
            self.attempts.remove(&order);
            self.orders.push_back(DirectoryOrder::Release(order));
        }
    }

    fn drop_claim(&mut self, claim: ClaimNumber) -> Option<Claim> {
        let ended = self.claims.remove(&claim)?;
        self.waiting -= usize::from(ended.ask.is_some());
        self.drop_name(&ended.key, claim);
        if let Some(backups) = self.backups.get_mut(&ended.key) {
            backups.retain(|known| *known != claim);
            if backups.is_empty() {
                self.backups.remove(&ended.key);
            }
        }
        Some(ended)
    }

    fn drop_name(&mut self, key: &StreamKey, claim: ClaimNumber) {
        if let Some(name) = self.names.get_mut(key) {
            name.claims.retain(|known| *known != claim);
            if name.claims.is_empty() {
                self.names.remove(key);
            }
        }
    }

    /// Nothing has answered the claim, and the client publishes all the same.
    pub(crate) fn accept(&mut self, claim: ClaimNumber) {
        let Some(waiting) = self.claims.get_mut(&claim) else { return };
        if waiting.ask.take().is_none() {
            return;
        }
        waiting.has_name = true;
        self.waiting -= 1;
        self.totals.granted += 1;
        self.totals.unconfirmed += 1;
        if let Some(name) = self.names.get_mut(&waiting.key) {
            name.is_granted = true;
        }
    }

    /// The outcome of a claim.
    pub(crate) fn claimed(&mut self, order: ClaimNumber, outcome: Result<Option<u64>, ClaimError>) -> Claimed {
        let attempt = self.attempts.remove(&order);
        let claim = attempt.unwrap_or(order);
        // A claim that was released meanwhile is released in the directory, too: the order is on its way.
        let Some(own) = self.claims.get_mut(&claim).filter(|own| own.order == Some(order)) else {
            return Claimed::Nothing;
        };
        let (key, connection, ask) = (own.key.clone(), own.connection, own.ask.take());
        self.waiting -= usize::from(ask.is_some());
        if attempt.is_none() && ask.is_none() {
            return self.claimed_late(claim, &outcome);
        }
        let totals = &mut self.totals;
        let error = match outcome {
            Ok(fencing) => {
                own.has_name = true;
                totals.granted += 1;
                totals.unconfirmed += u64::from(fencing.is_none());
                let name = self.names.entry(key.clone()).or_default();
                name.is_granted = true;
                name.fencing = name.fencing.max(fencing);
                if attempt.is_some() {
                    name.claims.push(claim);
                }
                return ask
                    .map_or(Claimed::Name(key, connection), |ask| Claimed::Verdict(connection, ask, Verdict::Allow));
            }
            Err(error) => error,
        };
        let is_held = matches!(error, ClaimError::Held(_));
        let stands_by = attempt.is_some() || own.is_backup && is_held;
        own.order = None;
        self.orders.push_back(DirectoryOrder::Release(order));
        let Some(ask) = ask else {
            return Claimed::Nothing;
        };
        *(if is_held { &mut totals.held } else { &mut totals.refused }) += 1;
        if stands_by {
            self.drop_name(&key, claim);
            self.backups.entry(key).or_default().push(claim);
        } else {
            self.drop_claim(claim);
        }
        let verdict = match error {
            // Which server has it is nothing for clients.
            ClaimError::Held(_) => Verdict::Origin { code: TAKEN.to_owned(), words: String::new() },
            other => Verdict::Unanswered(other.to_string()),
        };
        Claimed::Verdict(connection, ask, verdict)
    }

    /// The outcome of a claim whose client publishes already.
    fn claimed_late(&mut self, claim: ClaimNumber, outcome: &Result<Option<u64>, ClaimError>) -> Claimed {
        let Some(granted) = self.claims.get_mut(&claim).filter(|claim| claim.publishes()) else {
            return Claimed::Nothing;
        };
        let (key, connection) = (granted.key.clone(), granted.connection);
        if let Ok(fencing) = outcome {
            if let Some(name) = self.names.get_mut(&key) {
                name.fencing = name.fencing.max(*fencing);
            }
            return Claimed::Nothing;
        }
        granted.is_lost = true;
        self.totals.lost += 1;
        if let Some(name) = self.names.get_mut(&key) {
            let claims = &self.claims;
            name.is_granted = name.claims.iter().any(|claim| claims.get(claim).is_some_and(Claim::publishes));
        }
        Claimed::Lost(Lost { key, connections: vec![connection] })
    }

    /// The directory has confirmed a name, or given it another lease.
    pub(crate) fn registered(&mut self, name: &str, fencing: u64) {
        if let Some(name) = key_of(name).and_then(|key| self.names.get_mut(&key)) {
            name.fencing = Some(fencing);
        }
    }

    /// Another server has the name now, or it could not be renewed. The claims are released when their clients have stopped
    /// to publish: no other server may get the name before.
    pub(crate) fn lost(&mut self, name: &str) -> Option<Lost> {
        let key = key_of(name)?;
        let name = self.names.get_mut(&key).filter(|name| name.is_granted)?;
        self.totals.lost += 1;
        (name.is_granted, name.fencing) = (false, None);
        let mut connections = Vec::new();
        for claim in &name.claims {
            // Claims that wait have an answer of the directory to come.
            if let Some(claim) = self.claims.get_mut(claim).filter(|claim| claim.publishes()) {
                claim.is_lost = true;
                connections.push(claim.connection);
            }
        }
        Some(Lost { key, connections })
    }

    /// The lease of a name that this server has.
    pub(crate) fn lease(&self, key: &StreamKey) -> Option<u64> {
        self.names.get(key).filter(|name| name.is_granted)?.fencing
    }
}

impl Claim {
    /// True if its client may publish.
    fn publishes(&self) -> bool {
        self.has_name && !self.is_lost
    }
}

/// The status for a client whose name another server has.
pub(crate) const TAKEN: &str = "NetStream.Publish.BadName";
