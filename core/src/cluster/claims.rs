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
    pub(super) ask: Option<AskId>,
}

/// The connections that publish a name which is no longer this server's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) key: StreamKey,
    pub(crate) connections: Vec<u64>,
}

impl Cluster {
    /// A client wants to publish the name, and waits for the verdict about this question.
    pub(crate) fn claim(&mut self, key: &StreamKey, connection: u64, ask: AskId, conflict: Conflict) -> ClaimNumber {
        let claim = ClaimNumber(self.number());
        self.claims.insert(claim, Claim { key: key.clone(), connection, ask: Some(ask) });
        self.names.entry(key.clone()).or_default().claims.push(claim);
        self.orders.push_back(DirectoryOrder::Claim { claim, name: name_of(key), conflict });
        claim
    }

    /// The client has left, or publishes no more.
    pub(crate) fn release(&mut self, claim: ClaimNumber) {
        if self.drop_claim(claim).is_some() {
            self.orders.push_back(DirectoryOrder::Release(claim));
        }
    }

    fn drop_claim(&mut self, claim: ClaimNumber) -> Option<Claim> {
        let ended = self.claims.remove(&claim)?;
        if let Some(name) = self.names.get_mut(&ended.key) {
            name.claims.retain(|known| *known != claim);
            if name.claims.is_empty() {
                self.names.remove(&ended.key);
            }
        }
        Some(ended)
    }

    /// The outcome of a claim. Returns the verdict for the client that waits, if it still does.
    pub(crate) fn claimed(
        &mut self,
        claim: ClaimNumber,
        outcome: Result<Option<u64>, ClaimError>,
    ) -> Option<(u64, AskId, Verdict)> {
        // A claim that was released meanwhile is released in the directory, too: the order is on its way.
        let waiting = self.claims.get_mut(&claim)?;
        let (connection, ask) = (waiting.connection, waiting.ask.take()?);
        let totals = &mut self.totals;
        let verdict = match outcome {
            Ok(fencing) => {
                totals.granted += 1;
                totals.unconfirmed += u64::from(fencing.is_none());
                if let Some(name) = self.names.get_mut(&waiting.key) {
                    name.is_granted = true;
                    name.fencing = name.fencing.max(fencing);
                }
                Verdict::Allow
            }
            Err(error) => {
                let is_held = matches!(error, ClaimError::Held(_));
                *(if is_held { &mut totals.held } else { &mut totals.refused }) += 1;
                self.drop_claim(claim);
                self.orders.push_back(DirectoryOrder::Release(claim));
                match error {
                    // Which server has it is nothing for clients.
                    ClaimError::Held(_) => Verdict::Origin { code: TAKEN.to_owned(), words: String::new() },
                    other => Verdict::Unanswered(other.to_string()),
                }
            }
        };
        Some((connection, ask, verdict))
    }

    /// The directory has confirmed a name, or given it another lease.
    pub(crate) fn registered(&mut self, name: &str, fencing: u64) {
        if let Some(name) = key_of(name).and_then(|key| self.names.get_mut(&key)) {
            name.fencing = Some(fencing);
        }
    }

    /// Another server has the name now, or it could not be renewed.
    pub(crate) fn lost(&mut self, name: &str) -> Option<Lost> {
        let key = key_of(name)?;
        let name = self.names.get_mut(&key).filter(|name| name.is_granted)?;
        self.totals.lost += 1;
        // Claims that wait have an answer of the directory to come.
        let (waiting, granted): (Vec<_>, Vec<_>) = std::mem::take(&mut name.claims)
            .into_iter()
            .partition(|claim| self.claims.get(claim).is_some_and(|claim| claim.ask.is_some()));
        (name.claims, name.is_granted, name.fencing) = (waiting, false, None);
        if name.claims.is_empty() {
            self.names.remove(&key);
        }
        let mut connections = Vec::new();
        for claim in granted {
            connections.extend(self.claims.remove(&claim).map(|claim| claim.connection));
            self.orders.push_back(DirectoryOrder::Release(claim));
        }
        Some(Lost { key, connections })
    }

    /// The lease of a name that this server has.
    pub(crate) fn lease(&self, key: &StreamKey) -> Option<u64> {
        self.names.get(key).filter(|name| name.is_granted)?.fencing
    }
}

/// The status for a client whose name another server has.
pub(crate) const TAKEN: &str = "NetStream.Publish.BadName";
