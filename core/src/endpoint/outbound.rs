use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes, BytesMut};

/// Size in bytes of a piece that several short replies share.
pub(crate) const SHARED_PIECE: usize = 1024;

/// Bytes waiting to be written to the peer, in order.
///
/// Reads as a [`bytes::Buf`]: write what [`chunks_vectored`](Buf::chunks_vectored) shows, then
/// [`advance`](Buf::advance) by what was written. All players of a stream share its media; a queue holds only
/// references to it.
///
/// While bytes of the connection are being written elsewhere, as [`Lent`] or as a [`Share`](crate::conn::Share), it
/// shows nothing: what is queued in that time is written after them.
pub struct Outbound {
    /// This queue among all of the process, so that no loan is returned to another one.
    number: u64,
    queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    len: usize,
    /// Bytes of its first piece that were written. The piece stays in memory as a whole until all of it is written.
    begun: usize,
    /// Bytes of replies pushed since the queue was last empty: what the peer caused by its own requests.
    replies: usize,
    /// Bytes written in the whole life of the connection.
    written: u64,
    /// True if the last piece is a reply of this server, to which more can be appended.
    open_end: bool,
    /// What a writer holds.
    out: Out,
    /// Counts and hashes all bytes pushed, for a connection that is captured or replayed.
    tally: Option<Box<Tally>>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outbound { number: _, queue, len, begun, replies, written, open_end: _, out, tally: _ } = self;
        let mut shown = f.debug_struct("Outbound");
        shown.field("pieces", &queue.len()).field("len", len).field("begun", begun).field("replies", replies);
        shown.field("written", written).field("out", out).finish_non_exhaustive()
    }
}

/// The bytes of a connection that a writer holds until it reports how many were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Out {
    #[default]
    Nothing,
    /// The queue: its bytes, the bytes that it keeps in memory, and its bytes of replies.
    Lent { len: usize, held: usize, replies: usize },
    /// A batch that other connections get as well, and the bytes that it keeps in memory.
    Shared { held: usize },
}

/// A connection's queue on its way to the socket, from [`Outbound::lend`] to [`Outbound::restore`]. Until then no lock
/// need be held, and the connection may be fed and polled.
///
/// Core learns of progress only when it is restored. If a peer takes the bytes slowly, restore it before the
/// [`write`](crate::session::SessionTimeouts::write) timeout is over, and lend again.
///
/// A value that is dropped instead counts as a write that does not end: none of its bytes is written again, and the
/// connection is closed when its write timeout is over.
#[derive(Debug)]
#[must_use = "these bytes are to be written, then restored"]
pub struct Lent {
    queue: Outbound,
}

/// A loan was returned to a connection that it does not belong to. Nothing was changed, and the error contains the
/// loan.
#[derive(Debug, thiserror::Error)]
#[error("it belongs to another connection")]
pub struct WrongConnection<T>(pub T);

/// Numbers that are unique in the process.
pub(crate) fn unique_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// All bytes ever pushed, in order.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) total: u64,
    /// FNV-1a with 64 bits: it detects differences, but not deliberate collisions.
    pub(crate) hash: u64,
    /// The bytes themselves, if they are wanted.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("total", &self.total).field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Tally {
    pub(crate) fn new(keep_bytes: bool) -> Self {
        Tally { total: 0, hash: 0xcbf2_9ce4_8422_2325, bytes: keep_bytes.then(Vec::new) }
    }

    fn add(&mut self, pushed: &[u8]) {
        self.total += pushed.len() as u64;
        self.hash =
            pushed.iter().fold(self.hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(pushed);
        }
    }
}

impl Outbound {
    pub(crate) fn new() -> Self {
        Outbound::with_number(unique_number())
    }

    fn with_number(number: u64) -> Self {
        Outbound {
            number,
            queue: VecDeque::new(),
            len: 0,
            begun: 0,
            replies: 0,
            written: 0,
            open_end: false,
            out: Out::Nothing,
            tally: None,
        }
    }

    /// Bytes waiting, without those that are lent.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if something waits and can be written now.
    pub(crate) fn is_writable(&self) -> bool {
        self.len > 0 && !self.is_out()
    }

    /// True if nothing waits and nothing is being written elsewhere.
    pub(crate) fn is_idle(&self) -> bool {
        self.len == 0 && !self.is_out()
    }

