use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::{ADDRESSES, Try, Up};
use super::audience::Next;
use super::desk::Desk;
use super::goals::Goals;
use super::plan::{Lost, Plan, Refused, Times, Totals};
use super::recent::AFTERMATH;
use super::rules::StreamRules;
use super::state::targets_of;
use super::tree::{Asked, NOT_OWNER};
use super::{
    AttemptId, EndedBecause, Failure, Order, PushTarget, RelayError, RelayEvent, RelayId, RelayKind, RelayState,
    Remark, TargetSource,
};
use crate::client::Destination;
use crate::cluster::Place;
use crate::hub::RelayFacts;
use crate::policy::{AskId, Verdict};
use crate::time_limit::TimeLimit;
use crate::url::StreamKey;

/// A connection that was live for so long was stable: the failures before it are forgotten.
const STABLE: Duration = Duration::from_secs(10);
/// So many refusals in a row may come of what a target still has of our last publication there: they do not count as
/// lasting.
const AFTER_OURS: u32 = 5;

/// One push or pull, with all that it tries.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) key: StreamKey,
    pub(super) source: TargetSource,
    pub(super) plan: Plan,
    pub(super) rules: Arc<StreamRules>,
    pub(super) times: Times,
    pub(super) goals: Goals,
    pub(super) tries: Vec<Try>,
    /// When the next goal is tried while another try goes on.
    pub(super) stagger_at: Option<Instant>,
    pub(super) began: Instant,
    pub(super) state: RelayState,
    pub(super) since: Instant,
    /// When the attempts began of which the next live connection is the result.
    pub(super) phase_began: Option<Instant>,
    pub(super) attempts: u64,
    pub(super) connects: u64,
    /// Until when a target may refuse because it still has our last publication there.
    pub(super) aftermath: Option<Instant>,
    /// How often peers asked for another connection, and when they did last.
    pub(super) moves: (u32, Option<Instant>),
    pub(super) last_error: Option<RelayError>,
    pub(super) left_out: String,
    pub(super) target: Arc<str>,
    pub(super) past: Totals,
    pub(super) ending: Option<EndedBecause>,
    /// The relay before it, which says goodbye to the same server: it begins when that is over.
    pub(super) after: Option<RelayId>,
    /// Where the directory of the cluster says that the stream is.
    pub(super) owner: Option<Place>,
    /// The servers of the cluster that had nothing for it, since it was live.
    pub(super) avoid: Vec<Arc<str>>,
    /// True if a server of the cluster has refused its signature, since it was live.
    pub(super) is_distrusted: bool,
    /// True once a pull has, or had, a server that has the stream: one that the directory names, or an origin that has sent
    /// frames.
    pub(super) is_placed: bool,
    /// When the relays must look at it, as noted among their timers.
    pub(super) timer: Option<Instant>,
}

impl Relay {
    #[allow(clippy::too_many_arguments)] // all that makes a relay
    pub(super) fn new(
        now: Instant,
        id: RelayId,
        key: StreamKey,
        source: TargetSource,
        plan: Plan,
        rules: Arc<StreamRules>,
        times: Times,
        targets: Vec<PushTarget>,
    ) -> Self {
        let target = targets.first().map(|target| target.shown().clone()).unwrap_or_default();
        let idle = matches!(plan, Plan::Push { idle: true });
        // An origin has said nothing of the stream yet.
        let is_placed = !targets.is_empty() && rules.edge.as_ref().is_none_or(|edge| edge.origins.is_empty());
        Relay {
            id,
            key,
            source,
            plan,
            rules,
            times,
            goals: Goals::new(targets),
            tries: Vec::new(),
            stagger_at: None,
            began: now,
            state: if idle { RelayState::Idle } else { RelayState::Connecting },
            since: now,
            phase_began: None,
            attempts: 0,
            connects: 0,
            aftermath: None,
            moves: (0, None),
            last_error: None,
            left_out: String::new(),
            target,
            past: Totals::default(),
            ending: None,
            after: None,
            owner: None,
            avoid: Vec::new(),
            is_distrusted: false,
            is_placed,
            timer: None,
        }
    }

