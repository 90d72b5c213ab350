use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::slow_path::SlowPath;

/// Counts a connection by HTTP while it plays no live stream.
#[derive(Debug)]
pub(super) struct Asking(Arc<AtomicUsize>);

impl Asking {
    fn counted_by(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Asking(count.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SlowPath {
    /// Counts this connection as what it is now.
    pub(super) fn count_asking(&mut self) {
        let asks = self.session.asks_by_web();
        if asks != self.asking.is_some() {
            self.asking = asks.then(|| Asking::counted_by(self.server.asking()));
        }
    }
}
