use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::{Desk, Try, Up};
use super::rules::StreamRules;
use super::{
    AttemptId, Backoff, EndedBecause, Failure, Order, PushTarget, RelayError, RelayEvent, RelayId, RelayKind,
    RelaySnapshot, RelayState, Remark, TargetSource,
};
use crate::client::Destination;
use crate::policy::{AskId, Verdict};
use crate::session::CloseReason;
use crate::source::Gap;
use crate::stats::ConnSnapshot;
use crate::time_limit::TimeLimit;
use crate::url::StreamKey;

/// A connection that was live for so long was stable: the failures before it are forgotten.
const STABLE: Duration = Duration::from_secs(10);
/// After a stable connection is lost, so many refusals in a row may come of what the peer still has of that connection:
/// they do not count as lasting.
const AFTERMATH: u32 = 5;

/// The goal of a try whose server is no longer a goal.
const NO_GOAL: usize = usize::MAX;

/// One push or pull, with all that it tries.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) key: StreamKey,
    pub(super) source: TargetSource,
    pub(super) plan: Plan,
    pub(super) rules: Arc<StreamRules>,
    times: Times,
    goals: Vec<Goal>,
    pub(super) tries: Vec<Try>,
    /// When the next goal is tried while another try goes on.
    stagger_at: Option<Instant>,
    began: Instant,
    state: RelayState,
    since: Instant,
    /// When the attempts began of which the next live connection is the result.
    phase_began: Option<Instant>,
    attempts: u64,
    connects: u64,
    was_stable: bool,
    last_error: Option<RelayError>,
    left_out: String,
    target: Arc<str>,
    past: Totals,
    pub(super) ending: Option<EndedBecause>,
    /// The relay before it, which says goodbye to the same server: it begins when that is over.
    pub(super) after: Option<RelayId>,
    /// The lease of the server that it pulls from, if the directory of the cluster named that.
    pub(super) lease: Option<u64>,
    /// When the relays must look at it, as noted among their timers.
    pub(super) timer: Option<Instant>,
}

/// What the relay does, and until when.
#[derive(Debug)]
pub(super) enum Plan {
    Push {
        /// True while the stream is not published: the target waits.
        idle: bool,
    },
    Pull {
        /// How long players wait for the first frame.
        wait: TimeLimit,
        /// When it ends because there are no players.
        linger: Option<Instant>,
        /// True once there was a frame.
        was_live: bool,
        /// The servers for which it is pulled.
        path: Box<str>,
    },
    /// A client waits for the origin's verdict, then publishes.
    Upward {
        connection: u64,
        ask: AskId,
        /// Until when the origin may answer. `None` once it has.
        answer: Option<TimeLimit>,
        /// Until when the publisher is kept without an origin, while there is none.
        keep: Option<TimeLimit>,
        path: Box<str>,
    },
    /// A client waits for the origin's verdict about its `connect`.
    Traverse { connection: u64, ask: AskId, answer: TimeLimit, facts: Box<TraverseFacts> },
}

/// What a client sent in `connect`, for its origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraverseFacts {
    pub(crate) app: String,
    pub(crate) tc_url: Option<String>,
    pub(crate) page_url: Option<String>,
    pub(crate) swf_url: Option<String>,
    pub(crate) arguments: Vec<crate::amf::Value>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) connect: Duration,
    pub(super) stagger: Option<Duration>,
    pub(super) backoff: Backoff,
    pub(super) redirects: u8,
}

/// One server that the relay may use.
#[derive(Debug)]
struct Goal {
    target: PushTarget,
    failures: u32,
    /// When it may be tried again.
    retry: Option<Instant>,
}

/// What ended connections add to the counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) frames_in: u64,
    pub(super) frames_out: u64,
    pub(super) dropped: Gap,
}

