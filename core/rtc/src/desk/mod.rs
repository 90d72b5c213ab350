//! The peers of one server.
//!
//! A [`Desk`] takes requests of WHIP and WHEP with the tickets of their connections, datagrams with their paths, and time.
//! It returns [`Effect`]s and datagrams. It has no clock, no sockets and no threads; all its work is done by the one caller
//! that owns it.
//!
//! - [`Target::of`](crate::signal::Target::of) says whether a request is for it; [`Desk::request`] takes it.
//! - An offer becomes an [`Opening`]: a connection of core without a socket, so that names, rules, limits, questions,
//!   notices, lists, kicks and relays hold for it as for other clients. Only when that is granted does the offer get its
//!   answer. Nothing is kept for a client that was not answered but its request.
//! - [`Desk::receive`] takes a datagram. A peer is found by the address that it came from, or by the name (`ufrag`) in its
//!   first message.
//! - A stream is followed by one cursor for all its viewers, and put into packets once.

mod answers;
mod clock;
mod congestion;
mod effect;
mod log;
mod names;
mod peers;
mod playing;
mod proof;
mod publishing;
mod qualities;
mod requests;
mod rooms;
mod session;
mod settings;
mod stream;
pub(crate) mod stun;
mod viewer;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anabranch_core::http::Answer;
use anabranch_core::hub::{Hub, StreamId};
use anabranch_core::packager::{Ticket, Time};
use anabranch_core::url::StreamKey;

use crate::engine::{Accepted, Candidates, Credentials, Purpose};
use crate::peer::{Datagram, Event, Gone, Path, Transport};
use crate::signal::SignalError;
pub use effect::{Effect, Opening, OpusPacket, Remark, Role, SessionId, SoundJob};
use names::Names;
use requests::Lobby;
use rooms::Rooms;
use session::{Holder, Kind, Session, Stage};
pub use settings::Settings;
use stream::Stream;

/// Makes peers of offers: by `str0m` in a server, in plain text in a simulation.
pub trait Peers: fmt::Debug + Send {
    /// Looks whether an offer could have an answer, before its client is asked for its right.
    ///
    /// # Errors
    ///
    /// The offer cannot be read, or has nothing that any session of this kind could be for.
    fn check(&mut self, _offer: &str, _publishes: bool) -> Result<(), SignalError> {
        Ok(())
    }

    /// Answers the offer of a peer.
    ///
    /// # Errors
    ///
    /// The offer cannot be read, or has nothing that the session is for.
    fn accept(
        &mut self,
        now: Instant,
        offer: &str,
        purpose: &Purpose,
        credentials: &Credentials,
        candidates: &Candidates,
    ) -> Result<Accepted, SignalError>;
}

/// Numbers for metrics. Those of the first group go up and down.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DeskStats {
    /// Peers that publish, connected or not.
    pub publishers: usize,
    /// Peers that play, connected or not.
    pub players: usize,
    /// Those of both that are not connected yet.
    pub connecting: usize,
    /// Streams that are put into packets.
    pub streams: usize,
    /// Streams whose sound is put into another codec.
    pub sounds: usize,
    /// Bytes of packets that are kept.
    pub kept: usize,
    /// Peers that were answered so far.
    pub answered: u64,
    /// Peers that connected so far.
    pub connected: u64,
    /// Offers that were refused for what they are.
    pub bad_offers: u64,
    /// Requests that were refused because there are too many.
    pub too_many: u64,
    /// Datagrams that no peer was found for.
    pub strange: u64,
    /// Packets that viewers have missed, as they say.
    pub nacks: u64,
    /// Key frames that peers asked for.
    pub keys_wanted: u64,
    /// Pictures that were left out because they come out of order.
    pub left_out: u64,
    /// Pictures that slow viewers missed.
    pub skipped: u64,
}

