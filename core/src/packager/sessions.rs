use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::channel::Waiting;
use super::ids::{SessionId, derived};
use crate::http::{Container, LivePath, Request};
use crate::policy::one_client;
use crate::url::StreamKey;

/// Requests of one session that may wait for its grant.
pub(super) const MOST_ASKING: usize = 64;
/// Sessions that the server has ended and that are remembered.
const MOST_REMOVED: usize = 4096;
/// How long the requests of a session that have no id are refused, after the server has ended it. A player that does not take
/// that for an answer asks a few times more; its client may begin again later.
const KICKED: Duration = Duration::from_secs(60);
/// Requests of one session with an id that may wait for media: a playlist, a part, and what the player has given up.
const MOST_WAITING: usize = 16;
/// Addresses that may use the id of one session: a client may change its network, but an id is not for everyone.
const MOST_ADDRESSES: usize = 4;
/// How often it is looked at whether a session is silent: the shortest silence that ends one.
const CHECK: Duration = Duration::from_secs(3);

/// The sessions of viewers.
#[derive(Debug)]
pub(super) struct Sessions<T> {
    all: HashMap<u64, Session<T>>,
    by_id: HashMap<SessionId, u64>,
    by_origin: HashMap<Origin, u64>,
    removed: VecDeque<SessionId>,
    /// What sessions had that the server has ended, if their players repeat a request without an id, and when they made
    /// their last requests.
    kicked: VecDeque<(Instant, Origin)>,
    /// When sessions are to be looked at.
    checks: BTreeSet<(Instant, u64)>,
    /// How many an address has.
    clients: HashMap<IpAddr, usize>,
    /// How many of each client view a stream.
    viewers: HashMap<StreamKey, HashMap<Option<IpAddr>, usize>>,
    /// Sessions with an id by the first request for them, if their players repeat that.
    repeated: HashMap<Origin, (u64, SessionId)>,
    last: u64,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Sessions {
            all: HashMap::new(),
            by_id: HashMap::new(),
            by_origin: HashMap::new(),
            removed: VecDeque::new(),
            kicked: VecDeque::new(),
            checks: BTreeSet::new(),
            clients: HashMap::new(),
            viewers: HashMap::new(),
            repeated: HashMap::new(),
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
    /// When it is to be looked at, once it views.
    check: Instant,
    /// Its requests that wait for media.
    waiting: usize,
    /// The clients that have used its id.
    clients: Vec<IpAddr>,
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
    app: String,
    stream: String,
    /// The client's program, the page, the host and the query, which the client may make as long as a request.
    rest: [u8; 32],
    /// True if the address has parameters other than the virtual host: a token, or what a back end is to see.
    has_own: bool,
}

impl Origin {
    /// `key` is a secret, so that no client finds two requests that are taken for one.
    pub(super) fn of(request: &Request, client: Option<SocketAddr>, path: &LivePath, key: &[u8; 32]) -> Self {
        let query = request.query();
        let mut rest = Vec::new();
        for text in [request.field("User-Agent"), request.field("Referer"), request.field("Host"), query] {
            rest.push(u8::from(text.is_some()));
            rest.extend(text.unwrap_or_default().bytes());
            // No field and no query has a zero in it.
            rest.push(0);
        }
        let is_own = |parameter: &str| !parameter.is_empty() && !parameter.starts_with("vhost=");
        Origin {
            address: client.map(|client| client.ip()),
            app: path.app.clone(),
            stream: path.stream.clone(),
            rest: derived(key, &rest),
            has_own: query.unwrap_or_default().split('&').any(is_own),
        }
    }
}

/// The parameter with the name of a quality.
pub(super) const QUALITY: &str = "_quality";

/// The query of a request for a playlist.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// What is not for the packager.
    pub(super) own: String,
    /// The number of the session.
    pub(super) session: Option<String>,
    /// The name of the quality that is wanted.
    pub(super) quality: Option<String>,
}