    pub(super) fn kind(&self) -> RelayKind {
        match self.plan {
            Plan::Push { .. } => RelayKind::Push,
            Plan::Pull { .. } => RelayKind::Pull,
            Plan::Upward { .. } => RelayKind::Upward,
            Plan::Traverse { .. } => RelayKind::Traverse,
        }
    }

    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// The target may still have our last publication there.
    pub(super) fn comes_after_another(&mut self, desk: &Desk) {
        let ended = self.goals.targets().filter_map(|target| desk.recent.aftermath(&self.key, target.destination()));
        self.aftermath = ended.max();
    }

    /// The client that has asked this has gone. If the relay is that of other clients, too, it goes on.
    pub(super) fn withdraw(&mut self, asked: AskId) {
        let is_over = match &mut self.plan {
            Plan::Upward(claims) => claims.remove(asked),
            Plan::Traverse { ask, .. } => *ask == asked,
            Plan::Push { .. } | Plan::Pull(_) => false,
        };
        if is_over {
            self.ending.get_or_insert(EndedBecause::Unpublished);
        }
    }

    /// The stream is published here by the client of this connection. Returns true if that is a client of this relay.
    pub(super) fn published_by(&mut self, connection: u64) -> bool {
        let is_alive = self.is_alive();
        match &mut self.plan {
            Plan::Upward(claims) => claims.published_by(connection) && is_alive,
            Plan::Push { .. } | Plan::Pull(_) | Plan::Traverse { .. } => false,
        }
    }

    /// Another relay publishes the stream at the origin, for the client of this connection.
    pub(super) fn give_way(&mut self, connection: u64) {
        if matches!(&self.plan, Plan::Upward(claims) if claims.is_superseded_by(connection)) {
            self.ending.get_or_insert(EndedBecause::Published);
        }
    }

    /// True if it publishes a stream at an origin with what is known of this client.
    pub(super) fn is_upward_of(&self, client: &RelayFacts) -> bool {
        matches!(&self.plan, Plan::Upward(claims) if *claims.facts == *client)
    }

    /// Another client wants to publish the stream with the same parameters.
    pub(super) fn join(&mut self, connection: u64, ask: AskId, limit: TimeLimit, desk: &mut Desk) {
        let is_live = self.live().is_some();
        if let Plan::Upward(claims) = &mut self.plan {
            claims.add(connection, ask, limit);
            if is_live {
                claims.granted(desk);
            }
        }
    }

    /// True if it goes on.
    pub(super) fn is_alive(&self) -> bool {
        self.ending.is_none()
    }

    /// True if a push has this target.
    pub(super) fn goes_to(&self, destination: &Destination) -> bool {
        self.goals.first().is_some_and(|target| target.destination() == destination)
    }

    /// The settings have changed. Its connections stay as they are.
    pub(super) fn adopt(&mut self, times: Times) {
        self.times = times;
    }

    /// Where a push goes.
    pub(super) fn destination(&self) -> Option<&Destination> {
        self.goals.first().map(PushTarget::destination)
    }

    /// True if its servers are still those that the configuration has.
    pub(super) fn has_same_servers(&self, targets: &[PushTarget]) -> bool {
        self.goals.has_same_servers(targets)
    }

    pub(super) fn live(&self) -> Option<&Up> {
        self.tries.iter().filter_map(Try::up).find(|up| up.live.is_some() && !up.leaving)
    }

    /// True if a connection is live, even one that another is to replace.
    pub(super) fn is_sending(&self) -> bool {
        self.tries.iter().filter_map(Try::up).any(|up| up.live.is_some() && !up.goodbye)
    }

    pub(super) fn remark(&self, event: RelayEvent, target: &Arc<str>, desk: &mut Desk) {
        let (id, kind, key) = (self.id, self.kind(), self.key.clone());
        desk.orders.push_back(Order::Remark(Remark { id, kind, key, target: target.clone(), event }));
    }

    pub(super) fn remark_own(&self, event: RelayEvent, desk: &mut Desk) {
        self.remark(event, &self.target, desk);
    }

