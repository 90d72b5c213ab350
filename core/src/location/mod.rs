//! Which server of a cluster has a stream: leases in a directory that all servers share.
//!
//! The directory is a program such as Redis. A server that gets a publisher *claims* its name there, and has a *lease*
//! of it from then on, which it renews before it runs out. A server whose players want a stream *finds* the server that
//! has it. [`Location`] decides what to ask the directory, and what its answers mean. It has no sockets and no clock: the
//! adapter carries requests to the directory and replies back, and time is an argument. So a test plays a whole cluster
//! with a simulated directory that fails in every way.
//!
//! ```text
//!  claim, find, release                  Ask(id, request)            directory
//!  ──────────────────────▶  Location  ──────────────────────▶  ───────────────▶
//!  ◀──────────────────────            ◀──────────────────────  ◀───────────────
//!  Event: granted, refused,              handle_reply, handle_notice,
//!  lost, found, changed                  handle_connected, handle_disconnected
//! ```
//!
//! # What holds
//! - The directory has at most one lease of a name. Each has a *fencing number* that rises with each new lease of the
//!   name, so an answer that is older than another can be told from it.
//! - A lease is identified by the server and by a number that the server chose for it, its [`Session`]. A claim whose
//!   answer was lost can therefore be repeated: the directory takes it for a renewal.
//! - A server measures a lease with its own clock, from before the request was sent, and counts four fifths of the time
//!   to live. It has stopped relying on a lease before the directory gives the name to another server.
//! - With [`OnLoss::Strict`] a name that the server loses is given free when its publisher has stopped, not before.
//! - Streams that run go on while the directory is slow, dead or empty, unless [`OnLoss::Strict`] says otherwise.
//! - What the directory has answered is remembered for a moment, and as long as it does not answer. Any number of
//!   callers that ask for one name cause one request.
//! - Every claim and every question is answered once, within [`LocationConfig::answer_limit`] and the moment that the
//!   clock needs.

mod cache;
mod config;
mod lease;
mod replies;
mod requests;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::{LocationConfig, OnLoss};
pub use lease::Session;
pub use requests::{Reply, Request, RequestId, Taking};

use crate::split_mix::split_mix;
use crate::time_limit::deadline_after;
use cache::{Cache, Waits};
use lease::{Lease, Leases};
use requests::Requests;

/// A server that has a stream, as the directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The server's id.
    pub node: Arc<str>,
    /// Rises with each new lease of the name.
    pub fencing: u64,
    /// Where other servers reach it, such as `rtmp://10.0.0.7:1935`. `None` if the directory has no record of the
    /// server, so that it is probably dead.
    pub address: Option<Arc<str>>,
    /// True if the server drains: it gives its names to other servers whose publishers claim them.
    pub is_draining: bool,
}

/// A claim, until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(u64);

/// A question where a stream is, until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindId(u64);

/// What a claim does if another server has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// It is refused, unless that server drains: then it takes the name, because its publisher may have been asked to
    /// connect to another server.
    Refuse,
    /// It takes the name; the other server loses it. With [`OnLoss::Strict`] the other server is asked to give it up, and
    /// the claim is granted when it has.
    Take,
    /// The same, if its lease is still the one of this number: another server that wanted it for the same reason may have
    /// got the name first. Otherwise it is refused.
    TakeFrom(u64),
}

impl Conflict {
    /// Whether it takes the name from a server that has this lease of it.
    fn takes(self, fencing: u64) -> bool {
        match self {
            Conflict::Refuse => false,
            Conflict::Take => true,
            Conflict::TakeFrom(from) => from == fencing,
        }
    }
}

/// Why a claim is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Another server has the name.
    #[error("the server {0} publishes the stream")]
    Held(Arc<str>),
    /// The directory has lost its data and gives out no new names until the servers have renewed theirs.
    #[error("the directory of streams has just started and gives out no new names yet")]
    Hold,
    /// The directory does not answer.
    #[error("the directory of streams does not answer")]
    NoAnswer,
    /// The server has as many leases as it may.
    #[error("the server has as many names in the directory as it may")]
    Full,
}

/// Why the server has lost a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// Another server has it now.
    #[error("the server {0} publishes the stream now")]
    Taken(Arc<str>),
    /// It could not be renewed in time, and [`OnLoss::Strict`] is set.
    #[error("the directory of streams did not answer for as long as the name is held there")]
    Expired,
}

