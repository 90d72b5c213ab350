use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::cluster::Spread;

use crate::host::{Host, Link};

/// Longer than any server runs.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A server that drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub since: Instant,
    /// When the server closes the connections that are left.
    pub deadline: Instant,
    /// How many connections had ended when it began ([`Totals::ended`](crate::Totals::ended)).
    pub ended_before: u64,
    /// True if the program stops the server afterwards, so that this drain cannot be undone.
    pub to_stop: bool,
}

/// The server is about to stop, so its drain cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeavesToStop;

impl fmt::Display for LeavesToStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server was told to stop, which cannot be undone: start it again when it has ended")
    }
}

impl std::error::Error for LeavesToStop {}

/// Whether a server drains. The lock is held while connections are told, so that a drain and its end do not mix.
#[derive(Debug, Default)]
pub(crate) struct Draining(Mutex<Option<Drain>>);

impl Draining {
    fn lock(&self) -> MutexGuard<'_, Option<Drain>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Link> Host<C> {
    pub(crate) fn drain(&self, time: Duration, mut to: Spread, to_stop: bool) -> Result<(), LeavesToStop> {
        let mut drain = self.drain_state().lock();
        // The program stops the server at the deadline that it gave, so no other deadline would be true.
        if !to_stop && (self.is_stopping() || drain.is_some_and(|drain| drain.to_stop)) {
            return Err(LeavesToStop);
        }
        let now = Instant::now();
        // A longer time could exceed what an Instant can hold.
        let deadline = now + time.min(LONGEST);
        let before = *drain;
        let ended_before = before.map_or_else(|| self.totals().ended(), |drain| drain.ended_before);
        *drain = Some(Drain { since: before.map_or(now, |drain| drain.since), deadline, ended_before, to_stop });
        self.core().drain();
        self.for_each(|connection| {
            connection.change_client(&mut |conn| {
                let is_sent = conn.can_reconnect();
                conn.drain(deadline, to.next_server().map(|url| &**url));
                if is_sent {
                    to.sent();
                }
            });
        });
        Ok(())
    }

    pub(crate) fn stop_draining(&self) -> Result<bool, LeavesToStop> {
        let mut drain = self.drain_state().lock();
        if self.is_stopping() || drain.is_some_and(|drain| drain.to_stop) {
            return Err(LeavesToStop);
        }
        if drain.take().is_none() {
            return Ok(false);
        }
        self.core().stop_draining();
        self.for_each(|connection| connection.change_client(&mut |conn| conn.stop_draining()));
        Ok(true)
    }

    pub(crate) fn draining(&self) -> Option<Drain> {
        *self.drain_state().lock()
    }
}
