//! One write of the same bytes to many connections, without polling each of them: one connection says what comes next,
//! and all that are at the same place of their stream get that. A connection at another place is polled, and so is each
//! one whose state the write changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::endpoint::{Outbound, Wait, WrongConnection, unique_number};
#[cfg(doc)]
use crate::hub::Player;
use crate::pool::FREE;
use crate::source::{self, Contents, Form, Place};
use crate::stats::ConnStats;

/// Bytes of the largest batch; more goes through the connections' own queues, which have their limit.
const LARGEST: usize = 1 << 20;
/// The number of places in a stream for which one turn makes batches of one form. Most connections are at few places;
/// those at other places are polled.
const PLACES: usize = 3;
/// The longest time that written bytes are missing in the statistics while more is written. When the stream falls
/// quiet, its publisher's last wake-up has them counted.
const UNCOUNTED: Duration = Duration::from_millis(250);

/// What is new in a stream, for all connections at one place in it.
#[derive(Debug)]
struct Batch {
    /// The [`stream_number`](Player::stream_number).
    stream: u64,
    batch: source::Batch,
}

/// The batches of one turn: what is new in a stream, made once for all connections that get the same bytes: players,
/// and pushes to other servers.
///
/// When a stream is woken, make a new one of these and ask it for each of the stream's connections. Poll each
/// connection that has no [`Share`]. That includes a connection whose share of an earlier turn is still out. Any number
/// of shares may be out at once, each of another connection.
///
/// Drop it at the end of the turn. It keeps the batches that it made: in a later turn it would return the same batches,
/// without newer frames, and a connection that gets one does not learn that its stream has ended. Connections of
/// several [`Core`](crate::conn::Core)s may use the same one.
#[derive(Debug, Default)]
pub struct Batches {
    batches: Vec<Arc<Batch>>,
}

impl Batches {
    /// See [`share`](Self::share).
    pub(crate) fn share_with<S: SlowPath>(&mut self, path: &mut FastPath<S>) -> Option<Share> {
        let cursor = path.open_cursor()?;
        if let Some(known) = self.batches.iter().find(|batch| cursor.takes(batch)) {
            let known = known.clone();
            return Some(path.begin_share(&known));
        }
        // Another one from there would have the same frames.
        if self.batches.iter().any(|batch| cursor.is_at(batch)) {
            return None;
        }
        let form = cursor.form;
        if self.batches.iter().filter(|batch| batch.batch.form() == form).count() >= PLACES {
            return None;
        }
        let batch = Arc::new(path.next_batch()?);
        self.batches.push(batch.clone());
        let takes = path.open_cursor().is_some_and(|cursor| cursor.takes(&batch));
        takes.then(|| path.begin_share(&batch))
    }
}

/// A batch on its way to one connection, from [`Batches::share`] to [`Conn::wrote`](crate::conn::Conn::wrote). It owns
/// its bytes, so the write may end at any later time and on any thread. Until then no lock need be held, and the
/// connection may be fed and polled: what it queues goes after the batch, and its [`Wait`] does not say `write`.
///
/// Core learns of progress only from that report. If a peer takes the bytes slowly, report what was written before the
/// [`write`](crate::session::SessionTimeouts::write) timeout is over, and write the rest from
/// [`outbound`](crate::conn::Conn::outbound). At a wake of its stream, poll a connection whose share is out.
///
/// A share that is dropped instead counts as a write that does not end: none of its frames is sent again. Poll the
/// connection: it is closed when the write timeout after that poll is over. If it is not known how much was written,
/// [`handle_disconnect`](crate::conn::Conn::handle_disconnect) ends the connection at once.
#[derive(Debug)]
#[must_use = "these bytes are to be written, then reported"]
pub struct Share {
    batch: Arc<Batch>,
    /// The connection's [`Fast::number`].
    connection: u64,
}

impl Share {
    /// The bytes to write.
    pub fn bytes(&self) -> &Bytes {
        self.batch.batch.wire()
    }
}

/// A connection that gets a stream, as far as the fast path needs it: all of its state, which calls and polls work on.
pub(crate) trait SlowPath {
    /// Where it is in its stream, if it gets all that comes next unchanged, has nothing queued, and waits for this.
    fn ready(&self, wait: &Wait) -> Option<Ready>;

    /// What follows at a place of that stream.
    fn batch(&self, form: Form, place: &Place, most: usize) -> Option<source::Batch>;