/// Where a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// On this server.
    Here,
    /// On another server.
    At {
        /// That server.
        owner: Owner,
        /// True if the directory did not answer and this is what it said last.
        stale: bool,
    },
    /// No server has it.
    Nowhere,
    /// The directory does not answer and has not said it before.
    Unknown,
}

/// What has happened, for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The claim is granted: the server may publish the name.
    Granted {
        /// The claim.
        claim: ClaimId,
        /// Its lease. `None` if the directory gives none now and [`OnLoss::Serve`] is set: the server may publish the
        /// name, and gets [`Registered`](Event::Registered) or [`Lost`](Event::Lost) for it later.
        fencing: Option<u64>,
    },
    /// The claim is refused.
    Refused {
        /// The claim.
        claim: ClaimId,
        /// Why.
        error: ClaimError,
    },
    /// A name that the server has got its lease, or another one.
    Registered {
        /// The name.
        name: Arc<str>,
        /// The lease.
        fencing: u64,
    },
    /// The server must stop publishing the name, and then release its claims: with [`OnLoss::Strict`] no other server
    /// gets the name before.
    Lost {
        /// The name.
        name: Arc<str>,
        /// Why.
        reason: LostReason,
    },
    /// The answer to a question.
    Located {
        /// The question.
        find: FindId,
        /// The answer.
        located: Located,
    },
    /// A name that is [watched](Location::watch) has changed hands; ask again.
    Changed {
        /// The name.
        name: Arc<str>,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a connection to the directory, then call [`Location::handle_connected`] or, if it fails,
    /// [`Location::handle_disconnected`].
    Connect,
    /// Close the connection to the directory: it does not answer. Nothing more is to be called for it.
    Disconnect,
    /// Send this to the directory; its answer goes to [`Location::handle_reply`].
    Ask(RequestId, Request),
    /// Tell the server.
    Event(Event),
    /// Nothing to do before this time, if no input comes.
    Wait(Option<Instant>),
}

/// The connection to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// There is none; the next attempt is at this time.
    Down {
        retry: Instant,
        failures: u32,
    },
    /// The adapter has been opening it since this time.
    Opening {
        since: Instant,
        failures: u32,
    },
    Up,
}

/// What is due at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The lease of this name may not be relied on any longer; or it is lost, and the directory ends it now if it was not
    /// given free.
    Expire(Arc<str>),
    /// The claims for this name have waited as long as they may.
    Claims(Arc<str>),
    /// The questions for this name have waited as long as they may.
    Finds(Arc<str>),
    /// The lease of this name is to be renewed, or claimed again.
    Renew(Arc<str>),
    /// The server's own record is to be renewed.
    Announce,
}

/// The part of one server in a cluster.
#[derive(Debug)]
pub struct Location {
    config: LocationConfig,
    /// For jitter and for the numbers of sessions.
    random: u64,
    last_number: u64,
    connection: Connection,
    /// The server drains: it takes no names from others.
    drains: bool,
    /// When the directory answered last, in the order of requests.
    heard: Instant,
    requests: Requests,
    leases: Leases,
    cache: Cache,
    /// Names that the server waits for, and how many parts of it do.
    watched: BTreeMap<Arc<str>, usize>,
    timers: BTreeSet<(Instant, Timer)>,
    outputs: VecDeque<Output>,
    /// How many of them are answers to claims.
    answers: usize,
}

impl Event {
    /// The claim that it answers.
    fn answers(&self) -> Option<ClaimId> {
        match self {
            Event::Granted { claim, .. } | Event::Refused { claim, .. } => Some(*claim),
            _ => None,
        }
    }
}

impl Output {
    fn is_answer(&self) -> bool {
        matches!(self, Output::Event(event) if event.answers().is_some())
    }
}

impl Location {
    /// A server that is not connected to its directory yet. `seed` is random: servers with the same one renew their
    /// leases at the same times, and a server that restarts with the same one takes leases of its last run for its own.
    pub fn new(config: LocationConfig, seed: u64, now: Instant) -> Self {
        Location {
            leases: Leases::new(config.leases),
            cache: Cache::new(config.cached_names),
            config,
            random: seed,
            last_number: 0,
            connection: Connection::Down { retry: now, failures: 0 },
            drains: false,
            heard: now,
            requests: Requests::default(),
            watched: BTreeMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            answers: 0,
        }
    }

    /// True while there is a connection to the directory.
    pub fn is_connected(&self) -> bool {
        self.connection == Connection::Up
    }

    /// How many names the server has, and how many of them the directory has not confirmed.
    pub fn leases(&self) -> (usize, usize) {
        self.leases.counts()
    }

