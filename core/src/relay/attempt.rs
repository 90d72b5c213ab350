use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::tree::Asked;
use super::{AttemptId, Failure, Order, PushTarget, RelayError, RelayId};
use crate::stats::ConnStatsView;
use crate::time_limit::TimeLimit;
use crate::url::Scheme;

/// How long one address of a name has before the next one is tried, while the first goes on (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// The most addresses of one name that are tried at one time.
pub(super) const ADDRESSES: usize = 16;

/// What a relay tells its uplink.
#[derive(Debug, Default)]
pub(super) struct Control {
    goodbye: AtomicBool,
}

impl Control {
    /// The uplink is to end in good order.
    pub(super) fn say_goodbye(&self) {
        self.goodbye.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_goodbye(&self) -> bool {
        self.goodbye.load(Ordering::Relaxed)
    }
}

/// A try to reach one server: its name is looked up, its addresses are tried, then there is an uplink.
#[derive(Debug)]
pub(super) struct Try {
    /// The place of the server among the goals of the relay.
    pub(super) goal: usize,
    pub(super) target: PushTarget,
    /// What it asks for, if it is a server of the cluster.
    pub(super) asked: Option<Asked>,
    /// How many redirects have led to it.
    pub(super) redirects: u8,
    /// Which of the addresses of its name comes first.
    pub(super) turn: usize,
    pub(super) began: Instant,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Resolving { attempt: AttemptId, limit: TimeLimit },
    Connecting { race: Race, limit: TimeLimit },
    Up(Up),
}

/// The addresses of a name.
#[derive(Debug)]
struct Race {
    left: VecDeque<SocketAddr>,
    running: Vec<AttemptId>,
    /// When the next address is tried.
    next: Instant,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) attempt: AttemptId,
    pub(super) connection: u64,
    pub(super) peer: SocketAddr,
    pub(super) control: Arc<Control>,
    pub(super) stats: ConnStatsView,
    /// Since when the peer has granted it; of a pull, since its first frame. `None` before, and while the origin has no
    /// publisher.
    pub(super) live: Option<Instant>,
    /// True if the peer has granted it.
    pub(super) granted: bool,
    /// True if it was live at any time.
    pub(super) was_live: bool,
    /// True if the peer asked for another connection, and this one stays until there is one.
    pub(super) leaving: bool,
    pub(super) goodbye: bool,
}

impl Up {
    /// Tells the uplink to end.
    pub(super) fn say_goodbye(&mut self, desk: &mut Desk) {
        if !std::mem::replace(&mut self.goodbye, true) {
            self.control.say_goodbye();
            desk.orders.push_back(Order::Poll { connection: self.connection });
        }
    }
}

impl Try {
    /// Begins with the look-up of the name, or with the address if it is one.
    pub(super) fn begin(
        now: Instant,
        relay: RelayId,
        goal: usize,
        target: PushTarget,
        redirects: u8,
        limit: Duration,
        desk: &mut Desk,
    ) -> Self {
        let (host, port) = (target.destination().host().to_owned(), target.destination().port());
        let limit = TimeLimit::new(now, limit);
        if let Ok(address) = host.parse::<IpAddr>() {
            let race = Race { left: VecDeque::from([SocketAddr::new(address, port)]), running: Vec::new(), next: now };
            let mut this = Try {
                goal,
                target,
                asked: None,
                redirects,
                turn: 0,
                began: now,
                phase: Phase::Connecting { race, limit },
            };
            this.try_next(now, relay, desk);
            return this;
        }
        let attempt = desk.look_up(relay, host, port);
        Try { goal, target, asked: None, redirects, turn: 0, began: now, phase: Phase::Resolving { attempt, limit } }
    }

    pub(super) fn has(&self, attempt: AttemptId) -> bool {
        match &self.phase {
            Phase::Resolving { attempt: own, .. } => *own == attempt,
            Phase::Connecting { race, .. } => race.running.contains(&attempt),
            Phase::Up(up) => up.attempt == attempt,
        }
    }

    /// True if each address of the name was tried, and none has given a connection.
    pub(super) fn has_tried_all(&self) -> bool {
        matches!(&self.phase, Phase::Connecting { race, .. } if race.left.is_empty())
    }

    pub(super) fn up(&self) -> Option<&Up> {
        match &self.phase {
            Phase::Up(up) => Some(up),
            _ => None,
        }
    }

    /// True while it is to become or to stay the one that is used.
    pub(super) fn is_wanted(&self) -> bool {
        self.up().is_none_or(|up| !up.leaving && !up.goodbye)
    }

    /// True if the peer asked for another connection.
    pub(super) fn is_leaving(&self) -> bool {
        self.up().is_some_and(|up| up.leaving)
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.phase {
            Phase::Up(up) => Some(up),
            _ => None,
        }
    }

    /// The addresses of the name are known.
    pub(super) fn resolved(
        &mut self,
        now: Instant,
        relay: RelayId,
        attempt: AttemptId,
        addresses: Vec<SocketAddr>,
        limit: Duration,
        desk: &mut Desk,
    ) -> Result<(), RelayError> {
        let Phase::Resolving { attempt: own, .. } = &self.phase else {
            return Ok(());
        };
        if *own != attempt {
            return Ok(());
        }
        desk.attempts.remove(&attempt);
        let left = in_turns(addresses, self.turn);
        if left.is_empty() {
            return Err(error_of(&Failure::Resolve("the name has no addresses".to_owned())));
        }
        let race = Race { left, running: Vec::new(), next: now };
        self.phase = Phase::Connecting { race, limit: TimeLimit::new(now, limit) };
        self.try_next(now, relay, desk);
        Ok(())
    }

