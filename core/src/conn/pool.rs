use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that each connection may hold beside all others: ordinary pictures are smaller.
pub(super) const FREE: usize = 256 << 10;

/// Memory for what has come of messages that are not whole yet, and of requests that wait, all connections of a server
/// together.
#[derive(Debug)]
pub(super) struct Pool {
    limit: AtomicUsize,
    held: AtomicUsize,
    /// Connections that hold any of it.
    holders: AtomicUsize,
}

/// What one connection holds of it. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Portion {
    pool: Arc<Pool>,
    held: usize,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Self {
        Pool { limit: AtomicUsize::new(limit), held: AtomicUsize::new(0), holders: AtomicUsize::new(0) }
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes held by all connections.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Portion {
    /// Nothing yet.
    pub(super) fn of(pool: &Arc<Pool>) -> Self {
        Portion { pool: pool.clone(), held: 0 }
    }

    /// The connection has so many unfinished bytes now. False if all connections together have too many, and this one
    /// more than an equal part of what there may be.
    #[must_use]
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let held = bytes.saturating_sub(FREE);
        if held == 0 && self.held == 0 {
            return true;
        }
        let pool = &*self.pool;
        if held >= self.held {
            pool.held.fetch_add(held - self.held, Ordering::Relaxed);
        } else {
            pool.held.fetch_sub(self.held - held, Ordering::Relaxed);
        }
        match (self.held, held) {
            (0, _) => _ = pool.holders.fetch_add(1, Ordering::Relaxed),
            (_, 0) => _ = pool.holders.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
        self.held = held;
        let limit = pool.limit.load(Ordering::Relaxed);
        let holders = pool.holders.load(Ordering::Relaxed).max(1);
        pool.held() <= limit || held <= limit / holders
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let _ = self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ones_that_hold_most_are_told_first() {
        let pool = Arc::new(Pool::new(8 << 20));
        let mut portions: Vec<Portion> = (0..4).map(|_| Portion::of(&pool)).collect();
        let mut honest = Portion::of(&pool);
        for portion in &mut portions {
            assert!(portion.hold((2 << 20) + FREE), "just what there is");
        }
        assert!(honest.hold((1 << 20) + FREE), "others have more than it");
        assert!(!portions[0].hold((2 << 20) + FREE), "less than so much is left for each now");
        drop(portions);
        assert!(honest.hold((7 << 20) + FREE), "it is alone");
        assert_eq!(pool.held(), 7 << 20);
        drop(honest);
        assert_eq!((pool.held(), pool.holders.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn small_messages_are_nobodys_business() {
        let pool = Arc::new(Pool::new(0));
        let mut portion = Portion::of(&pool);
        assert!(portion.hold(FREE) && !portion.hold(FREE + 1) && portion.hold(FREE));
    }
}
