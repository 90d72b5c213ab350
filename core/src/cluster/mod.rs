//! The streams of a server that belongs to a cluster: which names it has in the directory, and where the others are.
//!
//! A directory that all servers share says which server has which stream ([`location`](crate::location)). Here is what a
//! server wants of it. A client that publishes *claims* its name, after all rules and back ends have allowed it, and
//! waits for the answer like one about which a back end is asked. A name whose players have no publisher here is a *wanted*
//! one: the directory is asked which server has it, and the relays pull the stream from there.
//!
//! ```text
//!  conn: claim, release                  DirectoryOrder
//!  relay: want, look, forget                Claim, Release, Find, Watch ...
//!  ──────────────────────▶  Cluster  ──────────────────────▶  the program's part in the directory
//!  ◀──────────────────────           ◀──────────────────────
//!  verdicts, connections that           claimed, registered, lost, located, changed
//!  lose their name, places
//! ```
//!
//! A pull from another server is [signed](PullSigner) with the secret of the cluster, so that the other server needs not
//! ask its own rules about players that this server has admitted.
//!
//! Nothing here has a clock, a lock or a connection: [`Relays`](crate::relay::Relays) has the one value of a server and its
//! lock.

mod children;
mod claims;
mod places;
mod signature;
mod spread;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use children::{Children, SeatNumber, Shape, Told};
use claims::{Claim, Name};
pub(crate) use claims::{Claimed, Lack, Lost, Waiting};
use places::{Asked, Want};
pub(crate) use places::{Learned, Place};
pub(crate) use signature::MOST_AVOIDED;
pub use signature::{CLOCK_TOLERANCE, Member, PullSigner, Referral, SignedPull};
pub use spread::Spread;

use crate::location::{Conflict, OnLoss};
use crate::url::StreamKey;

/// That the server belongs to a cluster: names of streams are claimed in a directory, and streams that other servers have
/// are pulled from there. An adapter must do what [`Relays::poll_directory`](crate::relay::Relays::poll_directory) wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Whether players that are known to follow redirects, the edges of SRS, are sent to the server that has the stream,
    /// instead of getting it from here. Default: no.
    pub redirect: bool,
    /// How this server calls itself when it pulls from others; a pull that is signed for another id is refused. Default:
    /// empty, for a server whose streams no other pulls.
    pub member: Member,
    /// To how many servers this one sends a stream before it sends others that pull it to one of these. 0 for any number.
    /// Default 8.
    pub children: usize,
    /// Over how many connections between servers a stream comes at most; 1 if all get it from its owner. A server that
    /// cannot send others on sends the stream to more than `children`. At most 16. Default 3.
    pub depth: u8,
    /// Whether a client may publish if nothing answers its claim, as when the part that talks to the directory has failed:
    /// yes with [`OnLoss::Serve`], the default.
    pub on_loss: OnLoss,
    /// How often the directory is asked about a stream that comes from another server. Default 10 s.
    pub recheck: Duration,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            redirect: false,
            member: Member::default(),
            children: 8,
            depth: 3,
            on_loss: OnLoss::default(),
            recheck: Duration::from_secs(10),
        }
    }
}

/// Names a claim of a server; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimNumber(u64);

/// Names a question of a server; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FindNumber(u64);

/// What the server wants of the directory. Names are `vhost/app/stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryOrder {
    /// Claim the name; the outcome goes to [`claimed`](crate::relay::Relays::claimed), unless the claim is released first.
    Claim {
        /// The claim.
        claim: ClaimNumber,
        /// The name.
        name: Arc<str>,
        /// What to do if another server has it.
        conflict: Conflict,
    },
    /// Give up the claim, and the name with its last one.
    Release(ClaimNumber),
    /// Ask which server has the name; the answer goes to [`located`](crate::relay::Relays::located).
    Find {
        /// The question.
        find: FindNumber,
        /// The name.
        name: Arc<str>,
    },
    /// Report changes of the name to [`changed`](crate::relay::Relays::changed) from now on.
    Watch(Arc<str>),
    /// No longer.
    Unwatch(Arc<str>),
    /// The server that had this lease of the name says that it does not have the stream: forget the answer.
    Deny {
        /// The name.
        name: Arc<str>,
        /// The number of the lease.
        fencing: u64,
    },
    /// Nothing more to do until the waker is called.
    Wait,
}