    /// Tries the next address, if its time has come.
    fn try_next(&mut self, now: Instant, relay: RelayId, desk: &mut Desk) {
        let Phase::Connecting { race, .. } = &mut self.phase else {
            return;
        };
        if now < race.next && !race.running.is_empty() {
            return;
        }
        if let Some(address) = race.left.pop_front() {
            let attempt = desk.attempt(relay);
            race.running.push(attempt);
            race.next = now + NEXT_ADDRESS;
            let secure = *self.target.destination().scheme() == Scheme::Rtmps;
            let tls = secure.then(|| self.target.destination().host().to_owned());
            desk.orders.push_back(Order::Connect { attempt, address, tls });
        }
    }

    /// A look-up or an address failed. The try goes on if there are more addresses.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        relay: RelayId,
        attempt: AttemptId,
        failure: &Failure,
        desk: &mut Desk,
    ) -> Result<(), RelayError> {
        desk.attempts.remove(&attempt);
        match &mut self.phase {
            Phase::Resolving { attempt: own, .. } if *own == attempt => return Err(error_of(failure)),
            Phase::Connecting { race, .. } => {
                race.running.retain(|running| *running != attempt);
                race.next = now;
                if race.running.is_empty() && race.left.is_empty() {
                    return Err(error_of(failure));
                }
                self.try_next(now, relay, desk);
            }
            _ => {}
        }
        Ok(())
    }

    /// There is a connection: the other addresses are not needed. Returns false if this one is not, either.
    pub(super) fn connected(&mut self, up: Up, desk: &mut Desk) -> bool {
        let Phase::Connecting { race, .. } = &self.phase else {
            return false;
        };
        if !race.running.contains(&up.attempt) {
            return false;
        }
        for attempt in race.running.iter().copied().filter(|attempt| *attempt != up.attempt) {
            desk.abort(attempt);
        }
        self.phase = Phase::Up(up);
        true
    }

    /// Tries the next address, and ends what takes too long.
    pub(super) fn tick(&mut self, now: Instant, relay: RelayId, desk: &mut Desk) -> Result<(), RelayError> {
        let is_over = match &mut self.phase {
            Phase::Resolving { limit, .. } | Phase::Connecting { limit, .. } => limit.is_over(now),
            Phase::Up(_) => false,
        };
        let (name, words) = match &self.phase {
            Phase::Resolving { .. } if is_over => ("resolve_timeout", "the look-up of the name took too long"),
            Phase::Connecting { .. } if is_over => {
                ("connect_timeout", "the server did not accept a connection in time")
            }
            Phase::Connecting { race, .. } if race.next <= now => {
                self.try_next(now, relay, desk);
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.abort(desk);
        Err(RelayError { name, code: String::new(), words: words.to_owned(), is_lasting: false })
    }

    /// When to look again; an uplink has its own times.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Resolving { limit, .. } => Some(limit.next_check()),
            Phase::Connecting { race, limit } => {
                let next = (!race.left.is_empty()).then_some(race.next);
                next.into_iter().chain([limit.next_check()]).min()
            }
            Phase::Up(_) => None,
        }
    }

    /// Ends a try that has no connection yet. Returns false if it has one, which is told to end.
    pub(super) fn end(&mut self, desk: &mut Desk) -> bool {
        match &mut self.phase {
            Phase::Up(up) => {
                up.say_goodbye(desk);
                false
            }
            _ => {
                self.abort(desk);
                true
            }
        }
    }

    fn abort(&mut self, desk: &mut Desk) {
        match &mut self.phase {
            Phase::Resolving { attempt, .. } => {
                let server = self.target.destination();
                desk.leave_look_up(*attempt, server.host(), server.port());
            }
            Phase::Connecting { race, .. } => race.running.drain(..).for_each(|attempt| desk.abort(attempt)),
            Phase::Up(_) => {}
        }
    }
}

fn error_of(failure: &Failure) -> RelayError {
    RelayError {
        name: failure.name(),
        code: String::new(),
        words: crate::url::shortened(&failure.to_string()).into_owned(),
        is_lasting: matches!(failure, Failure::Tls(_)),
    }
}

/// The addresses in the order of the system, but IPv6 and IPv4 in turns: if a server is not reachable by one of the two,
/// each second attempt works (RFC 8305 §4). `turn` says which comes first; those that are too many are left out behind it.
fn in_turns(addresses: Vec<SocketAddr>, turn: usize) -> VecDeque<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut turns, mut known) = (VecDeque::new(), BTreeSet::new());
    while !(one.is_empty() && other.is_empty()) {
        let pair = [&mut one, &mut other].into_iter().filter_map(VecDeque::pop_front);
        turns.extend(pair.filter(|address| known.insert(*address)));
    }
    let first = turn.checked_rem(turns.len()).unwrap_or(0);
    turns.rotate_left(first);
    turns.truncate(ADDRESSES);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_take_turns() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>();
        let mixed = of(&["[::1]:1", "[::2]:1", "[::1]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let expected = of(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1"]);
        assert_eq!(in_turns(mixed, 0), expected);
        assert!(in_turns(Vec::new(), 7).is_empty());
    }

    #[test]
    fn each_of_many_addresses_is_the_first_in_its_turn() {
        let many: Vec<SocketAddr> = (1..=40).map(|last| SocketAddr::from(([10, 0, 0, last], 1))).collect();
        for (turn, first) in many.iter().enumerate() {
            let turns = in_turns(many.clone(), turn);
            assert_eq!((turns.len(), turns.front()), (ADDRESSES, Some(first)));
        }
    }
}
