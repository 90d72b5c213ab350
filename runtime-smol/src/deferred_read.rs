use std::time::Instant;

use crate::reactor::Reactor;
use crate::transport::Transport;

/// Whether a connection is read whenever there is something, or at leisure.
#[derive(Debug, Default)]
pub(crate) struct DeferredRead {
    /// When it is read again, if at deferred_read: events of the socket do not matter until then.
    next_read: Option<Instant>,
}

impl DeferredRead {
    /// True if it is to be read now.
    pub(crate) fn may_read(&self, reactor: &Reactor, slot: usize) -> bool {
        match self.next_read {
            Some(next) => next <= Instant::now(),
            None => reactor.is_readable(slot),
        }
    }

    /// Reads at that time and not before, or whenever there is something.
    pub(crate) fn choose(
        &mut self,
        reactor: &mut Reactor,
        slot: usize,
        transport: &Transport,
        next_read: Option<Instant>,
    ) {
        let at_leisure = match (next_read.is_some(), self.next_read.is_some()) {
            (true, false) => reactor.rest(slot, transport.socket()),
            (false, true) => !reactor.attend(slot, transport.socket()),
            (wanted, _) => wanted,
        };
        // A socket that cannot be attended to is read at once, and gives its error.
        self.next_read = at_leisure.then(|| next_read.unwrap_or_else(Instant::now));
    }

    /// When to read next if at leisure.
    pub(crate) fn next_read(&self) -> Option<Instant> {
        self.next_read
    }
}
