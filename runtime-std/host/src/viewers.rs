use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anabranch_core::hub::StreamId;

use crate::viewer::Viewer;

/// The viewers of a keeper, by the numbers of their sessions.
#[derive(Default)]
pub(crate) struct Viewers {
    all: Mutex<HashMap<u64, Arc<Viewer>>>,
    /// When they are to be looked at.
    dues: Mutex<BTreeSet<(Instant, u64)>>,
    /// Those that are to know what becomes of a stream.
    audience: Mutex<BTreeSet<(StreamId, u64)>>,
}

impl fmt::Debug for Viewers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewers").field("all", &self.all().len()).finish_non_exhaustive()
    }
}

impl Viewers {
    pub(crate) fn insert(&self, session: u64, viewer: Arc<Viewer>) {
        self.all().insert(session, viewer);
    }

    pub(crate) fn remove(&self, session: u64) {
        self.all().remove(&session);
    }

    pub(crate) fn get(&self, session: u64) -> Option<Arc<Viewer>> {
        self.all().get(&session).cloned()
    }

    /// All of them.
    #[cfg(feature = "webrtc")]
    pub(crate) fn list(&self) -> Vec<(u64, Arc<Viewer>)> {
        self.all().iter().map(|(session, viewer)| (*session, viewer.clone())).collect()
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    pub(crate) fn look_at(&self, session: u64, due: Instant) {
        self.dues().insert((due, session));
    }

    pub(crate) fn awaits(&self, session: u64, stream: StreamId) {
        self.audience().insert((stream, session));
    }

    pub(crate) fn forgets(&self, session: u64, stream: StreamId) {
        self.audience().remove(&(stream, session));
    }

    /// When the next one is to be looked at.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.dues().first().map(|(due, _)| *due)
    }

    /// Looks at those that are due.
    pub(crate) fn look(&self, now: Instant) {
        let due = {
            let mut dues = self.dues();
            let later = dues.split_off(&(now, u64::MAX));
            std::mem::replace(&mut *dues, later)
        };
        for viewer in due.into_iter().filter_map(|(_, session)| self.get(session)) {
            viewer.look(now);
        }
    }

    /// Those that are to know what becomes of a stream.
    pub(crate) fn waiting_for(&self, stream: StreamId) -> Vec<Arc<Viewer>> {
        let sessions: Vec<_> =
            self.audience().range((stream, 0)..=(stream, u64::MAX)).map(|(_, session)| *session).collect();
        sessions.into_iter().filter_map(|session| self.get(session)).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Viewer>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dues(&self) -> MutexGuard<'_, BTreeSet<(Instant, u64)>> {
        self.dues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn audience(&self) -> MutexGuard<'_, BTreeSet<(StreamId, u64)>> {
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