impl Totals {
    fn add(&mut self, one: &ConnSnapshot) {
        self.bytes_in += one.bytes_in;
        self.bytes_out += one.bytes_out;
        self.frames_in += one.frames_in;
        self.frames_out += one.frames_out;
        self.dropped.add(one.dropped);
    }
}

/// How an uplink ended.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) error: RelayError,
    /// Where the peer has sent it instead.
    pub(super) redirect: Option<Destination>,
    /// True if the peer asked for another connection: it is made at once.
    pub(super) reconnect: bool,
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
        Relay {
            id,
            key,
            source,
            plan,
            rules,
            times,
            goals: targets.into_iter().map(|target| Goal { target, failures: 0, retry: None }).collect(),
            tries: Vec::new(),
            stagger_at: None,
            began: now,
            state: if idle { RelayState::Idle } else { RelayState::Connecting },
            since: now,
            phase_began: None,
            attempts: 0,
            connects: 0,
            was_stable: false,
            last_error: None,
            left_out: String::new(),
            target,
            past: Totals::default(),
            ending: None,
            after: None,
            lease: None,
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

    /// The client of this connection has gone. If the relay is that of another client now, it goes on.
    pub(super) fn withdraw(&mut self, connection: u64) {
        match &mut self.plan {
            Plan::Upward { connection: own, answer, .. } if *own == connection => *answer = None,
            Plan::Traverse { connection: own, .. } if *own == connection => {}
            _ => return,
        }
        self.ending.get_or_insert(EndedBecause::Unpublished);
    }

    /// Another client takes over the stream that a client publishes at the origin.
    pub(super) fn hand_over(&mut self, connection: u64, ask: AskId, limit: TimeLimit, desk: &mut Desk) {
        let is_live = self.live().is_some();
        if let Plan::Upward { connection: own, ask: asked, answer, keep, .. } = &mut self.plan {
            (*own, *asked, *keep) = (connection, ask, None);
            *answer = (!is_live).then_some(limit);
            if is_live {
                desk.orders.push_back(Order::Answer { connection, ask, verdict: Verdict::Allow });
            }
        }
    }

    /// True if it goes on.
    pub(super) fn is_alive(&self) -> bool {
        self.ending.is_none()
    }

    /// True if a push has this target.
    pub(super) fn goes_to(&self, destination: &Destination) -> bool {
        self.goals.first().is_some_and(|goal| goal.target.destination() == destination)
    }

    /// The settings have changed. Its connections stay as they are.
    pub(super) fn adopt(&mut self, rules: Arc<StreamRules>, times: Times) {
        (self.rules, self.times) = (rules, times);
    }

    /// True if its servers are still those that the configuration has.
    pub(super) fn has_same_servers(&self, targets: &[PushTarget]) -> bool {
        self.goals.len() == targets.len()
            && self.goals.iter().zip(targets).all(|(goal, target)| same_server(&goal.target, target.destination()))
    }

    /// The directory says which server has the stream of a pull now; none has it if there are no targets. What is live goes
    /// on until the other server has sent a frame.
    pub(super) fn go_to(&mut self, now: Instant, targets: Vec<PushTarget>, lease: Option<u64>, desk: &mut Desk) {
        let is_other_lease = std::mem::replace(&mut self.lease, lease) != lease;
        if self.has_same_servers(&targets) {
            if is_other_lease {
                self.forget_failures();
            }
            return;
        }
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
        self.goals = targets.into_iter().map(|target| Goal { target, failures: 0, retry: None }).collect();
        self.stagger_at = moves.then_some(now);
        if self.live().is_none() {
            self.set_state(now, if moves { RelayState::Connecting } else { RelayState::Waiting });
        }
    }

    /// True while a pull has frames, or a push is granted.
    pub(super) fn is_live(&self) -> bool {
        self.live().is_some()
    }

    fn live(&self) -> Option<&Up> {
        self.tries.iter().filter_map(Try::up).find(|up| up.live.is_some() && !up.leaving)
    }

    fn remark(&self, event: RelayEvent, target: &Arc<str>, desk: &mut Desk) {
        let (id, kind, key) = (self.id, self.kind(), self.key.clone());
        desk.orders.push_back(Order::Remark(Remark { id, kind, key, target: target.clone(), event }));
    }

    pub(super) fn remark_own(&self, event: RelayEvent, desk: &mut Desk) {
        self.remark(event, &self.target, desk);
    }

    fn set_state(&mut self, now: Instant, state: RelayState) {
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
        if let Plan::Upward { connection, ask, answer: Some(_), .. } | Plan::Traverse { connection, ask, .. } =
            self.plan
        {
            let words = "the server ends".to_owned();
            let verdict = Verdict::Origin { code: String::new(), words };
            desk.orders.push_back(Order::Answer { connection, ask, verdict });
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
            for goal in &mut self.goals {
                (goal.failures, goal.retry) = (0, None);
            }
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
                    self.try_failed(now, &one, error, false, desk);
                }
            }
        }
    }

    fn check_plan(&mut self, now: Instant, desk: &mut Desk) {
        match &mut self.plan {
            Plan::Push { .. } => {}
            Plan::Pull { wait, linger, was_live, .. } => {
                if linger.is_some_and(|end| end <= now) {
                    self.end(now, EndedBecause::Unwanted, desk);
                } else if !*was_live && wait.is_over(now) {
                    self.end(now, EndedBecause::NoOrigin, desk);
                }
            }
            Plan::Upward { connection, ask, answer, keep, .. } => {
                let (connection, ask) = (*connection, *ask);
                if answer.as_mut().is_some_and(|limit| limit.is_over(now)) {
                    *answer = None;
                    let words = match &self.last_error {
                        Some(error) => format!("no origin grants this at present: {error}"),
                        None => "no origin answers at present".to_owned(),
                    };
                    let verdict = Verdict::Origin { code: String::new(), words };
                    desk.orders.push_back(Order::Answer { connection, ask, verdict });
                    self.end(now, EndedBecause::NoOrigin, desk);
                } else if keep.as_mut().is_some_and(|limit| limit.is_over(now)) {
                    desk.orders.push_back(Order::Close { connection, reason: CloseReason::OriginLost });
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

    fn begin_tries(&mut self, now: Instant, desk: &mut Desk) {
        if matches!(self.plan, Plan::Push { idle: true }) || self.live().is_some() || self.after.is_some() {
            return;
        }
        // Only pulls try several servers at a time beyond the connection: no two servers may get the same stream.
        let is_pull = matches!(self.plan, Plan::Pull { .. });
        if !is_pull && self.tries.iter().any(|one| one.up().is_some()) {
            return;
        }
        let busy = self.tries.iter().any(|one| one.up().is_none_or(|up| !up.leaving));
        if busy && self.stagger_at.is_some_and(|at| now < at) {
            return;
        }
        let tried =
            |goal: usize| self.tries.iter().any(|one| one.goal == goal && one.up().is_none_or(|up| !up.leaving));
        let may = |(at, goal): &(usize, &Goal)| !tried(*at) && goal.retry.is_none_or(|retry| retry <= now);
        let Some((goal, target)) = self.goals.iter().enumerate().find(may).map(|(at, goal)| (at, goal.target.clone()))
        else {
            self.stagger_at = None;
            return;
        };
        self.begin_try(now, goal, target, 0, desk);
    }

    fn begin_try(&mut self, now: Instant, goal: usize, target: PushTarget, redirects: u8, desk: &mut Desk) {
        self.attempts += 1;
        if self.phase_began.is_none() {
            self.phase_began = Some(now);
            if self.kind() != RelayKind::Traverse {
                self.remark(RelayEvent::Connecting, target.shown(), desk);
            }
        }
        self.target = target.shown().clone();
        if self.live().is_none() {
            self.set_state(now, RelayState::Connecting);
        }
        self.stagger_at = self.times.stagger.map(|stagger| now + stagger);
        let one = Try::begin(now, self.id, goal, target, redirects, self.times.connect, desk);
        self.tries.push(one);
    }

    /// A try is over, and was removed. If it was `live`, the connection is lost.
    fn try_failed(&mut self, now: Instant, one: &Try, mut error: RelayError, at_once: bool, desk: &mut Desk) {
        if self.ending.is_some() || matches!(self.plan, Plan::Push { idle: true }) {
            return;
        }
        let failures = match self.goals.get_mut(one.goal) {
            Some(goal) => {
                goal.failures = if at_once { 0 } else { goal.failures + 1 };
                if self.was_stable && goal.failures <= AFTERMATH {
                    error.is_lasting = false;
                }
                let pause = self.times.backoff.pause(goal.failures, error.is_lasting, desk.random());
                goal.retry = if at_once { None } else { Some(now + pause) };
                goal.failures
            }
            None => 0,
        };
        // The next server is tried at once.
        self.stagger_at = Some(now);
        let tried = |goal: usize| self.tries.iter().any(|one| one.goal == goal);
        let more = self.goals.iter().enumerate().any(|(at, goal)| !tried(at) && goal.retry.is_none_or(|at| at <= now));
        let next =
            if more || !self.tries.is_empty() { None } else { self.goals.iter().filter_map(|goal| goal.retry).min() };
        if next.is_some() {
            self.set_state(now, if error.is_lasting { RelayState::Refused } else { RelayState::Waiting });
        } else if self.goals.is_empty() && self.live().is_none() {
            self.set_state(now, RelayState::Waiting);
        }
        if self.kind() != RelayKind::Traverse {
            let next = next.map(|next| next.saturating_duration_since(now));
            let event = RelayEvent::Failed { error: error.clone(), failures, next };
            self.remark(event, one.target.shown(), desk);
        }
        self.last_error = Some(error);
        if let Plan::Traverse { connection, ask, .. } = self.plan
            && !more
            && self.tries.is_empty()
        {
            let words = "no origin answers at present".to_owned();
            let verdict = Verdict::Origin { code: String::new(), words };
            desk.orders.push_back(Order::Answer { connection, ask, verdict });
            self.ending = Some(EndedBecause::NoOrigin);
        }
    }

    fn place(&self, attempt: AttemptId) -> Option<usize> {
        self.tries.iter().position(|one| one.has(attempt))
    }

    pub(super) fn resolved(&mut self, now: Instant, attempt: AttemptId, addresses: Vec<SocketAddr>, desk: &mut Desk) {
        let Some(at) = self.place(attempt) else {
            return;
        };
        if let Err(error) = self.tries[at].resolved(now, self.id, attempt, addresses, self.times.connect, desk) {
            let one = self.tries.remove(at);
            self.try_failed(now, &one, error, false, desk);
        }
    }

    pub(super) fn failed(&mut self, now: Instant, attempt: AttemptId, failure: &Failure, desk: &mut Desk) {
        let Some(at) = self.place(attempt) else {
            return;
        };
        if let Err(error) = self.tries[at].failed(now, self.id, attempt, failure, desk) {
            let one = self.tries.remove(at);
            self.try_failed(now, &one, error, false, desk);
        }
    }

    /// There is a connection. Returns its target if it is wanted.
    pub(super) fn connected(&mut self, up: Up, desk: &mut Desk) -> Option<PushTarget> {
        if self.ending.is_some() || matches!(self.plan, Plan::Push { idle: true }) {
            return None;
        }
        let at = self.place(up.attempt)?;
        let is_pull = matches!(self.plan, Plan::Pull { .. });
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
        match &mut self.plan {
            Plan::Pull { .. } => {
                if self.live().is_none() {
                    self.set_state(now, RelayState::Silent);
                }
                return;
            }
            Plan::Push { .. } => {}
            Plan::Upward { connection, ask, answer, keep, .. } => {
                *keep = None;
                if answer.take().is_some() {
                    let (connection, ask, verdict) = (*connection, *ask, Verdict::Allow);
                    desk.orders.push_back(Order::Answer { connection, ask, verdict });
                }
            }
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
        if let Plan::Pull { was_live, .. } = &mut self.plan {
            *was_live = true;
        }
        self.became_live(now, at, String::new(), desk);
        // The other servers are not needed.
        self.tries.retain_mut(|one| one.has(attempt) || !one.end(desk));
        true
    }

    fn became_live(&mut self, now: Instant, at: usize, left_out: String, desk: &mut Desk) {
        let Some(one) = self.tries.get_mut(at) else {
            return;
        };
        let target = one.target.shown().clone();
        let Some(up) = one.up_mut() else {
            return;
        };
        (up.live, up.granted, up.leaving) = (Some(now), true, false);
        let peer = up.peer;
        self.stagger_at = None;
        self.target = target.clone();
        self.connects += 1;
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
        if up.live.take().is_some() {
            // The publisher may come back at another origin.
            self.stagger_at = self.times.stagger.map(|stagger| now + stagger);
            self.forget_failures();
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

    /// The peer asks for another connection, and serves this one until there is one.
    pub(super) fn leaves(&mut self, now: Instant, attempt: AttemptId) {
        if let Some(up) = self.place(attempt).and_then(|at| self.tries[at].up_mut()) {
            up.leaving = true;
            self.forget_failures();
            self.stagger_at = Some(now);
        }
    }

    fn forget_failures(&mut self) {
        for goal in &mut self.goals {
            (goal.failures, goal.retry) = (0, None);
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
        if up.goodbye || up.leaving && self.live().is_some() {
            return;
        }
        let was_live = up.live;
        if let Some(since) = was_live {
            self.was_stable = now.saturating_duration_since(since) >= STABLE;
            if self.was_stable {
                self.forget_failures();
            }
        }
        let Lost { error, redirect, reconnect } = lost;
        if self.ending.is_some() {
            return;
        }
        if let Some(destination) = redirect {
            return self.redirected(now, &one, destination, desk);
        }
        if let Plan::Upward { connection, ask, answer, keep, .. } = &mut self.plan {
            let (connection, ask) = (*connection, *ask);
            if error.name == "rejected" && answer.is_some() {
                // The origin's own words go to the client.
                *answer = None;
                let verdict = Verdict::Origin { code: error.code.clone(), words: error.words.clone() };
                desk.orders.push_back(Order::Answer { connection, ask, verdict });
                self.last_error = Some(error);
                self.ending = Some(EndedBecause::NoOrigin);
                return;
            }
            if answer.is_none() && keep.is_none() {
                let time = self.rules.edge.as_ref().map_or(Duration::ZERO, |edge| edge.keep);
                *keep = Some(TimeLimit::new(now, time));
            }
        }
        if let Plan::Traverse { connection, ask, .. } = self.plan
            && error.name == "rejected"
        {
            let verdict = Verdict::Origin { code: error.code, words: error.words };
            desk.orders.push_back(Order::Answer { connection, ask, verdict });
            self.ending = Some(EndedBecause::NoOrigin);
            return;
        }
        if was_live.is_some() {
            self.phase_began = None;
        }
        self.try_failed(now, &one, error, reconnect, desk);
    }

    /// The peer has sent it to another server: only one that the configuration names is used.
    fn redirected(&mut self, now: Instant, one: &Try, destination: Destination, desk: &mut Desk) {
        let error = |words: String| RelayError { name: "redirect", code: String::new(), words, is_lasting: true };
        let is_known = self.goals.iter().any(|goal| same_server(&goal.target, &destination))
            || self.rules.edge.as_ref().is_some_and(|edge| edge.origins.iter().any(|origin| origin.has(&destination)));
        if !is_known {
            let words = format!("it was sent to {}, which is not in the configuration", destination.tc_url());
            return self.try_failed(now, one, error(words), false, desk);
        }
        if one.redirects >= self.times.redirects {
            let words = format!("it was sent to another server {} times", u32::from(one.redirects) + 1);
            return self.try_failed(now, one, error(words), false, desk);
        }
        let target = one.target.moved_to(destination);
        self.remark(RelayEvent::Redirected { to: target.shown().clone() }, one.target.shown(), desk);
        self.begin_try(now, one.goal, target, one.redirects + 1, desk);
    }

    /// When to look at it again.
    pub(super) fn due(&self) -> Option<Instant> {
        let tries = self.tries.iter().filter_map(Try::due);
        if self.ending.is_some() {
            return tries.min();
        }
        let plan = match &self.plan {
            Plan::Push { .. } => None,
            Plan::Pull { wait, linger, was_live, .. } => {
                let wait = (!*was_live).then(|| wait.next_check());
                wait.into_iter().chain(*linger).min()
            }
            Plan::Upward { answer, keep, .. } => answer.iter().chain(keep).map(TimeLimit::next_check).min(),
            Plan::Traverse { answer, .. } => Some(answer.next_check()),
        };
        let idle = matches!(self.plan, Plan::Push { idle: true }) || self.live().is_some() || self.after.is_some();
        let is_pull = matches!(self.plan, Plan::Pull { .. });
        let occupied = !is_pull && self.tries.iter().any(|one| one.up().is_some());
        let next = if idle || occupied {
            None
        } else if self.tries.iter().any(|one| one.up().is_none_or(|up| !up.leaving)) {
            // With no goal left that could be tried, retries of the failed ones are due.
            let tried = |goal: usize| self.tries.iter().any(|one| one.goal == goal);
            let free = self.goals.iter().enumerate().filter(|(at, _)| !tried(*at));
            let retry = free.map(|(_, goal)| goal.retry).min();
            match (retry, self.stagger_at) {
                (None, _) => None,
                (Some(retry), at) => retry.into_iter().chain(at).max(),
            }
        } else {
            self.goals.iter().filter_map(|goal| goal.retry).min()
        };
        tries.chain(plan).chain(next).min()
    }

    pub(super) fn snapshot(&self, now: Instant) -> RelaySnapshot {
        let mut sums = self.past;
        let ups = || self.tries.iter().filter_map(Try::up);
        let mut lag = 0;
        for up in ups() {
            let one = up.stats.snapshot(now);
            sums.add(&one);
            lag = one.lag.max(lag);
        }
        let up = self.live().or_else(|| ups().next());
        let waits = self.tries.is_empty() && self.ending.is_none();
        let next_try = waits.then(|| self.goals.iter().filter_map(|goal| goal.retry).min()).flatten();
        RelaySnapshot {
            id: self.id,
            kind: self.kind(),
            key: self.key.clone(),
            target: self.target.clone(),
            source: self.source,
            state: self.state,
            since: self.since,
            failures: if self.live().is_some() {
                0
            } else {
                self.goals.iter().map(|goal| goal.failures).max().unwrap_or(0)
            },
            next_try: next_try.filter(|_| matches!(self.state, RelayState::Waiting | RelayState::Refused)),
            last_error: self.last_error.clone(),
            left_out: self.left_out.clone(),
            connection: up.map(|up| up.connection),
            peer: up.map(|up| up.peer),
            attempts: self.attempts,
            connects: self.connects,
            bytes_in: sums.bytes_in,
            bytes_out: sums.bytes_out,
            frames_in: sums.frames_in,
            frames_out: sums.frames_out,
            dropped: sums.dropped,
            lag,
            age: now.saturating_duration_since(self.began),
        }
    }
}

fn same_server(target: &PushTarget, other: &Destination) -> bool {
    let one = target.destination();
    one.host() == other.host() && one.port() == other.port() && one.scheme() == other.scheme()
}
