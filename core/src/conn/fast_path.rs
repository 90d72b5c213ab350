use std::fmt;
use std::time::Instant;

use super::Output;
use super::slow_path::SlowPath;
use crate::fast_path::{self, Batches, FastPath, Ready, Share};
use crate::session::{Outbound, Wait, WrongConnection};
use crate::source::{self, Form, Place};
use crate::stats::ConnStats;

/// One connection with all that belongs to it.
#[repr(transparent)]
pub struct Conn {
    path: FastPath<SlowPath>,
}

/// Which connection it is and how far it has come. Its streams and queues would be thousands of lines.
impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Conn");
        shown.field("id", &self.id()).field("peer", &self.peer()).field("phase", &self.session().phase());
        shown.finish_non_exhaustive()
    }
}

impl Batches {
    /// The batch to write to this connection now, if it need not be polled for that. The batch is made at the first
    /// call for its place. `None`: poll the connection.
    ///
    /// This starts no timer. If the write does not end in the same turn, poll the connection, and use the new [`Wait`]:
    /// the write timeout begins with that poll.
    pub fn share(&mut self, conn: &mut Conn) -> Option<Share> {
        self.share_with(&mut conn.path)
    }
}

impl Conn {
    pub(super) fn new(slow: SlowPath) -> Self {
        Conn { path: FastPath::new(slow) }
    }

    /// All state except the fast path, up to date; the fast path is closed until the next poll. Nothing changes that
    /// state in another way.
    pub(super) fn slow_path(&mut self) -> &mut SlowPath {
        self.path.slow_path()
    }

    /// The same state for reading, without what the fast path has written since the last call.
    pub(super) fn inner(&self) -> &SlowPath {
        self.path.inner()
    }

    /// True if its queue, or the share of it that is out, is so large that it may keep frames in memory after their
    /// streams have dropped them: poll it when its streams go on, even if nothing can be written.
    pub fn has_large_queue(&self) -> bool {
        self.path.has_large_queue()
    }

    /// Bytes to write to the peer: write some of them, then advance the buffer by what was written, then poll again.
    pub fn outbound(&mut self) -> &mut Outbound {
        self.path.outbound()
    }

    /// What to do next. Call it after every other call and after every wake-up, until it returns a `Wait` or `Closed`.
    pub fn poll(&mut self, now: Instant) -> Output {
        let output = self.slow_path().poll(now);
        if let Output::Wait(wait) = &output {
            self.path.waits(now, wait);
        }
        output
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
        self.path.wrote(now, share, count)
    }
}

impl fast_path::SlowPath for SlowPath {
    fn ready(&self, wait: &Wait) -> Option<Ready> {
        let [playing] = &self.playing[..] else {
            return None;
        };
        let alone = self.publishing.is_empty() && self.pending.is_none() && self.check.is_none();
        if !wait.source || wait.read.is_none() || wait.write || !alone || self.capturing.is_some() {
            return None;
        }
        let (form, place) = playing.fast_path_place(&self.session)?;
        Some(Ready { stream: playing.stream_number(), form, place, takes: playing.takes() })
    }

    fn batch(&self, form: Form, place: &Place, most: usize) -> Option<source::Batch> {
        self.playing.first()?.batch(form, place, most)
    }

    fn pass_to(&mut self, place: Place) {
        if let Some(playing) = self.playing.first_mut() {
            playing.pass_to(place);
        }
    }

    fn pass_late(&mut self, stream: u64, from: &Place, place: Place) {
        let mut players = self.playing.iter_mut().filter(|playing| playing.stream_number() == stream);
        if !players.any(|playing| playing.pass_late(from, place)) {
            // The player ended during the write, and what was on its way counted as unsent.
            self.past.unsent.remove(from.gap_to(&place));
        }
    }

    fn outbound(&mut self) -> &mut Outbound {
        self.session.outbound()
    }

    fn stats(&mut self) -> &mut ConnStats {
        &mut self.stats
    }

    fn wrote_at(&mut self, time: Instant) {
        self.session.tell_time(time.max(self.session.now()));
    }

    fn has_large_queue(&self) -> bool {
        self.has_large_queue()
    }
}
