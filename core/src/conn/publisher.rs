use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::StreamFacts;
use super::vhost::VirtualHost;
use crate::hub::{Publisher, StreamId, Superseded};
use crate::message::Message;
use crate::pacing::{ReadTimer, Sockets};
use crate::patience::LATE_LOOKS;
use crate::policy::{Rate, RateMeter, Refusal};
use crate::session::{Due, DueKind};
use crate::url::StreamKey;

/// The longest time without players that is waited for.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// One message stream that publishes.
#[derive(Debug)]
pub(super) struct Publishing {
    /// Message stream id.
    stream_id: u32,
    publisher: Publisher,
    reads: ReadTimer,
    /// Of its own media; what else the connection sends is held against the rates of all its publishers together.
    meter: Option<RateMeter>,
    /// True once it is told that it is not heard any more.
    stopped: bool,
    /// True once it was said that its stream has no key frames.
    keyless: bool,
    /// Since when nobody plays the stream, as far as it was looked at, and when to look again.
    idle: Option<Idle>,
    /// What the outside was asked about it, if it was: it is to hear of the end.
    asked: Option<StreamFacts>,
    vhost: Arc<VirtualHost>,
}

#[derive(Debug)]
struct Idle {
    /// How long that may go on: a rule of the stream's virtual host.
    limit: Duration,
    since: Option<Instant>,
    next_look: Instant,
    /// How many looks in a row came late, up to `LATE_LOOKS`.
    late: u8,
}

/// Why a message of a publisher is its last.
#[derive(Debug)]
pub(super) enum Stopped {
    Superseded,
    Refused(Refusal),
}

impl Publishing {
    pub(super) fn new(
        now: Instant,
        stream_id: u32,
        mut publisher: Publisher,
        vhost: Arc<VirtualHost>,
        asked: Option<StreamFacts>,
    ) -> Self {
        publisher.begun(now);
        let meter = vhost.config.limits.publisher_rate.map(|rate| RateMeter::new(rate, now));
        // Within bounds in which looking neither spins nor leads out of the clock's range.
        let limit = vhost.config.idle_publisher.map(|limit| limit.clamp(Duration::from_secs(1), LONGEST));
        let idle = limit.map(|limit| Idle { limit, since: Some(now), next_look: now + limit, late: 0 });
        Publishing {
            stream_id,
            publisher,
            reads: ReadTimer::default(),
            meter,
            stopped: false,
            keyless: false,
            idle,
            asked,
            vhost,
        }
    }

    pub(super) fn stream_id(&self) -> u32 {
        self.stream_id
    }

    pub(super) fn key(&self) -> &StreamKey {
        self.publisher.key()
    }

    pub(super) fn stream(&self) -> StreamId {
        self.publisher.stream_id()
    }

    /// The virtual host it is of.
    pub(super) fn vhost(&self) -> &Arc<VirtualHost> {
        &self.vhost
    }

    /// What it may send.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.meter.as_ref().map(RateMeter::rate)
    }

    /// Nothing is heard after the first error, which is told once: what follows a message that was left out cannot be
    /// decoded.
    pub(super) fn push(&mut self, now: Instant, message: Message) -> Result<(), Stopped> {
        if self.stopped {
            return Ok(());
        }
        let metered = self.meter.as_mut().map_or(Ok(()), |meter| meter.add(now, message.payload.len()));
        let pushed = match metered {
            Ok(()) => self.publisher.push(now, message).map_err(|Superseded| Stopped::Superseded),
            Err(refusal) => Err(Stopped::Refused(refusal)),
        };
        self.stopped = pushed.is_err();
        pushed
    }

    /// True once: players begin without a key frame.
    pub(super) fn takes_keyless(&mut self) -> bool {
        self.publisher.is_keyless() && !std::mem::replace(&mut self.keyless, true)
    }

    /// Nothing more is heard.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn clear_metadata(&mut self) {
        self.publisher.clear_metadata();
    }

    /// When players must be woken, or it must be seen whether there are any.
    pub(super) fn due(&self) -> Option<Due> {
        let flush = self.publisher.wake_deadline().map(|at| Due::new(at, DueKind::Wake));
        let idle = self.idle.as_ref().map(|idle| Due::new(idle.next_look, DueKind::IdlePublisher));
        Due::first(flush.into_iter().chain(idle))
    }

    /// When to read the peer next, of which so many bytes have come; `None`: when something comes.
    pub(super) fn next_read(&mut self, now: Instant, received: u64, sockets: &Sockets) -> Option<Instant> {
        let publisher = &self.publisher;
        // What comes all at once must not look like too much.
        let most = self.meter.as_ref().map_or(Duration::MAX, |meter| meter.rate().window / 2);
        let may_wait = publisher.pacing().read_wait <= most;
        let wait = |last| if may_wait { publisher.next_read(now, last, sockets) } else { None };
        self.reads.next(now, received, sockets, wait)
    }

    /// True if there are players to be woken. What is recorded, or repeats what was, does not depend on whether others play:
    /// it is as if they did.
    pub(super) fn is_played(&self, recorded: bool) -> bool {
        recorded || self.publisher.is_played()
    }

    /// True once when players must be woken.
    pub(super) fn take_wake(&mut self, now: Instant, recorded: bool) -> bool {
        if self.is_played(recorded) {
            return self.publisher.take_wake(now);
        }
        self.publisher.cancel_wake(now);
        false
    }

    /// True if nobody has played the stream for too long. Looks only now and then: players come and go without a word.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        let Some(idle) = &mut self.idle else {
            return false;
        };
        let limit = idle.limit;
        if idle.next_look > now {
            return false;
        }
        let since = match (self.publisher.players(), idle.since) {
            (0, Some(since)) => since,
            (0, None) => now,
            _ => {
                idle.since = None;
                idle.next_look = now + limit / 4;
                return false;
            }
        };
        // Players may have come while the process was stopped, and wait in their sockets.
        let is_late = now > idle.next_look + limit / 8 && idle.late < LATE_LOOKS;
        idle.late = if is_late { idle.late + 1 } else { 0 };
        idle.since = Some(since);
        idle.next_look = if is_late { now + limit / 8 } else { (since + limit).max(now + limit / 4) };
        since + limit <= now && !is_late
    }

    /// Messages dropped because no player could use them.
    pub(super) fn malformed(&self) -> u64 {
        self.publisher.malformed()
    }

    /// Ends the publication. Returns what the outside was asked about it.
    pub(super) fn end(mut self, now: Instant) -> Option<StreamFacts> {
        let asked = self.asked.take();
        self.publisher.end(now);
        asked
    }
}
