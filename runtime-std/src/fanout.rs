use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anabranch_core::conn::Batches;
use anabranch_core::hub::{Hub, StreamId};
use anabranch_core::pacing::{StreamPace, ThreadLoad};

use crate::connection::Connection;

/// The connections subscribed to each stream.
///
/// A list is copied only if it changes while another thread iterates over it, so that waking holds no lock on the map.
#[derive(Debug, Default)]
pub(crate) struct FanOuts {
    streams: Mutex<HashMap<StreamId, FanOut>>,
}

/// The connections of one stream.
#[derive(Debug, Clone)]
struct FanOut {
    members: Arc<Vec<Arc<Connection>>>,
    /// What the sweeps take. The thread of the stream's publisher writes to all of them, and does little else.
    load: Option<Arc<Load>>,
}

#[derive(Debug)]
struct Load {
    pace: Arc<StreamPace>,
    of_thread: Mutex<ThreadLoad>,
}

impl FanOuts {
    /// Adds a connection to a stream.
    pub(crate) fn join(&self, hub: &Hub, stream: StreamId, connection: &Arc<Connection>) {
        let mut streams = self.streams();
        let fanout = streams.entry(stream).or_insert_with(|| {
            // `None` if the stream is gone already.
            let load = hub.pace(stream).map(|pace| {
                let mut of_thread = hub.unlisted_thread_load(Instant::now());
                of_thread.join(pace.clone());
                Arc::new(Load { pace, of_thread: Mutex::new(of_thread) })
            });
            FanOut { members: Arc::default(), load }
        });
        Arc::make_mut(&mut fanout.members).push(connection.clone());
    }

    /// Removes a connection from a stream.
    pub(crate) fn leave(&self, stream: StreamId, connection: &Arc<Connection>) {
        let mut streams = self.streams();
        let Some(FanOut { members, .. }) = streams.get_mut(&stream) else {
            return;
        };
        if let Some(index) = members.iter().position(|member| Arc::ptr_eq(member, connection)) {
            Arc::make_mut(members).swap_remove(index);
        }
        if members.is_empty() {
            streams.remove(&stream);
        }
    }

    /// Removes a connection from all streams it is subscribed to.
    pub(crate) fn forget(&self, connection: &Arc<Connection>) {
        self.streams().retain(|_, FanOut { members, .. }| {
            if members.iter().any(|member| Arc::ptr_eq(member, connection)) {
                Arc::make_mut(members).retain(|member| !Arc::ptr_eq(member, connection));
            }
            !members.is_empty()
        });
    }

    /// Has all connections of a stream written to, or their writers woken. Does not wait for any of them.
    pub(crate) fn wake(&self, stream: StreamId) {
        let Some(FanOut { members, load }) = self.streams().get(&stream).cloned() else {
            return;
        };
        let (mut batches, began) = (Batches::default(), Instant::now());
        for member in members.iter() {
            if catch_unwind(AssertUnwindSafe(|| member.sweep(began, &mut batches))).is_err() {
                member.break_off();
            }
        }
        if let Some(load) = load {
            let now = Instant::now();
            let mut of_thread = load.of_thread.lock().unwrap_or_else(PoisonError::into_inner);
            of_thread.swept(now, &load.pace, began, members.len(), now - began);
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, FanOut>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