    /// How many requests have no reply.
    pub fn outstanding(&self) -> usize {
        self.requests.len()
    }

    /// Claims a name for a publisher. The answer is [`Event::Granted`] or [`Event::Refused`]. Each claim is ended by
    /// [`release`](Location::release), except after `Refused`.
    pub fn claim(&mut self, now: Instant, name: &Arc<str>, conflict: Conflict) -> ClaimId {
        let claim = ClaimId(self.number());
        if let Some(lease) = self.leases.get_mut(name) {
            if let Some(error) = lease.lost.clone() {
                self.event(Event::Refused { claim, error });
                return claim;
            }
            if lease.is_granted {
                let fencing = lease.fencing;
                self.event(Event::Granted { claim, fencing });
            } else if conflict == Conflict::Take || lease.conflict == Conflict::Refuse {
                lease.conflict = conflict;
            }
            self.leases.add_claim(name, claim);
            return claim;
        }
        if self.leases.is_full() {
            self.event(Event::Refused { claim, error: ClaimError::Full });
            return claim;
        }
        let mut lease = Lease::new(Session(self.next_random()), conflict);
        let deadline = deadline_after(now, self.config.answer_limit);
        lease.deadline = Some(deadline);
        self.timers.insert((deadline, Timer::Claims(name.clone())));
        self.leases.insert(name, lease);
        self.leases.add_claim(name, claim);
        self.ask_for_lease(now, name);
        claim
    }

    /// The claim is no longer needed: the stream has ended, or the client left before its answer. The last claim of a
    /// name gives it free.
    pub fn release(&mut self, now: Instant, claim: ClaimId) {
        // A server that leaves releases all its names at once, with nothing else to tell.
        if self.answers > 0 {
            let is_other = |output: &Output| !matches!(output, Output::Event(event) if event.answers() == Some(claim));
            self.outputs.retain(is_other);
            self.answers = self.outputs.iter().filter(|output| output.is_answer()).count();
        }
        if let Some(name) = self.leases.take_claim(claim) {
            self.end_lease(now, &name);
        }
    }

    /// The server drains, or does not any more. While it does, no claim takes a name from another server: the publisher
    /// would have to leave at once.
    pub fn set_draining(&mut self, drains: bool) {
        self.drains = drains;
    }

    /// Asks which server has a stream. The answer is an [`Event::Located`].
    pub fn find(&mut self, now: Instant, name: &Arc<str>) -> FindId {
        self.find_for(now, name, false)
    }

    /// As [`find`](Self::find), for a caller that anyone can have ask: it is not remembered that no server has a name, so
    /// that made-up names take no room.
    pub fn find_for_anyone(&mut self, now: Instant, name: &Arc<str>) -> FindId {
        self.find_for(now, name, true)
    }

    fn find_for(&mut self, now: Instant, name: &Arc<str>, anyone: bool) -> FindId {
        let find = FindId(self.number());
        if self.leases.is_granted(name) {
            self.event(Event::Located { find, located: Located::Here });
        } else if let Some(owner) = self.cache.fresh(name, now) {
            let located = located(owner.clone(), false);
            self.event(Event::Located { find, located });
        } else {
            let deadline = deadline_after(now, self.config.answer_limit);
            match self.cache.wait(name, find, deadline, anyone) {
                Waits::First => {
                    self.timers.insert((deadline, Timer::Finds(name.clone())));
                    self.ask(now, Request::Find { name: name.clone() });
                }
                Waits::WithOthers => {}
                Waits::No => self.event(Event::Located { find, located: Located::Unknown }),
            }
        }
        find
    }

    /// The caller no longer waits for the answer, which does not come any more.
    pub fn abandon(&mut self, find: FindId) {
        self.outputs.retain(|output| !matches!(output, Output::Event(Event::Located { find: of, .. }) if *of == find));
        self.cache.abandon(find);
    }

    /// Asks for [`Event::Changed`] when another server gets the name, until as many [`unwatch`](Location::unwatch) have
    /// come. The directory tells of changes at once, but may lose a message: ask again from time to time.
    pub fn watch(&mut self, name: &Arc<str>) {
        *self.watched.entry(name.clone()).or_default() += 1;
    }

