use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of short replies in one piece.
pub(crate) const SHARED_PIECE: usize = 1024;

/// Bytes waiting to be written to the peer, in order.
///
/// Reads as a [`bytes::Buf`]: write what [`chunks_vectored`](Buf::chunks_vectored) shows, then
/// [`advance`](Buf::advance) by what was taken. Media in here is shared with every other player of the stream; only
/// the references are this connection's own.
#[derive(Debug, Default)]
pub struct Outbound {
    queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    len: usize,
    /// Bytes of its first piece that were taken out. The piece is there as a whole until it is gone.
    begun: usize,
    /// Bytes of replies pushed since the queue was last empty: what the peer made us queue by its own requests.
    replies: usize,
    /// Bytes taken out over the whole life of the connection.
    written: u64,
    /// True if the last piece is a reply of ours that more can be put behind.
    open_end: bool,
    /// True while another has what waited, see [`lend`](Self::lend).
    lent: bool,
    /// What was ever pushed, for a connection that is captured or replayed.
    tally: Option<Box<Tally>>,
}

/// All bytes ever pushed, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) total: u64,
    /// FNV-1a with 64 bits: tells a difference from none, and guards against nobody.
    pub(crate) hash: u64,
    /// The bytes themselves, where they are wanted.
    pub(crate) bytes: Option<Vec<u8>>,
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
    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that those waiting keep, with what was taken out of a piece that is begun.
    pub(crate) fn held(&self) -> usize {
        self.begun + self.len
    }

    /// Bytes taken out so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of replies that may still be waiting; falls back to 0 when the queue is empty.
    pub(crate) fn replies(&self) -> usize {
        self.replies
    }

    /// Takes the queue out for writing, so that no lock needs to be held across the write. What is pushed meanwhile
    /// waits behind; [`restore`](Self::restore) must follow before the connection is polled again.
    #[must_use = "these bytes are to be written, then restored"]
    pub fn lend(&mut self) -> Outbound {
        let stays = Outbound { lent: true, tally: self.tally.take(), ..Outbound::default() };
        std::mem::replace(self, stays)
    }

    /// Puts back what [`lend`](Self::lend) took, less what was written.
    pub fn restore(&mut self, mut lent: Outbound) {
        if !self.queue.is_empty() {
            lent.open_end = self.open_end;
        }
        if lent.queue.is_empty() {
            lent.begun = self.begun;
        }
        lent.queue.append(&mut self.queue);
        lent.len += self.len;
        lent.replies += self.replies;
        lent.tally = self.tally.take();
        *self = lent;
    }

    /// Counts and hashes what is pushed from now on.
    pub(crate) fn count_pushed(&mut self, tally: Tally) {
        self.tally = Some(Box::new(tally));
    }

    pub(crate) fn tally(&mut self) -> Option<&mut Tally> {
        self.tally.as_deref_mut()
    }

    /// True between [`lend`](Self::lend) and [`restore`](Self::restore).
    pub(crate) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Takes out as much as makes `written` bytes in all, as far as there is so much, and what counts as replies then
    /// is `replies`: the state that a writer left.
    pub(crate) fn advance_to(&mut self, written: u64, replies: usize) {
        let count = usize::try_from(written.saturating_sub(self.written)).unwrap_or(usize::MAX);
        self.advance(count.min(self.len));
        self.replies = replies;
    }

    /// Of these pieces `count` bytes were written past the queue, before anything in it; the rest must follow at once.
    pub(crate) fn push_begun(&mut self, pieces: impl Iterator<Item = Bytes>, count: usize) {
        let mut begun = Outbound { written: self.written, ..Outbound::default() };
        pieces.for_each(|piece| begun.push(piece));
        begun.advance(count);
        self.restore(begun);
    }

    /// So many bytes were written past the queue, before anything in it.
    pub(crate) fn wrote_elsewhere(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Gives up on all that waits.
    pub(crate) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.open_end = false;
        self.len = 0;
        self.begun = 0;
        self.replies = 0;
    }

    /// Short replies share a piece: a peer that asks for thousands of them and takes none makes us hold the bytes, and
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

    /// The last piece, if it is one of replies and so much more still fits.
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

impl Buf for Outbound {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&[], |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advanced past the end of the outbound queue");
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
        // A quiet connection keeps no queue behind: thousands of them wait most of the time.
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
        let mut outbound = Outbound::default();
        outbound.push(Bytes::from_static(b"abc"));
        let mut lent = outbound.lend();
        outbound.push_reply(b"de".to_vec());
        lent.advance(2);
        outbound.restore(lent);
        assert_eq!((outbound.len(), outbound.written(), outbound.replies()), (3, 2, 2));
        assert_eq!(outbound.copy_to_bytes(3), "cde");
    }

    #[test]
    fn short_replies_share_a_piece_and_media_is_left_alone() {
        let mut outbound = Outbound::default();
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
    fn all_that_is_pushed_is_counted_whoever_has_the_queue() {
        let mut whole = Outbound::default();
        whole.count_pushed(Tally::new(true));
        whole.push(Bytes::from_static(b"abcde"));
        let mut outbound = Outbound::default();
        outbound.count_pushed(Tally::new(true));
        outbound.push(Bytes::from_static(b"abc"));
        let mut lent = outbound.lend();
        assert!(outbound.is_lent() && !lent.is_lent());
        outbound.push(Bytes::from_static(b"d"));
        lent.advance(1);
        outbound.restore(lent);
        assert!(!outbound.is_lent());
        outbound.clear();
        outbound.push(Bytes::from_static(b"e"));
        assert_eq!(outbound.tally(), whole.tally());
    }

    #[test]
    fn advancing_walks_over_the_pieces() {
        let mut outbound = Outbound::default();
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
        let mut lent = outbound.lend();
        outbound.push(Bytes::from_static(b"fg"));
        assert_eq!((lent.held(), outbound.held()), (2, 2));
        lent.advance(1);
        outbound.restore(lent);
        assert_eq!(outbound.held(), 2);
        outbound.advance(1);
        let lent = outbound.lend();
        outbound.restore(lent);
        assert_eq!((outbound.chunk(), outbound.held()), (&b"g"[..], 2));
        outbound.advance(1);
        assert!(outbound.is_empty() && outbound.chunk().is_empty());
        assert_eq!((outbound.written(), outbound.replies(), outbound.held()), (7, 0, 0));
    }
}
