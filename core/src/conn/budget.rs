use std::fmt;
use std::mem::size_of;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::enter::Entered;
use super::grant::Pending;
use super::player::Playing;
use super::publisher::Publishing;
use super::shared::{SEGMENTS_DIVISOR, UNFINISHED_DIVISOR};
use super::slow_path::Client;
use super::{Action, Config, Conn, VhostConfig};
use crate::amf::Value;
use crate::chunk::{ChunkLimits, MAX_HEADER, STREAM_STATE};
use crate::client::ClientEvent;
use crate::handshake;
use crate::hls;
use crate::hub::{RelayFacts, WISH};
use crate::message::Payload;
use crate::pool::FREE;
use crate::preface::MAX_PREFACE;
use crate::relay::{self, RelayKind};
use crate::session::{LONGEST_HANDSHAKE_REPLY, MIN_REPLIES, READ_BEFORE_CONNECT, SHARED_PIECE, SessionEvent};
use crate::source::{HEADER_ENTRY, LOG_ENTRY, MIN_SETS};
use crate::url::{MAX_NAME_LEN, MAX_TEXT_LEN};

/// The parts of a server's memory: how much of it one connection, publisher, player or stream can take at most, for any
/// input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A connection before its `connect`.
    BeforeConnect,
    /// What is added while its `connect` waits for a verdict.
    Asked,
    /// A connection whose `connect` was granted.
    Connection,
    /// What is added for each stream that it publishes.
    Publisher,
    /// What is added for each stream that it plays.
    Player,
    /// A stream with any publisher and players.
    Stream,
    /// A push to another server or a pull from one, with its connection.
    Relay,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Scope; 7] = [
        Scope::BeforeConnect,
        Scope::Asked,
        Scope::Connection,
        Scope::Publisher,
        Scope::Player,
        Scope::Stream,
        Scope::Relay,
    ];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::BeforeConnect => "connection before connect",
            Scope::Asked => "while connect waits for a back end's answer",
            Scope::Connection => "connection",
            Scope::Publisher => "publisher",
            Scope::Player => "player",
            Scope::Stream => "stream",
            Scope::Relay => "push or pull",
        })
    }
}

/// One term of the formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// What it is counted for.
    pub scope: Scope,
    /// What takes the memory.
    pub name: &'static str,
    /// The settings it comes from.
    pub limit: &'static str,
    /// Bytes at most.
    pub bytes: u64,
}

/// The most memory that a server can need, computed from the settings of a virtual host: what clients can make it hold,
/// which is far more than ordinary clients use. It counts the bytes requested from the allocator; the allocator's
/// overhead, buffers of the system and stacks of threads are not included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    terms: Vec<Term>,
    counts: [Option<u64>; 5],
    memory: u64,
    /// Bytes that a player can take in addition to the frames that count for all players together.
    player: u64,
}

impl Budget {
    /// The budget of connections, publishers, players and streams with these settings; `config` has the settings that
    /// apply before the virtual host is known. Each term is the largest among the virtual host and its applications.
    pub fn new(config: &Config, vhost: &VhostConfig) -> Self {
        let mut budget = Budget::of(config, vhost);
        for application in vhost.applications.iter() {
            budget.include(&Budget::of(config, &application.settings));
        }
        budget
    }

    fn of(config: &Config, vhost: &VhostConfig) -> Self {
        let counts = &vhost.limits;
        let counts = [counts.connections, counts.publishers, counts.players, counts.streams];
        let [connections, publishers, players, streams] = counts.map(|count| count.map(u64::from));
        let counts = [connections, publishers, players, streams, relays(vhost, publishers, config.cluster.is_some())];
        let mut budget = Budget { terms: Vec::new(), counts, memory: config.memory as u64, player: 0 };
        budget.before_connect(config);
        budget.connection(vhost);
        budget.entered(config, vhost);
        budget.publisher(vhost);
        budget.player(vhost);
        budget.stream(vhost);
        budget.relay(vhost);
        // A large frame counts for its stream, or as one of those that only players keep.
        let largest_frame = chunked(vhost.session.limits.chunks.message as usize, vhost) as u64;
        budget.player = budget.total(Scope::Player) - largest_frame.saturating_sub(FREE as u64);
        budget
    }