    pub(super) fn set_state(&mut self, now: Instant, state: RelayState) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }

    /// Begins to end: connections say goodbye, all else is given up.
    pub(super) fn end(&mut self, now: Instant, why: EndedBecause, desk: &mut Desk) {
        if self.ending.is_some() {
            return;
        }
        (self.ending, self.since) = (Some(why), now);
        match &mut self.plan {
            Plan::Upward(claims) => claims.refuse("the server ends", desk),
            Plan::Traverse { connection, ask, .. } => {
                let words = "the server ends".to_owned();
                let verdict = Verdict::Origin { code: String::new(), words };
                desk.orders.push_back(Order::Answer { connection: *connection, ask: *ask, verdict });
            }
            Plan::Push { .. } | Plan::Pull(_) => {}
        }
        self.end_tries(desk);
    }

    fn end_tries(&mut self, desk: &mut Desk) {
        self.tries.retain_mut(|one| !one.end(desk));
    }

    /// The stream of a push's target is not published any more.
    pub(super) fn rest(&mut self, now: Instant, desk: &mut Desk) {
        if let Plan::Push { idle } = &mut self.plan {
            *idle = true;
            self.end_tries(desk);
            self.phase_began = None;
            self.set_state(now, RelayState::Idle);
        }
    }

    /// It is published again.
    pub(super) fn resume(&mut self, now: Instant) {
        if let Plan::Push { idle } = &mut self.plan
            && std::mem::take(idle)
        {
            self.goals.forget_failures();
            self.set_state(now, RelayState::Connecting);
        }
    }

    /// Does what is due. Returns false once it is over.
    pub(super) fn step(&mut self, now: Instant, desk: &mut Desk) -> bool {
        self.tick(now, desk);
        if self.ending.is_none() {
            self.check_plan(now, desk);
        }
        if let Some(why) = self.ending {
            self.end_tries(desk);
            if self.tries.is_empty() {
                if self.kind() != RelayKind::Traverse {
                    self.remark_own(RelayEvent::Ended { why }, desk);
                }
                return false;
            }
            return true;
        }
        self.next_client(now, desk);
        self.begin_tries(now, desk);
        true
    }

    fn tick(&mut self, now: Instant, desk: &mut Desk) {
        let mut at = 0;
        while let Some(one) = self.tries.get_mut(at) {
            match one.tick(now, self.id, desk) {
                Ok(()) => at += 1,
                Err(error) => {
                    let one = self.tries.remove(at);
                    self.try_failed(now, &one, error, None, desk);
                }
            }
        }
    }

    fn check_plan(&mut self, now: Instant, desk: &mut Desk) {
        match &mut self.plan {
            Plan::Push { .. } => {}
            Plan::Pull(audience) => {
                if audience.is_gone(now) {
                    self.end(now, EndedBecause::Unwanted, desk);
                } else if audience.has_waited(now) {
                    self.end(now, EndedBecause::NoOrigin, desk);
                }
            }
            Plan::Upward(claims) => {
                let words = match &self.last_error {
                    Some(error) => format!("no origin grants this at present: {error}"),
                    None => "no origin answers at present".to_owned(),
                };
                if claims.expire(now, &words, desk) && claims.is_empty() || claims.is_given_up(now, desk) {
                    self.end(now, EndedBecause::NoOrigin, desk);
                }
            }
            Plan::Traverse { connection, ask, answer, .. } => {
                if answer.is_over(now) {
                    let words = "no origin answers at present".to_owned();
                    let verdict = Verdict::Origin { code: String::new(), words };
                    desk.orders.push_back(Order::Answer { connection: *connection, ask: *ask, verdict });
                    self.ending = Some(EndedBecause::NoOrigin);
                }
            }
        }
    }

    /// If the origins refuse what they were shown of one client, they are shown that of the next one.
    fn next_client(&mut self, now: Instant, desk: &mut Desk) {
        let Plan::Pull(audience) = &mut self.plan else {
            return;
        };
        if self.ending.is_some() || !audience.is_refused() {
            return;
        }
        let busy = self.tries.iter().any(Try::is_wanted);
        let tries = |goal: usize| self.tries.iter().filter(|one| one.goal == goal).count();
        let more = self.goals.next(now, tries, |_| false).is_some();
        if (busy || more) && !audience.has_refusal_by(now) {
            return;
        }
        match audience.next(&self.key, &self.rules, self.times.backoff, desk) {
            Next::None => self.end(now, EndedBecause::Refused, desk),
            Next::Again => {
                let targets = self.targets_of_client();
                self.goals.show(targets);
            }
            Next::Client(pause) => {
                let targets = self.targets_of_client();
                self.goals.replace(targets);
                if !pause.is_zero() {
                    self.goals.wait_until(now + pause);
                }
                self.end_tries(desk);
                self.stagger_at = None;
            }
        }
    }

    /// The origins, which are shown what is known of the client of the audience.
    fn targets_of_client(&self) -> Vec<PushTarget> {
        let (Plan::Pull(audience), Some(edge)) = (&self.plan, &self.rules.edge) else {
            return Vec::new();
        };
        let client = audience.client().map(|client| &*client.facts);
        targets_of(edge, &self.key, client)
    }

    fn begin_tries(&mut self, now: Instant, desk: &mut Desk) {
        if self.ending.is_some()
            || matches!(self.plan, Plan::Push { idle: true })
            || self.live().is_some()
            || self.after.is_some()
        {
            return;
        }
        // Only pulls try several servers at a time beyond the connection: no two servers may get the same stream.
        let is_pull = matches!(self.plan, Plan::Pull(_));
        if !is_pull && self.tries.iter().any(|one| one.up().is_some()) {
            return;
        }
        let busy = self.tries.iter().any(Try::is_wanted);
        if busy && self.stagger_at.is_some_and(|at| now < at) {
            return;
        }
        let tries = |goal: usize| self.tries.iter().filter(|one| one.goal == goal && !one.is_leaving()).count();
        let is_down = |target: &PushTarget| desk.recent.is_down(now, target.destination());
        let Some((goal, target)) = self.goals.next(now, tries, is_down) else {
            self.stagger_at = None;
            return;
        };
        let target = target.clone();
        self.begin_try(now, goal, target, 0, desk);
    }

    pub(super) fn begin_try(&mut self, now: Instant, goal: usize, target: PushTarget, redirects: u8, desk: &mut Desk) {
        self.attempts += 1;
        if self.phase_began.is_none() {
            self.phase_began = Some(now);
            if self.kind() != RelayKind::Traverse {
                self.remark(RelayEvent::Connecting, target.shown(), desk);
            }
        }
        self.target = target.shown().clone();
        if !self.is_sending() {
            self.set_state(now, RelayState::Connecting);
        }
        self.stagger_at = self.times.stagger.map(|stagger| now + stagger);
        let mut one = Try::begin(now, self.id, goal, target, redirects, self.times.connect, desk);
        if matches!(self.plan, Plan::Pull(_)) {
            one.turn = self.goals.begins(goal);
            one.asked = self.owner.as_ref().map(Asked::owner);
        }
        self.tries.push(one);
    }

    /// A try is over, and was removed. `moved` is the pause if the peer ended it to get another connection.
    pub(super) fn try_failed(
        &mut self,
        now: Instant,
        one: &Try,
        mut error: RelayError,
        moved: Option<Duration>,
        desk: &mut Desk,
    ) {
        if self.ending.is_some() || matches!(self.plan, Plan::Push { idle: true }) {
            return;
        }
        // Nothing is remembered of targets of pushes: each has one server, which is all that there is to try.
        if one.up().is_none_or(|up| !up.granted) && self.is_of_edge() && !error.is_answer() {
            desk.recent.note_down(now, one.target.destination());
        }
        if one.goal == NOT_OWNER {
            return self.back_to_owner(now, one, error, desk);
        }
        let failures = match moved {
            Some(pause) => {
                self.goals.moved(now, one.goal, pause);
                0
            }
            None => {
                let (backoff, random, is_ours) = (self.times.backoff, desk.random(), self.is_aftermath(now));
                self.goals.failed(now, one.goal, one.redirects == 0 && one.has_tried_all(), |steps| {
                    error.is_lasting &= !is_ours || steps > AFTER_OURS;
                    backoff.pause(steps, error.is_lasting, random)
                })
            }
        };
        // The next server is tried at once.
        self.stagger_at = Some(now);
        let more = self.goals.next(now, |goal| self.tries_of(goal), |_| false).is_some();
        let is_over = !more && self.tries.is_empty();
        let next = if is_over { self.goals.next_retry() } else { None };
        if next.is_some() {
            self.set_state(now, if error.is_lasting { RelayState::Refused } else { RelayState::Waiting });
        } else if self.goals.is_empty() && !self.is_sending() {
            self.set_state(now, RelayState::Waiting);
        } else if !self.is_sending() {
            self.set_state(now, RelayState::Connecting);
        }
        if self.kind() != RelayKind::Traverse {
            let next = next.map(|next| next.saturating_duration_since(now));
            let was_live = one.up().is_some_and(|up| up.live.is_some()) && !self.is_sending();
            let event = RelayEvent::Failed { error: error.clone(), failures, next, was_live };
            self.remark(event, one.target.shown(), desk);
        }
        self.last_error = Some(error);
        if !is_over {
            return;
        }
        let is_aftermath = self.is_aftermath(now);
        match &mut self.plan {
            Plan::Upward(claims) if claims.has_refusal() && !(is_aftermath && claims.is_taken()) => {
                // The origin's own words go to the client.
                claims.refuse("", desk);
                if claims.is_empty() {
                    self.ending = Some(EndedBecause::NoOrigin);
                }
            }
            Plan::Traverse { connection, ask, .. } => {
                let words = "no origin answers at present".to_owned();
                let verdict = Verdict::Origin { code: String::new(), words };
                desk.orders.push_back(Order::Answer { connection: *connection, ask: *ask, verdict });
                self.ending = Some(EndedBecause::NoOrigin);
            }
            _ => {}
        }
    }

    /// True if the servers are origins of an edge.
    fn is_of_edge(&self) -> bool {
        !matches!(self.plan, Plan::Push { .. })
    }

    fn is_aftermath(&self, now: Instant) -> bool {
        self.aftermath.is_some_and(|end| now < end)
    }

    pub(super) fn place(&self, attempt: AttemptId) -> Option<usize> {
        self.tries.iter().position(|one| one.has(attempt))
    }

    /// What the attempt asks of a server of the cluster.
    pub(super) fn asked(&self, attempt: AttemptId) -> Option<&Asked> {
        self.tries.get(self.place(attempt)?)?.asked.as_ref()
    }

    fn tries_of(&self, goal: usize) -> usize {
        self.tries.iter().filter(|one| one.goal == goal).count()
    }

    pub(super) fn resolved(&mut self, now: Instant, attempt: AttemptId, addresses: Vec<SocketAddr>, desk: &mut Desk) {
        let Some(at) = self.place(attempt) else {
            return;
        };
        if matches!(self.plan, Plan::Pull(_)) {
            // All servers of the name may have the stream.
            self.goals.has_addresses(self.tries[at].goal, addresses.len().min(ADDRESSES));
        }
        if let Err(error) = self.tries[at].resolved(now, self.id, attempt, addresses, self.times.connect, desk) {
            let one = self.tries.remove(at);
            self.try_failed(now, &one, error, None, desk);
        }
    }

    pub(super) fn failed(&mut self, now: Instant, attempt: AttemptId, failure: &Failure, desk: &mut Desk) {
        let Some(at) = self.place(attempt) else {
            return;
        };
        if let Err(error) = self.tries[at].failed(now, self.id, attempt, failure, desk) {
            let one = self.tries.remove(at);
            self.try_failed(now, &one, error, None, desk);
        }
    }

    /// There is a connection. Returns its target if it is wanted.
    pub(super) fn connected(&mut self, up: Up, desk: &mut Desk) -> Option<PushTarget> {
        if self.ending.is_some() || matches!(self.plan, Plan::Push { idle: true }) {
            return None;
        }
        let at = self.place(up.attempt)?;
        let is_pull = matches!(self.plan, Plan::Pull(_));
        if !is_pull && self.tries.iter().any(|one| one.up().is_some()) {
            return None;
        }
        let one = self.tries.get_mut(at)?;
        if !one.connected(up, desk) {
            return None;
        }
        let target = one.target.clone();
        if !is_pull {
            // The first server that accepts the connection is the one that is asked.
            self.tries.retain_mut(|one| one.up().is_some() || !one.end(desk));
        }
        Some(target)
    }

    /// The peer has granted what the uplink asked for.
    pub(super) fn granted(&mut self, now: Instant, attempt: AttemptId, left_out: String, desk: &mut Desk) {
        let Some(at) = self.place(attempt) else {
            return;
        };
        let Some(up) = self.tries[at].up_mut() else {
            return;
        };
        up.granted = true;
        desk.recent.note_up(self.tries[at].target.destination());
        match &mut self.plan {
            Plan::Pull(audience) => {
                audience.granted();
                if self.live().is_none() {
                    self.set_state(now, RelayState::Silent);
                }
                return;
            }
            Plan::Push { .. } => {}
            Plan::Upward(claims) => claims.granted(desk),
            Plan::Traverse { connection, ask, .. } => {
                let (connection, ask, verdict) = (*connection, *ask, Verdict::Allow);
                desk.orders.push_back(Order::Answer { connection, ask, verdict });
                self.ending = Some(EndedBecause::Unwanted);
                return;
            }
        }
        self.became_live(now, at, left_out, desk);
    }

    /// The first frame of a pull, or the first one after its stream had ended. Returns false if another connection was
    /// first.
    pub(super) fn first_frame(&mut self, now: Instant, attempt: AttemptId, desk: &mut Desk) -> bool {
        let Some(at) = self.place(attempt).filter(|_| self.ending.is_none()) else {
            return false;
        };
        let is_other = |up: &Up| up.attempt != attempt;
        if self.live().is_some_and(is_other) {
            return false;
        }
        if let Plan::Pull(audience) = &mut self.plan {
            audience.was_live = true;
            audience.granted();
        }
        self.avoid.clear();
        self.is_distrusted = false;
        self.became_live(now, at, String::new(), desk);
        // The other servers are not needed. One that had as long as the next waits for it is slow.
        for one in self.tries.iter().filter(|one| !one.has(attempt) && one.up().is_none_or(|up| !up.granted)) {
            if self.times.stagger.is_some_and(|stagger| now >= one.began + stagger) {
                desk.recent.note_down(now, one.target.destination());
            }
        }
        self.tries.retain_mut(|one| one.has(attempt) || !one.end(desk));
        true
    }

    fn became_live(&mut self, now: Instant, at: usize, left_out: String, desk: &mut Desk) {
        let Some(one) = self.tries.get_mut(at) else {
            return;
        };
        let (target, goal) = (one.target.shown().clone(), one.goal);
        let Some(up) = one.up_mut() else {
            return;
        };
        (up.live, up.granted, up.leaving) = (Some(now), true, false);
        // A stream that begins again on the same connection is no further success.
        let is_first = !std::mem::replace(&mut up.was_live, true);
        let peer = up.peer;
        self.stagger_at = None;
        self.goals.succeeded(goal);
        self.target = target.clone();
        self.connects += u64::from(is_first);
        self.left_out.clone_from(&left_out);
        self.set_state(now, RelayState::Live);
        let after = now.saturating_duration_since(self.phase_began.take().unwrap_or(now));
        self.remark(RelayEvent::Live { peer, after, left_out }, &target, desk);
    }

    /// The origin of a pull has no publisher any more.
    pub(super) fn fell_silent(&mut self, now: Instant, attempt: AttemptId, desk: &mut Desk) {
        let Some(up) = self.place(attempt).and_then(|at| self.tries[at].up_mut()) else {
            return;
        };
        let (is_used, is_leaving) = (up.live.take().is_some() && !up.goodbye, up.leaving);
        let asked = self.asked(attempt).cloned();
        self.avoid(asked.as_ref());
        if is_used && self.live().is_none() {
            // The publisher may come back at another origin.
            self.stagger_at = self.times.stagger.map(|stagger| now + stagger);
            if !is_leaving {
                self.goals.forget_failures();
            }
            self.phase_began = Some(now);
            self.set_state(now, RelayState::Silent);
            self.remark_own(RelayEvent::Silent, desk);
        }
    }

    /// A push lags, or keeps up again.
    pub(super) fn lags(&mut self, now: Instant, attempt: AttemptId, event: RelayEvent, desk: &mut Desk) {
        if self.place(attempt).is_some() && self.ending.is_none() {
            let lagging = matches!(event, RelayEvent::Lagging { .. });
            self.set_state(now, if lagging { RelayState::Lagging } else { RelayState::Live });
            self.remark_own(event, desk);
        }
    }

    /// An uplink has ended.
    pub(super) fn lost(&mut self, now: Instant, attempt: AttemptId, lost: Lost, desk: &mut Desk) {
        desk.attempts.remove(&attempt);
        let Some(at) = self.place(attempt) else {
            return;
        };
        let one = self.tries.remove(at);
        let Some(up) = one.up() else {
            return;
        };
        self.past.add(&up.stats.snapshot(now));
        if up.granted && matches!(self.plan, Plan::Push { .. } | Plan::Upward(_)) {
            self.aftermath = Some(now + AFTERMATH);
            desk.recent.note_ended(now, &self.key, one.target.destination());
        }
        if up.goodbye || up.leaving && self.live().is_some() {
            return;
        }
        let was_live = up.live;
        if was_live.is_some_and(|since| now.saturating_duration_since(since) >= STABLE) {
            self.goals.forget_failures();
        }
        if self.ending.is_some() {
            return;
        }
        let Lost { error, refused, redirect, referral, reconnect } = lost;
        self.note_distrust(&error, one.target.shown(), desk);
        if referral.is_some_and(|referral| self.follow(now, &one, referral, desk)) {
            return;
        }
        let keep = self.rules.edge.as_ref().map_or(Duration::ZERO, |edge| edge.keep);
        if let Plan::Upward(claims) = &mut self.plan {
            claims.begin_keep(now, keep);
        }
        let moved = reconnect.then(|| self.pause_of_move(now, desk));
        if let Some(destination) = redirect {
            // A peer that asks for another connection may name any server: what is not configured is not used.
            let is_followed = moved.is_none_or(|pause| pause.is_zero() && self.may_follow(&destination));
            if is_followed {
                return self.redirected(now, &one, destination, desk);
            }
        }
        let is_aftermath = self.is_aftermath(now);
        match (&mut self.plan, refused) {
            (Plan::Upward(claims), Some(refused)) if claims.is_asking() => {
                claims.note_refusal(&error);
                // Another origin may take the connection; and one that has the name from us will not for long.
                let is_final = refused != Refused::Connect && !(is_aftermath && claims.is_taken());
                if is_final {
                    claims.refuse("", desk);
                    if claims.is_empty() {
                        self.last_error = Some(error);
                        self.ending = Some(EndedBecause::NoOrigin);
                        return;
                    }
                }
            }
            // The owner of a name in a cluster is shown nothing of clients.
            (Plan::Pull(audience), Some(Refused::Connect | Refused::Stream)) if self.owner.is_none() => {
                audience.refused_until(now + self.times.stagger.unwrap_or_default());
            }
            (Plan::Traverse { connection, ask, .. }, Some(_)) => {
                let verdict = Verdict::Origin { code: error.code, words: error.words };
                desk.orders.push_back(Order::Answer { connection: *connection, ask: *ask, verdict });
                self.ending = Some(EndedBecause::NoOrigin);
                return;
            }
            _ => {}
        }
        if was_live.is_some() {
            self.phase_began = None;
        }
        self.try_failed(now, &one, error, moved, desk);
    }

    /// When to look at it again.
    pub(super) fn due(&self) -> Option<Instant> {
        let tries = self.tries.iter().filter_map(Try::due);
        if self.ending.is_some() {
            return tries.min();
        }
        let plan = match &self.plan {
            Plan::Push { .. } => None,
            Plan::Pull(audience) => audience.next_check(),
            Plan::Upward(claims) => claims.next_check(),
            Plan::Traverse { answer, .. } => Some(answer.next_check()),
        };
        let idle = matches!(self.plan, Plan::Push { idle: true }) || self.live().is_some() || self.after.is_some();
        let is_pull = matches!(self.plan, Plan::Pull(_));
        let occupied = !is_pull && self.tries.iter().any(|one| one.up().is_some());
        let next = if idle || occupied {
            None
        } else if self.tries.iter().any(Try::is_wanted) {
            // With no goal left that could be tried, retries of the failed ones are due.
            match (self.goals.next_of(|goal| self.tries_of(goal)), self.stagger_at) {
                (None, _) => None,
                (Some(retry), at) => retry.into_iter().chain(at).max(),
            }
        } else {
            self.goals.next_retry()
        };
        tries.chain(plan).chain(next).min()
    }
}
