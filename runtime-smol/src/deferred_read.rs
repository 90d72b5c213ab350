use std::time::Instant;

use crate::reactor::Reactor;
use crate::transport::Transport;

/// Whether a connection is read when input arrives, or at a time that the core gave.
#[derive(Debug, Default)]
pub(crate) struct DeferredRead {
    /// The time of the next read; until then events of the socket are ignored.
    next_read: Option<Instant>,
}

impl DeferredRead {
    /// True if the connection is to be read now.
    pub(crate) fn may_read(&self, reactor: &Reactor, slot: usize) -> bool {
        match self.next_read {
            Some(next) => next <= Instant::now(),
            None => reactor.is_readable(slot),
        }
    }

    /// Defers reading until `next_read`; with `None`, the connection is read when input arrives.
    pub(crate) fn choose(
        &mut self,
        reactor: &mut Reactor,
        slot: usize,
        transport: &Transport,
        next_read: Option<Instant>,
    ) {
        let is_deferred = match (next_read.is_some(), self.next_read.is_some()) {
            (true, false) => reactor.ignore_input(slot, transport.socket()),
            (false, true) => !reactor.watch_input(slot, transport.socket()),
            (wanted, _) => wanted,
        };
        // A socket that cannot be watched is read at once, and returns its error.
        self.next_read = is_deferred.then(|| next_read.unwrap_or_else(Instant::now));
    }

    /// When to read next, if reading is deferred.
    pub(crate) fn next_read(&self) -> Option<Instant> {
        self.next_read
    }
}
