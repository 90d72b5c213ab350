use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Conn;
use crate::hub::StreamId;
use crate::session::Wait;
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
    steady: Steady,
}

impl Share<'_> {
    /// The bytes to write.
    pub fn bytes(&self) -> &Bytes {
        self.batch.bytes()
    }
}

/// Whether what comes next can be written to a connection without polling it.
#[derive(Debug)]
pub(super) enum Standing {
    /// It must be polled first.
    Unknown,
    /// It can, from this place on.
    Steady(Steady),
    /// A batch is being written to it.
    Writing,
}

impl Standing {
    fn steady(&self) -> Option<&Steady> {
        match self {
            Standing::Steady(steady) => Some(steady),
            _ => None,
        }
    }
}

/// A player that has got all there is, has nothing queued, and takes what comes as it comes. As long as nobody calls its
/// connection, all there is to know of it is here; every other call makes up for what was noted only here.
#[derive(Debug)]
pub(super) struct Steady {
    stream: StreamId,
    place: Place,
    /// Written since the connection was called.
    bytes: u64,
    /// That of it which is not in the statistics yet.
    uncounted: u32,
    frames: u32,
    /// When the last of that was, and since when it is not in the statistics.
    last: Instant,
    since: Instant,
}

/// Writing what is new in a stream to thousands of connections without polling each of them: one is asked what comes
/// next, and all that are at the same place take that. A connection that is not is polled as ever, and so is each one
/// that the write does not leave as it was.
impl Conn {
    /// What this connection is to be sent next, if that can be written to it without more ado, and to others like it.
    /// Found out when it was last polled; nothing if it was called since.
    pub fn next_batch(&self) -> Option<Batch> {
        let steady = self.standing.steady()?;
        let batch = self.playing.first()?.batch(&steady.place, LARGEST)?;
        Some(Batch { stream: steady.stream, batch })
    }

    /// True if this connection is to be sent just this next.
    pub fn takes(&self, batch: &Batch) -> bool {
        self.standing.steady().is_some_and(|steady| steady.stream == batch.stream && batch.batch.follows(&steady.place))
    }

    /// Begins to write a batch to this connection, if it [takes](Self::takes) it. [`wrote`](Self::wrote) must follow
    /// before it is polled again.
    pub fn share<'a>(&mut self, batch: &'a Batch) -> Option<Share<'a>> {
        if !self.takes(batch) {
            return None;
        }
        match std::mem::replace(&mut self.standing, Standing::Writing) {
            Standing::Steady(steady) => Some(Share { batch, steady }),
            _ => None,
        }
    }

    /// So many bytes of a batch were written. If that is not all, the rest is in [`outbound`](Self::outbound). True if the
    /// connection is as it was but for that, and need not be polled.
    ///
    /// # Panics
    /// If there are not so many bytes in it.
    pub fn wrote(&mut self, now: Instant, share: Share<'_>, count: usize) -> bool {
        let Share { batch, mut steady } = share;
        let length = batch.bytes().len();
        assert!(count <= length, "more was written of a batch than there is");
        let called = !matches!(self.standing, Standing::Writing);
        if count == length {
            batch.batch.pass(&mut steady.place);
            steady.bytes += count as u64;
            steady.uncounted = steady.uncounted.saturating_add(count as u32);
            steady.frames += batch.batch.frames();
        } else {
            // What is begun must be finished, whatever comes of the stream, and before what was queued meanwhile.
            let begun = batch.batch.begun(count, &mut steady.place);
            let frames = begun.inspect(|_| steady.frames += 1).cloned();
            self.session.outbound().push_begun(frames, count);
        }
        if count > 0 {
            steady.last = now;
        }
        let counts = now.saturating_duration_since(steady.since) >= UNCOUNTED;
        let goes_on = count == length && !called;
        self.standing = Standing::Steady(steady);
        if !goes_on {
            self.unsettle();
        } else if counts {
            self.count();
        }
        goes_on
    }

    /// Somebody calls: what was only noted is made up for, and how things stand is seen anew at the next poll.
    pub(super) fn unsettle(&mut self) {
        self.settle();
        self.standing = Standing::Unknown;
    }

    /// Makes up for what was only noted so far.
    pub(super) fn settle(&mut self) {
        let Standing::Steady(steady) = &self.standing else {
            return;
        };
        if steady.bytes == 0 && steady.frames == 0 {
            return;
        }
        self.count();
        let Standing::Steady(steady) = &mut self.standing else {
            return;
        };
        // What is said to it next is said now, not when it was last polled.
        self.session.tell_time(steady.last.max(self.session.now()));
        let bytes = std::mem::take(&mut steady.bytes);
        if let Some(playing) = self.playing.first_mut() {
            playing.pass_to(steady.place);
        }
        self.session.outbound().wrote_elsewhere(bytes);
        self.written += bytes;
    }

    /// Makes up for it in the statistics, which others read, and touches nothing else.
    fn count(&mut self) {
        let Standing::Steady(steady) = &mut self.standing else {
            return;
        };
        steady.since = steady.last;
        let (bytes, frames) = (std::mem::take(&mut steady.uncounted), std::mem::take(&mut steady.frames));
        if frames > 0 {
            self.stats.sent(steady.last, bytes as usize);
            self.stats.queued_frames(steady.last, frames);
        }
    }

    /// Whether what comes next can be written without polling, as it waits now.
    pub(super) fn stands(&self, now: Instant, wait: &Wait) -> Standing {
        self.steadiness(now, wait).map_or(Standing::Unknown, Standing::Steady)
    }

    fn steadiness(&self, now: Instant, wait: &Wait) -> Option<Steady> {
        let [playing] = &self.playing[..] else {
            return None;
        };
        let alone = self.publishing.is_empty() && self.pending.is_none() && self.check.is_none();
        if !wait.source || !wait.read || wait.write || !alone || self.watch.is_some() {
            return None;
        }
        let place = playing.steady_place(&self.session)?;
        Some(Steady { stream: playing.stream(), place, bytes: 0, uncounted: 0, frames: 0, last: now, since: now })
    }
}
