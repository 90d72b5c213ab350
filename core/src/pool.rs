use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that each connection may hold in addition to the common limit: ordinary frames are smaller.
pub(crate) const FREE: usize = 256 << 10;

/// Memory for incomplete messages and for requests that wait, of all connections of a server together. Connections that
/// publish have one half of it, all others the other half: large messages are media, and clients that publish nothing
/// must leave room for them. A second pool is for frames that only the queues of players hold, because their streams
/// have dropped them.
#[derive(Debug)]
pub(crate) struct Pool {
    limit: AtomicUsize,
    publishers: Half,
    others: Half,
}

#[derive(Debug, Default)]
struct Half {
    held: AtomicUsize,
    /// Connections that hold any of it.
    holders: AtomicUsize,
}

/// The share of one connection. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Portion {
    pool: Arc<Pool>,
    held: usize,
    publishes: bool,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        Pool { limit: AtomicUsize::new(limit), publishers: Half::default(), others: Half::default() }
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn half(&self, publishes: bool) -> &Half {
        if publishes { &self.publishers } else { &self.others }
    }
}

impl Half {
    /// The share of a connection changes from the first size to the second.
    fn change(&self, before: usize, after: usize) {
        if after >= before {
            self.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed);
        }
        match (before, after) {
            (0, 1..) => _ = self.holders.fetch_add(1, Ordering::Relaxed),
            (1.., 0) => _ = self.holders.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
    }
}

impl Portion {
    /// Nothing yet.
    pub(crate) fn of(pool: &Arc<Pool>) -> Self {
        Portion { pool: pool.clone(), held: 0, publishes: false }
    }

    /// True if it has any of it.
    pub(crate) fn is_any(&self) -> bool {
        self.held > 0
    }

    /// The connection keeps so many bytes now, and publishes or does not. Returns false in two cases. First, all
    /// connections of its kind have more than half of their limit, and this one more than an equal part of that half.
    /// Second, they have more than their limit, with any share of this one: connections with too large a share may be
    /// silent, so that no call comes for them.
    #[must_use]
    pub(crate) fn hold(&mut self, bytes: usize, publishes: bool) -> bool {
        let held = bytes.saturating_sub(FREE);
        if held == 0 && self.held == 0 {
            return true;
        }
        if publishes != self.publishes {
            self.give_back();
            self.publishes = publishes;
        }
        let half = self.pool.half(publishes);
        half.change(self.held, held);
        self.held = held;
        let limit = self.pool.limit.load(Ordering::Relaxed) / 2;
        let holders = half.holders.load(Ordering::Relaxed).max(1);
        let all = half.held.load(Ordering::Relaxed);
        all <= limit / 2 || (all <= limit && held <= limit / 2 / holders)
    }

    fn give_back(&mut self) {
        self.pool.half(self.publishes).change(self.held, 0);
        self.held = 0;
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(pool: &Pool) -> [usize; 4] {
        [&pool.publishers, &pool.others]
            .map(|half| [half.held.load(Ordering::Relaxed), half.holders.load(Ordering::Relaxed)])
            .concat()
            .try_into()
            .expect("two of two")
    }

    #[test]
    fn the_ones_that_hold_most_are_told_first() {
        for publishes in [false, true] {
            let pool = Arc::new(Pool::new(32 << 20));
            let mut portions: Vec<Portion> = (0..4).map(|_| Portion::of(&pool)).collect();
            let mut honest = Portion::of(&pool);
            for portion in &mut portions {
                assert!(portion.hold((2 << 20) + FREE, publishes), "just what there is");
            }
            assert!(honest.hold((1 << 20) + FREE, publishes), "others have more than it");
            assert!(!portions[0].hold((2 << 20) + FREE, publishes), "less than so much is left for each now");
            drop(portions);
            assert!(honest.hold((7 << 20) + FREE, publishes), "it is alone");
            assert_eq!(left(&pool).iter().max(), Some(&(7 << 20)));
            drop(honest);
            assert_eq!(left(&pool), [0; 4]);
        }
    }

    #[test]
    fn connections_that_publish_nothing_leave_room_for_publishers() {
        let pool = Arc::new(Pool::new(32 << 20));
        let mut others: Vec<Portion> = (0..32).map(|_| Portion::of(&pool)).collect();
        for other in &mut others {
            _ = other.hold((1 << 20) + FREE, false);
        }
        let mut honest = Portion::of(&pool);
        assert!(!honest.hold((1 << 20) + FREE, false), "too many have as much");
        assert!(honest.hold((8 << 20) + FREE, true), "none of the others publishes");
        assert!(!others[0].hold((1 << 20) + FREE, false));
        drop((others, honest));
        assert_eq!(left(&pool), [0; 4]);
    }

    #[test]
    fn however_many_are_silent_there_is_an_end() {
        let pool = Arc::new(Pool::new(32 << 20));
        let mut held = Vec::new();
        for number in 1..1000 {
            let mut portion = Portion::of(&pool);
            // As much as it may have at that moment; then no more calls come for it.
            if portion.hold((8 << 20) / number + FREE, false) {
                held.push(portion);
            }
        }
        assert!((8..=16).contains(&(left(&pool)[2] >> 20)), "{:?} bytes", left(&pool));
        drop(held);
        assert_eq!(left(&pool), [0; 4]);
    }

    #[test]
    fn small_messages_are_not_counted() {
        let pool = Arc::new(Pool::new(0));
        let mut portion = Portion::of(&pool);
        assert!(portion.hold(FREE, true) && !portion.hold(FREE + 1, true) && portion.hold(FREE, true));
    }
}