/// What this server has and wants in the directory, for listings.
#[derive(Debug, Clone, Default)]
pub struct ClusterSnapshot {
    /// The first names that clients publish here, each with the number of its lease; `None` while the directory has not
    /// confirmed it.
    pub names: Vec<(StreamKey, Option<u64>)>,
    /// Claims that wait for an answer.
    pub waiting: usize,
    /// The first names that this server's players want and other servers have: the server's id and its address.
    pub places: Vec<(StreamKey, Arc<str>, Arc<str>)>,
    /// The first streams that other servers get from here, and the ids of these servers.
    pub children: Vec<(StreamKey, Vec<Arc<str>>)>,
    /// How many servers they are in all, each counted once a stream.
    pub served: usize,
    /// How many names there are of which `places` has the first.
    pub pulls: usize,
    /// Totals since the start.
    pub totals: ClusterTotals,
    /// Totals of the pulls of other servers.
    pub tree: TreeTotals,
}

/// Totals since the start of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterTotals {
    /// Claims that were granted.
    pub granted: u64,
    /// Granted while the directory gave no lease.
    pub unconfirmed: u64,
    /// Claims of names that another server had.
    pub held: u64,
    /// Claims that were refused for another reason.
    pub refused: u64,
    /// Names that were lost.
    pub lost: u64,
    /// Questions where a stream is.
    pub finds: u64,
    /// Servers that said that they do not have a stream that the directory says they have.
    pub denied: u64,
}

/// What became of the pulls of other servers since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeTotals {
    /// Sent to another server that gets the stream from here.
    pub referred: u64,
    /// Served beyond [`ClusterConfig::children`], because there was no server to send them to.
    pub over: u64,
}

/// What a server has and wants in the directory.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// The servers that pull from this one.
    pub(crate) children: Children,
    orders: VecDeque<DirectoryOrder>,
    last_number: u64,
    names: BTreeMap<StreamKey, Name>,
    claims: HashMap<ClaimNumber, Claim>,
    /// The claims of clients that stand by, or stood by.
    backups: HashMap<StreamKey, Vec<ClaimNumber>>,
    /// The claims of which these ones are another attempt.
    attempts: HashMap<ClaimNumber, ClaimNumber>,
    /// How many claims wait for an answer.
    waiting: usize,
    wants: BTreeMap<StreamKey, Want>,
    /// When the directory is asked about the wanted names again.
    looks: BTreeSet<(Instant, StreamKey)>,
    finds: HashMap<FindNumber, Asked>,
    /// [`ClusterConfig::recheck`].
    recheck: Duration,
    totals: ClusterTotals,
}

impl Cluster {
    /// What the directory is to do next.
    pub(crate) fn next_order(&mut self) -> DirectoryOrder {
        self.orders.pop_front().unwrap_or(DirectoryOrder::Wait)
    }

    /// True if there is something for the directory to do.
    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    pub(crate) fn set_recheck(&mut self, recheck: Duration) {
        self.recheck = recheck;
    }

    /// With at most `limit` entries in each list.
    pub(crate) fn snapshot(&self, limit: usize) -> ClusterSnapshot {
        let granted = self.names.iter().filter(|(_, name)| name.is_granted);
        let names = granted.map(|(key, name)| (key.clone(), name.fencing)).take(limit).collect();
        let mut children: Vec<_> = self.children.list().map(|(key, nodes)| (key.clone(), nodes)).collect();
        let served = children.iter().map(|(_, nodes)| nodes.len()).sum();
        children.sort_unstable();
        children.truncate(limit);
        let places = self.wants.iter().filter_map(|(key, want)| {
            let place = want.place.as_ref()?;
            Some((key.clone(), place.node.clone(), place.address.clone()))
        });
        ClusterSnapshot {
            names,
            waiting: self.waiting,
            places: places.take(limit).collect(),
            pulls: self.wants.values().filter(|want| want.place.is_some()).count(),
            children,
            served,
            totals: self.totals,
            tree: self.children.totals(),
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// The name of a stream in the directory.
fn name_of(key: &StreamKey) -> Arc<str> {
    key.as_str().into()
}

/// The stream of a name in the directory.
fn key_of(name: &str) -> Option<StreamKey> {
    StreamKey::of_text(name)
}
