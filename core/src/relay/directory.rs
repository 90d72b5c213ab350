//! What the relays want of the directory of a cluster, and what it tells them.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::attempt::Try;
use super::desk::Desk;
use super::goals::Goals;
use super::relay::Relay;
use super::relays::{Held, Relays, Ticket};
use super::state::{State, targets_of};
use super::{Edge, Order, Origin, PushTarget, RelayKind, RelayState};
use crate::cluster::{
    ClaimNumber, Claimed, ClusterSnapshot, DirectoryOrder, FindNumber, Learned, Lost, Place, PullSigner, SignedPull,
};
use crate::hub::RelayFacts;
use crate::location::{ClaimError, Conflict, Located, OnLoss};
use crate::policy::AskId;
use crate::url::StreamKey;

/// The property of `connect` that has the signature of a pull within a cluster.
pub(super) const SIGNED_PROPERTY: &str = "anabranchPull";

/// The goal of a try whose server is no longer a goal.
pub(super) const NO_GOAL: usize = usize::MAX;

/// How long signatures with the secret before the present one are valid: other servers learn of a new one later.
const BEFORE: Duration = Duration::from_secs(60);

/// The secret of the cluster, and the time of day.
#[derive(Debug, Default)]
pub(super) struct Signing {
    signer: Option<PullSigner>,
    /// The one before, and until when it is valid.
    before: Option<(PullSigner, Instant)>,
    /// A moment and the Unix time it was.
    clock: Option<(Instant, u64)>,
}

impl Signing {
    pub(super) fn unix(&self, now: Instant) -> Option<u64> {
        self.clock.map(|(then, unix)| unix + now.saturating_duration_since(then).as_secs())
    }

    pub(super) fn sign(&self, now: Instant, pull: &SignedPull) -> Option<String> {
        Some(self.signer()?.sign(pull, self.unix(now)?))
    }

    pub(super) fn signer(&self) -> Option<&PullSigner> {
        self.signer.as_ref()
    }

    /// Those whose signatures are valid.
    pub(super) fn signers(&self, now: Instant) -> impl Iterator<Item = &PullSigner> {
        let before = self.before.as_ref().filter(|(_, end)| now < *end).map(|(signer, _)| signer);
        self.signer.iter().chain(before)
    }
}

/// For the program's part in the directory. Streams are called by their names in the directory, `vhost/app/stream`.
impl Relays {
    /// Called when [`poll_directory`](Self::poll_directory) has something to do. It is called without any lock, from the
    /// threads that use the server's hub, connections and uplinks.
    pub fn set_directory_waker(&self, waker: Waker) {
        self.shared.wakes_directory(waker);
    }

    /// What the directory is to do next, until it returns [`DirectoryOrder::Wait`].
    pub fn poll_directory(&self) -> DirectoryOrder {
        self.shared.state().cluster.next_order()
    }

    /// The outcome of a claim: the number of the lease; `None` if the directory does not answer and the name may be
    /// published all the same.
    pub fn claimed(&self, claim: ClaimNumber, outcome: Result<Option<u64>, ClaimError>) {
        self.shared.change(|state| match state.cluster.claimed(claim, outcome) {
            Claimed::Nothing => {}
            Claimed::Verdict(connection, ask, verdict) => {
                state.desk.orders.push_back(Order::Answer { connection, ask, verdict });
            }
            Claimed::Name(key, connection) => {
                if let Some(stream) = state.hub().name_is_here(&key, connection) {
                    state.desk.orders.extend([Order::Wake(stream), Order::Poll { connection }]);
                }
                state.is_unsure(key);
            }
            Claimed::Lost(lost) => state.has_lost(lost),
        });
    }

    /// A name of this server has its lease, or another one.
    pub fn registered(&self, name: &str, fencing: u64) {
        self.shared.change(|state| state.cluster.registered(name, fencing));
    }

    /// A name is no longer this server's: its publishers are stopped.
    pub fn lost(&self, name: &str) {
        self.shared.change(|state| {
            if let Some(lost) = state.cluster.lost(name) {
                state.has_lost(lost);
            }
        });
    }

