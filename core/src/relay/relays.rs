use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use thiserror::Error;

use super::{AttemptId, Failure, Order, RelayId, RelaySnapshot, TargetSource, TemplateError, Uplink};
use crate::hub::Hub;
use crate::url::StreamKey;

/// All relays of a server. Cheap to clone. Its methods lock inside and hold no lock when they return; they call nothing
/// back but the waker.
#[derive(Clone)]
pub struct Relays {
    shared: Arc<Shared>,
}

struct Shared {
    hub: Hub,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waker: Option<Waker>,
}

/// Why a target was not added.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotAdded {
    /// The URL is not one that a stream can be published at.
    #[error("{0}")]
    Url(#[from] TemplateError),
    /// The stream is pushed there already.
    #[error("the stream has this target already")]
    Duplicate,
    /// As many targets as there may be were added by the API.
    #[error("there are {limit} targets already")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The server ends.
    #[error("the server ends")]
    Closed,
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relays").field("hub", &self.shared.hub).finish_non_exhaustive()
    }
}

impl Relays {
    pub(crate) fn new(hub: Hub) -> Self {
        Relays { shared: Arc::new(Shared { hub, state: Mutex::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called when [`poll`](Self::poll) has something to do before the time that it named. It is called without any lock,
    /// from the threads that use the server's hub, connections and uplinks.
    pub fn set_waker(&self, waker: Waker) {
        self.state().waker = Some(waker);
    }

    /// What to do next. Call it until it returns `Wait`; then when that time has come, when the waker was called, and
    /// after each answer to an order.
    pub fn poll(&self, _now: Instant) -> Order {
        Order::Wait(None)
    }

    /// The addresses of a host, in the order of the system. An empty list counts as a failure.
    pub fn resolved(&self, _now: Instant, _attempt: AttemptId, _addresses: Vec<SocketAddr>) {}

    /// There is a connection to this address, and TLS is agreed on if the order wanted it. Returns the uplink to serve on
    /// it; `None` if it is not wanted any more: close the socket then.
    pub fn connected(&self, _now: Instant, _attempt: AttemptId, _peer: SocketAddr) -> Option<Uplink> {
        None
    }

    /// There are no addresses, or there is no connection.
    pub fn failed(&self, _now: Instant, _attempt: AttemptId, _failure: Failure) {}

    /// All relays, in the order in which they began.
    pub fn list(&self, _now: Instant) -> Vec<RelaySnapshot> {
        Vec::new()
    }

    /// Adds a target for a stream, published or not. It stays until it is removed or the server ends, also when the stream
    /// is published again.
    ///
    /// # Errors
    /// The URL is not valid, the stream has the target already, or there are too many.
    pub fn add_forward(&self, _now: Instant, _key: &StreamKey, _url: &str) -> Result<RelayId, NotAdded> {
        Err(NotAdded::Closed)
    }

    /// Ends a push and removes its target. A target of the configuration comes back with the next publication. Returns
    /// false if there is no such push.
    pub fn remove_forward(&self, _now: Instant, _id: RelayId) -> bool {
        false
    }

    /// Adds targets for the present publication of a stream: the answer of a hook. They replace those of an earlier call
    /// for the same stream; pushes to targets that are in both lists go on. Returns what is wrong with URLs that are left
    /// out.
    pub fn forward_to(&self, _now: Instant, _key: &StreamKey, _urls: &[String]) -> Vec<NotAdded> {
        let _source = TargetSource::Hook;
        Vec::new()
    }

    /// Ends all relays in good order, and begins no more. Uplinks say their goodbye and close; poll them until then.
    pub fn close(&self, _now: Instant) {}

    /// True once all relays are over after [`close`](Self::close).
    pub fn is_over(&self) -> bool {
        true
    }
}