    /// True while a writer has bytes of the connection.
    pub(crate) fn is_out(&self) -> bool {
        self.out != Out::Nothing
    }

    /// Bytes of memory that the queue keeps, with the written part of a piece that is not finished, and what a writer
    /// has.
    pub(crate) fn held(&self) -> usize {
        let out = match self.out {
            Out::Nothing => 0,
            Out::Lent { held, .. } | Out::Shared { held } => held,
        };
        self.begun + self.len + out
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of replies that may still wait, those included that were lent; 0 again when the queue is empty.
    pub(crate) fn replies(&self) -> usize {
        let lent = if let Out::Lent { replies, .. } = self.out { replies } else { 0 };
        self.replies + lent
    }

    /// Takes the queue out for writing, so that no lock needs to be held across the write. `None` if nothing waits, or
    /// a writer has bytes of the connection already. Until [`restore`](Self::restore) the connection may be fed and
    /// polled: new replies wait behind the loan, and no media is queued. The write timeout goes on, see [`Lent`].
    pub fn lend(&mut self) -> Option<Lent> {
        if !self.is_writable() {
            return None;
        }
        let stays = Outbound {
            out: Out::Lent { len: self.len, held: self.begun + self.len, replies: self.replies },
            written: self.written,
            tally: self.tally.take(),
            ..Outbound::with_number(self.number)
        };
        Some(Lent { queue: std::mem::replace(self, stays) })
    }

    /// Puts back what [`lend`](Self::lend) took, less what was written.
    ///
    /// # Errors
    /// The loan belongs to another connection: nothing is changed.
    pub fn restore(&mut self, lent: Lent) -> Result<(), WrongConnection<Lent>> {
        // A queue has one loan at a time.
        if !self.is_lent() || lent.queue.number != self.number {
            return Err(WrongConnection(lent));
        }
        self.put_before(lent.queue);
        Ok(())
    }

    /// Puts these bytes, and the record of those written before them, in front of the queue.
    fn put_before(&mut self, mut front: Outbound) {
        if !self.queue.is_empty() {
            front.open_end = self.open_end;
        }
        if front.queue.is_empty() {
            front.begun = self.begun;
        }
        front.queue.append(&mut self.queue);
        front.len += self.len;
        front.replies += self.replies;
        front.tally = self.tally.take();
        *self = front;
    }

    /// A writer begins to write a batch to the peer, before the queue. The batch keeps so many bytes of memory.
    pub(crate) fn begin_share(&mut self, held: usize) {
        self.out = Out::Shared { held };
    }

    /// The writer has reported how much of the batch was written.
    pub(crate) fn end_share(&mut self) {
        self.out = Out::Nothing;
    }

    /// Counts and hashes what is pushed from now on.
    pub(crate) fn count_pushed(&mut self, tally: Tally) {
        self.tally = Some(Box::new(tally));
    }

    /// Counts no more what is pushed.
    pub(crate) fn stop_counting(&mut self) {
        self.tally = None;
    }

    pub(crate) fn tally(&mut self) -> Option<&mut Tally> {
        self.tally.as_deref_mut()
    }

    /// True between [`lend`](Self::lend) and [`restore`](Self::restore).
    pub(crate) fn is_lent(&self) -> bool {
        matches!(self.out, Out::Lent { .. })
    }

    /// Removes bytes until `written` bytes are written in all, or the queue is empty, and sets the count of replies to
    /// `replies`: the state that a writer left.
    pub(crate) fn advance_to(&mut self, written: u64, replies: usize) {
        let count = usize::try_from(written.saturating_sub(self.written)).unwrap_or(usize::MAX);
        self.advance(count.min(self.len));
        self.replies = replies;
    }

    /// Of these pieces `count` bytes were written without the queue, before anything in it; the rest must follow at
    /// once.
    pub(crate) fn push_begun(&mut self, pieces: impl Iterator<Item = Bytes>, count: usize) {
        let mut begun = Outbound { written: self.written, ..Outbound::with_number(self.number) };
        pieces.for_each(|piece| begun.push(piece));
        begun.advance(count);
        self.put_before(begun);
    }

    /// So many bytes were written without the queue, before anything in it.
    pub(crate) fn wrote_elsewhere(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Bytes that were lent and have not come back.
    pub(crate) fn lent_len(&self) -> usize {
        if let Out::Lent { len, .. } = self.out { len } else { 0 }
    }

    /// Drops all that waits.
    pub(crate) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.open_end = false;
        self.len = 0;
        self.begun = 0;
        self.replies = 0;
    }

    /// Short replies share a piece: if a peer asks for thousands of them and reads none, the queue holds their bytes,
    /// not a piece for each.
    pub(crate) fn push_reply(&mut self, bytes: Vec<u8>) {
        self.replies += bytes.len();
        let Some(mut piece) = self.take_open_end(bytes.len()) else {
            self.push(Bytes::from(bytes));
            self.open_end = true;
            return;
        };
        self.len += bytes.len();
        if let Some(tally) = &mut self.tally {
            tally.add(&bytes);
        }
        piece.extend_from_slice(&bytes);
        self.queue.push_back(piece.freeze());
    }

    /// A part of an answer to a request of the peer: nothing more of the peer's is read while too much of them waits.
    pub(crate) fn push_answer(&mut self, bytes: Bytes) {
        self.replies += bytes.len();
        self.push(bytes);
    }

    /// The last piece, if it is one of replies and has room for so much more.
    fn take_open_end(&mut self, more: usize) -> Option<BytesMut> {
        if !self.open_end || self.queue.back().is_none_or(|last| last.len() + more > SHARED_PIECE) {
            return None;
        }
        match self.queue.pop_back()?.try_into_mut() {
            Ok(piece) => Some(piece),
            Err(piece) => {
                self.queue.push_back(piece);
                None
            }
        }
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.open_end = false;
        if !bytes.is_empty() {
            self.len += bytes.len();
            if let Some(tally) = &mut self.tally {
                tally.add(&bytes);
            }
            self.queue.push_back(bytes);
        }
    }
}

impl Buf for Lent {
    fn remaining(&self) -> usize {
        self.queue.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.queue.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.queue.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.queue.advance(count);
    }
}

impl Buf for Outbound {
    fn remaining(&self) -> usize {
        if self.is_out() { 0 } else { self.len }
    }

