//! A stream's way through a cluster: its owner gives it to some servers, which give it to others. A server that pulls asks
//! the owner first, and goes where that sends it. It comes back to the owner when the server there has nothing for it.
//!
//! ```text
//!  owner   hop 0 ──▶ children, hop 1 ──▶ their children, hop 2 ...
//! ```
//!
//! A server at hop `n` gives the stream to servers that ask for hop `n + 1`, under the same lease. When it gets the stream
//! from elsewhere, it ends the connections of those that are not further away from the owner than itself: hops rise along
//! each connection, so a stream never goes in a circle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Try;
use super::desk::Desk;
use super::directory::Signing;
use super::relay::Relay;
use super::relays::{Held, Relays, Ticket};
use super::state::State;
use super::{Order, Origin, PushTarget, RelayError, RelayEvent, RelayKind, RelayState};
use crate::cluster::{MOST_AVOIDED, Member, Place, Referral, SeatNumber, Shape, SignedPull, Told};
use crate::policy::Refusal;
use crate::session::CloseReason;
use crate::url::StreamKey;

/// The goal of a try at a server that is not the owner.
pub(super) const NOT_OWNER: usize = usize::MAX - 1;
/// The longest pause before a server goes back to the owner: the others below a server that is gone do so at the same time.
const BACK: u64 = 100_000;

/// What a pull within a cluster asks of a server.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) node: Arc<str>,
    pub(super) fencing: u64,
    /// Over how many connections between servers the stream comes then.
    pub(super) hop: u8,
}

impl Asked {
    pub(super) fn owner(place: &Place) -> Self {
        Asked { node: place.node.clone(), fencing: place.fencing, hop: 1 }
    }

    fn is_of_owner(&self) -> bool {
        self.hop == 1
    }

    /// The number of the lease, if it is the owner that was asked.
    pub(super) fn lease(&self) -> Option<u64> {
        self.is_of_owner().then_some(self.fencing)
    }
}

/// What another server of the cluster gets that asks for a stream.
#[derive(Debug)]
pub(crate) enum Served {
    /// The stream; beyond the number of servers that this one sends it to, if it is `over`.
    Here { over: bool },
    /// The URL of another server that has it.
    At(String),
    /// Nothing: this server does not have the stream, or has it under another lease or at another place of the tree.
    NotHere,
}

/// For the connections of servers that pull from this one.
impl Relays {
    /// What a server of the cluster may pull that sends this text, and its seat.
    pub(crate) fn admit_pull(&self, now: Instant, connection: u64, text: &str) -> Result<(SignedPull, Seat), Refusal> {
        let member = self.shared.member().ok_or(Refusal::PullNotSigned)?;
        let pull = self.shared.signing().verify(now, text, &member.node).ok_or(Refusal::PullNotSigned)?;
        let seat = self.shared.change(|state| state.cluster.children.enter(connection, pull.clone()));
        let number = seat.ok_or(Refusal::PullRepeated)?;
        Ok((pull, Seat { number, _ticket: Ticket::new(&self.shared, Held::Seat(number)) }))
    }

    /// A server of the cluster asks for its stream.
    pub(crate) fn serve_pull(&self, now: Instant, pull: &SignedPull, seat: &Seat, drains: bool) -> Served {
        let told = self.shared.change(|state| state.serve(pull, seat.number, drains));
        match told {
            None => Served::NotHere,
            Some(Told::Here { over }) => Served::Here { over },
            Some(Told::At(to)) => {
                let referral = Referral { fencing: pull.fencing, hop: pull.hop + 1, to };
                let url = self.shared.signing().refer(now, &referral, &pull.key, &pull.by.node);
                url.map_or(Served::NotHere, Served::At)
            }
        }
    }
}

/// The place of a server that pulls a stream from here. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Seat {
    number: SeatNumber,
    _ticket: Ticket,
}

impl super::relays::Shared {
    /// How this server calls itself in its cluster.
    pub(super) fn member(&self) -> Option<Member> {
        self.state().rules.cluster().map(|cluster| cluster.member.clone())
    }

    /// A server that pulled from here has gone.
    pub(super) fn leave(&self, seat: SeatNumber) {
        self.change(|state| {
            if let Some(key) = state.cluster.children.leave(seat) {
                // What it got may be wanted by nothing else.
                state.is_unsure(key);
            }
        });
    }

    /// Where a peer sends a pull, if it is a server of the cluster and says so.
    pub(super) fn referral(&self, now: Instant, key: &StreamKey, url: &str) -> Option<Referral> {
        let member = self.member()?;
        let referral = self.signing().verify_referral(now, url, key, &member.node)?;
        (referral.to.node != member.node).then_some(referral)
    }
}

impl Signing {
    fn refer(&self, now: Instant, referral: &Referral, key: &StreamKey, puller: &str) -> Option<String> {
        Some(self.signer()?.refer(referral, key, puller, self.unix(now)?))
    }

    fn verify_referral(&self, now: Instant, url: &str, key: &StreamKey, puller: &str) -> Option<Referral> {
        let unix = self.unix(now)?;
        self.signers(now).find_map(|signer| signer.verify_referral(url, key, puller, unix))
    }

    fn verify(&self, now: Instant, text: &str, node: &str) -> Option<SignedPull> {
        let unix = self.unix(now)?;
        self.signers(now).find_map(|signer| signer.verify(text, unix, node))
    }
}

