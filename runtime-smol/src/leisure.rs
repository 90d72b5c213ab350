use std::time::{Duration, Instant};

use anabranch_core::conn::PACED_READ;
use anabranch_core::session::Wait;

use crate::reactor::BEAT;
use crate::transport::{Taken, Transport};
use crate::worker::Local;

/// So long before something is to be done a connection is read that is read at leisure.
const EARLY: Duration = Duration::from_millis(2);

/// Whether a connection is read whenever there is something, or at leisure.
#[derive(Debug, Default)]
pub(crate) struct Leisure {
    /// When it is read again, if at leisure: events of the socket do not matter until then.
    next_read: Option<Instant>,
}

impl Leisure {
    /// True while it is read at leisure.
    pub(crate) fn is_on(&self) -> bool {
        self.next_read.is_some()
    }

    /// True if it is to be read now.
    pub(crate) fn may_read(&self, local: &Local, slot: usize) -> bool {
        match self.next_read {
            Some(next) => next <= Instant::now(),
            None => local.reactor().is_readable(slot),
        }
    }

    /// Reads at leisure where the core says that nobody waits for it, as long as reading finds something, and not so
    /// much that the system's buffers would not hold what comes meanwhile.
    pub(crate) fn choose(&mut self, local: &Local, slot: usize, transport: &Transport, taken: Taken, pace: Duration) {
        let little = matches!(taken, Taken::Some(1..PACED_READ));
        let mut reactor = local.reactor();
        let at_leisure = match (little && !pace.is_zero(), self.is_on()) {
            (true, false) => reactor.rest(slot, transport.socket()),
            (false, true) => !reactor.attend(slot, transport.socket()),
            (wanted, _) => wanted,
        };
        self.next_read = at_leisure.then(|| reactor.beat(Instant::now() + pace.max(BEAT)));
    }

    /// When to read next if at leisure. Just before something is to be done, too: the peer's system then sends what it
    /// held back until it heard that what it sent was read (Nagle's algorithm), and that may go along.
    pub(crate) fn next_read(&mut self, wait: &Wait) -> Option<Instant> {
        let before = wait.deadline.and_then(|deadline| deadline.checked_sub(EARLY));
        let next = self.next_read.as_mut()?;
        if let Some(before) = before.filter(|before| before < next && Instant::now() < *before) {
            *next = before;
        }
        wait.read.then_some(*next)
    }
}
