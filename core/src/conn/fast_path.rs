use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Output;
use super::slow_path::SlowPath;
use crate::hub::StreamId;
use crate::session::{Outbound, Wait};
use crate::source::{self, Place};

/// Bytes of the largest batch; more are left to the connections' own queues, which have their limit.
const LARGEST: usize = 1 << 20;
/// Places in a stream for which what is new is put together in one turn. Few were sent less than the others of late; who
/// is left over is polled.
const PLACES: usize = 3;
/// How long what was written is not yet in the statistics, at most, while more is written.
const UNCOUNTED: Duration = Duration::from_millis(250);

/// What is new in a stream, for all players at one place in it, see [`Conn::next_batch`].
#[derive(Debug, Clone)]
pub struct Batch {
    stream: StreamId,
    batch: source::Batch,
}

impl Batch {
    /// The bytes of it.
    pub fn bytes(&self) -> &Bytes {
        self.batch.wire()
    }
}

/// The batches of one turn: what is new in a stream, put together once for all who are sent the same.
#[derive(Debug, Default)]
pub struct Batches {
    batches: Vec<Batch>,
}

impl Batches {
    /// What the connection [takes](Conn::takes) next, put together if it was not before, to be written to it now.
    pub fn share(&mut self, conn: &mut Conn) -> Option<Share<'_>> {
        let index = match self.batches.iter().position(|batch| conn.takes(batch)) {
            Some(known) => known,
            None if self.batches.len() < PLACES => {
                self.batches.push(conn.next_batch().filter(|batch| conn.takes(batch))?);
                self.batches.len() - 1
            }
            None => return None,
        };
        conn.share(self.batches.get(index)?)
    }
}

/// A batch on its way to one connection, from [`Conn::share`] to [`Conn::wrote`]. No lock need be held meanwhile.
#[derive(Debug)]
#[must_use = "these bytes are to be written, then accounted for"]
pub struct Share<'a> {
    batch: &'a Batch,
    cursor: FastCursor,
}

impl Share<'_> {
    /// The bytes to write.
    pub fn bytes(&self) -> &Bytes {
        self.batch.bytes()
    }
}

/// One connection with all it is attached to.
#[derive(Debug)]
// First what a batch touches, so that an adapter can have it beside what it touches itself.
#[repr(C)]
pub struct Conn {
    fast: FastPath,
    slow: SlowPath,
}

/// Whether what comes next can be written to a connection without polling it. What was written that way is noted only
/// here until the connection is called.
#[derive(Debug)]
enum FastPath {
    /// It must be polled first.
    Closed,
    /// It can, from this place on.
    Open(FastCursor),
    /// A batch is being written to it.
    Writing,
}

/// A player that has got all there is, has nothing queued, and takes what comes as it comes.
#[derive(Debug)]
struct FastCursor {
    stream: StreamId,
    place: Place,
    /// Written since the connection was called.
    bytes: u64,
    /// Of that, what is not in the statistics yet.
    uncounted: u32,
    frames: u32,
    /// When the last of that was written, and since when it is not in the statistics.
    last: Instant,
    since: Instant,
}

impl FastPath {
    fn cursor(&self) -> Option<&FastCursor> {
        match self {
            FastPath::Open(cursor) => Some(cursor),
            _ => None,
        }
    }

    /// Whether what comes next can be written without polling, as the connection waits now.
    fn of(slow: &SlowPath, now: Instant, wait: &Wait) -> Self {
        match FastCursor::of(slow, now, wait) {
            Some(cursor) => FastPath::Open(cursor),
            None => FastPath::Closed,
        }
    }
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
        let place = playing.fast_path_place(&slow.session)?;
        Some(FastCursor { stream: playing.stream(), place, bytes: 0, uncounted: 0, frames: 0, last: now, since: now })
    }

    /// Brings the statistics up to date, which others read, and touches nothing else.
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