/// One peer, for lists.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// Its number.
    pub session: SessionId,
    /// What it is there for.
    pub role: Role,
    /// Its address once it is connected.
    pub remote: Option<SocketAddr>,
    /// True if its datagrams go by TCP.
    pub by_tcp: bool,
    /// What it tells of the network.
    pub network: crate::peer::Network,
    /// Pictures that it missed because it was too slow.
    pub skipped: u64,
}

/// How often clients that wait are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Peers whose times are so close are served at once.
const GRAIN: Duration = Duration::from_millis(5);
/// How often the statistics of a connection hear what was sent.
const TELL: Duration = Duration::from_secs(1);

/// The peers of a server. `T` is what tells requests from each other.
///
/// Datagrams are made while they are taken, so that there are never more than those of one peer: after each call, take them
/// all with [`poll_datagram`](Self::poll_datagram), and then what is to be done with [`poll`](Self::poll).
#[derive(Debug)]
pub struct Desk<T> {
    hub: Hub,
    peers: Box<dyn Peers>,
    settings: Settings,
    names: Names,
    now: Option<Instant>,
    /// The beginning of the grid of [`GRAIN`].
    zero: Option<Instant>,
    sessions: BTreeMap<SessionId, Session<T>>,
    last_session: SessionId,
    /// The sessions by the names that peers call them, by the paths that genuine messages came from, and by the numbers of the
    /// questions that were asked there.
    by_name: HashMap<String, SessionId>,
    by_path: HashMap<Path, Holder>,
    questions: HashMap<[u8; 12], SessionId>,
    /// The sessions that publish.
    publishers: BTreeMap<StreamKey, SessionId>,
    streams: BTreeMap<StreamKey, Stream>,
    followed: HashMap<StreamId, StreamKey>,
    /// The streams by the work on their sound.
    jobs: BTreeMap<u64, StreamKey>,
    streams_made: u64,
    /// Peers by the time when something is due.
    dues: BTreeSet<(Instant, SessionId)>,
    next_look: Option<Instant>,
    lobby: Lobby,
    rooms: Rooms,
    /// Viewers that there are packets for.
    queue: VecDeque<SessionId>,
    /// True while they get nothing.
    holds: bool,
    /// What peers have said, until it is acted on.
    events: VecDeque<(SessionId, Event)>,
    /// True while that is done.
    is_acting: bool,
    effects: VecDeque<Effect<T>>,
    datagrams: VecDeque<Datagram>,
    stats: DeskStats,
}

impl<T: Ticket> Desk<T> {
    /// A desk for the streams of `hub`. All names, passwords and numbers come from `seed`.
    pub fn new(hub: Hub, seed: [u8; 32], settings: Settings, peers: Box<dyn Peers>) -> Self {
        Desk {
            hub,
            peers,
            settings,
            names: Names::new(seed),
            now: None,
            zero: None,
            sessions: BTreeMap::new(),
            last_session: 0,
            by_name: HashMap::new(),
            by_path: HashMap::new(),
            questions: HashMap::new(),
            publishers: BTreeMap::new(),
            streams: BTreeMap::new(),
            followed: HashMap::new(),
            jobs: BTreeMap::new(),
            streams_made: 0,
            dues: BTreeSet::new(),
            next_look: None,
            lobby: Lobby::default(),
            rooms: Rooms::new(),
            queue: VecDeque::new(),
            holds: false,
            events: VecDeque::new(),
            is_acting: false,
            effects: VecDeque::new(),
            datagrams: VecDeque::new(),
            stats: DeskStats::default(),
        }
    }

    /// From now on it serves peers so.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The present time, which does not go back.
    fn at(&mut self, time: Time) -> Instant {
        let now = self.now.map_or(time.now, |before| before.max(time.now));
        self.now = Some(now);
        self.zero.get_or_insert(now);
        now
    }

    /// A stream has something new.
    pub fn wake(&mut self, time: Time, stream: StreamId) {
        let now = self.at(time);
        if let Some(key) = self.followed.get(&stream).cloned() {
            self.feed(now, &key);
        }
    }

