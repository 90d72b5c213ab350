use std::collections::BTreeMap;

use anabranch_core::chunk::MAX_HEADER;

use super::{Sim, Slot};

/// What a client can make the server queue with one last request, beyond the bound on replies: the answers to it.
const LAST_ANSWER: usize = 4096;

impl Sim {
    /// Checks what must hold at every moment. Every step ends with it, so that a test need not.
    ///
    /// - No log is over its limit, but by a single message that is larger.
    /// - A stream is listed exactly while a connection publishes or plays it, with the right number of players; never
    ///   has it two publishers.
    /// - No connection has more bytes queued than the high-water mark, one message and the bound on replies.
    /// - Every client could read all it got, and every player got what was sent: see [`Screen`](super::Screen).
    ///
    /// Beyond that every step checks that actions are paired and that a connection that is over stays silent, and time
    /// must pass.
    ///
    /// # Panics
    /// If any of it does not hold, with the seed and the time.
    pub fn check(&mut self) {
        self.check_streams();
        self.check_clients();
    }

    fn check_streams(&mut self) {
        let mut attached = BTreeMap::new();
        for slot in &self.slots {
            for stream in &slot.publishes {
                attached.entry(*stream).or_insert((0, 0)).0 += 1;
            }
            for stream in &slot.plays {
                attached.entry(*stream).or_insert((0, 0)).1 += 1;
            }
        }
        let limit = self.server.config().defaults.source.bytes.max(self.largest_message());
        for stream in self.server.hub().streams() {
            let listed = (usize::from(stream.published), stream.players);
            let known = attached.remove(&stream.id);
            if known != Some(listed) {
                let key = stream.key;
                self.fail(&format!("{key} is listed with {listed:?} publishers and players, attached are {known:?}"));
            }
            if stream.log_bytes > limit {
                self.fail(&format!("{} bytes in the log of {}", stream.log_bytes, stream.key));
            }
        }
        if !attached.is_empty() {
            self.fail(&format!("attached to streams that are not listed: {attached:?}"));
        }
    }

    fn check_clients(&self) {
        for (index, Slot { client, .. }) in self.slots.iter().enumerate() {
            if let Some(fault) = client.fault() {
                self.fail(&format!("client {index}: {fault}"));
            }
        }
    }

    pub(super) fn note_outbound(&mut self, index: usize) {
        let config = self.server.config();
        let bound =
            config.defaults.high_water + self.largest_message() + config.defaults.session.limits.replies + LAST_ANSWER;
        let slot = &mut self.slots[index];
        slot.outbound = slot.conn.as_mut().map_or(0, |conn| conn.outbound().len());
        slot.most_outbound = slot.most_outbound.max(slot.outbound);
        if slot.outbound > bound {
            let outbound = slot.outbound;
            self.fail(&format!("{outbound} bytes queued for client {index}, over {bound}"));
        }
    }

    /// The largest message any encoder sent, as it goes to players.
    fn largest_message(&self) -> usize {
        let body = self.archive.largest();
        let chunks = body / self.server.config().defaults.session.chunk_size as usize + 1;
        body + MAX_HEADER + chunks * 5
    }
}
