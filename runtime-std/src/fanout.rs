use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_core::hub::StreamId;

use crate::connection::Connection;

/// The players of every stream that has some.
///
/// A list is copied only if it changes while somebody goes through it, so that waking holds no lock on the map.
#[derive(Debug, Default)]
pub(crate) struct FanOuts {
    streams: Mutex<HashMap<StreamId, Arc<Vec<Arc<Connection>>>>>,
}

impl FanOuts {
    /// Adds a player to a stream; one that is there already is not added again.
    pub(crate) fn join(&self, stream: StreamId, connection: &Arc<Connection>) {
        let mut streams = self.streams();
        let players = streams.entry(stream).or_default();
        if position(players, connection).is_none() {
            Arc::make_mut(players).push(connection.clone());
        }
    }

    /// Removes a player from a stream.
    pub(crate) fn leave(&self, stream: StreamId, connection: &Arc<Connection>) {
        let mut streams = self.streams();
        let Some(players) = streams.get_mut(&stream) else {
            return;
        };
        if let Some(index) = position(players, connection) {
            Arc::make_mut(players).swap_remove(index);
        }
        if players.is_empty() {
            streams.remove(&stream);
        }
    }

    /// Wakes the writers of all players of a stream.
    pub(crate) fn wake(&self, stream: StreamId) {
        let players = self.streams().get(&stream).cloned();
        for player in players.iter().flat_map(|players| players.iter()) {
            player.wake();
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Vec<Arc<Connection>>>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn position(players: &[Arc<Connection>], connection: &Arc<Connection>) -> Option<usize> {
    players.iter().position(|player| Arc::ptr_eq(player, connection))
}