    /// Does what is due.
    pub fn turn(&mut self, time: Time) {
        let now = self.at(time);
        while let Some((due, number)) = self.dues.first().copied().filter(|(due, _)| *due <= now) {
            self.dues.remove(&(due, number));
            self.peer_is_due(now, number);
        }
        self.admit(now);
        if self.next_look.is_some_and(|due| due <= now) {
            self.look(now);
        }
    }

    /// When [`turn`](Self::turn) is due; `None` while nothing is.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.effects.is_empty() || !self.datagrams.is_empty() || !self.queue.is_empty() && !self.holds {
            return self.now;
        }
        let due = self.dues.first().map(|(due, _)| *due);
        [due, self.next_look, self.lobby.deadline()].into_iter().flatten().min()
    }

    /// What is to be done, one at a time.
    pub fn poll(&mut self) -> Option<Effect<T>> {
        self.effects.pop_front()
    }

    /// From now on viewers get no packets, because the network of this machine takes no more, or they get them again. Meanwhile
    /// they miss nothing but what is no longer kept: then they go on at a key frame. Answers to what peers send are there as always.
    pub fn hold(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// The next datagram to send. Those for one peer follow each other.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        loop {
            if let Some(datagram) = self.datagrams.pop_front() {
                return Some(datagram);
            }
            if self.holds {
                return None;
            }
            let (number, now) = (self.queue.pop_front()?, self.now?);
            self.serve(now, number);
        }
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> DeskStats {
        let mut stats = DeskStats {
            streams: self.streams.values().filter(|stream| !stream.viewers.is_empty()).count(),
            sounds: self.jobs.len(),
            kept: self.streams.values().map(|stream| stream.log.bytes()).sum(),
            ..self.stats
        };
        for session in self.sessions.values() {
            let Stage::Open(open) = &session.stage else { continue };
            match session.role {
                Role::Publisher => stats.publishers += 1,
                Role::Player => stats.players += 1,
            }
            stats.connecting += usize::from(!open.is_connected);
        }
        stats
    }

    /// All peers, for lists.
    pub fn sessions(&self) -> Vec<SessionView> {
        let view = |(session, of): (&SessionId, &Session<T>)| {
            let Stage::Open(open) = &of.stage else { return None };
            let path = open.path.filter(|_| open.is_connected);
            Some(SessionView {
                session: *session,
                role: of.role,
                remote: path.map(|path| path.remote),
                by_tcp: path.is_some_and(|path| path.transport == Transport::Tcp),
                network: open.network,
                skipped: if let Kind::Viewer(viewer) = &open.kind { viewer.skipped } else { 0 },
            })
        };
        self.sessions.iter().filter_map(view).collect()
    }

    fn look_again(&mut self, now: Instant) {
        self.next_look.get_or_insert(now + LOOK);
    }

    /// Looks at clients that wait.
    fn look(&mut self, now: Instant) {
        self.next_look = None;
        let mut waits = false;
        let mut over = Vec::new();
        for (number, session) in &self.sessions {
            match &session.stage {
                Stage::Asking(offer) if offer.reply.ticket.is_gone() => over.push((*number, false)),
                Stage::Waiting(offer, _) if offer.reply.ticket.is_gone() => over.push((*number, false)),
                Stage::Waiting(..) => over.push((*number, true)),
                Stage::Asking(_) => waits = true,
                Stage::Open(_) => {}
            }
        }
        for (number, is_there) in over {
            if is_there {
                self.try_answer(now, number);
                waits |= self.sessions.get(&number).is_some_and(|session| !matches!(session.stage, Stage::Open(_)));
            } else {
                self.remove(number);
                self.effects.push_back(Effect::Leave(number));
            }
        }
        if waits {
            self.look_again(now);
        }
    }

    /// A session is over. All that is known of it is forgotten.
    fn remove(&mut self, number: SessionId) -> Option<Session<T>> {
        let session = self.sessions.remove(&number)?;
        if let Stage::Asking(offer) | Stage::Waiting(offer, _) = &session.stage {
            self.lobby.bytes -= offer.text.len();
        }
        if let Stage::Open(open) = &session.stage
            && let Kind::Viewer(viewer) = &open.kind
            && let Some(next) = &viewer.quality.next
        {
            self.leave_stream(next, number, false);
        }
        let key = match &session.stage {
            Stage::Asking(_) => None,
            Stage::Waiting(_, key) => Some(key.clone()),
            Stage::Open(open) => {
                self.by_name.remove(&open.name);
                for proof in &open.paths {
                    if self.by_path.get(&proof.path).is_some_and(|holder| holder.session == number) {
                        self.by_path.remove(&proof.path);
                    }
                    if let Some(question) = proof.question() {
                        self.questions.remove(&question);
                    }
                }
                if let Some(due) = open.due {
                    self.dues.remove(&(due, number));
                }
                if self.publishers.get(&open.key) == Some(&number) {
                    self.publishers.remove(&open.key);
                }
                Some(open.key.clone())
            }
        };
        self.lobby.forget(number);
        self.rooms.remove(&number);
        if let (Some(key), Role::Player) = (key, session.role) {
            let takes_sound = matches!(&session.stage, Stage::Open(open)
                if matches!(&open.kind, Kind::Viewer(viewer) if viewer.has_sound));
            self.leave_stream(&key, number, takes_sound);
        }
        Some(session)
    }

    /// Does the work for one session. A panic ends that session alone, and says that there is a bug.
    fn contained<R>(&mut self, number: SessionId, work: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).ok();
        if done.is_none() {
            self.gone(number, Gone::Bug);
        }
        done
    }

    /// A peer that was answered is gone.
    fn gone(&mut self, number: SessionId, why: Gone) {
        self.tell_sent(number);
        if self.remove(number).is_some() {
            self.effects.push_back(Effect::Tell(Remark::Gone { session: number, why }));
            self.effects.push_back(Effect::Leave(number));
        }
    }

    /// Tells what was sent to a viewer since the last time.
    fn tell_sent(&mut self, number: SessionId) {
        if let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number)
            && let Kind::Viewer(viewer) = &open.kind
        {
            let (frames, bytes) = (viewer.frames - open.frames_told, std::mem::take(&mut open.bytes));
            open.frames_told = viewer.frames;
            if bytes > 0 {
                self.effects.push_back(Effect::Sent { session: number, frames, bytes });
            }
        }
    }

    /// Says goodbye to a peer, and forgets it.
    fn close(&mut self, now: Instant, number: SessionId) -> Option<Session<T>> {
        if let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) {
            open.is_closing = true;
            open.peer.close(now);
            self.drain(now, number, None);
        }
        self.remove(number)
    }

    /// The client of this session may do what it wants.
    pub fn granted(&mut self, time: Time, session: SessionId, key: &StreamKey) {
        self.granted_with(time, session, key, &[]);
    }

    /// The same for a stream that is there in other qualities: their names have one of these ends behind that of the stream.
    /// A viewer that is too slow gets one of them.
    pub fn granted_with(&mut self, time: Time, session: SessionId, key: &StreamKey, qualities: &[Box<str>]) {
        let now = self.at(time);
        self.grant(now, session, key, qualities);
    }

    /// It may not, or may no longer.
    pub fn refused(&mut self, time: Time, session: SessionId, answer: &Answer) {
        let now = self.at(time);
        if let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&session) {
            // Its connection is over, and takes no statistics any more.
            open.told = now;
        }
        if let Some(Session { stage: Stage::Asking(offer) | Stage::Waiting(offer, _), .. }) = self.close(now, session) {
            self.effects.push_back(offer.reply.give(answer.clone()));
        }
    }

    /// Its connection has ended, for example because it was kicked, or its stream is over.
    pub fn left(&mut self, time: Time, session: SessionId) {
        self.refused(time, session, &answers::not_live());
    }
}

#[cfg(test)]
mod tests;
