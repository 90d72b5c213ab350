//! What the program learns of publications: when one begins, and when it has ended.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use anabranch_core::hub::StreamId;
use anabranch_core::url::StreamKey;

/// A publication that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishStart {
    /// The stream's name.
    pub key: StreamKey,
    /// The client that publishes; `None` if the program itself does, or if the stream is pulled.
    pub client: Option<PublishingClient>,
    /// The stream; [`Handle::on_unpublish`](crate::Handle::on_unpublish) gets the same.
    pub stream: StreamId,
    /// True if the stream is pulled from another server. It may be told again while the publication goes on, after the
    /// connection to an origin was lost.
    pub is_pulled: bool,
}

impl PublishStart {
    /// A publication of the program itself.
    pub(crate) fn local(key: &StreamKey, stream: StreamId) -> Self {
        PublishStart { key: key.clone(), client: None, stream, is_pulled: false }
    }

    /// A stream that is pulled from another server.
    pub(crate) fn pulled(key: &StreamKey, stream: StreamId) -> Self {
        PublishStart { key: key.clone(), client: None, stream, is_pulled: true }
    }
}

/// The client of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishingClient {
    /// The number of its connection.
    pub connection: u64,
    /// Its address, as far as it is known.
    pub address: Option<SocketAddr>,
    /// The parameters of all URLs involved, with a leading `?`, or empty. They may contain secrets.
    pub params: String,
    /// True if a [pass](anabranch_core::policy::Passes) permits it: it is a program that this program started.
    pub by_pass: bool,
    /// True if it is a relay of another server.
    pub relays: bool,
}

pub(crate) type OnPublish = Box<dyn Fn(&PublishStart) + Send + Sync>;
pub(crate) type OnUnpublish = Box<dyn Fn(StreamId) + Send + Sync>;

/// The callbacks for publications that begin and end, and what they were told.
#[derive(Default)]
pub(crate) struct Publications {
    begin: RwLock<Vec<OnPublish>>,
    end: RwLock<Vec<OnUnpublish>>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// The streams that have begun and not ended.
    live: HashSet<StreamId>,
    /// The publishers of connections, on air or not. One that stands by may begin a publication much later.
    clients: HashMap<(u64, StreamId), PublishStart>,
}

impl Publications {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A publication begins. Nothing is pushed before this returns, unless a publisher that stood by begins it.
    pub(crate) fn begins(&self, start: &PublishStart) {
        self.told().live.insert(start.stream);
        let begin = self.begin.read().unwrap_or_else(PoisonError::into_inner);
        begin.iter().for_each(|begins| begins(start));
    }

    /// A publication has ended.
    pub(crate) fn ends(&self, stream: StreamId) {
        self.told().live.remove(&stream);
        let end = self.end.read().unwrap_or_else(PoisonError::into_inner);
        end.iter().for_each(|ends| ends(stream));
    }

    /// A connection has become a publisher, which may have to stand by.
    pub(crate) fn attached(&self, connection: u64, start: PublishStart) {
        self.told().clients.insert((connection, start.stream), start);
    }

    /// The connection publishes the stream no longer.
    pub(crate) fn detached(&self, connection: u64, stream: StreamId) {
        self.told().clients.remove(&(connection, stream));
    }

    /// The connection is gone without having said what it published. Returns its publishers, and of each whether its
    /// publication has not ended.
    pub(crate) fn abandoned(&self, connection: u64) -> Vec<(PublishStart, bool)> {
        let mut told = self.told();
        let gone: Vec<_> = told.clients.extract_if(|(of, _), _| *of == connection).map(|(_, start)| start).collect();
        gone.into_iter().map(|start| (start.clone(), told.live.contains(&start.stream))).collect()
    }

    /// The publisher of this connection is on air. Returns the publication that it begins with that, if the one before it
    /// had ended, or was none of this server.
    pub(crate) fn on_air(&self, connection: u64, key: &StreamKey) -> Option<PublishStart> {
        let told = self.told();
        let mut own = told.clients.iter().filter(|((of, _), start)| *of == connection && start.key == *key);
        let (_, start) = own.next()?;
        (!told.live.contains(&start.stream)).then(|| start.clone())
    }

    /// Adds a callback for publications that begin.
    pub(crate) fn on_begin(&self, begins: OnPublish) {
        self.begin.write().unwrap_or_else(PoisonError::into_inner).push(begins);
    }

    /// Adds a callback for publications that have ended.
    pub(crate) fn on_end(&self, ends: OnUnpublish) {
        self.end.write().unwrap_or_else(PoisonError::into_inner).push(ends);
    }
}

impl fmt::Debug for Publications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publications").finish_non_exhaustive()
    }
}
