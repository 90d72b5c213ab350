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

mod effect;
mod settings;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use anabranch_core::http::{self, Answer, Request};
use anabranch_core::hub::{Hub, StreamId};
use anabranch_core::packager::{Ticket, Time};
use anabranch_core::url::StreamKey;

use crate::engine::{Accepted, Candidates, Credentials, Purpose};
use crate::peer::{Datagram, Path};
use crate::signal::{SignalError, Target};
pub use effect::{Effect, Opening, OpusPacket, Remark, Role, SessionId, SoundJob};
pub use settings::Settings;

/// Makes peers of offers: by `str0m` in a server, in plain text in a simulation.
pub trait Peers: fmt::Debug + Send {
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

/// The peers of a server. `T` is what tells requests from each other.
#[derive(Debug)]
pub struct Desk<T> {
    hub: Hub,
    peers: Box<dyn Peers>,
    settings: Settings,
    effects: VecDeque<Effect<T>>,
    datagrams: VecDeque<Datagram>,
    stats: DeskStats,
}

impl<T: Ticket> Desk<T> {
    /// A desk for the streams of `hub`. All names, passwords and numbers come from `seed`.
    pub fn new(hub: Hub, seed: [u8; 32], settings: Settings, peers: Box<dyn Peers>) -> Self {
        let _ = seed;
        let (effects, datagrams, stats) = (VecDeque::new(), VecDeque::new(), DeskStats::default());
        Desk { hub, peers, settings, effects, datagrams, stats }
    }

    /// From now on it serves peers so.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// A client asks for something. `client` is its address, `local` the one that its request reached.
    #[expect(clippy::too_many_arguments, reason = "they are what a request is")]
    pub fn request(
        &mut self,
        time: Time,
        target: Target,
        request: &Request,
        client: Option<SocketAddr>,
        local: Option<SocketAddr>,
        settings: &http::Settings,
        ticket: T,
    ) {
        let _ = (time, target, request, client, local, settings, &self.hub, &self.peers);
        self.effects.push_back(Effect::Answer(ticket, Answer::text(503, "there is no WebRTC here")));
    }

    /// The client of this session may do what it wants.
    pub fn granted(&mut self, time: Time, session: SessionId, key: &StreamKey) {
        let _ = (time, session, key);
    }

    /// It may not, or may no longer.
    pub fn refused(&mut self, time: Time, session: SessionId, answer: &Answer) {
        let _ = (time, session, answer);
    }

    /// Its connection has ended, for example because it was kicked, or its stream is over.
    pub fn left(&mut self, time: Time, session: SessionId) {
        let _ = (time, session);
    }

    /// A datagram has come.
    pub fn receive(&mut self, time: Time, path: Path, bytes: &[u8]) {
        let _ = (time, path, bytes);
    }

    /// The connection of this path, which was one of TCP, is lost.
    pub fn disconnected(&mut self, time: Time, path: Path) {
        let _ = (time, path);
    }

    /// A stream has something new.
    pub fn wake(&mut self, time: Time, stream: StreamId) {
        let _ = (time, stream);
    }

    /// Sound has been put into Opus. The packets are in order.
    ///
    /// `Err` says why that is not possible; nothing more comes for this job then.
    pub fn sound(&mut self, time: Time, job: u64, made: Result<Vec<OpusPacket>, String>) {
        let _ = (time, job, made);
    }

    /// Does what is due.
    pub fn turn(&mut self, time: Time) {
        let _ = time;
    }

    /// When [`turn`](Self::turn) is due; `None` while nothing is.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// What is to be done, one at a time.
    pub fn poll(&mut self) -> Option<Effect<T>> {
        self.effects.pop_front()
    }

    /// The next datagram to send. Those for one peer follow each other.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> DeskStats {
        self.stats
    }

    /// All peers, for lists.
    pub fn sessions(&self) -> Vec<SessionView> {
        Vec::new()
    }
}
