use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anabranch_core::conn::Batches;
use anabranch_core::hub::StreamId;

use crate::connection::Connection;

/// The connections subscribed to each stream.
///
/// A list is copied only if it changes while another thread iterates over it, so that waking holds no lock on the map.
#[derive(Debug, Default)]
pub(crate) struct FanOuts {
    streams: Mutex<HashMap<StreamId, Arc<Vec<Arc<Connection>>>>>,
}

impl FanOuts {
    /// Adds a connection to a stream.
    pub(crate) fn join(&self, stream: StreamId, connection: &Arc<Connection>) {
        let mut streams = self.streams();
        Arc::make_mut(streams.entry(stream).or_default()).push(connection.clone());
    }

    /// Removes a connection from a stream.
    pub(crate) fn leave(&self, stream: StreamId, connection: &Arc<Connection>) {
        let mut streams = self.streams();
        let Some(members) = streams.get_mut(&stream) else {
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
        self.streams().retain(|_, members| {
            if members.iter().any(|member| Arc::ptr_eq(member, connection)) {
                Arc::make_mut(members).retain(|member| !Arc::ptr_eq(member, connection));
            }
            !members.is_empty()
        });
    }

    /// Has all connections of a stream written to, or their writers woken. Does not wait for any of them.
    pub(crate) fn wake(&self, stream: StreamId) {
        let members = self.streams().get(&stream).cloned();
        let (mut batches, now) = (Batches::default(), Instant::now());
        for member in members.iter().flat_map(|members| members.iter()) {
            if catch_unwind(AssertUnwindSafe(|| member.sweep(now, &mut batches))).is_err() {
                member.break_off();
            }
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Vec<Arc<Connection>>>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