    fn chunk(&self) -> &[u8] {
        if self.is_out() { &[] } else { self.queue.front().map_or(&[], |bytes| bytes) }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.is_out() {
            return 0;
        }
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining(), "advanced past the end of the outbound queue");
        if count == 0 {
            return;
        }
        self.len -= count;
        self.written += count as u64;
        while let Some(front) = self.queue.front_mut() {
            if count < front.len() {
                front.advance(count);
                self.begun += count;
                return;
            }
            count -= front.len();
            self.begun = 0;
            self.queue.pop_front();
        }
        self.replies = 0;
        // A quiet connection keeps no memory for its queue: thousands of connections have nothing queued most of the
        // time.
        if self.queue.capacity() > 32 {
            self.queue = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_while_the_queue_is_lent_comes_behind() {
        let mut outbound = Outbound::new();
        outbound.push(Bytes::from_static(b"abc"));
        let mut lent = outbound.lend().expect("something waits");
        outbound.push_reply(b"de".to_vec());
        assert_eq!((outbound.remaining(), outbound.chunk().len()), (0, 0), "not before what is lent");
        assert!(outbound.lend().is_none());
        lent.advance(2);
        outbound.restore(lent).expect("it is its own");
        assert_eq!((outbound.len(), outbound.written(), outbound.replies()), (3, 2, 2));
        assert_eq!(outbound.copy_to_bytes(3), "cde");
    }

    #[test]
    fn what_a_writer_has_counts_as_what_waits() {
        let mut outbound = Outbound::new();
        outbound.push_reply(vec![1; 2000]);
        let lent = outbound.lend().expect("something waits");
        outbound.push_reply(vec![2; 30]);
        assert_eq!((outbound.replies(), outbound.held(), outbound.len() + outbound.lent_len()), (2030, 2030, 2030));
        outbound.restore(lent).expect("it is its own");
        assert_eq!((outbound.replies(), outbound.held(), outbound.len()), (2030, 2030, 2030));
        outbound.advance(2030);
        outbound.begin_share(500);
        assert_eq!((outbound.replies(), outbound.held()), (0, 500));
        outbound.end_share();
        assert_eq!(outbound.held(), 0);
    }

    #[test]
    fn short_replies_share_a_piece_and_media_is_left_alone() {
        let mut outbound = Outbound::new();
        let media = Bytes::from(b"media".to_vec());
        for _ in 0..100 {
            outbound.push_reply(b"reply".to_vec());
        }
        outbound.push(media.clone());
        outbound.push_reply(b"after".to_vec());
        outbound.advance(3);
        outbound.push_reply(b" it".to_vec());
        assert_eq!(outbound.queue.len(), 3);
        outbound.advance(100 * 5 - 3);
        assert_eq!(outbound.chunk(), media);
        assert_eq!(outbound.copy_to_bytes(13), "mediaafter it");
        outbound.push_reply(vec![1; SHARED_PIECE]);
        outbound.push_reply(vec![2; 1]);
        outbound.push_reply(vec![3; SHARED_PIECE - 1]);
        outbound.push_reply(vec![4; 1]);
        assert_eq!(outbound.queue.iter().map(Bytes::len).collect::<Vec<_>>(), [1024, 1024, 1]);
    }

    #[test]
    fn pushed_bytes_are_counted_while_the_queue_is_lent_too() {
        let mut whole = Outbound::new();
        whole.count_pushed(Tally::new(true));
        whole.push(Bytes::from_static(b"abcde"));
        let mut outbound = Outbound::new();
        outbound.count_pushed(Tally::new(true));
        outbound.push(Bytes::from_static(b"abc"));
        let mut lent = outbound.lend().expect("something waits");
        assert!(outbound.is_lent());
        outbound.push(Bytes::from_static(b"d"));
        lent.advance(1);
        outbound.restore(lent).expect("it is its own");
        assert!(!outbound.is_lent());
        outbound.clear();
        outbound.push(Bytes::from_static(b"e"));
        assert_eq!(outbound.tally(), whole.tally());
    }

    #[test]
    fn advancing_walks_over_the_pieces() {
        let mut outbound = Outbound::new();
        outbound.push(Bytes::from_static(b"abc"));
        outbound.push_reply(b"de".to_vec());
        outbound.push(Bytes::new());
        assert_eq!((outbound.len(), outbound.replies()), (5, 2));
        outbound.advance(1);
        assert_eq!((outbound.chunk(), outbound.held()), (&b"bc"[..], 5));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(outbound.chunks_vectored(&mut slices), 2);
        outbound.advance(3);
        assert_eq!((outbound.chunk(), outbound.held()), (&b"e"[..], 2));
        let mut lent = outbound.lend().expect("something waits");
        outbound.push(Bytes::from_static(b"fg"));
        assert_eq!((lent.queue.held(), outbound.held()), (2, 4));
        lent.advance(1);
        outbound.restore(lent).expect("it is its own");
        assert_eq!(outbound.held(), 2);
        outbound.advance(1);
        let lent = outbound.lend().expect("something waits");
        outbound.restore(lent).expect("it is its own");
        assert_eq!((outbound.chunk(), outbound.held()), (&b"g"[..], 2));
        outbound.advance(1);
        assert!(outbound.is_empty() && outbound.chunk().is_empty());
        assert_eq!((outbound.written(), outbound.replies(), outbound.held()), (7, 0, 0));
    }
    #[test]
    fn what_is_lent_comes_back_to_its_own_queue_only_and_once() {
        let [mut one, mut other] = [(); 2].map(|()| {
            let mut outbound = Outbound::new();
            outbound.push(Bytes::from_static(b"abc"));
            outbound
        });
        let mut lent = one.lend().expect("something waits");
        let others = other.lend().expect("something waits");
        lent.advance(2);
        let WrongConnection(lent) = other.restore(lent).expect_err("it is of the other one");
        assert!(other.is_out() && other.is_empty());
        one.restore(lent).expect("it is its own");
        assert_eq!((one.written(), one.copy_to_bytes(1)), (2, Bytes::from_static(b"c")));
        one.push(Bytes::from_static(b"defg"));
        let again = one.lend().expect("something waits");
        one.restore(again).expect("it is its own again");
        one.advance(4);
        drop(others);
        assert_eq!((other.remaining(), other.is_idle(), other.lent_len()), (0, false, 3));
    }
}
