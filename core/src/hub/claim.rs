use std::sync::Arc;

use super::{Busy, Holder, Hub, Publisher, Stream};
use crate::url::StreamKey;

/// The right to publish a name, before publication begins. Dropping it gives the name back.
#[derive(Debug)]
pub struct Claim {
    hub: Hub,
    stream: Arc<Stream>,
    claim: u64,
    credentials: Box<str>,
    /// False once it has become a publication.
    pending: bool,
}

impl Claim {
    pub(super) fn new(hub: Hub, stream: Arc<Stream>, claim: u64, credentials: Box<str>) -> Self {
        Claim { hub, stream, claim, credentials, pending: true }
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        &self.stream.key
    }

    /// True if somebody else publishes the name until this claim begins.
    pub fn takes_over(&self) -> bool {
        let registry = self.hub.registry();
        let holder = registry.streams.get(&self.stream.key).and_then(|entry| entry.holder.as_ref());
        holder.is_some_and(|holder| holder.claim != self.claim)
    }

    /// Begins to publish. Whoever published until now is superseded from this moment on.
    ///
    /// # Errors
    /// The claim was to take over from somebody who is gone, and a third with other credentials came in between.
    pub fn begin(mut self) -> Result<Publisher, Busy> {
        // Both locks at once, this one first: of two that begin at the same time, the one that has the name in the end
        // is also the one that the source listens to.
        let mut registry = self.hub.registry();
        let entry = registry.entry(&self.stream.key, &self.hub.config);
        let may = match &entry.holder {
            Some(holder) => holder.claim == self.claim || holder.accepts(&self.credentials),
            None => true,
        };
        if !may {
            return Err(Busy);
        }
        entry.holder = Some(Holder { claim: self.claim, credentials: self.credentials.clone() });
        // The stream may have been forgotten and made anew while the claim waited.
        self.stream = entry.stream.clone();
        let (timeline, epoch) = self.stream.begin();
        drop(registry);
        self.pending = false;
        Ok(Publisher::new(self.hub.clone(), self.stream.clone(), self.claim, timeline, epoch))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.pending {
            self.hub.give_up(&self.stream.key, self.claim);
        }
    }
}