    /// Takes one [`watch`](Location::watch) back.
    pub fn unwatch(&mut self, name: &Arc<str>) {
        if let Some(count) = self.watched.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(name);
            }
        }
    }

    /// The server that has the lease `fencing` says that it does not have the stream: what is remembered of the name is
    /// forgotten, unless it is newer. Ask again once; if the answer is the same, wait for a change.
    pub fn deny(&mut self, name: &Arc<str>, fencing: u64) {
        if self.cache.fencing(name) <= fencing {
            self.cache.forget(name);
        }
    }

    /// Has the server's own record sent again, which is done from time to time anyway: its address or state has changed.
    pub fn announce(&mut self, now: Instant) {
        self.timers.retain(|(_, timer)| *timer != Timer::Announce);
        self.ask(now, Request::Announce);
    }

    /// Does what is due by `now`, and returns what is to be done, until it returns [`Output::Wait`].
    pub fn poll(&mut self, now: Instant) -> Output {
        while let Some((at, timer)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, timer));
                break;
            }
            self.act_on(now, timer);
        }
        self.check_connection(now);
        if let Some(output) = self.outputs.pop_front() {
            self.answers -= usize::from(output.is_answer());
            return output;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let connection = match self.connection {
            Connection::Down { retry, .. } => Some(retry),
            Connection::Opening { since, .. } => Some(deadline_after(since, self.config.hang_limit())),
            Connection::Up => self.silent_since().map(|since| deadline_after(since, self.config.hang_limit())),
        };
        Output::Wait(timer.into_iter().chain(connection).min())
    }

    fn act_on(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Expire(name) => {
                if let Some(lease) = self.leases.get_mut(&name) {
                    lease.expire = None;
                    if lease.lost.is_some() {
                        self.remove_lease(&name);
                    } else {
                        self.lose(now, &name, LostReason::Expired);
                    }
                }
            }
            Timer::Claims(name) => {
                if let Some(lease) = self.leases.get_mut(&name) {
                    lease.deadline = None;
                    self.decide_without_answer(now, &name, &ClaimError::NoAnswer);
                }
            }
            Timer::Finds(name) => self.answer_finds_from_memory(&name),
            Timer::Renew(name) => {
                if let Some(lease) = self.leases.get_mut(&name) {
                    lease.renew = None;
                    self.ask_for_lease(now, &name);
                }
            }
            Timer::Announce => self.announce(now),
        }
    }

    /// The directory gives no lease in time.
    fn decide_without_answer(&mut self, now: Instant, name: &Arc<str>, error: &ClaimError) {
        match self.config.on_loss {
            OnLoss::Serve => self.grant(name, None),
            OnLoss::Refuse | OnLoss::Strict => {
                let claims = self.leases.get(name).map(|lease| lease.claims.clone()).unwrap_or_default();
                self.end_lease(now, name);
                for claim in claims {
                    self.event(Event::Refused { claim, error: error.clone() });
                }
            }
        }
    }

    /// Grants all claims of a name that wait.
    fn grant(&mut self, name: &Arc<str>, fencing: Option<u64>) {
        let Some(lease) = self.leases.get_mut(name).filter(|lease| !lease.is_granted) else { return };
        lease.is_granted = true;
        // From now on it only confirms what it has: it takes nothing from another server that got the name meanwhile.
        lease.conflict = Conflict::Refuse;
        if let Some(deadline) = lease.deadline.take() {
            self.timers.remove(&(deadline, Timer::Claims(name.clone())));
        }
        for claim in lease.claims.clone() {
            self.event(Event::Granted { claim, fencing });
        }
        self.answer_finds(name, &Located::Here);
    }

    /// The server has to stop its publisher, and gives the name free when that is done. If that takes too long, the
    /// directory ends the lease by itself.
    fn lose(&mut self, now: Instant, name: &Arc<str>, reason: LostReason) {
        let Some(lease) = self.leases.get_mut(name) else { return };
        lease.is_granted = false;
        lease.lost = Some(match &reason {
            LostReason::Taken(node) => ClaimError::Held(node.clone()),
            LostReason::Expired => ClaimError::NoAnswer,
        });
        if let Some(at) = lease.renew.take() {
            self.timers.remove(&(at, Timer::Renew(name.clone())));
        }
        if lease.expire.is_none() {
            let end = deadline_after(now, self.config.ttl.saturating_sub(self.config.reliance()));
            lease.expire = Some(end);
            self.timers.insert((end, Timer::Expire(name.clone())));
        }
        self.event(Event::Lost { name: name.clone(), reason });
    }

    /// Gives a name free, here and in the directory.
    fn end_lease(&mut self, now: Instant, name: &Arc<str>) {
        if let Some(lease) = self.remove_lease(name) {
            // It may be that a request got there and its reply did not.
            self.end_session(now, name, lease.session);
        }
    }

    fn end_session(&mut self, now: Instant, name: &Arc<str>, session: Session) {
        if self.is_connected() {
            self.ask(now, Request::Release { name: name.clone(), session });
        } else {
            self.leases.end_later(name.clone(), session, deadline_after(now, self.config.ttl));
        }
    }

    fn remove_lease(&mut self, name: &Arc<str>) -> Option<Lease> {
        let lease = self.leases.remove(name)?;
        for (at, timer) in [
            (lease.renew, Timer::Renew(name.clone())),
            (lease.expire, Timer::Expire(name.clone())),
            (lease.deadline, Timer::Claims(name.clone())),
        ] {
            if let Some(at) = at {
                self.timers.remove(&(at, timer));
            }
        }
        Some(lease)
    }

    /// Answers the questions for a name by what the directory said before.
    fn answer_finds_from_memory(&mut self, name: &Arc<str>) {
        let last = match self.cache.last(name) {
            Some(Some(owner)) => Located::At { owner: owner.clone(), stale: true },
            Some(None) | None => Located::Unknown,
        };
        self.answer_finds(name, &last);
    }

    fn answer_finds(&mut self, name: &Arc<str>, located: &Located) {
        let Some(waiting) = self.cache.take_waiting(name) else { return };
        self.timers.remove(&(waiting.deadline, Timer::Finds(name.clone())));
        for find in waiting.finds {
            self.event(Event::Located { find, located: located.clone() });
        }
    }

    /// Sends the request that the lease of a name needs: a claim until it has a number, a renewal from then on.
    fn ask_for_lease(&mut self, now: Instant, name: &Arc<str>) {
        let Some(lease) = self.leases.get_mut(name).filter(|lease| lease.asked.is_none() && lease.lost.is_none())
        else {
            return;
        };
        if self.connection != Connection::Up {
            return;
        }
        if let Some(at) = lease.renew.take() {
            self.timers.remove(&(at, Timer::Renew(name.clone())));
        }
        let (owned, session) = (name.clone(), lease.session);
        let request = if lease.fencing.is_some() {
            Request::Renew { name: owned, session }
        } else {
            let is_strict = self.config.on_loss == OnLoss::Strict;
            let taking = match lease.conflict {
                _ if self.drains => Taking::Never,
                Conflict::Refuse if is_strict => Taking::AskIfDraining,
                Conflict::Refuse => Taking::NowIfDraining,
                Conflict::Take if is_strict => Taking::Ask,
                Conflict::Take => Taking::Now,
                Conflict::TakeFrom(fencing) if is_strict => Taking::AskFrom(fencing),
                Conflict::TakeFrom(fencing) => Taking::NowFrom(fencing),
            };
            Request::Claim { name: owned, session, taking }
        };
        let asked = self.ask(now, request);
        if let Some(lease) = self.leases.get_mut(name) {
            lease.asked = asked;
        }
    }

    /// Has the lease of a name asked for again at a time.
    fn ask_again_at(&mut self, name: &Arc<str>, at: Instant) {
        let Some(lease) = self.leases.get_mut(name) else { return };
        if let Some(before) = lease.renew.replace(at) {
            self.timers.remove(&(before, Timer::Renew(name.clone())));
        }
        self.timers.insert((at, Timer::Renew(name.clone())));
    }

    /// Sends a request, if there is a connection.
    fn ask(&mut self, now: Instant, request: Request) -> Option<RequestId> {
        if !self.is_connected() {
            return None;
        }
        let id = RequestId(self.number());
        self.requests.insert(id, now, request.clone());
        self.outputs.push_back(Output::Ask(id, request));
        Some(id)
    }

    fn event(&mut self, event: Event) {
        self.answers += usize::from(event.answers().is_some());
        self.outputs.push_back(Output::Event(event));
    }

    fn changed(&mut self, name: &Arc<str>) {
        if self.watched.contains_key(name) {
            self.event(Event::Changed { name: name.clone() });
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn next_random(&mut self) -> u64 {
        split_mix(&mut self.random)
    }

    /// `time`, up to a tenth shorter or longer.
    fn jitter(&mut self, time: Duration) -> Duration {
        let tenth = time / 10;
        let part = u32::from(self.next_random() as u16);
        time - tenth + tenth * 2 / (1 << 16) * part
    }
}

fn located(owner: Option<Owner>, stale: bool) -> Located {
    owner.map_or(Located::Nowhere, |owner| Located::At { owner, stale })
}