impl Query {
    pub(super) fn of(query: Option<&str>) -> Self {
        let mut found = Query::default();
        for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "s" => found.session = Some(value.to_owned()),
                QUALITY => found.quality = Some(value.to_owned()),
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

    /// True if the server has ended a session that such a request without an id belonged to.
    pub(super) fn was_kicked(&mut self, now: Instant, origin: &Origin) -> bool {
        self.kicked.retain(|(last, _)| *last + KICKED > now);
        self.kicked.iter().any(|(_, kicked)| kicked == origin)
    }

    /// The session of this id, if it is for the stream, and if not too many clients use the id.
    pub(super) fn by_id(&mut self, id: SessionId, path: &LivePath, client: Option<IpAddr>) -> Option<u64> {
        let number = *self.by_id.get(&id)?;
        let Session { origin, clients, .. } = self.all.get_mut(&number)?;
        if origin.app != path.app || origin.stream != path.stream {
            return None;
        }
        if let Some(client) = client.map(one_client)
            && !clients.contains(&client)
        {
            if clients.len() >= MOST_ADDRESSES {
                return None;
            }
            clients.push(client);
        }
        Some(number)
    }

    pub(super) fn by_origin(&self, origin: &Origin) -> Option<u64> {
        self.by_origin.get(origin).copied()
    }

    /// How many sessions the client of this address has.
    pub(super) fn of_client(&self, address: IpAddr) -> usize {
        self.clients.get(&one_client(address)).copied().unwrap_or_default()
    }

    /// A session begins, whose viewer is to be asked about.
    pub(super) fn begin(&mut self, now: Instant, origin: Origin, first: Waiting<T>) -> u64 {
        self.last += 1;
        self.by_origin.insert(origin.clone(), self.last);
        if let Some(address) = origin.address {
            *self.clients.entry(one_client(address)).or_default() += 1;
        }
        self.all.insert(
            self.last,
            Session {
                origin,
                id: None,
                stage: Stage::Asking(vec![first]),
                last: now,
                check: now,
                waiting: 0,
                clients: Vec::new(),
            },
        );
        self.last
    }

    /// Its viewer may view the stream. Returns what waited for that, and whether the address has parameters.
    pub(super) fn grant(&mut self, now: Instant, number: u64, key: StreamKey) -> Option<(Vec<Waiting<T>>, bool)> {
        let session = self.all.get_mut(&number)?;
        let has_own = session.origin.has_own;
        let client = session.origin.address.map(one_client);
        *self.viewers.entry(key.clone()).or_default().entry(client).or_default() += 1;
        match std::mem::replace(&mut session.stage, Stage::Granted(key)) {
            Stage::Asking(wishes) => {
                session.check = now + CHECK;
                self.checks.insert((session.check, number));
                Some((wishes, has_own))
            }
            Stage::Granted(before) => {
                one_viewer_less(&mut self.viewers, before, client);
                Some((Vec::new(), has_own))
            }
        }
    }

    /// One more request of it waits for media. False if too many do; it is not counted then.
    pub(super) fn wait_begins(&mut self, number: u64) -> bool {
        let Some(session) = self.all.get_mut(&number) else { return true };
        if session.id.is_some() && session.waiting >= MOST_WAITING {
            return false;
        }
        session.waiting += 1;
        true
    }

    /// One of its requests waits no more.
    pub(super) fn wait_ends(&mut self, number: u64) {
        if let Some(session) = self.all.get_mut(&number) {
            session.waiting = session.waiting.saturating_sub(1);
        }
    }

    /// True if a request of it waits for media.
    pub(super) fn waits(&self, number: u64) -> bool {
        self.all.get(&number).is_some_and(|session| session.waiting > 0)
    }

    /// From now on it is found by this id only, and by [`repeated`](Self::repeated) if its player repeats its request.
    pub(super) fn name(&mut self, number: u64, id: SessionId, repeats: bool) {
        if let Some(session) = self.all.get_mut(&number) {
            session.id = Some(id);
            self.by_id.insert(id, number);
            self.by_origin.remove(&session.origin);
            if repeats {
                self.repeated.insert(session.origin.clone(), (number, id));
            }
        }
    }

    /// The session with an id to which a request leads that has been made before. Players of HLS make none twice.
    pub(super) fn repeated(&self, origin: &Origin, container: Container) -> Option<(u64, SessionId)> {
        self.repeated.get(origin).copied().filter(|_| container == Container::Dash)
    }

    /// Its id, if it has one: no other session has its address then.
    pub(super) fn id(&self, number: u64) -> Option<SessionId> {
        self.all.get(&number)?.id
    }

    /// True if the client of this address views the stream.
    pub(super) fn has_viewer(&self, key: &StreamKey, address: Option<IpAddr>) -> bool {
        self.viewers.get(key).is_some_and(|clients| clients.contains_key(&address.map(one_client)))
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
        if let Some(address) = session.origin.address {
            one_less(&mut self.clients, one_client(address));
        }
        if self.by_origin.get(&session.origin) == Some(&number) {
            self.by_origin.remove(&session.origin);
        }
        let mut is_repeated = session.id.is_none();
        if let Some(id) = session.id {
            self.by_id.remove(&id);
            if self.repeated.get(&session.origin).is_some_and(|(of, _)| *of == number) {
                self.repeated.remove(&session.origin);
                is_repeated = true;
            }
            if by_server {
                self.removed.truncate(MOST_REMOVED - 1);
                self.removed.push_front(id);
            }
        }
        match session.stage {
            Stage::Asking(wishes) => wishes,
            Stage::Granted(key) => {
                one_viewer_less(&mut self.viewers, key, session.origin.address.map(one_client));
                if by_server && is_repeated {
                    self.kicked.truncate(MOST_REMOVED - 1);
                    self.kicked.push_front((session.last, session.origin));
                }
                self.checks.remove(&(session.check, number));
                Vec::new()
            }
        }
    }

    /// Sessions without a request for long, of which none waits. `limit` says how long for a stream. Looks at those only
    /// that have not been looked at for a while.
    pub(super) fn silent(&mut self, now: Instant, limit: impl Fn(&StreamKey) -> Duration) -> Vec<u64> {
        let mut silent = Vec::new();
        while let Some(&(due, number)) = self.checks.first()
            && due <= now
        {
            self.checks.pop_first();
            let Some(session) = self.all.get_mut(&number) else { continue };
            let Stage::Granted(key) = &session.stage else { continue };
            let over = session.last + limit(key);
            if over <= now && session.waiting == 0 {
                silent.push(number);
            }
            session.check = if over <= now { now + CHECK } else { over.min(now + CHECK) };
            self.checks.insert((session.check, number));
        }
        silent
    }

    /// The sessions of a stream.
    pub(super) fn of(&self, key: &StreamKey) -> Vec<u64> {
        let is_of = |session: &Session<T>| matches!(&session.stage, Stage::Granted(granted) if granted == key);
        self.all.iter().filter(|(_, session)| is_of(session)).map(|(number, _)| *number).collect()
    }

    /// True if a session views the stream.
    pub(super) fn is_viewed(&self, key: &StreamKey) -> bool {
        self.viewers.contains_key(key)
    }
}

fn one_viewer_less(
    viewers: &mut HashMap<StreamKey, HashMap<Option<IpAddr>, usize>>,
    of: StreamKey,
    client: Option<IpAddr>,
) {
    if let Entry::Occupied(mut entry) = viewers.entry(of) {
        one_less(entry.get_mut(), client);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

fn one_less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, of: K) {
    if let Entry::Occupied(mut entry) = counts.entry(of) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