    /// Takes the larger of each two terms. The limits of counts are those of the virtual host.
    fn include(&mut self, application: &Budget) {
        for (term, other) in self.terms.iter_mut().zip(&application.terms) {
            term.bytes = term.bytes.max(other.bytes);
        }
        self.player = self.player.max(application.player);
    }

    /// All terms, by scope.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The terms of one scope together, in bytes.
    pub fn total(&self, scope: Scope) -> u64 {
        self.terms.iter().filter(|term| term.scope == scope).fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// How many there may be, if [`Limits`](crate::policy::Limits) sets a limit.
    pub fn count(&self, scope: Scope) -> Option<u64> {
        let [connections, publishers, players, streams, relays] = self.counts;
        match scope {
            Scope::BeforeConnect | Scope::Asked => None,
            Scope::Connection => connections,
            Scope::Publisher => publishers,
            Scope::Player => players,
            Scope::Stream => streams,
            Scope::Relay => relays,
        }
    }

    /// Bytes that all streams together may take, even if the limits of each stream allow more: [`Config::memory`].
    pub fn all_streams(&self) -> u64 {
        self.memory
    }

    /// Bytes that half received messages and unparsed input of all connections together may take, in addition to what
    /// [each](Self::beside) may always hold: a part of [`Config::memory`], and twice that while buffers grow.
    pub fn all_unfinished(&self) -> u64 {
        2 * (self.memory / UNFINISHED_DIVISOR as u64)
    }

    /// Bytes that frames may take which only players keep, because their streams have dropped them, in addition to what
    /// each player may always hold: a part of [`Config::memory`].
    pub fn all_kept(&self) -> u64 {
        self.memory / 4
    }

    /// Bytes that the segments of all streams together may take, beside [their logs](Self::all_streams): a part of
    /// [`Config::memory`]. None if no stream is segmented.
    pub fn all_segments(&self) -> u64 {
        let is_used = self.terms.iter().any(|term| term.name == SEGMENTS && term.bytes > 0);
        if is_used { self.memory / SEGMENTS_DIVISOR as u64 } else { 0 }
    }

    /// The sum for all that [`Limits`](crate::policy::Limits) allow at once for this virtual host, and for so many
    /// connections before `connect`. `None` if a limit is missing.
    pub fn most(&self, before_connect: u64) -> Option<u64> {
        let mut sum = self.total(Scope::BeforeConnect).saturating_mul(before_connect);
        for scope in [Scope::Connection, Scope::Publisher, Scope::Player, Scope::Stream, Scope::Relay] {
            let count = self.count(scope)?;
            let shared = (self.total(scope) - self.beside(scope)).saturating_mul(count);
            // A few together may take less than the common limit.
            let together = match scope {
                Scope::Connection => self.all_unfinished(),
                Scope::Player => self.all_kept(),
                Scope::Stream => self.all_streams().saturating_add(self.all_segments()),
                _ => 0,
            };
            sum = sum.saturating_add(self.beside(scope).saturating_mul(count)).saturating_add(shared.min(together));
        }
        Some(sum)
    }

    /// Bytes that one of a scope can take at most, in addition to the common limits of [all
    /// streams](Self::all_streams), [all connections](Self::all_unfinished) and [all players](Self::all_kept).
    pub fn beside(&self, scope: Scope) -> u64 {
        let of = |names: &[&str]| -> u64 {
            let terms = self.terms.iter().filter(|term| term.scope == scope && names.contains(&term.name));
            terms.fold(0, |sum, term| sum.saturating_add(term.bytes))
        };
        let total = self.total(scope);
        match scope {
            Scope::BeforeConnect | Scope::Asked | Scope::Publisher | Scope::Relay => total,
            Scope::Connection => {
                let unfinished = of(&[HALF_RECEIVED, UNPARSED]);
                total - unfinished + unfinished.min(2 * FREE as u64)
            }
            Scope::Player => self.player,
            Scope::Stream => of(&[STATE]),
        }
    }

    /// The sum for so many connections before `connect`, accepted connections, publishers, players and streams.
    pub fn sum(&self, before_connect: u64, connections: u64, publishers: u64, players: u64, streams: u64) -> u64 {
        [
            (Scope::BeforeConnect, before_connect),
            (Scope::Connection, connections),
            (Scope::Publisher, publishers),
            (Scope::Player, players),
            (Scope::Stream, streams),
        ]
        .into_iter()
        .fold(0, |sum, (scope, count)| sum.saturating_add(self.total(scope).saturating_mul(count)))
    }

    fn add(&mut self, scope: Scope, name: &'static str, limit: &'static str, bytes: usize) {
        self.terms.push(Term { scope, name, limit, bytes: bytes as u64 });
    }

    fn before_connect(&mut self, config: &Config) {
        let scope = Scope::BeforeConnect;
        let limits = &config.defaults.session.limits;
        let handshake = size_of::<handshake::ServerHandshake>();
        // The preface is kept in a buffer that doubles.
        let preface = if config.trusted_proxies.is_empty() { 0 } else { 2 * MAX_PREFACE };
        self.add(scope, "state", "fixed", size_of::<Conn>() + 4 * size_of::<Bytes>());
        // The handshake is over before the first chunk is kept: the larger of the two.
        let chunks = partial(&limits.chunks_before_connect);
        let first = handshake + handshake::PACKET_LENGTH + preface;
        let request = config.web.limits.most_held();
        let name = "partly received messages, the handshake, or a request by HTTP";
        self.add(scope, name, "chunks_before_connect, fixed", chunks.max(first).max(request));
        self.add(scope, "S0 S1 S2", "fixed", LONGEST_HANDSHAKE_REPLY);
        // Each piece may be only half full.
        let replies = 2 * (MIN_REPLIES - LONGEST_HANDSHAKE_REPLY).max(SHARED_PIECE);
        self.add(scope, "other replies", "fixed", replies + 2 * REPLY_OVERHEAD);
        self.add(scope, "further input of one read", "fixed", READ_BEFORE_CONNECT);

        let message = limits.chunks_before_connect.message as usize;
        let values = limits.amf_before_connect.values.min(message);
        // tcUrl is kept as sent, parsed, by its parameters, and for the question to the back end; the arguments twice.
        let request = 6 * message + values * (VALUE + 2 * size_of::<Value>()) + size_of::<Client>();
        self.add(
            Scope::Asked,
            "the request, as sent and as parsed",
            "chunks_before_connect, amf_before_connect",
            request,
        );
    }

    fn connection(&mut self, vhost: &VhostConfig) {
        let scope = Scope::Connection;
        let limits = &vhost.session.limits;
        let message = limits.chunks.message as usize;
        let command = (limits.command as usize).min(message);
        self.add(scope, "state", "fixed", size_of::<Conn>() + size_of::<Client>());
        // As sent, and tcUrl and app with their parts and parameters.
        let texts = limits.chunks_before_connect.message as usize + 6 * MAX_TEXT_LEN;
        self.add(scope, "the values of connect", "chunks_before_connect.message", texts);
        self.add(scope, HALF_RECEIVED, "chunks.partial, .streams, .eager", partial(&limits.chunks));
        self.add(
            scope,
            "a message that is parsed",
            "chunks.message, amf, metadata",
            message + amf(command, &limits.amf) + 4 * limits.metadata as usize,
        );
        // An aggregate may bring as many again before the limit is checked; the queue doubles.
        let events = 2 * (2 * limits.events + limits.streams + 1) * size_of::<SessionEvent>();
        self.add(scope, "events", "events", events + 2 * 8 * size_of::<Action>());
        self.add(scope, UNPARSED, "inbox", 2 * limits.inbox);
        let replies = limits.replies.max(MIN_REPLIES);
        let pieces = replies.div_ceil(SHARED_PIECE / 2) * REPLY_OVERHEAD;
        // The last reply may exceed the limit and may repeat a name that the client chose.
        self.add(scope, "replies", "replies, command", 2 * replies + pieces + 4 * command);
        self.add(scope, "message streams", "streams", 2 * limits.streams * (64 + MAX_TEXT_LEN));
    }

    /// What it keeps for other virtual hosts that it entered by `?vhost=`, and for the applications of its streams.
    fn entered(&mut self, config: &Config, vhost: &VhostConfig) {
        let hosts = config.vhosts.iter();
        // Lists that double; the names of the hosts that it entered, and the ids of those whose settings apply to it.
        let hosts: usize = hosts.map(|host| 2 * size_of::<Entered>() + host.name.len()).sum();
        let applications = 2 * size_of::<Arc<str>>() * (vhost.session.limits.streams + 1);
        self.add(Scope::Connection, "other virtual hosts, applications", "vhost, application", hosts + applications);
        // An address and a network, in tables that double.
        let question = 2 * 2 * size_of::<(IpAddr, usize)>();
        self.add(Scope::Connection, "its question", "limits.questions", question + size_of::<Pending>());
    }

    fn publisher(&mut self, vhost: &VhostConfig) {
        let limits = &vhost.session.limits;
        let eager = limits.chunks_publishing().eager - limits.chunks.eager.min(limits.chunks_publishing().eager);
        self.add(Scope::Publisher, "state", "fixed", size_of::<Publishing>() + NAMED);
        self.relays_know(Scope::Publisher, vhost, 0);
        self.add(Scope::Publisher, "room for announced messages", "chunks.streams", limits.chunks.streams * eager);
    }

    fn player(&mut self, vhost: &VhostConfig) {
        let message = vhost.session.limits.chunks.message as usize;
        self.add(Scope::Player, "state", "fixed", size_of::<Playing>() + NAMED);
        self.relays_know(Scope::Player, vhost, WISH);
        // Frames are held by reference, but the stream may drop them before they are written.
        let bytes = vhost.high_water + chunked(message, vhost) + vhost.source.header_bytes;
        self.add(Scope::Player, "queued media", "high_water, chunks.message, source.header_bytes", bytes);
        let pieces = vhost.high_water / MAX_HEADER + 1;
        self.add(Scope::Player, "references to queued media", "high_water", 2 * pieces * size_of::<Bytes>());
    }

    /// What relays know of a client, which is kept if a relay could need it: its parameters, and the servers on its way.
    fn relays_know(&mut self, scope: Scope, vhost: &VhostConfig, more: usize) {
        if vhost.edge_of_origins().is_some() || !vhost.forward.is_empty() {
            let facts = size_of::<RelayFacts>() + 2 * MAX_TEXT_LEN;
            self.add(scope, "what relays know of it", "edge, forward", facts + more);
        }
    }

    fn relay(&mut self, vhost: &VhostConfig) {
        let scope = Scope::Relay;
        let limits = relay::client_limits(RelayKind::Pull, vhost.session.limits.chunks, vhost.high_water);
        let message = limits.chunks.message as usize;
        let command = (limits.command as usize).min(message);
        self.add(scope, "state", "fixed", relay::STATE + 2 * NAMED + handshake::PACKET_LENGTH);
        self.add(scope, HALF_RECEIVED, "chunks.partial, .eager", partial(&limits.chunks));
        self.add(scope, "a message that is parsed", "chunks.message", message + amf(command, &limits.amf));
        // Each event has its message, and one may go over the limit.
        let events = 2 * limits.events * size_of::<ClientEvent>() + limits.event_bytes + message;
        self.add(scope, "events", "chunks.message", events);
        self.add(scope, UNPARSED, "fixed", 2 * limits.inbox);
        self.add(scope, "replies", "fixed", 2 * limits.replies + 4 * command);
        let queued = vhost.high_water + chunked(message, vhost) + vhost.source.header_bytes;
        self.add(scope, "queued media", "high_water, chunks.message", queued);
    }

    fn stream(&mut self, vhost: &VhostConfig) {
        let (source, scope) = (&vhost.source, Scope::Stream);
        let largest = chunked(vhost.session.limits.chunks.message as usize, vhost);
        self.add(scope, STATE, "fixed", (16 << 10) + MAX_NAME_LEN);
        self.add(scope, "recent frames", "source.bytes, chunks.message", source.bytes.max(2 * largest));
        self.add(scope, "their entries", "source.frames", source.frames.saturating_mul(LOG_ENTRY));
        self.add(scope, "headers in force", "source.header_bytes", source.header_bytes);
        // The newest set may exceed the limit, and the next one is made while it exists.
        let set = (1 + 4 * (source.tracks + 1)) * HEADER_ENTRY;
        let starts = source.header_bytes.max(MIN_SETS).saturating_add(3 * set);
        self.add(scope, "the headers in force at each start", "source.header_bytes, .tracks", starts);
        // Beside the segments that are complete there is one that is made.
        let segments = if vhost.hls.mode == hls::Mode::Off { 0 } else { vhost.hls.config.bytes };
        self.add(scope, SEGMENTS, "hls.bytes", segments.saturating_add(segments / 2));
    }
}

/// The most pushes and pulls: one for each published stream and target, those of the API aside.
fn relays(vhost: &VhostConfig, publishers: Option<u64>, in_cluster: bool) -> Option<u64> {
    let all = || std::iter::once(vhost).chain(vhost.applications.iter().map(|application| &application.settings));
    let upward = |one: &VhostConfig| one.edge_of_origins().is_some_and(|edge| edge.publish);
    let each = all().map(|one| one.forward.len() as u64 + u64::from(upward(one))).max().unwrap_or(0);
    // In a cluster, streams without origins come from other servers.
    // As many again may wait for an origin that has the stream; with the directory of a cluster these have no connections.
    let edge = |one: &VhostConfig| match in_cluster {
        _ if one.edge_of_origins().is_some() => one.edge_of_origins().map(|edge| edge.pulls.saturating_mul(2)),
        true => Some(one.edge.as_ref().map_or_else(|| relay::Edge::of(Vec::new()).pulls, |edge| edge.pulls)),
        false => None,
    };
    let pulls = all().fold(0, |sum, one| sum + edge(one).unwrap_or(0) as u64);
    let pushes = if each == 0 { 0 } else { publishers?.saturating_mul(each) };
    Some(pulls.saturating_add(pushes))
}

/// Terms that have a common limit, which may be less than the sum of all.
const HALF_RECEIVED: &str = "partly received messages";
const UNPARSED: &str = "unparsed input";
/// HLS and DASH.
const SEGMENTS: &str = "segments";
/// What a stream takes in addition to its log.
const STATE: &str = "state and name";

/// Bytes of a reply in addition to its content: its place in the queue, which doubles, and its reference count.
const REPLY_OVERHEAD: usize = 2 * size_of::<Bytes>() + 64;

/// Bytes of a stream's name and the parameters of the request for it, which are those of tcUrl, app and the name.
const NAMED: usize = MAX_NAME_LEN + 3 * MAX_TEXT_LEN;

/// Bytes of a value at most: a single value in an object, which allocates room for four with their names.
const VALUE: usize = 4 * size_of::<Value>();

/// What the chunk reader holds: buffers grow to at most double, and begin with the announced length.
fn partial(limits: &ChunkLimits) -> usize {
    let received =
        if limits.partial <= Payload::SMALL { limits.partial + limits.partial / 4 } else { 2 * limits.partial };
    received + 2 * limits.streams * STREAM_STATE + limits.streams * (limits.eager + MAX_HEADER)
}

/// A message cut into chunks for players, with the headers between.
fn chunked(message: usize, vhost: &VhostConfig) -> usize {
    let chunk = vhost.session.chunk_size.max(1) as usize;
    message + MAX_HEADER + message / chunk * 5
}

/// The values of one command or data message.
fn amf(body: usize, limits: &crate::amf::Limits) -> usize {
    let values = limits.values.min(body);
    2 * limits.bytes.min(body) + values * VALUE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Limits;

    #[test]
    fn a_connection_before_connect_holds_at_most_sixty_four_kibibytes_for_ten_seconds() {
        let config = Config::default();
        let budget = Budget::new(&config, &config.defaults);
        let total = budget.total(Scope::BeforeConnect);
        assert!(total <= 64 << 10, "{total}: {:#?}", budget.terms());
        assert_eq!(config.defaults.session.timeouts.connect.as_secs(), 10);
    }

    #[test]
    fn what_relays_know_of_players_counts_where_there_are_relays() {
        let of = |edge: Option<crate::relay::Edge>| {
            let config = Config::from(VhostConfig { edge, ..VhostConfig::default() });
            Budget::new(&config, &config.defaults).total(Scope::Player)
        };
        let edge = |origins: &[&str]| {
            let origins = origins.iter().map(|origin| origin.parse().expect("an origin"));
            Some(crate::relay::Edge::of(origins.collect()))
        };
        assert_eq!(of(edge(&[])), of(None), "without origins, nothing is shown to other servers");
        let more = of(edge(&["10.0.0.1"])) - of(None);
        assert!(more >= 2 * MAX_TEXT_LEN as u64, "{more}");
    }

    #[test]
    fn an_edge_without_origins_limits_the_pulls_of_a_server_of_a_cluster_only() {
        let edge = crate::relay::Edge { pulls: 5, ..crate::relay::Edge::of(Vec::new()) };
        let limits = Limits { publishers: Some(2), ..Limits::default() };
        let alone = VhostConfig { limits, edge: Some(edge), ..VhostConfig::default() };
        assert_eq!(relays(&alone, Some(2), false), Some(0));
        assert_eq!(relays(&alone, Some(2), true), Some(5));
        let unset = VhostConfig { edge: None, ..alone };
        assert_eq!(relays(&unset, Some(2), true), Some(1000));
    }

    #[test]
    fn every_scope_has_terms_and_every_term_a_name_of_its_own() {
        let limits = Limits { connections: Some(7), publishers: Some(2), players: Some(5), ..Limits::default() };
        let config = Config::from(VhostConfig { limits, ..VhostConfig::default() });
        let budget = Budget::new(&config, &config.defaults);
        for scope in Scope::ALL {
            assert!(budget.total(scope) > 0, "{scope}");
        }
        let counts = Scope::ALL.map(|scope| budget.count(scope));
        assert_eq!(
            counts,
            [None, None, Some(7), Some(2), Some(5), Some(8000), Some(0)],
            "connections before connect have no limit"
        );
        let mut words: Vec<String> = Scope::ALL.iter().map(Scope::to_string).collect();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), Scope::ALL.len());
        let mut names: Vec<_> = budget.terms().iter().map(|term| (term.scope, term.name)).collect();
        names.dedup();
        assert_eq!(names.len(), budget.terms().len());
        let streams = budget.all_streams() + budget.all_segments() + 8000 * ((16 << 10) + MAX_NAME_LEN as u64);
        let counts = [(Scope::Connection, 7), (Scope::Publisher, 2), (Scope::Player, 5)];
        let rest: u64 = counts.iter().map(|(scope, count)| budget.total(*scope) * count).sum();
        let most = budget.most(0).expect("all are limited");
        assert_eq!(most, streams + rest, "logs count once");
        let many = Budget { counts: [Some(1000), Some(0), Some(1000), Some(0), Some(0)], ..budget.clone() };
        let beside = 1000 * (budget.beside(Scope::Connection) + budget.beside(Scope::Player));
        assert_eq!(many.most(0), Some(beside + many.all_unfinished() + many.all_kept()), "nor what is unfinished");
        for scope in Scope::ALL {
            assert!((1..=budget.total(scope)).contains(&budget.beside(scope)), "{scope}");
        }
        assert_eq!(Budget { counts: [None; 5], ..budget.clone() }.most(0), None);
        let sum = budget.sum(1, 2, 0, 0, 0);
        assert_eq!(sum, budget.total(Scope::BeforeConnect) + 2 * budget.total(Scope::Connection));
    }
}