    /// The answer to a question.
    pub fn located(&self, now: Instant, find: FindNumber, located: Located) {
        self.shared.change(|state| match state.cluster.located(now, find, located) {
            Learned::Nothing => {}
            Learned::Place(key) => {
                state.hub().name_moved(now, &key);
                state.is_unsure(key);
            }
            Learned::Verdict(connection, ask, verdict) => {
                state.desk.orders.push_back(Order::Answer { connection, ask, verdict });
            }
        });
    }

    /// A name that is watched has changed hands.
    pub fn changed(&self, now: Instant, name: &str) {
        self.shared.change(|state| state.cluster.changed(now, name));
    }

    /// The secret of the cluster: pulls are signed and checked with it. Before, no pull is signed. Signatures with the secret
    /// before are valid for another minute.
    pub fn set_cluster_secret(&self, now: Instant, secret: &str) {
        let mut signing = self.shared.signing();
        let before = signing.signer.replace(PullSigner::new(secret));
        signing.before = before.map(|signer| (signer, now + BEFORE));
    }

    /// True if the stream is pulled from another server of the cluster.
    pub fn is_from_cluster(&self, key: &StreamKey) -> bool {
        self.shared.state().cluster.is_wanted(key)
    }

    /// What this server has and wants in the directory, with at most `limit` entries in each list.
    pub fn cluster(&self, limit: usize) -> ClusterSnapshot {
        self.shared.state().cluster.snapshot(limit)
    }
}

/// For the connections of clients.
impl Relays {
    /// Sets the time of day, as [`Core::set_clock`](crate::conn::Core::set_clock).
    pub(crate) fn set_clock(&self, now: Instant, unix: u64) {
        self.shared.signing().clock = Some((now, unix));
    }

    /// True if names are claimed before they are published.
    pub(crate) fn claims_names(&self) -> bool {
        self.shared.state().rules.cluster().is_some()
    }

    /// True if a client may publish whose claim nothing answers.
    pub(crate) fn accepts_unanswered(&self) -> bool {
        self.shared.state().rules.cluster().is_some_and(|cluster| cluster.on_loss == OnLoss::Serve)
    }

    /// A client wants to publish: its name is claimed. The driver gets the verdict as an order. `None` if the server ends.
    ///
    /// With `is_backup` the client stands by if another server has the name; the ticket knows that then.
    pub(crate) fn claim(
        &self,
        client: (u64, AskId),
        key: &StreamKey,
        conflict: Conflict,
        is_backup: bool,
    ) -> Option<Ticket> {
        self.shared.change(|state| {
            if state.closing {
                return None;
            }
            let claim = state.cluster.claim(key, client, conflict, is_backup);
            Some(Ticket::new(&self.shared, Held::Claim(claim)))
        })
    }

    /// A client that follows redirects wants to play: another server may have the stream. The driver gets the verdict as an
    /// order. False if the client is to be served here.
    pub(crate) fn guide(&self, (connection, ask): (u64, AskId), key: &StreamKey, params: &str) -> bool {
        self.shared.change(|state| {
            let is_elsewhere = state.hub().standing(key).publication.is_none();
            let guides =
                is_elsewhere && !state.closing && state.rules.cluster().is_some_and(|cluster| cluster.redirect);
            if guides {
                state.cluster.guide(key, connection, ask, params);
            }
            guides
        })
    }
}

impl State {
    fn has_lost(&mut self, lost: Lost) {
        let Lost { key, connections } = lost;
        self.hub().hold_back(&key);
        for connection in connections {
            self.desk.orders.push_back(Order::LoseName { connection, key: key.clone() });
        }
        self.is_unsure(key);
    }

    /// True if the directory says which server has the streams of these settings.
    fn asks_directory(&self, edge: Option<&Edge>) -> bool {
        self.rules.cluster().is_some() && edge.is_some_and(|edge| edge.origins.is_empty())
    }

