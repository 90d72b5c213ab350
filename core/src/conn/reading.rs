use std::time::Instant;

use super::slow_path::SlowPath;

impl SlowPath {
    /// Until when reading may wait, see [`Read::from`](crate::session::Read::from).
    pub(super) fn next_read(&mut self, now: Instant) -> Option<Instant> {
        if self.session.is_web() || self.pending.is_some() || !self.playing.is_empty() || self.session.is_closing() {
            return None;
        }
        let (received, sockets) = (self.session.received(), self.server.sockets());
        let mut next = self.publishing.first_mut()?.next_read(now, received, sockets)?;
        for publishing in &mut self.publishing[1..] {
            next = next.min(publishing.next_read(now, received, sockets)?);
        }
        // Whether the peer is silent is known only after a read.
        self.session.due().map_or(Some(next), |due| Some(next.min(due.at)).filter(|next| *next > now))
    }
}
