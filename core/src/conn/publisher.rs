use std::sync::Arc;
use std::time::{Duration, Instant};

use super::application::Application;
use super::ask::StreamFacts;
use crate::hub::{GoesOn, Publisher, StandbyEvent, StreamId, Superseded};
use crate::message::Message;
use crate::pacing::{ReadTimer, Sockets};
use crate::policy::{Rate, RateMeter, Refusal};
use crate::relay::Ticket;
use crate::session::{Due, DueKind};
use crate::time_limit::LATE_CHECKS;
use crate::url::StreamKey;

/// The longest limit on the time without players.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// One message stream that publishes.
#[derive(Debug)]
pub(super) struct Publishing {
    /// Message stream id.
    message_stream_id: u32,
    publisher: Publisher,
    reads: ReadTimer,
    /// Counts its own media; `Allowance` counts all that the connection sends against the rates of all its publishers
    /// together.
    meter: Option<RateMeter>,
    /// True once its messages are ignored.
    stopped: bool,
    /// True once the log has a remark that the stream has no key frames.
    keyless: bool,
    /// Since when the stream has no player, as far as the checks saw, and when to check again.
    idle: Option<Idle>,
    /// What the back end was asked about it, if it was: the back end gets a notice of the end.
    asked: Option<StreamFacts>,
    application: Arc<Application>,
    by_pass: bool,
    /// Keeps the stream at the origin of this edge.
    _ticket: Option<Ticket>,
}

#[derive(Debug)]
struct Idle {
    /// How long it may have no player: a rule of the stream's application.
    limit: Duration,
    since: Option<Instant>,
    next_check: Instant,
    /// How many checks in a row were late, up to `LATE_CHECKS`.
    late: u8,
}

/// Why a message of a publisher is its last one.
#[derive(Debug)]
pub(super) enum Stopped {
    Superseded,
    Refused(Refusal),
}

impl Publishing {
    pub(super) fn new(
        now: Instant,
        message_stream_id: u32,
        (mut publisher, ticket): (Publisher, Option<Ticket>),
        application: Arc<Application>,
        asked: Option<StreamFacts>,
        by_pass: bool,
    ) -> Self {
        publisher.begun(now);
        // Limits are for clients.
        let meter = application.config.limits.publisher_rate.filter(|_| !by_pass).map(|rate| RateMeter::new(rate, now));
        // At least so long that checks do not spin, at most so long that the clock does not overflow.
        let limit = application
            .config
            .idle_publisher
            .filter(|_| !by_pass)
            .map(|limit| limit.clamp(Duration::from_secs(1), LONGEST));
        let idle = limit.map(|limit| Idle { limit, since: Some(now), next_check: now + limit, late: 0 });
        Publishing {
            message_stream_id,
            publisher,
            reads: ReadTimer::default(),
            meter,
            stopped: false,
            keyless: false,
            idle,
            asked,
            application,
            by_pass,
            _ticket: ticket,
        }
    }

    pub(super) fn message_stream_id(&self) -> u32 {
        self.message_stream_id
    }

    pub(super) fn key(&self) -> &StreamKey {
        self.publisher.key()
    }

    /// Whether a pass permitted it.
    pub(super) fn is_by_pass(&self) -> bool {
        self.by_pass
    }

    pub(super) fn stream(&self) -> StreamId {
        self.publisher.stream_id()
    }

    /// The application of its stream.
    pub(super) fn application(&self) -> &Arc<Application> {
        &self.application
    }

    /// The rate limit of its media.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.meter.as_ref().map(RateMeter::rate)
    }

    /// After the first error, which is returned once, all messages are ignored: what follows a missing message cannot
    /// be decoded.
    pub(super) fn push(&mut self, now: Instant, message: Message, recorded: bool) -> Result<(), Stopped> {
        if self.stopped {
            return Ok(());
        }
        self.publisher.set_elastic(!recorded);
        let metered = self.meter.as_mut().map_or(Ok(()), |meter| meter.add(now, message.payload.len()));
        let pushed = match metered {
            Ok(()) => self.publisher.push(now, message).map_err(|Superseded| Stopped::Superseded),
            Err(refusal) => Err(Stopped::Refused(refusal)),
        };
        self.stopped = pushed.is_err();
        pushed
    }

    /// Returns true once: players begin without a key frame.
    pub(super) fn takes_keyless(&mut self) -> bool {
        self.publisher.is_keyless() && !std::mem::replace(&mut self.keyless, true)
    }

    /// Ignores all messages from now on.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn clear_metadata(&mut self) {
        self.publisher.clear_metadata();
    }

    /// When players must be woken, or when to check whether there are any.
    pub(super) fn due(&self) -> Option<Due> {
        let flush = self.publisher.wake_deadline().map(|at| Due::new(at, DueKind::Wake));
        let idle = self.idle.as_ref().map(|idle| Due::new(idle.next_check, DueKind::IdlePublisher));
        Due::first(flush.into_iter().chain(idle))
    }

    /// When to read the peer next, from which so many bytes have come; `None`: as soon as it sends something.
    pub(super) fn next_read(&mut self, now: Instant, received: u64, sockets: &Sockets) -> Option<Instant> {
        let publisher = &self.publisher;
        // A delayed read must not look like too high a rate.
        let most = self.meter.as_ref().map_or(Duration::MAX, |meter| meter.rate().window / 2);
        let may_wait = publisher.pacing().read_wait <= most;
        let wait = |last| if may_wait { publisher.next_read(now, last, sockets) } else { None };
        self.reads.next(now, received, sockets, wait)
    }

    /// True if there are players to wake. In a capture or a replay the answer is always yes, so that the result does
    /// not depend on other connections.
    pub(super) fn is_played(&self, recorded: bool) -> bool {
        recorded || self.publisher.is_played()
    }

    /// What has become of it since the last call, if it stands by or stood by.
    pub(super) fn take_events(&mut self) -> Vec<StandbyEvent> {
        self.publisher.take_events()
    }

    /// True once when players must be woken. A publisher that stands by has nothing for them.
    pub(super) fn take_wake(&mut self, now: Instant, recorded: bool) -> bool {
        if recorded || self.publisher.is_played() && !self.publisher.stands_by() {
            return self.publisher.take_wake(now);
        }
        self.publisher.cancel_wake(now);
        false
    }

    /// True if the stream has had no player for too long. It checks only from time to time: players come and go without
    /// notice.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        let Some(idle) = &mut self.idle else {
            return false;
        };
        let limit = idle.limit;
        if idle.next_check > now {
            return false;
        }
        let since = match (self.publisher.players(), idle.since) {
            (0, Some(since)) => since,
            (0, None) => now,
            _ => {
                idle.since = None;
                idle.next_check = now + limit / 4;
                return false;
            }
        };
        // Players may have connected while the process was stopped, and wait in their sockets.
        let is_late = now > idle.next_check + limit / 8 && idle.late < LATE_CHECKS;
        idle.late = if is_late { idle.late + 1 } else { 0 };
        idle.since = Some(since);
        idle.next_check = if is_late { now + limit / 8 } else { (since + limit).max(now + limit / 4) };
        since + limit <= now && !is_late
    }

    /// Messages dropped because no player could use them.
    pub(super) fn malformed(&self) -> u64 {
        self.publisher.malformed()
    }

    /// Ends the publication. Returns what the back end was asked about it, and what the stream goes on
    /// with.
    pub(super) fn end(mut self, now: Instant) -> (Option<StreamFacts>, GoesOn) {
        let asked = self.asked.take();
        let goes_on = self.publisher.end(now);
        (asked, goes_on)
    }
}