/// Writing what is new in a stream to thousands of connections without polling each of them: one is asked what comes
/// next, and all that are at the same place take that. A connection that is not is polled as ever, and so is each one
/// that the write does not leave as it was.
impl Conn {
    pub(super) fn new(slow: SlowPath) -> Self {
        Conn { fast: FastPath::Closed, slow }
    }

    /// All but the fast path, up to date; the fast path is closed until the next poll. There is no other way to change
    /// anything there.
    pub(super) fn slow_path(&mut self) -> &mut SlowPath {
        self.settle();
        self.fast = FastPath::Closed;
        &mut self.slow
    }

    fn settle(&mut self) {
        if let FastPath::Open(cursor) = &mut self.fast {
            cursor.settle(&mut self.slow);
        }
    }

    /// Bytes to write to the peer: write what it shows, then advance it by what was taken, then poll again.
    pub fn outbound(&mut self) -> &mut Outbound {
        // Up to date, too, and empty where the fast path is open.
        self.settle();
        self.slow.session.outbound()
    }

    /// The same to be read, without what the fast path has written since the last call.
    pub(super) fn read(&self) -> &SlowPath {
        &self.slow
    }

    /// What to do next. Call it after every other call and after every wake-up, until it returns a `Wait` or `Closed`.
    pub fn poll(&mut self, now: Instant) -> Output {
        let output = self.slow_path().poll(now);
        if let Output::Wait(wait) = &output {
            self.fast = FastPath::of(&self.slow, now, wait);
        }
        output
    }

    /// What this connection is to be sent next, if that can be written to it without more ado, and to others like it.
    /// Found out when it was last polled; nothing if it was called since.
    pub fn next_batch(&self) -> Option<Batch> {
        let cursor = self.fast.cursor()?;
        let batch = self.slow.playing.first()?.batch(&cursor.place, LARGEST)?;
        Some(Batch { stream: cursor.stream, batch })
    }

    /// True if this connection is to be sent just this next.
    pub fn takes(&self, batch: &Batch) -> bool {
        self.fast.cursor().is_some_and(|cursor| cursor.stream == batch.stream && batch.batch.follows(&cursor.place))
    }

    /// Begins to write a batch to this connection, if it [takes](Self::takes) it. [`wrote`](Self::wrote) must follow
    /// before it is polled again.
    pub fn share<'a>(&mut self, batch: &'a Batch) -> Option<Share<'a>> {
        if !self.takes(batch) {
            return None;
        }
        match std::mem::replace(&mut self.fast, FastPath::Writing) {
            FastPath::Open(cursor) => Some(Share { batch, cursor }),
            _ => None,
        }
    }

    /// So many bytes of a batch were written. If that is not all, the rest is in [`outbound`](Self::outbound). True if the
    /// connection is as it was but for that, and need not be polled.
    ///
    /// # Panics
    /// If there are not so many bytes in it.
    pub fn wrote(&mut self, now: Instant, share: Share<'_>, count: usize) -> bool {
        let Share { batch, mut cursor } = share;
        let length = batch.bytes().len();
        assert!(count <= length, "more was written of a batch than there is");
        let called = !matches!(self.fast, FastPath::Writing);
        if count == length {
            batch.batch.pass(&mut cursor.place);
            cursor.bytes += count as u64;
            cursor.uncounted = cursor.uncounted.saturating_add(count as u32);
            cursor.frames += batch.batch.frames();
        } else {
            // What is begun must be finished, whatever comes of the stream, and before what was queued meanwhile.
            let begun = batch.batch.begun(count, &mut cursor.place);
            let frames = begun.inspect(|_| cursor.frames += 1).cloned();
            self.slow.session.outbound().push_begun(frames, count);
        }
        if count > 0 {
            cursor.last = now;
        }
        let counts = now.saturating_duration_since(cursor.since) >= UNCOUNTED;
        let goes_on = count == length && !called;
        if goes_on && counts {
            cursor.count(&mut self.slow);
        }
        self.fast = FastPath::Open(cursor);
        if !goes_on {
            self.slow_path();
        }
        goes_on
    }
}