impl State {
    /// What a server is told that asks for a stream; `None` if this one does not have it for it.
    fn serve(&mut self, pull: &SignedPull, seat: SeatNumber, drains: bool) -> Option<Told> {
        let cluster = self.rules.cluster()?;
        let shape = Shape { children: cluster.children, depth: cluster.depth };
        let hop = match self.cluster.lease(&pull.key) == Some(pull.fencing) {
            true => Some(0),
            // Those below a server that drains move away from it.
            false if drains || pull.hop > shape.depth => None,
            false => self.hop(&pull.key, pull.fencing),
        };
        if hop?.checked_add(1) != Some(pull.hop) {
            return None;
        }
        let told = self.cluster.children.ask(seat, shape);
        // What is pulled here goes on as long as another server wants it.
        self.is_unsure(pull.key.clone());
        told
    }

    /// Over how many connections between servers the stream comes here under this lease.
    fn hop(&self, key: &StreamKey, fencing: u64) -> Option<u8> {
        let pull = self.of_key(key).find(|one| one.kind() == RelayKind::Pull && one.is_alive())?;
        pull.comes_by().filter(|asked| asked.fencing == fencing).map(|asked| asked.hop)
    }

    /// A pull was looked at: if it has another source now, servers that are not below this one any more must leave.
    pub(super) fn check_children(&mut self, key: &StreamKey) {
        let pull = self.of_key(key).find(|one| one.kind() == RelayKind::Pull && one.is_live());
        let Some(asked) = pull.and_then(Relay::comes_by) else { return };
        for connection in self.cluster.children.misplaced(key, asked.fencing, asked.hop) {
            self.desk.orders.push_back(Order::Close { connection, reason: CloseReason::Closed("pull_moved") });
        }
    }
}

impl Relay {
    /// What was asked of the server that sends the stream, or that has granted it and sends nothing yet.
    pub(super) fn comes_by(&self) -> Option<&Asked> {
        let granted =
            || self.tries.iter().find(|one| one.up().is_some_and(|up| up.granted && !up.leaving && !up.goodbye));
        let live = self.tries.iter().find(|one| one.up().is_some_and(|up| up.live.is_some() && !up.leaving));
        live.or_else(granted)?.asked.as_ref()
    }

    /// The server does not believe that this one belongs to the cluster: said once.
    pub(super) fn note_distrust(&mut self, error: &RelayError, target: &Arc<str>, desk: &mut Desk) {
        if error.words == Refusal::PullNotSigned.to_string() && !std::mem::replace(&mut self.is_distrusted, true) {
            self.remark(RelayEvent::NotTrusted, target, desk);
        }
    }

    /// What the pull signs: it names the servers that it does not want to be sent to.
    pub(super) fn pull_of(&self, asked: &Asked, by: Member) -> SignedPull {
        let Asked { node, fencing, hop } = asked.clone();
        let mut avoid = self.avoid.clone();
        for one in &self.tries {
            let is_slow = one.up().is_none_or(|up| up.live.is_none() && !up.goodbye);
            if let Some(asked) = one.asked.as_ref().filter(|asked| !asked.is_of_owner() && is_slow) {
                add(&mut avoid, &asked.node);
            }
        }
        SignedPull { key: self.key.clone(), fencing, hop, asked: node, by, avoid }
    }

    /// The server that was asked sends it to one that has the stream from there.
    pub(super) fn follow(&mut self, now: Instant, one: &Try, referral: Referral, desk: &mut Desk) -> bool {
        let Referral { fencing, hop, to } = referral;
        let is_next =
            one.asked.as_ref().is_some_and(|asked| asked.fencing == fencing && asked.hop.checked_add(1) == Some(hop));
        let is_now = self.owner.as_ref().is_some_and(|place| place.fencing == fencing);
        let Some(origin) = to.address.parse::<Origin>().ok().filter(|_| is_next && is_now) else {
            return false;
        };
        let target = PushTarget::at_origin(&origin, &self.key, "");
        self.remark(RelayEvent::Redirected { to: target.shown().clone() }, one.target.shown(), desk);
        self.begin_try(now, NOT_OWNER, target, 0, desk);
        if let Some(one) = self.tries.last_mut() {
            one.asked = Some(Asked { node: to.node, fencing, hop });
        }
        true
    }

    /// A server that is not the owner has nothing for this one: the owner is asked again.
    pub(super) fn back_to_owner(&mut self, now: Instant, one: &Try, error: RelayError, desk: &mut Desk) {
        self.avoid(one.asked.as_ref());
        let was_live = one.up().is_some_and(|up| up.live.is_some()) && !self.is_sending();
        let pause = Duration::from_micros(if was_live { desk.random() % BACK } else { 0 });
        let next = self.live().is_none().then_some(pause);
        let event = RelayEvent::Failed { error: error.clone(), failures: 1, next, was_live };
        self.remark(event, one.target.shown(), desk);
        self.last_error = Some(error);
        if next.is_some() {
            self.stagger_at = Some(now + pause);
            if was_live {
                self.goals.wait_until(now + pause);
            }
            if !self.is_sending() {
                self.set_state(now, RelayState::Connecting);
            }
        }
    }

    /// The server has nothing for this one at present.
    pub(super) fn avoid(&mut self, asked: Option<&Asked>) {
        if let Some(asked) = asked.filter(|asked| !asked.is_of_owner()) {
            add(&mut self.avoid, &asked.node);
        }
    }

    /// The owner has another lease, and is the same server: what comes from it comes under that lease.
    pub(super) fn renew_lease(&mut self) {
        let Some(place) = &self.owner else { return };
        for asked in self.tries.iter_mut().filter_map(|one| one.asked.as_mut()) {
            if asked.is_of_owner() && asked.node == place.node {
                asked.fencing = place.fencing;
            }
        }
    }
}

/// The oldest one is forgotten if there are too many.
fn add(nodes: &mut Vec<Arc<str>>, node: &Arc<str>) {
    nodes.retain(|known| known != node);
    nodes.push(node.clone());
    if nodes.len() > MOST_AVOIDED {
        nodes.remove(0);
    }
}
