use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Output;
use super::slow_path::SlowPath;
#[cfg(doc)]
use crate::hub::Player;
use crate::pool::FREE;
use crate::session::{Outbound, Wait, WrongConnection, unique_number};
use crate::source::{self, Form, Place};

/// Bytes of the largest batch; more goes through the connections' own queues, which have their limit.
const LARGEST: usize = 1 << 20;
/// The number of places in a stream for which one turn makes batches of one form. Most players are at few places; players at other
/// places are polled.
const PLACES: usize = 3;
/// The longest time that written bytes are missing in the statistics while more is written. When the stream falls quiet,
/// its publisher's last wake-up has them counted.
const UNCOUNTED: Duration = Duration::from_millis(250);

/// What is new in a stream, for all players at one place in it.
#[derive(Debug)]
struct Batch {
    /// The [`stream_number`](Player::stream_number).
    stream: u64,
    batch: source::Batch,
}

/// The batches of one turn: what is new in a stream, made once for all players that get the same bytes.
///
/// When a stream is woken, make a new one of these and ask it for each of the stream's connections. Poll each connection
/// that has no [`Share`]. That includes a connection whose share of an earlier turn is still out. Any number of shares
/// may be out at once, each of another connection.
///
/// Drop it at the end of the turn. It keeps the batches that it made: in a later turn it would return the same batches,
/// without newer frames, and a connection that gets one does not learn that its stream has ended. Connections of several
/// [`Core`](super::Core)s may use the same one.
#[derive(Debug, Default)]
pub struct Batches {
    batches: Vec<Arc<Batch>>,
}

impl Batches {
    /// The batch to write to this connection now, if it need not be polled for that. The batch is made at the first
    /// call for its place. `None`: poll the connection.
    ///
    /// This starts no timer. If the write does not end in the same turn, poll the connection, and use the new [`Wait`]:
    /// the write timeout begins with that poll.
    pub fn share(&mut self, conn: &mut Conn) -> Option<Share> {
        if let Some(known) = self.batches.iter().find(|batch| conn.takes(batch)) {
            return Some(conn.begin_share(known));
        }
        let form = conn.open_cursor()?.form;
        if self.batches.iter().filter(|batch| batch.batch.form() == form).count() >= PLACES {
            return None;
        }
        let batch = Arc::new(conn.next_batch().filter(|batch| conn.takes(batch))?);
        let share = conn.begin_share(&batch);
        self.batches.push(batch);
        Some(share)
    }
}

/// A batch on its way to one connection, from [`Batches::share`] to [`Conn::wrote`]. It owns its bytes, so the write
/// may end at any later time and on any thread. Until then no lock need be held, and the connection may be fed and
/// polled: what it queues goes after the batch, and its [`Wait`] does not say `write`.
///
/// Core learns of progress only from that report. If a peer takes the bytes slowly, report what was written before the
/// [`write`](crate::session::SessionTimeouts::write) timeout is over, and write the rest from
/// [`outbound`](Conn::outbound). At a wake of its stream, poll a connection whose share is out.
///
/// A share that is dropped instead counts as a write that does not end: none of its frames is sent again. Poll the
/// connection: it is closed when the write timeout after that poll is over. If it is not known how much was written,
/// [`handle_disconnect`](Conn::handle_disconnect) ends the connection at once.
#[derive(Debug)]
#[must_use = "these bytes are to be written, then reported"]
pub struct Share {
    batch: Arc<Batch>,
    /// The connection's [`FastPath::number`].
    connection: u64,
}

impl Share {
    /// The bytes to write.
    pub fn bytes(&self) -> &Bytes {
        self.batch.batch.wire()
    }
}

/// One connection with all that belongs to it.
// The fields that a batch touches come first, so that an adapter can keep them next to those that it touches itself.
#[repr(C)]
pub struct Conn {
    fast: FastPath,
    slow: SlowPath,
}

/// Which connection it is and how far it has come. Its streams and queues would be thousands of lines.
impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Conn");
        shown.field("id", &self.id()).field("peer", &self.peer()).field("phase", &self.session().phase());
        shown.finish_non_exhaustive()
    }
}

/// Whether the next bytes can be written to a connection without polling it. Bytes written that way are counted only
/// here until the next call of the connection.
#[derive(Debug)]
struct FastPath {
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

/// A player that has got all frames, has nothing queued, and gets new frames unchanged.
#[derive(Debug)]
struct FastCursor {
    /// The [`stream_number`](Player::stream_number).
    stream: u64,
    form: Form,
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
    fn of(slow: &SlowPath, now: Instant, wait: &Wait) -> Option<Self> {
        let [playing] = &slow.playing[..] else {
            return None;
        };
        let alone = slow.publishing.is_empty() && slow.pending.is_none() && slow.check.is_none();
        if !wait.source || wait.read.is_none() || wait.write || !alone || slow.capturing.is_some() {
            return None;
        }
        let (form, place) = playing.fast_path_place(&slow.session)?;
        Some(FastCursor {
            stream: playing.stream_number(),
            form,
            place,
            bytes: 0,
            uncounted: 0,
            frames: 0,
            last: now,
            since: now,
        })
    }

    /// Brings the statistics up to date, because other threads read them, and changes nothing else.
    fn count(&mut self, slow: &mut SlowPath) {
        self.since = self.last;
        let (bytes, frames) = (std::mem::take(&mut self.uncounted), std::mem::take(&mut self.frames));
        if frames > 0 {
            slow.stats.sent(self.last, bytes as usize);
            slow.stats.queued_frames(self.last, frames);
        }
    }