    /// It has got all frames up to that place.
    fn pass_to(&mut self, place: Place);

    /// It has got all frames of the stream from `from` up to that place, and was called during the write.
    fn pass_late(&mut self, stream: u64, from: &Place, place: Place);

    fn outbound(&mut self) -> &mut Outbound;

    fn stats(&mut self) -> &mut ConnStats;

    /// Something was written at this time, unless it knows of a later one.
    fn wrote_at(&mut self, time: Instant);

    /// True if its queue may keep frames in memory after their streams have dropped them.
    fn has_large_queue(&self) -> bool;
}

/// What a connection that is [ready](SlowPath::ready) gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// The [`stream_number`](Player::stream_number).
    pub(crate) stream: u64,
    pub(crate) form: Form,
    pub(crate) place: Place,
    /// The frames that it takes unchanged, and without a look at them.
    pub(crate) takes: Contents,
}

/// A connection, and whether it can be written to without polling it.
// The fields that a batch touches come first, so that an adapter can keep them next to those that it touches itself.
#[repr(C)]
pub(crate) struct FastPath<S> {
    fast: Fast,
    slow: S,
}

/// Whether the next bytes can be written to a connection without polling it. Bytes written that way are counted only
/// here until the next call of the connection.
#[derive(Debug)]
struct Fast {
    state: FastState,
    /// Its place in the stream, unless the fast path is closed.
    cursor: Option<FastCursor>,
    /// This connection among all of the process, so that no share is reported to another one.
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FastState {
    /// The connection must be polled first.
    Closed,
    /// A batch can be written to it.
    Open,
    /// A batch is being written to it, which keeps so many bytes of memory.
    Writing { held: u32 },
    /// A batch is being written to it, and it was called meanwhile.
    Called,
}

/// A connection that has got all frames, has nothing queued, and gets new frames unchanged.
#[derive(Debug)]
struct FastCursor {
    /// The [`stream_number`](Player::stream_number).
    stream: u64,
    form: Form,
    takes: Contents,
    place: Place,
    /// Bytes written since the last call of the connection.
    bytes: u64,
    /// The part of them that is not in the statistics yet.
    uncounted: u32,
    frames: u32,
    /// When the last of them was written, and since when the statistics lack them.
    last: Instant,
    since: Instant,
}

impl FastCursor {
    fn new(ready: Ready, now: Instant) -> Self {
        let Ready { stream, form, place, takes } = ready;
        FastCursor { stream, form, takes, place, bytes: 0, uncounted: 0, frames: 0, last: now, since: now }
    }

    /// True if these frames are the next ones for this connection.
    fn is_at(&self, batch: &Batch) -> bool {
        self.stream == batch.stream && self.form == batch.batch.form() && batch.batch.begins_at(&self.place)
    }

    /// True if these are the next bytes for this connection.
    fn takes(&self, batch: &Batch) -> bool {
        self.is_at(batch) && batch.batch.follows(&self.place) && batch.batch.is_within(self.takes)
    }

    /// Brings the statistics up to date, because other threads read them, and changes nothing else.
    fn count(&mut self, slow: &mut impl SlowPath) {
        self.since = self.last;
        let (bytes, frames) = (std::mem::take(&mut self.uncounted), std::mem::take(&mut self.frames));
        if frames > 0 {
            let stats = slow.stats();
            stats.sent(self.last, bytes as usize);
            stats.queued_frames(self.last, frames);
        }
    }

    /// Brings the rest of the connection up to date.
    fn settle(&mut self, slow: &mut impl SlowPath) {
        if self.bytes == 0 && self.frames == 0 {
            return;
        }
        self.count(slow);
        // Timers that are started by the call count from the last write, not from the last poll.
        slow.wrote_at(self.last);
        let bytes = std::mem::take(&mut self.bytes);
        slow.pass_to(self.place);
        slow.outbound().wrote_elsewhere(bytes);
    }
}

impl<S: SlowPath> FastPath<S> {
    pub(crate) fn new(slow: S) -> Self {
        let fast = Fast { state: FastState::Closed, cursor: None, number: unique_number() };
        FastPath { fast, slow }
    }