    /// The settings of pulls, if there is a server to pull from.
    pub(super) fn pulls_by<'a>(&self, edge: Option<&'a Edge>) -> Option<&'a Edge> {
        edge.filter(|edge| !edge.origins.is_empty() || self.rules.cluster().is_some())
    }

    /// The servers from which a stream is pulled, and the place of the one that the directory names.
    pub(super) fn pull_targets(
        &self,
        edge: &Edge,
        key: &StreamKey,
        client: Option<&RelayFacts>,
    ) -> (Vec<PushTarget>, Option<Place>) {
        if !edge.origins.is_empty() {
            return (targets_of(edge, key, client), None);
        }
        let Some(place) = self.cluster.place(key) else { return (Vec::new(), None) };
        // What other servers write into the directory need not be an address.
        let origin: Option<Origin> = place.address.parse().ok();
        let targets: Vec<_> = origin.iter().map(|origin| PushTarget::at_origin(origin, key, "")).collect();
        (targets, Some(place.clone()))
    }

    /// The directory is asked about the streams that are pulled from where it says.
    pub(super) fn sync_wants(&mut self, now: Instant, key: &StreamKey) {
        let is_wanted = self
            .of_key(key)
            .any(|one| one.kind() == RelayKind::Pull && one.is_alive() && self.asks_directory(one.rules.edge.as_ref()));
        // A client that stands by must learn which server has the name, also while nothing can be pulled.
        if is_wanted || self.hub().waits_for_name(key) {
            self.cluster.want(now, key);
        } else {
            self.cluster.forget(key);
        }
    }

    /// A client that stands by for the name of another server gets it if that has lost its publisher.
    pub(super) fn sync_backup(&mut self, now: Instant, key: &StreamKey) {
        let Some(waiting) = self.hub().waiting_for_name(now, key) else { return };
        let answers = |one: &Relay| one.tries.iter().filter_map(Try::up).any(|up| up.granted);
        let answers = self.of_key(key).any(|one| one.kind() == RelayKind::Pull && answers(one));
        self.cluster.back_up(now, key, waiting, answers);
    }

    /// A relay was looked at: if nothing comes, the directory may know another server.
    pub(super) fn look_for(&mut self, now: Instant, key: &StreamKey, comes: bool) {
        if self.cluster.is_wanted(key) {
            self.cluster.look(now, key, comes);
        }
    }

    /// The server that the directory names has refused a pull.
    pub(super) fn denied(&mut self, now: Instant, key: &StreamKey, lease: Option<u64>) {
        if let Some(fencing) = lease {
            self.cluster.denied(now, key, fencing);
        }
    }
}

impl Relay {
    /// The directory says which server has the stream of a pull now; none has it if there are no targets. What is live goes
    /// on until the other server has sent a frame.
    pub(super) fn go_to(&mut self, now: Instant, targets: Vec<PushTarget>, place: Option<Place>, desk: &mut Desk) {
        let is_other = self.owner != place;
        self.owner = place;
        if self.has_same_servers(&targets) {
            if is_other {
                self.goals.forget_failures();
                self.renew_lease();
            }
            return;
        }
        self.avoid.clear();
        let moves = !targets.is_empty();
        self.tries.retain_mut(|one| {
            one.goal = NO_GOAL;
            match one.up_mut().filter(|up| up.live.is_some()) {
                Some(up) => {
                    up.leaving |= moves;
                    true
                }
                None => !one.end(desk),
            }
        });
        self.goals = Goals::new(targets);
        self.stagger_at = moves.then_some(now);
        if !self.is_sending() {
            self.set_state(now, if moves { RelayState::Connecting } else { RelayState::Waiting });
        }
    }

    /// True while a pull has frames, or a push is granted.
    pub(super) fn is_live(&self) -> bool {
        self.live().is_some()
    }
}

impl super::relays::Shared {
    /// True if the client of the claim stands by.
    pub(super) fn stands_by(&self, claim: ClaimNumber) -> bool {
        self.state().cluster.stands_by(claim)
    }

    /// The claim is not needed any more.
    pub(super) fn release(&self, claim: ClaimNumber) {
        self.change(|state| state.cluster.release(claim));
    }

    /// The client of the claim publishes without an answer.
    pub(super) fn accept(&self, claim: ClaimNumber) {
        self.change(|state| state.cluster.accept(claim));
    }
}
