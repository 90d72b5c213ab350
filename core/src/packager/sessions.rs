use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::channel::Waiting;
use super::ids::SessionId;
use crate::http::{LivePath, Request};
use crate::url::StreamKey;

/// Requests of one session that may wait for its grant.
pub(super) const MOST_ASKING: usize = 64;
/// Sessions that the server has ended and that are remembered.
const MOST_REMOVED: usize = 4096;

/// The sessions of viewers.
#[derive(Debug)]
pub(super) struct Sessions<T> {
    all: HashMap<u64, Session<T>>,
    by_id: HashMap<SessionId, u64>,
    by_origin: HashMap<Origin, u64>,
    removed: VecDeque<SessionId>,
    last: u64,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Sessions {
            all: HashMap::new(),
            by_id: HashMap::new(),
            by_origin: HashMap::new(),
            removed: VecDeque::new(),
            last: 0,
        }
    }
}

#[derive(Debug)]
struct Session<T> {
    origin: Origin,
    id: Option<SessionId>,
    stage: Stage<T>,
    last: Instant,
}

#[derive(Debug)]
pub(super) enum Stage<T> {
    /// Its viewer is asked about; these wait for that.
    Asking(Vec<Waiting<T>>),
    /// It views this stream.
    Granted(StreamKey),
}

/// What requests without the number of a session have in common if they are of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    address: Option<IpAddr>,
    agent: Option<String>,
    page: Option<String>,
    host: Option<String>,
    app: String,
    stream: String,
    query: Option<String>,
}

impl Origin {
    pub(super) fn of(request: &Request, client: Option<SocketAddr>, path: &LivePath) -> Self {
        let field = |name| request.field(name).map(str::to_owned);
        Origin {
            address: client.map(|client| client.ip()),
            agent: field("User-Agent"),
            page: field("Referer"),
            host: field("Host"),
            app: path.app.clone(),
            stream: path.stream.clone(),
            query: request.query().map(str::to_owned),
        }
    }

    /// True if the address has parameters other than the virtual host: a token, or what a back end is to see.
    fn has_own(&self) -> bool {
        let query = self.query.as_deref().unwrap_or_default();
        query.split('&').any(|parameter| !parameter.is_empty() && !parameter.starts_with("vhost="))
    }
}

/// The query of a request for a playlist.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// What is not for the packager.
    pub(super) own: String,
    /// The number of the session.
    pub(super) session: Option<String>,
}

impl Query {
    pub(super) fn of(query: Option<&str>) -> Self {
        let mut found = Query::default();
        for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "s" => found.session = Some(value.to_owned()),
                name if name.starts_with("_HLS_") => {}
                _ => {
                    if !found.own.is_empty() {
                        found.own.push('&');
                    }
                    found.own += parameter;
                }
            }
        }
        found
    }
}

impl<T> Sessions<T> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Sessions so far.
    pub(super) fn begun(&self) -> u64 {
        self.last
    }

    /// True if the server has ended it.
    pub(super) fn was_removed(&self, id: SessionId) -> bool {
        self.removed.contains(&id)
    }

    /// The session of this id, if it is for the stream.
    pub(super) fn by_id(&self, id: SessionId, path: &LivePath) -> Option<u64> {
        let number = *self.by_id.get(&id)?;
        let origin = &self.all.get(&number)?.origin;
        (origin.app == path.app && origin.stream == path.stream).then_some(number)
    }

    pub(super) fn by_origin(&self, origin: &Origin) -> Option<u64> {
        self.by_origin.get(origin).copied()
    }

    /// A session begins, whose viewer is to be asked about.
    pub(super) fn begin(&mut self, now: Instant, origin: Origin, first: Waiting<T>) -> u64 {
        self.last += 1;
        self.by_origin.insert(origin.clone(), self.last);
        self.all.insert(self.last, Session { origin, id: None, stage: Stage::Asking(vec![first]), last: now });
        self.last
    }

    /// Its viewer may view the stream. Returns what waited for that, and whether the address has parameters.
    pub(super) fn grant(&mut self, number: u64, key: StreamKey) -> Option<(Vec<Waiting<T>>, bool)> {
        let session = self.all.get_mut(&number)?;
        let has_own = session.origin.has_own();
        match std::mem::replace(&mut session.stage, Stage::Granted(key)) {
            Stage::Asking(wishes) => Some((wishes, has_own)),
            Stage::Granted(_) => Some((Vec::new(), has_own)),
        }
    }

    /// From now on it is found by this id only.
    pub(super) fn name(&mut self, number: u64, id: SessionId) {
        if let Some(session) = self.all.get_mut(&number) {
            session.id = Some(id);
            self.by_id.insert(id, number);
            self.by_origin.remove(&session.origin);
        }
    }

    /// True if it has an id, so that no other session has its address.
    pub(super) fn is_named(&self, number: u64) -> bool {
        self.all.get(&number).is_some_and(|session| session.id.is_some())
    }

    pub(super) fn is_granted(&self, number: u64) -> bool {
        self.all.get(&number).is_some_and(|session| matches!(session.stage, Stage::Granted(_)))
    }

    pub(super) fn touch(&mut self, number: u64, now: Instant) {
        if let Some(session) = self.all.get_mut(&number) {
            session.last = now;
        }
    }

    /// Where it is. It has made a request.
    pub(super) fn stage(&mut self, number: u64, now: Instant) -> Option<&mut Stage<T>> {
        let session = self.all.get_mut(&number)?;
        session.last = now;
        Some(&mut session.stage)
    }

    /// The session is over. Returns what waits for its grant.
    pub(super) fn remove(&mut self, number: u64, by_server: bool) -> Vec<Waiting<T>> {
        let Some(session) = self.all.remove(&number) else { return Vec::new() };
        if self.by_origin.get(&session.origin) == Some(&number) {
            self.by_origin.remove(&session.origin);
        }
        if let Some(id) = session.id {
            self.by_id.remove(&id);
            if by_server {
                self.removed.truncate(MOST_REMOVED - 1);
                self.removed.push_front(id);
            }
        }
        match session.stage {
            Stage::Asking(wishes) => wishes,
            Stage::Granted(_) => Vec::new(),
        }
    }

    /// Sessions without a request for long. `limit` says how long for a stream.
    pub(super) fn silent(&self, now: Instant, limit: impl Fn(&StreamKey) -> Duration) -> Vec<u64> {
        let is_silent = |session: &Session<T>| match &session.stage {
            // The question has a limit.
            Stage::Asking(_) => false,
            Stage::Granted(key) => now.saturating_duration_since(session.last) >= limit(key),
        };
        self.all.iter().filter(|(_, session)| is_silent(session)).map(|(number, _)| *number).collect()
    }

    /// The sessions of a stream.
    pub(super) fn of(&self, key: &StreamKey) -> Vec<u64> {
        let is_of = |session: &Session<T>| matches!(&session.stage, Stage::Granted(granted) if granted == key);
        self.all.iter().filter(|(_, session)| is_of(session)).map(|(number, _)| *number).collect()
    }

    /// The streams that are viewed.
    pub(super) fn keys(&self) -> BTreeSet<StreamKey> {
        let keys = self.all.values().filter_map(|session| match &session.stage {
            Stage::Granted(key) => Some(key.clone()),
            Stage::Asking(_) => None,
        });
        keys.collect()
    }
}