    /// All state except the fast path, up to date; the fast path is closed until the next poll. Nothing changes that
    /// state in another way.
    pub(crate) fn slow_path(&mut self) -> &mut S {
        self.settle();
        match self.fast.state {
            FastState::Open => self.fast.state = FastState::Closed,
            FastState::Writing { held } => {
                self.slow.outbound().begin_share(held as usize);
                self.fast.state = FastState::Called;
            }
            FastState::Closed | FastState::Called => {}
        }
        &mut self.slow
    }

    fn settle(&mut self) {
        if let Some(cursor) = &mut self.fast.cursor {
            cursor.settle(&mut self.slow);
        }
    }

    /// True if its queue, or the share of it that is out, is so large that it may keep frames in memory after their
    /// streams have dropped them.
    pub(crate) fn has_large_queue(&self) -> bool {
        let shared = if let FastState::Writing { held } = self.fast.state { held as usize } else { 0 };
        shared > FREE || self.slow.has_large_queue()
    }

    /// The same state for reading, without what the fast path has written since the last call.
    pub(crate) fn inner(&self) -> &S {
        &self.slow
    }

    /// Its queue.
    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        if self.fast.state == FastState::Open {
            // Nothing waits, and only the count of written bytes can be observed.
            self.settle();
            return self.slow.outbound();
        }
        self.slow_path().outbound()
    }

    /// A poll of the slow path has ended with this.
    pub(crate) fn waits(&mut self, now: Instant, wait: &Wait) {
        if self.fast.state == FastState::Closed {
            self.fast.cursor = self.slow.ready(wait).map(|ready| FastCursor::new(ready, now));
            if self.fast.cursor.is_some() {
                self.fast.state = FastState::Open;
            }
        }
    }

    fn open_cursor(&self) -> Option<&FastCursor> {
        self.fast.cursor.as_ref().filter(|_| self.fast.state == FastState::Open)
    }

    /// The next bytes for this connection, if they can be written to it without polling it, and to others at the same
    /// place.
    fn next_batch(&self) -> Option<Batch> {
        let cursor = self.open_cursor()?;
        let batch = self.slow.batch(cursor.form, &cursor.place, LARGEST)?;
        Some(Batch { stream: cursor.stream, batch })
    }

    /// Begins to write a batch to this connection.
    fn begin_share(&mut self, batch: &Arc<Batch>) -> Share {
        let held = u32::try_from(batch.batch.held()).unwrap_or(u32::MAX);
        self.fast.state = FastState::Writing { held };
        Share { batch: batch.clone(), connection: self.fast.number }
    }

    /// See [`Conn::wrote`](crate::conn::Conn::wrote).
    pub(crate) fn wrote(&mut self, now: Instant, share: Share, count: usize) -> Result<bool, WrongConnection<Share>> {
        let is_out = matches!(self.fast.state, FastState::Writing { .. } | FastState::Called);
        let (true, Some(cursor)) = (is_out && share.connection == self.fast.number, &mut self.fast.cursor) else {
            return Err(WrongConnection(share));
        };
        let (batch, length) = (&share.batch.batch, share.bytes().len());
        assert!(count <= length, "more was written of a batch than there is");
        if count < length || self.fast.state == FastState::Called {
            self.end_share(now, batch, count);
            return Ok(false);
        }
        batch.pass(&mut cursor.place);
        cursor.bytes += count as u64;
        cursor.uncounted = cursor.uncounted.saturating_add(count as u32);
        cursor.frames += batch.frames();
        cursor.last = now;
        if now.saturating_duration_since(cursor.since) >= UNCOUNTED {
            cursor.count(&mut self.slow);
        }
        self.fast.state = FastState::Open;
        Ok(true)
    }

    /// So many bytes of a batch were written, which is not all of it, or the connection was called during the write.
    fn end_share(&mut self, now: Instant, batch: &source::Batch, count: usize) {
        self.slow_path();
        self.fast.state = FastState::Closed;
        let (Some(FastCursor { stream, place: from, .. }), slow) = (self.fast.cursor.take(), &mut self.slow) else {
            return;
        };
        if count > 0 {
            slow.wrote_at(now);
        }
        let mut place = from;
        let (begun, frames) = batch.begun(count, &mut place);
        let begun: Vec<Bytes> = begun.cloned().collect();
        let outbound = slow.outbound();
        outbound.end_share();
        // A begun message must be completed, even if the stream has ended, and before what was queued during the write.
        outbound.push_begun(begun.into_iter(), count);
        if frames > 0 {
            slow.stats().queued_frames(now, frames);
        }
        slow.pass_late(stream, &from, place);
    }
}