    /// Brings the rest of the connection up to date.
    fn settle(&mut self, slow: &mut SlowPath) {
        if self.bytes == 0 && self.frames == 0 {
            return;
        }
        self.count(slow);
        // Timers that are started by the call count from the last write, not from the last poll.
        slow.session.tell_time(self.last.max(slow.session.now()));
        let bytes = std::mem::take(&mut self.bytes);
        if let Some(playing) = slow.playing.first_mut() {
            playing.pass_to(self.place);
        }
        slow.session.outbound().wrote_elsewhere(bytes);
        slow.written += bytes;
    }
}

/// Writing what is new in a stream to thousands of connections without polling each of them: one connection says what
/// comes next, and all that are at the same place get that. A connection at another place is polled, and so is each one
/// whose state the write changes.
impl Conn {
    pub(super) fn new(slow: SlowPath) -> Self {
        let fast = FastPath { state: FastState::Closed, cursor: None, number: unique_number() };
        Conn { fast, slow }
    }

    /// All state except the fast path, up to date; the fast path is closed until the next poll. Nothing changes that
    /// state in another way.
    pub(super) fn slow_path(&mut self) -> &mut SlowPath {
        self.settle();
        match self.fast.state {
            FastState::Open => self.fast.state = FastState::Closed,
            FastState::Writing { held } => {
                self.slow.session.outbound().begin_share(held as usize);
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
    /// streams have dropped them: poll it when its streams go on, even if nothing can be written.
    pub fn has_large_queue(&self) -> bool {
        let shared = if let FastState::Writing { held } = self.fast.state { held as usize } else { 0 };
        shared > FREE || self.slow.has_large_queue()
    }

    /// The same state for reading, without what the fast path has written since the last call.
    pub(super) fn inner(&self) -> &SlowPath {
        &self.slow
    }

    /// Bytes to write to the peer: write some of them, then advance the buffer by what was written, then poll again.
    pub fn outbound(&mut self) -> &mut Outbound {
        if self.fast.state == FastState::Open {
            // Nothing waits, and only the count of written bytes can be observed.
            self.settle();
            return self.slow.session.outbound();
        }
        self.slow_path().session.outbound()
    }

    /// What to do next. Call it after every other call and after every wake-up, until it returns a `Wait` or `Closed`.
    pub fn poll(&mut self, now: Instant) -> Output {
        let output = self.slow_path().poll(now);
        if let Output::Wait(wait) = &output
            && self.fast.state == FastState::Closed
        {
            self.fast.cursor = FastCursor::of(&self.slow, now, wait);
            if self.fast.cursor.is_some() {
                self.fast.state = FastState::Open;
            }
        }
        output
    }

    fn open_cursor(&self) -> Option<&FastCursor> {
        self.fast.cursor.as_ref().filter(|_| self.fast.state == FastState::Open)
    }

    /// The next bytes for this connection, if they can be written to it without polling it, and to others at the same
    /// place.
    fn next_batch(&self) -> Option<Batch> {
        let cursor = self.open_cursor()?;
        let batch = self.slow.playing.first()?.batch(cursor.form, &cursor.place, LARGEST)?;
        Some(Batch { stream: cursor.stream, batch })
    }

    /// True if these are the next bytes for this connection.
    fn takes(&self, batch: &Batch) -> bool {
        self.open_cursor().is_some_and(|cursor| {
            let is_same = cursor.stream == batch.stream && cursor.form == batch.batch.form();
            is_same && batch.batch.follows(&cursor.place)
        })
    }

    /// Begins to write a batch to this connection.
    fn begin_share(&mut self, batch: &Arc<Batch>) -> Share {
        let held = u32::try_from(batch.batch.held()).unwrap_or(u32::MAX);
        self.fast.state = FastState::Writing { held };
        Share { batch: batch.clone(), connection: self.fast.number }
    }

    /// So many bytes of a share were written. If that is not all, the rest is in [`outbound`](Self::outbound), before
    /// what was queued during the write. Returns true if all was written and the connection was not called meanwhile, so
    /// that it need not be polled.
    ///
    /// True does not mean that the stream has nothing new: frames that came during the write, or the end of the stream,
    /// are found by a poll only. So poll the connection at each wake of its stream even while its share is out; this then
    /// returns false.
    ///
    /// # Errors
    /// The share is of another connection: nothing is changed.
    ///
    /// # Panics
    /// If the share has fewer bytes.
    pub fn wrote(&mut self, now: Instant, share: Share, count: usize) -> Result<bool, WrongConnection<Share>> {
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
            slow.session.tell_time(now.max(slow.session.now()));
        }
        let mut place = from;
        let (begun, frames) = batch.begun(count, &mut place);
        let begun: Vec<Bytes> = begun.cloned().collect();
        let outbound = slow.session.outbound();
        outbound.end_share();
        // A begun message must be completed, even if the stream has ended, and before what was queued during the write.
        outbound.push_begun(begun.into_iter(), count);
        if frames > 0 {
            slow.stats.queued_frames(now, frames);
        }
        let mut players = slow.playing.iter_mut().filter(|playing| playing.stream_number() == stream);
        if !players.any(|playing| playing.pass_late(&from, place)) {
            // The player ended during the write, and what was on its way counted as unsent.
            slow.past.unsent.remove(from.gap_to(&place));
        }
    }
}
